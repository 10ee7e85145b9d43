//! What the origin gets.

use super::*;
use crate::kit::client::Client;

/// The lines of a head with this name.
fn lines<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn s1_the_value_goes_to_the_origin_and_the_record_names_the_secret_only() {
    let scene = Scene::answering([Reply::ok("hello")]).await;
    let answer = scene.client().await.ask(get("/a?b=c", "")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    let received = scene.received();
    assert!(received.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{received}");
    assert_eq!(lines(&received, "authorization"), [format!("Bearer {VALUE}")]);
    let record = scene.gateway.record("request", "api.test").await;
    assert_eq!(record["secrets"], serde_json::json!(["github/token"]), "{record}");
    assert_eq!(record["headers_changed"], serde_json::json!(["authorization"]), "{record}");
    assert_hidden(VALUE, answer.head, "the answer");
    assert_hidden(VALUE, record.to_string(), "the record");
}

#[tokio::test]
async fn headers_are_set_inserted_and_removed_as_the_rule_says() {
    let headers = format!(
        "{{operation: Set, name: X-Team, value: agents}}, {{operation: Insert, name: X-Kept, value: ours}}, \
         {{operation: Insert, name: X-New, value: ours}}, {{operation: Remove, name: X-Gone}}, \
         {{operation: Insert, name: X-Key, valueRef: {{secretRef: {{secretId: github, secretKey: token}}}}}}, {BEARER}"
    );
    let scene = Scene::with("", &headers, [Reply::ok("")]).await;
    let own = "x-team: one\r\nX-TEAM: two\r\nx-kept: theirs\r\nx-gone: 1\r\nx-gone: 2\r\nx-key: mine\r\n";
    assert_eq!(scene.client().await.ask(get("/", own)).await.status, 200);
    let received = scene.received();
    for (name, values) in [
        ("x-team", vec!["agents"]),
        ("x-kept", vec!["theirs"]),
        ("x-new", vec!["ours"]),
        ("x-gone", vec![]),
        ("x-key", vec![VALUE]),
    ] {
        assert_eq!(lines(&received, name), values, "{name}: {received}");
    }
    let record = scene.gateway.record("request", "api.test").await;
    let changed = serde_json::json!(["x-team", "x-new", "x-gone", "x-key", "authorization"]);
    assert_eq!(record["headers_changed"], changed, "{record}");
}

#[tokio::test]
async fn s7_f7_whatever_the_client_sends_in_the_header_of_a_secret_is_dropped() {
    let headers = "{operation: Insert, name: X-Api-Key, valueRef: {secretRef: {secretId: github}}}";
    let scene = Scene::with("", headers, [Reply::ok("")]).await;
    let mut client = scene.client().await;
    for own in [
        "x-api-key: mine\r\n",
        "X-API-KEY: mine\r\nx-api-key: mine too\r\n",
        "x_api_key: mine\r\nX_Api-Key: mine\r\n",
        "x.api.key: mine\r\n",
        "connection: x-api-key\r\nx-api-key: mine\r\n",
        "connection: x-api-key, host, authorization\r\n",
        "x-api-key: \r\n",
    ] {
        let before = scene.received().len();
        assert_eq!(client.ask(get("/", own)).await.status, 200, "{own}");
        let received = scene.received().split_off(before);
        assert!(!received.contains("mine"), "{own}: {received}");
        assert_eq!(lines(&received, "x-api-key"), [VALUE], "{own}: {received}");
        assert_eq!(received.matches("canary").count(), 1, "{own}: {received}");
        assert_eq!(lines(&received, "host").len(), 1, "{own}: {received}");
    }
}

#[tokio::test]
async fn s7_a_trailer_cannot_bring_the_header_of_a_secret() {
    let headers = "{operation: Set, name: X-Api-Key, valueRef: {secretRef: {secretId: github}}}";
    let scene = Scene::with("", headers, [Reply::ok("")]).await;
    let mut client = scene.client().await;
    for name in ["x-api-key", "X-Api-Key", "x_api_key", "X-Api_Key"] {
        let before = scene.received().len();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: api.test\r\ntransfer-encoding: chunked\r\ntrailer: {name}, x-sum\r\n\r\n\
             3\r\nabc\r\n0\r\n{name}: mine\r\nx-sum: 3\r\n\r\n"
        );
        assert_eq!(client.ask(request).await.status, 200, "{name}");
        let received = scene.received().split_off(before);
        assert!(!received.contains("mine"), "{name}: {received}");
    }
}

#[tokio::test]
async fn s3_a_redirect_is_not_followed_and_the_next_request_is_judged_by_itself() {
    let away =
        Reply::raw("HTTP/1.1 302 Found\r\nlocation: https://other.test/x\r\ncontent-length: 0\r\n\r\n");
    let scene = Scene::answering([away, Reply::ok("")]).await;
    let other = Origin::tls("other.test", Behaviour::Http(vec![Reply::ok("")])).await;
    scene.gateway.name("other.test", &other);
    let mut client = scene.client().await;
    let answer = client.ask(get("/", "")).await;
    assert_eq!((answer.status, answer.header("location")), (302, Some("https://other.test/x")));
    // On the same connection for the other host, and on one of its own.
    let asked = "GET /x HTTP/1.1\r\nhost: other.test\r\n\r\n";
    assert_eq!(client.ask(asked).await.status, 421);
    let refused = Client::try_tunnel(scene.gateway.proxy(), &format!("other.test:{}", other.port())).await;
    assert_eq!(refused.err().expect("no rule allows it").status, 403);
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn s4_trace_is_refused() {
    let scene = Scene::answering([Reply::ok("")]).await;
    let answer = scene.client().await.ask("TRACE / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    let answer = scene.http2().await.ask(Http2::request("TRACE", &scene.url("/"))).await;
    assert_eq!(answer.status, 400);
    assert_eq!(scene.origin.connections(), 0);
}
