//! A name or an address, and why a text is neither.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::Name;
use super::name::is_number;

/// Where a request wants to go, without the port: a canonical name or an IP literal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name.
    Name(Name),
    /// An IP literal: a strict dotted quad, or IPv6 that was written in brackets.
    Ip(IpAddr),
}

impl Host {
    /// Reads a name, a strict dotted quad or a bracketed IPv6 address.
    ///
    /// An IPv6 address may be in any text form of RFC 4291 §2.2; it is its 128 bits that count.
    ///
    /// # Errors
    /// The first rule of `policy.md` §3 that the text breaks.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        // A plain name is neither a spelling of an address nor in brackets.
        if let Some(name) = Name::plain(text) {
            return Ok(Self::Name(name));
        }
        if let Some(rest) = text.strip_prefix('[') {
            return bracketed(rest);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(address.into()));
        }
        if text.contains(':') {
            return Err(colon(text));
        }
        if is_ipv4_spelling(text) {
            return Err(HostError::Ipv4Spelling);
        }
        Name::parse(text).map(Self::Name)
    }

    /// The name, when it is one.
    #[must_use]
    pub const fn name(&self) -> Option<&Name> {
        match self {
            Self::Name(name) => Some(name),
            Self::Ip(_) => None,
        }
    }

    /// The address, when it is a literal.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::Ip(address) => Some(*address),
        }
    }
}

/// Reads what follows an opening bracket.
fn bracketed(rest: &str) -> Result<Host, HostError> {
    let inner = rest.strip_suffix(']').ok_or(HostError::Brackets)?;
    match inner.parse::<Ipv6Addr>() {
        Ok(address) => Ok(Host::Ip(address.into())),
        Err(_) if inner.contains(':') && inner.contains('%') => Err(HostError::Zone),
        Err(_) => Err(HostError::Brackets),
    }
}

/// Says what is wrong with an unbracketed text that has a colon.
fn colon(text: &str) -> HostError {
    let address = text.split('%').next().unwrap_or(text);
    match address.parse::<Ipv6Addr>() {
        Ok(_) if address.len() < text.len() => HostError::Zone,
        Ok(_) => HostError::Unbracketed,
        Err(_) => HostError::Character(':'),
    }
}

/// Whether the C library's `inet_aton` would take a text for an IPv4 address: one to four parts, each decimal, octal
/// or hexadecimal, the last one filling the bytes that are left. A trailing dot counts as well.
pub(super) fn is_ipv4_spelling(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let count = text.split('.').count();
    count <= 4
        && text.split('.').enumerate().all(|(place, part)| {
            let limit = if place + 1 == count { u64::from(u32::MAX) >> (8 * place) } else { 0xff };
            number(part).is_some_and(|value| value <= limit)
        })
}

/// The value of one part of an IPv4 address as `inet_aton` reads it.
fn number(part: &str) -> Option<u64> {
    if !is_number(part) {
        return None;
    }
    if let Some(hex) = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        return u64::from_str_radix(hex.trim_start_matches('0'), 16).ok().or_else(|| zero(hex));
    }
    let significant = part.trim_start_matches('0');
    let radix = if part.len() > 1 && part.starts_with('0') { 8 } else { 10 };
    u64::from_str_radix(significant, radix).ok().or_else(|| zero(part))
}

/// Zero for digits that are all zero, of which there must be one.
fn zero(digits: &str) -> Option<u64> {
    (!digits.is_empty() && digits.bytes().all(|b| b == b'0')).then_some(0)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Ip(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl std::str::FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::parse(text)
    }
}

/// Why a text is neither a canonical name nor a strict address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HostError {
    /// Nothing at all.
    #[error("the host is empty; give a name or an address")]
    Empty,
    /// Two dots in a row, or a leading one, or nothing but a dot.
    #[error("the name has an empty label; labels are separated by single dots")]
    EmptyLabel,
    /// More than 253 bytes.
    #[error("the name is longer than 253 bytes")]
    TooLong,
    /// A label of more than 63 bytes.
    #[error("a label of the name is longer than 63 bytes")]
    LabelTooLong,
    /// A percent sign: hosts are never percent-encoded here.
    #[error("the host contains a percent sign; write the character itself")]
    Percent,
    /// A character that no name has.
    #[error("the host contains {0:?}; a name has letters, digits, `-`, `_` and dots only")]
    Character(char),
    /// A label that starts with a hyphen.
    #[error("a label of the name starts with `-`; it must start with a letter, a digit or `_`")]
    LeadingHyphen,
    /// Not a valid internationalised name.
    #[error("the name is not valid under IDNA (UTS-46); write its correct A-label or U-label form")]
    Idna,
    /// The last label is a number, so some resolvers would read an address.
    #[error("the last label of the name is a number; a name ends in a label with a letter")]
    NumericEnd,
    /// An IPv4 address in a spelling other than four decimal parts.
    #[error("this is an IPv4 address in an unusual spelling; write four decimal parts, such as 192.0.2.7")]
    Ipv4Spelling,
    /// An address where only a name will do.
    #[error("this is an IP address; a name is needed")]
    Address,
    /// Brackets round anything but an IPv6 address.
    #[error("brackets belong round an IPv6 address only, such as [2001:db8::1]")]
    Brackets,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address is written in brackets, such as [2001:db8::1]")]
    Unbracketed,
    /// An IPv6 address with a zone id.
    #[error("an IPv6 zone id is not allowed; leave out the `%` and what follows")]
    Zone,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_strict_addresses_are_read() {
        assert_eq!(Host::parse("Example.com.").unwrap().to_string(), "example.com");
        assert_eq!(Host::parse("192.0.2.7").unwrap().ip(), Some("192.0.2.7".parse().unwrap()));
        assert_eq!(Host::parse("[2001:DB8:0::1]").unwrap().to_string(), "[2001:db8::1]");
        assert_eq!(Host::parse("[::ffff:192.0.2.7]").unwrap().to_string(), "[::ffff:192.0.2.7]");
        assert!(Host::parse("example.com").unwrap().name().is_some());
    }

    #[test]
    fn n2_brackets_are_for_strict_ipv6_only() {
        for text in [
            "[example.com]",
            "[127.0.0.1]",
            "[]",
            "[",
            "[::1",
            "[[::1]]",
            "[::1]]",
            "[::1].",
            "[1:2:3]",
            "[::1 ]",
            "[0x7f::1g]",
            "[::1]x",
            "[%]",
        ] {
            assert_eq!(Host::parse(text), Err(HostError::Brackets), "{text}");
        }
        assert_eq!(Host::parse("]"), Err(HostError::Character(']')));
        assert_eq!(Host::parse("::1"), Err(HostError::Unbracketed));
        assert_eq!(Host::parse("a:b"), Err(HostError::Character(':')));
    }

    #[test]
    fn a3_zone_ids_are_refused() {
        for text in ["[fe80::1%eth0]", "[fe80::1%25eth0]", "fe80::1%eth0", "[::1%]"] {
            assert_eq!(Host::parse(text), Err(HostError::Zone), "{text}");
        }
        assert_eq!(Host::parse("fe80%3a:1"), Err(HostError::Character(':')));
    }

    #[test]
    fn a1_every_other_spelling_of_an_ipv4_address_is_refused() {
        for text in [
            "127.1",
            "127.0.1",
            "0",
            "00",
            "0x0",
            "2130706433",
            "017700000001",
            "0x7f000001",
            "0X7F000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.001",
            "1.2.3.4.",
            "1.",
            "0x7f.0x0.0x0.0x1",
            "4294967295",
            "255.16777215",
            "1.2.65535",
            "00000000000000000000000000000000000000000001",
            "１２７．０．０．１",
            "127.0.0.①",
            "１",
            "0Ｘ7f.1",
        ] {
            assert_eq!(Host::parse(text), Err(HostError::Ipv4Spelling), "{text}");
        }
        for text in [
            "4294967296",
            "256.1",
            "1.2.3.256",
            "1.2.3.4.5",
            "08.1",
            "0x",
            "1.0x",
            "foo.123",
            "a.0x7f",
            "99999999999999999999999999",
        ] {
            assert_eq!(Host::parse(text), Err(HostError::NumericEnd), "{text}");
        }
    }

    #[test]
    fn every_error_says_what_is_wrong() {
        assert!(HostError::Character('\0').to_string().contains("'\\0'"));
        assert!(HostError::Ipv4Spelling.to_string().contains("192.0.2.7"));
    }

    proptest! {
        #[test]
        fn n4_parsing_is_idempotent(text in "\\PC{0,30}|[0-9xa-fA-F.:\\[\\]%]{0,24}") {
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
            }
        }

        #[test]
        fn a1_a_number_in_any_radix_is_an_address_spelling(value in any::<u32>()) {
            for text in [format!("{value}"), format!("0x{value:x}"), format!("0{value:o}")] {
                prop_assert_eq!(Host::parse(&text), Err(HostError::Ipv4Spelling));
            }
            let quad = Ipv4Addr::from(value);
            prop_assert_eq!(Host::parse(&quad.to_string()), Ok(Host::Ip(quad.into())));
        }

        #[test]
        fn every_ipv6_address_survives_its_display(value in any::<u128>()) {
            let host = Host::Ip(Ipv6Addr::from(value).into());
            prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
    }
}
