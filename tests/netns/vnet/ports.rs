//! The ports of a source address: a port that one destination uses is there for every other.

use crate::vnet::ask::assert_failed;
use crate::vnet::counters::Link;
use crate::vnet::topology::{PRIVATE, TwoUplinks, managed};

/// How many ports there are.
const PORTS: usize = 10;
/// The network is whatever leaves from these addresses.
const BY_SOURCE: &str = "networks:
  managed: {}
  prod: {sourceAddress: [10.20.0.4, 'fd00:20::4'], dns: ['10.20.0.53:53']}
";

#[tokio::test]
async fn r2_ports_that_one_destination_uses_up_are_there_for_the_others_and_their_lack_is_said() {
    let Some(mut net) = TwoUplinks::new("ports") else { return };
    net.gate.ip("rule add from 10.20.0.4 lookup 100 priority 100\nroute add default via 10.20.0.1 dev eth1 table 100\n");
    net.gate.ip6("rule add from fd00:20::4 lookup 100 priority 100\nroute add default via fd00:20::1 dev eth1 table 100\n");
    net.run_gateway(&managed(""), BY_SOURCE).await;
    net.gate.sysctl("net.ipv4.ip_local_port_range=40000 40009");
    let _origins = net.origins();
    let (one, other) = (format!("{PRIVATE}:443"), "93.184.216.34:443");
    let mut open = Vec::new();
    for _ in 0..PORTS {
        open.push(net.literal(&one, Link::Delegated).await);
    }
    let record = net.refused(&one, None).await;
    assert_failed(&record, "upstream_failed", Link::Delegated);
    let words = "this host has no port or address left to connect from";
    assert!(record["error"].to_string().contains(words), "{record:#}");
    for _ in 0..PORTS {
        open.push(net.literal(other, Link::Delegated).await);
    }
    for place in ["[fd00:30::10]:443", "[2600:1f18::34]:443"] {
        for _ in 0..PORTS {
            open.push(net.literal(place, Link::Delegated).await);
        }
    }
    for tunnel in open {
        net.end(tunnel, Link::Delegated).await;
    }
}
