//! Places for look-ups that run at once: so many for everybody together, and fewer for any one sandbox.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// How many sandboxes are kept in mind before those that ask nothing at the moment are forgotten.
const FORGET_AT: usize = 4096;

/// The places.
#[derive(Debug)]
pub(super) struct Slots {
    /// Those of everybody together.
    all: Arc<Semaphore>,
    /// Those of each sandbox.
    each: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
    /// How many a sandbox has.
    own: usize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    /// Among those of its sandbox.
    _own: OwnedSemaphorePermit,
    /// Among those of everybody.
    _all: OwnedSemaphorePermit,
}

impl Slots {
    /// So many places for everybody together and for each sandbox.
    pub(super) fn new(all: usize, own: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each: Mutex::default(), own }
    }

    /// Waits for a place of this sandbox.
    pub(super) async fn take(&self, sandbox: &Arc<str>) -> Result<Slot, AcquireError> {
        // Its own first: who waits for that holds nothing that others wait for.
        let own = self.of(sandbox).acquire_owned().await?;
        let all = Arc::clone(&self.all).acquire_owned().await?;
        Ok(Slot { _own: own, _all: all })
    }

    /// The places of one sandbox.
    fn of(&self, sandbox: &Arc<str>) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = each.get(sandbox) {
            return Arc::clone(own);
        }
        if each.len() >= FORGET_AT {
            each.retain(|_, own| Arc::strong_count(own) > 1);
        }
        let own = Arc::new(Semaphore::new(self.own));
        each.insert(Arc::clone(sandbox), Arc::clone(&own));
        own
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// A place, if there is one at once.
    fn try_take(slots: &Slots, sandbox: &str) -> Option<Slot> {
        let sandbox = Arc::from(sandbox);
        let mut taking = pin!(slots.take(&sandbox));
        match taking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Some(slot.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn r2_one_sandbox_cannot_take_every_place() {
        let slots = Slots::new(3, 2);
        let mut greedy = vec![try_take(&slots, "greedy").unwrap(), try_take(&slots, "greedy").unwrap()];
        assert!(try_take(&slots, "greedy").is_none());
        let other = try_take(&slots, "other").unwrap();
        assert!(try_take(&slots, "other").is_none(), "three are three");
        greedy.pop();
        assert!(try_take(&slots, "greedy").is_some());
        drop(other);
    }

    #[test]
    fn sandboxes_that_ask_nothing_are_forgotten() {
        let slots = Slots::new(3, 2);
        let held = try_take(&slots, "held").unwrap();
        for number in 0..3 * FORGET_AT {
            drop(try_take(&slots, &number.to_string()).unwrap());
        }
        let each = slots.each.lock().unwrap();
        assert!(each.len() <= FORGET_AT && each.contains_key("held"));
        drop(held);
    }
}
