//! §8: two paths, each call takes exactly one.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::policy::{NetworkFacts, Networks, Route, Way};

/// A document that delegates to `prod`, with this in its `managedPath`.
fn delegating(managed: &str) -> String {
    format!("{{mode: VNet, vnet: {{network: prod, managedPath: {{{managed}}}}}}}")
}

/// A document that delegates to `prod` under these `securityRules`.
fn ruled(rules: &str) -> String {
    format!("{{mode: VNet, vnet: {{network: prod, securityRules: [{rules}]}}}}")
}

/// The network that a permitted call takes.
fn path(policy: &Policy, text: &str) -> String {
    admit(policy, text).unwrap().route().network().to_owned()
}

/// The guards of an operator who has these networks, each with its groups (none: any) and whether it gets names.
fn operator(networks: &[(&str, &[&str], bool)]) -> Guards {
    let facts = |(name, groups, by_name): &(&str, &[&str], bool)| {
        let groups = (!groups.is_empty()).then(|| groups.iter().map(|group| Arc::from(*group)).collect());
        (Arc::from(*name), NetworkFacts { groups, by_name: *by_name })
    };
    let delegated: BTreeMap<_, _> = networks.iter().map(facts).collect();
    Guards { networks: Networks { delegated: Some(delegated), ..Networks::default() }, ..Guards::default() }
}

/// The errors of documents under an operator, and what a call of `sbx` then gets.
fn together(layers_of: &[(&str, &str)], guards: Guards) -> (String, &'static str) {
    let (set, problems) = set_over(&layers(layers_of), guards, None);
    let problems = problems.into_iter().chain(set.conflicts(None)).filter(Problem::is_error);
    let told: Vec<String> = problems.map(|problem| problem.to_string()).collect();
    (told.join("\n"), a(&set.policy_for("sbx", Some("grp"), false), "any.example:443"))
}

#[test]
fn a_name_of_the_managed_path_takes_it_and_everything_else_is_delegated() {
    let policy = policy(&delegating(
        "packageRegistries: {npm: true, pypi: false}, remoteMcpServers: [mcp.example], additionalHosts: [\"*.pub.example\", \"db.example:5432\"]",
    ));
    for (target, network) in [
        ("registry.npmjs.org:443", "managed"),
        ("REGISTRY.npmjs.org.:8443", "managed"),
        ("pypi.org:443", "prod"),
        ("mcp.example:443", "managed"),
        ("a.mcp.example:443", "prod"),
        ("a.b.pub.example:443", "managed"),
        ("pub.example:443", "prod"),
        ("db.example:5432", "managed"),
        ("db.example:443", "prod"),
        ("8.8.8.8:443", "prod"),
        ("[2606:4700::1]:443", "prod"),
    ] {
        assert_eq!(path(&policy, target), network, "{target}");
    }
    assert_eq!(
        policy.managed_by(&target("a.pub.example:443")).unwrap(),
        "managedPath.additionalHosts[0] *.pub.example"
    );
    assert_eq!(
        policy.managed_by(&target("registry.npmjs.org:443")).unwrap(),
        "managedPath.packageRegistries.npm"
    );
    assert_eq!(policy.managed_by(&target("pypi.org:443")), None);
}

#[test]
fn every_switch_stands_for_its_part_of_the_list_and_for_no_other() {
    let parts = [
        ("packageRegistries: {pypi: true}", "pypi.org"),
        ("packageRegistries: {npm: true}", "registry.npmjs.org"),
        ("packageRegistries: {nuget: true}", "api.nuget.org"),
        ("packageRegistries: {apt: true}", "deb.debian.org"),
        ("codeRepositories: {github: true}", "github.com"),
        ("codeRepositories: {githubEnterprise: true}", "a.ghe.com"),
        ("codeRepositories: {azureDevOps: true}", "dev.azure.com"),
    ];
    for (switch, _) in parts {
        let policy = policy(&delegating(switch));
        for (other, host) in parts {
            let network = if switch == other { "managed" } else { "prod" };
            assert_eq!(path(&policy, &format!("{host}:443")), network, "{switch} {host}");
        }
    }
}

#[test]
fn documents_of_other_modes_say_nothing_about_the_path() {
    let own = delegating("additionalHosts: [a.example]");
    for other in [OPEN, "{mode: Limited, hostRules: [a.example, b.example], vnet: {network: other}}"] {
        for text in
            [layers(&[("Global", &own), ("Sandbox", other)]), layers(&[("Global", other), ("Sandbox", &own)])]
        {
            let policy = policy_over(&text, Guards::default());
            assert_eq!(
                (path(&policy, "a.example:443"), path(&policy, "b.example:443")),
                ("managed".into(), "prod".into())
            );
        }
    }
    // `vnet` waits for its mode.
    let waiting = policy(
        "{mode: Unrestricted, vnet: {network: prod, securityRules: [{name: a, priority: 100, action: Deny, destination: \"*\"}]}}",
    );
    assert_eq!(
        (path(&waiting, "a.example:443").as_str(), b(&waiting, "a.example:443", "8.8.8.8")),
        ("managed", "Allow")
    );
}

#[test]
fn a_name_is_managed_where_every_delegating_document_lists_it() {
    let text = layers(&[
        ("Global", &delegating("additionalHosts: [a.example, b.example]")),
        ("Sandbox", &delegating("additionalHosts: [a.example, c.example]")),
    ]);
    let policy = policy_over(&text, Guards::default());
    let paths = ["a", "b", "c"].map(|name| path(&policy, &format!("{name}.example:443")));
    assert_eq!(paths, ["managed", "prod", "prod"]);
}

#[test]
fn the_operators_platform_hosts_are_managed_whatever_a_document_says() {
    let mut guards = operator(&[("prod", &[], false)]);
    guards.networks.platform = vec!["*.platform.example".parse().unwrap(), "1.1.1.1".parse().unwrap()];
    let policy = policy_over(&layers(&[("Global", &delegating(""))]), guards);
    assert_eq!(path(&policy, "a.platform.example:443"), "managed");
    assert_eq!(policy.managed_by(&target("a.platform.example:443")).unwrap(), "platform");
    // A literal takes the delegated path whoever lists it.
    assert_eq!(path(&policy, "1.1.1.1:443"), "prod");
}

#[test]
fn a_literal_stays_delegated_when_the_call_gives_it_a_managed_name() {
    let policy = policy(&delegating("additionalHosts: [a.example]"));
    let permit = admit(&policy, "8.8.8.8:443").unwrap();
    let permit = policy.admit_alias(permit, &Host::parse("a.example").unwrap()).unwrap();
    assert_eq!(permit.route().network(), "prod");
}

#[test]
fn soft_guards_hold_on_the_managed_path_only_and_hard_ones_on_both() {
    let policy = policy(&delegating("additionalHosts: [m.example]"));
    for (address, managed, delegated) in [
        ("10.0.0.5", "guard_private", "Allow"),
        ("100.64.0.1", "guard_private", "Allow"),
        ("fd00::1", "guard_private", "Allow"),
        ("::ffff:10.0.0.5", "guard_private", "Allow"),
        ("127.0.0.1", "guard_local", "guard_local"),
        ("64:ff9b::7f00:1", "guard_local", "guard_local"),
        ("169.254.169.254", "guard_metadata", "guard_metadata"),
        ("168.63.129.16", "guard_metadata", "guard_metadata"),
        ("8.8.8.8", "Allow", "Allow"),
    ] {
        assert_eq!(b(&policy, "m.example:443", address), managed, "{address}");
        assert_eq!(b(&policy, "d.example:443", address), delegated, "{address}");
    }
    assert_eq!(b(&policy, "m.example:25", "8.8.8.8"), "guard_port");
    assert_eq!(b(&policy, "d.example:25", "8.8.8.8"), "Allow");
}

#[test]
fn cidr_rules_hold_on_both_paths() {
    let policy = policy(
        "{mode: VNet, cidrRules: [{cidr: 20.0.0.0/8, action: Deny}], vnet: {network: prod, managedPath: {additionalHosts: [m.example]}}}",
    );
    for host in ["m.example:443", "d.example:443"] {
        assert_eq!(b(&policy, host, "20.1.2.3"), "cidr_denied", "{host}");
    }
}

#[test]
fn the_lowest_priority_that_matches_decides_and_what_none_allows_is_denied() {
    let policy = policy(&ruled(
        "{name: last, priority: 4096, action: Deny, destination: 20.1.0.0/16}, \
         {name: web, priority: 300, action: Allow, destination: [20.0.0.0/8, \"2001:4860::/32\"], ports: [80, 443]}, \
         {name: bad, priority: 200, action: Deny, destination: 20.9.0.0/16}, \
         {name: udp, priority: 100, action: Allow, destination: \"*\", protocol: Udp}",
    ));
    for (port, address, said, rule) in [
        (443, "20.1.0.1", "Allow", "securityRules[1] web"),
        (443, "2001:4860::1", "Allow", "securityRules[1] web"),
        (443, "20.9.0.1", "network_rule_denied", "securityRules[2] bad"),
        (8443, "20.1.0.1", "network_rule_denied", "securityRules[0] last"),
        (8443, "20.2.0.1", "network_rule_denied", ""),
        (443, "30.0.0.1", "network_rule_denied", ""),
    ] {
        let host = format!("d.example:{port}");
        let found = match super::address(&policy, &host, address) {
            Ok(permit) => {
                ("Allow", permit.network_rule().and_then(crate::policy::Cause::rule).unwrap_or_default())
            }
            Err(denial) => {
                assert_eq!(&**denial.cause().unwrap().policy(), "global-doc");
                let rule = denial.cause().unwrap().rule().unwrap_or_default();
                assert!(denial.hint(None).unwrap().contains("securityRules"), "{:?}", denial.hint(None));
                (denial.reason().as_str(), rule)
            }
        };
        assert_eq!(found, (said, rule.to_owned()), "{address} {port}");
    }
}

#[test]
fn an_address_that_carries_ipv4_is_denied_by_any_form_and_allowed_as_itself() {
    let deny = policy(&ruled(
        "{name: no, priority: 100, action: Deny, destination: 20.0.0.0/8}, {name: any, priority: 200, action: Allow, destination: \"*\"}",
    ));
    for (address, said) in [
        ("20.1.1.1", "network_rule_denied"),
        ("::ffff:20.1.1.1", "network_rule_denied"),
        ("64:ff9b::1401:101", "network_rule_denied"),
        ("2002:1401:101::", "network_rule_denied"),
        ("::ffff:30.1.1.1", "Allow"),
    ] {
        assert_eq!(b(&deny, "d.example:443", address), said, "{address}");
    }
    let allow = policy(&ruled("{name: yes, priority: 100, action: Allow, destination: 20.0.0.0/8}"));
    assert_eq!(b(&allow, "d.example:443", "20.1.1.1"), "Allow");
    assert_eq!(b(&allow, "d.example:443", "::ffff:20.1.1.1"), "network_rule_denied");
    assert_eq!(b(&allow, "d.example:443", "64:ff9b::1401:101"), "network_rule_denied");
}

#[test]
fn a3_what_leaves_as_ipv4_is_not_allowed_by_a_rule_for_ipv6() {
    let six = policy(&ruled("{name: six, priority: 100, action: Allow, destination: '::/0'}"));
    for (address, said) in [
        ("20.1.1.1", "network_rule_denied"),
        ("::ffff:20.1.1.1", "network_rule_denied"),
        ("::ffff:10.0.0.5", "network_rule_denied"),
        ("2001:db8::1", "Allow"),
        ("64:ff9b::1401:101", "Allow"),
    ] {
        assert_eq!(b(&six, "d.example:443", address), said, "{address}");
    }
}

#[test]
fn security_rules_of_every_delegating_document_must_allow_and_a_reporting_one_only_reports() {
    let open = ruled("{name: all, priority: 100, action: Allow, destination: \"*\"}");
    let ten = ruled("{name: ten, priority: 100, action: Allow, destination: 10.0.0.0/8}");
    let both = policy_over(&layers(&[("Global", &open), ("Sandbox", &ten)]), Guards::default());
    assert_eq!(
        (b(&both, "a.example:443", "10.0.0.1"), b(&both, "a.example:443", "8.8.8.8")),
        ("Allow", "network_rule_denied")
    );
    let reporting = policy(&ten.replacen('{', "{enforcement: Report, ", 1));
    let permit = address(&reporting, "a.example:443", "8.8.8.8").unwrap();
    assert_eq!(permit.would_deny().unwrap().reason(), Reason::NetworkRuleDenied);
    assert_eq!(permit.route().network(), "prod");
}

#[test]
fn a_delegated_call_is_never_judged_by_soft_guards_and_a_managed_one_never_by_security_rules() {
    let policy = policy(
        "{mode: VNet, vnet: {network: prod, securityRules: [{name: no, priority: 100, action: Deny, destination: \"*\"}], managedPath: {additionalHosts: [m.example]}}}",
    );
    assert_eq!(b(&policy, "m.example:443", "8.8.8.8"), "Allow");
    assert_eq!(b(&policy, "d.example:443", "8.8.8.8"), "network_rule_denied");
}

#[test]
fn s5_a_permit_for_another_path_than_a_call_takes_is_refused() {
    let vnet = policy(&delegating("additionalHosts: [m.example]"));
    let other = policy("{mode: VNet, vnet: {network: other}}");
    let open = policy(OPEN);
    for (from, to) in [(&vnet, &open), (&open, &vnet), (&vnet, &other), (&other, &vnet), (&other, &open)] {
        let permit = admit(from, "d.example:443").unwrap();
        for address in ["10.0.0.5", "8.8.8.8"] {
            let denial = to.admit_address(&permit, ip(address)).unwrap_err();
            assert_eq!(denial.reason(), Reason::PolicyChange);
        }
        assert_eq!(to.admit_by_name(&permit).unwrap_err().reason(), Reason::PolicyChange);
        let way = Way { route: permit.route().clone(), address: Some(ip("8.8.8.8")) };
        assert_eq!(to.admit_way(&permit, &way).unwrap_err().reason(), Reason::PolicyChange);
        assert!(from.admit_way(&permit, &way).is_ok());
        let way = Way { route: Route::Delegated("third".into()), address: None };
        assert_eq!(from.admit_way(&permit, &way).unwrap_err().reason(), Reason::PolicyChange);
    }
}

#[test]
fn a_query_takes_the_path_of_a_call_for_its_name() {
    let policy = policy(&delegating("additionalHosts: [m.example, \"db.example:5432\"]"));
    let query = |name: &str| {
        let host = Host::parse(name).unwrap();
        policy.admit_query(host.name().unwrap()).unwrap().route().network().to_owned()
    };
    assert_eq!(["m.example", "d.example", "db.example"].map(query), ["managed", "prod", "prod"]);
}

#[test]
fn a_hint_says_what_would_help_on_the_path_that_the_call_takes() {
    let managed = policy(&delegating("additionalHosts: [m.example]"));
    let hint = |policy: &Policy, host: &str| {
        address(policy, host, "10.0.0.5").unwrap_err().hint(Some(&target(host))).unwrap()
    };
    assert!(hint(&managed, "m.example:443").contains("take it out of `managedPath`"));
    assert!(hint(&managed, "m.example:443").contains("cidrRules Allow"));
    let by_name = policy_over(
        &layers(&[("Global", &delegating("additionalHosts: [m.example]"))]),
        operator(&[("prod", &[], true)]),
    );
    assert!(!hint(&by_name, "m.example:443").contains("cidrRules"), "{}", hint(&by_name, "m.example:443"));
    // What a soft guard would not hold on the delegated path is told without it.
    let below = policy_over(
        &layers(&[("Global", &delegating("")), ("Sandbox", "{mode: Limited}")]),
        Guards::default(),
    );
    let denial = admit(&below, "10.0.0.5:443").unwrap_err();
    assert!(denial.hint(Some(&target("10.0.0.5:443"))).unwrap().contains("add \"10.0.0.5\" to hostRules"));
    let rules = ruled("{name: no, priority: 100, action: Deny, destination: 10.0.0.0/8}");
    let below =
        policy_over(&layers(&[("Global", &rules), ("Sandbox", "{mode: Limited}")]), Guards::default());
    let denial = admit(&below, "10.0.0.5:443").unwrap_err();
    assert!(denial.hint(Some(&target("10.0.0.5:443"))).unwrap().contains("securityRules"));
}

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
fn t3_a_network_that_is_kept_to_other_groups_is_an_error() {
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
fn a_set_that_was_compacted_sends_every_call_by_the_same_path() {
    let hosts: Vec<String> = (0..200).map(|n| format!("h{n}.example")).collect();
    let own =
        delegating(&format!("additionalHosts: [{}], packageRegistries: {{npm: true}}", hosts.join(", ")));
    let many: Vec<String> = (0..90_000).map(|n| format!("x{n}.example")).collect();
    let first =
        documents(&layers(&[("Sandbox", &format!("{{mode: Limited, hostRules: [{}]}}", many.join(", ")))]));
    let lists = CategoryLists::shipped();
    let (first, _) = PolicySet::compile(&first, &lists, Arc::default(), None, None);
    let (second, _) = PolicySet::compile(
        &documents(&layers(&[("Sandbox", &own)])),
        &lists,
        Arc::default(),
        None,
        Some(&first),
    );
    let (third, _) = PolicySet::compile(
        &documents(&layers(&[("Sandbox", &own)])),
        &lists,
        Arc::default(),
        None,
        Some(&second),
    );
    let compacted = third.compacted();
    for set in [Some(&third), compacted.as_ref()].into_iter().flatten() {
        let policy = set.policy_for("sbx", Some("grp"), false);
        assert_eq!(path(&policy, "h199.example:443"), "managed");
        assert_eq!(path(&policy, "registry.npmjs.org:443"), "managed");
        assert_eq!(path(&policy, "x1.example:443"), "prod");
        assert_eq!(
            policy.managed_by(&target("h199.example:443")).unwrap(),
            "managedPath.additionalHosts[199] h199.example"
        );
    }
    assert!(compacted.is_some(), "the pool was to be due");
}

/// Names of the managed path, or not.
const NAMES: [&str; 6] = ["a.example", "b.example", "*.b.example", "c.d.example", "*.d.example", "*"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_order_of_lists_and_other_documents_never_matter_for_the_path(
        mut names in subsequence(NAMES.to_vec(), 0..=5),
        host in select(vec!["a.example", "b.example", "x.b.example", "c.d.example", "y.example", "8.8.8.8"]),
        other in select(vec![OPEN, "{mode: Limited}", "{mode: Limited, vnet: {network: other, managedPath: {additionalHosts: [\"*\"]}}}"]),
    ) {
        let spec = |names: &[&str]| {
            let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
            delegating(&format!("additionalHosts: [{}]", quoted.join(", ")))
        };
        let target = target(&format!("{host}:443"));
        let alone = policy(&spec(&names)).route(&target);
        names.reverse();
        let turned = spec(&names);
        prop_assert_eq!(&policy(&turned).route(&target), &alone);
        for text in [layers(&[("Global", other), ("Sandbox", &turned)]), layers(&[("Global", &turned), ("Group", other)])] {
            prop_assert_eq!(&policy_over(&text, Guards::default()).route(&target), &alone);
        }
    }

    #[test]
    fn adding_a_document_that_delegates_never_widens_what_a_delegated_call_reaches(
        first in select(vec!["10.0.0.0/8", "20.0.0.0/8", "2001:4860::/32"]),
        second in select(vec!["10.0.0.0/9", "20.0.0.0/8", "0.0.0.0/0"]),
        address in select(vec!["10.1.1.1", "10.200.0.1", "20.1.1.1", "2001:4860::1", "::ffff:10.1.1.1", "127.0.0.1"]),
    ) {
        let rule = |net: &str| ruled(&format!("{{name: a, priority: 100, action: Allow, destination: \"{net}\"}}"));
        let before = policy(&rule(first));
        let after = policy_over(&layers(&[("Global", &rule(first)), ("Sandbox", &rule(second))]), Guards::default());
        let allows = |policy: &Policy| b(policy, "d.example:443", address) == "Allow";
        prop_assert!(allows(&before) || !allows(&after));
    }
}

#[test]
fn twenty_thousand_calls_take_the_path_and_get_the_verdict_of_a_naive_chooser() {
    use crate::policy::oracle::{Case, Choices};
    let (mut pairs, mut delegated) = (0, 0);
    for seed in 1_000_000..1_001_000 {
        let case = Case::draw(&mut Choices::Seed(seed));
        let (own, away) =
            case.compare_paths().unwrap_or_else(|difference| panic!("seed {seed}\n{difference}"));
        pairs += own;
        delegated += away;
    }
    assert!(pairs >= 20_000, "{pairs}");
    assert!(delegated > pairs / 5 && delegated < pairs * 4 / 5, "{delegated} of {pairs}");
}
