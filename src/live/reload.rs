//! Keeps what is in force equal to what is on disk, policies and who is who: watch, load, swap.
//!
//! One thread of its own does all of it, off the data path. It wakes when a directory changes, when it is
//! asked to, and every few seconds, because a watch can be lost. Both are read in one go and swapped as one.

mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::store::{Changes, Loaded, Store};
use super::{Live, Snapshot};
use crate::identity::Registry;
use crate::policy::{Guards, PolicySet, Roster};
use crate::source::Problem;
use watch::Watch;

/// How often the files are read again without any sign of a change.
const POLL: Duration = Duration::from_secs(10);
/// How soon after a sign they are watched and read once more.
const AGAIN: Duration = Duration::from_millis(500);
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
    /// How many documents in force skip the rules.
    pub skipping: usize,
    /// What of the process configuration has changed and takes effect after a restart.
    pub pending: Vec<&'static str>,
    /// What became wider by it.
    pub changes: Arc<Changes>,
}

/// What looking at the process configuration found.
#[derive(Debug, Default)]
pub struct Look {
    /// Who is who by it; `None` when that is nothing new, or it is broken: the last good one stays.
    pub registry: Option<Registry>,
    /// Errors and warnings.
    pub problems: Vec<Problem>,
    /// The text of each file with a problem.
    pub texts: BTreeMap<String, String>,
    /// What else has changed in it, which takes effect after a restart.
    pub pending: Vec<&'static str>,
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

/// Looks at the process configuration and, where that is asked for, at the secrets that it names elsewhere too.
/// `None`: nothing changed since it was last looked at, and who is who is as in the registry in force.
pub type LookAgain = Box<dyn FnMut(bool, &Registry) -> Option<Look> + Send>;

/// The process configuration on disk.
pub struct Configuration {
    /// Its file.
    pub path: PathBuf,
    /// Looks at it.
    pub look: LookAgain,
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A sign that something may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// A file was touched, or this host got another address.
    Seen,
    /// Somebody asks for a load.
    Asked,
}

/// The sandboxes that documents can be for; `None` while none is listed.
#[must_use]
pub fn roster(registry: &Registry) -> Option<Roster> {
    let all = registry.sandboxes().map(|sandbox| (Arc::clone(&sandbox.id), sandbox.group.clone()));
    registry.is_listed().then(|| all.collect())
}

/// The running reloader.
#[derive(Debug, Clone)]
pub struct Reloader {
    trigger: Sender<Sign>,
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
        let (rules, skipping) = (loaded.policies.rule_count(), loaded.policies.skipping());
        let Loaded { policies, problems, texts, changes: _ } = loaded;
        let report =
            Report { generation: 1, swapped: true, problems, texts, rules, skipping, ..Report::default() };
        Ok((policies, report))
    }

    /// Starts the thread that keeps `live` up to date with `store` and, where it came from a file, with the
    /// process configuration.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn start(
        store: Store,
        configuration: Option<Configuration>,
        live: Live,
        first: Report,
        guards: GuardSource,
        on_load: OnLoad,
    ) -> std::io::Result<Self> {
        let (trigger, signs) = channel();
        let paths = configuration.iter().map(|configuration| configuration.path.clone());
        let paths = [store.path().to_owned()].into_iter().chain(paths).collect();
        let seen = trigger.clone();
        let watch = Watch::new(
            paths,
            Box::new(move || {
                // The thread is gone only when the process is ending.
                let _ = seen.send(Sign::Seen);
            }),
        );
        let watch = Arc::new(Mutex::new(watch));
        let policies = first.clone();
        let last = Arc::new(Mutex::new(first));
        let work = Work {
            store,
            configuration,
            live,
            policies,
            look: Look::default(),
            looked: Instant::now(),
            last: Arc::clone(&last),
            watch: Arc::downgrade(&watch),
            guards,
            on_load,
        };
        let reloader = Self { trigger, last, _watch: watch };
        thread::Builder::new().name("policy".to_owned()).spawn(move || work.run(&signs))?;
        Ok(reloader)
    }

    /// Asks for a load now, as SIGHUP does.
    pub fn trigger(&self) {
        // The thread is gone only when the process is ending.
        let _ = self.trigger.send(Sign::Asked);
    }

    /// Says that something besides the watched files may have changed.
    pub fn look_again(&self) {
        // The thread is gone only when the process is ending.
        let _ = self.trigger.send(Sign::Seen);
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
    configuration: Option<Configuration>,
    live: Live,
    /// What the last load of policies ended with.
    policies: Report,
    /// What the last look at the configuration found; its registry is in force.
    look: Look,
    /// When the secrets that the configuration names were read last.
    looked: Instant,
    last: Arc<Mutex<Report>>,
    /// Held by the reloader only, so that the thread ends with it.
    watch: Weak<Mutex<Watch>>,
    guards: GuardSource,
    on_load: OnLoad,
}

impl Work {
    /// Loads at once, for what changed since the first load, then at each sign and at each interval, until nobody can give a
    /// sign any more.
    fn run(mut self, signs: &Receiver<Sign>) {
        let (mut asked, mut patience) = (false, AGAIN);
        loop {
            if let Some(watch) = self.watch.upgrade() {
                // RACE: watched first, then read, so that no change falls between the two.
                watch.lock().unwrap_or_else(PoisonError::into_inner).follow();
            }
            self.load(asked);
            (asked, patience) = match signs.recv_timeout(patience) {
                // RACE: the end of an old watch can take the new one of the same directory with it, and is told of late.
                Ok(sign) => (settle(sign, signs), AGAIN),
                Err(RecvTimeoutError::Timeout) => (false, POLL),
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    /// Loads once and puts in force what is good.
    fn load(&mut self, asked: bool) {
        let current = self.live.current();
        let (looked, registry) = self.look(asked, &current);
        if let Some(registry) = &registry {
            self.store.recast(roster(registry));
        }
        // A host that cannot say its addresses has those that it had.
        let guards = (self.guards)().map_or_else(|_| Arc::clone(current.policies.guards()), Arc::new);
        self.store.know(&current.registry);
        let loaded = self.store.load(&guards, Some(&current.policies));
        if loaded.is_none() && !looked {
            return;
        }
        let (policies, changes) = loaded.map(|loaded| self.take(loaded)).unzip();
        let policies = policies.filter(|set| !set.is_same(&current.policies));
        let swapped = policies.is_some() || registry.is_some();
        let generation = if swapped {
            let same = || current.policies.with_guards(Arc::clone(current.policies.guards()));
            // INVARIANT: who is who and what applies to them change in one step.
            self.live.replace(
                policies.unwrap_or_else(same),
                registry.unwrap_or_else(|| Arc::clone(&current.registry)),
            )
        } else {
            current.generation
        };
        let changes = Arc::new(changes.unwrap_or_default());
        let report = Report { changes, ..self.report(generation, swapped) };
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&report);
        (self.on_load)(&report);
    }

    /// Looks at the configuration: whether there is anything to say of it, and its registry, where that is another one.
    fn look(&mut self, asked: bool, current: &Snapshot) -> (bool, Option<Arc<Registry>>) {
        let Some(configuration) = &mut self.configuration else { return (false, None) };
        let thorough = asked || self.looked.elapsed() >= POLL;
        if thorough {
            self.looked = Instant::now();
        }
        let Some(mut look) = (configuration.look)(thorough, &current.registry) else { return (false, None) };
        let registry = look.registry.take().map(|registry| Arc::new(registry.after(&current.registry)));
        self.look = look;
        (true, registry)
    }

    /// Keeps what a load of policies has to say for later ones too, and answers its policies and what they widened.
    fn take(&mut self, loaded: Loaded) -> (PolicySet, Changes) {
        let Loaded { policies, problems, texts, changes } = loaded;
        let (rules, skipping) = (policies.rule_count(), policies.skipping());
        self.policies = Report { problems, texts, rules, skipping, ..Report::default() };
        (policies, changes)
    }

    /// All there is to say of what is in force and of what is not.
    fn report(&self, generation: u64, swapped: bool) -> Report {
        let Report { problems, texts, rules, skipping, .. } = self.policies.clone();
        let problems = self.look.problems.iter().cloned().chain(problems).collect();
        let texts = self.look.texts.clone().into_iter().chain(texts).collect();
        let pending = self.look.pending.clone();
        Report { generation, swapped, problems, texts, rules, skipping, pending, ..Report::default() }
    }
}

/// Waits until the signs have stopped for a moment, within bounds; answers whether any of them asked for a load.
fn settle(first: Sign, signs: &Receiver<Sign>) -> bool {
    let until = Instant::now() + LONGEST_SETTLE;
    let mut asked = first == Sign::Asked;
    while Instant::now() < until {
        match signs.recv_timeout(SETTLE) {
            Ok(sign) => asked |= sign == Sign::Asked,
            Err(_) => break,
        }
    }
    asked
}

#[cfg(test)]
mod tests;
