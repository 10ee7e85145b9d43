//! Documents that share a pool of patterns, and move to another one when most of it is of no use.

use super::*;
use crate::policy::{Compiled, Scope};

/// A sandbox's document with these hosts.
fn own(sandbox: &str, hosts: impl IntoIterator<Item = String>) -> Arc<Document> {
    let text = format!(
        "kind: EgressPolicy\nmetadata: {{name: own, sandbox: {sandbox}}}\nspec:\n  mode: Limited\n  \
         hostRules: [host.example, {{pattern: never.example, action: Deny}}, 9.9.9.9, \"db.example:5432\"]\n  \
         rules: [{{match: {{host: \"api-*.example\", path: /open}}, action: Allow}}]\n"
    );
    let mut document = Document::clone(&documents(&text)[0]);
    let rules = &mut document.spec.host_rules;
    let like = rules[0].clone();
    rules.extend(hosts.into_iter().map(|host| {
        let mut rule = like.clone();
        rule.pattern = host.parse().unwrap();
        rule
    }));
    Arc::new(document)
}

/// Hosts that nobody else has, with two megabytes of text.
fn many(kind: &str) -> impl Iterator<Item = String> {
    let long = "a".repeat(63);
    (0..10_000).map(move |n| format!("{kind}{n}.{long}.{long}.{long}.example"))
}

/// The set of these documents, after another one.
fn compile(documents: &[Arc<Document>], previous: Option<&PolicySet>) -> PolicySet {
    let (set, problems) =
        PolicySet::compile(documents, &CategoryLists::shipped(), Arc::default(), None, previous);
    assert!(!problems.iter().any(crate::source::Problem::is_error), "{problems:?}");
    set
}

/// The bytes of all patterns that a set can refer to.
fn bytes(set: &PolicySet) -> usize {
    set.policy_for("one", None, false).pool().bytes()
}

/// What a sandbox is told of hosts that are in use, and of one that only an old document had.
fn told(set: &PolicySet, sandbox: &str) -> Vec<&'static str> {
    let policy = set.policy_for(sandbox, None, false);
    let mut told: Vec<_> = [
        "host.example:443",
        "never.example:443",
        "other.example:443",
        "9.9.9.9:443",
        "db.example:5432",
        "db.example:443",
        "api-1.example:443",
        "denied.example:443",
    ]
    .map(|target| a(&policy, target))
    .into();
    told.push(c(&policy, "api-1.example:443", "GET", "/open"));
    told.push(c(&policy, "api-1.example:443", "GET", "/shut"));
    told.extend(many("old").step_by(1_000).map(|host| a(&policy, &format!("{host}:443"))));
    told
}

#[test]
fn a_set_moves_to_another_pool_when_most_of_its_own_is_of_no_use_and_answers_as_before() {
    let denying = "{mode: Unrestricted, hostRules: [{pattern: denied.example, action: Deny}]}";
    let global = documents(&layers(&[("Global", denying)])).remove(0);
    let (one, two) = (own("one", many("old")), own("two", (0..99).map(|n| format!("{n}.test"))));
    let first = compile(&[Arc::clone(&global), one, Arc::clone(&two)], None);
    assert!(bytes(&first) > 2 << 20);
    assert!(first.compacted().is_none(), "all of it is in use");
    let one = own("one", []);
    let second = compile(&[Arc::clone(&global), Arc::clone(&one), Arc::clone(&two)], Some(&first));
    // The first one was looked at not long ago, so more has to come before waste is looked for again.
    assert!(second.compacted().is_none());
    let third = compile(&[Arc::clone(&global), own("one", many("new")), Arc::clone(&two)], Some(&second));
    let fourth = compile(&[Arc::clone(&global), Arc::clone(&one), Arc::clone(&two)], Some(&third));
    let moved = fourth.compacted().unwrap();

    assert!(bytes(&moved) < 2 << 10, "{} bytes are left", bytes(&moved));
    assert_eq!(told(&first, "two"), told(&moved, "two"));
    assert_eq!(told(&second, "one"), told(&moved, "one"));
    for (unit, moved) in fourth.documents().into_iter().zip(moved.documents()) {
        assert_eq!(told::all(unit), told::all(moved));
    }
    assert!(moved.compacted().is_none());
    // Whoever still has the old set is answered from the old pool.
    assert_eq!(told(&fourth, "one"), told(&moved, "one"));

    // What did not change is used again, in the new pool.
    let mut draft = Draft::new(&CategoryLists::shipped(), None, Some(&moved));
    draft.compile(&global);
    draft.compile(&own("one", many("old")));
    let unit = |set: &PolicySet, sandbox: &str| {
        let scope = Scope::Sandbox { group: None, sandbox: sandbox.into() };
        Arc::clone(set.unit(&scope).unwrap())
    };
    draft.reuse(&unit(&moved, "two"));
    let (fifth, _) = draft.finish(Arc::default());
    assert!(Arc::ptr_eq(&unit(&fifth, "two"), &unit(&moved, "two")));
    // A document that lives on tells its texts, whatever came after it and with whatever pool it goes.
    drop((second, third));
    assert_eq!(told::all(&unit(&moved, "two")), told::all(&unit(&first, "two")));
    assert_eq!(told(&fifth, "one"), told(&first, "one"));
    assert_eq!(told(&fifth, "two"), told(&first, "two"));
}

#[test]
fn a_document_of_another_pool_is_never_asked() {
    let kept: Arc<Compiled> = {
        let set = compile(&[own("one", [])], None);
        Arc::clone(set.documents()[0])
    };
    let mut set = compile(&[own("two", [])], None);
    assert_eq!(told(&set, "two")[0], "Allow");
    set.keep(kept);
    assert_eq!(a(&set.policy_for("one", None, false), "host.example:443"), "policy_error");
    assert_eq!(told(&set, "two")[0], "Allow");
}
