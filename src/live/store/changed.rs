//! What a load widened, by whom, and the texts that both versions came from.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Held, Store, Unit};
use crate::audit::{Actor, Digest, DocumentChange, Text};
use crate::policy::{Compiled, PolicySet, Scope, Widening};

/// The most documents of one load that are told one by one.
const MOST: usize = 100;

/// The documents that a load widened.
#[derive(Debug, Default)]
pub struct Changes {
    /// The first of them, by scope.
    pub documents: Vec<Changed>,
    /// How many there are besides.
    pub unrecorded: usize,
}

/// A document that a load widened.
#[derive(Debug)]
pub struct Changed {
    /// Its name.
    pub policy: Arc<str>,
    /// Whom it applies to.
    pub scope: Scope,
    /// By whom, from what to what, and how.
    pub change: DocumentChange,
}

/// Documents whose text is not on disk any more, with its digest; each by where it lies in memory.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<usize, (Arc<Compiled>, Digest)>);

impl Kept {
    /// Keeps in mind what the documents of a file were compiled from that is read anew or gone.
    pub(super) fn note(&mut self, file: &Held) {
        for own in file.entries.iter().filter_map(|entry| entry.compiled.as_ref()) {
            self.0.insert(key(own), (Arc::clone(own), file.sha256));
        }
    }

    /// Forgets what is not in force.
    pub(super) fn forget(&mut self, policies: &PolicySet) {
        self.0.retain(|_, (own, _)| policies.unit(own.scope()).is_some_and(|there| Arc::ptr_eq(there, own)));
    }

    /// Takes over that the documents of one set moved to another.
    pub(super) fn follow(&mut self, from: &PolicySet, to: &PolicySet) {
        self.forget(from);
        let moved = std::mem::take(&mut self.0).into_values();
        let moved = moved.filter_map(|(own, digest)| Some((Arc::clone(to.unit(own.scope())?), digest)));
        self.0 = moved.map(|(own, digest)| (key(&own), (own, digest))).collect();
    }
}

/// Where a document lies in memory; whoever keeps that keeps the document.
fn key(compiled: &Arc<Compiled>) -> usize {
    Arc::as_ptr(compiled).addr()
}

/// What led to a load.
pub(super) struct Cause {
    /// The files that are new, gone or have another text.
    pub(super) touched: HashSet<PathBuf>,
    /// The list of sandboxes is another one.
    pub(super) recast: bool,
    /// The list of categories is another one.
    pub(super) relisted: bool,
}

impl Store {
    /// What is wider in `policies` than in `previous`.
    pub(super) fn changes(&self, policies: &PolicySet, previous: &PolicySet, cause: &Cause) -> Changes {
        let required = |sandbox: &str| self.registry.get(sandbox).is_some_and(|known| known.require_policy);
        let mut all = policies.widened_since(previous, self.roster.as_ref(), required);
        let unrecorded = all.len().saturating_sub(MOST);
        all.truncate(MOST);
        let documents = all.into_iter().filter_map(|widening| {
            let document = widening.document()?;
            let (policy, scope) = (Arc::clone(document.name()), document.scope().clone());
            Some(Changed { policy, scope, change: self.change(&widening, cause) })
        });
        Changes { documents: documents.collect(), unrecorded }
    }

    /// One change, as it is recorded.
    fn change(&self, widening: &Widening, cause: &Cause) -> DocumentChange {
        let digest = |document: Option<&Arc<Compiled>>| self.digest_of(document?);
        DocumentChange {
            actor: self.actor(widening, cause),
            before: digest(widening.before.as_ref()),
            after: digest(widening.after.as_ref()),
            widened: widening.widened.iter().map(|sentence| Text::new(sentence)).collect(),
        }
    }

    /// The digest of the text that a document was compiled from.
    fn digest_of(&self, document: &Arc<Compiled>) -> Option<Digest> {
        if let Some((_, digest)) = self.kept.0.get(&key(document)) {
            return Some(*digest);
        }
        // A file that was not read anew: also where its documents were compiled once more.
        self.files.get(Path::new(&*document.place().file)).map(|file| file.sha256)
    }

    /// Who made a change.
    fn actor(&self, widening: &Widening, cause: &Cause) -> Actor {
        let file = |name: &str| Actor::File { name: Text::new(name) };
        let Some(after) = &widening.after else {
            let removal = widening.before.as_ref().and_then(|gone| self.removal_of(gone.scope()));
            return removal.map_or(Actor::Configuration, |path| file(&path.display().to_string()));
        };
        let own = after.place().file;
        if cause.touched.contains(Path::new(&*own)) {
            file(&own)
        } else if cause.relisted && after.names_categories() {
            file(&self.categories.list().place.file)
        } else if cause.recast {
            Actor::Configuration
        } else {
            // Something that it refers to, or another document in its place, was mended or taken away.
            let other = cause.touched.iter().min().map(|path| path.display().to_string());
            other.map_or_else(|| file(&own), |other| file(&other))
        }
    }

    /// The file that says that the document of a scope is removed.
    fn removal_of(&self, scope: &Scope) -> Option<&PathBuf> {
        let removes = |file: &Held| {
            let removals = file.entries.iter().filter(|entry| entry.is_removal());
            removals.filter_map(|entry| entry.scope()).any(|own| Unit::of(own) == Unit::of(scope))
        };
        self.files.iter().find(|(_, file)| removes(file)).map(|(path, _)| path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
