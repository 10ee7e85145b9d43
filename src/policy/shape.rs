//! Where patterns with stars have labels without one, and what those say of a name.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hasher;

use super::name_key::{self, DEPTH, NameKey};
use super::pattern::LabelPattern;

/// Hashed in the place of a label with a star; no label looks like it.
const STAR: &[u8] = b"*";
/// Mixed into the hash of labels that nothing stands before, and of those that one label or more do.
const CLOSED: u64 = 0x1656_67b1_9e37_79f9;
const OPEN: u64 = 0x27d4_eb2f_1656_67c5;

/// The places of a pattern's labels that have no star.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    /// How many labels are right of every star.
    known: u8,
    /// How many labels from the right count.
    labels: u8,
    /// Those of them that have a star, the rightmost in the lowest bit.
    stars: u16,
    /// One label or more stand before them.
    open: bool,
}

impl Shape {
    /// The shape of a pattern with stars, the hash of what is right of them, and the one that it is filed under.
    pub(super) fn of(pattern: &[LabelPattern]) -> (Self, u64, u64) {
        let open = matches!(pattern.first(), Some(LabelPattern::Many)) && pattern.len() <= DEPTH + 1;
        let counted = pattern.get(usize::from(open)..).unwrap_or_default().iter().rev().take(DEPTH);
        let mut shape = Self { known: 0, labels: 0, stars: 0, open };
        let texts = counted.map(|label| {
            let place = shape.labels;
            shape.labels += 1;
            match label {
                LabelPattern::Literal(text) => text.as_bytes(),
                LabelPattern::One | LabelPattern::Many | LabelPattern::Part(_) => {
                    shape.stars |= 1 << place;
                    STAR
                }
            }
        });
        let texts: Vec<&[u8]> = texts.collect();
        shape.known =
            u8::try_from(shape.stars.trailing_zeros()).map_or(shape.labels, |right| right.min(shape.labels));
        let mut right = name_key::behind(name_key::root());
        texts.iter().take(shape.known.into()).for_each(|text| right.write(text));
        (shape, right.finish(), shape.hash(name_key::root(), texts.into_iter().zip(0..)))
    }

    /// The hash of a name's labels in these places, behind that of those right of every star; none when it has too few.
    fn find(self, key: &NameKey<'_>, right: u64) -> Option<u64> {
        let labels = || key.labels().zip(0..).take(self.labels.into()).skip(self.known.into());
        (key.seen() >= usize::from(self.labels)).then(|| self.hash(right, labels()))
    }

    /// The hash of labels with their places, behind one of those right of them.
    fn hash<'l>(self, right: u64, labels: impl Iterator<Item = (&'l [u8], u32)>) -> u64 {
        let mut hasher = name_key::behind(right);
        for (label, place) in labels {
            hasher.write(if self.stars >> place & 1 == 0 { label } else { STAR });
        }
        hasher.finish() ^ if self.open { OPEN } else { CLOSED }
    }
}

/// Says of hashes that they are not among some others, and seldom wrongly that they may be.
#[derive(Debug, Default, Clone)]
struct Filter(Box<[u64]>);

impl Filter {
    /// The filter for these hashes.
    fn new(hashes: &HashSet<u64>) -> Self {
        // 16 bits for each leave one chance in sixteen.
        let mut filter = Self(vec![0; hashes.len().div_ceil(4)].into());
        for hash in hashes {
            let (word, bit) = filter.place(*hash);
            if let Some(word) = filter.0.get_mut(word) {
                *word |= bit;
            }
        }
        filter
    }

    /// Whether a hash may be among them.
    fn has(&self, hash: u64) -> bool {
        let (word, bit) = self.place(hash);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// The word and the bit of a hash.
    fn place(&self, hash: u64) -> (usize, u64) {
        let word = (u128::from(hash) * self.0.len() as u128) >> 64;
        (usize::try_from(word).unwrap_or_default(), 1 << (hash % 64))
    }
}

/// The shapes of many patterns.
#[derive(Debug, Default, Clone)]
pub(super) struct Shapes {
    /// Each of them, in order of the labels right of every star.
    list: Box<[Shape]>,
    /// What the patterns have right of every star.
    right: Filter,
}

impl Shapes {
    /// These shapes, of patterns with these hashes right of every star.
    pub(super) fn new(list: BTreeSet<Shape>, right: &HashSet<u64>) -> Self {
        Self { list: list.into_iter().collect(), right: Filter::new(right) }
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Shows each hash that a pattern may be filed under which a name fits.
    pub(super) fn each(&self, key: &NameKey<'_>, mut see: impl FnMut(u64)) {
        for shapes in self.list.chunk_by(|one, next| one.known == next.known) {
            let known = shapes.first().and_then(|shape| key.suffix(shape.known.into()));
            if let Some(right) = known.filter(|hash| self.right.has(*hash)) {
                shapes.iter().filter_map(|shape| shape.find(key, right)).for_each(&mut see);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_has_what_was_put_in_and_little_else() {
        let hashes: HashSet<u64> = (0..1000).map(|n| name_key::text(format!("{n}").as_bytes())).collect();
        let filter = Filter::new(&hashes);
        assert!(hashes.iter().all(|hash| filter.has(*hash)));
        let wrong = (1000..5000).filter(|n| filter.has(name_key::text(format!("{n}").as_bytes()))).count();
        assert!(wrong < 500, "{wrong} of 4000");
        assert!(!Filter::default().has(1));
    }
}
