//! Any text, and every example and corpus policy.

use super::*;

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
    ("policies/agent-python.yaml", include_str!("../../../../policies/agent-python.yaml")),
    ("policies/ci-build.yaml", include_str!("../../../../policies/ci-build.yaml")),
    ("policies/github-read.yaml", include_str!("../../../../policies/github-read.yaml")),
    ("policies/limited.yaml", include_str!("../../../../policies/limited.yaml")),
    ("policies/report-only.yaml", include_str!("../../../../policies/report-only.yaml")),
    ("policies/unrestricted.yaml", include_str!("../../../../policies/unrestricted.yaml")),
    ("policies/vnet.yaml", include_str!("../../../../policies/vnet.yaml")),
    (
        "policies/multi-tenant/00-global.yaml",
        include_str!("../../../../policies/multi-tenant/00-global.yaml"),
    ),
    (
        "policies/multi-tenant/10-agents.yaml",
        include_str!("../../../../policies/multi-tenant/10-agents.yaml"),
    ),
    (
        "policies/multi-tenant/20-sbx-data.yaml",
        include_str!("../../../../policies/multi-tenant/20-sbx-data.yaml"),
    ),
    (
        "policies/multi-tenant/20-sbx-web.yaml",
        include_str!("../../../../policies/multi-tenant/20-sbx-web.yaml"),
    ),
];

/// The corpus.
const CORPUS: [(&str, &str); 6] = [
    ("tests/corpus/examples.yaml", include_str!("../../../../tests/corpus/examples.yaml")),
    ("tests/corpus/inspection.yaml", include_str!("../../../../tests/corpus/inspection.yaml")),
    ("tests/corpus/multi-tenant.yaml", include_str!("../../../../tests/corpus/multi-tenant.yaml")),
    ("tests/corpus/skip.yaml", include_str!("../../../../tests/corpus/skip.yaml")),
    ("tests/corpus/truth-table.yaml", include_str!("../../../../tests/corpus/truth-table.yaml")),
    ("tests/corpus/vnet.yaml", include_str!("../../../../tests/corpus/vnet.yaml")),
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
