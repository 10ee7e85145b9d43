//! One header or trailer line (RFC 9112 §5).

use http::{HeaderName, HeaderValue};
use thiserror::Error;

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
pub(super) const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether a byte may stand in a field value: visible, space, tab, or above ASCII.
const fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Reads one line without its CRLF.
///
/// # Errors
/// The rule of RFC 9112 §5 that it breaks.
pub(super) fn parse(line: &[u8]) -> Result<(HeaderName, HeaderValue), FieldError> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(FieldError::Fold);
    }
    let colon = line.iter().position(|b| *b == b':').ok_or(FieldError::NoColon)?;
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Err(FieldError::SpaceBeforeColon);
    }
    if name.is_empty() || !name.iter().copied().all(is_tchar) {
        return Err(FieldError::Name);
    }
    if !line.iter().copied().all(is_value) {
        return Err(FieldError::Value);
    }
    let name = HeaderName::from_bytes(name).map_err(|_| FieldError::Name)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| FieldError::Value)?;
    Ok((name, value))
}

/// The comma-separated items of a header's lines, trimmed, without empty ones and those that are not text.
pub(super) fn items<'h>(headers: &'h http::HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let items = headers.get_all(name).into_iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    items.filter_map(|item| str::from_utf8(item.trim_ascii()).ok()).filter(|item| !item.is_empty())
}

/// Why a header or trailer line is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FieldError {
    /// A line that starts with a space or tab.
    #[error("a header line starts with white space; folded headers are obsolete and refused")]
    Fold,
    /// No colon.
    #[error("a header line has no colon")]
    NoColon,
    /// White space between name and colon.
    #[error("white space stands before the colon of a header")]
    SpaceBeforeColon,
    /// A name that is not a token.
    #[error("a header name is empty or has a character that is not allowed")]
    Name,
    /// A control character in a value.
    #[error("a header value has a control character")]
    Value,
}
