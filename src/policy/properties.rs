//! Properties of the decision: it is the naive one, and it only ever narrows.

use std::net::IpAddr;

use globset::GlobBuilder;
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::cidr_set::CidrSet;
use super::host_set::{Class, HostKey, HostMatch, HostSet};
use super::mode::Action;
use super::naive::{Answer, Naive, Said, fits};
use super::oracle::{self, c, guards, place};
use super::pattern::Pattern;
use super::pattern_pool::Interner;
use super::port_set::PortSet;
use super::tests::{documents, layers, policy_over};
use super::{Guards, Policy};
use crate::addr::{Host, Port, Target};

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

/// Whether `after` answers nothing more widely than `before`.
fn narrows(before: &Policy, after: &Policy, target: &str) -> Result<(), TestCaseError> {
    let permit = free(target);
    prop_assert!(width(a(after, target)) <= width(a(before, target)), "A {}", target);
    for path in PATHS {
        for method in METHODS {
            let (old, new) = (c(before, &permit, method, path), c(after, &permit, method, path));
            prop_assert!(width(new) <= width(old), "C {} {} {}: {:?} {:?}", target, method, path, old, new);
        }
    }
    for address in ADDRESSES {
        let (old, new) = (b(before, &permit, address), b(after, &permit, address));
        prop_assert!(width(new) <= width(old), "B {} {}: {:?} {:?}", target, address, old, new);
    }
    Ok(())
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
    fn adding_a_document_to_a_non_empty_set_only_narrows(drafts in drafts(), targets in vec(target(), 3), drop in any::<Index>()) {
        prop_assume!(drafts.len() > 1);
        let mut fewer = drafts.clone();
        fewer.remove(drop.index(drafts.len()));
        let (before, after) = (policy_over(&text(&fewer), Guards::default()), policy_over(&text(&drafts), Guards::default()));
        for target in &targets {
            narrows(&before, &after, target)?;
        }
    }

    #[test]
    fn adding_a_deny_only_narrows(drafts in drafts(), denies in (host_rule(true), cidr_rule(true), rule(true)),
        which in any::<(Index, Index, Index)>(), targets in vec(target(), 3)) {
        prop_assume!(!reports_and_rewrites(&drafts));
        let mut more = drafts.clone();
        let draft = &mut more[which.0.index(drafts.len())].1;
        let (list, deny) = match which.1.index(3) {
            0 => (&mut draft.hosts, denies.0),
            1 => (&mut draft.cidrs, denies.1),
            _ => (&mut draft.rules, denies.2),
        };
        list.insert(which.2.index(list.len() + 1), deny);
        let (before, after) = (policy_over(&text(&drafts), Guards::default()), policy_over(&text(&more), Guards::default()));
        for target in &targets {
            narrows(&before, &after, target)?;
        }
    }

    #[test]
    fn adding_a_guard_only_narrows(drafts in drafts(), lists in operator(), target in target()) {
        let text = text(&drafts);
        let [exempt, own, sockets] = lists;
        let before = policy_over(&text, guards(&[exempt.clone(), Vec::new(), Vec::new()]));
        let after = policy_over(&text, guards(&[exempt, own, sockets]));
        narrows(&before, &after, &target)?;
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

    #[test]
    fn n5_a_host_set_is_a_scan_of_its_list(
        patterns in vec((pattern(), 0..3_u8), 0..24),
        targets in vec(target(), 16),
        more in prop_oneof![Just(0), Just(100_u32)],
        deep in 0..20_usize,
    ) {
        // More patterns make another kind of table, and more labels than are hashed another way of filing.
        let below = |text: &str| if text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*') && !text.starts_with("*:") && text != "*" {
            let (host, port) = text.split_once(':').map_or((text, String::new()), |(host, port)| (host, format!(":{port}")));
            format!("{host}{}{port}", ".z".repeat(deep))
        } else {
            text.to_owned()
        };
        let mut patterns: Vec<(Class, Pattern)> = patterns.iter().map(|(text, class)| {
            ([Class::Deny, Class::Allow, Class::Rules][usize::from(*class)], below(text).parse().unwrap())
        }).collect();
        patterns.extend((0..more).map(|n| (Class::Allow, format!("{n}.more.invalid").parse().unwrap())));
        let mut interner = Interner::default();
        let set = HostSet::new(&mut interner, patterns.iter().map(|(class, pattern)| (*class, pattern))).unwrap();
        let pool = interner.pool();
        let mut other = Interner::default();
        other.intern(&"first.invalid".parse().unwrap());
        let moved = set.moved(&pool, &mut other).unwrap();
        let moved_pool = other.pool();
        for text in targets.iter().flat_map(|text| [text.clone(), below(text)]) {
            let target: Target = text.parse().unwrap();
            let (host, port) = (target.host(), target.port());
            let all: Vec<(Class, u32)> = (0..).zip(&patterns)
                .filter(|(_, (_, one))| one.matches(host, port)).map(|(place, (class, _))| (*class, place)).collect();
            let (place, number) = place(&text);
            let naive: Vec<(Class, u32)> = (0..).zip(&patterns)
                .filter(|(_, (_, one))| fits(&one.to_string(), &place, number)).map(|(place, (class, _))| (*class, place)).collect();
            prop_assert_eq!(&all, &naive);
            let own = |place: u32| patterns[place as usize].1.port().is_some();
            let best = |class: Class| all.iter().filter(|found| found.0 == class).map(|(_, place)| *place)
                .min_by_key(|place| (!own(*place), *place)).map(|place| HostMatch { place, own_port: own(place) });
            let key = HostKey::new(host);
            for (set, pool) in [(&set, &pool), (&moved, &moved_pool)] {
                let found = set.find(pool, &key, port);
                prop_assert_eq!((found.denied, found.allowed), (best(Class::Deny), best(Class::Allow)), "{}", text);
                let mut ruled = Vec::new();
                set.rules(pool, &key, port, |found| ruled.push(found.place));
                prop_assert_eq!(found.ruled, !ruled.is_empty());
                // Of equal patterns only the first is filed.
                let mut firsts: Vec<u32> = all.iter().filter(|(class, _)| *class == Class::Rules).map(|(_, place)| *place)
                    .filter(|place| host.ip().is_some() || !patterns[..*place as usize].contains(&patterns[*place as usize])).collect();
                ruled.sort_unstable();
                ruled.dedup();
                firsts.sort_unstable();
                prop_assert_eq!(ruled, firsts, "{}", text);
            }
        }
    }

    #[test]
    fn n5_a_pattern_is_the_glob_over_slashes(pattern in pattern(), names in vec(name(), 24)) {
        let parsed: Pattern = pattern.parse().unwrap();
        prop_assume!(parsed.port().is_none() && !LITERALS.contains(&pattern.as_str()));
        // A `*` of globset may be nothing, ours is one character at least; a leading one is any number of labels.
        let glob = pattern.replace('.', "/").replace('*', "?*");
        let glob = if pattern == "*" { "**".to_owned() } else { glob };
        let glob = glob.strip_prefix("?*/").map_or(glob.clone(), |rest| format!("?*/**/{rest}"));
        let glob = GlobBuilder::new(&glob).literal_separator(true).build().unwrap().compile_matcher();
        for name in &names {
            let host = Host::parse(name).unwrap();
            prop_assert_eq!(parsed.matches(&host, Port::HTTPS), glob.is_match(name.replace('.', "/")), "{} {}", pattern, name);
        }
    }
}

/// A rule as numbers: network, length, action, the one range of ports.
type Plain = (u128, u8, Action, Option<(u16, u16)>);

/// The verdict of the plainest scan: the longest covering length, Deny before Allow.
fn scan(rules: &[Plain], address: u128, port: u16, shift: u32) -> Option<Action> {
    let covering = rules.iter().filter(|(net, length, _, ports)| {
        let gap = shift - u32::from(*length);
        ports.is_none_or(|(low, high)| low <= port && port <= high)
            && (net ^ address).checked_shr(gap).unwrap_or(0) == 0
    });
    covering
        .max_by_key(|(_, length, action, _)| (*length, *action == Action::Deny))
        .map(|(_, _, action, _)| *action)
}

/// A stream of numbers (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    // 1000 policies, 1000 addresses each.
    #[test]
    fn a5_the_deciding_network_is_that_of_a_linear_scan(
        rules in vec((any::<u128>(), 0u8..=128, any::<bool>(), of((440u16..445, 440u16..445))), 0..14),
        v4 in any::<bool>(), seed in any::<u64>(),
    ) {
        let shift = if v4 { 32 } else { 128 };
        // Few distinct bits, so that networks nest and addresses fall into them.
        let near = |number: u128| if v4 { number & 0x0303_0103 } else { number & 0x0003_0000_0001_0000_0003_0000_0000_0001 };
        let address = |bits: u128| -> IpAddr {
            if v4 { u32::try_from(bits).unwrap().to_be_bytes().into() } else { bits.to_be_bytes().into() }
        };
        let rules: Vec<Plain> = rules.into_iter().map(|(bits, length, deny, ports)| {
            let length = if v4 { length / 4 } else { length };
            let gap = shift - u32::from(length);
            let net = near(bits).checked_shr(gap).unwrap_or(0).checked_shl(gap).unwrap_or(0);
            let action = if deny { Action::Deny } else { Action::Allow };
            (net, length, action, ports.map(|(a, b)| (a.min(b), a.max(b))))
        }).collect();
        let ports: Vec<Option<PortSet>> = rules.iter().map(|(_, _, _, ports)| ports.map(|range| [range].into_iter().collect())).collect();
        let set = CidrSet::new((0..).zip(&rules).zip(&ports).map(|((id, (net, length, action, _)), ports)| {
            (id, IpNet::new(address(*net), *length).unwrap(), *action, ports.as_ref())
        }));
        let mut state = seed;
        for _ in 0..1000 {
            let bits = near(u128::from(next(&mut state)) << 64 | u128::from(next(&mut state)));
            let port = 439 + u16::try_from(next(&mut state) % 7).unwrap();
            let found = set.longest(address(bits), Port::new(port).unwrap());
            prop_assert_eq!(found.map(|found| found.action), scan(&rules, bits, port, shift));
            if let Some(found) = found {
                let (_, _, action, ports) = rules[found.id as usize];
                prop_assert_eq!((action, ports.is_some()), (found.action, found.lists_port));
            }
        }
    }
}

/// Rules near one another: prefixes of a few addresses that differ in a few bits.
fn crowd(v4: bool) -> impl Strategy<Value = Vec<Plain>> {
    let bits = if v4 { 32 } else { 128_u8 };
    let crowd = (vec(any::<u128>(), 1..4), 1..300_usize).prop_flat_map(move |(bases, count)| {
        let one =
            (select(bases), vec(0..bits, 0..4), 0..=bits, any::<bool>(), of((440u16..445, 440u16..445)));
        vec(one, count)
    });
    crowd.prop_map(move |rules| {
        let rule = |(base, flips, length, deny, ports): (u128, Vec<u8>, u8, bool, Option<(u16, u16)>)| {
            let near = flips.iter().fold(base >> (128 - bits), |base, bit| base ^ 1 << bit);
            let gap = u32::from(bits - length);
            let net = near.checked_shr(gap).unwrap_or(0).checked_shl(gap).unwrap_or(0);
            let action = if deny { Action::Deny } else { Action::Allow };
            (net, length, action, ports.map(|(a, b)| (a.min(b), a.max(b))))
        };
        rules.into_iter().map(rule).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a5_among_hundreds_of_nested_networks_the_deciding_rule_is_that_of_a_linear_scan(
        (v4, rules) in any::<bool>().prop_flat_map(|v4| (Just(v4), crowd(v4))), seed in any::<u64>(),
    ) {
        let bits: u32 = if v4 { 32 } else { 128 };
        let last = u128::MAX >> (128 - bits);
        let address = |number: u128| -> IpAddr {
            if v4 { u32::try_from(number).unwrap().to_be_bytes().into() } else { number.to_be_bytes().into() }
        };
        let ports: Vec<Option<PortSet>> = rules.iter().map(|(_, _, _, ports)| ports.map(|range| [range].into_iter().collect())).collect();
        let set = CidrSet::new((0..).zip(&rules).zip(&ports).map(|((id, (net, length, action, _)), ports)| {
            (id, IpNet::new(address(*net), *length).unwrap(), *action, ports.as_ref())
        }));
        prop_assert_eq!(set.len(), rules.len());
        let mut state = seed;
        for (net, length, _, _) in &rules {
            let end = net | last.checked_shr((*length).into()).unwrap_or(0);
            let inside = net | (u128::from(next(&mut state)) << 64 | u128::from(next(&mut state))) & (end - net);
            for place in [*net, end, inside, net.saturating_sub(1), end.saturating_add(1).min(last)] {
                let port = 439 + u16::try_from(next(&mut state) % 7).unwrap();
                let covering = (0..).zip(&rules).filter(|(_, (net, length, _, ports))| {
                    (net ^ place).checked_shr(bits - u32::from(*length)).unwrap_or(0) == 0
                        && ports.is_none_or(|(low, high)| low <= port && port <= high)
                });
                let first = covering.min_by_key(|(id, (_, length, action, ports))| {
                    (std::cmp::Reverse(*length), *action == Action::Allow, ports.is_none(), *id)
                });
                let naive = first.map(|(id, (_, _, action, ports))| (id, *action, ports.is_some()));
                let found = set.longest(address(place), Port::new(port).unwrap());
                prop_assert_eq!(found.map(|found| (found.id, found.action, found.lists_port)), naive, "{} {}", address(place), port);
            }
        }
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
