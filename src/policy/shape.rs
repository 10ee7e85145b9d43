//! Where patterns with stars have labels without one, and what those say of a name.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hasher;

use super::filter::Filter;
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

/// A pattern with stars, as it is filed.
#[derive(Debug)]
pub(super) struct Shaped {
    /// Where its labels without a star are.
    pub(super) shape: Shape,
    /// The hash of what is right of every star.
    pub(super) right: u64,
    /// The hash of the last two labels, if they are right of every star.
    pub(super) end: Option<u64>,
    /// The hash that it is filed under.
    pub(super) hash: u64,
}

impl Shape {
    /// How a pattern with stars is filed.
    pub(super) fn file(pattern: &[LabelPattern]) -> Shaped {
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
        let known = texts.iter().take(shape.known.into()).rev().copied().collect::<Vec<_>>().join(&b'.');
        let known = String::from_utf8_lossy(&known);
        let key = NameKey::new(&known);
        let right = key.suffix(shape.known.into()).unwrap_or_else(name_key::root);
        let end = key.end().filter(|_| shape.known >= 2);
        let left = texts.into_iter().zip(0..).skip(shape.known.into());
        Shaped { shape, right, end, hash: shape.hash(right, left) }
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
