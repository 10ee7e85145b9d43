//! What the operator adds to the paths: hosts of the platform, groups of a network, and sandboxes whose rules are not asked.

use serde_json::Value;

use crate::kit::dns::Answer;
use crate::vnet::ask::{assert_failed, assert_path};
use crate::vnet::counters::Link;
use crate::vnet::topology::{NETWORKS, TwoUplinks, managed};

/// The usual networks, and a host of the platform with everything below it.
const PLATFORM: &str = "networks:
  managed: {platformHosts: [platform.test, '*.platform.test']}
  prod: {interface: eth1, dns: ['10.20.0.53:53']}
";

#[tokio::test]
async fn hosts_of_the_platform_take_the_managed_path_whatever_a_document_says_and_are_judged_all_the_same() {
    let denied = format!(
        "{}hostRules: [{{pattern: bad.platform.test, action: Deny}}]\n",
        managed("additionalHosts: [left.test]")
    );
    let Some(net) = TwoUplinks::start("platform", &denied, PLATFORM).await else { return };
    let _origins = net.origins();
    for (name, link) in [
        ("platform.test", Link::Managed),
        ("a.platform.test", Link::Managed),
        ("left.test", Link::Managed),
        ("xplatform.test", Link::Delegated),
    ] {
        net.both_say(name);
        let tunnel = net.only_by(link, async || net.hello(name, link).await).await;
        net.end(tunnel, link).await;
    }
    let refused = async || net.refused("bad.platform.test:443", Some("bad.platform.test")).await;
    assert_eq!(net.by_none(refused).await["reason"], "host_denied");
}

/// One document above all and one for the sandbox that is not to be asked.
fn skipping(constraints: &str, rules: &str) -> String {
    format!(
        "kind: EgressPolicy
metadata: {{name: above}}
spec:
  mode: VNet
  vnet: {{network: prod, managedPath: {{additionalHosts: [left.test]}}{rules}}}
  {constraints}
---
kind: EgressPolicy
metadata: {{name: free, sandbox: one}}
spec: {{mode: Limited, hostRules: [allowed.test], skipEgressProxy: true}}
"
    )
}

#[tokio::test]
async fn a_sandbox_whose_rules_are_skipped_is_recorded_so_and_keeps_its_paths_and_the_hard_guards() {
    let permitted = "constraints: {skipEgressProxy: Permitted}";
    let networks = format!("{NETWORKS}skipEgressProxy: Permitted\n");
    let policy = skipping(permitted, "");
    let Some(net) = TwoUplinks::start("skip", &policy, &networks).await else { return };
    let _origins = net.origins();
    // No document allows them by its rules; the path is still the network's.
    for (name, link) in [("left.test", Link::Managed), ("right.test", Link::Delegated)] {
        net.both_say(name);
        let tunnel = net.only_by(link, async || net.hello(name, link).await).await;
        let record = net.end(tunnel, link).await;
        assert_eq!((&record["decision"], &record["reason"]), (&"skip".into(), &Value::Null), "{record:#}");
    }
    net.both_say("web.test");
    let (answer, record) = net.only_by(Link::Delegated, async || net.get("http://web.test/").await).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "delegated"));
    assert_eq!(record["decision"], "skip", "{record:#}");
    assert_path(&record, Link::Delegated);
    for (address, reason) in [
        ("169.254.169.254:80", "guard_metadata"),
        ("10.20.0.4:443", "guard_self"),
        ("10.20.0.53:53", "guard_self"),
        ("127.0.0.1:443", "guard_self"),
    ] {
        let record = net.by_none(async || net.refused(address, None).await).await;
        assert_eq!((&record["reason"], &record["decision"]), (&reason.into(), &"deny".into()), "{record:#}");
    }
    net.private_dns.says("meta.test", Answer::addresses(["169.254.169.254"]));
    let record = net.only_by(Link::Delegated, async || net.refused("meta.test:443", Some("meta.test")).await);
    assert_eq!(record.await["reason"], "guard_metadata");
    // Rules of the network are not the gateway's, and hold.
    let rules = ", securityRules: [{name: some, priority: 100, action: Allow, destination: [10.30.0.0/24]}]";
    net.set_policy(&skipping(permitted, rules)).await;
    let tunnel = net.only_by(Link::Delegated, async || net.literal("10.30.0.10:443", Link::Delegated).await);
    assert_eq!(net.end(tunnel.await, Link::Delegated).await["decision"], "skip");
    let record = net.by_none(async || net.refused("93.184.216.34:443", None).await).await;
    assert_failed(&record, "network_rule_denied", Link::Delegated);
    // Who above does not permit it has forbidden it.
    net.set_policy(&skipping("defaultAction: Allow", "")).await;
    let record = net.by_none(async || net.refused("right.test:443", Some("right.test")).await).await;
    assert_eq!((&record["reason"], &record["decision"]), (&"policy_error".into(), &"deny".into()));
}
