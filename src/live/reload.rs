//! Keeps the policy in force equal to what is on disk: watch, load, swap.
//!
//! One thread of its own does all of it, off the data path. It wakes when the directory changes, when it is
//! asked to, and every few seconds, because a watch can be lost.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Live;
use super::store::{Loaded, Store};
use crate::policy::{Guards, PolicySet};
use crate::source::Problem;

/// How often the files are read again without any sign of a change.
const POLL: Duration = Duration::from_secs(10);
/// How long after a sign of a change further ones are awaited, so that a write is read once and whole.
const SETTLE: Duration = Duration::from_millis(100);
/// The longest that signs are awaited: somebody who writes without end beside the policies holds nothing up.
const LONGEST_SETTLE: Duration = Duration::from_millis(500);

/// What a load ended with, for logs, records, metrics and `/readyz`.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The generation in force after it.
    pub generation: u64,
    /// Whether another snapshot took effect.
    pub swapped: bool,
    /// Errors and warnings.
    pub problems: Vec<Problem>,
    /// The text of each file with a problem.
    pub texts: BTreeMap<String, String>,
    /// How many rules are in force.
    pub rules: usize,
}

impl Report {
    /// Whether anything was refused.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

/// Gives the guards as they are now: this host's addresses can change.
pub type GuardSource = Box<dyn Fn() -> std::io::Result<Guards> + Send>;
/// Told of every load.
pub type OnLoad = Box<dyn Fn(&Report) + Send>;

/// The running reloader.
#[derive(Debug, Clone)]
pub struct Reloader {
    trigger: Sender<()>,
    last: Arc<Mutex<Report>>,
    _watch: Arc<Mutex<Watch>>,
}

impl Reloader {
    /// Loads for the first time, which must succeed as a whole.
    ///
    /// # Errors
    /// The load with all its problems, when one of them is an error.
    pub fn first(store: &mut Store, guards: Guards) -> Result<(PolicySet, Report), Box<Loaded>> {
        let Some(loaded) = store.load(&Arc::new(guards), None) else {
            return Err(Box::new(Loaded::nothing()));
        };
        if loaded.has_errors() {
            return Err(Box::new(loaded));
        }
        let rules = loaded.policies.rule_count();
        let Loaded { policies, problems, texts } = loaded;
        let report = Report { generation: 1, swapped: true, problems, texts, rules };
        Ok((policies, report))
    }

    /// Starts the thread that keeps `live` up to date with `store`.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn start(
        store: Store,
        live: Live,
        first: Report,
        guards: GuardSource,
        on_load: OnLoad,
    ) -> std::io::Result<Self> {
        let (trigger, signs) = channel();
        let last = Arc::new(Mutex::new(first));
        let watch = Arc::new(Mutex::new(Watch::new(store.path(), trigger.clone())));
        let work =
            Work { store, live, last: Arc::clone(&last), watch: Arc::downgrade(&watch), guards, on_load };
        let reloader = Self { trigger, last, _watch: watch };
        thread::Builder::new().name("policy".to_owned()).spawn(move || work.run(&signs))?;
        Ok(reloader)
    }

    /// Asks for a load now, as SIGHUP does.
    pub fn trigger(&self) {
        // The thread is gone only when the process is ending.
        let _ = self.trigger.send(());
    }

    /// What the last load ended with.
    #[must_use]
    pub fn last(&self) -> Report {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the thread works with.
struct Work {
    store: Store,
    live: Live,
    last: Arc<Mutex<Report>>,
    /// Held by the reloader only, so that the thread ends with it.
    watch: Weak<Mutex<Watch>>,
    guards: GuardSource,
    on_load: OnLoad,
}

impl Work {
    /// Loads at each sign and at each interval, until nobody can give a sign any more.
    fn run(mut self, signs: &Receiver<()>) {
        loop {
            match signs.recv_timeout(POLL) {
                Ok(()) => settle(signs),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(watch) = self.watch.upgrade() {
                // RACE: watched first, then read, so that no change falls between the two.
                watch.lock().unwrap_or_else(PoisonError::into_inner).follow(self.store.path());
            }
            self.load();
        }
    }

    /// Loads once and puts in force what is good.
    fn load(&mut self) {
        let current = self.live.current();
        // A host that cannot say its addresses has those that it had.
        let guards = (self.guards)().map_or_else(|_| Arc::clone(current.policies.guards()), Arc::new);
        let Some(loaded) = self.store.load(&guards, Some(&current.policies)) else { return };
        let rules = loaded.policies.rule_count();
        let Loaded { policies, problems, texts } = loaded;
        let swapped = !policies.is_same(&current.policies);
        let generation = if swapped { self.live.replace(policies) } else { current.generation };
        let report = Report { generation, swapped, problems, texts, rules };
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&report);
        (self.on_load)(&report);
    }
}

/// Waits until the signs have stopped for a moment, within bounds.
fn settle(signs: &Receiver<()>) {
    let until = Instant::now() + LONGEST_SETTLE;
    while Instant::now() < until && signs.recv_timeout(SETTLE).is_ok() {}
}

/// The watch on the policies: on the directory that holds the files, and on the one that holds that.
#[derive(Debug)]
struct Watch {
    trigger: Sender<()>,
    /// Device and inode of each watched directory; another one at the same path is watched anew.
    watched: Vec<(u64, u64)>,
    /// Where it cannot be watched, polling is all.
    watcher: Option<RecommendedWatcher>,
    /// Whether that was said.
    told: bool,
}

impl Watch {
    /// A watch on what is there.
    fn new(path: &Path, trigger: Sender<()>) -> Self {
        let mut watch = Self { trigger, watched: Vec::new(), watcher: None, told: false };
        watch.follow(path);
        watch
    }

    /// Watches what is at the path, unless that is watched already.
    fn follow(&mut self, path: &Path) {
        let directories = directories(path);
        let there: Vec<(u64, u64)> = directories.iter().map(|(_, identity)| *identity).collect();
        if self.watcher.is_some() && there == self.watched {
            return;
        }
        let (trigger, policies) = (self.trigger.clone(), path.to_owned());
        // Beside a directory of policies there may be anything; beside a single file, what it is a link to.
        let foreign = move |changed: &PathBuf| {
            policies.is_dir()
                && changed.parent() == policies.parent()
                && changed.file_name() != policies.file_name()
        };
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is no change of it. An event that is not understood may be one.
            let idle = event.is_ok_and(|event| {
                event.kind.is_access() || (!event.paths.is_empty() && event.paths.iter().all(&foreign))
            });
            if !idle {
                let _ = trigger.send(());
            }
        });
        let mut watcher = watcher.ok();
        for (directory, _) in &directories {
            watcher = watcher
                .and_then(|mut all| all.watch(directory, RecursiveMode::NonRecursive).is_ok().then_some(all));
        }
        if watcher.is_none() && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(?path, every = ?POLL, "the policy cannot be watched: it is looked at from time to time");
        }
        (self.watcher, self.watched) = (watcher, there);
    }
}

/// The directories whose changes can change the policies at `path`, as far as they are there.
fn directories(path: &Path) -> Vec<(PathBuf, (u64, u64))> {
    let above = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let both = [above, path].map(|path| (path.to_owned(), fs::metadata(path)));
    let there = both.into_iter().filter_map(|(path, found)| {
        let found = found.ok().filter(fs::Metadata::is_dir)?;
        Some((path, (found.dev(), found.ino())))
    });
    there.collect()
}

#[cfg(test)]
mod tests;
