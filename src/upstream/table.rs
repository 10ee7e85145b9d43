//! Which routing table and which interface the kernel would use, asked before a packet is sent.
//!
//! SECURITY: where the table that a rule names is empty or gone, the kernel takes the next rule, and so in the end the
//! table that everybody uses: a packet that was marked for one network would leave by another. An interface cannot be
//! missed so, a mark or a source address can. So for those without an interface:
//!
//! | network has | the kernel's answer must be |
//! |---|---|
//! | a mark | a table that is neither `main`, `default` nor `local`, and that neither a packet without this mark gets nor one with the mark of another network |
//! | a source address alone | an interface that has this address |
//!
//! The socket is then tied to the interface of that answer: tables can change between the question and the first packet,
//! and under a connection that is open.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;

use super::netlink::{self, Answer};
use super::options::{Code, Mark, OptionError};

/// `RTM_GETROUTE` and `RTM_GETLINK`.
const GET_ROUTE: u16 = 26;
/// See [`GET_ROUTE`].
const GET_LINK: u16 = 18;
/// The length of `struct rtmsg`.
const ROUTE: usize = 12;
/// The attributes of a route: to where, from where, by which interface, of which table, for which mark, by which protocol, to
/// which port.
const TO: u16 = 1;
/// See [`TO`].
const FROM: u16 = 2;
/// See [`TO`].
const BY: u16 = 4;
/// See [`TO`].
const TABLE: u16 = 15;
/// See [`TO`].
const MARK: u16 = 16;
/// See [`TO`].
const PROTOCOL: u16 = 27;
/// See [`TO`].
const PORT: u16 = 29;
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

/// A packet that may be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    /// Its protocol, by its number in IP.
    pub(super) protocol: u8,
    /// Where it is for.
    pub(super) to: SocketAddr,
    /// Where it is from, if that is settled.
    pub(super) from: Option<IpAddr>,
}

/// The marks that tell a packet from others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks<'a> {
    /// Its whole mark.
    pub(super) whole: u32,
    /// What the socket had before: the mark of everybody's packets.
    pub(super) before: u32,
    /// The marks of other networks.
    pub(super) others: &'a [Mark],
}

/// Checks that a packet leaves by a network of its own. The number of the interface by which it does; None: any will do, as
/// there is neither mark nor source.
///
/// # Errors
/// [`OptionError`]: it would not, or the kernel does not say.
pub(super) fn check(packet: Packet, marks: Option<Marks<'_>>) -> Result<Option<u32>, OptionError> {
    if marks.is_none() && packet.from.is_none() {
        return Ok(None);
    }
    let found = route(packet, marks.map(|marks| marks.whole), LOOKUP_TABLE).map_err(silent)?;
    let by = found.attribute(ROUTE, BY);
    if let Some(marks) = marks {
        let table = found.attribute(ROUTE, TABLE).filter(|table| !SHARED.contains(table));
        let own = table.is_some_and(|_| by.is_some()) && !is_of_others(packet, marks, table)?;
        return if own { Ok(by) } else { Err(OptionError::Unrouted { mark: marks.whole }) };
    }
    let Some(source) = packet.from else { return Ok(None) };
    let itself = Packet { to: SocketAddr::new(source, packet.to.port()), from: None, ..packet };
    let owner = route(itself, None, LOOKUP_TABLE | ENTRY).map_err(silent)?;
    if by.is_some() && by == owner.attribute(ROUTE, BY) { Ok(by) } else { Err(OptionError::Astray) }
}

/// Whether this is the table of a packet that has not this mark.
fn is_of_others(packet: Packet, marks: Marks<'_>, table: Option<u32>) -> Result<bool, OptionError> {
    let packet = Packet { from: None, ..packet };
    let others = marks.others.iter().map(|mark| mark.over(marks.before));
    for mark in std::iter::once(marks.before).chain(others).filter(|mark| *mark != marks.whole) {
        match route(packet, Some(mark), LOOKUP_TABLE) {
            Ok(found) if found.attribute(ROUTE, TABLE) == table => return Ok(true),
            Ok(_) => {}
            Err(error) if is_nowhere(&error) => {}
            Err(error) => return Err(silent(error)),
        }
    }
    Ok(false)
}

/// Whether this says that there is no route, rather than nothing: `unreachable` and none at all, `prohibit`, `blackhole`.
fn is_nowhere(error: &io::Error) -> bool {
    let nowhere = [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::ACCESS, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|code| nowhere.contains(&code))
}

/// The kernel names no route.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn silent(error: io::Error) -> OptionError {
    OptionError::NoRoute(Code::from(&error))
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
fn route(packet: Packet, mark: Option<u32>, flags: u32) -> io::Result<Answer> {
    let (to, bits) = octets(packet.to.ip());
    let from = packet.from.map(octets);
    let (protocol, port) = ([packet.protocol], packet.to.port().to_be_bytes());
    let from_bits = if from.is_some() { bits } else { 0 };
    // `AF_INET` and `AF_INET6`.
    let family = if bits == 32 { 2 } else { 10 };
    let fixed = [&[family, bits, from_bits, 0, 0, 0, 0, 0][..], &flags.to_ne_bytes()].concat();
    let mark = mark.map(u32::to_ne_bytes);
    let mut attributes = vec![(TO, to.as_slice()), (PROTOCOL, &protocol), (PORT, &port)];
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
        let from = source.map(|source| source.parse().unwrap());
        let packet = Packet { protocol: 6, to: SocketAddr::new(to.parse().unwrap(), 443), from };
        check(packet, mark.map(|whole| Marks { whole, before: 0, others: &[] }))
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
    fn every_way_a_route_is_refused_has_its_words() {
        let other =
            "the routing rules send its `sourceAddress` by an interface that does not have that address";
        assert_eq!(OptionError::Astray.to_string(), other);
        for (error, words, is_nowhere) in [
            (Errno::NETUNREACH, "it has no route: Network is unreachable (os error 101)", true),
            (Errno::HOSTUNREACH, "it has no route: No route to host (os error 113)", true),
            (Errno::ACCESS, "it has no route: Permission denied (os error 13)", true),
            (Errno::INVAL, "it has no route: Invalid argument (os error 22)", true),
            (Errno::MFILE, "it has no route: Too many open files (os error 24)", false),
        ] {
            let error = io::Error::from(error);
            assert_eq!(super::is_nowhere(&error), is_nowhere, "{words}");
            assert_eq!(silent(error).to_string(), words);
        }
    }

    #[test]
    fn an_interface_is_up_or_is_not_there() {
        assert!(is_up("lo").unwrap());
        assert!(is_up("none0").is_err());
    }
}
