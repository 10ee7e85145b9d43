//! Why no connection could be opened, in words for the client and for records.

use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::io::Errno;

use super::options::{Code, OpenError, OptionError};
use super::parent::ParentFault;

/// Why no connection could be opened. Of several attempts, the most telling failure is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// There was no permitted address to try.
    #[error("there is no permitted address to connect to")]
    NoAddress,
    /// There is no way to the origin.
    #[error("the origin cannot be reached")]
    Unreachable,
    /// Another failure of the network.
    #[error("connecting to the origin failed: {0}")]
    Failed(io::ErrorKind),
    /// Nothing answered in time.
    #[error("the origin did not answer in time")]
    Timeout,
    /// The origin refused or reset.
    #[error("the origin refused the connection")]
    Refused,
    /// Every port from which this connection could be made is in use, or the host has no address of the family.
    #[error(
        "this host has no port or address left to connect from: see that it has one of the family, or widen `net.ipv4.ip_local_port_range`"
    )]
    NoPort,
    /// This host forbids it: a local firewall, or a missing capability for the interface or mark.
    #[error("this host does not permit the gateway to connect")]
    NotPermitted,
    /// The gateway is out of descriptors or memory for sockets.
    #[error("the gateway has no descriptor left")]
    NoDescriptor,
    /// The connection could not be made to leave by its network.
    #[error("{0}")]
    Option(OptionError),
    /// The parent proxy of the network.
    #[error("the parent proxy {0}")]
    Parent(ParentFault),
    /// The interface of the network.
    #[error("its `interface` is down")]
    Down,
    /// There is no such interface.
    #[error("its `interface` is not there: {0}")]
    Gone(Code),
    /// The system does not say how its interface is.
    #[error("whether its `interface` is up is not known: {0}")]
    Unknown(Code),
    /// The network itself.
    #[error("no such network is configured")]
    NotConfigured,
}

impl DialError {
    /// The short code of this failure, for records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::Unreachable => "unreachable",
            Self::Failed(_) => "failed",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::NoPort => "no_port",
            Self::NotPermitted => "not_permitted",
            Self::NoDescriptor => "no_descriptor",
            Self::Option(error) => error.as_str(),
            Self::Parent(fault) => fault.as_str(),
            Self::Down | Self::Gone(_) | Self::Unknown(_) => "down",
            Self::NotConfigured => "not_configured",
        }
    }

    /// Whether it only took too long.
    #[must_use]
    pub const fn is_timeout(self) -> bool {
        matches!(self, Self::Timeout) || matches!(self, Self::Parent(fault) if fault.is_timeout())
    }

    /// The more telling of two.
    pub(super) const fn or(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    /// How telling it is.
    const fn rank(self) -> u8 {
        match self {
            Self::NoAddress => 0,
            // A name may have addresses of a family that a network does not have.
            Self::Unreachable | Self::Option(OptionError::Family(_)) => 1,
            Self::Failed(_) | Self::NoPort => 2,
            Self::Timeout => 3,
            Self::Refused => 4,
            Self::NotPermitted => 5,
            Self::NoDescriptor => 6,
            Self::Option(_) => 7,
            Self::Parent(_) => 8,
            Self::Down | Self::Gone(_) | Self::Unknown(_) | Self::NotConfigured => 9,
        }
    }

    /// Whether it is about the origin, rather than about the network or this host.
    const fn is_of_origin(self) -> bool {
        match self {
            Self::NoAddress | Self::Unreachable | Self::Failed(_) | Self::Timeout | Self::Refused => true,
            Self::NoPort
            | Self::NotPermitted
            | Self::NoDescriptor
            | Self::Option(_)
            | Self::Parent(_)
            | Self::Down
            | Self::Gone(_)
            | Self::Unknown(_)
            | Self::NotConfigured => false,
        }
    }
}

impl From<&io::Error> for DialError {
    fn from(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => return Self::NoDescriptor,
            Some(Errno::ACCESS | Errno::PERM) => return Self::NotPermitted,
            Some(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) => return Self::NoPort,
            Some(Errno::NETDOWN | Errno::HOSTDOWN | Errno::NODEV | Errno::AFNOSUPPORT) => {
                return Self::Unreachable;
            }
            _ => {}
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "the list of the standard library is open")]
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::TimedOut => Self::Timeout,
            kind => Self::Failed(kind),
        }
    }
}

impl From<OpenError> for DialError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Option(error) => Self::Option(error),
            OpenError::Io(error) => Self::from(&error),
        }
    }
}

/// What a client is told of a network that fails by itself.
pub(super) fn unusable(network: Option<&str>) -> String {
    network.map_or_else(
        || "the gateway cannot connect at the moment".to_owned(),
        |network| format!("network `{network}` cannot be used at the moment"),
    )
}

/// The most attempts that a [`DialFailure`] names.
const NAMED: usize = 8;

/// Why no connection could be opened, and what was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialFailure {
    /// The network, where it is one that the operator described.
    pub network: Option<Arc<str>>,
    /// Its parent proxy.
    pub parent: Option<SocketAddr>,
    /// The most telling of the failures.
    pub error: DialError,
    /// Each address that was tried, in this order, and its failure.
    pub attempts: Vec<(SocketAddr, DialError)>,
}

impl std::error::Error for DialFailure {}

impl fmt::Display for DialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = &self.network {
            write!(f, "network `{network}`: ")?;
        }
        self.error.fmt(f)
    }
}

impl DialFailure {
    /// A failure of no network that the operator described.
    pub(super) const fn new(error: DialError, attempts: Vec<(SocketAddr, DialError)>) -> Self {
        Self { network: None, parent: None, error, attempts }
    }

    /// What the client is told: SECURITY: how the operator's network is made, and what is wrong there, is for records alone.
    #[must_use]
    pub fn told(&self) -> String {
        if self.error.is_of_origin() { self.to_string() } else { unusable(self.network.as_deref()) }
    }

    /// The attempts in words, for records: an address is not for the client to know.
    #[must_use]
    pub fn tried(&self) -> String {
        let mut text = String::new();
        for (at, (address, error)) in self.attempts.iter().take(NAMED).enumerate() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{address} {}", if at == 0 { "" } else { ", " }, error.as_str());
        }
        if let more @ 1.. = self.attempts.len().saturating_sub(NAMED) {
            let _ = write!(text, " and {more} more");
        }
        if let Some(parent) = self.parent {
            let _ =
                write!(text, "{}parent proxy {parent}", if text.is_empty() { "" } else { ", through the " });
        }
        text
    }
}
