//! The audit log: every connection and request leaves exactly one terminal record, and none is lost silently.
//!
//! A [`Record`] is opened when a call comes in, fills as stages pass, and emits its event once: when it is
//! finished, or, as `aborted`, when it is dropped. Emitting is synchronous and never waits. It gives the event
//! its place, queues its line for each sink and tells the observers (metrics, [`top`]), all in one function.
//! One thread writes.
//!
//! | `on_full` | a queue is full | memory is bounded by |
//! |---|---|---|
//! | `Block` | [`Record::admit`] waits | what waits is not decided yet |
//! | `Deny` | [`Record::admit`] refuses: `audit_unavailable` | the same |
//! | `Drop` | the line is dropped and counted; a `lost` record stands where it would have stood | the queue |
//!
//! What was never admitted (it was refused, or its client left while it waited) takes no room in a full queue under
//! any of them: it is counted, and a `lost` record tells how many.
//!
//! For each sink, at every moment: `events = written + dropped + queued`.

mod change;
mod event;
mod file;
mod queue;
pub mod recent;
mod record;
mod shelf;
mod sink;
mod stream;
mod text;
pub mod top;
mod vocabulary;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use change::{Actor, Change, Digest, DocumentChange, LoadChange};
pub use event::{Event, Line, Lost, SCHEMA, Sent, WouldDeny, schema};
pub use file::FileSettings;
pub use recent::Recent;
pub use record::Record;
pub use sink::{Sink, Wrote};
pub(crate) use text::to_json;
pub use text::{TEXT_CAP, Text};
pub use vocabulary::{Counted, Decision, Ingress, Kind, Outcome, Route, Scheme};

use queue::{Queue, Shared};

/// How the audit log is kept.
pub struct Settings {
    /// Where records go; at least one place.
    pub sinks: Vec<SinkSettings>,
    /// What a full queue means.
    pub on_full: OnFull,
    /// The number of records at which a sink's queue is full.
    pub queue: usize,
    /// The number of records that can be searched in memory.
    pub recent: usize,
    /// Whether a tunnel writes an `open` record.
    pub open: bool,
}

/// One place that records go to.
pub enum SinkSettings {
    /// Standard output.
    Stdout,
    /// A file.
    File(FileSettings),
    /// Any other place.
    Custom(Box<dyn Sink>),
}

/// What a full queue means for new connections and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// They wait.
    #[default]
    Block,
    /// They go on; their records are dropped and counted.
    Drop,
    /// They are denied.
    Deny,
}

/// Why the audit log cannot start.
#[derive(Debug, Error)]
pub enum AuditError {
    /// Nothing would be kept.
    #[error("no audit sink is given: name a file or standard output under `audit.sinks`")]
    NoSink,
    /// The directory of an audit file is missing.
    #[error("the directory of the audit file {0} does not exist: create it, or change `audit.sinks`")]
    NoDirectory(PathBuf),
    /// An audit file's limits make no sense.
    #[error("the audit file {0} needs `maxBytes` and `keep` of at least 1, or rotation would lose records")]
    Rotation(PathBuf),
    /// A sink cannot be opened.
    #[error("the audit log {sink} cannot be opened: {error}")]
    Open {
        /// The file, or `stdout`.
        sink: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// The writer cannot be started.
    #[error("the audit writer cannot be started: {0}")]
    Thread(io::Error),
}

/// A queue is full, or a sink fails, and `onFull` is `Deny`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the audit log cannot take another record")]
pub struct Full;

/// Records that no sink had taken when the time to finish was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} audit records could not be written before the end")]
pub struct Unfinished(pub u64);

/// Sees each event once, when it is emitted.
pub trait Observe: Send + Sync {
    /// Takes note of an event; must be quick.
    fn observe(&self, event: &Event);
}

/// What went in and what came of it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Events that have a place in the log.
    pub events: u64,
    /// What came of them, for each sink.
    pub sinks: Vec<SinkCounts>,
}

/// What came of the events in one sink: they are `written + dropped + queued`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkCounts {
    /// The sink's name.
    pub sink: Arc<str>,
    /// Lines written.
    pub written: u64,
    /// Events dropped because the queue was full.
    pub dropped: u64,
    /// Lines that wait.
    pub queued: u64,
}

/// A handle on the audit log.
#[derive(Clone)]
pub struct Audit(Arc<Shared>);

/// The writer; to be finished when everything else has ended.
#[must_use = "dropping the writer ends the audit log"]
pub struct Writer {
    /// What it shares with those who emit.
    shared: Arc<Shared>,
    /// The thread, until it is joined.
    thread: Option<JoinHandle<()>>,
}

impl Audit {
    /// Opens the sinks and starts the writer.
    ///
    /// # Errors
    /// When there is no sink, or one cannot be opened.
    pub fn start(settings: Settings, observers: Vec<Arc<dyn Observe>>) -> Result<(Self, Writer), AuditError> {
        let Settings { sinks, on_full, queue, recent, open } = settings;
        if sinks.is_empty() {
            return Err(AuditError::NoSink);
        }
        let mut sinks = sinks.into_iter().map(SinkSettings::open).collect::<Result<Vec<_>, _>>()?;
        let queues = names(&sinks).into_iter().map(Queue::new).collect();
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        let recent = Recent::new(recent, seed);
        let shared = Shared::new((on_full, queue.max(1), open), queues, (recent, observers), seed);
        let shared = Arc::new(shared);
        for (index, sink) in sinks.iter_mut().enumerate() {
            shared.tell_cut(index, sink.take_cut());
        }
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(move || sink::run(&writer, sinks)).map_err(AuditError::Thread)?;
        Ok((Self(Arc::clone(&shared)), Writer { shared, thread: Some(thread) }))
    }

    /// Opens a record of the gateway's own doing, for which there is always room. Dropping it unfinished emits it as
    /// `aborted`.
    pub fn record(&self, kind: Kind) -> Record {
        Record::new(Arc::clone(&self.0), kind)
    }

    /// Opens a record of what a client asks for, to be [admitted](Record::admit) before that is decided. Until then a
    /// full queue takes no line of it, only the count.
    pub fn unadmitted(&self, kind: Kind) -> Record {
        Record::unadmitted(Arc::clone(&self.0), kind)
    }

    /// Waits until every sink has taken what was emitted so far.
    pub async fn flushed(&self) {
        let events = self.counts().events;
        self.0.progress_until(|shared| shared.has_taken(events)).await;
    }

    /// Waits until what was emitted so far cannot be lost any more; where `onFull` is `Drop` it may be, and
    /// nothing waits.
    ///
    /// # Errors
    /// When `onFull` is `Deny` and a sink does not take records for two seconds, or is known not to.
    pub async fn certain(&self) -> Result<(), Full> {
        match self.0.on_full {
            OnFull::Drop => Ok(()),
            OnFull::Block => {
                self.flushed().await;
                Ok(())
            }
            OnFull::Deny => {
                let events = self.counts().events;
                let settled = |shared: &Shared| shared.has_taken(events) || shared.is_failing();
                // A sink that hangs inside the operating system says nothing: then the time decides.
                let _ = tokio::time::timeout(sink::PATIENCE, self.0.progress_until(settled)).await;
                if self.0.has_taken(events) { Ok(()) } else { Err(Full) }
            }
        }
    }

    /// Whether [`certain`](Self::certain) has a chance at the moment.
    ///
    /// # Errors
    /// When `onFull` is `Deny` and a sink is known not to take records.
    pub fn expect_certainty(&self) -> Result<(), Full> {
        if self.0.on_full == OnFull::Deny && self.0.is_failing() { Err(Full) } else { Ok(()) }
    }

    /// Lets the sinks open their files anew, after somebody moved them away (SIGHUP).
    pub fn reopen(&self) {
        self.0.ask(|state| state.reopen = true);
    }

    /// Whether every sink takes records.
    ///
    /// # Errors
    /// In words, which one does not and why.
    pub fn healthy(&self) -> Result<(), String> {
        self.0.healthy()
    }

    /// What went in and what came of it, at one moment.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }

    /// The last lines.
    #[must_use]
    pub fn recent(&self) -> &Arc<Recent> {
        &self.0.recent
    }
}

impl Writer {
    /// Writes what is queued, syncs, and ends the writer.
    ///
    /// # Errors
    /// When not everything could be written within `deadline`.
    pub fn finish(mut self, deadline: Duration) -> Result<(), Unfinished> {
        self.close(deadline)
    }

    /// Ends the writer; a second call does nothing.
    fn close(&mut self, deadline: Duration) -> Result<(), Unfinished> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let until = Instant::now() + deadline;
        self.shared.ask(|state| state.closing = Some(until));
        if self.shared.wait_for_end(until + Duration::from_millis(500)) {
            // It has ended: this cannot block. A panic in it was reported by the panic hook.
            drop(thread.join());
        }
        let queued = self.shared.counts().sinks.iter().map(|sink| sink.queued).max().unwrap_or(0);
        if queued == 0 { Ok(()) } else { Err(Unfinished(queued)) }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.close(Duration::from_secs(1)) {
            tracing::error!(%error, "the audit log was dropped");
        }
    }
}

impl SinkSettings {
    /// Opens the sink.
    fn open(self) -> Result<Box<dyn Sink>, AuditError> {
        match self {
            Self::Stdout => match stream::StreamSink::stdout() {
                Ok(sink) => Ok(Box::new(sink)),
                Err(error) => Err(AuditError::Open { sink: "stdout".to_owned(), error }),
            },
            Self::File(settings) => Ok(Box::new(settings.open()?)),
            Self::Custom(sink) => Ok(sink),
        }
    }
}

/// The names of the sinks, each once: a second `file` is `file2`.
fn names(sinks: &[Box<dyn Sink>]) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = Vec::new();
    for sink in sinks {
        let name = sink.name();
        let same = sinks.iter().take(names.len()).filter(|other| other.name() == name).count();
        names.push(if same == 0 { name } else { format!("{name}{}", same + 1).into() });
    }
    names
}

impl Default for Settings {
    fn default() -> Self {
        let sinks = vec![SinkSettings::Stdout];
        Self { sinks, on_full: OnFull::Block, queue: 8192, recent: 4096, open: true }
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Audit").field(&self.counts()).finish()
    }
}

#[cfg(test)]
mod tests;
