//! Files that speak of networks, over the command line: `check` and `explain` with and without a configuration.

use crate::kit::process::{Place, ran};

/// Two networks, of which one is for a group and one resolves names elsewhere, and two sandboxes.
const CONFIG: &str = "policy: {path: good.yaml}
networks:
  managed: {platformHosts: [platform.test]}
  prod: {sourceAddress: 127.0.0.13, dns: ['127.0.0.9:53'], groups: [agents]}
  far: {proxy: 'http://127.0.0.20:3128', resolve: Remote}
sandboxes:
- {id: one, group: agents, sources: [127.0.0.21]}
- {id: two, group: others, sources: [127.0.0.22]}
";

/// Documents of both sandboxes that are as they should be.
const GOOD: &str = "kind: EgressPolicy
metadata: {name: a, sandbox: one}
spec: {mode: VNet, vnet: {network: prod, managedPath: {additionalHosts: [near.test]}}}
---
kind: EgressPolicy
metadata: {name: b, sandbox: two}
spec: {mode: VNet, vnet: {network: far}}
";

#[tokio::test]
async fn a_network_that_is_not_there_or_not_for_them_or_resolves_elsewhere_is_an_error_with_its_place_and_cure()
 {
    let place = Place::with("");
    place.write("gate.yaml", CONFIG);
    for (from, to, at, parts) in [
        ("network: prod", "network: prd", "3:36", ["has no network `prd`", "did you mean `prod`?"]),
        ("network: prod", "network: other", "3:36", ["has no network `other`", "the networks are far, prod"]),
        (
            "network: far",
            "network: prod",
            "7:36",
            ["network `prod` is kept to other groups: agents", "name another network"],
        ),
        (
            "mode: VNet, vnet: {network: far}",
            "mode: VNet, cidrRules: [{cidr: 10.0.0.0/8, action: Deny}], vnet: {network: far}",
            "7:32",
            ["`b` has cidrRules, and network `far`", "write `resolve: Local` at the network `far`"],
        ),
    ] {
        place.write("policy.yaml", GOOD.replace(from, to));
        for arguments in [
            &["check", "--config", "gate.yaml", "policy.yaml"][..],
            &["explain", "--config", "gate.yaml", "--policy", "policy.yaml", "--sandbox", "one", "a.test"],
        ] {
            let ran = ran(&place, arguments).await;
            assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
            let said = parts.iter().all(|part| ran.stderr.contains(part));
            assert!(said && ran.stderr.contains(&format!("policy.yaml:{at}")), "{parts:?}: {}", ran.stderr);
        }
        // Where nobody said which networks there are, any will do.
        let alone = crate::kit::process::ran(&place, &["check", "policy.yaml"]).await;
        assert_eq!(alone.code, 0, "{}", alone.stderr);
    }
}

#[tokio::test]
async fn the_path_of_a_call_is_explained_with_the_network_and_what_puts_it_there() {
    let place = Place::with(GOOD);
    place.write("gate.yaml", CONFIG);
    for (sandbox, target, route, network) in [
        ("one", "near.test", "managed", "managed"),
        ("one", "platform.test", "managed", "managed"),
        ("one", "a.test", "delegated", "prod"),
        ("one", "8.8.8.8", "delegated", "prod"),
        ("two", "near.test", "delegated", "far"),
        ("two", "platform.test", "managed", "managed"),
    ] {
        let words = ["explain", "--config", "gate.yaml", "--policy", "policy.yaml", "--json", "--sandbox"];
        let ran = ran(&place, &[&words[..], &[sandbox, target]].concat()).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(
            [&answer["route"], &answer["network"]],
            [route, network],
            "{sandbox} {target}: {answer:#}"
        );
    }
}

#[tokio::test]
async fn where_a_parent_proxy_resolves_names_explain_judges_the_name_as_a_call_is_and_no_address() {
    let place = Place::with(GOOD);
    place.write("gate.yaml", CONFIG);
    let words = ["explain", "--config", "gate.yaml", "--policy", "policy.yaml", "--sandbox"];
    let by_name = "address: the parent proxy resolves the name, and no address is judged here";
    for (arguments, code, part) in [
        (&["two", "a.test"][..], 0, by_name),
        (&["two", "--address", "169.254.169.254", "a.test"], 0, by_name),
        (&["one", "--address", "169.254.169.254", "a.test"], 3, "deny guard_metadata"),
        (&["one", "a.test"], 0, "address: each address the name resolves to is judged"),
        (&["two", "localhost"], 3, "deny guard_self"),
        (&["two", "http://metadata.google.internal/"], 3, "deny guard_metadata"),
        (&["two", "169.254.169.254"], 3, "deny guard_metadata"),
    ] {
        let ran = ran(&place, &[&words[..], arguments].concat()).await;
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains(part), "{arguments:?}: {}", ran.stdout);
        assert_eq!(ran.stdout.matches("open     address").count(), usize::from(code == 0), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn redirected_tls_that_is_denied_by_its_name_is_explained_by_that_name() {
    let denied = "hostRules: [{pattern: near.test, action: Deny}], vnet: {network: prod";
    let place = Place::with(&GOOD.replace("vnet: {network: prod", denied));
    place.write("gate.yaml", CONFIG);
    let words = ["explain", "--config", "gate.yaml", "--policy", "policy.yaml", "--json", "--sandbox", "one"];
    let mut answers = Vec::new();
    for arguments in [&["near.test"][..], &["--redirected", "--sni", "near.test", "8.8.8.8"]] {
        let ran = ran(&place, &[&words[..], arguments].concat()).await;
        assert_eq!(ran.code, 3, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        answers.push(serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap());
    }
    let [by_name, redirected] = &answers[..] else { panic!("{answers:#?}") };
    assert_eq!([&by_name["route"], &redirected["target"]], ["managed", "8.8.8.8:443"]);
    for field in ["route", "network", "managedBy", "uplink", "reason", "message", "hint"] {
        assert_eq!(redirected[field], by_name[field], "{field}: {redirected:#}");
    }
}

#[tokio::test]
async fn every_shipped_policy_is_free_of_errors_where_nobody_said_which_networks_there_are() {
    let place = Place::with("");
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // A list alone is no policy.
        if path.extension().is_some_and(|ending| ending == "yaml") && name != "categories.yaml" {
            let ran = ran(&place, &["check", &path.display().to_string()]).await;
            assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
            seen += 1;
        }
    }
    assert!(seen >= 7, "{seen}");
}
