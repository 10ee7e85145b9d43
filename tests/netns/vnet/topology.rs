//! A gateway with two uplinks that meet nowhere: one into the internet, one into a network of the customer's own.
//!
//! ```text
//! sandboxes ─ gateway ─ up0  ─ 93.184.216.0/24, 2600:1f18::/64 ─ internet (its name server: 93.184.216.53)
//!                     └ eth1 ─ 10.20.0.0/28, fd00:20::/64 ─ router ─ 10.20.0.48/28, fd00:21::/64 ─ vnet
//! ```
//! The gateway's own routes lead to `up0` for everything: what goes by `eth1` goes there because it was made to. Behind the
//! router are a name server (`10.20.0.53`), private services (`10.30.0.0/24`) and services with the public addresses of the
//! internet, so that one address can be had on either path and the path is all that differs.
//!
//! ```ignore
//! let Some(net) = TwoUplinks::start("name", &managed("packageRegistries: {pypi: true}"), NETWORKS).await else { return };
//! let origins = net.origins();
//! let client = net.only_by(Link::Managed, async || net.hello("pypi.org").await).await;
//! ```

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::kit::dns::{Answer, Dns};
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;
use crate::namespace::Namespace;
use crate::system::SYSTEM;
use crate::topology::{ORIGIN, ORIGIN6, Topology};
use crate::vnet::counters::{Held, LINKS, Link};

/// Where the name server of the private network is.
pub const PRIVATE_DNS: &str = "10.20.0.53:53";
/// A service of the private network.
pub const PRIVATE: &str = "10.30.0.10";
/// The same, over IPv6.
pub const PRIVATE6: &str = "fd00:30::10";
/// One that the router drops packets for.
pub const DROPPED: &str = "10.30.0.66";
/// One that the router answers a reset for.
pub const REFUSED: &str = "10.30.0.67";
/// Where servers of the router itself are, such as parent proxies.
pub const ROUTER: &str = "10.20.0.1";
/// Every address of the private network, some of them public elsewhere, and one that nobody may ever reach.
const VNET: [&str; 11] = [
    "10.30.0.10/32",
    "10.30.0.11/32",
    "10.30.0.66/32",
    "10.30.0.67/32",
    "93.184.216.34/32",
    "93.184.216.35/32",
    "93.184.216.40/32",
    "169.254.169.254/32",
    "fd00:30::10/128",
    "2600:1f18::34/128",
    "fd00:ec2::254/128",
];

/// The usual networks: bound to the interface.
pub const NETWORKS: &str = "networks:
  managed: {}
  prod: {interface: eth1, dns: [\"10.20.0.53:53\"]}
";

/// What the router of the private network does by itself, and its counts of that.
const ROUTER_RULES: &str = "table inet nsg {
  counter dropped { }
  counter refused { }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip daddr 10.30.0.66 counter name dropped drop
    ip daddr 10.30.0.67 counter name refused meta l4proto tcp reject with tcp reset
  }
}
";

/// The namespaces of one test with two uplinks. What runs in them ends before they are deleted.
pub struct TwoUplinks {
    net: Topology,
    /// The name server of the private network.
    pub private_dns: Dns,
    /// What stands between the gateway and the private network.
    pub router: Namespace,
    /// The private network.
    pub vnet: Namespace,
    /// Which links have to be still.
    pub held: Held,
}

impl Deref for TwoUplinks {
    type Target = Topology;

    fn deref(&self) -> &Topology {
        &self.net
    }
}

impl DerefMut for TwoUplinks {
    fn deref_mut(&mut self) -> &mut Topology {
        &mut self.net
    }
}

impl TwoUplinks {
    /// The namespaces and their links, with both links counted; no gateway runs yet. `None`: it cannot be had here,
    /// which was said.
    pub fn new(label: &str) -> Option<Self> {
        let net = Topology::new(label)?;
        let (router, vnet) = (Namespace::new("router"), Namespace::new("vnet"));
        for namespace in [&net.gate, &router, &vnet] {
            quiet(namespace);
        }
        // The sandboxes come and go by other interfaces than the answers.
        net.gate.ip("route add default via 93.184.216.99 dev up0\n");
        net.gate.ip6("route add default via 2600:1f18::99 dev up0\n");
        net.gate.feed("nft", LINKS);
        private_side(&router, &vnet);
        let made = Self { private_dns: private_dns(&vnet), net, router, vnet, held: Held::default() };
        made.plug();
        Some(made)
    }

    /// The same, running, with the rules for the sandboxes loaded and names that lead to the usual origin on both paths.
    pub async fn start(label: &str, policy: &str, networks: &str) -> Option<Self> {
        let mut made = Self::new(label)?;
        made.run_gateway(policy, networks).await;
        Some(made)
    }

    /// Runs the gateway, in the place of one that runs, and loads its rules.
    pub async fn run_gateway(&mut self, policy: &str, networks: &str) {
        self.net.gateway(policy, &config(networks)).await;
        self.net.load_rules().await;
    }

    /// Puts the gateway's interface into the private network, as it is when everything is well.
    pub fn plug(&self) {
        self.gate.ip(&format!(
            "link add eth1 type veth peer name eth0 netns {}
addr add 10.20.0.4/28 dev eth1
addr add fd00:20::4/64 dev eth1 nodad
link set eth1 up
",
            self.router.name
        ));
        self.router
            .ip("addr add 10.20.0.1/28 dev eth0\naddr add fd00:20::1/64 dev eth0 nodad\nlink set eth0 up\n");
        // Found by sockets bound to the interface only: the other default is the better one.
        self.gate.ip("route add default via 10.20.0.1 dev eth1 metric 900\n");
        self.gate.ip6("route add default via fd00:20::1 dev eth1 metric 4000\n");
        for (link, device, address) in
            [(Link::Managed, "up0", "[2600:1f18::34]:1"), (Link::Delegated, "eth1", "[fd00:30::10]:1")]
        {
            self.held.release(link);
            self.gate.inside(async || answers(device, address.parse().expect("an address")).await);
        }
    }

    /// Takes the interface away.
    pub fn unplug(&self) {
        self.gate.ip("link del eth1\n");
    }

    /// What is said for this name: the usual origin, on both paths.
    pub fn both_say(&self, name: &str) {
        self.dns.says(name, Answer::addresses([ORIGIN, ORIGIN6]));
        self.private_dns.says(name, Answer::addresses([ORIGIN, ORIGIN6]));
    }

    /// The usual origins of both paths, on the same addresses; what they say is the path.
    pub fn origins(&self) -> Sides {
        let side = |namespace: &Namespace, addresses: &[&str], says: &str| {
            let start = |address: &str, behaviour| {
                namespace.inside(|| Origin::start_on(address.parse().expect("an address"), behaviour))
            };
            let opaque = |host: &&str| start(&format!("{host}:443"), Behaviour::Banner(says.into()));
            let web = |host: &&str| {
                start(&format!("{host}:80"), Behaviour::Http(vec![Reply::ok(says).then_close()]))
            };
            addresses.iter().flat_map(|host| [opaque(host), web(host)]).collect()
        };
        let public = [ORIGIN, "[2600:1f18::34]"];
        let private = [ORIGIN, "[2600:1f18::34]", PRIVATE, "[fd00:30::10]"];
        Sides {
            managed: side(&self.internet, &public, "managed"),
            delegated: side(&self.vnet, &private, "delegated"),
        }
    }

    /// How many packets the router dropped and how many it refused.
    pub fn router_counts(&self) -> (u64, u64) {
        (self.router.counted("nsg", "dropped"), self.router.counted("nsg", "refused"))
    }
}

/// The usual origins.
pub struct Sides {
    /// In the internet.
    pub managed: Vec<Origin>,
    /// In the private network.
    pub delegated: Vec<Origin>,
}

impl Sides {
    /// How many connections came to either side.
    pub fn connections(&self) -> (usize, usize) {
        let sum = |origins: &[Origin]| origins.iter().map(Origin::connections).sum();
        (sum(&self.managed), sum(&self.delegated))
    }
}

/// The configuration of the whole system with these networks; what does not answer is given up soon.
pub fn config(networks: &str) -> String {
    format!("{SYSTEM}{networks}limits: {{connectTimeoutMs: 1000}}\n")
}

/// A document that delegates to `prod`, with this managed path.
pub fn managed(path: &str) -> String {
    format!("mode: VNet\nvnet: {{network: prod, managedPath: {{{path}}}}}\n")
}

/// Nothing is said by the kernel alone, and answers may come by any interface.
fn quiet(namespace: &Namespace) {
    for setting in [
        "net.ipv4.conf.all.rp_filter=0",
        "net.ipv4.conf.default.rp_filter=0",
        "net.ipv6.conf.default.accept_ra=0",
        "net.ipv6.conf.default.accept_dad=0",
        "net.ipv6.conf.default.router_solicitations=0",
        "net.ipv6.conf.default.autoconf=0",
    ] {
        namespace.sysctl(setting);
    }
    // A namespace inherits nothing for what is there already.
    if namespace.name.ends_with("gate") {
        namespace.sysctl("net.ipv4.conf.up0.rp_filter=0");
    }
}

/// Waits until a closed port refuses: a link that was just set up carries IPv6 only when the kernel has found the time to
/// notice.
async fn answers(device: &str, address: SocketAddr) {
    let refused = async {
        loop {
            let socket = TcpSocket::new_v6().expect("a socket");
            socket.bind_device(Some(device.as_bytes())).expect("a device");
            let tried = timeout(Duration::from_millis(50), socket.connect(address)).await;
            if tried.is_ok_and(|tried| tried.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused))
            {
                return;
            }
        }
    };
    within(&format!("{address} by {device}"), refused).await;
}

/// The router and what is behind it.
fn private_side(router: &Namespace, vnet: &Namespace) {
    router.ip(&format!(
        "link add eth1 type veth peer name eth0 netns {}
addr add 10.20.0.49/28 dev eth1
addr add fd00:21::1/64 dev eth1 nodad
link set eth1 up
route add default via 10.20.0.53
",
        vnet.name
    ));
    router.ip6("route add default via fd00:21::53\n");
    for setting in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        router.sysctl(setting);
    }
    router.feed("nft", ROUTER_RULES);
    let own = VNET.map(|address| format!("addr add {address} dev eth0\n")).concat();
    vnet.ip(&format!(
        "addr add 10.20.0.53/28 dev eth0
addr add fd00:21::53/64 dev eth0 nodad
{own}link set eth0 up
route add default via 10.20.0.49
"
    ));
    vnet.ip6("route add default via fd00:21::1\n");
}

/// The name server of the private network.
fn private_dns(vnet: &Namespace) -> Dns {
    vnet.inside(|| Dns::start_on(PRIVATE_DNS.parse().expect("an address")))
}
