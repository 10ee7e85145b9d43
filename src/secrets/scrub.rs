//! Masks the values of secrets in what comes back from an origin.
//!
//! | a value of eight bytes or more is found | |
//! |---|---|
//! | as it is, and with any of its bytes escaped: `%74oken`, `\u0074oken`, `\"`, `\/`, and `+` for a space | yes |
//! | in base64 or base64url, whatever stands before and behind it there, as in `Basic base64(user:token)` | yes |
//! | in hexadecimal digits | yes |
//! | the characters of both escaped again, as in `%2B` or `\/` for base64 | yes |
//! | compressed, encrypted, reversed, split, or in another character set | no |
//! | escaped twice (`%2574`), as HTML (`&#116;`, `&amp;`), or as `\x74` | no |
//! | in base64 with line breaks; the base64 of base64 | no |
//!
//! A shorter value is found as it is only. Each byte of an occurrence becomes `*`, so that lengths stay true. At its ends
//! base64 shares a character with what stands beside the value; that character stays, with at most four bits of the
//! value's first byte and four of its last.
//!
//! This keeps an origin from showing a secret by accident or because a sandbox asks it to, as in an error page or an
//! endpoint that echoes. Against an origin that wants to give the secret away nothing helps.
//!
//! SECURITY: values are read where [`Revealed`] keeps them, and overwritten with it. Only the first three symbols of
//! each form are copied, for the search for beginnings, and are not overwritten.

mod form;
mod matcher;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::Revealed;
use form::Form;
use matcher::Matcher;

/// What stands for a byte of a value: the first of these that is in no value, so that masking makes no new occurrence.
const MASKS: &[u8] = b"*#~!^|$@?;:,.<>(){}[]&'`";

/// The values that are masked in one answer. Clones share it.
#[derive(Clone)]
pub struct Mask(Arc<Inner>);

/// What a [`Mask`] shares.
struct Inner {
    forms: Vec<Form>,
    /// A bit for each pair of bytes: whether a form can begin with it.
    pairs: Vec<u64>,
    /// What stands for a byte of a value.
    byte: u8,
}

impl Mask {
    /// Masks these values; empty ones are not there.
    #[must_use]
    pub fn new<'v>(values: impl IntoIterator<Item = &'v Revealed>) -> Self {
        let mut free = MASKS.to_vec();
        let mut forms = Vec::new();
        for value in values {
            free.retain(|byte| !value.expose().contains(byte));
            forms.extend(Form::all(value));
        }
        let mut pairs = vec![0_u64; 1 << 10];
        for (one, two) in forms.iter().flat_map(Form::pairs) {
            let (word, bit) = place(one, two);
            if let Some(word) = pairs.get_mut(word) {
                *word |= bit;
            }
        }
        Self(Arc::new(Inner { forms, pairs, byte: free.first().copied().unwrap_or(b'*') }))
    }

    /// Whether there is nothing to mask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.forms.is_empty()
    }

    /// The most bytes that a [`Scrubber`] keeps back.
    #[must_use]
    pub fn most_held(&self) -> usize {
        self.0.forms.iter().map(|form| form.longest().saturating_sub(1)).max().unwrap_or_default()
    }

    /// Masks a body that comes in pieces.
    #[must_use]
    pub fn stream(&self) -> Scrubber {
        Scrubber { mask: self.clone(), matcher: Matcher::new(&self.0.forms), held: BytesMut::new() }
    }

    /// Masks a text; `None` when nothing of it is a value.
    #[must_use]
    pub fn text(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut matcher = Matcher::new(&self.0.forms);
        let ranges = self.ranges(&mut matcher, text, 0);
        (!ranges.is_empty()).then(|| {
            let mut masked = text.to_vec();
            self.cover(&mut masked, &ranges);
            masked
        })
    }

    /// Masks the value of a header or trailer; `None` when nothing of it is one of a secret.
    #[must_use]
    pub fn header(&self, value: &HeaderValue) -> Option<HeaderValue> {
        let masked = self.text(value.as_bytes())?;
        // INVARIANT: only visible characters took the place of others.
        let mut masked = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static("***"));
        masked.set_sensitive(value.is_sensitive());
        Some(masked)
    }

    /// Reads `text` from `known` on, and says what of the whole must be masked.
    fn ranges(&self, matcher: &mut Matcher, text: &[u8], known: usize) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let base = matcher.position().saturating_sub(known as u64);
        let mut at = known;
        while at < text.len() {
            if matcher.is_idle() {
                let next = self.next(text, at);
                matcher.skip((next - at) as u64);
                at = next;
            }
            let Some(rest @ [_, ..]) = text.get(at..) else { break };
            at += 1;
            if let Some(start) = matcher.read(&self.0.forms, rest, self.may_begin(rest)) {
                let mut start = usize::try_from(start.saturating_sub(base)).unwrap_or_default();
                while let Some(last) = found.pop_if(|last| last.end >= start) {
                    start = start.min(last.start);
                }
                found.push(start..at);
            }
        }
        found
    }

    /// The next place from `at` on where a form can begin, as far as can be said.
    fn next(&self, text: &[u8], at: usize) -> usize {
        let rest = text.get(at..).unwrap_or_default();
        let found = rest.windows(2).enumerate().find(|(place, pair)| {
            let [one, two] = pair else { return false };
            self.is_pair(*one, *two) && self.begins(rest.get(*place..).unwrap_or_default())
        });
        match (found, rest) {
            (Some((place, _)), _) => at + place,
            // What begins with the last byte goes on in the next piece.
            (None, [.., last]) if self.begins(&[*last]) => text.len() - 1,
            (None, _) => text.len(),
        }
    }

    /// Whether a form can begin where this text does, which is not empty.
    fn begins(&self, text: &[u8]) -> bool {
        self.may_begin(text) && self.0.forms.iter().any(|form| form.begins(text))
    }

    /// Whether the first two bytes of a text allow that a form begins there.
    fn may_begin(&self, text: &[u8]) -> bool {
        match text {
            [one, two, ..] => self.is_pair(*one, *two),
            _ => true,
        }
    }

    /// Whether a form can begin with these two bytes.
    fn is_pair(&self, one: u8, two: u8) -> bool {
        let (word, bit) = place(one, two);
        self.0.pairs.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Overwrites these ranges.
    fn cover(&self, text: &mut [u8], ranges: &[Range<usize>]) {
        for range in ranges {
            text.get_mut(range.clone()).unwrap_or_default().fill(self.0.byte);
        }
    }
}

/// The word and the bit of a pair.
const fn place(one: u8, two: u8) -> (usize, u64) {
    ((one as usize) << 2 | (two >> 6) as usize, 1 << (two & 0x3f))
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask(…)")
    }
}

/// Masks values in a body, whatever the pieces that it comes in: the result is that of the whole.
///
/// Only bytes are kept back that are the beginning of an occurrence if the right ones follow, so that a stream of events
/// goes on event by event.
pub struct Scrubber {
    mask: Mask,
    matcher: Matcher,
    /// What is kept back, masked where it must be.
    held: BytesMut,
}

impl Scrubber {
    /// Takes a piece, and gives what can go on: what was kept back and the piece, without what is kept back next.
    pub fn push(&mut self, piece: Bytes) -> Bytes {
        let known = self.held.len();
        if known == 0 {
            let ranges = self.mask.ranges(&mut self.matcher, &piece, 0);
            let ready = piece.len().saturating_sub(self.holds());
            if ranges.is_empty() {
                let mut piece = piece;
                self.held.extend_from_slice(&piece.split_off(ready));
                return piece;
            }
            let mut piece = BytesMut::from(piece);
            self.mask.cover(&mut piece, &ranges);
            self.held.extend_from_slice(&piece.split_off(ready));
            return piece.freeze();
        }
        self.held.extend_from_slice(&piece);
        let ranges = self.mask.ranges(&mut self.matcher, &self.held, known);
        self.mask.cover(&mut self.held, &ranges);
        match self.held.len().saturating_sub(self.holds()) {
            0 => Bytes::new(),
            ready => self.held.split_to(ready).freeze(),
        }
    }

    /// Gives what is kept back, as nothing follows.
    pub fn finish(&mut self) -> Bytes {
        self.matcher = Matcher::new(&self.mask.0.forms);
        self.held.split().freeze()
    }

    /// How many of the last bytes can be the beginning of an occurrence.
    fn holds(&self) -> usize {
        let oldest = self.matcher.oldest().unwrap_or(self.matcher.position());
        usize::try_from(self.matcher.position().saturating_sub(oldest)).unwrap_or(usize::MAX)
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]
mod tests;
