//! A call that was denied and is allowed is never without a sentence that tells of a widening.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::policy::PolicySet;
use crate::policy::tests::set_over;

/// One step of an edit of documents.
#[derive(Debug, Clone)]
enum Step {
    /// An entry of a list is taken away, or a whole document.
    Remove(Index, u8),
    /// An entry of a list is moved to another place.
    Move(Index, Index, u8),
    /// An entry is added somewhere.
    Add(Index, u8, [String; 3]),
    /// The rest of a document is another one.
    Rest(String),
    /// A document is there instead, or besides.
    Put(&'static str, Draft),
}

/// A step.
fn step() -> impl Strategy<Value = Step> {
    let entries =
        (host_rule(false), cidr_rule(false), rule(false)).prop_map(|(host, cidr, rule)| [host, cidr, rule]);
    prop_oneof![
        4 => (any::<Index>(), 0..9_u8).prop_map(|(at, list)| Step::Remove(at, list)),
        3 => (any::<Index>(), any::<Index>(), 0..4_u8).prop_map(|(from, to, list)| Step::Move(from, to, list)),
        3 => (any::<Index>(), 0..3_u8, entries).prop_map(|(at, list, entries)| Step::Add(at, list, entries)),
        1 => draft().prop_map(|draft| Step::Rest(draft.rest)),
        1 => (select(vec!["Global", "Group", "Sandbox"]), draft()).prop_map(|(scope, draft)| Step::Put(scope, draft)),
    ]
}

/// Takes a step in one of the documents.
fn take(drafts: &mut Vec<(&'static str, Draft)>, which: Index, step: &Step) {
    if let Step::Put(scope, draft) = step {
        drafts.retain(|(own, _)| own != scope);
        drafts.push((scope, draft.clone()));
        return;
    }
    if drafts.is_empty() {
        return;
    }
    let at = which.index(drafts.len());
    if matches!(step, Step::Remove(_, 8)) {
        drafts.remove(at);
        return;
    }
    let draft = &mut drafts[at].1;
    match step {
        Step::Remove(entry, list) => {
            let list = list_of(draft, *list);
            if !list.is_empty() {
                list.remove(entry.index(list.len()));
            }
        }
        Step::Move(from, to, list) => {
            let list = list_of(draft, *list);
            if !list.is_empty() {
                let entry = list.remove(from.index(list.len()));
                list.insert(to.index(list.len() + 1), entry);
            }
        }
        Step::Add(entry, list, entries) => {
            let new = entries[usize::from(*list)].clone();
            let list = list_of(draft, *list);
            list.insert(entry.index(list.len() + 1), new);
        }
        Step::Rest(rest) => draft.rest.clone_from(rest),
        Step::Put(..) => {}
    }
}

/// One of the lists of a document, mostly `rules`.
fn list_of(draft: &mut Draft, number: u8) -> &mut Vec<String> {
    match number {
        0 => &mut draft.hosts,
        1 => &mut draft.cidrs,
        _ => &mut draft.rules,
    }
}

/// The documents of drafts, some with constraints.
fn set(drafts: &[(&'static str, Draft)], bounded: Option<&'static str>) -> (PolicySet, String) {
    let mut drafts = drafts.to_vec();
    for (scope, draft) in &mut drafts {
        if let Some(max) = bounded.filter(|_| *scope != "Sandbox") {
            draft.rest = format!("{}, constraints: {{maxMode: {max}}}", draft.rest);
        }
    }
    let text = text(&drafts);
    if drafts.is_empty() {
        return (PolicySet::default(), text);
    }
    (set_over(&text, Guards::default(), None).0, text)
}

/// Whether something that was denied is not.
fn opens(before: &Policy, after: &Policy, target: &str) -> Option<String> {
    let permit = free(target);
    let opened = |old: Answer, new: Answer| width(old) == 0 && width(new) > 0;
    if opened(a(before, target), a(after, target)) {
        return Some(format!("A {target}"));
    }
    for path in PATHS {
        for method in METHODS {
            if opened(c(before, &permit, method, path), c(after, &permit, method, path)) {
                return Some(format!("C {target} {method} {path}"));
            }
        }
    }
    let found = ADDRESSES.iter().find(|at| opened(b(before, &permit, at), b(after, &permit, at)));
    found.map(|at| format!("B {target} {at}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_was_denied_and_is_allowed_is_told(
        drafts in drafts(),
        steps in vec((any::<Index>(), step()), 1..3),
        targets in vec(target(), 6),
        bounds in (of(Just("Limited")), of(Just("Limited"))),
        keep in 0..4_u8,
    ) {
        let bounds = if keep > 0 { (None, None) } else { bounds };
        let (before, old) = set(&drafts, bounds.0);
        let mut drafts = drafts;
        for (which, step) in &steps {
            take(&mut drafts, *which, step);
        }
        let (after, new) = set(&drafts, bounds.1);
        let told = after.widened_since(&before, None, |_| false);
        if told.is_empty() {
            let (before, after) =
                (before.policy_for("sbx", Some("grp"), false), after.policy_for("sbx", Some("grp"), false));
            for target in &targets {
                let opened = opens(&before, &after, target);
                prop_assert!(opened.is_none(), "{:?} was denied, and nothing is told\n{}\n{}", opened, old, new);
            }
        }
        let same = set(&drafts, bounds.1).0.widened_since(&after, None, |_| false);
        prop_assert!(same.is_empty(), "nothing changed: {:?}", same);
    }
}
