//! A body as it arrives, from a client or an origin: what was cut off never looks as if it had ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::origin::Lease;

/// A body that arrives.
#[derive(Debug)]
pub(super) struct Arriving {
    inner: Incoming,
    /// It is a stream of HTTP/2, which its sender can also reset.
    stream: bool,
    /// The connection that it comes on is taken as long as there is more of it.
    lease: Option<Arc<Lease>>,
}

/// Why there is no more of a body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    /// The connection or the stream failed.
    #[error(transparent)]
    Failed(#[from] hyper::Error),
    /// The stream was reset without an error, and before its end (RFC 9113 §8.1).
    #[error("the stream was reset before its end")]
    Reset,
}

impl Arriving {
    /// The body of a message of this version.
    pub(super) const fn new(inner: Incoming, version: Version) -> Self {
        Self { inner, stream: matches!(version, Version::HTTP_2), lease: None }
    }

    /// The same, on a connection that it keeps from being used for anything else.
    pub(super) fn holding(self, lease: Arc<Lease>) -> Self {
        Self { lease: Some(lease), ..self }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match frame {
            Some(frame) => return Poll::Ready(Some(frame.map_err(Cut::Failed))),
            // SECURITY: hyper takes NO_ERROR for an end, wherever it comes.
            None if this.stream && !this.inner.is_end_stream() => return Poll::Ready(Some(Err(Cut::Reset))),
            None => {}
        }
        this.lease = None;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
