//! Back-pressure above the HTTP engine, which would queue as much of a body as it may of a head (threat R4).
//!
//! ```text
//! body ── hand ──► hyper's queue ── write ──► socket
//!   ▲                                           │
//!   └───────────── poll_room ◄── flushed ◄──────┘
//! ```
//! HTTP/2 needs none of this: a stream takes no more than its window and its buffer allow ([`Outlet::windowed`]).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The most that is read for one part of a body. One less than hyper would take as a sign to double its buffer.
pub(super) const PART: usize = 16 * 1024 - 1;
/// From how much on in the queue nothing is added. With the part that goes beyond it, one that waits to be handed over
/// and one that is being read, a direction of a connection holds less than 64 KiB.
const ENOUGH: usize = 16 * 1024;
/// What a part counts at least: each has a buffer behind it.
const LEAST: usize = 2 * 1024;

/// How much of a body is in hyper's queue for one connection.
#[derive(Debug, Default)]
pub(super) struct Outlet(Mutex<State>);

/// The content of an [`Outlet`].
#[derive(Debug, Default)]
struct State {
    /// What was handed to hyper since its queue was last empty.
    queued: usize,
    /// Whom to wake when it is empty again.
    waker: Option<Waker>,
    /// A body is under way whose end is the end of the connection.
    owes: bool,
    /// The engine bounds what it takes by itself.
    windowed: bool,
}

impl Outlet {
    /// An outlet to an engine that takes no more than there is room for: nobody ever waits for it.
    pub(super) fn windowed() -> Self {
        Self(Mutex::new(State { windowed: true, ..State::default() }))
    }

    /// Whether there is room for another part of the body.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_below(ENOUGH, cx)
    }

    /// Whether everything was written.
    pub(super) fn poll_empty(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_below(1, cx)
    }

    /// Whether less than this much is in the queue.
    fn poll_below(&self, most: usize, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.windowed || state.queued < most {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Notes that hyper got a part of this many bytes.
    pub(super) fn hand(&self, bytes: usize) {
        if bytes == 0 {
            // It is not queued.
            return;
        }
        let mut state = self.state();
        state.queued = state.queued.saturating_add(bytes.max(LEAST));
    }

    /// Notes that a body is under way whose end nothing but the end of the connection tells.
    pub(super) fn owe(&self) {
        self.state().owes = true;
    }

    /// Notes that all of it was handed over.
    pub(super) fn settle(&self) {
        self.state().owes = false;
    }

    /// Whether such a body is under way.
    pub(super) fn owes(&self) -> bool {
        self.state().owes
    }

    /// Notes that hyper's queue is empty; it flushes a socket only then.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        state.queued = 0;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The state; a panic elsewhere leaves it consistent.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
