//! The first bytes of a tunnel: what the client speaks, looked at before any of it leaves.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use bytes::BufMut;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::exchange::{Call, Exchange};
use super::refusal::Refusal;
use super::relay::{RelayError, failed};
use super::session::{Content, Session, Standing};
use super::tunnel::{Client, End};
use crate::addr::Host;
use crate::audit::{Event, Ingress, Scheme, Text};
use crate::policy::{Denial, TargetPermit};
use crate::wire::client_hello::{self, ClientHello, Hello};
use crate::wire::protocol::{Sniff, Sniffer, sniff};

/// How long a client may take from its first byte to a complete `ClientHello` or request line.
pub(super) const FIRST_BYTES: Duration = Duration::from_secs(5);
/// The most that is looked at: a `ClientHello` of 64 KiB in records, or a request line.
const MOST: usize = 68 * 1024;
/// The most of the origin's bytes that wait for the client meanwhile.
pub(super) const AHEAD: usize = 16 * 1024;

/// What the client turned out to speak.
pub(super) enum Inside {
    /// To be carried as it is.
    Opaque,
    /// TLS: the records of its hello are the first bytes, this many.
    Tls(ClientHello, usize),
    /// To be judged request by request.
    Http,
}

/// Looks into a tunnel before anything from the client leaves.
pub(super) struct Peek<'a> {
    pub(super) session: &'a Session,
    pub(super) exchange: &'a mut Exchange,
    pub(super) standing: &'a mut Standing,
    /// What the origin has sent and the client not yet taken.
    pub(super) held: Vec<u8>,
}

impl Peek<'_> {
    /// Looks at the client's first bytes, while the origin's are passed on.
    pub(super) async fn enter(
        &mut self,
        Client { stream: client, first }: &mut Client,
        origin: &TcpStream,
    ) -> Result<Inside, End> {
        let (mut spoke, mut done) = (false, false);
        let (mut deadline, mut sniffer) = (None, Sniffer::default());
        loop {
            if let Some(inside) = tell(first, &mut sniffer, spoke || done).map_err(End::Refused)? {
                return Ok(inside);
            }
            if !first.is_empty() {
                deadline.get_or_insert_with(|| Instant::now() + FIRST_BYTES);
            }
            let holds = !self.held.is_empty();
            if !holds {
                // A tunnel that waits holds no buffer.
                self.held = Vec::new();
            }
            tokio::select! {
                biased;
                ready = client.readable() => {
                    let read = ready.and_then(|()| client.try_read_buf(first));
                    if at_once(read).map_err(|error| End::Failed(RelayError::Client(error)))? == Some(0) {
                        return closed(first);
                    }
                }
                ready = client.writable(), if holds => {
                    let written = ready.and_then(|()| client.try_write(&self.held));
                    let written = at_once(written).map_err(|error| End::Failed(RelayError::Client(error)))?;
                    let written = written.unwrap_or_default();
                    self.held.drain(..written);
                    self.session.meter.add_down(written);
                }
                ready = origin.readable(), if !holds && !done => {
                    self.held.reserve_exact(AHEAD);
                    let read = ready.and_then(|()| origin.try_read_buf(&mut (&mut self.held).limit(AHEAD)));
                    match at_once(read).map_err(|error| End::Failed(RelayError::Origin(error)))? {
                        Some(0) => {
                            done = true;
                            // A client that is gone already has nothing to be told.
                            let _ = SockRef::from(&*client).shutdown(Shutdown::Write);
                        }
                        Some(_) => spoke = true,
                        None => {}
                    }
                }
                // A side that is not read from can still be reset.
                error = failed(origin), if holds || done => return Err(End::Failed(RelayError::Origin(error))),
                () = until(deadline) => return Err(late()),
            }
        }
    }

    /// What applies at this moment, which the record names from here on.
    fn call(&mut self) -> Result<Call, Denial> {
        Ok(self.exchange.call(self.session.identify_again(&self.standing.sandbox)?))
    }

    /// Judges what is known to be inside by now.
    pub(super) fn admit(&mut self) -> Result<(Call, TargetPermit), Refusal> {
        let call = self.call()?;
        let permit = self.exchange.decide(|| self.standing.admit(&call.policy))?;
        self.exchange.allowed(permit.cause(), permit.would_deny(), permit.is_skipped());
        Ok((call, permit))
    }

    /// Judges what is neither TLS nor HTTP, or may be.
    pub(super) fn judge_opaque(&mut self) -> Result<(), Refusal> {
        let call = self.call()?;
        let standing = Standing { content: Content::Opaque, ..self.standing.clone() };
        let permit = self.exchange.decide(|| standing.admit(&call.policy))?;
        self.exchange.allowed(permit.cause(), permit.would_deny(), permit.is_skipped());
        self.standing.content = Content::Opaque;
        self.exchange.stand_since(&standing, call.generation)?;
        Ok(())
    }

    /// Judges the name in a `ClientHello` as the second name of the call; answers whether the TLS is to be decrypted.
    pub(super) fn judge_hello(&mut self, hello: &ClientHello) -> Result<bool, Refusal> {
        self.exchange.note(|event| describe(event, hello));
        let call = self.call()?;
        let policy = &call.policy;
        let alias = hello.server_name.clone().map(Host::Name);
        let (permit, decrypts) = self.exchange.decide(|| {
            if hello.ech {
                policy.admit_ech()?;
            }
            let mut permit = policy.admit(&self.standing.target)?;
            match &alias {
                Some(alias) => permit = policy.admit_alias(permit, alias)?,
                None => policy.admit_nameless_tls(&permit)?,
            }
            let decrypts = policy.decrypts(&permit);
            if !decrypts {
                policy.admit_sealed(&permit)?;
            }
            Ok((permit, decrypts))
        })?;
        self.standing.nameless_tls = alias.is_none();
        self.standing.alias = alias;
        self.standing.content = if decrypts { Content::Requests } else { Content::Sealed };
        self.exchange.allowed(permit.cause(), permit.would_deny(), permit.is_skipped());
        self.exchange.stand_since(self.standing, call.generation)?;
        Ok(decrypts)
    }
}

/// The first bytes of a client while there is no origin; `None` when it sends nothing for `quiet`, if that is given.
///
/// # Errors
/// The client failed, or what it sent is refused whoever it is for.
pub(super) async fn first_bytes(
    Client { stream: client, first }: &mut Client,
    quiet: Option<Duration>,
) -> Result<Option<Inside>, End> {
    let silent = quiet.map(|quiet| Instant::now() + quiet);
    let (mut deadline, mut sniffer) = (None, Sniffer::default());
    loop {
        if let Some(inside) = tell(first, &mut sniffer, false).map_err(End::Refused)? {
            return Ok(Some(inside));
        }
        if !first.is_empty() {
            deadline.get_or_insert_with(|| Instant::now() + FIRST_BYTES);
        }
        tokio::select! {
            biased;
            ready = client.readable() => {
                let read = ready.and_then(|()| client.try_read_buf(first));
                if at_once(read).map_err(|error| End::Failed(RelayError::Client(error)))? == Some(0) {
                    return closed(first).map(Some);
                }
            }
            () = until(deadline.or(silent)) => {
                return if first.is_empty() { Ok(None) } else { Err(late()) };
            }
        }
    }
}

/// What the first bytes are, once they tell.
pub(super) fn tell(
    first: &[u8],
    sniffer: &mut Sniffer,
    origin_spoke: bool,
) -> Result<Option<Inside>, Refusal> {
    match sniffer.sniff(first) {
        _ if first.is_empty() => Ok(None),
        Sniff::Tls => match client_hello::split(first) {
            (Hello::NeedMore, _) if first.len() < MOST => Ok(None),
            (Hello::NeedMore, _) => Err(Refusal::malformed("the TLS ClientHello is longer than 64 KiB")),
            (Hello::Invalid(error), _) => {
                Err(Refusal::malformed(format!("the TLS ClientHello is malformed: {error}")))
            }
            (Hello::Complete(hello), length) => Ok(Some(Inside::Tls(hello, length))),
        },
        Sniff::NeedMore if first.len() < MOST => Ok(None),
        Sniff::NeedMore => Err(Refusal::malformed("the first line is longer than 64 KiB")),
        Sniff::Http2Preface => {
            Err(Refusal::malformed("HTTP/2 in the clear is not supported: use TLS or HTTP/1.1"))
        }
        Sniff::Http1 if origin_spoke => Err(Refusal::malformed("the origin spoke before the HTTP request")),
        Sniff::Http1 => Ok(Some(Inside::Http)),
        Sniff::Other => Ok(Some(Inside::Opaque)),
    }
}

/// Writes what a hello says into an event.
pub(super) fn describe(event: &mut Event, hello: &ClientHello) {
    event.scheme = Some(Scheme::Tls);
    event.sni = hello.server_name.as_ref().map(|name| Text::new(name.as_str()));
    event.ech = hello.ech;
    if event.ingress == Some(Ingress::TransparentTcp) {
        event.ingress = Some(Ingress::TransparentTls);
    }
}

/// The end of a client that does not come to the point.
fn late() -> End {
    End::Refused(Refusal::malformed("the first bytes formed no TLS or HTTP message in time"))
}

/// Resolves at `deadline`; never without one.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The client closed its side: what it said until then is all there is to judge.
///
/// SECURITY: some servers take the end of the stream for the end of a line, so it ends one here too.
fn closed(first: &[u8]) -> Result<Inside, End> {
    if first.is_empty() {
        return Ok(Inside::Opaque);
    }
    match sniff(&[first, b"\n"].concat()) {
        Sniff::Tls => Err(End::Refused(Refusal::malformed("the TLS ClientHello ends in the middle"))),
        Sniff::Http1 | Sniff::Http2Preface => {
            Err(End::Refused(Refusal::malformed("the HTTP request ends in the middle")))
        }
        Sniff::NeedMore | Sniff::Other => Ok(Inside::Opaque),
    }
}

/// What a socket did at once; `None` when there was nothing to do after all.
pub(super) fn at_once(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
