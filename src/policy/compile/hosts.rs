//! The hosts of a document: those of its categories, those of its rules, and the pattern at each place.

use std::collections::HashMap;

use crate::policy::category::CategoryLists;
use crate::policy::document::{Document, Rule};
use crate::policy::host_set::{Class, HostSet};
use crate::policy::pattern::Pattern;
use crate::policy::pattern_pool::Interner;
use crate::source::Problem;

/// The patterns that a document's `categories` stand for, and the entry each came from.
#[derive(Default)]
pub(super) struct Categories {
    pub(super) patterns: Vec<Pattern>,
    pub(super) uses: Vec<u32>,
    pub(super) warnings: Vec<Problem>,
}

impl Categories {
    /// Spells out every entry, or reports all that name nothing.
    pub(super) fn of(document: &Document, lists: &CategoryLists) -> Result<Self, Vec<Problem>> {
        let spec = &document.spec;
        let mut found = Self::default();
        let pinned =
            spec.categories_version.and_then(|version| lists.check_version(version, &document.place));
        let mut problems = Vec::from_iter(pinned);
        for (entry, index) in spec.categories.iter().zip(0_u32..) {
            match lists.resolve(entry) {
                Ok(resolved) => {
                    found.uses.extend(std::iter::repeat_n(index, resolved.patterns.len()));
                    found.patterns.extend(resolved.patterns);
                    found.warnings.extend(resolved.warnings);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }
}

/// The rules of each host, in order; the hosts in the order in which they come first.
pub(super) fn by_host(rules: &[Rule]) -> Vec<(&Pattern, Vec<(u32, &Rule)>)> {
    let mut lists: Vec<(&Pattern, Vec<(u32, &Rule)>)> = Vec::new();
    let mut known: HashMap<&Pattern, usize> = HashMap::new();
    for (rule, id) in rules.iter().zip(0_u32..) {
        let list = *known.entry(&rule.host).or_insert_with(|| {
            lists.push((&rule.host, Vec::new()));
            lists.len() - 1
        });
        if let Some((_, list)) = lists.get_mut(list) {
            list.push((id, rule));
        }
    }
    lists
}

/// The pattern at each place, and what it does there; nothing when the set tells that itself. `None`: the pool is full.
pub(super) fn patterns<'a>(
    hosts: &HostSet,
    all: impl Iterator<Item = (Class, &'a Pattern)> + Clone,
    interner: &mut Interner,
) -> Option<Box<[u32]>> {
    let count = all.clone().count();
    if count
        .checked_sub(1)
        .is_none_or(|last| u32::try_from(last).is_ok_and(|last| hosts.pattern(last).is_some()))
    {
        return Some(Box::default());
    }
    let mut patterns = vec![None; count];
    for filed in hosts.patterns() {
        if let Some(own) = usize::try_from(filed.place).ok().and_then(|place| patterns.get_mut(place)) {
            *own = Some(filed.pattern);
        }
    }
    // Literals, and what is written twice.
    let filled = patterns.into_iter().zip(all).map(|(filed, (class, pattern))| match filed {
        Some(filed) => Some(filed),
        None => Some(class.tag(interner.intern(pattern)?)),
    });
    filled.collect()
}
