use http::header::{AUTHORIZATION, HeaderMap};
use proptest::prelude::*;

use super::*;
use crate::policy::document::{KeySource, Scrub, SecretSource};
use crate::policy::plan::{Edit, Format};
use crate::wire::headers::{KeepUpgrade, strip_request};

/// A secret's use in a format.
fn secret(name: &str, format: &str) -> EditValue {
    EditValue::Secret(SecretUse {
        name: name.into(),
        source: Arc::new(KeySource::Given(SecretSource::Env("X".into()))),
        format: Format::new(format).unwrap(),
        scrub: Scrub::Never,
    })
}

/// A text of the policy.
fn text(value: &str) -> EditValue {
    EditValue::Text(value.into())
}

/// A plan of these edits.
fn plan(edits: &[(&str, Change)]) -> Plan {
    let edit = |(name, change): &(&str, Change)| Edit { name: (*name).into(), change: change.clone() };
    Plan::new(edits.iter().map(edit).collect())
}

/// Headers of `name: value` pairs.
fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// The headers as sorted `name: value` lines.
fn lines(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

/// Makes the edits; every secret's value is `V.` and its name.
fn edited(plan: &Plan, headers: &mut HeaderMap) -> Applied {
    let mut value = |used: &SecretUse| Some(Revealed::new(format!("V.{}", used.name).as_bytes()));
    apply(plan, &mut value, headers).unwrap()
}

/// Names as they are in a result.
fn names(names: &[Arc<str>]) -> Vec<&str> {
    names.iter().map(AsRef::as_ref).collect()
}

#[test]
fn texts_are_set_inserted_and_removed_in_the_order_of_the_plan() {
    let mut headers = map(&[("x-a", "1"), ("x-a", "2"), ("x-b", "1"), ("x-c", "1"), ("x-d", "1")]);
    let plan = plan(&[
        ("x-a", Change::Set(text("group"))),
        ("x-a", Change::Set(text("global"))),
        ("x-b", Change::Insert(text("not this"))),
        ("x-e", Change::Insert(text("this"))),
        ("x-e", Change::Insert(text("not this"))),
        ("x-c", Change::Remove),
        ("x-f", Change::Remove),
    ]);
    let applied = edited(&plan, &mut headers);
    assert_eq!(lines(&headers), ["x-a: global", "x-b: 1", "x-d: 1", "x-e: this"]);
    assert_eq!(names(&applied.changed), ["x-a", "x-e", "x-c"]);
    assert!(applied.secrets.is_empty() && !headers["x-a"].is_sensitive());
}

#[test]
fn s7_what_a_client_sends_in_the_header_of_a_secret_is_dropped_in_every_spelling() {
    for change in [Change::Set(secret("a/b", "Key {value}!")), Change::Insert(secret("a/b", "Key {value}!"))]
    {
        let mut headers = map(&[
            ("X-Api-Key", "theirs"),
            ("x-api-key", "theirs too"),
            ("X_Api_Key", "theirs"),
            ("x_api-key", "theirs"),
            ("X.Api~Key", "theirs"),
            ("X-Api-Keys", "another header"),
        ]);
        let applied = edited(&plan(&[("x-api-key", change)]), &mut headers);
        assert_eq!(lines(&headers), ["x-api-key: Key V.a/b!", "x-api-keys: another header"]);
        assert!(headers["x-api-key"].is_sensitive());
        assert_eq!((names(&applied.changed), names(&applied.secrets)), (vec!["x-api-key"], vec!["a/b"]));
    }
}

#[test]
fn s7_a_secret_that_a_later_edit_takes_back_leaves_nothing_of_the_clients_either() {
    let mut headers = map(&[("x-a", "theirs"), ("x_b", "theirs"), ("x-c", "theirs")]);
    let plan = plan(&[
        ("x-b", Change::Insert(text("first"))),
        ("x-a", Change::Set(secret("s/a", "{value}"))),
        ("x-a", Change::Remove),
        ("x-b", Change::Set(secret("s/b", "{value}"))),
        ("x-b", Change::Set(text("last"))),
        ("x-c", Change::Set(secret("s/c", "{value}"))),
        ("x-c", Change::Insert(text("never"))),
    ]);
    let applied = edited(&plan, &mut headers);
    assert_eq!(lines(&headers), ["x-b: last", "x-c: V.s/c"]);
    assert_eq!(names(&applied.secrets), ["s/c"]);
    assert_eq!(names(&applied.changed), ["x-b", "x-a", "x-c"]);
}

#[test]
fn f7_s7_connection_names_nothing_away_that_is_injected() {
    let mut headers = map(&[
        ("connection", "authorization, x-api-key, x-a"),
        ("authorization", "theirs"),
        ("x_api_key", "theirs"),
        ("x-a", "1"),
    ]);
    strip_request(&mut headers, KeepUpgrade::No);
    let plan = plan(&[
        ("authorization", Change::Insert(secret("a", "Bearer {value}"))),
        ("x-api-key", Change::Set(secret("b", "{value}"))),
    ]);
    edited(&plan, &mut headers);
    assert_eq!(lines(&headers), ["authorization: Bearer V.a", "x-api-key: V.b"]);
}

#[test]
fn a_value_that_is_not_to_be_had_or_not_to_be_sent_changes_nothing_and_is_not_told() {
    let before = map(&[("authorization", "theirs"), ("x-a", "1")]);
    let edits =
        plan(&[("x-a", Change::Remove), ("authorization", Change::Set(secret("a/b", "Bearer {value}")))]);
    let mut headers = before.clone();
    let missing = apply(&edits, &mut |_| None, &mut headers).unwrap_err();
    assert_eq!(missing, EditError::Unavailable("a/b".into()));
    for value in ["", "hunter2\r\nx: y", "hunter2\n", "hunter2\0", "hunter2\u{7f}"] {
        let error = apply(&edits, &mut |_| Some(Revealed::new(value.as_bytes())), &mut headers).unwrap_err();
        assert_eq!(error, EditError::Value { secret: "a/b".into(), header: "authorization".into() });
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    for edits in [plan(&[("no name", Change::Remove)]), plan(&[("x-a", Change::Set(text("a\nb")))])] {
        assert!(matches!(apply(&edits, &mut |_| None, &mut headers), Err(EditError::Header(_))));
    }
    assert_eq!(headers, before);
    assert!(!format!("{:?}", edited_value()).contains("V.a"));
}

/// A header with a secret in it.
fn edited_value() -> HeaderMap {
    let mut headers = HeaderMap::new();
    edited(&plan(&[("authorization", Change::Set(secret("a", "Bearer {value}")))]), &mut headers);
    assert!(headers[AUTHORIZATION].is_sensitive());
    headers
}

/// One of few names, in one of their spellings.
fn spelling() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["x-a", "X_A", "x.a", "x-b", "X-B", "x_b", "x-c", "authorization", "x-d"])
        .prop_map(str::to_owned)
}

/// What an edit does, with its position as its value.
fn change(kind: u8, index: usize) -> Change {
    match kind {
        0 => Change::Set(text(&format!("T{index}"))),
        1 => Change::Insert(text(&format!("T{index}"))),
        2 => Change::Set(secret(&format!("{index}"), "{value}")),
        3 => Change::Insert(secret(&format!("{index}"), "{value}")),
        _ => Change::Remove,
    }
}

/// A name as an environment variable has it.
fn variable(name: &str) -> String {
    name.to_uppercase().replace(['-', '.'], "_")
}

/// The same edits on a list of pairs, where every header is known by its variable.
fn naively(edits: &[(String, u8)], sent: &[(String, String)]) -> Vec<(String, String)> {
    let bears =
        |name: &str| edits.iter().any(|(other, kind)| variable(other) == name && matches!(kind, 2 | 3));
    let mut all: Vec<(String, String)> = sent
        .iter()
        .map(|(name, value)| (variable(name), value.clone()))
        .filter(|(name, _)| !bears(name))
        .collect();
    for (index, (name, kind)) in edits.iter().enumerate() {
        let name = variable(name);
        let there = all.iter().any(|(other, _)| *other == name);
        let value = if matches!(kind, 2 | 3) { format!("V.{index}") } else { format!("T{index}") };
        match kind {
            1 if there => {}
            4.. => all.retain(|(other, _)| *other != name),
            _ => {
                all.retain(|(other, _)| *other != name);
                all.push((name, value));
            }
        }
    }
    all.sort();
    all
}

proptest! {
    #[test]
    fn s7_whatever_is_sent_the_plan_has_the_last_word_and_touches_nothing_else(
        edits in prop::collection::vec((spelling(), 0..5_u8), 0..8),
        sent in prop::collection::vec((spelling(), "[a-z]{1,3}"), 0..10),
    ) {
        let lower: Vec<(String, u8)> = edits.iter().map(|(name, kind)| (name.to_lowercase(), *kind)).collect();
        let list: Vec<(&str, Change)> = lower
            .iter()
            .enumerate()
            .map(|(index, (name, kind))| (name.as_str(), change(*kind, index)))
            .collect();
        let plan = plan(&list);
        let pairs: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut headers = map(&pairs);
        let before = headers.clone();
        let applied = edited(&plan, &mut headers);

        let mut seen: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (variable(name.as_str()), value.to_str().unwrap().to_owned()))
            .collect();
        seen.sort();
        prop_assert_eq!(&seen, &naively(&lower, &sent));
        let named = |name: &HeaderName| lower.iter().any(|(other, _)| variable(other) == variable(name.as_str()));
        for name in before.keys().filter(|name| !named(name)) {
            let all = |headers: &HeaderMap| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
            prop_assert_eq!(all(&headers), all(&before));
        }
        let mut carried: Vec<String> =
            seen.iter().filter_map(|(_, value)| value.strip_prefix("V.").map(str::to_owned)).collect();
        let mut told: Vec<String> = applied.secrets.iter().map(ToString::to_string).collect();
        carried.sort();
        told.sort();
        prop_assert_eq!(told, carried);
        prop_assert!(headers.values().all(|value| value.is_sensitive() == value.as_bytes().starts_with(b"V.")));
        let once = headers.clone();
        edited(&plan, &mut headers);
        prop_assert_eq!(headers, once);
    }
}
