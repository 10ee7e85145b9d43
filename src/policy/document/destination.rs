//! What a document says about names, addresses and ports: `hostRules`, `cidrRules`, `ports`, `categories`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::spec::ACTIONS;
use super::{CategoryUse, CidrRule, HostRule, pattern};
use crate::policy::mode::Action;
use crate::policy::port_set::PortSet;
use crate::source::{Kind, Spot, quoted};

/// The keys of a `hostRules` entry.
pub(crate) const HOST_RULE_KEYS: [&str; 2] = ["pattern", "action"];
/// The keys of a `cidrRules` entry.
pub(crate) const CIDR_RULE_KEYS: [&str; 3] = ["cidr", "action", "ports"];

/// `hostRules`: mappings, or bare patterns that are allowed.
pub(super) fn host_rules(spot: &Spot<'_>) -> Vec<HostRule> {
    let items = spot.items();
    let mut rules = Vec::with_capacity(items.len());
    let mut seen: HashMap<Box<str>, (Action, u32)> = HashMap::with_capacity(items.len());
    for item in items {
        let Some(rule) = host_rule(&item) else { continue };
        match seen.entry(rule.pattern.to_string().into_boxed_str()) {
            Entry::Vacant(free) => {
                free.insert((rule.action, rule.place.line));
            }
            Entry::Occupied(first) => repeated(&item, rule.action, first.key(), *first.get()),
        }
        rules.push(rule);
    }
    rules
}

/// One `hostRules` entry.
fn host_rule(item: &Spot<'_>) -> Option<HostRule> {
    if !item.is_map() {
        let pattern = pattern(item)?;
        return Some(HostRule { pattern, action: Action::Allow, place: item.place() });
    }
    let fields = item.fields(&HOST_RULE_KEYS)?;
    let action = fields.get("action").map_or(Some(Action::Allow), |spot| spot.choice(&ACTIONS));
    let pattern = fields.require("pattern").and_then(|spot| pattern(&spot));
    Some(HostRule { pattern: pattern?, action: action?, place: item.place() })
}

/// Warns of a pattern that is written twice.
fn repeated(item: &Spot<'_>, action: Action, pattern: &str, (first, line): (Action, u32)) {
    if first == action {
        item.warn(format!("{} is on line {line} already", quoted(pattern)), "remove one of them");
    } else {
        item.warn(
            format!("{} is both allowed and denied (line {line}); Deny wins", quoted(pattern)),
            "remove the one that is not meant",
        );
    }
}

/// `cidrRules`.
pub(super) fn cidr_rules(spot: &Spot<'_>) -> Vec<CidrRule> {
    spot.each(|item| {
        let fields = item.fields(&CIDR_RULE_KEYS)?;
        let net = fields.require("cidr").and_then(|spot| network(&spot));
        let action = fields.require("action").and_then(|spot| spot.choice(&ACTIONS));
        let listed = fields.get("ports").map(|spot| ports(&spot));
        let ports = match listed {
            None => None,
            Some(listed) => Some(listed?),
        };
        Some(CidrRule { net: net?, action: action?, ports, place: item.place() })
    })
}

/// A network in CIDR notation whose host bits are zero, and which is not IPv4 in the clothes of IPv6.
#[must_use]
pub fn network(spot: &Spot<'_>) -> Option<IpNet> {
    let text = spot.text()?;
    let Some((address, bits)) = text.split_once('/') else {
        let cure = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => format!("write {address}/32 for this one address"),
            Ok(IpAddr::V6(address)) => format!("write {address}/128 for this one address"),
            Err(_) if text.contains('*') || text.chars().any(char::is_alphabetic) => {
                "write names under `hostRules`".to_owned()
            }
            Err(_) => "write it as 192.0.2.0/24 or 2001:db8::/32".to_owned(),
        };
        spot.error_cure(format!("{} is not a network", quoted(text)), cure);
        return None;
    };
    let canonical = bits.len() <= 3
        && bits.bytes().all(|b| b.is_ascii_digit())
        && (bits == "0" || !bits.starts_with('0'));
    let net = match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
        (Ok(address), Ok(bits)) if canonical => IpNet::new(address, bits).ok(),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
    };
    let Some(net) = net else {
        spot.error_cure(
            format!("{} is not a network", quoted(text)),
            "write it as 192.0.2.0/24 or 2001:db8::/32",
        );
        return None;
    };
    if net.trunc() != net {
        spot.error_cure(
            format!("{} has bits set beyond its prefix", quoted(text)),
            format!(
                "write {} for the network, or {} for the one address",
                net.trunc(),
                IpNet::from(net.addr())
            ),
        );
        return None;
    }
    if let Some(inner) = mapped(&net) {
        spot.error_cure(
            format!("{} is IPv4 written as IPv6; addresses are matched in their IPv4 form", quoted(text)),
            format!("write {inner}"),
        );
        return None;
    }
    Some(net)
}

/// The IPv4 network that an IPv4-mapped IPv6 network stands for.
fn mapped(net: &IpNet) -> Option<Ipv4Net> {
    let IpNet::V6(net) = net else { return None };
    let bits = net.prefix_len().checked_sub(96)?;
    Ipv4Net::new(net.addr().to_ipv4_mapped()?, bits).ok()
}

/// A list of ports and ranges of ports.
pub(super) fn ports(spot: &Spot<'_>) -> Option<PortSet> {
    if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
        spot.error_cure("lists no port", "leave `ports` out for the default, or name at least one");
        return None;
    }
    let items = spot.items();
    let expected = items.len();
    let ranges: Vec<(u16, u16)> = items.filter_map(|item| range(&item)).collect();
    (expected > 0 && ranges.len() == expected).then(|| ranges.into_iter().collect())
}

/// One port, or a range of them.
fn range(item: &Spot<'_>) -> Option<(u16, u16)> {
    if let Kind::Text(text) = &item.node().kind {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let found = port(low).zip(port(high));
        if found.is_none_or(|(low, high)| low > high) {
            item.error_cure(
                format!("{} is not a port or a range of ports", quoted(text)),
                "write 443, or 8000-8100 with the lower port first; ports are 1 to 65535",
            );
            return None;
        }
        return found;
    }
    let port = item.integer(1, u64::from(u16::MAX)).and_then(|port| u16::try_from(port).ok())?;
    Some((port, port))
}

/// A port in its one spelling: no sign, no leading zero, 1 to 65535.
fn port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if canonical { text.parse().ok() } else { None }
}

/// `categories`: `name` or `name/part`.
pub(super) fn categories(spot: &Spot<'_>) -> Vec<CategoryUse> {
    let mut uses: Vec<CategoryUse> = Vec::new();
    for item in spot.items() {
        let Some(text) = item.word(super::LONGEST_NAME * 2) else { continue };
        let (category, part) = match text.split_once('/') {
            Some((category, part)) => (category, Some(part)),
            None => (text, None),
        };
        if category.is_empty() || part.is_some_and(|part| part.is_empty() || part.contains('/')) {
            item.error_cure(
                format!("{} is not a category", quoted(text)),
                "write `name` or `name/part`: package-registries/python",
            );
            continue;
        }
        if uses.iter().any(|seen| *seen.category == *category && seen.part.as_deref() == part) {
            item.warn(format!("{} is listed already", quoted(text)), "remove one of them");
        }
        uses.push(CategoryUse { category: category.into(), part: part.map(Arc::from), place: item.place() });
    }
    uses
}
