//! Policy files as they stand on disk, and the units that are made of them (`policy.md` §10).
//!
//! Each document is a unit, known by its scope, a secret by its group and name. What becomes of a unit when files change:
//!
//! | the files now | the unit |
//! |---|---|
//! | hold a good version | takes effect at once |
//! | hold a broken version, or do not parse | keeps its last good version; a problem |
//! | hold it no longer, vanished, turned empty or cannot be read | keeps its last good version; a problem |
//! | hold it twice | keeps its last good version; a problem |
//! | say `metadata: {removed: true}` | is removed |
//! | whatever they hold, and the process configuration does not list its sandbox | is removed; a problem if they hold it |

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::hash::BuildHasher;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::identity::Registry;
use crate::policy::category::CategoryLists;
use crate::policy::{Compiled, Draft, Guards, PolicySet, Roster, Scope, SecretSet, lists};
use crate::source::Problem;
use crate::source::yaml::MOST_BYTES;

pub mod categories;
mod changed;
mod held;

use changed::{Cause, Kept};
pub use changed::{Changed, Changes};
use held::{Entry, Held, Rare};

/// The endings of policy files in a directory.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The policy files of this process.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    roster: Option<Roster>,
    /// Whether the roster is another one than at the last load.
    recast: bool,
    hasher: std::collections::hash_map::RandomState,
    files: BTreeMap<PathBuf, Held>,
    /// What is in force of texts that are not on disk any more.
    kept: Kept,
    /// Whether every Allow of the last load may apply.
    lively: bool,
    /// Who is who in force.
    registry: Arc<Registry>,
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
    /// What became wider; nothing in a first load, before which nothing is known.
    pub changes: Changes,
}

impl Loaded {
    /// A load that found nothing.
    pub(super) fn nothing() -> Self {
        Self {
            policies: PolicySet::default(),
            problems: Vec::new(),
            texts: BTreeMap::new(),
            changes: Changes::default(),
        }
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
            recast: false,
            hasher: std::hash::RandomState::new(),
            files: BTreeMap::new(),
            kept: Kept::default(),
            lively: false,
            registry: Arc::default(),
            unread: Vec::new(),
            categories: CategoryLists::shipped(),
        }
    }

    /// The file or directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks documents against another list of sandboxes from the next load on.
    pub fn recast(&mut self, roster: Option<Roster>) {
        self.recast |= roster != self.roster;
        self.roster = roster;
    }

    /// Says who is who in force, until the next load.
    pub fn know(&mut self, registry: &Arc<Registry>) {
        self.registry = Arc::clone(registry);
    }

    /// Reads what is on disk, and keeps of `previous` what is not well on disk. Nothing is parsed twice that did
    /// not change, unless the list of its categories did. `None`: nothing changed since the last load.
    pub fn load(&mut self, guards: &Arc<Guards>, previous: Option<&PolicySet>) -> Option<Loaded> {
        let (texts, mut problems) = read(&self.path);
        let touched = self.take(&texts);
        let recast = std::mem::take(&mut self.recast);
        let changed = !touched.is_empty() || problems != self.unread || previous.is_none() || recast;
        self.unread.clone_from(&problems);
        let same_guards = previous.is_some_and(|set| set.guards() == guards);
        if !changed && same_guards {
            return None;
        }
        problems.extend(self.rare().flat_map(|file| file.problems.iter().cloned()));
        let (lists, problem) =
            self.categories.followed_by(&self.rare().flat_map(|file| &file.lists).collect::<Vec<_>>());
        problems.extend(problem);
        let relisted = !self.categories.is(&lists);
        self.categories = lists;
        let written = self.rare().flat_map(|file| &file.secrets);
        let before = previous.map(|set| &**set.secrets());
        let (secrets, found) = SecretSet::settle(written, self.roster.as_ref(), before);
        problems.extend(found);
        let (mut policies, found) = self.compile(&texts, guards, Arc::new(secrets), previous);
        problems.extend(found);
        problems.extend(self.keep_orphans(&mut policies, previous));
        policies = policies.counted(self.roster.as_ref());
        problems.extend(policies.conflicts(self.roster.as_ref()));
        let dead = policies.dead(self.roster.as_ref(), previous.filter(|_| self.lively && !recast));
        self.lively = dead.is_empty();
        problems.extend(dead);
        let cause = Cause { touched, recast, relisted };
        let widened = previous.map(|previous| self.changes(&policies, previous, &cause));
        self.kept.forget(&policies);
        if let Some(moved) = policies.compacted() {
            self.follow(&policies, &moved);
            self.kept.follow(&policies, &moved);
            policies = moved;
        }
        if previous.is_none() && policies.units().next().is_none() && !problems.iter().any(Problem::is_error)
        {
            let message = format!("{} holds no policy", self.path.display());
            problems.push(Problem::error(message).cure("write one; the smallest is `mode: Limited`"));
        }
        let shown: HashSet<&str> =
            problems.iter().filter_map(|problem| problem.place.as_ref()).map(|place| &*place.file).collect();
        let texts =
            texts.into_iter().filter(|(path, _)| path.to_str().is_none_or(|path| shown.contains(path)));
        let texts = texts.map(|(path, text)| (path.display().to_string(), text)).collect();
        Some(Loaded { policies, problems, texts, changes: widened.unwrap_or_default() })
    }

    /// The set of the documents of all files, in name order, each compiled unless `previous` has it.
    ///
    /// Where a unit is on disk more than once and has a version in force, that one comes first, so that none
    /// of the others takes its place.
    fn compile(
        &mut self,
        texts: &BTreeMap<PathBuf, String>,
        guards: &Arc<Guards>,
        secrets: Arc<SecretSet>,
        previous: Option<&PolicySet>,
    ) -> (PolicySet, Vec<Problem>) {
        let Self { files, categories, roster, .. } = self;
        let mut in_force = self::in_force(files, previous);
        in_force.retain(|compiled| roster.as_ref().is_none_or(|roster| lists(roster, compiled.scope())));
        for (path, file) in &mut *files {
            let digest = file.digest;
            let read = || Held::parse(path, texts.get(path).map(String::as_str).unwrap_or_default(), digest);
            file.refresh(read, |own| previous.is_some_and(|set| set.holds(own, categories)));
        }
        let mut draft = Draft::new(categories, roster.as_ref(), previous).with_secrets(secrets).under(guards);
        let mut entries: Vec<&mut Entry> = files.values_mut().flat_map(|file| &mut file.entries).collect();
        entries.retain(|entry| !entry.is_removal());
        let is =
            |entry: &Entry, compiled| entry.compiled.as_ref().is_some_and(|own| Arc::ptr_eq(own, compiled));
        for compiled in &in_force {
            if let Some(entry) = entries.iter_mut().find(|entry| is(entry, compiled)) {
                entry.put(&mut draft);
            }
            if draft.set().unit(compiled.scope()).is_none() {
                draft.reuse(compiled);
            }
        }
        // INVARIANT: what was put in first is there as it is.
        let done = |entry: &Entry, draft: &Draft<'_>| {
            let own = entry.compiled.as_ref().filter(|_| !in_force.is_empty());
            own.is_some_and(|own| draft.set().unit(own.scope()).is_some_and(|there| Arc::ptr_eq(there, own)))
        };
        for entry in entries {
            if !done(entry, &draft) {
                entry.put(&mut draft);
            }
        }
        draft.finish(Arc::clone(guards))
    }

    /// Keeps each document of `previous` in force whose unit has no good version and is not taken away; problems.
    fn keep_orphans(&self, policies: &mut PolicySet, previous: Option<&PolicySet>) -> Vec<Problem> {
        let removals = self.files.values().flat_map(|file| &file.entries).filter(|entry| entry.is_removal());
        let removed: BTreeSet<Unit<'_>> = removals.filter_map(Entry::scope).map(Unit::of).collect();
        let mut orphans: Vec<&Arc<Compiled>> = previous.into_iter().flat_map(PolicySet::units).collect();
        orphans.retain(|kept| self.roster.as_ref().is_none_or(|roster| lists(roster, kept.scope())));
        orphans.retain(|kept| {
            policies.unit(kept.scope()).is_none() && !removed.contains(&Unit::of(kept.scope()))
        });
        orphans.sort_by_key(|kept| kept.scope());
        for kept in &orphans {
            policies.keep(Arc::clone(kept));
        }
        orphans.into_iter().map(|kept| orphan(kept)).collect()
    }

    /// Takes over that the documents of one set moved to another.
    fn follow(&mut self, from: &PolicySet, to: &PolicySet) {
        for own in self
            .files
            .values_mut()
            .flat_map(|file| &mut file.entries)
            .filter_map(|entry| entry.compiled.as_mut())
        {
            let is_there = from.unit(own.scope()).is_some_and(|there| Arc::ptr_eq(there, own));
            if let Some(moved) = to.unit(own.scope()).filter(|_| is_there) {
                *own = Arc::clone(moved);
            }
        }
    }

    /// What few files hold.
    fn rare(&self) -> impl Iterator<Item = &Rare> {
        self.files.values().filter_map(|file| file.rare.as_deref())
    }

    /// Parses the files whose text changed; answers those, and those that are gone.
    fn take(&mut self, texts: &BTreeMap<PathBuf, String>) -> HashSet<PathBuf> {
        let mut touched = HashSet::new();
        // Paths are slow to compare: where the files are the same ones, none is looked up.
        if !self.files.keys().eq(texts.keys()) {
            for (path, gone) in self.files.extract_if(.., |path, _| !texts.contains_key(path)) {
                self.kept.note(&gone);
                touched.insert(path);
            }
            for (path, text) in texts {
                self.files.entry(path.clone()).or_insert_with(|| {
                    touched.insert(path.clone());
                    Held::parse(path, text, self.hasher.hash_one(text))
                });
            }
        }
        for (held, (path, text)) in self.files.values_mut().zip(texts) {
            let digest = self.hasher.hash_one(text);
            if held.digest != digest {
                self.kept.note(held);
                *held = Held::parse(path, text, digest);
                touched.insert(path.clone());
            }
        }
        touched
    }
}

/// What `previous` has in force of the units that are on disk more than once.
fn in_force(files: &BTreeMap<PathBuf, Held>, previous: Option<&PolicySet>) -> Vec<Arc<Compiled>> {
    let Some(previous) = previous else { return Vec::new() };
    let entries = files.values().flat_map(|file| &file.entries).filter(|entry| !entry.is_removal());
    let mut seen = HashSet::with_capacity(files.len());
    let twice: BTreeMap<Unit<'_>, &Scope> = entries
        .filter_map(Entry::scope)
        .map(|scope| (Unit::of(scope), scope))
        .filter(|(unit, _)| !seen.insert(*unit))
        .collect();
    twice.into_values().filter_map(|scope| previous.unit(scope).cloned()).collect()
}

/// What a document is known by. A sandbox is one unit, whatever group is named beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
fn orphan(kept: &Compiled) -> Problem {
    Problem::error(format!(
        "the policy for {} has no good version any more: `{}` stays in force as it was",
        kept.scope(),
        kept.name()
    ))
    .at(kept.place())
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
