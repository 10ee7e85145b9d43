//! Bodies on their way through: counted, never held.

use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::account::Pace;
use super::arriving::{Arriving, Cut};
use super::cover::Cover;
use super::exchange::Exchange;
use super::inject::keep_out;
use super::outlet::Outlet;
use super::session::Session;
use crate::audit::{Outcome, Text};
use crate::secrets::Scrubber;
use crate::secrets::placeholder::{PlaceholderError, check_trailers};
use crate::wire::headers;

/// The body of a response to the client.
#[derive(Debug)]
pub(super) enum Body {
    /// A text of our own, until it is sent.
    Text(Option<Bytes>),
    /// The origin's body; the request's record ends with it.
    Origin(Box<OriginBody>),
}

/// The body of an origin's response, with the record of the request it answers.
#[derive(Debug)]
pub(super) struct OriginBody {
    inner: Arriving,
    exchange: Option<Exchange>,
    /// What is on its way to the client.
    outlet: Arc<Outlet>,
    /// Why there is no more of it.
    broken: Option<Cut>,
    /// What keeps the values of secrets out of it.
    cover: Option<(Option<Scrubber>, Cover)>,
    /// What follows the last of its bytes.
    trailers: Option<HeaderMap>,
}

/// What the client sends with a request while the response may be under way already.
#[derive(Debug, Default)]
pub(super) struct Upload(Mutex<UploadState>);

/// Where an upload stands.
#[derive(Debug, Default)]
struct UploadState {
    /// The payload bytes so far.
    bytes: u64,
    /// Its end was passed on.
    ended: bool,
    /// The client broke it off.
    broken: bool,
    /// The record has ended first.
    cut: bool,
    /// Whom to wake then.
    waker: Option<Waker>,
    /// Why it was broken off: it has a placeholder where none is swapped.
    misplaced: Option<PlaceholderError>,
}

impl Upload {
    /// Ends what is left of it: no record counts it and no policy change is asked about it any more. Answers how many
    /// payload bytes have gone.
    pub(super) fn cut(&self) -> u64 {
        let mut state = self.state();
        state.cut = !state.ended;
        let (bytes, waker) = (state.bytes, state.waker.take());
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        bytes
    }

    /// Why it was broken off from this side, if it was.
    pub(super) fn misplaced(&self) -> Option<PlaceholderError> {
        self.state().misplaced.clone()
    }

    /// Whether the client broke it off, so that whoever waits for its end waits in vain.
    pub(super) fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// The state; a panic elsewhere leaves it consistent.
    fn state(&self) -> MutexGuard<'_, UploadState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body {
    /// A body of our own.
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self::Text(Some(text.into()).filter(|text: &Bytes| !text.is_empty()))
    }

    /// No body.
    pub(super) const fn empty() -> Self {
        Self::Text(None)
    }

    /// An origin's body, whose end is the end of `exchange`; the values of `cover` do not pass.
    pub(super) fn origin(
        inner: Arriving,
        exchange: Exchange,
        outlet: Arc<Outlet>,
        cover: Option<(Option<Scrubber>, Cover)>,
    ) -> Self {
        // The head before it.
        outlet.hand(1);
        let exchange = Some(exchange);
        Self::Origin(Box::new(OriginBody { inner, exchange, outlet, broken: None, cover, trailers: None }))
    }
}

impl OriginBody {
    /// The next part, without the values that are kept out.
    fn poll_covered(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        loop {
            let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.inner), cx));
            let Some((scrubber, cover)) = &mut self.cover else { return Poll::Ready(frame) };
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    let held = scrubber.take().map(|mut scrubber| scrubber.finish()).unwrap_or_default();
                    let last = Some(held).filter(|held| !held.is_empty());
                    return Poll::Ready(last.map(|held| Ok(Frame::data(held))));
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let masked = scrubber
                        .as_mut()
                        .map_or_else(|| data.clone(), |scrubber| scrubber.push(data.clone()));
                    if !masked.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(masked))));
                    }
                }
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    cover.fields(&mut trailers);
                    let held = scrubber.take().map(|mut scrubber| scrubber.finish()).unwrap_or_default();
                    if held.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                    self.trailers = Some(trailers);
                    return Poll::Ready(Some(Ok(Frame::data(held))));
                }
            }
        }
    }

    /// Whether there is no more of it, nor anything that is held back.
    fn is_ended(&self) -> bool {
        let held =
            self.trailers.is_some() || self.cover.as_ref().is_some_and(|(scrubber, _)| scrubber.is_some());
        http_body::Body::is_end_stream(&self.inner) && !held
    }

    /// Ends the record.
    fn end(&mut self, outcome: Outcome) {
        let Some(exchange) = self.exchange.take() else { return };
        exchange.finish(outcome);
    }
}

impl Drop for OriginBody {
    fn drop(&mut self) {
        let complete = http_body::Body::is_end_stream(&self.inner);
        if complete {
            self.outlet.settle();
        }
        self.end(if complete { Outcome::Ok } else { Outcome::ClientClosed });
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let body = match self.get_mut() {
            Self::Text(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Origin(body) => body,
        };
        let frame = if body.broken.is_none() {
            ready!(body.outlet.poll_room(cx));
            ready!(body.poll_covered(cx))
        } else {
            None
        };
        match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                body.outlet.hand(bytes);
                if let Some(exchange) = &mut body.exchange {
                    exchange.add_down(bytes);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => {
                if let Some(exchange) = &mut body.exchange {
                    exchange.note(|event| event.error = Some(told(&error)));
                }
                body.end(Outcome::UpstreamClosed);
                body.broken = Some(error);
            }
            None if body.broken.is_some() => {}
            None => {
                body.outlet.settle();
                body.end(Outcome::Ok);
            }
        }
        if body.broken.is_some() {
            // hyper closes at once and takes nothing more from its queue: the client gets what there was.
            ready!(body.outlet.poll_empty(cx));
        }
        Poll::Ready(body.broken.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Origin(body) => body.is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Origin(body) => body.inner.size_hint(),
        }
    }
}

/// How many bytes header or trailer fields take, about.
pub(super) fn size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// What a failure says, and what was behind it.
///
/// SECURITY: S5: an origin may say anything in the `GOAWAY` of HTTP/2, what it was sent as well: only its code is told.
fn told(error: &Cut) -> Text {
    let source = std::error::Error::source(error);
    let code = source.and_then(|source| source.downcast_ref::<h2::Error>()).and_then(h2::Error::reason);
    match (code, source) {
        (Some(code), _) => Text::new(&format!("{error}: {code}")),
        (None, Some(source)) => Text::new(&format!("{error}: {source}")),
        (None, None) => Text::of(error),
    }
}

/// The body of a request on its way to the origin.
#[derive(Debug)]
pub(super) struct ClientBody {
    /// Nothing is left of it where it is none.
    inner: Option<Arriving>,
    session: Arc<Session>,
    upload: Arc<Upload>,
    /// What is on its way to the origin, once it is known which connection that is.
    outlet: Arc<Outlet>,
    /// How fast it may go.
    pace: Pace,
    /// What was read of it and may not go yet.
    rest: Bytes,
    /// What follows it, and how many bytes of that wait for their turn.
    trailers: Option<(HeaderMap, usize)>,
    /// The fields that may not follow it, by their folded names.
    kept_out: HashSet<String>,
}

impl ClientBody {
    /// A client's body that counts into `upload`.
    pub(super) fn new(inner: Arriving, session: Arc<Session>, upload: Arc<Upload>) -> Self {
        let pace = Pace::of(&session.meter.account);
        Self {
            inner: Some(inner),
            session,
            upload,
            outlet: Arc::default(),
            pace,
            rest: Bytes::new(),
            trailers: None,
            kept_out: HashSet::new(),
        }
    }

    /// The same; fields of these names do not follow it.
    pub(super) fn keeping_out(mut self, kept_out: HashSet<String>) -> Self {
        self.kept_out = kept_out;
        self
    }

    /// Has it sent on the connection that `outlet` is of.
    pub(super) fn by(&mut self, outlet: &Arc<Outlet>) {
        self.outlet = Arc::clone(outlet);
    }

    /// The same request's body for a second attempt, if this one has none.
    pub(super) fn repeated(&self) -> Option<Self> {
        let (session, upload) = (Arc::clone(&self.session), Arc::clone(&self.upload));
        http_body::Body::is_end_stream(self).then(|| Self {
            inner: None,
            pace: Pace::of(&session.meter.account),
            session,
            upload,
            outlet: Arc::default(),
            rest: Bytes::new(),
            trailers: None,
            kept_out: HashSet::new(),
        })
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        self.upload.state().ended = true;
    }
}

impl http_body::Body for ClientBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        // RACE: held until the frame is counted, so that what goes up is in the record and nothing goes up after it.
        let mut state = this.upload.state();
        if state.cut {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        state.waker = Some(cx.waker().clone());
        ready!(this.outlet.poll_room(cx));
        if this.rest.is_empty() && this.trailers.is_none() {
            let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
            match ready!(Pin::new(inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => this.rest = data,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(frame) => {
                        let mut fields = frame.into_trailers().unwrap_or_default();
                        keep_out(&this.kept_out, &mut fields);
                        headers::remove_overrides(&mut fields);
                        if let Err(error) = check_trailers(&fields) {
                            state.misplaced = Some(error.clone());
                            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidData, error))));
                        }
                        let owed = size(&fields);
                        this.trailers = Some((fields, owed));
                    }
                },
                Some(Err(error)) => {
                    state.broken = true;
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                None => return Poll::Ready(None),
            }
        }
        if let Some((_, owed)) = &mut this.trailers {
            while *owed > 0 {
                let paid = ready!(this.pace.poll_room(*owed, cx)).min(*owed);
                this.pace.went(paid);
                *owed -= paid;
            }
            return Poll::Ready(this.trailers.take().map(|(fields, _)| Ok(Frame::trailers(fields))));
        }
        let room = ready!(this.pace.poll_room(this.rest.len(), cx));
        let data = this.rest.split_to(room.min(this.rest.len()));
        let bytes = data.len();
        this.pace.went(bytes);
        state.bytes += bytes as u64;
        this.outlet.hand(bytes);
        this.session.meter.add_up(bytes);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
            && self.trailers.is_none()
            && self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let Some(inner) = &self.inner else { return SizeHint::with_exact(rest) };
        let mut hint = inner.size_hint();
        hint.set_lower(hint.lower() + rest);
        if let Some(upper) = inner.size_hint().upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
