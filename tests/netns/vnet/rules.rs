//! Rules of the document and drops of the network itself, and which of them it was.

use std::time::Duration;

use crate::kit::dns::Answer;
use crate::topology::ORIGIN;
use crate::vnet::ask::assert_failed;
use crate::vnet::counters::Link;
use crate::vnet::topology::{DROPPED, NETWORKS, PRIVATE, REFUSED, TwoUplinks};

/// The lowest number decides, whatever the order in the file; what no rule mentions is denied.
const POLICY: &str = "mode: VNet
vnet:
  network: prod
  securityRules:
    - {name: services, priority: 300, action: Allow, destination: [10.30.0.0/24, 'fd00:30::/64'], ports: [443], protocol: Tcp}
    - {name: not-that-one, priority: 200, action: Deny, destination: [10.30.0.11/32]}
    - {name: but-there, priority: 100, action: Allow, destination: [10.30.0.11/32], ports: [80]}
  managedPath: {additionalHosts: [left.test]}
";

#[tokio::test]
async fn security_rules_of_the_document_deny_before_a_packet_and_drops_of_the_network_are_failures() {
    let Some(net) = TwoUplinks::start("rules", POLICY, NETWORKS).await else { return };
    let _origins = net.origins();
    for address in ["10.30.0.10:443", "[fd00:30::10]:443"] {
        let tunnel = net.only_by(Link::Delegated, async || net.literal(address, Link::Delegated).await).await;
        net.end(tunnel, Link::Delegated).await;
    }
    for address in
        ["10.30.0.11:443", "10.30.0.10:80", "10.30.0.10:22", "93.184.216.34:443", "[2600:1f18::34]:443"]
    {
        let record = net.by_none(async || net.refused(address, None).await).await;
        assert_failed(&record, "network_rule_denied", Link::Delegated);
    }
    // A name is asked for at the server of the path; what it leads to is not dialled.
    net.both_say("right.test");
    let refused = async || net.refused("right.test:443", Some("right.test")).await;
    let record = net.only_by(Link::Delegated, refused).await;
    assert_failed(&record, "network_rule_denied", Link::Delegated);
    net.private_dns.says("service.test", Answer::addresses([PRIVATE, ORIGIN]));
    let tunnel =
        net.only_by(Link::Delegated, async || net.hello("service.test", Link::Delegated).await).await;
    let record = net.end(tunnel, Link::Delegated).await;
    assert_eq!(record["address"], format!("{PRIVATE}:443"));
    // The managed path has none of these rules.
    net.both_say("left.test");
    let tunnel = net.only_by(Link::Managed, async || net.hello("left.test", Link::Managed).await).await;
    net.end(tunnel, Link::Managed).await;
    assert_eq!(net.router_counts(), (0, 0), "nothing so far was the router's");
    // What the document allows and the router does not: a failure that says so, soon, and nothing by the other link.
    for address in [DROPPED, REFUSED] {
        let begun = std::time::Instant::now();
        let refused = async || net.refused(&format!("{address}:443"), None).await;
        let record = net.only_by(Link::Delegated, refused).await;
        assert_failed(&record, "upstream_failed", Link::Delegated);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    let (dropped, refused) = net.router_counts();
    assert!(dropped > 0 && refused > 0, "{dropped} {refused}");
}

#[tokio::test]
async fn a_rule_that_is_added_ends_the_connections_that_it_denies() {
    let allowing = "mode: VNet\nvnet: {network: prod, securityRules: [{name: all, priority: 4096, action: Allow, destination: ['*']}]}\n";
    let Some(net) = TwoUplinks::start("added", allowing, NETWORKS).await else { return };
    let _origins = net.origins();
    net.both_say("right.test");
    let mut denied = net.literal("93.184.216.34:443", Link::Delegated).await;
    let mut named = net.hello("right.test", Link::Delegated).await;
    let mut stays = net.literal("10.30.0.10:443", Link::Delegated).await;
    net.set_policy(POLICY).await;
    for client in [&mut denied, &mut named] {
        let from = client.local().to_string();
        client.expect_closed().await;
        let records = net.records("its end", |all| {
            all.iter().any(|one| one["client"] == from && one["kind"] == "connection")
        });
        let record =
            records.await.into_iter().find(|one| one["client"] == from && one["kind"] == "connection");
        let record = record.expect("it was just seen");
        assert_eq!(record["reason"], "policy_change", "{record:#}");
    }
    stays.send("more").await;
    stays.expect("more").await;
    net.end(stays, Link::Delegated).await;
}
