//! Rules, and what they change.

use super::*;

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
