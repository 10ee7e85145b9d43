//! A parent proxy as the delegated uplink: it gets the judged address, or the name where the operator wants that; and where
//! it is gone or refuses, nothing is dialled around it.

use crate::kit::dns::Answer;
use crate::topology::ORIGIN;
use crate::vnet::ask::{assert_failed, assert_path};
use crate::vnet::counters::Link;
use crate::vnet::server::{CREDENTIALS, Kind, Parent};
use crate::vnet::topology::{PRIVATE, ROUTER, TwoUplinks, managed};

/// The network whose parent proxy is this.
fn networks(proxy: &str, more: &str) -> String {
    format!("networks:\n  managed: {{}}\n  prod: {{interface: eth1, proxy: {proxy}{more}}}\n")
}

/// Where the questions of a network that has a parent proxy go.
const DNS: &str = ", dns: ['10.20.0.53:53']";

/// The URL of a parent proxy.
fn url(kind: Kind, port: u16) -> String {
    let scheme = if kind == Kind::Microsocks { "socks5" } else { "http" };
    format!("{scheme}://{ROUTER}:{port}")
}

/// Takes what goes to this port of the router out of the counting: the gateway looks from time to time whether its parent
/// proxy is there. What calls make of it is seen at the proxy and at the origins.
fn uncount(net: &TwoUplinks, port: u16) {
    net.gate.feed(
        "nft",
        &format!("insert rule inet links out oifname eth1 ip daddr {ROUTER} tcp dport {port} accept\n"),
    );
}

/// One parent proxy from start to end: addresses, names, absence.
async fn serves(kind: Kind) {
    let Some(mut net) = TwoUplinks::new("parent") else { return };
    let Some(parent) = Parent::start(&net, kind, false).await else { return };
    uncount(&net, parent.port);
    let (origins, place) = (net.origins(), url(kind, parent.port));
    net.run_gateway(&managed("additionalHosts: [left.test]"), &networks(&place, DNS)).await;
    net.both_say("left.test");
    // The other horizon has another answer, which the proxy would get if it were asked by name.
    net.dns.says("judged.test", Answer::addresses([ORIGIN]));
    net.private_dns.says("judged.test", Answer::addresses([PRIVATE]));
    let tunnel = net.not_by(Link::Managed, async || net.hello("judged.test", Link::Delegated).await).await;
    let record = net.end(tunnel, Link::Delegated).await;
    assert_eq!(record["address"], format!("{PRIVATE}:443"), "{record:#}");
    parent.says(PRIVATE).await;
    assert!(!parent.said().contains("judged.test"), "{}", parent.said());
    // What the origin sees is the proxy.
    let seen = origins.delegated.iter().find(|origin| origin.connections() > 0).expect("a connection");
    assert_eq!(seen.connection(0).peer.ip().to_string(), "10.20.0.49");
    let (answer, record) = net.not_by(Link::Managed, async || net.get("http://judged.test/").await).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "delegated"));
    assert_path(&record, Link::Delegated);
    // The managed path has no part in it, and the proxy itself is nobody's destination.
    let tunnel = net.only_by(Link::Managed, async || net.hello("left.test", Link::Managed).await).await;
    net.end(tunnel, Link::Managed).await;
    let own = format!("{ROUTER}:{}", parent.port);
    assert_eq!(net.by_none(async || net.refused(&own, None).await).await["reason"], "guard_self");
    assert!(
        [ORIGIN, "left.test", &own].iter().all(|place| !parent.said().contains(place)),
        "{}",
        parent.said()
    );
    // With the name, and without a name server of our own.
    net.run_gateway(&managed("additionalHosts: [left.test]"), &networks(&place, ", resolve: Remote")).await;
    net.both_say("remote.test");
    net.private_dns.says("remote.test", Answer::addresses([PRIVATE]));
    let tunnel = net.not_by(Link::Managed, async || net.hello("remote.test", Link::Delegated).await).await;
    let record = net.end(tunnel, Link::Delegated).await;
    assert!(record["address"].is_null(), "nobody here knows it: {record:#}");
    parent.says("remote.test").await;
    assert!(net.private_dns.queries("remote.test") > 0, "the proxy has asked");
    assert_eq!(net.dns.queries("remote.test"), 0);
    parent.stop().await;
    let before = origins.connections();
    let refused = async || net.refused("remote.test:443", Some("remote.test")).await;
    assert_failed(&net.by_none(refused).await, "upstream_failed", Link::Delegated);
    assert_eq!(origins.connections(), before, "nothing is dialled around it");
}

#[tokio::test]
async fn tinyproxy_as_the_delegated_uplink_gets_the_judged_address_or_the_name() {
    serves(Kind::Tinyproxy).await;
}

#[tokio::test]
async fn squid_as_the_delegated_uplink_gets_the_judged_address_or_the_name() {
    serves(Kind::Squid).await;
}

#[tokio::test]
async fn microsocks_as_the_delegated_uplink_gets_the_judged_address_or_the_name() {
    serves(Kind::Microsocks).await;
}

#[tokio::test]
async fn s5_credentials_open_a_parent_proxy_and_wrong_ones_are_a_failure_that_does_not_tell_them() {
    for kind in [Kind::Microsocks, Kind::Tinyproxy] {
        let Some(mut net) = TwoUplinks::new("secret") else { return };
        let Some(parent) = Parent::start(&net, kind, true).await else { return };
        let (origins, place) = (net.origins(), url(kind, parent.port));
        net.both_say("right.test");
        let (user, password) = CREDENTIALS;
        for (password, right) in [(password, true), ("wrong-battery", false)] {
            let file = net.file("password", password);
            let proxy = format!("{{url: '{place}', username: {user}, password: {{file: {file}}}}}");
            net.run_gateway(&managed(""), &networks(&proxy, DNS)).await;
            if right {
                let hello = async || net.hello("right.test", Link::Delegated).await;
                let tunnel = net.only_by(Link::Delegated, hello).await;
                net.end(tunnel, Link::Delegated).await;
            } else {
                let refused = async || net.refused("right.test:443", Some("right.test")).await;
                let record = net.only_by(Link::Delegated, refused).await;
                assert_failed(&record, "upstream_failed", Link::Delegated);
            }
            let said = [net.process().stdout.all(), net.process().stderr.all()].concat().join("\n");
            assert!(!said.contains(password), "{said}");
        }
        assert_eq!(origins.connections(), (0, 1), "{kind:?}");
    }
}
