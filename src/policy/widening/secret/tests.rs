//! What is told of a change of Secrets, sentence by sentence, and what it lets through.

use super::*;
use crate::policy::document;

/// The secrets of documents, each of a group (or none) and with a spec.
fn set(all: &[(&str, &str)]) -> SecretSet {
    if all.is_empty() {
        return SecretSet::default();
    }
    let text = |(group, spec): &(&str, &str)| {
        let group = if group.is_empty() { String::new() } else { format!(", group: {group}") };
        format!("kind: Secret\nmetadata: {{name: s{group}}}\nspec: {spec}\n")
    };
    let text = all.iter().map(text).collect::<Vec<_>>().join("---\n");
    let parsed = document::parse(&"p.yaml".into(), &text);
    assert!(parsed.problems.is_empty(), "{:?}\n{text}", parsed.problems);
    let secrets: Vec<_> = parsed.secrets.into_iter().map(Arc::new).collect();
    SecretSet::settle(&secrets, None, None).0
}

/// Everything that is told of a change.
fn told(before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<String> {
    let all = set(after).widened_since(&set(before));
    all.into_iter().flat_map(|widening| widening.widened).collect()
}

/// A spec with a key and more.
fn one(more: &str) -> String {
    format!("{{keys: {{a: {{env: A}}}}{more}}}")
}

#[test]
fn each_change_of_a_secret_that_widens_is_told_with_its_place() {
    let bound = one(", hosts: [a.test]");
    for (before, after, expected) in [
        (
            bound.clone(),
            one(", hosts: [a.test, b.test]"),
            &["the secret `s` may be sent to `b.test` (p.yaml:1:1)"][..],
        ),
        (
            bound.clone(),
            one(", hosts: ['*.a.test']"),
            &["the secret `s` may be sent to `*.a.test` (p.yaml:1:1)"],
        ),
        (
            one(", hosts: ['a.test:443']"),
            bound.clone(),
            &["the secret `s` may be sent to `a.test` (p.yaml:1:1)"],
        ),
        (
            bound.clone(),
            one(""),
            &[
                "the secret `s` may be sent to the host of any rule that uses it: it has no `hosts` (p.yaml:1:1)",
            ],
        ),
        (one(""), bound.clone(), &["the secret `s` may be sent to `a.test` (p.yaml:1:1)"]),
        (
            bound.clone(),
            one(", hosts: [a.test], placeholder: true"),
            &["the secret `s` is put in where a sandbox writes its placeholder (p.yaml:1:1)"],
        ),
        (
            one(""),
            "{keys: {a: {env: A}, b: {env: B}}}".to_owned(),
            &["the secret `s` has a key `b` (p.yaml:3:31)"],
        ),
        (
            "{keys: {a: {env: A}, b: {env: B}}}".to_owned(),
            one(""),
            &["`a` is the only key of the secret `s`, and is meant where none is named (p.yaml:3:18)"],
        ),
        (
            one(", scrub: Always"),
            one(""),
            &[
                "`scrub` of the secret `s` is Text, and was Always: a sandbox may read it in a response (p.yaml:1:1)",
            ],
        ),
    ] {
        assert_eq!(told(&[("", &before)], &[("", &after)]), expected, "{before} → {after}");
        assert_eq!(told(&[("", &after)], &[("", &after)]), Vec::<String>::new(), "{after}");
    }
    let new = ["the secret `s` is new (p.yaml:1:1)", "the secret `s` may be sent to `a.test` (p.yaml:1:1)"];
    assert_eq!(told(&[], &[("", &bound)]), new);
    let (own, every) = (("g", &*bound), ("", &*bound));
    let gone =
        "the secret `s` of group `g` is gone: the one without a group is meant in its place (p.yaml:1:1)";
    assert_eq!(told(&[own, every], &[every]), [gone]);
    assert_eq!(told(&[every], &[every, own]).len(), 2, "it is new, and hides the other");
}

#[test]
fn a_secret_that_only_narrows_or_has_another_source_is_not_told() {
    for (before, after) in [
        (one(", hosts: [a.test, b.test]"), one(", hosts: [b.test]")),
        (one(", hosts: ['*.a.test']"), one(", hosts: [b.a.test, 'c.a.test:443']")),
        (one(", hosts: [a.test], placeholder: true"), one(", hosts: [a.test]")),
        (one(", scrub: Never"), one(", scrub: Always")),
        (one(""), one("").replace("env: A", "env: B")),
    ] {
        assert_eq!(told(&[("", &before)], &[("", &after)]), Vec::<String>::new(), "{before} → {after}");
    }
    assert_eq!(told(&[("", &one(""))], &[]), Vec::<String>::new());
    assert_eq!(told(&[("g", &one(""))], &[]), Vec::<String>::new());
}
