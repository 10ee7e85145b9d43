//! The first message of a TLS client (RFC 8446 §4.1.2), as far as it says where the client wants to go.
//!
//! The hello may come in any number of TCP segments and of TLS records. Nothing is copied unless it is spread over
//! records. What a server could read in another way than this parser is an error.

use std::borrow::Cow;

use thiserror::Error;

use crate::addr::{HostError, Name};

/// The most bytes of a hello with its record headers.
pub const MAX_HELLO: usize = 64 * 1024;

/// The most records that a hello may be spread over: what comes bit by bit is read from the start each time.
const MAX_RECORDS: usize = 2048;

/// The most payload of one record (RFC 8446 §5.1).
const MAX_RECORD: usize = 1 << 14;

/// What the first bytes of a TLS client are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// The hello has not come whole.
    NeedMore,
    /// The hello.
    Complete(ClientHello),
    /// Not a hello, or one that is refused.
    Invalid(HelloError),
}

/// What a hello says of where the client wants to go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The server name; none when the extension is absent.
    pub server_name: Option<Name>,
    /// Whether an inner hello is encrypted, or pretended to be (GREASE): the name is the outer one then.
    pub ech: bool,
    /// The protocols that the client offers inside.
    pub alpn: Alpn,
}

/// The protocols that a client offers inside TLS, as far as they matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alpn {
    /// `h2`.
    pub h2: bool,
    /// `http/1.1` or `http/1.0`.
    pub http1: bool,
    /// Anything else.
    pub other: bool,
}

/// Reads the hello at the start of what a client sent.
///
/// | bytes | answer |
/// |---|---|
/// | a part of a hello, cut anywhere | `NeedMore` |
/// | a hello without a server name | `Complete`, no name |
/// | a server name that is an address, not ASCII, not canonical as a name, empty; two names; the extension twice | `Invalid` |
/// | a message other than a hello, an empty record, bytes left over in an extension or after the hello in its record | `Invalid` |
/// | more than 64 KiB, record headers included, or more than 2048 records | `Invalid` |
#[must_use]
pub fn parse(bytes: &[u8]) -> Hello {
    split(bytes).0
}

/// Reads the hello as [`parse`] does, and answers the length of its records too; 0 unless it is complete.
#[must_use]
pub fn split(bytes: &[u8]) -> (Hello, usize) {
    // INVARIANT: what lies behind the limit is never looked at, so how much of it has come changes nothing.
    let bytes = bytes.get(..MAX_HELLO).unwrap_or(bytes);
    match handshake(bytes) {
        Ok(Some((hello, length))) => match client_hello(&hello) {
            Ok(hello) => (Hello::Complete(hello), length),
            Err(error) => (Hello::Invalid(error), 0),
        },
        Ok(None) if bytes.len() >= MAX_HELLO => (Hello::Invalid(HelloError::TooLong), 0),
        Ok(None) => (Hello::NeedMore, 0),
        Err(error) => (Hello::Invalid(error), 0),
    }
}

/// The body of a message, put together from its records, and their length.
type Message<'b> = (Cow<'b, [u8]>, usize);

/// The hello; `None` while it is incomplete.
fn handshake(bytes: &[u8]) -> Result<Option<Message<'_>>, HelloError> {
    let mut records = Records { rest: bytes };
    let Some(first) = records.next().transpose()? else { return Ok(None) };
    // The four bytes of type and length may be spread over records themselves.
    let mut header =
        first.payload.iter().copied().chain(Records { rest: records.rest }.flatten().flat_map(Record::bytes));
    if header.next().is_some_and(|kind| kind != 1) {
        return Err(HelloError::NotHello);
    }
    let length = header.by_ref().take(3).map(usize::from).collect::<Vec<usize>>();
    let [high, middle, low] = *length.as_slice() else { return records.check().map(|()| None) };
    drop(header);
    let needed = 4 + (high << 16 | middle << 8 | low);
    if needed > MAX_HELLO {
        return Err(HelloError::TooLong);
    }
    let mut whole = Cow::Borrowed(first.payload);
    let mut last = first;
    for _ in 0..MAX_RECORDS {
        if whole.len() + last.missing > needed {
            return Err(HelloError::Trailing);
        }
        if whole.len() == needed {
            return Ok(Some((body(whole), bytes.len() - records.rest.len())));
        }
        let Some(record) = records.next().transpose()? else { return Ok(None) };
        whole.to_mut().extend_from_slice(record.payload);
        last = record;
    }
    Err(HelloError::TooManyRecords)
}

/// A handshake message without its type and length.
fn body(message: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match message {
        Cow::Borrowed(message) => Cow::Borrowed(message.get(4..).unwrap_or_default()),
        Cow::Owned(mut message) => {
            message.drain(..4);
            Cow::Owned(message)
        }
    }
}

/// The handshake records at the start of a buffer; the last one may be cut off.
struct Records<'b> {
    /// What is not read yet.
    rest: &'b [u8],
}

/// One record, as far as it is there.
#[derive(Clone, Copy)]
struct Record<'b> {
    /// The payload that is there.
    payload: &'b [u8],
    /// The bytes of payload that are not.
    missing: usize,
}

impl<'b> Record<'b> {
    /// The payload byte by byte.
    fn bytes(self) -> impl Iterator<Item = u8> + 'b {
        self.payload.iter().copied()
    }
}

impl Records<'_> {
    /// Whether every record that has begun is well-formed.
    fn check(mut self) -> Result<(), HelloError> {
        self.try_for_each(|record| record.map(drop))
    }
}

impl<'b> Iterator for Records<'b> {
    type Item = Result<Record<'b>, HelloError>;

    fn next(&mut self) -> Option<Self::Item> {
        // INVARIANT: the rest is taken first, so that an error is given once and then the end.
        let (kind, after) = std::mem::take(&mut self.rest).split_first()?;
        if *kind != 0x16 {
            return Some(Err(HelloError::NotHandshake));
        }
        if after.first().is_some_and(|major| *major != 3) {
            return Some(Err(HelloError::Version));
        }
        let [_, _, high, low, ..] = *after else { return None };
        let length = usize::from(high) << 8 | usize::from(low);
        if length == 0 || length > MAX_RECORD {
            return Some(Err(HelloError::RecordLength));
        }
        let payload = after.get(4..).unwrap_or_default();
        let (payload, rest) = payload.split_at_checked(length).unwrap_or((payload, &[]));
        self.rest = rest;
        Some(Ok(Record { payload, missing: length - payload.len() }))
    }
}

/// Reads the body of a hello.
fn client_hello(body: &[u8]) -> Result<ClientHello, HelloError> {
    let mut hello = Bytes { rest: body };
    if hello.take(2)?.first() != Some(&3) {
        return Err(HelloError::Version);
    }
    hello.take(32)?;
    let session = hello.vector8()?.rest.len();
    let suites = hello.vector16()?.rest.len();
    let compressions = hello.vector8()?.rest.len();
    if session > 32 || suites == 0 || suites % 2 != 0 || compressions == 0 {
        return Err(HelloError::Malformed);
    }
    if hello.rest.is_empty() {
        return Ok(ClientHello::default());
    }
    let mut list = hello.vector16()?;
    hello.end()?;
    let mut found = ClientHello::default();
    let mut alpn = false;
    while !list.rest.is_empty() {
        let kind = list.number16()?;
        let extension = list.vector16()?;
        match kind {
            SERVER_NAME if found.server_name.is_some() => return Err(HelloError::Duplicate),
            SERVER_NAME => found.server_name = Some(server_name(extension)?),
            ALPN if alpn => return Err(HelloError::Duplicate),
            ALPN => {
                alpn = true;
                found.alpn = protocols(extension)?;
            }
            ECH | ESNI if found.ech => return Err(HelloError::Duplicate),
            ECH | ESNI => found.ech = true,
            _ => {}
        }
    }
    Ok(found)
}

/// The extension `server_name` (RFC 6066 §3).
const SERVER_NAME: usize = 0;
/// The extension `application_layer_protocol_negotiation` (RFC 7301).
const ALPN: usize = 16;
/// The extension `encrypted_client_hello` (RFC 9849).
const ECH: usize = 0xfe0d;
/// The extension `encrypted_server_name`, the draft before it.
const ESNI: usize = 0xffce;

/// Reads the extension `server_name`: exactly one name of type `host_name`.
fn server_name(mut extension: Bytes<'_>) -> Result<Name, HelloError> {
    let mut list = extension.vector16()?;
    extension.end()?;
    if list.take(1)?.first() != Some(&0) {
        return Err(HelloError::NameType);
    }
    let name = list.vector16()?.rest;
    list.end().map_err(|_| HelloError::Duplicate)?;
    let text = str::from_utf8(name).ok().filter(|text| text.is_ascii()).ok_or(HelloError::NotAscii)?;
    Name::parse(text).map_err(HelloError::Name)
}

/// Reads the extension `application_layer_protocol_negotiation`.
fn protocols(mut extension: Bytes<'_>) -> Result<Alpn, HelloError> {
    let mut list = extension.vector16()?;
    extension.end()?;
    let mut alpn = Alpn::default();
    if list.rest.is_empty() {
        return Err(HelloError::Malformed);
    }
    while !list.rest.is_empty() {
        match list.vector8()?.rest {
            b"" => return Err(HelloError::Malformed),
            b"h2" => alpn.h2 = true,
            b"http/1.1" | b"http/1.0" => alpn.http1 = true,
            _ => alpn.other = true,
        }
    }
    Ok(alpn)
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
struct Bytes<'b> {
    /// What is not read yet.
    rest: &'b [u8],
}

impl<'b> Bytes<'b> {
    /// Takes so many bytes.
    fn take(&mut self, count: usize) -> Result<&'b [u8], HelloError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(HelloError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes a big-endian number of two bytes.
    fn number16(&mut self) -> Result<usize, HelloError> {
        Ok(self.take(2)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// Takes what a length of one byte stands before.
    fn vector8(&mut self) -> Result<Self, HelloError> {
        let length = self.take(1)?.first().copied().unwrap_or_default();
        Ok(Self { rest: self.take(usize::from(length))? })
    }

    /// Takes what a length of two bytes stands before.
    fn vector16(&mut self) -> Result<Self, HelloError> {
        let length = self.number16()?;
        Ok(Self { rest: self.take(length)? })
    }

    /// Checks that nothing is left.
    const fn end(self) -> Result<(), HelloError> {
        if self.rest.is_empty() { Ok(()) } else { Err(HelloError::Trailing) }
    }
}

/// Why the first bytes of a TLS client are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HelloError {
    /// A record that is no handshake.
    #[error("the TLS stream starts with a record that is not a handshake")]
    NotHandshake,
    /// A handshake message other than a hello.
    #[error("the first TLS message is not a ClientHello")]
    NotHello,
    /// A version that is not 3.x.
    #[error("the version in the TLS record or ClientHello is not one of TLS")]
    Version,
    /// An empty record, or one of more than 16 KiB.
    #[error("a TLS record is empty or longer than 16 KiB")]
    RecordLength,
    /// More than 64 KiB.
    #[error("the ClientHello is longer than 64 KiB")]
    TooLong,
    /// More than 2048 records.
    #[error("the ClientHello is spread over more than 2048 TLS records")]
    TooManyRecords,
    /// Lengths that do not fit together.
    #[error("the ClientHello is malformed")]
    Malformed,
    /// Bytes after the end of an extension, of the hello, or of the message in its record.
    #[error("bytes are left over in the ClientHello or after it in its record")]
    Trailing,
    /// An extension or a server name more than once.
    #[error("the ClientHello has an extension or a server name twice")]
    Duplicate,
    /// A server name of another type than `host_name`.
    #[error("the server name is of an unknown type")]
    NameType,
    /// A server name that is not ASCII.
    #[error("the server name is not ASCII; send its A-label form")]
    NotAscii,
    /// A server name that is not a DNS name.
    #[error("the server name is refused: {0}")]
    Name(HostError),
}

#[cfg(test)]
#[path = "client_hello_tests.rs"]
mod tests;
