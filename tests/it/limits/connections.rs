//! Connections at once.

use super::*;

#[tokio::test]
async fn r2_i4_a_sandbox_that_floods_is_refused_and_every_request_of_another_succeeds() {
    const CONNECTIONS: usize = 800;
    const SHARE: usize = 200;
    const SLOW: usize = 300;
    let (origin, token) = (Origin::http([Reply::ok("x")]).await, token());
    let gateway = Gateway::with("mode: Unrestricted\n", |config| {
        config.limits.connections = CONNECTIONS;
        config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::Connections, SHARE as u64);
        config.limits.header_timeout = Duration::from_mins(2);
        config.sandboxes = vec![by_token("a", &token), by_token("b", &token)];
    })
    .await;
    let literal = format!("127.0.0.8:{}", origin.port());
    let request =
        |id: &str| format!("GET http://{literal}/ HTTP/1.1\r\nHost: {literal}\r\n{}\r\n", shown(id));

    // Names that are never answered, each by a connection that shows who asks.
    gateway.dns.hold();
    let mut looking = Vec::new();
    for at in 0..SHARE {
        let mut client = gateway.client().await;
        let name = format!("n{at}.slow.test");
        let target = format!("{name}:443");
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", shown("a"))).await;
        gateway.dns.wait_for_query(&name).await;
        looking.push(client);
    }
    for _ in 0..10 {
        let mut client = gateway.client().await;
        let answer = client.ask(request("a")).await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (429, Some("limit")));
        let told = |key: &str| error(&answer)[key].as_str().unwrap_or_default().to_owned();
        assert!(told("message").contains("beyond the 200 connections at once"), "{answer:?}");
        assert!(told("hint").contains("limits.perSandbox.connections"), "{answer:?}");
        client.expect_end().await;
    }
    assert_eq!(limited(&gateway, Limit::Connections).await, 10);

    // Heads that never end: nobody knows whose they are. There are more of them in the end than the gateway has room for.
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(begun(&gateway).await);
    }
    for _ in 0..CONNECTIONS / 5 {
        slow.push(begun(&gateway).await);
        let mut good = gateway.client().await;
        slow.push(begun(&gateway).await);
        assert_eq!(good.ask(request("b")).await.status, 200);
    }
    let opened = SHARE + slow.len();
    assert!(opened > CONNECTIONS, "{opened} connections would fit");
    let crowded_out = limited(&gateway, Limit::Connections).await - 10;
    assert!(crowded_out >= 20, "{crowded_out} made room");

    let is_limit = |record: &Value| record["reason"] == "limit";
    let records =
        gateway.wait_for("what was refused", |all| all.iter().filter(|one| is_limit(one)).count() >= 30);
    let records: Vec<_> = records.await.into_iter().filter(is_limit).collect();
    assert_eq!(records.iter().filter(|record| record["sandbox"] == "a").count(), 10);
    let silent = records.iter().find(|record| record["sandbox"].is_null()).expect("one that made room");
    assert!(silent["error"].as_str().unwrap().contains("have not said whose they are"), "{silent}");
    assert!(!records.iter().any(|record| record["sandbox"] == "b"), "{records:#?}");
    gateway.dns.release();
}

#[tokio::test]
async fn r2_i4_where_sandboxes_are_listed_each_has_half_of_the_connections_unless_said_otherwise() {
    let origin = Origin::http([Reply::ok("x")]).await;
    for (said, share) in [(None, 5), (Some(2), 2), (Some(7), 7)] {
        let gateway = gateway("mode: Unrestricted\n", &origin, |config| {
            // With room for one that is on its way out.
            config.limits.connections = 10;
            if let Some(most) = said {
                config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::Connections, most);
            }
        })
        .await;
        let mut open = Vec::new();
        for _ in 0..share {
            let mut client = a(&gateway).await;
            assert_eq!(client.ask(get(&origin, "")).await.status, 200);
            open.push(client);
        }
        // It is refused before it has said anything, and closed.
        let answer = a(&gateway).await.response(false).await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (429, Some("limit")));
        assert_eq!(answer.header("retry-after"), None, "{answer:?}");
        assert!(answer.body.contains(&format!("beyond the {share} connections at once")), "{answer:?}");
        assert_eq!(b(&gateway).await.ask(get(&origin, "")).await.status, 200);
        let refused =
            gateway.wait_for("the record", |all| all.iter().any(|one| one["reason"] == "limit")).await;
        let refused = refused.into_iter().find(|one| one["reason"] == "limit").unwrap();
        assert_eq!(
            (&refused["sandbox"], &refused["kind"], &refused["status"]),
            (&"a".into(), &"connection".into(), &429.into())
        );

        // A place comes back when its connection has ended.
        drop(open.pop());
        let again = async {
            loop {
                let mut client = a(&gateway).await;
                let _may_be_refused = client.try_send(get(&origin, "")).await;
                if client.expect_closed_or_head().await.starts_with("HTTP/1.1 200") {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        within("a place to come back", again).await;
    }
}

#[tokio::test]
async fn r2_i4_without_listed_sandboxes_one_may_have_all() {
    let origin = Origin::echo().await;
    let gateway = Gateway::with("mode: Unrestricted\n", |config| config.limits.connections = 4).await;
    gateway.name("good.test", &origin);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await);
    }
    let answer = gateway.client().await.response(false).await;
    assert!(answer.body.contains("as `limits.connections` allows"), "{answer:?}");
}

#[tokio::test]
async fn r2_i4_the_smaller_of_policy_and_configuration_holds_and_a_refusal_names_its_document() {
    let origin = Origin::http([Reply::ok("x")]).await;
    let policy = documents("limits: {connections: 3}", &[("a", "limits: {connections: 2}"), ("b", "")]);
    let gateway = gateway(&policy, &origin, |config| {
        config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::Connections, 5);
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(a(&gateway).await);
    }
    for client in &mut open {
        assert_eq!(client.ask(get(&origin, "")).await.status, 200);
    }
    let answer = a(&gateway).await.response(false).await;
    assert_eq!(error(&answer)["policy"], "a-limits");
    let hint = error(&answer)["hint"].as_str().unwrap().to_owned();
    assert!(
        hint.contains("raise `limits.connections` of policy `a-limits` (") && hint.contains("policy.yaml:"),
        "{hint}"
    );
    for _ in 0..3 {
        let mut client = b(&gateway).await;
        assert_eq!(client.ask(get(&origin, "")).await.status, 200);
        open.push(client);
    }
    let answer = b(&gateway).await.response(false).await;
    assert_eq!(error(&answer)["policy"], "floor", "{answer:?}");

    // A number that was raised lets the next one in.
    gateway
        .set_policy(&documents("", &[("a", "limits: {connections: 3, uploadBytes: 5000000}"), ("b", "")]))
        .await;
    assert_eq!(a(&gateway).await.ask(get(&origin, "")).await.status, 200);
}

#[tokio::test]
async fn r2_i4_a_connection_that_shows_two_tokens_takes_a_place_of_each() {
    let (origin, token) = (Origin::http([Reply::ok("x")]).await, token());
    let gateway = Gateway::with("{mode: Unrestricted, limits: {connections: 1}}\n", |config| {
        config.sandboxes = vec![by_token("a", &token), by_token("b", &token)];
    })
    .await;
    gateway.name("good.test", &origin);
    let mut both = gateway.client().await;
    for id in ["a", "b", "a", "b"] {
        assert_eq!(both.ask(get(&origin, &shown(id))).await.status, 200, "{id}");
    }
    for id in ["a", "b"] {
        let mut other = gateway.client().await;
        let answer = other.ask(get(&origin, &shown(id))).await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (429, Some("limit")), "{id}");
        other.expect_end().await;
    }
}
