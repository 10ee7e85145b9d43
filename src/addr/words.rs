//! A text as words of eight bytes from the right, and where the dots of a name are in them.
//!
//! ```text
//! www.example.com ─► "mple.com", "ww.exa" ...   each word's last byte is its highest one
//! ```

/// The lowest bit of each byte.
const LOW: u64 = u64::MAX / 0xff;
/// All bits of each byte but the highest.
const REST: u64 = LOW * 0x7f;
/// The highest bit of each byte.
const HIGH: u64 = LOW * 0x80;

/// The words of a text, the rightmost first. The last of them is filled up in its lowest bytes.
#[derive(Debug)]
pub(crate) struct Words<'t> {
    text: &'t [u8],
    /// How many bytes are left of those that were shown.
    left: usize,
    /// What the last word is filled up from.
    filler: u64,
}

impl<'t> Words<'t> {
    /// The words of a text, filled up with zeros.
    #[inline]
    pub(crate) const fn of(text: &'t [u8]) -> Self {
        Self::filled(text, 0)
    }

    /// The words of a text, filled up with this byte.
    #[inline]
    pub(crate) const fn filled(text: &'t [u8], filler: u8) -> Self {
        Self { text, left: text.len(), filler: LOW * filler as u64 }
    }
}

impl Iterator for Words<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let rest = self.text.get(..self.left).filter(|rest| !rest.is_empty())?;
        if let Some((before, word)) = rest.split_last_chunk() {
            self.left = before.len();
            return Some(u64::from_le_bytes(*word));
        }
        self.left = 0;
        let word = match self.text.first_chunk() {
            // What follows the bytes that are left was shown already, and is shifted out.
            Some(word) => u64::from_le_bytes(*word) << (64 - 8 * rest.len()),
            None => rest.iter().fold(0, |word, byte| word >> 8 | u64::from(*byte) << 56),
        };
        Some(word | self.filler >> (8 * rest.len()))
    }
}

/// The highest bit of each byte of an ASCII word that is a dot.
#[inline]
pub(crate) const fn dots(word: u64) -> u64 {
    let differs = word ^ (LOW * b'.' as u64);
    // INVARIANT: no byte has its highest bit, so no sum carries into the next one.
    !(differs.wrapping_add(REST) | REST)
}

/// What is in some words, as the highest bits of its bytes.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Marks {
    /// What is no letter, digit, `-`, `_` or dot.
    pub(crate) odd: u64,
    /// Capital letters; where nothing is odd.
    pub(crate) capital: u64,
}

impl Marks {
    /// The marks of one more word.
    #[inline]
    pub(crate) const fn and(self, word: u64) -> Self {
        let (letter, digit) = (between(word | (LOW * 0x20), b'a', b'z'), between(word, b'0', b'9'));
        let plain = letter | digit | between(word, b'-', b'.') | between(word, b'_', b'_');
        Self { odd: self.odd | word | !plain, capital: self.capital | (letter & !(word << 2)) }
    }

    /// Whether a byte was odd.
    pub(crate) const fn has_odd(self) -> bool {
        self.odd & HIGH != 0
    }

    /// Whether a byte was a capital letter.
    pub(crate) const fn has_capital(self) -> bool {
        self.capital & HIGH != 0
    }
}

/// The highest bit of each byte of an ASCII word that is `first`, `last` or between them.
#[inline]
const fn between(word: u64, first: u8, last: u8) -> u64 {
    let (first, beyond) = (LOW * (0x80 - first as u64), LOW * (0x7f - last as u64));
    // INVARIANT: no byte has its highest bit, so no sum carries into the next one.
    word.wrapping_add(first) & !word.wrapping_add(beyond) & HIGH
}

/// The places of the dots in an ASCII text, the rightmost first.
#[derive(Debug)]
pub(crate) struct Dots<'t> {
    words: Words<'t>,
    /// Where the word at hand ends.
    end: usize,
    /// Its dots that were not shown yet.
    left: u64,
}

impl<'t> Dots<'t> {
    /// The dots of a text that is all ASCII.
    #[inline]
    pub(crate) const fn of(text: &'t [u8]) -> Self {
        Self { words: Words::of(text), end: text.len(), left: 0 }
    }
}

impl Iterator for Dots<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            self.end = self.words.left;
            self.left = dots(self.words.next()?);
        }
        let top = self.left.leading_zeros();
        self.left ^= 1 << 63 >> top;
        usize::try_from(top / 8).ok().map(|from_end| self.end - 1 - from_end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_words_are_the_text_from_the_right(text in "[\\x01-\\x7f]{0,40}") {
            let mut bytes: Vec<u8> = Words::of(text.as_bytes()).flat_map(u64::to_be_bytes).collect();
            prop_assert_eq!(bytes.len(), text.len().next_multiple_of(8));
            prop_assert!(bytes.split_off(text.len()).iter().all(|filler| *filler == 0));
            bytes.reverse();
            prop_assert_eq!(bytes, text.as_bytes());
        }

        #[test]
        fn every_dot_is_found_from_the_right(text in "[.\\x00-\\x7f]{0,40}|[.-/]{0,30}|[a.]{0,20}|[a.]{60,140}") {
            let all = text.bytes().enumerate().rev().filter(|(_, byte)| *byte == b'.').map(|(place, _)| place);
            prop_assert!(Dots::of(text.as_bytes()).eq(all), "{:?}", text);
        }
    }
}
