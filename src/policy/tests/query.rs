//! Question A for a DNS query.

use super::*;
use crate::addr::Name;

/// A query in a word: `Allow` or the reason.
fn q(policy: &Policy, name: &str) -> &'static str {
    let answer = policy.admit_query(&Name::parse(name).unwrap());
    answer.map_or_else(|denial| denial.reason().as_str(), |_| "Allow")
}

#[test]
fn d5_a_name_that_is_allowed_on_any_port_may_be_asked_for_and_no_other() {
    for (spec, name, answer) in [
        ("{mode: Limited, hostRules: [a.test]}", "a.test", "Allow"),
        ("{mode: Limited, hostRules: [a.test]}", "b.a.test", "default_deny"),
        ("{mode: Limited, hostRules: ['db.corp:5432']}", "db.corp", "Allow"),
        ("{mode: Limited, hostRules: ['db.corp:25']}", "db.corp", "Allow"),
        ("{mode: Limited, hostRules: [a.test], ports: [8000-8100]}", "a.test", "Allow"),
        ("{mode: Limited, hostRules: [a.test, {pattern: 'a.test:443', action: Deny}]}", "a.test", "Allow"),
        (
            "{mode: Limited, ports: [443], hostRules: [a.test, {pattern: '*:443', action: Deny}]}",
            "a.test",
            "host_denied",
        ),
        (
            "{mode: Unrestricted, ports: [443], hostRules: [{pattern: '*:443', action: Deny}]}",
            "a.test",
            "host_denied",
        ),
        ("{mode: Unrestricted, hostRules: [{pattern: a.test, action: Deny}]}", "a.test", "host_denied"),
        ("{mode: Limited, rules: [{match: {host: a.test, path: /x}, action: Allow}]}", "a.test", "Allow"),
        ("{mode: Limited, rules: [{match: {host: 'a.test:8080'}, action: Allow}]}", "a.test", "Allow"),
        ("{mode: Unrestricted, rules: [{match: {host: a.test}, action: Deny}]}", "a.test", "rule_denied"),
        ("{mode: Limited, cidrRules: [{cidr: 0.0.0.0/0, action: Allow}]}", "a.test", "default_deny"),
        ("{mode: Limited, enforcement: Report}", "a.test", "Allow"),
    ] {
        assert_eq!(q(&policy(spec), name), answer, "{spec} {name}");
    }
    let nobody = PolicySet::default().policy_for("sbx", None, false);
    assert_eq!(q(&nobody, "a.test"), "no_policy");
}

#[test]
fn d5_every_document_must_allow_the_name_on_the_same_port() {
    let split = |own: &str| {
        let group = ("Group", "{mode: Limited, hostRules: ['a.test:8443']}");
        policy_over(&layers(&[group, ("Sandbox", own)]), Guards::default())
    };
    assert_eq!(q(&split("{mode: Limited, hostRules: [a.test]}"), "a.test"), "default_deny");
    assert_eq!(q(&split("{mode: Limited, hostRules: ['*.test:8443']}"), "a.test"), "Allow");
    assert_eq!(q(&split("{mode: Unrestricted}"), "a.test"), "Allow");
}

#[test]
fn a_name_is_spelled_out_by_a_rule_about_it_alone() {
    for (spec, name, spelled) in [
        ("{mode: Limited, hostRules: [a.test]}", "a.test", true),
        ("{mode: Limited, hostRules: ['a.test:5432']}", "a.test", true),
        ("{mode: Limited, hostRules: [A.test.]}", "a.test", true),
        ("{mode: Limited, hostRules: ['*.test']}", "a.test", false),
        ("{mode: Limited, hostRules: ['a*.test']}", "ab.test", false),
        ("{mode: Limited, rules: [{name: a.test, match: {host: a.test}, action: Allow}]}", "a.test", true),
        ("{mode: Limited, rules: [{name: a.test, match: {host: '*'}, action: Allow}]}", "a.test", false),
        ("{mode: Limited, categories: [package-registries/python]}", "pypi.org", false),
        ("{mode: Unrestricted}", "a.test", false),
    ] {
        let permit = policy(spec).admit_query(&Name::parse(name).unwrap()).unwrap();
        assert_eq!(permit.is_spelled_out(), spelled, "{spec}");
    }
    let text = layers(&[("Global", OPEN), ("Sandbox", "{mode: Limited, hostRules: [a.test]}")]);
    let permit = policy_over(&text, Guards::default()).admit_query(&Name::parse("a.test").unwrap()).unwrap();
    assert!(permit.is_spelled_out(), "the lowest document spells it out");
}

#[test]
fn what_every_port_would_be_denied_is_reported_and_nothing_else() {
    let report = |spec: &str| {
        let permit = policy(spec).admit_query(&Name::parse("a.test").unwrap()).unwrap();
        permit.would_deny().map(|denial| denial.reason().as_str())
    };
    assert_eq!(report("{mode: Limited, enforcement: Report}"), Some("default_deny"));
    assert_eq!(report("{mode: Limited, enforcement: Report, hostRules: ['a.test:99']}"), None);
}
