//! Sandboxes that the process configuration lists, or does not.

use super::*;

/// These sandboxes, all of group `g`.
fn cast(sandboxes: &[&str]) -> Roster {
    sandboxes.iter().map(|id| (Arc::from(*id), Some(Arc::from("g")))).collect()
}

#[test]
fn a_sandbox_that_is_not_listed_any_more_takes_its_document_with_it_and_one_that_is_listed_brings_it() {
    let own = |id: &str| allowing(&format!("name: {id}, sandbox: {id}"), "own.test");
    let mut bench = Bench::new(&[("a.yaml", OLD), ("one.yaml", &own("one")), ("two.yaml", &own("two"))]);
    let holds = |bench: &Bench, id: &str| {
        let scope = Scope::Sandbox { group: None, sandbox: id.into() };
        bench.policies.unit(&scope).is_some()
    };
    bench.store.recast(Some(cast(&["one", "two"])));
    bench.load_well();
    bench.store.recast(Some(cast(&["one", "two"])));
    assert!(bench.load().is_none(), "the same list is no change");

    bench.store.recast(Some(cast(&["two"])));
    bench.load_badly("lists no sandbox `one`");
    assert!(!holds(&bench, "one") && holds(&bench, "two"));
    fs::remove_file(bench.path("one.yaml")).unwrap();
    bench.load_well();

    // The other way round: the file first, which removes nothing, then the sandbox, which does.
    fs::remove_file(bench.path("two.yaml")).unwrap();
    bench.load_badly("no good version");
    assert!(holds(&bench, "two"));
    bench.store.recast(Some(cast(&["one"])));
    bench.load_well();
    assert!(!holds(&bench, "two"));

    bench.write("one.yaml", own("one"));
    bench.load_well();
    bench.write("two.yaml", own("two"));
    bench.load_badly("lists no sandbox `two`");
    assert!(holds(&bench, "one") && !holds(&bench, "two"));
    bench.store.recast(Some(cast(&["one", "two"])));
    bench.load_well();
    assert!(holds(&bench, "two"));
    bench.store.recast(None);
    bench.load_well();
    assert!(holds(&bench, "one"), "without a list every document may have its sandbox");
}

#[test]
fn a_document_in_two_files_of_a_sandbox_that_is_not_listed_is_in_force_for_nobody() {
    let own = |host: &str| allowing("name: s, sandbox: one", host);
    let mut bench = Bench::new(&[("a.yaml", OLD), ("b.yaml", &own("old.test"))]);
    bench.write("c.yaml", own("new.test"));
    bench.load_badly("a second policy");
    bench.store.recast(Some(cast(&["two"])));
    let errors = bench.load().expect("a load");
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors.iter().all(|error| error.contains("lists no sandbox `one`")), "{errors:#?}");
    assert!(bench.policies.unit(&Scope::Sandbox { group: None, sandbox: "one".into() }).is_none());
}

#[test]
fn what_is_wrong_with_a_document_of_a_sandbox_that_is_not_listed_is_told_too() {
    let mut bench = Bench::new(&[("a.yaml", OLD)]);
    bench.store.recast(Some(cast(&["two"])));
    bench.load_well();
    let own = "kind: EgressPolicy\nmetadata: {name: s, sandbox: one}\nspec: {categories: [nowhere]}\n";
    bench.write("b.yaml", own);
    let errors = bench.load().expect("a load");
    assert_eq!(errors.len(), 2, "{errors:#?}");
}
