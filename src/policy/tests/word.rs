//! Who decided, and what is said about it.

use super::*;

#[test]
fn a_cause_names_the_rule_and_its_line() {
    let text = "mode: Limited\nhostRules:\n  - a.example\n  - {pattern: b.example, action: Deny}\ncidrRules:\n  - {cidr: 9.0.0.0/8, action: Allow}\nrules:\n  - {name: no-c, match: {host: c.example}, action: Deny}\n  - {match: {host: d.example}, action: Allow}\ncategories:\n  - package-registries/npm\n  - package-registries\n";
    let policy = policy_over(text, Guards::default());
    let said = |asked: &str| {
        let cause = admit(&policy, asked)
            .map_or_else(|denial| denial.cause().unwrap().clone(), |permit| permit.cause().clone());
        assert_eq!(cause.policy().as_ref(), "p");
        (cause.rule().unwrap_or_default(), cause.place().line)
    };
    for (asked, rule, line) in [
        ("a.example:443", "hostRules[0] a.example", 3),
        ("b.example:443", "hostRules[1] b.example", 4),
        ("9.9.9.9:443", "cidrRules[0] 9.0.0.0/8", 6),
        ("c.example:443", "no-c", 8),
        ("d.example:443", "rules[1] d.example", 9),
        ("registry.npmjs.org:443", "categories[0] package-registries/npm", 11),
        ("pypi.org:443", "categories[1] package-registries", 12),
        ("z.example:443", "", 1),
        ("a.example:8443", "hostRules[0] a.example", 3),
        ("pypi.org:8443", "categories[1] package-registries", 12),
    ] {
        assert_eq!(said(asked), (rule.to_owned(), line), "{asked}");
    }
}

#[test]
fn every_denial_says_what_happened_and_what_to_change() {
    let spec = "{mode: Limited, hostRules: [a.example, {pattern: b.example, action: Deny}], cidrRules: [{cidr: 9.0.0.0/8, action: Deny}], rules: [{match: {host: c.example}, action: Deny}, {match: {host: o.example, path: /x}, action: Allow}]}";
    let policy = policy(spec);
    let at = "policy `global-doc` (p.yaml:3:";
    let denied = |asked: &str| {
        let denial = match admit(&policy, asked) {
            Ok(permit) => policy.admit_sealed(&permit).unwrap_err(),
            Err(denial) => denial,
        };
        (denial.message(asked), denial.hint(Some(&target(asked))).unwrap())
    };
    for (asked, message, hint) in [
        (
            "b.example:443",
            "b.example:443 is denied by hostRules[1] b.example of Global policy `global-doc`",
            "remove or narrow hostRules[1] b.example of ",
        ),
        (
            "9.9.9.9:443",
            "9.9.9.9:443 is denied by cidrRules[0] 9.0.0.0/8 of Global policy `global-doc`",
            "remove or narrow cidrRules[0] 9.0.0.0/8 of ",
        ),
        (
            "c.example:443",
            "c.example:443 is denied by rules[0] c.example of Global policy `global-doc`",
            "change rules[0] c.example of ",
        ),
        (
            "a.example:8443",
            "a.example:8443 is allowed, but not on this port: denied by hostRules[0] a.example of Global policy `global-doc`",
            "add 8443 to ports of ",
        ),
        (
            "o.example:443",
            "o.example:443: a rule asks for a path or method, which cannot be seen inside TLS that is not decrypted",
            "rules[1] o.example of ",
        ),
    ] {
        let (said, advised) = denied(asked);
        assert_eq!(said, message);
        assert!(advised.starts_with(&format!("{hint}{at}")), "{advised}");
    }
    assert!(denied("a.example:8443").1.ends_with("or write the pattern as \"a.example:8443\""));
    for (asked, line) in [
        ("z.example:443", "add \"z.example\" to hostRules of "),
        ("z.example:22", "add \"z.example:22\" to hostRules of "),
        ("[2606:4700::1]:443", "add \"[2606:4700::1]\" to hostRules of "),
    ] {
        let (said, advised) = denied(asked);
        assert_eq!(
            said,
            format!("{asked} is not on the allow-list: denied by default by Global policy `global-doc`")
        );
        assert!(advised.starts_with(&format!("{line}policy `global-doc` (p.yaml:1:1)")), "{advised}");
    }
}

#[test]
fn what_no_rule_for_its_host_fits_is_told_to_change_the_rule_and_not_to_open_the_host() {
    let spec = "{mode: Limited, rules: [{match: {host: '*.example', path: /b, methods: [PUT]}, action: Allow}, {name: read, match: {host: x.example, path: /a/*, methods: [GET]}, action: Allow}, {match: {host: y.test, path: /x}, action: Deny}]}";
    let policy = policy(spec);
    let ask = |asked: &str, path: &str| {
        let permit = admit(&policy, asked)?;
        let facts = RequestFacts { method: "GET", path, secure: true };
        policy.admit_request(&permit, &facts)
    };
    let told = |asked: &str, path: &str| {
        let denial = ask(asked, path).unwrap_err();
        assert_eq!(denial.reason(), Reason::DefaultDeny, "{asked}");
        (denial.message(asked), denial.hint(Some(&target(asked))).unwrap())
    };
    assert!(ask("x.example:443", "/a/1").is_ok());
    let (message, hint) = told("x.example:443", "/c");
    assert!(message.contains("has rules, and none of them fits this method and path"), "{message}");
    assert!(hint.starts_with("let rules[0] *.example of policy `global-doc` (p.yaml:3:"), "{hint}");
    assert!(!hint.starts_with("add"), "{hint}");
    let (_, hint) = told("x.example:8443", "/a/1");
    assert!(
        hint.starts_with("add 8443 to ports of the policy, or to the host of rules[0] *.example"),
        "{hint}"
    );
    let own =
        "{mode: Limited, rules: [{name: read, match: {host: 'x.example:8443', path: /a}, action: Allow}]}";
    let policy = super::policy(own);
    let permit = admit(&policy, "x.example:8443").unwrap();
    let facts = RequestFacts { method: "GET", path: "/c", secure: true };
    let denial = policy.admit_request(&permit, &facts).unwrap_err();
    assert!(denial.hint(Some(&target("x.example:8443"))).unwrap().starts_with("let read of policy"));
    // A host that rules only deny is opened by an entry of hostRules, and they hold all the same.
    let (message, hint) = told("y.test:443", "/");
    assert!(message.contains("is not on the allow-list"), "{message}");
    assert!(hint.starts_with("add \"y.test\" to hostRules"), "{hint}");
}

#[test]
fn a_literal_that_a_guard_would_hold_is_not_told_to_add_a_host_rule() {
    let own = Guards { sockets: vec!["127.0.0.1:9901".parse().unwrap()], ..Guards::default() };
    let exempt = Guards { exempt: vec!["127.0.0.8/29".parse().unwrap()], ..own.clone() };
    for (guards, asked, hint) in [
        (&own, "10.0.0.9:443", "if 10.0.0.9 is meant, add a cidrRules Allow"),
        (&own, "8.8.8.8:25", "add a cidrRules Allow for 8.8.8.8 with ports: [25]"),
        (&own, "127.0.0.1:9901", "no policy can allow 127.0.0.1:9901: it is the gateway itself"),
        (&own, "[::ffff:127.0.0.1]:9901", "it is the gateway itself"),
        (
            &own,
            "169.254.169.254:80",
            "no policy can allow 169.254.169.254; the operator may set guards.exempt",
        ),
        (&exempt, "127.0.0.9:8000", "add \"127.0.0.9:8000\" to hostRules"),
        (&own, "8.8.8.8:443", "add \"8.8.8.8\" to hostRules"),
    ] {
        let text = layers(&[("Global", "{mode: Limited, hostRules: [a.example]}")]);
        let policy = policy_over(&text, guards.clone());
        let denial = admit(&policy, asked).unwrap_err();
        assert_eq!(denial.reason(), Reason::DefaultDeny, "{asked}");
        let advised = denial.hint(Some(&target(asked))).unwrap();
        assert!(advised.contains(hint), "{asked}: {advised}");
    }
}

#[test]
fn a_guard_says_which_address_and_who_could_lift_it() {
    let open = policy(OPEN);
    for (port, at, message, hint) in [
        (443, "10.0.0.1", "10.0.0.1 is a private or special-purpose address", Some("add a cidrRules Allow")),
        (25, "8.8.8.8", "port 25 is closed", Some("ports: [25]")),
        (443, "127.0.0.1", "127.0.0.1 is never reached through this gateway", Some("guards.exempt")),
        (443, "169.254.169.254", "169.254.169.254 is never reached", Some("guards.exempt")),
    ] {
        let denial = address(&open, &format!("a.example:{port}"), at).unwrap_err();
        assert!(
            denial.message("a.example").starts_with("a.example: ")
                && denial.message("a.example").contains(message)
        );
        assert_eq!(
            denial.hint(None).is_some_and(|text| hint.is_some_and(|hint| text.contains(hint))),
            hint.is_some()
        );
        assert!(denial.cause().is_none());
    }
    for reason in Reason::ALL {
        let denial = Denial::new(reason, "");
        let texts = [denial.message("a.example:443"), denial.hint(None).unwrap_or_default()];
        assert!(texts.iter().all(|text| !text.contains("``") && !text.contains("()")), "{texts:?}");
        assert_eq!(Reason::from_code(reason.as_str()), Some(reason));
    }
}

#[test]
fn the_advice_holds_when_it_is_followed() {
    let before = policy("{mode: Limited, hostRules: [a.example]}");
    assert_eq!((a(&before, "z.example:22"), a(&before, "a.example:8443")), ("default_deny", "port_denied"));
    let after = policy("{mode: Limited, hostRules: [a.example, 'z.example:22', 'a.example:8443']}");
    assert_eq!((a(&after, "z.example:22"), a(&after, "a.example:8443")), ("Allow", "Allow"));
}
