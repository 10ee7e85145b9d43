//! Configurations that are broken, or wait for a restart.

use super::*;

#[tokio::test]
async fn p2_a_broken_configuration_leaves_the_last_good_one_in_force_and_is_told_like_a_broken_policy() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "ops-token").unwrap();
    let admin = format!(
        "admin: {{address: '127.0.0.1:0', tokens: [{{name: ops, role: Reader, token: {{file: '{}'}}}}]}}\n",
        secret.path().display()
    );
    let (gateway, origin) = start(&format!("{admin}{ONE}")).await;
    let mut open = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    let ready = async || {
        let host = gateway.admin();
        let ask = format!(
            "GET /readyz HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer ops-token\r\nconnection: close\r\n\r\n"
        );
        let answer = Client::connect(host).await.ask(ask).await;
        (answer.status, answer.body)
    };
    let two = format!("{admin}sandboxes:\n  - {{id: two, sources: [127.0.0.2]}}\n");
    let mut rejected = 0.0;
    for (broken, part) in [
        (format!("{two}sandboxes: []\n"), "duplicate key"),
        (format!("{two}colour: red\n"), "unknown key `colour`"),
        (format!("{two}  - {{id: two, sources: [127.0.0.3]}}\n"), "already"),
        (format!("{two}  - {{id: three, sources: [127.0.0.0/8]}}\n"), "overlaps"),
        (format!("{two}  - {{id: three, token: {{file: /nowhere/token}}}}\n"), "has no token"),
        (format!("{two}  - {{id: four, token: {{env: SLUICEGATE_TEST_UNSET}}}}\n"), "has no token"),
        (format!("{two}sinks: ["), "gate.yaml"),
    ] {
        let load = gateway.configure(&broken).await;
        assert_eq!((&load["outcome"], &load["generation"]), (&"refused".into(), &1.into()), "{load:#}");
        assert!(load["error"].as_str().unwrap_or_default().contains(part), "{part}: {load:#}");
        rejected += 1.0;
        let counted = gateway.metric("sluicegate_policy_reloads_total{result=\"rejected\"}").await;
        assert!((counted - rejected).abs() < f64::EPSILON, "{counted}");
        let (status, text) = ready().await;
        assert!(status == 200 && text.contains(part) && text.contains("generation 1 stays"), "{text}");
        goes_on(&mut open).await;
        assert_eq!(asked(&gateway, &origin, "127.0.0.1").await.0, 200);
        assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 407);
    }
    let load = gateway.after_load(|| std::fs::remove_file(gateway.config_file()).unwrap()).await;
    assert!(load["error"].as_str().unwrap_or_default().contains("cannot read"), "{load:#}");
    goes_on(&mut open).await;
    // A policy that changes meanwhile takes effect.
    let load = gateway.after_load(|| {
        std::fs::write(gateway.policies().join("one.yaml"), document("sandbox: one", origin.port())).unwrap();
    });
    assert_eq!(load.await["generation"], 2);
    let load = gateway.configure(&two).await;
    assert_eq!(load["generation"], 3);
    is_ended(&gateway, open, "one").await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 200);
}

#[tokio::test]
async fn p3_what_waits_for_a_restart_is_said_and_the_rest_takes_effect() {
    let (gateway, origin) = start(ONE).await;
    let listeners = "listeners: [{address: '127.0.0.1:1'}]\nech: Deny\nguards: {exempt: []}\n";
    let load = gateway.configure(&format!("{listeners}{BOTH}")).await;
    let told = "takes effect after a restart: listeners, ech, guards";
    assert_eq!((&load["outcome"], &load["error"]), (&"ok".into(), &told.into()), "{load:#}");
    assert_eq!(
        asked(&gateway, &origin, "127.0.0.2").await.0,
        200,
        "the sandbox is there, the guards are as they were"
    );
    let problems = gateway.running().last_load().problems;
    assert!(
        problems.iter().any(|problem| !problem.is_error() && problem.to_string().contains(told)),
        "{problems:#?}"
    );
    // The name of a sandbox at a listener waits too; the sandbox that was there is gone at once.
    let load = gateway.configure(BOTH).await;
    assert_eq!((&load["outcome"], &load["error"]), (&"ok".into(), &Value::Null), "{load:#}");
    assert!(gateway.running().last_load().pending.is_empty());
}

#[tokio::test]
async fn p3_a_listener_whose_sandbox_is_gone_lets_nobody_in_until_the_restart() {
    let listener = "listeners: [{address: '127.0.0.1:0', sandbox: one}]\n";
    let (gateway, origin) =
        start(&format!("{listener}sandboxes: [{{id: one}}, {{id: two, sources: [127.0.0.2]}}]\n")).await;
    let open = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    let load = gateway.configure("sandboxes: [{id: two, sources: [127.0.0.2]}]\n").await;
    assert_eq!(load["error"], "takes effect after a restart: listeners", "{load:#}");
    is_ended(&gateway, open, "one").await;
    for source in ["127.0.0.1", "127.0.0.2"] {
        assert_eq!(asked(&gateway, &origin, source).await, (407, "identity_unknown".into()), "{source}");
    }
}

#[tokio::test]
async fn p2_what_is_wrong_with_the_policies_goes_on_being_told_when_only_the_configuration_changes() {
    let (gateway, origin) = start(ONE).await;
    let broken = gateway.policies().join("broken.yaml");
    gateway.after_load(|| std::fs::write(&broken, "mode: limited\n").unwrap()).await;
    let load = gateway.configure(BOTH).await;
    assert_eq!((&load["outcome"], &load["generation"]), (&"refused".into(), &2.into()), "{load:#}");
    assert!(load["error"].as_str().unwrap_or_default().contains("broken.yaml"), "{load:#}");
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 200);
    let load = gateway.after_load(|| std::fs::remove_file(&broken).unwrap()).await;
    assert_eq!(load["outcome"], "ok", "{load:#}");
    // And the other way round.
    gateway.configure("sandboxes: [").await;
    let load = gateway.after_load(|| std::fs::write(&broken, "mode: limited\n").unwrap()).await;
    assert!(load["error"].as_str().unwrap_or_default().contains("gate.yaml"), "{load:#}");
    std::fs::remove_file(&broken).unwrap();
    let load = gateway.configure(ONE).await;
    assert_eq!((&load["outcome"], &load["error"]), (&"ok".into(), &Value::Null), "{load:#}");
}
