//! The documents in force: all of them, and the few that apply to one sandbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::category::CategoryLists;
use super::compile::Compiled;
use super::decision::Denial;
use super::document::Document;
use super::draft::Draft;
use super::guard::Guards;
use super::mode::{Inspection, Scope};
use super::pattern_pool::{Interner, PatternPool};
use super::reason::Reason;
use super::secret_set::SecretSet;
use super::together;
use super::units::Units;
use crate::source::Problem;

/// The sandboxes that the process configuration lists, each with its group.
pub type Roster = BTreeMap<Arc<str>, Option<Arc<str>>>;

/// The documents that apply to one sandbox, in order, with the guards below them.
#[derive(Debug, Clone)]
pub struct Policy {
    documents: [Option<Arc<Compiled>>; 3],
    ground: Arc<Ground>,
    /// The sandbox's group, where it has secrets of its own.
    group: Option<Arc<str>>,
    fault: Option<Denial>,
    /// How many leading places of the order are not asked (`skipEgressProxy`).
    skipped: usize,
    /// The place of the highest document, or of the lowest that skips.
    highest: usize,
    /// Whether some document delegates.
    delegates: bool,
}

/// What all documents stand on.
#[derive(Debug, Default)]
struct Ground {
    guards: Arc<Guards>,
    /// The host patterns of every document.
    pool: PatternPool,
    secrets: Arc<SecretSet>,
}

impl Policy {
    /// The documents, Global first.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.documents.iter().flatten()
    }

    /// The document at a place of the order; there are three places.
    pub(super) fn document(&self, place: usize) -> Option<&Arc<Compiled>> {
        self.documents.get(place)?.as_ref()
    }

    /// The places of the order, Global first, each with its document if that is asked: those below the lowest one that skips
    /// the rules are.
    pub(super) fn places(&self) -> impl Iterator<Item = Option<&Arc<Compiled>>> {
        let asked = self.documents.iter().zip(0..);
        asked.map(|(document, place)| document.as_ref().filter(|_| place >= self.skipped))
    }

    /// The documents that are asked, each with its place in the order.
    pub(super) fn placed(&self) -> impl Iterator<Item = (usize, &Arc<Compiled>)> {
        self.places().enumerate().filter_map(|(place, document)| Some((place, document?)))
    }

    /// The documents that are asked, Global first.
    pub(super) fn asked(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.places().flatten()
    }

    /// Whether some document delegates, so that there is more than one path.
    pub(super) const fn has_paths(&self) -> bool {
        self.delegates
    }

    /// The document because of which it and those above it are not asked: the lowest that skips the rules.
    #[must_use]
    pub fn skipping(&self) -> Option<&Arc<Compiled>> {
        self.document(self.skipped.checked_sub(1)?)
    }

    /// Whether some document that applies is not asked, so that what is allowed counts as skipped.
    pub(super) const fn is_skipped(&self) -> bool {
        self.skipped > 0
    }

    /// Whether none at all is asked, as one skips the rules and none is below it.
    pub(super) fn asks_none(&self) -> bool {
        self.is_skipped() && self.asked().next().is_none()
    }

    /// The secrets that documents refer to.
    pub(super) fn secrets(&self) -> &SecretSet {
        &self.ground.secrets
    }

    /// The sandbox's group, where it has secrets of its own.
    pub(super) fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// The strongest inspection that any document asks for, of those that are asked.
    #[must_use]
    pub fn inspection(&self) -> Inspection {
        let weakest = if self.asks_none() { Inspection::None } else { Inspection::default() };
        self.asked().map(|document| document.inspection).max().unwrap_or(weakest)
    }

    /// The guards below the documents.
    pub(super) fn guards(&self) -> &Guards {
        &self.ground.guards
    }

    /// The host patterns of every document.
    pub(super) fn pool(&self) -> &PatternPool {
        &self.ground.pool
    }

    /// Whether there are documents and they can be evaluated together; the highest of them, or the lowest that skips.
    #[inline]
    pub(super) fn check(&self) -> Result<&Arc<Compiled>, Denial> {
        match self.document(self.highest) {
            Some(highest) if self.fault.is_none() => Ok(highest),
            Some(_) | None => Err(self.unasked()),
        }
    }

    /// Why nothing can be asked.
    #[cold]
    fn unasked(&self) -> Denial {
        let none = || Denial::new(Reason::NoPolicy, "no policy document applies to this sandbox");
        self.fault.clone().unwrap_or_else(none)
    }
}

/// Every document in force, compiled, and the guards.
#[derive(Debug, Default)]
pub struct PolicySet {
    units: Units,
    ground: Arc<Ground>,
    /// What stores the patterns of this set and of those that follow it.
    pub(super) interner: Arc<Mutex<Interner>>,
    /// What the categories of these documents were spelled out from.
    pub(super) lists: CategoryLists,
    /// How many documents in force say that rules are not asked.
    skipping: usize,
}

impl PolicySet {
    /// Compiles `documents` to a set that follows `previous`, as a [`Draft`] of nothing but new documents.
    ///
    /// The set holds every document that compiled, the first of each scope; problems, errors and warnings,
    /// come beside it. What does not go together is told by [`Self::conflicts`].
    #[must_use]
    pub fn compile(
        documents: &[Arc<Document>],
        lists: &CategoryLists,
        guards: Arc<Guards>,
        roster: Option<&Roster>,
        previous: Option<&Self>,
    ) -> (Self, Vec<Problem>) {
        let mut draft = Draft::new(lists, roster, previous).under(&guards);
        for document in documents {
            draft.compile(document);
        }
        draft.finish(guards)
    }

    /// An empty set that shares the pool of `previous`.
    pub(super) fn after(previous: Option<&Self>, lists: &CategoryLists) -> Self {
        Self {
            units: previous.map(|set| Units::like(&set.units)).unwrap_or_default(),
            interner: previous.map(|set| Arc::clone(&set.interner)).unwrap_or_default(),
            lists: lists.clone(),
            ground: Arc::default(),
            skipping: 0,
        }
    }

    /// The same documents over these guards, these secrets and all that was stored for them.
    pub(super) fn over(self, guards: Arc<Guards>, secrets: Arc<SecretSet>) -> Self {
        let pool = self.interner.lock().unwrap_or_else(PoisonError::into_inner).pool();
        Self { ground: Arc::new(Ground { guards, pool, secrets }), ..self }
    }

    /// The same documents with a pool of their own, if most of the pool holds patterns that none of them has.
    #[must_use]
    pub fn compacted(&self) -> Option<Self> {
        if !self.interner.lock().unwrap_or_else(PoisonError::into_inner).is_due() {
            return None;
        }
        let pool = &self.ground.pool;
        let used = || self.units().flat_map(|unit| unit.patterns());
        if !pool.is_wasteful(used()) {
            return None;
        }
        let mut interner = Interner::default();
        let mut moved = |unit: &Arc<Compiled>| unit.moved(pool, &mut interner).map(Arc::new);
        let mut set = Self { lists: self.lists.clone(), skipping: self.skipping, ..Self::default() };
        for unit in self.units() {
            set.keep(moved(unit)?);
        }
        let ground = Ground {
            guards: Arc::clone(&self.ground.guards),
            pool: interner.pool(),
            secrets: Arc::clone(&self.ground.secrets),
        };
        Some(Self { ground: Arc::new(ground), interner: Arc::new(Mutex::new(interner)), ..set })
    }

    /// The same documents over other guards, as when an interface of this host got another address.
    #[must_use]
    pub fn with_guards(&self, guards: Arc<Guards>) -> Self {
        Self {
            units: self.units.clone(),
            ground: Arc::new(Ground {
                guards,
                pool: self.ground.pool.clone(),
                secrets: Arc::clone(&self.ground.secrets),
            }),
            interner: Arc::clone(&self.interner),
            lists: self.lists.clone(),
            skipping: self.skipping,
        }
    }

    /// The policy of one sandbox; `require_own` denies it while it has no document of its own.
    #[must_use]
    pub fn policy_for(&self, sandbox: &str, group: Option<&str>, require_own: bool) -> Policy {
        let own = self.units.sandbox(sandbox).cloned();
        let missing = (require_own && own.is_none()).then(|| {
            Denial::new(Reason::NoPolicy, "this sandbox must have a document of its own and has none")
        });
        let above = group.and_then(|group| self.units.group(group).cloned());
        let documents = [self.units.global.clone(), above, own];
        let guards = &self.ground.guards;
        let wrong = || together::fault(&documents, guards, group);
        let fault = missing.or_else(wrong).or_else(|| self.foreign(&documents));
        let skipped = together::skipped(&documents);
        let first = || documents.iter().position(Option::is_some).unwrap_or_default();
        let highest = skipped.checked_sub(1).unwrap_or_else(first);
        let delegates = documents.iter().flatten().any(|document| document.delegation().is_some());
        let group = group.and_then(|group| self.ground.secrets.group(group).cloned());
        Policy { documents, ground: Arc::clone(&self.ground), group, fault, skipped, highest, delegates }
    }

    /// Why these documents cannot be asked: one of them refers to patterns of another pool.
    ///
    /// SECURITY: no set is put together like that. If one were, its references would mean other hosts.
    fn foreign(&self, documents: &[Option<Arc<Compiled>>; 3]) -> Option<Denial> {
        let lineage = self.ground.pool.lineage();
        let foreign = documents.iter().flatten().any(|document| document.lineage() != lineage);
        foreign
            .then(|| Denial::new(Reason::PolicyError, "a document was compiled for another set of documents"))
    }

    /// The group that the document of `sandbox` names, for questions asked without a process configuration.
    #[must_use]
    pub fn group_of(&self, sandbox: &str) -> Option<Arc<str>> {
        match &self.units.sandbox(sandbox)?.scope {
            Scope::Sandbox { group, .. } => group.clone(),
            Scope::Global | Scope::Group(_) => None,
        }
    }

    /// Every document, in the order Global, groups and sandboxes by name.
    #[must_use]
    pub fn documents(&self) -> Vec<&Arc<Compiled>> {
        let mut all: Vec<_> = self.units().collect();
        all.sort_by(|left, right| left.scope.cmp(&right.scope));
        all
    }

    /// Every document, in no order.
    pub fn units(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.units.iter()
    }

    /// How many rules are in force.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.units().map(|unit| unit.rule_count()).sum()
    }

    /// The guards below every document.
    #[must_use]
    pub fn guards(&self) -> &Arc<Guards> {
        &self.ground.guards
    }

    /// The host patterns of every document.
    pub(super) fn pool(&self) -> &PatternPool {
        &self.ground.pool
    }

    /// The secrets in force.
    #[must_use]
    pub fn secrets(&self) -> &Arc<SecretSet> {
        &self.ground.secrets
    }

    /// The document of a scope; a sandbox has one whatever group is named beside it.
    #[must_use]
    pub fn unit(&self, scope: &Scope) -> Option<&Arc<Compiled>> {
        self.units.get(scope)
    }

    /// Whether this very document is in force, and what it says does not depend on other lists than `lists`.
    #[must_use]
    pub fn holds(&self, compiled: &Arc<Compiled>, lists: &CategoryLists) -> bool {
        self.unit(compiled.scope()).is_some_and(|own| Arc::ptr_eq(own, compiled))
            && (self.lists.is(lists) || !compiled.names_categories())
    }

    /// Keeps a document in force that has no newer version.
    pub fn keep(&mut self, compiled: Arc<Compiled>) {
        self.units.insert(compiled);
    }

    /// Whether both hold the very same documents over equal guards and secrets.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.guards() == other.guards()
            && self.secrets() == other.secrets()
            && self.units.len() == other.units.len()
            && self.units().all(|unit| other.has(unit))
    }

    /// Whether this very document is one of the set.
    pub(super) fn has(&self, compiled: &Arc<Compiled>) -> bool {
        self.unit(&compiled.scope).is_some_and(|own| Arc::ptr_eq(own, compiled))
    }

    /// Whether both have the very same documents with others below them.
    pub(super) fn has_higher_of(&self, other: &Self) -> bool {
        self.units.above().all(|unit| other.has(unit)) && other.units.above().all(|unit| self.has(unit))
    }

    /// Every document in force that a higher one does not permit, so that its sandboxes are denied everything.
    ///
    /// Asked once the set is whole: a document that was kept can be on either side. Where there is a roster, a
    /// sandbox is in the group that it says, as for a call; else in the one that its document names.
    #[must_use]
    pub fn conflicts(&self, roster: Option<&Roster>) -> Vec<Problem> {
        if !self.may_bar() {
            return Vec::new();
        }
        let mut found: Vec<_> =
            self.units().filter_map(|lower| Some((&lower.scope, self.barrier(lower, roster)?))).collect();
        found.sort_by_key(|(scope, _)| *scope);
        found.into_iter().map(|(_, problem)| problem).collect()
    }

    /// Whether some document may be in force for nobody.
    pub(super) fn may_bar(&self) -> bool {
        let networks = &self.guards().networks;
        self.units.above().any(|above| together::binds(above, networks))
            || self.units().any(|unit| together::can_be_bound(unit, networks))
    }

    /// Why a document is in force for nobody: a higher one, or the process configuration, does not permit it.
    pub(super) fn barrier(&self, lower: &Compiled, roster: Option<&Roster>) -> Option<Problem> {
        together::conflict(self.above(lower.scope(), roster), lower, self.guards())
    }

    /// How many documents in force say that rules are not asked.
    #[must_use]
    pub const fn skipping(&self) -> usize {
        self.skipping
    }

    /// The same set, which knows how many of its documents skip and are permitted to. Asked once the set is whole.
    #[must_use]
    pub fn counted(self, roster: Option<&Roster>) -> Self {
        let permitted = |unit: &&Arc<Compiled>| unit.skips() && self.barrier(unit, roster).is_none();
        Self { skipping: self.units().filter(permitted).count(), ..self }
    }

    /// The documents above a scope, Global first. Where there is a roster, a sandbox is in the group that it says.
    pub(super) fn above<'s>(
        &'s self,
        scope: &'s Scope,
        roster: Option<&'s Roster>,
    ) -> impl Iterator<Item = &'s Arc<Compiled>> {
        let group = match (scope, roster) {
            (Scope::Global | Scope::Group(_), _) => None,
            (Scope::Sandbox { sandbox, .. }, Some(roster)) => roster.get(sandbox).and_then(Option::as_ref),
            (Scope::Sandbox { group, .. }, None) => group.as_ref(),
        };
        let group = group.and_then(|group| self.units.group(group));
        let global = self.units.global.as_ref().filter(|_| *scope != Scope::Global);
        global.into_iter().chain(group)
    }
}
