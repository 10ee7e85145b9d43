//! A table from 64-bit hashes to what is filed under them, in two flat arrays.
//!
//! ```text
//! tags   | 8 × u16 | 8 × u16 | 8 × u16 | …     a look-up compares eight tags at once
//! filed  | 8 slots | 8 slots | 8 slots | …     and reads a slot only where a tag agrees
//! ```
//! A large table starts at the group that the hash says and goes on to the next one while groups are full. A small one
//! has no order: a filter of 128 bits says that nothing is there, or all its tags are compared. Then the place of what is
//! filed is its position, which is not stored.
//!
//! A look-up may show what is filed under another hash: whoever asks compares.

/// Up to so many entries a table is small.
const SMALL: usize = 64;
/// A large table has a group for so many entries, of eight that have room.
const FILL: usize = 6;

/// The tags of eight slots; 0 is an empty one.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(16))]
pub(super) struct Group([u16; 8]);

impl Group {
    /// The slots that have this tag, as bits.
    fn slots(&self, tag: u16) -> u32 {
        let mut bits = 0;
        for (slot, own) in self.0.iter().enumerate() {
            bits |= u32::from(*own == tag) << slot;
        }
        bits
    }
}

/// What is filed: a pattern, and the place in the document that it stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Filed {
    /// The pattern, and what it does there.
    pub(super) pattern: u32,
    /// The place.
    pub(super) place: u32,
}

/// The table; immutable once built.
#[derive(Debug, Clone)]
pub(super) enum FlatTable {
    /// Few entries.
    Small {
        /// A bit for each hash.
        filter: u128,
        /// The tag of each place.
        tags: Box<[Group]>,
        /// What stands there.
        patterns: Box<[u32]>,
    },
    /// Many entries.
    Large {
        /// The tags of all slots.
        tags: Box<[Group]>,
        /// The slots.
        filed: Box<[[Filed; 8]]>,
    },
}

impl Default for FlatTable {
    fn default() -> Self {
        Self::Small { filter: 0, tags: Box::default(), patterns: Box::default() }
    }
}

impl FlatTable {
    /// Files patterns under their hashes; the place of each is its position here. `None` keeps a place free.
    pub(super) fn new(entries: &[Option<(u64, u32)>]) -> Self {
        if entries.len() <= SMALL {
            let mut filter = 0;
            let mut tags = vec![Group::default(); entries.len().div_ceil(8)].into_boxed_slice();
            let slots = tags.iter_mut().flat_map(|group| &mut group.0);
            for ((hash, _), slot) in
                entries.iter().zip(slots).filter_map(|(entry, slot)| entry.zip(Some(slot)))
            {
                filter |= bit(hash);
                *slot = tag(hash);
            }
            let patterns = entries.iter().map(|entry| entry.map_or(0, |(_, pattern)| pattern)).collect();
            return Self::Small { filter, tags, patterns };
        }
        let groups = entries.len().div_ceil(FILL);
        let mut tags = vec![Group::default(); groups].into_boxed_slice();
        let mut filed = vec![[Filed::default(); 8]; groups].into_boxed_slice();
        for (entry, place) in entries.iter().zip(0_u32..) {
            let Some((hash, pattern)) = *entry else { continue };
            // INVARIANT: there are more slots than entries, so this ends.
            for group in from(hash, groups) {
                let (Some(tags), Some(filed)) = (tags.get_mut(group), filed.get_mut(group)) else { break };
                let mut slots = tags.0.iter_mut().zip(filed);
                if let Some((own, slot)) = slots.find(|(own, _)| **own == 0) {
                    *own = tag(hash);
                    *slot = Filed { pattern, place };
                    break;
                }
            }
        }
        Self::Large { tags, filed }
    }

    /// Shows all that is filed under `hash`, and perhaps more.
    pub(super) fn each(&self, hash: u64, mut see: impl FnMut(Filed)) {
        match self {
            Self::Small { filter, tags, patterns } => {
                if filter & bit(hash) == 0 {
                    return;
                }
                let tag = tag(hash);
                for (group, base) in tags.iter().zip((0_u32..).step_by(8)) {
                    for slot in ones(group.slots(tag)) {
                        let place = base + slot;
                        let pattern = usize::try_from(place).ok().and_then(|place| patterns.get(place));
                        if let Some(&pattern) = pattern {
                            see(Filed { pattern, place });
                        }
                    }
                }
            }
            Self::Large { tags, filed } => {
                let tag = tag(hash);
                for group in from(hash, tags.len()) {
                    let Some(found) = tags.get(group) else { return };
                    for slot in ones(found.slots(tag)) {
                        let slots = filed.get(group);
                        if let Some(filed) = slots.and_then(|slots| slots.get(usize::try_from(slot).ok()?)) {
                            see(*filed);
                        }
                    }
                    if found.slots(0) != 0 {
                        return;
                    }
                }
            }
        }
    }

    /// Changes every pattern, as when they moved to another place in memory.
    pub(super) fn map(&self, mut change: impl FnMut(u32) -> u32) -> Self {
        match self {
            Self::Small { filter, tags, patterns } => {
                let patterns = patterns.iter().zip(tags.iter().flat_map(|group| group.0));
                let patterns = patterns.map(|(pattern, tag)| if tag == 0 { 0 } else { change(*pattern) });
                Self::Small { filter: *filter, patterns: patterns.collect(), tags: tags.clone() }
            }
            Self::Large { tags, filed } => {
                let mut filed = filed.clone();
                for (group, slots) in tags.iter().zip(&mut filed) {
                    for (_, slot) in group.0.iter().zip(slots).filter(|(tag, _)| **tag != 0) {
                        slot.pattern = change(slot.pattern);
                    }
                }
                Self::Large { tags: tags.clone(), filed }
            }
        }
    }

    /// Every pattern that is filed.
    pub(super) fn patterns(&self) -> Vec<u32> {
        let mut all = Vec::new();
        self.map(|pattern| {
            all.push(pattern);
            pattern
        });
        all
    }
}

/// The tag of a hash, never 0.
fn tag(hash: u64) -> u16 {
    let [low, high, ..] = hash.to_le_bytes();
    u16::from_le_bytes([low, high]).max(1)
}

/// The place of a hash in a filter.
const fn bit(hash: u64) -> u128 {
    1 << (hash >> 57)
}

/// The groups in the order in which a hash tries them.
fn from(hash: u64, groups: usize) -> impl Iterator<Item = usize> {
    let first = (u128::from(hash) * groups as u128) >> 64;
    let first = usize::try_from(first).unwrap_or_default();
    (first..groups).chain(0..first)
}

/// The positions of the bits that are set.
fn ones(mut bits: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let next = (bits != 0).then(|| bits.trailing_zeros());
        bits &= bits.wrapping_sub(1);
        next
    })
}
