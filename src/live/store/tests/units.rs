//! Each document by itself: it moves, breaks, is there twice, is removed, is bounded from above.

use super::*;

#[test]
fn p2_a_second_document_for_a_scope_never_takes_the_place_of_the_one_in_force() {
    for name in ["0-first.yaml", "z-last.yaml"] {
        let mut bench = Bench::new(&[("a.yaml", OLD)]);
        bench.write(name, "mode: Unrestricted\n");
        bench.load_badly("a second policy for Global");
        assert!(bench.allows("old.test:443") && !bench.allows("new.test:443"), "{name}");
        // Not even when the first is changed, too: two versions, none of them good.
        bench.write("a.yaml", NEW);
        bench.load_badly("a second policy for Global");
        assert!(bench.allows("old.test:443") && !bench.allows("any.test:443"), "{name}");
        fs::remove_file(bench.path(name)).unwrap();
        bench.load_well();
        assert!(bench.allows("new.test:443") && !bench.allows("old.test:443"), "{name}");
    }
}

#[test]
fn a_document_that_moves_to_another_file_stays_in_force() {
    let mut bench = Bench::new(&[("a.yaml", OLD)]);
    fs::rename(bench.path("a.yaml"), bench.path("b.yaml")).unwrap();
    bench.load_well();
    assert!(bench.allows("old.test:443"));
}

#[test]
fn a_document_is_removed_by_saying_so_whatever_group_is_named_beside_its_sandbox() {
    for metadata in ["name: s, sandbox: one, group: g", "name: s, sandbox: one"] {
        let own = allowing("name: s, sandbox: one, group: g", "nothing.test");
        let mut bench = Bench::new(&[("a.yaml", OLD), ("b.yaml", &own)]);
        assert!(!bench.allows_for("one", Some("g"), "old.test:443"));
        let removal = format!(
            "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {{{metadata}, removed: true}}\n"
        );
        bench.write("b.yaml", removal);
        bench.load_well();
        assert!(bench.allows_for("one", Some("g"), "old.test:443"), "{metadata}");
        fs::remove_file(bench.path("b.yaml")).unwrap();
        bench.load_well();
        assert_eq!(bench.policies.documents().len(), 1);
    }
}

#[test]
fn p4_a_broken_sandbox_document_does_not_hold_up_a_tightened_global_one() {
    let own = allowing("name: s, sandbox: one", "old.test");
    let mut bench = Bench::new(&[("a.yaml", "hostRules: [old.test]\nmode: Limited\n"), ("b.yaml", &own)]);
    assert!(bench.allows_for("one", None, "old.test:443"));
    bench.write("a.yaml", NEW);
    bench.write("b.yaml", "kind: EgressPolicy\nmetadata: {name: s, sandbox: one}\nspec: {mode: Limitd}\n");
    bench.load_badly("Limitd");
    assert!(!bench.allows_for("one", None, "old.test:443"), "the tightened Global holds");
    assert!(bench.allows_for("two", None, "new.test:443"));
}

#[test]
fn p4_a_kept_document_is_in_force_only_as_far_as_the_higher_ones_permit() {
    let own = "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {name: s, sandbox: one}\nspec: {mode: Unrestricted}\n";
    let mut bench = Bench::new(&[("a.yaml", "mode: Unrestricted\n"), ("b.yaml", own)]);
    assert!(bench.allows_for("one", None, "any.test:443"));
    bench.write("b.yaml", "broken: [");
    bench.load_badly("b.yaml");
    assert!(bench.allows_for("one", None, "any.test:443"));
    bench.write("a.yaml", "mode: Unrestricted\nconstraints: {maxMode: Limited}\n");
    let errors = bench.load().expect("a load");
    assert!(!bench.allows_for("one", None, "any.test:443"), "beyond the constraints: policy_error");
    assert!(bench.allows_for("two", None, "any.test:443"), "the rest runs");
    let told: Vec<_> = errors.iter().filter(|error| error.contains("at most Limited")).collect();
    assert_eq!(told.len(), 1, "it is told, and once: {errors:#?}");
    for part in
        ["b.yaml:1:1", "`s` has mode Unrestricted", "Global `a`", "Sandbox one", "policy_error", "widen"]
    {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
    bench.write("a.yaml", "mode: Unrestricted\n");
    let errors = bench.load().expect("a load");
    assert!(bench.allows_for("one", None, "any.test:443"), "and back again");
    assert!(!errors.iter().any(|error| error.contains("policy_error")), "{errors:#?}");
}

#[test]
fn p4_a_document_that_goes_beyond_a_kept_higher_one_is_reported_too() {
    let own = |mode: &str| {
        format!("kind: EgressPolicy\nmetadata: {{name: s, sandbox: one}}\nspec: {{mode: {mode}}}\n")
    };
    let global = "mode: Unrestricted\nconstraints: {maxMode: Limited}\n";
    let mut bench = Bench::new(&[("a.yaml", global), ("b.yaml", &own("Limited"))]);
    bench.write("a.yaml", "broken: [");
    bench.write("b.yaml", own("Unrestricted"));
    bench.load_badly("`s` has mode Unrestricted, but Global `a` allows at most Limited");
    assert!(!bench.allows_for("one", None, "any.test:443"));
}

#[test]
fn p4_the_group_that_the_configuration_gives_a_sandbox_bounds_its_document() {
    let group = "kind: EgressPolicy\nmetadata: {name: g, group: g}\nspec: {mode: Unrestricted, constraints: {maxMode: Limited}}\n";
    let own = "kind: EgressPolicy\nmetadata: {name: s, sandbox: one}\nspec: {mode: Unrestricted}\n";
    let bench = Bench::new(&[("a.yaml", group), ("b.yaml", own)]);
    assert!(bench.allows_for("one", None, "any.test:443"), "without a configuration it has no group");
    let roster = [("one", "g"), ("two", "g")];
    let roster = roster.map(|(sandbox, group)| (Arc::from(sandbox), Some(Arc::from(group))));
    let mut store = Store::new(bench.store.path().to_owned(), Some(roster.into_iter().collect()));
    let loaded = store.load(&Arc::default(), None).unwrap();
    let errors: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert!(errors.iter().any(|error| error.contains("Group g `g` allows at most Limited")), "{errors:#?}");
}

#[test]
fn of_several_documents_in_a_file_only_the_broken_one_keeps_its_last_version() {
    let both = |one: &str, two: &str| {
        format!("{}---\n{}", allowing("name: a, sandbox: one", one), allowing("name: b, sandbox: two", two))
    };
    let mut bench = Bench::new(&[("a.yaml", &both("old.test", "old.test"))]);
    bench.write("a.yaml", both("new.test", "'**'"));
    bench.load_badly("**");
    assert!(bench.allows_for("one", None, "new.test:443"));
    assert!(bench.allows_for("two", None, "old.test:443"));
    bench.write("a.yaml", allowing("name: a, sandbox: one", "new.test"));
    bench.load_badly("Sandbox two");
    assert!(bench.allows_for("two", None, "old.test:443"));
}

#[test]
fn documents_that_moved_to_another_pool_are_not_compiled_again() {
    let long = "a".repeat(63);
    let many = |kind: &str| {
        let hosts = (0..10_000).map(|n| format!("{kind}{n}.{long}.{long}.{long}.test"));
        allowing("name: b, sandbox: two", &hosts.collect::<Vec<_>>().join(", "))
    };
    let mut bench =
        Bench::new(&[("a.yaml", &allowing("name: a, sandbox: one", "a.test")), ("b.yaml", &many("x"))]);
    let unit = |bench: &Bench| {
        let scope = Scope::Sandbox { group: None, sandbox: "one".into() };
        Arc::clone(bench.policies.unit(&scope).unwrap())
    };
    let (mut units, last) = (vec![unit(&bench)], allowing("name: b, sandbox: two", "b.test"));
    for text in ["y", "z", "u", "v"].map(many).into_iter().chain([last]) {
        bench.write("b.yaml", text);
        bench.load_well();
        units.push(unit(&bench));
    }
    units.dedup_by(|one, other| Arc::ptr_eq(one, other));
    assert_eq!(units.len(), 2, "it moves once, when most of the pool is of no use");
    assert!(bench.allows_for("one", None, "a.test:443") && bench.allows_for("two", None, "b.test:443"));
}
