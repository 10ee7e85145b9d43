//! The ranges of one family, and the index that leads to the one of an address.

use super::{Word, large, small};

/// The ranges of a family and the way to them.
#[derive(Debug, Clone)]
pub(super) struct Table<T: Copy> {
    /// How many top bits choose a region.
    top: u32,
    /// One for each value of the top bits.
    regions: Box<[Region]>,
    /// For each slot of each region the first range that reaches into it; and the last range.
    index: Box<[u32]>,
    /// From low to high; the last one reaches to the last address.
    pub(super) ranges: Box<[Range<T>]>,
}

impl<T: Address> Table<T> {
    /// How many ranges share a slot, about, where the table is small.
    const SHARE: usize = 4;
    /// The binary logarithm of how many slots there are, about, where the table is large: their index stays in the
    /// second-level cache.
    const SLOTS: u32 = 15;
    /// The most bits that choose a region: the regions stay in the first-level cache.
    const TOP: u32 = 12;

    /// The table of ranges that [`flatten`](super::flatten) made, each by its last address.
    pub(super) fn new(ranges: &[(u128, Word)]) -> Option<Box<Self>> {
        let last = ranges.len().checked_sub(1)?;
        let share = (ranges.len() >> Self::SLOTS).max(Self::SHARE);
        let top = slots(ranges.len(), share).min(Self::TOP);
        let below = T::BITS - top;
        let (mut regions, mut index) = (Vec::with_capacity(1 << top), Vec::new());
        let mut rest = ranges.iter().enumerate().peekable();
        let mut ahead = ranges;
        for region in 0..1_u128 << top {
            let start = region.checked_shl(below).unwrap_or(0);
            let size = 1_u128.checked_shl(below).unwrap_or(0);
            let (within, after) = ahead
                .split_at(ahead.partition_point(|(end, _)| *end <= start.wrapping_add(size).wrapping_sub(1)));
            ahead = after;
            let shift = below - slots(within.len(), share).min(below);
            regions.push(Region { index: small(index.len()), shift });
            for slot in 0..1_u128 << (below - shift) {
                let start = start + slot.checked_shl(shift).unwrap_or(0);
                while rest.next_if(|(_, (end, _))| *end < start).is_some() {}
                index.push(small(rest.peek().map_or(last, |(place, _)| *place)));
            }
        }
        index.push(small(last));
        let ranges = ranges.iter().map(|(end, word)| Range { end: T::of(*end), word: *word }).collect();
        Some(Box::new(Self { top, regions: regions.into(), index: index.into(), ranges }))
    }

    /// What the range of an address says; there always is one.
    #[inline]
    pub(super) fn find(&self, address: T) -> Option<Word> {
        let below = T::BITS - self.top;
        let region = self.regions.get(address.bits(below, self.top))?;
        let slot = large(region.index) + address.bits(region.shift, below - region.shift);
        let [first, last] = self.index.get(slot..)?.first_chunk()?;
        let ranges = self.ranges.get(large(*first)..=large(*last))?;
        // Where the range is when the slot's ranges are of one size.
        let fine = region.shift.min(16);
        let guess = (address.bits(region.shift - fine, fine) * ranges.len()) >> fine;
        reaching(ranges, guess, address)
    }
}

/// A range, without the padding that a `u128` would bring.
#[derive(Debug, Clone, Copy)]
#[repr(Rust, packed(4))]
pub(super) struct Range<T> {
    /// Its last address; the range before it ends just below its first.
    end: T,
    word: Word,
}

/// Addresses that share their top bits: where the region's part of the index begins, and the bits below a slot.
#[derive(Debug, Clone, Copy)]
struct Region {
    index: u32,
    shift: u32,
}

/// What the first range says that reaches `address`: searched from `guess` in steps that double, then by halves.
#[inline]
fn reaching<T: Address>(ranges: &[Range<T>], guess: usize, address: T) -> Option<Word> {
    let short = |range: &Range<T>| {
        let end = range.end;
        end < address
    };
    let (mut low, mut high, mut step) = (0, ranges.len(), 1);
    if short(ranges.get(guess)?) {
        low = guess + 1;
        while let Some(range) = ranges.get(guess + step) {
            if !short(range) {
                high = guess + step;
                break;
            }
            low = guess + step + 1;
            step *= 2;
        }
    } else {
        high = guess;
        while let Some(range) = guess.checked_sub(step).and_then(|place| ranges.get(place)) {
            if short(range) {
                low = guess - step + 1;
                break;
            }
            high = guess - step;
            step *= 2;
        }
    }
    let place = low + ranges.get(low..high)?.partition_point(short);
    ranges.get(place).map(|range| range.word)
}

/// How many bits of index let about `share` of `count` ranges share a slot; zero bits for few.
fn slots(count: usize, share: usize) -> u32 {
    (count / share).checked_ilog2().map_or(0, |bits| bits + 1).min(24)
}

/// An address as a number.
pub(super) trait Address: Copy + Ord {
    /// How many bits it has.
    const BITS: u32;

    /// The number, which fits.
    fn of(number: u128) -> Self;

    /// `width` bits, at most 32, above the lowest `shift` ones; zero when there are none.
    fn bits(self, shift: u32, width: u32) -> usize;
}

impl Address for u32 {
    const BITS: u32 = Self::BITS;

    fn of(number: u128) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    #[inline]
    fn bits(self, shift: u32, width: u32) -> usize {
        large(self.wrapping_shr(shift)) & !(usize::MAX << width)
    }
}

impl Address for u128 {
    const BITS: u32 = Self::BITS;

    fn of(number: u128) -> Self {
        number
    }

    #[inline]
    fn bits(self, shift: u32, width: u32) -> usize {
        let low = self.wrapping_shr(shift) & Self::from(u32::MAX);
        usize::try_from(low).unwrap_or(0) & !(usize::MAX << width)
    }
}
