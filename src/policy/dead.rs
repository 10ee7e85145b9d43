//! Rules that allow what a higher document never does: they are in force and do nothing.
//!
//! | the higher document | the Allow below it never applies |
//! |---|---|
//! | has a `hostRules` Deny | of a pattern that the Deny covers |
//! | has `defaultAction: Deny` | of a pattern that no Allow, category or rule of it may meet |
//!
//! So is told of what a document puts on the managed path, which such a host never takes: of each entry, and once of each
//! switch.
//!
//! Only what is certain is told, and only of documents that are asked and carry their Deny out: not of one that reports,
//! nor of one that skips the rules (`skipEgressProxy`) and those above that. The work of one load is bounded: what is beyond
//! it is not looked at.

use std::collections::HashMap;
use std::sync::Arc;

use super::compile::{Compiled, Delegation, lost};
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
        let mut search = Search { pool, granting: Granting::default(), left: MOST_LOOKED_UP };
        let mut found = Vec::new();
        for unit in lower {
            let above = deniers(self.above(unit.scope(), roster), unit);
            if !above.is_empty() {
                found.extend(search.of(unit, &above).take(MOST - found.len()));
            }
            if found.len() == MOST || search.left == 0 {
                break;
            }
        }
        found
    }
}

/// The documents above one that are asked together with it, and carry their Deny out.
fn deniers<'s>(above: impl Iterator<Item = &'s Arc<Compiled>>, unit: &Compiled) -> Vec<&'s Arc<Compiled>> {
    if unit.skips() {
        return Vec::new();
    }
    let mut asked: Vec<_> = above.collect();
    let first = asked.iter().rposition(|higher| higher.skips()).map_or(0, |place| place + 1);
    asked.drain(..first);
    asked.retain(|higher| higher.enforcement == Enforcement::Enforce);
    asked
}

/// The search of one load.
struct Search<'p> {
    pool: &'p PatternPool,
    granting: Granting,
    /// How many patterns may still be looked up.
    left: usize,
}

impl Search<'_> {
    /// The warnings of one document below these.
    fn of(&mut self, unit: &Compiled, above: &[&Arc<Compiled>]) -> impl Iterator<Item = Problem> {
        let entries = entries(unit).take(self.left).filter_map(|(text, place, entry)| {
            let (pattern, why) = self.why(above, &text)?;
            let message = format!("`{pattern}` {}: {}", entry.fate(), why.message());
            Some(Problem::warning(message).at(place).cure(why.cure(&pattern, entry)))
        });
        let mut found: Vec<_> = entries.take(MOST).collect();
        for (toggle, place, count, texts) in unit.switches() {
            let denied = texts.iter().filter_map(|text| {
                let (pattern, why) = self.why(above, text)?;
                Some((pattern.to_string(), why.placed()))
            });
            found.extend(lost(toggle, &place, count, &denied.collect::<Vec<_>>()));
        }
        found.into_iter()
    }

    /// Why one of these documents never allows what a pattern matches; `None` where they may, or where no more is looked up.
    fn why<'c>(&mut self, above: &[&'c Arc<Compiled>], text: &str) -> Option<(Pattern, Why<'c>)> {
        self.left = self.left.checked_sub(1)?;
        let pattern = text.parse::<Pattern>().ok()?;
        let why = above.iter().find_map(|higher| {
            let rule = denied_by(higher, self.pool, &pattern);
            let denies = rule.is_some() || is_nowhere(higher, self.pool, &pattern, &mut self.granting);
            denies.then_some(Why { higher, rule })
        });
        Some((pattern, why?))
    }
}

/// What says that a host may be called, in words of its own.
#[derive(Clone, Copy)]
enum Entry {
    /// An Allow.
    Allow,
    /// An entry of `managedPath`.
    Managed,
}

impl Entry {
    /// What happens to a host that a higher document denies.
    const fn fate(self) -> &'static str {
        match self {
            Self::Allow => "is never allowed",
            Self::Managed => "never takes the managed path",
        }
    }
}

/// The hosts that a document allows, or puts on the managed path, in words of its own.
fn entries(document: &Compiled) -> impl Iterator<Item = (String, Place, Entry)> {
    let hosts = document.host_rules().zip(0_u32..).filter(|(entry, _)| entry.action == Action::Allow);
    let hosts = hosts.map(|(entry, id)| (entry.pattern, RuleId::Host(id)));
    let rules = document.rules().zip(0_u32..).filter(|(entry, _)| entry.action != RuleAction::Deny);
    let rules = hosts.chain(rules.map(|(entry, id)| (entry.host, RuleId::Rule(id))));
    let rules = rules.map(|(text, rule)| (text, document.place_of(Some(rule)), Entry::Allow));
    let managed = document.delegation().into_iter().flat_map(Delegation::listed);
    rules.chain(managed.map(|(text, place)| (text.to_owned(), place, Entry::Managed)))
}

/// Why a document never allows what a pattern matches.
struct Why<'c> {
    higher: &'c Compiled,
    /// Its Deny; `None`: it allows it nowhere.
    rule: Option<RuleId>,
}

impl Why<'_> {
    /// Why.
    fn message(&self) -> String {
        let (kind, name) = (self.higher.scope().kind(), self.higher.name());
        match self.rule {
            Some(rule) => format!("{kind} `{name}` denies it by {}", self.higher.label(rule)),
            None => format!("{kind} `{name}` allows it nowhere, and its `defaultAction` is Deny"),
        }
    }

    /// Why, with the place.
    fn placed(&self) -> String {
        format!("{} at {}", self.message(), self.higher.place_of(self.rule))
    }

    /// What could be done.
    fn cure(&self, pattern: &Pattern, entry: Entry) -> String {
        let this = match entry {
            Entry::Allow => "this Allow",
            Entry::Managed => "this entry",
        };
        let place = self.higher.place_of(self.rule);
        match self.rule {
            Some(_) => format!("remove {this}, or the Deny at {place}"),
            None => {
                format!("remove {this}, or add \"{pattern}\" to hostRules of the document at {place}")
            }
        }
    }
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
