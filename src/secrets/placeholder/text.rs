//! Placeholders in a text, and texts with percent escapes.

use std::ops::Range;

use zeroize::Zeroizing;

use super::Wanted;

/// What a placeholder begins with, without its colon.
const WORD: &[u8] = b"sluicegate";

/// A placeholder in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// Its bytes.
    pub(super) range: Range<usize>,
    /// What it stands for.
    pub(super) wanted: Wanted,
}

/// Something in a text looks like a placeholder and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The placeholders of a text, in their order.
///
/// # Errors
/// Something looks like one: the word has capitals, no id follows, or two overlap.
pub(super) fn spans(text: &[u8]) -> Result<Vec<Span>, Malformed> {
    let mut found: Vec<Span> = Vec::new();
    for start in starts(text) {
        let (word, rest) =
            text.get(start..).and_then(|rest| rest.split_at_checked(WORD.len() + 1)).ok_or(Malformed)?;
        let (id, rest) = name(rest);
        let key = rest.strip_prefix(b"/").map(|rest| name(rest).0).filter(|key| !key.is_empty());
        let overlaps = found.last().is_some_and(|last| last.range.end > start);
        if !word.starts_with(WORD) || id.is_empty() || overlaps {
            return Err(Malformed);
        }
        let length = word.len() + id.len() + key.map_or(0, |key| key.len() + 1);
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let wanted = Wanted { id: text(id), key: key.map(text) };
        found.push(Span { range: start..start + length, wanted });
    }
    Ok(found)
}

/// Whether a placeholder or what looks like one is in a text, as it is or escaped.
pub(super) fn occurs(text: &[u8]) -> bool {
    starts(text).next().is_some()
        || text.contains(&b'%') && starts(Unescaped::new(text).bytes()).next().is_some()
}

/// Where the word stands before a colon, in any case.
fn starts(text: &[u8]) -> impl Iterator<Item = usize> {
    let colons = text.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let starts = colons.filter_map(|(colon, _)| Some((colon.checked_sub(WORD.len())?, colon)));
    starts
        .filter(|(start, colon)| text.get(*start..*colon).is_some_and(|word| word.eq_ignore_ascii_case(WORD)))
        .map(|(start, _)| start)
}

/// The name at the start of a text, and what follows.
fn name(text: &[u8]) -> (&[u8], &[u8]) {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.split_at(text.iter().position(|byte| !is_name(byte)).unwrap_or(text.len()))
}

/// A text whose percent escapes were read once (RFC 3986 §2.1); a percent sign without two digits stands for itself.
pub(super) struct Unescaped {
    bytes: Vec<u8>,
    /// Where each byte begins in the text, and where the text ends.
    starts: Vec<usize>,
}

impl Unescaped {
    /// Reads the escapes of a text.
    pub(super) fn new(text: &[u8]) -> Self {
        let (mut bytes, mut starts) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len() + 1));
        let mut at = 0;
        while let Some(byte) = text.get(at) {
            starts.push(at);
            let escaped = text.get(at..).and_then(escaped);
            bytes.push(escaped.unwrap_or(*byte));
            at += if escaped.is_some() { 3 } else { 1 };
        }
        starts.push(at);
        Self { bytes, starts }
    }

    /// The bytes that are meant.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where these bytes are written in the text.
    pub(super) fn written(&self, range: &Range<usize>) -> Range<usize> {
        let place = |at| self.starts.get(at).copied().unwrap_or_default();
        place(range.start)..place(range.end)
    }
}

/// The byte that an escape at the start of a text stands for.
fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', upper, lower, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|half| u8::try_from(half).ok());
    Some(digit(upper)? << 4 | digit(lower)?)
}

/// A value as it stands in a query.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every value can stand in a query, as others cannot in other places"
)]
pub(super) fn escape(_: usize, value: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(value.len().saturating_mul(3)));
    for byte in value {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(*byte);
        } else {
            out.push(b'%');
            out.extend([byte >> 4, byte & 0xf].map(|half| match half {
                0..=9 => b'0' + half,
                _ => b'A' + half - 10,
            }));
        }
    }
    Some(out)
}
