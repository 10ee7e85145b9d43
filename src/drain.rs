//! Graceful stop: who runs, who is told, how long it may take, and what happens then.
//!
//! Two signs, one after the other. *Draining*: take nothing new, finish what runs. *Force*: the
//! deadline has passed and every task that is left is dropped where it stands, so that its guards
//! (audit records above all) still run.
//!
//! | event | accept loops | tasks |
//! |---|---|---|
//! | [`Drain::start`] | [`Watcher::draining`] completes | go on |
//! | [`Drain::finish`], all ended in time | | [`Drained::Clean`] |
//! | [`Drain::finish`], deadline passed | | dropped, counted in [`Drained::Forced`] |
//!
//! This is the only module that spawns. A panic ends its own task and nothing else: it is caught and
//! reported once through a callback.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long dropped tasks have to run their guards before [`Drain::finish`] stops waiting for them.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// What is called with each caught panic.
type OnPanic = Arc<dyn Fn(&Panicked) + Send + Sync>;

/// The trigger of a graceful stop; held by whoever receives the signal.
#[derive(Debug)]
pub struct Drain {
    /// What the watchers look at.
    watcher: Watcher,
    /// The tasks that are waited for.
    tracker: TaskTracker,
}

/// Sees a graceful stop coming. Clones are cheap and see the same one.
#[derive(Debug, Clone)]
pub struct Watcher {
    /// Cancelled when nothing new may start.
    draining: CancellationToken,
    /// Cancelled when the deadline has passed.
    force: CancellationToken,
}

/// Starts tasks that are waited for at the end. Clones share one set.
#[derive(Clone)]
pub struct Tasks {
    /// What [`Drain::finish`] waits for.
    tracker: TaskTracker,
    /// Ends the tasks when the deadline has passed.
    watcher: Watcher,
    /// Told about every panic.
    on_panic: OnPanic,
}

/// A panic that was caught at the edge of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked {
    /// The name the task was spawned under.
    pub task: &'static str,
    /// The panic's message; it may quote client bytes, so it is escaped and capped before it is logged.
    pub message: String,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every task ended by itself.
    Clean,
    /// The deadline passed with tasks still running; they were dropped.
    Forced {
        /// How many tasks were dropped.
        tasks: usize,
    },
}

impl Drain {
    /// A stop that has not begun, and the watcher that sees it.
    #[must_use]
    pub fn new() -> (Self, Watcher) {
        let watcher = Watcher { draining: CancellationToken::new(), force: CancellationToken::new() };
        (Self { watcher: watcher.clone(), tracker: TaskTracker::new() }, watcher)
    }

    /// The task set of this stop; `on_panic` is called once for each panic caught in it.
    #[must_use]
    pub fn tasks(&self, on_panic: impl Fn(&Panicked) + Send + Sync + 'static) -> Tasks {
        Tasks { tracker: self.tracker.clone(), watcher: self.watcher.clone(), on_panic: Arc::new(on_panic) }
    }

    /// Begins the stop: watchers are told to take nothing new. Calling it twice changes nothing.
    pub fn start(&self) {
        self.watcher.draining.cancel();
    }

    /// Begins the stop if it has not begun, waits up to `deadline` for the tasks, then drops the rest.
    ///
    /// A task that blocks its thread cannot be dropped; it is given one second more and then left.
    pub async fn finish(self, deadline: Duration) -> Drained {
        self.start();
        self.tracker.close();
        if timeout(deadline, self.tracker.wait()).await.is_ok() {
            return Drained::Clean;
        }
        let tasks = self.tracker.len();
        self.watcher.force.cancel();
        let _ = timeout(LAST_GRACE, self.tracker.wait()).await;
        if tasks == 0 { Drained::Clean } else { Drained::Forced { tasks } }
    }
}

impl Watcher {
    /// Completes when nothing new may start.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Whether the stop has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Whether the deadline has passed, so that tasks are being dropped in no order.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.force.is_cancelled()
    }

    /// Completes when the deadline has passed. Tasks of [`Tasks::spawn`] are dropped then by themselves.
    pub async fn forced(&self) {
        self.force.cancelled().await;
    }
}

impl Tasks {
    /// Runs `work` as a task of its own, until it ends, panics or is dropped at the deadline.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that spawns")]
    pub fn spawn<F>(&self, task: &'static str, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (watcher, on_panic) = (self.watcher.clone(), Arc::clone(&self.on_panic));
        // On the heap before anything holds it: each future around another one would have room for it twice.
        let work = Box::pin(work);
        self.tracker.spawn(async move {
            if let Err(payload) = catch(work, &watcher).await {
                let message = message_of(payload.as_ref());
                on_panic(&Panicked { task, message });
            }
        });
    }

    /// What tells this set to stop.
    #[must_use]
    pub const fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// How many tasks run at this moment.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker.len()
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("running", &self.running()).finish_non_exhaustive()
    }
}

/// Runs `work` until it ends or the deadline passes, and hands back its panic, also one from dropping it,
/// instead of unwinding further.
async fn catch<F: Future<Output = ()>>(
    work: Pin<Box<F>>,
    watcher: &Watcher,
) -> Result<(), Box<dyn Any + Send>> {
    let mut forced = pin!(watcher.force.cancelled());
    let mut slot = Some(work);
    poll_fn(move |cx| {
        let Some(work) = slot.as_mut() else { return Poll::Ready(Ok(())) };
        // The future is never polled again after a panic, so no broken state can be observed.
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        let panicked = match polled {
            Ok(Poll::Pending) if forced.as_mut().poll(cx).is_pending() => return Poll::Pending,
            Ok(_) => None,
            Err(payload) => Some(payload),
        };
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(slot.take())));
        Poll::Ready(panicked.map_or(dropped, Err))
    })
    .await
}

/// The text of a panic's payload.
fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Panics when it is dropped.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    /// A stop whose panics arrive on a channel.
    fn rig() -> (Drain, Tasks, mpsc::UnboundedReceiver<Panicked>) {
        let (tell, told) = mpsc::unbounded_channel();
        let (drain, _) = Drain::new();
        let tasks = drain.tasks(move |panicked| tell.send(panicked.clone()).unwrap());
        (drain, tasks, told)
    }

    #[tokio::test]
    async fn a_stop_without_tasks_is_clean_at_once() {
        let (drain, _watcher) = Drain::new();
        assert_eq!(drain.finish(Duration::ZERO).await, Drained::Clean);
    }

    #[tokio::test]
    async fn a_task_that_ends_after_the_sign_is_clean() {
        let (drain, tasks, _told) = rig();
        let watcher = tasks.watcher.clone();
        assert!(!watcher.is_draining());
        tasks.spawn("polite", async move { watcher.draining().await });
        assert_eq!(tasks.running(), 1);
        assert_eq!(drain.finish(Duration::from_mins(1)).await, Drained::Clean);
        assert_eq!(tasks.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_stays_is_dropped_at_the_deadline_and_its_guards_run() {
        let (drain, tasks, _told) = rig();
        let (guard, dropped) = oneshot::channel::<()>();
        tasks.spawn("stubborn", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        assert_eq!(drain.finish(Duration::from_secs(10)).await, Drained::Forced { tasks: 1 });
        assert!(dropped.await.is_err(), "the guard was dropped with its task");
    }

    #[tokio::test]
    async fn c2_a_panic_is_caught_and_reported_and_closes_only_its_own_task() {
        let (drain, tasks, mut told) = rig();
        let (tell, alive) = oneshot::channel();
        let watcher = tasks.watcher.clone();
        tasks.spawn("other", async move {
            watcher.draining().await;
            tell.send("still here").unwrap();
        });
        tasks.spawn("broken", async { panic!("no {}", "way") });
        let panicked = told.recv().await.unwrap();
        assert_eq!(panicked, Panicked { task: "broken", message: "no way".into() });
        assert_eq!(drain.finish(Duration::from_mins(1)).await, Drained::Clean);
        assert_eq!(alive.await.unwrap(), "still here");
        assert!(told.try_recv().is_err(), "one panic is reported once");
    }

    #[tokio::test]
    async fn c2_a_panic_while_a_finished_task_is_dropped_is_caught_too() {
        let (drain, tasks, mut told) = rig();
        tasks.spawn("bomb", async {
            let _bomb = Bomb;
            tokio::task::yield_now().await;
        });
        assert_eq!(told.recv().await.unwrap().message, "dropped");
        assert_eq!(drain.finish(Duration::from_mins(1)).await, Drained::Clean);
    }

    #[tokio::test(start_paused = true)]
    async fn c2_a_panic_while_a_forced_task_is_dropped_is_caught_too() {
        let (drain, tasks, mut told) = rig();
        tasks.spawn("bomb", async {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        });
        assert_eq!(drain.finish(Duration::from_secs(1)).await, Drained::Forced { tasks: 1 });
        assert_eq!(told.recv().await.unwrap().message, "dropped");
    }
}
