//! On whose account a client connection is: its seat with its sandbox, and who pays for what goes up.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use crate::share::{Grant, Seat, Share};

/// The seats of one client connection: more than one where it has shown the tokens of several sandboxes.
#[derive(Debug, Default)]
pub(super) struct Account(Mutex<Option<Seats>>);

/// A seat, and those before it.
#[derive(Debug)]
struct Seats {
    seat: Seat,
    before: Option<Box<Seats>>,
}

impl Account {
    /// Who pays.
    pub(super) fn share(&self) -> Option<Arc<Share>> {
        self.seats().as_ref().map(|seats| Arc::clone(seats.seat.share()))
    }

    /// Lets this sandbox pay from here on, if the connection has a seat with it.
    pub(super) fn turn_to(&self, share: &Arc<Share>) -> bool {
        let mut seats = self.seats();
        let Some(first) = seats.as_mut() else { return false };
        let Seats { seat: current, before } = first;
        let mut next = before.as_deref_mut();
        if Arc::ptr_eq(current.share(), share) {
            return true;
        }
        while let Some(Seats { seat, before }) = next {
            if Arc::ptr_eq(seat.share(), share) {
                std::mem::swap(current, seat);
                return true;
            }
            next = before.as_deref_mut();
        }
        false
    }

    /// Takes another seat, whose sandbox pays from here on.
    pub(super) fn sit(&self, seat: Seat) {
        let mut seats = self.seats();
        let before = seats.take().map(Box::new);
        *seats = Some(Seats { seat, before });
    }

    /// Waits until so many bytes may go up.
    pub(super) async fn pay(&self, bytes: usize) {
        let Some(share) = self.share().filter(|share| bytes > 0 && share.is_paced()) else { return };
        let mut left = bytes;
        while left > 0 {
            left = left.saturating_sub(share.upload(left).await.bytes);
        }
    }

    /// The seats; a panic elsewhere leaves them consistent.
    fn seats(&self) -> MutexGuard<'_, Option<Seats>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that go up in pieces of their own, each of which waits for its turn.
pub(super) struct Pace {
    share: Option<Arc<Share>>,
    grant: Option<Grant>,
    turn: Option<Pin<Box<dyn Future<Output = Grant> + Send>>>,
}

impl Pace {
    /// On this account, as long as it lives.
    pub(super) fn of(account: &Account) -> Self {
        Self { share: account.share(), grant: None, turn: None }
    }

    /// How many bytes may go, of `most`; at least one.
    pub(super) fn poll_room(&mut self, most: usize, cx: &mut Context<'_>) -> Poll<usize> {
        let Some(share) = &self.share else { return Poll::Ready(most) };
        if let Some(grant) = &self.grant {
            return Poll::Ready(grant.bytes.min(most));
        }
        if self.turn.is_none() {
            if !share.is_paced() {
                return Poll::Ready(most);
            }
            let share = Arc::clone(share);
            self.turn = Some(Box::pin(async move { share.upload(most).await }));
        }
        if let Some(turn) = &mut self.turn {
            let grant = ready!(turn.as_mut().poll(cx));
            self.turn = None;
            self.grant = Some(grant);
            return Poll::Ready(grant.bytes.min(most));
        }
        Poll::Ready(most)
    }

    /// Notes how many bytes went; the rest of what could have is put back.
    pub(super) fn went(&mut self, bytes: usize) {
        if let (Some(share), Some(grant)) = (&self.share, self.grant.take()) {
            share.put_back(grant, bytes);
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.went(0);
    }
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace").field("grant", &self.grant).finish_non_exhaustive()
    }
}
