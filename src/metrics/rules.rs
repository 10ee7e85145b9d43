//! The hits of rules.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::{IntCounter, IntCounterVec};

/// The most pairs of policy and rule with a counter of their own.
pub(super) const RULES: usize = 2048;
/// The most bytes of a policy's or a rule's name in a label.
pub(super) const LABEL_CAP: usize = 128;

/// The counters of one policy's rules.
type Rules = HashMap<Arc<str>, IntCounter>;

/// The hits of rules, in memory that no number of policies can make grow.
pub(super) struct RuleHits {
    /// `rule_hits_total`.
    family: IntCounterVec,
    /// The counters of rules, by policy and rule.
    named: RwLock<HashMap<Arc<str>, Rules>>,
    /// The counter of all others.
    other: IntCounter,
}

impl RuleHits {
    /// No hits.
    pub(super) fn new(family: IntCounterVec) -> Self {
        let other = family.with_label_values(&["other", "other"]);
        Self { family, named: RwLock::new(HashMap::new()), other }
    }

    /// Counts a rule under its own name while there is room, and under `other` after that.
    pub(super) fn count(&self, policy: &Arc<str>, rule: &Arc<str>) {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = named.get(policy).and_then(|rules| rules.get(rule)) {
            counter.inc();
            return;
        }
        let room = named.values().map(HashMap::len).sum::<usize>() < RULES;
        drop(named);
        if !room {
            self.other.inc();
            return;
        }
        let counter = self.family.with_label_values(&[capped(policy), capped(rule)]);
        counter.inc();
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        named.entry(Arc::clone(policy)).or_default().insert(Arc::clone(rule), counter);
    }
}

/// As much of a name as a label takes.
fn capped(name: &str) -> &str {
    name.get(..name.floor_char_boundary(LABEL_CAP)).unwrap_or(name)
}
