//! Documents by what they apply to.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::compile::Compiled;
use super::mode::Scope;

/// At most one document for each scope. A sandbox has one whatever group is named beside it.
#[derive(Debug, Clone, Default)]
pub(super) struct Units {
    pub(super) global: Option<Arc<Compiled>>,
    groups: Named,
    sandboxes: Named,
}

impl Units {
    /// Nothing, with room for as many as there are in another.
    pub(super) fn like(other: &Self) -> Self {
        Self {
            global: None,
            groups: Named::with_capacity(other.groups.table.len()),
            sandboxes: Named::with_capacity(other.sandboxes.table.len()),
        }
    }

    /// The document of a group.
    pub(super) fn group(&self, group: &str) -> Option<&Arc<Compiled>> {
        self.groups.get(group)
    }

    /// The document of a sandbox.
    pub(super) fn sandbox(&self, sandbox: &str) -> Option<&Arc<Compiled>> {
        self.sandboxes.get(sandbox)
    }

    /// The document of a scope.
    pub(super) fn get(&self, scope: &Scope) -> Option<&Arc<Compiled>> {
        match scope {
            Scope::Global => self.global.as_ref(),
            Scope::Group(group) => self.group(group),
            Scope::Sandbox { sandbox, .. } => self.sandbox(sandbox),
        }
    }

    /// Puts a document in the place of the one that its scope has.
    pub(super) fn insert(&mut self, compiled: Arc<Compiled>) {
        match compiled.scope() {
            Scope::Global => self.global = Some(compiled),
            Scope::Group(_) => self.groups.insert(compiled),
            Scope::Sandbox { .. } => self.sandboxes.insert(compiled),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        usize::from(self.global.is_some()) + self.groups.table.len() + self.sandboxes.table.len()
    }

    /// All of them, Global first, the others in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.above().chain(&self.sandboxes.table)
    }

    /// Those with others below them.
    pub(super) fn above(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.global.iter().chain(&self.groups.table)
    }
}

/// Documents by name, which is written in themselves only.
#[derive(Clone, Default)]
struct Named {
    table: HashTable<Arc<Compiled>>,
    hasher: RandomState,
}

impl Named {
    /// Nothing, with room.
    fn with_capacity(capacity: usize) -> Self {
        Self { table: HashTable::with_capacity(capacity), hasher: RandomState::default() }
    }

    /// The document of this name.
    fn get(&self, name: &str) -> Option<&Arc<Compiled>> {
        self.table.find(self.hasher.hash_one(name), |known| self::name(known) == name)
    }

    /// Puts a document in the place of the one that has its name.
    fn insert(&mut self, compiled: Arc<Compiled>) {
        let Self { table, hasher } = self;
        let hash = |compiled: &Arc<Compiled>| hasher.hash_one(name(compiled));
        let own = hash(&compiled);
        match table.find_mut(own, |known| name(known) == name(&compiled)) {
            Some(known) => *known = compiled,
            None => {
                table.insert_unique(own, compiled, hash);
            }
        }
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.table.iter().map(name)).finish()
    }
}

/// The name of the group or sandbox that a document is for.
fn name(compiled: &Arc<Compiled>) -> &str {
    match compiled.scope() {
        Scope::Global => "",
        Scope::Group(group) => group,
        Scope::Sandbox { sandbox, .. } => sandbox,
    }
}
