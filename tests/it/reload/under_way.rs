//! What is under way when the policy changes.

use super::*;

#[tokio::test]
async fn p4_what_is_still_allowed_goes_on_and_what_is_not_is_reset_on_both_sides() {
    let (gateway, origin) = start(good).await;
    let mut open = tunnel(&gateway, &origin).await;
    put(&gateway, "policy.yaml", &format!("{}# and a comment\n", good(origin.port()))).await;
    open.send("on").await;
    open.expect("on").await;
    put(&gateway, "policy.yaml", NOTHING).await;
    open.expect_reset().await;
    assert_eq!(origin.wait_for_end(0).await, End::Reset);
    let closed = gateway.record("connection", "good.test").await;
    assert_eq!((&closed["reason"], &closed["decision"]), (&"policy_change".into(), &"deny".into()));
    assert_eq!((&closed["outcome"], &closed["bytes_up"]), (&"policy_change".into(), &7.into()));
    let told = closed["error"].as_str().unwrap_or_default();
    assert!(
        told.starts_with("default_deny: add \"good.test") && told.contains("policy.yaml:1:1"),
        "{closed:#}"
    );
}

#[tokio::test]
async fn p4_a_tunnel_is_asked_for_its_address_too() {
    let (gateway, origin) = start(good).await;
    let mut open = tunnel(&gateway, &origin).await;
    let tight = format!("{}cidrRules: [{{cidr: 127.0.0.8/32, action: Deny}}]\n", good(origin.port()));
    put(&gateway, "policy.yaml", &tight).await;
    open.expect_reset().await;
}

#[tokio::test]
async fn p4_a_kept_alive_connection_and_a_request_on_its_way_are_asked_again() {
    use crate::kit::http::Reply;
    let origin = Origin::http([Reply::events(["one", "two"])]).await;
    let gateway = Gateway::start(&good(origin.port())).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let mut client = gateway.client().await;
    let url = format!("good.test:{}", origin.port());
    client.send(format!("GET http://{url}/ HTTP/1.1\r\nHost: {url}\r\n\r\n")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    put(&gateway, "policy.yaml", NOTHING).await;
    let rest = client.expect_closed().await;
    assert!(find(&rest, b"two").is_none());
    let request = gateway.record("request", "good.test").await;
    assert_eq!((&request["reason"], &request["outcome"]), (&"policy_change".into(), &"policy_change".into()));
}
