//! §6: the truth table and the order of the steps.

use super::*;

#[test]
fn the_truth_table_holds_for_one_document() {
    let github = policy(
        "{mode: Limited, hostRules: ['*.github.com', github.com, {pattern: admin.github.com, action: Deny}]}",
    );
    for (host, said) in [
        ("GitHub.com.", "Allow"),
        ("a.b.github.com", "Allow"),
        ("admin.github.com", "host_denied"),
        ("evilgithub.com", "default_deny"),
        ("github.com.evil.com", "default_deny"),
    ] {
        assert_eq!(a(&github, &format!("{host}:443")), said, "{host}");
    }
    assert_eq!(b(&github, "github.com:443", "10.0.0.5"), "guard_private");
    assert_eq!(b(&policy(OPEN), "any.example:80", "169.254.169.254"), "guard_metadata");
    assert_eq!(
        (a(&policy("{mode: Limited}"), "any.example:443"), a(&policy("{mode: Limited}"), "8.8.8.8:443")),
        ("default_deny", "default_deny")
    );
    let ten = policy(
        "{mode: Limited, cidrRules: [{cidr: 10.0.0.0/8, action: Deny}, {cidr: 10.1.2.0/24, action: Allow}]}",
    );
    assert_eq!(
        (a(&ten, "10.1.2.3:443"), b(&ten, "10.1.2.3:443", "10.1.2.3"), a(&ten, "10.9.9.9:443")),
        ("Allow", "Allow", "cidr_denied")
    );
    let ports = policy(
        "{mode: Unrestricted, cidrRules: [{cidr: 20.0.0.0/8, action: Deny}, {cidr: 20.1.0.0/16, action: Deny, ports: [22]}]}",
    );
    let denial = admit(&ports, "20.1.0.1:443").unwrap_err();
    assert_eq!(
        (denial.reason(), denial.cause().unwrap().rule().unwrap().as_str()),
        (Reason::CidrDenied, "cidrRules[0] 20.0.0.0/8")
    );
    assert_eq!(
        admit(&ports, "20.1.0.1:22").unwrap_err().cause().unwrap().rule().unwrap(),
        "cidrRules[1] 20.1.0.0/16"
    );
    let hung = policy(
        "{mode: Limited, rules: [{match: {host: x.example, path: /admin}, action: Deny}, {match: {host: x.example}, action: Allow}]}",
    );
    assert_eq!(
        (
            a(&hung, "x.example:443"),
            c(&hung, "x.example:443", "GET", "/admin/x"),
            c(&hung, "x.example:443", "GET", "/")
        ),
        ("open", "rule_denied", "Allow")
    );
    assert_eq!(a(&policy("{mode: Limited, hostRules: [x.example]}"), "x.example:8443"), "port_denied");
}

#[test]
fn every_document_must_allow_and_the_highest_that_denies_is_named() {
    let transfer = layers(&[
        ("Global", "{defaultAction: Allow, hostRules: [{pattern: transfer.sh, action: Deny}]}"),
        ("Sandbox", "{defaultAction: Deny, hostRules: [transfer.sh]}"),
    ]);
    let pypi = layers(&[
        ("Group", "{defaultAction: Deny, hostRules: [pypi.org]}"),
        ("Sandbox", "{defaultAction: Deny, hostRules: [api.x]}"),
    ]);
    let denial = admit(&policy_over(&transfer, Guards::default()), "transfer.sh:443").unwrap_err();
    assert_eq!((denial.reason(), scope(&denial)), (Reason::HostDenied, "Global"));
    let pypi = policy_over(&pypi, Guards::default());
    let denial = admit(&pypi, "pypi.org:443").unwrap_err();
    assert_eq!((denial.reason(), scope(&denial)), (Reason::DefaultDeny, "Sandbox"));
    let denial = admit(&pypi, "api.x:443").unwrap_err();
    assert_eq!((denial.reason(), scope(&denial)), (Reason::DefaultDeny, "Group"));
    let cidrs = layers(&[
        ("Global", "{mode: Unrestricted, cidrRules: [{cidr: 8.8.0.0/16, action: Deny}]}"),
        ("Group", OPEN),
        ("Sandbox", "{mode: Unrestricted, cidrRules: [{cidr: 8.8.8.8/32, action: Allow}]}"),
    ]);
    let denial = address(&policy_over(&cidrs, Guards::default()), "a.example:443", "8.8.8.8").unwrap_err();
    assert_eq!((denial.reason(), scope(&denial)), (Reason::CidrDenied, "Global"));
    let hung = layers(&[
        ("Global", "{mode: Unrestricted, rules: [{match: {host: a.example, path: /x}, action: Deny}]}"),
        ("Sandbox", "{mode: Limited}"),
    ]);
    assert_eq!(a(&policy_over(&hung, Guards::default()), "a.example:443"), "default_deny");
}

#[test]
fn the_steps_are_asked_in_their_order() {
    let policy = policy(
        "{mode: Limited, hostRules: [a.example, {pattern: b.example, action: Deny}, 8.8.8.8, 9.9.9.9],
          cidrRules: [{cidr: 9.0.0.0/8, action: Deny}, {cidr: 7.0.0.0/8, action: Allow}],
          rules: [{match: {host: b.example}, action: Allow}, {match: {host: a.example, methods: [POST]}, action: Deny},
                  {match: {host: 7.7.7.7}, action: Deny}, {match: {host: 9.9.9.9}, action: Allow}, {match: {host: c.example, path: /v1/*}, action: Allow}]}",
    );
    for (asked, said) in [
        ("b.example:443", "host_denied"),
        ("9.9.9.9:443", "cidr_denied"),
        ("7.7.7.7:443", "rule_denied"),
        ("8.8.8.8:443", "Allow"),
        ("7.0.0.1:8443", "Allow"),
        ("a.example:443", "open"),
        ("c.example:443", "open"),
    ] {
        assert_eq!(a(&policy, asked), said, "{asked}");
    }
    for (asked, method, path, said) in [
        ("a.example:443", "POST", "/", "rule_denied"),
        ("a.example:443", "post", "/", "Allow"),
        ("c.example:443", "GET", "/v1/x", "Allow"),
        ("c.example:443", "GET", "/v2", "default_deny"),
    ] {
        assert_eq!(c(&policy, asked, method, path), said, "{asked} {method} {path}");
    }
    assert!(request(&policy, "a.example:443", "GET", "/").unwrap().decides_by_request());
    assert!(!request(&policy, "8.8.8.8:443", "GET", "/").unwrap().decides_by_request());
}

#[test]
fn what_cannot_differ_is_not_open() {
    let deny = policy("{mode: Limited, rules: [{match: {host: a.example, path: /x}, action: Deny}]}");
    let allow =
        policy("{mode: Unrestricted, rules: [{match: {host: a.example, methods: [GET]}, action: Allow}]}");
    assert_eq!((a(&deny, "a.example:443"), a(&allow, "a.example:443")), ("default_deny", "Allow"));
    let ports = policy("{mode: Limited, rules: [{match: {host: a.example, path: /x}, action: Allow}]}");
    assert_eq!((a(&ports, "a.example:443"), a(&ports, "a.example:8443")), ("open", "default_deny"));
    let report = policy(
        "{mode: Unrestricted, enforcement: Report, rules: [{match: {host: a.example, path: /x}, action: Deny}]}",
    );
    assert_eq!((a(&report, "a.example:443"), c(&report, "a.example:443", "GET", "/x")), ("Allow", "Allow"));
    assert_eq!(
        request(&report, "a.example:443", "GET", "/x").unwrap().would_deny().unwrap().reason(),
        Reason::RuleDenied
    );
}

#[test]
fn a_second_name_must_be_the_first_or_is_judged_beside_a_literal() {
    let policy = policy("{mode: Unrestricted, hostRules: [{pattern: transfer.sh, action: Deny}]}");
    let alias = |asked: &str, alias: &str| {
        let permit = policy.admit_alias(admit(&policy, asked).unwrap(), &Host::parse(alias).unwrap());
        permit.map_or_else(|denial| denial.reason().as_str(), |_| "Allow")
    };
    for (asked, name, said) in [
        ("a.example:443", "A.example.", "Allow"),
        ("a.example:443", "b.example", "authority_mismatch"),
        ("a.example:443", "8.8.8.8", "authority_mismatch"),
        ("8.8.8.8:443", "8.8.8.8", "Allow"),
        ("8.8.8.8:443", "8.8.4.4", "authority_mismatch"),
        ("8.8.8.8:443", "a.example", "Allow"),
        ("8.8.8.8:443", "transfer.sh", "host_denied"),
    ] {
        assert_eq!(alias(asked, name), said, "{asked} {name}");
    }
}

#[test]
fn tls_without_a_name_needs_an_ip_rule_where_names_are_judged() {
    let nameless = |text: &str, asked: &str| {
        let policy = policy_over(text, Guards::default());
        let said = policy.admit_nameless_tls(&admit(&policy, asked).unwrap());
        said.map_or_else(
            |denial| (denial.reason().as_str(), denial.cause().map_or("", |cause| cause.scope().kind())),
            |()| ("Allow", ""),
        )
    };
    let one = |spec: &str, asked: &str| nameless(&layers(&[("Global", spec)]), asked).0;
    for (spec, said) in [
        ("{mode: Unrestricted}", "Allow"),
        ("{mode: Unrestricted, hostRules: [{pattern: transfer.sh, action: Deny}]}", "sni_missing"),
        ("{mode: Unrestricted, hostRules: [{pattern: '*', action: Deny}]}", "sni_missing"),
        ("{mode: Unrestricted, hostRules: [{pattern: 9.9.9.9, action: Deny}]}", "Allow"),
        ("{mode: Unrestricted, rules: [{match: {host: transfer.sh}, action: Deny}]}", "sni_missing"),
        ("{mode: Unrestricted, hostRules: [8.8.8.8, {pattern: transfer.sh, action: Deny}]}", "Allow"),
        ("{mode: Limited, hostRules: [8.8.8.8]}", "Allow"),
        (
            "{mode: Unrestricted, hostRules: [{pattern: transfer.sh, action: Deny}], cidrRules: [{cidr: 8.8.8.0/24, action: Allow}]}",
            "Allow",
        ),
        (
            "{mode: Unrestricted, hostRules: [{pattern: transfer.sh, action: Deny}], cidrRules: [{cidr: 8.8.8.0/24, action: Allow, ports: [80]}]}",
            "sni_missing",
        ),
        (
            "{mode: Unrestricted, enforcement: Report, hostRules: [{pattern: transfer.sh, action: Deny}]}",
            "Allow",
        ),
    ] {
        assert_eq!(one(spec, "8.8.8.8:443"), said, "{spec}");
    }
    assert_eq!(one(OPEN, "a.example:443"), "sni_missing");
    let above = layers(&[
        ("Global", "{mode: Unrestricted, hostRules: [{pattern: transfer.sh, action: Deny}]}"),
        ("Sandbox", "{mode: Limited, hostRules: [8.8.8.8]}"),
    ]);
    assert_eq!(nameless(&above, "8.8.8.8:443"), ("sni_missing", "Global"));
}

#[test]
fn report_lets_pass_and_says_what_it_would_deny() {
    let text = layers(&[
        ("Global", "{mode: Limited, enforcement: Report, cidrRules: [{cidr: 9.0.0.0/8, action: Deny}]}"),
        ("Sandbox", "{mode: Unrestricted, hostRules: [{pattern: b.example, action: Deny}]}"),
    ]);
    let policy = policy_over(&text, Guards::default());
    let permit = admit(&policy, "a.example:443").unwrap();
    let would = permit.would_deny().unwrap();
    assert_eq!((would.reason(), scope(would)), (Reason::DefaultDeny, "Global"));
    assert_eq!(permit.cause().scope().kind(), "Sandbox");
    let judged = policy.admit_address(&permit, ip("9.9.9.9")).unwrap();
    assert_eq!(judged.would_deny().unwrap().reason(), Reason::CidrDenied);
    assert_eq!(
        (b(&policy, "a.example:443", "127.0.0.1"), a(&policy, "b.example:443")),
        ("guard_local", "host_denied")
    );
    let open = super::policy(OPEN);
    assert!(admit(&open, "a.example:443").unwrap().would_deny().is_none());
}

#[test]
fn p2_without_a_document_or_beyond_constraints_everything_is_denied() {
    let none = PolicySet::default();
    assert_eq!(a(&none.policy_for("sbx", None, false), "a.example:443"), "no_policy");
    let text = layers(&[("Global", OPEN)]);
    let (set, _) =
        PolicySet::compile(&documents(&text), &CategoryLists::shipped(), Arc::default(), None, None);
    assert_eq!(a(&set.policy_for("sbx", None, false), "a.example:443"), "Allow");
    assert_eq!(a(&set.policy_for("sbx", None, true), "a.example:443"), "no_policy");
    for (constraint, lower) in [
        ("maxMode: Limited", "{mode: Unrestricted}"),
        ("minInspection: Partial", "{mode: Limited, hostRules: [a.example], trafficInspection: None}"),
    ] {
        for place in ["Group", "Sandbox"] {
            let text = layers(&[
                ("Global", &format!("{{mode: Unrestricted, constraints: {{{constraint}}}}}")),
                (place, lower),
            ]);
            let (set, _) =
                PolicySet::compile(&documents(&text), &CategoryLists::shipped(), Arc::default(), None, None);
            let problems = set.conflicts(None);
            assert_eq!(problems.iter().filter(|problem| problem.is_error()).count(), 1, "{problems:?}");
            let denial = admit(&set.policy_for("sbx", Some("grp"), false), "a.example:443").unwrap_err();
            assert_eq!((denial.reason(), scope(&denial)), (Reason::PolicyError, place));
            // The rest runs.
            assert_eq!(a(&set.policy_for("other", Some("others"), false), "a.example:443"), "Allow");
        }
    }
}

#[test]
fn refused_addresses_have_their_common_reason_or_differ() {
    let policy = policy(OPEN);
    let permit = admit(&policy, "a.example:443").unwrap();
    let refused = |texts: &[&str]| {
        settle(
            texts
                .iter()
                .map(|text| (ip(text), policy.admit_address(&permit, ip(text)).unwrap_err()))
                .collect(),
        )
        .reason()
    };
    assert_eq!(refused(&["10.0.0.1", "10.0.0.2"]), Reason::GuardPrivate);
    assert_eq!(refused(&["10.0.0.1", "127.0.0.1"]), Reason::DnsAllDenied);
    assert_eq!(refused(&[]), Reason::DnsFailed);
}
