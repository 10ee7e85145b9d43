//! The corpus: what the policy language promises, and what the shipped policies claim.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluicegate::corpus;
use sluicegate::live::store::Store;
use sluicegate::policy::Guards;

/// The files of a directory under the project's root, in name order.
fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries =
        std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_question_of_the_corpus_gets_the_expected_verdict_rule_and_reason() {
    let mut asked = 0;
    for file in files("tests/corpus") {
        let text = std::fs::read_to_string(&file).unwrap();
        let outcomes = corpus::run(&file.display().to_string(), &text)
            .unwrap_or_else(|problems| panic!("{problems:#?}"));
        let failed: Vec<String> =
            outcomes.iter().filter(|outcome| !outcome.is_met()).map(ToString::to_string).collect();
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        asked += outcomes.len();
    }
    assert!(asked >= 124, "only {asked} questions were found");
}

#[test]
fn an_expectation_that_is_not_met_is_told_with_what_was_found() {
    let text = "policy: [{mode: Limited}]\nquestions: [{target: 'a.test:443', expect: {verdict: allow, rule: 'hostRules[0]'}}]\n";
    let outcomes = corpus::run("inline.yaml", text).unwrap();
    assert!(!outcomes[0].is_met());
    let told = outcomes[0].to_string();
    assert!(told.contains("verdict: expected allow, found deny"), "{told}");
    assert!(told.contains("rule: expected hostRules[0], found none"), "{told}");
}

#[test]
fn what_an_operator_says_is_refused_as_the_process_configuration_refuses_it() {
    let network = "policy: [{kind: EgressPolicy, metadata: {name: g, group: others}, spec: {mode: VNet, vnet: {network: prod}}}]\n";
    for (policy, operator, parts) in [
        ("", "{platformHosts: [192.0.2.7]}", ["always takes the delegated path", "name the host"]),
        ("", "{platformHosts: ['https://a.test']}", ["a.test", "write `a.test`"]),
        ("", "{platformHosts: [10.0.0.0/8]}", ["is a network, not a host pattern", "cidrRules"]),
        ("", "{networks: {managed: {groups: [a]}}}", ["operator.networks.managed", "groups"]),
        ("", "{networks: {prod: {resolve: Everywhere}}}", ["operator.networks.prod.resolve", "Remote"]),
        ("", "{networks: [prod]}", ["operator.networks", "mapping"]),
        (network, "{networks: {}}", ["network `prod`", "column: 102"]),
        (network, "{networks: {prod: {groups: [agents]}}}", ["kept to other groups: agents", "column: 102"]),
    ] {
        let policy = if policy.is_empty() { "policy: [{mode: Limited}]\n" } else { policy };
        let problems = corpus::run("inline.yaml", &format!("{policy}operator: {operator}\nquestions: []\n"))
            .unwrap_err();
        let told = format!("{problems:#?}");
        assert!(parts.iter().all(|part| told.contains(part)), "{operator}: {told}");
    }
}

#[test]
fn every_shipped_policy_loads() {
    let mut loaded = 0;
    for path in files("policies").into_iter().filter(|path| !path.ends_with("categories.yaml")) {
        let load = Store::new(path.clone(), None).load(&Arc::<Guards>::default(), None).unwrap();
        assert!(!load.has_errors(), "{}: {:#?}", path.display(), load.problems);
        assert!(!load.policies.documents().is_empty(), "{}", path.display());
        loaded += 1;
    }
    assert!(loaded >= 6, "only {loaded} policies were found");
}
