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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::collection::vec;
    use proptest::option::weighted;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// What a table shows for a hash, in order.
    fn shown(table: &FlatTable, hash: u64) -> Vec<Filed> {
        let mut all = Vec::new();
        table.each(hash, |filed| all.push(filed));
        all.sort_unstable_by_key(|filed| filed.place);
        all
    }

    /// Hashes that meet: few groups, few tags, among them those beside the tag of an empty slot.
    fn hash() -> impl Strategy<Value = u64> {
        let high = select(vec![0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff_u64]);
        let low = select(vec![0, 1, 2, 0x100, 0xffff_u64]);
        let near = (high, any::<bool>(), low)
            .prop_map(|(high, middle, low)| high << 48 | u64::from(middle) << 24 | low);
        prop_oneof![3 => near, 1 => any::<u64>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn all_that_is_filed_under_a_hash_is_shown_once_and_nothing_of_another_tag(
            entries in prop_oneof![vec(weighted(0.9, (hash(), any::<u32>())), 0..70), vec(weighted(0.9, (hash(), any::<u32>())), 60..400)],
            others in vec(hash(), 8),
        ) {
            let table = FlatTable::new(&entries);
            prop_assert_eq!(matches!(table, FlatTable::Small { .. }), entries.len() <= SMALL);
            let mut model: HashMap<u64, Vec<Filed>> = HashMap::new();
            let mut tags: HashMap<u16, Vec<Filed>> = HashMap::new();
            for (entry, place) in entries.iter().zip(0..) {
                let Some((hash, pattern)) = *entry else { continue };
                model.entry(hash).or_default().push(Filed { pattern, place });
                tags.entry(tag(hash)).or_default().push(Filed { pattern, place });
            }
            for hash in model.keys().chain(&others) {
                let found = shown(&table, *hash);
                let once: BTreeSet<u32> = found.iter().map(|filed| filed.place).collect();
                prop_assert_eq!(once.len(), found.len());
                let own = model.get(hash).map(Vec::as_slice).unwrap_or_default();
                prop_assert!(own.iter().all(|filed| found.contains(filed)), "{:x}: {:?} without {:?}", hash, found, own);
                let alike = tags.get(&tag(*hash)).map(Vec::as_slice).unwrap_or_default();
                prop_assert!(found.iter().all(|filed| alike.contains(filed)), "{:x}: {:?} beyond {:?}", hash, found, alike);
            }
        }

        #[test]
        fn patterns_that_change_stay_where_they_are(
            entries in prop_oneof![vec(weighted(0.8, (hash(), any::<u32>())), 0..70), vec(weighted(0.8, (hash(), any::<u32>())), 60..200)],
        ) {
            let table = FlatTable::new(&entries);
            let changed = table.map(|pattern| pattern.wrapping_mul(3));
            let mut all = table.patterns();
            let mut filed: Vec<u32> = entries.iter().flatten().map(|(_, pattern)| *pattern).collect();
            all.sort_unstable();
            filed.sort_unstable();
            prop_assert_eq!(all, filed);
            for (hash, _) in entries.iter().flatten() {
                let expected: Vec<Filed> = shown(&table, *hash).into_iter()
                    .map(|filed| Filed { pattern: filed.pattern.wrapping_mul(3), ..filed }).collect();
                prop_assert_eq!(shown(&changed, *hash), expected);
            }
        }
    }

    #[test]
    fn a_table_of_nothing_shows_nothing() {
        for table in [
            FlatTable::default(),
            FlatTable::new(&[]),
            FlatTable::new(&[None; 3]),
            FlatTable::new(&[None; 100]),
        ] {
            assert_eq!([0, 1, u64::MAX].map(|hash| shown(&table, hash).len()), [0; 3]);
            assert!(table.patterns().is_empty());
        }
    }

    #[test]
    fn a_table_has_a_place_for_each_entry_though_all_have_one_hash() {
        for count in [1, 8, SMALL, SMALL + 1, 6 * 11, 1_000] {
            for hash in [0, 0x8000_0000_0000_0000, u64::MAX] {
                let entries: Vec<_> = (0..count).map(|n| Some((hash, u32::try_from(n).unwrap()))).collect();
                let table = FlatTable::new(&entries);
                let found: Vec<u32> = shown(&table, hash).iter().map(|filed| filed.pattern).collect();
                assert_eq!(
                    found,
                    table.patterns().into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
                );
                assert_eq!(found.len(), count);
                assert_eq!(shown(&table, !hash), []);
            }
        }
    }

    #[test]
    fn a_look_up_in_a_large_table_reads_few_groups() {
        // Splitmix: as good as keyed hashes, and the same in every run.
        let mixed = |n: u64| {
            let seed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let hashes: Vec<u64> = (0..100_000).map(mixed).collect();
        let entries: Vec<_> = hashes.iter().map(|hash| Some((*hash, 0))).collect();
        let (FlatTable::Large { tags, .. } | FlatTable::Small { tags, .. }) = FlatTable::new(&entries);
        let steps = |hash: u64| {
            let full = |group: &usize| tags.get(*group).unwrap().slots(0) == 0;
            1 + from(hash, tags.len()).take_while(full).count()
        };
        let misses: Vec<u64> = (1_000_000..1_100_000).map(mixed).collect();
        for hashes in [hashes, misses] {
            let total: usize = hashes.iter().map(|hash| steps(*hash)).sum();
            let most = hashes.iter().map(|hash| steps(*hash)).max();
            assert!(total < hashes.len() * 5 / 2, "{total} groups for {} look-ups", hashes.len());
            assert!(most < Some(32), "{most:?} groups for one");
        }
    }
}
