//! Whether a pattern, a path or a network fits, as it is written: every way is tried.

use std::net::IpAddr;

use super::Where;

/// Whether a pattern's text names a port.
pub(super) fn has_port(pattern: &str) -> bool {
    split(pattern).1.is_some()
}

/// A pattern's host and port.
fn split(pattern: &str) -> (&str, Option<u16>) {
    let after = pattern.rfind(']').map_or(0, |end| end + 1);
    match pattern[after..].find(':') {
        Some(colon) => (&pattern[..after + colon], Some(pattern[after + colon + 1..].parse().unwrap())),
        None => (pattern, None),
    }
}

/// Whether a pattern's text matches, `policy.md` §4.
pub(in crate::policy) fn fits(pattern: &str, host: &Where, port: u16) -> bool {
    let (pattern, own) = split(pattern);
    if own.is_some_and(|own| own != port) {
        return false;
    }
    let literal = pattern.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    match (host, literal) {
        (Where::Ip(ip), Some(literal)) => *ip == literal,
        (Where::Ip(_), None) | (Where::Name(_), Some(_)) => false,
        (Where::Name(name), None) => {
            let own: Vec<&str> = pattern.split('.').collect();
            let labels: Vec<&str> = name.split('.').collect();
            pattern == "*" || labels_fit(&own, &labels, true)
        }
    }
}

/// Whether labels fit from the left: a leading `*` is one or more of them, any other `*` label exactly one.
fn labels_fit(pattern: &[&str], labels: &[&str], leading: bool) -> bool {
    match (pattern.split_first(), labels.split_first()) {
        (None, None) => true,
        (Some((&"*", rest)), Some(_)) if leading => {
            (1..=labels.len()).any(|n| labels_fit(rest, &labels[n..], false))
        }
        (Some((own, rest)), Some((label, after))) => {
            stars_fit(own.as_bytes(), label.as_bytes()) && labels_fit(rest, after, false)
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Whether a text fits where each `*` is one or more characters.
fn stars_fit(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (1..=text.len()).any(|n| stars_fit(rest, &text[n..])),
        Some((byte, rest)) => text.first() == Some(byte) && stars_fit(rest, &text[1..]),
    }
}

/// Whether a path fits, `policy.md` §6 `match`: every way to cut the path is tried.
pub(super) fn path_fits(pattern: &str, path: &str, deny: bool) -> bool {
    let inside = |pattern: &str, path: &str| {
        let (own, segments): (Vec<&str>, Vec<&str>) =
            (pattern.split('/').collect(), path.split('/').collect());
        own.len() == segments.len()
            && own.iter().zip(segments).all(|(own, text)| stars_fit(own.as_bytes(), text.as_bytes()))
    };
    if let Some(start) = pattern.strip_suffix('*') {
        return (0..=path.len()).any(|n| inside(start, &path[..n]));
    }
    let subtree = |n: usize| {
        path[..n].ends_with('/') && (inside(pattern, &path[..n]) || inside(pattern, &path[..n - 1]))
    };
    inside(pattern, path) || deny && (1..=path.len()).any(subtree)
}

/// An address as 128 bits, its family, and how long the family is.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    }
}

/// Whether a network's text covers an address of its family.
pub(super) fn within(net: &str, address: IpAddr) -> bool {
    let (net, length) = net.split_once('/').unwrap();
    let (length, (net, family)) = (length.parse::<u32>().unwrap(), bits(net.parse().unwrap()));
    let (address, own) = bits(address);
    family == own && (length == 0 || (net ^ address) >> (128 - length) == 0)
}
