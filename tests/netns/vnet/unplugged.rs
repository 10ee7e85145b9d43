//! What is open while the interface of its network goes and comes back, and what is said of the network meanwhile.

use crate::kit::dns::Answer;
use crate::kit::process::parsed;
use crate::kit::within;
use crate::topology::ORIGIN;
use crate::vnet::ask::{assert_failed, assert_path};
use crate::vnet::counters::Link;
use crate::vnet::topology::{NETWORKS, TwoUplinks, managed};

impl TwoUplinks {
    /// Waits until the metric of the private network is this.
    pub async fn gauge(&self, value: u8) {
        let line = format!("sluicegate_uplink_up{{network=\"prod\"}} {value}");
        let shown = async {
            while !self.admin("/metrics").await.1.lines().any(|own| own == line) {
                tokio::task::yield_now().await;
            }
        };
        within(&format!("the metric {value}"), shown).await;
    }

    /// How often the log says that the network cannot be used, and that it can again.
    fn said(&self) -> [usize; 2] {
        let log = self.process().stderr.all();
        let count = |part: &str| {
            let of = |line: &&String| line.contains(part) && line.contains("network=\"prod\"");
            log.iter().filter(of).count()
        };
        [count("a network cannot be used"), count("a network can be used again")]
    }
}

/// A running gateway with one name on each path.
async fn net(label: &str) -> Option<TwoUplinks> {
    let net = TwoUplinks::start(label, &managed("additionalHosts: [left.test]"), NETWORKS).await?;
    for name in ["left.test", "right.test"] {
        net.both_say(name);
    }
    Some(net)
}

#[tokio::test]
async fn p7_what_is_open_while_the_interface_is_gone_takes_no_other_way_and_new_calls_work_when_it_is_back() {
    let Some(net) = net("unplug").await else { return };
    let _origins = net.origins();
    net.gauge(1).await;
    let mut open = net.hello("right.test", Link::Delegated).await;
    let from = open.local().to_string();
    let before = net.counters();
    net.unplug();
    open.send(b"lost").await;
    net.gauge(0).await;
    let refused = net.refused("right.test:443", Some("right.test")).await;
    assert_failed(&refused, "upstream_failed", Link::Delegated);
    assert_eq!(net.counters().since(before).managed, 0);
    // The other path does not notice.
    let mut other = net.hello("left.test", Link::Managed).await;
    other.send(b"ping").await;
    other.expect(b"ping").await;
    let from_other = other.local();
    drop(other);
    assert_path(&net.record_of(&from_other.to_string()).await, Link::Managed);
    net.plug();
    net.gauge(1).await;
    let tunnel = net.hello("right.test", Link::Delegated).await;
    net.end(tunnel, Link::Delegated).await;
    assert_eq!(net.said(), [1, 1]);
    // Its client gives it up, and it ends with a record of its path.
    open.reset();
    let record = net.record_of(&from).await;
    assert_path(&record, Link::Delegated);
    assert_ne!(record["outcome"], "ok", "{record:#}");
    let ended = parsed(&net.process().stdout.all());
    let own = ended.iter().filter(|own| own["id"] == record["id"] && own["kind"] == "connection");
    assert_eq!(own.count(), 1, "exactly one terminal record");
}

#[tokio::test]
async fn what_is_open_while_the_interface_is_down_goes_on_when_it_is_up() {
    let Some(net) = net("down").await else { return };
    let _origins = net.origins();
    // An IPv6 address goes with the link, and connections from it with that.
    net.private_dns.says("right.test", Answer::addresses([ORIGIN]));
    net.gauge(1).await;
    let mut open = net.hello("right.test", Link::Delegated).await;
    let before = net.counters();
    net.gate.ip("link set eth1 down\n");
    open.send(b"late").await;
    net.gauge(0).await;
    let refused = net.refused("right.test:443", Some("right.test")).await;
    assert_failed(&refused, "upstream_failed", Link::Delegated);
    assert_eq!(net.counters().since(before).managed, 0);
    // The kernel has forgotten the ways that led by it.
    net.gate.ip("link set eth1 up\nroute add default via 10.20.0.1 dev eth1 metric 900\n");
    open.expect(b"late").await;
    net.gauge(1).await;
    net.end(open, Link::Delegated).await;
    assert_eq!(net.said(), [1, 1]);
}
