//! What is emitted and not yet written: one bounded queue a sink, under one lock.

use std::borrow::BorrowMut;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::event::{Event, Line, Lost};
use super::recent::Recent;
use super::vocabulary::Kind;
use super::{Counts, Full, Observe, OnFull, SinkCounts};

/// What emitting, admission and the writer have in common.
pub(super) struct Shared {
    /// The queues.
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Condvar,
    /// Wakes those who wait for the writer's end.
    ended: Condvar,
    /// Told whenever the writer got on, or stopped.
    progress: Notify,
    /// Whether somebody waits for the writer's progress.
    hurried: AtomicBool,
    /// The length of the longest queue, to be read without the lock.
    depth: AtomicUsize,
    /// The length at which a queue is full.
    limit: usize,
    /// What a full queue means.
    pub(super) on_full: OnFull,
    /// Whether `open` records are written.
    open: bool,
    /// The last lines.
    pub(super) recent: Arc<Recent>,
    /// Who else sees each event.
    observers: Vec<Arc<dyn Observe>>,
    /// Differs between any two starts of the process.
    seed: u64,
    /// The ids given so far.
    ids: AtomicU64,
}

/// The queues, and what is asked of the writer.
pub(super) struct State {
    /// The place that was given last; also the number of events.
    seq: u64,
    /// One queue a sink.
    pub(super) queues: Vec<Queue>,
    /// How many lines of one queue wake the writer; none while it is awake.
    wakes_at: Option<usize>,
    /// Whether the sinks shall open their files anew.
    pub(super) reopen: bool,
    /// Set when the writer shall end: until then it may try.
    pub(super) closing: Option<Instant>,
    /// Whether the writer has ended.
    pub(super) ended: bool,
}

/// What one sink has still to write.
pub(super) struct Queue {
    /// The sink's name.
    pub(super) name: Arc<str>,
    /// Lines that are not written, those in the writer's hands included.
    pub(super) lines: VecDeque<Arc<Line>>,
    /// Lines written.
    written: u64,
    /// Events dropped.
    dropped: u64,
    /// Events dropped of which no `lost` record tells yet.
    untold: u64,
    /// Why the sink does not take lines.
    pub(super) failing: Option<String>,
}

impl Queue {
    /// The empty queue of the sink of this name.
    pub(super) const fn new(name: Arc<str>) -> Self {
        Self { name, lines: VecDeque::new(), written: 0, dropped: 0, untold: 0, failing: None }
    }
}

impl Shared {
    /// Queues for sinks of these names.
    pub(super) fn new(
        (on_full, limit, open): (OnFull, usize, bool),
        sinks: Vec<Queue>,
        (recent, observers): (Recent, Vec<Arc<dyn Observe>>),
        seed: u64,
    ) -> Self {
        let state =
            State { seq: 0, queues: sinks, wakes_at: None, reopen: false, closing: None, ended: false };
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            ended: Condvar::new(),
            progress: Notify::new(),
            hurried: AtomicBool::new(false),
            depth: AtomicUsize::new(0),
            limit,
            on_full,
            open,
            recent: Arc::new(recent),
            observers,
            seed,
            ids: AtomicU64::new(0),
        }
    }

    /// An id that no other record of this or an earlier start has.
    pub(super) fn next_id(&self) -> Arc<str> {
        let count = self.ids.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{count:x}", self.seed).into()
    }

    /// Whether a new connection or request must wait, or be denied.
    fn is_full(&self) -> bool {
        self.depth.load(Ordering::Acquire) >= self.limit
    }

    /// Waits until there is room for what a new connection or request will leave.
    pub(super) async fn admit(&self) -> Result<(), Full> {
        match self.on_full {
            OnFull::Deny if self.is_full() => return Err(Full),
            OnFull::Deny | OnFull::Drop => {}
            OnFull::Block => self.progress_until(|shared| !shared.is_full()).await,
        }
        Ok(())
    }

    /// Waits until something holds that only the writer's progress can bring about.
    pub(super) async fn progress_until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let mut progress = pin!(self.progress.notified());
            // RACE: asked to be told first, then looked.
            progress.as_mut().enable();
            if holds(self) {
                return;
            }
            self.hurry();
            progress.await;
        }
    }

    /// Has the writer write what there is, however little.
    fn hurry(&self) {
        // One is enough for all who wait. It has nothing ready while a single line would wake it.
        if self.hurried.swap(true, Ordering::AcqRel) {
            return;
        }
        // RACE: said first, then looked whether it sleeps: it looks before it does, under the same lock.
        let wake = self.lock().wakes_at.take_if(|least| *least > 1).is_some();
        if wake {
            self.wake.notify_one();
        }
    }

    /// How many lines may wait for others: at most `most`, and half of what there is room for.
    pub(super) fn enough(&self, most: usize) -> usize {
        most.min(self.limit / 2)
    }

    /// Whether somebody waits for the writer's progress.
    pub(super) fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire)
    }

    /// Notes that what there is goes out: who waits for more says so again.
    pub(super) fn calm(&self) {
        self.hurried.store(false, Ordering::Release);
    }

    /// Whether every sink has taken what was emitted up to the place `seq`.
    pub(super) fn has_taken(&self, seq: u64) -> bool {
        let state = self.lock();
        state.queues.iter().all(|queue| queue.lines.front().is_none_or(|line| line.seq > seq))
    }

    /// Whether a sink does not take lines at the moment.
    pub(super) fn is_failing(&self) -> bool {
        let state = self.lock();
        state.ended || state.queues.iter().any(|queue| queue.failing.is_some())
    }

    /// Emits an event: observers see it, and sinks get its line.
    pub(super) fn emit(&self, event: &mut Event) {
        let body = event.body();
        self.deliver(|_| Some((event, body)));
    }

    /// Emits a `lost` event when a sink cut an unfinished last line of `bytes` bytes.
    pub(super) fn tell_cut(&self, sink: usize, bytes: u64) {
        if bytes > 0 {
            let sink = self.lock().queues.get(sink).map(|queue| Arc::clone(&queue.name));
            let mut event = Event::new(Kind::Lost, self.next_id());
            event.lost = sink.map(|sink| Lost { sink, events: None, bytes: Some(bytes) });
            self.emit(&mut event);
        }
    }

    /// Takes back a sink's result: `written` lines are out, and `failing` is how the sink is.
    pub(super) fn settle(&self, sink: usize, written: usize, failing: Option<String>) {
        self.deliver(|state| {
            let queue = state.queues.get_mut(sink)?;
            let written = written.min(queue.lines.len());
            queue.lines.drain(..written);
            queue.written += written as u64;
            queue.failing = failing;
            // Events are dropped at a full queue only, and this lock was not let go since there is room: so
            // under `Drop` the `lost` record stands exactly where the dropped ones would have stood.
            if queue.untold == 0 || queue.lines.len() >= self.limit {
                return None;
            }
            let events = Some(std::mem::take(&mut queue.untold));
            let mut event = Event::new(Kind::Lost, self.next_id());
            event.lost = Some(Lost { sink: Arc::clone(&queue.name), events, bytes: None });
            let body = event.body();
            Some((event, body))
        });
        self.progress.notify_waiters();
    }

    /// The one place where an event gets its place and time, its line is queued, and observers are told.
    fn deliver<E: BorrowMut<Event>>(&self, prepare: impl FnOnce(&mut State) -> Option<(E, String)>) {
        let mut state = self.lock();
        let prepared = prepare(&mut state);
        let prepared = prepared.map(|(mut event, body)| {
            let told: &mut Event = event.borrow_mut();
            if self.open || told.kind != Kind::Open {
                state.seq += 1;
                told.seq = state.seq;
                told.time = Timestamp::now();
                let line = Arc::new(Line::new(told, body));
                state.push(&line, self.dropping_limit(told));
                self.recent.push(&line);
            }
            event
        });
        let longest = state.longest();
        self.depth.store(longest, Ordering::Release);
        let wake = prepared.is_some() && state.wakes_at.take_if(|least| longest >= *least).is_some();
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        if let Some(event) = prepared {
            self.recent.announce();
            let event: &Event = event.borrow();
            for observer in &self.observers {
                // A record can be dropped while its task unwinds: a second panic would end the process.
                if catch_unwind(AssertUnwindSafe(|| observer.observe(event))).is_err() {
                    tracing::error!("an observer of the audit log panicked");
                }
            }
        }
    }

    /// The length beyond which the line of an event is dropped.
    fn dropping_limit(&self, event: &Event) -> usize {
        match self.on_full {
            // Admission is what bounds these.
            OnFull::Block | OnFull::Deny if event.admitted => usize::MAX,
            // What was refused because the queue is full, or whose client left while it waited, must not fill it further.
            OnFull::Block | OnFull::Deny | OnFull::Drop => self.limit,
        }
    }

    /// The queues, also after a panic of somebody who held them.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until something is asked of the writer, a queue has `least` lines, or it is `until`.
    pub(super) fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        least: usize,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        state.wakes_at = Some(least);
        let mut state = match until {
            None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.wakes_at = None;
        state
    }

    /// Changes what is asked of the writer, and wakes it.
    pub(super) fn ask(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.wake.notify_one();
    }

    /// Notes that the writer has ended.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.ended.notify_all();
        self.progress.notify_waiters();
    }

    /// Waits until the writer has ended. Returns whether it has, by `until`.
    pub(super) fn wait_for_end(&self, until: Instant) -> bool {
        let state = self.lock();
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.ended.wait_timeout_while(state, left, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// What went in and what came of it, at one moment.
    pub(super) fn counts(&self) -> Counts {
        let state = self.lock();
        let sinks = state.queues.iter().map(|queue| SinkCounts {
            sink: Arc::clone(&queue.name),
            written: queue.written,
            dropped: queue.dropped,
            queued: queue.lines.len() as u64,
        });
        Counts { events: state.seq, sinks: sinks.collect() }
    }

    /// Whether the writer runs and every sink takes lines.
    pub(super) fn healthy(&self) -> Result<(), String> {
        let state = self.lock();
        if state.ended {
            return Err("the audit writer has ended".to_owned());
        }
        for queue in &state.queues {
            if let Some(failing) = &queue.failing {
                return Err(format!("{}: {failing} ({} records wait)", queue.name, queue.lines.len()));
            }
            if queue.lines.len() >= self.limit {
                return Err(format!("{}: the queue of {} records is full", queue.name, self.limit));
            }
        }
        Ok(())
    }
}

impl State {
    /// Queues a line for each sink, or counts it as dropped where a queue has `limit` lines.
    fn push(&mut self, line: &Arc<Line>, limit: usize) {
        for queue in &mut self.queues {
            if queue.lines.len() < limit {
                queue.lines.push_back(Arc::clone(line));
            } else {
                queue.dropped += 1;
                queue.untold += 1;
            }
        }
    }

    /// The length of the longest queue.
    pub(super) fn longest(&self) -> usize {
        self.queues.iter().map(|queue| queue.lines.len()).max().unwrap_or(0)
    }
}
