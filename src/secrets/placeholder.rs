//! Placeholders: what a sandbox writes where the value of a secret belongs, `sluicegate:ID/KEY` or `sluicegate:ID`.
//!
//! An id and a key are letters, digits, `.`, `_` and `-`, as many as follow; what is written behind a `/` without any is
//! not a key.
//!
//! | where | as | |
//! |---|---|---|
//! | anywhere in the value of a header, but `Host` | it is | swapped |
//! | `Authorization`, `Proxy-Authorization`: the name and the password of `Basic` | base64 | swapped |
//! | the query | it is, or with any of its characters as `%XX` | swapped |
//! | the path, the name of a header, the method, a trailer | it is, or with `%XX` | refused |
//! | the value of a header | with `%XX` | refused |
//! | anywhere above | with other capitals, or without an id; two that overlap; behind a `%` that escapes nothing; more than [`MOST`] | refused |
//! | a body; base64 anywhere else; escaped twice (`%2573`) | | not seen |
//!
//! What is refused would go on unswapped, and tell the origin that it is there. What is not seen goes on; it is no secret.
//!
//! Work is linear in the length of the head. Copies with a value in them are overwritten when they go; the header or
//! query that is the result is not.

mod text;

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Revealed;
use text::{Span, Unescaped, occurs, spans};

/// The most placeholders in one request.
pub const MOST: usize = 16;

/// base64 as servers read it: padded or not, whatever the bits that mean nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The parts of a request in which placeholders are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'r> {
    /// The method.
    pub method: &'r str,
    /// The path, without query.
    pub path: &'r str,
    /// What follows the question mark.
    pub query: Option<&'r str>,
    /// The headers.
    pub headers: &'r HeaderMap,
}

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// The secret's id.
    pub id: String,
    /// Its key; None: the only one.
    pub key: Option<String>,
}

/// Where something of a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// The value of this header.
    Header(HeaderName),
    /// The name and the password in this header.
    Basic(HeaderName),
    /// The query.
    Query,
    /// The path.
    Path,
    /// The name of a header.
    HeaderName,
    /// The method.
    Method,
    /// A trailer.
    Trailer,
}

/// A placeholder in a place where it can be swapped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Found {
    /// Where it stands.
    pub part: Part,
    /// What it stands for.
    pub wanted: Wanted,
}

/// Why placeholders are not swapped. Names places, never values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlaceholderError {
    /// It stands where none is swapped.
    #[error(
        "there is a placeholder for a secret in {0}; one is swapped in the value of a header, in Basic credentials and in \
         the query"
    )]
    Misplaced(Part),
    /// It cannot be read.
    #[error(
        "there is something like a placeholder for a secret in {0}; write sluicegate:ID or sluicegate:ID/KEY, in lower case"
    )]
    Malformed(Part),
    /// There are too many.
    #[error("there are more than {MOST} placeholders for secrets in the request")]
    TooMany,
    /// Nobody has the value.
    #[error("there is no value for the placeholder in {0}")]
    Unknown(Part),
    /// The value cannot stand there.
    #[error("the value for the placeholder in {0} cannot stand there")]
    Value(Part),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header {name}"),
            Self::Basic(name) => write!(f, "the Basic credentials of {name}"),
            Self::Query => f.write_str("the query"),
            Self::Path => f.write_str("the path"),
            Self::HeaderName => f.write_str("the name of a header"),
            Self::Method => f.write_str("the method"),
            Self::Trailer => f.write_str("a trailer"),
        }
    }
}

/// Finds every placeholder of a request, in the order of its headers, then of its query.
///
/// # Errors
/// One is there that would go on unswapped.
pub fn find(parts: &Parts<'_>) -> Result<Vec<Found>, PlaceholderError> {
    for (text, part) in [(parts.method, Part::Method), (parts.path, Part::Path)] {
        if occurs(text.as_bytes()) {
            return Err(PlaceholderError::Misplaced(part));
        }
    }
    if parts.headers.keys().any(|name| occurs(name.as_str().as_bytes())) {
        return Err(PlaceholderError::Misplaced(Part::HeaderName));
    }
    let mut found = Vec::new();
    for (name, value) in parts.headers.iter().filter(|(name, _)| **name != HOST) {
        let Some(cut) = cut(name, value)? else { continue };
        found.extend(cut.found());
    }
    if let Some(query) = parts.query {
        let spans = in_query(query)?.into_iter();
        found.extend(spans.map(|span| Found { part: Part::Query, wanted: span.wanted }));
    }
    if found.len() > MOST { Err(PlaceholderError::TooMany) } else { Ok(found) }
}

/// Refuses trailers with a placeholder.
///
/// # Errors
/// There is one in a name or a value.
pub fn check_trailers(trailers: &HeaderMap) -> Result<(), PlaceholderError> {
    let mut fields = trailers.iter();
    if fields.any(|(name, value)| occurs(name.as_str().as_bytes()) || occurs(value.as_bytes())) {
        return Err(PlaceholderError::Misplaced(Part::Trailer));
    }
    Ok(())
}

/// Writes values for the placeholders in headers; says whether there were any. A header that was written is sensitive.
///
/// # Errors
/// A value is not to be had or cannot stand in its header. The headers are then not to be sent.
pub fn swap_headers(
    headers: &mut HeaderMap,
    value: &mut dyn FnMut(&Found) -> Option<Revealed>,
) -> Result<bool, PlaceholderError> {
    let mut swapped = false;
    for (name, field) in headers.iter_mut().filter(|(name, _)| **name != HOST) {
        if let Some(cut) = cut(name, field)? {
            let part = cut.part.clone();
            *field = cut.written(value)?;
            if self::cut(name, field)?.is_some() {
                return Err(PlaceholderError::Value(part));
            }
            swapped = true;
        }
    }
    Ok(swapped)
}

/// A query with values for its placeholders, each escaped but for letters, digits, `-`, `.`, `_` and `~` (RFC 3986 §2.1);
/// `None` when there are none.
///
/// # Errors
/// A value is not to be had.
pub fn swap_query(
    query: &str,
    value: &mut dyn FnMut(&Found) -> Option<Revealed>,
) -> Result<Option<Zeroizing<String>>, PlaceholderError> {
    let spans = in_query(query)?;
    if spans.is_empty() {
        return Ok(None);
    }
    let written = fill(&Part::Query, query.as_bytes(), spans, value, &text::escape)?;
    if occurs(&written) {
        return Err(PlaceholderError::Value(Part::Query));
    }
    let text = str::from_utf8(&written).map_err(|_| PlaceholderError::Value(Part::Query))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// The placeholders of a query, where they are written.
fn in_query(query: &str) -> Result<Vec<Span>, PlaceholderError> {
    let malformed = PlaceholderError::Malformed(Part::Query);
    let unescaped = Unescaped::new(query.as_bytes());
    let Ok(mut spans) = spans(unescaped.bytes()) else { return Err(malformed) };
    for span in &mut spans {
        span.range = unescaped.written(&span.range);
        // SECURITY: an escape that is not complete would take the first characters of the value.
        let before = query.as_bytes().get(..span.range.start);
        if let Some([.., b'%'] | [.., b'%', b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F']) = before {
            return Err(malformed);
        }
    }
    Ok(spans)
}

/// A field with placeholders.
struct Cut {
    part: Part,
    /// What stands before base64; None: there is none.
    scheme: Option<Vec<u8>>,
    /// The value, or what base64 stands for.
    text: Vec<u8>,
    spans: Vec<Span>,
}

/// Looks for placeholders in a field.
fn cut(name: &HeaderName, value: &HeaderValue) -> Result<Option<Cut>, PlaceholderError> {
    let bytes = value.as_bytes();
    let plain = Part::Header(name.clone());
    let malformed = |part: &Part| PlaceholderError::Malformed(part.clone());
    let spans = text::spans(bytes).map_err(|_| malformed(&plain))?;
    // What only unescaping shows is no placeholder here, but looks like one further on.
    let wanted = |spans: Vec<Span>| spans.into_iter().map(|span| span.wanted).collect::<Vec<_>>();
    let meant = |bytes| text::spans(Unescaped::new(bytes).bytes()).map(wanted);
    if bytes.contains(&b'%') && meant(bytes) != Ok(wanted(spans.clone())) {
        return Err(malformed(&plain));
    }
    if !spans.is_empty() {
        return Ok(Some(Cut { part: plain, scheme: None, text: bytes.to_vec(), spans }));
    }
    let Some((scheme, text)) = basic(name, bytes) else { return Ok(None) };
    let part = Part::Basic(name.clone());
    let spans = text::spans(&text).map_err(|_| malformed(&part))?;
    Ok((!spans.is_empty()).then_some(Cut { part, scheme: Some(scheme), text, spans }))
}

/// Takes `Basic` credentials apart (RFC 7617 §2): what stands before the base64, and what it stands for.
fn basic(name: &HeaderName, value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    if *name != AUTHORIZATION && *name != PROXY_AUTHORIZATION {
        return None;
    }
    let (scheme, rest) = value.split_at_checked(5)?;
    let coded = rest.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"basic") || rest.len() == rest.trim_ascii_start().len() {
        return None;
    }
    let plain = LENIENT.decode(coded).ok()?;
    Some(([scheme, b" "].concat(), plain))
}

impl Cut {
    /// Its placeholders.
    fn found(self) -> impl Iterator<Item = Found> {
        let part = self.part;
        self.spans.into_iter().map(move |span| Found { part: part.clone(), wanted: span.wanted })
    }

    /// The field with values in their places.
    fn written(
        self,
        value: &mut dyn FnMut(&Found) -> Option<Revealed>,
    ) -> Result<HeaderValue, PlaceholderError> {
        let Self { part, scheme, text, spans } = self;
        let refused = || PlaceholderError::Value(part.clone());
        let colon = colon(&text, &spans);
        let in_basic = scheme.is_some();
        let plain = |at: usize, value: &[u8]| {
            // SECURITY: a colon in the name would make another password, and a control character is in neither.
            let moves = at < colon && value.contains(&b':');
            let fits = !in_basic || !moves && !value.iter().any(u8::is_ascii_control);
            (fits && value.iter().all(|byte| is_field(*byte))).then(|| Zeroizing::new(value.to_vec()))
        };
        let mut written = fill(&part, &text, spans, value, &plain)?;
        if occurs(&written) {
            return Err(refused());
        }
        if let Some(scheme) = scheme {
            let coded = Zeroizing::new(STANDARD.encode(&*written));
            written = Zeroizing::new([scheme.as_slice(), coded.as_bytes()].concat());
        }
        let mut field = HeaderValue::from_bytes(&written).map_err(|_| refused())?;
        field.set_sensitive(true);
        Ok(field)
    }
}

/// Whether a byte may stand in a field (RFC 9110 §5.5).
const fn is_field(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Where the colon between name and password stands; nowhere before 0 when there is none.
fn colon(text: &[u8], spans: &[Span]) -> usize {
    let colons = text.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    colons.into_iter().find(|at| !spans.iter().any(|span| span.range.contains(at))).unwrap_or_default()
}

/// Writes a value, or says that it cannot stand at this place.
type Write<'w> = dyn Fn(usize, &[u8]) -> Option<Zeroizing<Vec<u8>>> + 'w;

/// A text with values where its spans are.
fn fill(
    part: &Part,
    text: &[u8],
    spans: Vec<Span>,
    value: &mut dyn FnMut(&Found) -> Option<Revealed>,
    write: &Write<'_>,
) -> Result<Zeroizing<Vec<u8>>, PlaceholderError> {
    if spans.len() > MOST {
        return Err(PlaceholderError::TooMany);
    }
    let mut pieces: Vec<Zeroizing<Vec<u8>>> = Vec::new();
    let mut done = 0;
    for span in spans {
        let found = Found { part: part.clone(), wanted: span.wanted };
        let revealed = value(&found).ok_or_else(|| PlaceholderError::Unknown(part.clone()))?;
        let written = write(span.range.start, revealed.expose());
        pieces.push(Zeroizing::new(text.get(done..span.range.start).unwrap_or_default().to_vec()));
        pieces.push(written.ok_or_else(|| PlaceholderError::Value(part.clone()))?);
        done = span.range.end;
    }
    pieces.push(Zeroizing::new(text.get(done..).unwrap_or_default().to_vec()));
    // SECURITY: room for everything at once, so that growing leaves no copy behind.
    let mut whole = Zeroizing::new(Vec::with_capacity(pieces.iter().map(|piece| piece.len()).sum()));
    for piece in &pieces {
        whole.extend_from_slice(piece);
    }
    Ok(whole)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
