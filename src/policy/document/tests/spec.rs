//! The rest of a spec: modes, limits, constraints, categories.

use super::*;

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
