//! What is told of a compiled document is what was written.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::policy::{Compiled, RuleId};
use crate::source::Place;

/// Everything that is told of a document, a line each.
pub(super) fn all(compiled: &Compiled) -> String {
    let mut told = format!("{} {:?} {}\n", compiled.name(), compiled.scope(), compiled.place());
    let mut line = |what: &dyn std::fmt::Debug, rule: RuleId| {
        let (label, place) = (compiled.label(rule), compiled.place_of(Some(rule)));
        writeln!(told, "{what:?} {label} {place}").unwrap();
    };
    compiled.host_rules().zip(0..).for_each(|(entry, id)| line(&entry, RuleId::Host(id)));
    compiled.cidr_rules().zip(0..).for_each(|(entry, id)| line(&entry, RuleId::Cidr(id)));
    compiled.rules().zip(0..).for_each(|(entry, id)| line(&entry, RuleId::Rule(id)));
    compiled.categories().zip(0..).for_each(|(entry, id)| line(&entry, RuleId::Category(id)));
    told
}

/// The same as it is written.
fn written(document: &Document) -> String {
    let mut told = format!("{} {:?} {}\n", document.name, document.scope, document.place);
    let spec = &document.spec;
    let mut line =
        |what: String, label: String, place: &Place| writeln!(told, "{what} {label} {place}").unwrap();
    for (rule, id) in spec.host_rules.iter().zip(0..) {
        let text = rule.pattern.to_string();
        let entry = format!("HostEntry {{ pattern: {text:?}, action: {:?} }}", rule.action);
        line(entry, format!("{} {text}", RuleId::Host(id)), &rule.place);
    }
    for (rule, id) in spec.cidr_rules.iter().zip(0..) {
        let (net, ports) = (rule.net, &rule.ports);
        let entry = format!("CidrEntry {{ net: {net:?}, action: {:?}, ports: {ports:?} }}", rule.action);
        line(entry, format!("{} {net}", RuleId::Cidr(id)), &rule.place);
    }
    for (rule, id) in spec.rules.iter().zip(0..) {
        let host = rule.host.to_string();
        let path = rule.path.as_ref().map(ToString::to_string);
        let entry = format!(
            "RuleEntry {{ name: {:?}, host: {host:?}, path: {path:?}, methods: {:?}, action: {:?}, changes: {:?} }}",
            rule.name, rule.methods, rule.action, rule.changes
        );
        let unnamed = || format!("{} {host}", RuleId::Rule(id));
        line(entry, rule.name.as_ref().map_or_else(unnamed, ToString::to_string), &rule.place);
    }
    for (entry, id) in spec.categories.iter().zip(0..) {
        let part = entry.part.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
        let text = format!("{}{part}", entry.category);
        line(format!("{text:?}"), format!("{} {text}", RuleId::Category(id)), &entry.place);
    }
    told
}

/// One pattern of few, so that many are written twice.
fn host() -> impl Strategy<Value = String> {
    let few =
        select(vec!["*", "a.example", "*.a.example", "9.9.9.9", "[2001:db8::1]:443", "a.example:80", "x*.b"]);
    prop_oneof![2 => few.prop_map(str::to_owned), 3 => (0..300).prop_map(|n| format!("h{n}.example"))]
}

/// The rules of a list, in block style or in flow style, so that their lines or their columns differ.
fn list(name: &str, entries: &[String], flow: bool) -> String {
    match (entries, flow) {
        ([], _) => String::new(),
        (_, true) => format!("  {name}: [{}]\n", entries.join(", ")),
        (_, false) => format!("  {name}:\n    - {}\n", entries.join("\n    # and\n    - ")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_compiled_document_tells_what_was_written(
        hosts in prop_oneof![vec((host(), any::<bool>()), 0..8), vec((host(), any::<bool>()), 40..150)],
        nets in vec((0..250_u8, any::<bool>(), any::<bool>()), 0..5),
        rules in vec((host(), 0..8_u8, any::<bool>()), 0..6),
        categories in prop::sample::subsequence(vec!["package-registries/npm", "package-registries"], 0..=2),
        flow in any::<bool>(),
    ) {
        let action = |deny: &bool| if *deny { "Deny" } else { "Allow" };
        let hosts: Vec<_> = hosts.iter().map(|(host, deny)| format!("{{pattern: '{host}', action: {}}}", action(deny))).collect();
        let nets: Vec<_> = nets.iter().map(|(net, deny, ports)| {
            let ports = if *ports { ", ports: [443, 8000-8100]" } else { "" };
            format!("{{cidr: {net}.0.0.0/8, action: {}{ports}}}", action(deny))
        }).collect();
        let rules: Vec<_> = rules.iter().zip(0..).map(|((host, what, deny), n)| {
            let name = if what & 1 == 0 { String::new() } else { format!("name: r{n}, ") };
            let path = if what & 2 == 0 { "" } else { ", path: /a/*" };
            let methods = if what & 4 == 0 { "" } else { ", methods: [PUT, GET]" };
            format!("{{{name}match: {{host: '{host}'{path}{methods}}}, action: {}}}", action(deny))
        }).collect();
        let categories: Vec<_> = categories.into_iter().map(str::to_owned).collect();
        let text = format!(
            "# a comment\nkind: EgressPolicy\nmetadata: {{name: own, group: grp, sandbox: sbx}}\nspec:\n  mode: Limited\n{}{}{}{}",
            list("hostRules", &hosts, flow), list("rules", &rules, flow),
            list("categories", &categories, flow), list("cidrRules", &nets, flow),
        );
        let documents = documents(&text);
        let (set, problems) = PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::default(), None, None);
        prop_assert!(problems.iter().all(|problem| !problem.is_error()), "{:?}\n{}", problems, text);
        prop_assert_eq!(all(set.documents()[0]), written(&documents[0]));
    }
}

#[test]
fn a_plain_document_has_nothing_that_few_documents_have() {
    assert!(size_of::<Compiled>() <= 176, "{} bytes", size_of::<Compiled>());
    let plain =
        "{mode: Limited, hostRules: [a.example, \"*.b.example\", 9.9.9.9, a.example, \"c.example:80\"]}";
    let rare = [
        "{mode: Limited, ports: [443]}",
        "{mode: Unrestricted, constraints: {maxMode: Limited}}",
        "{mode: Limited, categories: [package-registries/npm]}",
        "{mode: Limited, hostRules: [\"*.azurecr.io\"]}",
    ];
    let is_plain = |spec: &str| {
        let documents = documents(&layers(&[("Global", spec)]));
        let (set, _) = PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::default(), None, None);
        set.documents()[0].is_plain()
    };
    assert!(is_plain(plain) && is_plain(OPEN));
    assert!(rare.into_iter().all(|spec| !is_plain(spec)));
}

#[test]
fn the_sandboxes_of_a_group_share_its_name_also_when_one_of_them_changes() {
    let text = |sandbox: &str| {
        format!(
            "kind: EgressPolicy\nmetadata: {{name: {sandbox}, group: grp, sandbox: {sandbox}}}\nspec: {OPEN}\n"
        )
    };
    let documents = [documents(&text("one")), documents(&text("two"))].concat();
    let lists = CategoryLists::shipped();
    let (set, _) = PolicySet::compile(&documents, &lists, Arc::default(), None, None);
    let mut draft = Draft::new(&lists, None, Some(&set));
    draft.compile(&documents[1]);
    let (next, _) = draft.finish(Arc::default());
    let (one, two) = (set.group_of("one").unwrap(), set.group_of("two").unwrap());
    assert!(Arc::ptr_eq(&one, &two) && Arc::ptr_eq(&one, &next.group_of("two").unwrap()));
}
