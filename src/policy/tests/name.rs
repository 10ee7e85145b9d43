//! §3, §4: names, patterns and ports through a compiled document.

use super::*;

#[test]
fn n5_each_row_of_the_pattern_table_holds_in_a_document() {
    for (pattern, matching, other) in [
        (
            "example.com",
            vec!["example.com", "EXAMPLE.com."],
            vec!["a.example.com", "example.com.evil.com", "evilexample.com"],
        ),
        (
            "*.example.com",
            vec!["a.example.com", "a.b.example.com"],
            vec!["example.com", "evilexample.com", "example.com.evil.com"],
        ),
        (
            "reg.*.data.azurecr.io",
            vec!["reg.eastus.data.azurecr.io"],
            vec!["reg.a.b.data.azurecr.io", "reg.data.azurecr.io", "x.reg.a.data.azurecr.io"],
        ),
        ("*.foo.*.com", vec!["a.b.foo.x.com", "a.foo.x.com"], vec!["foo.x.com", "a.foo.x.y.com"]),
        (
            "api-*.example.com",
            vec!["api-1.example.com"],
            vec!["api-.x.example.com", "api-1.a.example.com", "api-.example.com", "x.api-1.example.com"],
        ),
        ("*", vec!["com", "a.b.c.example"], vec!["192.0.2.7", "[2001:db8::1]"]),
        ("192.0.2.7", vec!["192.0.2.7"], vec!["192.0.2.8", "7.2.0.192.example"]),
        ("[2001:db8::1]", vec!["[2001:db8::1]", "[2001:DB8:0:0::1]"], vec!["[2001:db8::2]"]),
        ("bücher.example", vec!["xn--bcher-kva.example", "BÜCHER.example"], vec!["bucher.example"]),
    ] {
        let quoted = format!("\"{pattern}\"");
        let allowing = policy(&format!("{{mode: Limited, hostRules: [{quoted}]}}"));
        let denying =
            policy(&format!("{{mode: Unrestricted, hostRules: [{{pattern: {quoted}, action: Deny}}]}}"));
        let ruling =
            policy(&format!("{{mode: Unrestricted, rules: [{{match: {{host: {quoted}}}, action: Deny}}]}}"));
        for host in matching {
            let asked = format!("{host}:443");
            assert_eq!(
                (a(&allowing, &asked), a(&denying, &asked), a(&ruling, &asked)),
                ("Allow", "host_denied", "rule_denied"),
                "{pattern} {host}"
            );
        }
        for host in other {
            let asked = format!("{host}:443");
            assert_eq!(
                (a(&allowing, &asked), a(&denying, &asked), a(&ruling, &asked)),
                ("default_deny", "Allow", "Allow"),
                "{pattern} {host}"
            );
        }
    }
    assert!(Target::parse(".example.com:443").is_err());
}

#[test]
fn n8_a_pattern_with_a_port_is_about_that_port_only_and_needs_no_ports() {
    let policy = policy(
        "{mode: Limited, hostRules: ['db.corp:5432', both.corp, 'both.corp:5432'], rules: [{match: {host: 'rule.corp:5432'}, action: Allow}]}",
    );
    for (asked, said) in [
        ("db.corp:5432", "Allow"),
        ("db.corp:443", "default_deny"),
        ("both.corp:5432", "Allow"),
        ("both.corp:443", "Allow"),
        ("both.corp:8443", "port_denied"),
        ("rule.corp:5432", "Allow"),
        ("rule.corp:443", "default_deny"),
    ] {
        assert_eq!(a(&policy, asked), said, "{asked}");
    }
}

#[test]
fn n8_ports_bound_every_allow_but_those_of_networks() {
    let web =
        policy("{mode: Limited, hostRules: [a.example], cidrRules: [{cidr: 8.8.8.0/24, action: Allow}]}");
    for (asked, said) in [
        ("a.example:80", "Allow"),
        ("a.example:443", "Allow"),
        ("a.example:8443", "port_denied"),
        ("8.8.8.8:8443", "Allow"),
        ("b.example:8443", "default_deny"),
    ] {
        assert_eq!(a(&web, asked), said, "{asked}");
    }
    let any = policy("{mode: Unrestricted}");
    assert_eq!((a(&any, "a.example:1"), a(&any, "a.example:65535")), ("Allow", "Allow"));
    let listed = policy(
        "{mode: Unrestricted, ports: [443, 8000-8100], rules: [{match: {host: r.example}, action: Allow}], hostRules: ['own.example:9']}",
    );
    for (asked, said) in [
        ("a.example:443", "Allow"),
        ("a.example:8050", "Allow"),
        ("a.example:80", "port_denied"),
        ("r.example:80", "port_denied"),
        ("own.example:9", "Allow"),
    ] {
        assert_eq!(a(&listed, asked), said, "{asked}");
    }
    let by = |asked| admit(&listed, asked).unwrap_err().cause().unwrap().rule();
    assert_eq!(by("a.example:80"), None);
    assert_eq!(by("r.example:80").unwrap(), "rules[0] r.example");
    let networks = policy("{mode: Limited, cidrRules: [{cidr: 8.8.8.0/24, action: Allow, ports: [53]}]}");
    assert_eq!((a(&networks, "8.8.8.8:53"), a(&networks, "8.8.8.8:443")), ("Allow", "default_deny"));
}
