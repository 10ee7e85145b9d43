//! HTTP CONNECT to a parent proxy.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{Credentials, DialError, ParentFault, To, broken};

/// The longest head of an answer.
const LONGEST: usize = 16 * 1024;

/// Asks for a connection, and reads the answer and nothing behind it.
pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    to: To<'_>,
    credentials: Option<&Credentials>,
) -> Result<(), DialError> {
    let request = request(to, credentials);
    stream.write_all(request.as_bytes()).await.map_err(|error| broken(&error))?;
    stream.flush().await.map_err(|error| broken(&error))?;
    let head = head(stream).await?;
    Ok(verdict(status(&head))?)
}

/// How long the request is at most.
fn room(authority: &str, credentials: Option<&Credentials>) -> usize {
    /// What is the same in every request, and some more.
    const WORDS: usize = 128;
    let pair = credentials
        .map_or(0, |shown| shown.username.len().saturating_add(1 + shown.password.expose_secret().len()));
    authority.len().saturating_mul(2).saturating_add(pair.div_ceil(3).saturating_mul(4)).saturating_add(WORDS)
}

/// The request.
fn request(to: To<'_>, credentials: Option<&Credentials>) -> Zeroizing<String> {
    let authority = match to {
        To::Address(address) => address.to_string(),
        To::Name(target) => target.to_string(),
    };
    // SECURITY: a text that grows leaves copies behind that are not wiped.
    let mut text = Zeroizing::new(String::with_capacity(room(&authority, credentials)));
    // Writing to a string cannot fail.
    let _ = write!(text, "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(Credentials { username, password }) = credentials {
        let password = password.expose_secret();
        let mut pair = Zeroizing::new(String::with_capacity(username.len() + 1 + password.len()));
        let _ = write!(pair, "{username}:{password}");
        text.push_str("Proxy-Authorization: Basic ");
        STANDARD.encode_string(pair.as_bytes(), &mut text);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text
}

/// The head of the answer, byte by byte: what follows belongs to the origin, which may speak first.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ParentFault> {
    let mut head = Vec::with_capacity(256);
    while !(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n")) {
        if head.len() >= LONGEST {
            return Err(ParentFault::TooLarge);
        }
        head.push(stream.read_u8().await.map_err(|error| broken(&error))?);
    }
    Ok(head)
}

/// The status of an answer; None: it is none.
fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let (b'0' | b'1', rest) = rest.split_first()? else { return None };
    let (digits, rest) = rest.strip_prefix(b" ")?.split_first_chunk::<3>()?;
    let ends = matches!(rest.first(), Some(b' ' | b'\r' | b'\n'));
    let digits =
        str::from_utf8(digits).ok().filter(|text| ends && text.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

/// What a status means: a success has no body (RFC 9110 §9.3.6), whatever its headers say.
const fn verdict(status: Option<u16>) -> Result<(), ParentFault> {
    match status {
        Some(200..=299) => Ok(()),
        Some(407) => Err(ParentFault::Credentials),
        Some(status @ 300..=599) => Err(ParentFault::Status(status)),
        Some(_) | None => Err(ParentFault::Malformed),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::addr::Target;

    #[test]
    fn a_status_line_is_read_strictly() {
        for (head, found) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            ("HTTP/1.0 407\r\n\r\n", Some(407)),
            ("HTTP/1.1 2000 no\r\n\r\n", None),
            ("HTTP/1.1 +20 no\r\n\r\n", None),
            ("HTTP/2.0 200 no\r\n\r\n", None),
            ("HTTP/1.2 200 no\r\n\r\n", None),
            ("SSH-2.0-x\n\n", None),
            ("", None),
        ] {
            assert_eq!(status(head.as_bytes()), found, "{head}");
        }
    }

    #[test]
    fn every_status_has_one_meaning() {
        for (status, meaning) in [
            (Some(200), Ok(())),
            (Some(204), Ok(())),
            (Some(100), Err(ParentFault::Malformed)),
            (Some(302), Err(ParentFault::Status(302))),
            (Some(407), Err(ParentFault::Credentials)),
            (Some(503), Err(ParentFault::Status(503))),
            (Some(999), Err(ParentFault::Malformed)),
            (None, Err(ParentFault::Malformed)),
        ] {
            assert_eq!(verdict(status), meaning, "{status:?}");
        }
    }

    #[test]
    fn the_request_names_the_judged_address_or_the_name() {
        let address = To::Address("[2001:db8::1]:443".parse().unwrap());
        let expected = "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n";
        assert_eq!(*request(address, None), expected);
        let target = Target::parse("db.corp:5432").unwrap();
        let credentials = Credentials { username: "gate".to_owned(), password: "s3cret".into() };
        let expected = "CONNECT db.corp:5432 HTTP/1.1\r\nHost: db.corp:5432\r\nProxy-Authorization: Basic Z2F0ZTpzM2NyZXQ=\r\n\r\n";
        assert_eq!(*request(To::Name(&target), Some(&credentials)), expected);
        assert_eq!(format!("{credentials:?}"), "Credentials");
    }

    #[test]
    fn s5_the_request_never_outgrows_the_room_that_it_was_given() {
        for length in [0, 1, 2, 3, 255, 2_900, 10_000] {
            let password = "p".repeat(length).into();
            let credentials = Credentials { username: "u".repeat(255), password };
            let target = Target::parse(&format!("{}:65535", vec!["a".repeat(63); 3].join("."))).unwrap();
            for to in [To::Name(&target), To::Address("[2001:db8::1]:443".parse().unwrap())] {
                for credentials in [Some(&credentials), None] {
                    let text = request(to, credentials);
                    let given = match to {
                        To::Address(address) => room(&address.to_string(), credentials),
                        To::Name(target) => room(&target.to_string(), credentials),
                    };
                    assert!(text.len() <= given, "{length}: {} in {given}", text.len());
                }
            }
        }
    }

    #[tokio::test]
    async fn nothing_behind_the_answer_is_read_and_no_more_than_its_bound() {
        let mut bytes: &[u8] = b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n220 hello";
        assert!(head(&mut bytes).await.is_ok());
        assert_eq!(bytes, b"220 hello");
        let endless = vec![b'a'; LONGEST + 1];
        assert_eq!(head(&mut endless.as_slice()).await, Err(ParentFault::TooLarge));
        assert_eq!(head(&mut &b"HTTP/1.1 200"[..]).await, Err(ParentFault::Closed));
    }
}
