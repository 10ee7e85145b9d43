//! Policy files as they stand on disk, and the units that are made of them (`policy.md` §10).
//!
//! Each document is a unit, known by its scope. What becomes of a unit when files change:
//!
//! | the files now | the unit |
//! |---|---|
//! | hold a good version | takes effect at once |
//! | hold a broken version, or do not parse | keeps its last good version; a problem |
//! | hold it no longer, vanished, turned empty or cannot be read | keeps its last good version; a problem |
//! | hold it twice | keeps its last good version; a problem |
//! | say `metadata: {removed: true}` | is removed |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::BuildHasher;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::policy::category::{CategoryList, CategoryLists};
use crate::policy::document::{self, Document, Secret};
use crate::policy::{Guards, PolicySet, Roster, Scope};
use crate::source::Problem;
use crate::source::yaml::MOST_BYTES;

/// The endings of policy files in a directory.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// What one file held when it was last read.
#[derive(Debug)]
struct Held {
    /// A hash of its text, keyed for this process.
    digest: u64,
    documents: Vec<Arc<Document>>,
    secrets: Vec<Secret>,
    lists: Vec<CategoryList>,
    problems: Vec<Problem>,
}

/// The policy files of this process.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    roster: Option<Roster>,
    hasher: std::collections::hash_map::RandomState,
    files: BTreeMap<PathBuf, Held>,
    /// What could not be read when it was last tried.
    unread: Vec<Problem>,
    /// The list of categories in force.
    categories: CategoryLists,
}

/// A load: what is in force by it, and everything that is wrong.
#[derive(Debug)]
pub struct Loaded {
    /// The documents in force.
    pub policies: PolicySet,
    /// Errors and warnings.
    pub problems: Vec<Problem>,
    /// The text of each file with a problem, to show the line.
    pub texts: BTreeMap<String, String>,
}

impl Loaded {
    /// A load that found nothing.
    pub(super) fn nothing() -> Self {
        Self { policies: PolicySet::default(), problems: Vec::new(), texts: BTreeMap::new() }
    }

    /// Whether anything was refused.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

impl Store {
    /// A store over a file or a directory; `roster` is the process configuration's list of sandboxes, if any.
    #[must_use]
    pub fn new(path: PathBuf, roster: Option<Roster>) -> Self {
        Self {
            path,
            roster,
            hasher: std::hash::RandomState::new(),
            files: BTreeMap::new(),
            unread: Vec::new(),
            categories: CategoryLists::shipped(),
        }
    }

    /// The file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is on disk, and keeps of `previous` what is not well on disk. Nothing is read twice that did
    /// not change. `None`: nothing changed since the last load.
    pub fn load(&mut self, guards: &Arc<Guards>, previous: Option<&PolicySet>) -> Option<Loaded> {
        let (texts, mut problems) = read(&self.path);
        let changed = self.take(&texts) || problems != self.unread || previous.is_none();
        self.unread.clone_from(&problems);
        let same_guards = previous.is_some_and(|set| set.guards() == guards);
        if !changed && same_guards {
            return None;
        }
        problems.extend(self.files.values().flat_map(|file| file.problems.iter().cloned()));
        let lists: Vec<&CategoryList> = self.files.values().flat_map(|file| &file.lists).collect();
        let (lists, problem) = self.categories.followed_by(&lists);
        problems.extend(problem);
        self.categories = lists.clone();
        let (current, removed) = self.units(previous);
        let (mut policies, found) =
            PolicySet::compile(&current, &lists, Arc::clone(guards), self.roster.as_ref(), previous);
        problems.extend(found);
        for kept in previous.into_iter().flat_map(PolicySet::documents) {
            if policies.unit(kept.scope()).is_none() && !removed.contains(&Unit::of(kept.scope())) {
                problems.push(orphan(kept.source(), kept.scope()));
                policies.keep(Arc::clone(kept));
            }
        }
        problems.extend(policies.conflicts(self.roster.as_ref()));
        let policies = policies.compacted().unwrap_or(policies);
        if previous.is_none() && policies.documents().is_empty() && !problems.iter().any(Problem::is_error) {
            let message = format!("{} holds no policy", self.path.display());
            problems.push(Problem::error(message).cure("write one; the smallest is `mode: Limited`"));
        }
        let shown = |path: &str| {
            problems.iter().filter_map(|problem| problem.place.as_ref()).any(|place| *place.file == *path)
        };
        let texts = texts.into_iter().map(|(path, text)| (path.display().to_string(), text));
        let texts = texts.filter(|(path, _)| shown(path)).collect();
        Some(Loaded { policies, problems, texts })
    }

    /// The documents to put in force, in name order of their files, and the units to take away.
    ///
    /// Where a unit is on disk more than once and has a version in force, that one comes first, so that none
    /// of the others takes its place.
    fn units<'a>(&'a self, previous: Option<&'a PolicySet>) -> (Vec<Arc<Document>>, BTreeSet<Unit<'a>>) {
        let all = || self.files.values().flat_map(|file| &file.documents);
        let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
        for document in all().filter(|document| !document.removed) {
            let unit = Unit::of(&document.scope);
            if !seen.insert(unit) {
                twice.insert(unit);
            }
        }
        let kept = previous.into_iter().flat_map(PolicySet::documents).map(|kept| kept.source());
        let kept: Vec<_> = kept.filter(|kept| twice.contains(&Unit::of(&kept.scope))).collect();
        let others = all().filter(|document| !document.removed);
        let others = others.filter(|document| !kept.iter().any(|kept| Arc::ptr_eq(kept, document)));
        let current = kept.iter().copied().chain(others).map(Arc::clone).collect();
        let removed = all().filter(|document| document.removed);
        (current, removed.map(|document| Unit::of(&document.scope)).collect())
    }

    /// Every secret document of the files.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.files.values().flat_map(|file| &file.secrets)
    }

    /// Parses the files whose text changed; answers whether anything did.
    fn take(&mut self, texts: &BTreeMap<PathBuf, String>) -> bool {
        let before = self.files.len();
        self.files.retain(|path, _| texts.contains_key(path));
        let mut changed = self.files.len() != before;
        for (path, text) in texts {
            let digest = self.hasher.hash_one(text);
            if self.files.get(path).is_some_and(|held| held.digest == digest) {
                continue;
            }
            changed = true;
            let parsed = document::parse(&Arc::from(path.display().to_string()), text);
            let documents = parsed.documents.into_iter().map(Arc::new).collect();
            let held = Held {
                digest,
                documents,
                secrets: parsed.secrets,
                lists: parsed.lists,
                problems: parsed.problems,
            };
            self.files.insert(path.clone(), held);
        }
        changed
    }
}

/// What a document is known by. A sandbox is one unit, whatever group is named beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit<'a> {
    Global,
    Group(&'a str),
    Sandbox(&'a str),
}

impl<'a> Unit<'a> {
    /// The unit of a scope.
    fn of(scope: &'a Scope) -> Self {
        match scope {
            Scope::Global => Self::Global,
            Scope::Group(group) => Self::Group(group),
            Scope::Sandbox { sandbox, .. } => Self::Sandbox(sandbox),
        }
    }
}

/// The problem of a unit that is in force and no longer (well) on disk.
fn orphan(document: &Document, scope: &Scope) -> Problem {
    Problem::error(format!(
        "the policy for {scope} has no good version any more: `{}` stays in force as it was",
        document.name
    ))
    .at(document.place.clone())
    .cure("mend or restore it; to take it away, write `metadata: {removed: true}` in it")
}

/// The text of every policy file under `path`, in name order, and what could not be read.
fn read(path: &Path) -> (BTreeMap<PathBuf, String>, Vec<Problem>) {
    let (mut texts, mut problems) = (BTreeMap::new(), Vec::new());
    let files = match files(path) {
        Ok(files) => files,
        Err(error) => return (texts, vec![unreadable(path, &error)]),
    };
    for file in files {
        match text(&file, file != *path) {
            Ok(text) => {
                texts.insert(file, text);
            }
            Err(error) => problems.push(unreadable(&file, &error)),
        }
    }
    (texts, problems)
}

/// The text of a file; one that was found in a directory must be a regular one.
fn text(file: &Path, found: bool) -> io::Result<String> {
    let there = fs::metadata(file)?;
    // A named pipe would hold up every later load until somebody writes to it.
    if found && !there.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if there.len() > MOST_BYTES as u64 {
        return Err(io::Error::other(format!("it is larger than {} MiB", MOST_BYTES >> 20)));
    }
    let mut text = String::new();
    // It may grow, or say nothing of its size; a byte more than there may be is refused by the parser.
    fs::File::open(file)?.take(MOST_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The policy files that `path` stands for.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        let fits = file
            .extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| ENDINGS.contains(&ending));
        // As for `*.yaml` in a shell: editors keep locks and drafts under such names.
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // A mounted ConfigMap holds links to files; what leads nowhere is read, and reported, as a file.
        if fits && !hidden && !file.is_dir() {
            files.push(file);
        }
    }
    Ok(files)
}

/// The problem of a file or directory that cannot be read.
fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::error(format!("cannot read {}: {error}", path.display()))
        .cure("check the path and its permissions")
}

#[cfg(test)]
mod tests;
