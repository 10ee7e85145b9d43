//! Who is who: every row of the tables of [`crate::identity`].
#![allow(clippy::unwrap_used, reason = "tests")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use proptest::prelude::*;

use super::*;
use crate::policy::Reason;

const CONFLICT: Result<&str, IdentityError> = Err(IdentityError::Conflict);

/// A listed sandbox of group `agents`.
fn listed(id: &str, sources: &[&str], token: Option<&str>) -> SandboxSettings {
    SandboxSettings {
        sandbox: Sandbox { id: id.into(), group: Some("agents".into()), require_policy: false },
        sources: sources.iter().map(|net| net.parse().unwrap()).collect(),
        token: token.map(SecretString::from),
    }
}

/// Four sandboxes: one with both proofs, two with one each, one with none.
fn registry() -> Registry {
    let sandboxes = vec![
        listed("both", &["10.0.0.0/24"], Some("t-both")),
        listed("address", &["10.0.1.0/24", "2001:db8::/64"], None),
        listed("token", &[], Some("t-token")),
        listed("bare", &[], None),
    ];
    Registry::new(Settings { sandboxes, listeners: vec!["bare".into()], ..Settings::default() })
        .unwrap_or_else(|_| unreachable!())
}

/// Who is asked for; `-` is an absent sign.
fn ask(listener: &str, source: &str, pair: &str) -> Result<String, IdentityError> {
    let credentials = (pair != "-").then(|| format!("Basic {}", STANDARD.encode(pair)));
    let listener = (listener != "-").then_some(listener);
    let found = registry().identify(listener, source.parse().unwrap(), credentials.as_deref());
    found.map(|sandbox| sandbox.id.to_string())
}

#[test]
fn every_row_of_the_table_holds() {
    const HELP: Result<&str, IdentityError> = Err(IdentityError::Unknown { token_could_help: true });
    const NO_HELP: Result<&str, IdentityError> = Err(IdentityError::Unknown { token_could_help: false });
    for (listener, source, pair, answer) in [
        ("bare", "192.0.2.1", "-", Ok("bare")),
        ("bare", "10.0.0.1", "-", CONFLICT),
        ("bare", "192.0.2.1", "token:t-token", CONFLICT),
        ("bare", "192.0.2.1", "bare:", CONFLICT),
        ("both", "10.0.0.1", "-", Ok("both")),
        ("both", "192.0.2.1", "-", CONFLICT),
        ("both", "192.0.2.1", "both:t-both", CONFLICT),
        ("token", "192.0.2.1", "token:t-token", Ok("token")),
        ("token", "192.0.2.1", "token:wrong", CONFLICT),
        ("nobody", "10.0.0.1", "-", NO_HELP),
        ("-", "10.0.0.1", "-", Ok("both")),
        ("-", "10.0.0.1", "both:t-both", Ok("both")),
        ("-", "::ffff:10.0.0.1", "-", Ok("both")),
        ("-", "2001:db8::9", "-", Ok("address")),
        ("-", "10.0.0.1", "token:t-token", CONFLICT),
        ("-", "10.0.0.1", "both:wrong", CONFLICT),
        ("-", "10.0.1.1", "address:", CONFLICT),
        ("-", "192.0.2.1", "token:t-token", Ok("token")),
        ("-", "192.0.2.1", "both:t-both", NO_HELP),
        ("-", "10.0.1.1", "both:t-both", CONFLICT),
        ("-", "192.0.2.1", "-", HELP),
        ("-", "192.0.2.1", "token:wrong", HELP),
        ("-", "192.0.2.1", "token:t-both", HELP),
        ("-", "192.0.2.1", "bare:", HELP),
        ("-", "192.0.2.1", "nobody:t-token", HELP),
    ] {
        let given = ask(listener, source, pair);
        let given = given.as_deref().map_err(|error| *error);
        assert_eq!(given, answer, "{listener} {source} {pair}");
    }
}

#[test]
fn malformed_credentials_count_as_wrong_ones() {
    for value in ["", "Basic", "Basic !", "Bearer t-token", "Digest x"] {
        let registry = registry();
        let from = |source: &str| registry.identify(None, source.parse().unwrap(), Some(value));
        assert_eq!(from("10.0.0.1"), Err(IdentityError::Conflict), "{value}");
        assert_eq!(from("192.0.2.1"), Err(IdentityError::Unknown { token_could_help: true }), "{value}");
    }
}

#[test]
fn without_listed_sandboxes_every_client_is_default() {
    let registry = Registry::new(Settings::default()).unwrap_or_else(|_| unreachable!());
    let sandbox = registry.identify(None, "192.0.2.1".parse().unwrap(), Some("Basic x")).unwrap();
    assert_eq!((&*sandbox.id, sandbox.group.as_deref(), sandbox.require_policy), ("default", None, false));
    assert!(!registry.is_listed());
}

#[test]
fn a_token_cannot_help_where_every_token_is_bound_to_sources() {
    let sandboxes = vec![listed("both", &["10.0.0.0/24"], Some("t"))];
    let registry =
        Registry::new(Settings { sandboxes, ..Settings::default() }).unwrap_or_else(|_| unreachable!());
    let answer = registry.identify(None, "192.0.2.1".parse().unwrap(), None);
    assert_eq!(answer, Err(IdentityError::Unknown { token_could_help: false }));
    assert_eq!(registry.sandboxes().len(), 1);
    assert_eq!(registry.get("both").and_then(|sandbox| sandbox.group.as_deref()), Some("agents"));
}

#[test]
fn all_problems_of_the_settings_are_reported_at_once() {
    let sandboxes = vec![
        listed("a:b", &[], None),
        listed("one", &["10.0.0.0/8"], Some("")),
        listed("one", &["10.1.0.0/16", "192.0.2.7/24"], None),
    ];
    let peers = vec!["10.1.2.0/24".parse().unwrap()];
    let settings = Settings { sandboxes, listeners: vec!["gone".into()], peers };
    let problems = Registry::new(settings).err().unwrap();
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    for part in [
        "id `a:b` must be",
        "`one` is listed twice",
        "token of sandbox `one` must be 1 to 256",
        "10.1.0.0/16 of sandbox `one` overlaps 10.0.0.0/8",
        "192.0.2.7/24 of sandbox `one` has host bits; write 192.0.2.0/24",
        "names sandbox `gone`",
        "source 10.0.0.0/8 of sandbox `one` is among the trusted peers 10.1.2.0/24",
        "source 10.1.0.0/16 of sandbox `one` is among the trusted peers 10.1.2.0/24",
    ] {
        assert!(texts.iter().any(|text| text.contains(part)), "{part}: {texts:#?}");
    }
    assert_eq!(problems.len(), 8);
}

/// The same settings with another edition of one sandbox, after `previous`.
fn after(previous: &Registry, sandboxes: Vec<SandboxSettings>) -> Registry {
    let settings = Settings { sandboxes, ..Settings::default() };
    Registry::new(settings).unwrap_or_else(|_| unreachable!()).after(previous)
}

#[test]
fn every_row_of_the_table_of_asking_again_holds() {
    const HERE: &str = "10.0.0.1";
    const AWAY: &str = "192.0.2.1";
    const CHANGED: Result<&str, IdentityError> = Err(IdentityError::Changed);
    const UNKNOWN: Result<&str, IdentityError> = Err(IdentityError::Unknown { token_could_help: false });
    const HELP: Result<&str, IdentityError> = Err(IdentityError::Unknown { token_could_help: true });
    type Listed = (&'static str, &'static [&'static str], Option<&'static str>);
    let nobody: &[Listed] = &[];
    let by_source: &[Listed] = &[("a", &["10.0.0.0/24"], None)];
    let by_token: &[Listed] = &[("a", &[], Some("t"))];
    let by_both: &[Listed] = &[("a", &["10.0.0.0/24"], Some("t"))];
    let bare: &[Listed] = &[("a", &[], None)];
    let default: &[Listed] = &[("default", &["10.0.0.0/24"], None)];
    for (was, listener, source, pair, then, answer) in [
        (nobody, "-", HERE, "-", nobody, Ok("default")),
        (nobody, "-", HERE, "-", by_source, CHANGED),
        (nobody, "-", HERE, "-", default, CHANGED),
        (nobody, "-", HERE, "a:t", by_token, CHANGED),
        (by_source, "-", HERE, "-", nobody, CHANGED),
        (default, "-", HERE, "-", nobody, CHANGED),
        (by_token, "-", AWAY, "a:t", nobody, CHANGED),
        (by_source, "-", HERE, "-", by_source, Ok("a")),
        (by_source, "-", HERE, "-", by_both, Ok("a")),
        (by_source, "-", HERE, "-", by_token, HELP),
        (by_source, "-", HERE, "-", &[("b", &["10.0.0.0/24"], None)], CHANGED),
        (by_source, "-", HERE, "-", &[("a", &["10.0.1.0/24"], None), ("b", &["10.0.0.0/24"], None)], CHANGED),
        (by_source, "-", HERE, "-", &[("a", &["10.0.1.0/24"], None)], UNKNOWN),
        (by_token, "-", AWAY, "a:t", by_token, Ok("a")),
        (by_token, "-", AWAY, "a:t", &[("b", &[], None), ("a", &[], Some("t"))], Ok("a")),
        (by_token, "-", AWAY, "a:t", &[("a", &[], Some("u"))], HELP),
        (by_token, "-", AWAY, "a:t", &[("b", &[], Some("t"))], HELP),
        (by_token, "-", AWAY, "a:t", bare, UNKNOWN),
        (by_token, "-", AWAY, "a:t", by_both, UNKNOWN),
        (by_token, "-", HERE, "a:t", by_both, Ok("a")),
        (by_token, "-", HERE, "a:t", &[("a", &[], Some("t")), ("b", &["10.0.0.0/24"], None)], CONFLICT),
        (by_both, "-", HERE, "a:t", &[("a", &["10.0.0.0/24"], Some("u"))], Ok("a")),
        (by_both, "-", HERE, "a:t", by_token, Ok("a")),
        (by_both, "-", HERE, "-", by_token, HELP),
        (by_both, "-", HERE, "a:t", &[("a", &[], Some("u"))], HELP),
        (bare, "a", AWAY, "-", bare, Ok("a")),
        (bare, "a", AWAY, "-", by_token, Ok("a")),
        (bare, "a", AWAY, "-", by_source, CONFLICT),
        (bare, "a", AWAY, "-", &[("b", &[], None)], UNKNOWN),
        (bare, "a", AWAY, "-", nobody, UNKNOWN),
        (bare, "a", HERE, "-", &[("a", &[], None), ("b", &["10.0.0.0/24"], None)], CONFLICT),
    ] {
        let listing = |all: &[Listed]| {
            all.iter().map(|(id, sources, token)| listed(id, sources, *token)).collect::<Vec<_>>()
        };
        let before = after(&Registry::default(), listing(was));
        let then = after(&before, listing(then));
        let credentials = (pair != "-").then(|| format!("Basic {}", STANDARD.encode(pair)));
        let listener = (listener != "-").then_some(listener);
        let source = source.parse().unwrap();
        let known = before.identify(listener, source, credentials.as_deref()).unwrap();
        let given = then.identify_again(listener, source, &known);
        let given = given.as_ref().map(|identity| &*identity.id).map_err(|error| *error);
        assert_eq!(given, answer, "{listener:?} {source} {pair} {was:?}");
    }
}

#[test]
fn a_token_that_was_taken_away_and_came_back_identifies_nobody_who_showed_the_first_one() {
    let with = |previous: &Registry, token| after(previous, vec![listed("a", &[], Some(token))]);
    let source = "192.0.2.1".parse().unwrap();
    let first = with(&Registry::default(), "t");
    let known = first.identify(None, source, Some(&format!("Basic {}", STANDARD.encode("a:t")))).unwrap();
    let same = with(&first, "t");
    assert!(same.identify_again(None, source, &known).is_ok() && same.is_same(&first));
    let other = with(&same, "u");
    assert!(other.identify_again(None, source, &known).is_err() && !other.is_same(&same));
    assert!(with(&other, "t").identify_again(None, source, &known).is_err());
}

#[test]
fn what_asking_again_gives_is_the_group_of_the_registry_in_force() {
    let source = "10.0.0.1".parse().unwrap();
    let first = after(&Registry::default(), vec![listed("a", &["10.0.0.0/24"], None)]);
    let known = first.identify(None, source, None).unwrap();
    let mut moved = listed("a", &["10.0.0.0/24"], None);
    moved.sandbox = Sandbox { group: Some("others".into()), require_policy: true, ..moved.sandbox };
    let then = after(&first, vec![moved]);
    let again = then.identify_again(None, source, &known).unwrap();
    assert_eq!((again.group.as_deref(), again.require_policy), (Some("others"), true));
    assert!(!then.is_same(&first));
    assert!(!format!("{then:?} {again:?}").contains("t-"));
}

#[test]
fn networks_overlap_in_every_spelling() {
    let found = |peer: &str, net: &str| {
        overlapping(&["192.0.2.0/24".parse().unwrap(), peer.parse().unwrap()], &net.parse().unwrap())
            .is_some()
    };
    for (peer, net, overlaps) in [
        ("10.0.0.0/8", "10.1.0.0/16", true),
        ("10.1.0.0/16", "10.0.0.0/8", true),
        ("10.0.0.1/32", "10.0.0.1/32", true),
        ("10.0.0.1/32", "10.0.0.2/32", false),
        ("10.0.0.0/8", "::ffff:10.1.0.0/112", true),
        ("::ffff:10.1.0.0/112", "10.0.0.0/8", true),
        ("::/0", "10.0.0.0/8", false),
        ("2001:db8::/32", "2001:db8::7/128", true),
    ] {
        assert_eq!(found(peer, net), overlaps, "{peer} {net}");
    }
}

#[test]
fn why_an_identity_lapsed_names_it_and_is_identity_unknown() {
    let registry = registry();
    let known = registry.identify(None, "10.0.0.1".parse().unwrap(), None).unwrap();
    let denial = known.lapsed(IdentityError::Changed);
    assert_eq!(denial.reason(), Reason::IdentityUnknown);
    assert!(denial.detail().contains("no longer sandbox `both`"), "{}", denial.detail());
}

/// A few listings of two sandboxes that share little: sources of each, tokens of each, who is there.
fn listings() -> impl Strategy<Value = Vec<SandboxSettings>> {
    let nets = prop::sample::subsequence(vec!["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"], 0..=3);
    let cut = 0_usize..=3;
    let token = prop::option::of(prop::sample::select(vec!["t", "u"]));
    let there = any::<[bool; 2]>();
    (nets, cut, token.clone(), token, there).prop_map(|(nets, cut, left, right, [first, second])| {
        let (one, two) = nets.split_at(cut.min(nets.len()));
        let one = first.then(|| listed("a", one, left));
        let two = second.then(|| listed("b", two, right));
        one.into_iter().chain(two).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn nobody_stays_who_would_not_be_let_in_afresh_by_what_still_proves_them(
        before in listings(),
        then in listings(),
        source in prop::sample::select(vec!["10.0.0.1", "10.0.1.1", "10.0.2.1", "192.0.2.1"]),
        listener in prop::option::of(prop::sample::select(vec!["a", "b"])),
        pair in prop::option::of(prop::sample::select(vec!["a:t", "a:u", "b:t", "b:u"])),
    ) {
        let was_listed = !before.is_empty();
        let before = after(&Registry::default(), before);
        let then = after(&before, then);
        let source = source.parse().unwrap();
        let credentials = pair.map(|pair| format!("Basic {}", STANDARD.encode(pair)));
        let Ok(known) = before.identify(listener, source, credentials.as_deref()) else { return Ok(()) };
        let again = then.identify_again(listener, source, &known);
        // Every client of a registry is who it is, asked again by the same one.
        let same = before.identify_again(listener, source, &known);
        prop_assert_eq!(same.as_ref(), Ok(&known));
        let fresh = |credentials| then.identify(listener, source, credentials);
        let (by_place, by_all) = (fresh(None), fresh(credentials.as_deref()));
        if let Ok(again) = &again {
            prop_assert_eq!(&again.id, &known.id);
            prop_assert_eq!(was_listed, then.is_listed() || listener.is_some() && was_listed);
            let allows = |fresh: &Result<Identity, IdentityError>| {
                fresh.as_ref().is_ok_and(|fresh| fresh.id == known.id && fresh.group == again.group)
            };
            prop_assert!(allows(&by_place) || allows(&by_all));
        } else if was_listed && then.is_listed() {
            // Who would be the same by place alone, or by all signs, is not sent away.
            let same = |fresh: &Result<Identity, IdentityError>| {
                fresh.as_ref().is_ok_and(|fresh| fresh.id == known.id)
            };
            prop_assert!(!same(&by_place) && !same(&by_all));
        }
    }
}
