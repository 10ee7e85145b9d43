//! P1: connections to origins are of one client connection, one sandbox and one set of secrets.

use std::collections::BTreeSet;
use std::sync::Arc;

use sluicegate::config::SandboxSettings;

use super::*;
use crate::kit::client::Client;
use crate::kit::inspecting::Inside;

/// A sandbox of a group that is known by its address.
fn sandbox(id: &str, group: &str, source: &str) -> SandboxSettings {
    SandboxSettings {
        id: Arc::from(id),
        group: Some(Arc::from(group)),
        sources: vec![format!("{source}/32").parse().unwrap()],
        token: None,
        require_policy: false,
    }
}

/// A document of the secret `name`, of a group.
fn of_group(name: &str, group: &str, file: &Path) -> String {
    secret(file, "").replace("name: github", &format!("name: {name}, group: {group}"))
}

/// The rules of a group: one secret for `/a`, another for the rest.
fn of_rules(group: &str, first: &str, second: &str) -> String {
    let set = |path: &str, name: &str| {
        let headers = BEARER.replace("github", name);
        format!(
            "  - {{match: {{host: api.test, path: {path}}}, action: {{type: Transform, headers: [{headers}]}}}}\n"
        )
    };
    rules(&(set("/a/*", first) + &set("/*", second))).replace("name: p", &format!("name: p, group: {group}"))
}

/// A client inside TLS from an address.
async fn from(gateway: &Gateway, source: &str, origin: &Origin) -> Inside {
    from_offering(gateway, source, origin, "http/1.1").await
}

/// The same with another protocol.
async fn from_offering(gateway: &Gateway, source: &str, origin: &Origin, protocol: &str) -> Inside {
    let mut client = Client::connect_from(source, gateway.proxy()).await;
    let authority = format!("api.test:{}", origin.port());
    let answer = {
        client.send(format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n")).await;
        client.head().await
    };
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    client.try_tls_with("api.test", gateway.authority(), &[protocol]).await.expect("TLS")
}

#[tokio::test]
async fn p1_no_origin_connection_carries_two_sandboxes_or_two_secrets() {
    const ROUNDS: usize = 250;
    let values = ["canary-one-a", "canary-one-b", "canary-two-a", "canary-two-b"].map(file);
    let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("x")])).await;
    let policy = [
        of_group("first", "red", values[0].path()),
        of_group("second", "red", values[1].path()),
        of_group("first", "blue", values[2].path()),
        of_group("second", "blue", values[3].path()),
        of_rules("red", "first", "second") + "---\n",
        of_rules("blue", "first", "second"),
    ]
    .concat();
    let gateway = Gateway::inspecting_with(&policy, [("api.test", &origin)], |config| {
        config.sandboxes = vec![sandbox("one", "red", "127.0.0.2"), sandbox("two", "blue", "127.0.0.3")];
    })
    .await;
    let mut one = from(&gateway, "127.0.0.2", &origin).await;
    let mut two = from(&gateway, "127.0.0.3", &origin).await;
    for round in 0..ROUNDS {
        for path in [format!("/a/{round}"), format!("/b/{round}")] {
            for client in [&mut one, &mut two] {
                let answer = client.ask(get(&path, "")).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
        }
    }
    let mut requests = 0;
    for at in 0..origin.connections() {
        let received = origin.received(at);
        let shown: BTreeSet<_> =
            received.split("Bearer ").skip(1).filter_map(|rest| rest.split('\r').next()).collect();
        assert_eq!(shown.len(), 1, "connection {at} carries {shown:?}");
        requests += received.matches("Bearer ").count();
    }
    assert_eq!(requests, 4 * ROUNDS, "every request reached the origin");
}

#[tokio::test]
async fn s2_a_secret_of_another_group_is_not_there() {
    let value = file(VALUE);
    let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("x")])).await;
    let own = secret(value.path(), ", hosts: [api.test], placeholder: true")
        .replace("name: github", "name: github, group: red");
    let policy = own + &rules("  - {match: {host: api.test, path: /*}, action: Allow}\n");
    let gateway = Gateway::inspecting_with(&policy, [("api.test", &origin)], |config| {
        config.sandboxes = vec![sandbox("one", "red", "127.0.0.2"), sandbox("two", "blue", "127.0.0.3")];
    })
    .await;
    let asked = get("/", "x-own: sluicegate:github/token\r\n");
    let answer = from(&gateway, "127.0.0.3", &origin).await.ask(&asked).await;
    assert_eq!(answer.header("x-deny-reason"), Some("secret_unavailable"), "{}", answer.body);
    assert!(answer.body.contains("no secret `github` that may be used here"), "{}", answer.body);
    assert_eq!(origin.connections(), 0);
    assert_eq!(from(&gateway, "127.0.0.2", &origin).await.ask(&asked).await.status, 200);
    assert!(origin.received(0).contains(VALUE));
}

#[tokio::test]
async fn s6_what_one_sandbox_sends_never_comes_back_to_another() {
    let value = file(VALUE);
    let origin = Origin::http2("api.test", [Stream::echo()]).await;
    let policy = secret(value.path(), ", scrub: Always") + &transform(BEARER);
    let gateway = Gateway::inspecting_with(&policy, [("api.test", &origin)], |config| {
        config.sandboxes = vec![sandbox("one", "red", "127.0.0.2"), sandbox("two", "blue", "127.0.0.3")];
    })
    .await;
    let echoed = async |source: &str, byte: u8| {
        let client = from_offering(&gateway, source, &origin, "h2").await.http2().await;
        for round in 1..40 {
            let body = vec![byte; round * 997];
            let request = Http2::request("POST", &format!("https://api.test:{}/", origin.port()));
            let answer = client.send(request, body.clone()).await;
            assert!(answer.body == body, "{source} gets what it sent in round {round}");
        }
    };
    tokio::join!(echoed("127.0.0.2", b'1'), echoed("127.0.0.3", b'2'));
}
