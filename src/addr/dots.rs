//! Where the labels of a name end.

/// The lowest bit of each byte.
const LOW: u64 = u64::MAX / 0xff;
/// All bits of each byte but the highest.
const REST: u64 = LOW * 0x7f;

/// The places of the dots in an ASCII text, the rightmost first.
///
/// 64 bytes are looked at together, eight in a step.
#[derive(Debug)]
pub(crate) struct Dots<'t> {
    text: &'t [u8],
    /// Where the 64 bytes at hand end.
    end: usize,
    /// A bit for each of them that is a dot and was not shown yet; the highest is for the last one.
    left: u64,
}

impl<'t> Dots<'t> {
    /// The dots of a text that is all ASCII.
    #[inline]
    pub(crate) fn of(text: &'t [u8]) -> Self {
        Self { text, end: text.len(), left: window(text, text.len()) }
    }
}

impl Iterator for Dots<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            self.end = self.end.checked_sub(64)?;
            self.left = window(self.text, self.end);
        }
        let top = self.left.leading_zeros();
        self.left ^= 1 << 63 >> top;
        usize::try_from(top).ok().map(|from_end| self.end - 1 - from_end)
    }
}

/// The dots among the 64 bytes before `end`, of which the last one has the highest bit.
#[inline]
fn window(text: &[u8], end: usize) -> u64 {
    let mut rest = text.get(..end).unwrap_or_default();
    let mut bits = 0;
    for place in (0..8).rev() {
        if rest.is_empty() {
            break;
        }
        let word = match (rest.split_last_chunk(), text.first_chunk()) {
            (Some((before, word)), _) => {
                rest = before;
                u64::from_le_bytes(*word)
            }
            // Fewer than eight bytes are left, and what follows them is shifted out.
            (None, Some(word)) => u64::from_le_bytes(*word) << (64 - 8 * std::mem::take(&mut rest).len()),
            (None, None) => {
                let short = std::mem::take(&mut rest).iter().rev().zip((0..8).rev());
                short.fold(0, |word, (byte, place)| word | u64::from(*byte) << (8 * place))
            }
        };
        bits |= dots(word) << (8 * place);
    }
    bits
}

/// A bit for each byte of a word that is a dot.
#[inline]
const fn dots(word: u64) -> u64 {
    /// Brings the lowest bits of all bytes together in the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let differs = word ^ (LOW * b'.' as u64);
    // INVARIANT: no byte has its highest bit, so no sum carries into the next one.
    let found = !(differs.wrapping_add(REST) | REST);
    (found >> 7).wrapping_mul(GATHER) >> 56
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_dot_is_found_from_the_right(text in "[.\\x00-\\x7f]{0,40}|[.-/]{0,30}|[a.]{0,20}|[a.]{60,140}") {
            let all = text.bytes().enumerate().rev().filter(|(_, byte)| *byte == b'.').map(|(place, _)| place);
            prop_assert!(Dots::of(text.as_bytes()).eq(all), "{:?}", text);
        }
    }
}
