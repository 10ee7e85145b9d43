//! The watch on files: on the directory that holds each, and on each that is a directory itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::POLL;

/// The watch on some files and directories of files.
pub(super) struct Watch {
    paths: Arc<[PathBuf]>,
    /// Told of what may be a change.
    sign: Arc<dyn Fn() + Send + Sync>,
    /// Device and inode of each watched directory; another one at the same path is watched anew.
    watched: Vec<(u64, u64)>,
    /// Where it cannot be watched, polling is all.
    watcher: Option<RecommendedWatcher>,
    /// Whether that was said.
    told: bool,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Watch {
    /// A watch on what is there.
    pub(super) fn new(paths: Vec<PathBuf>, sign: Box<dyn Fn() + Send + Sync>) -> Self {
        // Events name whole paths.
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let paths = paths.into_iter().map(whole).collect();
        let mut watch = Self { paths, sign: sign.into(), watched: Vec::new(), watcher: None, told: false };
        watch.follow();
        watch
    }

    /// Watches what is at the paths.
    pub(super) fn follow(&mut self) {
        let mut directories: Vec<_> = self.paths.iter().flat_map(|path| directories(path)).collect();
        directories.sort();
        directories.dedup();
        let there: Vec<(u64, u64)> = directories.iter().map(|(_, identity)| *identity).collect();
        let watch = |watcher: &mut RecommendedWatcher| {
            let mut all =
                directories.iter().map(|(path, _)| watcher.watch(path, RecursiveMode::NonRecursive));
            all.all(|watched| watched.is_ok())
        };
        // RACE: a directory made anew can have the number of the one that is gone, with which the watch on it went. What is
        // watched twice is watched once.
        if there == self.watched && self.watcher.as_mut().is_some_and(watch) {
            return;
        }
        let distinct = there.iter().collect::<BTreeSet<_>>().len();
        let watcher = self.watcher(distinct == there.len());
        let watcher = watcher.and_then(|mut watcher| watch(&mut watcher).then_some(watcher));
        if watcher.is_none() && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(paths = ?self.paths, every = ?POLL, "files cannot be watched: they are looked at from time to time");
        }
        (self.watcher, self.watched) = (watcher, there);
    }

    /// One that watches nothing yet. Events name a directory by one of its paths: where it has several, each is a sign.
    fn watcher(&self, named: bool) -> Option<RecommendedWatcher> {
        let (sign, paths) = (Arc::clone(&self.sign), Arc::clone(&self.paths));
        let concerns = move |event: &notify::Event| {
            // An event that is not understood may be a change.
            !named
                || event.paths.is_empty()
                || event.paths.iter().any(|changed| paths.iter().any(|path| concerns(path, changed)))
        };
        let told = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| is_change(event.kind) && concerns(&event)) {
                sign();
            }
        };
        notify::recommended_watcher(told).ok()
    }
}

/// Whether something may be other than before: reading a file is no change of it, and to end writing may be the only sign of
/// one, where the file was written as memory.
fn is_change(kind: EventKind) -> bool {
    !kind.is_access() || kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// Whether a change of `changed` may be one of what is at `path`.
///
/// Beside a directory of policies there may be anything; beside a single file, what it is a link to.
fn concerns(path: &Path, changed: &Path) -> bool {
    let beside = changed.parent() == path.parent();
    let itself = changed == path || changed.parent() == Some(path);
    itself || beside && !path.is_dir()
}

/// The directories whose changes can change what is at `path`, as far as they are there.
fn directories(path: &Path) -> Vec<(PathBuf, (u64, u64))> {
    let above = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let both = [above, path].map(|path| (path.to_owned(), fs::metadata(path)));
    let there = both.into_iter().filter_map(|(path, found)| {
        let found = found.ok().filter(fs::Metadata::is_dir)?;
        Some((path, (found.dev(), found.ino())))
    });
    there.collect()
}
