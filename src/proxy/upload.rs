//! Bodies on their way to the origin: counted, never held.

use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::account::Pace;
use super::arriving::Arriving;
use super::body::size;
use super::inject::keep_out;
use super::outlet::Outlet;
use super::session::Session;
use crate::secrets::placeholder::{PlaceholderError, check_trailers};
use crate::wire::headers;

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
        longer(&inner.size_hint(), rest)
    }
}

/// What is known of the length of a body with this much before it.
fn longer(hint: &SizeHint, rest: u64) -> SizeHint {
    let mut longer = SizeHint::new();
    // A lower bound above the upper one would panic, so the upper one goes first.
    if let Some(upper) = hint.upper() {
        longer.set_upper(upper + rest);
    }
    longer.set_lower(hint.lower() + rest);
    longer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_is_known_stays_known_while_a_part_of_it_waits() {
        assert_eq!(longer(&SizeHint::with_exact(7), 5).exact(), Some(12));
        let mut open = SizeHint::new();
        open.set_lower(3);
        assert_eq!((longer(&open, 5).lower(), longer(&open, 5).upper()), (8, None));
    }
}
