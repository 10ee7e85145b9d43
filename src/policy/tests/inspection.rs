//! §7: what becomes of TLS and of what is no HTTP.

use super::*;

/// What is said of a target: decrypted, or why TLS may not pass as it is; why what is no HTTP may not pass.
fn said(policy: &Policy, permit: &TargetPermit) -> (&'static str, &'static str) {
    let word =
        |result: Result<(), Denial>| result.map_or_else(|denial| denial.reason().as_str(), |()| "passes");
    let sealed = policy.admit_sealed(permit);
    let decrypts = policy.decrypts(permit);
    assert!(!decrypts || sealed.is_err(), "what is to be decrypted passes sealed");
    let tls = if decrypts { "decrypted" } else { word(sealed) };
    let opaque = word(policy.admit_opaque(permit));
    assert_eq!(policy.passes_unread(permit), (tls, opaque) == ("passes", "passes"));
    (tls, opaque)
}

/// The same of a target's text.
fn of(policy: &Policy, text: &str) -> (&'static str, &'static str) {
    said(policy, &admit(policy, text).unwrap())
}

/// One document of an inspection, whose rules name `host.test`, `path.test`, `edit.test`, `move.test` and 8.8.8.8.
fn document(inspection: &str) -> String {
    let looks = "{match: {host: path.test, path: /a}, action: Deny}, \
        {match: {host: edit.test}, action: {type: Transform, headers: [{operation: Remove, name: A}]}}, \
        {match: {host: move.test}, action: {type: Rewrite, path: /b}}, ";
    let looks = if inspection == "None" { "" } else { looks };
    format!(
        "{{mode: Unrestricted, trafficInspection: {inspection}, \
         rules: [{looks}{{match: {{host: host.test}}, action: Allow}}, {{match: {{host: 8.8.8.8}}, action: Allow}}]}}"
    )
}

/// The documents of a text under an authority, loaded as if that had been there at first.
fn under(text: &str, authority: Authority, exclude: &[&str]) -> Policy {
    let (set, problems) = set_over(text, Guards::default(), None);
    assert_eq!(problems, []);
    let set = set.with_guards(Arc::new(intercepting(authority, exclude)));
    set.policy_for("sbx", Some("grp"), false)
}

#[test]
fn i1_every_row_of_the_table_of_inspection_holds() {
    let hung = ("decrypted", "not_http");
    for (inspection, other, host, edit) in [
        ("None", ("passes", "passes"), ("passes", "passes"), ("passes", "passes")),
        ("Partial", ("passes", "passes"), ("decrypted", "passes"), ("decrypted", "passes")),
        ("Legacy", ("decrypted", "passes"), ("decrypted", "passes"), ("decrypted", "passes")),
        ("Full", ("decrypted", "not_http"), ("decrypted", "not_http"), ("decrypted", "not_http")),
    ] {
        for authority in [Authority::Present, Authority::Unknown] {
            let policy = under(&layers(&[("Global", &document(inspection))]), authority, &[]);
            assert_eq!(of(&policy, "other.test:443"), other, "{inspection}");
            assert_eq!(of(&policy, "9.9.9.9:443"), other, "{inspection}");
            assert_eq!(of(&policy, "host.test:443"), host, "{inspection}");
            assert_eq!(of(&policy, "8.8.8.8:443"), host, "{inspection}");
            assert_eq!(of(&policy, "[::ffff:8.8.8.8]:443"), host, "{inspection}");
            assert_eq!(of(&policy, "edit.test:443"), edit, "{inspection}");
            if inspection != "None" {
                assert_eq!(of(&policy, "path.test:443"), hung, "{inspection}");
                assert_eq!(of(&policy, "move.test:443"), hung, "{inspection}");
            }
        }
    }
}

#[test]
fn i1_where_nothing_can_be_decrypted_what_has_to_be_does_not_pass() {
    for (inspection, other, opaque) in [
        ("None", "passes", "passes"),
        ("Partial", "passes", "passes"),
        ("Legacy", "policy_error", "passes"),
        ("Full", "policy_error", "not_http"),
    ] {
        let policy = under(&layers(&[("Global", &document(inspection))]), Authority::Missing, &[]);
        assert_eq!(of(&policy, "other.test:443"), (other, opaque), "{inspection}");
        assert_eq!(of(&policy, "host.test:443"), (other, opaque), "{inspection}");
        if inspection != "None" {
            assert_eq!(of(&policy, "edit.test:443"), ("policy_error", opaque), "{inspection}");
            assert_eq!(of(&policy, "path.test:443"), ("rule_denied", "not_http"), "{inspection}");
            assert_eq!(of(&policy, "move.test:443"), ("rule_denied", "not_http"), "{inspection}");
        }
    }
}

#[test]
fn i2_what_the_operator_excludes_passes_sealed_unless_the_verdict_hangs_on_the_request() {
    let exclude = ["*.test", "pinned.example:443"];
    for inspection in ["Partial", "Legacy", "Full"] {
        let policy = under(&layers(&[("Global", &document(inspection))]), Authority::Present, &exclude);
        let opaque = if inspection == "Full" { "not_http" } else { "passes" };
        assert_eq!(of(&policy, "host.test:443"), ("passes", opaque), "{inspection}");
        assert_eq!(of(&policy, "edit.test:443"), ("passes", opaque), "{inspection}");
        assert_eq!(of(&policy, "path.test:443"), ("rule_denied", "not_http"), "{inspection}");
        assert_eq!(of(&policy, "move.test:443"), ("rule_denied", "not_http"), "{inspection}");
        assert_eq!(of(&policy, "pinned.example:443").0, "passes", "{inspection}");
        let other = if inspection == "Partial" { "passes" } else { "decrypted" };
        assert_eq!(of(&policy, "pinned.example:8443").0, other, "{inspection}");
    }
}

#[test]
fn i2_a_literal_is_judged_by_its_name_too_and_not_excluded_by_it() {
    let policy = under(&layers(&[("Global", &document("Partial"))]), Authority::Present, &["*.test"]);
    let named = |text: &str, name: &str| {
        policy.admit_alias(admit(&policy, text).unwrap(), &Host::parse(name).unwrap()).unwrap()
    };
    assert_eq!(of(&policy, "9.9.9.9:443"), ("passes", "passes"));
    assert_eq!(said(&policy, &named("9.9.9.9:443", "other.test")), ("passes", "passes"));
    assert_eq!(said(&policy, &named("9.9.9.9:443", "host.test")), ("decrypted", "passes"));
    assert_eq!(said(&policy, &named("9.9.9.9:443", "path.test")), ("decrypted", "not_http"));
    assert_eq!(said(&policy, &named("8.8.8.8:443", "other.test")), ("decrypted", "passes"));
}

#[test]
fn the_strongest_inspection_of_all_documents_holds() {
    for (above, below, tls) in [
        ("None", "Partial", "decrypted"),
        ("Partial", "None", "passes"),
        ("Legacy", "None", "decrypted"),
        ("None", "Full", "decrypted"),
    ] {
        let (host, open) = (document(below), format!("{{mode: Unrestricted, trafficInspection: {above}}}"));
        let text = layers(&[("Global", &open), ("Sandbox", &host)]);
        let policy = under(&text, Authority::Present, &[]);
        let found = of(&policy, "host.test:443").0;
        let expected = if (above, below) == ("Partial", "None") { "decrypted" } else { tls };
        assert_eq!(found, expected, "{above} {below}");
    }
}

#[test]
fn a_document_that_reports_decrypts_and_keeps_nothing_from_passing() {
    let report = |inspection: &str| document(inspection).replace("{mode:", "{enforcement: Report, mode:");
    let policy = under(&layers(&[("Global", &report("Full"))]), Authority::Present, &[]);
    for host in ["other.test:443", "path.test:443", "move.test:443"] {
        assert_eq!(of(&policy, host), ("decrypted", "passes"), "{host}");
    }
    let policy = under(&layers(&[("Global", &report("Full"))]), Authority::Missing, &[]);
    assert_eq!(of(&policy, "other.test:443"), ("passes", "passes"));
    let both = layers(&[("Global", &report("Full")), ("Sandbox", "{mode: Unrestricted}")]);
    assert_eq!(of(&under(&both, Authority::Present, &[]), "other.test:443"), ("decrypted", "passes"));
}

#[test]
fn p2_a_permit_of_another_policy_passes_nothing_where_documents_cannot_be_asked() {
    let open = policy("{mode: Unrestricted}");
    let permit = admit(&open, "a.test:443").unwrap();
    let weak = layers(&[
        ("Global", "{mode: Unrestricted, trafficInspection: Legacy, constraints: {minInspection: Legacy}}"),
        ("Sandbox", "{mode: Unrestricted, trafficInspection: Partial}"),
    ]);
    let weak = under(&weak, Authority::Present, &[]);
    assert_eq!(a(&weak, "a.test:443"), "policy_error");
    for policy in [&weak, &PolicySet::default().policy_for("sbx", None, false)] {
        assert!(policy.admit_opaque(&permit).is_err() && policy.admit_sealed(&permit).is_err());
        assert!(!policy.passes_unread(&permit));
    }
}

#[test]
fn a_document_that_needs_decryption_does_not_load_without_an_authority() {
    let rules = |rule: &str| format!("{{mode: Limited, rules: [{rule}]}}");
    for (spec, line) in [
        ("{trafficInspection: Full}".to_owned(), "p.yaml:1:1"),
        ("{trafficInspection: Legacy}".to_owned(), "p.yaml:1:1"),
        (rules("{match: {host: x.test, path: /a}, action: Allow}"), "p.yaml:3:"),
        (rules("{match: {host: x.test, methods: [GET]}, action: Deny}"), "p.yaml:3:"),
        (rules("{match: {host: x.test}, action: {type: Rewrite, path: /}}"), "p.yaml:3:"),
        (
            rules(
                "{match: {host: x.test}, action: {type: Transform, headers: [{operation: Remove, name: A}]}}",
            ),
            "p.yaml:3:",
        ),
    ] {
        let text = layers(&[("Global", &spec)]);
        let (set, problems) = set_over(&text, intercepting(Authority::Missing, &[]), None);
        assert!(set.units().next().is_none(), "{spec}");
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        for part in [line, "`intercept` authority", "sluicegate ca init DIR", "{certificate, key}"] {
            assert!(told[0].contains(part), "{part}: {told:?}");
        }
        for authority in [Authority::Present, Authority::Unknown] {
            let (set, problems) = set_over(&text, intercepting(authority, &[]), None);
            assert_eq!((set.units().count(), problems.len()), (1, 0), "{problems:?}");
        }
    }
    for spec in [
        rules("{match: {host: x.test}, action: Deny}, {match: {host: \"*\"}, action: Allow}"),
        "{trafficInspection: None, rules: [{match: {host: x.test}, action: Deny}]}".to_owned(),
        "{mode: Unrestricted}".to_owned(),
    ] {
        let (set, problems) =
            set_over(&layers(&[("Global", &spec)]), intercepting(Authority::Missing, &[]), None);
        let errors = problems.iter().filter(|problem| problem.is_error()).count();
        assert_eq!((set.units().count(), errors), (1, 0), "{problems:?}");
    }
}
