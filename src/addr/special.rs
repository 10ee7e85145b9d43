//! Addresses that are not an ordinary place on the internet, and addresses inside addresses.
//!
//! The ranges are those of the IANA special-purpose address registries (RFC 6890 and successors), the multicast and
//! deprecated site-local ranges, and the metadata addresses of the large clouds.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use super::Name;

/// What kind of special address it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    /// `0.0.0.0` and `::`.
    Unspecified,
    /// `127.0.0.0/8` and `::1`.
    Loopback,
    /// `169.254.0.0/16` and `fe80::/10`.
    LinkLocal,
    /// A cloud's metadata service.
    Metadata,
    /// `224.0.0.0/4` and `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// `fec0::/10`, deprecated by RFC 3879.
    SiteLocal,
    /// RFC 1918.
    Private,
    /// `100.64.0.0/10`, the shared space of carriers.
    Shared,
    /// `fc00::/7`.
    UniqueLocal,
    /// Every other special-purpose range, and IPv6 outside `2000::/3`.
    Reserved,
}

impl Special {
    /// Whether no policy can lift the guard on it (`policy.md` §5).
    #[must_use]
    pub const fn is_hard(self) -> bool {
        match self {
            Self::Unspecified
            | Self::Loopback
            | Self::LinkLocal
            | Self::Metadata
            | Self::Multicast
            | Self::Broadcast
            | Self::SiteLocal => true,
            Self::Private | Self::Shared | Self::UniqueLocal | Self::Reserved => false,
        }
    }
}

/// The metadata services reached over IPv4.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The metadata services reached over IPv6.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The special ranges of IPv4; the first that covers an address names it.
const TABLE_V4: [(Ipv4Addr, u32, Special); 20] = [
    (Ipv4Addr::UNSPECIFIED, 32, Special::Unspecified),
    (Ipv4Addr::UNSPECIFIED, 8, Special::Reserved),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Special::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Special::Shared),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Special::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Special::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Special::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 31, 196, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 52, 193, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Special::Private),
    (Ipv4Addr::new(192, 175, 48, 0), 24, Special::Reserved),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Special::Reserved),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Special::Reserved),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Special::Reserved),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Special::Multicast),
    (Ipv4Addr::BROADCAST, 32, Special::Broadcast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Special::Reserved),
];

/// The special ranges of IPv6; the first that covers an address names it. What none covers and is outside
/// `2000::/3` is reserved too: the mapped, compatible, translated and discard-only ranges among others.
const TABLE_V6: [(Ipv6Addr, u32, Special); 11] = [
    (Ipv6Addr::UNSPECIFIED, 128, Special::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, Special::Loopback),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Special::LinkLocal),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Special::SiteLocal),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Special::Multicast),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Special::UniqueLocal),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Special::Reserved),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Special::Reserved),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Special::Reserved),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, Special::Reserved),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Special::Reserved),
];

/// Names the special range that an address itself is in; what it may embed is [`embedded`]'s business.
#[must_use]
pub fn classify(ip: IpAddr) -> Option<Special> {
    match ip {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

/// Names of loopback, besides `localhost` and all below it (RFC 6761 §6.3): those of the hosts files of distributions.
const LOOPBACK_NAMES: [&str; 6] = [
    "localhost.localdomain",
    "localhost4",
    "localhost6",
    "localhost6.localdomain6",
    "ip6-localhost",
    "ip6-loopback",
];

/// Names of metadata services.
const METADATA_NAMES: [&str; 5] =
    ["metadata.google.internal", "metadata.goog", "metadata", "instance-data.ec2.internal", "instance-data"];

/// The one place that a name is known to lead to, whoever resolves it.
#[must_use]
pub fn place_of(name: &Name) -> Option<IpAddr> {
    let text = name.as_str();
    if text == "localhost" || text.ends_with(".localhost") || LOOPBACK_NAMES.contains(&text) {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    METADATA_NAMES.contains(&text).then_some(Ipv4Addr::new(169, 254, 169, 254).into())
}

/// Names the special range of an IPv4 address.
fn classify_v4(address: Ipv4Addr) -> Option<Special> {
    if METADATA_V4.contains(&address) {
        return Some(Special::Metadata);
    }
    let bits = address.to_bits();
    let covers = |net: Ipv4Addr, length: u32| (bits ^ net.to_bits()) >> (32 - length) == 0;
    TABLE_V4.iter().find(|(net, length, _)| covers(*net, *length)).map(|(_, _, special)| *special)
}

/// Names the special range of an IPv6 address.
fn classify_v6(address: Ipv6Addr) -> Option<Special> {
    if METADATA_V6.contains(&address) {
        return Some(Special::Metadata);
    }
    let listed = TABLE_V6.iter().find(|(net, length, _)| shares(address, *net, *length));
    let global = shares(address, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    listed.map(|(_, _, special)| *special).or_else(|| (!global).then_some(Special::Reserved))
}

/// Whether two IPv6 addresses share their first `length` bits (1 to 128).
fn shares(a: Ipv6Addr, b: Ipv6Addr, length: u32) -> bool {
    (a.to_bits() ^ b.to_bits()) >> (128 - length) == 0
}

/// A prefix that a NAT64 translator puts before IPv4 addresses, of a length that RFC 6052 §2.2 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ipv6Prefix {
    /// The network; every bit past the length is zero.
    net: Ipv6Addr,
    /// 32, 40, 48, 56, 64 or 96.
    length: u32,
}

impl Ipv6Prefix {
    /// The well-known prefix `64:ff9b::/96` (RFC 6052 §2.1).
    pub const WELL_KNOWN: Self = Self { net: Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), length: 96 };
    /// The prefix for local use `64:ff9b:1::/48` (RFC 8215).
    pub const LOCAL_USE: Self = Self { net: Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), length: 48 };

    /// Whether an address is under the prefix.
    #[must_use]
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        shares(address, self.net, self.length)
    }

    /// The IPv4 address inside an address under the prefix (RFC 6052 §2.2, where bits 64 to 71 are skipped).
    #[must_use]
    pub fn extract(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        if !self.contains(address) {
            return None;
        }
        let bits = address.to_bits();
        if self.length == 96 {
            return Some(low(bits));
        }
        // Drops the skipped byte, so that the four bytes are next to each other: 120 bits are left.
        let joined = (bits >> 64 << 56) | (bits & ((1 << 56) - 1));
        Some(low(joined >> (120 - self.length - 32)))
    }
}

impl FromStr for Ipv6Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (net, length) = text.split_once('/').ok_or(PrefixError::Syntax)?;
        let net: Ipv6Addr = net.parse().map_err(|_| PrefixError::Syntax)?;
        let length = match length {
            "32" => 32,
            "40" => 40,
            "48" => 48,
            "56" => 56,
            "64" => 64,
            "96" => 96,
            _ => return Err(PrefixError::Length),
        };
        if net.to_bits() << length != 0 {
            return Err(PrefixError::HostBits);
        }
        Ok(Self { net, length })
    }
}

impl fmt::Display for Ipv6Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.net, self.length)
    }
}

/// Why a text is not a NAT64 prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Not an IPv6 prefix.
    #[error("this is not an IPv6 prefix; write one such as 64:ff9b::/96")]
    Syntax,
    /// A length that RFC 6052 does not know.
    #[error("a NAT64 prefix has length 32, 40, 48, 56, 64 or 96 (RFC 6052)")]
    Length,
    /// Bits set past the length.
    #[error("the prefix has bits set past its length; they must be zero")]
    HostBits,
}

/// An IPv4 address inside another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of the prefix by which the outer address carries it.
    pub length: u32,
}

/// Names every IPv4 address that an address carries inside; none for IPv4 itself.
pub fn embedded(ip: IpAddr, nat64: &[Ipv6Prefix]) -> impl Iterator<Item = Ipv4Addr> + use<'_> {
    carried(ip, nat64).map(|inner| inner.address)
}

/// The same, each with the prefix that carries it.
///
/// | prefix | IPv4 inside |
/// |---|---|
/// | `::ffff:0:0/96` (mapped), `::ffff:0:0:0/96` (translated) | the last 32 bits |
/// | `::/96` (compatible), without `::` and `::1` | the last 32 bits |
/// | `64:ff9b::/96`, the operator's `nat64` | as RFC 6052 §2.2 |
/// | `64:ff9b:1::/48`, when no operator prefix covers it | as RFC 6052 for /48, and the last 32 bits unless zero |
/// | `2002::/16` (6to4) | bits 16 to 47 |
/// | `2001::/32` (Teredo) | the server in bits 32 to 63, and the client in the last 32 bits, inverted |
#[must_use]
pub fn carried(ip: IpAddr, nat64: &[Ipv6Prefix]) -> Carried<'_> {
    match ip {
        IpAddr::V4(_) => {
            Carried { address: Ipv6Addr::UNSPECIFIED, fixed: [None; 2].into_iter(), nat64: [].iter() }
        }
        IpAddr::V6(address) => {
            Carried { address, fixed: fixed_forms(address, nat64).into_iter(), nat64: nat64.iter() }
        }
    }
}

/// The IPv4 addresses inside one address, made by [`carried`].
#[derive(Debug, Clone)]
pub struct Carried<'a> {
    /// The address looked into.
    address: Ipv6Addr,
    /// What the forms that everybody knows carry: no two of them overlap, and none carries more than two.
    fixed: std::array::IntoIter<Option<Inner>, 2>,
    /// The operator's prefixes not asked yet.
    nat64: std::slice::Iter<'a, Ipv6Prefix>,
}

impl Iterator for Carried<'_> {
    type Item = Inner;

    fn next(&mut self) -> Option<Inner> {
        let outer = self.address;
        self.fixed.by_ref().flatten().next().or_else(|| {
            self.nat64
                .find_map(|prefix| Some(Inner { address: prefix.extract(outer)?, length: prefix.length }))
        })
    }
}

/// What an address carries by the forms that need no configuration.
fn fixed_forms(address: Ipv6Addr, nat64: &[Ipv6Prefix]) -> [Option<Inner>; 2] {
    let bits = address.to_bits();
    let tail = low(bits);
    if address.is_unspecified() || address.is_loopback() {
        return [None, None];
    }
    let by = |length: u32| move |address: Ipv4Addr| Inner { address, length };
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            [Some(by(96)(tail)), None]
        }
        // An operator who says how the local prefix is used knows better than a guess.
        [0x64, 0xff9b, 1, ..] if !nat64.iter().any(|prefix| prefix.contains(address)) => {
            let last = (!tail.is_unspecified()).then_some(tail);
            [Ipv6Prefix::LOCAL_USE.extract(address).map(by(48)), last.map(by(48))]
        }
        [0x2002, ..] => [Some(by(16)(low(bits >> 80))), None],
        [0x2001, 0, ..] => [Some(by(32)(low(bits >> 64))), Some(by(32)(low(!bits)))],
        _ => [None, None],
    }
}

/// The IPv4 address in the last 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "the last 32 bits are what is asked for")]
const fn low(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(bits as u32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// The range that a text's address is in.
    fn range(text: &str) -> Option<Special> {
        classify(text.parse().unwrap())
    }

    /// What a text's address carries, as text.
    fn inside(text: &str, nat64: &[&str]) -> Vec<String> {
        let nat64: Vec<Ipv6Prefix> = nat64.iter().map(|prefix| prefix.parse().unwrap()).collect();
        embedded(text.parse().unwrap(), &nat64).map(|address| address.to_string()).collect()
    }

    #[test]
    fn a2_every_special_range_is_named_at_both_ends_and_not_beyond() {
        for (first, last, special) in [
            ("0.0.0.0", "0.0.0.0", Special::Unspecified),
            ("0.0.0.1", "0.255.255.255", Special::Reserved),
            ("10.0.0.0", "10.255.255.255", Special::Private),
            ("100.64.0.0", "100.127.255.255", Special::Shared),
            ("127.0.0.0", "127.255.255.255", Special::Loopback),
            ("169.254.0.0", "169.254.255.255", Special::LinkLocal),
            ("172.16.0.0", "172.31.255.255", Special::Private),
            ("192.0.0.0", "192.0.0.255", Special::Reserved),
            ("192.0.2.0", "192.0.2.255", Special::Reserved),
            ("192.31.196.0", "192.31.196.255", Special::Reserved),
            ("192.52.193.0", "192.52.193.255", Special::Reserved),
            ("192.88.99.0", "192.88.99.255", Special::Reserved),
            ("192.168.0.0", "192.168.255.255", Special::Private),
            ("192.175.48.0", "192.175.48.255", Special::Reserved),
            ("198.18.0.0", "198.19.255.255", Special::Reserved),
            ("198.51.100.0", "198.51.100.255", Special::Reserved),
            ("203.0.113.0", "203.0.113.255", Special::Reserved),
            ("224.0.0.0", "239.255.255.255", Special::Multicast),
            ("240.0.0.0", "255.255.255.254", Special::Reserved),
            ("255.255.255.255", "255.255.255.255", Special::Broadcast),
            ("::", "::", Special::Unspecified),
            ("::1", "::1", Special::Loopback),
            ("::2", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved),
            ("::ffff:0:0", "::ffff:ffff:ffff", Special::Reserved),
            ("64:ff9b::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", Special::Reserved),
            ("100::", "100::1:ffff:ffff:ffff:ffff", Special::Reserved),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved),
            ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", Special::Reserved),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved),
            ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved),
            ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Reserved),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::UniqueLocal),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::LinkLocal),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::SiteLocal),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Special::Multicast),
        ] {
            assert_eq!(range(first), Some(special), "{first}");
            assert_eq!(range(last), Some(special), "{last}");
        }
        for ordinary in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "8.8.8.8",
            "2000::",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2620:4f:8001::",
            "3fff:1000::",
            "2606:4700::1111",
        ] {
            assert_eq!(range(ordinary), None, "{ordinary}");
        }
    }

    #[test]
    fn a4_metadata_addresses_are_named_before_their_range() {
        for text in [
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
        ] {
            assert_eq!(range(text), Some(Special::Metadata), "{text}");
        }
        assert_eq!(range("169.254.169.253"), Some(Special::LinkLocal));
        assert_eq!(range("fd00:ec2::253"), Some(Special::UniqueLocal));
    }

    #[test]
    fn hard_and_soft_are_those_of_the_policy_page() {
        use Special as S;
        for special in
            [S::Unspecified, S::Loopback, S::LinkLocal, S::Metadata, S::Multicast, S::Broadcast, S::SiteLocal]
        {
            assert!(special.is_hard(), "{special:?}");
        }
        for special in [S::Private, S::Shared, S::UniqueLocal, S::Reserved] {
            assert!(!special.is_hard(), "{special:?}");
        }
    }

    #[test]
    fn a3_ipv4_inside_ipv6_is_found_in_every_form() {
        for (text, expected) in [
            ("::ffff:127.0.0.1", vec!["127.0.0.1"]),
            ("::ffff:0:10.0.0.1", vec!["10.0.0.1"]),
            ("::127.0.0.1", vec!["127.0.0.1"]),
            ("::2", vec!["0.0.0.2"]),
            ("64:ff9b::169.254.169.254", vec!["169.254.169.254"]),
            ("64:ff9b:1:a00:0:100::", vec!["10.0.0.1"]),
            ("64:ff9b:1::169.254.169.254", vec!["0.0.0.0", "169.254.169.254"]),
            ("2002:7f00:1::", vec!["127.0.0.1"]),
            ("2001:0:a00:1:0:0:80ff:fffe", vec!["10.0.0.1", "127.0.0.1"]),
            ("::", vec![]),
            ("::1", vec![]),
            ("2606:4700::1111", vec![]),
            ("192.0.2.7", vec![]),
        ] {
            assert_eq!(inside(text, &[]), expected, "{text}");
        }
    }

    #[test]
    fn the_prefix_that_carries_it_is_told_of_every_form() {
        let nat64 = ["2001:db8:122:344::/96", "2001:db8::/32"].map(|prefix| prefix.parse().unwrap());
        for (text, expected) in [
            ("::ffff:127.0.0.1", vec![96]),
            ("::ffff:0:10.0.0.1", vec![96]),
            ("::127.0.0.1", vec![96]),
            ("64:ff9b::169.254.169.254", vec![96]),
            ("64:ff9b:1::169.254.169.254", vec![48, 48]),
            ("2002:7f00:1::", vec![16]),
            ("2001:0:a00:1:0:0:80ff:fffe", vec![32, 32]),
            ("2001:db8:122:344::192.0.2.33", vec![96, 32]),
        ] {
            let lengths: Vec<u32> =
                carried(text.parse().unwrap(), &nat64).map(|inner| inner.length).collect();
            assert_eq!(lengths, expected, "{text}");
        }
    }

    #[test]
    fn a3_operator_prefixes_of_every_rfc_6052_length_are_looked_into() {
        // The table of RFC 6052 §2.4.
        for (prefix, text) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            assert_eq!(inside(text, &[prefix]), ["192.0.2.33"], "{prefix}");
            assert!(inside(text, &[]).is_empty(), "{prefix}");
        }
        assert_eq!(inside("64:ff9b:1::192.0.2.33", &["64:ff9b:1::/96"]), ["192.0.2.33"]);
        let both = inside("2001:db8:122:344::192.0.2.33", &["2001:db8:122:344::/96", "2001:db8::/32"]);
        assert_eq!(both, ["192.0.2.33", "1.34.3.68"]);
    }

    #[test]
    fn a_nat64_prefix_is_strict() {
        assert_eq!("64:FF9B::/96".parse::<Ipv6Prefix>(), Ok(Ipv6Prefix::WELL_KNOWN));
        assert_eq!("64:ff9b::/96".parse::<Ipv6Prefix>().unwrap().to_string(), "64:ff9b::/96");
        for (text, error) in [
            ("64:ff9b::", PrefixError::Syntax),
            ("10.0.0.0/96", PrefixError::Syntax),
            ("[64:ff9b::]/96", PrefixError::Syntax),
            ("64:ff9b::/095", PrefixError::Length),
            ("64:ff9b::/095", PrefixError::Length),
            ("64:ff9b::/95", PrefixError::Length),
            ("64:ff9b::/128", PrefixError::Length),
            ("64:ff9b::1/96", PrefixError::HostBits),
        ] {
            assert_eq!(text.parse::<Ipv6Prefix>(), Err(error), "{text}");
        }
    }
}
