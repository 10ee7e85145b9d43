#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn load(text: &str) -> Parsed {
    parse(&"dir/egress.yaml".into(), text)
}

/// The one document of a text in which nothing is wrong.
fn good(text: &str) -> Document {
    let mut parsed = load(text);
    assert_eq!(parsed.problems, [], "{text}");
    assert!(parsed.failed.is_empty());
    parsed.documents.remove(0)
}

/// The errors of a text, each on one line.
fn errors(text: &str) -> Vec<String> {
    let parsed = load(text);
    let errors: Vec<String> =
        parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
    assert!(!errors.is_empty(), "accepted {text:?}");
    assert!(parsed.documents.is_empty() && !parsed.failed.is_empty(), "{text}");
    errors
}

/// The text has exactly one error, and it contains every one of these.
fn error(text: &str, parts: &[&str]) {
    let found = errors(text);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    for part in parts {
        assert!(found[0].contains(part), "{text}: {found:?} lacks {part:?}");
    }
}

/// The warnings of a text that loads.
fn warnings(text: &str) -> Vec<String> {
    let parsed = load(text);
    assert!(parsed.failed.is_empty(), "{:?}", parsed.problems);
    parsed.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_bare_document_is_a_global_policy_named_after_its_file() {
    let document = good("mode: Limited\nhostRules: [pypi.org, files.pythonhosted.org, \"*.github.com\"]\n");
    assert_eq!((&*document.name, &document.scope), ("egress", &Scope::Global));
    assert_eq!((document.spec.mode, document.spec.default_action), (Mode::Limited, Action::Deny));
    assert_eq!(document.spec.host_rules.len(), 3);
    assert_eq!(document.spec.host_rules[2].pattern.to_string(), "*.github.com");
    assert_eq!(document.spec.host_rules[2].place.to_string(), "dir/egress.yaml:2:47");
    assert_eq!(document.spec.host_rules[0].action, Action::Allow);
}

#[test]
fn azures_json_export_loads_as_it_stands() {
    let document = good(
        r#"{"defaultAction":"Deny","hostRules":[{"pattern":"pypi.org","action":"Allow"},{"pattern":"*.evil.example","action":"Deny"}],
        "rules":[{"name":"read","match":{"host":"api.example.com"},"action":{"type":"Allow"}}],"trafficInspection":"Partial"}"#,
    );
    assert_eq!(document.spec.mode, Mode::Limited);
    assert_eq!(document.spec.host_rules[1].action, Action::Deny);
    assert_eq!(document.spec.rules[0].action, RuleAction::Allow);
    assert_eq!(document.spec.rules[0].name.as_deref(), Some("read"));
}

#[test]
fn the_scope_follows_from_what_is_named() {
    let scope = |metadata: &str| good(&format!("kind: EgressPolicy\nmetadata: {metadata}\nspec: {{}}")).scope;
    assert_eq!(scope("{name: a}"), Scope::Global);
    assert_eq!(scope("{name: a, group: g}"), Scope::Group("g".into()));
    let sandbox = Scope::Sandbox { group: Some("g".into()), sandbox: "s".into() };
    assert_eq!(scope("{name: a, group: g, sandbox: s}"), sandbox);
    assert_eq!(scope("{name: a, group: g, sandbox: s, scope: Sandbox}"), sandbox);
    assert_eq!(scope("{name: a, sandbox: s}"), Scope::Sandbox { group: None, sandbox: "s".into() });
}

#[test]
fn an_explicit_scope_must_fit_what_is_named() {
    for metadata in [
        "{name: a, scope: Global, group: g}",
        "{name: a, scope: Global, sandbox: s}",
        "{name: a, scope: Group}",
        "{name: a, scope: Group, group: g, sandbox: s}",
        "{name: a, scope: Sandbox}",
        "{name: a, scope: Sandbox, group: g}",
    ] {
        error(
            &format!("kind: EgressPolicy\nmetadata: {metadata}\nspec: {{}}"),
            &["metadata.scope", "scope `"],
        );
    }
    error("kind: EgressPolicy\nmetadata: {name: a, scope: sandbox}\nspec: {}", &["did you mean `Sandbox`?"]);
}

#[test]
fn names_are_short_and_printable() {
    let long = "x".repeat(129);
    for bad in ["''", "\"a\\nb\"", long.as_str(), "5", "[a]", "' a'"] {
        error(&format!("kind: EgressPolicy\nmetadata: {{name: {bad}}}\nspec: {{}}"), &["metadata.name"]);
    }
}

#[test]
fn p2_an_empty_file_null_a_list_or_a_scalar_is_no_policy() {
    for text in [
        "",
        "\n# only a comment\n",
        "null",
        "~",
        "[]",
        "---\n",
        "Limited",
        "5",
        "--- {}\n---\n",
        "'{}'",
        "\0",
        "[",
    ] {
        let parsed = load(text);
        assert!(parsed.problems.iter().any(Problem::is_error), "accepted {text:?}");
        assert_eq!(parsed.failed.len(), 1, "{text:?}");
    }
    assert_eq!(good("{}").spec.default_action, Action::Deny);
}

#[test]
fn p2_unknown_and_duplicate_keys_wrong_case_and_broken_yaml_are_refused() {
    error(
        "mode: Limited\nhostrules: []\n",
        &["egress.yaml:2:1", "unknown key `hostrules`", "did you mean `hostRules`?"],
    );
    error("mode: Limited\nmode: Unrestricted\n", &["2:1", "duplicate key `mode`"]);
    error("defaultAction: deny\n", ["spec", "defaultAction", "did you mean `Deny`?"].split_at(1).1);
    error("hostRules: [{pattern: a.com, action: DENY}]", &["hostRules[0].action", "did you mean `Deny`?"]);
    error("hostRules: [{patern: a.com, pattern: b.com}]", &["hostRules[0]", "did you mean `pattern`?"]);
    error("hostRules:\n", &["hostRules: expected a list, found nothing"]);
    error("mode:\n", &["mode: expected text, found nothing"]);
    error("hostRules: [a.com\n", &["not YAML"]);
    error("hostRules: [\"**\"]", &["hostRules[0]"]);
    error(&format!("hostRules: {}{}", "[".repeat(50), "]".repeat(50)), &["nested deeper than 32"]);
    error("hostRules:\n  - *.github.com\n", &["2:5", "quote it: \"*.github.com\""]);
}

#[test]
fn p2_host_bits_in_a_network_are_refused_with_the_right_one() {
    error(
        "cidrRules: [{cidr: 10.0.0.1/8, action: Deny}]",
        &["cidrRules[0].cidr", "10.0.0.0/8", "10.0.0.1/32"],
    );
    error("cidrRules: [{cidr: \"2001:db8::1/32\", action: Deny}]", &["2001:db8::/32"]);
}

#[test]
fn mode_and_default_action_follow_from_each_other() {
    for (text, mode, action) in [
        ("{}", Mode::Limited, Action::Deny),
        ("mode: Limited", Mode::Limited, Action::Deny),
        ("mode: Unrestricted", Mode::Unrestricted, Action::Allow),
        ("defaultAction: Deny", Mode::Limited, Action::Deny),
        ("defaultAction: Allow", Mode::Unrestricted, Action::Allow),
        ("{mode: Limited, defaultAction: Deny}", Mode::Limited, Action::Deny),
        ("{mode: Unrestricted, defaultAction: Allow}", Mode::Unrestricted, Action::Allow),
    ] {
        let spec = good(text).spec;
        assert_eq!((spec.mode, spec.default_action), (mode, action), "{text}");
    }
    error("{mode: Limited, defaultAction: Allow}", &["`mode: Limited` means `defaultAction: Deny`"]);
    error(
        "{mode: Unrestricted, defaultAction: Deny}",
        &["`mode: Unrestricted` means `defaultAction: Allow`"],
    );
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

#[test]
fn rules_have_hosts_paths_methods_and_actions() {
    let text = "rules:\n  - {name: a, match: {host: x.com, path: /v1/*, methods: [GET, HEAD]}, action: Allow}\n  - {match: {host: x.com}, action: {type: Deny}}\n";
    let parsed = load(text);
    assert_eq!(parsed.problems, []);
    let rules = &parsed.documents[0].spec.rules;
    assert_eq!(rules[0].methods.as_ref().map(|methods| methods.len()), Some(2));
    assert_eq!((rules[0].action, rules[1].action), (RuleAction::Allow, RuleAction::Deny));
    for (rule, part) in [
        ("{match: {host: x.com}}", "`action` is missing"),
        ("{action: Allow}", "`match` is missing"),
        ("{match: {}, action: Allow}", "`host` is missing"),
        ("{match: {host: x.com, methods: [get]}, action: Allow}", "did you mean `GET`?"),
        ("{match: {host: x.com, methods: []}, action: Allow}", "lists no method"),
        ("{match: {host: x.com, methods: [\"A B\"]}, action: Allow}", "not a method"),
        ("{match: {host: x.com, path: v1}, action: Allow}", "rules[0].match.path"),
        ("{match: {host: x.com, query: a}, action: Allow}", "unknown key `query`"),
        ("{match: {host: x.com}, action: allow}", "did you mean `Allow`?"),
        (
            "{match: {host: x.com}, action: {type: Allow, headers: [{operation: Remove, name: X-A}]}}",
            "only Transform",
        ),
        ("{match: {host: x.com}, action: {type: Deny, host: y.com}}", "only Rewrite"),
    ] {
        error(&format!("rules: [{rule}]"), &["rules[0]", part]);
    }
}

#[test]
fn inspection_none_cannot_have_rules_that_look_inside() {
    error(
        "{trafficInspection: None, rules: [{match: {host: x.com, methods: [GET]}, action: Allow}]}",
        &["rules[0]", "`trafficInspection` is `None`"],
    );
    error(
        "{trafficInspection: None, rules: [{match: {host: x.com}, action: {type: Rewrite, path: /}}]}",
        &["rules[0]", "changes the request, but `trafficInspection` is `None`"],
    );
    assert_eq!(
        good("{trafficInspection: None, rules: [{match: {host: x.com}, action: Deny}]}").spec.rules.len(),
        1
    );
}

#[test]
fn a_transform_or_rewrite_becomes_typed_edits() {
    let text = "rules: [{match: {host: x.com}, action: {type: Rewrite, host: \"Other.com:8443\", path: /x, scheme: https, headers: [\
        {operation: Set, name: X-Team, value: blue}, {operation: Remove, name: Cookie}, \
        {operation: Insert, name: Authorization, valueRef: {secretRef: {secretId: github, format: \"Bearer {value}\"}}}, \
        {operation: Set, name: X-T, valueRef: {managedIdentityRef: {type: UserAssigned, resource: \"https://r\", identityResourceId: /id}}}]}}]";
    let rules = good(text).spec.rules;
    assert_eq!(rules[0].action, RuleAction::Rewrite);
    let changes = rules[0].changes.as_ref().unwrap();
    let place = changes.place.as_ref().unwrap();
    assert_eq!(place.host.as_ref().unwrap().to_string(), "other.com:8443");
    assert_eq!((place.path.as_deref(), place.secure), (Some("/x"), Some(true)));
    let names: Vec<&str> = changes.edits.iter().map(|edit| &*edit.name).collect();
    assert_eq!(names, ["x-team", "cookie", "authorization", "x-t"]);
    assert_eq!(changes.edits[0].change, HeaderChange::Set(HeaderValue::Text("blue".into())));
    assert_eq!(changes.edits[1].change, HeaderChange::Remove);
    let HeaderChange::Insert(HeaderValue::Secret(secret)) = &changes.edits[2].change else { panic!() };
    assert_eq!(
        (&*secret.id, secret.key.as_deref(), secret.format.parts()),
        ("github", None, ("Bearer ", ""))
    );
    let HeaderChange::Set(HeaderValue::Identity(identity)) = &changes.edits[3].change else { panic!() };
    let source = ManagedIdentity { resource: "https://r".into(), identity: Some("/id".into()) };
    assert_eq!(*identity.source, KeySource::ManagedIdentity(source));
    let plain = good(
        "rules: [{match: {host: x.com}, action: {type: Transform, headers: [{operation: Remove, name: A}]}}]",
    );
    assert_eq!(plain.spec.rules[0].changes.as_ref().unwrap().place, None);
}

#[test]
fn a_transform_or_rewrite_is_judged_whole() {
    for (action, part) in [
        ("{type: Transform}", "without headers"),
        ("Transform", "without headers"),
        ("{type: Rewrite}", "without a new place"),
        ("{type: Rewrite, host: \"*.x.com\"}", "one place"),
        ("{type: Rewrite, scheme: ftp}", "`http`"),
        ("{type: Rewrite, path: /a*}", "one place"),
        (
            "{type: Rewrite, scheme: http, headers: [{operation: Set, name: A, valueRef: {secretRef: {secretId: s}}}]}",
            "verified TLS only",
        ),
        ("{type: Transform, headers: [{operation: Set, name: X-A}]}", "no value to set"),
        ("{type: Transform, headers: [{operation: Remove, name: X-A, value: b}]}", "Remove takes no value"),
        ("{type: Transform, headers: [{operation: set, name: X-A, value: b}]}", "did you mean `Set`?"),
        ("{type: Transform, headers: [{operation: Set, name: Host, value: b}]}", "no rule may change `Host`"),
        ("{type: Transform, headers: [{operation: Set, name: user-agent, value: b}]}", "no rule may change"),
        (
            "{type: Transform, headers: [{operation: Set, name: X-Forwarded-For, value: b}]}",
            "no rule may change",
        ),
        ("{type: Transform, headers: [{operation: Set, name: \"X A\", value: b}]}", "not a header name"),
        (
            "{type: Transform, headers: [{operation: Set, name: X-A, value: \"b\\r\\nc: d\"}]}",
            "visible ASCII",
        ),
        (
            "{type: Transform, headers: [{operation: Set, name: X-A, value: b, valueRef: {secretRef: {secretId: s}}}]}",
            "both",
        ),
        ("{type: Transform, headers: [{operation: Set, name: X-A, valueRef: {}}]}", "exactly one reference"),
        (
            "{type: Transform, headers: [{operation: Set, name: X-A, valueRef: {secretRef: {}}}]}",
            "`secretId` is missing",
        ),
        (
            "{type: Transform, headers: [{operation: Set, name: X-A, valueRef: {secretRef: {secretId: s, format: x}}}]}",
            "{value}",
        ),
        (
            "{type: Transform, headers: [{operation: Set, name: X-A, valueRef: {managedIdentityRef: {type: UserAssigned, resource: r}}}]}",
            "identityResourceId",
        ),
    ] {
        let found = errors(&format!("rules: [{{match: {{host: x.com}}, action: {action}}}]"));
        assert_eq!(found.len(), 1, "{action}: {found:?}");
        assert!(found[0].contains(part), "{action}: {found:?} lacks {part:?}");
    }
}

#[test]
fn l2_a_token_of_an_identity_is_bound_to_one_host() {
    let rule = |host: &str, action: &str| {
        let reference = "{managedIdentityRef: {type: SystemAssigned, resource: r}}";
        format!(
            "rules: [{{match: {{host: \"{host}\"}}, action: {{{action}, headers: [{{operation: Set, name: A, valueRef: {reference}}}]}}}}]"
        )
    };
    error(&rule("*.x.com", "type: Transform"), &["rules[0]", "is sent to one host"]);
    assert_eq!(good(&rule("x.com", "type: Transform")).spec.rules.len(), 1);
    assert_eq!(good(&rule("*.x.com", "type: Rewrite, host: x.com")).spec.rules.len(), 1);
}

#[test]
fn a_wrong_value_of_a_header_is_never_repeated() {
    let text = "rules: [{match: {host: x.com}, action: {type: Transform, headers: [{operation: Set, name: X-A, value: \"s3cr\u{e9}t\"}]}}]";
    assert!(errors(text).iter().all(|error| !error.contains("s3cr")));
}

#[test]
fn what_this_version_does_not_have_is_said_and_never_ignored() {
    for (text, part) in [("{ask: {}}", "`ask`"), ("{hooks: []}", "`hooks`")] {
        let found = errors(text);
        assert!(
            found.iter().any(|error| error.contains(part) && error.contains("this version does not have")),
            "{found:?}"
        );
    }
}

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

#[test]
fn skipping_is_a_switch() {
    assert!(good("skipEgressProxy: false").spec.skip.is_none());
    assert!(good("skipEgressProxy: true").spec.skip.is_some());
    error("skipEgressProxy: Permitted", &["expected a boolean"]);
}

#[test]
fn limits_are_numbers_of_what_their_names_say() {
    let all = "limits: {connections: 5, connectionsPerSecond: 4, requestsPerSecond: 3, uploadBytes: 1048576, dnsQueries: 2, dnsQueriesPerSecond: 1}";
    let found: Vec<_> = good(all).spec.limits.iter().map(|(limit, most)| (limit.key(), most)).collect();
    let written = [5, 4, 3, 1_048_576, 2, 1];
    assert_eq!(found, limit::LIMIT_KEYS.into_iter().zip(written).collect::<Vec<_>>());
    assert_eq!(good("limits: {}").spec.limits, Limits::NONE);
    for (text, parts) in [
        ("{limits: {conections: 5}}", ["did you mean `connections`?"].as_slice()),
        ("{limits: {downloadBytes: 5}}", &["downloadBytes"]),
        ("{limits: {connections: 0}}", &["`connections` is a number of connections at once, and this is 0"]),
        (
            "{limits: {uploadBytes: 1MB}}",
            &["bytes a second to origins, and this is text", "1 to 1099511627776"],
        ),
        ("{limits: {requestsPerSecond: -1}}", &["requests a second, and this is -1", "1 to 1000000,"]),
        ("{limits: {dnsQueriesPerSecond: 1.5}}", &["DNS queries a second"]),
        ("{limits: [5]}", &["expected a mapping"]),
    ] {
        let found = errors(text).join("\n");
        assert!(parts.iter().all(|part| found.contains(part)), "{text}: {found}");
    }
    let parsed = parse(&"p.yaml".into(), "{enforcement: Report, limits: {connections: 5}}");
    assert!(parsed.problems.iter().any(|problem| problem.message.contains("limits nothing")));
}

#[test]
fn constraints_bound_lower_documents_only() {
    let spec = good("constraints: {maxMode: VNet, minInspection: Partial, managedPath: Forbidden, skipEgressProxy: Permitted}").spec;
    assert_eq!(
        spec.constraints,
        Constraints {
            max_mode: Some(Mode::VNet),
            min_inspection: Some(Inspection::Partial),
            managed_path_forbidden: true,
            skip_permitted: true
        }
    );
    error(
        "kind: EgressPolicy\nmetadata: {name: a, sandbox: s}\nspec: {constraints: {maxMode: Limited}}",
        &["spec.constraints", "nothing is below a Sandbox"],
    );
    error("constraints: {managedPath: Permitted}", &["constraints.managedPath", "Forbidden"]);
}

#[test]
fn report_is_an_enforcement() {
    assert_eq!(good("enforcement: Report").spec.enforcement, Enforcement::Report);
    error("enforcement: report", &["did you mean `Report`?"]);
}

#[test]
fn categories_are_names_or_parts() {
    let spec =
        good("{categories: [package-registries/python, certificate-status], categoriesVersion: 1}").spec;
    assert_eq!(spec.categories[0].part.as_deref(), Some("python"));
    assert_eq!((spec.categories[1].part.as_deref(), spec.categories_version), (None, Some(1)));
    for bad in ["[/python]", "[a/]", "[a/b/c]", "a", "[5]"] {
        assert!(errors(&format!("categories: {bad}"))[0].contains("categories"));
    }
    error("categoriesVersion: \"1\"", &["categoriesVersion", "whole number"]);
}

#[test]
fn a_document_is_removed_by_its_metadata() {
    let document = good("kind: EgressPolicy\nmetadata: {name: a, sandbox: s, removed: true}\n");
    assert!(document.removed);
    error("kind: EgressPolicy\nmetadata: {name: a, removed: false}\n", &["`spec` is missing"]);
}

#[test]
fn an_envelope_needs_its_kind_and_a_known_version() {
    error("metadata: {name: a}\nspec: {}\n", &["`spec` without `kind`"]);
    error("apiVersion: sluicegate/v1\n", &["`apiVersion` without `kind`"]);
    error(
        "apiVersion: v1\nkind: EgressPolicy\nmetadata: {name: a}\nspec: {}\n",
        &["apiVersion", "sluicegate/v1"],
    );
    error("kind: egressPolicy\nmetadata: {name: a}\nspec: {}\n", &["kind", "did you mean `EgressPolicy`?"]);
    error("kind: EgressPolicy\nmetadata: {name: a}\nspec: {}\nmode: Limited\n", &["unknown key `mode`"]);
    error("kind: EgressPolicy\nspec: {}\n", &["`metadata` is missing"]);
    error("kind: EgressPolicy\nmetadata: {name: a}\nspec:\n", &["spec: expected a mapping, found nothing"]);
}

#[test]
fn every_problem_of_a_file_is_reported_at_once() {
    let found = errors(
        "mode: limited\nports: [0]\nhostRules: [{pattern: '', action: no}, {}]\nfoo: 1\n---\nmode: {}\n---\n[]\n",
    );
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn a_bad_document_does_not_take_its_neighbours_with_it() {
    let parsed = load(
        "kind: EgressPolicy\nmetadata: {name: a, group: g}\nspec: {mode: x}\n---\nkind: EgressPolicy\nmetadata: {name: b}\nspec: {mode: Limited}\n---\nkind: EgressPolicy\nmetadata: {name: c, group: g, group: h}\nspec: {}\n---\nmode: [\n",
    );
    assert_eq!(parsed.documents.len(), 1);
    assert_eq!(parsed.failed.iter().flatten().collect::<Vec<_>>(), [&Scope::Group("g".into())]);
    assert_eq!(parsed.failed.len(), 3);
}

#[test]
fn a_secret_says_where_its_values_come_from() {
    let parsed = load(
        "kind: Secret\nmetadata: {name: github, group: agents}\nspec: {keys: {token: {file: /run/secrets/github}, id: {env: GITHUB_ID}}, hosts: [api.github.com]}\n",
    );
    assert_eq!(parsed.problems, []);
    let secret = &parsed.secrets[0];
    assert_eq!((&*secret.name, secret.group.as_deref(), secret.keys.len()), ("github", Some("agents"), 2));
    let given = |at: usize| &*secret.keys[at].source;
    assert_eq!(*given(0), KeySource::Given(SecretSource::File("/run/secrets/github".into())));
    assert_eq!(*given(1), KeySource::Given(SecretSource::Env("GITHUB_ID".into())));
    assert_eq!(secret.hosts.as_ref().map(Vec::len), Some(1));
    for (spec, part) in [
        ("{}", "`keys` is missing"),
        ("{keys: {}}", "without keys"),
        ("{keys: {a: {}}}", "exactly one source"),
        ("{keys: {a: {file: x, env: Y}}}", "exactly one source"),
        ("{keys: {a: {env: A-B}}}", "environment variable"),
        ("{keys: {a: {file: x}}, hosts: []}", "lists no host"),
        ("{keys: {a: {file: x}}, hosts: [\"*\"]}", "every host"),
        ("{keys: {a: hunter2}}", "values do not belong here"),
        ("{keys: {a: {file: x}}, placeholder: true}", "needs `hosts`"),
        ("{keys: {a: {file: x}}, scrub: text}", "did you mean `Text`?"),
    ] {
        let found = errors(&format!("kind: Secret\nmetadata: {{name: s}}\nspec: {spec}\n"));
        assert!(found[0].contains(part), "{found:?}");
        assert!(!found[0].contains("hunter2"));
    }
}

#[test]
fn a_large_file_loads_without_quadratic_work() {
    use std::fmt::Write as _;
    let mut text = String::from("mode: Limited\nhostRules:\n");
    for n in 0..100_000 {
        writeln!(text, "  - {{pattern: h{n}.example.com, action: Allow}}").unwrap();
    }
    assert_eq!(good(&text).spec.host_rules.len(), 100_000);
}

const VALID: &str = "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {name: coding-agent, scope: Sandbox, group: agents, sandbox: sbx-42}\nspec:\n  mode: Limited\n  hostRules: [pypi.org, {pattern: \"*.github.com\", action: Deny}]\n  cidrRules: [{cidr: 10.0.0.0/8, action: Allow, ports: [443, 8000-8100]}]\n  rules: [{name: r, match: {host: x.com, path: /a/*, methods: [GET]}, action: {type: Allow}}]\n  categories: [package-registries/python]\n  enforcement: Report\n";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_the_decoder_panic(text in any::<String>()) {
        let _parsed = load(&text);
    }

    #[test]
    fn no_change_to_a_valid_document_makes_the_decoder_panic(
        cut in 0..VALID.len(), keep in 0..VALID.len(), inserted in "[-:,\\[\\]{}#&*!'\" \na-c0-9]{0,6}"
    ) {
        let mut text = VALID.get(..cut).unwrap_or_default().to_owned();
        text.push_str(&inserted);
        text.push_str(VALID.get(keep..).unwrap_or_default());
        let parsed = load(&text);
        let errors = parsed.problems.iter().any(Problem::is_error);
        prop_assert_eq!(errors, !parsed.failed.is_empty());
    }
}

#[test]
fn every_example_and_every_inline_policy_of_the_corpus_loads() {
    for (name, text) in EXAMPLES {
        let parsed = parse(&name.into(), text);
        assert_eq!(parsed.problems, [], "{name}");
        assert_eq!(parsed.documents.len(), 1, "{name}");
    }
    for (name, text) in CORPUS {
        let file: Arc<str> = name.into();
        for node in &crate::source::parse(&file, text).unwrap() {
            corpus(&file, node);
        }
    }
}

/// The example policies.
const EXAMPLES: [(&str, &str); 11] = [
    ("policies/agent-python.yaml", include_str!("../../../policies/agent-python.yaml")),
    ("policies/ci-build.yaml", include_str!("../../../policies/ci-build.yaml")),
    ("policies/github-read.yaml", include_str!("../../../policies/github-read.yaml")),
    ("policies/limited.yaml", include_str!("../../../policies/limited.yaml")),
    ("policies/report-only.yaml", include_str!("../../../policies/report-only.yaml")),
    ("policies/unrestricted.yaml", include_str!("../../../policies/unrestricted.yaml")),
    ("policies/vnet.yaml", include_str!("../../../policies/vnet.yaml")),
    ("policies/multi-tenant/00-global.yaml", include_str!("../../../policies/multi-tenant/00-global.yaml")),
    ("policies/multi-tenant/10-agents.yaml", include_str!("../../../policies/multi-tenant/10-agents.yaml")),
    (
        "policies/multi-tenant/20-sbx-data.yaml",
        include_str!("../../../policies/multi-tenant/20-sbx-data.yaml"),
    ),
    ("policies/multi-tenant/20-sbx-web.yaml", include_str!("../../../policies/multi-tenant/20-sbx-web.yaml")),
];

/// The corpus.
const CORPUS: [(&str, &str); 6] = [
    ("tests/corpus/examples.yaml", include_str!("../../../tests/corpus/examples.yaml")),
    ("tests/corpus/inspection.yaml", include_str!("../../../tests/corpus/inspection.yaml")),
    ("tests/corpus/multi-tenant.yaml", include_str!("../../../tests/corpus/multi-tenant.yaml")),
    ("tests/corpus/skip.yaml", include_str!("../../../tests/corpus/skip.yaml")),
    ("tests/corpus/truth-table.yaml", include_str!("../../../tests/corpus/truth-table.yaml")),
    ("tests/corpus/vnet.yaml", include_str!("../../../tests/corpus/vnet.yaml")),
];

/// What a question of the corpus expects.
const EXPECTED: [&str; 14] = [
    "verdict",
    "reason",
    "policy",
    "rule",
    "would_deny",
    "decrypted",
    "headers",
    "secrets",
    "rewritten",
    "route",
    "network",
    "managed_by",
    "security_rule",
    "skip",
];

/// Checks one corpus document: its inline policies decode, and its questions have the known keys and words.
fn corpus(file: &Arc<str>, node: &crate::source::Node) {
    let decoder = Decoder::new(file);
    let root = decoder.root(node);
    let fields = root.fields(&["policy", "operator", "questions"]).unwrap();
    let policy = fields.require("policy").unwrap();
    if policy.is_text() {
        let path = policy.text().unwrap();
        assert!(EXAMPLES.iter().any(|(name, _)| name.starts_with(path)), "{path}");
    } else {
        for item in policy.items() {
            assert!(document(&item).1.is_some());
        }
    }
    for item in fields.require("questions").unwrap().items() {
        let keys = ["target", "sandbox", "group", "method", "path", "sni", "redirected", "address", "expect"];
        let question = item.fields(&keys).unwrap();
        assert!(question.require("target").is_some());
        let expect = question.require("expect").unwrap();
        let expect = expect.fields(&EXPECTED).unwrap();
        let verdict = expect.require("verdict").unwrap();
        assert!(verdict.choice(&[("allow", ()), ("deny", ()), ("open", ())]).is_some());
        for reason in [expect.get("reason"), expect.get("would_deny")].into_iter().flatten() {
            assert!(crate::policy::Reason::from_code(reason.text().unwrap()).is_some());
        }
    }
    let errors: Vec<Problem> = decoder.into_problems().into_iter().filter(Problem::is_error).collect();
    assert_eq!(errors, []);
}
