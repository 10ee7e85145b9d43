//! What is told of paths, of skipping, and of documents that others kept out of force.

use super::*;
use crate::policy::document::Document;
use crate::policy::network::{NetworkFacts, Networks};
use crate::policy::{Draft, Guards, Reason};

#[test]
fn each_change_of_a_path_or_of_skipping_is_told_with_its_place() {
    const DENYING: &str = "{mode: Unrestricted, hostRules: [{pattern: y.test, action: Deny}]}";
    const REWRITING: &str =
        "{mode: Unrestricted, rules: [{match: {host: x.test}, action: {type: Rewrite, host: y.test}}]}";
    const VNET: &str = "mode: VNet\nvnet: {network: prod, managedPath: {additionalHosts: [a.test]}, securityRules: [{name: r, priority: 100, action: Deny, destination: 10.0.0.0/8}]}";
    let changed = |from: &str, to: &str| VNET.replace(from, to);
    for (before, after, expected) in [
        (VNET.to_owned(), VNET.to_owned(), &[][..]),
        (
            changed("[a.test]", "[]"),
            VNET.to_owned(),
            &[
                "`a.test` takes the managed path, outside of the network, by managedPath.additionalHosts[0] a.test (p.yaml:2:17)",
            ],
        ),
        (
            VNET.to_owned(),
            changed("[a.test]", "[]"),
            &[
                "`a.test` takes the network, in which no private address is guarded: managedPath.additionalHosts[0] a.test is \
               gone (p.yaml:2:17)",
            ],
        ),
        (
            VNET.to_owned(),
            changed("prod", "test"),
            &["calls take network `test`, and took `prod` (p.yaml:2:17)"],
        ),
        (
            VNET.to_owned(),
            changed("Deny", "Allow"),
            &[
                "securityRules `r` is new, and allows (p.yaml:2:81)",
                "securityRules `r`, which denied, is gone (it was at p.yaml:2:81)",
            ],
        ),
        (
            VNET.to_owned(),
            "mode: VNet\nvnet: {network: prod, managedPath: {additionalHosts: [a.test]}}".to_owned(),
            &["`securityRules` are gone: the network alone decides (p.yaml:2:17)"],
        ),
        (
            VNET.to_owned(),
            changed("VNet", "Limited"),
            &["calls take the managed path, and took network `prod` with its rules (p.yaml:1:1)"],
        ),
        (
            changed("VNet", "Limited"),
            VNET.to_owned(),
            &[
                "calls take network `prod`, in which no private address is guarded (p.yaml:2:17)",
                "`a.test` takes the managed path, outside of the network, by managedPath.additionalHosts[0] a.test (p.yaml:2:17)",
                "`defaultAction` is Allow, and was Deny (p.yaml:1:1)",
                "`mode` is VNet, and was Limited (p.yaml:1:1)",
                "`ports` allow 1-79,81-442,444-65535 besides (p.yaml:1:1)",
            ],
        ),
        (
            "mode: Unrestricted".to_owned(),
            "mode: VNet\nvnet: {network: prod}".to_owned(),
            &[
                "calls take network `prod`, in which no private address is guarded (p.yaml:2:17)",
                "`mode` is VNet, and was Unrestricted (p.yaml:1:1)",
            ],
        ),
        (
            document("Global", "{mode: Unrestricted}"),
            format!(
                "{}{}",
                document("Global", "{mode: Unrestricted}"),
                document("Sandbox", "{mode: VNet, vnet: {network: prod}}")
            ),
            &["calls take network `prod`, in which no private address is guarded (p.yaml:8:36)"],
        ),
        (
            format!("{}{}", document("Global", "{mode: Unrestricted}"), document("Sandbox", DENYING)),
            format!(
                "{}{}{}",
                document("Global", "{mode: Unrestricted}"),
                document("Sandbox", DENYING),
                document("Group", REWRITING)
            ),
            &["rules[0] is new: Rewrite of `x.test` (p.yaml:12:36)"],
        ),
        (
            "mode: Limited".to_owned(),
            "mode: Limited\nskipEgressProxy: true".to_owned(),
            &["`skipEgressProxy` is true: no rule of it, nor of any document above, is asked (p.yaml:2:18)"],
        ),
    ] {
        assert_eq!(told(&before, &after), expected, "{before}\n{after}");
    }
}

#[test]
fn a_document_that_a_higher_one_kept_out_of_force_is_told_when_that_changes() {
    let networks = Networks {
        delegated: Some([("far".into(), NetworkFacts { by_name: true, ..NetworkFacts::default() })].into()),
        ..Networks::default()
    };
    let guards = Arc::new(Guards { networks, ..Guards::default() });
    let top = |spec: &str| documents(&document("Global", spec));
    let own = documents(&document("Sandbox", "{mode: VNet, vnet: {network: far}}"));
    let lists = CategoryLists::shipped();
    let set = |top: Vec<Arc<Document>>, previous: Option<&PolicySet>| {
        let mut draft = Draft::new(&lists, None, previous).under(&guards);
        for document in &top {
            draft.compile(document);
        }
        match previous.and_then(|set| set.units().find(|unit| &**unit.name() == "own")) {
            Some(kept) => draft.reuse(kept),
            None => drop(draft.compile(&own[0]).is_some()),
        }
        draft.finish(Arc::clone(&guards)).0
    };
    for (barring, other) in [
        ("{cidrRules: [{cidr: 10.0.0.0/8, action: Allow}]}", "{mode: Limited}"),
        ("{constraints: {maxMode: Limited}}", "{constraints: {maxMode: VNet}}"),
    ] {
        let before = set(top(barring), None);
        let denied = before.policy_for("sbx", None, false).admit(&"a.test:80".parse().unwrap());
        assert_eq!(denied.unwrap_err().reason(), Reason::PolicyError, "{barring}");
        for narrow in [other, ""] {
            let top = if narrow.is_empty() { Vec::new() } else { top(narrow) };
            let after = set(top, Some(&before));
            let all = after.widened_since(&before, None, |_| false);
            let own = all.iter().find(|widening| &**widening.document().unwrap().name() == "own").unwrap();
            assert!(Arc::ptr_eq(own.before.as_ref().unwrap(), own.after.as_ref().unwrap()));
            let first = "it is permitted beside the documents above it, and was not (p.yaml:2:1)";
            assert_eq!(own.widened[0], first, "{barring}");
            assert!(own.widened[1].starts_with("calls take network `far`"), "{:?}", own.widened);
            assert!(after.widened_since(&after, None, |_| false).is_empty());
        }
        assert!(set(top(barring), Some(&before)).widened_since(&before, None, |_| false).is_empty());
    }
}

#[test]
fn a_document_that_was_not_permitted_is_told_as_a_first_one() {
    let above = document("Global", "{mode: Unrestricted, constraints: {maxMode: Limited}}");
    let (wide, narrow) = ("{mode: Unrestricted}", "{mode: Limited, hostRules: [a.test]}");
    let with = |spec: &str| format!("{above}{}", document("Sandbox", spec));
    assert_eq!(
        told(&with(wide), &with(narrow)),
        [
            "it is permitted beside the documents above it, and was not (p.yaml:6:1)",
            "`a.test` is allowed by hostRules[0] (p.yaml:8:35)",
        ]
    );
    assert_eq!(told(&with(narrow), &with(narrow)), Vec::<String>::new());
}
