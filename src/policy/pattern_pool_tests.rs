//! A pool is a list of distinct patterns, whatever was taken from it when, and however full it is.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::addr::Host;

/// A record of this text and port.
fn whole(text: &str, port: u16) -> Stored<'_> {
    Stored { form: Form::Whole, port, text: text.as_bytes() }
}

/// The text at a reference.
fn text(pool: &PatternPool, at: PatternRef) -> Option<String> {
    pool.get(at).map(|stored| String::from_utf8(stored.text.to_vec()).unwrap())
}

/// A name: few labels, alike.
fn name() -> impl Strategy<Value = String> {
    let label = select(vec!["a", "b", "ab", "aab", "xn--a", "a-b"]);
    vec(label, 1..5).prop_map(|labels| labels.join("."))
}

/// A pattern.
fn pattern() -> impl Strategy<Value = Pattern> {
    let label = select(vec!["a", "b", "ab", "*", "a*", "*b", "a*b", "*a*", "*-*"]);
    let text = prop_oneof![
        Just("*".to_owned()),
        name(),
        name().prop_map(|name| format!("*.{name}")),
        vec(label, 1..5).prop_map(|labels| labels.join(".")),
    ];
    let text = prop_oneof![9 => text, 1 => select(vec!["8.8.8.8", "[2001:db8::1]"]).prop_map(str::to_owned)];
    let port = select(vec!["", ":443", ":80"]);
    (text, port).prop_filter_map("a pattern", |(text, port)| format!("{text}{port}").parse().ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn equal_patterns_have_one_place_and_every_place_says_what_its_pattern_says(
        patterns in vec((pattern(), any::<bool>()), 1..40), names in vec(name(), 12),
    ) {
        let mut interner = Interner::default();
        let mut model: Vec<(Pattern, PatternRef)> = Vec::new();
        let mut pools = Vec::new();
        for (pattern, take) in patterns {
            let at = interner.intern(&pattern).unwrap();
            prop_assert_eq!(PatternRef::from_bits(at.bits()), at);
            if let Some((_, known)) = model.iter().find(|(known, _)| *known == pattern) {
                prop_assert_eq!(*known, at);
            } else {
                prop_assert!(model.iter().all(|(_, other)| *other != at));
                model.push((pattern, at));
            }
            if take {
                pools.push((interner.pool(), model.len()));
            }
        }
        pools.push((interner.pool(), model.len()));
        // What was taken earlier holds what there was, and goes on to.
        for (pool, count) in &pools {
            prop_assert_eq!(pool.lineage(), interner.texts().lineage());
            for (pattern, at) in &model[..*count] {
                let stored = pool.get(*at).unwrap();
                prop_assert_eq!(stored.has_port(), pattern.port().is_some());
                prop_assert_eq!(stored.to_string(), pattern.to_string());
                for name in &names {
                    let host = Host::parse(name);
                    let Ok(host) = host else { continue };
                    for port in [Port::HTTPS, Port::HTTP] {
                        let says = stored.matches(host.name().unwrap().as_str(), port);
                        prop_assert_eq!(says, pattern.matches(&host, port), "{} {}", pattern, host);
                    }
                }
            }
        }
        let bytes: usize = model.iter().map(|(_, at)| pools[0].0.get(*at).map_or(0, |stored| stored.bytes())).sum();
        prop_assert!(pools.last().unwrap().0.bytes() >= bytes);
    }

    #[test]
    fn what_is_stored_moves_to_another_pool_as_it_is(patterns in vec(pattern(), 1..40)) {
        let (mut one, mut other) = (Interner::default(), Interner::default());
        prop_assert_ne!(one.texts().lineage(), other.texts().lineage());
        let places: Vec<PatternRef> = patterns.iter().map(|pattern| one.intern(pattern).unwrap()).collect();
        let pool = one.pool();
        for (pattern, at) in patterns.iter().zip(&places).rev() {
            let moved = other.add(pool.get(*at).unwrap()).unwrap();
            prop_assert_eq!(other.intern(pattern), Some(moved));
        }
        prop_assert_eq!(other.pool().bytes(), pool.bytes());
    }
}

#[test]
fn documents_read_texts_that_came_after_them_and_before_only_of_their_own_lineage() {
    let mut interner = Interner::default();
    let texts = Arc::clone(interner.texts());
    let first = interner.add(whole("a.example", 0)).unwrap();
    assert_eq!(texts.get(first), None, "its pool was not taken");
    drop(interner.pool());
    let second = interner.add(whole("b.example", 443)).unwrap();
    assert_eq!((texts.get(first).as_deref(), texts.get(second)), (Some("a.example"), None));
    drop(interner.pool());
    assert_eq!(texts.get(second).as_deref(), Some("b.example:443"));
    assert_eq!(texts.lineage(), interner.pool().lineage());
    assert_eq!(Interner::default().texts().get(first), None);
}

#[test]
fn the_longest_pattern_is_stored_whole_and_a_longer_text_is_refused() {
    let mut interner = Interner::default();
    let long = "a".repeat(255);
    let at = interner.add(whole(&long, 0)).unwrap();
    assert_eq!(interner.add(whole(&"a".repeat(256), 0)), None);
    assert_eq!(text(&interner.pool(), at), Some(long));
}

#[test]
fn a_pool_without_what_is_asked_for_says_nothing() {
    let mut interner = Interner::default();
    let at = interner.add(whole("example.com", 0)).unwrap();
    assert!(PatternPool::default().get(at).is_none());
    for bits in [1 << 20, 1 << UNIT_BITS, (1 << REF_BITS) - 1] {
        assert!(interner.pool().get(PatternRef::from_bits(bits)).is_none(), "{bits:x}");
    }
}

#[test]
fn small_changes_go_on_in_one_chunk_and_large_ones_begin_another() {
    let mut interner = Interner::default();
    let mut places = Vec::new();
    let mut pools = Vec::new();
    let mut n = 0;
    while interner.chunks.len() < 4 {
        let name = format!("{n}.example.com");
        places.push((interner.add(whole(&name, 0)).unwrap(), name));
        n += 1;
        if n % 1_000 == 0 {
            pools.push((interner.pool(), places.len()));
        }
    }
    assert!(pools.len() > 20, "{} pools in four chunks", pools.len());
    for (pool, count) in &pools {
        for (at, name) in places[..*count].iter().step_by(97) {
            assert_eq!(text(pool, *at).as_ref(), Some(name));
        }
        assert!(places.get(*count).is_none_or(|(at, _)| pool.get(*at).is_none()));
    }
    // Wherever it lies, what is known is found again.
    let bytes = interner.pool().bytes();
    for (at, name) in &places {
        assert_eq!(interner.add(whole(name, 0)), Some(*at));
    }
    assert_eq!(interner.pool().bytes(), bytes);
}

#[test]
fn a_pool_that_is_full_refuses_what_is_new_and_keeps_what_it_has() {
    let mut interner = Interner::default();
    let mut places = Vec::new();
    let mut due = false;
    'full: for n in 0.. {
        let base = format!("{n}.{}", "a".repeat(200));
        // As little as ends a chunk.
        for port in 0..=u16::try_from(GOES_ON / 200).unwrap() {
            let Some(at) = interner.add(whole(&base, port)) else { break 'full };
            if port == 0 {
                places.push((at, base.clone()));
            }
        }
        let pool = interner.pool();
        due = interner.is_due();
        // INVARIANT: long before it is full somebody is told to look for waste, and finds it.
        assert!(due || pool.chunks.len() * 4 <= MOST_CHUNKS * 3, "{} chunks", pool.chunks.len());
        if due && pool.chunks.len() * 4 > MOST_CHUNKS * 3 {
            assert!(pool.is_wasteful(places.iter().map(|(at, _)| *at)));
        }
    }
    assert!(due);
    assert_eq!(places.len(), MOST_CHUNKS);
    let pool = interner.pool();
    for (at, name) in &places {
        assert_eq!(text(&pool, *at).as_ref(), Some(name));
        assert_eq!(interner.add(whole(name, 0)), Some(*at));
    }
    assert_eq!(interner.add(whole("one.more", 0)), None);
}

#[test]
fn waste_is_looked_for_as_the_pool_grows_and_found_where_most_is_of_no_use() {
    let mut interner = Interner::default();
    assert!(!interner.is_due());
    let mut places = Vec::new();
    let mut fill = |interner: &mut Interner, bytes: usize| {
        let mut n = places.len();
        while interner.pool().bytes() < bytes {
            for _ in 0..500 {
                places.push(interner.add(whole(&format!("{n}.{}", "a".repeat(200)), 0)).unwrap());
                n += 1;
            }
        }
        places.clone()
    };
    fill(&mut interner, SPARE / 2);
    assert!(!interner.is_due() && !interner.pool().is_wasteful(std::iter::empty()));
    let places = fill(&mut interner, SPARE * 4);
    assert!(interner.is_due(), "much came");
    assert!(!interner.is_due(), "nothing came since");
    let pool = interner.pool();
    let share = |percent: usize| places[..places.len() * percent / 100].iter().copied();
    assert!(!pool.is_wasteful(share(100)) && !pool.is_wasteful(share(50)));
    assert!(pool.is_wasteful(share(20)) && pool.is_wasteful(share(0)));
    // A pattern that many have is in use once.
    assert!(pool.is_wasteful(share(1).cycle().take(100_000)));
}
