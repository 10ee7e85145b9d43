//! Connections that have not said whose they are.
//!
//! Nobody's share bounds them, so they have a place of their own: where it is full, the one that has been silent for the
//! longest goes. Somebody who speaks at once is not kept out by any number of those who do not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All of them, in the order in which they came.
#[derive(Debug)]
pub struct Newcomers {
    /// How many there may be.
    most: usize,
    state: Mutex<State>,
}

/// The content of [`Newcomers`].
#[derive(Debug, Default)]
struct State {
    /// The number of the last one.
    last: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
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

    /// Takes one in; where there is no room, the oldest goes.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Newcomer {
        let crowded_out = Arc::<Notify>::default();
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, Arc::clone(&crowded_out));
        let oldest = if state.waiting.len() > self.most { state.waiting.pop_first() } else { None };
        drop(state);
        if let Some((_, oldest)) = oldest {
            oldest.notify_one();
        }
        Newcomer { all: Arc::clone(self), number, crowded_out }
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

impl Newcomers {
    /// Notes that this one has said whose it is.
    pub fn leave(&self, number: u64) {
        self.state().waiting.remove(&number);
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.all.leave(self.number);
    }
}
