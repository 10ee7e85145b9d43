//! Files that cannot be read, vanish, are cut off or are no policies.

use super::*;

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
fn a_document_whose_file_is_gone_still_counts_among_those_that_skip_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("a.yaml"), "mode: Unrestricted\nconstraints: {skipEgressProxy: Permitted}\n").unwrap();
    let own = "kind: EgressPolicy\nmetadata: {name: s, sandbox: one}\nspec: {mode: Unrestricted, skipEgressProxy: true}\n";
    fs::write(path("b.yaml"), own).unwrap();
    let guards = Arc::new(Guards { skip_permitted: true, ..Guards::default() });
    let mut store = Store::new(directory.path().to_owned(), None);
    let first = store.load(&guards, None).unwrap().policies;
    assert_eq!(first.skipping(), 1);
    fs::remove_file(path("b.yaml")).unwrap();
    let second = store.load(&guards, Some(&first)).unwrap().policies;
    assert_eq!(second.skipping(), 1, "it is in force still");
}

#[test]
fn an_allow_that_never_applies_is_told_at_every_load_until_it_is_mended() {
    let own = |host: &str, more: &str| {
        format!(
            "kind: EgressPolicy\nmetadata: {{name: s, sandbox: one}}\nspec: {{hostRules: [{host}{more}]}}\n"
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("a.yaml", "mode: Limited\nhostRules: ['*.test']\n");
    write("b.yaml", &own("a.test", ""));
    let mut store = Store::new(directory.path().to_owned(), None);
    let mut policies = store.load(&Arc::default(), None).unwrap().policies;
    for (host, more, told) in [
        ("b.test", "", 0),
        ("c.example", "", 1),
        ("c.example", ", d.test", 1),
        ("d.test", "", 0),
        ("e.example", "", 1),
    ] {
        write("b.yaml", &own(host, more));
        let loaded = store.load(&Arc::default(), Some(&policies)).unwrap();
        let dead = loaded.problems.iter().filter(|problem| problem.to_string().contains("is never allowed"));
        assert_eq!(dead.count(), told, "{host}{more}");
        policies = loaded.policies;
        write(
            "c.yaml",
            &format!("kind: EgressPolicy\nmetadata: {{name: t, sandbox: {host}}}\nspec: {{mode: Limited}}\n"),
        );
        let other = store.load(&Arc::default(), Some(&policies));
        if let Some(other) = other {
            let dead =
                other.problems.iter().filter(|problem| problem.to_string().contains("is never allowed"));
            assert_eq!(dead.count(), told, "another document changed beside {host}{more}");
            policies = other.policies;
        }
    }
}
