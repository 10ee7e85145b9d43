//! A secret in a file that changes, vanishes or holds what cannot be sent, and a policy that does.

use super::*;
use crate::kit::within;

/// Asks until the status is as wanted, and answers what the client was told.
async fn until(scene: &Scene, status: u16) -> String {
    let asking = async {
        loop {
            let answer = scene.client().await.ask(get("/", "")).await;
            if answer.status == status {
                return answer.body;
            }
        }
    };
    within("the file to be looked at again", asking).await
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let scene = Scene::answering([Reply::ok("")]).await;
    assert_eq!(scene.client().await.ask(get("/", "")).await.status, 200);
    replace(scene.value.path(), "another-canary-88\n");
    let rotated = async {
        loop {
            assert_eq!(scene.client().await.ask(get("/", "")).await.status, 200);
            if scene.origin.received(scene.origin.connections() - 1).contains("Bearer another-canary-88\r\n")
            {
                return;
            }
        }
    };
    within("the new value", rotated).await;
}

#[tokio::test]
async fn s5_a_value_that_cannot_be_had_is_a_denial_that_names_no_file_to_the_client() {
    let scene = Scene::answering([Reply::ok("")]).await;
    assert_eq!(until(&scene, 200).await, "");
    let connections = scene.origin.connections();
    let path = scene.value.path().display().to_string();
    for content in [None, Some(""), Some("canary-two\nlines-88"), Some("canary-88-\u{e9}")] {
        match content {
            None => std::fs::remove_file(scene.value.path()).unwrap(),
            Some(content) => std::fs::write(scene.value.path(), content).unwrap(),
        }
        let told = until(&scene, 403).await;
        assert!(told.contains("secret_unavailable") && told.contains("github/token"), "{told}");
        assert!(!told.contains(&path) && !told.contains("/tmp"), "{told}");
        assert!(!told.contains("canary"), "{told}");
        let records = scene.gateway.records().await;
        let last = records.iter().rfind(|record| record["reason"] == "secret_unavailable").unwrap();
        let error = last["error"].as_str().unwrap();
        assert!(error.contains(&path) && !error.contains("canary"), "{error}");
        assert!(last.get("secrets").is_none(), "{last}");
        std::fs::write(scene.value.path(), VALUE).unwrap();
        until(&scene, 200).await;
    }
    let _opened = scene.origin.connections() - connections;
}

#[tokio::test]
async fn p4_a_request_with_a_secret_ends_when_the_policy_no_longer_allows_it() {
    let scene = Scene::answering([Reply::events(["one", "two"])]).await;
    let mut client = scene.client().await;
    client.send(get("/", "")).await;
    scene.origin.step();
    client.expect("HTTP/1.1 200").await;
    scene.gateway.set_policy(&(secret(scene.value.path(), "") + "mode: Limited\n")).await;
    client.expect_closed().await;
    let record = scene.gateway.record("request", "api.test").await;
    assert_eq!(record["outcome"], "policy_change", "{record}");
    assert_eq!(record["secrets"], serde_json::json!(["github/token"]), "{record}");
}
