//! What a set takes at most.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::addr::Host;

/// The set that allows these.
fn set(patterns: impl IntoIterator<Item = String>) -> (Result<HostSet, HostSetError>, PatternPool) {
    let patterns: Vec<Pattern> = patterns.into_iter().map(|text| text.parse().unwrap()).collect();
    let mut interner = Interner::default();
    let set = HostSet::new(&mut interner, patterns.iter().map(|pattern| (Class::Allow, pattern)));
    (set, interner.pool())
}

/// The place of the pattern that allows a host.
fn allowed(set: &HostSet, pool: &PatternPool, host: &str) -> Option<u32> {
    let host = Host::parse(host).unwrap();
    set.find(pool, &HostKey::new(&host), Port::HTTPS).allowed.map(|found| found.place)
}

#[test]
fn patterns_that_only_their_stars_tell_apart_are_limited() {
    let alike = |count: usize| (0..count).map(|n| format!("a{n}-*.example.com"));
    let (most, pool) = set(alike(MOST_ALIKE).chain(["b.example.com".into(), "c.*.example.com".into()]));
    let most = most.unwrap();
    assert_eq!(allowed(&most, &pool, "a1023-x.example.com"), Some(1023));
    assert_eq!(allowed(&most, &pool, "c.x.example.com"), Some(1025));
    assert_eq!(allowed(&most, &pool, "a1024-x.example.com"), None);
    let (more, _) = set(alike(MOST_ALIKE + 1));
    assert_eq!(more.unwrap_err(), HostSetError::Alike("a1024-*.example.com".into()));
    let deep = (0..=MOST_ALIKE).map(|n| format!("*.a{n}.1.2.3.4.5.6.7.example"));
    assert!(matches!(set(deep).0, Err(HostSetError::Alike(_))));
    // Without a star each has a hash of its own, however deep.
    let (deep, pool) = set((0..5_000).map(|n| format!("a{n}.1.2.3.4.5.6.7.example")));
    assert_eq!(allowed(&deep.unwrap(), &pool, "a4999.1.2.3.4.5.6.7.example"), Some(4999));
}

#[test]
fn combinations_of_labels_with_stars_are_limited() {
    let shape = |bits: usize| {
        let label = |place: usize| if bits >> place & 1 == 0 { "a" } else { "*b" };
        format!("a.{}.example", (0..7).map(label).collect::<Vec<_>>().join("."))
    };
    let (most, pool) = set((1..=MOST_SHAPES).map(shape));
    assert_eq!(allowed(&most.unwrap(), &pool, "a.xb.xb.a.a.a.a.a.example"), Some(2));
    assert_eq!(set((1..=MOST_SHAPES + 1).map(shape)).0.unwrap_err(), HostSetError::Shapes);
}
