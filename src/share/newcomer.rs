//! Connections that have not said whose they are.
//!
//! Nobody's share bounds them, so they have a place of their own: where it is full, those that have been silent for the
//! longest go. Somebody who speaks at once is not kept out by any number of those who do not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How long one may be silent in any case: a burst of connections is taken in before any of them is read from.
const PATIENCE: Duration = Duration::from_millis(100);

/// All of them, in the order in which they came.
#[derive(Debug)]
pub struct Newcomers {
    /// How many there may be that have been silent for longer than [`PATIENCE`].
    most: usize,
    state: Mutex<State>,
}

/// The content of [`Newcomers`].
#[derive(Debug, Default)]
struct State {
    /// The number of the last one.
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
}

/// One that has said nothing so far.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    crowded_out: Arc<Notify>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Newcomer {
    all: Arc<Newcomers>,
    number: u64,
    crowded_out: Arc<Notify>,
}

impl Newcomers {
    /// Room for `most`, and one at least.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), state: Mutex::default() })
    }

    /// Takes one in, and makes room for it.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Newcomer {
        let crowded_out = Arc::<Notify>::default();
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state
            .waiting
            .insert(number, Waiting { since: Instant::now(), crowded_out: Arc::clone(&crowded_out) });
        drop(state);
        self.make_room();
        Newcomer { all: Arc::clone(self), number, crowded_out }
    }

    /// Lets the oldest go while there are too many, but none whose first bytes may be there and not yet read.
    pub fn make_room(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        while state.waiting.len() > self.most
            && let Some(oldest) = state.waiting.first_entry()
            && now.duration_since(oldest.get().since) >= PATIENCE
        {
            oldest.remove().crowded_out.notify_one();
        }
    }

    /// Notes that this one has said whose it is.
    pub fn leave(&self, number: u64) {
        self.state().waiting.remove(&number);
    }

    /// The state; a panic elsewhere leaves it consistent.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newcomer {
    /// Its number, by which it can [leave](Newcomers::leave).
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Resolves once there is no room for it any more; never after it has left.
    pub async fn crowded_out(&self) {
        self.crowded_out.notified().await;
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.all.leave(self.number);
    }
}
