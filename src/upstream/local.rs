//! The gateway's own addresses, for `guard_self`.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use tokio::net::UnixDatagram;

/// Every address of this host's interfaces at one moment. A clone is a reference count; collecting
/// again and comparing tells whether they changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnAddresses(Arc<[IpAddr]>);

impl OwnAddresses {
    /// Asks the system for the addresses of all interfaces (one netlink exchange).
    ///
    /// # Errors
    /// When the system does not answer; a caller keeps the addresses it knew.
    pub fn collect() -> io::Result<Self> {
        Ok(if_addrs::get_if_addrs()?.iter().map(if_addrs::Interface::ip).collect())
    }

    /// Whether `address` is one of this host's; IPv4-mapped counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.binary_search(&address.to_canonical()).is_ok()
    }

    /// The addresses, ascending, each once.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = IpAddr> {
        self.0.iter().copied()
    }
}

impl FromIterator<IpAddr> for OwnAddresses {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut sorted: Vec<_> = addresses.into_iter().map(|address| address.to_canonical()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self(sorted.into())
    }
}

/// The groups of rtnetlink(7) that are told of an IPv4 and of an IPv6 address that comes or goes.
const ADDRESS_GROUPS: u32 = 0x10 | 0x100;

/// Tells when [`OwnAddresses`] may have changed.
#[derive(Debug)]
pub struct AddressWatch(UnixDatagram);

impl AddressWatch {
    /// Watches from here on. Must be called inside the runtime.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn start() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // The default protocol of the family is rtnetlink.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, ADDRESS_GROUPS))?;
        // A socket for datagrams like any other, but for the family of its address, which nobody asks for.
        UnixDatagram::from_std(socket.into()).map(Self)
    }

    /// Resolves once some address may have come or gone since the last time.
    ///
    /// # Errors
    /// The watch is of no use any more.
    pub async fn changed(&self) -> io::Result<()> {
        // What a message says is of no interest: all addresses are collected anew.
        let mut message = [0_u8; 4096];
        self.0.readable().await?;
        let mut found = false;
        loop {
            match self.0.try_recv(&mut message) {
                Ok(_) => found = true,
                // Some were lost, which is a change too.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOBUFS) => found = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if found {
                        return Ok(());
                    }
                    self.0.readable().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a6_this_hosts_loopback_is_among_its_own_addresses() {
        let own = OwnAddresses::collect().unwrap();
        assert!(own.contains("127.0.0.1".parse().unwrap()));
        assert!(own.contains("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!own.contains("192.0.2.1".parse().unwrap()));
        assert_eq!(own, OwnAddresses::collect().unwrap());
    }

    #[test]
    fn addresses_are_held_once_and_in_canonical_form() {
        let texts = ["10.0.0.2", "::ffff:10.0.0.2", "10.0.0.1"];
        let own: OwnAddresses = texts.iter().map(|text| text.parse::<IpAddr>().unwrap()).collect();
        let held: Vec<_> = own.iter().map(|address| address.to_string()).collect();
        assert_eq!(held, ["10.0.0.1", "10.0.0.2"]);
    }
}
