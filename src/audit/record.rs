//! The guard of one connection or request: exactly one terminal event, whatever becomes of it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::Full;
use super::event::Event;
use super::queue::Shared;
use super::text::Text;
use super::vocabulary::{Kind, Outcome};

/// An event in the making. It is emitted once: by [`finish`](Self::finish), or, as `aborted`, when it is dropped.
#[must_use = "dropping a record emits it as aborted"]
pub struct Record {
    /// Where it goes.
    shared: Arc<Shared>,
    /// What is known so far.
    event: Box<Event>,
    /// When it was opened.
    started: Instant,
    /// Whether the terminal event is out.
    finished: bool,
}

impl Record {
    /// Opens a record under a new id.
    pub(super) fn new(shared: Arc<Shared>, kind: Kind) -> Self {
        let event = Box::new(Event::new(kind, shared.next_id()));
        Self { shared, event, started: Instant::now(), finished: false }
    }

    /// The same for what a client asks for: it has to be [admitted](Self::admit).
    pub(super) fn unadmitted(shared: Arc<Shared>, kind: Kind) -> Self {
        let mut record = Self::new(shared, kind);
        record.event.admitted = false;
        record
    }

    /// Waits until the log has room for this record. Until then what it tells of must not be decided.
    ///
    /// # Errors
    /// When a queue is full and `onFull` is `Deny`: then it is to be denied as `audit_unavailable`.
    pub async fn admit(&mut self) -> Result<(), Full> {
        self.shared.admit().await?;
        self.event.admitted = true;
        Ok(())
    }

    /// What is known so far, to be filled in as stages pass.
    pub const fn event(&mut self) -> &mut Event {
        &mut self.event
    }

    /// The record's id, which is also the `x-request-id`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.event.id
    }

    /// Writes the `open` twin, so that a kill cannot hide the connection; a second call does nothing.
    pub fn open(&mut self) {
        if self.event.opened {
            return;
        }
        let mut twin = self.event.clone();
        twin.kind = Kind::Open;
        self.shared.emit(&mut twin);
        self.event.opened = true;
    }

    /// Ends the record.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// Emits the terminal event.
    fn end(&mut self, outcome: Outcome) {
        // INVARIANT: set first, so that no way out of here leads to a second terminal event.
        self.finished = true;
        self.event.outcome = Some(outcome);
        if self.event.ends() && self.event.duration.is_none() {
            self.event.duration = Some(self.started.elapsed());
        }
        self.shared.emit(&mut self.event);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if std::thread::panicking() && self.event.error.is_none() {
            self.event.error = Some(Text::new("the gateway panicked"));
        }
        self.end(Outcome::Aborted);
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("event", &self.event).finish_non_exhaustive()
    }
}
