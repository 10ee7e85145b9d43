//! Fixed work for `benches/instructions.sh`, which counts what it takes. Says its scenarios when it is asked for none.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use sluicegate::addr::{Host, Target};
use sluicegate::policy::category::CategoryLists;
use sluicegate::policy::document::parse;
use sluicegate::policy::pattern::Pattern;
use sluicegate::policy::{Policy, PolicySet, RequestFacts};

mod kit;

use kit::names::{Kind, Names};
use kit::{Ours, Random};

/// How often the work of a scenario is done; the script divides by it.
const TIMES: usize = 2_000;
/// Every scenario, by its name.
const SCENARIOS: [&str; 20] = [
    "parse",
    "host-exact-hit-1k",
    "host-exact-miss-1k",
    "host-suffix-hit-1k",
    "host-suffix-miss-1k",
    "host-inner-hit-1k",
    "host-inner-miss-1k",
    "host-mix-hit-10",
    "host-mix-miss-10",
    "host-mix-hit-1k",
    "host-mix-miss-1k",
    "host-mix-deep-1k",
    "host-mix-long-1k",
    "host-mix-hit-100k",
    "host-mix-miss-100k",
    "decision-hit-1k",
    "decision-miss-1k",
    "address-v4-1k",
    "path-10",
    "path-1k",
];

/// The work that is counted: callgrind collects while this function runs.
#[inline(never)]
fn counted(work: &mut dyn FnMut() -> usize) -> usize {
    black_box(work())
}

/// The size in a scenario's name.
fn size(text: &str) -> usize {
    text.strip_suffix('k')
        .map_or_else(|| text.parse().unwrap(), |text| text.parse::<usize>().unwrap() * 1_000)
}

/// Names that the patterns match, do not match, or that are as long or deep as they can be.
fn hosts(names: &Names, texts: &[String], ours: &Ours, case: &str) -> Vec<Host> {
    let mut random = Random(9);
    let mut hosts = Vec::new();
    while hosts.len() < TIMES {
        let pattern = random.pick::<String>(texts);
        let text = match case {
            "hit" => Names::hit(pattern, &mut random),
            "miss" => names.other(pattern, &mut random),
            "deep" => Names::deep(pattern, &mut random),
            _ => names.long(pattern, &mut random),
        };
        let host = Host::parse(&text).unwrap();
        if matches!(case, "deep" | "long") || ours.find(&host).is_some() == (case == "hit") {
            hosts.push(host);
        }
    }
    hosts
}

/// The policy of one Global document.
fn policy(spec: &str) -> Policy {
    let text = format!("kind: EgressPolicy\nmetadata: {{name: own}}\nspec:\n  mode: Limited\n{spec}");
    let parsed = parse(&"bench.yaml".into(), &text);
    assert_eq!(
        parsed.problems.iter().filter(|problem| problem.is_error()).count(),
        0,
        "{:?}",
        parsed.problems
    );
    let documents: Vec<_> = parsed.documents.into_iter().map(Arc::new).collect();
    let set = PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::default(), None, None).0;
    set.policy_for("sbx", None, false)
}

/// One look-up after the other.
fn look_up(kind: &str, case: &str, size: usize) -> usize {
    let (names, kind) = (Names::load(), Kind::named(kind).unwrap());
    let texts: Vec<String> = (0..size).map(|index| names.pattern(kind, index)).collect();
    let patterns: Vec<Pattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
    let ours = Ours::build(&patterns);
    let hosts = hosts(&names, &texts, &ours, case);
    counted(&mut || hosts.iter().filter(|host| ours.find(black_box(host)).is_some()).count())
}

/// Questions A, C and B, one after the other.
fn decide(case: &str, size: usize) -> usize {
    let names = Names::load();
    let texts: Vec<String> = (0..size).map(|index| names.pattern(Kind::Mix, index)).collect();
    let patterns: Vec<Pattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
    let hosts = hosts(&names, &texts, &Ours::build(&patterns), case);
    let targets: Vec<Target> = hosts.iter().map(|host| format!("{host}:443").parse().unwrap()).collect();
    let lines = texts.iter().map(|text| format!("    - \"{text}\"\n"));
    let policy = policy(&format!("  hostRules:\n{}", lines.collect::<Vec<_>>().concat()));
    let (facts, address) =
        (RequestFacts { method: "GET", path: "/v1/items", secure: false }, IpAddr::from([93, 184, 215, 14]));
    counted(&mut || {
        let decided = |target: &&Target| {
            policy.admit(black_box(target)).is_ok_and(|permit| {
                policy.admit_request(&permit, black_box(&facts)).is_ok()
                    && policy.admit_address(&permit, black_box(address)).is_ok()
            })
        };
        targets.iter().filter(decided).count()
    })
}

/// Question B over many networks.
fn addresses(size: usize) -> usize {
    let mut spec = String::from("  hostRules: [a.example]\n  cidrRules:\n");
    for index in 0..size as u32 {
        let net = Ipv4Addr::from_bits(0x4000_0000 | index << 10);
        let action = if index % 2 == 0 { "Deny" } else { "Allow" };
        writeln!(spec, "    - {{cidr: {net}/24, action: {action}}}").unwrap();
    }
    let policy = policy(&spec);
    let permit = policy.admit(&"a.example:443".parse().unwrap()).unwrap();
    let mut random = Random(9);
    let address = |_| Ipv4Addr::from_bits(0x4000_0000 | (random.below(size << 10) as u32)).into();
    let addresses: Vec<IpAddr> = (0..TIMES).map(address).collect();
    counted(&mut || {
        addresses.iter().filter(|address| policy.admit_address(&permit, black_box(**address)).is_ok()).count()
    })
}

/// Question C over many paths of one host.
fn paths(size: usize) -> usize {
    let mut spec = String::from("  rules:\n");
    for index in 0..size {
        let tail = ["", "/*", "/*/items"][index % 3];
        writeln!(spec, "    - {{match: {{host: a.example, path: /v1/team-{index}{tail}}}, action: Allow}}")
            .unwrap();
    }
    let policy = policy(&spec);
    let permit = policy.admit(&"a.example:443".parse().unwrap()).unwrap();
    let mut random = Random(9);
    let path = |_| format!("/v1/team-{}{}", random.below(size * 2), ["", "/x", "/x/items"][random.below(3)]);
    let paths: Vec<String> = (0..TIMES).map(path).collect();
    counted(&mut || {
        let facts = |path| RequestFacts { method: "GET", path, secure: false };
        paths.iter().filter(|path| policy.admit_request(&permit, black_box(&facts(path))).is_ok()).count()
    })
}

fn main() {
    let wanted = std::env::args().skip(1).find(|word| word != "--bench");
    let Some(scenario) = wanted else {
        println!("{TIMES} times each; benches/instructions.sh counts the instructions of:");
        for scenario in SCENARIOS {
            println!("{scenario}");
        }
        return;
    };
    let words: Vec<&str> = scenario.split('-').collect();
    let hits = match words.as_slice() {
        ["parse"] => {
            let names = Names::load();
            let texts: Vec<String> = (0..TIMES).map(|index| format!("www.{}", names.name(index))).collect();
            counted(&mut || texts.iter().filter(|text| Host::parse(black_box(text)).is_ok()).count())
        }
        ["host", kind, case, count] => look_up(kind, case, size(count)),
        ["decision", case, count] => decide(case, size(count)),
        ["address", "v4", count] => addresses(size(count)),
        ["path", count] => paths(size(count)),
        _ => {
            eprintln!("{scenario} is no scenario");
            std::process::exit(2);
        }
    };
    println!("{hits} of {TIMES}");
}
