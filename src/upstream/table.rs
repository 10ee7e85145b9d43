//! Which routing table and which interface the kernel would use, asked before a packet is sent.
//!
//! SECURITY: where the table that a rule names is empty or gone, the kernel takes the next rule, and so in the end the
//! table that everybody uses: a packet that was marked for one network would leave by another. An interface cannot be
//! missed so, a mark or a source address can. So for those without an interface:
//!
//! | network has | the kernel's answer must be |
//! |---|---|
//! | a mark | a table that is neither `main`, `default` nor `local` |
//! | a source address alone | an interface that has this address |
//!
//! The socket is then tied to the interface of that answer: tables can change between the question and the first packet,
//! and under a connection that is open.

use std::io;
use std::net::IpAddr;

use super::netlink::{self, Answer};
use super::options::{Code, OptionError};

/// `RTM_GETROUTE` and `RTM_GETLINK`.
const GET_ROUTE: u16 = 26;
/// See [`GET_ROUTE`].
const GET_LINK: u16 = 18;
/// The length of `struct rtmsg`.
const ROUTE: usize = 12;
/// The attributes of a route: to where, from where, by which interface, of which table, for which mark.
const TO: u16 = 1;
/// See [`TO`].
const FROM: u16 = 2;
/// See [`TO`].
const BY: u16 = 4;
/// See [`TO`].
const TABLE: u16 = 15;
/// See [`TO`].
const MARK: u16 = 16;
/// The attribute of a link that is its name.
const NAME: u16 = 3;
/// That the table is wanted which really answers.
const LOOKUP_TABLE: u32 = 0x1000;
/// That the entry of the table is wanted, rather than what follows from it.
const ENTRY: u32 = 0x2000;
/// The tables that every packet may use: none, `default`, `main`, `local`.
const SHARED: [u32; 4] = [0, 253, 254, 255];
/// The flags of an interface that is up, and has its carrier.
const UP: u32 = 0x1 | 0x40;

/// Checks that a packet to `to` leaves by a network of its own. The number of the interface by which it does; None: any
/// will do, as there is neither mark nor source.
///
/// # Errors
/// [`OptionError`]: it would not, or the kernel does not say.
pub(super) fn check(
    to: IpAddr,
    source: Option<IpAddr>,
    mark: Option<u32>,
) -> Result<Option<u32>, OptionError> {
    let failed = |error: io::Error| OptionError::NoRoute(Code::from(&error));
    if mark.is_none() && source.is_none() {
        return Ok(None);
    }
    let found = route(to, source, mark, LOOKUP_TABLE).map_err(failed)?;
    let by = found.attribute(ROUTE, BY);
    if let Some(mark) = mark {
        let own = found.attribute(ROUTE, TABLE).is_some_and(|table| !SHARED.contains(&table));
        return if own && by.is_some() { Ok(by) } else { Err(OptionError::Unrouted { mark }) };
    }
    let Some(source) = source else { return Ok(None) };
    let owner = route(source, None, None, LOOKUP_TABLE | ENTRY).map_err(failed)?;
    if by.is_some() && by == owner.attribute(ROUTE, BY) { Ok(by) } else { Err(OptionError::Astray) }
}

/// Whether an interface is there and up.
///
/// # Errors
/// The kernel does not say, or there is none of this name.
pub(super) fn is_up(interface: &str) -> io::Result<bool> {
    let name = [interface.as_bytes(), &[0]].concat();
    let found = netlink::ask(GET_LINK, &[0; 16], &[(NAME, &name)])?;
    // Behind the family, the type and the index.
    Ok(found.number(8).is_some_and(|flags| flags & UP == UP))
}

/// The route that the kernel would take.
fn route(to: IpAddr, from: Option<IpAddr>, mark: Option<u32>, flags: u32) -> io::Result<Answer> {
    let (to, bits) = octets(to);
    let from = from.map(octets);
    let from_bits = if from.is_some() { bits } else { 0 };
    // `AF_INET` and `AF_INET6`.
    let family = if bits == 32 { 2 } else { 10 };
    let fixed = [&[family, bits, from_bits, 0, 0, 0, 0, 0][..], &flags.to_ne_bytes()].concat();
    let mark = mark.map(u32::to_ne_bytes);
    let mut attributes = vec![(TO, to.as_slice())];
    attributes.extend(from.as_ref().map(|(from, _)| (FROM, from.as_slice())));
    attributes.extend(mark.as_ref().map(|mark| (MARK, mark.as_slice())));
    netlink::ask(GET_ROUTE, &fixed, &attributes)
}

/// The bytes of an address, and how many bits they are.
fn octets(address: IpAddr) -> (Vec<u8>, u8) {
    match address {
        IpAddr::V4(v4) => (v4.octets().to_vec(), 32),
        IpAddr::V6(v6) => (v6.octets().to_vec(), 128),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Checks these texts.
    fn asked(to: &str, source: Option<&str>, mark: Option<u32>) -> Result<Option<u32>, OptionError> {
        check(to.parse().unwrap(), source.map(|source| source.parse().unwrap()), mark)
    }

    #[test]
    fn a_source_address_must_belong_to_the_interface_of_the_route() {
        assert!(asked("127.0.0.15", Some("127.0.0.13"), None).unwrap().is_some());
        assert!(asked("::1", Some("::1"), None).unwrap().is_some());
        assert!(asked("127.0.0.15", Some("192.0.2.1"), None).is_err(), "this host does not have it");
    }

    #[test]
    fn a_mark_that_no_rule_knows_is_not_sent() {
        let said = asked("127.0.0.15", None, Some(0x5b)).unwrap_err();
        assert_eq!(said, OptionError::Unrouted { mark: 0x5b });
        assert_eq!(said.to_string(), "the routing rules send mark 0x5b to no table of its own");
        assert_eq!(asked("127.0.0.15", None, None), Ok(None), "who marks nothing needs no table");
    }

    #[test]
    fn an_interface_is_up_or_is_not_there() {
        assert!(is_up("lo").unwrap());
        assert!(is_up("none0").is_err());
    }
}
