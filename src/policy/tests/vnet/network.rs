//! Networks, and what documents may say of them together.

use super::*;

#[test]
fn a_network_that_nobody_configured_is_an_error_and_any_will_do_where_nobody_has_said() {
    let own = delegating("");
    let (told, said) = together(&[("Global", &own)], operator(&[("prodd", &[], false)]));
    assert!(told.contains("no network `prod`") && told.contains("did you mean `prodd`?"), "{told}");
    assert_eq!(said, "no_policy");
    let (told, _) = together(&[("Global", &own)], operator(&[]));
    assert!(told.contains("which has none to delegate to"), "{told}");
    assert_eq!(together(&[("Global", &own)], Guards::default()), (String::new(), "Allow"));
    assert_eq!(together(&[("Global", &own)], operator(&[("prod", &[], false)])), (String::new(), "Allow"));
    // It is not asked for while the mode is another one.
    let waiting = "{mode: Unrestricted, vnet: {network: prod}}";
    assert_eq!(together(&[("Global", waiting)], operator(&[])), (String::new(), "Allow"));
}

#[test]
fn a_network_that_is_kept_to_other_groups_is_an_error() {
    let own = delegating("");
    for (scope, groups, good) in [
        ("Group", ["grp"].as_slice(), true),
        ("Sandbox", &["other", "grp"], true),
        ("Group", &["other"], false),
        ("Sandbox", &["other"], false),
        ("Global", &["grp"], false),
    ] {
        let (told, said) = together(&[(scope, &own)], operator(&[("prod", groups, false)]));
        assert_eq!(
            (told.contains("is kept to other groups"), said == "Allow"),
            (!good, good),
            "{scope} {told}"
        );
    }
    // A document that is kept, or asked for a sandbox of another group, is no way around it.
    let (set, _) = set_over(&layers(&[("Global", &own)]), Guards::default(), None);
    let moved = set.with_guards(Arc::new(operator(&[("prod", &["grp"], false)])));
    assert_eq!(a(&moved.policy_for("x", Some("grp"), false), "a.example:443"), "Allow");
    assert_eq!(a(&moved.policy_for("x", Some("other"), false), "a.example:443"), "policy_error");
    assert_eq!(a(&moved.policy_for("x", None, false), "a.example:443"), "policy_error");
}

#[test]
fn where_a_parent_proxy_resolves_names_no_document_judges_addresses() {
    let by_name = || operator(&[("prod", &[], true)]);
    let cidrs = "{mode: Unrestricted, cidrRules: [{cidr: 20.0.0.0/8, action: Deny}]}";
    let own = delegating("");
    assert_eq!(together(&[("Global", &own)], by_name()), (String::new(), "Allow"));
    // In one document: an error.
    for (text, what) in [
        (ruled("{name: a, priority: 100, action: Allow, destination: \"*\"}"), "securityRules"),
        (
            "{mode: VNet, cidrRules: [{cidr: 20.0.0.0/8, action: Deny}], vnet: {network: prod}}".to_owned(),
            "cidrRules",
        ),
    ] {
        let (told, said) = together(&[("Global", &text)], by_name());
        assert!(told.contains(&format!("has {what}, and network `prod`")), "{told}");
        assert_eq!(said, "no_policy");
    }
    // In two that meet: neither is asked.
    for both in [[("Global", cidrs), ("Sandbox", &own)], [("Global", own.as_str()), ("Sandbox", cidrs)]] {
        let (told, said) = together(&both, by_name());
        assert!(told.contains("cidrRules, and network `prod`"), "{told}");
        assert_eq!(said, "policy_error");
        assert_eq!(together(&both, operator(&[("prod", &[], false)])), (String::new(), "Allow"));
    }
    // The managed network: no document at all.
    let networks = Networks { managed_by_name: true, ..Networks::default() };
    let (told, _) = together(&[("Global", cidrs)], Guards { networks, ..Guards::default() });
    assert!(told.contains("has cidrRules, and the managed network"), "{told}");
}

#[test]
fn a_name_goes_to_the_parent_proxy_of_a_network_that_resolves_and_a_literal_is_judged_here() {
    let policy = policy_over(
        &layers(&[("Global", &delegating("additionalHosts: [m.example]"))]),
        operator(&[("prod", &[], true)]),
    );
    let by_name = |text: &str| policy.admit_by_name(&admit(&policy, text).unwrap()).unwrap().is_some();
    assert!(by_name("d.example:443") && !by_name("m.example:443") && !by_name("8.8.8.8:443"));
}

#[test]
fn a_document_that_does_not_go_with_others_or_the_operator_is_told_where_it_says_so() {
    let by_name = || operator(&[("prod", &[], true)]);
    let cidrs = "{mode: Unrestricted, cidrRules: [{cidr: 20.0.0.0/8, action: Deny}]}";
    let vnet = "{mode: VNet, vnet: {network: prod, managedPath: {additionalHosts: [a.test]}}}";
    let ruled = "{mode: VNet, vnet: {network: prod, securityRules: [{name: a, priority: 100, action: Allow, destination: '*'}]}}";
    let both = "{mode: VNet, cidrRules: [{cidr: 20.0.0.0/8, action: Deny}], vnet: {network: prod}}";
    let forbidding = "{mode: Unrestricted, constraints: {managedPath: Forbidden}}";
    let skipping = "{skipEgressProxy: true}";
    let other = "{mode: VNet, vnet: {network: other}}";
    let permitted = || Guards { skip_permitted: true, ..Guards::default() };
    for (layers_of, guards, at) in [
        (vec![("Global", both)], by_name(), "{cidr: 20"),
        (vec![("Global", ruled)], by_name(), "{name: a"),
        (vec![("Global", vnet)], operator(&[]), "prod"),
        (vec![("Global", vnet), ("Sandbox", cidrs)], by_name(), "{cidr: 20"),
        (vec![("Global", cidrs), ("Sandbox", vnet)], by_name(), "prod"),
        (vec![("Global", vnet), ("Sandbox", other)], Guards::default(), "other"),
        (vec![("Global", forbidding), ("Sandbox", vnet)], Guards::default(), "a.test"),
        (vec![("Global", "{}"), ("Sandbox", skipping)], permitted(), "true"),
        (vec![("Sandbox", skipping)], Guards::default(), "true"),
    ] {
        let (told, said) = together(&layers_of, guards);
        let (line, column) = (4 * layers_of.len() - 1, "spec: ".len() + 1);
        let column = column + layers_of.last().unwrap().1.find(at).unwrap();
        assert!(told.starts_with(&format!("p.yaml:{line}:{column}: error: ")), "{at} {told}");
        assert_ne!(said, "Allow", "{told}");
    }
}

#[test]
fn all_that_does_not_go_with_the_networks_of_the_operator_is_told_at_once() {
    let both = "{mode: VNet, cidrRules: [{cidr: 20.0.0.0/8, action: Deny}], vnet: {network: prod}}";
    let over = |guards: Guards| {
        let networks = Networks { managed_by_name: true, ..guards.networks };
        together(&[("Global", both)], Guards { networks, ..Guards::default() }).0
    };
    for (guards, second) in [
        (operator(&[]), "has no network `prod`"),
        (operator(&[("prod", &[], true)]), "and network `prod`, to which"),
        (operator(&[("prod", &["grp"], false)]), "is kept to other groups"),
    ] {
        let told = over(guards);
        assert!(told.contains("and the managed network leaves it") && told.contains(second), "{told}");
        assert_eq!(told.lines().count(), 2, "{told}");
    }
    assert_eq!(over(operator(&[("prod", &["grp"], true)])).lines().count(), 3);
}

#[test]
fn documents_that_name_different_networks_are_not_asked() {
    let other = "{mode: VNet, vnet: {network: other}}";
    let (told, said) = together(&[("Global", &delegating("")), ("Sandbox", other)], Guards::default());
    assert!(
        told.contains("delegates to network `other`, but Global `global-doc` delegates to `prod`"),
        "{told}"
    );
    assert_eq!(said, "policy_error");
}

#[test]
fn a_higher_document_can_forbid_the_managed_path_and_the_mode() {
    let above = "{mode: Unrestricted, constraints: {managedPath: Forbidden}}";
    for (managed, good) in [
        ("", true),
        ("packageRegistries: {pypi: false}", true),
        ("packageRegistries: {pypi: true}", false),
        ("additionalHosts: [a.example]", false),
        ("remoteMcpServers: [a.example]", false),
    ] {
        let (told, said) = together(&[("Global", above), ("Group", &delegating(managed))], Guards::default());
        assert_eq!((told.is_empty(), said == "Allow"), (good, good), "{managed} {told}");
        assert!(good || told.contains("has a `managedPath`, which Global `global-doc` forbids"), "{told}");
    }
    for (max, good) in [("Limited", false), ("VNet", true), ("Unrestricted", true)] {
        let above = format!("{{mode: Unrestricted, constraints: {{maxMode: {max}}}}}");
        let (_, said) = together(&[("Global", &above), ("Sandbox", &delegating(""))], Guards::default());
        assert_eq!(said, if good { "Allow" } else { "policy_error" }, "{max}");
    }
    let above = "{mode: Unrestricted, constraints: {maxMode: VNet}}";
    assert_eq!(together(&[("Global", above), ("Sandbox", OPEN)], Guards::default()).1, "policy_error");
}

#[test]
fn a_switch_whose_part_an_operators_list_lacks_is_an_error_of_that_document() {
    let list = "kind: CategoryList\nmetadata: {name: ours}\nspec: {version: 7, categories: {package-registries: {npm: {hosts: [npm.corp]}}}}";
    let parsed = document::parse(&"ours.yaml".into(), list);
    let (lists, _) = CategoryLists::shipped().followed_by(&parsed.lists.iter().collect::<Vec<_>>());
    let compile = |managed: &str, version: &str| {
        let spec = delegating(managed).replacen('{', &format!("{{{version}"), 1);
        let documents = documents(&layers(&[("Global", &spec)]));
        PolicySet::compile(&documents, &lists, Arc::default(), None, None)
    };
    let (set, problems) = compile("packageRegistries: {npm: true}", "");
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(path(&set.policy_for("s", None, false), "npm.corp:443"), "managed");
    assert!(set.units().all(|unit| unit.names_categories()));
    let (set, problems) = compile("packageRegistries: {pypi: true}", "");
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        told[0].contains("stands for `package-registries/python`") && told[0].contains("turn the switch off"),
        "{told:?}"
    );
    assert_eq!(set.units().count(), 0);
    let (_, problems) = compile("packageRegistries: {npm: true}", "categoriesVersion: 1, ");
    assert!(problems[0].message.contains("categoriesVersion is 1"), "{problems:?}");
}

#[test]
fn every_category_and_switch_that_a_list_lacks_is_told_at_once_and_why() {
    let list = "kind: CategoryList\nmetadata: {name: ours}\nspec: {version: 7, categories: {package-registries: {npm: {hosts: [npm.corp, '{own}.corp']}}}}";
    let parsed = document::parse(&"ours.yaml".into(), list);
    let (lists, _) = CategoryLists::shipped().followed_by(&parsed.lists.iter().collect::<Vec<_>>());
    let spec = delegating("packageRegistries: {npm: true, pypi: true}, codeRepositories: {github: true}");
    let spec =
        spec.replacen('{', "{categoriesVersion: 1, categories: [nothing, package-registries/conda], ", 1);
    let (_, problems) =
        PolicySet::compile(&documents(&layers(&[("Global", &spec)])), &lists, Arc::default(), None, None);
    let told: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
    let switch = |key: &str, part: &str, why: &str| {
        format!(
            "`managedPath.{key}` stands for `{part}`, which cannot be taken from the category list `ours`: {why}"
        )
    };
    assert_eq!(
        told,
        [
            "categoriesVersion is 1, but the list `ours` is version 7".to_owned(),
            "unknown category `nothing`".to_owned(),
            "`package-registries` has no part `conda`".to_owned(),
            switch(
                "packageRegistries.pypi",
                "package-registries/python",
                "`package-registries` has no part `python`"
            ),
            switch(
                "packageRegistries.npm",
                "package-registries/npm",
                "the hosts of `package-registries/npm` are templates"
            ),
            switch(
                "codeRepositories.github",
                "code-repositories/github",
                "unknown category `code-repositories`"
            ),
        ]
    );
}

#[test]
fn a_managed_path_of_too_many_patterns_is_an_error_at_the_list_that_they_are_in() {
    let shapes: Vec<String> = (1..=65)
        .map(|n| {
            format!(
                "'b.{}x'",
                (0..7).map(|bit| if n >> bit & 1 == 1 { "*." } else { "a." }).collect::<String>()
            )
        })
        .collect();
    let spec = delegating(&format!("additionalHosts: [{}]", shapes.join(", ")));
    let (told, _) = together(&[("Global", &spec)], Guards::default());
    assert!(
        told.contains("p.yaml:3:74: error: spec.vnet.managedPath.additionalHosts: the patterns have stars"),
        "{told}"
    );
    assert!(told.contains("name fewer hosts under `additionalHosts`"), "{told}");
}

#[test]
fn a4_a_name_that_is_known_to_lead_to_what_nobody_may_reach_is_given_to_no_parent_proxy() {
    let guards = operator(&[("prod", &[], true)]);
    let networks = Networks { managed_by_name: true, ..guards.networks.clone() };
    let vnet = layers(&[(
        "Global",
        "{mode: VNet, vnet: {network: prod, managedPath: {additionalHosts: ['m.example', 'localhost:80']}}}",
    )]);
    let policy = policy_over(&vnet, Guards { networks: networks.clone(), ..guards });
    let given = |policy: &Policy, text: &str| match policy.admit_by_name(&admit(policy, text).unwrap()) {
        Ok(permit) => {
            if permit.is_some() {
                "given"
            } else {
                "judged"
            }
        }
        Err(denial) => denial.reason().as_str(),
    };
    for (target, said) in [
        ("d.example:443", "given"),
        ("localhost.example:443", "given"),
        ("localhost:22", "guard_local"),
        ("localhost:80", "guard_local"),
        ("LOCALHOST.:22", "guard_local"),
        ("a.b.localhost:22", "guard_local"),
        ("localhost.localdomain:22", "guard_local"),
        ("ip6-loopback:22", "guard_local"),
        ("metadata.google.internal:80", "guard_metadata"),
        ("instance-data.ec2.internal:80", "guard_metadata"),
        // The managed path keeps port 25 closed, whoever resolves.
        ("m.example:25", "guard_port"),
        ("m.example:443", "given"),
        ("d.example:25", "given"),
    ] {
        assert_eq!(given(&policy, target), said, "{target}");
    }
    let own = Guards { networks, own: vec!["127.0.0.0/8".parse().unwrap()], ..Guards::default() };
    assert_eq!(given(&policy_over(&vnet, own.clone()), "localhost:22"), "guard_self");
    let exempt = Guards { own: Vec::new(), exempt: vec!["127.0.0.0/8".parse().unwrap()], ..own };
    assert_eq!(given(&policy_over(&vnet, exempt), "localhost:22"), "given");
}
