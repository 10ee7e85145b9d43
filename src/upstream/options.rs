//! What makes a socket leave by one network: its interface, its source address, its mark.
//!
//! | option | is set by | fails the attempt when |
//! |---|---|---|
//! | `interface` | `SO_BINDTODEVICE` | there is no such interface, or the gateway may not |
//! | `sourceAddress` | `bind`; the port of a connection is chosen with its destination (`src/upstream/port.rs`) | this host does not have it, or it has none of the family that is dialled |
//! | `mark` | `SO_MARK`, the bits of its mask alone | the gateway may not (`CAP_NET_ADMIN`) |
//! | a mark or source without an interface | `SO_BINDTODEVICE` to the one that the routing rules lead to | they do not lead to a network of its own (`src/upstream/table.rs`) |
//!
//! All of it is done before the first packet, for connections, for DNS queries, and for those to a parent proxy.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use rustix::net::netdevice::index_to_name;
use socket2::{Domain, Protocol, Socket, Type};

use super::port::choose_late;
use super::table::{self, Marks, Packet};

/// How the sockets of one network differ from any other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketOptions {
    /// The interface that everything leaves by.
    pub interface: Option<Arc<str>>,
    /// The addresses that everything leaves from.
    pub source: Sources,
    /// The packet mark for the host's routing rules.
    pub mark: Option<Mark>,
    /// The marks of other networks, whose tables are not this one's.
    pub others: Arc<[Mark]>,
}

/// The source addresses, at most one of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sources {
    /// The IPv4 one.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 one.
    pub v6: Option<Ipv6Addr>,
}

impl Sources {
    /// Whether none is given, so that the system chooses.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// The one to reach `address` from.
    #[must_use]
    pub fn toward(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// A packet mark: the bits of the mask get this value, the others stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    value: u32,
    mask: u32,
}

impl Mark {
    /// A mark; none where it marks nothing, or the value has bits that are not in the mask.
    #[must_use]
    pub const fn new(value: u32, mask: u32) -> Option<Self> {
        if value == 0 || value & !mask != 0 { None } else { Some(Self { value, mask }) }
    }

    /// The whole mark of a socket that had this one.
    #[must_use]
    pub const fn over(self, current: u32) -> u32 {
        current & !self.mask | self.value
    }

    /// Whether what has the other mark has this one too.
    #[must_use]
    pub const fn is_in(self, other: Self) -> bool {
        other.value & self.mask == self.value
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.value)?;
        if self.mask == u32::MAX { Ok(()) } else { write!(f, "/{:#x}", self.mask) }
    }
}

/// What the system said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Code(i32);

impl From<&io::Error> for Code {
    fn from(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or_default())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it says is not of the form that it has.
        if self.0 == 0 {
            return f.write_str("the system's answer cannot be read");
        }
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// Why a socket cannot be made to leave by its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum OptionError {
    /// `SO_BINDTODEVICE`.
    #[error("its `interface` cannot be used: {0}")]
    Interface(Code),
    /// `bind`.
    #[error("its `sourceAddress` cannot be used: {0}")]
    Source(Code),
    /// There is no source address of the family.
    #[error("its `sourceAddress` has no {0} address")]
    Family(&'static str),
    /// `SO_MARK`.
    #[error("its `mark` cannot be set: {0}")]
    Mark(Code),
    /// A table that everybody uses would carry what is marked.
    #[error("the routing rules send mark {mark:#x} to no table of its own")]
    Unrouted {
        /// The whole mark of the socket.
        mark: u32,
    },
    /// Another interface than that of the source address would carry it.
    #[error("the routing rules send its `sourceAddress` by an interface that does not have that address")]
    Astray,
    /// The routes cannot be asked for, or there is none.
    #[error("it has no route: {0}")]
    NoRoute(Code),
}

impl OptionError {
    /// The short code of this failure, for records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interface(_) => "interface",
            Self::Source(_) | Self::Family(_) | Self::Astray => "source",
            Self::Mark(_) | Self::Unrouted { .. } => "mark",
            Self::NoRoute(_) => "no_route",
        }
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// An option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Anything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<OpenError> for io::Error {
    /// The same in the one type that a library passes through.
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Option(error) => Self::other(error),
            OpenError::Io(error) => error,
        }
    }
}

impl SocketOptions {
    /// Whether there is nothing to set.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// A TCP socket that can reach `address` by this network and no other.
    pub(super) fn stream(&self, address: SocketAddr) -> Result<Socket, OpenError> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        self.apply(&socket, Protocol::TCP, address, 0)?;
        Ok(socket)
    }

    /// A UDP socket on `port` that can reach `address` by this network and no other; port 0 is any.
    pub(super) fn datagrams(&self, address: SocketAddr, port: u16) -> Result<Socket, OpenError> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        self.apply(&socket, Protocol::UDP, address, port)?;
        if self.source.is_empty() {
            let any: IpAddr = match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            socket.bind(&SocketAddr::new(any, port).into())?;
        }
        Ok(socket)
    }

    /// Tries every option that needs no destination.
    pub(super) fn can_be_set(&self) -> Result<(), OpenError> {
        let domain =
            if self.source.v4.is_some() || self.source.is_empty() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        self.mark.map(|mark| set_mark(&socket, mark)).transpose()?;
        self.to_interface(&socket)?;
        for source in self.source.iter() {
            let local = SocketAddr::new(source, 0);
            let socket = Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP))?;
            self.to_interface(&socket)?;
            choose_late(&socket)?;
            bind(&socket, local)?;
        }
        Ok(())
    }

    /// Ties a socket to the interface.
    fn to_interface(&self, socket: &Socket) -> Result<(), OptionError> {
        self.interface.as_ref().map_or(Ok(()), |interface| tie(socket, interface))
    }

    /// Sets every option, and makes sure that they lead to a network of their own.
    fn apply(&self, socket: &Socket, protocol: Protocol, to: SocketAddr, port: u16) -> Result<(), OpenError> {
        self.to_interface(socket)?;
        let marked = self.mark.map(|mark| set_mark(socket, mark)).transpose()?;
        let from = self.source.toward(to.ip());
        if let Some(source) = from {
            if protocol == Protocol::TCP {
                choose_late(socket)?;
            }
            bind(socket, SocketAddr::new(source, port))?;
        } else if !self.source.is_empty() {
            return Err(OptionError::Family(if to.is_ipv4() { "IPv4" } else { "IPv6" }).into());
        }
        let protocol = u8::try_from(i32::from(protocol)).unwrap_or_default();
        let marks = marked.map(|(before, whole)| Marks { whole, before, others: &self.others });
        // SECURITY: whatever becomes of the routes: nothing of this socket leaves by another interface.
        if self.interface.is_none()
            && let Some(by) = table::check(Packet { protocol, to, from }, marks)?
        {
            let name = index_to_name(socket, by).map_err(io::Error::from)?;
            tie(socket, &name)?;
        }
        Ok(())
    }
}

/// Ties a socket to the interface of this name.
fn tie(socket: &Socket, interface: &str) -> Result<(), OptionError> {
    let set = socket.bind_device(Some(interface.as_bytes()));
    set.map_err(|error| OptionError::Interface(Code::from(&error)))
}

/// Marks a socket; what its whole mark was, and what it is then.
fn set_mark(socket: &Socket, mark: Mark) -> Result<(u32, u32), OptionError> {
    let failed = |error: io::Error| OptionError::Mark(Code::from(&error));
    let before = socket.mark().map_err(failed)?;
    let whole = mark.over(before);
    socket.set_mark(whole).map_err(failed)?;
    Ok((before, whole))
}

/// Binds a socket to its source address.
fn bind(socket: &Socket, local: SocketAddr) -> Result<(), OpenError> {
    socket.bind(&local.into()).map_err(|error| {
        // A port that is taken says nothing of the address.
        let taken = error.kind() == io::ErrorKind::AddrInUse;
        if taken { OpenError::Io(error) } else { OptionError::Source(Code::from(&error)).into() }
    })
}
