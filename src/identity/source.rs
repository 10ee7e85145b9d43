//! Sandboxes by source address: disjoint prefixes, found by binary search without allocation.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// One prefix as the range of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range<N> {
    /// The first address.
    first: N,
    /// The last address.
    last: N,
    /// Which sandbox it stands for.
    owner: usize,
}

/// Which sandbox a source address belongs to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// IPv4 ranges, ascending and disjoint.
    v4: Box<[Range<u32>]>,
    /// IPv6 ranges, ascending and disjoint.
    v6: Box<[Range<u128>]>,
}

/// Two prefixes that share addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overlap {
    /// The prefix that starts first, with its sandbox.
    pub(super) left: (IpNet, usize),
    /// The other one.
    pub(super) right: (IpNet, usize),
}

impl Sources {
    /// Builds the table, or says which prefixes overlap.
    pub(super) fn new(entries: impl IntoIterator<Item = (IpNet, usize)>) -> Result<Self, Vec<Overlap>> {
        let mut entries: Vec<_> =
            entries.into_iter().map(|(net, owner)| (canonical_net(net), owner)).collect();
        entries.sort_by_key(|(net, _)| (net.network(), net.prefix_len()));
        let mut overlaps = Vec::new();
        let mut widest: Option<(IpNet, usize)> = None;
        for &right in &entries {
            // Prefixes nest or are disjoint, so the last one that nothing contained is enough to ask.
            match widest {
                Some(left) if left.0.contains(&right.0) => overlaps.push(Overlap { left, right }),
                _ => widest = Some(right),
            }
        }
        if !overlaps.is_empty() {
            return Err(overlaps);
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (net, owner) in entries {
            match net {
                IpNet::V4(net) => {
                    v4.push(Range { first: net.network().into(), last: net.broadcast().into(), owner });
                }
                IpNet::V6(net) => {
                    v6.push(Range { first: net.network().into(), last: net.broadcast().into(), owner });
                }
            }
        }
        Ok(Self { v4: v4.into(), v6: v6.into() })
    }

    /// The sandbox of this address. An IPv4-mapped one is judged as IPv4.
    pub(super) fn find(&self, address: IpAddr) -> Option<usize> {
        match address.to_canonical() {
            IpAddr::V4(address) => search(&self.v4, address.into()),
            IpAddr::V6(address) => search(&self.v6, address.into()),
        }
    }
}

/// The owner of the range that holds `key`.
fn search<N: Ord + Copy>(ranges: &[Range<N>], key: N) -> Option<usize> {
    let after = ranges.partition_point(|range| range.first <= key);
    let range = ranges.get(after.checked_sub(1)?)?;
    (key <= range.last).then_some(range.owner)
}

/// A prefix of IPv4-mapped addresses as the IPv4 prefix it stands for; any other as it is.
#[must_use]
pub fn canonical_net(net: IpNet) -> IpNet {
    /// Bits in front of the IPv4 address in a mapped one.
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = net else { return net };
    let mapped: Option<Ipv4Net> = v6.prefix_len().checked_sub(MAPPED_BITS).and_then(|length| {
        let inside = Ipv6Addr::to_ipv4_mapped(&v6.addr())?;
        Ipv4Net::new(inside, length).ok()
    });
    mapped.map_or(net, IpNet::V4)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// The table of these prefixes, owned by their positions.
    fn table(nets: &[&str]) -> Result<Sources, Vec<Overlap>> {
        Sources::new(nets.iter().enumerate().map(|(owner, net)| (net.parse().unwrap(), owner)))
    }

    #[test]
    fn an_address_is_found_at_both_edges_of_its_prefix_and_not_beyond() {
        let table = table(&["10.1.0.0/24", "10.0.0.7/32", "2001:db8::/64", "0.0.0.0/32"]).unwrap();
        for (address, owner) in [
            ("10.1.0.0", Some(0)),
            ("10.1.0.255", Some(0)),
            ("10.1.1.0", None),
            ("10.0.255.255", None),
            ("10.0.0.7", Some(1)),
            ("10.0.0.6", None),
            ("10.0.0.8", None),
            ("0.0.0.0", Some(3)),
            ("0.0.0.1", None),
            ("255.255.255.255", None),
            ("2001:db8::", Some(2)),
            ("2001:db8::ffff:ffff:ffff:ffff", Some(2)),
            ("2001:db8:0:1::", None),
            ("::", None),
        ] {
            assert_eq!(table.find(address.parse().unwrap()), owner, "{address}");
        }
    }

    #[test]
    fn an_ipv4_mapped_address_and_prefix_are_judged_as_ipv4() {
        let found = table(&["10.0.0.0/24", "::ffff:10.0.1.0/120"]).unwrap();
        assert_eq!(found.find("::ffff:10.0.0.9".parse().unwrap()), Some(0));
        assert_eq!(found.find("10.0.1.9".parse().unwrap()), Some(1));
        assert!(table(&["10.0.0.0/24", "::ffff:10.0.0.0/120"]).is_err());
        let every_v6 = table(&["::/0"]).unwrap();
        assert_eq!(every_v6.find("::ffff:10.0.0.9".parse().unwrap()), None);
        assert_eq!(every_v6.find("::1".parse().unwrap()), Some(0));
    }

    #[test]
    fn every_overlap_is_reported_whatever_the_order() {
        let overlaps = table(&["10.1.2.3/32", "10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24"]).unwrap_err();
        let right: Vec<_> = overlaps.iter().map(|overlap| overlap.right.1).collect();
        assert_eq!(right, [2, 0]);
        assert!(overlaps.iter().all(|overlap| overlap.left.1 == 1));
        assert_eq!(table(&["10.0.0.1/32", "10.0.0.1/32"]).unwrap_err().len(), 1);
    }
}
