//! What was redirected: where it was going, what its hello and its requests may say.

use super::super::agreement::admit_name_at;
use super::super::hello::HelloFacts;
use super::*;
use crate::addr::Name;

/// The answer to a connection that was going to this address; `-` is none.
fn redirected(policy: &Policy, original: &str) -> String {
    let original = (original != "-").then(|| original.parse().unwrap());
    let answer = policy.admit_redirected(original);
    answer.map_or_else(|denial| denial.reason().to_string(), |target| target.to_string())
}

#[test]
fn a_hint_makes_sense_to_clients_that_know_no_proxy() {
    for reason in Reason::ALL {
        let hint = Denial::new(reason, "").hint(None).unwrap_or_default();
        for word in ["Proxy-Authorization", "the proxy was asked"] {
            assert!(!hint.contains(word), "{reason}: {hint}");
        }
    }
}

#[test]
fn a6_i4_what_was_not_redirected_or_was_going_to_the_gateway_is_guard_self() {
    let guards = Guards {
        exempt: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        own: vec!["10.200.1.1/32".parse().unwrap(), "fd00:200:1::1/128".parse().unwrap()],
        sockets: vec!["[::]:15001".parse().unwrap(), "9.9.9.9:53".parse().unwrap()],
        ..Guards::default()
    };
    let policy = policy_over(&layers(&[("Global", OPEN)]), guards);
    for (original, said) in [
        ("-", "guard_self"),
        ("10.200.1.1:15001", "guard_self"),
        ("10.200.1.1:443", "guard_self"),
        ("[::ffff:10.200.1.1]:443", "guard_self"),
        ("[64:ff9b::ac8:101]:443", "guard_self"),
        ("[fd00:200:1::1]:22", "guard_self"),
        ("127.0.0.1:15001", "guard_self"),
        ("0.0.0.0:80", "guard_self"),
        ("[::]:80", "guard_self"),
        ("9.9.9.9:53", "guard_self"),
        ("9.9.9.9:0", "bad_request"),
        ("9.9.9.9:443", "9.9.9.9:443"),
        ("[2600::1]:443", "[2600::1]:443"),
        ("169.254.169.254:80", "169.254.169.254:80"),
    ] {
        assert_eq!(redirected(&policy, original), said, "{original}");
    }
}

#[test]
fn t2_i4_every_row_of_the_table_of_redirected_hellos_holds() {
    let said = |text: &str, name: Option<&str>, ech: bool, guards: Guards| {
        let policy = policy_over(text, guards);
        let name = name.map(|name| Name::parse(name).unwrap());
        let hello = HelloFacts { server_name: name.as_ref(), ech };
        let answer = policy.admit_redirected_hello(&target("8.8.8.8:443"), hello);
        answer.map_or_else(|denial| denial.reason().to_string(), |permit| permit.target().to_string())
    };
    let one =
        |spec: &str, name: Option<&str>| said(&layers(&[("Global", spec)]), name, false, Guards::default());
    for (spec, name, answer) in [
        ("{mode: Limited, hostRules: [good.test]}", Some("GOOD.test."), "good.test:443"),
        ("{mode: Limited, hostRules: [8.8.8.8]}", Some("bad.test"), "default_deny"),
        ("{mode: Limited, hostRules: ['good.test:8443']}", Some("good.test"), "default_deny"),
        ("{mode: Limited, ports: [80], hostRules: [good.test]}", Some("good.test"), "port_denied"),
        (
            "{mode: Limited, rules: [{match: {host: good.test, path: /a}, action: Allow}]}",
            Some("good.test"),
            "good.test:443",
        ),
        ("{mode: Limited, hostRules: [good.test]}", None, "sni_missing"),
        ("{mode: Limited, hostRules: ['*']}", None, "sni_missing"),
        ("{mode: Limited, hostRules: [8.8.8.8]}", None, "8.8.8.8:443"),
        ("{mode: Limited, cidrRules: [{cidr: 8.8.8.0/24, action: Allow}]}", None, "8.8.8.8:443"),
        ("{mode: Limited, cidrRules: [{cidr: 8.8.8.0/24, action: Allow, ports: [80]}]}", None, "sni_missing"),
        ("{mode: Limited, cidrRules: [{cidr: 8.8.8.0/24, action: Deny}]}", None, "cidr_denied"),
        ("{mode: Limited, hostRules: [{pattern: 8.8.8.8, action: Deny}]}", None, "host_denied"),
        ("{mode: Unrestricted}", None, "8.8.8.8:443"),
        ("{mode: Unrestricted, hostRules: [{pattern: bad.test, action: Deny}]}", None, "sni_missing"),
        ("{mode: Unrestricted, rules: [{match: {host: bad.test}, action: Deny}]}", None, "sni_missing"),
        ("{mode: Unrestricted, ports: [80]}", None, "port_denied"),
    ] {
        assert_eq!(one(spec, name), answer, "{spec} {name:?}");
    }
    let hung = layers(&[(
        "Global",
        "{mode: Limited, rules: [{match: {host: good.test, path: /a}, action: Allow}]}",
    )]);
    let excluded = intercepting(Authority::Present, &["good.test"]);
    assert_eq!(said(&hung, Some("good.test"), false, excluded), "rule_denied");
    let both = layers(&[("Global", OPEN), ("Sandbox", "{mode: Limited, hostRules: [good.test]}")]);
    assert_eq!(said(&both, None, false, Guards::default()), "sni_missing");
    let deny_ech = Guards { deny_ech: true, ..Guards::default() };
    let good = layers(&[("Global", "{mode: Limited, hostRules: [good.test]}")]);
    assert_eq!(said(&good, Some("good.test"), true, deny_ech), "sni_missing");
    assert_eq!(said(&good, Some("good.test"), true, Guards::default()), "good.test:443");
    let nobody = PolicySet::default().policy_for("sbx", None, false);
    let hello = HelloFacts { server_name: None, ech: false };
    let denial = nobody.admit_redirected_hello(&target("8.8.8.8:443"), hello).unwrap_err();
    assert_eq!(denial.reason(), Reason::NoPolicy);
}

#[test]
fn the_cure_for_tls_without_a_name_is_none_where_a_guard_would_hold_the_address() {
    let policy = policy("{mode: Limited}");
    let hint = |text: &str| {
        let hello = HelloFacts { server_name: None, ech: false };
        let denial = policy.admit_redirected_hello(&target(text), hello).unwrap_err();
        assert_eq!(denial.reason(), Reason::SniMissing);
        denial.hint(Some(&target(text))).unwrap()
    };
    assert!(hint("8.8.8.8:443").starts_with("send a server name"), "{}", hint("8.8.8.8:443"));
    assert!(hint("10.0.0.1:443").contains("to every policy that applies"), "{}", hint("10.0.0.1:443"));
    assert!(hint("127.0.0.1:443").contains("no policy can allow"), "{}", hint("127.0.0.1:443"));
}

#[test]
fn i4_a_redirected_request_names_a_name_or_its_own_address_on_its_own_port() {
    let address = target("8.8.8.8:8080");
    for (named, agrees) in [
        ("good.test:8080", true),
        ("8.8.8.8:8080", true),
        ("good.test:80", false),
        ("8.8.8.8:80", false),
        ("8.8.4.4:8080", false),
        ("[::ffff:8.8.8.8]:8080", false),
    ] {
        let said = admit_name_at(&address, &target(named)).map_err(|denial| denial.reason());
        assert_eq!(said, if agrees { Ok(()) } else { Err(Reason::AuthorityMismatch) }, "{named}");
    }
}
