//! `skipEgressProxy`: which documents are not asked, and what holds all the same.

use super::*;

/// Permits documents below to skip.
const PERMITS: &str = "constraints: {skipEgressProxy: Permitted}";

/// An operator who permits it.
fn permitting() -> Guards {
    Guards { skip_permitted: true, ..Guards::default() }
}

/// The policy of `sbx` where the operator permits skipping.
fn skipping(all: &[(&str, &str)]) -> Policy {
    policy_over(&layers(all), permitting())
}

#[test]
fn p8_a_skipping_document_counts_only_where_everybody_above_it_permits() {
    let above = format!("{{mode: Unrestricted, {PERMITS}}}");
    let skip = "{mode: Limited, skipEgressProxy: true}";
    for (all, guards, good) in [
        (vec![("Global", skip)], permitting(), true),
        (vec![("Global", skip)], Guards::default(), false),
        (vec![("Global", above.as_str()), ("Sandbox", skip)], permitting(), true),
        (vec![("Global", above.as_str()), ("Sandbox", skip)], Guards::default(), false),
        (vec![("Global", OPEN), ("Sandbox", skip)], permitting(), false),
        (vec![("Global", above.as_str()), ("Group", OPEN), ("Sandbox", skip)], permitting(), false),
        (vec![("Global", above.as_str()), ("Group", above.as_str()), ("Sandbox", skip)], permitting(), true),
    ] {
        let (set, _) = set_over(&layers(&all), guards, None);
        let conflicts = set.conflicts(None);
        let policy = set.policy_for("sbx", Some("grp"), false);
        let said = a(&policy, "any.example:443");
        assert_eq!(
            (said, conflicts.is_empty()),
            (if good { "Allow" } else { "policy_error" }, good),
            "{all:?}"
        );
        assert_eq!(set.skipping(), usize::from(good), "{all:?}");
        assert!(good || conflicts[0].message.contains("skipEgressProxy: true"), "{conflicts:?}");
    }
}

#[test]
fn documents_at_and_above_it_are_not_asked_and_those_below_are() {
    let above = format!(
        "{{mode: Limited, trafficInspection: Full, cidrRules: [{{cidr: 20.0.0.0/8, action: Deny}}], hostRules: [{{pattern: no.example, action: Deny}}], {PERMITS}}}"
    );
    let skip = "{mode: Limited, skipEgressProxy: true, rules: [{match: {host: r.example}, action: {type: Transform, headers: [{operation: Set, name: x-a, value: b}]}}]}";
    let whole = skipping(&[("Global", &above), ("Group", skip)]);
    let permit = admit(&whole, "no.example:8443").unwrap();
    assert!(permit.is_skipped());
    assert_eq!((&**permit.cause().policy(), permit.cause().rule_id()), ("group-doc", None));
    assert_eq!(b(&whole, "no.example:443", "20.1.1.1"), "Allow");
    let below = skipping(&[
        ("Global", &above),
        ("Group", skip),
        ("Sandbox", "{mode: Limited, hostRules: [ok.example]}"),
    ]);
    assert_eq!((a(&below, "no.example:443"), a(&below, "ok.example:443")), ("default_deny", "Allow"));
    let permit = admit(&below, "ok.example:443").unwrap();
    assert_eq!(
        (&**permit.cause().policy(), permit.cause().rule()),
        ("sandbox-doc", Some("hostRules[0] ok.example".into()))
    );
    assert_eq!(b(&below, "ok.example:443", "20.1.1.1"), "Allow", "the cidrRules above are not asked");
}

#[test]
fn a_call_counts_as_skipped_wherever_a_document_that_applies_was_not_asked() {
    let skip = "{mode: Limited, skipEgressProxy: true}";
    let skip_permits = format!("{{mode: Limited, skipEgressProxy: true, {PERMITS}}}");
    let permits = format!("{{mode: Unrestricted, {PERMITS}}}");
    let reports = "{mode: Limited, enforcement: Report}";
    let edits = "{mode: Unrestricted, trafficInspection: Full, rules: [{match: {host: a.example}, action: {type: Transform, headers: [{operation: Set, name: x-a, value: b}]}}]}";
    // Each: whether it counts as skipped, whether nothing is asked at all, and the document that is named.
    for (all, skipped, unasked, named) in [
        (vec![("Global", OPEN)], false, false, "global-doc"),
        (vec![("Global", permits.as_str()), ("Sandbox", OPEN)], false, false, "sandbox-doc"),
        (vec![("Global", skip)], true, true, "global-doc"),
        (vec![("Global", skip), ("Sandbox", edits)], true, false, "sandbox-doc"),
        (vec![("Global", skip), ("Group", OPEN), ("Sandbox", reports)], true, false, "group-doc"),
        (vec![("Global", skip), ("Sandbox", reports)], true, false, "global-doc"),
        (vec![("Global", &permits), ("Group", skip), ("Sandbox", edits)], true, false, "sandbox-doc"),
        (vec![("Global", &skip_permits), ("Group", skip)], true, true, "group-doc"),
        (vec![("Global", &permits), ("Sandbox", skip)], true, true, "sandbox-doc"),
    ] {
        let policy = skipping(&all);
        let permit = admit(&policy, "a.example:443").unwrap();
        let query = policy.admit_query(target("a.example:443").host().name().unwrap()).unwrap();
        let facts = RequestFacts { method: "GET", path: "/", secure: true };
        let request = policy.admit_request(&permit, &facts).unwrap();
        let found = [permit.is_skipped(), query.is_skipped(), request.is_skipped()];
        assert_eq!((found, &**permit.cause().policy()), ([skipped; 3], named), "{all:?}");
        assert_eq!(&**request.cause().policy(), named, "{all:?}");
        let by =
            all.iter().rfind(|(_, spec)| spec.contains("skipEgressProxy: true")).map(|(scope, _)| *scope);
        assert_eq!(policy.skipping().map(|document| document.scope().kind()), by, "{all:?}");
        // What hangs on nothing being asked hangs on nothing else.
        let edited = all.iter().any(|(_, spec)| *spec == edits);
        assert_eq!((policy.decrypts(&permit), request.plan().is_empty()), (edited, !edited), "{all:?}");
        let placeholder = policy.admit_placeholder(&permit, "any", None, true).unwrap_err();
        assert_eq!(placeholder.message("").contains("skipEgressProxy"), unasked, "{all:?}");
        let lifted = if unasked { "Allow" } else { "guard_private" };
        assert_eq!(b(&policy, "a.example:443", "10.0.0.5"), lifted, "{all:?}");
    }
}

#[test]
fn a_request_that_a_document_below_rewrites_counts_as_skipped_at_its_new_place_too() {
    let rewrites =
        "{mode: Unrestricted, rules: [{match: {host: a.example}, action: {type: Rewrite, host: b.example}}]}";
    let policy = skipping(&[("Global", "{mode: Limited, skipEgressProxy: true}"), ("Sandbox", rewrites)]);
    let mut request = request(&policy, "a.example:80", "GET", "/").unwrap();
    assert!(request.is_skipped() && request.rewritten().unwrap().permit.is_skipped());
}

#[test]
fn nothing_is_decrypted_edited_or_put_in() {
    let skip = "{mode: Limited, skipEgressProxy: true, trafficInspection: Full, rules: [{match: {host: r.example, path: /x}, action: {type: Transform, headers: [{operation: Set, name: x-a, value: b}]}}]}";
    for authority in [Authority::Present, Authority::Unknown] {
        let guards = Guards { skip_permitted: true, ..intercepting(authority, &[]) };
        let policy = policy_over(&layers(&[("Global", skip)]), guards);
        let permit = admit(&policy, "r.example:443").unwrap();
        assert!(permit.open().is_none() && !policy.decrypts(&permit) && policy.passes_unread(&permit));
        assert!(policy.admit_opaque(&permit).is_ok() && policy.admit_sealed(&permit).is_ok());
        let facts = RequestFacts { method: "GET", path: "/x", secure: true };
        let request = policy.admit_request(&permit, &facts).unwrap();
        assert!(request.is_skipped() && request.plan().is_empty() && !request.decides_by_request());
        let denial = policy.admit_placeholder(&permit, "any", None, true).unwrap_err();
        assert_eq!(denial.reason(), Reason::SecretUnavailable);
    }
}

#[test]
fn hard_guards_hold_and_soft_ones_where_a_document_below_does_not_lift_them() {
    let whole = skipping(&[("Global", "{mode: Limited, skipEgressProxy: true}")]);
    for (address, said) in [
        ("10.0.0.5", "Allow"),
        ("fd00::1", "Allow"),
        ("127.0.0.1", "guard_local"),
        ("169.254.169.254", "guard_metadata"),
        ("64:ff9b::a9fe:a9fe", "guard_metadata"),
    ] {
        assert_eq!(b(&whole, "any.example:443", address), said, "{address}");
    }
    assert_eq!(b(&whole, "any.example:25", "8.8.8.8"), "Allow");
    let global = format!("{{mode: Limited, skipEgressProxy: true, {PERMITS}}}");
    let below = skipping(&[("Global", &global), ("Sandbox", OPEN)]);
    assert_eq!(b(&below, "any.example:443", "10.0.0.5"), "guard_private");
    let lifting = "{mode: Unrestricted, cidrRules: [{cidr: 10.0.0.0/8, action: Allow}]}";
    let below = skipping(&[("Global", &global), ("Sandbox", lifting)]);
    assert_eq!(b(&below, "any.example:443", "10.0.0.5"), "Allow");
}

#[test]
fn port_25_of_a_managed_path_that_gets_names_is_closed_only_where_a_document_is_asked() {
    let mut guards = permitting();
    guards.networks.managed_by_name = true;
    let skip = "{mode: Limited, skipEgressProxy: true}";
    let said = |all: &[(&str, &str)], text: &str| {
        let policy = policy_over(&layers(all), guards.clone());
        let given = policy.admit_by_name(&admit(&policy, text).unwrap());
        given.map_or_else(
            |denial| denial.reason().as_str(),
            |permit| if permit.is_some() { "given" } else { "judged" },
        )
    };
    let any = "{mode: Unrestricted, ports: [1-65535]}";
    assert_eq!(said(&[("Global", skip)], "mail.example:25"), "given");
    assert_eq!(said(&[("Global", skip)], "localhost:25"), "guard_local");
    assert_eq!(said(&[("Global", skip), ("Sandbox", any)], "mail.example:25"), "guard_port");
    assert_eq!(said(&[("Global", any)], "mail.example:25"), "guard_port");
}

#[test]
fn names_must_still_agree() {
    let policy = skipping(&[("Global", "{mode: Limited, skipEgressProxy: true}")]);
    let permit = admit(&policy, "a.example:443").unwrap();
    assert_eq!(policy.admit_nameless_tls(&permit).unwrap_err().reason(), Reason::SniMissing);
    let denial = policy.admit_alias(permit, &Host::parse("b.example").unwrap()).unwrap_err();
    assert_eq!(denial.reason(), Reason::AuthorityMismatch);
    let query = policy.admit_query(target("a.example:443").host().name().unwrap()).unwrap();
    assert!(query.is_skipped());
}

#[test]
fn the_path_and_the_networks_rules_hold_all_the_same() {
    let vnet = "{mode: VNet, skipEgressProxy: true, vnet: {network: prod, securityRules: [{name: a, priority: 100, action: Allow, destination: 10.0.0.0/8}], managedPath: {additionalHosts: [m.example]}}}";
    let policy = skipping(&[("Global", vnet)]);
    let network = |text: &str| admit(&policy, text).unwrap().route().network().to_owned();
    assert_eq!([network("m.example:443"), network("d.example:443")], ["managed", "prod"]);
    assert_eq!(b(&policy, "d.example:443", "10.0.0.1"), "Allow");
    assert_eq!(b(&policy, "d.example:443", "8.8.8.8"), "network_rule_denied");
    assert_eq!(b(&policy, "m.example:443", "8.8.8.8"), "Allow");
}

#[test]
fn constraints_of_a_document_that_is_not_asked_hold_all_the_same() {
    let above = "{mode: Limited, constraints: {skipEgressProxy: Permitted, maxMode: Limited}}";
    assert_eq!(
        a(
            &skipping(&[("Global", above), ("Sandbox", "{mode: Unrestricted, skipEgressProxy: true}")]),
            "a.example:443"
        ),
        "policy_error"
    );
}
