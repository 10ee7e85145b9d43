//! The values of secrets: had when they are used, kept while they are good.
//!
//! | what | how |
//! |---|---|
//! | a file | looked at once a second at most, read again when it changed; gone or broken, its last value is gone too |
//! | a variable | read once |
//! | a token | asked for when it is first used, and again when a use comes in the last fifth of its life (at most its last 5 minutes); the old one is used while it is good |
//!
//! Uses of one secret at the same time share one attempt, and there is at most one attempt a second, whatever becomes
//! of it. Nothing is spawned: whoever waits for an attempt drives it, and leaves it to the next one when he goes.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};

use super::allowed::Allowed;
use super::fetch::Fetch;
use super::given::Given;
use super::identity::Platform;
use super::supply::{Made, Supply};
use super::unavailable::Unavailable;
use super::value::Revealed;
use crate::policy::document::KeySource;

/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a use waits for a new value while the old one is good.
const HURRY: Duration = Duration::from_secs(3);
/// How far apart attempts begin.
const APART: Duration = Duration::from_secs(1);
/// How long an attempt may be left alone before it is given up.
const LEFT: Duration = Duration::from_secs(1);
/// The most time before its end at which a value is renewed.
const MARGIN: Duration = Duration::from_mins(5);
/// How long the value of a secret is kept that nobody uses.
const UNUSED: Duration = Duration::from_hours(1);

/// The values of secrets. Clones share them.
#[derive(Clone)]
pub struct Secrets(Arc<Inner>);

/// What the clones share.
struct Inner {
    supply: Arc<Supply>,
    entries: Mutex<HashMap<Arc<KeySource>, Arc<Entry>>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// Values of these files and variables, of this platform, and of services that are asked by `fetch`.
    #[must_use]
    pub fn new(allowed: Allowed, platform: Option<Platform>, fetch: Arc<dyn Fetch>) -> Self {
        let supply = Arc::new(Supply { allowed, platform, fetch });
        Self(Arc::new(Inner { supply, entries: Mutex::default() }))
    }

    /// The value of a source: one line of ASCII, not empty.
    ///
    /// # Errors
    /// Why it cannot be had; nobody may go on without it.
    pub async fn reveal(&self, source: &Arc<KeySource>) -> Result<Revealed, Unavailable> {
        let now = Moment::now();
        let entry = self.entry(source, now);
        match entry.look(now) {
            Look::Use(value) => Ok(value),
            Look::Wait(why) => Err(why),
            Look::Ask => entry.attempt(source, &self.0.supply).await,
            Look::Renew(old) => {
                // Where somebody waits for the new one already, the old one will do.
                if entry.flight.try_lock().is_err() {
                    return Ok(old);
                }
                let attempt = timeout(HURRY, entry.attempt(source, &self.0.supply)).await;
                Ok(attempt.ok().and_then(Result::ok).unwrap_or(old))
            }
        }
    }

    /// The place of a source; those that nobody uses make room.
    fn entry(&self, source: &Arc<KeySource>, now: Moment) -> Arc<Entry> {
        let mut entries = locked(&self.0.entries);
        if let Some(entry) = entries.get(source) {
            return Arc::clone(entry);
        }
        entries.retain(|_, entry| {
            locked(&entry.kept).used.is_some_and(|used| now.instant.duration_since(used) < UNUSED)
        });
        let entry = Arc::<Entry>::default();
        locked(&entry.kept).used = Some(now.instant);
        entries.insert(Arc::clone(source), Arc::clone(&entry));
        entry
    }
}

/// One moment on two clocks: one that never goes back, and one that goes on while the machine sleeps.
#[derive(Debug, Clone, Copy)]
struct Moment {
    instant: Instant,
    wall: SystemTime,
}

impl Moment {
    /// This moment.
    fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }
}

/// What is kept of one source.
#[derive(Default)]
struct Entry {
    kept: Mutex<Kept>,
    /// The attempt under way; who holds the lock drives it.
    flight: tokio::sync::Mutex<Option<Flight>>,
}

/// The last value and the last failure.
#[derive(Default)]
struct Kept {
    good: Option<Good>,
    failed: Option<Unavailable>,
    /// Before this, no attempt begins.
    next: Option<Instant>,
    used: Option<Instant>,
}

/// A value.
struct Good {
    value: Revealed,
    given: Option<Given>,
    /// When it was asked for, and how long it is good from then on; None: for good.
    since: Moment,
    life: Option<Duration>,
}

impl Good {
    /// Whether it may be used.
    fn lives(&self, now: Moment) -> bool {
        self.life.is_none_or(|life| {
            let aged = now.wall.duration_since(self.since.wall).unwrap_or_default();
            now.instant.duration_since(self.since.instant).max(aged) < life
        })
    }

    /// Whether it should be renewed.
    fn wanes(&self, now: Moment) -> bool {
        self.life.is_some_and(|life| {
            let rest = life.saturating_sub((life / 5).min(MARGIN));
            now.instant.duration_since(self.since.instant) >= rest
        })
    }
}

/// What there is without asking anybody.
enum Look {
    /// A good value.
    Use(Revealed),
    /// A good value that ends soon.
    Renew(Revealed),
    /// A failure that is not old enough to try again.
    Wait(Unavailable),
    /// Nothing.
    Ask,
}

/// An attempt under way.
struct Flight {
    future: Pin<Box<dyn Future<Output = Result<Made, Unavailable>> + Send>>,
    begun: Moment,
    /// When nobody waited for it any more.
    left: Option<Instant>,
}

/// Whoever drives an attempt; says when he goes.
struct Driver<'a>(&'a mut Flight);

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        self.0.left = Some(Instant::now());
    }
}

impl Entry {
    /// What there is.
    fn look(&self, now: Moment) -> Look {
        let mut kept = locked(&self.kept);
        kept.used = Some(now.instant);
        let waits = kept.next.is_some_and(|next| now.instant < next);
        match (&kept.good, &kept.failed) {
            (Some(good), _) if good.lives(now) => {
                let value = good.value.clone();
                if good.wanes(now) && !waits { Look::Renew(value) } else { Look::Use(value) }
            }
            (_, Some(why)) if waits => Look::Wait(why.clone()),
            (_, _) => Look::Ask,
        }
    }

    /// Makes a new value, or waits for the one that is being made.
    async fn attempt(&self, source: &Arc<KeySource>, supply: &Arc<Supply>) -> Result<Revealed, Unavailable> {
        let mut flight = self.flight.lock().await;
        let now = Moment::now();
        // Somebody may have had it meanwhile.
        match self.look(now) {
            Look::Use(value) => return Ok(value),
            Look::Wait(why) => return Err(why),
            Look::Renew(_) | Look::Ask => {}
        }
        let given_up = |flight: &mut Flight| {
            flight.left.is_some_and(|left| now.instant.duration_since(left) >= LEFT)
                || now.instant.duration_since(flight.begun.instant) >= PATIENCE
        };
        if flight.as_mut().is_some_and(given_up) {
            *flight = None;
        }
        let running = flight.get_or_insert_with(|| self.begin(source, supply, now));
        let (begun, driver) = (running.begun, Driver(running));
        let outcome = driver.0.future.as_mut().await;
        drop(driver);
        *flight = None;
        self.settle(begun, outcome)
    }

    /// Begins an attempt.
    fn begin(&self, source: &Arc<KeySource>, supply: &Arc<Supply>, now: Moment) -> Flight {
        let before = locked(&self.kept).good.as_ref().and_then(|good| good.given.clone());
        let (source, supply) = (Arc::clone(source), Arc::clone(supply));
        let make = async move { supply.make(&source, before).await };
        let future = async move { timeout(PATIENCE, make).await.unwrap_or(Err(Unavailable::Slow)) };
        Flight { future: Box::pin(future), begun: now, left: None }
    }

    /// Keeps what came of an attempt.
    fn settle(&self, begun: Moment, outcome: Result<Made, Unavailable>) -> Result<Revealed, Unavailable> {
        let now = Moment::now();
        let mut kept = locked(&self.kept);
        match outcome {
            Ok(Made { value, life, given }) => {
                let good = Good { value: value.clone(), given, since: begun, life };
                kept.next = begun.instant.checked_add(APART);
                kept.failed = None;
                kept.good = Some(good);
                Ok(value)
            }
            Err(why) => {
                // From its end on: an attempt that failed slowly is not begun again at once.
                kept.next = now.instant.checked_add(APART);
                kept.failed = Some(why.clone());
                // SECURITY: a file that is gone takes its value along; a token is good to its end.
                kept.good = kept.good.take().filter(|good| good.lives(now));
                Err(why)
            }
        }
    }
}

/// A lock; whatever panicked while it was held left nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
