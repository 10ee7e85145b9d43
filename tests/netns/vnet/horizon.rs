//! One name, two name servers: each path has the answer of its own, private addresses are to be had on the delegated path
//! alone, and what nobody may reach is to be had on neither.

use crate::kit::dns::Answer;
use crate::topology::ORIGIN;
use crate::vnet::ask::{assert_failed, assert_path};
use crate::vnet::counters::Link;
use crate::vnet::topology::{NETWORKS, PRIVATE, PRIVATE6, TwoUplinks, managed};

/// Counts what leaves by either link and is no question to a name server.
const BEYOND: &str = "table inet beyond {
  counter questions { }
  counter other { }
  chain out {
    type filter hook postrouting priority 501; policy accept;
    oifname != { up0, eth1 } accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept
    meta l4proto igmp accept
    icmp type destination-unreachable icmp code port-unreachable accept
    udp dport 53 counter name questions accept
    counter name other
  }
}
";
/// The name of both horizons.
const NAME: &str = "service.corp.test";

#[tokio::test]
async fn a_name_of_two_horizons_has_the_answer_of_its_path_also_when_the_path_changes() {
    let Some(net) = TwoUplinks::start("horizon", &managed("additionalHosts: [other.test]"), NETWORKS).await
    else {
        return;
    };
    let _origins = net.origins();
    net.dns.says(NAME, Answer::addresses([ORIGIN]));
    net.private_dns.says(NAME, Answer::addresses([PRIVATE]));
    // Each answer is kept for a minute; none is taken for the other's.
    for (link, path, address) in [
        (Link::Delegated, "", PRIVATE),
        (Link::Managed, "additionalHosts: [service.corp.test]", ORIGIN),
        (Link::Delegated, "additionalHosts: [corp.test]", PRIVATE),
        (Link::Managed, "additionalHosts: ['*.corp.test']", ORIGIN),
    ] {
        net.set_policy(&managed(path)).await;
        let tunnel = net.only_by(link, async || net.hello(NAME, link).await).await;
        let record = net.end(tunnel, link).await;
        assert_eq!(record["address"], format!("{address}:443"), "{record:#}");
    }
    // IPv6 goes there too, by its own link.
    net.private_dns.says("six.test", Answer::addresses([PRIVATE6]));
    let tunnel = net.only_by(Link::Delegated, async || net.hello("six.test", Link::Delegated).await);
    let record = net.end(tunnel.await, Link::Delegated).await;
    assert_eq!(record["address"], format!("[{PRIVATE6}]:443"));
}

#[tokio::test]
async fn p7_a_name_that_one_server_does_not_know_is_not_looked_for_at_the_other() {
    let path = "additionalHosts: ['*.left.test']";
    let Some(net) = TwoUplinks::start("unknown", &managed(path), NETWORKS).await else { return };
    let origins = net.origins();
    for kind in [Answer::NxDomain, Answer::NoData, Answer::ServFail, Answer::Refused] {
        let label = format!("{kind:?}").to_ascii_lowercase();
        for (link, zone) in [(Link::Managed, "left.test"), (Link::Delegated, "right.test")] {
            let name = format!("{label}.{zone}");
            net.both_say(&name);
            let server = if link == Link::Managed { &net.dns } else { &net.private_dns };
            server.says(&name, kind.clone());
            let refused = async || net.refused(&format!("{name}:443"), Some(&name)).await;
            let record = net.only_by(link, refused).await;
            assert_failed(&record, "dns_failed", link);
            let other = if link == Link::Managed { &net.private_dns } else { &net.dns };
            assert_eq!(other.queries(&name), 0, "{name}");
        }
    }
    // A suffix for nobody reaches no server of the other path either.
    let record =
        net.not_by(Link::Managed, async || net.refused("x.invalid:443", Some("x.invalid")).await).await;
    assert_failed(&record, "dns_failed", Link::Delegated);
    assert_eq!((net.dns.queries("x.invalid"), origins.connections()), (0, (0, 0)));
}

#[tokio::test]
async fn addresses_take_the_delegated_path_and_private_ones_are_reached_by_no_other() {
    let path = "additionalHosts: [left.test]";
    let Some(net) = TwoUplinks::start("literal", &managed(path), NETWORKS).await else { return };
    let _origins = net.origins();
    for address in ["93.184.216.34:443", "10.30.0.10:443", "[fd00:30::10]:443", "[2600:1f18::34]:443"] {
        let tunnel = net.only_by(Link::Delegated, async || net.literal(address, Link::Delegated).await).await;
        let record = net.end(tunnel, Link::Delegated).await;
        assert_eq!(record["address"], address, "{record:#}");
    }
    // A name of the managed path that the public server gives a private address: asked for, and not dialled.
    for private in [PRIVATE, PRIVATE6, "100.64.0.1"] {
        net.dns.says("left.test", Answer::addresses([private]).ttl(0));
        let refused = async || net.refused("left.test:443", Some("left.test")).await;
        let record = net.not_by(Link::Delegated, refused).await;
        assert_eq!((&record["reason"], &record["route"]), (&"guard_private".into(), &"managed".into()));
    }
    // A redirected connection to the literal, without any name.
    let mut client = net.connect("10.30.0.10:443");
    client.send(b"\0\x01opaque").await;
    client.expect("delegated").await;
    client.expect(b"\0\x01opaque").await;
    let record = net.end(client, Link::Delegated).await;
    assert_path(&record, Link::Delegated);
}

#[tokio::test]
async fn a4_a6_what_nobody_may_reach_is_reached_by_neither_path() {
    let path = "additionalHosts: ['*.left.test']";
    let Some(net) = TwoUplinks::start("guards", &managed(path), NETWORKS).await else { return };
    net.gate.feed("nft", BEYOND);
    for (address, reason) in [
        ("169.254.169.254", "guard_metadata"),
        ("168.63.129.16", "guard_metadata"),
        ("fd00:ec2::254", "guard_metadata"),
        ("169.254.1.1", "guard_local"),
        ("fe80::1", "guard_local"),
        ("127.0.0.1", "guard_self"),
        ("::1", "guard_self"),
        ("224.0.0.1", "guard_local"),
        ("10.20.0.4", "guard_self"),
        ("10.20.0.53", "guard_self"),
        ("93.184.216.53", "guard_self"),
        ("93.184.216.1", "guard_self"),
        ("fd00:20::4", "guard_self"),
    ] {
        let port = if address.ends_with(".53") { 53 } else { 443 };
        let literal =
            if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
        let record = net.by_none(async || net.refused(&literal, None).await).await;
        assert_eq!(record["reason"], reason, "{record:#}");
        for (link, zone) in [(Link::Managed, "left.test"), (Link::Delegated, "right.test")] {
            let name = format!("{}.{zone}", address.replace([':', '.'], "-").trim_matches('-'));
            let server = if link == Link::Managed { &net.dns } else { &net.private_dns };
            server.says(&name, Answer::addresses([address]));
            // Its question goes out, and no more.
            let record =
                net.only_by(link, async || net.refused(&format!("{name}:{port}"), Some(&name)).await).await;
            assert_eq!(record["reason"], reason, "{record:#}");
        }
    }
    net.settled().await;
    assert!(net.gate.counted("beyond", "questions") > 0);
    assert_eq!(net.gate.counted("beyond", "other"), 0);
}
