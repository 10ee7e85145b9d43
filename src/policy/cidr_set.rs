//! Longest-prefix match over `cidrRules`, with ports and Deny-wins at equal length.
//!
//! Prefixes nest and never cross, so they cut the address space into ranges, each with one innermost prefix. A range
//! holds its verdict itself; only a prefix that lists ports needs a node, and leads on to the prefix round it:
//!
//! ```text
//! rules      #0 Deny 10/8      #1 Allow 10.1/16 [443]      #2 Allow 10.1.2/24
//!
//! ranges  9.255.255.255  10.0.255.255  10.1.1.255  10.1.2.255  10.1.255.255  10.255.255.255  255.255.255.255
//!  (ends)    nothing        Deny #0      node 0     Allow #2      node 0        Deny #0          nothing
//!                                          │                        │
//! nodes                                    └──► 443 → Allow #1, else Deny #0 ◄──┘
//!
//! index   top bits ─► region ─► next bits, more where ranges are dense ─► a slot's ranges ─► the range
//! ```
//! A look-up reads one line of the index and, because the range's place is guessed from the address, one or two
//! lines of ranges. Registries hand out IPv6 from few blocks: regions give the bits to where the prefixes are.

use std::net::IpAddr;

use ipnet::IpNet;

use super::mode::Action;
use super::port_set::PortSet;
use crate::addr::Port;

mod table;

use table::Table;

/// What the longest matching prefix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CidrMatch {
    /// The id that the rule was inserted with.
    pub id: u32,
    /// What the rule does.
    pub action: Action,
    /// The rule lists its ports, so it was written for this very port.
    pub lists_port: bool,
}

/// `cidrRules` compiled for look-up; immutable once built, and without heap when empty.
#[derive(Debug, Clone, Default)]
pub struct CidrSet {
    v4: Option<Box<Table<u32>>>,
    v6: Option<Box<Table<u128>>>,
    nodes: Nodes,
    len: usize,
}

impl CidrSet {
    /// Compiles rules given as (id, prefix, action, ports).
    pub fn new<'a>(rules: impl IntoIterator<Item = (u32, IpNet, Action, Option<&'a PortSet>)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (id, net, action, ports) in rules {
            let rule = |start| Rule { start, length: net.prefix_len(), action, ports, id };
            match net.network() {
                IpAddr::V4(ip) => v4.push(rule(u32::from(ip).into())),
                IpAddr::V6(ip) => v6.push(rule(ip.into())),
            }
        }
        let len = v4.len() + v6.len();
        let (mut nodes, mut spans) = (Vec::new(), Vec::new());
        let v4 = Table::new(&flatten(&mut v4, u32::BITS, &mut nodes, &mut spans));
        let v6 = Table::new(&flatten(&mut v6, u128::BITS, &mut nodes, &mut spans));
        Self { v4, v6, nodes: Nodes { nodes: nodes.into(), spans: spans.into() }, len }
    }

    /// How many rules there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The rule that decides about `address` on `port`: rules that do not list the port are left out, then
    /// the longest prefix wins, and at equal length a Deny.
    #[must_use]
    pub fn longest(&self, address: IpAddr, port: Port) -> Option<CidrMatch> {
        let word = match address {
            IpAddr::V4(ip) => self.v4.as_ref()?.find(ip.into())?,
            IpAddr::V6(ip) => self.v6.as_ref()?.find(ip.into())?,
        };
        self.nodes.decide(word, port)
    }

    /// Whether the deciding rule for `address` on `port` is an Allow, as [`Self::longest`] finds it.
    #[must_use]
    pub fn allows(&self, address: IpAddr, port: Port) -> Option<CidrMatch> {
        self.longest(address, port).filter(|found| found.action == Action::Allow)
    }
}

/// What a range says, in 32 bits: nothing, a rule for every port, or a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word(u32);

impl Word {
    /// No prefix covers the range.
    const NOTHING: Self = Self(u32::MAX);
    /// The bit of a node; without it, a word is a rule's id, doubled, plus one for an Allow.
    const NODE: u32 = 1 << 31;

    /// A rule for every port; `None` when its id is too large for a word.
    const fn rule(id: u32, action: Action) -> Option<Self> {
        if id >= Self::NODE >> 1 {
            None
        } else {
            Some(Self(id << 1 | matches!(action, Action::Allow) as u32))
        }
    }

    /// The node at `place`.
    fn node(place: usize) -> Self {
        Self(Self::NODE | small(place))
    }
}

/// What a prefix that lists ports says.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// Its spans, as places.
    spans: (u32, u32),
    /// What holds for the ports that no span covers: its rule for every port, else the enclosing prefix's word.
    rest: Word,
}

/// Ports that one rule decides, unless a span before it does.
#[derive(Debug, Clone, Copy)]
struct Span {
    low: u16,
    high: u16,
    found: CidrMatch,
}

/// The nodes of both families; node by node, the spans in order of precedence.
#[derive(Debug, Clone, Default)]
struct Nodes {
    nodes: Box<[Node]>,
    spans: Box<[Span]>,
}

impl Nodes {
    /// The rule that `word` comes to for `port`. A node leads only to that of a shorter prefix, so it ends.
    #[inline]
    fn decide(&self, mut word: Word, port: Port) -> Option<CidrMatch> {
        while word.0 & Word::NODE != 0 {
            if word == Word::NOTHING {
                return None;
            }
            let node = self.nodes.get(large(word.0 ^ Word::NODE))?;
            let spans = self.spans.get(large(node.spans.0)..large(node.spans.1))?;
            if let Some(span) = spans.iter().find(|span| (span.low..=span.high).contains(&port.get())) {
                return Some(span.found);
            }
            word = node.rest;
        }
        let action = if word.0 & 1 == 1 { Action::Allow } else { Action::Deny };
        Some(CidrMatch { id: word.0 >> 1, action, lists_port: false })
    }
}

/// A rule while the set is built, its first address in the low bits.
struct Rule<'a> {
    start: u128,
    length: u8,
    action: Action,
    ports: Option<&'a PortSet>,
    id: u32,
}

/// The ranges that rules over addresses of `bits` bits come to, from low to high, each by its last address; none
/// without a rule.
fn flatten(
    rules: &mut [Rule<'_>],
    bits: u32,
    nodes: &mut Vec<Node>,
    spans: &mut Vec<Span>,
) -> Vec<(u128, Word)> {
    let last = u128::MAX >> (u128::BITS - bits);
    rules.sort_unstable_by_key(|rule| {
        (rule.start, rule.length, rule.action == Action::Allow, rule.ports.is_none(), rule.id)
    });
    let mut ranges = Vec::with_capacity(if rules.is_empty() { 0 } else { rules.len() * 2 + 1 });
    // Ends the range that reaches to just below `next`.
    let mut close = |next: u128, word: Word| {
        let Some(end) = next.checked_sub(1) else { return };
        match ranges.last_mut() {
            Some((reached, _)) if *reached >= end => {}
            Some((reached, before)) if *before == word => *reached = end,
            Some(_) | None => ranges.push((end, word)),
        }
    };
    // The prefixes round the current address, outermost first, by their last address: at most one a length.
    let mut open: Vec<(u128, Word)> = Vec::new();
    let outer = |open: &[(u128, Word)]| open.last().map_or(Word::NOTHING, |(_, word)| *word);
    for prefix in rules.chunk_by(|one, two| (one.start, one.length) == (two.start, two.length)) {
        let Some(Rule { start, length, .. }) = prefix.first() else { continue };
        while let Some((end, word)) = open.pop_if(|(end, _)| *end < *start) {
            close(end.saturating_add(1), word);
        }
        let around = outer(&open);
        close(*start, around);
        open.push((
            start | last.checked_shr((*length).into()).unwrap_or(0),
            say(prefix, around, nodes, spans),
        ));
    }
    let some = !open.is_empty();
    while let Some((end, word)) = open.pop_if(|(end, _)| *end < last) {
        close(end + 1, word);
    }
    if some {
        // The last range has no address above it to be closed from.
        ranges.push((last, outer(&open)));
    }
    ranges
}

/// The word of one prefix, whose rules are in order of precedence, inside one that says `around`.
fn say(prefix: &[Rule<'_>], around: Word, nodes: &mut Vec<Node>, spans: &mut Vec<Span>) -> Word {
    let (from, mut rest) = (spans.len(), around);
    for Rule { action, ports, id, .. } in prefix {
        let found = CidrMatch { id: *id, action: *action, lists_port: ports.is_some() };
        if let Some(ports) = ports {
            spans.extend(ports.ranges().map(|(low, high)| Span { low, high, found }));
            continue;
        }
        match Word::rule(*id, *action) {
            Some(word) => rest = word,
            None => spans.push(Span { low: 0, high: u16::MAX, found }),
        }
        // Whatever follows is outranked on every port.
        break;
    }
    if spans.len() == from {
        return rest;
    }
    nodes.push(Node { spans: (small(from), small(spans.len())), rest });
    Word::node(nodes.len() - 1)
}

/// A count as the tables store it.
// INVARIANT: a rule takes more than 32 bytes before it gets here, so two billion of them do not fit in memory.
fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A stored count.
const fn large(count: u32) -> usize {
    count as usize
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A set of rules for every port, numbered in order.
    fn set(rules: &[(&str, Action)]) -> CidrSet {
        CidrSet::new((0..).zip(rules).map(|(id, (net, action))| (id, net.parse().unwrap(), *action, None)))
    }

    /// The id that a set finds on port 443.
    fn id(set: &CidrSet, address: &str) -> Option<u32> {
        set.longest(address.parse().unwrap(), Port::HTTPS).map(|found| found.id)
    }

    #[test]
    fn a5_ranges_reach_from_the_first_to_the_last_address() {
        use Action::{Allow, Deny};
        let set = set(&[
            ("0.0.0.0/0", Deny),
            ("255.255.255.255/32", Allow),
            ("0.0.0.0/32", Allow),
            ("128.0.0.0/1", Allow),
            ("::/128", Deny),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", Deny),
            ("8000::/1", Allow),
        ]);
        let v4 = ["0.0.0.0", "0.0.0.1", "127.255.255.255", "128.0.0.0", "255.255.255.254", "255.255.255.255"];
        assert_eq!(v4.map(|ip| id(&set, ip)), [2, 0, 0, 3, 3, 1].map(Some));
        let v6 = ["::", "::1", "7fff::", "8000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
        assert_eq!(v6.map(|ip| id(&set, ip)), [Some(4), None, None, Some(6), Some(5)]);
    }

    #[test]
    fn an_id_too_large_for_a_word_is_kept_whole() {
        let net: IpNet = "10.0.0.0/8".parse().unwrap();
        for number in [0, (1 << 30) - 1, 1 << 30, 1 << 31, u32::MAX] {
            let set = CidrSet::new([(number, net, Action::Deny, None)]);
            let found = CidrMatch { id: number, action: Action::Deny, lists_port: false };
            assert_eq!(set.longest([10, 1, 1, 1].into(), Port::HTTP), Some(found));
            assert_eq!(set.longest([11, 1, 1, 1].into(), Port::HTTP), None);
        }
    }

    #[test]
    fn host_bits_of_a_prefix_are_of_no_matter() {
        let set = set(&[
            ("10.1.2.3/8", Action::Deny),
            ("10.9.9.9/8", Action::Allow),
            ("2001:db8::1/32", Action::Deny),
        ]);
        assert_eq!(
            ["10.0.0.0", "10.255.255.255", "2001:db8:ffff::"].map(|ip| id(&set, ip)),
            [0, 0, 2].map(Some)
        );
        assert_eq!(["9.255.255.255", "11.0.0.0", "2001:db9::"].map(|ip| id(&set, ip)), [None; 3]);
    }

    #[test]
    fn a_set_is_small() {
        assert!(size_of::<CidrSet>() <= 64);
        let set = set(&[("10.0.0.0/8", Action::Deny)]);
        assert!(set.v6.is_none() && set.nodes.nodes.is_empty());
        assert_eq!(set.v4.unwrap().ranges.len(), 3);
    }

    #[test]
    fn every_depth_of_nesting_is_found_and_left_again() {
        let nets: Vec<IpNet> =
            (0..=128).map(|length| IpNet::new([0x55; 16].into(), length).unwrap()).collect();
        let ports: PortSet = [(443, 443)].into_iter().collect();
        // Only the outermost holds for port 80, so that all of them are stepped through.
        let rules = (0..).zip(&nets).map(|(id, net)| (id, *net, Action::Allow, (id > 0).then_some(&ports)));
        let set = CidrSet::new(rules);
        for length in 0..128_u32 {
            let bits = u128::from_be_bytes([0x55; 16]) ^ 1 << (127 - length);
            let found = |port| set.longest(bits.to_be_bytes().into(), port).map(|found| found.id);
            assert_eq!((found(Port::HTTPS), found(Port::HTTP)), (Some(length), Some(0)));
        }
        let found = |port| set.longest([0x55; 16].into(), port).map(|found| found.id);
        assert_eq!((found(Port::HTTPS), found(Port::HTTP)), (Some(128), Some(0)));
    }
}
