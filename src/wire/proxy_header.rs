//! The header that a trusted peer puts in front of a connection to say whose it is: the binary PROXY protocol, version 2
//! (`proxy-protocol.txt` of `HAProxy`, §2.2).
//!
//! ```text
//! 0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a │ 2c │ fp │ length │ source, destination, their ports │ TLVs, skipped
//! signature                           │  │    │    └ of all that follows
//!                                     │  │    └ family and transport
//!                                     │  └ command: 0 LOCAL, 1 PROXY
//!                                     └ version 2
//! ```
//! Nothing of it is read in two ways: what is not a header of TCP over IP is refused, at the first byte that shows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read: what fits one segment on every network.
pub const MOST: usize = 536;

/// The first bytes of a header.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The first bytes of a header of version 1.
const VERSION_1: &[u8] = b"PROXY ";
/// The bytes of two IPv4 addresses and ports.
const V4: usize = 12;
/// The bytes of two IPv6 addresses and ports.
const V6: usize = 36;
/// What comes before the addresses: the signature, version and command, family and transport, length.
const FIXED: usize = 16;

/// Whose connection it is, as the peer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxied {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it went before it came here.
    pub destination: SocketAddr,
}

/// What some bytes at the beginning of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The beginning of a header, which has at least this many bytes more.
    NeedMore(usize),
    /// A header of this many bytes: the peer passes a connection on.
    Proxy(Proxied, usize),
    /// A header of this many bytes: the connection is the peer's own, a health check.
    Local(usize),
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Something else altogether.
    #[error("the connection of a trusted peer does not begin with a PROXY protocol header")]
    Absent,
    /// The text form.
    #[error("a PROXY protocol header of version 1; let the peer send version 2 (`send-proxy-v2` in HAProxy)")]
    Version1,
    /// A version that nobody has written down.
    #[error("a PROXY protocol header of version {0}, where 2 is known")]
    Version(u8),
    /// A command that nobody has written down.
    #[error("a PROXY protocol header with the unknown command {0}")]
    Command(u8),
    /// Not TCP over IPv4 or IPv6.
    #[error("a PROXY protocol header that names no TCP address (family and transport {0:#04x})")]
    Family(u8),
    /// Less than the addresses that it promises.
    #[error("a PROXY protocol header of {0} bytes after the length, too few for its addresses")]
    Short(usize),
    /// More than anybody needs.
    #[error("a PROXY protocol header of {0} bytes, more than {MOST}")]
    Long(usize),
}

/// Reads the header at the beginning of `bytes`.
///
/// # Errors
/// Why they are none; more bytes do not change it.
pub fn parse(bytes: &[u8]) -> Result<Header, HeaderError> {
    let more = |whole: usize| Ok(Header::NeedMore(whole - bytes.len()));
    if !SIGNATURE.starts_with(bytes.get(..SIGNATURE.len()).unwrap_or(bytes)) {
        return foreign(bytes);
    }
    let local = match bytes.get(SIGNATURE.len()) {
        None => return more(FIXED),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(byte) if byte >> 4 == 2 => return Err(HeaderError::Command(byte & 0x0f)),
        Some(byte) => return Err(HeaderError::Version(byte >> 4)),
    };
    let Some(family) = bytes.get(SIGNATURE.len() + 1) else { return more(FIXED) };
    let addresses = match family {
        // Such a header says nothing of addresses, whatever it writes here.
        _ if local => 0,
        0x11 => V4,
        0x21 => V6,
        other => return Err(HeaderError::Family(*other)),
    };
    let Some(length) = bytes.get(SIGNATURE.len() + 2..).and_then(<[u8]>::first_chunk) else {
        return more(FIXED);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    let whole = FIXED + length;
    if whole > MOST {
        return Err(HeaderError::Long(whole));
    }
    if length < addresses {
        return Err(HeaderError::Short(length));
    }
    let Some(block) = bytes.get(FIXED..whole) else { return more(whole) };
    if local {
        return Ok(Header::Local(whole));
    }
    let proxied = match addresses {
        V4 => between(block, |octets: [u8; 4]| Ipv4Addr::from(octets).into()),
        _ => between(block, |octets: [u8; 16]| Ipv6Addr::from(octets).into()),
    };
    proxied.map(|proxied| Header::Proxy(proxied, whole)).ok_or(HeaderError::Short(length))
}

/// What does not begin as a header of version 2 does.
fn foreign(bytes: &[u8]) -> Result<Header, HeaderError> {
    let head = bytes.get(..VERSION_1.len()).unwrap_or(bytes);
    if head == VERSION_1 {
        Err(HeaderError::Version1)
    } else if VERSION_1.starts_with(head) {
        Ok(Header::NeedMore(VERSION_1.len() - head.len()))
    } else {
        Err(HeaderError::Absent)
    }
}

/// The addresses and ports at the beginning of a block, of `N` bytes an address.
fn between<const N: usize>(block: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Option<Proxied> {
    let (source, rest) = block.split_first_chunk()?;
    let (destination, rest) = rest.split_first_chunk()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let destination_port = rest.first_chunk()?;
    Some(Proxied {
        source: SocketAddr::new(ip(*source), u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new(ip(*destination), u16::from_be_bytes(*destination_port)),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of these parts.
    fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = (block.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    /// Addresses and ports as a block.
    fn block(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let octets = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
        [octets(source), octets(destination), ports].concat()
    }

    /// Both addresses.
    fn proxied(source: &str, destination: &str) -> Proxied {
        Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn a_header_says_where_a_connection_comes_from_and_went() {
        for (family, source, destination) in [
            (0x11, "10.0.0.1:5000", "192.0.2.7:443"),
            (0x21, "[2001:db8::1]:65535", "[2001:db8::2]:0"),
            (0x21, "[::ffff:10.0.0.1]:1", "[::]:2"),
        ] {
            let said = proxied(source, destination);
            let block = block(said.source, said.destination);
            for more in [&b""[..], b"\x04\0\x03abc", b"broken TLVs are skipped too"] {
                let bytes = header(0x21, family, &[&block[..], more].concat());
                assert_eq!(parse(&bytes), Ok(Header::Proxy(said, bytes.len())));
                let followed = [&bytes[..], b"GET"].concat();
                assert_eq!(parse(&followed), Ok(Header::Proxy(said, bytes.len())));
            }
        }
    }

    #[test]
    fn a_header_that_says_nothing_of_a_connection_is_the_peers_own() {
        for family in [0x00, 0x11, 0x21, 0x31, 0xff] {
            for block in [&b""[..], &[7; 12], &[7; 520]] {
                let bytes = header(0x20, family, block);
                assert_eq!(parse(&bytes), Ok(Header::Local(bytes.len())), "{family}");
            }
        }
    }

    #[test]
    fn what_is_not_tcp_over_ip_or_not_version_2_or_does_not_add_up_is_refused() {
        for (bytes, error) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), HeaderError::Absent),
            (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), HeaderError::Absent),
            (b"\0".to_vec(), HeaderError::Absent),
            (b"PROXX".to_vec(), HeaderError::Absent),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(), HeaderError::Version1),
            (b"PROXY UNKNOWN\r\n".to_vec(), HeaderError::Version1),
            (header(0x11, 0x11, &[0; 12]), HeaderError::Version(1)),
            (header(0x31, 0x11, &[0; 12]), HeaderError::Version(3)),
            (header(0x22, 0x11, &[0; 12]), HeaderError::Command(2)),
            (header(0x21, 0x00, &[]), HeaderError::Family(0)),
            (header(0x21, 0x12, &[0; 12]), HeaderError::Family(0x12)),
            (header(0x21, 0x22, &[0; 36]), HeaderError::Family(0x22)),
            (header(0x21, 0x31, &[0; 216]), HeaderError::Family(0x31)),
            (header(0x21, 0x10, &[0; 12]), HeaderError::Family(0x10)),
            (header(0x21, 0x11, &[0; 11]), HeaderError::Short(11)),
            (header(0x21, 0x21, &[0; 35]), HeaderError::Short(35)),
            (header(0x21, 0x11, &[0; 521]), HeaderError::Long(537)),
            (header(0x20, 0x00, &vec![0; 65535]), HeaderError::Long(65551)),
        ] {
            assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn a_length_too_long_is_refused_before_any_of_it_is_awaited() {
        let bytes = header(0x21, 0x11, &[0; 521]);
        assert_eq!(parse(&bytes[..FIXED]), Err(HeaderError::Long(537)));
        assert_eq!(parse(b""), Ok(Header::NeedMore(FIXED)));
        assert_eq!(parse(b"PRO"), Ok(Header::NeedMore(3)));
    }

    /// Checks that every part of `bytes` says the same as the whole, or asks for what is there, and no more.
    fn every_part_agrees(bytes: &[u8]) {
        let whole = parse(bytes);
        for end in 0..=bytes.len() {
            let part = parse(&bytes[..end]);
            if let Ok(Header::NeedMore(more)) = part {
                assert!((1..=MOST - end).contains(&more));
                if let Ok(Header::Proxy(_, length) | Header::Local(length)) = whole {
                    assert!(end + more <= length, "it would read beyond the header");
                }
            } else {
                assert_eq!(part, whole, "{end} of {bytes:?}");
            }
        }
    }

    #[test]
    fn a_header_split_anywhere_says_the_same() {
        let said = proxied("10.0.0.1:5000", "192.0.2.7:443");
        let block = block(said.source, said.destination);
        for bytes in [
            header(0x21, 0x11, &[&block[..], &[1; 508]].concat()),
            header(0x21, 0x21, &[9; 40]),
            header(0x20, 0x00, b"x"),
            header(0x21, 0x31, &[0; 216]),
            header(0x21, 0x11, &[0; 4]),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(),
            b"POST / HTTP/1.1\r\n".to_vec(),
        ] {
            every_part_agrees(&bytes);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(v6: bool, parts: [[u8; 16]; 2], ports: [u16; 2], tlvs in prop::collection::vec(any::<u8>(), 0..484)) {
            let ip = |part: [u8; 16]| match (v6, part) {
                (true, part) => IpAddr::from(part),
                (false, [a, b, c, d, ..]) => IpAddr::from([a, b, c, d]),
            };
            let said = Proxied {
                source: SocketAddr::new(ip(parts[0]), ports[0]),
                destination: SocketAddr::new(ip(parts[1]), ports[1]),
            };
            let block = [block(said.source, said.destination), tlvs].concat();
            let bytes = header(0x21, if v6 { 0x21 } else { 0x11 }, &block);
            prop_assert_eq!(parse(&bytes), Ok(Header::Proxy(said, bytes.len())));
            every_part_agrees(&bytes);
        }

        #[test]
        fn no_bytes_make_it_panic_or_read_on_without_end(head in 0_usize..=14, rest in prop::collection::vec(any::<u8>(), 0..600)) {
            let known = [&SIGNATURE[..], &[0x21, 0x11]].concat();
            every_part_agrees(&[&known[..head], &rest].concat());
        }
    }
}
