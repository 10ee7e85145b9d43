//! A policy change ends what it denies.

use super::*;

#[tokio::test]
async fn p4_a_policy_that_denies_it_ends_a_response_under_way() {
    let origin = Origin::http([Reply::events(["one", "two"])]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    client.send(request("GET", &origin, "/", "")).await;
    client.head().await;
    origin.step();
    client.expect("B\r\ndata: one\n\n\r\n").await;
    // A change that still allows it ends nothing.
    gateway.set_policy(&format!("mode: Limited\nhostRules: ['good.test:{}', x.test]\n", origin.port())).await;
    origin.step();
    client.expect("B\r\ndata: two\n\n\r\n").await;
    gateway.set_policy("mode: Limited\nhostRules: [x.test]\n").await;
    let rest = client.expect_closed().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut body does not look whole");
    // It sees the end only when it goes on.
    (0..2).for_each(|_| origin.step());
    assert_ne!(origin.wait_for_end(0).await, End::Open);
    let call = &gateway.calls(1).await[0];
    assert_eq!((&call["reason"], &call["outcome"]), (&json!("policy_change"), &json!("policy_change")));
    assert_eq!((&call["decision"], &call["bytes_down"]), (&json!("deny"), &json!(22)));
}

#[tokio::test]
async fn p4_a_policy_that_denies_it_ends_a_request_that_waits_and_an_upload() {
    let origin = Origin::start(Behaviour::Sink).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut waiting = gateway.client().await;
    waiting.send(request("GET", &origin, "/", "")).await;
    origin.wait_for_count(0, 10).await;
    let mut upload = gateway.client().await;
    upload.send(request("POST", &origin, "/", "Content-Length: 100\r\n")).await;
    upload.send("some").await;
    origin.wait_for_count(1, 10).await;
    gateway.set_policy("mode: Limited\nhostRules: [x.test]\n").await;
    waiting.expect_closed().await;
    upload.expect_closed().await;
    for at in 0..2 {
        assert_ne!(origin.wait_for_end(at).await, End::Open);
    }
    for call in gateway.calls(2).await {
        assert_eq!((&call["reason"], &call["outcome"]), (&json!("policy_change"), &json!("policy_change")));
    }
}

#[tokio::test]
async fn p4_a_policy_that_denies_it_ends_a_websocket() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let (gateway, mut client) = websocket(&origin).await;
    client.send("ping").await;
    client.expect("ping").await;
    // By path: what was asked for when it was opened is asked again.
    let rule = |path: &str| {
        format!(
            "mode: Limited\nrules:\n- {{match: {{host: 'good.test:{}', path: {path}}}, action: Allow}}\n",
            origin.port()
        )
    };
    gateway.set_policy(&rule("/ws")).await;
    client.send("pong").await;
    client.expect("pong").await;
    gateway.set_policy(&rule("/other")).await;
    client.expect_reset().await;
    assert_eq!(origin.wait_for_end(0).await, End::Reset);
    let call = &gateway.calls(1).await[0];
    assert_eq!((&call["reason"], &call["outcome"]), (&json!("policy_change"), &json!("policy_change")));
    assert_eq!((&call["bytes_up"], &call["bytes_down"]), (&json!(8), &json!(8)));
}
