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
fn an_address_that_carries_ipv4_is_denied_by_any_form_and_not_allowed_by_that_alone() {
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
fn a_permit_for_another_path_than_a_call_takes_is_refused() {
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
fn the_denial_of_another_path_names_the_document_that_delegates_and_what_it_says() {
    let open = policy(OPEN);
    let vnet = policy(&delegating("additionalHosts: [m.example]"));
    let both = |own: &str| {
        let text = layers(&[("Global", &delegating("additionalHosts: [m.example]")), ("Sandbox", own)]);
        policy_over(&text, Guards::default())
    };
    let other = both(&delegating("additionalHosts: [d.example]"));
    let mut platform = operator(&[("prod", &[], false)]);
    platform.networks.platform = vec!["d.example".parse().unwrap()];
    let platform = policy_over(&layers(&[("Global", &delegating(""))]), platform);
    for (from, to, host, document, words) in [
        (
            &open,
            &vnet,
            "d.example:443",
            Some("global-doc"),
            "takes `prod`, to which Global `global-doc` delegates",
        ),
        (
            &open,
            &vnet,
            "8.8.8.8:443",
            Some("global-doc"),
            "takes `prod`, to which Global `global-doc` delegates",
        ),
        (
            &vnet,
            &other,
            "m.example:443",
            Some("sandbox-doc"),
            "takes `prod`, to which Sandbox `sandbox-doc` delegates",
        ),
        (
            &other,
            &vnet,
            "m.example:443",
            Some("global-doc"),
            "takes `managed` by managedPath.additionalHosts[0] m.example of Global `global-doc`",
        ),
        (
            &vnet,
            &open,
            "d.example:443",
            None,
            "went by network `prod`, and a call like this takes `managed`, as no document delegates",
        ),
        (&vnet, &platform, "d.example:443", None, "takes `managed`, as one of the operator's platform hosts"),
    ] {
        let permit = admit(from, host).unwrap();
        let way = Way { route: permit.route().clone(), address: Some(ip("8.8.8.8")) };
        let again = admit(to, host).unwrap();
        for denial in
            [to.admit_way(&again, &way).unwrap_err(), to.admit_address(&permit, ip("8.8.8.8")).unwrap_err()]
        {
            assert_eq!(denial.reason(), Reason::PolicyChange);
            assert_eq!(denial.cause().map(|cause| &**cause.policy()), document, "{host} {denial:?}");
            assert!(denial.message(host).contains(words), "{}", denial.message(host));
            assert!(denial.hint(Some(&target(host))).unwrap().contains("policy was changed"));
        }
    }
}

#[test]
fn a_hint_says_what_would_help_on_the_path_that_the_call_takes() {
    let managed = policy(&delegating("additionalHosts: [m.example]"));
    let hint = |policy: &Policy, host: &str| {
        address(policy, host, "10.0.0.5").unwrap_err().hint(Some(&target(host))).unwrap()
    };
    let told = hint(&managed, "m.example:443");
    assert!(
        told.contains("by managedPath.additionalHosts[0] m.example of policy `global-doc` (p.yaml:3:"),
        "{told}"
    );
    assert!(told.contains("take it out of there"), "{told}");
    let npm = policy(&delegating("packageRegistries: {npm: true}"));
    let told = hint(&npm, "registry.npmjs.org:443");
    assert!(
        told.contains("by managedPath.packageRegistries.npm of policy `global-doc` (p.yaml:3:"),
        "{told}"
    );
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
        ("64:ff9b::1401:101", "network_rule_denied"),
    ] {
        assert_eq!(b(&six, "d.example:443", address), said, "{address}");
    }
}

#[test]
fn a3_an_address_that_carries_ipv4_is_allowed_where_that_is_too_or_where_a_rule_names_its_prefix() {
    // Each: what is allowed, in order of priority, and whether an address is by that.
    let well_known = "64:ff9b::a09:909";
    let (six_to_four, teredo) = ("2002:a09:909::1", "2001:0:a09:909::f5f6:f6f6");
    let (compatible, translated, local) = ("::10.9.9.9", "::ffff:0:10.9.9.9", "64:ff9b:1:a09:9:900::");
    let (all, none, ten) = (vec!["::/0"], vec!["10.1.0.0/16", "::/0"], vec!["10.9.0.0/16", "::/0"]);
    for address in [well_known, six_to_four, teredo, compatible, translated, local, "2001:db8:f::10.9.9.9"] {
        let allowed = |nets: &[&str]| allows(nets, address);
        assert!(!allowed(&all) && !allowed(&none) && allowed(&ten) && allowed(&["*"]), "{address}");
        assert!(!allowed(&["10.9.0.0/16"]), "{address}");
    }
    for (address, prefix, wider) in [
        (well_known, "64:ff9b::/96", "64:ff9b::/95"),
        (well_known, "64:ff9b::a09:909/128", "64:ff9b::/32"),
        (six_to_four, "2002::/16", "2002::/15"),
        (teredo, "2001::/32", "2001::/31"),
        (compatible, "::/96", "::/95"),
        (translated, "::ffff:0:0:0/96", "::fffe:0:0:0/95"),
        (local, "64:ff9b:1::/48", "64:ff9b::/47"),
        ("2001:db8:f::10.9.9.9", "2001:db8:f::/96", "2001:db8:f::/95"),
    ] {
        assert!(allows(&[prefix], address) && !allows(&[wider], address), "{address}");
        // An Allow that is gone never opens what it was before.
        assert!(allows(&[wider, prefix], address) && allows(&[prefix, wider], address), "{address}");
    }
    // The prefix that is named must be the one that the address is in.
    assert!(!allows(&["64:ff9b::/96", "::/0"], six_to_four));
    let denied = [
        "{name: no, priority: 300, action: Deny, destination: 10.0.0.0/8}, {name: six, priority: 200, action: Allow, destination: '64:ff9b::/96'}",
        "{name: no, priority: 150, action: Deny, destination: '64:ff9b::/96', ports: [443]}, {name: six, priority: 200, action: Allow, destination: '64:ff9b::/96'}, {name: wide, priority: 100, action: Allow, destination: '::/0'}",
        "{name: six, priority: 200, action: Allow, destination: '64:ff9b::/96', ports: [80]}, {name: wide, priority: 100, action: Allow, destination: '::/0'}",
        "{name: ten, priority: 200, action: Allow, destination: 10.0.0.0/8, ports: [80]}, {name: wide, priority: 100, action: Allow, destination: '::/0'}",
    ];
    for rules in denied {
        assert_eq!(b(&policy(&ruled(rules)), "d.example:443", well_known), "network_rule_denied", "{rules}");
    }
    let wide = policy(&ruled("{name: wide, priority: 100, action: Allow, destination: '::/0'}"));
    let denial = address(&wide, "d.example:443", well_known).unwrap_err();
    let (message, hint) = (denial.message("d.example:443"), denial.hint(None).unwrap());
    assert!(message.contains("10.9.9.9") && message.contains("`global-doc`"), "{message}");
    assert!(hint.contains("10.9.9.9") && hint.contains("securityRules of policy `global-doc`"), "{hint}");
}

/// Whether a document that allows these destinations, the first of them first, allows an address.
fn allows(nets: &[&str], address: &str) -> bool {
    let rule = |(at, net): (usize, &&str)| {
        format!("{{name: r{at}, priority: {}, action: Allow, destination: '{net}'}}", 100 + at)
    };
    let rules: Vec<_> = nets.iter().enumerate().map(rule).collect();
    let guards = Guards { nat64: vec!["2001:db8:f::/96".parse().unwrap()], ..Guards::default() };
    b(&policy_over(&layers(&[("Global", &ruled(&rules.join(", ")))]), guards), "d.example:443", address)
        == "Allow"
}
