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

use foldhash::SharedSeed;
use foldhash::fast::{FoldHasher, RandomState};

use crate::addr::Dots;

/// The labels from the right that are hashed one by one; the rest of a deeper name is hashed as one more.
pub(super) const DEPTH: usize = 8;

/// The hash of no label; the key of this process, with what the library keeps.
static ROOT: LazyLock<u64> = LazyLock::new(|| RandomState::default().build_hasher().finish());

/// The hash of no label.
pub(super) fn root() -> u64 {
    *ROOT
}

/// A hash that goes on behind the labels of another; labels are written the rightmost first.
#[inline]
pub(super) fn behind(hash: u64) -> FoldHasher<'static> {
    FoldHasher::with_seed(hash, SharedSeed::global_random())
}

/// The hash of one text.
pub(super) fn text(text: &[u8]) -> u64 {
    let mut hasher = behind(root());
    hasher.write(text);
    hasher.finish()
}

/// The hash of a host's on one port.
pub(super) fn on_port(hash: u64, port: u16) -> u64 {
    let mut hasher = behind(hash);
    hasher.write_u16(port);
    hasher.finish()
}

/// A name with the hashes of its last labels.
#[derive(Debug)]
pub struct NameKey<'n> {
    /// The canonical name.
    name: &'n str,
    /// The hash of no label.
    root: u64,
    /// How many labels are hashed one by one.
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
    #[inline]
    pub fn new(name: &'n str) -> Self {
        let (root, text) = (root(), name.as_bytes());
        let mut key = Self { name, root, seen: 0, whole: false, starts: [0; DEPTH], suffixes: [0; DEPTH] };
        let mut hasher = behind(root);
        let (mut dots, mut end) = (Dots::of(text), text.len());
        for (start, suffix) in key.starts.iter_mut().zip(&mut key.suffixes) {
            let dot = dots.next();
            let from = dot.map_or(0, |dot| dot + 1);
            hasher.write(text.get(from..end).unwrap_or_default());
            // INVARIANT: a name has at most 253 bytes.
            *start = u8::try_from(from).unwrap_or(u8::MAX);
            *suffix = hasher.finish();
            key.seen += 1;
            let Some(dot) = dot else {
                key.whole = true;
                break;
            };
            end = dot;
        }
        key
    }

    /// The name.
    pub(super) const fn name(&self) -> &'n str {
        self.name
    }

    /// How many labels are hashed one by one.
    pub(super) const fn seen(&self) -> usize {
        self.seen
    }

    /// Whether these are all labels of the name.
    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// The hash of the last so many labels, none for 0; none beyond what is hashed.
    #[inline]
    pub(super) fn suffix(&self, labels: usize) -> Option<u64> {
        match labels.checked_sub(1) {
            None => Some(self.root),
            Some(_) if labels > self.seen => None,
            Some(place) => self.suffixes.get(place).copied(),
        }
    }

    /// The hash of all labels.
    pub(super) fn all(&self) -> u64 {
        let seen = self.suffix(self.seen).unwrap_or(self.root);
        let Some(start) = self.starts.last().filter(|_| !self.whole) else { return seen };
        let mut hasher = behind(seen);
        hasher.write(self.name.as_bytes().get(..usize::from(*start)).unwrap_or_default());
        hasher.finish()
    }

    /// The labels that are hashed one by one, the rightmost first.
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_suffix_has_the_same_hash_in_every_name() {
        let (long, short) = (NameKey::new("www.example.com"), NameKey::new("example.com"));
        assert_eq!((long.suffix(2), long.suffix(3)), (Some(short.all()), Some(long.all())));
        assert_eq!((long.suffix(0), short.suffix(3)), (Some(root()), None));
        for other in ["example.org", "com.example", "examplecom", "exampl.ecom", "com"] {
            assert_ne!(NameKey::new(other).all(), short.all(), "{other}");
        }
    }

    #[test]
    fn a_deep_name_is_hashed_as_far_as_any_index_asks() {
        let deep = format!("{}com", "a.".repeat(126));
        let key = NameKey::new(&deep);
        assert_eq!((key.seen(), key.is_whole(), key.suffix(DEPTH + 1)), (DEPTH, false, None));
        assert_eq!(key.suffix(1), Some(NameKey::new("com").all()));
        let exactly = format!("{}com", "a.".repeat(DEPTH - 1));
        let exactly = NameKey::new(&exactly);
        assert_eq!((exactly.is_whole(), Some(exactly.all())), (true, key.suffix(DEPTH)));
        assert_ne!(key.all(), exactly.all());
    }

    proptest! {
        #[test]
        fn the_labels_come_from_the_right(name in "[a-z_-]{0,9}(\\.[a-z0-9]{0,9}){0,20}") {
            let key = NameKey::new(&name);
            let labels: Vec<&[u8]> = name.rsplit('.').map(str::as_bytes).take(DEPTH).collect();
            prop_assert_eq!(key.labels().collect::<Vec<_>>(), labels);
            prop_assert_eq!(key.is_whole(), name.split('.').count() <= DEPTH);
        }
    }
}
