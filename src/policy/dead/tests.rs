//! Each warning with its place and cure, and none where an Allow may apply.

use std::time::{Duration, Instant};

use super::*;
use crate::policy::category::CategoryLists;
use crate::policy::tests::{documents, layers};

/// The set of documents, each a scope and a spec.
fn set(specs: &[(&str, &str)]) -> PolicySet {
    PolicySet::compile(&documents(&layers(specs)), &CategoryLists::shipped(), Arc::default(), None, None).0
}

/// The warnings of such a set.
fn warnings(specs: &[(&str, &str)]) -> Vec<String> {
    set(specs).dead(None, None).iter().map(ToString::to_string).collect()
}

#[test]
fn an_allow_below_a_deny_of_the_same_hosts_is_told_with_place_and_cure() {
    let above = "{mode: Unrestricted, hostRules: [{pattern: '*.test', action: Deny}]}";
    let own = "{mode: Unrestricted, hostRules: [other.example, a.test, '*.b.test', 'x-*.test:80'], rules: [{match: {host: c.test}, action: Allow}]}";
    let told = |at: &str, pattern: &str| {
        format!(
            "p.yaml:{at}: warning: `{pattern}` is never allowed: Global `global-doc` denies it by hostRules[0] *.test \
             (remove this Allow, or the Deny at p.yaml:3:40)"
        )
    };
    assert_eq!(
        warnings(&[("Global", above), ("Sandbox", own)]),
        [
            told("7:55", "a.test"),
            told("7:63", "*.b.test"),
            told("7:75", "x-*.test:80"),
            told("7:99", "c.test")
        ]
    );
}

#[test]
fn an_allow_below_a_document_that_allows_it_nowhere_is_told_with_place_and_cure() {
    let above = "{hostRules: [pypi.org, '*.b.test']}";
    let told = warnings(&[("Group", above), ("Sandbox", "{hostRules: [pypi.org, api.x, '*.a.test']}")]);
    assert_eq!(
        told,
        [
            "p.yaml:7:30: warning: `api.x` is never allowed: Group `group-doc` allows it nowhere, and its `defaultAction` is \
             Deny (remove this Allow, or add \"api.x\" to hostRules of the document at p.yaml:1:1)",
            "p.yaml:7:37: warning: `*.a.test` is never allowed: Group `group-doc` allows it nowhere, and its `defaultAction` is \
             Deny (remove this Allow, or add \"*.a.test\" to hostRules of the document at p.yaml:1:1)",
        ]
    );
}

#[test]
fn an_allow_that_may_apply_is_not_told() {
    for (above, own) in [
        ("{hostRules: ['*.test']}", "{hostRules: [a.test, '*.test', '*', 'a.*.test']}"),
        ("{hostRules: ['a.test:8443']}", "{hostRules: [a.test, '*.test']}"),
        ("{hostRules: ['x-*.test']}", "{hostRules: ['*.test', x-1.test]}"),
        (
            "{rules: [{match: {host: '*.test', path: /a}, action: Allow}]}",
            "{hostRules: [a.test, '*.a.test']}",
        ),
        ("{categories: [package-registries/python]}", "{hostRules: [pypi.org]}"),
        ("{cidrRules: [{cidr: 192.0.2.0/24, action: Allow}]}", "{hostRules: [192.0.2.7]}"),
        (
            "{mode: Unrestricted, hostRules: [{pattern: 'a.test:80', action: Deny}]}",
            "{hostRules: [a.test, '*.test']}",
        ),
        ("{mode: Unrestricted, hostRules: [{pattern: 'zq0.test', action: Deny}]}", "{hostRules: ['*.test']}"),
        ("{enforcement: Report}", "{hostRules: [a.test]}"),
        ("{mode: Limited}", "{hostRules: [{pattern: a.test, action: Deny}]}"),
    ] {
        assert_eq!(warnings(&[("Global", above), ("Sandbox", own)]), Vec::<String>::new(), "{above} {own}");
    }
    assert_eq!(warnings(&[("Group", "{hostRules: [a.test]}")]).len(), 0);
    let other = layers(&[("Group", "{hostRules: [a.test]}")]);
    let own = "kind: EgressPolicy\nmetadata: {name: s, sandbox: s}\nspec: {hostRules: [b.test]}\n";
    let all = documents(&format!("{other}---\n{own}"));
    let (set, _) = PolicySet::compile(&all, &CategoryLists::shipped(), Arc::default(), None, None);
    assert!(set.dead(None, None).is_empty(), "it is in no group");
    assert_eq!(set.dead(Some(&Roster::from([("s".into(), Some("grp".into()))])), None).len(), 1);
}

#[test]
fn an_allow_that_a_skipping_document_frees_of_those_above_is_not_told() {
    let permitting = |own: &str| {
        format!("{{mode: Unrestricted, constraints: {{skipEgressProxy: Permitted}}, hostRules: [{own}]}}")
    };
    let denying = permitting("{pattern: transfer.test, action: Deny}");
    let skipping = "{skipEgressProxy: true}";
    let allowing = "{hostRules: [transfer.test]}";
    let three =
        |group: &str| warnings(&[("Global", &denying), ("Group", group), ("Sandbox", allowing)]).len();
    assert_eq!(three(skipping), 0, "the Global document is not asked");
    assert_eq!(three("{mode: Unrestricted}"), 1);
    assert_eq!(three("{hostRules: [other.test]}"), 1, "one warning of each Allow");
    let own = "{skipEgressProxy: true, hostRules: [transfer.test]}";
    assert!(
        warnings(&[("Global", &denying), ("Group", own)]).is_empty(),
        "a document that skips is not asked"
    );
    let below = [("Global", skipping), ("Group", denying.as_str()), ("Sandbox", allowing)];
    assert_eq!(warnings(&below).len(), 1, "the Group document is below the one that skips");
}

#[test]
fn a_host_of_a_managed_path_that_a_higher_document_denies_is_told_where_it_is_written() {
    let above = "{mode: Unrestricted, hostRules: [{pattern: '*.bad.test', action: Deny}]}";
    let own = "{mode: VNet, vnet: {network: prod, managedPath: {remoteMcpServers: [mcp.bad.test], additionalHosts: ['*.bad.test', good.test]}}}";
    let told = |at: &str, pattern: &str| {
        format!(
            "p.yaml:{at}: warning: `{pattern}` never takes the managed path: Global `global-doc` denies it by hostRules[0] \
             *.bad.test (remove this entry, or the Deny at p.yaml:3:40)"
        )
    };
    assert_eq!(
        warnings(&[("Global", above), ("Sandbox", own)]),
        [told("7:75", "mcp.bad.test"), told("7:108", "*.bad.test")]
    );
    let told = warnings(&[("Global", "{hostRules: [other.test]}"), ("Sandbox", own)]);
    assert!(
        told[0].contains(
            "`mcp.bad.test` never takes the managed path: Global `global-doc` allows it nowhere, and its `defaultAction` is \
             Deny (remove this entry, or add \"mcp.bad.test\""
        ),
        "{told:?}"
    );
}

#[test]
fn a_switch_of_which_hosts_are_denied_by_a_higher_document_is_told_once() {
    let above = "{mode: Unrestricted, hostRules: [{pattern: pypi.org, action: Deny}, {pattern: '*.pypa.io', action: Deny}, {pattern: 'github.com:80', action: Deny}]}";
    let own = "{mode: VNet, vnet: {network: prod, managedPath: {packageRegistries: {pypi: true}, codeRepositories: {github: true}}}}";
    assert_eq!(
        warnings(&[("Global", above), ("Sandbox", own)]),
        [
            "p.yaml:7:82: warning: spec.vnet.managedPath.packageRegistries.pypi: 3 of its 5 hosts never take the managed path: \
          `pypi.org` (Global `global-doc` denies it by hostRules[0] pypi.org at p.yaml:3:40), `bootstrap.pypa.io`, \
          `pip.pypa.io` (Global `global-doc` denies it by hostRules[1] *.pypa.io at p.yaml:3:75) (allow them there, or \
          leave it when it is meant)"
        ]
    );
    let told = warnings(&[("Global", "{hostRules: [pypi.org]}"), ("Sandbox", own)]);
    assert_eq!(told.len(), 2, "{told:?}");
    let nowhere = "4 of its 5 hosts never take the managed path: `files.pythonhosted.org`, `pypi.python.org`, `bootstrap.pypa.io` \
                   (Global `global-doc` allows it nowhere, and its `defaultAction` is Deny at p.yaml:1:1) and 1 more";
    assert!(told[0].contains(nowhere), "{told:?}");
    let unforced = own.replacen("VNet", "Limited", 1);
    assert!(warnings(&[("Global", above), ("Sandbox", &unforced)]).is_empty(), "it is not in force");
}

#[test]
fn large_documents_are_looked_at_in_bounded_time() {
    let hosts =
        |word: &str| (0..30_000).map(|n| format!("'*.{word}{n}.test'")).collect::<Vec<_>>().join(", ");
    let set = set(&[
        ("Global", &format!("{{hostRules: [{}]}}", hosts("a"))),
        ("Sandbox", &format!("{{hostRules: [{}]}}", hosts("a"))),
    ]);
    let begun = Instant::now();
    assert!(set.dead(None, None).is_empty());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn what_has_not_changed_since_a_clean_set_is_not_looked_at_again() {
    let compile = |specs: &[(&str, &str)], before: &PolicySet, changed: usize| {
        let lists = CategoryLists::shipped();
        let mut draft = crate::policy::Draft::new(&lists, None, Some(before));
        for (place, document) in documents(&layers(specs)).iter().enumerate() {
            if place == changed {
                draft.compile(document);
            } else {
                draft.reuse(before.unit(&document.scope).unwrap());
            }
        }
        draft.finish(Arc::default()).0
    };
    let above = ("Global", "{hostRules: ['*.test']}");
    let clean = set(&[above, ("Sandbox", "{hostRules: [a.test]}")]);
    assert!(clean.dead(None, None).is_empty());
    let own = compile(&[above, ("Sandbox", "{hostRules: [a.example]}")], &clean, 1);
    assert_eq!(own.dead(None, Some(&clean)), own.dead(None, None), "a document that changed");
    assert_eq!(own.dead(None, Some(&clean)).len(), 1);
    let narrowed = compile(&[("Global", "{hostRules: ['*.b.test']}"), ("Sandbox", "{}")], &clean, 0);
    assert_eq!(narrowed.dead(None, Some(&clean)).len(), 1, "the one above it changed");
}
