//! The audit log as server-sent events, resumable by `Last-Event-ID`.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_stream::Stream;

use super::State;
use super::answer::Refusal;
use super::query::AuditParameters;
use super::serve::stop;
use crate::audit::recent::{Follow, Position, Query as Filter, Recent, Step};

/// What a connection lends to its streams.
#[derive(Clone)]
pub(super) struct Lease {
    /// Becomes true when the server stops.
    pub(super) stopping: watch::Receiver<bool>,
    /// How many more streams there may be.
    pub(super) streams: Arc<Semaphore>,
}

/// Answers `/v1/audit/stream`.
pub(super) async fn follow(
    Shared(state): Shared<Arc<State>>,
    Extension(lease): Extension<Lease>,
    headers: HeaderMap,
    parameters: Result<Query<AuditParameters>, QueryRejection>,
) -> Result<Response, Refusal> {
    let rejected = |rejection: QueryRejection| Refusal::BadQuery(rejection.body_text());
    let mut filter = parameters.map_err(rejected)?.0.parse()?;
    // The header comes from a client that connects again, so it knows better than the address it first used.
    let since = filter.since.take().map(|seq| Position { seq, epoch: None });
    let after = last_event(&headers)?.or(since);
    let permit = lease.streams.try_acquire_owned().map_err(|_| Refusal::TooManyStreams)?;
    let recent = Arc::clone(state.audit.recent());
    let source =
        Source { follow: recent.follow(after), recent, filter, stopping: lease.stopping, _permit: permit };
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    let mut response = Sse::new(Events::new(source)).keep_alive(keep_alive).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The position of `Last-Event-ID`.
fn last_event(headers: &HeaderMap) -> Result<Option<Position>, Refusal> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    let position = id.to_str().ok().and_then(|id| id.parse().ok());
    let wrong = "`Last-Event-ID` must be the id of an event of this stream, or a `seq`";
    position.map(Some).ok_or_else(|| Refusal::BadQuery(wrong.to_owned()))
}

/// Where a stream's events come from.
struct Source {
    /// The place in the log.
    follow: Follow,
    /// The log.
    recent: Arc<Recent>,
    /// What the client wants to see.
    filter: Filter,
    /// Becomes true when the server stops.
    stopping: watch::Receiver<bool>,
    /// Counts the stream until its end.
    _permit: OwnedSemaphorePermit,
}

impl Source {
    /// Waits for the next events; none: the server stops.
    async fn next(mut self) -> Option<(Self, Vec<Event>)> {
        loop {
            let step = tokio::select! {
                biased;
                () = stop(&mut self.stopping) => return None,
                step = self.follow.next() => step,
            };
            let events = self.events(step);
            if !events.is_empty() {
                return Some((self, events));
            }
        }
    }

    /// The events of a step.
    fn events(&self, step: Step) -> Vec<Event> {
        match step {
            Step::Lines(lines) => {
                let wanted = lines.iter().filter(|line| self.filter.matches(line));
                let id = |seq| self.recent.position(seq).to_string();
                wanted.map(|line| Event::default().id(id(line.seq)).data(line.to_string())).collect()
            }
            Step::Lost(Some(events)) => vec![lost(&json!({"events": events}))],
            Step::Lost(None) => vec![lost(&json!({"events": null, "because": "the gateway was restarted"}))],
        }
    }
}

/// Tells that events are missing here.
fn lost(data: &serde_json::Value) -> Event {
    Event::default().event("lost").data(data.to_string())
}

/// What a source gives at a time, with the source itself.
type Batch = Pin<Box<dyn Future<Output = Option<(Source, Vec<Event>)>> + Send>>;

/// The events of a source, one by one.
struct Events {
    /// The next ones; absent after the end.
    next: Option<Batch>,
    /// Those at hand.
    batch: std::vec::IntoIter<Event>,
}

impl Events {
    /// The events of a source.
    fn new(source: Source) -> Self {
        Self { next: Some(Box::pin(source.next())), batch: Vec::new().into_iter() }
    }
}

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.batch.next() {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(next) = &mut self.next else { return Poll::Ready(None) };
            match ready!(next.as_mut().poll(cx)) {
                Some((source, events)) => {
                    self.batch = events.into_iter();
                    self.next = Some(Box::pin(source.next()));
                }
                None => self.next = None,
            }
        }
    }
}
