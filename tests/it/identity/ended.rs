//! Connections of somebody who is another, or nobody, end.

use super::*;

#[tokio::test]
async fn p4_a_removed_sandbox_is_nobody_and_its_connections_end_while_the_others_go_on() {
    let (gateway, origin) = start(BOTH).await;
    let one = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    let mut two = tunnel(&gateway, &origin, "127.0.0.2", "").await;
    let load = gateway.configure("sandboxes:\n  - {id: two, sources: [127.0.0.2]}\n").await;
    assert_eq!((&load["generation"], &load["outcome"]), (&2.into(), &"ok".into()), "{load:#}");
    is_ended(&gateway, one, "one").await;
    goes_on(&mut two).await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.1").await, (407, "identity_unknown".into()));
    gateway.configure(BOTH).await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.1").await.0, 200, "and back again");
    goes_on(&mut two).await;
}

#[tokio::test]
async fn p4_a_connection_whose_address_is_nobodys_or_anothers_ends() {
    for then in [
        "sandboxes:\n  - {id: one, sources: [127.0.0.9]}\n",
        "sandboxes:\n  - {id: one, sources: [127.0.0.9]}\n  - {id: two, sources: [127.0.0.1]}\n",
    ] {
        let (gateway, origin) = start(ONE).await;
        let one = tunnel(&gateway, &origin, "127.0.0.1", "").await;
        gateway.configure(then).await;
        is_ended(&gateway, one, "one").await;
        let known = then.contains("two");
        let (status, reason) = if known { (200, "") } else { (407, "identity_unknown") };
        assert_eq!(asked(&gateway, &origin, "127.0.0.1").await, (status, reason.into()));
    }
}

#[tokio::test]
async fn p4_from_no_sandbox_listed_to_some_and_back_ends_what_is_open() {
    let (gateway, origin) = start("").await;
    let before = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    gateway.configure(ONE).await;
    is_ended(&gateway, before, "default").await;
    let listed = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await, (407, "identity_unknown".into()));
    gateway.configure("").await;
    is_ended(&gateway, listed, "one").await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 200);
}

#[tokio::test]
async fn p4_a_sandbox_in_another_group_is_judged_by_the_documents_of_that_group() {
    let origin = Origin::http([Reply::ok("x")]).await;
    let open = "mode: Unrestricted\n".to_owned();
    let in_group = |group: &str| {
        format!(
            "sandboxes:\n  - {{id: one, group: {group}, sources: [127.0.0.1]}}\n  - {{id: a, group: wide, sources: [127.0.1.1]}}\n  \
             - {{id: b, group: alike, sources: [127.0.1.2]}}\n  - {{id: c, group: shut, sources: [127.0.1.3]}}\n"
        )
    };
    let gateway = Gateway::configured(&open, &in_group("wide")).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let shut = "kind: EgressPolicy\nmetadata: {name: shut, group: shut}\nspec: {mode: Limited}\n";
    let documents =
        [document("group: wide", origin.port()), document("group: alike", origin.port()), shut.to_owned()];
    gateway
        .after_load(|| {
            std::fs::write(gateway.policies().join("groups.yaml"), documents.join("---\n")).unwrap();
        })
        .await;

    // HTTP in a tunnel: each request is a call of its own, and the connection outlives the first change.
    let authority = format!("good.test:{}", origin.port());
    let mut client = Client::tunnel(gateway.proxy(), &authority).await;
    let request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    assert_eq!(client.ask(&request).await.status, 200);
    gateway.configure(&in_group("alike")).await;
    assert_eq!(client.ask(&request).await.status, 200, "the group of then allows it too");
    let groups = |records: &[Value]| -> Vec<Value> {
        records
            .iter()
            .filter(|record| record["kind"] == "request")
            .map(|record| record["group"].clone())
            .collect()
    };
    let records = gateway.wait_for("both records", |records| groups(records).len() == 2).await;
    assert_eq!(groups(&records), ["wide", "alike"]);
    gateway.configure(&in_group("shut")).await;
    client.expect_closed().await;
    let end = end_of(&gateway, &client).await;
    assert_eq!((&end["reason"], &end["policy"]), (&"policy_change".into(), &"shut".into()), "{end:#}");
    assert_eq!(asked(&gateway, &origin, "127.0.0.1").await, (403, "default_deny".into()));
}

#[tokio::test]
async fn p4_a_changed_token_ends_what_was_known_by_it_alone() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "first-canary").unwrap();
    let token = format!("token: {{file: '{}'}}", secret.path().display());
    let sandboxes = format!(
        "sandboxes:\n  - {{id: by-token, {token}}}\n  - {{id: by-both, sources: [127.0.0.3], {token}}}\n"
    );
    let (gateway, origin) = start(&sandboxes).await;
    let by_token = tunnel(&gateway, &origin, "127.0.0.1", &shows("by-token", "first-canary")).await;
    let mut by_both = tunnel(&gateway, &origin, "127.0.0.3", &shows("by-both", "first-canary")).await;

    // The same token in a file that was written anew is no change.
    std::fs::write(secret.path(), "first-canary\n").unwrap();
    gateway.running().reload();
    gateway.configure(&format!("{sandboxes}  - {{id: more, sources: [127.0.0.4]}}\n")).await;
    let mut by_token = by_token;
    goes_on(&mut by_token).await;

    std::fs::write(secret.path(), "second-canary").unwrap();
    let load = gateway.after_load(|| gateway.running().reload()).await;
    assert_eq!((&load["outcome"], &load["generation"]), (&"ok".into(), &3.into()));
    is_ended(&gateway, by_token, "by-token").await;
    goes_on(&mut by_both).await;
    for (token, status) in [("first-canary", 407), ("second-canary", 200)] {
        let (_, answer) = connected(&gateway, &origin, "127.0.0.1", &shows("by-token", token)).await;
        assert_eq!(answer.status, status, "{token}");
    }
    let told = std::fs::read_to_string(gateway.audit_file()).unwrap();
    assert!(!told.contains("canary"), "a token is in the records");
}

#[tokio::test]
async fn p4_requests_websockets_and_kept_alive_connections_are_asked_who_they_are_too() {
    let (gateway, origin) =
        start_with(BOTH, Behaviour::Http(vec![Reply::ok("x"), Reply::upgrade("websocket")])).await;
    let authority = format!("good.test:{}", origin.port());
    let request =
        |fields: &str| format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n");
    let mut idle = Client::connect_from("127.0.0.1", gateway.proxy()).await;
    assert_eq!(idle.ask(request("")).await.status, 200);
    let mut socket = Client::connect_from("127.0.0.1", gateway.proxy()).await;
    assert_eq!(socket.ask(request("")).await.status, 200);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    socket.send(request(upgrade)).await;
    assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
    // Somebody who was refused has nothing open, and stays.
    let mut stranger = Client::connect_from("127.0.0.5", gateway.proxy()).await;
    assert_eq!(stranger.ask(request("")).await.status, 407);

    gateway.configure("sandboxes:\n  - {id: five, sources: [127.0.0.5]}\n").await;
    let begun = Instant::now();
    idle.expect_closed().await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "not by the time that a head may take: {:?}",
        begun.elapsed()
    );
    socket.expect_closed().await;
    assert_eq!(stranger.ask(request("")).await.status, 200, "the next request is identified afresh");
    let from = socket.local().to_string();
    let is_it = |record: &Value| record["client"] == from.as_str() && record["reason"] == "identity_unknown";
    gateway.wait_for("the end of the WebSocket", |records| records.iter().any(is_it)).await;
}
