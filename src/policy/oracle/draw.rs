//! Names, patterns, networks and paths at random, each near those before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::policy::pattern::Pattern;

mod written;

/// Ports that are met: two web ports, the guarded one, and others.
pub(super) const PORTS: [u16; 6] = [443, 80, 25, 8443, 1, 65535];
/// A port of each range within which all of them are as good as one, whatever is drawn.
pub(super) const TURNS: [u16; 14] = [1, 2, 25, 26, 80, 81, 100, 101, 443, 444, 8443, 8444, 65534, 65535];
/// Literals whose forms meet in one IPv4 address.
pub(super) const LITERALS: [&str; 8] = [
    "8.8.8.8",
    "8.8.4.4",
    "10.0.0.1",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::808:808]",
    "[2002:808:808::]",
    "[2001:0:808:808::80ff:fffe]",
    "[2606:4700::1]",
];
/// Names of the shipped list.
pub(super) const LISTED: [&str; 6] =
    ["pypi.org", "registry.npmjs.org", "github.com", "a.ghe.com", "dev.azure.com", "deb.debian.org"];
/// Addresses that networks are cut from: no IPv4 one in disguise, which a policy may not name.
const ROOTS: [&str; 8] = [
    "8.8.8.8",
    "8.8.4.4",
    "10.0.0.1",
    "192.0.2.1",
    "64:ff9b::808:808",
    "2002:808:808::",
    "2606:4700::1",
    "fd00::1",
];
/// Addresses that are dialled, besides those at the edges of networks.
const ADDRESSES: [&str; 12] = [
    "8.8.8.8",
    "10.0.0.1",
    "127.0.0.1",
    "0.0.0.0",
    "169.254.169.254",
    "192.0.2.1",
    "::1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "2002:a9fe:a9fe::",
    "fe80::1",
    "2001:0:808:808::80ff:fffe",
];
/// The pieces of paths.
const SEGMENTS: [&str; 6] = ["a", "b", "ab", "axb", "", "a-b"];
/// Methods of requests; no rule names the last.
pub(super) const METHODS: [&str; 3] = ["GET", "POST", "get"];
/// What labels are made from, few of them at a time so that names meet.
pub(super) const ALPHABETS: [&[&str]; 5] = [
    &["a", "b"],
    &["a", "b", "ab", "aab"],
    &["com", "example", "api", "www", "a-b", "a_b", "0a"],
    &["x", "xx", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "y"],
    &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"],
];
/// The longest name in bytes.
const LONGEST: usize = 253;

/// Where the choices of a case come from.
#[derive(Debug)]
pub enum Choices<'a> {
    /// A stream of numbers (splitmix64).
    Seed(u64),
    /// A fuzzer's bytes; beyond their end, always the first choice.
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        let number = match self {
            Self::Seed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^ (mixed >> 31)
            }
            Self::Bytes(bytes) => {
                let (byte, rest) = bytes.split_first().map_or((0, *bytes), |(byte, rest)| (*byte, rest));
                *bytes = rest;
                byte.into()
            }
        };
        usize::try_from(number % limit as u64).unwrap()
    }

    /// Once in so many times.
    pub(super) fn rarely(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }

    /// One of a list.
    pub(super) fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }

    /// A count: small, and once in a while large.
    fn count(&mut self, small: usize, large: usize) -> usize {
        if self.rarely(12) { self.below(large) } else { self.below(small) }
    }
}

/// Names and networks drawn so far, to draw the next ones near them.
pub(super) struct Drawer<'a, 'b> {
    pub(super) choices: &'a mut Choices<'b>,
    pub(super) alphabet: &'static [&'static str],
    pub(super) names: Vec<String>,
    pub(super) nets: Vec<IpNet>,
}

impl Drawer<'_, '_> {
    /// A name: a new one, or an old one with a label more, less or otherwise.
    pub(super) fn name(&mut self) -> String {
        let fresh = self.names.is_empty() || self.choices.rarely(3);
        let mut labels: Vec<String> = if fresh {
            let count = match self.choices.below(40) {
                39 => 127,
                38 => 1 + self.choices.below(40),
                _ => 1 + self.choices.below(4),
            };
            (0..count).map(|_| self.label()).collect()
        } else {
            let old = self.choices.below(self.names.len());
            self.names[old].split('.').map(str::to_owned).collect()
        };
        let at = self.choices.below(labels.len());
        match self.choices.below(8) {
            0 | 1 => labels.insert(0, self.label()),
            2 if labels.len() > 1 => drop(labels.remove(0)),
            3 => labels[at] = self.label(),
            4 => labels.insert(at, self.label()),
            5 => labels[0].insert(0, 'a'),
            _ => {}
        }
        while labels.join(".").len() > LONGEST {
            labels.remove(0);
        }
        if labels.is_empty() || labels.iter().any(|label| label.len() > 63) {
            labels = vec!["a".to_owned()];
        }
        let name = labels.join(".");
        self.names.push(name.clone());
        name
    }

    /// A label.
    fn label(&mut self) -> String {
        self.choices.pick(self.alphabet).to_owned()
    }

    /// A pattern: a name, or one with stars in it; now and then a literal, or with a port.
    fn pattern(&mut self) -> String {
        let mut text = match self.choices.below(16) {
            0..=4 => self.name(),
            5..=8 => format!("*.{}", self.name()),
            9 => "*".to_owned(),
            10 | 11 => self.choices.pick(&LITERALS).to_owned(),
            _ => {
                let name = self.name();
                let mut labels: Vec<String> = name.split('.').map(str::to_owned).collect();
                for _ in 0..=self.choices.below(2) {
                    let at = self.choices.below(labels.len());
                    let star = match self.choices.below(4) {
                        0 => "*".to_owned(),
                        1 => format!("{}*", labels[at]),
                        2 => format!("*{}", labels[at]),
                        _ => format!("{}*{}", self.label(), self.label()),
                    };
                    labels[at] = star;
                }
                labels.join(".")
            }
        };
        if text.parse::<Pattern>().is_err() {
            "*.a".clone_into(&mut text);
        }
        if self.choices.rarely(5) { format!("{text}:{}", self.port()) } else { text }
    }

    /// A port.
    pub(super) fn port(&mut self) -> u16 {
        PORTS[self.choices.below(PORTS.len())]
    }

    /// A network: one cut from an address, or an old one widened or narrowed.
    fn net(&mut self) -> IpNet {
        let root: IpAddr = match self.nets.len() {
            0 => ROOTS[0].parse().unwrap(),
            _ if self.choices.rarely(2) => self.choices.pick(&ROOTS).parse().unwrap(),
            count => self.nets[self.choices.below(count)].addr(),
        };
        let longest = if root.is_ipv4() { 32 } else { 128 };
        let length = u8::try_from(self.choices.below(longest + 1)).unwrap();
        let net = IpNet::new(root, length).unwrap().trunc();
        self.nets.push(net);
        net
    }

    /// A path of a request.
    pub(super) fn path(&mut self) -> String {
        let segments: Vec<&str> = (0..=self.choices.below(3)).map(|_| self.choices.pick(&SEGMENTS)).collect();
        let path = format!("/{}", segments.join("/"));
        if path.contains("//") { "/".to_owned() } else { path }
    }

    /// A part of an operator's list.
    pub(super) fn operator(&mut self, list: &[&'static str]) -> Vec<&'static str> {
        list.iter().copied().filter(|_| self.choices.rarely(4)).collect()
    }

    /// Addresses at the edges of the networks drawn, and well-known ones.
    pub(super) fn addresses(&mut self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = ADDRESSES.iter().map(|text| text.parse().unwrap()).collect();
        for _ in 0..8.min(self.nets.len()) {
            let net = self.nets[self.choices.below(self.nets.len())];
            let step = |address: IpAddr, by: i8| match address {
                IpAddr::V4(ip) => {
                    IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits().wrapping_add_signed(by.into())))
                }
                IpAddr::V6(ip) => {
                    IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits().wrapping_add_signed(by.into())))
                }
            };
            let edges = [net.network(), step(net.network(), -1), net.broadcast(), step(net.broadcast(), 1)];
            all.push(edges[self.choices.below(edges.len())]);
        }
        all
    }
}
