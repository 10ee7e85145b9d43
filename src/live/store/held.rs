//! What a file of policies held when it was last read.

use std::path::Path;
use std::sync::Arc;

use crate::audit::Digest;
use crate::policy::category::CategoryList;
use crate::policy::document::{self, Document, Parsed, Secret};
use crate::policy::{Compiled, Draft, Scope};
use crate::source::Problem;

/// What one file held when it was last read.
#[derive(Debug)]
pub(super) struct Held {
    /// A hash of its text, keyed for this process.
    pub(super) digest: u64,
    /// The digest of its text that everybody can make.
    pub(super) sha256: Digest,
    pub(super) entries: Box<[Entry]>,
    /// What few files hold.
    pub(super) rare: Option<Box<Rare>>,
}

/// What few files hold.
#[derive(Debug)]
pub(super) struct Rare {
    pub(super) secrets: Vec<Arc<Secret>>,
    pub(super) lists: Vec<CategoryList>,
    pub(super) problems: Vec<Problem>,
}

/// A document of a file.
#[derive(Debug)]
pub(super) struct Entry {
    /// As it was parsed, where it is not compiled, or is to be compiled again.
    pub(super) parsed: Option<Box<Document>>,
    /// What it was compiled to.
    pub(super) compiled: Option<Arc<Compiled>>,
}

impl Held {
    /// Parses a file.
    pub(super) fn parse(path: &Path, text: &str, digest: u64) -> Self {
        let parsed = document::parse(&Arc::from(path.display().to_string()), text);
        let Parsed { documents, secrets, lists, problems, failed: _ } = parsed;
        let entry = |document| Entry { parsed: Some(Box::new(document)), compiled: None };
        let is_plain = secrets.is_empty() && lists.is_empty() && problems.is_empty();
        Self {
            digest,
            sha256: Digest::of(text),
            entries: documents.into_iter().map(entry).collect(),
            rare: (!is_plain).then(|| {
                let secrets = secrets.into_iter().map(Arc::new).collect();
                Box::new(Rare { secrets, lists, problems })
            }),
        }
    }

    /// Parses the documents again that `is_current` does not say of that what they were compiled to can stay.
    pub(super) fn refresh(
        &mut self,
        read: impl FnOnce() -> Self,
        is_current: impl Fn(&Arc<Compiled>) -> bool,
    ) {
        let is_stale = |entry: &Entry| entry.compiled.as_ref().is_some_and(|compiled| !is_current(compiled));
        if !self.entries.iter().any(|entry| entry.parsed.is_none() && is_stale(entry)) {
            return;
        }
        for (entry, again) in self.entries.iter_mut().zip(read().entries) {
            if is_stale(entry) {
                entry.parsed = again.parsed;
            }
        }
    }
}

impl Entry {
    /// Whom it applies to.
    pub(super) fn scope(&self) -> Option<&Scope> {
        let parsed = self.parsed.as_ref().map(|document| &document.scope);
        parsed.or_else(|| self.compiled.as_ref().map(|compiled| compiled.scope()))
    }

    /// Whether it takes the policy of its scope away.
    pub(super) fn is_removal(&self) -> bool {
        self.parsed.as_ref().is_some_and(|document| document.removed)
    }

    /// Puts it in a set; what it is compiled to takes its place.
    pub(super) fn put(&mut self, draft: &mut Draft<'_>) {
        if let Some(document) = &self.parsed {
            if let Some(compiled) = draft.compile(document) {
                *self = Self { parsed: None, compiled: Some(Arc::clone(compiled)) };
            }
        } else if let Some(compiled) = &self.compiled {
            draft.reuse(compiled);
        }
    }
}
