//! §6 and §9: what becomes of a request by `Transform` and `Rewrite`.

use super::*;
use crate::policy::plan::{Change, EditValue};

/// A document's `rules`, each a `match` and an `action` in flow style.
fn rules(mode: &str, rules: &[(&str, &str)]) -> String {
    let rules: Vec<String> =
        rules.iter().map(|(facts, action)| format!("{{match: {{{facts}}}, action: {action}}}")).collect();
    format!("{{mode: {mode}, rules: [{}]}}", rules.join(", "))
}

/// A Transform that sets one header to a text.
fn set(name: &str, value: &str) -> String {
    format!("{{type: Transform, headers: [{{operation: Set, name: {name}, value: {value}}}]}}")
}

/// A Rewrite.
fn to(place: &str) -> String {
    format!("{{type: Rewrite, {place}}}")
}

/// What becomes of a request: its edits, and where it goes instead; or the reason of its denial.
pub(super) fn sent(policy: &Policy, permit: &TargetPermit, path: &str, secure: bool) -> String {
    match policy.admit_request(permit, &RequestFacts { method: "GET", path, secure }) {
        Err(denial) => denial.reason().to_string(),
        Ok(mut permit) => {
            let value = |value: &EditValue| match value {
                EditValue::Text(text) => text.to_string(),
                EditValue::Secret(used) => format!("<{}>", used.name),
            };
            let edits = permit.plan().edits().iter().map(|edit| match &edit.change {
                Change::Set(text) => format!("{}={}", edit.name, value(text)),
                Change::Insert(text) => format!("{}?{}", edit.name, value(text)),
                Change::Remove => format!("-{}", edit.name),
            });
            let edits: Vec<String> = edits.collect();
            let place = permit.rewritten().map(|new| new.url(path));
            format!("{} {}", edits.join(" "), place.unwrap_or_default()).trim().to_owned()
        }
    }
}

/// The same of a target that question A is asked for first.
fn ask(policy: &Policy, text: &str, path: &str) -> String {
    match admit(policy, text) {
        Ok(permit) => sent(policy, &permit, path, text.ends_with(":443")),
        Err(denial) => denial.reason().to_string(),
    }
}

#[test]
fn edits_come_from_the_sandbox_first_and_from_the_global_document_last() {
    let global = rules("Unrestricted", &[("host: \"*\"", &set("a", "global"))]);
    let group = rules("Unrestricted", &[("host: x.test", &set("a", "group")), ("host: \"*\"", "Deny")]);
    let own = rules("Limited", &[("host: x.test, path: /t", &set("a", "own")), ("host: x.test", "Allow")]);
    let policy =
        policy_over(&layers(&[("Global", &global), ("Group", &group), ("Sandbox", &own)]), Guards::default());
    assert_eq!(ask(&policy, "x.test:443", "/t"), "a=own a=group a=global");
    assert_eq!(ask(&policy, "x.test:443", "/other"), "a=group a=global");
    assert_eq!(ask(&policy, "y.test:443", "/t"), "rule_denied");
}

#[test]
fn a_request_that_nothing_changes_has_an_empty_plan() {
    let policy = policy(&rules("Limited", &[("host: x.test", "Allow"), ("host: y.test", &set("a", "b"))]));
    assert_eq!(ask(&policy, "x.test:443", "/"), "");
    assert!(request(&policy, "x.test:443", "GET", "/").unwrap().plan().is_empty());
}

#[test]
fn the_first_rule_that_fits_changes_the_request_and_no_other() {
    let policy = policy(&rules(
        "Limited",
        &[
            ("host: x.test, path: /a", &set("a", "one")),
            ("host: x.test, path: /a*", &set("a", "two")),
            ("host: x.test, path: /b", "Deny"),
            ("host: x.test", &to("path: /c")),
        ],
    ));
    for (path, answer) in
        [("/a", "a=one"), ("/ab", "a=two"), ("/b/c", "rule_denied"), ("/d", "https://x.test:443/c")]
    {
        assert_eq!(ask(&policy, "x.test:443", path), answer, "{path}");
    }
}

#[test]
fn the_port_of_a_rewritten_request_follows_the_scheme_unless_it_is_written() {
    for (from, place, url) in [
        ("x.test:80", "scheme: https", "https://x.test:443/p"),
        ("x.test:443", "scheme: http", "http://x.test:80/p"),
        ("x.test:443", "scheme: https", "https://x.test:443/p"),
        ("x.test:8080", "scheme: https", "https://x.test:8080/p"),
        ("x.test:80", "host: y.test, scheme: https", "https://y.test:443/p"),
        ("x.test:80", "host: \"y.test:8443\", scheme: https", "https://y.test:8443/p"),
        ("x.test:443", "host: y.test, path: /q", "https://y.test:443/q"),
        ("x.test:8080", "host: y.test", "http://y.test:8080/p"),
        ("x.test:80", "host: \"[2606:4700::1]\"", "http://[2606:4700::1]:80/p"),
    ] {
        let policy = policy(&format!(
            "{{mode: Limited, ports: [1-65535], rules: [{{match: {{host: x.test}}, action: {}}}]}}",
            to(place)
        ));
        assert_eq!(ask(&policy, from, "/p"), url, "{from} {place}");
    }
}

#[test]
fn p3_a_rewritten_request_is_judged_again_by_every_document_above() {
    let own = rules("Limited", &[("host: x.test", &to("host: y.test, path: /new"))]);
    for (global, answer) in [
        ("{mode: Unrestricted}".to_owned(), "https://y.test:443/new"),
        ("{mode: Limited, hostRules: [x.test]}".to_owned(), "default_deny"),
        ("{mode: Limited, hostRules: [y.test]}".to_owned(), "default_deny"),
        ("{mode: Unrestricted, hostRules: [{pattern: y.test, action: Deny}]}".to_owned(), "host_denied"),
        (rules("Unrestricted", &[("host: y.test, path: /new", "Deny")]), "rule_denied"),
        (rules("Unrestricted", &[("host: y.test, path: /old", "Deny")]), "https://y.test:443/new"),
        (rules("Unrestricted", &[("host: y.test", &set("a", "b"))]), "a=b https://y.test:443/new"),
        (rules("Unrestricted", &[("host: \"*\"", &set("a", "b"))]), "a=b https://y.test:443/new"),
        (rules("Unrestricted", &[("host: y.test", &to("host: z.test"))]), "policy_error"),
        (rules("Unrestricted", &[("host: x.test", &to("host: y.test"))]), "policy_error"),
        ("{mode: Limited, enforcement: Report, hostRules: [x.test]}".to_owned(), "https://y.test:443/new"),
    ] {
        let policy = policy_over(&layers(&[("Global", &global), ("Sandbox", &own)]), Guards::default());
        assert_eq!(ask(&policy, "x.test:443", "/old"), answer, "{global}");
    }
}

#[test]
fn p3_a_document_that_rewrites_asks_its_own_denies_and_no_more_of_itself() {
    for (spec, answer) in [
        ("hostRules: [{pattern: y.test, action: Deny}]", "host_denied"),
        ("ports: [443]", "https://y.test:8443/"),
        ("hostRules: [z.test]", "https://y.test:8443/"),
    ] {
        let rule = format!("{{match: {{host: x.test}}, action: {}}}", to("host: \"y.test:8443\""));
        let policy = policy(&format!("{{mode: Limited, {spec}, rules: [{rule}]}}"));
        assert_eq!(ask(&policy, "x.test:443", "/"), answer, "{spec}");
    }
    let denied =
        [("host: x.test", to("host: y.test, path: /a/b")), ("host: y.test, path: /a", "Deny".to_owned())];
    let denied = denied.each_ref().map(|(facts, action)| (*facts, action.as_str()));
    assert_eq!(ask(&policy(&rules("Limited", &denied)), "x.test:443", "/"), "rule_denied");
    let again = [("host: x.test", to("path: /again")), ("host: y.test", to("host: z.test"))];
    let again = again.each_ref().map(|(facts, action)| (*facts, action.as_str()));
    assert_eq!(ask(&policy(&rules("Limited", &again)), "x.test:443", "/"), "https://x.test:443/again");
    let literal = format!(
        "{{mode: Limited, cidrRules: [{{cidr: 8.8.0.0/16, action: Deny}}], rules: [{{match: {{host: x.test}}, action: {}}}]}}",
        to("host: \"[64:ff9b::808:808]\"")
    );
    assert_eq!(ask(&policy(&literal), "x.test:443", "/"), "cidr_denied");
}

#[test]
fn p3_documents_below_the_one_that_rewrites_are_asked_for_the_old_place_only() {
    let global = rules("Unrestricted", &[("host: x.test", &to("host: y.test"))]);
    for (own, answer) in [
        ("{mode: Limited, hostRules: [x.test]}", "https://y.test:443/"),
        ("{mode: Limited, hostRules: [y.test]}", "default_deny"),
    ] {
        let policy = policy_over(&layers(&[("Global", &global), ("Sandbox", own)]), Guards::default());
        assert_eq!(ask(&policy, "x.test:443", "/"), answer, "{own}");
    }
}

#[test]
fn a_rewritten_permit_is_asked_about_addresses_under_every_document() {
    let global = rules("Unrestricted", &[("host: x.test", &to("host: y.test"))]);
    let own = "{mode: Limited, hostRules: [x.test], cidrRules: [{cidr: 8.8.0.0/16, action: Deny}]}";
    let policy = policy_over(&layers(&[("Global", &global), ("Sandbox", own)]), Guards::default());
    let permit = admit(&policy, "x.test:443").unwrap();
    let facts = RequestFacts { method: "GET", path: "/", secure: true };
    let mut request = policy.admit_request(&permit, &facts).unwrap();
    assert!(request.decides_by_request(), "a header that names another path would undo the judgement");
    let new = request.rewritten().unwrap();
    assert_eq!(
        (new.permit.target().to_string(), new.secure, new.path.as_deref()),
        ("y.test:443".into(), true, None)
    );
    assert!(request.rewritten().is_none(), "it is taken once");
    assert_eq!(policy.admit_address(&new.permit, ip("8.8.8.8")).unwrap_err().reason(), Reason::CidrDenied);
    assert_eq!(policy.admit_address(&new.permit, ip("10.0.0.1")).unwrap_err().reason(), Reason::GuardPrivate);
    assert!(policy.admit_address(&new.permit, ip("9.9.9.9")).is_ok());
}

#[test]
fn d3_before_the_request_is_known_a_rewrite_is_open_and_a_transform_is_an_allow() {
    for (list, said) in [
        (vec![("host: x.test", to("host: y.test"))], "open"),
        (vec![("host: x.test, path: /a", to("path: /b")), ("host: x.test", "Allow".to_owned())], "open"),
        (vec![("host: x.test, path: /a", to("path: /b"))], "open"),
        (vec![("host: x.test", set("a", "b"))], "Allow"),
        (vec![("host: x.test, path: /a", set("a", "b")), ("host: x.test", "Allow".to_owned())], "Allow"),
        (vec![("host: x.test, path: /a", set("a", "b")), ("host: x.test", "Deny".to_owned())], "open"),
    ] {
        let list: Vec<_> = list.iter().map(|(facts, action)| (*facts, action.as_str())).collect();
        let policy = policy(&rules("Limited", &list));
        assert_eq!(a(&policy, "x.test:443"), said, "{list:?}");
        assert!(admit(&policy, "x.test:8443").is_err(), "{list:?}");
    }
}

#[test]
fn a3_a_form_of_an_address_does_not_get_round_a_rewrite_of_it() {
    let policy = policy(&rules("Unrestricted", &[("host: 8.8.8.8", &to("host: safe.test"))]));
    assert_eq!(ask(&policy, "8.8.8.8:80", "/"), "http://safe.test:80/");
    for form in ["[::ffff:8.8.8.8]:80", "[64:ff9b::808:808]:80", "[2002:808:808::]:80"] {
        assert_eq!(
            (a(&policy, form), ask(&policy, form, "/").as_str()),
            ("rule_denied", "rule_denied"),
            "{form}"
        );
    }
}

#[test]
fn a_literal_with_a_name_is_changed_by_the_rules_for_both() {
    let spec =
        rules("Unrestricted", &[("host: 8.8.8.8", &set("a", "ip")), ("host: x.test", &set("a", "name"))]);
    let policy = policy(&spec);
    let permit = admit(&policy, "8.8.8.8:443").unwrap();
    let permit = policy.admit_alias(permit, &Host::parse("x.test").unwrap()).unwrap();
    assert_eq!(sent(&policy, &permit, "/", true), "a=ip a=name");
    let spec =
        rules("Unrestricted", &[("host: 8.8.8.8", &to("path: /a")), ("host: x.test", &to("path: /b"))]);
    let policy = super::policy(&spec);
    let permit = admit(&policy, "8.8.8.8:443").unwrap();
    let permit = policy.admit_alias(permit, &Host::parse("x.test").unwrap()).unwrap();
    assert_eq!(sent(&policy, &permit, "/", true), "policy_error");
}

#[test]
fn a_name_beside_a_literal_is_judged_at_a_new_path_too() {
    let global = rules("Unrestricted", &[("host: x.test, path: /b", "Deny")]);
    let own = rules("Unrestricted", &[("host: 8.8.8.8", &to("path: /b"))]);
    let policy = policy_over(&layers(&[("Global", &global), ("Sandbox", &own)]), Guards::default());
    let permit = admit(&policy, "8.8.8.8:443").unwrap();
    assert_eq!(sent(&policy, &permit, "/", true), "https://8.8.8.8:443/b");
    let permit = policy.admit_alias(permit, &Host::parse("x.test").unwrap()).unwrap();
    assert_eq!(sent(&policy, &permit, "/", true), "rule_denied");
}

#[test]
fn a_denial_of_a_new_place_names_that_place() {
    let own = rules("Limited", &[("host: x.test", &to("host: y.test"))]);
    let layers = layers(&[("Global", "{mode: Limited, hostRules: [x.test]}"), ("Sandbox", &own)]);
    let denial = request(&policy_over(&layers, Guards::default()), "x.test:443", "GET", "/").unwrap_err();
    assert!(denial.message("x.test:443").starts_with("y.test:443 "), "{}", denial.message("x.test:443"));
    assert!(denial.hint(None).unwrap().contains("\"y.test\""), "{:?}", denial.hint(None));
}

#[test]
fn d3_a_rewrite_behind_another_rule_for_its_host_leaves_the_verdict_open() {
    for first in ["Allow", "{type: Transform, headers: [{operation: Remove, name: x-a}]}"] {
        let policy = policy(&format!(
            "{{mode: Unrestricted, rules: [{{match: {{host: x.example, path: /a}}, action: {first}}}, \
             {{match: {{host: x.example, path: /b}}, action: {{type: Rewrite, host: y.example}}}}]}}"
        ));
        assert_eq!((a(&policy, "x.example:443"), a(&policy, "y.example:443")), ("open", "Allow"), "{first}");
        let permit = admit(&policy, "x.example:443").unwrap();
        assert_eq!(policy.admit_opaque(&permit).unwrap_err().reason(), Reason::NotHttp);
    }
}
