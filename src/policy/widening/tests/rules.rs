//! What is told of `rules`.

use super::*;

#[test]
fn each_change_of_rules_that_widens_is_told_with_its_place() {
    let deny = "{match: {host: x.test, path: /admin}, action: Deny}";
    let allow = "{match: {host: x.test, methods: [PUT, GET]}, action: Allow}";
    let rewrite = "{name: away, match: {host: x.test}, action: {type: Rewrite, host: y.test}}";
    let elsewhere = "{name: away, match: {host: x.test}, action: {type: Rewrite, host: z.test}}";
    let rules = |list: &[&str]| format!("rules:\n  - {}\n", list.join("\n  - "));
    for (before, after, expected) in [
        (
            vec![deny],
            vec![deny, allow],
            &["rules[1] is new: Allow of `x.test` for GET, PUT (p.yaml:3:5)"][..],
        ),
        (
            vec![deny, allow],
            vec![allow],
            &["rules[0] is gone: Deny of `x.test/admin` (it was at p.yaml:2:5)"],
        ),
        (vec![allow, deny], vec![deny], &[]),
        (
            vec![deny, allow],
            vec![allow, deny],
            &[
                "rules[0] is in front of rules that it was behind: Allow of `x.test` for GET, PUT (p.yaml:2:5)",
            ],
        ),
        (vec![allow, deny], vec![deny, allow], &[]),
        (
            vec![rewrite, allow],
            vec![allow],
            &["rules[0] is gone: Rewrite of `x.test` (it was at p.yaml:2:5)"],
        ),
        (
            vec![rewrite],
            vec![elsewhere],
            &[
                "rules[0] is new: Rewrite of `x.test` (p.yaml:2:5)",
                "rules[0] is gone: Rewrite of `x.test` (it was at p.yaml:2:5)",
            ],
        ),
    ] {
        assert_eq!(told(&rules(&before), &rules(&after)), expected, "{before:?} → {after:?}");
    }
    let secret =
        "{match: {host: x.test}, action: {type: Transform, headers: [{operation: Remove, name: a}]}}";
    assert_eq!(told(&rules(&[secret]), &format!("# a line\n{}", rules(&[secret]))), Vec::<String>::new());
}

#[test]
fn an_allow_of_rules_that_is_gone_is_told_where_what_else_allows_it_asks_for_less() {
    let rules = |spec: &str, list: &str| format!("{{{spec}, rules: [{list}]}}");
    let (allow, other) =
        ("{match: {host: a.test, path: /x}, action: Allow}", "{match: {host: '*.b.test'}, action: Deny}");
    let both = format!("{allow}, {other}");
    let literal = "{match: {host: 8.8.8.8}, action: Allow}";
    for (spec, before, after, is_told) in [
        // Nothing else allows it.
        ("mode: Limited", allow, "", false),
        ("mode: Limited", &both, other, false),
        // A pattern has a port of its own, which `ports` do not bound.
        ("hostRules: [b.test, 'c.test:22']", allow, "", true),
        ("hostRules: [b.test]", allow, "", false),
        // It was decrypted, and is not.
        ("hostRules: [a.test]", allow, "", true),
        ("hostRules: ['*.test']", allow, "", true),
        (
            "categories: [package-registries/npm]",
            "{match: {host: registry.npmjs.org}, action: Allow}",
            "",
            true,
        ),
        (
            "cidrRules: [{cidr: 8.0.0.0/8, action: Allow}]",
            "{match: {host: '8.8.8.8:443'}, action: Allow}",
            "",
            true,
        ),
        ("hostRules: ['[::ffff:8.8.8.8]']", literal, "", true),
        ("mode: Unrestricted", &both, other, true),
        ("enforcement: Report", allow, "", true),
        ("trafficInspection: Full, hostRules: [a.test]", allow, "", false),
        ("trafficInspection: Full, mode: Unrestricted", &both, other, false),
        // TLS had to name a server, and need not.
        ("trafficInspection: Full, mode: Unrestricted", allow, "", true),
    ] {
        let all = told(&rules(spec, before), &rules(spec, after));
        assert_eq!(!all.is_empty(), is_told, "{spec}: {before} → {after}: {all:?}");
        let why = "and what else allows it asks for less (it was at p.yaml:1:";
        assert!(all.iter().all(|sentence| sentence.contains(why)), "{all:?}");
    }
}
