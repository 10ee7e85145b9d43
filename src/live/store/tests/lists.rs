//! The operator's list of categories, and the policies that name it.

use super::*;

/// A list whose category `mine` is this host.
fn list(host: &str) -> String {
    format!(
        "apiVersion: sluicegate/v1\nkind: CategoryList\nmetadata: {{name: ours}}\n\
         spec: {{version: 1, categories: {{mine: {{all: {{hosts: [{host}]}}}}}}}}\n"
    )
}

#[test]
fn a_changed_category_list_changes_the_policies_that_name_it() {
    let policy = "mode: Limited\ncategories: [mine]\n";
    let mut bench = Bench::new(&[("a.yaml", policy), ("list.yaml", &list("old.test"))]);
    assert!(bench.allows("old.test:443"));
    bench.write("list.yaml", list("new.test"));
    bench.load_well();
    assert!(bench.allows("new.test:443") && !bench.allows("old.test:443"));
}

#[test]
fn p2_a_category_list_that_breaks_or_vanishes_keeps_its_last_good_version() {
    let policy = "mode: Limited\ncategories: [mine]\nhostRules: [one.test]\n";
    let mut bench = Bench::new(&[("a.yaml", policy), ("list.yaml", &list("old.test"))]);
    bench.write("list.yaml", "apiVersion: sluicegate/v1\nkind: CategoryList\nmetadata: {name: [\n");
    // The policy changes meanwhile, and still means the list that was good.
    bench.write("a.yaml", policy.replace("one", "two"));
    bench.load_badly("list.yaml");
    assert!(bench.allows("old.test:443") && bench.allows("two.test:443"));
    fs::remove_file(bench.path("list.yaml")).unwrap();
    bench.load_badly("the CategoryList `ours`");
    bench.write("a.yaml", policy.replace("one", "three"));
    bench.load_badly("the CategoryList `ours`");
    assert!(bench.allows("old.test:443") && bench.allows("three.test:443"));
    bench.write("list.yaml", list("new.test"));
    bench.write("list2.yaml", list("other.test"));
    bench.load_badly("a second CategoryList");
    assert!(bench.allows("old.test:443") && !bench.allows("other.test:443"));
    fs::remove_file(bench.path("list2.yaml")).unwrap();
    bench.load_well();
    assert!(bench.allows("new.test:443") && !bench.allows("old.test:443"));
}

#[test]
fn what_is_in_force_is_not_kept_as_it_was_parsed_and_only_what_depends_on_a_list_is_parsed_again() {
    let listed =
        allowing("name: b, sandbox: two", "b.test").replace("spec: {", "spec: {categories: [mine], ");
    let mut bench = Bench::new(&[
        ("a.yaml", &allowing("name: a, sandbox: one", "a.test")),
        ("b.yaml", &format!("{}---\n{listed}", allowing("name: c, sandbox: three", "c.test"))),
        ("list.yaml", &list("old.test")),
    ]);
    let entries = |bench: &Bench| {
        let entries = bench.store.files.values().flat_map(|file| &file.entries);
        entries.map(|entry| (entry.parsed.is_none(), entry.compiled.clone().unwrap())).collect::<Vec<_>>()
    };
    let before = entries(&bench);
    bench.write("list.yaml", list("new.test"));
    bench.load_well();
    let after = entries(&bench);
    assert!(before.iter().chain(&after).all(|(compiled, _)| *compiled));
    let same = before.iter().zip(&after).map(|((_, before), (_, after))| Arc::ptr_eq(before, after));
    assert_eq!(same.collect::<Vec<_>>(), [true, true, false]);
    assert!(bench.allows_for("two", None, "new.test:443") && !bench.allows_for("two", None, "old.test:443"));
    // The same store for a set that has nothing of it begins anew.
    bench.policies = bench.store.load(&Arc::default(), None).unwrap().policies;
    assert!(bench.allows_for("two", None, "new.test:443") && bench.allows_for("three", None, "c.test:443"));
}

#[test]
fn p2_a_unit_that_is_there_twice_keeps_its_version_when_the_list_of_its_category_changes() {
    let policy = "mode: Limited\ncategories: [mine]\n";
    let mut bench = Bench::new(&[("b.yaml", policy), ("list.yaml", &list("old.test"))]);
    bench.write("a.yaml", "mode: Unrestricted\n");
    bench.load_badly("a second policy for Global");
    bench.write("list.yaml", list("new.test"));
    bench.load_badly("a second policy for Global");
    assert!(bench.allows("new.test:443") && !bench.allows("old.test:443"));
    // A list without the category: what was in force stays, and the other one does not take its place.
    bench.write("list.yaml", list("other.test").replace("mine", "others"));
    bench.load_badly("unknown category");
    assert!(bench.allows("new.test:443") && !bench.allows("any.test:443"));
    fs::remove_file(bench.path("a.yaml")).unwrap();
    bench.load_badly("unknown category");
    assert!(bench.allows("new.test:443") && !bench.allows("any.test:443"));
    bench.write("list.yaml", list("new.test"));
    bench.load_well();
    assert!(bench.allows("new.test:443"));
}
