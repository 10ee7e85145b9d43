//! What does not work on one path is not tried on the other: links that are down or swallow everything, name servers that
//! are gone, an interface that is taken away.

use crate::kit::dns::Dns;
use crate::kit::origin::{Behaviour, Origin};
use crate::vnet::ask::{assert_failed, assert_path};
use crate::vnet::counters::Link;
use crate::vnet::topology::{NETWORKS, PRIVATE, TwoUplinks, managed};

/// Swallows everything that would pass or arrive, but leaves the counting to the gateway.
const SWALLOW: &str = "table inet hole {
  chain everything { type filter hook prerouting priority -300; policy drop; }
}
";
/// The same for connections, and not for questions.
const SWALLOW_TCP: &str = "table inet hole {
  chain everything { type filter hook prerouting priority -300; policy accept; meta l4proto tcp drop; }
}
";
/// The end of that.
const OPEN: &str = "delete table inet hole\n";

/// A running gateway with one name on each path, known to both name servers.
async fn net(label: &str) -> Option<TwoUplinks> {
    let path = "additionalHosts: [left.test, '*.left.test']";
    let net = TwoUplinks::start(label, &managed(path), NETWORKS).await?;
    for name in ["left.test", "right.test", "new.left.test", "new.right.test"] {
        net.both_say(name);
    }
    Some(net)
}

#[tokio::test]
async fn p7_a_delegated_network_that_swallows_everything_is_an_error_and_the_managed_link_is_still() {
    let Some(net) = net("hole").await else { return };
    let origins = net.origins();
    net.both_work().await;
    let managed_before = origins.connections().0;
    net.router.feed("nft", SWALLOW_TCP);
    // Known by name and by address; neither is dialled elsewhere.
    for (authority, name) in [("right.test:443", Some("right.test")), ("10.30.0.10:443", None)] {
        let record = net.only_by(Link::Delegated, async || net.refused(authority, name).await).await;
        assert_failed(&record, "upstream_failed", Link::Delegated);
    }
    net.router.feed("nft", OPEN);
    net.router.feed("nft", SWALLOW);
    let refused = async || net.refused("new.right.test:443", Some("new.right.test")).await;
    let record = net.only_by(Link::Delegated, refused).await;
    assert_failed(&record, "dns_failed", Link::Delegated);
    let told = record["error"].as_str().unwrap();
    assert!(
        told.contains(&net.private_dns.address().to_string()) && told.ends_with("change `networks.prod.dns`"),
        "{told}"
    );
    assert_eq!((net.dns.queries("new.right.test"), origins.connections().0), (0, managed_before));
    // The managed path does not suffer.
    let tunnel = net.only_by(Link::Managed, async || net.hello("left.test", Link::Managed).await).await;
    net.end(tunnel, Link::Managed).await;
    net.router.feed("nft", OPEN);
    net.both_work().await;
}

#[tokio::test]
async fn p7_an_internet_that_swallows_everything_is_an_error_and_the_delegated_link_is_still() {
    let Some(net) = net("dark").await else { return };
    let origins = net.origins();
    net.both_work().await;
    let delegated_before = origins.connections().1;
    net.internet.feed("nft", SWALLOW_TCP);
    let refused = async || net.refused("left.test:443", Some("left.test")).await;
    assert_failed(&net.only_by(Link::Managed, refused).await, "upstream_failed", Link::Managed);
    net.internet.feed("nft", OPEN);
    net.internet.feed("nft", SWALLOW);
    let refused = async || net.refused("new.left.test:443", Some("new.left.test")).await;
    assert_failed(&net.only_by(Link::Managed, refused).await, "dns_failed", Link::Managed);
    assert_eq!((net.private_dns.queries("new.left.test"), origins.connections().1), (0, delegated_before));
    let tunnel = net.only_by(Link::Delegated, async || net.hello("right.test", Link::Delegated).await).await;
    net.end(tunnel, Link::Delegated).await;
    net.internet.feed("nft", OPEN);
    net.both_work().await;
}

#[tokio::test]
async fn an_interface_that_is_down_or_gone_is_an_error_and_works_again_when_it_is_back() {
    let Some(net) = net("gone").await else { return };
    let _origins = net.origins();
    net.both_work().await;
    let fails = async |authority: &str, name: Option<&str>, reasons: &[&str]| {
        let record = net.by_none(async || net.refused(authority, name).await).await;
        assert_path(&record, Link::Delegated);
        assert!(reasons.iter().any(|reason| record["reason"] == *reason), "{record:#}");
    };
    // Twice, as it comes back as another one of the same name.
    for round in ["one", "two"] {
        net.unplug();
        // Before the gateway has noticed, and when it knows and does not even ask for the name.
        for (moment, reasons) in
            [("first", &["dns_failed", "upstream_failed"][..]), ("later", &["upstream_failed"])]
        {
            fails("right.test:443", Some("right.test"), reasons).await;
            fails("10.30.0.10:443", None, &["upstream_failed"]).await;
            fails("[fd00:30::10]:443", None, &["upstream_failed"]).await;
            let name = format!("{round}.{moment}.right.test");
            net.both_say(&name);
            fails(&format!("{name}:443"), Some(&name), reasons).await;
            assert_eq!(net.dns.queries(&name), 0);
            net.gauge(0).await;
        }
        net.plug();
        net.gauge(1).await;
        net.both_work().await;
    }
    net.gate.ip("link set eth1 down\n");
    net.gauge(0).await;
    fails("right.test:443", Some("right.test"), &["upstream_failed"]).await;
    let tunnel = net.only_by(Link::Managed, async || net.hello("left.test", Link::Managed).await).await;
    net.end(tunnel, Link::Managed).await;
}

#[tokio::test]
async fn p7_a_name_server_that_is_gone_is_an_error_of_its_own_path_only() {
    let Some(mut net) = net("nameless").await else { return };
    let _origins = net.origins();
    // Nobody listens there any more; the other would know.
    net.private_dns = net.vnet.inside(|| Dns::start_on("10.30.0.11:53".parse().unwrap()));
    net.both_say("late.right.test");
    let refused = async || net.refused("late.right.test:443", Some("late.right.test")).await;
    assert_failed(&net.only_by(Link::Delegated, refused).await, "dns_failed", Link::Delegated);
    assert_eq!(net.dns.queries("late.right.test"), 0);
    let tunnel = net.only_by(Link::Managed, async || net.hello("left.test", Link::Managed).await).await;
    net.end(tunnel, Link::Managed).await;
}

#[tokio::test]
async fn a_service_that_only_the_internet_has_is_not_found_on_the_delegated_path() {
    let Some(net) = net("only").await else { return };
    // Here in the internet, and in the private network nobody listens.
    let outside = net.origin("93.184.216.34:443", Behaviour::Banner(b"managed".to_vec()));
    let record =
        net.only_by(Link::Delegated, async || net.refused("right.test:443", Some("right.test")).await);
    assert_failed(&record.await, "upstream_failed", Link::Delegated);
    assert_eq!(outside.connections(), 0);
    let inside = net.vnet.inside(|| {
        Origin::start_on(
            format!("{PRIVATE}:8443").parse().expect("an address"),
            Behaviour::Banner(b"delegated".to_vec()),
        )
    });
    let tunnel = net.literal(&format!("{PRIVATE}:8443"), Link::Delegated).await;
    net.end(tunnel, Link::Delegated).await;
    assert_eq!(inside.connections(), 1);
}
