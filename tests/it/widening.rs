//! What a change of policy widens, told by the real binary: records, the log, and nothing where nothing is wider.

use std::path::Path;

use serde_json::{Value, json};

use crate::kit::process::{Place, Process};
use crate::kit::tool;

/// One network, and an operator who lets rules be skipped.
const CONFIG: &str = "policy: {path: policy.yaml}
skipEgressProxy: Permitted
networks:
  prod: {sourceAddress: 127.0.0.13, dns: ['127.0.0.9:53']}
";

/// The digest of a file, by another program.
async fn sha256(path: &Path) -> Option<String> {
    let ran = tool::run(&tool::find("sha256sum")?, [path]).await;
    Some(ran.stdout.split(' ').next().unwrap().to_owned())
}

/// Whether a record tells of a load as a whole.
fn is_load(record: &Value) -> bool {
    record["kind"] == "policy" && record["policy"].is_null()
}

/// Replaces the policy, and gives the records of the load that follows: of each document, and of all.
async fn put(gateway: &Process, place: &Place, policy: &str) -> Vec<Value> {
    let loads = |records: &[Value]| records.iter().filter(|record| is_load(record)).count();
    let before = gateway.records("the records so far", |_| true).await;
    place.replace("policy.yaml", policy);
    let all = gateway.records("a load", |records| loads(records) > loads(&before)).await;
    all[before.len()..].iter().filter(|record| record["kind"] == "policy").cloned().collect()
}

/// A document in mode `VNet` with these managed hosts and more.
fn vnet(hosts: &str, more: &str) -> String {
    format!(
        "kind: EgressPolicy\nmetadata: {{name: net}}\nspec:\n  mode: VNet\n  vnet: {{network: prod, managedPath: {{additionalHosts: [{hosts}]}}}}\n{more}"
    )
}

/// A document that allows these hosts and denies others.
fn limited(allowed: &str, denied: &str) -> String {
    format!(
        "kind: EgressPolicy\nmetadata: {{name: net}}\nspec:\n  mode: Limited\n  hostRules: [{allowed}, {{pattern: {denied}, action: Deny}}]\n"
    )
}

#[tokio::test]
async fn each_widening_leaves_a_record_with_who_and_both_digests_and_a_line_in_the_log_that_names_the_document()
 {
    let open = "kind: EgressPolicy\nmetadata: {name: net}\nspec: {mode: Unrestricted}\n".to_owned();
    let deny = "kind: EgressPolicy\nmetadata: {name: net}\nspec: {mode: Limited}\n".to_owned();
    let skips = deny.replace("Limited", "Limited, skipEgressProxy: true");
    let place = Place::with(&deny);
    place.write("gate.yaml", CONFIG);
    let gateway = Process::start(&place, &["--config", "gate.yaml"]).await;
    let file = place.path("policy.yaml");
    for (narrow, wide, told) in [
        (deny.clone(), open, "defaultAction"),
        (
            limited("a.test", "x.a.test"),
            limited("a.test, b.test", "x.a.test"),
            "`b.test` is allowed by hostRules[1]",
        ),
        (limited("'*.a.test'", "x.a.test"), limited("'*.a.test'", "y.z.test"), "x.a.test"),
        (vnet("m.test", ""), vnet("m.test, n.test", ""), "`n.test` takes the managed path"),
        (
            vnet("m.test", "").replace("[m.test]", "[m.test, o.test]"),
            vnet("m.test", ""),
            "`o.test` takes the network",
        ),
        (deny.clone(), skips, "`skipEgressProxy` is true"),
    ] {
        if place.read("policy.yaml") != narrow {
            put(&gateway, &place, &narrow).await;
        }
        let Some(before) = sha256(&file).await else { return };
        let records = put(&gateway, &place, &wide).await;
        let after = sha256(&file).await.unwrap();
        let [change, load] = &records[..] else { panic!("one document and the load: {records:#?}") };
        assert_eq!([&change["policy"], &change["scope"]], ["net", "Global"], "{change:#}");
        assert_eq!(change["change"]["actor"], json!({"kind": "file", "name": "policy.yaml"}), "{change:#}");
        assert_eq!(
            [&change["change"]["before"], &change["change"]["after"]],
            [&before, &after],
            "{change:#}"
        );
        let widened = change["change"]["widened"].as_array().unwrap();
        let says = |sentence: &Value| {
            let sentence = sentence.as_str().unwrap();
            sentence.contains(told) && sentence.contains("policy.yaml:")
        };
        assert!(widened.iter().any(says), "{told}: {change:#}");
        assert_eq!(load["change"], json!({"documents": 1, "unrecorded": 0}), "{load:#}");
        assert_eq!(load["generation"], change["generation"]);
        let generation = format!("generation={} ", load["generation"]);
        gateway.logs(&generation).await;
        let log = gateway.stderr.all();
        let line = log.iter().find(|line| line.contains(&generation)).unwrap();
        assert!(
            line.contains("WARN") && line.contains("it lets more through") && line.contains("names=\"net\""),
            "{line}"
        );
    }
}

#[tokio::test]
async fn what_only_narrows_leaves_the_record_of_the_load_alone() {
    let deny = "kind: EgressPolicy\nmetadata: {name: net}\nspec: {mode: Limited}\n".to_owned();
    let open = deny.replace("Limited", "Unrestricted");
    let place = Place::with(&open);
    place.write("gate.yaml", CONFIG);
    let gateway = Process::start(&place, &["--config", "gate.yaml"]).await;
    for (wide, narrow) in [
        (open.clone(), deny.clone()),
        (limited("a.test, b.test", "x.a.test"), limited("a.test", "x.a.test")),
        (limited("a.test", "x.a.test"), limited("a.test", "'*.a.test'")),
        (vnet("m.test", ""), vnet("m.test", "  hostRules: [{pattern: bad.test, action: Deny}]\n")),
        (open, deny),
    ] {
        if place.read("policy.yaml") != wide {
            put(&gateway, &place, &wide).await;
        }
        let records = put(&gateway, &place, &narrow).await;
        let [load] = &records[..] else { panic!("{wide}{narrow}: {records:#?}") };
        assert!(is_load(load) && load["change"].is_null() && load["outcome"] == "ok", "{load:#}");
        let generation = format!("generation={} ", load["generation"]);
        gateway.logs(&generation).await;
        let log = gateway.stderr.all();
        let line = log.iter().find(|line| line.contains(&generation)).unwrap();
        assert!(line.contains("INFO") && !line.contains("lets more through"), "{line}");
    }
}

#[tokio::test]
async fn s1_a_secret_that_may_be_sent_to_more_hosts_leaves_a_record_of_its_own_though_no_document_changed() {
    let secret = |hosts: &str| {
        format!(
            "kind: EgressPolicy\nmetadata: {{name: net}}\nspec: {{mode: Limited}}\n---\nkind: Secret\nmetadata: {{name: forge}}\nspec: {{keys: {{token: {{file: token}}}}, hosts: [{hosts}]}}\n"
        )
    };
    let place = Place::with(&secret("a.test"));
    place.write("token", "opaque-value");
    place.write("gate.yaml", CONFIG);
    let gateway = Process::start(&place, &["--config", "gate.yaml"]).await;
    let file = place.path("policy.yaml");
    let Some(before) = sha256(&file).await else { return };
    let records = put(&gateway, &place, &secret("a.test, b.test")).await;
    let after = sha256(&file).await.unwrap();
    let [change, load] = &records[..] else { panic!("one secret and the load: {records:#?}") };
    assert_eq!([&change["policy"], &change["scope"]], ["forge", "Global"], "{change:#}");
    let expected = json!({
        "actor": {"kind": "file", "name": "policy.yaml"}, "before": before, "after": after,
        "widened": ["the secret `forge` may be sent to `b.test` (policy.yaml:5:1)"],
    });
    assert_eq!(change["change"], expected, "{change:#}");
    assert_eq!(load["change"], json!({"documents": 1, "unrecorded": 0}), "{load:#}");
    let generation = format!("generation={} ", load["generation"]);
    gateway.logs(&generation).await;
    let log = gateway.stderr.all();
    let line = log.iter().find(|line| line.contains(&generation)).unwrap();
    assert!(line.contains("it lets more through") && line.contains("names=\"forge\""), "{line}");
    let records = put(&gateway, &place, &secret("b.test")).await;
    assert!(records.iter().all(|record| is_load(record) && record["change"].is_null()), "{records:#?}");
}
