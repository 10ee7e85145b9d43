//! What a connection begins with when a trusted peer passes it on: the header that says whose it is.
//!
//! It is read before anything else, in the task of the connection and against a deadline, so that a peer that is slow holds
//! up nobody. A connection from anybody else is not looked at for one: there, its bytes are malformed HTTP.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::accept::turn_away;
use super::entry::Entry;
use super::exchange::Exchange;
use super::refusal::Refusal;
use super::relay::reset;
use super::session::Session;
use super::{explicit, transparent};
use crate::audit::{Kind, Outcome};
use crate::wire::proxy_header::{Header, HeaderError, MOST, Proxied, parse};

/// Serves a connection to its end, once it is known whose it is.
pub(super) async fn serve(session: Arc<Session>, stream: TcpStream) {
    if session.listener.believes(session.client.ip()) {
        if let Some((session, stream)) = Introduction(Some(session)).run(stream).await {
            enter(session, stream).await;
        }
    } else {
        enter(session, stream).await;
    }
}

/// Serves a connection in the way that it came in.
async fn enter(session: Arc<Session>, stream: TcpStream) {
    if let Err(refused) = session.arrive() {
        let (known, refusal) = *refused;
        return turn_away(&session, stream, Some(known), &refusal);
    }
    match session.listener.entry {
        Entry::Explicit => explicit::serve(session, stream).await,
        Entry::Redirect | Entry::TProxy => transparent::serve(session, stream).await,
    }
}

/// A connection that nobody knows whose it is; it leaves its record unless that is found out.
struct Introduction(Option<Arc<Session>>);

/// Why a connection goes no further.
enum End {
    /// What it begins with is no header that can be used.
    Refused(Refusal),
    /// The gateway takes nothing new.
    Draining,
}

impl Introduction {
    /// Reads the header, and answers the connection of whom it names.
    async fn run(mut self, mut stream: TcpStream) -> Option<(Arc<Session>, TcpStream)> {
        let session = self.0.clone()?;
        let watcher = session.gateway.tasks.watcher().clone();
        let read = tokio::select! {
            biased;
            read = timeout(session.gateway.limits.header_timeout, read(&mut stream)) => read,
            () = watcher.draining() => {
                self.end(stream, End::Draining).await;
                return None;
            }
        };
        let late = || Refusal::malformed("the PROXY protocol header of a trusted peer did not come in time");
        match read.unwrap_or_else(|_| Err(late())) {
            Ok(proxied) => {
                // The record of the connection is left by whoever serves it.
                self.0 = None;
                let session = Arc::into_inner(session)?;
                Some((Arc::new(session.introduced(proxied)), stream))
            }
            Err(refusal) => {
                self.end(stream, End::Refused(refusal)).await;
                None
            }
        }
    }

    /// Ends the connection with its record.
    async fn end(mut self, stream: TcpStream, end: End) {
        let Some(session) = self.0.take() else { return };
        // From here on the record is its own guard.
        if let Ok(exchange) = Exchange::admitted(&session, Kind::Connection).await {
            match end {
                End::Refused(refusal) => exchange.refuse(&refusal, None, None),
                End::Draining => exchange.finish(Outcome::Drained),
            }
        }
        reset(stream);
    }
}

impl Drop for Introduction {
    /// The task was dropped before it came to that.
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            drop(Exchange::unadmitted(session, Kind::Connection));
        }
    }
}

/// Reads a header and not a byte more; `None`: the connection is the peer's own.
async fn read(stream: &mut TcpStream) -> Result<Option<Proxied>, Refusal> {
    let mut bytes = [0; MOST];
    let mut filled = 0;
    loop {
        match parse(bytes.get(..filled).unwrap_or_default()) {
            Ok(Header::Proxy(proxied, _)) => return Ok(Some(proxied)),
            Ok(Header::Local(_)) => return Ok(None),
            Ok(Header::NeedMore(more)) => {
                let space = bytes.get_mut(filled..filled + more).unwrap_or_default();
                match stream.read(space).await {
                    Ok(read @ 1..) => filled += read,
                    Ok(0) => return Err(ended(None)),
                    Err(error) => return Err(ended(Some(&error))),
                }
            }
            Err(error) => return Err(not_a_header(error)),
        }
    }
}

/// The refusal of what is no header.
fn not_a_header(error: HeaderError) -> Refusal {
    Refusal::malformed(format!("{error}; the listener's `proxyProtocol` lists this peer"))
}

/// The refusal of a connection that ended.
fn ended(error: Option<&io::Error>) -> Refusal {
    let end = "the connection of a trusted peer ended before its PROXY protocol header did";
    Refusal::malformed(error.map_or_else(|| end.to_owned(), |error| format!("{end}: {error}")))
}
