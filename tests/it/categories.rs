//! `sluicegate categories`, by the binary: what the list in force holds, and what differs between two.

use std::path::Path;

use serde_json::{Value, json};

use crate::kit::process::{BINARY, Place};
use crate::kit::tool::{self, Ran};

/// A policy that takes a category of the list below, beside it.
const POLICY: &str = "mode: Limited\ncategories: [tools]\n";
/// A list in place of the shipped one.
const LIST: &str = "
kind: CategoryList
metadata: {name: ours}
spec:
  version: 7
  categories:
    tools:
      ci: {hosts: [ci.corp, '*.ci.corp'], note: the builders}
      paste: {hosts: [paste.corp], risk: exfil}
      registry: {hosts: ['{tenant}.registry.corp'], optional: true}
";

/// Runs `sluicegate categories` with arguments that hold no spaces.
async fn categories(line: &str) -> Ran {
    tool::run(Path::new(BINARY), ["categories"].into_iter().chain(line.split(' '))).await
}

/// What it prints as JSON, when it ends with this code.
async fn told(line: &str, code: i32) -> Value {
    let ran = categories(line).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{line}");
    serde_json::from_str(&ran.stdout).unwrap()
}

/// A place with the policy and the list.
fn place() -> Place {
    let place = Place::with(POLICY);
    place.write("list.yaml", LIST);
    place
}

#[tokio::test]
async fn without_files_the_shipped_list_is_listed() {
    let ran = categories("list").await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.starts_with("shipped, version 1 (shipped with the program)\n"), "{}", ran.stdout);
    for line in ["  github                           13  exfil", "  github-enterprise                 1"] {
        assert!(ran.stdout.lines().any(|printed| printed == line), "{line}: {}", ran.stdout);
    }
    let value = told("list --json", 0).await;
    assert_eq!((&value["name"], &value["version"]), (&json!("shipped"), &json!(1)));
    assert_eq!(value["categories"].as_array().unwrap().len(), 9);
}

#[tokio::test]
async fn beside_an_operators_list_the_shipped_one_is_not_there() {
    let place = place();
    let value = told(&format!("list --json --policy {}", place.text("")), 0).await;
    let parts = json!([
        {"name": "ci", "hosts": 2, "marks": []},
        {"name": "paste", "hosts": 1, "marks": ["exfil"]},
        {"name": "registry", "hosts": 1, "marks": ["optional", "templated"]},
    ]);
    assert_eq!(value["categories"], json!([{"name": "tools", "hosts": 2, "parts": parts}]));
    assert_eq!((&value["name"], &value["version"]), (&json!("ours"), &json!(7)));
    let ran = categories(&format!("show package-registries --policy {}", place.text("list.yaml"))).await;
    assert_eq!(ran.code, 2);
}

#[tokio::test]
async fn a_name_shows_the_hosts_that_a_policy_gets_and_what_it_does_not() {
    let place = place();
    let show = |name: &'static str| {
        let line = format!("show {name} --policy {}", place.text("list.yaml"));
        async move { categories(&line).await }
    };
    for (name, printed) in [
        (
            "tools",
            "tools\n  ci.corp\n  *.ci.corp\nleft out: tools/paste (exfil)\nleft out: tools/registry (optional, templated)\n",
        ),
        ("tools/ci", "tools/ci\n  ci.corp\n  *.ci.corp\nnote: the builders\n"),
        ("tools/paste", "tools/paste (exfil)\n  paste.corp\n"),
        (
            "tools/registry",
            "tools/registry (optional, templated)\n  {tenant}.registry.corp\nno policy can take it: write the real hosts under hostRules\n",
        ),
    ] {
        let ran = show(name).await;
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, printed, ""), "{name}");
    }
    let value = told(&format!("show tools --json --policy {}", place.text("list.yaml")), 0).await;
    assert_eq!(value["hosts"], json!(["ci.corp", "*.ci.corp"]));
    assert_eq!(value["leftOut"][0], json!({"part": "paste", "marks": ["exfil"]}));
    let value = told("show code-repositories/github --json", 0).await;
    assert_eq!((value["hosts"].as_array().unwrap().len(), &value["marks"]), (13, &json!(["exfil"])));
    assert_eq!(value["note"], "*.github.com does not cover github.com (GH says so)");
}

#[tokio::test]
async fn what_shows_is_what_a_policy_allows() {
    let value = told("show package-registries --json", 0).await;
    let place = Place::with("mode: Limited\ncategories: [package-registries]\n");
    let hosts = value["hosts"].as_array().unwrap();
    assert!(hosts.len() > 50);
    let exact = hosts.iter().map(|host| host.as_str().unwrap()).filter(|host| !host.contains('*'));
    for host in exact.step_by(17) {
        let line = ["explain", "--policy", &place.text("policy.yaml"), host];
        assert_eq!(tool::run(Path::new(BINARY), line).await.code, 0, "{host}");
    }
    for left_out in value["leftOut"].as_array().unwrap() {
        let name = format!("package-registries/{}", left_out["part"].as_str().unwrap());
        let part = told(&format!("show {name} --json"), 0).await;
        let host = part["hosts"][0].as_str().unwrap().replace('*', "a");
        let line = ["explain", "--policy", &place.text("policy.yaml"), &host];
        let twice = hosts.contains(&part["hosts"][0]);
        assert_eq!(tool::run(Path::new(BINARY), line).await.code, if twice { 0 } else { 3 }, "{name} {host}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_answered_with_the_nearest() {
    for (name, hint) in [
        ("package-registry", "did you mean `package-registries`?"),
        ("package-registries/pyton", "did you mean `python`?"),
        ("zzzzzzzzzzzz", "the categories are package-registries, "),
    ] {
        let ran = categories(&format!("show {name}")).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{name}");
        assert!(ran.stderr.contains(hint), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn two_lists_or_a_broken_one_are_problems_and_a_policy_that_pins_another_version_is_none() {
    let place = place();
    place.write("policy.yaml", "mode: Limited\ncategoriesVersion: 6\n");
    told(&format!("list --json --policy {}", place.text("")), 0).await;
    place.write("second.yaml", LIST);
    let ran = categories(&format!("list --policy {}", place.text(""))).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("a second CategoryList"), "{}", ran.stderr);
    place.write("second.yaml", LIST.replace("hosts: [ci.corp", "hosts: [https://ci.corp"));
    for line in ["list --policy", "show tools --policy"] {
        let ran = categories(&format!("{line} {}", place.text("second.yaml"))).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{line}");
        assert!(ran.stderr.contains("second.yaml:8"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn the_difference_of_two_lists_is_told_part_by_part() {
    let place = place();
    let new = LIST
        .replace("version: 7", "version: 8")
        .replace("ci.corp, '*.ci.corp'", "ci.corp, cd.corp")
        .replace(", risk: exfil", "")
        .replace(
            "registry: {hosts: ['{tenant}.registry.corp'], optional: true}",
            "docs: {hosts: [docs.corp]}",
        );
    place.write("new.yaml", new);
    let files = format!("{} {}", place.text("list.yaml"), place.text("new.yaml"));
    let ran = categories(&format!("diff {files}")).await;
    let expected = "\
ours, version 7 -> ours, version 8
changed tools/ci
  - *.ci.corp
  + cd.corp
added tools/docs
  + docs.corp
  `tools` takes it in
changed tools/paste
  - (exfil)
  `tools` takes it in
removed tools/registry
  - (optional)
  - (templated)
  - {tenant}.registry.corp
";
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (1, expected, ""));
    let value = told(&format!("diff --json {files}"), 1).await;
    assert_eq!((&value["same"], &value["warning"]), (&json!(false), &Value::Null));
    assert_eq!(value["parts"][2]["marksRemoved"], json!(["exfil"]));
    assert_eq!(value["parts"][2]["inWhole"], json!({"old": false, "new": true}));
}

#[tokio::test]
async fn a_list_that_changed_under_its_version_is_said_loudly() {
    let place = place();
    place.write("new.yaml", LIST.replace("paste.corp", "paste.corp, drop.corp"));
    let files = format!("{} {}", place.text("list.yaml"), place.text("new.yaml"));
    let ran = categories(&format!("diff {files}")).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.stdout.starts_with("WARNING: ") && ran.stdout.contains("`categoriesVersion: 7`"),
        "{}",
        ran.stdout
    );
    let value = told(&format!("diff --json {files}"), 1).await;
    assert!(value["warning"].as_str().unwrap().contains("raise the version"));
}

#[tokio::test]
async fn the_exit_code_of_a_difference_is_that_of_diff() {
    let place = place();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/categories.yaml");
    for (line, code) in [
        (format!("diff {shipped}"), 0),
        (format!("diff {shipped} {shipped}"), 0),
        (format!("diff {}", place.text("list.yaml")), 1),
        (format!("diff {shipped} {}", place.text("list.yaml")), 1),
        (format!("diff {}", place.text("policy.yaml")), 2),
        (format!("diff {} {shipped}", place.text("nowhere.yaml")), 2),
        ("diff".to_owned(), 2),
        (format!("diff {shipped} {shipped} {shipped}"), 2),
    ] {
        let ran = categories(&line).await;
        assert_eq!(ran.code, code, "{line}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.stdout.is_empty(), code != 1, "{line}: {}", ran.stdout);
        assert_eq!(ran.stderr.is_empty(), code != 2, "{line}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn no_text_of_a_list_moves_the_cursor() {
    let place = place();
    place.write("list.yaml", LIST.replace("the builders", "\"x\\u202ey\"").replace("{tenant}", "{\u{202e}}"));
    for name in ["tools/ci", "tools/registry"] {
        let ran = categories(&format!("show {name} --policy {}", place.text("list.yaml"))).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!ran.stdout.contains('\u{202e}'), "{:?}", ran.stdout);
        assert!(ran.stdout.contains('\u{fffd}'), "{:?}", ran.stdout);
    }
}
