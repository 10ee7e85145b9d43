//! Tokens of managed identities and of token endpoints, in requests.

use sluicegate::addr::Endpoint;
use sluicegate::secrets::Platform;

use super::*;

/// A token.
const TOKEN: &str = r#"{"access_token":"canary-of-identity","token_type":"Bearer","expires_in":"3600"}"#;
/// A header with one.
const HEADER: &str = "{operation: Set, name: Authorization, valueRef: {managedIdentityRef: \
                      {type: SystemAssigned, resource: 'https://vault.test', format: 'Bearer {value}'}}}";

/// A gateway whose platform answers like this.
async fn scene(reply: Reply) -> (Gateway, Origin, Origin) {
    let platform = Origin::http([reply]).await;
    let echo = Reply::ok("your canary-of-identity");
    let origin = Origin::tls("api.test", Behaviour::Http(vec![echo])).await;
    let endpoint = format!("http://{}/metadata/identity/oauth2/token", platform.address());
    let policy = transform(HEADER);
    let gateway = Gateway::inspecting_with(&policy, [("api.test", &origin)], |config| {
        let endpoint = Endpoint::parse_base(&endpoint).expect("an endpoint");
        config.secrets.managed_identity = Some(Platform::Metadata { endpoint });
    })
    .await;
    (gateway, origin, platform)
}

#[tokio::test]
async fn a_token_of_a_managed_identity_is_asked_for_once_and_sent_and_masked() {
    let (gateway, origin, platform) = scene(Reply::ok(TOKEN)).await;
    for _ in 0..3 {
        let answer = gateway.inside("api.test", &origin, &["http/1.1"]).await.ask(get("/", "")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "your ******************"));
    }
    for at in 0..3 {
        assert!(origin.received(at).contains("authorization: Bearer canary-of-identity\r\n"));
    }
    let asked = platform.received(0).to_ascii_lowercase();
    assert_eq!(platform.connections(), 1);
    assert!(asked.contains("metadata: true") && asked.contains("resource=https"), "{asked}");
    let record = gateway.record("request", "api.test").await;
    assert_eq!(record["secrets"], serde_json::json!(["https://vault.test"]), "{record}");
}

#[tokio::test]
async fn without_a_token_the_request_is_denied_and_told_no_more_than_that() {
    let (gateway, origin, platform) = scene(Reply::status("500 No", "canary-of-identity")).await;
    let answer = gateway.inside("api.test", &origin, &["http/1.1"]).await.ask(get("/", "")).await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some("secret_unavailable")));
    let service = platform.address().to_string();
    assert!(!answer.body.contains(&service) && !answer.body.contains("canary"), "{}", answer.body);
    let record = gateway.record("request", "api.test").await;
    let error = record["error"].as_str().unwrap();
    assert!(error.contains("500") && !error.contains("canary"), "{error}");
    assert_eq!(origin.connections(), 0);
}
