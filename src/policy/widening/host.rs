//! What became wider in `hostRules`, `categories` and `cidrRules`.

use std::collections::HashSet;
use std::iter::successors;

use ipnet::IpNet;

use super::Told;
use crate::addr::Port;
use crate::policy::compile::{CidrEntry, Compiled, HostEntry};
use crate::policy::cover::Covering;
use crate::policy::decision::RuleId;
use crate::policy::mode::Action;
use crate::policy::pattern::{Pattern, PatternKind};

/// The texts of the `hostRules` with an action, each with its rule.
fn written(document: &Compiled, action: Action) -> impl Iterator<Item = (String, RuleId)> {
    let all = document.host_rules().zip(0_u32..);
    all.filter(move |(entry, _)| entry.action == action)
        .map(|(HostEntry { pattern, .. }, id)| (pattern, RuleId::Host(id)))
}

/// The texts of the hosts that a document allows, each with its rule.
pub(super) fn granted(document: &Compiled) -> impl Iterator<Item = (String, RuleId)> {
    written(document, Action::Allow)
        .chain(document.category_hosts().map(|(pattern, entry)| (pattern, RuleId::Category(entry))))
}

/// Patterns by which others can be found to be covered.
fn covering(texts: impl Iterator<Item = (String, RuleId)>) -> Covering {
    Covering::of(texts.filter_map(|(text, _)| Some((text.parse().ok()?, 0))))
}

/// Hosts that are allowed, and were not: before by no pattern of the same port, nor by the default on the same ports.
///
/// SECURITY: the default does not stand for the Allow of a literal, which lets TLS to it pass that names no server.
pub(super) fn allowed(before: Option<&Compiled>, after: &Compiled, told: &mut Told) {
    let known: HashSet<String> = before.into_iter().flat_map(granted).map(|(text, _)| text).collect();
    let mut new = granted(after).filter(|(text, _)| !known.contains(text)).peekable();
    if new.peek().is_none() {
        return;
    }
    let wide = covering(before.into_iter().flat_map(granted));
    let was_open = |port: Option<Port>| {
        before.is_some_and(|before| {
            before.default_action() == Action::Allow && port.is_none_or(|port| before.bounds(port))
        })
    };
    let mut seen = HashSet::new();
    for (text, rule) in new {
        let pattern = text.parse::<Pattern>().ok();
        let is_literal = |pattern: &Pattern| matches!(pattern.kind(), PatternKind::Ip(_));
        let is_known = |pattern: &Pattern| {
            (was_open(pattern.port()) && !is_literal(pattern)) || wide.find(pattern, true).is_some()
        };
        if pattern.as_ref().is_some_and(is_known) || !seen.insert(text.clone()) {
            continue;
        }
        let label = match rule {
            RuleId::Category(_) => after.label(rule),
            RuleId::Host(_) | RuleId::Cidr(_) | RuleId::Rule(_) | RuleId::Security(_) => rule.to_string(),
        };
        told.say(|| format!("`{text}` is allowed by {label} ({})", after.place_of(Some(rule))));
    }
}

/// Hosts that were denied, and are not.
pub(super) fn denied(before: &Compiled, after: &Compiled, told: &mut Told) {
    let known: HashSet<String> = written(after, Action::Deny).map(|(text, _)| text).collect();
    let mut gone = written(before, Action::Deny).filter(|(text, _)| !known.contains(text)).peekable();
    if gone.peek().is_none() {
        return;
    }
    let wide = covering(written(after, Action::Deny));
    for (text, rule) in gone {
        let holds = text.parse().is_ok_and(|pattern: Pattern| wide.find(&pattern, false).is_some());
        if !holds {
            told.say(|| {
                format!(
                    "`{text}` is not denied any more: {rule} is gone (it was at {})",
                    before.place_of(Some(rule))
                )
            });
        }
    }
}

/// Literals whose Allow is gone, which `ports` bounded, while `cidrRules`, which they do not bound, may allow them.
pub(super) fn literals(before: &Compiled, after: &Compiled, told: &mut Told) {
    if !after.cidr_rules().any(|entry| entry.action == Action::Allow) {
        return;
    }
    let known: HashSet<String> = granted(after).map(|(text, _)| text).collect();
    for (text, rule) in granted(before).filter(|(text, _)| !known.contains(text)) {
        let bounded = text.parse().is_ok_and(|pattern: Pattern| {
            matches!(pattern.kind(), PatternKind::Ip(_)) && pattern.port().is_none()
        });
        if bounded {
            told.say(|| {
                let place = before.place_of(Some(rule));
                format!("`ports` do not bound `{text}` any more: {rule} is gone, and `cidrRules` allow it on their own (it was at {place})")
            });
        }
    }
}

/// Networks that are allowed and were not, and those that were denied and are not.
pub(super) fn networks(before: Option<&Compiled>, after: &Compiled, told: &mut Told) {
    let all = |document: Option<&Compiled>| -> HashSet<String> {
        document.into_iter().flat_map(Compiled::cidr_rules).map(|entry| said(&entry)).collect()
    };
    let known = all(before);
    for (entry, id) in after.cidr_rules().zip(0_u32..) {
        let text = said(&entry);
        if entry.action == Action::Allow && !known.contains(&text) {
            let rule = RuleId::Cidr(id);
            told.say(|| format!("{text} by {rule} ({})", after.place_of(Some(rule))));
        }
    }
    let Some(before) = before else { return };
    let known = all(Some(after));
    let listing = after.cidr_rules().filter(|wide| wide.action == Action::Allow && wide.ports.is_some());
    let listing: HashSet<IpNet> = listing.map(|wide| wide.net).collect();
    for (entry, id) in before.cidr_rules().zip(0_u32..) {
        let text = said(&entry);
        let uncovers = || {
            let mut wider = successors(Some(entry.net), IpNet::supernet);
            entry.ports.is_none() && !listing.is_empty() && wider.any(|net| listing.contains(&net))
        };
        let tells = match entry.action {
            Action::Deny => true,
            // A shorter prefix that lists port 25 opens it, where this one did not.
            Action::Allow => uncovers(),
        };
        if tells && !known.contains(&text) {
            let rule = RuleId::Cidr(id);
            told.say(|| format!("{rule} is gone: {text} (it was at {})", before.place_of(Some(rule))));
        }
    }
}

/// An entry of `cidrRules` in words.
fn said(entry: &CidrEntry<'_>) -> String {
    let verb = match entry.action {
        Action::Allow => "allowed",
        Action::Deny => "denied",
    };
    let ports = entry.ports.map(|ports| format!(" on ports {ports}")).unwrap_or_default();
    format!("`{}` is {verb}{ports}", entry.net)
}

/// Whether two versions say the same of hosts, networks, ports and the default.
pub(super) fn same(before: &Compiled, after: &Compiled) -> bool {
    before.host_rules().eq(after.host_rules())
        && before.category_hosts().eq(after.category_hosts())
        && before.cidr_rules().eq(after.cidr_rules())
        && before.ports() == after.ports()
        && before.default_action() == after.default_action()
}
