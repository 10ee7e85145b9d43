//! Bodies on their way to the client: counted, never held.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::arriving::{Arriving, Cut};
use super::cover::Cover;
use super::exchange::Exchange;
use super::outlet::Outlet;
use crate::audit::{Outcome, Text};
use crate::secrets::Scrubber;

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
