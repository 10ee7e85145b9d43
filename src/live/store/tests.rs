//! Files as editors, mounts and operators leave them, and what is in force then.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "tests"
)]

use std::os::unix::fs::{PermissionsExt as _, symlink};

use tempfile::TempDir;

use super::*;
use crate::addr::Target;
use crate::policy::{Authority, Interception, RequestFacts};

/// A directory of policies that is loaded step by step.
struct Bench {
    directory: TempDir,
    store: Store,
    policies: PolicySet,
}

impl Bench {
    /// Loads these files for the first time.
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policies");
        fs::create_dir(&path).unwrap();
        let store = Store::new(path, None);
        let mut bench = Self { directory, store, policies: PolicySet::default() };
        for (name, text) in files {
            bench.write(name, text);
        }
        let loaded = bench.store.load(&Arc::default(), None).unwrap();
        assert!(!loaded.has_errors(), "{:#?}", loaded.problems);
        bench.policies = loaded.policies;
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Loads again; the errors, or `None` when nothing changed.
    fn load(&mut self) -> Option<Vec<String>> {
        let loaded = self.store.load(&Arc::default(), Some(&self.policies))?;
        self.policies = loaded.policies;
        let errors = loaded.problems.iter().filter(|problem| problem.is_error());
        Some(errors.map(ToString::to_string).collect())
    }

    /// Loads again and finds no error.
    fn load_well(&mut self) {
        assert_eq!(self.load(), Some(Vec::new()));
    }

    /// Loads again and finds exactly one error, with this in it.
    fn load_badly(&mut self, part: &str) {
        let errors = self.load().expect("a load");
        assert!(!errors.is_empty() && errors.iter().any(|error| error.contains(part)), "{part}: {errors:#?}");
    }

    /// Whether `default` may reach this name.
    fn allows(&self, target: &str) -> bool {
        self.allows_for("default", None, target)
    }

    /// Whether this sandbox may reach this name.
    fn allows_for(&self, sandbox: &str, group: Option<&str>, target: &str) -> bool {
        let target: Target = target.parse().unwrap();
        self.policies.policy_for(sandbox, group, false).admit(&target).is_ok()
    }
}

const OLD: &str = "mode: Limited\nhostRules: [old.test]\n";
const NEW: &str = "mode: Limited\nhostRules: [new.test]\n";

/// A document of one scope that allows one host.
fn allowing(metadata: &str, host: &str) -> String {
    format!(
        "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {{{metadata}}}\n\
         spec: {{mode: Limited, hostRules: [{host}]}}\n"
    )
}

#[test]
fn a_good_change_takes_effect_and_no_change_is_no_load() {
    let mut bench = Bench::new(&[("a.yaml", OLD)]);
    assert!(bench.allows("old.test:443"));
    assert_eq!(bench.load(), None);
    bench.write("a.yaml", OLD);
    assert_eq!(bench.load(), None, "the same text again is no change");
    bench.write("a.yaml", NEW);
    bench.load_well();
    assert!(bench.allows("new.test:443") && !bench.allows("old.test:443"));
    assert_eq!(bench.load(), None);
}

#[test]
fn p2_whatever_is_not_a_good_policy_leaves_the_last_good_one_in_force() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "no good version any more"),
        (b"null\n", "a.yaml"),
        (b"[]\n", "a.yaml"),
        (b"# only a comment\n", "no good version any more"),
        (b"mode: Unrestricted\nmode: Limited\n", "duplicate"),
        (b"mode: Unrestricted\nhostRulez: []\n", "hostRulez"),
        (b"mode: unrestricted\n", "unrestricted"),
        (b"mode: Unrestricted\ncidrRules: [{cidr: 10.0.0.1/8, action: Allow}]\n", "10.0.0.1/8"),
        (b"mode: Unrestricted\nhostRules: [*.x.test]\n", "quote"),
        (b"mode: Unrestricted\nhostRules: [{pattern: x.test, action: De", "a.yaml"),
        (b"mode: Unrestricted\n\xff\xfe", "cannot read"),
        (b"mode: Unrestricted\n\0", "a.yaml"),
        (b"<<<<<<< HEAD\nmode: Unrestricted\n=======\n", "a.yaml"),
    ];
    for (text, part) in cases {
        let mut bench = Bench::new(&[("a.yaml", OLD)]);
        bench.write("a.yaml", text);
        bench.load_badly(part);
        assert!(bench.allows("old.test:443") && !bench.allows("new.test:443"), "{text:?}");
        assert_eq!(bench.load(), None, "the same broken text is reported once");
        bench.write("a.yaml", NEW);
        bench.load_well();
        assert!(bench.allows("new.test:443"), "{text:?}");
    }
}

#[test]
fn p2_a_file_cut_off_anywhere_never_leaves_nothing_and_never_turns_into_a_wider_mode() {
    let text = "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {name: a}\nspec:\n  mode: Limited\n  hostRules:\n    - old.test\n";
    for end in 0..text.len() {
        let mut bench = Bench::new(&[("a.yaml", text)]);
        bench.write("a.yaml", &text[..end]);
        bench.load();
        assert_eq!(bench.policies.documents().len(), 1, "cut at {end}");
        assert!(!bench.allows("new.test:443"), "cut at {end}");
    }
}

#[test]
fn p2_a_file_or_directory_that_vanishes_is_a_problem_and_no_removal() {
    let mut bench = Bench::new(&[("a.yaml", OLD)]);
    fs::remove_file(bench.path("a.yaml")).unwrap();
    bench.load_badly("no good version any more");
    assert!(bench.allows("old.test:443"));
    bench.write("a.yaml", NEW);
    bench.load_well();
    fs::remove_dir_all(bench.store.path()).unwrap();
    bench.load_badly("cannot read");
    assert!(bench.allows("new.test:443"));
    assert_eq!(bench.load(), None);
    fs::create_dir(bench.store.path()).unwrap();
    bench.write("b.yaml", OLD);
    bench.load_well();
    assert!(bench.allows("old.test:443"));
}

#[test]
fn p2_a_new_file_that_cannot_be_read_is_reported_and_so_is_its_cure() {
    let mut bench = Bench::new(&[("a.yaml", OLD)]);
    bench.write("b.yaml", b"\xff");
    bench.load_badly("cannot read");
    assert_eq!(bench.load(), None, "it is reported once");
    fs::remove_file(bench.path("b.yaml")).unwrap();
    bench.load_well();
    symlink("nowhere", bench.path("c.yaml")).unwrap();
    bench.load_badly("cannot read");
    fs::remove_file(bench.path("c.yaml")).unwrap();
    bench.load_well();
    assert!(bench.allows("old.test:443"));
}

#[test]
fn a_file_without_permission_is_a_problem_where_permissions_count() {
    let mut bench = Bench::new(&[("a.yaml", OLD)]);
    fs::set_permissions(bench.path("a.yaml"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(bench.path("a.yaml")).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    bench.load_badly("cannot read");
    assert!(bench.allows("old.test:443"));
}

#[test]
fn p2_a_named_pipe_or_a_file_without_end_holds_nothing_up() {
    let mut bench = Bench::new(&[("a.yaml", OLD)]);
    let made = std::process::Command::new("mkfifo").arg(bench.path("b.yaml")).status().unwrap();
    assert!(made.success());
    bench.load_badly("not a regular file");
    fs::remove_file(bench.path("b.yaml")).unwrap();
    symlink("/dev/zero", bench.path("c.yaml")).unwrap();
    bench.load_badly("not a regular file");
    assert!(bench.allows("old.test:443"));
}

#[test]
fn a_file_beyond_every_size_is_refused_without_being_read_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.yaml");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let mut store = Store::new(path, None);
    let loaded = store.load(&Arc::default(), None).unwrap();
    assert!(loaded.has_errors());
}

#[test]
fn drafts_and_locks_of_editors_are_no_policies() {
    let mut bench = Bench::new(&[("a.yaml", OLD)]);
    symlink("me@host.1234:5678", bench.path(".#a.yaml")).unwrap();
    bench.write(".a.yaml", "not: a policy");
    bench.write("a.yaml~", "not: a policy");
    bench.write("a.yaml.swp", "not: a policy");
    fs::create_dir(bench.path("d.yaml")).unwrap();
    assert_eq!(bench.load(), None);
}

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
fn a_configmap_is_followed_when_its_data_link_is_swapped() {
    let mut bench = Bench::new(&[("z.yaml", &allowing("name: z, sandbox: z", "z.test"))]);
    let version = |name: &str, text: &str| {
        fs::create_dir(bench.path(name)).unwrap();
        fs::write(bench.path(name).join("a.yaml"), text).unwrap();
    };
    version("..2026_01_01", OLD);
    version("..2026_01_02", NEW);
    symlink("..2026_01_01", bench.path("..data")).unwrap();
    symlink("..data/a.yaml", bench.path("a.yaml")).unwrap();
    bench.load_well();
    assert!(bench.allows("old.test:443"));
    symlink("..2026_01_02", bench.path("..data_tmp")).unwrap();
    fs::rename(bench.path("..data_tmp"), bench.path("..data")).unwrap();
    bench.load_well();
    assert!(bench.allows("new.test:443") && !bench.allows("old.test:443"));
}

#[test]
fn only_the_text_of_files_with_problems_is_kept() {
    let bench = Bench::new(&[("a.yaml", OLD)]);
    let other = bench.directory.path().join("policies/b.yaml");
    fs::write(&other, "mode: Limited\nkind: [\n").unwrap();
    let mut store = Store::new(bench.store.path().to_owned(), None);
    let loaded = store.load(&Arc::default(), None).unwrap();
    assert_eq!(loaded.texts.keys().collect::<Vec<_>>(), [&other.display().to_string()]);
}

#[test]
fn p2_a_first_load_of_nothing_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    for path in
        [directory.path().to_owned(), directory.path().join("missing"), directory.path().join("empty.yaml")]
    {
        if path.extension().is_some() {
            fs::write(&path, "").unwrap();
        }
        let loaded = Store::new(path.clone(), None).load(&Arc::default(), None).unwrap();
        assert!(loaded.has_errors(), "{}", path.display());
    }
}

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

/// A `Secret` document with one key of this variable.
fn secret(about: &str, variable: &str) -> String {
    format!("kind: Secret\nmetadata: {{{about}}}\nspec: {{keys: {{k: {{env: {variable}}}}}}}\n")
}

/// A policy that sends the secret `s` to `x.test`.
const USES: &str = "mode: Limited\nrules: [{match: {host: x.test}, action: {type: Transform, headers: \
    [{operation: Set, name: A, valueRef: {secretRef: {secretId: s}}}]}}]\n";

/// Where the key of `s` comes from in a request to `x.test`; the reason of a denial.
fn source(policies: &PolicySet) -> String {
    let policy = policies.policy_for("default", None, false);
    let permit = policy.admit(&"x.test:443".parse().unwrap()).unwrap();
    let facts = RequestFacts { method: "GET", path: "/", secure: true };
    match policy.admit_request(&permit, &facts) {
        Ok(request) => format!("{:?}", request.plan().secrets().map(|used| &used.source).collect::<Vec<_>>()),
        Err(denial) => denial.reason().to_string(),
    }
}

#[test]
fn p2_a_secret_keeps_its_last_good_version_until_it_is_taken_away() {
    let mut bench = Bench::new(&[("p.yaml", USES), ("s.yaml", &secret("name: s", "FIRST"))]);
    let at = |bench: &Bench, name: &str| {
        assert!(source(&bench.policies).contains(name), "{}", source(&bench.policies));
    };
    at(&bench, "FIRST");
    bench.write("s.yaml", secret("name: s", "SECOND"));
    bench.load_well();
    at(&bench, "SECOND");
    bench.write("s.yaml", "kind: Secret\nmetadata: {name: s}\nspec: {keys: {}}\n");
    bench.load_badly("no good version any more");
    at(&bench, "SECOND");
    fs::remove_file(bench.path("s.yaml")).unwrap();
    bench.load_badly("no good version any more");
    at(&bench, "SECOND");
    bench.write("s.yaml", secret("name: s", "THIRD") + "---\n" + &secret("name: s", "FOURTH"));
    bench.load_badly("a second secret `s`");
    at(&bench, "SECOND");
    bench.write("t.yaml", secret("name: s", "FIFTH"));
    bench.load_badly("a second secret `s`");
    at(&bench, "SECOND");
    fs::remove_file(bench.path("t.yaml")).unwrap();
    bench.write("s.yaml", "kind: Secret\nmetadata: {name: s, removed: true}\n");
    bench.load_badly("there is no secret `s`");
    assert_eq!(source(&bench.policies), "secret_unavailable");
    bench.write("s.yaml", secret("name: s", "SIXTH"));
    bench.load_well();
    at(&bench, "SIXTH");
}

#[test]
fn a_policy_whose_secret_is_not_there_waits_for_it_in_its_last_good_version() {
    let mut bench = Bench::new(&[("p.yaml", OLD)]);
    bench.write("p.yaml", USES);
    bench.load_badly("there is no secret `s`");
    assert!(bench.allows("old.test:443") && !bench.allows("x.test:443"));
    bench.write("s.yaml", secret("name: s", "FIRST"));
    bench.load_well();
    assert!(!bench.allows("old.test:443") && bench.allows("x.test:443"));
    assert_eq!(bench.load(), None);
}

#[test]
fn a_policy_that_needs_decryption_keeps_its_last_good_version_without_an_authority() {
    let mut bench = Bench::new(&[("p.yaml", OLD)]);
    bench.write("p.yaml", "mode: Unrestricted\ntrafficInspection: Full\n");
    let missing = |bench: &mut Bench, authority| {
        let interception = Interception { authority, ..Interception::default() };
        let guards = Arc::new(Guards { interception, ..Guards::default() });
        let loaded = bench.store.load(&guards, Some(&bench.policies)).unwrap();
        bench.policies = loaded.policies;
        loaded.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let found = missing(&mut bench, Authority::Missing);
    assert!(found.iter().any(|problem| problem.contains("`intercept` authority")), "{found:?}");
    assert!(bench.allows("old.test:443") && !bench.allows("new.test:443"));
    assert_eq!(missing(&mut bench, Authority::Present), Vec::<String>::new());
    assert!(bench.allows("new.test:443"));
}
