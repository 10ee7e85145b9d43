//! What should be looked at in one document, though it loads.
//!
//! | warning | is certain because |
//! |---|---|
//! | an Allow reaches every tenant of a shared domain, or every address, while the default is Deny | it is a heuristic over a table of domains |
//! | a `hostRules` Allow never applies | a Deny covers its pattern, and Deny wins |
//! | a `cidrRules` entry never applies | another one has the same prefix and all of its ports, and outranks it |
//! | a rule is never first | one before it covers its host, path and methods |
//! | a `securityRules` entry never applies | one of a lower priority number covers its addresses and ports |
//! | a host of the managed path is one of every tenant of a shared domain, or denied | as for Allows |
//! | hosts of a switch of it are denied: one warning for each switch | as for Allows |
//!
//! That a Deny wins is told only of a document that carries it out: one that reports, or is not asked (`skipEgressProxy`),
//! lets through what it denies.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::switch::{Switch, lost};
use crate::policy::cover::Covering;
use crate::policy::document::{CidrRule, Document, HostRule, ManagedHost, Rule, RuleAction, SecurityRule};
use crate::policy::mode::{Action, Enforcement};
use crate::policy::pattern::Pattern;
use crate::policy::port_set::PortSet;
use crate::source::Problem;

/// The most warnings of one kind for one document.
const MOST: usize = 50;
/// So many rules before it are compared with one, of each host that covers its host.
const MOST_BEFORE: usize = 64;

/// Everything that should be looked at in a document whose switches stand for these hosts.
pub(super) fn warnings(document: &Document, switches: &[Switch<'_>]) -> Vec<Problem> {
    let spec = &document.spec;
    let mut all: Vec<Problem> = Vec::new();
    if spec.default_action == Action::Deny {
        all.extend(wide_hosts(document));
        all.extend(wide_networks(&spec.cidr_rules).take(MOST));
    }
    let denies = Denies::of(document);
    all.extend(denied(&spec.host_rules, &denies).take(MOST));
    all.extend(outranked(&spec.cidr_rules, denies.are_carried_out).into_iter().take(MOST));
    all.extend(shadowed(&spec.rules).into_iter().take(MOST));
    let rules = spec.vnet.iter().filter_map(|vnet| vnet.security_rules.as_deref());
    all.extend(rules.flat_map(outruled).take(MOST));
    let hosts = spec.vnet.iter().flat_map(|vnet| vnet.managed.servers.iter().chain(&vnet.managed.hosts));
    all.extend(hosts.filter_map(|host| managed(host, &denies)).take(MOST));
    all.extend(switches.iter().filter_map(|switch| switched(switch, &denies)));
    all
}

/// The `hostRules` Deny of a document, where they are carried out.
struct Denies<'d> {
    rules: &'d [HostRule],
    covering: Covering,
    are_carried_out: bool,
}

impl<'d> Denies<'d> {
    /// Those of a document; none where it reports or is not asked.
    fn of(document: &'d Document) -> Self {
        let spec = &document.spec;
        let are_carried_out = spec.enforcement == Enforcement::Enforce && spec.skip.is_none();
        let rules = spec.host_rules.iter().zip(0_u32..);
        let denies = rules.filter(|(rule, _)| are_carried_out && rule.action == Action::Deny);
        let covering = Covering::of(denies.map(|(rule, id)| (rule.pattern.clone(), id)));
        Self { rules: &spec.host_rules, covering, are_carried_out }
    }

    /// One that certainly holds for all that a pattern matches, and its line.
    fn find(&self, pattern: &Pattern) -> Option<(&Pattern, u32)> {
        if self.covering.is_empty() {
            return None;
        }
        let (deny, id) = self.covering.find(pattern, false)?;
        Some((deny, self.rules.get(usize::try_from(id).ok()?)?.place.line))
    }
}

/// A host that the document itself puts on the managed path, and that every tenant of a shared domain has, or that is denied.
fn managed(host: &ManagedHost, denies: &Denies<'_>) -> Option<Problem> {
    let pattern = &host.pattern;
    let (message, cure) = match denies.find(pattern) {
        Some((deny, line)) => (
            format!("`{pattern}` never takes the managed path: `{deny}` is denied on line {line}"),
            "remove it here, or narrow that Deny",
        ),
        None if pattern.is_tenant_wide() => (
            format!("tenant-wide: `{pattern}` puts every tenant of a shared domain on the managed path"),
            "name the hosts you need: the network's own rules do not see any of them",
        ),
        None => return None,
    };
    Some(Problem::warning(message).at(host.place.clone()).cure(cure))
}

/// A switch of which hosts are denied.
fn switched(switch: &Switch<'_>, denies: &Denies<'_>) -> Option<Problem> {
    let found = switch.hosts.iter().filter_map(|host| {
        let (deny, line) = denies.find(host)?;
        Some((host.to_string(), format!("`{deny}` is denied on line {line}")))
    });
    lost(switch.toggle, switch.place, switch.hosts.len(), &found.collect::<Vec<_>>())
}

/// Entries of `securityRules` that one before them always decides for.
fn outruled(rules: &[SecurityRule]) -> Vec<Problem> {
    let mut ordered: Vec<&SecurityRule> = rules.iter().filter(|rule| rule.protocol.is_ours()).collect();
    ordered.sort_by_key(|rule| rule.priority);
    let covers = |first: &SecurityRule, rule: &SecurityRule| {
        let nets = first.destination.as_ref().is_none_or(|all| {
            let own = rule.destination.iter().flatten();
            rule.destination.is_some() && own.clone().all(|net| all.iter().any(|wide| wide.contains(net)))
        });
        nets && holds(first.ports.as_ref(), rule.ports.as_ref())
    };
    let dead = ordered.iter().enumerate().filter_map(|(at, rule)| {
        let first = ordered.iter().take(at.min(MOST_BEFORE)).find(|first| covers(first, rule))?;
        let message = format!(
            "security rule `{}` never applies: `{}`, of priority {}, decides for all that it matches",
            rule.name, first.name, first.priority
        );
        Some(
            Problem::warning(message)
                .at(rule.place.clone())
                .cure("remove it, or give it a lower priority number"),
        )
    });
    dead.collect()
}

/// Hosts by which every tenant of a shared domain can be reached.
fn wide_hosts(document: &Document) -> impl Iterator<Item = Problem> {
    let spec = &document.spec;
    let hosts = spec.host_rules.iter().filter(|rule| rule.action == Action::Allow);
    let hosts = hosts.map(|rule| (&rule.pattern, &rule.place));
    // A Rewrite to one host sends to that.
    let stays = |rule: &&Rule| match rule.action {
        RuleAction::Deny => false,
        RuleAction::Allow | RuleAction::Transform => true,
        RuleAction::Rewrite => {
            rule.changes.as_ref().is_some_and(|changes| changes.home(&rule.host).is_none())
        }
    };
    let rules = spec.rules.iter().filter(stays).map(|rule| (&rule.host, &rule.place));
    let wide = hosts.chain(rules).filter(|(pattern, _)| pattern.is_tenant_wide());
    wide.map(|(pattern, place)| {
        Problem::warning(format!("tenant-wide: `{pattern}` allows every tenant of a shared domain"))
            .at(place.clone())
            .cure("name the hosts you need: any tenant there could receive the data")
    })
}

/// Networks that are every address.
fn wide_networks(rules: &[CidrRule]) -> impl Iterator<Item = Problem> {
    let wide = rules.iter().filter(|rule| rule.action == Action::Allow && rule.net.prefix_len() == 0);
    wide.map(|rule| {
        Problem::warning(format!("`{}` allows every address, private ones included", rule.net))
            .at(rule.place.clone())
            .cure("name the networks you need: any server could receive the data")
    })
}

/// Allows of `hostRules` whose hosts are all denied. That one pattern is both is told where it is read.
fn denied(rules: &[HostRule], denies: &Denies<'_>) -> impl Iterator<Item = Problem> {
    let allows = rules.iter().filter(|rule| rule.action == Action::Allow);
    allows.filter_map(|rule| {
        let (deny, line) = denies.find(&rule.pattern).filter(|(deny, _)| **deny != rule.pattern)?;
        let message =
            format!("`{}` is never allowed: `{deny}` is denied on line {line}, and Deny wins", rule.pattern);
        Some(Problem::warning(message).at(rule.place.clone()).cure("remove this Allow, or narrow that Deny"))
    })
}

/// Entries of `cidrRules` in whose place another one of the same prefix always decides; a Deny where it is carried out.
fn outranked(rules: &[CidrRule], denies: bool) -> Vec<Problem> {
    let mut known: HashMap<_, Vec<&CidrRule>> = HashMap::new();
    for rule in rules {
        let same = known.entry(rule.net).or_default();
        if same.len() < MOST_BEFORE {
            same.push(rule);
        }
    }
    let dead = rules.iter().filter_map(|rule| {
        let same = known.get(&rule.net)?;
        let above = same.iter().find(|other| {
            let first = (other.place.line, other.place.column) < (rule.place.line, rule.place.column);
            let outranks = denies && other.action == Action::Deny && rule.action == Action::Allow;
            let repeats = other.action == rule.action && other.ports == rule.ports && first;
            repeats || (outranks && holds(other.ports.as_ref(), rule.ports.as_ref()))
        })?;
        let line = above.place.line;
        let (message, cure) = if above.action == rule.action {
            (format!("`{}` is on line {line} already", rule.net), "remove one of them")
        } else {
            let message =
                format!("`{}` is never allowed: it is denied on line {line}, and Deny wins", rule.net);
            (message, "remove the one that is not meant")
        };
        Some(Problem::warning(message).at(rule.place.clone()).cure(cure))
    });
    dead.collect()
}

/// Whether ports hold all of others; none are any.
fn holds(own: Option<&PortSet>, other: Option<&PortSet>) -> bool {
    match (own, other) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own), Some(other)) => {
            other.ranges().all(|(low, high)| own.ranges().any(|(first, last)| first <= low && high <= last))
        }
    }
}

/// Rules in whose place one before them always decides.
fn shadowed(rules: &[Rule]) -> Vec<Problem> {
    let mut before: HashMap<String, Vec<(&Rule, usize)>> = HashMap::new();
    let mut found = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        let wider = rule.host.wider(false);
        let above = wider
            .iter()
            .filter_map(|host| before.get(host))
            .flatten()
            .find(|(above, _)| decides(above, rule));
        if let Some((above, id)) = above {
            let name = above.name.as_ref().map_or_else(String::new, |name| format!(" (`{name}`)"));
            let message = format!(
                "this rule never decides: rules[{id}]{name} on line {} fits all that it fits",
                above.place.line
            );
            let problem = Problem::warning(message).at(rule.place.clone());
            found.push(problem.cure("remove this rule, or move it in front of that one"));
            continue;
        }
        match before.entry(rule.host.to_string()) {
            Entry::Vacant(free) => drop(free.insert(vec![(rule, place)])),
            Entry::Occupied(mut same) if same.get().len() < MOST_BEFORE => same.get_mut().push((rule, place)),
            Entry::Occupied(_) => {}
        }
    }
    found
}

/// Whether a rule fits every request that a later one fits.
fn decides(above: &Rule, rule: &Rule) -> bool {
    let denies = |rule: &Rule| rule.action == RuleAction::Deny;
    let path = match (&above.path, &rule.path) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own), Some(other)) => own.covers(denies(above), other, denies(rule)),
    };
    let methods = match (&above.methods, &rule.methods) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(own), Some(other)) => other.iter().all(|method| own.contains(method)),
    };
    path && methods && above.host.covers(&rule.host)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
