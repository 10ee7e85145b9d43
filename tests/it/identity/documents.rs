//! Documents come, go and are required with their sandbox.

use super::*;

#[tokio::test]
async fn a_document_for_a_sandbox_that_is_added_is_in_force_with_it_and_goes_with_it() {
    let (gateway, origin) = start(ONE).await;
    let file = gateway.policies().join("two.yaml");
    let own = "kind: EgressPolicy\nmetadata: {name: own, sandbox: two}\nspec: {mode: Limited}\n";
    let load = gateway.after_load(|| std::fs::write(&file, own).unwrap()).await;
    assert_eq!(
        (&load["outcome"], &load["generation"]),
        (&"refused".into(), &1.into()),
        "nobody is sandbox two"
    );
    let load = gateway.configure(BOTH).await;
    assert_eq!((&load["outcome"], &load["generation"]), (&"ok".into(), &2.into()), "{load:#}");
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await, (403, "default_deny".into()));

    // Its file goes with it: what is left is no orphan.
    let load = gateway
        .after_load(|| {
            std::fs::remove_file(&file).unwrap();
        })
        .await;
    assert_eq!(load["outcome"], "refused", "a file that vanishes removes nothing");
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await, (403, "default_deny".into()));
    let load = gateway.configure(ONE).await;
    assert_eq!((&load["outcome"], &load["error"]), (&"ok".into(), &Value::Null), "{load:#}");
    gateway.configure(BOTH).await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 200, "its document is gone");
}

#[tokio::test]
async fn a_sandbox_that_must_have_a_document_is_denied_from_the_reload_on() {
    let (gateway, origin) = start(ONE).await;
    let open = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    gateway.configure("sandboxes:\n  - {id: one, sources: [127.0.0.1], requirePolicy: true}\n").await;
    let mut open = open;
    open.expect_reset().await;
    assert_eq!(end_of(&gateway, &open).await["reason"], "policy_change");
    assert_eq!(asked(&gateway, &origin, "127.0.0.1").await, (403, "no_policy".into()));
}

#[tokio::test]
async fn a_configuration_from_a_mounted_configmap_is_followed() {
    let (gateway, origin) = start(BOTH).await;
    let file = gateway.config_file();
    let place = file.parent().unwrap().to_owned();
    let text = std::fs::read_to_string(&file).unwrap();
    let one = text.replace(BOTH, ONE);
    assert_ne!(text, one);
    for (version, text) in [("..1", &text), ("..2", &one)] {
        std::fs::create_dir(place.join(version)).unwrap();
        std::fs::write(place.join(version).join("gate.yaml"), text).unwrap();
    }
    std::os::unix::fs::symlink("..1", place.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/gate.yaml", place.join("link")).unwrap();
    std::fs::rename(place.join("link"), &file).unwrap();
    let two = tunnel(&gateway, &origin, "127.0.0.2", "").await;
    std::os::unix::fs::symlink("..2", place.join("..data_tmp")).unwrap();
    let load =
        gateway.after_load(|| std::fs::rename(place.join("..data_tmp"), place.join("..data")).unwrap()).await;
    assert_eq!((&load["outcome"], &load["generation"]), (&"ok".into(), &2.into()), "{load:#}");
    is_ended(&gateway, two, "two").await;
}
