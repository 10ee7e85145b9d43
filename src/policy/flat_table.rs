//! A table from 64-bit hashes to what is filed under them, in one flat array.
//!
//! ```text
//! line   │ 7 tags, 8 bits │ slot │ slot │ slot │ slot │ slot │ slot │ slot │     64 bytes: one line of the cache
//! ```
//! A large table starts at the line that the hash says, compares its tags at once, reads a slot only where a tag agrees,
//! and goes on to the next line only where the bits say that something with such a tag did not fit. A filter of what all names in it end
//! in spares most names even that. A small table has no order: a filter of 128 bits says that nothing is there, or all its
//! tags are compared. Then the place of what is filed is its position, which is not stored.
//!
//! A look-up may show what is filed under another hash: whoever asks compares.

use super::filter::Filter;
use super::tags::Tags;

/// Up to so many entries a table is small.
pub(super) const SMALL: usize = 64;
/// The slots of a line.
const SLOTS: usize = 7;
/// A large table has two lines for so many entries.
const FILL: usize = 11;

/// The pattern of a place that nothing is known of; no pattern looks like it.
const FREE: u32 = u32::MAX;

/// What is filed: a pattern, and the place in the document that it stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Filed {
    /// The pattern, and what it does there.
    pub(super) pattern: u32,
    /// The place.
    pub(super) place: u32,
}

/// Seven slots of a large table, in one line of the cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Line {
    /// The tags of the slots; the eighth has a bit for the tags of what did not fit.
    tags: Tags,
    /// The slots.
    filed: [Filed; SLOTS],
}

impl Line {
    /// Files something, if there is room; else notes its tag.
    fn file(&mut self, tag: u8, filed: Filed) -> bool {
        let slot = self.tags.first_free().unwrap_or(SLOTS);
        let Some(own) = self.filed.get_mut(slot) else {
            self.tags = self.tags.with(SLOTS, self.tags.at(SLOTS) | bit_of(tag));
            return false;
        };
        *own = filed;
        self.tags = self.tags.with(slot, tag);
        true
    }

    /// What is filed under a tag.
    #[inline]
    fn with_tag(&self, tag: u8) -> impl Iterator<Item = &Filed> {
        // The eighth is no slot.
        self.tags.slots(tag).filter_map(|slot| self.filed.get(slot))
    }

    /// Whether something with this tag may not have found room.
    #[inline]
    const fn overflows(&self, tag: u8) -> bool {
        self.tags.at(SLOTS) & bit_of(tag) != 0
    }

    /// Everything that is filed.
    fn all(&self) -> impl Iterator<Item = &Filed> {
        let used = (0..SLOTS).filter(|slot| self.tags.at(*slot) != 0);
        used.filter_map(|slot| self.filed.get(slot))
    }
}

/// The table; immutable once built.
#[derive(Debug, Clone)]
pub(super) enum FlatTable {
    /// Few entries.
    Small {
        /// A bit for each hash.
        filter: u128,
        /// The tag of each place.
        tags: Box<[Tags]>,
        /// What stands there.
        patterns: Box<[u32]>,
    },
    /// Many entries.
    Large {
        /// The lines.
        lines: Box<[Line]>,
        /// What every name that something is filed for ends in; none where that is not known.
        ends: Option<Box<Filter>>,
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
            let mut tags = vec![[0; 8]; entries.len().div_ceil(8)];
            for (entry, own) in entries.iter().zip(tags.as_flattened_mut()) {
                if let Some((hash, _)) = entry {
                    filter |= bit(*hash);
                    *own = tag(*hash);
                }
            }
            let tags = tags.into_iter().map(Tags::new).collect();
            let patterns = entries.iter().map(|entry| entry.map_or(FREE, |(_, pattern)| pattern)).collect();
            return Self::Small { filter, tags, patterns };
        }
        let count = (2 * entries.iter().flatten().count()).div_ceil(FILL);
        let mut lines = vec![Line::default(); count].into_boxed_slice();
        for (entry, place) in entries.iter().zip(0_u32..) {
            let Some((hash, pattern)) = *entry else { continue };
            // INVARIANT: there are more slots than entries, so one of the lines has room.
            let first = first_line(hash, count);
            let mut following = (first..count).chain(0..first);
            let mut file = |line: usize| {
                lines.get_mut(line).is_some_and(|line| line.file(tag(hash), Filed { pattern, place }))
            };
            following.find(|line| file(*line));
        }
        Self::Large { lines, ends: None }
    }

    /// Shows all that is filed under `hash`, and perhaps more.
    #[inline]
    pub(super) fn each(&self, hash: u64, mut see: impl FnMut(Filed)) {
        match self {
            Self::Small { filter, tags, patterns } => {
                if filter & bit(hash) == 0 {
                    return;
                }
                let tag = tag(hash);
                for (group, base) in tags.iter().zip((0_usize..).step_by(8)) {
                    for slot in group.slots(tag) {
                        let place = base + slot;
                        let (pattern, place) = (patterns.get(place), u32::try_from(place));
                        if let (Some(&pattern), Ok(place)) = (pattern, place) {
                            see(Filed { pattern, place });
                        }
                    }
                }
            }
            Self::Large { lines, .. } => {
                let mut at = first_line(hash, lines.len());
                for _ in 0..lines.len() {
                    let Some(line) = lines.get(at) else { return };
                    line.with_tag(tag(hash)).for_each(|filed| see(*filed));
                    if !line.overflows(tag(hash)) {
                        return;
                    }
                    at = if at + 1 == lines.len() { 0 } else { at + 1 };
                }
            }
        }
    }

    /// Changes every pattern, as when they moved to another place in memory.
    pub(super) fn map(&self, mut change: impl FnMut(u32) -> u32) -> Self {
        match self {
            Self::Small { filter, tags, patterns } => {
                let patterns =
                    patterns.iter().map(|pattern| if *pattern == FREE { FREE } else { change(*pattern) });
                Self::Small { filter: *filter, patterns: patterns.collect(), tags: tags.clone() }
            }
            Self::Large { lines, ends } => {
                let mut lines = lines.clone();
                for Line { tags, filed } in &mut lines {
                    let used = filed.iter_mut().zip(0..).filter(|(_, slot)| tags.at(*slot) != 0);
                    used.for_each(|(filed, _)| filed.pattern = change(filed.pattern));
                }
                Self::Large { lines, ends: ends.clone() }
            }
        }
    }

    /// Says what every name that something is filed for ends in. Only a large table notes it.
    pub(super) fn note_ends(&mut self, noted: Filter) {
        if let Self::Large { ends, .. } = self {
            *ends = Some(Box::new(noted));
        }
    }

    /// Whether nothing is filed for any name with this end; `None` where a name has none.
    #[inline]
    pub(super) fn rules_out(&self, end: Option<u64>) -> bool {
        match self {
            Self::Large { ends: Some(ends), .. } => !end.is_some_and(|end| ends.has(end)),
            Self::Large { ends: None, .. } | Self::Small { .. } => false,
        }
    }

    /// Says what stands at a place that is free, for [`Self::at`]: no look-up shows it. Only a small table notes it.
    pub(super) fn note(&mut self, noted: Filed) {
        let Self::Small { patterns, .. } = self else { return };
        if let Some(own) = usize::try_from(noted.place).ok().and_then(|place| patterns.get_mut(place)) {
            *own = noted.pattern;
        }
    }

    /// The pattern at a place; a large table does not know.
    pub(super) fn at(&self, place: u32) -> Option<u32> {
        let Self::Small { patterns, .. } = self else { return None };
        patterns.get(usize::try_from(place).ok()?).copied().filter(|pattern| *pattern != FREE)
    }

    /// Everything that is filed or noted.
    pub(super) fn all(&self) -> Vec<Filed> {
        match self {
            Self::Small { patterns, .. } => {
                let all = patterns.iter().zip(0..).map(|(pattern, place)| Filed { pattern: *pattern, place });
                all.filter(|filed| filed.pattern != FREE).collect()
            }
            Self::Large { lines, .. } => lines.iter().flat_map(Line::all).copied().collect(),
        }
    }
}

/// The tag of a hash, never 0.
#[inline]
fn tag(hash: u64) -> u8 {
    let [low, ..] = hash.to_le_bytes();
    low.max(1)
}

/// The bit of a tag among those of what did not fit.
#[inline]
const fn bit_of(tag: u8) -> u8 {
    1 << (tag % 8)
}

/// The place of a hash in a filter.
#[inline]
const fn bit(hash: u64) -> u128 {
    1 << (hash >> 57)
}

/// The line that a hash tries first.
#[inline]
fn first_line(hash: u64, lines: usize) -> usize {
    let first = (u128::from(hash) * lines as u128) >> 64;
    usize::try_from(first).unwrap_or_default()
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
            let mut tags: HashMap<u8, Vec<Filed>> = HashMap::new();
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
            let mut all: Vec<u32> = table.all().iter().map(|filed| filed.pattern).collect();
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
            assert!(table.all().is_empty());
        }
    }

    #[test]
    fn what_is_noted_at_a_free_place_is_told_and_never_shown() {
        let mut table = FlatTable::new(&[Some((7, 70)), None, None]);
        table.note(Filed { pattern: 71, place: 1 });
        table.note(Filed { pattern: 73, place: 3 });
        let changed = table.map(|pattern| pattern + 1);
        for (table, more) in [(&table, 0), (&changed, 1)] {
            assert_eq!(
                [0, 1, 2, 3].map(|place| table.at(place)),
                [Some(70 + more), Some(71 + more), None, None]
            );
            assert_eq!(shown(table, 7), [Filed { pattern: 70 + more, place: 0 }]);
            assert!([0, 1, 71].iter().all(|hash| shown(table, *hash).is_empty()));
            assert_eq!(table.all().len(), 2);
        }
        let mut large = FlatTable::new(&[Some((7, 70)); SMALL + 1]);
        large.note(Filed { pattern: 71, place: 1 });
        assert!(large.at(1).is_none() && large.all().iter().all(|filed| filed.pattern == 70));
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
                    table
                        .all()
                        .into_iter()
                        .map(|filed| filed.pattern)
                        .collect::<BTreeSet<_>>()
                        .into_iter()
                        .collect::<Vec<_>>()
                );
                assert_eq!(found.len(), count);
                assert_eq!(shown(&table, !hash), []);
            }
        }
    }

    #[test]
    fn a_look_up_in_a_large_table_reads_few_lines() {
        // Splitmix: as good as keyed hashes, and the same in every run.
        let mixed = |n: u64| {
            let seed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        let hashes: Vec<u64> = (0..100_000).map(mixed).collect();
        let entries: Vec<_> = hashes.iter().map(|hash| Some((*hash, 0))).collect();
        let FlatTable::Large { lines, .. } = FlatTable::new(&entries) else { unreachable!() };
        let steps = |hash: u64| {
            let overflows = |line: &usize| lines.get(*line).unwrap().overflows(tag(hash));
            let first = first_line(hash, lines.len());
            1 + (first..lines.len()).chain(0..first).take_while(overflows).count()
        };
        let misses: Vec<u64> = (1_000_000..1_100_000).map(mixed).collect();
        for hashes in [hashes, misses] {
            let total: usize = hashes.iter().map(|hash| steps(*hash)).sum();
            let most = hashes.iter().map(|hash| steps(*hash)).max();
            assert!(total < hashes.len() * 8 / 5, "{total} lines for {} look-ups", hashes.len());
            assert!(most < Some(32), "{most:?} lines for one");
        }
    }
}
