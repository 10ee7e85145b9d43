//! A mark whose own table is empty, on hosts where a later rule leads to yet another table: that is somebody else's.

use crate::vnet::ask::assert_failed;
use crate::vnet::counters::Link;
use crate::vnet::topology::{TwoUplinks, managed};

/// What the delegated path is asked for.
const PLACE: &str = "10.30.0.10:443";

/// A running gateway with these networks and these rules.
async fn net(label: &str, networks: &str, rules: &str) -> Option<TwoUplinks> {
    let mut net = TwoUplinks::new(label)?;
    net.gate.ip(rules);
    net.run_gateway(&managed("additionalHosts: [left.test]"), networks).await;
    net.both_say("left.test");
    Some(net)
}

/// Both paths work.
async fn both_work(net: &TwoUplinks) {
    let tunnel = net.only_by(Link::Delegated, async || net.literal(PLACE, Link::Delegated).await).await;
    net.end(tunnel, Link::Delegated).await;
    managed_works(net).await;
}

/// The managed path works.
async fn managed_works(net: &TwoUplinks) {
    let tunnel = net.only_by(Link::Managed, async || net.hello("left.test", Link::Managed).await).await;
    net.end(tunnel, Link::Managed).await;
}

/// A call of the delegated path fails, is said to have no table of its own, and sends nothing by either link.
async fn sends_nothing(net: &TwoUplinks, mark: &str) {
    let record = net.by_none(async || net.refused(PLACE, None).await).await;
    assert_failed(&record, "upstream_failed", Link::Delegated);
    let words = format!("the routing rules send mark {mark} to no table of its own");
    assert!(record["error"].to_string().contains(&words), "{record:#}");
}

#[tokio::test]
async fn p7_a_mark_sends_nothing_where_everybody_has_a_table_that_is_not_main() {
    // What wg-quick and others do for the host's own default.
    let rules = "rule add fwmark 0x5b lookup 100 priority 100
route add default via 10.20.0.1 dev eth1 table 100
rule add lookup main suppress_prefixlength 0 priority 31999
rule add not fwmark 0xca6c lookup 51820 priority 32000
route add default via 93.184.216.99 dev up0 table 51820
";
    let networks = "networks:
  managed: {}
  prod: {mark: 0x5b, dns: ['10.20.0.53:53']}
";
    let Some(net) = net("everybody", networks, rules).await else { return };
    let _origins = net.origins();
    both_work(&net).await;
    net.gate.ip("route flush table 100\n");
    sends_nothing(&net, "0x5b").await;
    managed_works(&net).await;
    net.gate.ip("route add default via 10.20.0.1 dev eth1 table 100\n");
    both_work(&net).await;
}

#[tokio::test]
async fn p7_a_mark_sends_nothing_where_the_rule_of_another_network_takes_it() {
    let rules = "rule add fwmark 0x11/0xff lookup 100 priority 100
route add default via 10.20.0.1 dev eth1 table 100
rule add fwmark 0x1/0xf lookup 200 priority 200
route add 93.184.216.0/24 dev up0 table 200
route add default via 93.184.216.99 dev up0 table 200
";
    let networks = "networks:
  managed: {mark: 0x1/0xf}
  prod: {mark: 0x11/0xff, dns: ['10.20.0.53:53']}
";
    let Some(net) = net("overlap", networks, rules).await else { return };
    let _origins = net.origins();
    both_work(&net).await;
    net.gate.ip("route flush table 100\n");
    sends_nothing(&net, "0x11").await;
    managed_works(&net).await;
}
