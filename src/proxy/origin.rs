//! One HTTP/1.1 connection to an origin, used by one client connection only.
//!
//! It is never shared between clients, so no pool key can be wrong. It is used again for the same target as
//! long as both sides keep it open and the address is still permitted.

use std::net::IpAddr;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::body::ClientBody;
use crate::addr::Target;
use crate::drain::Tasks;

/// How long a kept connection may take to be ready for the next request.
const READY: Duration = Duration::from_millis(100);

/// An open connection to an origin.
#[derive(Debug)]
pub(super) struct Origin {
    sender: SendRequest<ClientBody>,
    pub(super) target: Target,
    pub(super) address: IpAddr,
    /// Whether a request went over it already, so that it may have been closed meanwhile.
    pub(super) used: bool,
}

impl Origin {
    /// Speaks HTTP on a fresh connection.
    ///
    /// # Errors
    /// The connection failed at once.
    pub(super) async fn new(
        stream: TcpStream,
        target: Target,
        address: IpAddr,
        tasks: &Tasks,
    ) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
        tasks.spawn("origin", async move {
            // Its failure reaches whoever awaits the response or reads the body.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, target, address, used: false })
    }

    /// Whether another request can be sent on it: the response before is read to its end, and it is still open.
    pub(super) async fn is_ready(&mut self) -> bool {
        !self.used || matches!(timeout(READY, self.sender.ready()).await, Ok(Ok(())))
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// The failure, and the request when no byte of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<ClientBody>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Box<Request<ClientBody>>>)> {
        self.used = true;
        self.sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message().map(Box::new);
            (error.into_error(), unsent)
        })
    }
}
