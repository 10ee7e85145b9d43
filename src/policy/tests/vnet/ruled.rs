//! Guards and security rules: each holds on its path.

use super::*;

#[test]
fn soft_guards_hold_on_the_managed_path_only_and_hard_ones_on_both() {
    let policy = policy(&delegating("additionalHosts: [m.example]"));
    for (address, managed, delegated) in [
        ("10.0.0.5", "guard_private", "Allow"),
        ("100.64.0.1", "guard_private", "Allow"),
        ("fd00::1", "guard_private", "Allow"),
        ("::ffff:10.0.0.5", "guard_private", "Allow"),
        ("127.0.0.1", "guard_local", "guard_local"),
        ("64:ff9b::7f00:1", "guard_local", "guard_local"),
        ("169.254.169.254", "guard_metadata", "guard_metadata"),
        ("168.63.129.16", "guard_metadata", "guard_metadata"),
        ("8.8.8.8", "Allow", "Allow"),
    ] {
        assert_eq!(b(&policy, "m.example:443", address), managed, "{address}");
        assert_eq!(b(&policy, "d.example:443", address), delegated, "{address}");
    }
    assert_eq!(b(&policy, "m.example:25", "8.8.8.8"), "guard_port");
    assert_eq!(b(&policy, "d.example:25", "8.8.8.8"), "Allow");
}

#[test]
fn cidr_rules_hold_on_both_paths() {
    let policy = policy(
        "{mode: VNet, cidrRules: [{cidr: 20.0.0.0/8, action: Deny}], vnet: {network: prod, managedPath: {additionalHosts: [m.example]}}}",
    );
    for host in ["m.example:443", "d.example:443"] {
        assert_eq!(b(&policy, host, "20.1.2.3"), "cidr_denied", "{host}");
    }
}

#[test]
fn the_lowest_priority_that_matches_decides_and_what_none_allows_is_denied() {
    let policy = policy(&ruled(
        "{name: last, priority: 4096, action: Deny, destination: 20.1.0.0/16}, \
         {name: web, priority: 300, action: Allow, destination: [20.0.0.0/8, \"2001:4860::/32\"], ports: [80, 443]}, \
         {name: bad, priority: 200, action: Deny, destination: 20.9.0.0/16}, \
         {name: udp, priority: 100, action: Allow, destination: \"*\", protocol: Udp}",
    ));
    for (port, address, said, rule) in [
        (443, "20.1.0.1", "Allow", "securityRules[1] web"),
        (443, "2001:4860::1", "Allow", "securityRules[1] web"),
        (443, "20.9.0.1", "network_rule_denied", "securityRules[2] bad"),
        (8443, "20.1.0.1", "network_rule_denied", "securityRules[0] last"),
        (8443, "20.2.0.1", "network_rule_denied", ""),
        (443, "30.0.0.1", "network_rule_denied", ""),
    ] {
        let host = format!("d.example:{port}");
        let found = match super::address(&policy, &host, address) {
            Ok(permit) => {
                ("Allow", permit.network_rule().and_then(crate::policy::Cause::rule).unwrap_or_default())
            }
            Err(denial) => {
                assert_eq!(&**denial.cause().unwrap().policy(), "global-doc");
                let rule = denial.cause().unwrap().rule().unwrap_or_default();
                assert!(denial.hint(None).unwrap().contains("securityRules"), "{:?}", denial.hint(None));
                (denial.reason().as_str(), rule)
            }
        };
        assert_eq!(found, (said, rule.to_owned()), "{address} {port}");
    }
}

#[test]
fn an_address_that_carries_ipv4_is_denied_by_any_form_and_allowed_as_itself() {
    let deny = policy(&ruled(
        "{name: no, priority: 100, action: Deny, destination: 20.0.0.0/8}, {name: any, priority: 200, action: Allow, destination: \"*\"}",
    ));
    for (address, said) in [
        ("20.1.1.1", "network_rule_denied"),
        ("::ffff:20.1.1.1", "network_rule_denied"),
        ("64:ff9b::1401:101", "network_rule_denied"),
        ("2002:1401:101::", "network_rule_denied"),
        ("::ffff:30.1.1.1", "Allow"),
    ] {
        assert_eq!(b(&deny, "d.example:443", address), said, "{address}");
    }
    let allow = policy(&ruled("{name: yes, priority: 100, action: Allow, destination: 20.0.0.0/8}"));
    assert_eq!(b(&allow, "d.example:443", "20.1.1.1"), "Allow");
    assert_eq!(b(&allow, "d.example:443", "::ffff:20.1.1.1"), "network_rule_denied");
    assert_eq!(b(&allow, "d.example:443", "64:ff9b::1401:101"), "network_rule_denied");
}

#[test]
fn security_rules_of_every_delegating_document_must_allow_and_a_reporting_one_only_reports() {
    let open = ruled("{name: all, priority: 100, action: Allow, destination: \"*\"}");
    let ten = ruled("{name: ten, priority: 100, action: Allow, destination: 10.0.0.0/8}");
    let both = policy_over(&layers(&[("Global", &open), ("Sandbox", &ten)]), Guards::default());
    assert_eq!(
        (b(&both, "a.example:443", "10.0.0.1"), b(&both, "a.example:443", "8.8.8.8")),
        ("Allow", "network_rule_denied")
    );
    let reporting = policy(&ten.replacen('{', "{enforcement: Report, ", 1));
    let permit = address(&reporting, "a.example:443", "8.8.8.8").unwrap();
    assert_eq!(permit.would_deny().unwrap().reason(), Reason::NetworkRuleDenied);
    assert_eq!(permit.route().network(), "prod");
}

#[test]
fn a_delegated_call_is_never_judged_by_soft_guards_and_a_managed_one_never_by_security_rules() {
    let policy = policy(
        "{mode: VNet, vnet: {network: prod, securityRules: [{name: no, priority: 100, action: Deny, destination: \"*\"}], managedPath: {additionalHosts: [m.example]}}}",
    );
    assert_eq!(b(&policy, "m.example:443", "8.8.8.8"), "Allow");
    assert_eq!(b(&policy, "d.example:443", "8.8.8.8"), "network_rule_denied");
}

#[test]
fn s5_a_permit_for_another_path_than_a_call_takes_is_refused() {
    let vnet = policy(&delegating("additionalHosts: [m.example]"));
    let other = policy("{mode: VNet, vnet: {network: other}}");
    let open = policy(OPEN);
    for (from, to) in [(&vnet, &open), (&open, &vnet), (&vnet, &other), (&other, &vnet), (&other, &open)] {
        let permit = admit(from, "d.example:443").unwrap();
        for address in ["10.0.0.5", "8.8.8.8"] {
            let denial = to.admit_address(&permit, ip(address)).unwrap_err();
            assert_eq!(denial.reason(), Reason::PolicyChange);
        }
        assert_eq!(to.admit_by_name(&permit).unwrap_err().reason(), Reason::PolicyChange);
        let way = Way { route: permit.route().clone(), address: Some(ip("8.8.8.8")) };
        assert_eq!(to.admit_way(&permit, &way).unwrap_err().reason(), Reason::PolicyChange);
        assert!(from.admit_way(&permit, &way).is_ok());
        let way = Way { route: Route::Delegated("third".into()), address: None };
        assert_eq!(from.admit_way(&permit, &way).unwrap_err().reason(), Reason::PolicyChange);
    }
}

#[test]
fn a_hint_says_what_would_help_on_the_path_that_the_call_takes() {
    let managed = policy(&delegating("additionalHosts: [m.example]"));
    let hint = |policy: &Policy, host: &str| {
        address(policy, host, "10.0.0.5").unwrap_err().hint(Some(&target(host))).unwrap()
    };
    assert!(hint(&managed, "m.example:443").contains("take it out of `managedPath`"));
    assert!(hint(&managed, "m.example:443").contains("cidrRules Allow"));
    let by_name = policy_over(
        &layers(&[("Global", &delegating("additionalHosts: [m.example]"))]),
        operator(&[("prod", &[], true)]),
    );
    assert!(!hint(&by_name, "m.example:443").contains("cidrRules"), "{}", hint(&by_name, "m.example:443"));
    // What a soft guard would not hold on the delegated path is told without it.
    let below = policy_over(
        &layers(&[("Global", &delegating("")), ("Sandbox", "{mode: Limited}")]),
        Guards::default(),
    );
    let denial = admit(&below, "10.0.0.5:443").unwrap_err();
    assert!(denial.hint(Some(&target("10.0.0.5:443"))).unwrap().contains("add \"10.0.0.5\" to hostRules"));
    let rules = ruled("{name: no, priority: 100, action: Deny, destination: 10.0.0.0/8}");
    let below =
        policy_over(&layers(&[("Global", &rules), ("Sandbox", "{mode: Limited}")]), Guards::default());
    let denial = admit(&below, "10.0.0.5:443").unwrap_err();
    assert!(denial.hint(Some(&target("10.0.0.5:443"))).unwrap().contains("securityRules"));
}

#[test]
fn a3_what_leaves_as_ipv4_is_not_allowed_by_a_rule_for_ipv6() {
    let six = policy(&ruled("{name: six, priority: 100, action: Allow, destination: '::/0'}"));
    for (address, said) in [
        ("20.1.1.1", "network_rule_denied"),
        ("::ffff:20.1.1.1", "network_rule_denied"),
        ("::ffff:10.0.0.5", "network_rule_denied"),
        ("2001:db8::1", "Allow"),
        ("64:ff9b::1401:101", "Allow"),
    ] {
        assert_eq!(b(&six, "d.example:443", address), said, "{address}");
    }
}
