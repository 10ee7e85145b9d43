//! Files that change: in force, kept, removed, followed.

use super::*;
use crate::kit::tool;

#[tokio::test]
async fn a_good_change_is_in_force_in_records_metrics_and_the_admin_server() {
    let (gateway, origin) = start(|_| NOTHING.to_owned()).await;
    assert_eq!(asked(&gateway, &origin).await, (403, "default_deny".into()));
    let load = put(&gateway, "policy.yaml", &good(origin.port())).await;
    assert_eq!((&load["generation"], &load["outcome"]), (&2.into(), &"ok".into()));
    assert_eq!(asked(&gateway, &origin).await.0, 200);
    assert_eq!(gateway.record("open", "good.test").await["generation"], 2);
    assert_eq!(gateway.record("connection", "good.test").await["generation"], 1);
    assert!((gateway.metric("sluicegate_policy_generation").await - 2.0).abs() < f64::EPSILON);
    assert_eq!(gateway.running().last_load().generation, 2);
}

#[tokio::test]
async fn p2_a_broken_file_leaves_what_was_in_force_is_counted_and_recorded_and_mended_by_the_next_good_one() {
    for broken in
        ["mode: [", "", "null\n", "mode: Unrestricted\nhostRulez: []\n", "mode: unrestricted\n", "mode: Unr"]
    {
        let (gateway, origin) = start(good).await;
        let open = tunnel(&gateway, &origin).await;
        let load = put(&gateway, "policy.yaml", broken).await;
        assert_eq!((&load["generation"], &load["outcome"]), (&1.into(), &"refused".into()), "{broken:?}");
        assert!(load["error"].is_string(), "{load}");
        let rejected = gateway.metric("sluicegate_policy_reloads_total{result=\"rejected\"}").await;
        assert!((rejected - 1.0).abs() < f64::EPSILON, "{broken:?}");
        assert_eq!(asked(&gateway, &origin).await.0, 200, "{broken:?}");
        let mut client = gateway.client().await;
        let other = client.ask("CONNECT other.test:443 HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
        assert_eq!(other.status, 403, "{broken:?} widened the policy");
        let mut open = open;
        open.send("on").await;
        open.expect("on").await;
        assert_eq!(gateway.admin_get("/readyz").await.0, 200, "the last good policy is in force");
        let load = put(&gateway, "policy.yaml", NOTHING).await;
        assert_eq!((&load["generation"], &load["outcome"]), (&2.into(), &"ok".into()));
        assert_eq!(gateway.admin_get("/readyz").await.0, 200);
    }
}

#[tokio::test]
async fn p2_a_deleted_file_and_a_deleted_directory_remove_nothing() {
    let (gateway, origin) = start(good).await;
    let file = gateway.policies().join("policy.yaml");
    let load = change(&gateway, || std::fs::remove_file(&file).unwrap()).await;
    assert_eq!(load["outcome"], "refused");
    assert_eq!(asked(&gateway, &origin).await.0, 200);
    let load = change(&gateway, || std::fs::remove_dir(gateway.policies()).unwrap()).await;
    assert_eq!(load["outcome"], "refused");
    assert_eq!(asked(&gateway, &origin).await.0, 200);
    std::fs::create_dir(gateway.policies()).unwrap();
    let load = put(&gateway, "policy.yaml", NOTHING).await;
    assert_eq!(load["outcome"], "ok");
    assert_eq!(asked(&gateway, &origin).await, (403, "default_deny".into()));
}

#[tokio::test]
async fn p2_a_second_document_of_a_scope_is_refused_whatever_its_file_is_called() {
    let (gateway, origin) = start(good).await;
    for name in ["0.yaml", "z.yaml"] {
        let load = put(&gateway, name, "mode: Unrestricted\n").await;
        assert_eq!((&load["generation"], &load["outcome"]), (&1.into(), &"refused".into()), "{name}");
        let mut client = gateway.client().await;
        let other = client.ask("CONNECT other.test:443 HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
        assert_eq!((other.status, other.header("x-deny-reason")), (403, Some("default_deny")), "{name}");
        change(&gateway, || std::fs::remove_file(gateway.policies().join(name)).unwrap()).await;
    }
    assert_eq!(asked(&gateway, &origin).await.0, 200);
}

#[tokio::test]
async fn p4_a_tightened_global_document_is_not_held_up_by_a_broken_one_of_a_sandbox() {
    let (gateway, origin) = start(good).await;
    put(
        &gateway,
        "own.yaml",
        &own("default", &format!("{{mode: Limited, hostRules: ['good.test:{}']}}", origin.port())),
    )
    .await;
    let mut open = tunnel(&gateway, &origin).await;
    // Both at once: the broken one is there before the tight one is looked at.
    std::fs::write(gateway.policies().join("own.yaml"), own("default", "{mode: limited}")).unwrap();
    put(&gateway, "policy.yaml", NOTHING).await;
    open.expect_reset().await;
    assert_eq!(asked(&gateway, &origin).await, (403, "default_deny".into()));
    let generation = gateway.metric("sluicegate_policy_generation").await;
    assert!(generation >= 3.0, "the gauge tells what is in force, not what was last good: {generation}");
}

#[tokio::test]
async fn p4_a_document_beyond_a_higher_ones_constraints_is_policy_error_for_its_sandbox_only_and_back_again()
{
    let origin = Origin::echo().await;
    let global = |constraints: &str| format!("mode: Unrestricted\n{constraints}");
    let sandbox = |id: &str, source: &str| SandboxSettings {
        id: id.into(),
        group: None,
        sources: vec![source.parse().unwrap()],
        token: None,
        require_policy: false,
    };
    let gateway = Gateway::with(&global(""), |config| {
        config.sandboxes = vec![sandbox("one", "127.0.0.1/32"), sandbox("two", "127.0.0.2/32")];
    })
    .await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    put(&gateway, "one.yaml", &own("one", "{mode: Unrestricted}")).await;
    let mut open = tunnel(&gateway, &origin).await;
    let load = put(&gateway, "policy.yaml", &global("constraints: {maxMode: Limited}\n")).await;
    assert_eq!(load["outcome"], "refused");
    open.expect_reset().await;
    assert_eq!(asked_from(&gateway, &origin, "127.0.0.1").await, (403, "policy_error".into()));
    assert_eq!(asked_from(&gateway, &origin, "127.0.0.2").await.0, 200, "the rest runs");
    let ended = gateway
        .wait_for("the end of the tunnel", |all| all.iter().any(|record| record["reason"] == "policy_change"))
        .await;
    let ended = ended.iter().find(|record| record["reason"] == "policy_change").unwrap();
    assert_eq!((&ended["sandbox"], &ended["outcome"]), (&"one".into(), &"policy_change".into()));
    put(&gateway, "policy.yaml", &global("")).await;
    assert_eq!(asked_from(&gateway, &origin, "127.0.0.1").await.0, 200, "and back again");
}

#[tokio::test]
async fn a_document_is_removed_by_saying_so() {
    let (gateway, origin) = start(good).await;
    put(&gateway, "own.yaml", &own("default", "{mode: Limited}")).await;
    assert_eq!(asked(&gateway, &origin).await.0, 403);
    let removal = "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {name: default, sandbox: default, removed: true}\n";
    let load = put(&gateway, "own.yaml", removal).await;
    assert_eq!(load["outcome"], "ok");
    assert_eq!(asked(&gateway, &origin).await.0, 200);
    let removal = "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {name: policy, removed: true}\n";
    put(&gateway, "policy.yaml", removal).await;
    assert_eq!(asked(&gateway, &origin).await, (403, "no_policy".into()), "nothing left is no permission");
}

#[tokio::test]
async fn a_file_written_in_place_piece_by_piece_ends_up_in_force_whole() {
    use std::io::Write as _;
    let (gateway, origin) = start(|_| NOTHING.to_owned()).await;
    let before = gateway.loads().await;
    let mut file = std::fs::File::create(gateway.policies().join("policy.yaml")).unwrap();
    for byte in good(origin.port()).as_bytes() {
        file.write_all(&[*byte]).unwrap();
        file.sync_data().unwrap();
    }
    drop(file);
    let last =
        |all: &[Value]| all.iter().rev().find(|record| is_load(record)).map(|load| load["outcome"].clone());
    let whole = |all: &[Value]| {
        all.iter().filter(|record| is_load(record)).count() > before && last(all) == Some("ok".into())
    };
    gateway.wait_for("a good load", whole).await;
    within("the whole file to be in force", async { while asked(&gateway, &origin).await.0 != 200 {} }).await;
}

#[tokio::test]
async fn a_mounted_configmap_is_followed() {
    let (gateway, origin) = start(good).await;
    let policies = gateway.policies();
    for (version, text) in [("..1", good(origin.port())), ("..2", NOTHING.to_owned())] {
        std::fs::create_dir(policies.join(version)).unwrap();
        std::fs::write(policies.join(version).join("policy.yaml"), text).unwrap();
    }
    symlink("..1", policies.join("..data")).unwrap();
    symlink("..data/policy.yaml", policies.join("draft")).unwrap();
    std::fs::rename(policies.join("draft"), policies.join("policy.yaml")).unwrap();
    assert_eq!(asked(&gateway, &origin).await.0, 200);
    let mut open = tunnel(&gateway, &origin).await;
    symlink("..2", policies.join("..data_tmp")).unwrap();
    std::fs::rename(policies.join("..data_tmp"), policies.join("..data")).unwrap();
    open.expect_reset().await;
    assert_eq!(asked(&gateway, &origin).await, (403, "default_deny".into()));
}

#[tokio::test]
async fn a_single_policy_file_is_followed_when_it_is_replaced() {
    let origin = Origin::echo().await;
    let gateway = Gateway::with(NOTHING, |config| {
        let path = config.policy.take().unwrap().join("policy.yaml");
        config.policy = Some(path);
    })
    .await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    assert_eq!(asked(&gateway, &origin).await.0, 403);
    gateway.set_policy(&good(origin.port())).await;
    assert_eq!(asked(&gateway, &origin).await.0, 200);
}

#[tokio::test]
async fn nothing_changed_is_no_swap_no_record_and_no_harm_to_a_tunnel() {
    let (gateway, origin) = start(good).await;
    let mut open = tunnel(&gateway, &origin).await;
    gateway.running().reload();
    std::fs::write(gateway.policies().join("policy.yaml"), good(origin.port())).unwrap();
    gateway.running().reload();
    // A load that must come after those above, as one thread does them in order.
    let load = put(&gateway, "own.yaml", &own("other", "{mode: Limited}")).await;
    assert_eq!(load["generation"], 2);
    assert_eq!(gateway.loads().await, 2);
    open.send("on").await;
    open.expect("on").await;
}

#[tokio::test]
async fn what_a_change_of_policy_widens_is_recorded_with_both_texts_and_who_wrote_it() {
    let (gateway, _origin) = start(|_| NOTHING.to_owned()).await;
    let Some(tool) = tool::find("sha256sum") else { return };
    let sha256 = async || {
        let sum = tool::run(&tool, [gateway.policies().join("policy.yaml")]).await;
        sum.stdout.split(' ').next().unwrap().to_owned()
    };
    let before = sha256().await;
    let load =
        put(&gateway, "policy.yaml", "mode: Limited\nhostRules: [nothing.test, 'api.test:443']\n").await;
    assert_eq!(load["change"], serde_json::json!({"documents": 1, "unrecorded": 0}), "{load:#}");
    let records = gateway.records().await;
    let changes: Vec<&Value> =
        records.iter().filter(|record| record["kind"] == "policy" && !is_load(record)).collect();
    let [change] = changes[..] else { panic!("one document is wider: {changes:#?}") };
    let file = gateway.policies().join("policy.yaml").display().to_string();
    assert_eq!((&change["policy"], &change["scope"]), (&"policy".into(), &"Global".into()));
    assert_eq!(change["generation"], load["generation"]);
    let expected = serde_json::json!({
        "actor": {"kind": "file", "name": file},
        "before": before,
        "after": sha256().await,
        "widened": [format!("`api.test:443` is allowed by hostRules[1] ({file}:2:27)")],
    });
    assert_eq!(change["change"], expected);
    let narrower = put(&gateway, "policy.yaml", NOTHING).await;
    assert!(narrower["change"].is_null(), "{narrower:#}");
}
