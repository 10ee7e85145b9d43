//! The table as a whole.
//!
//! The order of the hooks is what makes it tight: who sends it (raw, before connection tracking), what it is (mangle,
//! before addresses are rewritten), where it goes (nat), and then, whatever happened before, what may reach this host
//! (input) and that nothing passes through it (forward).

use std::net::IpAddr;

use ipnet::IpNet;

use super::clause::{self, Clause};
use super::settings::{Interface, Mode, Ports, Settings, Who};
use super::{print, sidecar};

/// The name of the table, of family `inet`.
pub const TABLE: &str = "sluicegate";
/// How many connections and queries an interface may begin a second.
const NEW: u32 = 5_000;
/// How many at once.
const NEW_AT_ONCE: u32 = 10_000;
/// The mark of what `tproxy` takes, and the number of the routing table that delivers it.
pub(super) const MARK: u32 = 0x736c;

/// Every chain and rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The chains, in the order in which a packet meets them.
    pub(super) chains: Vec<Chain>,
    /// What stands above it, one line each.
    pub(super) head: Vec<String>,
}

/// One chain.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chain {
    /// Its name.
    pub(super) name: &'static str,
    /// Where the kernel calls it; none: only other chains do.
    pub(super) base: Option<Base>,
    /// What it is for.
    pub(super) promise: String,
    /// Its rules.
    pub(super) rules: Vec<Rule>,
}

/// Where the kernel calls a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Base {
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    /// The hook.
    pub(super) hook: &'static str,
    /// The lower, the earlier.
    pub(super) priority: i32,
    /// What becomes of a packet that no rule decides about.
    pub(super) policy: &'static str,
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rule {
    /// Its parts.
    pub(super) clauses: Vec<Clause>,
    /// What it is for.
    pub(super) promise: String,
}

/// A rule.
pub(super) fn rule<const N: usize>(promise: impl Into<String>, clauses: [Clause; N]) -> Rule {
    Rule { clauses: clauses.into(), promise: promise.into() }
}

/// A chain that the kernel calls.
pub(super) fn base(
    name: &'static str,
    (kind, hook, priority, policy): (&'static str, &'static str, i32, &'static str),
    promise: &str,
    rules: Vec<Rule>,
) -> Chain {
    Chain { name, base: Some(Base { kind, hook, priority, policy }), promise: promise.to_owned(), rules }
}

/// A chain that other chains call.
fn called(name: &'static str, promise: &str, rules: Vec<Rule>) -> Chain {
    Chain { name, base: None, promise: promise.to_owned(), rules }
}

/// The table of these settings, which have been checked.
#[must_use]
pub fn table(settings: &Settings) -> Table {
    let head = print::head(settings);
    let chains = match &settings.who {
        Who::EveryoneBut(uid) => sidecar::chains(*uid, settings.ipv6, settings.ports),
        Who::Interfaces { interfaces, mode, gateway } => {
            let from =
                Sandboxes { interfaces, mode: *mode, gateway, ipv6: settings.ipv6, ports: settings.ports };
            from.chains()
        }
    };
    Table { chains, head }
}

/// The sandboxes behind a gateway, and what they may reach.
struct Sandboxes<'a> {
    /// Where they are.
    interfaces: &'a [Interface],
    /// How TCP is taken.
    mode: Mode,
    /// Where the explicit proxy is.
    gateway: &'a [IpAddr],
    /// Whether they may speak IPv6.
    ipv6: bool,
    /// The gateway's ports.
    ports: Ports,
}

impl Sandboxes<'_> {
    /// Every chain.
    fn chains(&self) -> Vec<Chain> {
        vec![
            base(
                "antispoof",
                ("filter", "prerouting", -300, "accept"),
                "who a packet says it is from is looked at before anything else",
                self.each("spoofed"),
            ),
            called("spoofed", "a sandbox sends only from its own addresses", self.spoofed()),
            called(
                "answered",
                "a sandbox sends only from addresses that are behind its interface",
                vec![rule(
                    "no source is taken that would not be answered by the same interface",
                    [clause::unreached_source(), clause::drop()],
                )],
            ),
            base(
                "capture",
                ("filter", "prerouting", -150, "accept"),
                "what a sandbox sends is sorted before any address is rewritten",
                self.floods().into_iter().chain(self.each("sort")).collect(),
            ),
            called("sort", "what is not taken to the gateway ends here", self.sort()),
            base(
                "divert",
                ("nat", "prerouting", -100, "accept"),
                "what is left goes to the gateway's ports",
                self.each("to_gateway"),
            ),
            called("to_gateway", "it does not matter where it was meant for", self.to_gateway()),
            base(
                "input",
                ("filter", "input", 0, "accept"),
                "sandboxes reach only the gateway's own ports on this host",
                self.each("reach"),
            ),
            called("reach", "the admin server and every other service are out of reach", self.reach()),
            base(
                "forward",
                ("filter", "forward", 0, "drop"),
                "this host forwards nothing: not out of a sandbox, not into one, not between two",
                Vec::new(),
            ),
        ]
    }

    /// No sandbox fills the kernel's table of connections, which all of them share. Behind a pattern of names there may be
    /// many, of whom one would use up what is for all.
    fn floods(&self) -> Vec<Rule> {
        let named = self.interfaces.iter().map(Interface::name).filter(|name| !name.ends_with('*'));
        let one = |name: &str| {
            let promise =
                format!("{name} begins at most {NEW} connections a second, and {NEW_AT_ONCE} at once");
            let beyond = clause::begins_beyond(NEW, NEW_AT_ONCE);
            rule(promise, [clause::from_interface(name), beyond, clause::drop()])
        };
        named.map(one).collect()
    }

    /// One rule an interface, that lets another chain judge.
    fn each(&self, chain: &str) -> Vec<Rule> {
        let one = |interface: &Interface| {
            let name = interface.name();
            let promise = format!("everything from {name} is looked at");
            rule(promise, [clause::from_interface(name), clause::jump(chain)])
        };
        self.interfaces.iter().map(one).collect()
    }

    /// Neighbour discovery passes.
    fn neighbours(&self) -> Option<Rule> {
        let promise = "neighbour discovery works on the link, where IPv6 does";
        self.ipv6.then(|| rule(promise, [clause::neighbour(), clause::accept()]))
    }

    /// What tells of the size of packets passes, and neighbour discovery behind it.
    fn path_mtu(&self, promise: &str) -> Vec<Rule> {
        let pass = |family: &str, protocol: &str, kind: &str| {
            let clauses = [clause::state("related"), clause::icmp(protocol, kind), clause::accept()];
            rule(format!("{promise} ({family})"), clauses)
        };
        let mut rules = vec![pass("IPv4", "icmp", "destination-unreachable")];
        if self.ipv6 {
            rules.push(pass("IPv6", "icmpv6", "packet-too-big"));
            rules.extend(self.neighbours());
        }
        rules
    }

    /// Nothing comes from an address that is not the sender's.
    fn spoofed(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        if self.ipv6 {
            rules.extend(self.neighbours());
        } else {
            let promise = "sandboxes have no IPv6";
            rules.push(rule(promise, [clause::family("ipv6"), clause::drop()]));
        }
        for interface in self.interfaces {
            for (ipv6, family) in [(false, "ipv4"), (true, "ipv6")] {
                if ipv6 && !self.ipv6 {
                    continue;
                }
                let Some(sources) = interface.sources(ipv6) else { continue };
                let name = interface.name();
                for net in sources {
                    let promise = format!("{name} may send from {net}");
                    let clauses =
                        [clause::from_interface(name), clause::from_net(net), clause::goto("answered")];
                    rules.push(rule(promise, clauses));
                }
                let promise = format!("{name} sends from no other {family} address");
                let clauses = [clause::from_interface(name), clause::family(family), clause::drop()];
                rules.push(rule(promise, clauses));
            }
        }
        rules.push(rule("the others are looked at too", [clause::goto("answered")]));
        rules
    }

    /// Everything that is not for the proxy or its DNS server ends.
    fn sort(&self) -> Vec<Rule> {
        let Ports { transparent, dns, .. } = self.ports;
        let mut rules = vec![
            rule("packets of no connection go nowhere", [clause::state("invalid"), clause::drop()]),
            rule("answers to this host pass", [clause::answer(), clause::accept()]),
        ];
        rules.extend(self.path_mtu("path MTU messages about the sandbox's own connections pass"));
        if dns.is_some() {
            for protocol in ["udp", "tcp"] {
                let promise = format!("DNS over {protocol} is left for the DNS server");
                rules.push(rule(promise, [clause::to_port(protocol, 53), clause::accept()]));
            }
        }
        match self.mode {
            Mode::Redirect => {
                let promise = "TCP is left to be redirected, IPv4 and IPv6 alike";
                rules.push(rule(promise, [clause::protocol("tcp"), clause::accept()]));
            }
            Mode::TProxy => {
                rules.extend(self.explicit());
                rules.push(rule(
                    format!("TCP, IPv4 and IPv6 alike, goes to the proxy's socket on port {transparent}"),
                    [clause::protocol("tcp"), clause::tproxy(transparent, MARK), clause::accept()],
                ));
                let promise = "TCP is refused at once while nobody listens there";
                rules.push(rule(promise, [clause::protocol("tcp"), clause::reset()]));
            }
        }
        rules.push(rule(
            "UDP, QUIC first of all, is refused at once, so that clients turn to TCP",
            [clause::protocol("udp"), clause::unreachable()],
        ));
        rules.push(rule("no other protocol leaves, echo requests included", [clause::drop()]));
        rules
    }

    /// What is addressed to the explicit proxy is left alone.
    fn explicit(&self) -> Vec<Rule> {
        let Some(port) = self.ports.explicit else { return Vec::new() };
        let to = |place| {
            let promise = format!("the explicit proxy is reached on port {port}");
            rule(promise, [clause::to_port("tcp", port), place, clause::accept()])
        };
        if self.gateway.is_empty() {
            return vec![to(clause::to_this_host())];
        }
        let usable = self.gateway.iter().filter(|address| self.ipv6 || address.is_ipv4());
        usable.map(|address| to(clause::to_net(IpNet::from(*address)))).collect()
    }

    /// Addresses are rewritten.
    fn to_gateway(&self) -> Vec<Rule> {
        let Ports { transparent, dns, .. } = self.ports;
        let mut rules = Vec::new();
        if let Some(dns) = dns {
            for protocol in ["udp", "tcp"] {
                let promise = format!("DNS over {protocol}, to whatever server, is answered by port {dns}");
                rules.push(rule(promise, [clause::to_port(protocol, 53), clause::redirect(dns)]));
            }
        }
        if self.mode == Mode::Redirect {
            rules.extend(self.explicit());
            rules.push(rule(
                format!("TCP, IPv4 and IPv6 alike, is taken to port {transparent}"),
                [clause::protocol("tcp"), clause::redirect(transparent)],
            ));
        }
        rules
    }

    /// What a sandbox reaches on this host.
    fn reach(&self) -> Vec<Rule> {
        let Ports { transparent, dns, .. } = self.ports;
        let mut rules = vec![rule("answers to this host are received", [clause::answer(), clause::accept()])];
        rules.extend(self.path_mtu("path MTU messages are received"));
        rules.push(match self.mode {
            Mode::Redirect => rule(
                format!("port {transparent} is reached by what was redirected, and not directly"),
                [clause::to_port("tcp", transparent), clause::redirected(), clause::accept()],
            ),
            Mode::TProxy => rule(
                "the proxy's socket is reached by what it was given to",
                [clause::protocol("tcp"), clause::marked(MARK), clause::accept()],
            ),
        });
        if let Some(dns) = dns {
            for protocol in ["udp", "tcp"] {
                let promise = format!("port {dns} is reached over {protocol} by what was redirected");
                let clauses = [clause::to_port(protocol, dns), clause::redirected(), clause::accept()];
                rules.push(rule(promise, clauses));
            }
        }
        rules.extend(self.explicit());
        let promise = "everything else on this host, the admin server too, refuses sandboxes";
        rules.push(rule(promise, [clause::protocol("tcp"), clause::reset()]));
        rules.push(rule(promise, [clause::drop()]));
        rules
    }
}
