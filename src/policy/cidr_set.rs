//! Longest-prefix match over `cidrRules`, with ports and Deny-wins at equal length.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::mode::Action;
use super::port_set::PortSet;
use crate::addr::Port;

/// One rule at a prefix.
#[derive(Debug, Clone)]
struct Entry {
    id: u32,
    action: Action,
    ports: Option<PortSet>,
}

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

/// `cidrRules` compiled for look-up; immutable once built.
#[derive(Debug, Clone, Default)]
pub struct CidrSet {
    v4: PrefixMap<Ipv4Net, Vec<Entry>>,
    v6: PrefixMap<Ipv6Net, Vec<Entry>>,
    len: usize,
}

impl CidrSet {
    /// Compiles rules given as (id, prefix, action, ports).
    pub fn new<'a>(rules: impl IntoIterator<Item = (u32, IpNet, Action, Option<&'a PortSet>)>) -> Self {
        let mut set = Self::default();
        for (id, net, action, ports) in rules {
            let entry = Entry { id, action, ports: ports.cloned() };
            match net {
                IpNet::V4(net) => set.v4.entry(net).or_default().push(entry),
                IpNet::V6(net) => set.v6.entry(net).or_default().push(entry),
            }
            set.len += 1;
        }
        set
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
        match address {
            IpAddr::V4(ip) => {
                first(Ipv4Net::from(ip), port, |net| self.v4.get_lpm(&net), |net| net.supernet())
            }
            IpAddr::V6(ip) => {
                first(Ipv6Net::from(ip), port, |net| self.v6.get_lpm(&net), |net| net.supernet())
            }
        }
    }

    /// Whether the deciding rule for `address` on `port` is an Allow, as [`Self::longest`] finds it.
    #[must_use]
    pub fn allows(&self, address: IpAddr, port: Port) -> Option<CidrMatch> {
        self.longest(address, port).filter(|found| found.action == Action::Allow)
    }
}

/// The strictest entry for `port` at the longest prefix round `net` that has one. Prefixes whose rules all leave
/// the port out are stepped over; nothing is allocated, as it would be by asking for every prefix at once.
fn first<'a, N: Copy>(
    net: N,
    port: Port,
    longest: impl Fn(N) -> Option<(N, &'a Vec<Entry>)>,
    above: impl Fn(N) -> Option<N>,
) -> Option<CidrMatch> {
    let prefixes = std::iter::successors(longest(net), |(net, _)| above(*net).and_then(&longest));
    let decisive = |entries: &'a Vec<Entry>| {
        let listing =
            entries.iter().filter(|entry| entry.ports.as_ref().is_none_or(|ports| ports.contains(port)));
        listing.min_by_key(|entry| (entry.action == Action::Allow, entry.ports.is_none(), entry.id))
    };
    let entry = prefixes.map(|(_, entries)| entries).find_map(decisive)?;
    Some(CidrMatch { id: entry.id, action: entry.action, lists_port: entry.ports.is_some() })
}
