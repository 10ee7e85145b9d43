//! The watch on files: on the directory that holds each, and on each that is a directory itself.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

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

    /// Watches what is at the paths, unless that is watched already.
    pub(super) fn follow(&mut self) {
        let mut directories: Vec<_> = self.paths.iter().flat_map(|path| directories(path)).collect();
        directories.sort();
        directories.dedup();
        let there: Vec<(u64, u64)> = directories.iter().map(|(_, identity)| *identity).collect();
        if self.watcher.is_some() && there == self.watched {
            return;
        }
        let (sign, paths) = (Arc::clone(&self.sign), Arc::clone(&self.paths));
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let concerns = |changed: &PathBuf| paths.iter().any(|path| concerns(path, changed));
            // Reading a file is no change of it. An event that is not understood may be one.
            let idle = event.is_ok_and(|event| {
                event.kind.is_access() || (!event.paths.is_empty() && !event.paths.iter().any(concerns))
            });
            if !idle {
                sign();
            }
        });
        let mut watcher = watcher.ok();
        for (directory, _) in &directories {
            watcher = watcher
                .and_then(|mut all| all.watch(directory, RecursiveMode::NonRecursive).is_ok().then_some(all));
        }
        if watcher.is_none() && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(paths = ?self.paths, every = ?POLL, "files cannot be watched: they are looked at from time to time");
        }
        (self.watcher, self.watched) = (watcher, there);
    }
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
