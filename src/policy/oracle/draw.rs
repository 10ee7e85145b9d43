//! Names, patterns, networks and paths at random, each near those before it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::policy::pattern::Pattern;

/// Ports that are met: two web ports, the guarded one, and others.
pub(super) const PORTS: [u16; 6] = [443, 80, 25, 8443, 1, 65535];
/// A port of each range within which all of them are as good as one, whatever is drawn.
pub(super) const TURNS: [u16; 14] = [1, 2, 25, 26, 80, 81, 100, 101, 443, 444, 8443, 8444, 65534, 65535];
/// Port lists, in flow style.
const PORT_LISTS: [&str; 6] = ["[443]", "[80, 443]", "[1-100]", "[25, 8443]", "[81-65535]", "[1-65535]"];
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
/// The pieces of paths of rules, which these fit here and there.
const STARRED: [&str; 9] = ["a", "b", "ab", "*", "a*", "*b", "a*b", "", "a*-*b"];
/// Methods of requests; no rule names the last.
pub(super) const METHODS: [&str; 3] = ["GET", "POST", "get"];
/// Method lists of rules.
const METHOD_LISTS: [&str; 3] = ["[GET]", "[POST]", "[GET, POST]"];
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

    /// A path of a rule.
    fn rule_path(&mut self) -> String {
        let segments: Vec<&str> = (0..=self.choices.below(3)).map(|_| self.choices.pick(&STARRED)).collect();
        let path = format!("/{}", segments.join("/"));
        if path.contains("//") { "/*".to_owned() } else { path }
    }

    /// `Allow` or `Deny`.
    fn action(&mut self) -> &'static str {
        self.choices.pick(&["Allow", "Deny"])
    }

    /// A `Transform` or `Rewrite` of a rule for this host.
    fn change(&mut self, host: &str) -> String {
        let mut place = Vec::new();
        let mut home = host.to_owned();
        if self.choices.rarely(2) {
            if self.choices.below(3) < 2 {
                let literal = self.choices.rarely(5);
                home = if literal { self.choices.pick(&LITERALS).to_owned() } else { self.name() };
                let port = if self.choices.rarely(3) { format!(":{}", self.port()) } else { String::new() };
                place.push(format!("host: \"{home}{port}\""));
            }
            if place.is_empty() || self.choices.rarely(2) {
                place.push(format!("path: \"{}\"", self.path()));
            }
        }
        let scheme = if place.is_empty() { 0 } else { self.choices.below(3) };
        place.extend(
            ["scheme: https", "scheme: http"]
                .get(scheme)
                .filter(|_| !place.is_empty())
                .map(ToString::to_string),
        );
        let plain = place.iter().any(|text| text == "scheme: http");
        let values: &[&str] = match (plain, home.contains('*')) {
            (true, _) => &["value: t"],
            (false, true) => &["value: t", "valueRef: {secretRef: {secretId: bound, secretKey: l}}"],
            (false, false) => &[
                "value: t",
                "valueRef: {secretRef: {secretId: bound, secretKey: k}}",
                "valueRef: {secretRef: {secretId: bare}}",
                "valueRef: {managedIdentityRef: {type: SystemAssigned, resource: r}}",
            ],
        };
        let edits = (0..=self.choices.below(2)).map(|_| {
            let name = self.choices.pick(&["a", "b"]);
            let value = self.choices.pick(values);
            match self.choices.below(4) {
                0 => format!("{{operation: Remove, name: {name}}}"),
                1 => format!("{{operation: Insert, name: {name}, {value}}}"),
                _ => format!("{{operation: Set, name: {name}, {value}}}"),
            }
        });
        let edits: Vec<String> = edits.collect();
        let kind = if place.is_empty() { "Transform" } else { "Rewrite" };
        place.push(format!("headers: [{}]", edits.join(", ")));
        format!("{{type: {kind}, {}}}", place.join(", "))
    }

    /// A spec in flow style, of a document with others below it or not.
    pub(super) fn spec(&mut self, above: bool) -> String {
        let hosts: Vec<String> = (0..self.choices.count(6, 256))
            .map(|_| format!("{{pattern: \"{}\", action: {}}}", self.pattern(), self.action()))
            .collect();
        let cidrs: Vec<String> = (0..self.choices.count(5, 64))
            .map(|_| {
                let (net, action) = (self.net(), self.action());
                let ports = self.maybe(3, "ports", |drawer| drawer.choices.pick(&PORT_LISTS).to_owned());
                format!("{{cidr: \"{net}\", action: {action}{ports}}}")
            })
            .collect();
        let rules: Vec<String> = (0..self.choices.count(4, 96))
            .map(|_| {
                let host = self.pattern();
                let action =
                    if self.choices.rarely(3) { self.change(&host) } else { self.action().to_owned() };
                let path = self.maybe(2, "path", |drawer| format!("\"{}\"", drawer.rule_path()));
                let methods =
                    self.maybe(3, "methods", |drawer| drawer.choices.pick(&METHOD_LISTS).to_owned());
                format!("{{match: {{host: \"{host}\"{path}{methods}}}, action: {action}}}")
            })
            .collect();
        let mode = self.choices.pick(&["Limited", "Unrestricted", "VNet"]);
        let vnet = if mode == "VNet" || self.choices.rarely(8) { self.vnet() } else { String::new() };
        let skip = if self.choices.rarely(10) { ", skipEgressProxy: true" } else { "" };
        let permits = above && self.choices.below(4) > 0;
        let constraints = if permits { ", constraints: {skipEgressProxy: Permitted}" } else { "" };
        let ports = self.maybe(2, "ports", |drawer| drawer.choices.pick(&PORT_LISTS).to_owned());
        let enforcement = if self.choices.rarely(5) { "Report" } else { "Enforce" };
        format!(
            "{{mode: {mode}, enforcement: {enforcement}{ports}{vnet}{skip}{constraints}, hostRules: [{}], cidrRules: [{}], rules: [{}]}}",
            hosts.join(", "),
            cidrs.join(", "),
            rules.join(", ")
        )
    }

    /// A `vnet` with its key.
    fn vnet(&mut self) -> String {
        let network = if self.choices.rarely(10) { "other" } else { "prod" };
        let step = [1, 996, 313][self.choices.below(3)];
        let rules: Vec<String> =
            (0..self.choices.count(5, 40)).map(|at| self.network_rule(at, step)).collect();
        let rules =
            if rules.is_empty() { String::new() } else { format!(", securityRules: [{}]", rules.join(", ")) };
        let switches = |drawer: &mut Self, keys: &[&str]| {
            let on: Vec<String> =
                keys.iter().map(|key| format!("{key}: {}", drawer.choices.rarely(3))).collect();
            on.join(", ")
        };
        let registries = switches(self, &["pypi", "npm", "nuget", "apt"]);
        let repositories = switches(self, &["github", "githubEnterprise", "azureDevOps"]);
        let servers: Vec<String> =
            (0..self.choices.below(3)).map(|_| format!("\"{}\"", self.name())).collect();
        let hosts: Vec<String> = (0..self.choices.count(5, 64))
            .map(|_| {
                let host = self.pattern();
                let literal = host.contains(['[', ']']) || LITERALS.iter().any(|own| host.starts_with(own));
                format!("\"{}\"", if literal { "*.a" } else { &host })
            })
            .collect();
        format!(
            ", vnet: {{network: {network}{rules}, managedPath: {{packageRegistries: {{{registries}}}, \
             codeRepositories: {{{repositories}}}, remoteMcpServers: [{}], additionalHosts: [{}]}}}}",
            servers.join(", "),
            hosts.join(", ")
        )
    }

    /// One `securityRules` entry.
    fn network_rule(&mut self, at: usize, step: usize) -> String {
        let (priority, action) = (100 + at * step % 997, self.action());
        let destination = match self.choices.below(5) {
            0 => "\"*\"".to_owned(),
            1 => format!("[\"{}\", \"{}\"]", self.net(), self.net()),
            2 => format!("[\"{}\", \"*\"]", self.net()),
            _ => format!("\"{}\"", self.net()),
        };
        let ports = self.maybe(2, "ports", |drawer| {
            if drawer.choices.rarely(4) {
                "\"*\"".to_owned()
            } else {
                drawer.choices.pick(&PORT_LISTS).to_owned()
            }
        });
        let protocol = self
            .maybe(2, "protocol", |drawer| drawer.choices.pick(&["Tcp", "\"*\"", "Udp", "Icmp"]).to_owned());
        format!(
            "{{name: s{at}, priority: {priority}, action: {action}, destination: {destination}{ports}{protocol}}}"
        )
    }

    /// A key with its value, once in so many times.
    fn maybe(&mut self, times: usize, key: &str, value: impl FnOnce(&mut Self) -> String) -> String {
        if self.choices.rarely(times) { format!(", {key}: {}", value(self)) } else { String::new() }
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
