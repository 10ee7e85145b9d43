//! SOCKS5 to a parent proxy (RFC 1928), with a username and password where there are some (RFC 1929).

use std::net::IpAddr;

use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{Credentials, DialError, ParentFault, To, broken};
use crate::addr::Host;

/// The version of the protocol, and that of its authentication.
const VERSION: u8 = 5;
/// See [`VERSION`].
const AUTHENTICATION: u8 = 1;
/// Ways to authenticate: not at all, and by username and password.
const NOBODY: u8 = 0;
/// See [`NOBODY`].
const PASSWORD: u8 = 2;
/// Kinds of address: IPv4, a name, IPv6.
const IPV4: u8 = 1;
/// See [`IPV4`].
const NAME: u8 = 3;
/// See [`IPV4`].
const IPV6: u8 = 4;

/// Asks for a connection, and reads the answer and nothing behind it.
pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    to: To<'_>,
    credentials: Option<&Credentials>,
) -> Result<(), DialError> {
    // SECURITY: who has credentials offers nothing else, so that nobody passes for the proxy without asking for them.
    let offered = if credentials.is_some() { PASSWORD } else { NOBODY };
    send(stream, &[VERSION, 1, offered]).await?;
    match read::<2>(stream).await? {
        [VERSION, method] if method == offered => {}
        [VERSION, 0xff] => return Err(ParentFault::Method.into()),
        _ => return Err(ParentFault::Malformed.into()),
    }
    if let Some(credentials) = credentials {
        send(stream, &authentication(credentials)).await?;
        match read::<2>(stream).await? {
            [AUTHENTICATION, 0] => {}
            [AUTHENTICATION, _] => return Err(ParentFault::Credentials.into()),
            _ => return Err(ParentFault::Malformed.into()),
        }
    }
    send(stream, &request(to)).await?;
    let [version, code, _reserved, kind] = read::<4>(stream).await?;
    if version != VERSION {
        return Err(ParentFault::Malformed.into());
    }
    verdict(code)?;
    skip_address(stream, kind).await?;
    Ok(())
}

/// What a code means: some are the origin's doing (RFC 1928 §6).
const fn verdict(code: u8) -> Result<(), DialError> {
    match code {
        0 => Ok(()),
        // The network, the host, and the TTL on the way.
        3 | 4 | 6 => Err(DialError::Unreachable),
        5 => Err(DialError::Refused),
        code => Err(DialError::Parent(ParentFault::Socks(code))),
    }
}

/// The message with username and password.
fn authentication(Credentials { username, password }: &Credentials) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(3 + 2 * 255));
    bytes.push(AUTHENTICATION);
    for text in [username.as_str(), password.expose_secret()] {
        // The configuration makes sure that they are no longer.
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        bytes.push(length);
        bytes.extend(text.bytes().take(usize::from(length)));
    }
    bytes
}

/// The request for a connection.
fn request(to: To<'_>) -> Vec<u8> {
    let mut bytes = vec![VERSION, 1, 0];
    let mut literal = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => bytes.extend([&[IPV4][..], &v4.octets()].concat()),
        IpAddr::V6(v6) => bytes.extend([&[IPV6][..], &v6.octets()].concat()),
    };
    let port = match to {
        To::Address(address) => {
            literal(address.ip());
            address.port()
        }
        To::Name(target) => {
            match target.host() {
                Host::Ip(ip) => literal(*ip),
                Host::Name(name) => {
                    // A name has at most 253 bytes.
                    bytes.extend([NAME, u8::try_from(name.as_str().len()).unwrap_or(u8::MAX)]);
                    bytes.extend(name.as_str().bytes());
                }
            }
            target.port().get()
        }
    };
    bytes.extend(port.to_be_bytes());
    bytes
}

/// Reads over the address that the proxy uses, and its port.
async fn skip_address(stream: &mut (impl AsyncRead + Unpin), kind: u8) -> Result<(), ParentFault> {
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(read::<1>(stream).await?[0]),
        _ => return Err(ParentFault::Malformed),
    };
    let mut rest = [0; 255 + 2];
    let rest = rest.get_mut(..length + 2).ok_or(ParentFault::Malformed)?;
    stream.read_exact(rest).await.map_err(|error| broken(&error))?;
    Ok(())
}

/// Sends a message.
async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), ParentFault> {
    stream.write_all(bytes).await.map_err(|error| broken(&error))?;
    stream.flush().await.map_err(|error| broken(&error))
}

/// Reads so many bytes.
async fn read<const N: usize>(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], ParentFault> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|error| broken(&error))?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::addr::Target;

    #[test]
    fn every_kind_of_destination_has_its_request() {
        let target = Target::parse("db.corp:5432").unwrap();
        let v4 = To::Address("192.0.2.7:443".parse().unwrap());
        assert_eq!(request(v4), [5, 1, 0, 1, 192, 0, 2, 7, 1, 187]);
        let name = [&[5, 1, 0, 3, 7][..], b"db.corp", &[21, 56]].concat();
        assert_eq!(request(To::Name(&target)), name);
        let v6 = request(To::Address("[::1]:80".parse().unwrap()));
        assert_eq!((v6.len(), v6.get(..4), v6.last()), (22, Some(&[5, 1, 0, 4][..]), Some(&80)));
    }

    #[test]
    fn codes_of_the_origin_are_told_from_those_of_the_parent() {
        for (code, meaning) in [
            (0, Ok(())),
            (1, Err(DialError::Parent(ParentFault::Socks(1)))),
            (2, Err(DialError::Parent(ParentFault::Socks(2)))),
            (3, Err(DialError::Unreachable)),
            (4, Err(DialError::Unreachable)),
            (5, Err(DialError::Refused)),
            (6, Err(DialError::Unreachable)),
            (7, Err(DialError::Parent(ParentFault::Socks(7)))),
            (8, Err(DialError::Parent(ParentFault::Socks(8)))),
            (255, Err(DialError::Parent(ParentFault::Socks(255)))),
        ] {
            assert_eq!(verdict(code), meaning, "{code}");
        }
    }

    #[tokio::test]
    async fn nothing_behind_the_answer_is_read_whatever_its_address() {
        for (kind, address) in [(IPV4, vec![0; 6]), (IPV6, vec![0; 18]), (NAME, b"\x03abcPP".to_vec())] {
            let bytes = [address, b"220".to_vec()].concat();
            let mut rest = bytes.as_slice();
            skip_address(&mut rest, kind).await.unwrap();
            assert_eq!(rest, b"220", "{kind}");
        }
        assert_eq!(skip_address(&mut &[0; 9][..], 9).await, Err(ParentFault::Malformed));
    }
}
