//! Which of the two paths a call takes.

use super::*;

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
fn a_query_takes_the_path_of_a_call_for_its_name() {
    let policy = policy(&delegating("additionalHosts: [m.example, \"db.example:5432\"]"));
    let query = |name: &str| {
        let host = Host::parse(name).unwrap();
        policy.admit_query(host.name().unwrap()).unwrap().route().network().to_owned()
    };
    assert_eq!(["m.example", "d.example", "db.example"].map(query), ["managed", "prod", "prod"]);
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
