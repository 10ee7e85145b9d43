//! Rules that allow what a higher document never does: they are in force and do nothing.
//!
//! | the higher document | the Allow below it never applies |
//! |---|---|
//! | has a `hostRules` Deny | of a pattern that the Deny covers |
//! | has `defaultAction: Deny` | of a pattern that no Allow, category or rule of it may meet |
//!
//! Only what is certain is told, and only of documents that carry their Deny out. The work of one load is bounded:
//! what is beyond it is not looked at.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::Compiled;
use super::cover::sample;
use super::decision::RuleId;
use super::document::RuleAction;
use super::host_set::HostKey;
use super::mode::{Action, Enforcement, Scope};
use super::pattern::Pattern;
use super::pattern_pool::PatternPool;
use super::scope::{PolicySet, Roster};
use crate::addr::Port;
use crate::source::{Place, Problem};

/// The most warnings of one load.
const MOST: usize = 100;
/// So many patterns are looked up in one load.
const MOST_LOOKED_UP: usize = 50_000;
/// So many patterns of a higher document are compared with one.
const MOST_COMPARED: usize = 256;
/// So many ports are asked of a higher document.
const MOST_PORTS: usize = 8;

impl PolicySet {
    /// A warning for each Allow that a higher document makes of no use. `roster` is as for [`conflicts`](Self::conflicts).
    ///
    /// `clean` is a set over the same roster that had no such Allow: what has not changed since is not looked at.
    #[must_use]
    pub fn dead(&self, roster: Option<&Roster>, clean: Option<&Self>) -> Vec<Problem> {
        let pool = self.pool();
        let clean = clean.filter(|clean| self.has_higher_of(clean));
        let is_new = |unit: &&Arc<Compiled>| !clean.is_some_and(|clean| clean.has(unit));
        if self.units().all(|unit| matches!(unit.scope(), Scope::Sandbox { .. })) {
            return Vec::new();
        }
        let mut lower: Vec<&Arc<Compiled>> = self.units().filter(is_new).collect();
        lower.sort_unstable_by_key(|unit| unit.scope());
        let mut granting = Granting::default();
        let mut left = MOST_LOOKED_UP;
        let mut found = Vec::new();
        for unit in lower {
            let above = || {
                self.above(unit.scope(), roster).filter(|higher| higher.enforcement == Enforcement::Enforce)
            };
            if above().next().is_none() {
                continue;
            }
            for (text, place) in allows(unit) {
                if found.len() == MOST || left == 0 {
                    return found;
                }
                left -= 1;
                let Ok(pattern) = text.parse::<Pattern>() else { continue };
                found.extend(above().find_map(|higher| why(higher, pool, &pattern, &mut granting)).map(
                    |(message, cure)| {
                        let message = format!("`{pattern}` is never allowed: {message}");
                        Problem::warning(message).at(place.clone()).cure(cure)
                    },
                ));
            }
        }
        found
    }
}

/// The hosts that a document allows, or puts on the managed path, in words of its own.
fn allows(document: &Compiled) -> impl Iterator<Item = (String, Place)> {
    let hosts = document.host_rules().zip(0_u32..).filter(|(entry, _)| entry.action == Action::Allow);
    let hosts = hosts.map(|(entry, id)| (entry.pattern, RuleId::Host(id)));
    let rules = document.rules().zip(0_u32..).filter(|(entry, _)| entry.action != RuleAction::Deny);
    let rules = hosts.chain(rules.map(|(entry, id)| (entry.host, RuleId::Rule(id))));
    let rules = rules.map(|(text, rule)| (text, document.place_of(Some(rule))));
    let managed = document.delegation().into_iter().flat_map(|vnet| {
        vnet.servers().chain(vnet.hosts()).map(|text| (text.to_owned(), vnet.place.clone()))
    });
    rules.chain(managed)
}

/// The patterns that each higher document may allow by, read once in a load; `None` where there are too many.
#[derive(Default)]
struct Granting(HashMap<Scope, Option<Vec<Pattern>>>);

impl Granting {
    /// Whether no pattern of a document may meet another.
    fn never_meets(&mut self, document: &Compiled, pattern: &Pattern) -> bool {
        let read = || {
            let texts = document.granting(MOST_COMPARED)?;
            texts.iter().map(|text| text.parse().ok()).collect()
        };
        let known = match self.0.get(document.scope()) {
            Some(known) => known,
            None => self.0.entry(document.scope().clone()).or_insert_with(read),
        };
        known.as_ref().is_some_and(|all| all.iter().all(|own| !own.may_meet(pattern)))
    }
}

/// Why a document never allows what a pattern matches, and what could be done; `None` where it may.
fn why(
    higher: &Compiled,
    pool: &PatternPool,
    pattern: &Pattern,
    granting: &mut Granting,
) -> Option<(String, String)> {
    let (kind, name) = (higher.scope().kind(), higher.name());
    if let Some(rule) = denied_by(higher, pool, pattern) {
        let message = format!("{kind} `{name}` denies it by {}", higher.label(rule));
        let cure = format!("remove this Allow, or the Deny at {}", higher.place_of(Some(rule)));
        return Some((message, cure));
    }
    is_nowhere(higher, pool, pattern, granting).then(|| {
        let message = format!("{kind} `{name}` allows it nowhere, and its `defaultAction` is Deny");
        let cure = format!(
            "remove this Allow, or add \"{pattern}\" to hostRules of the document at {}",
            higher.place()
        );
        (message, cure)
    })
}

/// The `hostRules` Deny of a document that certainly holds for all that a pattern matches.
pub(super) fn denied_by(document: &Compiled, pool: &PatternPool, pattern: &Pattern) -> Option<RuleId> {
    let host = sample(pattern)?;
    let port = ports(document, pattern)?.next()?;
    let denied = document.hosts.find(pool, &HostKey::new(&host), port).denied?;
    let rule = document.host_rule(denied.place);
    let own: Pattern = document.text(denied.place)?.parse().ok()?;
    own.covers(pattern).then_some(rule)
}

/// Whether a document under `defaultAction: Deny` certainly allows nothing that a pattern matches.
fn is_nowhere(document: &Compiled, pool: &PatternPool, pattern: &Pattern, granting: &mut Granting) -> bool {
    let (Some(host), Some(ports)) = (sample(pattern), ports(document, pattern)) else { return false };
    let by_address = host.name().is_none() && document.cidr_rules().next().is_some();
    if document.default_action != Action::Deny || by_address {
        return false;
    }
    let key = HostKey::new(&host);
    let meets = |port| {
        let found = document.hosts.find(pool, &key, port);
        found.allowed.is_some() || found.ruled
    };
    let mut ports = ports;
    if ports.any(meets) {
        return false;
    }
    // One host is its own sample; of others no pattern may meet any.
    let one = super::compile::one(pattern).is_some();
    one || granting.never_meets(document, pattern)
}

/// The ports on which a document has to be asked of a pattern: its own, else one that no pattern of the document names and
/// then all that they name; `None` where these are too many.
fn ports(document: &Compiled, pattern: &Pattern) -> Option<impl Iterator<Item = Port>> {
    let named = document.hosts.own_ports();
    let free = || (1..=u16::MAX).rev().find(|port| named.binary_search(port).is_err()).and_then(Port::new);
    let first = pattern.port().or_else(free)?;
    let others = if pattern.port().is_some() { &[][..] } else { named };
    let others = others.iter().filter_map(|port| Port::new(*port));
    (others.clone().count() <= MOST_PORTS).then(|| std::iter::once(first).chain(others))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
