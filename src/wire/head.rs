//! The head of an HTTP/1 request, read strictly (RFC 9112 §2 to §6).
//!
//! Anything that two servers could read in two ways is an error: the message is answered with 400 and the connection
//! is closed, and the origin never sees a byte of it.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method};
use thiserror::Error;

use super::field::{self, FieldError, is_tchar, items};

mod stream;

/// The usual limit of a head in bytes.
pub const MAX_HEAD: usize = 64 * 1024;

/// The most header lines in a head.
const MAX_FIELDS: usize = 100;

/// The most empty lines skipped before a request line (RFC 9112 §2.2 wants at least one).
const MAX_EMPTY_LINES: usize = 4;

/// The version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// After this many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// What a request asks its connection to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrade {
    /// Nothing.
    None,
    /// Exactly `websocket`.
    WebSocket,
    /// HTTP/2 in the clear: `h2c` among the protocols, or an `HTTP2-Settings` header.
    H2c,
    /// Anything else.
    Other,
}

/// The head of one request.
#[derive(Debug, Clone)]
pub struct Head {
    /// The method.
    method: Method,
    /// The target as sent: visible ASCII.
    target: String,
    /// The version.
    version: Version,
    /// The headers in the order they came.
    headers: HeaderMap,
    /// How the body ends.
    framing: Framing,
}

impl Head {
    /// Reads a head from the start of a buffer: the head and its length in bytes, or `None` while it is incomplete.
    ///
    /// `max` bounds the length; an incomplete head that has reached it is an error, and so is a line that is wrong
    /// before the head is complete.
    ///
    /// # Errors
    /// The first rule that the head breaks.
    pub fn scan(buf: &[u8], max: usize) -> Result<Option<(Self, usize)>, HeadError> {
        check_first(buf)?;
        let Some((lines, length)) = split_lines(buf, max)? else { return Ok(None) };
        let mut lines = lines.into_iter();
        let (method, target, version) = request_line(lines.next().unwrap_or_default())?;
        let mut headers = HeaderMap::with_capacity(lines.len());
        for line in lines {
            let (name, value) = field::parse(line)?;
            headers.append(name, value);
        }
        check_host(&headers, version)?;
        let framing = framing(&headers, version)?;
        let head = Self { method, target, version, headers, framing };
        // INVARIANT: what follows one of these is not HTTP, or is a request; it cannot be a body as well.
        match framing {
            Framing::None | Framing::Length(0) => Ok(Some((head, length))),
            _ if head.method == Method::CONNECT => Err(HeadError::ConnectBody),
            _ if head.upgrade() != Upgrade::None => Err(HeadError::UpgradeBody),
            Framing::Length(_) | Framing::Chunked => Ok(Some((head, length))),
        }
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The request target as sent, for [`RequestTarget`](super::request_target::RequestTarget).
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The headers, taken out.
    #[must_use]
    pub fn into_headers(self) -> HeaderMap {
        self.headers
    }

    /// How the body ends.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// The `Host` header as sent; only HTTP/1.0 may lack it.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.headers.get(HOST).and_then(|value| value.to_str().ok())
    }

    /// Whether `Connection` lists an option, such as `close` or `upgrade`, in any case.
    #[must_use]
    pub fn connection_lists(&self, option: &str) -> bool {
        items(&self.headers, &CONNECTION).any(|item| item.eq_ignore_ascii_case(option))
    }

    /// Whether the connection ends after this request: `close`, or HTTP/1.0 without `keep-alive`.
    #[must_use]
    pub fn closes(&self) -> bool {
        let keeps = self.version == Version::Http11 || self.connection_lists("keep-alive");
        self.connection_lists("close") || !keeps
    }

    /// What the request asks its connection to become, whether or not `Connection` says so too.
    #[must_use]
    pub fn upgrade(&self) -> Upgrade {
        let is_h2c = |item: &str| item.split('/').next().is_some_and(|name| name.eq_ignore_ascii_case("h2c"));
        if self.headers.contains_key("http2-settings") || items(&self.headers, &UPGRADE).any(is_h2c) {
            return Upgrade::H2c;
        }
        let mut lines = self.headers.get_all(UPGRADE).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Upgrade::None,
            (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"websocket") => Upgrade::WebSocket,
            (Some(_), _) => Upgrade::Other,
        }
    }
}

/// The lines of a complete head without their CRLF, and the length of the head with its empty line.
type Lines<'b> = (Vec<&'b [u8]>, usize);

/// Checks by the first byte that this can be HTTP at all, as other protocols may never send a line feed.
fn check_first(buf: &[u8]) -> Result<(), HeadError> {
    match buf.first() {
        Some(0x16) => Err(HeadError::Tls),
        Some(b'\r' | b'\n' | b' '..=b'~') | None => Ok(()),
        Some(_) => Err(HeadError::NotHttp),
    }
}

/// Cuts a buffer into lines up to the empty one; `None` while that has not come.
fn split_lines(buf: &[u8], max: usize) -> Result<Option<Lines<'_>>, HeadError> {
    let bounded = buf.get(..max).unwrap_or(buf);
    let mut lines = Vec::new();
    let mut skipped = 0;
    let mut rest = bounded;
    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        let text = line.strip_suffix(b"\r");
        if text.unwrap_or(line).contains(&b'\r') {
            return Err(HeadError::BareCarriageReturn);
        }
        let line = text.ok_or(HeadError::BareLineFeed)?;
        match (line.is_empty(), lines.is_empty()) {
            (true, true) if skipped == MAX_EMPTY_LINES => return Err(HeadError::EmptyLines),
            (true, true) => skipped += 1,
            (true, false) => return Ok(Some((lines, bounded.len() - rest.len()))),
            (false, _) if lines.len() > MAX_FIELDS => return Err(HeadError::TooManyFields),
            (false, _) => lines.push(line),
        }
    }
    let started = rest.strip_suffix(b"\r").unwrap_or(rest);
    if started.contains(&b'\r') {
        return Err(HeadError::BareCarriageReturn);
    }
    if buf.len() >= max { Err(HeadError::TooLong) } else { Ok(None) }
}

/// Reads `METHOD target HTTP/1.x` with single spaces.
fn request_line(line: &[u8]) -> Result<(Method, String, Version), HeadError> {
    let mut words = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(HeadError::RequestLine);
    };
    if !method.iter().copied().all(is_tchar) {
        return Err(HeadError::Method);
    }
    let method = Method::from_bytes(method).map_err(|_| HeadError::Method)?;
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err(HeadError::Target);
    }
    let target = str::from_utf8(target).map_err(|_| HeadError::Target)?.to_owned();
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        b"HTTP/2.0" => return Err(HeadError::Http2),
        _ => return Err(HeadError::Version),
    };
    Ok((method, target, version))
}

/// Checks that there is exactly one `Host`, which only HTTP/1.0 may leave out (RFC 9112 §3.2).
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), HeadError> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::Http11 => Err(HeadError::HostMissing),
        (Some(_), Some(_)) => Err(HeadError::HostTwice),
        (Some(host), None) if host.to_str().is_err() => Err(HeadError::Host),
        (Some(_) | None, _) => Ok(()),
    }
}

/// Decides how the body ends (RFC 9112 §6.3, without its leniency). Without a sign a response ends with its connection.
///
/// # Errors
/// The fields say it in two ways, or in none that has one meaning.
pub fn framing(headers: &HeaderMap, version: Version) -> Result<Framing, HeadError> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), encodings.next()) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(HeadError::LengthAndEncoding),
        (Some(_), None) if lengths.next().is_some() => Err(HeadError::LengthTwice),
        (Some(length), None) => content_length(length.as_bytes()).map(Framing::Length),
        (None, Some(_)) if version == Version::Http10 => Err(HeadError::EncodingIn10),
        (None, Some(_)) if encodings.next().is_some() => Err(HeadError::Encoding),
        (None, Some(value)) if value.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, Some(_)) => Err(HeadError::Encoding),
    }
}

/// Reads a length of plain decimal digits, without leading zeros; one that no signed number holds is none, as servers
/// count in those too.
fn content_length(text: &[u8]) -> Result<u64, HeadError> {
    let plain = text.iter().all(u8::is_ascii_digit) && (text.len() == 1 || text.first() != Some(&b'0'));
    let text = str::from_utf8(text).map_err(|_| HeadError::Length)?;
    let length = text.parse().ok().filter(|length: &u64| plain && i64::try_from(*length).is_ok());
    length.ok_or(HeadError::Length)
}

/// Why the head of a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeadError {
    /// TLS where HTTP in the clear is expected.
    #[error(
        "this is TLS, and HTTP in the clear is expected: a proxy URL starts with http://, for https:// URLs too"
    )]
    Tls,
    /// Another protocol.
    #[error("this is not HTTP")]
    NotHttp,
    /// HTTP/2 in the clear.
    #[error("HTTP/2 in the clear is not supported: send HTTP/1.1")]
    Http2,
    /// Longer than the limit.
    #[error("the request head is too long")]
    TooLong,
    /// More than 100 headers.
    #[error("the request has more than {MAX_FIELDS} headers")]
    TooManyFields,
    /// Many empty lines before the request line.
    #[error("more than {MAX_EMPTY_LINES} empty lines before the request line")]
    EmptyLines,
    /// LF without CR.
    #[error("a line of the request head ends in a bare line feed; lines end in CR LF")]
    BareLineFeed,
    /// CR without LF.
    #[error("the request head has a carriage return that does not end a line")]
    BareCarriageReturn,
    /// Not three words with single spaces.
    #[error("the request line is not a method, a target and a version with single spaces between them")]
    RequestLine,
    /// The method is not a token.
    #[error("the method is not a token")]
    Method,
    /// The target is empty or not visible ASCII.
    #[error("the request target is empty or has a byte that is not visible ASCII; percent-encode it")]
    Target,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// A header line is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No `Host` in HTTP/1.1.
    #[error("the Host header is missing")]
    HostMissing,
    /// More than one `Host`.
    #[error("there is more than one Host header")]
    HostTwice,
    /// A `Host` that is not ASCII.
    #[error("the Host header is not ASCII")]
    Host,
    /// `Content-Length` and `Transfer-Encoding`.
    #[error("Content-Length and Transfer-Encoding are both there; send one of them")]
    LengthAndEncoding,
    /// More than one `Content-Length`, equal or not.
    #[error("there is more than one Content-Length header")]
    LengthTwice,
    /// A `Content-Length` that is not a plain number.
    #[error("Content-Length is not a plain decimal number")]
    Length,
    /// A `Transfer-Encoding` other than one `chunked`.
    #[error("Transfer-Encoding is not exactly one `chunked`")]
    Encoding,
    /// `Transfer-Encoding` in HTTP/1.0.
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    EncodingIn10,
    /// `CONNECT` with a body.
    #[error("a CONNECT request has no body")]
    ConnectBody,
    /// `Upgrade` with a body.
    #[error("a request with an Upgrade header has no body")]
    UpgradeBody,
    /// `CONNECT` on a stream of HTTP/2.
    #[error("CONNECT on a stream of HTTP/2 is refused")]
    StreamConnect,
    /// A `:scheme` other than `https`.
    #[error(":scheme is not https")]
    StreamScheme,
    /// A value that begins or ends with white space.
    #[error("a header value begins or ends with white space")]
    StreamValue,
    /// `:authority` and `Host` differ.
    #[error(":authority and Host differ")]
    StreamAuthority,
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
