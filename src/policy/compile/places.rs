//! Where a document and its rules stand, in about a byte each.
//!
//! ```text
//! offsets of blocks (u32 each) │ block of 64 places │ block │ …
//! place = how far it is from the one before: lines, and columns unless there are none
//! ```

use crate::source::Position;

/// How many places are read to find the last one of a block.
const BLOCK: usize = 64;
/// The bytes of a block's offset.
const OFFSET: usize = 4;

/// Places in one file, by their index; immutable once built.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Box<[u8]>);

impl Places {
    /// Writes places down.
    pub(super) fn new(places: impl IntoIterator<Item = Position>) -> Self {
        let (mut offsets, mut blocks, mut last) = (Vec::new(), Vec::new(), Position::default());
        for (index, place) in places.into_iter().enumerate() {
            if index.is_multiple_of(BLOCK) {
                offsets.push(blocks.len());
                last = Position::default();
            }
            let (lines, columns) = (zigzag(last.line, place.line), zigzag(last.column, place.column));
            put(&mut blocks, u64::from(lines) << 1 | u64::from(columns != 0));
            if columns != 0 {
                put(&mut blocks, columns.into());
            }
            last = place;
        }
        let head = offsets.len() * OFFSET;
        let offsets = offsets.iter().map(|offset| u32::try_from(head + offset).unwrap_or(u32::MAX));
        Self(offsets.flat_map(u32::to_le_bytes).chain(blocks).collect())
    }

    /// The place at an index.
    pub(super) fn get(&self, index: usize) -> Option<Position> {
        let block = index / BLOCK;
        // The first block begins where the offsets end.
        let first = self.offset(0)?;
        let mut bytes =
            if block < first / OFFSET { self.0.get(self.offset(block)?..)? } else { return None };
        let mut place = Position::default();
        for _ in 0..=index % BLOCK {
            let lines = take(&mut bytes)?;
            let columns = if lines & 1 == 1 { take(&mut bytes)? } else { 0 };
            place.line = after(place.line, lines >> 1)?;
            place.column = after(place.column, columns)?;
        }
        Some(place)
    }

    /// Where a block begins.
    fn offset(&self, block: usize) -> Option<usize> {
        let (bytes, _) = self.0.get(block * OFFSET..)?.split_first_chunk::<OFFSET>()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    }
}

/// How far it is from one number to another, small where they are near.
const fn zigzag(from: u32, to: u32) -> u32 {
    let far = to.wrapping_sub(from).cast_signed();
    ((far << 1) ^ (far >> 31)).cast_unsigned()
}

/// The number that is so far from another.
fn after(from: u32, zigzag: u64) -> Option<u32> {
    let zigzag = u32::try_from(zigzag).ok()?;
    Some(from.wrapping_add((zigzag >> 1) ^ (zigzag & 1).wrapping_neg()))
}

/// Writes a number, seven bits a byte from the lowest; the highest bit says that there are more.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return bytes.push(low & 0x7f);
        }
        bytes.push(low | 0x80);
    }
}

/// Reads a number, and goes on behind it.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A number, mostly small.
    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![4 => 0..200_u32, 1 => any::<u32>(), 1 => Just(u32::MAX)]
    }

    proptest! {
        #[test]
        fn every_place_is_read_as_it_was_written(written in vec((number(), number()), 0..200)) {
            let written: Vec<_> = written.into_iter().map(|(line, column)| Position { line, column }).collect();
            let places = Places::new(written.iter().copied());
            for (index, place) in written.iter().enumerate() {
                prop_assert_eq!(places.get(index), Some(*place));
            }
            for beyond in [written.len(), written.len() + 1, written.len() + BLOCK, usize::MAX] {
                prop_assert_eq!(places.get(beyond), None);
            }
        }
    }

    #[test]
    fn rules_that_follow_each_other_take_a_byte_each() {
        let rules = (0..50).map(|n| Position { line: 5 + n, column: 5 });
        let places = Places::new(std::iter::once(Position { line: 1, column: 1 }).chain(rules));
        assert!(places.0.len() <= OFFSET + 3 + 50, "{} bytes", places.0.len());
    }
}
