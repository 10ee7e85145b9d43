//! A parent proxy: connections of a network that has one go through it, and never around it.
//!
//! It is asked by HTTP CONNECT (RFC 9110 §9.3.6) or SOCKS5 (RFC 1928), and is given the judged address; the name only
//! where the operator lets it resolve (`resolve: Remote`).
//!
//! | what happens | whose fault | next address |
//! |---|---|---|
//! | it cannot be reached, refuses, is silent, breaks off, does not speak the protocol | the parent's | not tried |
//! | its TLS cannot be verified; it wants other credentials | the parent's | not tried |
//! | SOCKS: network or host unreachable, TTL expired; refused | the origin's, as if it had been dialled here | tried |
//! | any other status, any other SOCKS code | the parent's answer, which is named | tried |
//!
//! An address for which it is silent does not use up the time of the others: the next one is asked for while it is waited
//! for, after a part of the time, as a parent takes longer than an origin and one that works should not be asked twice.
//!
//! Its answer is read to its last byte and no further: what follows is the origin's.

mod carry;
mod http;
mod socks;

use std::fmt;
use std::net::SocketAddr;

use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::dial::{DialError, DialSettings, one};
use super::tls::{Alpn, Tls};
use super::tls_error::TlsError;
use crate::addr::{Host, Target};
use crate::drain::Tasks;

/// What a parent proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP CONNECT.
    Http,
    /// SOCKS5.
    Socks5,
}

/// What the gateway shows a parent proxy.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password, which is shown to nobody else.
    pub password: SecretString,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// TLS with a parent proxy.
#[derive(Clone)]
pub struct Cover {
    /// How it is verified: as origins are, by the authorities of the system and those of `intercept.upstreamRoots`.
    pub tls: Tls,
    /// Whom its certificate must be for.
    pub host: Host,
    /// What carries the bytes of its connections.
    pub tasks: Tasks,
}

/// A parent proxy.
#[derive(Clone)]
pub struct Parent {
    /// Where it is.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// What it is shown.
    pub credentials: Option<Credentials>,
    /// TLS with it; None: it is spoken to in the clear.
    pub cover: Option<Cover>,
    /// Whether it gets names, and nobody resolves them here.
    pub by_name: bool,
}

/// The part of the time after which the next address is asked for while one is pending.
pub(super) const PART: u32 = 8;

/// Where a connection is to lead, from a permit that was used up.
#[derive(Debug, Clone, Copy)]
pub(super) enum To<'a> {
    /// A judged address.
    Address(SocketAddr),
    /// A name that the parent resolves.
    Name(&'a Target),
}

/// What is wrong with a parent proxy, or what it answered. SECURITY: no text of it is part of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentFault {
    /// There is no way to it.
    Unreachable,
    /// It refused or reset the connection.
    Refused,
    /// It did not answer in time.
    Timeout,
    /// It ended the connection instead of an answer.
    Closed,
    /// Its answer is not of the protocol.
    Malformed,
    /// Its answer is too long.
    TooLarge,
    /// TLS with it.
    Tls(TlsError),
    /// It does not accept the credentials, or wants some (407; RFC 1929 §2).
    Credentials,
    /// It accepts no way to authenticate that is configured (RFC 1928 §3).
    Method,
    /// Another HTTP status.
    Status(u16),
    /// Another SOCKS code.
    Socks(u8),
}

impl ParentFault {
    /// The short code of this fault.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        if self.is_answer() { "parent_answer" } else { "parent" }
    }

    /// Whether it only took too long; 504 says so of the origin.
    #[must_use]
    pub const fn is_timeout(self) -> bool {
        match self {
            Self::Timeout | Self::Status(504) => true,
            Self::Tls(error) => error.is_timeout(),
            Self::Unreachable
            | Self::Refused
            | Self::Closed
            | Self::Malformed
            | Self::TooLarge
            | Self::Credentials
            | Self::Method
            | Self::Status(_)
            | Self::Socks(_) => false,
        }
    }

    /// Whether another address may fare better.
    const fn is_answer(self) -> bool {
        matches!(self, Self::Status(_) | Self::Socks(_))
    }
}

impl fmt::Display for ParentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("cannot be reached"),
            Self::Refused => f.write_str("refused the connection"),
            Self::Timeout => f.write_str("did not answer in time"),
            Self::Closed => f.write_str("closed the connection instead of an answer"),
            Self::Malformed => f.write_str("does not answer as such a proxy does"),
            Self::TooLarge => f.write_str("sent an answer that is too large"),
            Self::Tls(error) => {
                write!(
                    f,
                    "cannot be verified: {}",
                    error.to_string().replace("the origin", "the parent proxy")
                )
            }
            Self::Credentials => f.write_str("wants other credentials"),
            Self::Method => f.write_str("accepts no way to authenticate that is configured"),
            Self::Status(status) => write!(f, "answered with status {status}"),
            Self::Socks(code) => write!(f, "answered with SOCKS code {code}"),
        }
    }
}

impl From<ParentFault> for DialError {
    fn from(fault: ParentFault) -> Self {
        Self::Parent(fault)
    }
}

/// Whether the failure of one address leaves hope for the next.
pub(super) const fn is_of_this_address(error: DialError) -> bool {
    matches!(error, DialError::Unreachable | DialError::Refused)
        || matches!(error, DialError::Parent(fault) if fault.is_answer())
}

impl Parent {
    /// A connection to the parent itself.
    pub(super) async fn reach(&self, settings: &DialSettings) -> Result<TcpStream, DialError> {
        let of_it = [
            (DialError::Unreachable, ParentFault::Unreachable),
            (DialError::Refused, ParentFault::Refused),
            (DialError::Timeout, ParentFault::Timeout),
        ];
        one(self.address, settings).await.map_err(|error| {
            let fault = of_it.into_iter().find(|(of_origin, _)| *of_origin == error);
            fault.map_or(error, |(_, fault)| fault.into())
        })
    }

    /// A connection through it. It has no time limit of its own.
    pub(super) async fn open(&self, to: To<'_>, settings: &DialSettings) -> Result<TcpStream, DialError> {
        let mut stream = self.reach(settings).await?;
        let Some(Cover { tls, host, tasks }) = &self.cover else {
            ask(self.protocol, &mut stream, to, self.credentials.as_ref()).await?;
            return Ok(stream);
        };
        let covered = tls.connect(stream, host, Alpn::Http1).await;
        let (mut covered, _) = covered.map_err(ParentFault::Tls)?;
        ask(self.protocol, &mut covered, to, self.credentials.as_ref()).await?;
        carry::carried(covered, tasks).await.map_err(|error| DialError::from(&error))
    }
}

/// Asks for the connection, and reads the answer.
pub(super) async fn ask(
    protocol: Protocol,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    to: To<'_>,
    credentials: Option<&Credentials>,
) -> Result<(), DialError> {
    match protocol {
        Protocol::Http => http::connect(stream, to, credentials).await,
        Protocol::Socks5 => socks::connect(stream, to, credentials).await,
    }
}

/// What the end of a connection to the parent means.
fn broken(error: &std::io::Error) -> ParentFault {
    if error.kind() == std::io::ErrorKind::TimedOut { ParentFault::Timeout } else { ParentFault::Closed }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
