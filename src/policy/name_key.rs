//! A name's labels, hashed once from the right, so that every index is asked with the same numbers.
//!
//! ```text
//! www . example . com
//!                 └── suffixes[0] = hash(com)
//!       └──────────── suffixes[1] = hash(com, example)
//! └────────────────── suffixes[2] = hash(com, example, www)
//! ```
//! The hash goes on from label to label, one multiplication for each of up to 16 bytes. It is keyed anew in each process,
//! since clients choose the names. It finds candidates and decides nothing.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use foldhash::fast::{FoldHasher, RandomState};

/// The labels from the right that are hashed; what has more is filed under its last so many.
pub(super) const DEPTH: usize = 16;

/// The hash of no label.
pub(super) const ROOT: u64 = 0;

/// The key of this process.
static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A hash that labels are written into, the rightmost first.
pub(super) fn hasher() -> FoldHasher<'static> {
    STATE.build_hasher()
}

/// The hash of one text.
pub(super) fn text(text: &[u8]) -> u64 {
    let mut hasher = hasher();
    hasher.write(text);
    hasher.finish()
}

/// The hash of two numbers, in this order.
pub(super) fn pair(first: u64, second: u64) -> u64 {
    let mut hasher = hasher();
    hasher.write_u64(first);
    hasher.write_u64(second);
    hasher.finish()
}

/// A name with the hashes of its last labels.
#[derive(Debug)]
pub struct NameKey<'n> {
    /// The canonical name.
    name: &'n str,
    /// How many labels are hashed.
    seen: usize,
    /// Whether these are all labels of the name.
    whole: bool,
    /// Where each label begins, the rightmost first.
    starts: [u8; DEPTH],
    /// The hash of each suffix, the shortest first.
    suffixes: [u64; DEPTH],
}

impl<'n> NameKey<'n> {
    /// Hashes the last [`DEPTH`] labels of a canonical name.
    #[must_use]
    pub fn new(name: &'n str) -> Self {
        let mut key = Self { name, seen: 0, whole: false, starts: [0; DEPTH], suffixes: [0; DEPTH] };
        let mut hasher = hasher();
        let mut rest = name.as_bytes();
        for (start, suffix) in key.starts.iter_mut().zip(&mut key.suffixes) {
            let dot = rest.iter().rposition(|byte| *byte == b'.');
            let from = dot.map_or(0, |dot| dot + 1);
            hasher.write(rest.get(from..).unwrap_or_default());
            // INVARIANT: a name has at most 253 bytes.
            *start = u8::try_from(from).unwrap_or(u8::MAX);
            *suffix = hasher.finish();
            key.seen += 1;
            let Some(dot) = dot else {
                key.whole = true;
                break;
            };
            rest = rest.get(..dot).unwrap_or_default();
        }
        key
    }

    /// The name.
    pub(super) const fn name(&self) -> &'n str {
        self.name
    }

    /// How many labels are hashed.
    pub(super) const fn seen(&self) -> usize {
        self.seen
    }

    /// The hash of the whole name, if it has no more labels than are hashed.
    pub(super) fn whole(&self) -> Option<u64> {
        self.whole.then(|| self.last())
    }

    /// The hash of all labels that are hashed.
    pub(super) fn last(&self) -> u64 {
        self.seen.checked_sub(1).and_then(|last| self.suffixes.get(last)).copied().unwrap_or(ROOT)
    }

    /// The hashes of the suffixes of 1, 2, 3… labels, as far as they are not the whole name.
    pub(super) fn below(&self) -> &[u64] {
        self.suffixes.get(..self.seen - usize::from(self.whole)).unwrap_or_default()
    }

    /// The labels that are hashed, the rightmost first.
    pub(super) fn labels(&self) -> impl Iterator<Item = &'n [u8]> + '_ {
        let starts = self.starts.iter().take(self.seen).map(|start| usize::from(*start));
        starts.scan(self.name.len(), |end, start| {
            let label = self.name.as_bytes().get(start..*end);
            *end = start.saturating_sub(1);
            label
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_has_the_same_hash_in_every_name() {
        let (long, short) = (NameKey::new("www.example.com"), NameKey::new("example.com"));
        assert_eq!(long.below().get(1).copied(), short.whole());
        assert_eq!((long.below().len(), short.below().len()), (2, 1));
        assert_ne!(NameKey::new("example.org").whole(), short.whole());
        assert_ne!(NameKey::new("com.example").whole(), short.whole());
        assert_ne!(NameKey::new("examplecom").whole(), short.whole());
        assert_ne!(NameKey::new("a.bc").whole(), NameKey::new("ab.c").whole());
    }

    #[test]
    fn the_labels_come_from_the_right() {
        let key = NameKey::new("www.example.com");
        assert!(key.labels().eq(["com", "example", "www"].map(str::as_bytes)));
        assert_eq!(NameKey::new(&format!("{}com", "a.".repeat(30))).labels().count(), DEPTH);
    }

    #[test]
    fn a_deep_name_is_hashed_as_far_as_any_index_asks() {
        let deep = format!("{}com", "a.".repeat(126));
        let key = NameKey::new(&deep);
        assert_eq!((key.seen(), key.whole(), key.below().len()), (DEPTH, None, DEPTH));
        assert_eq!(key.below().first().copied(), NameKey::new("com").whole());
        let exactly = format!("{}com", "a.".repeat(DEPTH - 1));
        assert_eq!(NameKey::new(&exactly).whole(), key.below().last().copied());
    }
}
