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

mod files;
mod lists;
mod roster;
mod secrets;
mod units;

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
