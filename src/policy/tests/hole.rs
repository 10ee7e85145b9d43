//! Holes that were found and closed, one test each.

use super::*;

#[test]
fn p2_a_permit_of_another_policy_opens_no_address_where_no_document_applies() {
    let permit = admit(&policy("{mode: Unrestricted}"), "a.example:443").unwrap();
    let empty = PolicySet::default().policy_for("sbx", None, false);
    for address in ["10.0.0.1", "8.8.8.8"] {
        assert_eq!(empty.admit_address(&permit, ip(address)).unwrap_err().reason(), Reason::NoPolicy);
    }
}

#[test]
fn a_fault_of_the_documents_denies_addresses_too() {
    let permit = admit(&policy("{mode: Unrestricted}"), "a.example:443").unwrap();
    let faulty = layers(&[
        ("Global", "{mode: Limited, constraints: {maxMode: Limited}}"),
        ("Sandbox", "{mode: Unrestricted}"),
    ]);
    let faulty = policy_over(&faulty, Guards::default());
    assert_eq!(faulty.admit_address(&permit, ip("8.8.8.8")).unwrap_err().reason(), Reason::PolicyError);
}

#[test]
fn a_third_name_of_one_call_is_a_mismatch() {
    let policy =
        policy("{mode: Unrestricted, rules: [{match: {host: a.example, path: /admin}, action: Deny}]}");
    let permit = admit(&policy, "8.8.8.8:443").unwrap();
    let permit = policy.admit_alias(permit, &Host::parse("a.example").unwrap()).unwrap();
    let permit = policy.admit_alias(permit, &Host::parse("A.example.").unwrap()).unwrap();
    let facts = RequestFacts { method: "GET", path: "/admin", secure: false };
    assert_eq!(policy.admit_request(&permit, &facts).unwrap_err().reason(), Reason::RuleDenied);
    let denial = policy.admit_alias(permit, &Host::parse("b.example").unwrap()).unwrap_err();
    assert_eq!(denial.reason(), Reason::AuthorityMismatch);
}

#[test]
fn a3_a_deny_of_an_ipv4_literal_reaches_the_forms_that_carry_it() {
    let forms = [
        "8.8.8.8:443",
        "[::ffff:8.8.8.8]:443",
        "[::8.8.8.8]:443",
        "[64:ff9b::8.8.8.8]:443",
        "[2002:808:808::]:443",
    ];
    let by_host = policy(
        "{mode: Unrestricted, hostRules: [{pattern: 8.8.8.8, action: Deny}], cidrRules: [{cidr: '::/0', action: Allow}]}",
    );
    let by_rule = policy(
        "{mode: Unrestricted, rules: [{match: {host: 8.8.8.8}, action: Deny}], cidrRules: [{cidr: '::/0', action: Allow}]}",
    );
    let by_path = policy(
        "{mode: Unrestricted, rules: [{match: {host: 8.8.8.8, path: /x}, action: Deny}], cidrRules: [{cidr: '::/0', action: Allow}]}",
    );
    for form in forms {
        assert_eq!(a(&by_host, form), "host_denied", "{form}");
        assert_eq!(a(&by_rule, form), "rule_denied", "{form}");
        assert_eq!(a(&by_path, form), "open", "{form}");
        assert_eq!(c(&by_path, form, "GET", "/x/y"), "rule_denied", "{form}");
        assert_eq!(c(&by_path, form, "GET", "/"), "Allow", "{form}");
        assert!(request(&by_path, form, "GET", "/").unwrap().decides_by_request());
    }
    assert_eq!(a(&by_host, "[2606:4700::8.8.8.8]:443"), "Allow");
}

#[test]
fn a3_an_allow_of_an_ipv4_literal_does_not_reach_the_forms_that_carry_it() {
    let policy =
        policy("{mode: Limited, hostRules: [8.8.8.8], rules: [{match: {host: 8.8.4.4}, action: Allow}]}");
    assert_eq!(a(&policy, "8.8.8.8:443"), "Allow");
    assert_eq!(a(&policy, "8.8.4.4:443"), "Allow");
    for form in ["[::ffff:8.8.8.8]:443", "[::ffff:8.8.4.4]:443", "[64:ff9b::8.8.8.8]:443"] {
        assert_eq!(a(&policy, form), "default_deny", "{form}");
    }
}

#[test]
fn a_tunnel_whose_verdict_hangs_on_a_request_is_denied_by_the_rule_that_asks_for_it() {
    let policy = policy(
        "{mode: Limited, rules: [{match: {host: x.example, path: /admin}, action: Deny}, {match: {host: x.example}, action: Allow}]}",
    );
    let permit = admit(&policy, "x.example:443").unwrap();
    let denial = policy.admit_sealed(&permit).unwrap_err();
    assert_eq!(denial.reason(), Reason::RuleDenied);
    assert_eq!(denial.cause().unwrap().rule().unwrap(), "rules[0] x.example");
    assert!(denial.hint(Some(permit.target())).unwrap().contains("plain http://"));
    let whole = super::policy("{mode: Limited, hostRules: [x.example]}");
    assert!(whole.admit_sealed(&admit(&whole, "x.example:443").unwrap()).is_ok());
}

#[test]
fn what_a_reporting_document_would_deny_is_not_what_allowed() {
    let text = layers(&[
        ("Global", "{mode: Limited, hostRules: [x.example]}"),
        (
            "Sandbox",
            "{mode: Unrestricted, enforcement: Report, hostRules: [{pattern: x.example, action: Deny}]}",
        ),
    ]);
    let policy = policy_over(&text, Guards::default());
    let permit = admit(&policy, "x.example:443").unwrap();
    assert_eq!(permit.cause().scope().kind(), "Global");
    assert_eq!(permit.cause().rule().unwrap(), "hostRules[0] x.example");
    let would = permit.would_deny().unwrap();
    assert_eq!((would.reason(), scope(would)), (Reason::HostDenied, "Sandbox"));
    let alone = super::policy("{mode: Limited, enforcement: Report}");
    assert_eq!(admit(&alone, "x.example:443").unwrap().cause().rule(), None);
}

#[test]
fn a6_a_socket_written_as_ipv4_in_ipv6_is_guarded_in_both_forms() {
    let guards = Guards { sockets: vec!["[::ffff:8.8.4.4]:3128".parse().unwrap()], ..Guards::default() };
    let policy = policy_over(&layers(&[("Global", "{mode: Unrestricted}")]), guards);
    assert_eq!(b(&policy, "x.example:3128", "8.8.4.4"), "guard_self");
    assert_eq!(b(&policy, "x.example:3128", "::ffff:8.8.4.4"), "guard_self");
    assert_eq!(b(&policy, "x.example:443", "8.8.4.4"), "Allow");
}

#[test]
fn a_document_that_is_used_again_warns_again() {
    let text = "{mode: Limited, categories: [code-repositories/github], hostRules: [\"*.azurecr.io\"]}";
    let documents = documents(&layers(&[("Global", text)]));
    let lists = CategoryLists::shipped();
    let (first, problems) = PolicySet::compile(&documents, &lists, Arc::default(), None, None);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|problem| problem.message.contains("tenant-wide")), "{problems:?}");
    let mut draft = Draft::new(&lists, None, Some(&first));
    first.units().for_each(|unit| draft.reuse(unit));
    let (second, again) = draft.finish(Arc::default());
    assert_eq!(problems, again);
    assert!(second.is_same(&first));
}
