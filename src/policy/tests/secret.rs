//! §9: who may use a secret, and where it may go.

use super::change::sent;
use super::*;

/// A `Secret` document.
fn secret(about: &str, spec: &str) -> String {
    format!("kind: Secret\nmetadata: {{{about}}}\nspec: {{{spec}}}\n---\n")
}

/// One key.
const KEY: &str = "keys: {token: {env: T}}";

/// A spec with one rule that sets `authorization` to a secret.
fn spec(host: &str, reference: &str) -> String {
    using(host, "type: Transform", reference)
}

/// The same with another action.
fn using(host: &str, action: &str, reference: &str) -> String {
    format!(
        "{{mode: Unrestricted, rules: [{{match: {{host: \"{host}\"}}, action: {{{action}, headers: \
         [{{operation: Set, name: Authorization, valueRef: {{secretRef: {{{reference}}}}}}}]}}}}]}}"
    )
}

/// What becomes of a request under the documents of a text, which may be wrong.
fn ask(text: &str, to: &str, secure: bool) -> String {
    let policy = policy_over(text, Guards::default());
    admit(&policy, to)
        .map_or_else(|denial| denial.reason().to_string(), |permit| sent(&policy, &permit, "/", secure))
}

/// What is wrong with the documents of a text.
fn problems(text: &str) -> Vec<String> {
    set_over(text, Guards::default(), None).1.iter().map(ToString::to_string).collect()
}

#[test]
fn l2_a_secret_goes_over_verified_tls_and_to_its_hosts_only() {
    let text = secret("name: s", &format!("{KEY}, hosts: [x.test, \"*.y.test:8443\"]"))
        + &layers(&[("Global", &spec("*", "secretId: s"))]);
    for (to, secure, answer) in [
        ("x.test:443", true, "authorization=<s/token>"),
        ("x.test:80", false, "secret_host_mismatch"),
        ("x.test:443", false, "secret_host_mismatch"),
        ("z.test:443", true, "secret_host_mismatch"),
        ("a.x.test:443", true, "secret_host_mismatch"),
        ("a.y.test:8443", true, "authorization=<s/token>"),
        ("a.y.test:443", true, "secret_host_mismatch"),
    ] {
        assert_eq!(ask(&text, to, secure), answer, "{to} {secure}");
    }
    let policy = policy_over(&text, Guards::default());
    let permit = admit(&policy, "x.test:80").unwrap();
    let facts = RequestFacts { method: "GET", path: "/", secure: false };
    let denial = policy.admit_request(&permit, &facts).unwrap_err();
    assert!(
        denial.detail().contains("verified TLS only") && denial.detail().contains("plain text"),
        "{}",
        denial.detail()
    );
    assert!(denial.hint(None).unwrap().contains("https://"), "{:?}", denial.hint(None));
}

#[test]
fn l2_without_hosts_a_secret_is_bound_to_the_host_of_its_rule() {
    let own = secret("name: s", KEY);
    let text = own.clone() + &layers(&[("Global", &spec("x.test", "secretId: s"))]);
    assert_eq!(problems(&text), Vec::<String>::new());
    assert_eq!(ask(&text, "x.test:443", true), "authorization=<s/token>");
    let wild = own.clone() + &layers(&[("Global", &spec("*.x.test", "secretId: s"))]);
    let found = problems(&wild);
    assert!(
        found.len() == 1 && found[0].contains("has no `hosts`") && found[0].contains("p.yaml:7:"),
        "{found:?}"
    );
    let moved =
        own + &layers(&[("Global", &using("*.x.test", "type: Rewrite, host: y.test", "secretId: s"))]);
    assert_eq!(problems(&moved), Vec::<String>::new());
    assert_eq!(ask(&moved, "a.x.test:443", true), "authorization=<s/token> https://y.test:443/");
}

#[test]
fn l2_the_final_host_of_a_rewritten_request_is_what_a_secret_is_bound_to() {
    let own = secret("name: s", &format!("{KEY}, hosts: [x.test]"));
    let moved = using("x.test", "type: Rewrite, host: y.test", "secretId: s");
    let text = own.clone() + &layers(&[("Global", &moved)]);
    assert_eq!(ask(&text, "x.test:443", true), "secret_host_mismatch");
    assert!(problems(&text)[0].contains("not bound to `y.test`"), "{:?}", problems(&text));
    // Of two documents: the one above sets it for the old place, the one below leads away from there.
    let below =
        "{mode: Unrestricted, rules: [{match: {host: x.test}, action: {type: Rewrite, host: y.test}}]}";
    let text = own.clone() + &layers(&[("Global", &spec("x.test", "secretId: s")), ("Sandbox", below)]);
    assert_eq!(ask(&text, "x.test:443", true), "secret_host_mismatch");
    let text = own.replace("[x.test]", "[y.test]")
        + &layers(&[("Global", &spec("y.test", "secretId: s")), ("Sandbox", below)]);
    assert_eq!(ask(&text, "x.test:443", true), "authorization=<s/token> https://y.test:443/");
    let secure = using("x.test", "type: Rewrite, scheme: https", "secretId: s");
    let text = own + &layers(&[("Global", &secure)]);
    assert_eq!(ask(&text, "x.test:80", false), "authorization=<s/token> https://x.test:443/");
}

#[test]
fn l2_a_secret_of_a_name_does_not_go_to_an_address_that_the_client_chose() {
    let text = secret("name: s", KEY) + &layers(&[("Global", &spec("x.test", "secretId: s"))]);
    let policy = policy_over(&text, Guards::default());
    let permit = admit(&policy, "8.8.8.8:443").unwrap();
    let permit = policy.admit_alias(permit, &Host::parse("x.test").unwrap()).unwrap();
    assert_eq!(sent(&policy, &permit, "/", true), "secret_host_mismatch");
}

#[test]
fn l2_a_token_of_an_identity_goes_to_the_host_of_its_rule_over_tls() {
    let spec = "{mode: Unrestricted, rules: [{match: {host: x.test}, action: {type: Transform, headers: [{operation: Insert, name: A, \
        valueRef: {managedIdentityRef: {type: SystemAssigned, resource: \"https://r\"}}}]}}]}";
    let text = layers(&[("Global", spec)]);
    assert_eq!(ask(&text, "x.test:443", true), "a?<https://r>");
    assert_eq!(ask(&text, "x.test:80", false), "secret_host_mismatch");
    let away =
        "{mode: Unrestricted, rules: [{match: {host: x.test}, action: {type: Rewrite, host: y.test}}]}";
    assert_eq!(
        ask(&layers(&[("Global", spec), ("Sandbox", away)]), "x.test:443", true),
        "secret_host_mismatch"
    );
}

#[test]
fn l3_a_secret_is_seen_by_the_documents_of_its_group_only() {
    let used = spec("x.test", "secretId: s");
    for (about, scope, seen) in [
        ("name: s", "Global", true),
        ("name: s", "Group", true),
        ("name: s", "Sandbox", true),
        ("name: s, group: grp", "Global", false),
        ("name: s, group: grp", "Group", true),
        ("name: s, group: grp", "Sandbox", true),
        ("name: s, group: other", "Global", false),
        ("name: s, group: other", "Group", false),
        ("name: s, group: other", "Sandbox", false),
    ] {
        let text = secret(about, KEY) + &layers(&[(scope, &used)]);
        let found = problems(&text);
        assert_eq!(found.is_empty(), seen, "{about} {scope} {found:?}");
        if seen {
            assert_eq!(ask(&text, "x.test:443", true), "authorization=<s/token>");
        } else {
            assert!(found[0].contains("is not visible to a document for"), "{found:?}");
        }
    }
}

#[test]
fn l3_the_group_of_a_sandbox_is_the_one_of_the_process_configuration() {
    let text = secret("name: s, group: grp", KEY) + &layers(&[("Sandbox", &spec("x.test", "secretId: s"))]);
    let text = text.replace("group: grp, sandbox", "sandbox");
    let roster = |group: &str| {
        Roster::from([("sbx".into(), Some(group.into())), ("other".into(), Some("grp".into()))])
    };
    let (set, problems) = set_over(&text, Guards::default(), Some(&roster("grp")));
    assert_eq!(problems, []);
    let of = |group| {
        let policy = set.policy_for("sbx", group, false);
        sent(&policy, &admit(&policy, "x.test:443").unwrap(), "/", true)
    };
    assert_eq!(of(Some("grp")), "authorization=<s/token>");
    // As when it was moved to another group since.
    assert_eq!((of(Some("else")).as_str(), of(None).as_str()), ("secret_unavailable", "secret_unavailable"));
    let (_, problems) = set_over(&text, Guards::default(), Some(&roster("else")));
    assert!(problems[0].message.contains("not visible"), "{problems:?}");
    let nobodys = secret("name: s, group: nobody", KEY) + &layers(&[("Global", OPEN)]);
    let (_, problems) = set_over(&nobodys, Guards::default(), Some(&roster("grp")));
    assert!(problems[0].message.contains("no configured sandbox is in group"), "{problems:?}");
}

#[test]
fn a_groups_own_secret_comes_before_the_one_for_all() {
    let two = "keys: {token: {env: T}, other: {env: O}}";
    let text = secret("name: s", KEY) + &secret("name: s, group: grp", two);
    let text = text
        + &layers(&[
            ("Global", &spec("x.test", "secretId: s")),
            ("Group", &spec("x.test", "secretId: s, secretKey: other")),
        ]);
    assert_eq!(problems(&text), Vec::<String>::new());
    assert_eq!(ask(&text, "x.test:443", true), "authorization=<s/other> authorization=<s/token>");
}

#[test]
fn what_a_reference_lacks_is_told_where_it_stands() {
    let two = secret("name: s", "keys: {a: {env: A}, b: {env: B}}, hosts: [x.test]");
    for (text, part) in [
        (layers(&[("Global", &spec("x.test", "secretId: nothing"))]), "there is no secret `nothing`"),
        (
            two.clone() + &layers(&[("Global", &spec("x.test", "secretId: s, secretKey: c"))]),
            "has no key `c`",
        ),
        (two.clone() + &layers(&[("Global", &spec("x.test", "secretId: s"))]), "has several keys"),
    ] {
        let found = problems(&text);
        assert!(
            found.len() == 1 && found[0].contains(part) && found[0].contains("p.yaml:"),
            "{part} {found:?}"
        );
    }
    assert_eq!(
        ask(
            &(two + &layers(&[("Global", &spec("x.test", "secretId: s, secretKey: b"))])),
            "x.test:443",
            true
        ),
        "authorization=<s/b>"
    );
}

#[test]
fn l4_a_reference_that_leads_nowhere_any_more_denies_the_request() {
    let text = secret("name: s", KEY) + &layers(&[("Global", &spec("x.test", "secretId: s"))]);
    let (set, problems) = set_over(&text, Guards::default(), None);
    assert_eq!(problems, []);
    for (secrets, reason) in [
        (String::new(), "secret_unavailable"),
        (secret("name: s", "keys: {other: {env: A}, more: {env: B}}"), "secret_unavailable"),
        (secret("name: s", &format!("{KEY}, hosts: [y.test]")), "secret_host_mismatch"),
    ] {
        let written: Vec<_> =
            document::parse(&"s.yaml".into(), &secrets).secrets.into_iter().map(Arc::new).collect();
        let (secrets, _) = SecretSet::settle(&written, None, None);
        let mut draft =
            Draft::new(&CategoryLists::shipped(), None, Some(&set)).with_secrets(Arc::new(secrets));
        set.units().for_each(|unit| draft.reuse(unit));
        let (after, problems) = draft.finish(Arc::default());
        assert!(!problems.is_empty());
        assert!(!after.is_same(&set));
        let policy = after.policy_for("sbx", Some("grp"), false);
        let permit = admit(&policy, "x.test:443").unwrap();
        assert_eq!(sent(&policy, &permit, "/", true), reason);
    }
}

#[test]
fn l6_a_placeholder_stands_for_a_secret_that_allows_it_toward_its_hosts_only() {
    let hosts = "hosts: [x.test], placeholder: true";
    let text = secret("name: s", &format!("{KEY}, scrub: Always, {hosts}"))
        + &secret("name: two, group: grp", &format!("keys: {{a: {{env: A}}, b: {{env: B}}}}, {hosts}"))
        + &secret("name: foreign, group: other", &format!("{KEY}, {hosts}"))
        + &secret("name: closed", &format!("{KEY}, hosts: [x.test]"))
        + &layers(&[("Global", OPEN)]);
    let policy = policy_over(&text, Guards::default());
    let ask = |id: &str, key, to: &str, secure| {
        let permit = admit(&policy, to).unwrap();
        let used = policy.admit_placeholder(&permit, id, key, secure);
        used.map_or_else(|denial| denial.reason().to_string(), |used| used.name.to_string())
    };
    for (id, key, to, secure, answer) in [
        ("s", None, "x.test:443", true, "s/token"),
        ("s", Some("token"), "x.test:443", true, "s/token"),
        ("s", Some("other"), "x.test:443", true, "secret_unavailable"),
        ("s", None, "y.test:443", true, "secret_host_mismatch"),
        ("s", None, "x.test:80", false, "secret_host_mismatch"),
        ("two", None, "x.test:443", true, "secret_unavailable"),
        ("two", Some("b"), "x.test:443", true, "two/b"),
        ("foreign", None, "x.test:443", true, "secret_unavailable"),
        ("closed", None, "x.test:443", true, "secret_unavailable"),
        ("nothing", None, "x.test:443", true, "secret_unavailable"),
    ] {
        assert_eq!(ask(id, key, to, secure), answer, "{id} {key:?} {to}");
    }
    let permit = admit(&policy, "x.test:443").unwrap();
    let used = policy.admit_placeholder(&permit, "s", None, true).unwrap();
    assert_eq!((used.scrub, used.format.parts()), (document::Scrub::Always, ("", "")));
    let told = |id: &str| {
        let denial = policy.admit_placeholder(&permit, id, None, true).unwrap_err();
        assert!(denial.hint(None).is_some());
        denial.detail().replace(id, "ID")
    };
    assert_eq!(told("closed"), told("nothing"), "whether a secret is there is not told");
    assert_eq!(told("foreign"), told("nothing"));
    let long = policy.admit_placeholder(&permit, &"x\u{1b}".repeat(500), None, true).unwrap_err();
    assert!(long.detail().len() < 300 && !long.detail().contains('\u{1b}'));
    let nobody = PolicySet::default().policy_for("sbx", None, false);
    assert_eq!(nobody.admit_placeholder(&permit, "s", None, true).unwrap_err().reason(), Reason::NoPolicy);
}

#[test]
fn s1_a_secret_of_a_literal_goes_to_no_name_that_a_client_gives_it() {
    for (hosts, reference, answer) in [
        (", hosts: [\"192.0.2.7\"]", "secretId: s", "secret_host_mismatch"),
        (", hosts: [x.test]", "secretId: s", "secret_host_mismatch"),
        ("", "secretId: s", "secret_host_mismatch"),
        (", hosts: [\"192.0.2.7\", x.test]", "secretId: s", "authorization=<s/token>"),
    ] {
        let text = secret("name: s", &format!("{KEY}{hosts}"))
            + &layers(&[("Global", &spec("192.0.2.7", reference))]);
        let policy = policy_over(&text, Guards::default());
        let permit = admit(&policy, "192.0.2.7:443").unwrap();
        let permit = policy.admit_alias(permit, &"x.test".parse().unwrap()).unwrap();
        assert_eq!(sent(&policy, &permit, "/", true), answer, "{hosts}");
    }
}
