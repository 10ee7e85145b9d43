//! Properties of the decision: it is the naive one, and it only ever narrows.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::naive::{Answer, Naive, Said};
use super::oracle::{self, c, guards, place};
use super::pattern::Pattern;
use super::tests::{documents, layers, policy_over};
use super::{Guards, Policy};
use crate::addr::{Host, Port, Target};

mod hosts;
mod narrowing;
mod networks;
mod widening;

/// Ports that are met: two web ports, the guarded one, and one more.
const PORTS: [u16; 4] = [443, 80, 25, 8443];
/// Literals whose forms meet in one IPv4 address.
const LITERALS: [&str; 7] = [
    "8.8.8.8",
    "10.0.0.1",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::808:808]",
    "[2002:808:808::]",
    "[2606:4700::1]",
    "8.8.4.4",
];
/// Networks around them.
const NETS: [&str; 12] = [
    "0.0.0.0/0",
    "8.0.0.0/8",
    "8.8.0.0/16",
    "8.8.8.8/32",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "::/0",
    "64:ff9b::/96",
    "2002::/16",
    "2606:4700::/32",
    "fd00::/8",
    "127.0.0.0/8",
];
/// Addresses in and beside them.
const ADDRESSES: [&str; 20] = [
    "8.8.8.8",
    "8.8.4.4",
    "8.9.9.9",
    "10.0.0.1",
    "10.0.1.1",
    "127.0.0.1",
    "0.0.0.0",
    "169.254.169.254",
    "192.0.2.1",
    "::1",
    "::ffff:8.8.8.8",
    "::ffff:10.0.0.1",
    "64:ff9b::808:808",
    "64:ff9b::7f00:1",
    "2002:808:808::",
    "2002:a9fe:a9fe::",
    "2606:4700::1",
    "fd00::1",
    "fe80::1",
    "2001:0:808:808::80ff:fffe",
];
/// Paths of rules.
const RULE_PATHS: [&str; 10] = ["/", "/a", "/a/", "/a/b", "/a*", "/a/*", "/*", "/*/b", "/a*b", "/a*b*"];
/// Paths of requests.
const PATHS: [&str; 10] = ["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/b", "/axb", "/c/b", "/axb/c"];
/// Methods of requests; no rule names the last.
const METHODS: [&str; 3] = ["GET", "POST", "get"];

/// A name of few and similar labels.
fn name() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "b", "ab", "aab"]), 1..5).prop_map(|labels| labels.join("."))
}

/// A pattern that may meet such a name, or a literal.
fn pattern() -> impl Strategy<Value = String> {
    let labels =
        vec(select(vec!["a", "b", "ab", "*", "a*", "*b", "a*b"]), 1..5).prop_map(|labels| labels.join("."));
    let kind = prop_oneof![
        3 => name(),
        3 => name().prop_map(|name| format!("*.{name}")),
        1 => Just("*".to_owned()),
        4 => labels,
        2 => select(LITERALS.to_vec()).prop_map(str::to_owned),
    ];
    let port = prop_oneof![4 => Just(None), 1 => select(PORTS.to_vec()).prop_map(Some)];
    let with =
        |(kind, port): (String, Option<u16>)| port.map_or(kind.clone(), |port| format!("{kind}:{port}"));
    (kind, port).prop_map(with).prop_filter("no pattern", |text| text.parse::<Pattern>().is_ok())
}

/// A host that may be met by them.
fn host() -> impl Strategy<Value = String> {
    prop_oneof![3 => name(), 1 => select(LITERALS.to_vec()).prop_map(str::to_owned)]
}

/// A target.
fn target() -> impl Strategy<Value = String> {
    (host(), select(PORTS.to_vec())).prop_map(|(host, port)| format!("{host}:{port}"))
}

/// An action; denying when it must.
fn action(deny: bool) -> impl Strategy<Value = &'static str> {
    if deny { select(vec!["Deny"]) } else { select(vec!["Allow", "Deny"]) }
}

/// A list of ports in flow style.
fn ports() -> impl Strategy<Value = String> {
    let part =
        prop_oneof![select(PORTS.to_vec()).prop_map(|port| port.to_string()), Just("1-100".to_owned())];
    vec(part, 1..3).prop_map(|parts| format!("[{}]", parts.join(", ")))
}

/// An entry of `hostRules`.
fn host_rule(deny: bool) -> impl Strategy<Value = String> {
    (pattern(), action(deny))
        .prop_map(|(pattern, action)| format!("{{pattern: \"{pattern}\", action: {action}}}"))
}

/// An entry of `cidrRules`.
fn cidr_rule(deny: bool) -> impl Strategy<Value = String> {
    (select(NETS.to_vec()), action(deny), of(ports())).prop_map(|(net, action, ports)| {
        let ports = ports.map_or_else(String::new, |ports| format!(", ports: {ports}"));
        format!("{{cidr: \"{net}\", action: {action}{ports}}}")
    })
}

/// A `Transform` or `Rewrite`.
fn change() -> impl Strategy<Value = String> {
    let place = prop_oneof![
        3 => host().prop_map(|host| format!("host: \"{host}\"")),
        1 => target().prop_map(|target| format!("host: \"{target}\"")),
        1 => select(vec!["/", "/a", "/a/b"]).prop_map(|path| format!("path: \"{path}\"")),
        1 => select(vec!["scheme: http", "scheme: https"]).prop_map(str::to_owned),
    ];
    prop_oneof![
        1 => Just("{type: Transform, headers: [{operation: Set, name: a, value: b}]}".to_owned()),
        2 => place.prop_map(|place| format!("{{type: Rewrite, {place}}}")),
    ]
}

/// An entry of `rules`.
fn rule(deny: bool) -> impl Strategy<Value = String> {
    let methods = of(select(vec!["[GET]", "[POST]", "[GET, POST]"]));
    let plain = action(deny).prop_map(str::to_owned);
    let action = if deny { plain.boxed() } else { prop_oneof![4 => plain, 1 => change()].boxed() };
    (pattern(), of(select(RULE_PATHS.to_vec())), methods, action).prop_map(|(host, path, methods, action)| {
        let path = path.map_or_else(String::new, |path| format!(", path: \"{path}\""));
        let methods = methods.map_or_else(String::new, |methods| format!(", methods: {methods}"));
        format!("{{match: {{host: \"{host}\"{path}{methods}}}, action: {action}}}")
    })
}

/// One document's spec in parts, so that something can be added to it.
#[derive(Debug, Clone)]
struct Draft {
    hosts: Vec<String>,
    cidrs: Vec<String>,
    rules: Vec<String>,
    rest: String,
}

impl Draft {
    /// The spec in flow style.
    fn text(&self) -> String {
        let [hosts, cidrs, rules] = [&self.hosts, &self.cidrs, &self.rules].map(|list| list.join(", "));
        format!("{{hostRules: [{hosts}], cidrRules: [{cidrs}], rules: [{rules}], {}}}", self.rest)
    }
}

/// A draft of a document.
fn draft() -> impl Strategy<Value = Draft> {
    let rest = (
        select(vec!["Limited", "Unrestricted"]),
        of(ports()),
        prop_oneof![4 => Just("Enforce"), 1 => Just("Report")],
    );
    let rest = rest.prop_map(|(mode, ports, enforcement)| {
        let ports = ports.map_or_else(String::new, |ports| format!(", ports: {ports}"));
        format!("mode: {mode}, enforcement: {enforcement}{ports}")
    });
    let lists = (vec(host_rule(false), 0..5), vec(cidr_rule(false), 0..5), vec(rule(false), 0..4));
    (lists, rest).prop_map(|((hosts, cidrs, rules), rest)| Draft { hosts, cidrs, rules, rest })
}

/// One to three documents, each of another scope, in order.
fn drafts() -> impl Strategy<Value = Vec<(&'static str, Draft)>> {
    let scopes = subsequence(vec!["Global", "Group", "Sandbox"], 1..=3);
    (scopes, vec(draft(), 3)).prop_map(|(scopes, drafts)| scopes.into_iter().zip(drafts).collect())
}

/// Whether a document that reports rewrites: its Deny, which is not carried out, may stand in the place of a Rewrite that
/// leads to a denial.
fn reports_and_rewrites(drafts: &[(&'static str, Draft)]) -> bool {
    drafts.iter().any(|(_, draft)| {
        draft.rest.contains("Report") && draft.rules.iter().any(|rule| rule.contains("Rewrite"))
    })
}

/// The text of drafts.
fn text(drafts: &[(&'static str, Draft)]) -> String {
    let specs: Vec<_> = drafts.iter().map(|(scope, draft)| (*scope, draft.text())).collect();
    layers(&specs.iter().map(|(scope, spec)| (*scope, spec.as_str())).collect::<Vec<_>>())
}

/// The operator's lists: exempt, own, sockets.
fn operator() -> impl Strategy<Value = [Vec<&'static str>; 3]> {
    let exempt = subsequence(vec!["127.0.0.0/8", "10.0.0.0/24", "64:ff9b::/96", "8.8.8.8/32"], 0..=2);
    let own = subsequence(vec!["8.8.4.4/32", "2606:4700::1/128"], 0..=1);
    let sockets = subsequence(vec!["0.0.0.0:8443", "[::]:443", "8.8.8.8:25"], 0..=1);
    (exempt, own, sockets).prop_map(|(exempt, own, sockets)| [exempt, own, sockets])
}

/// The naive policy of the same texts.
fn naive(text: &str, lists: &[Vec<&'static str>; 3]) -> Naive {
    Naive::new(&documents(text), lists)
}

/// Question A.
fn a(policy: &Policy, target: &str) -> Answer {
    oracle::a(policy, &target.parse().unwrap())
}

/// A permit for any target, to ask the other questions with.
fn free(target: &str) -> super::TargetPermit {
    oracle::free(&target.parse().unwrap())
}

/// Question B, whatever A says.
fn b(policy: &Policy, permit: &super::TargetPermit, address: &str) -> Answer {
    oracle::b(policy, permit, address.parse().unwrap())
}

/// How much an answer lets pass.
fn width(answer: Answer) -> u8 {
    match answer.said {
        Said::Deny(_) => 0,
        Said::Open => 1,
        Said::Allow => 2,
    }
}

/// A stream of numbers (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Whether a query for `name` is answered as these ports together are, of which one must stand for each of the others.
fn asks_every_port(
    policy: &Policy,
    name: &str,
    ports: impl Iterator<Item = u16>,
) -> Result<(), TestCaseError> {
    let host: Host = name.parse().unwrap();
    let asked = |port| policy.admit(&Target::new(host.clone(), Port::new(port).unwrap()));
    let allowed: Vec<_> = ports.filter_map(|port| asked(port).ok()).collect();
    match policy.admit_query(host.name().unwrap()) {
        Ok(permit) => {
            prop_assert!(!allowed.is_empty(), "{} is allowed on no port", name);
            let clean = allowed.iter().any(|permit| permit.would_deny().is_none());
            prop_assert_eq!(permit.would_deny().is_none(), clean, "{}", name);
            prop_assert_eq!(permit.name().as_str(), name);
        }
        Err(denial) => {
            prop_assert!(allowed.is_empty(), "{}: {:?}", name, denial.reason());
            let web = asked(443).unwrap_err();
            prop_assert_eq!((denial.reason(), denial.detail()), (web.reason(), web.detail()));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn no_port_is_left_out_of_a_query(drafts in drafts(), name in name()) {
        asks_every_port(&policy_over(&text(&drafts), Guards::default()), &name, 1..=65535)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn the_decision_is_the_naive_one(drafts in drafts(), lists in operator(), targets in vec(target(), 4)) {
        let text = text(&drafts);
        let (real, naive) = (policy_over(&text, guards(&lists)), naive(&text, &lists));
        for target in &targets {
            let (host, port) = place(target);
            prop_assert_eq!(a(&real, target), naive.ask(&host, port, None), "A {}\n{}", target, text);
            let permit = free(target);
            for (method, path) in METHODS.into_iter().zip(PATHS).chain(PATHS.into_iter().map(|path| ("GET", path))) {
                let (expected, _) = naive.sent(&[], (&host, port), (method, path), false);
                prop_assert_eq!(c(&real, &permit, method, path), expected, "C {} {} {}\n{}", target, method, path, text);
            }
            for address in ADDRESSES {
                let expected = naive.address(address.parse().unwrap(), port, false);
                prop_assert_eq!(b(&real, &permit, address), expected, "B {} {}\n{}", target, address, text);
            }
        }
    }

    #[test]
    fn d3_a_verdict_before_the_request_holds_for_every_request(drafts in drafts(), target in target()) {
        prop_assume!(!reports_and_rewrites(&drafts));
        let policy = policy_over(&text(&drafts), Guards::default());
        let (first, permit) = (a(&policy, &target), free(&target));
        let all = METHODS.iter().flat_map(|method| PATHS.map(|path| c(&policy, &permit, method, path)));
        for said in all {
            match first.said {
                Said::Allow => prop_assert_eq!(said.said, Said::Allow),
                Said::Deny(_) => prop_assert!(matches!(said.said, Said::Deny(_))),
                Said::Open => {}
            }
        }
    }

    #[test]
    fn an_open_verdict_can_still_turn_out_both_ways(host in pattern(), path in select(RULE_PATHS.to_vec()),
        action in action(false), mode in select(vec!["Limited", "Unrestricted"]), target in target()) {
        let spec = format!("{{mode: {mode}, ports: [1-65535], rules: [{{match: {{host: \"{host}\", path: \"{path}\", methods: [GET]}}, action: {action}}}]}}");
        let policy = policy_over(&layers(&[("Global", &spec)]), Guards::default());
        let permit = free(&target);
        let widths = METHODS.iter().flat_map(|method| PATHS.map(|path| width(c(&policy, &permit, method, path))));
        let widths: Vec<u8> = widths.collect();
        let both = widths.contains(&0) && widths.contains(&2);
        prop_assert_eq!(a(&policy, &target).said == Said::Open, both, "{}", spec);
    }

    #[test]
    fn a_query_is_allowed_where_its_name_is_on_some_port(drafts in drafts(), names in vec(name(), 4)) {
        let policy = policy_over(&text(&drafts), Guards::default());
        for name in &names {
            let ports = (1..=130).chain(400..=450).chain(8440..=8450).chain([65535]);
            asks_every_port(&policy, name, ports)?;
        }
    }

    #[test]
    fn the_order_of_host_rules_never_matters(draft in draft(), mut seed in any::<u64>(), targets in vec(target(), 4)) {
        let mut hosts: Vec<(u64, String)> = draft.hosts.iter().map(|rule| (next(&mut seed), rule.clone())).collect();
        hosts.sort();
        let shuffled = Draft { hosts: hosts.into_iter().map(|(_, rule)| rule).collect(), ..draft.clone() };
        let [one, two] = [draft, shuffled].map(|draft| policy_over(&text(&[("Global", draft)]), Guards::default()));
        for target in &targets {
            prop_assert_eq!(a(&one, target), a(&two, target));
            let permit = free(target);
            prop_assert_eq!(c(&one, &permit, "GET", "/a"), c(&two, &permit, "GET", "/a"));
            prop_assert_eq!(b(&one, &permit, "10.0.0.1"), b(&two, &permit, "10.0.0.1"));
        }
    }

    #[test]
    fn n4_every_spelling_of_a_target_has_one_verdict(drafts in drafts(), target in target(), upper in any::<u64>(), dot in any::<bool>()) {
        let policy = policy_over(&text(&drafts), Guards::default());
        let (host, port) = target.rsplit_once(':').unwrap();
        let spelt: String = host.chars().enumerate()
            .map(|(place, c)| if upper >> (place % 64) & 1 == 1 { c.to_ascii_uppercase() } else { c }).collect();
        let spelt = match spelt.strip_prefix('[') {
            Some(rest) => format!("[{}", rest.replace("::", ":0::").replace("[:0", "[0:0")),
            None if dot && host.parse::<IpAddr>().is_err() => format!("{spelt}."),
            None => spelt,
        };
        let spelt = format!("{spelt}:{port}").replace("[:0::", "[0::");
        prop_assert_eq!(a(&policy, &spelt), a(&policy, &target), "{}", spelt);
        prop_assert_eq!(c(&policy, &free(&spelt), "GET", "/a"), c(&policy, &free(&target), "GET", "/a"));
    }
}

#[test]
fn a_policy_drawn_at_random_decides_as_the_naive_one() {
    let mut asked = 0;
    for seed in 0..300 {
        let case = oracle::Case::draw(&mut oracle::Choices::Seed(seed));
        asked += case.compare().unwrap_or_else(|difference| panic!("seed {seed}\n{difference}"));
    }
    assert!(asked > 100_000, "{asked} decisions are too few");
}
