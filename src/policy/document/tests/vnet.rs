//! `vnet`.

use super::*;

#[test]
fn vnet_is_a_network_its_rules_and_what_does_not_go_there() {
    let vnet = good(
        "{mode: VNet, vnet: {network: prod, securityRules: [
            {name: a, priority: 4096, action: Deny, destination: \"*\"},
            {name: b, priority: 100, action: Allow, destination: 10.0.0.0/8, ports: [443, 8000-8100], protocol: Tcp},
            {name: c, priority: 101, action: Allow, destination: [10.0.0.0/8, \"2001:db8::/32\"], ports: \"*\", protocol: \"*\"},
            {name: d, priority: 102, action: Allow, destination: [10.0.0.0/8, \"*\"]}],
          managedPath: {packageRegistries: {pypi: true, npm: false}, codeRepositories: {azureDevOps: true},
            remoteMcpServers: [mcp.example, \"mcp.example:8443\"], additionalHosts: [\"*.corp\", \"db.corp:5432\"]}}}",
    )
    .spec
    .vnet
    .unwrap();
    assert_eq!(&*vnet.network, "prod");
    let toggles: Vec<_> = vnet.managed.toggles.iter().map(|(toggle, _)| toggle.label()).collect();
    assert_eq!(toggles, ["managedPath.packageRegistries.pypi", "managedPath.codeRepositories.azureDevOps"]);
    assert_eq!((vnet.managed.servers.len(), vnet.managed.hosts.len()), (2, 2));
    let rules = vnet.security_rules.unwrap();
    let shown: Vec<_> = rules
        .iter()
        .map(|rule| {
            let nets = rule.destination.as_ref().map_or(0, Vec::len);
            (rule.priority, nets, rule.ports.as_ref().map(ToString::to_string), rule.protocol.as_str())
        })
        .collect();
    assert_eq!(
        shown,
        [
            (4096, 0, None, "*"),
            (100, 1, Some("443,8000-8100".to_owned()), "Tcp"),
            (101, 2, None, "*"),
            (102, 0, None, "*")
        ]
    );
    assert!(good("{mode: VNet, vnet: {network: prod}}").spec.vnet.unwrap().security_rules.is_none());
}

#[test]
fn what_is_wrong_with_vnet_is_told_with_a_cure() {
    let rule =
        |rest: &str| format!("{{mode: VNet, vnet: {{network: prod, securityRules: [{{name: a, {rest}}}]}}}}");
    let managed = |rest: &str| format!("{{mode: VNet, vnet: {{network: prod, managedPath: {{{rest}}}}}}}");
    for (text, parts) in [
        ("{mode: VNet}".to_owned(), ["mode VNet without `vnet`", "network: …"].as_slice()),
        ("{mode: VNet, vnet: {}}".to_owned(), &["`network` is missing"]),
        ("{mode: VNet, vnet: {network: managed}}".to_owned(), &["the operator's own network"]),
        ("{mode: VNet, vnet: {network: p, securityRules: []}}".to_owned(), &["lists no rule"]),
        (rule("priority: 99, action: Allow, destination: \"*\""), &["100 to 4096"]),
        (rule("priority: 4097, action: Allow, destination: \"*\""), &["100 to 4096"]),
        (rule("priority: 100, action: Allow, destination: 10.0.0.1/8"), &["10.0.0.0/8"]),
        (rule("priority: 100, action: Allow, destination: []"), &["lists no address"]),
        (rule("priority: 100, action: Allow"), &["`destination` is missing"]),
        (rule("priority: 100, action: Allow, destination: \"*\", protocol: tcp"), &["did you mean `Tcp`?"]),
        (rule("priority: 100, action: Allow, destination: \"*\", ports: []"), &["lists no port"]),
        (
            rule(
                "priority: 100, action: Allow, destination: \"*\"}, {name: b, priority: 100, action: Deny, destination: \"*\"",
            ),
            &["priority 100 is on line 1 already", "its own priority"],
        ),
        (managed("packageRegistries: {pypy: true}"), &["did you mean `pypi`?"]),
        (managed("codeRepositories: {github: yes}"), &["expected a boolean"]),
        (managed("remoteMcpServers: [\"*.example\"]"), &["a server is one host", "additionalHosts"]),
        (managed("additionalHosts: [10.0.0.1]"), &["always takes the delegated path"]),
        (managed("remoteMcpServers: [\"[2001:db8::1]\"]"), &["always takes the delegated path"]),
    ] {
        let found = errors(&text).join("\n");
        assert!(parts.iter().all(|part| found.contains(part)), "{text}: {found}");
    }
}

#[test]
fn a_security_rule_that_can_never_match_is_a_warning() {
    for (protocol, warned) in [("Udp", true), ("Icmp", true), ("Tcp", false), ("\"*\"", false)] {
        let text = format!(
            "{{mode: VNet, vnet: {{network: p, securityRules: [{{name: a, priority: 100, action: Allow, destination: \"*\", protocol: {protocol}}}]}}}}"
        );
        let parsed = parse(&"p.yaml".into(), &text);
        assert_eq!(parsed.documents.len(), 1, "{:?}", parsed.problems);
        assert_eq!(parsed.problems.iter().any(|problem| problem.message.contains("never matches")), warned);
    }
}

#[test]
fn vnet_outside_its_mode_is_kept_and_warned_of() {
    for mode in ["mode: Limited", "mode: Unrestricted", "defaultAction: Allow", "ports: [443]"] {
        let parsed = parse(&"p.yaml".into(), &format!("{{{mode}, vnet: {{network: prod}}}}"));
        let spec = &parsed.documents[0].spec;
        assert!(spec.vnet.is_some() && spec.mode != Mode::VNet);
        assert!(
            parsed
                .problems
                .iter()
                .any(|problem| { !problem.is_error() && problem.message.contains("`vnet` is not in force") })
        );
    }
    // It is checked all the same.
    assert!(errors("{mode: Limited, vnet: {netwrok: prod}}").join(" ").contains("did you mean `network`?"));
}
