//! What a load widened, by whom, and the texts that both versions came from.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Held, Store, Unit};
use crate::audit::{Actor, Digest, DocumentChange, Text};
use crate::policy::document::Secret;
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

/// Documents and secrets whose text is not on disk any more, with its digest.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Each by where it lies in memory.
    documents: HashMap<usize, (Arc<Compiled>, Digest)>,
    /// Each by its group and name. There are several where several files have it.
    secrets: HashMap<SecretKey, Vec<(Arc<Secret>, Digest)>>,
}

/// What a secret is known by: its group and name.
type SecretKey = (Option<Arc<str>>, Arc<str>);

impl Kept {
    /// Keeps in mind what the documents of a file were compiled from that is read anew or gone.
    pub(super) fn note(&mut self, file: &Held) {
        for own in file.entries.iter().filter_map(|entry| entry.compiled.as_ref()) {
            self.documents.insert(key(own), (Arc::clone(own), file.sha256));
        }
        for own in file.rare.iter().flat_map(|rare| &rare.secrets) {
            let known = self.secrets.entry((own.group.clone(), Arc::clone(&own.name))).or_default();
            known.retain(|(known, _)| known != own);
            known.push((Arc::clone(own), file.sha256));
        }
    }

    /// Forgets what is not in force.
    pub(super) fn forget(&mut self, policies: &PolicySet) {
        self.documents
            .retain(|_, (own, _)| policies.unit(own.scope()).is_some_and(|there| Arc::ptr_eq(there, own)));
        self.secrets.retain(|(group, name), known| {
            let there = policies.secrets().of(group.as_deref(), name);
            known.retain(|(own, _)| there.is_some_and(|there| there == own));
            !known.is_empty()
        });
    }

    /// Takes over that the documents of one set moved to another.
    pub(super) fn follow(&mut self, from: &PolicySet, to: &PolicySet) {
        self.forget(from);
        let moved = std::mem::take(&mut self.documents).into_values();
        let moved = moved.filter_map(|(own, digest)| Some((Arc::clone(to.unit(own.scope())?), digest)));
        self.documents = moved.map(|(own, digest)| (key(&own), (own, digest))).collect();
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

impl Cause {
    /// The first of the files.
    fn first(&self) -> Option<String> {
        self.touched.iter().min().map(|path| path.display().to_string())
    }
}

impl Store {
    /// What is wider in `policies` than in `previous`.
    pub(super) fn changes(&self, policies: &PolicySet, previous: &PolicySet, cause: &Cause) -> Changes {
        let required = |sandbox: &str| self.registry.get(sandbox).is_some_and(|known| known.require_policy);
        let documents = policies.widened_since(previous, self.roster.as_ref(), required);
        let secrets = policies.secrets().widened_since(previous.secrets());
        let of_document = |widening: &Widening| {
            let document = widening.document()?;
            let (policy, scope) = (Arc::clone(document.name()), document.scope().clone());
            Some(Changed { policy, scope, change: self.change(widening, cause) })
        };
        let of_secret = |widening: &Widening<Secret>| {
            let secret = widening.document()?;
            let scope = secret.group.clone().map_or(Scope::Global, Scope::Group);
            let change = self.change_of_secret(widening, cause);
            Some(Changed { policy: Arc::clone(&secret.name), scope, change })
        };
        let unrecorded = (documents.len() + secrets.len()).saturating_sub(MOST);
        // There are few secrets, and what is said of one matters most.
        let kept = documents.iter().take(MOST.saturating_sub(secrets.len())).filter_map(of_document);
        let mut all: Vec<Changed> = kept.chain(secrets.iter().take(MOST).filter_map(of_secret)).collect();
        all.sort_by(|one, two| one.scope.cmp(&two.scope));
        Changes { documents: all, unrecorded }
    }

    /// One change of a document, as it is recorded.
    fn change(&self, widening: &Widening, cause: &Cause) -> DocumentChange {
        let digest = |document: Option<&Arc<Compiled>>| self.digest_of(document?);
        let digests = [&widening.before, &widening.after].map(|own| digest(own.as_ref()));
        recorded(self.actor(widening, cause), digests, &widening.widened)
    }

    /// One change of a secret, as it is recorded.
    fn change_of_secret(&self, widening: &Widening<Secret>, cause: &Cause) -> DocumentChange {
        let digest = |secret: Option<&Arc<Secret>>| self.digest_of_secret(secret?);
        let digests = [&widening.before, &widening.after].map(|own| digest(own.as_ref()));
        recorded(self.actor_of_secret(widening, cause), digests, &widening.widened)
    }

    /// The digest of the text that a document was compiled from.
    fn digest_of(&self, document: &Arc<Compiled>) -> Option<Digest> {
        if let Some((_, digest)) = self.kept.documents.get(&key(document)) {
            return Some(*digest);
        }
        // A file that was not read anew: also where its documents were compiled once more.
        self.files.get(Path::new(&*document.place().file)).map(|file| file.sha256)
    }

    /// The digest of the text that a secret stands in.
    fn digest_of_secret(&self, secret: &Arc<Secret>) -> Option<Digest> {
        let file = self.files.get(Path::new(&*secret.place.file));
        let mut there = file.and_then(|file| file.rare.as_ref()).into_iter().flat_map(|rare| &rare.secrets);
        if there.any(|own| own == secret) {
            return file.map(|file| file.sha256);
        }
        let known = self.kept.secrets.get(&(secret.group.clone(), Arc::clone(&secret.name)))?;
        known.iter().find(|(own, _)| own == secret).map(|(_, digest)| *digest)
    }

    /// Who made a change of a document.
    fn actor(&self, widening: &Widening, cause: &Cause) -> Actor {
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
            // Something that it refers to, or another document in its place or above it, was changed or taken away.
            file(&cause.first().unwrap_or_else(|| own.to_string()))
        }
    }

    /// Who made a change of a secret.
    fn actor_of_secret(&self, widening: &Widening<Secret>, cause: &Cause) -> Actor {
        let removal = widening.before.as_ref().and_then(|gone| self.removal_of_secret(gone));
        match &widening.after {
            None => removal.map_or(Actor::Configuration, |path| file(&path.display().to_string())),
            Some(after) if cause.touched.contains(Path::new(&*after.place.file)) => file(&after.place.file),
            // Another one in its place was taken away.
            Some(after) => file(&cause.first().unwrap_or_else(|| after.place.file.to_string())),
        }
    }

    /// The file that says that a secret is removed.
    fn removal_of_secret(&self, gone: &Secret) -> Option<&PathBuf> {
        let is = |own: &Arc<Secret>| own.removed && own.group == gone.group && own.name == gone.name;
        let removes = |file: &Held| file.rare.iter().flat_map(|rare| &rare.secrets).any(is);
        self.files.iter().find(|(_, file)| removes(file)).map(|(path, _)| path)
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

/// Whoever wrote a file.
fn file(name: &str) -> Actor {
    Actor::File { name: Text::new(name) }
}

/// A change as it is recorded, with the digests of the texts before and after.
fn recorded(actor: Actor, [before, after]: [Option<Digest>; 2], widened: &[String]) -> DocumentChange {
    DocumentChange { actor, before, after, widened: widened.iter().map(|text| Text::new(text)).collect() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
