//! A set of documents on its way into force.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use super::category::CategoryLists;
use super::compile::Compiled;
use super::document::Document;
use super::guard::Guards;
use super::mode::Scope;
use super::scope::{PolicySet, Roster};
use crate::source::{Place, Problem};

/// Takes documents one by one, each compiled or as the set before it has it; the first of a scope counts.
///
/// What does not go together is told by [`PolicySet::conflicts`] in the end.
#[derive(Debug)]
pub struct Draft<'r> {
    set: PolicySet,
    previous: Option<&'r PolicySet>,
    /// The groups that sandboxes of the set are in.
    named: HashSet<Arc<str>>,
    roster: Option<&'r Roster>,
    /// The groups of the roster, once one was asked for.
    groups: Option<HashSet<&'r str>>,
    /// Errors and warnings.
    problems: Vec<Problem>,
}

impl<'r> Draft<'r> {
    /// Begins a set that follows `previous` and spells categories out from `lists`. `roster` is the process
    /// configuration's list of sandboxes, if any.
    #[must_use]
    pub fn new(lists: &CategoryLists, roster: Option<&'r Roster>, previous: Option<&'r PolicySet>) -> Self {
        let set = PolicySet::after(previous, lists);
        Self { set, previous, named: HashSet::new(), roster, groups: None, problems: Vec::new() }
    }

    /// Puts a document in, unless something is wrong with it.
    pub fn compile(&mut self, document: &Document) -> Option<&Arc<Compiled>> {
        if !self.has_room(&document.scope, &document.place) {
            return None;
        }
        let mut interner = self.set.interner.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = Compiled::new(document, &self.set.lists, &mut interner);
        drop(interner);
        match compiled {
            Ok(mut compiled) => {
                self.problems.extend_from_slice(compiled.warnings());
                if self.is_nobodys(&compiled.scope) {
                    return None;
                }
                self.share(&mut compiled.scope);
                self.set.keep(Arc::new(compiled));
                self.set.unit(&document.scope)
            }
            Err(found) => {
                self.problems.extend(found);
                None
            }
        }
    }

    /// Puts in what [`PolicySet::holds`] as it is.
    pub fn reuse(&mut self, compiled: &Arc<Compiled>) {
        if self.has_room(compiled.scope(), &compiled.place()) {
            self.problems.extend_from_slice(compiled.warnings());
            if !self.is_nobodys(compiled.scope()) {
                self.set.keep(Arc::clone(compiled));
            }
        }
    }

    /// The set so far.
    #[must_use]
    pub const fn set(&self) -> &PolicySet {
        &self.set
    }

    /// The set over these guards, and everything that is wrong with its documents.
    #[must_use]
    pub fn finish(self, guards: Arc<Guards>) -> (PolicySet, Vec<Problem>) {
        (self.set.over(guards), self.problems)
    }

    /// Lets the sandboxes of a group share its name, of which each document has one of its own.
    fn share(&mut self, scope: &mut Scope) {
        let before = self.previous.and_then(|set| set.unit(scope)).map(|before| before.scope());
        let Scope::Sandbox { group: Some(own), .. } = scope else { return };
        let before = match before {
            Some(Scope::Sandbox { group: Some(group), .. }) => Some(group).filter(|group| *group == own),
            Some(Scope::Sandbox { group: None, .. } | Scope::Global | Scope::Group(_)) | None => None,
        };
        if let Some(known) = self.named.get(own).or(before) {
            *own = Arc::clone(known);
        }
        self.named.insert(Arc::clone(own));
    }

    /// Whether a document can be put in; tells when it is the second, or in a place that nobody knows.
    fn has_room(&mut self, scope: &Scope, place: &Place) -> bool {
        if let Some(message) = self.misplaced(scope) {
            let cure =
                "name a sandbox or group of the process configuration: this document would never apply";
            self.problems.push(Problem::error(message).at(place.clone()).cure(cure));
        }
        let Some(first) = self.set.unit(scope) else { return true };
        let problem = Problem::error(format!("a second policy for {scope}")).at(place.clone());
        let cure = format!("keep one: `{}` at {} is the first", first.name(), first.place());
        self.problems.push(problem.cure(cure));
        false
    }

    /// Whether a scope is a sandbox that the process configuration does not list: its document goes with it.
    fn is_nobodys(&self, scope: &Scope) -> bool {
        self.roster.is_some_and(|roster| !lists(roster, scope))
    }

    /// What is wrong with a scope, when the process configuration does not know its sandbox or group.
    fn misplaced(&mut self, scope: &Scope) -> Option<String> {
        let roster = self.roster?;
        match scope {
            Scope::Global => None,
            Scope::Group(group) => {
                let groups = || roster.values().flatten().map(|group| &**group).collect();
                let known = self.groups.get_or_insert_with(groups).contains(&**group);
                (!known).then(|| format!("no configured sandbox is in group `{group}`"))
            }
            Scope::Sandbox { group, sandbox } => match (roster.get(sandbox), group) {
                (None, _) => Some(format!("the process configuration lists no sandbox `{sandbox}`")),
                (Some(known), Some(group)) if known.as_ref() != Some(group) => {
                    let known = known.as_deref().unwrap_or("no group");
                    Some(format!("sandbox `{sandbox}` is configured in {known}, not in `{group}`"))
                }
                (Some(_), _) => None,
            },
        }
    }
}

/// Whether a document of this scope has a sandbox to be in force for; any that is not of one sandbox may have.
#[must_use]
pub fn lists(roster: &Roster, scope: &Scope) -> bool {
    match scope {
        Scope::Sandbox { sandbox, .. } => roster.contains_key(sandbox),
        Scope::Global | Scope::Group(_) => true,
    }
}
