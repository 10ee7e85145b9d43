//! A name's labels, hashed once from the right, so that every index is asked with the same numbers.
//!
//! ```text
//! www . example . com
//!                 └── suffixes[0] = hash(com)
//!       └──────────── suffixes[1] = hash(example.com)
//! └────────────────── suffixes[2] = hash(www.example.com)
//! ```
//! One pass: the text is taken in words of eight bytes from the right, and each is mixed into the hash by one
//! multiplication. Where a label begins inside a word, the bytes right of its dot are mixed in for that suffix alone. So a
//! suffix has the same hash whatever stands before it. The hash is keyed anew in each process, since clients choose the
//! names. It finds candidates and decides nothing.

use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use foldhash::SharedSeed;
use foldhash::fast::{FoldHasher, RandomState};

use crate::addr::{Words, dots};

/// The labels from the right that are hashed one by one; the rest of a deeper name is hashed as one more.
pub(super) const DEPTH: usize = 8;

/// What hashes are keyed with.
struct Seed {
    /// The hash of no label.
    root: u64,
    /// What each word is multiplied by.
    factor: u64,
}

/// The key of this process.
static SEED: LazyLock<Seed> = LazyLock::new(|| {
    let draw = || RandomState::default().build_hasher().finish();
    // An odd number with as many bits set as not, so that no word is multiplied away.
    let factor = std::iter::repeat_with(draw).find(|factor| factor.count_ones() == 32).unwrap_or(1) | 1;
    Seed { root: draw(), factor }
});

/// The hash of no label.
pub(super) fn root() -> u64 {
    SEED.root
}

/// A hash that goes on behind another.
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

impl Seed {
    /// A hash with one more word.
    #[inline]
    fn mix(&self, hash: u64, word: u64) -> u64 {
        let (low, high) = (hash ^ word).carrying_mul(self.factor, 0);
        low ^ high
    }
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
        let (seed, text) = (&*SEED, name.as_bytes());
        let root = seed.root;
        let mut key = Self { name, root, seen: 0, whole: false, starts: [0; DEPTH], suffixes: [0; DEPTH] };
        let (mut hash, mut end) = (root, text.len());
        for word in Words::of(text) {
            let mut dots = dots(word);
            while dots != 0 {
                let behind = dots.leading_zeros();
                let part = word & !(u64::MAX >> behind);
                let suffix = if behind == 0 { hash } else { seed.mix(hash, part) };
                let bytes = usize::try_from(behind / 8).unwrap_or_default();
                key.see(end - bytes, suffix);
                if key.seen == DEPTH {
                    return key;
                }
                dots ^= 1 << 63 >> behind;
            }
            hash = seed.mix(hash, word);
            end = end.saturating_sub(8);
        }
        key.see(0, hash);
        key.whole = true;
        key
    }

    /// Notes one more suffix; there is room for it.
    #[inline]
    fn see(&mut self, from: usize, hash: u64) {
        if let (Some(start), Some(suffix)) =
            (self.starts.get_mut(self.seen), self.suffixes.get_mut(self.seen))
        {
            // INVARIANT: a name has at most 253 bytes.
            (*start, *suffix) = (u8::try_from(from).unwrap_or(u8::MAX), hash);
            self.seen += 1;
        }
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

    /// The hash of the last two labels, of a name that has so many.
    #[inline]
    pub(super) fn end(&self) -> Option<u64> {
        self.suffix(2)
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
