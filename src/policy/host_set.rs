//! All host patterns of one document, compiled.
//!
//! Each pattern is filed under one hash, which is made of those of its labels that have no star:
//!
//! | pattern | filed under the hash of |
//! |---|---|
//! | `example.com` | the whole name |
//! | `*.example.com`, `*` | the suffix below which it matches |
//! | `reg.*.data.azurecr.io`, `api-*.example.com` | the labels without a star in their places: a `Shape` |
//! | any of these with a port of its own | the same, and the port |
//!
//! A look-up ends at once when no pattern of a large set has the last two labels of the name. Else it asks for each suffix
//! of the name, for the whole name, and once for each shape that a pattern of the set has.
//! So its cost is the number of labels (at most as many as the longest pattern has) and of shapes, never of patterns;
//! only patterns that differ in nothing but their stars (`api-*.x`, `web-*.x`) are tried one by one. What is found
//! is compared with the name as a whole before it counts, and nothing is allocated.
//!
//! ```text
//! name ─NameKey─► hashes ─FlatTable─► candidates ─PatternPool─► matches ─► Found { denied, allowed, ruled }
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use thiserror::Error;

use super::filter::Filter;
use super::flat_table::{Filed, FlatTable, SMALL};
use super::name_key::{self, DEPTH, NameKey};
use super::pattern::{Pattern, PatternKind};
use super::pattern_pool::{Interner, PatternPool, PatternRef};
use super::shape::{Shape, Shaped, Shapes};
use crate::addr::Port;

mod found;

pub use found::{Class, Found, HostKey, HostMatch};

/// The most shapes of one set.
const MOST_SHAPES: usize = 64;
/// The most patterns that only their stars tell apart.
const MOST_ALIKE: usize = 1024;
/// Mixed into the hash of a suffix, for the patterns below it.
const BELOW: u64 = 0x9e37_79b9_7f4a_7c15;
/// Mixed into the hash of the last [`DEPTH`] labels, for patterns that have a leading star and more labels.
const DEEP: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// What few documents have.
#[derive(Debug, Default, Clone)]
struct Rare {
    /// The shapes of its patterns with stars.
    shapes: Shapes,
    /// Literals in order, each with its port, 0 for any.
    literals: Box<[(IpAddr, u16, Filed)]>,
    /// Some patterns with a leading star have more than [`DEPTH`] other labels.
    deep: bool,
    /// The ports that patterns have of their own, in order.
    ports: Box<[u16]>,
}

/// Why patterns cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostSetError {
    /// Every place of the pool is taken.
    #[error("all documents together have too many different hosts")]
    PoolFull,
    /// A look-up asks once for each shape.
    #[error("the patterns have stars in more than {MOST_SHAPES} different combinations of labels")]
    Shapes,
    /// A look-up tries each of them.
    #[error("more than {MOST_ALIKE} patterns differ from `{0}` only in the labels that have a star")]
    Alike(String),
}

/// Counts a pattern among those that are filed under one hash by nature.
fn crowd(alike: &mut HashMap<u64, usize>, hash: u64, pattern: &Pattern) -> Result<(), HostSetError> {
    let count = alike.entry(hash).or_default();
    *count += 1;
    if *count > MOST_ALIKE { Err(HostSetError::Alike(pattern.to_string())) } else { Ok(()) }
}

/// Host patterns compiled for look-up; immutable once built.
#[derive(Debug, Clone, Default)]
pub struct HostSet {
    table: FlatTable,
    rare: Option<Box<Rare>>,
    /// The numbers of labels that exact names have: a bit for each.
    exact: u16,
    /// The numbers of labels behind a leading star; the lowest bit is for `*` alone.
    below: u16,
    /// Some Deny is about names.
    denies_names: bool,
}

impl HostSet {
    /// Compiles patterns; the place of each is its position here.
    ///
    /// # Errors
    /// The patterns exceed a limit.
    pub fn new<'a>(
        interner: &mut Interner,
        patterns: impl IntoIterator<Item = (Class, &'a Pattern)>,
    ) -> Result<Self, HostSetError> {
        let mut set = Self::default();
        let mut rare = Rare::default();
        let (mut shapes, mut ports, mut literals) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        let (mut rights, mut alike) = (HashSet::new(), HashMap::new());
        let mut ends = Some(HashSet::<u64, foldhash::fast::FixedState>::default());
        let mut seen = HashSet::<u32, foldhash::fast::FixedState>::default();
        let (mut entries, mut noted) = (Vec::new(), Vec::new());
        for ((class, pattern), place) in patterns.into_iter().zip(0_u32..) {
            let port = pattern.port().map_or(0, Port::get);
            let (hash, end) = match pattern.kind() {
                PatternKind::Ip(ip) => {
                    let stored = interner.intern(pattern).ok_or(HostSetError::PoolFull)?;
                    noted.push(Filed { pattern: class.tag(stored), place });
                    let pattern = class.tag(PatternRef::from_bits(0));
                    literals.push((*ip, port, Filed { pattern, place }));
                    entries.push(None);
                    continue;
                }
                PatternKind::Any => {
                    set.below |= 1;
                    (name_key::root() ^ BELOW, None)
                }
                PatternKind::Exact(name) | PatternKind::Suffix(name) => {
                    let key = NameKey::new(name.as_str());
                    let hash = if matches!(pattern.kind(), PatternKind::Exact(_)) {
                        set.exact |= depth(&key);
                        key.all()
                    } else if key.is_whole() {
                        set.below |= depth(&key);
                        key.all() ^ BELOW
                    } else {
                        rare.deep = true;
                        let hash = key.suffix(DEPTH).unwrap_or_default() ^ DEEP;
                        crowd(&mut alike, hash, pattern)?;
                        hash
                    };
                    (hash, key.end())
                }
                PatternKind::Inner(labels) => {
                    let Shaped { shape, right, end, hash } = Shape::file(labels);
                    shapes.insert(shape);
                    rights.insert(right);
                    if shapes.len() > MOST_SHAPES {
                        return Err(HostSetError::Shapes);
                    }
                    crowd(&mut alike, hash, pattern)?;
                    (hash, end)
                }
            };
            ends = ends.zip(end).map(|(mut ends, end)| {
                ends.insert(end);
                ends
            });
            let hash = if port == 0 { hash } else { name_key::on_port(hash, port) };
            if port != 0 {
                ports.insert(port);
            }
            set.denies_names |= class == Class::Deny;
            let pattern = class.tag(interner.intern(pattern).ok_or(HostSetError::PoolFull)?);
            if seen.insert(pattern) {
                entries.push(Some((hash, pattern)));
            } else {
                noted.push(Filed { pattern, place });
                entries.push(None);
            }
        }
        literals.sort_by_key(|(ip, _, filed)| (*ip, filed.place));
        rare.shapes = Shapes::new(shapes, &rights);
        rare.ports = ports.into_iter().collect();
        rare.literals = literals.into();
        let is_rare =
            rare.deep || !rare.ports.is_empty() || !rare.shapes.is_empty() || !rare.literals.is_empty();
        set.rare = is_rare.then(|| Box::new(rare));
        while entries.len() > SMALL && entries.pop_if(|entry| entry.is_none()).is_some() {}
        set.table = FlatTable::new(&entries);
        for noted in noted {
            set.table.note(noted);
        }
        if let Some(ends) = ends {
            set.table.note_ends(Filter::new(&ends));
        }
        Ok(set)
    }

    /// Whether some Deny is about names rather than about IP literals.
    #[must_use]
    pub const fn denies_names(&self) -> bool {
        self.denies_names
    }

    /// The ports that patterns have of their own, in order.
    pub(super) fn own_ports(&self) -> &[u16] {
        self.rare.as_deref().map(|rare| &*rare.ports).unwrap_or_default()
    }

    /// What the patterns say of a host on a port.
    #[must_use]
    pub fn find(&self, pool: &PatternPool, host: &HostKey<'_>, port: Port) -> Found {
        let mut found = Found::default();
        self.each(pool, host, port, |class, matched| match class {
            Class::Deny => found.denied = Some(matched.or(found.denied)),
            Class::Allow => found.allowed = Some(matched.or(found.allowed)),
            Class::Rules => found.ruled = true,
        });
        found
    }

    /// Shows the patterns of `rules` that match a host on a port, in no order, and perhaps one twice.
    pub(super) fn rules(
        &self,
        pool: &PatternPool,
        host: &HostKey<'_>,
        port: Port,
        mut see: impl FnMut(HostMatch),
    ) {
        self.each(pool, host, port, |class, matched| {
            if class == Class::Rules {
                see(matched);
            }
        });
    }

    /// Shows everything that matches, in no order, and perhaps something twice.
    fn each(
        &self,
        pool: &PatternPool,
        host: &HostKey<'_>,
        port: Port,
        mut see: impl FnMut(Class, HostMatch),
    ) {
        let rare = self.rare.as_deref();
        let key = match host {
            HostKey::Name(key) => key,
            HostKey::Ip(ip) => {
                let literals = rare.map(|rare| &*rare.literals).unwrap_or_default();
                let first = literals.partition_point(|(own, ..)| own < ip);
                let same = literals.iter().skip(first).take_while(|(own, ..)| own == ip);
                for (_, own, filed) in same.filter(|(_, own, _)| *own == 0 || *own == port.get()) {
                    see(Class::of(filed.pattern), HostMatch { place: filed.place, own_port: *own != 0 });
                }
                return;
            }
        };
        if self.table.rules_out(key.end()) {
            return;
        }
        let mut probe = |hash: u64| {
            self.table.each(hash, |filed| {
                let stored = pool.get(PatternRef::from_bits(filed.pattern));
                if let Some(stored) = stored.filter(|stored| stored.matches(key.name(), port)) {
                    let own_port = stored.has_port();
                    see(Class::of(filed.pattern), HostMatch { place: filed.place, own_port });
                }
            });
        };
        let own_port = rare.is_some_and(|rare| rare.ports.binary_search(&port.get()).is_ok());
        let mut ask = |hash: u64| {
            probe(hash);
            if own_port {
                probe(name_key::on_port(hash, port.get()));
            }
        };
        // A star stands for one label or more, so not before all of them.
        let most = key.seen() - usize::from(key.is_whole());
        let mut below = self.below & ((2 << most) - 1);
        while let Some(hash) = lowest(below).and_then(|labels| key.suffix(labels)) {
            ask(hash ^ BELOW);
            below &= below - 1;
        }
        if self.exact & depth(key) != 0 {
            ask(key.all());
        }
        let Some(rare) = rare else { return };
        if let Some(hash) = key.suffix(DEPTH).filter(|_| rare.deep && !key.is_whole()) {
            ask(hash ^ DEEP);
        }
        rare.shapes.each(key, ask);
    }

    /// The patterns as far as the set knows them, each with its class and its place.
    pub(super) fn patterns(&self) -> Vec<Filed> {
        self.table.all()
    }

    /// The pattern at a place, with its class; a large set does not know.
    pub(super) fn pattern(&self, place: u32) -> Option<u32> {
        self.table.at(place)
    }

    /// The same set over another pool, which gets what this one needs. `None`: that pool is full.
    pub(super) fn moved(&self, from: &PatternPool, to: &mut Interner) -> Option<Self> {
        let mut whole = true;
        let table = self.table.map(|pattern| {
            let stored = from.get(PatternRef::from_bits(pattern));
            let moved = stored.and_then(|stored| to.add(stored));
            whole &= moved.is_some();
            Class::of(pattern).tag(moved.unwrap_or(PatternRef::from_bits(0)))
        });
        let Self { rare, exact, below, denies_names, .. } = self;
        whole.then(|| Self {
            table,
            rare: rare.clone(),
            exact: *exact,
            below: *below,
            denies_names: *denies_names,
        })
    }
}

/// The bit for the number of labels that a name has; what is deeper shares one.
const fn depth(key: &NameKey<'_>) -> u16 {
    1 << if key.is_whole() { key.seen() } else { DEPTH + 1 }
}

/// The number of the lowest bit that is set.
fn lowest(bits: u16) -> Option<usize> {
    (bits != 0).then_some(bits.trailing_zeros()).and_then(|bit| usize::try_from(bit).ok())
}

#[cfg(test)]
mod tests;
