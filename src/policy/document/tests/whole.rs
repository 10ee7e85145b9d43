//! Documents as a whole: names, scopes, envelopes, neighbours, and every problem at once.

use super::*;

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
fn a_large_file_loads_without_quadratic_work() {
    use std::fmt::Write as _;
    let mut text = String::from("mode: Limited\nhostRules:\n");
    for n in 0..100_000 {
        writeln!(text, "  - {{pattern: h{n}.example.com, action: Allow}}").unwrap();
    }
    assert_eq!(good(&text).spec.host_rules.len(), 100_000);
}
