//! Networks that are told by more than one thing: a mark with an interface or a source address, and a parent proxy that is
//! reached by either.

use crate::kit::process::parsed;
use crate::vnet::ask::assert_failed;
use crate::vnet::counters::Link;
use crate::vnet::mark::{MARKED, SHIPPED, TABLE, all_marked, both_work, fails_at_once, net};
use crate::vnet::server::{Kind, Parent};
use crate::vnet::topology::{PRIVATE, ROUTER, TwoUplinks, managed};

/// A delegated network with these settings and the private name server.
fn prod(settings: &str) -> String {
    format!("networks:\n  managed: {{}}\n  prod: {{{settings}, dns: ['10.20.0.53:53']}}\n")
}

/// Where calls by the private network come from.
const SOURCE: &str = "10.20.0.4";
/// The mark that has a table of its own.
const MARK: &str = "mark: 0x5b000000/0xff000000";

#[tokio::test]
async fn a_mark_with_an_interface_is_on_every_packet_and_no_rule_leads_them_to_another_link() {
    let networks = prod(&format!("{MARK}, interface: eth1"));
    let Some(net) = net("both", &networks, "route add default via 93.184.216.99 dev up0 table 101\n").await
    else {
        return;
    };
    let _origins = net.origins();
    net.gate.feed("nft", MARKED);
    // The mark needs no table where there is an interface.
    both_work(&net).await;
    // A rule would have it go by the other link.
    net.gate.ip("rule add fwmark 0x5b000000/0xff000000 lookup 101 priority 100\n");
    both_work(&net).await;
    all_marked(&net).await;
    net.unplug();
    for (authority, name) in [("right.test:443", Some("right.test")), ("10.30.0.10:443", None)] {
        let record = net.by_none(async || net.refused(authority, name).await).await;
        assert_eq!((&record["network"], &record["outcome"]), (&"prod".into(), &"upstream_failed".into()));
    }
}

#[tokio::test]
async fn a_mark_with_a_source_address_needs_both_the_table_of_the_one_and_the_address_of_the_other() {
    let Some(net) = net("pair", &prod(&format!("{MARK}, sourceAddress: {SOURCE}")), SHIPPED).await else {
        return;
    };
    let origins = net.origins();
    net.gate.feed("nft", MARKED);
    both_work(&net).await;
    all_marked(&net).await;
    for origin in origins.delegated.iter().filter(|origin| origin.connections() > 0) {
        assert_eq!(origin.connection(0).peer.ip().to_string(), SOURCE);
    }
    // It is IPv4: IPv6 is not dialled from anywhere else.
    let refused = async || net.refused("[fd00:30::10]:443", None).await;
    assert_failed(&net.by_none(refused).await, "upstream_failed", Link::Delegated);
    // The address alone would do, by a rule of its own.
    net.gate.ip("rule add from 10.20.0.4 lookup 102 priority 102\nroute add default via 10.20.0.1 dev eth1 table 102\n");
    net.gate.ip("route flush table 100\n");
    fails_at_once(&net, "first.right.test").await;
    net.gate.ip(TABLE);
    both_work(&net).await;
    net.gate.ip("addr del 10.20.0.4/28 dev eth1\n");
    fails_at_once(&net, "second.right.test").await;
}

/// A parent proxy of a network with these settings works, and is not reached by any other way once `break_it` is loaded.
async fn behind_a_parent(label: &str, settings: &str, rules: &str, break_it: &str) {
    let Some(mut net) = TwoUplinks::new(label) else { return };
    let Some(parent) = Parent::start(&net, Kind::Microsocks, false).await else { return };
    net.gate.ip(rules);
    let networks = prod(&format!("{settings}, proxy: 'socks5://{ROUTER}:{}'", parent.port));
    net.run_gateway(&managed("additionalHosts: [left.test]"), &networks).await;
    for name in ["left.test", "right.test"] {
        net.both_say(name);
    }
    let origins = net.origins();
    let place = format!("{PRIVATE}:443");
    for _ in 0..2 {
        let tunnel = net.not_by(Link::Managed, async || net.literal(&place, Link::Delegated).await).await;
        net.end(tunnel, Link::Delegated).await;
    }
    let tunnel = net.not_by(Link::Managed, async || net.hello("right.test", Link::Delegated).await).await;
    net.end(tunnel, Link::Delegated).await;
    parent.says(&format!("{SOURCE}: connected to {PRIVATE}:443")).await;
    let before = origins.connections();
    net.gate.ip(break_it);
    // A connection that a probe has opened is over when the links are first looked at.
    for (authority, name) in [(&place[..], None), ("right.test:443", Some("right.test"))] {
        let record = net.by_none(async || net.refused(authority, name).await).await;
        assert_failed(&record, "upstream_failed", Link::Delegated);
    }
    assert_eq!(origins.connections(), before);
    net.gauge(0).await;
    let tunnel = net.only_by(Link::Managed, async || net.hello("left.test", Link::Managed).await).await;
    net.end(tunnel, Link::Managed).await;
    let opened = parsed(&net.process().stdout.all());
    assert!(opened.iter().all(|record| record["host"] != ROUTER));
}

#[tokio::test]
async fn a_parent_proxy_is_reached_from_the_source_address_or_not_at_all() {
    let rules = format!("rule add from {SOURCE} lookup 100 priority 100\n{TABLE}");
    let settings = format!("sourceAddress: {SOURCE}");
    behind_a_parent("from", &settings, &rules, "addr del 10.20.0.4/28 dev eth1\n").await;
    // The table leads by the other link, which does not have the address.
    let astray = "route replace default via 93.184.216.99 dev up0 table 100\n";
    behind_a_parent("astray", &settings, &rules, astray).await;
}

#[tokio::test]
async fn a_parent_proxy_is_reached_by_the_table_of_the_mark_or_not_at_all() {
    // The main table would lead to it, too.
    behind_a_parent("marked", MARK, SHIPPED, "rule del priority 101\nroute flush table 100\n").await;
}
