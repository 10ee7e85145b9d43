//! Each switch of the managed path: on, the call goes by the managed link; off, by the delegated one; and never a packet by
//! the other.

use tokio::net::TcpSocket;

use crate::kit::within;
use crate::vnet::counters::{Counters, Link};
use crate::vnet::topology::{NETWORKS, TwoUplinks, managed};

/// Each switch: how it is turned on, and a name that it is for.
const SWITCHES: [(&str, &str, &str); 9] = [
    ("packageRegistries", "pypi: true", "pypi.org"),
    ("packageRegistries", "npm: true", "registry.npmjs.org"),
    ("packageRegistries", "nuget: true", "api.nuget.org"),
    ("packageRegistries", "apt: true", "deb.debian.org"),
    ("codeRepositories", "github: true", "github.com"),
    ("codeRepositories", "githubEnterprise: true", "example.ghe.com"),
    ("codeRepositories", "azureDevOps: true", "dev.azure.com"),
    ("remoteMcpServers", "mcp.example.com", "mcp.example.com"),
    ("additionalHosts", "'*.extra.test'", "a.extra.test"),
];

/// The managed path with these switches on.
fn path(on: impl Fn(usize) -> bool) -> String {
    let of = |key: &str| {
        let chosen = SWITCHES.iter().enumerate().filter(|(at, switch)| switch.0 == key && on(*at));
        chosen.map(|(_, switch)| switch.1).collect::<Vec<_>>().join(", ")
    };
    format!(
        "packageRegistries: {{{}}}, codeRepositories: {{{}}}, remoteMcpServers: [{}], additionalHosts: [{}]",
        of("packageRegistries"),
        of("codeRepositories"),
        of("remoteMcpServers"),
        of("additionalHosts")
    )
}

#[tokio::test]
async fn p7_each_switch_alone_moves_its_host_to_the_managed_link_and_not_one_packet_goes_by_the_other() {
    let Some(net) = TwoUplinks::start("toggles", &managed(""), NETWORKS).await else { return };
    let origins = net.origins();
    for (_, _, name) in SWITCHES {
        net.both_say(name);
    }
    for (at, (_, switch, name)) in SWITCHES.into_iter().enumerate() {
        // On alone, then off alone: each time the path is the opposite of what every other switch says.
        for (link, on) in [(Link::Managed, true), (Link::Delegated, false)] {
            net.set_policy(&managed(&path(|other| (other == at) == on))).await;
            let tunnel = net.only_by(link, async || net.hello(name, link).await).await;
            let record = net.end(tunnel, link).await;
            assert_eq!(record["outcome"], "ok", "{switch}: {record:#}");
        }
        // Each was asked for where it was dialled.
        assert!(net.dns.queries(name) > 0 && net.private_dns.queries(name) > 0, "{switch}");
    }
    assert_eq!(origins.connections(), (SWITCHES.len(), SWITCHES.len()));
}

#[tokio::test]
async fn the_links_are_still_while_nobody_asks_and_count_every_packet_when_somebody_does() {
    let Some(net) = TwoUplinks::new("links") else { return };
    let _origins = net.origins();
    let before = net.settled().await;
    // A name, a private name, IPv4 and IPv6: one packet each.
    for (address, device, sent) in [
        ("93.184.216.34:9", "up0", Counters { managed: 1, delegated: 0 }),
        ("10.30.0.10:9", "eth1", Counters { managed: 1, delegated: 1 }),
        ("[2600:1f18::34]:9", "up0", Counters { managed: 2, delegated: 1 }),
        ("[fd00:30::10]:9", "eth1", Counters { managed: 2, delegated: 2 }),
        // Without being bound, everything goes by the managed link.
        ("10.30.0.10:9", "", Counters { managed: 3, delegated: 2 }),
    ] {
        net.gate.inside(async || {
            let from = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = tokio::net::UdpSocket::bind(from).await.expect("a socket");
            if !device.is_empty() {
                socket.bind_device(Some(device.as_bytes())).expect("a device");
            }
            socket.send_to(b"x", address).await.expect("to send");
        });
        assert_eq!(net.counters().since(before), sent, "{address} by {device:?}");
    }
    // Both DNS servers and both services answer on their own links.
    for (device, address) in [
        ("up0", "93.184.216.34:80"),
        ("eth1", "93.184.216.34:80"),
        ("eth1", "10.30.0.10:80"),
        ("eth1", "[fd00:30::10]:80"),
        ("eth1", "10.20.0.53:53"),
        ("up0", "93.184.216.53:53"),
    ] {
        net.gate.inside(async || {
            let address: std::net::SocketAddr = address.parse().expect("an address");
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            let socket = socket.expect("a socket");
            socket.bind_device(Some(device.as_bytes())).expect("a device");
            let connected = within(&format!("{address} by {device}"), socket.connect(address)).await;
            connected.unwrap_or_else(|error| panic!("{address} by {device}: {error}"));
        });
    }
}
