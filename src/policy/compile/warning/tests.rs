//! Each warning with its place and cure.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::policy::category::CategoryLists;
use crate::policy::compile::Compiled;
use crate::policy::document::parse;
use crate::policy::pattern_pool::Interner;

/// The warnings of a file of one document.
fn told(text: &str) -> Vec<String> {
    let parsed = parse(&"p.yaml".into(), text);
    assert!(!parsed.problems.iter().any(Problem::is_error), "{:?}", parsed.problems);
    let compiled = Compiled::new(&parsed.documents[0], &CategoryLists::shipped(), &mut Interner::default());
    compiled.unwrap().warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn what_every_tenant_can_be_reached_by_is_told_of_hosts_rules_and_networks() {
    let wide = "allows every tenant of a shared domain (name the hosts you need: any tenant there could receive the data)";
    let text = "{hostRules: ['*.azurecr.io'], rules: [{match: {host: '*.github.io', path: /a}, action: Allow}], cidrRules: [{cidr: 0.0.0.0/0, action: Allow}]}";
    assert_eq!(
        told(text),
        [
            format!("p.yaml:1:14: warning: tenant-wide: `*.azurecr.io` {wide}"),
            format!("p.yaml:1:39: warning: tenant-wide: `*.github.io` {wide}"),
            "p.yaml:1:109: warning: `0.0.0.0/0` allows every address, private ones included (name the networks you need: any \
             server could receive the data)"
                .to_owned(),
        ]
    );
    for text in [
        "{mode: Unrestricted, hostRules: ['*.azurecr.io'], cidrRules: [{cidr: '::/0', action: Allow}]}",
        "{rules: [{match: {host: '*.github.io'}, action: {type: Rewrite, host: a.test}}]}",
        "{rules: [{match: {host: '*.github.io'}, action: Deny}], cidrRules: [{cidr: 0.0.0.0/0, action: Deny}]}",
    ] {
        assert_eq!(told(text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn an_allow_that_a_deny_covers_is_told() {
    let text = "hostRules:\n- a.x.test\n- {pattern: '*.test', action: Deny}\n- b.example\n- '*.y.test:80'\n";
    let told = told(text);
    assert_eq!(
        told,
        [
            "p.yaml:2:3: warning: `a.x.test` is never allowed: `*.test` is denied on line 3, and Deny wins (remove this Allow, or narrow that Deny)",
            "p.yaml:5:3: warning: `*.y.test:80` is never allowed: `*.test` is denied on line 3, and Deny wins (remove this Allow, or narrow that Deny)",
        ]
    );
}

#[test]
fn an_entry_of_cidr_rules_that_never_applies_is_told() {
    let text = "cidrRules:\n- {cidr: 8.0.0.0/8, action: Allow, ports: [443]}\n- {cidr: 8.0.0.0/8, action: Deny}\n- {cidr: 9.0.0.0/8, action: Deny, ports: [443]}\n- {cidr: 9.0.0.0/8, action: Allow}\n- {cidr: 8.0.0.0/8, action: Deny}\n";
    assert_eq!(
        told(text),
        [
            "p.yaml:2:3: warning: `8.0.0.0/8` is never allowed: it is denied on line 3, and Deny wins (remove the one that is not meant)",
            "p.yaml:6:3: warning: `8.0.0.0/8` is on line 3 already (remove one of them)",
        ]
    );
}

#[test]
fn a_rule_that_is_never_first_is_told() {
    let rule = |host: &str, more: &str, action: &str| {
        format!("- {{match: {{host: '{host}'{more}}}, action: {action}}}\n")
    };
    for (above, below, is_dead) in [
        (rule("*.test", "", "Deny"), rule("a.test", ", path: /x", "Allow"), true),
        (rule("a.test", ", path: /x", "Deny"), rule("a.test", ", path: /x/y", "Allow"), true),
        (rule("a.test", ", path: /x", "Allow"), rule("a.test", ", path: /x", "Deny"), false),
        (rule("a.test", ", path: /x/*", "Allow"), rule("a.test", ", path: /x/y/*", "Deny"), true),
        (
            rule("a.test", ", methods: [GET, PUT]", "Allow"),
            rule("a.test", ", path: /x, methods: [PUT]", "Deny"),
            true,
        ),
        (rule("a.test", ", methods: [GET]", "Allow"), rule("a.test", "", "Deny"), false),
        (rule("a.test:443", "", "Allow"), rule("a.test", "", "Deny"), false),
        (rule("a.test", "", "Allow"), rule("a.test:443", "", "Deny"), true),
        (rule("a.test", "", "Allow"), rule("*.test", "", "Deny"), false),
    ] {
        let text = format!("rules:\n{above}{below}");
        let line = "p.yaml:3:3: warning: this rule never decides: rules[0] on line 2 fits all that it fits (remove this rule, or move it in front of that one)";
        let expected: &[&str] = if is_dead { &[line] } else { &[] };
        assert_eq!(told(&text), expected, "{text}");
    }
}

#[test]
fn the_policies_that_are_shipped_are_free_of_warnings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["agent-python", "ci-build", "github-read", "limited", "report-only", "unrestricted"];
    for file in files.map(|name| root.join(format!("policies/{name}.yaml"))) {
        let text = fs::read_to_string(&file).unwrap();
        let parsed = parse(&Arc::from(file.display().to_string()), &text);
        let found: Vec<_> = parsed.documents.iter().flat_map(|own| warnings(own, &[])).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn a_large_document_is_looked_at_in_bounded_time() {
    let hosts: Vec<String> = (0..40_000)
        .map(|n| {
            format!(
                "- {{pattern: 'h{n}.x{}.test', action: {}}}",
                n % 7,
                if n % 2 == 0 { "Allow" } else { "Deny" }
            )
        })
        .collect();
    let rules: Vec<String> =
        (0..20_000).map(|n| format!("- {{match: {{host: a.test, path: /p{n}}}, action: Allow}}")).collect();
    let parsed =
        parse(&"p.yaml".into(), &format!("hostRules:\n{}\nrules:\n{}\n", hosts.join("\n"), rules.join("\n")));
    let begun = Instant::now();
    assert!(warnings(&parsed.documents[0], &[]).is_empty());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn what_a_managed_path_and_the_rules_of_a_network_do_not_mean_is_told() {
    let text = "{mode: VNet, hostRules: [{pattern: '*.bad.test', action: Deny}], vnet: {network: prod, managedPath: {remoteMcpServers: [mcp.bad.test], additionalHosts: ['*.azurecr.io', good.test]}, securityRules: [{name: a, priority: 300, action: Allow, destination: 10.1.0.0/16, ports: [443]}, {name: b, priority: 200, action: Deny, destination: [10.0.0.0/8, 192.0.2.0/24]}, {name: c, priority: 400, action: Allow, destination: '*', ports: [443]}]}}";
    assert_eq!(
        told(text),
        [
            "p.yaml:1:199: warning: security rule `a` never applies: `b`, of priority 200, decides for all that it matches \
             (remove it, or give it a lower priority number)",
            "p.yaml:1:121: warning: `mcp.bad.test` never takes the managed path: `*.bad.test` is denied on line 1 (remove it \
             here, or narrow that Deny)",
            "p.yaml:1:154: warning: tenant-wide: `*.azurecr.io` puts every tenant of a shared domain on the managed path (name \
             the hosts you need: the network's own rules do not see any of them)",
        ]
    );
}

#[test]
fn a_deny_that_is_not_carried_out_keeps_nothing_from_being_allowed_or_from_its_path() {
    let rules = "hostRules: [a.test, {pattern: '*.test', action: Deny}, {pattern: pypi.org, action: Deny}], cidrRules: [{cidr: 192.0.2.0/24, action: Deny}, {cidr: 192.0.2.0/24, action: Allow}], vnet: {network: prod, managedPath: {additionalHosts: [m.test], packageRegistries: {pypi: true}}}";
    let count = |more: &str| {
        let all = told(&format!("{{mode: VNet, {more}{rules}}}"));
        all.iter().filter(|text| text.contains("never")).count()
    };
    assert_eq!(count(""), 4, "an Allow, a network, a host of the managed path and a switch");
    assert_eq!(count("enforcement: Report, "), 0);
    assert_eq!(count("skipEgressProxy: true, "), 0);
}

#[test]
fn a_switch_of_which_hosts_are_denied_is_told_once_with_the_first_of_them() {
    let text = "mode: VNet\nhostRules:\n- {pattern: '*.python.org', action: Deny}\n- {pattern: bootstrap.pypa.io, action: Deny}\n- {pattern: 'nuget.org:80', action: Deny}\nvnet:\n  network: prod\n  managedPath:\n    packageRegistries: {pypi: true, nuget: true}\n";
    assert_eq!(
        told(text),
        [
            "p.yaml:9:31: warning: spec.vnet.managedPath.packageRegistries.pypi: 2 of its 5 hosts never take the managed path: \
          `pypi.python.org` (`*.python.org` is denied on line 3), `bootstrap.pypa.io` (`bootstrap.pypa.io` is denied on line 4) \
          (allow them there, or leave it when it is meant)"
        ]
    );
    let all = told(
        "{mode: VNet, hostRules: [{pattern: '*', action: Deny}], vnet: {network: prod, managedPath: {packageRegistries: {pypi: true}}}}",
    );
    assert!(
        all[0].contains(
            "5 of its 5 hosts never take the managed path: `pypi.org`, `files.pythonhosted.org`, `pypi.python.org` (`*` is \
             denied on line 1) and 2 more"
        ),
        "{all:?}"
    );
}

#[test]
fn a_switch_for_a_way_out_of_data_is_told_as_a_category_of_it_is() {
    let told = told(
        "{categories: [code-repositories/github], mode: VNet, vnet: {network: prod, managedPath: {codeRepositories: {github: true, githubEnterprise: true}}}}",
    );
    let what = "`code-repositories/github` accepts uploads from anybody: data can leave through it";
    assert_eq!(
        told,
        [
            format!(
                "p.yaml:1:15: warning: spec.categories: {what} (list the hosts that are needed under `hostRules`, or leave it \
                 when it is meant)"
            ),
            format!(
                "p.yaml:1:117: warning: spec.vnet.managedPath.codeRepositories.github: {what} (list the hosts that are needed \
                 under `additionalHosts`, or leave it when it is meant)"
            ),
        ]
    );
}
