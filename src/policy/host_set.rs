//! All host patterns of one list, compiled: exact names, suffixes, inner wildcards, literals.
//!
//! A name is looked up once as it stands and once for each of its suffixes, so the cost is its number of
//! labels, never the number of patterns. Patterns with a wildcard inside are kept under their longest
//! literal suffix and tried one by one there. Nothing is allocated by a look-up.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::pattern::{LabelPattern, Pattern, PatternKind};
use crate::addr::{Host, Name, Port};

/// An entry of a [`HostSet`]: the pattern's position in its list, and its own port if it names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: u32,
    port: Option<Port>,
}

impl Entry {
    /// Whether this entry speaks of `port`.
    fn covers(self, port: Port) -> bool {
        self.port.is_none_or(|own| own == port)
    }
}

/// What is known below one suffix.
#[derive(Debug, Default)]
struct Bucket {
    /// The suffix itself is the name.
    exact: Vec<Entry>,
    /// One or more labels stand before the suffix.
    below: Vec<Entry>,
    /// Patterns with wildcards whose longest literal suffix this is.
    inner: Vec<(Pattern, Entry)>,
}

/// A match: which pattern, and whether that pattern carries its own port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMatch {
    /// The id that the pattern was inserted with.
    pub id: u32,
    /// The pattern names a port of its own, so the document's `ports` do not bound it.
    pub own_port: bool,
}

/// Host patterns compiled for look-up; immutable once built.
#[derive(Debug, Default)]
pub struct HostSet {
    any: Vec<Entry>,
    suffixes: HashMap<Box<str>, Bucket, RandomState>,
    literals: HashMap<IpAddr, Vec<Entry>, RandomState>,
    len: usize,
}

impl HostSet {
    /// Compiles `patterns`; each keeps the id it comes with. Ids must come in increasing order.
    pub fn new<'a>(patterns: impl IntoIterator<Item = (u32, &'a Pattern)>) -> Self {
        let mut set = Self::default();
        for (id, pattern) in patterns {
            set.insert(pattern, Entry { id, port: pattern.port() });
        }
        set.suffixes.shrink_to_fit();
        set
    }

    /// How many patterns there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no pattern.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether some pattern speaks of names rather than of IP literals.
    #[must_use]
    pub fn names_any_name(&self) -> bool {
        !self.any.is_empty() || !self.suffixes.is_empty()
    }

    /// The match for `host` on `port` that binds most loosely: one with its own port if there is one,
    /// else the first in the list.
    #[must_use]
    pub fn find(&self, host: &Host, port: Port) -> Option<HostMatch> {
        let rank = |entry: Entry| (entry.port.is_none(), entry.id);
        let mut best: Option<Entry> = None;
        self.visit(host, |entries, pattern| {
            for entry in entries.iter().filter(|entry| entry.covers(port)) {
                if best.is_none_or(|old| rank(*entry) < rank(old))
                    && pattern.is_none_or(|pattern| pattern.matches(host, port))
                {
                    best = Some(*entry);
                }
            }
        });
        best.map(|entry| HostMatch { id: entry.id, own_port: entry.port.is_some() })
    }

    /// The first match in list order whose id is `from` or later.
    #[must_use]
    pub fn next(&self, host: &Host, port: Port, from: u32) -> Option<HostMatch> {
        let mut best: Option<Entry> = None;
        self.visit(host, |entries, pattern| {
            // INVARIANT: entries stand in the order of their ids, so each list is entered where `from` is.
            let start = entries.partition_point(|entry| entry.id < from);
            let rest = entries.get(start..).unwrap_or_default();
            let found = rest.iter().find(|entry| entry.covers(port));
            if let Some(entry) = found.filter(|entry| best.is_none_or(|old| entry.id < old.id))
                && pattern.is_none_or(|pattern| pattern.matches(host, port))
            {
                best = Some(*entry);
            }
        });
        best.map(|entry| HostMatch { id: entry.id, own_port: entry.port.is_some() })
    }

    /// Files one pattern where [`Self::visit`] finds it.
    fn insert(&mut self, pattern: &Pattern, entry: Entry) {
        self.len += 1;
        match pattern.kind() {
            PatternKind::Any => self.any.push(entry),
            PatternKind::Exact(name) => self.bucket(name.as_str()).exact.push(entry),
            PatternKind::Suffix(name) => self.bucket(name.as_str()).below.push(entry),
            PatternKind::Inner(inner) => {
                self.bucket(&literal_suffix(inner)).inner.push((pattern.clone(), entry));
            }
            PatternKind::Ip(ip) => self.literals.entry(*ip).or_default().push(entry),
        }
    }

    /// The bucket of `suffix`, made if need be.
    fn bucket(&mut self, suffix: &str) -> &mut Bucket {
        self.suffixes.entry(suffix.into()).or_default()
    }

    /// Shows every list of entries that match `host`, each in the order of its ids and on any port; with a
    /// pattern, they match only if that does.
    fn visit<'a>(&'a self, host: &'a Host, mut see: impl FnMut(&'a [Entry], Option<&'a Pattern>)) {
        match host {
            Host::Ip(ip) => see(self.literals.get(ip).map(Vec::as_slice).unwrap_or_default(), None),
            Host::Name(name) => {
                see(&self.any, None);
                for (suffix, is_whole) in suffixes(name) {
                    let Some(bucket) = self.suffixes.get(suffix) else { continue };
                    see(if is_whole { &bucket.exact } else { &bucket.below }, None);
                    for (pattern, entry) in &bucket.inner {
                        see(std::slice::from_ref(entry), Some(pattern));
                    }
                }
            }
        }
    }
}

/// Every suffix of `name` at a label boundary, the whole name first and the empty one last.
fn suffixes(name: &Name) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = Some(name.as_str());
    let below = std::iter::from_fn(move || {
        let (_, suffix) = rest?.split_once('.').unwrap_or_default();
        rest = Some(suffix).filter(|suffix| !suffix.is_empty());
        Some((suffix, false))
    });
    std::iter::once((name.as_str(), true)).chain(below)
}

/// The labels right of the last wildcard, joined; the key under which an inner pattern is found.
fn literal_suffix(labels: &[LabelPattern]) -> String {
    let literals = labels.iter().rev().map_while(|label| match label {
        LabelPattern::Literal(text) => Some(text.as_ref()),
        LabelPattern::One | LabelPattern::Many | LabelPattern::Part(_) => None,
    });
    let mut labels: Vec<&str> = literals.collect();
    labels.reverse();
    labels.join(".")
}
