//! What is told of a change, sentence by sentence.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::policy::category::CategoryLists;
use crate::policy::tests::documents;

mod beside;
mod rules;

/// The documents of a text as a set.
fn set(text: &str) -> PolicySet {
    if text.is_empty() {
        return PolicySet::default();
    }
    let documents = documents(text);
    let (set, problems) =
        PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::default(), None, None);
    assert!(!problems.iter().any(crate::source::Problem::is_error), "{problems:?}\n{text}");
    set
}

/// Everything that is told of a change, whatever document it is of.
fn told(before: &str, after: &str) -> Vec<String> {
    let all = set(after).widened_since(&set(before), None, |_| false);
    all.into_iter().flat_map(|widening| widening.widened).collect()
}

/// A document for a scope, in a line.
fn document(scope: &str, spec: &str) -> String {
    let about = match scope {
        "Global" => "name: top",
        "Group" => "name: mid, group: grp",
        _ => "name: own, group: grp, sandbox: sbx",
    };
    format!("---\nkind: EgressPolicy\nmetadata: {{{about}}}\nspec: {spec}\n")
}

#[test]
fn each_change_of_a_document_that_widens_is_told_with_its_place() {
    for (before, after, expected) in [
        (
            "mode: Limited",
            "mode: Unrestricted",
            &[
                "`defaultAction` is Allow, and was Deny (p.yaml:1:1)",
                "`mode` is Unrestricted, and was Limited (p.yaml:1:1)",
                "`ports` allow 1-79,81-442,444-65535 besides (p.yaml:1:1)",
            ][..],
        ),
        ("ports: [443]", "ports: [443, 8000-8001]", &["`ports` allow 8000-8001 besides (p.yaml:1:1)"]),
        (
            "hostRules: [a.test]",
            "hostRules: [a.test, b.test]",
            &["`b.test` is allowed by hostRules[1] (p.yaml:1:21)"],
        ),
        (
            "hostRules: [a.test]",
            "hostRules: ['*.test']",
            &["`*.test` is allowed by hostRules[0] (p.yaml:1:13)"],
        ),
        (
            "hostRules: [a.test]",
            "hostRules: ['a.test:22']",
            &["`a.test:22` is allowed by hostRules[0] (p.yaml:1:13)"],
        ),
        (
            "{mode: Unrestricted, hostRules: [{pattern: x.test, action: Deny}]}",
            "mode: Unrestricted",
            &["`x.test` is not denied any more: hostRules[0] is gone (it was at p.yaml:1:34)"],
        ),
        (
            "mode: Limited",
            "cidrRules: [{cidr: 10.0.0.0/8, action: Allow, ports: [22]}]",
            &["`10.0.0.0/8` is allowed on ports 22 by cidrRules[0] (p.yaml:1:13)"],
        ),
        (
            "{mode: Unrestricted, cidrRules: [{cidr: 8.8.8.0/24, action: Deny}]}",
            "mode: Unrestricted",
            &["cidrRules[0] is gone: `8.8.8.0/24` is denied (it was at p.yaml:1:34)"],
        ),
        (
            "cidrRules: [{cidr: 8.0.0.0/8, action: Allow, ports: [25]}, {cidr: 8.8.0.0/16, action: Allow}]",
            "cidrRules: [{cidr: 8.0.0.0/8, action: Allow, ports: [25]}]",
            &["cidrRules[1] is gone: `8.8.0.0/16` is allowed (it was at p.yaml:1:60)"],
        ),
        (
            "{hostRules: [8.8.8.8], cidrRules: [{cidr: 8.8.8.8/32, action: Allow}]}",
            "{cidrRules: [{cidr: 8.8.8.8/32, action: Allow}]}",
            &[
                "`ports` do not bound `8.8.8.8` any more: hostRules[0] is gone, and `cidrRules` allow it on their own (it was at p.yaml:1:14)",
            ],
        ),
        // TLS to it may name no server where a rule names the address.
        (
            "{mode: Unrestricted, hostRules: [{pattern: x.test, action: Deny}]}",
            "{mode: Unrestricted, hostRules: [{pattern: x.test, action: Deny}, 8.8.8.8, '8.8.4.4:443']}",
            &[
                "`8.8.8.8` is allowed by hostRules[1] (p.yaml:1:67)",
                "`8.8.4.4:443` is allowed by hostRules[2] (p.yaml:1:76)",
            ],
        ),
        (
            "trafficInspection: Full",
            "trafficInspection: Legacy",
            &["`trafficInspection` is Legacy, and was Full (p.yaml:1:1)"],
        ),
        (
            "enforcement: Enforce",
            "enforcement: Report",
            &["`enforcement` is Report, and was Enforce: what it denies goes on (p.yaml:1:1)"],
        ),
        (
            "constraints: {maxMode: Limited, minInspection: Full, managedPath: Forbidden}",
            "constraints: {maxMode: VNet, skipEgressProxy: Permitted}",
            &[
                "`constraints.maxMode` is VNet, and was Limited (p.yaml:1:1)",
                "`constraints.minInspection` is gone, and was Full (p.yaml:1:1)",
                "`constraints.managedPath` is gone, and was Forbidden (p.yaml:1:1)",
                "`constraints.skipEgressProxy` is Permitted (p.yaml:1:1)",
            ],
        ),
        (
            "limits: {connections: 5, uploadBytes: 9}",
            "limits: {connections: 6}",
            &[
                "`limits.connections` is 6, and was 5 (p.yaml:1:1)",
                "`limits.uploadBytes` is gone, and was 9 (p.yaml:1:1)",
            ],
        ),
    ] {
        assert_eq!(told(before, after), expected, "{before} → {after}");
        assert_eq!(told(before, before), Vec::<String>::new(), "{before}");
    }
}

#[test]
fn a_category_is_told_by_its_hosts() {
    let all = told(
        "categories: [package-registries/npm]",
        "categories: [package-registries/npm, package-registries/python]",
    );
    assert!(
        all.contains(
            &"`pypi.org` is allowed by categories[1] package-registries/python (p.yaml:1:38)".to_owned()
        ),
        "{all:#?}"
    );
    assert!(all.iter().all(|sentence| sentence.contains("package-registries/python")), "{all:#?}");
}

#[test]
fn what_only_narrows_or_was_let_through_before_is_not_told() {
    for (before, after) in [
        ("mode: Unrestricted", "mode: Limited"),
        ("hostRules: ['*.test', a.test]", "hostRules: ['*.test', b.a.test, 'a.*.test']"),
        ("mode: Unrestricted", "{mode: Unrestricted, hostRules: [x.test, 'y.test:22']}"),
        (
            "{mode: Unrestricted, hostRules: [{pattern: a.test, action: Deny}]}",
            "{mode: Unrestricted, hostRules: [{pattern: '*.test', action: Deny}]}",
        ),
        ("hostRules: [a.test, b.test]", "hostRules: [b.test]"),
        ("enforcement: Report", "enforcement: Enforce"),
        ("trafficInspection: Partial", "trafficInspection: Full"),
        ("limits: {connections: 5}", "limits: {connections: 4}"),
        ("{enforcement: Report, ports: [443]}", "{enforcement: Enforce, ports: [443]}"),
    ] {
        assert_eq!(told(before, after), Vec::<String>::new(), "{before} → {after}");
    }
}

#[test]
fn a_document_that_is_taken_away_leaves_what_it_denied_to_the_others() {
    let both =
        format!("{}{}", document("Global", "{mode: Limited}"), document("Sandbox", "{mode: Unrestricted}"));
    let (global, own) = (document("Global", "{mode: Limited}"), document("Sandbox", "{mode: Unrestricted}"));
    let left = "`top` is taken away: what it denied is left to the other documents (it was at p.yaml:2:1)";
    assert_eq!(told(&both, &own), [left]);
    assert_eq!(told(&global, ""), Vec::<String>::new(), "nothing is left that could allow");
    // A sandbox that nobody lists is nobody.
    let roster = Roster::from([("other".into(), None)]);
    assert!(set(&global).widened_since(&set(&both), Some(&roster), |_| false).is_empty());
    assert_eq!(set(&global).widened_since(&set(&both), None, |_| false).len(), 1);
}

#[test]
fn a_first_document_is_told_where_nothing_was_allowed_before() {
    let own = document("Sandbox", "{hostRules: [a.test]}");
    let allowed = "`a.test` is allowed by hostRules[0] (p.yaml:4:20)";
    assert_eq!(told("", &own), [allowed]);
    assert_eq!(told("", &document("Sandbox", "{mode: Limited}")), Vec::<String>::new());
    let (global, group) = (document("Global", "{mode: Limited}"), document("Group", "{mode: Limited}"));
    let under = |above: &str| set(&format!("{above}{own}"));
    for above in [&global, &group] {
        assert!(under(above).widened_since(&set(above), None, |_| false).is_empty(), "{above}");
        let required = under(above).widened_since(&set(above), None, |sandbox| sandbox == "sbx");
        assert_eq!(required.len(), 1, "it was denied while it had none");
    }
    let alone = set(&group);
    assert!(
        under(&group).widened_since(&alone, Some(&Roster::from([("sbx".into(), None)])), |_| false).len()
            == 1
    );
}

#[test]
fn what_a_reporting_document_denies_goes_on_as_it_came() {
    let with = |rules: &str| {
        let away = "{match: {host: x.test}, action: {type: Rewrite, host: y.test}}";
        format!("{{enforcement: Report, rules: [{rules}{away}]}}")
    };
    let after = with("{match: {host: x.test}, action: Deny}, ");
    let sentence =
        "what it denies goes on without what its `rules` change of a request: it only reports (p.yaml:1:1)";
    assert_eq!(told(&with(""), &after), [sentence]);
    assert_eq!(told(&after, &after), Vec::<String>::new());
}

#[test]
fn many_sentences_are_counted() {
    let hosts: Vec<String> = (0..70).map(|n| format!("h{n}.test")).collect();
    let all = told("mode: Limited", &format!("hostRules: [{}]", hosts.join(", ")));
    assert_eq!((all.len(), all[50].as_str()), (51, "and 20 more"));
}

/// How long this thread was at work so far.
fn worked() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn p2_what_is_to_be_told_of_a_load_never_takes_long_as_a_deny_may_wait_for_it() {
    let sandboxes = |count: usize, spec: &str| -> String {
        let one =
            |n| format!("---\nkind: EgressPolicy\nmetadata: {{name: s{n}, sandbox: s{n}}}\nspec: {spec}\n");
        (0..count).map(one).collect()
    };
    let allowed = |count: usize| -> String {
        let entries = (0..count).map(|n| format!("{{cidr: 20.{}.{}.0/24, action: Allow}}", n / 256, n % 256));
        format!("cidrRules: [{}]", entries.collect::<Vec<_>>().join(", "))
    };
    let limited = "{mode: Limited}";
    for (what, before, after) in [
        ("half of the documents are gone", sandboxes(16_000, limited), sandboxes(8_000, limited)),
        (
            "all have other ports",
            sandboxes(3_000, limited),
            sandboxes(3_000, "{mode: Limited, ports: ['1-2000']}"),
        ),
        ("one of many networks is gone", allowed(20_000), allowed(19_999)),
    ] {
        let (before, after) = (set(&before), set(&after));
        let start = worked();
        let told = after.widened_since(&before, None, |_| false);
        let took = worked().saturating_sub(start);
        assert!(took < Duration::from_millis(1500), "{what}: {took:?} for {} documents", told.len());
    }
}
