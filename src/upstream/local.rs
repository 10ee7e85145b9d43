//! The gateway's own addresses, for `guard_self`.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

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
