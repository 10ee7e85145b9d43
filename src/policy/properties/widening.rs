//! A call that was denied and is allowed is never without a sentence that tells of a widening.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::policy::category::CategoryLists;
use crate::policy::hello::HelloFacts;
use crate::policy::network::{NetworkFacts, Networks};
use crate::policy::{Authority, Interception, PolicySet};

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
        2 => rest().prop_map(Step::Rest),
        1 => (select(vec!["Global", "Group", "Sandbox"]), wide()).prop_map(|(scope, draft)| Step::Put(scope, draft)),
    ]
}

/// A `vnet`: its network, what stays on the managed path, the network's rules.
fn vnet() -> impl Strategy<Value = String> {
    let rule = (action(false), select(NETS.to_vec()), of(ports())).prop_map(|(action, net, ports)| {
        let ports = ports.map_or_else(String::new, |ports| format!(", ports: {ports}"));
        format!("action: {action}, destination: \"{net}\"{ports}")
    });
    let rules = vec(rule, 1..3).prop_map(|rules| {
        let named = rules.iter().zip(100..).map(|(rule, n)| format!("{{name: r{n}, priority: {n}, {rule}}}"));
        format!(", securityRules: [{}]", named.collect::<Vec<_>>().join(", "))
    });
    let hosts = vec(prop_oneof![3 => name(), 1 => name().prop_map(|name| format!("\"*.{name}\""))], 0..4);
    let managed =
        hosts.prop_map(|hosts| format!(", managedPath: {{additionalHosts: [{}]}}", hosts.join(", ")));
    (select(vec!["prod", "prod", "far"]), of(managed), of(rules)).prop_map(|(network, managed, rules)| {
        format!(", vnet: {{network: {network}{}{}}}", managed.unwrap_or_default(), rules.unwrap_or_default())
    })
}

/// All of a document that is no list, of every kind there is.
fn rest() -> impl Strategy<Value = String> {
    let modes = prop_oneof![
        2 => select(vec!["mode: Limited", "mode: Unrestricted"]).prop_map(str::to_owned),
        2 => vnet().prop_map(|vnet| format!("mode: VNet{vnet}")),
    ];
    let words = (
        prop_oneof![4 => Just("Enforce"), 1 => Just("Report")],
        of(select(vec!["None", "Partial", "Legacy", "Full"])),
        prop_oneof![5 => Just(""), 1 => Just(", skipEgressProxy: true")],
        prop_oneof![
            2 => Just(""),
            2 => Just("skipEgressProxy: Permitted"),
            1 => Just("managedPath: Forbidden"),
            1 => Just("maxMode: VNet, skipEgressProxy: Permitted"),
            1 => Just("minInspection: Partial"),
        ],
    );
    (modes, of(ports()), words).prop_map(|(mode, ports, (enforcement, inspection, skip, bounds))| {
        let ports = ports.map_or_else(String::new, |ports| format!(", ports: {ports}"));
        let inspection = inspection.map_or_else(String::new, |word| format!(", trafficInspection: {word}"));
        let bounds = if bounds.is_empty() { String::new() } else { format!(", constraints: {{{bounds}}}") };
        format!("{mode}, enforcement: {enforcement}{ports}{inspection}{skip}{bounds}")
    })
}

/// A draft with such a rest.
fn wide() -> impl Strategy<Value = Draft> {
    (draft(), rest()).prop_map(|(draft, rest)| Draft { rest, ..draft })
}

/// One to three of them, each of another scope, in order.
fn wides() -> impl Strategy<Value = Vec<(&'static str, Draft)>> {
    let scopes = subsequence(vec!["Global", "Group", "Sandbox"], 1..=3);
    (scopes, vec(wide(), 3)).prop_map(|(scopes, drafts)| scopes.into_iter().zip(drafts).collect())
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

/// An operator with two networks, one of which gets names, who lets rules be skipped and TLS be decrypted or not.
fn guards_of(decrypts: bool) -> Guards {
    let far = NetworkFacts { by_name: true, ..NetworkFacts::default() };
    let delegated = [("prod".into(), NetworkFacts::default()), ("far".into(), far)].into();
    let networks = Networks { delegated: Some(delegated), ..Networks::default() };
    let authority = if decrypts { Authority::Present } else { Authority::Missing };
    let interception = Interception { authority, ..Interception::default() };
    Guards { networks, skip_permitted: true, interception, ..Guards::default() }
}

/// Drafts as documents that can be written.
fn written(drafts: &[(&'static str, Draft)]) -> Vec<(&'static str, Draft)> {
    let mut drafts = drafts.to_vec();
    for (scope, draft) in &mut drafts {
        // Nothing is below a sandbox, and what `rules` ask for has to be seen.
        let bounds = draft.rest.find(", constraints:").filter(|_| *scope == "Sandbox");
        draft.rest.truncate(bounds.unwrap_or(draft.rest.len()));
        if draft.rules.iter().any(|rule| ["path:", "methods:", "type:"].iter().any(|key| rule.contains(key)))
        {
            draft.rest = draft.rest.replace(", trafficInspection: None", "");
        }
    }
    drafts
}

/// The set of written drafts, each as it is in `previous` where it was the same.
fn set(
    drafts: &[(&'static str, Draft)],
    decrypts: bool,
    previous: Option<(&PolicySet, &[(&'static str, Draft)])>,
) -> PolicySet {
    let (lists, guards) = (CategoryLists::shipped(), guards_of(decrypts));
    let mut set = crate::policy::Draft::new(&lists, None, previous.map(|(set, _)| set)).under(&guards);
    for one in drafts {
        let text = text(std::slice::from_ref(one));
        let had = previous.filter(|(_, old)| {
            old.iter().any(|(scope, draft)| one.0 == *scope && one.1.text() == draft.text())
        });
        let document = &documents(&text)[0];
        match had.and_then(|(set, _)| set.unit(&document.scope)) {
            Some(kept) => set.reuse(kept),
            None => drop(set.compile(document).is_some()),
        }
    }
    set.finish(Arc::new(guards)).0
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
    let is_dialled = |policy: &Policy, at: &str| {
        let Ok(permit) = policy.admit(&target.parse().unwrap()) else { return false };
        match policy.admit_by_name(&permit) {
            Ok(Some(_)) => true,
            Ok(None) => policy.admit_address(&permit, at.parse().unwrap()).is_ok(),
            Err(_) => false,
        }
    };
    if let Some(at) = ADDRESSES.iter().find(|at| !is_dialled(before, at) && is_dialled(after, at)) {
        return Some(format!("B {target} {at}"));
    }
    let asked: [fn(&Policy, &str) -> bool; 3] = [is_nameless, is_unread, is_resolved];
    let mut asked = ["nameless TLS", "TLS unread", "query"].into_iter().zip(asked);
    let found = asked.find(|(_, passes)| !passes(before, target) && passes(after, target));
    found.map(|(what, _)| format!("{what} {target}"))
}

/// Whether TLS to a target may name no server.
fn is_nameless(policy: &Policy, target: &str) -> bool {
    let hello = HelloFacts { server_name: None, ech: false };
    let target: Target = target.parse().unwrap();
    target.host().ip().is_some() && policy.admit_redirected_hello(&target, hello).is_ok()
}

/// Whether TLS to a target passes as it is, not decrypted.
fn is_unread(policy: &Policy, target: &str) -> bool {
    let permit = policy.admit(&target.parse().unwrap());
    permit.is_ok_and(|permit| !policy.decrypts(&permit) && policy.admit_sealed(&permit).is_ok())
}

/// Whether the name of a target is looked up.
fn is_resolved(policy: &Policy, target: &str) -> bool {
    let target: Target = target.parse().unwrap();
    target.host().name().is_some_and(|name| policy.admit_query(name).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn what_was_denied_and_is_allowed_is_told(
        drafts in wides(),
        steps in vec((any::<Index>(), step()), 1..3),
        targets in vec(target(), 6),
        decrypts in any::<bool>(),
    ) {
        let (mut drafts, old) = (drafts.clone(), written(&drafts));
        for (which, step) in &steps {
            take(&mut drafts, *which, step);
        }
        let new = written(&drafts);
        let before = set(&old, decrypts, None);
        let after = set(&new, decrypts, Some((&before, &old)));
        let told = after.widened_since(&before, None, |_| false);
        if told.is_empty() {
            let (before, after) =
                (before.policy_for("sbx", Some("grp"), false), after.policy_for("sbx", Some("grp"), false));
            for target in &targets {
                let opened = opens(&before, &after, target);
                prop_assert!(opened.is_none(), "{:?} was denied, and nothing is told\n{}\n{}", opened, text(&old), text(&new));
            }
        }
        let same = set(&new, decrypts, None).widened_since(&after, None, |_| false);
        prop_assert!(same.is_empty(), "nothing changed: {:?}", same);
    }
}
