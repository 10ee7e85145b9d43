//! The last lines: to be searched, and to be followed without losing one silently.

use std::fmt;
use std::num::ParseIntError;
use std::pin::pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::Line;
use super::shelf::{Kept, Shelf};
use super::text::Text;
use super::vocabulary::{Decision, Kind};
use crate::policy::Reason;

/// The most lines that a follower gets at once.
const BATCH: usize = 256;

/// The ring of the last lines. Their places are contiguous.
#[derive(Debug)]
pub struct Recent {
    /// The lines, oldest first.
    ring: Mutex<Shelf>,
    /// Told when a line came.
    arrival: Notify,
    /// Differs between any two starts of the process.
    epoch: u64,
}

/// What lines are searched for; all of it must fit.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// What they are about.
    pub kind: Option<Kind>,
    /// What was decided.
    pub decision: Option<Decision>,
    /// Why it was denied.
    pub reason: Option<Reason>,
    /// The name or address that was asked for.
    pub host: Option<String>,
    /// Who asked.
    pub sandbox: Option<String>,
    /// Only lines after this place, oldest first; absent: the newest.
    pub since: Option<u64>,
    /// The most lines to find.
    pub limit: usize,
}

/// What a search found.
#[derive(Debug)]
pub struct Page {
    /// The lines, oldest first.
    pub lines: Vec<Arc<Line>>,
    /// The oldest place that is kept; 0 while there is none.
    pub oldest: u64,
    /// The newest place; 0 while there is none.
    pub newest: u64,
}

/// A place in the audit log of one start of the process: `seq` or `seq.epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The place.
    pub seq: u64,
    /// The start of the process, where it is known.
    pub epoch: Option<u64>,
}

/// A follower's next step.
#[derive(Debug)]
pub enum Step {
    /// These lines came.
    Lines(Vec<Arc<Line>>),
    /// Lines are gone that the follower has not seen; how many, unless they belong to an earlier start.
    Lost(Option<u64>),
}

/// A follower of the log. It holds no lines: one that is slow loses them, and is told so.
#[derive(Debug)]
pub struct Follow {
    /// The ring.
    recent: Arc<Recent>,
    /// The last place it has seen.
    seen: u64,
    /// Whether it came from an earlier start and has not been told.
    stranger: bool,
}

impl Recent {
    /// A ring of `capacity` lines (at least one) for the start `epoch`.
    pub(super) fn new(capacity: usize, epoch: u64) -> Self {
        Self { ring: Mutex::new(Shelf::new(capacity)), arrival: Notify::new(), epoch }
    }

    /// Keeps a line. Called under the queue's lock, so that order is the order of places.
    pub(super) fn push(&self, line: &Line) {
        self.lock().push(line);
    }

    /// Wakes the followers.
    pub(super) fn announce(&self) {
        self.arrival.notify_waiters();
    }

    /// Finds lines.
    #[must_use]
    pub fn query(&self, query: &Query) -> Page {
        // Those who decide wait for this lock: only what is found is copied under it.
        let ring = self.lock();
        let fitting = ring.iter().filter(|line| query.finds(line));
        let lines = if query.since.is_some() {
            fitting.take(query.limit).map(Kept::copy).map(Arc::new).collect()
        } else {
            let mut lines: Vec<_> = fitting.rev().take(query.limit).map(Kept::copy).map(Arc::new).collect();
            lines.reverse();
            lines
        };
        Page { lines, oldest: ring.oldest(), newest: ring.newest() }
    }

    /// Follows the log after a position; without one, from here on.
    #[must_use]
    pub fn follow(self: &Arc<Self>, after: Option<Position>) -> Follow {
        let newest = self.lock().newest();
        let (seen, stranger) = match after {
            None => (newest, false),
            Some(Position { seq, epoch }) => {
                let stranger = epoch.is_some_and(|epoch| epoch != self.epoch) || seq > newest;
                (if stranger { 0 } else { seq }, stranger)
            }
        };
        Follow { recent: Arc::clone(self), seen, stranger }
    }

    /// The position of a line of this log.
    #[must_use]
    pub const fn position(&self, seq: u64) -> Position {
        Position { seq, epoch: Some(self.epoch) }
    }

    /// The ring, also after a panic of somebody who held it.
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Query {
    /// Whether a line fits.
    #[must_use]
    pub fn matches(&self, line: &Line) -> bool {
        self.places(line.seq, line.kind)
            && self.decides(line.decision, line.reason)
            && self.names(line.host.as_ref().map(Text::as_str), line.sandbox.as_deref())
    }

    /// Whether a kept line fits.
    fn finds(&self, line: &Kept<'_>) -> bool {
        self.places(line.seq(), line.kind())
            && self.decides(line.decision(), line.reason())
            && self.names(line.host(), line.sandbox())
    }

    /// Whether its place and kind fit.
    fn places(&self, seq: u64, kind: Kind) -> bool {
        self.since.is_none_or(|since| seq > since) && self.kind.is_none_or(|wanted| kind == wanted)
    }

    /// Whether its decision fits.
    fn decides(&self, decision: Option<Decision>, reason: Option<Reason>) -> bool {
        self.decision.is_none_or(|wanted| decision == Some(wanted))
            && self.reason.is_none_or(|wanted| reason == Some(wanted))
    }

    /// Whether host and sandbox fit.
    fn names(&self, host: Option<&str>, sandbox: Option<&str>) -> bool {
        let is_host = |wanted: &String| host.is_some_and(|host| host.eq_ignore_ascii_case(wanted));
        self.host.as_ref().is_none_or(is_host)
            && self.sandbox.as_ref().is_none_or(|wanted| sandbox == Some(wanted))
    }
}

impl Follow {
    /// Waits for lines, or for the news that some are gone. Nothing is lost when the wait is cancelled.
    pub async fn next(&mut self) -> Step {
        let recent = Arc::clone(&self.recent);
        loop {
            let mut arrival = pin!(recent.arrival.notified());
            // RACE: asked to be told first, then looked.
            arrival.as_mut().enable();
            if let Some(step) = self.read() {
                return step;
            }
            arrival.await;
        }
    }

    /// What there is at once.
    fn read(&mut self) -> Option<Step> {
        if std::mem::take(&mut self.stranger) {
            return Some(Step::Lost(None));
        }
        let ring = self.recent.lock();
        let oldest = ring.iter().next()?.seq();
        let next = self.seen + 1;
        if next < oldest {
            self.seen = oldest - 1;
            return Some(Step::Lost(Some(oldest - next)));
        }
        let skip = usize::try_from(next - oldest).unwrap_or(usize::MAX);
        let lines: Vec<_> = ring.iter().skip(skip).take(BATCH).map(Kept::copy).map(Arc::new).collect();
        self.seen = lines.last()?.seq;
        Some(Step::Lines(lines))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            None => write!(f, "{}", self.seq),
            Some(epoch) => write!(f, "{}.{epoch:x}", self.seq),
        }
    }
}

impl FromStr for Position {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (seq, epoch) = match text.trim().split_once('.') {
            None => (text.trim(), None),
            Some((seq, epoch)) => (seq, Some(u64::from_str_radix(epoch, 16)?)),
        };
        Ok(Self { seq: seq.parse()?, epoch })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    use super::super::event::Event;
    use super::*;

    fn ring(capacity: usize, lines: u64) -> Arc<Recent> {
        let recent = Recent::new(capacity, 7);
        (1..=lines).for_each(|seq| push(&recent, seq));
        Arc::new(recent)
    }

    fn push(recent: &Recent, seq: u64) {
        let mut event = Event::new(Kind::Connection, "x".into());
        event.seq = seq;
        event.host = Some(Text::new(if seq.is_multiple_of(2) { "even.example" } else { "odd.example" }));
        event.decision = Some(if seq.is_multiple_of(2) { Decision::Allow } else { Decision::Deny });
        let body = event.body();
        recent.push(&Line::new(&event, body));
        recent.announce();
    }

    fn seqs(lines: &[Arc<Line>]) -> Vec<u64> {
        lines.iter().map(|line| line.seq).collect()
    }

    async fn expect_lines(follow: &mut Follow) -> Vec<u64> {
        match follow.next().await {
            Step::Lines(lines) => seqs(&lines),
            Step::Lost(lost) => panic!("{lost:?} are lost"),
        }
    }

    #[test]
    fn the_ring_keeps_the_newest_and_a_search_pages_through_it() {
        let recent = ring(10, 25);
        let page = recent.query(&Query { limit: 3, ..Query::default() });
        assert_eq!((seqs(&page.lines), page.oldest, page.newest), (vec![23, 24, 25], 16, 25));
        let page = recent.query(&Query { limit: 3, since: Some(17), ..Query::default() });
        assert_eq!(seqs(&page.lines), [18, 19, 20]);
        let host = Some("EVEN.example".to_owned());
        let page = recent.query(&Query { limit: 2, host, ..Query::default() });
        assert_eq!(seqs(&page.lines), [22, 24]);
        let decision = Some(Decision::Deny);
        let page = recent.query(&Query { limit: 99, decision, since: Some(20), ..Query::default() });
        assert_eq!(seqs(&page.lines), [21, 23, 25]);
        let sandbox = Some("nobody".to_owned());
        assert!(recent.query(&Query { limit: 9, sandbox, ..Query::default() }).lines.is_empty());
    }

    #[tokio::test]
    async fn a_follower_gets_each_line_once_and_waits_for_more() {
        let recent = ring(10, 3);
        let mut follow = recent.follow(Some(Position { seq: 1, epoch: None }));
        assert_eq!(expect_lines(&mut follow).await, [2, 3]);
        {
            let mut next = pin!(follow.next());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(matches!(next.as_mut().poll(&mut cx), Poll::Pending));
        }
        push(&recent, 4);
        assert_eq!(expect_lines(&mut follow).await, [4]);
        let mut live = recent.follow(None);
        push(&recent, 5);
        assert_eq!(expect_lines(&mut live).await, [5]);
    }

    #[tokio::test]
    async fn l2_a_follower_that_is_too_slow_is_told_how_many_it_lost() {
        let recent = ring(10, 100);
        let mut follow = recent.follow(Some(Position { seq: 50, epoch: Some(7) }));
        assert!(matches!(follow.next().await, Step::Lost(Some(40))));
        assert_eq!(expect_lines(&mut follow).await, (91..=100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn l2_a_follower_from_before_a_restart_is_told_and_gets_everything() {
        let recent = ring(10, 5);
        for position in ["3.6", "9.7", "9"] {
            let mut follow = recent.follow(Some(position.parse().unwrap()));
            assert!(matches!(follow.next().await, Step::Lost(None)), "{position}");
            assert_eq!(expect_lines(&mut follow).await, [1, 2, 3, 4, 5]);
        }
    }

    #[test]
    fn a_position_is_written_as_it_is_read() {
        for position in ["17", "17.9f3a"] {
            assert_eq!(position.parse::<Position>().unwrap().to_string(), position);
        }
        assert!(["", "x", "1.", "-1", "1.g"].iter().all(|text| text.parse::<Position>().is_err()));
    }
}
