//! The shipped list, and what a use of it gives.

use super::*;

fn wanted(text: &str) -> CategoryUse {
    let (category, part) =
        text.split_once('/').map_or((text, None), |(category, part)| (category, Some(part)));
    let place = Place { file: "p.yaml".into(), line: 1, column: 1 };
    CategoryUse { category: category.into(), part: part.map(Arc::from), place }
}

fn hosts(text: &str) -> Vec<String> {
    let resolved = CategoryLists::shipped().resolve(&wanted(text)).unwrap();
    resolved.patterns.iter().map(ToString::to_string).collect()
}

#[test]
fn the_shipped_list_loads_without_a_problem() {
    let parsed = super::super::document::parse(&SHIPPED_FILE.into(), SHIPPED);
    assert_eq!(parsed.problems, []);
    assert_eq!(parsed.lists[0].version, 1);
    assert_eq!(CategoryLists::shipped().list().categories.len(), 9);
}

#[test]
fn every_part_that_is_not_a_template_resolves() {
    for category in &CategoryLists::shipped().list().categories {
        for part in &category.parts {
            let use_ = wanted(&format!("{}/{}", category.name, part.name));
            assert_eq!(
                CategoryLists::shipped().resolve(&use_).is_err(),
                !part.templates.is_empty(),
                "{use_:?}"
            );
        }
    }
}

#[test]
fn a_part_gives_its_own_hosts() {
    let python = hosts("package-registries/python");
    assert!(python.contains(&"pypi.org".to_owned()) && !python.contains(&"test.pypi.org".to_owned()));
}

#[test]
fn a_whole_category_leaves_out_optional_templated_and_risky_parts() {
    let code = hosts("code-repositories");
    assert_eq!(code, ["*.ghe.com"]);
    let registries = hosts("container-registries");
    assert!(registries.contains(&"ghcr.io".to_owned()));
    for host in ["*.azurecr.io", "*.blob.core.windows.net", "*.docker.io"] {
        assert!(!registries.contains(&host.to_owned()));
    }
}

#[test]
fn naming_a_risky_or_optional_part_is_a_warning() {
    for (text, word) in
        [("code-repositories/github", "uploads"), ("package-registries/python-optional", "optional")]
    {
        let resolved = CategoryLists::shipped().resolve(&wanted(text)).unwrap();
        assert_eq!(resolved.warnings.len(), 1);
        assert!(resolved.warnings[0].message.contains(word));
        assert!(!resolved.warnings[0].is_error());
    }
    assert!(CategoryLists::shipped().resolve(&wanted("package-registries/npm")).unwrap().warnings.is_empty());
}

#[test]
fn unknown_names_are_errors_with_the_nearest_one() {
    let problem = CategoryLists::shipped().resolve(&wanted("package-registry")).unwrap_err();
    assert_eq!(problem.cure.as_deref(), Some("did you mean `package-registries`?"));
    let problem = CategoryLists::shipped().resolve(&wanted("package-registries/pyton")).unwrap_err();
    assert_eq!(problem.cure.as_deref(), Some("did you mean `python`?"));
}

#[test]
fn a_templated_part_is_an_error_with_a_cure() {
    let problem = CategoryLists::shipped().resolve(&wanted("container-registries/acr-global")).unwrap_err();
    assert!(problem.cure.unwrap().contains("{registry}.azurecr.io"));
}

#[test]
fn a_pinned_version_must_be_the_lists() {
    let lists = CategoryLists::shipped();
    let place = Place { file: "p.yaml".into(), line: 4, column: 1 };
    assert_eq!(lists.check_version(1, &place), None);
    assert!(lists.check_version(2, &place).unwrap().message.contains("version 1"));
}

#[test]
fn an_operators_list_replaces_the_shipped_one() {
    let text = "kind: CategoryList\nmetadata: {name: ours}\nspec: {version: 7, categories: {tools: {ci: {hosts: [ci.corp]}}}}";
    let parsed = super::super::document::parse(&"ours.yaml".into(), text);
    assert_eq!(parsed.problems, []);
    let (lists, problem) = CategoryLists::shipped().followed_by(&parsed.lists.iter().collect::<Vec<_>>());
    assert_eq!(problem, None);
    assert_eq!(lists.resolve(&wanted("tools")).unwrap().patterns.len(), 1);
    assert!(lists.resolve(&wanted("package-registries")).is_err());
    let two = [&parsed.lists[0], &parsed.lists[0]];
    assert!(lists.followed_by(&two).1.is_some());
}
