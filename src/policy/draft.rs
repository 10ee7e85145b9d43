//! A set of documents on its way into force.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use super::category::CategoryLists;
use super::compile::Compiled;
use super::document::Document;
use super::guard::{Authority, Guards};
use super::mode::Scope;
use super::network::Networks;
use super::scope::{PolicySet, Roster};
use super::secret_set::SecretSet;
use super::together::{self, Wrong};
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
    /// What documents may refer to.
    secrets: Arc<SecretSet>,
    /// Whether documents may ask for TLS to be decrypted.
    authority: Authority,
    /// The networks that documents may delegate to.
    networks: Networks,
    /// Errors and warnings.
    problems: Vec<Problem>,
}

impl<'r> Draft<'r> {
    /// Begins a set that follows `previous` and spells categories out from `lists`. `roster` is the process
    /// configuration's list of sandboxes, if any. The secrets are those of `previous`.
    #[must_use]
    pub fn new(lists: &CategoryLists, roster: Option<&'r Roster>, previous: Option<&'r PolicySet>) -> Self {
        Self {
            set: PolicySet::after(previous, lists),
            previous,
            named: HashSet::new(),
            roster,
            groups: None,
            secrets: previous.map(|set| Arc::clone(set.secrets())).unwrap_or_default(),
            authority: Authority::default(),
            networks: Networks::default(),
            problems: Vec::new(),
        }
    }

    /// The same with these secrets.
    #[must_use]
    pub fn with_secrets(self, secrets: Arc<SecretSet>) -> Self {
        Self { secrets, ..self }
    }

    /// The same for documents that these guards are to be below.
    #[must_use]
    pub fn under(self, guards: &Guards) -> Self {
        Self { authority: guards.interception.authority, networks: guards.networks.clone(), ..self }
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
                if self.is_nobodys(&compiled.scope) || !self.has_what_it_needs(&compiled) {
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
                self.has_what_it_needs(compiled);
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
        (self.set.over(guards, self.secrets).counted(self.roster), self.problems)
    }

    /// Whether there is all that a document asks for: an authority to decrypt TLS with, secrets, its network; tells what is
    /// not.
    fn has_what_it_needs(&mut self, compiled: &Compiled) -> bool {
        let missing = if self.authority == Authority::Missing { compiled.needs_inside() } else { None };
        let missing = missing.map(|place| {
            let message = format!(
                "policy `{}` asks for TLS to be decrypted, which needs the `intercept` authority of the process configuration",
                compiled.name()
            );
            let cure = "make one with `sluicegate ca init DIR` and write `intercept: {certificate, key}`, or decide by host \
                        only, with `trafficInspection: Partial` or `None`";
            Problem::error(message).at(place).cure(cure)
        });
        let mut found = compiled.unmet(&self.secrets, self.group_of(compiled.scope()));
        let networks = together::unfit(compiled, &self.networks, self.group_of(compiled.scope()));
        found.extend(networks.map(Wrong::problem));
        found.extend(missing);
        let sound = !found.iter().any(Problem::is_error);
        self.problems.extend(found);
        sound
    }

    /// The group whose secrets a document of this scope may use.
    fn group_of<'s>(&self, scope: &'s Scope) -> Option<&'s str>
    where
        'r: 's,
    {
        match scope {
            Scope::Global => None,
            Scope::Group(group) => Some(group),
            Scope::Sandbox { group, sandbox } => match self.roster {
                Some(roster) => roster.get(sandbox)?.as_deref(),
                None => group.as_deref(),
            },
        }
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
