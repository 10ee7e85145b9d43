//! Where lines go, and the one thread that takes them there.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::Line;
use super::queue::{Shared, State};

/// The most lines that a sink gets at once.
const BATCH: usize = 256;
/// The pause after a batch, unless somebody waits or there are many lines. A writer that wakes for each line takes a third of
/// what a small request costs in all.
const PACE: Duration = Duration::from_millis(1);
/// The pause after the first failure of a sink; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The pause after a sink said "not yet".
const NOT_YET: Duration = Duration::from_millis(10);
/// How long a sink may be merely slow before that counts as failing.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// A place that keeps audit lines.
pub trait Sink: Send {
    /// What it is called in metrics and `lost` records: short, and not chosen by a client.
    fn name(&self) -> Arc<str>;

    /// Writes lines, in order. It must not block for long: [`io::ErrorKind::WouldBlock`] says "not yet".
    ///
    /// A line that it reports as written is never given again; the others are.
    fn write(&mut self, lines: &[Arc<Line>]) -> Wrote;

    /// Opens anew what somebody may have moved away.
    ///
    /// # Errors
    /// When it cannot be opened; the sink goes on with what it has, if it has anything.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// How many bytes of unfinished last lines it cut since this was last asked.
    fn take_cut(&mut self) -> u64 {
        0
    }

    /// Makes everything that was written durable.
    ///
    /// # Errors
    /// When the operating system could not.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What became of a batch.
#[derive(Debug)]
pub struct Wrote {
    /// How many lines, from the first, are out as a whole.
    pub lines: usize,
    /// What stopped it.
    pub error: Option<io::Error>,
}

/// The writer thread's view of one sink.
struct Outlet {
    /// The sink.
    sink: Box<dyn Sink>,
    /// How long to wait after the next failure.
    pause: Duration,
    /// Not before this is it tried again.
    retry: Option<Instant>,
    /// Since when it is only slow.
    slow_since: Option<Instant>,
    /// Why it fails, as it was last reported.
    failing: Option<String>,
}

/// What the writer does next.
enum Step {
    /// Gives these lines to these sinks.
    Write(Vec<(usize, Vec<Arc<Line>>)>),
    /// Opens the sinks anew.
    Reopen,
    /// Ends.
    End,
}

/// Takes lines to the sinks until it is asked to end.
pub(super) fn run(shared: &Arc<Shared>, sinks: Vec<Box<dyn Sink>>) {
    let ended = Ended(Arc::clone(shared));
    let mut outlets: Vec<Outlet> = sinks.into_iter().map(Outlet::new).collect();
    let mut rested = Instant::now();
    loop {
        match next(shared, &outlets, rested) {
            Step::Write(batches) => {
                rested = Instant::now() + PACE;
                for (index, lines) in batches {
                    if let Some(outlet) = outlets.get_mut(index) {
                        let written = outlet.write(&lines);
                        shared.tell_cut(index, outlet.sink.take_cut());
                        shared.settle(index, written, outlet.failing.clone());
                    }
                }
            }
            Step::Reopen => {
                for (index, outlet) in outlets.iter_mut().enumerate() {
                    outlet.reopen();
                    shared.tell_cut(index, outlet.sink.take_cut());
                    shared.settle(index, 0, outlet.failing.clone());
                }
            }
            Step::End => break,
        }
    }
    for outlet in &mut outlets {
        if let Err(error) = outlet.sink.sync() {
            tracing::error!(sink = %outlet.sink.name(), %error, "the audit log could not be synced");
        }
    }
    drop(ended);
}

/// Says that the writer has ended, also when it panicked.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Waits until there is something to do; for less than a batch, which nobody waits for, until `rested`.
fn next(shared: &Shared, outlets: &[Outlet], rested: Instant) -> Step {
    let enough = shared.enough(BATCH);
    let mut state = shared.lock();
    loop {
        if std::mem::take(&mut state.reopen) {
            return Step::Reopen;
        }
        let now = Instant::now();
        let batches = ready(&state, outlets, now);
        let waiting = state.queues.iter().zip(outlets).filter(|(queue, _)| !queue.lines.is_empty());
        let retry = waiting.map(|(_, outlet)| outlet.retry.unwrap_or(now)).min();
        match state.closing {
            Some(deadline) if retry.is_none() || deadline <= now => return Step::End,
            None if !batches.is_empty()
                && !shared.is_hurried()
                && now < rested
                && state.longest() < enough =>
            {
                state = shared.sleep(state, enough, Some(rested));
            }
            _ if !batches.is_empty() => {
                shared.calm();
                return Step::Write(batches);
            }
            closing => {
                let until = retry.into_iter().chain(closing).min();
                state = shared.sleep(state, 1, until);
            }
        }
    }
}

/// A batch for each sink that has lines and is not pausing.
fn ready(state: &State, outlets: &[Outlet], now: Instant) -> Vec<(usize, Vec<Arc<Line>>)> {
    let sinks = state.queues.iter().zip(outlets).enumerate();
    let ready = sinks.filter(|(_, (queue, outlet))| {
        !queue.lines.is_empty() && outlet.retry.is_none_or(|retry| retry <= now)
    });
    ready.map(|(index, (queue, _))| (index, queue.lines.iter().take(BATCH).cloned().collect())).collect()
}

impl Outlet {
    /// A sink that has not failed yet.
    fn new(sink: Box<dyn Sink>) -> Self {
        Self { sink, pause: FIRST_PAUSE, retry: None, slow_since: None, failing: None }
    }

    /// Writes a batch and judges how the sink is. Returns how many lines are out.
    fn write(&mut self, lines: &[Arc<Line>]) -> usize {
        let wrote = self.sink.write(lines);
        if wrote.lines > 0 || wrote.error.is_none() {
            self.pause = FIRST_PAUSE;
            self.retry = None;
            self.slow_since = None;
        }
        let Some(error) = wrote.error else {
            self.judge(None);
            return wrote.lines;
        };
        let now = Instant::now();
        if error.kind() == io::ErrorKind::WouldBlock {
            self.retry = Some(now + NOT_YET);
            let since = *self.slow_since.get_or_insert(now);
            if now.duration_since(since) >= PATIENCE {
                self.judge(Some("nobody reads what is written".to_owned()));
            }
        } else {
            self.retry = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.judge(Some(error.to_string()));
        }
        wrote.lines
    }

    /// Opens the sink anew and tries it at once.
    fn reopen(&mut self) {
        self.retry = None;
        if let Err(error) = self.sink.reopen() {
            self.judge(Some(error.to_string()));
        }
    }

    /// Notes how the sink is, and logs it when that changed.
    fn judge(&mut self, failing: Option<String>) {
        if failing.is_some() != self.failing.is_some() {
            let sink = self.sink.name();
            if let Some(error) = &failing {
                tracing::error!(%sink, error, "the audit log cannot be written");
            } else {
                tracing::info!(%sink, "the audit log is written again");
            }
        }
        self.failing = failing;
    }
}
