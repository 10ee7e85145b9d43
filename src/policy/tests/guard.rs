//! §5: every guard, what lifts it and in which order they speak.

use super::*;

#[test]
fn a4_every_metadata_address_is_denied_whatever_a_policy_says() {
    let lifting =
        "{mode: Unrestricted, cidrRules: [{cidr: 0.0.0.0/0, action: Allow}, {cidr: '::/0', action: Allow}]}";
    for text in [
        "169.254.169.254",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
    ] {
        assert_eq!(b(&policy(OPEN), "a.example:80", text), "guard_metadata", "{text}");
        assert_eq!(b(&policy(lifting), "a.example:80", text), "guard_metadata", "{text}");
    }
    let named = policy("{mode: Limited, hostRules: [169.254.169.254]}");
    assert_eq!(b(&named, "169.254.169.254:80", "169.254.169.254"), "guard_metadata");
}

#[test]
fn a2_hard_ranges_are_never_lifted_and_soft_ones_by_a_network_in_every_document() {
    let lifting =
        "{mode: Unrestricted, cidrRules: [{cidr: 0.0.0.0/0, action: Allow}, {cidr: '::/0', action: Allow}]}";
    for text in [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "169.254.0.1",
        "fe80::1",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "fec0::1",
        "::ffff:127.0.0.1",
        "2002:7f00:1::",
    ] {
        assert_eq!(
            (b(&policy(OPEN), "a.example:80", text), b(&policy(lifting), "a.example:80", text)),
            ("guard_local", "guard_local"),
            "{text}"
        );
    }
    for text in [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "fc00::1",
        "fd00::1",
        "4000::1",
        "0.0.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "240.0.0.1",
        "2001:db8::1",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
        "2002:808:808::",
    ] {
        assert_eq!(
            (b(&policy(OPEN), "a.example:80", text), b(&policy(lifting), "a.example:80", text)),
            ("guard_private", "Allow"),
            "{text}"
        );
        let half = policy_over(&layers(&[("Global", OPEN), ("Sandbox", lifting)]), Guards::default());
        assert_eq!(b(&half, "a.example:80", text), "guard_private", "{text}");
    }
    let listed = policy("{mode: Unrestricted, cidrRules: [{cidr: 10.0.0.0/8, action: Allow, ports: [443]}]}");
    assert_eq!(
        (b(&listed, "a.example:443", "10.0.0.1"), b(&listed, "a.example:80", "10.0.0.1")),
        ("Allow", "guard_private")
    );
    let inner = policy("{mode: Unrestricted, cidrRules: [{cidr: '64:ff9b::/96', action: Allow}]}");
    assert_eq!(
        (b(&inner, "a.example:80", "64:ff9b::808:808"), b(&inner, "a.example:80", "64:ff9b::a00:1")),
        ("Allow", "guard_private")
    );
}

#[test]
fn a2_a_host_rule_and_a_report_do_not_lift_a_soft_guard() {
    let named = policy("{mode: Limited, hostRules: [10.0.0.1]}");
    assert_eq!(b(&named, "10.0.0.1:443", "10.0.0.1"), "guard_private");
    let text = layers(&[("Global", "{mode: Limited, enforcement: Report}")]);
    assert_eq!(b(&policy_over(&text, Guards::default()), "a.example:443", "10.0.0.1"), "guard_private");
}

#[test]
fn port_25_opens_only_to_networks_that_list_it_in_every_document() {
    let any = "{mode: Unrestricted, cidrRules: [{cidr: 0.0.0.0/0, action: Allow}]}";
    let listing = "{mode: Unrestricted, cidrRules: [{cidr: 8.8.8.0/24, action: Allow, ports: [25]}]}";
    assert_eq!(b(&policy(OPEN), "a.example:25", "8.8.8.8"), "guard_port");
    assert_eq!(b(&policy(any), "a.example:25", "8.8.8.8"), "guard_port");
    assert_eq!(b(&policy(listing), "a.example:25", "8.8.8.8"), "Allow");
    assert_eq!(b(&policy(listing), "a.example:25", "8.8.9.9"), "guard_port");
    let half = policy_over(&layers(&[("Global", any), ("Sandbox", listing)]), Guards::default());
    assert_eq!(b(&half, "a.example:25", "8.8.8.8"), "guard_port");
    let both = policy_over(&layers(&[("Global", listing), ("Sandbox", listing)]), Guards::default());
    assert_eq!(b(&both, "a.example:25", "8.8.8.8"), "Allow");
    let same = policy(
        "{mode: Unrestricted, cidrRules: [{cidr: 8.8.8.0/24, action: Allow}, {cidr: 8.8.8.0/24, action: Allow, ports: [20-30]}]}",
    );
    assert_eq!(b(&same, "a.example:25", "8.8.8.8"), "Allow");
    let exempt = Guards { exempt: vec!["8.8.8.8/32".parse().unwrap()], ..Guards::default() };
    assert_eq!(b(&policy_over(&layers(&[("Global", OPEN)]), exempt), "a.example:25", "8.8.8.8"), "Allow");
}

#[test]
fn a6_the_gateway_itself_is_never_reached() {
    let guards = Guards {
        exempt: vec![
            "127.0.0.0/8".parse().unwrap(),
            "::1/128".parse().unwrap(),
            "0.0.0.0/0".parse().unwrap(),
        ],
        own: vec!["8.8.4.4/32".parse().unwrap(), "169.254.169.254/32".parse().unwrap()],
        sockets: vec![
            "[::]:3128".parse().unwrap(),
            "0.0.0.0:8080".parse().unwrap(),
            "9.9.9.9:53".parse().unwrap(),
            "[64:ff9b::909:90a]:3129".parse().unwrap(),
            "[::ffff:9.9.9.11]:3129".parse().unwrap(),
        ],
        nat64: Vec::new(),
        ..Guards::default()
    };
    let policy = policy_over(&layers(&[("Global", OPEN)]), guards);
    for (port, text, said) in [
        (443, "8.8.4.4", "guard_self"),
        (443, "::ffff:8.8.4.4", "guard_self"),
        (443, "64:ff9b::808:404", "guard_self"),
        (3128, "127.0.0.1", "guard_self"),
        (3128, "127.0.0.9", "guard_self"),
        (3128, "::1", "guard_self"),
        (3128, "0.0.0.0", "guard_self"),
        (3128, "::ffff:127.0.0.1", "guard_self"),
        (8080, "127.0.0.1", "guard_self"),
        (53, "9.9.9.9", "guard_self"),
        (443, "9.9.9.9", "Allow"),
        (3129, "9.9.9.10", "guard_self"),
        (3129, "64:ff9b::909:90a", "guard_self"),
        (3129, "9.9.9.11", "guard_self"),
        (3129, "9.9.9.12", "Allow"),
        (80, "127.0.0.1", "Allow"),
        (80, "::1", "Allow"),
        (80, "169.254.169.254", "guard_self"),
        (3128, "8.8.8.8", "Allow"),
    ] {
        assert_eq!(b(&policy, &format!("a.example:{port}"), text), said, "{text} {port}");
    }
}

#[test]
fn hard_guards_have_an_order_whichever_form_they_meet() {
    // Teredo: the server is a metadata address, the client loopback; and the other way round.
    for text in ["2001:0:a9fe:a9fe:0:0:80ff:fffe", "2001:0:7f00:1:0:0:5601:5601"] {
        assert_eq!(b(&policy(OPEN), "a.example:80", text), "guard_metadata", "{text}");
        let guards = Guards { own: vec!["127.0.0.1/32".parse().unwrap()], ..Guards::default() };
        assert_eq!(
            b(&policy_over(&layers(&[("Global", OPEN)]), guards), "a.example:80", text),
            "guard_self",
            "{text}"
        );
    }
    let exempt = Guards { exempt: vec!["169.254.169.254/32".parse().unwrap()], ..Guards::default() };
    let exempt = policy_over(&layers(&[("Global", OPEN)]), exempt);
    assert_eq!(
        (b(&exempt, "a.example:80", "169.254.169.254"), b(&exempt, "a.example:80", "169.254.169.253")),
        ("Allow", "guard_local")
    );
}

#[test]
fn a3_the_operators_nat64_prefix_is_looked_into() {
    let nat64 = vec!["2a00:1:2::/96".parse().unwrap()];
    let over = |nat64| {
        policy_over(
            &layers(&[("Global", "{mode: Unrestricted, cidrRules: [{cidr: 9.0.0.0/8, action: Deny}]}")]),
            Guards { nat64, ..Guards::default() },
        )
    };
    let (with, without) = (over(nat64), over(Vec::new()));
    for (text, said) in [
        ("2a00:1:2::a00:5", "guard_private"),
        ("2a00:1:2::7f00:1", "guard_local"),
        ("2a00:1:2::a9fe:a9fe", "guard_metadata"),
        ("2a00:1:2::909:909", "cidr_denied"),
        ("2a00:1:2::808:808", "Allow"),
    ] {
        assert_eq!(
            (b(&with, "a.example:80", text), b(&without, "a.example:80", text)),
            (said, "Allow"),
            "{text}"
        );
    }
    assert_eq!(
        (a(&with, "[2a00:1:2::909:909]:80"), a(&without, "[2a00:1:2::909:909]:80")),
        ("cidr_denied", "Allow")
    );
}
