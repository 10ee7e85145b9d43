//! Hosts, networks and ports.

use super::*;

#[test]
fn p2_host_bits_in_a_network_are_refused_with_the_right_one() {
    error(
        "cidrRules: [{cidr: 10.0.0.1/8, action: Deny}]",
        &["cidrRules[0].cidr", "10.0.0.0/8", "10.0.0.1/32"],
    );
    error("cidrRules: [{cidr: \"2001:db8::1/32\", action: Deny}]", &["2001:db8::/32"]);
}

#[test]
fn networks_are_canonical_and_ipv4_is_written_as_ipv4() {
    let spec = good("cidrRules: [{cidr: 10.0.0.0/8, action: Deny, ports: [22, 8000-8100]}, {cidr: \"::/0\", action: Allow}]").spec;
    assert_eq!(spec.cidr_rules[0].net.to_string(), "10.0.0.0/8");
    assert_eq!(spec.cidr_rules[0].ports.as_ref().map(ToString::to_string).as_deref(), Some("22,8000-8100"));
    assert!(spec.cidr_rules[1].ports.is_none());
    error(
        "cidrRules: [{cidr: \"::ffff:10.0.0.0/104\", action: Deny}]",
        &["IPv4 written as IPv6", "write 10.0.0.0/8"],
    );
    for bad in [
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/08",
        "10.0.0.0/+8",
        "010.0.0.0/8",
        "10.0.0/8",
        "fe80::%1/64",
        "a.com",
        "/8",
        "10.0.0.0/",
    ] {
        error(
            &format!("cidrRules: [{{cidr: \"{bad}\", action: Deny}}]"),
            &["cidrRules[0].cidr", "is not a network"],
        );
    }
    error("cidrRules: [{cidr: 10.0.0.0/8}]", &["`action` is missing"]);
}

#[test]
fn a_network_among_host_rules_is_sent_to_cidr_rules() {
    for net in ["10.0.0.0/8", "2001:db8::/32", "[2001:db8::]/32"] {
        error(&format!("hostRules: [\"{net}\"]"), &["hostRules[0]", "cidrRules"]);
    }
}

#[test]
fn a_url_where_a_host_pattern_belongs_is_answered_with_the_pattern_to_write() {
    let secret = "kind: Secret\nmetadata: {name: s}\nspec: {keys: {k: {env: K}}, hosts: [PATTERN]}\n";
    let list = "kind: CategoryList\nmetadata: {name: c}\nspec: {version: 7, categories: {tools: {ci: {hosts: [PATTERN]}}}}\n";
    for text in [
        "hostRules: [PATTERN]",
        "hostRules: [{pattern: PATTERN, action: Deny}]",
        "rules: [{match: {host: PATTERN, path: /a}, action: Allow}]",
        secret,
        list,
    ] {
        for (pattern, cure) in [
            (
                "https://api.example.com/v1",
                "(write `api.example.com`; a path goes into `rules[].match.path`)",
            ),
            ("http://x", "(write `x`;"),
            ("//x", "(write `x`;"),
            ("x.com/path", "(write `x.com` here, and the path into `rules[].match.path`)"),
            ("x.com:443/", "(write `x.com:443` here,"),
            ("192.0.2.7/", "(write `192.0.2.7` here,"),
        ] {
            let text = text.replace("PATTERN", &format!("\"{pattern}\""));
            let parsed = load(&text);
            let told: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
            assert!(told.iter().any(|problem| problem.contains(cure)), "{text}: {told:#?}");
        }
    }
    error("hostRules: ['*.*']", &["hostRules[0]", "(write one leading `*.`"]);
}

#[test]
fn ports_are_numbers_or_ranges() {
    let spec = good("ports: [443, 8000-8100, \"22\"]").spec;
    assert_eq!(
        spec.ports.map(|ports| ports.to_string()).as_deref().map(|text| text.contains("8000-8100")),
        Some(true)
    );
    for bad in [
        "[0]",
        "[65536]",
        "[-1]",
        "[8100-8000]",
        "[\"0443\"]",
        "[0443]",
        "[a]",
        "[1.5]",
        "[80-]",
        "[-80]",
        "[]",
        "443",
        "[[443]]",
        "[80-90-100]",
        "[+80]",
    ] {
        assert!(errors(&format!("ports: {bad}"))[0].contains("ports"), "{bad}");
    }
}

#[test]
fn the_same_pattern_twice_is_a_warning_and_says_which_wins() {
    let found = warnings("hostRules: [a.com, {pattern: a.com, action: Deny}, b.com, B.com]");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("hostRules[1]") && found[0].contains("Deny wins"));
    assert!(found[1].contains("hostRules[3]") && found[1].contains("already"));
}
