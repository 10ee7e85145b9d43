//! Placeholders: a sandbox holds a name, the origin gets the value, and nothing goes on unswapped.

use super::*;
use crate::kit::client::{Client, Response};

/// A gateway under which placeholders for `github` may stand in requests to `api.test`, and `other.test` is another host.
async fn scene() -> (Scene, Origin) {
    let value = file(VALUE);
    let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("")])).await;
    let other = Origin::tls("other.test", Behaviour::Http(vec![Reply::ok("")])).await;
    let closed = "kind: Secret\nmetadata: {name: closed}\nspec: {keys: {token: {env: NOTHING}}, hosts: [api.test]}\n---\n";
    let policy = secret(value.path(), ", hosts: [api.test], placeholder: true")
        + closed
        + &rules("  - {match: {host: '*.test', path: /*}, action: Allow}\n");
    let gateway = Gateway::inspecting(&policy, [("api.test", &origin), ("other.test", &other)]).await;
    (Scene { gateway, origin, value }, other)
}

/// What a refused request was told.
fn told(answer: &Response, reason: &str, text: &str) {
    assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some(reason)), "{}", answer.body);
    assert!(answer.body.contains(text), "{text}: {}", answer.body);
    assert_hidden(VALUE, &answer.body, "a refusal");
}

#[tokio::test]
async fn s2_a_placeholder_is_swapped_in_a_header_the_query_and_basic_credentials() {
    let (scene, _) = scene().await;
    let mut client = scene.client().await;
    let basic = STANDARD.encode("user:sluicegate:github/token");
    for (request, expected) in [
        (
            get("/", "authorization: token sluicegate:github/token\r\n"),
            format!("authorization: token {VALUE}\r\n"),
        ),
        (get("/", "x-own: a sluicegate:github b\r\n"), format!("x-own: a {VALUE} b\r\n")),
        (get("/?a=1&t=sluicegate%3Agithub%2Ftoken&b=2", ""), format!("/?a=1&t={}&b=2 HTTP", forms(VALUE)[2])),
        (
            get("/", &format!("authorization: Basic {basic}\r\n")),
            format!("authorization: Basic {}\r\n", STANDARD.encode(format!("user:{VALUE}"))),
        ),
    ] {
        let before = scene.received().len();
        let answer = client.ask(&request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let received = scene.received().split_off(before);
        assert!(received.contains(&expected), "{request}: {received}");
        assert!(!received.contains("sluicegate"), "{received}");
    }
    let records = scene.gateway.wait_for("four requests", |records| {
        records.iter().filter(|record| record["kind"] == "request").count() == 4
    });
    for record in records.await.iter().filter(|record| record["kind"] == "request") {
        assert_eq!(record["secrets"], serde_json::json!(["github/token"]), "{record}");
        assert_hidden(VALUE, record.to_string(), "a record");
    }
}

#[tokio::test]
async fn s2_a_placeholder_that_would_go_on_unswapped_is_a_denial() {
    let (scene, other) = scene().await;
    for (request, reason, text) in [
        (get("/sluicegate:github/token", ""), "secret_unavailable", "in the path"),
        (get("/", "x-own: SLUICEGATE:github\r\n"), "secret_unavailable", "write sluicegate:ID"),
        (get("/", "x-own: sluicegate:\r\n"), "secret_unavailable", "write sluicegate:ID"),
        (get("/", "x-own: sluicegate:nobody/token\r\n"), "secret_unavailable", "no secret `nobody`"),
        (get("/", "x-own: sluicegate:github/nothing\r\n"), "secret_unavailable", "no such key"),
        (get("/", "x-own: sluicegate:closed/token\r\n"), "secret_unavailable", "no secret `closed`"),
        (get("/", "x-own: %73luicegate:github\r\n"), "secret_unavailable", "sluicegate:ID"),
    ] {
        let answer = scene.client().await.ask(&request).await;
        told(&answer, reason, text);
    }
    let request = "GET / HTTP/1.1\r\nhost: other.test\r\nx-own: sluicegate:github/token\r\n\r\n";
    let answer = scene.gateway.inside("other.test", &other, &["http/1.1"]).await.ask(request).await;
    told(&answer, "secret_host_mismatch", "not bound");
    assert_eq!((scene.origin.connections(), other.connections()), (0, 0));
}

#[tokio::test]
async fn s1_a_placeholder_is_not_swapped_in_plain_text() {
    let (scene, _) = scene().await;
    let plain = Origin::http([Reply::ok("")]).await;
    let port = plain.port();
    let asked = format!(
        "GET http://api.test:{port}/ HTTP/1.1\r\nhost: api.test:{port}\r\nx-own: sluicegate:github\r\n\r\n"
    );
    told(&scene.gateway.client().await.ask(asked).await, "secret_host_mismatch", "verified TLS");
    let mut tunnel = Client::tunnel(scene.gateway.proxy(), &format!("api.test:{port}")).await;
    let asked = format!("GET /?a=sluicegate:github HTTP/1.1\r\nhost: api.test:{port}\r\n\r\n");
    told(&tunnel.ask(asked).await, "secret_host_mismatch", "verified TLS");
    for at in 0..plain.connections() {
        assert_eq!(plain.received(at), "");
    }
}

#[tokio::test]
async fn s2_a_placeholder_in_a_trailer_goes_nowhere() {
    let (scene, _) = scene().await;
    let mut client = scene.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-own: sluicegate:github\r\n\r\n",
        )
        .await;
    let head = client.expect_closed_or_head().await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    for at in 0..scene.origin.connections() {
        assert!(!scene.origin.received(at).contains("sluicegate"), "{}", scene.origin.received(at));
    }
    let record = scene.gateway.record("request", "api.test").await;
    assert_eq!(record["reason"], "secret_unavailable", "{record}");
    assert!(record["error"].as_str().unwrap_or_default().contains("in a trailer"), "{record}");
}
