//! Networks by the host's own routing: a packet mark, a source address. Where the host's rules do not lead to a table of the
//! network's own, nothing is sent at all.

use std::time::{Duration, Instant};

use crate::kit::dns::Answer;
use crate::vnet::ask::assert_failed;
use crate::vnet::counters::Link;
use crate::vnet::topology::{PRIVATE6, TwoUplinks, config, managed};

/// How soon "there is no route" must be said, which is before anything has waited in vain; the machine may have other work.
const AT_ONCE: Duration = Duration::from_secs(4);
/// The network is those bits of the mark.
const BY_MARK: &str = "networks:
  managed: {}
  prod: {mark: 0x5b000000/0xff000000, dns: ['10.20.0.53:53']}
";
/// The network is whatever leaves from this address.
const BY_SOURCE: &str = "networks:
  managed: {}
  prod: {sourceAddress: 10.20.0.4, dns: ['10.20.0.53:53']}
";
/// The rules and the routes that are shipped as an example.
pub const SHIPPED: &str = include_str!("../../../deploy/networks/routes.ip");
/// The same for IPv6.
const SHIPPED6: &str = include_str!("../../../deploy/networks/routes6.ip");
/// The routes of the mark.
pub const TABLE: &str = "route add default via 10.20.0.1 dev eth1 table 100\n";

/// Counts what leaves by the private network with its mark and without, and what leaves by the other with it. What the kernel
/// says to a name server whose answer is late has no mark.
pub const MARKED: &str = "table inet marks {
  counter marked { }
  counter bare { }
  counter wrong { }
  chain out {
    type filter hook output priority 0; policy accept;
    icmp type destination-unreachable icmp code port-unreachable accept
    oifname \"eth1\" meta mark 0x5b000000 counter name marked
    oifname \"eth1\" meta mark 0 counter name bare
    oifname \"up0\" meta mark & 0xff000000 != 0 counter name wrong
  }
}
";

/// Every packet so far had the mark of its link, and there were some.
pub async fn all_marked(net: &TwoUplinks) {
    net.settled().await;
    let count = |name| net.gate.counted("marks", name);
    assert!(count("marked") > 0);
    assert_eq!((count("bare"), count("wrong")), (0, 0));
}

/// A running gateway whose network is one of these, with the kernel's rules for it.
pub async fn net(label: &str, networks: &str, rules: &str) -> Option<TwoUplinks> {
    let mut net = TwoUplinks::new(label)?;
    net.gate.ip(rules);
    let patient = config(networks).replace("connectTimeoutMs: 1000", "connectTimeoutMs: 20000");
    net.gateway(&managed("additionalHosts: [left.test]"), &patient).await;
    net.load_rules().await;
    for name in ["left.test", "right.test", "first.right.test", "second.right.test", "third.right.test"] {
        net.both_say(name);
    }
    Some(net)
}

/// Both paths work, the delegated one by name and by address, each by its own link.
pub async fn both_work(net: &TwoUplinks) {
    net.both_work().await;
    let tunnel = net.only_by(Link::Delegated, async || net.literal("10.30.0.10:443", Link::Delegated).await);
    net.end(tunnel.await, Link::Delegated).await;
}

/// The delegated path fails at once, for what is known and what must be asked for, and nothing leaves by either link.
pub async fn fails_at_once(net: &TwoUplinks, fresh: &str) {
    for (authority, name, reason) in [
        ("right.test:443", Some("right.test"), "upstream_failed"),
        ("10.30.0.10:443", None, "upstream_failed"),
        (&format!("{fresh}:443")[..], Some(fresh), "dns_failed"),
    ] {
        let record = net.by_none(async || {
            let begun = Instant::now();
            let record = net.refused(authority, name).await;
            assert!(begun.elapsed() < AT_ONCE, "{authority}: {:?}", begun.elapsed());
            record
        });
        assert_failed(&record.await, reason, Link::Delegated);
    }
    assert_eq!(net.dns.queries(fresh), 0);
    let tunnel = net.only_by(Link::Managed, async || net.hello("left.test", Link::Managed).await).await;
    net.end(tunnel, Link::Managed).await;
}

#[tokio::test]
async fn p7_a_mark_whose_table_is_emptied_fails_at_once_with_a_rule_behind_it_and_without() {
    let Some(net) = net("mark", BY_MARK, SHIPPED).await else { return };
    net.gate.ip6(SHIPPED6);
    let _origins = net.origins();
    both_work(&net).await;
    let tunnel =
        net.only_by(Link::Delegated, async || net.literal("[fd00:30::10]:443", Link::Delegated).await);
    net.end(tunnel.await, Link::Delegated).await;
    // Whatever the name has of either family.
    let both = |lines: &str| (net.gate.ip(lines), net.gate.ip6(lines));
    both("route flush table 100\n");
    fails_at_once(&net, "first.right.test").await;
    // The kernel would go on to the main table, which leads to the managed link.
    both("rule del priority 101\n");
    fails_at_once(&net, "second.right.test").await;
    net.gate.ip(TABLE);
    both_work(&net).await;
    // Without the rule itself, too.
    both("rule del priority 100\n");
    fails_at_once(&net, "third.right.test").await;
}

#[tokio::test]
async fn a_mark_sets_its_own_bits_and_is_on_every_packet_of_the_delegated_path_alone() {
    let Some(net) = net("marks", BY_MARK, SHIPPED).await else { return };
    let _origins = net.origins();
    net.gate.feed("nft", MARKED);
    both_work(&net).await;
    all_marked(&net).await;
}

#[tokio::test]
async fn a_source_address_alone_chooses_the_link_and_fails_where_it_would_leave_by_another() {
    let rules = format!("rule add from 10.20.0.4 lookup 100 priority 100\n{TABLE}");
    let Some(net) = net("source", BY_SOURCE, &rules).await else { return };
    let origins = net.origins();
    both_work(&net).await;
    for origin in &origins.delegated {
        if origin.connections() > 0 {
            assert_eq!(origin.connection(0).peer.ip().to_string(), "10.20.0.4");
        }
    }
    // It is IPv4: IPv6 is not dialled from anywhere else.
    net.private_dns.says("six.test", Answer::addresses([PRIVATE6]));
    let refused = async || net.refused("six.test:443", Some("six.test")).await;
    assert_failed(&net.not_by(Link::Managed, refused).await, "upstream_failed", Link::Delegated);
    let refused = async || net.refused("[fd00:30::10]:443", None).await;
    assert_failed(&net.by_none(refused).await, "upstream_failed", Link::Delegated);
    // The main table would send it by the managed link, with the address of the other.
    net.gate.ip("route flush table 100\n");
    fails_at_once(&net, "first.right.test").await;
    net.gate.ip(TABLE);
    both_work(&net).await;
    // The address is taken away.
    net.gate.ip("addr del 10.20.0.4/28 dev eth1\n");
    fails_at_once(&net, "second.right.test").await;
}

#[tokio::test]
async fn p7_an_open_connection_never_changes_its_link_whatever_becomes_of_the_routes() {
    for (label, networks, rules) in [
        ("open-mark", BY_MARK, SHIPPED.to_owned()),
        ("open-source", BY_SOURCE, format!("rule add from 10.20.0.4 lookup 100 priority 100\n{TABLE}")),
    ] {
        let Some(net) = net(label, networks, &rules).await else { return };
        let _origins = net.origins();
        let mut tunnel = net.literal("10.30.0.10:443", Link::Delegated).await;
        let before = net.counters();
        if label == "open-mark" {
            net.gate.ip("rule del priority 101\n");
        }
        net.gate.ip("route flush table 100\n");
        // The main table prefers the managed link.
        tunnel.send(b"still here").await;
        tunnel.expect(b"still here").await;
        net.end(tunnel, Link::Delegated).await;
        let after = net.settled().await;
        assert_eq!(after.managed, before.managed, "{label}");
        assert!(after.delegated > before.delegated, "{label}");
    }
}
