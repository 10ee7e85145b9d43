//! The log as a whole: nothing lost, nothing twice, in order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::future::Future;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

mod full;
mod record;
mod sinks;

/// What a [`Gate`] does with the next batch.
enum Permit {
    /// Takes so many lines, then says "not yet"; takes none, and says "no space".
    Take(usize),
    /// Takes everything from here on.
    Open,
}

/// A sink that blocks its writer until the test lets lines pass.
struct Gate {
    permits: Receiver<Permit>,
    out: Arc<Mutex<Vec<Value>>>,
    open: bool,
}

impl Sink for Gate {
    fn name(&self) -> Arc<str> {
        "gate".into()
    }

    fn write(&mut self, lines: &[Arc<Line>]) -> Wrote {
        let permit = if self.open { Permit::Open } else { self.permits.recv().unwrap_or(Permit::Open) };
        let taken = match permit {
            Permit::Take(lines) => lines,
            Permit::Open => {
                self.open = true;
                usize::MAX
            }
        };
        let taken = taken.min(lines.len());
        self.out.lock().unwrap().extend(lines[..taken].iter().map(|line| parse(&line.to_string())));
        let kind = if taken == 0 { io::ErrorKind::StorageFull } else { io::ErrorKind::WouldBlock };
        let error = (taken < lines.len()).then(|| io::Error::from(kind));
        Wrote { lines: taken, error }
    }
}

fn gate() -> (SinkSettings, Sender<Permit>, Arc<Mutex<Vec<Value>>>) {
    let (sender, permits) = channel();
    let out = Arc::new(Mutex::new(Vec::new()));
    let sink = Gate { permits, out: Arc::clone(&out), open: false };
    (SinkSettings::Custom(Box::new(sink)), sender, out)
}

fn settings(sink: SinkSettings, on_full: OnFull, queue: usize) -> Settings {
    Settings { sinks: vec![sink], on_full, queue, ..Settings::default() }
}

fn file(path: &Path) -> Settings {
    settings(SinkSettings::File(FileSettings::new(path)), OnFull::Block, 8192)
}

fn emit(audit: &Audit) {
    audit.record(Kind::Connection).finish(Outcome::Ok);
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(parse).collect()
}

fn assert_counts(audit: &Audit) {
    let counts = audit.counts();
    for sink in &counts.sinks {
        assert_eq!(counts.events, sink.written + sink.dropped + sink.queued, "{sink:?}");
    }
}

/// Every place is there, or a `lost` record that stands at the gap tells of it.
fn assert_no_silent_gap(lines: &[Value]) {
    let mut last = 0;
    for line in lines {
        let seq = line["seq"].as_u64().unwrap();
        let told = line.pointer("/lost/events").and_then(Value::as_u64).unwrap_or(0);
        assert_eq!(seq, last + told + 1, "{line}");
        last = seq;
    }
}

/// Counts what each observer must see exactly once.
#[derive(Default)]
struct Tally {
    decided: AtomicUsize,
    ended: AtomicUsize,
    aborted: AtomicUsize,
}

impl Observe for Tally {
    fn observe(&self, event: &Event) {
        self.decided.fetch_add(usize::from(event.decides()), Ordering::Relaxed);
        self.ended.fetch_add(usize::from(event.ends()), Ordering::Relaxed);
        let aborted = event.outcome == Some(Outcome::Aborted);
        self.aborted.fetch_add(usize::from(aborted), Ordering::Relaxed);
    }
}

impl Tally {
    fn seen(&self) -> [usize; 3] {
        [&self.decided, &self.ended, &self.aborted].map(|count| count.load(Ordering::Relaxed))
    }
}
