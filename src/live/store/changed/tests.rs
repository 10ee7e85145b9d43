//! Who changed a document, from what to what.

use std::fs;

use super::*;
use crate::policy::{Guards, Roster};

const NARROW: &str = "mode: Limited\n";
const WIDE: &str = "mode: Unrestricted\n";

/// A directory of policies that is loaded step by step.
struct Bench {
    directory: tempfile::TempDir,
    store: Store,
    policies: PolicySet,
}

impl Bench {
    /// Loads these files for the first time, which is no change.
    fn new(files: &[(&str, &str)], roster: Option<Roster>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().to_owned(), roster);
        let mut bench = Self { directory, store, policies: PolicySet::default() };
        for (name, text) in files {
            bench.write(name, text);
        }
        let first = bench.store.load(&Arc::<Guards>::default(), None).unwrap();
        assert!(first.changes.documents.is_empty(), "{:?}", first.changes);
        bench.policies = first.policies;
        bench
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn load(&mut self) -> Changes {
        let loaded = self.store.load(&Arc::default(), Some(&self.policies)).unwrap();
        self.policies = loaded.policies;
        loaded.changes
    }

    /// Loads again: the one change, with its texts and the name of its actor's file.
    fn change(&mut self) -> (Option<Digest>, Option<Digest>, Actor) {
        let changes = self.load();
        assert_eq!((changes.documents.len(), changes.unrecorded), (1, 0), "{changes:?}");
        let DocumentChange { actor, before, after, .. } = changes.documents[0].change.clone();
        (before, after, actor)
    }

    fn file(&self, name: &str) -> Actor {
        Actor::File { name: Text::new(&self.path(name)) }
    }
}

/// A document of a scope.
fn document(about: &str, spec: &str) -> String {
    format!("kind: EgressPolicy\nmetadata: {{{about}}}\nspec: {spec}\n")
}

#[test]
fn a_widening_names_its_file_and_both_texts() {
    let mut bench = Bench::new(&[("a.yaml", NARROW)], None);
    bench.write("a.yaml", WIDE);
    assert_eq!(bench.change(), (Some(Digest::of(NARROW)), Some(Digest::of(WIDE)), bench.file("a.yaml")));
    bench.write("a.yaml", NARROW);
    assert!(bench.load().documents.is_empty(), "it is narrower");
}

#[test]
fn an_older_version_in_force_keeps_the_digest_of_its_text() {
    let mut bench = Bench::new(&[("a.yaml", NARROW)], None);
    for broken in ["mode: Nonsense\n", ""] {
        bench.write("a.yaml", broken);
        assert!(bench.load().documents.is_empty());
    }
    fs::remove_file(bench.path("a.yaml")).unwrap();
    assert!(bench.load().documents.is_empty());
    bench.write("b.yaml", WIDE);
    assert_eq!(bench.change(), (Some(Digest::of(NARROW)), Some(Digest::of(WIDE)), bench.file("b.yaml")));
    assert!(bench.store.kept.documents.is_empty(), "what is not in force is forgotten");
}

#[test]
fn a_document_that_is_taken_away_names_the_file_that_says_so() {
    let (top, own) = (
        document("name: top", "{mode: Limited}"),
        document("name: own, sandbox: sbx", "{mode: Unrestricted}"),
    );
    let mut bench = Bench::new(&[("a.yaml", &top), ("b.yaml", &own)], None);
    bench.write("a.yaml", "kind: EgressPolicy\nmetadata: {name: top, removed: true}\n");
    assert_eq!(bench.change(), (Some(Digest::of(&top)), None, bench.file("a.yaml")));
}

#[test]
fn a_document_that_comes_with_its_sandbox_names_the_configuration() {
    let own = document("name: own, sandbox: two", "{mode: Unrestricted}");
    let cast = |all: &[&str]| Some(all.iter().map(|id| (Arc::from(*id), None)).collect::<Roster>());
    let other = document("name: one, sandbox: one", "{mode: Limited}");
    let mut bench = Bench::new(&[("a.yaml", &other)], cast(&["one"]));
    bench.write("b.yaml", &own);
    assert!(bench.load().documents.is_empty(), "its sandbox is not listed");
    bench.store.recast(cast(&["one", "two"]));
    assert_eq!(bench.change(), (None, Some(Digest::of(&own)), Actor::Configuration));
    bench.store.recast(cast(&["one"]));
    assert!(bench.load().documents.is_empty(), "a sandbox that is gone is nobody");
}

#[test]
fn a_list_of_categories_that_grew_is_named_in_the_place_of_the_document() {
    let list = |hosts: &str| {
        format!(
            "kind: CategoryList\nmetadata: {{name: own}}\nspec: {{version: 1, categories: {{c: {{p: {{hosts: [{hosts}]}}}}}}}}\n"
        )
    };
    let document = "categories: [c]\n";
    let mut bench = Bench::new(&[("a.yaml", document), ("list.yaml", &list("a.test"))], None);
    bench.write("list.yaml", &list("a.test, b.test"));
    assert_eq!(
        bench.change(),
        (Some(Digest::of(document)), Some(Digest::of(document)), bench.file("list.yaml"))
    );
}

#[test]
fn of_many_documents_the_first_are_told_and_the_others_counted() {
    let text = |n: usize, spec: &str| document(&format!("name: d{n}, sandbox: s{n:03}"), spec);
    let bench = Bench::new(&[("z.yaml", &text(999, "{mode: Limited}"))], None);
    let mut bench = bench;
    let all = |spec: &str| (0..130).map(|n| text(n, spec)).collect::<Vec<_>>().join("---\n");
    bench.write("a.yaml", &all("{mode: Limited}"));
    assert!(bench.load().documents.is_empty());
    bench.write("a.yaml", &all("{mode: Unrestricted}"));
    let changes = bench.load();
    assert_eq!((changes.documents.len(), changes.unrecorded), (MOST, 30));
    assert!(changes.documents.iter().zip(0..).all(|(changed, n)| *changed.policy == *format!("d{n}")));
}

#[test]
fn s1_a_secret_that_may_be_sent_to_more_hosts_is_told_by_its_own_name_with_its_file_and_both_texts() {
    let secret = |hosts: &str, more: &str| {
        format!(
            "kind: Secret\nmetadata: {{name: key{more}}}\nspec: {{keys: {{a: {{env: A}}}}, hosts: [{hosts}]}}\n"
        )
    };
    let (narrow, wide) = (secret("a.test", ""), secret("a.test, b.test", ""));
    let mut bench = Bench::new(&[("a.yaml", WIDE), ("s.yaml", &narrow)], None);
    bench.write("s.yaml", &wide);
    let all = bench.load().documents;
    assert_eq!(all.len(), 1, "{all:?}");
    let changed = &all[0];
    assert_eq!((&*changed.policy, &changed.scope), ("key", &Scope::Global));
    let DocumentChange { actor, before, after, widened } = &changed.change;
    assert_eq!((*before, *after), (Some(Digest::of(&narrow)), Some(Digest::of(&wide))));
    assert_eq!(*actor, bench.file("s.yaml"));
    assert!(format!("{widened:?}").contains("may be sent to `b.test`"), "{widened:?}");
    // What stays as it was while its text is another one, or is broken, has the digest of the last text that had it.
    let (again, more) = (format!("{wide}# a line\n"), secret("a.test, b.test, c.test", ""));
    for text in [&again, "kind: Secret\n"] {
        bench.write("s.yaml", text);
        assert!(bench.load().documents.is_empty(), "{text}");
    }
    bench.write("s.yaml", &more);
    assert_eq!(bench.change(), (Some(Digest::of(&again)), Some(Digest::of(&more)), bench.file("s.yaml")));
    assert!(bench.store.kept.secrets.is_empty(), "what is not in force is forgotten");
    // A group's own hides the one for everybody.
    let own = secret("d.test", ", group: g");
    bench.write("t.yaml", &own);
    assert_eq!(bench.change(), (None, Some(Digest::of(&own)), bench.file("t.yaml")));
    bench.write("t.yaml", "kind: Secret\nmetadata: {name: key, group: g, removed: true}\n");
    assert_eq!(bench.change(), (Some(Digest::of(&own)), None, bench.file("t.yaml")));
}
