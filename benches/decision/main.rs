//! How long a whole decision takes, what many sandboxes cost, and what a change of policy does.
//!
//! `cargo bench --no-default-features --bench decision`, and `-- --parts fleet --sandboxes 1k` for less.
//!
//! | part | tells |
//! |---|---|
//! | `sizes` | questions A, C and B over a Global, a Group and a Sandbox document, beside one look-up of the same name |
//! | `vnet` | questions A and B of a document in mode VNet, every switch on and 50 `securityRules`, beside mode Unrestricted |
//! | `fleet` | many sandboxes of 50 rules under one large group: bytes and nanoseconds, beside a set of globs for each |
//! | `swap` | a very large document compiled, published and dropped while decisions are made |
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

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use globset::{Glob, GlobSet, GlobSetBuilder};
use sluicegate::addr::Target;
use sluicegate::policy::category::CategoryLists;
use sluicegate::policy::document::{Document, parse};
use sluicegate::policy::pattern::Pattern;
use sluicegate::policy::{Action, Draft, Policy, PolicySet, RequestFacts};
use tokio::sync::watch;

#[path = "../kit/mod.rs"]
mod kit;

use kit::names::{Kind, Names};
use kit::{Options, Ours, Random, Runner, Table, built, figure, live, race, short, time};

/// What every sandbox is under: a Global and a Group document.
const ABOVE: &str = "kind: EgressPolicy
metadata: {name: global}
spec:
  mode: Unrestricted
  hostRules: [{pattern: transfer.sh, action: Deny}]
  cidrRules: [{cidr: 20.0.0.0/8, action: Deny}]
---
kind: EgressPolicy
metadata: {name: group, group: grp}
spec:
  mode: Unrestricted
  rules: [{match: {host: \"*.example.com\", path: /admin}, action: Deny}]
";
/// How many rules a sandbox of the fleet has.
const RULES: usize = 50;
/// How many different patterns the sandboxes of the fleet draw theirs from.
const POOL: usize = 20_000;
/// How many sandboxes get a set of globs.
const GLOB_SANDBOXES: usize = 100;
/// How long decisions are watched around a swap.
const WINDOW: Duration = Duration::from_micros(300);
/// The address that every name resolves to.
const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(93, 184, 215, 14));

/// Compiles documents: the one place to change when the interface does.
fn compile(documents: &[Arc<Document>], previous: Option<&PolicySet>) -> PolicySet {
    let lists = CategoryLists::shipped();
    PolicySet::compile(documents, &lists, Arc::default(), None, previous).0
}

/// The documents of a text.
fn documents(text: &str) -> Vec<Arc<Document>> {
    parse(&"bench.yaml".into(), text).documents.into_iter().map(Arc::new).collect()
}

/// A document with these patterns, as if it had been read from a file.
fn document(metadata: &str, mode: &str, action: Action, patterns: &[String]) -> Arc<Document> {
    let text = format!(
        "kind: EgressPolicy\nmetadata: {{{metadata}}}\nspec: {{mode: {mode}, hostRules: [a.example]}}\n"
    );
    let file: Arc<str> = format!("{metadata}.yaml").into();
    let mut document = parse(&file, &text).documents.remove(0);
    let rules = &mut document.spec.host_rules;
    let like = rules.remove(0);
    rules.reserve_exact(patterns.len());
    for (text, line) in patterns.iter().zip(5..) {
        let mut rule = like.clone();
        rule.pattern = text.parse::<Pattern>().unwrap();
        rule.action = action;
        rule.place.line = line;
        rules.push(rule);
    }
    Arc::new(document)
}

/// A sandbox's document.
fn own(sandbox: &str, patterns: &[String]) -> Arc<Document> {
    document(&format!("name: {sandbox}, group: grp, sandbox: {sandbox}"), "Limited", Action::Allow, patterns)
}

/// Questions A, C and B, one after the other.
#[inline]
fn decide(policy: &Policy, target: &Target) -> bool {
    let facts = RequestFacts { method: "GET", path: "/v1/items", secure: false };
    policy.admit(target).is_ok_and(|permit| {
        policy.admit_request(&permit, black_box(&facts)).is_ok()
            && policy.admit_address(&permit, black_box(ADDRESS)).is_ok()
    })
}

/// A name on the port for TLS.
fn target(name: &str) -> Target {
    format!("{name}:443").parse().unwrap()
}

/// One policy over three documents, the last of many sizes.
fn sizes(options: &Options, names: &Names, table: &mut Table, aims: &mut Table) {
    let budget = Duration::from_millis(options.number("ms") as u64);
    for size in options.numbers("sizes") {
        eprintln!("a sandbox of {} rules", short(size));
        let texts: Vec<String> = (0..size).map(|index| names.pattern(Kind::Mix, index)).collect();
        let patterns: Vec<Pattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let mut all = documents(ABOVE);
        all.push(own("sbx", &texts));
        let set = compile(&all, None);
        let policy = set.policy_for("sbx", Some("grp"), true);
        let ours = Ours::build(&patterns);
        let count = if size <= 1_000 { 8_192 } else { 131_072 };
        for (case, share) in [("allow", 100), ("deny", 0), ("mixed", 50)] {
            let mut random = Random(11);
            let mut targets = Vec::with_capacity(count);
            while targets.len() < count {
                let pattern = random.pick(&texts);
                let wanted = random.below(100) < share;
                let name =
                    if wanted { Names::hit(pattern, &mut random) } else { names.other(pattern, &mut random) };
                let target = target(&name);
                if decide(&policy, &target) == wanted {
                    targets.push(target);
                }
            }
            let lines: Vec<String> = targets.iter().map(ToString::to_string).collect();
            let targets: Vec<Target> = lines.iter().map(|line| line.parse().unwrap()).collect();
            let mut runners: Vec<(String, Runner<'_>)> = vec![
                (
                    "one look-up".into(),
                    Box::new(|range| {
                        let hosts = targets[range].iter().map(|target| black_box(target).host());
                        hosts.map(|host| u64::from(ours.find(host).is_some())).sum()
                    }),
                ),
                (
                    "A".into(),
                    Box::new(|range| {
                        let targets = targets[range].iter();
                        targets.map(|target| u64::from(policy.admit(black_box(target)).is_ok())).sum()
                    }),
                ),
                (
                    "A, C, B".into(),
                    Box::new(|range| {
                        let targets = targets[range].iter();
                        targets.map(|target| u64::from(decide(&policy, black_box(target)))).sum()
                    }),
                ),
                (
                    "A, C, B, the target parsed first".into(),
                    Box::new(|range| {
                        let targets = lines[range].iter().map(|line| black_box(line).parse().unwrap());
                        targets.map(|target| u64::from(decide(&policy, &target))).sum()
                    }),
                ),
            ];
            let results = race(targets.len(), budget, &mut runners);
            let look_up = results[0].1;
            for (who, ns) in &results {
                let ratio = format!("{:.1}×", ns / look_up);
                table.row(vec![
                    format!("three documents, {}", short(size)),
                    case.into(),
                    who.clone(),
                    figure(*ns),
                    ratio,
                ]);
                if who == "A, C, B" {
                    aim(aims, "decision ÷ look-up", &format!("{case}, {}", short(size)), 5.0, ns / look_up);
                }
            }
        }
    }
}

/// A document with every switch of a managed path and many `securityRules`, in force or kept for the mode.
fn delegating(mode: &str) -> Vec<Arc<Document>> {
    let rule = |index: usize| {
        let (net, port) = (index % 256, 5_000 + index);
        let (action, priority) = (if index.is_multiple_of(2) { "Deny" } else { "Allow" }, 100 + index);
        format!(
            "      - {{name: r{index}, priority: {priority}, action: {action}, destination: 10.{net}.0.0/16, ports: [{port}]}}\n"
        )
    };
    let rules: String = (1..RULES).map(rule).collect();
    let text = format!(
        "kind: EgressPolicy\nmetadata: {{name: vnet}}\nspec:\n  mode: {mode}\n  vnet:\n    network: prod\n    managedPath:\n      \
         packageRegistries: {{pypi: true, npm: true, nuget: true, apt: true}}\n      \
         codeRepositories: {{github: true, githubEnterprise: true, azureDevOps: true}}\n    securityRules:\n{rules}      \
         - {{name: web, priority: 4000, action: Allow, destination: \"*\", ports: [80, 443]}}\n"
    );
    documents(&text)
}

/// What a path and the rules of a network cost, beside the same document in another mode.
fn vnet(options: &Options, table: &mut Table, aims: &mut Table) {
    eprintln!("a document in mode VNet");
    let budget = Duration::from_millis(options.number("ms") as u64);
    let built = ["Unrestricted", "VNet"].map(|mode| {
        let all = delegating(mode);
        let (set, _, bytes) = built(|| compile(&all, None));
        (mode, set.policy_for("sbx", None, false), bytes)
    });
    for (case, names) in [
        ("managed", ["pypi.org", "registry.npmjs.org", "github.com", "api.nuget.org"]),
        ("delegated", ["www.example.org", "a.b.example.com", "db.corp.example", "example.net"]),
    ] {
        let targets: Vec<Target> = names.iter().cycle().take(8_192).map(|name| target(name)).collect();
        let ask = |policy: &Policy, target: &Target| {
            let permit = policy.admit(target);
            permit.is_ok_and(|permit| policy.admit_address(&permit, black_box(ADDRESS)).is_ok())
        };
        let delegated = |target: &Target| built[1].1.route(target).is_delegated() == (case == "delegated");
        assert!(
            targets.iter().all(|target| delegated(target) && built.iter().all(|own| ask(&own.1, target)))
        );
        let runner = |(mode, policy, _): &'_ (&'static str, Policy, usize)| -> (String, Runner<'_>) {
            let (policy, targets) = (policy.clone(), &targets);
            let work = move |range: std::ops::Range<usize>| {
                let targets = targets[range].iter();
                targets.map(|target| u64::from(ask(&policy, black_box(target)))).sum()
            };
            (format!("A, B in mode {mode}"), Box::new(work))
        };
        let mut runners: Vec<_> = built.iter().map(runner).collect();
        let results = race(targets.len(), budget, &mut runners);
        for (who, ns) in &results {
            let ratio = format!("{:.2}×", ns / results[0].1);
            table.row(vec![
                "every switch, 50 securityRules".into(),
                case.into(),
                who.clone(),
                figure(*ns),
                ratio,
            ]);
        }
        aim(aims, "VNet ÷ Unrestricted", case, 2.0, results[1].1 / results[0].1);
    }
    for (mode, _, bytes) in &built {
        let row = ["every switch, 50 securityRules", "bytes, pool and all", mode, &figure(*bytes as f64)];
        table.row(row.map(str::to_owned).to_vec());
    }
}

/// Adds an aim, which is an upper bound.
fn aim(aims: &mut Table, what: &str, at: &str, aimed: f64, measured: f64) {
    let verdict = if measured <= aimed { "met" } else { "missed" };
    aims.row(vec![what.into(), at.into(), format!("≤ {aimed}"), format!("{measured:.2}"), verdict.into()]);
}

/// A set of globs.
fn globs(texts: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for text in texts {
        set.add(Glob::new(text).unwrap());
    }
    set.build().unwrap()
}

/// Many sandboxes under one large group.
struct Fleet {
    /// How it is called.
    what: String,
    /// The patterns of each sandbox.
    drawn: Vec<Vec<String>>,
    /// The patterns that the group denies.
    denied: Vec<String>,
    /// Global, Group, and each sandbox's, compiled.
    set: PolicySet,
    /// How long that took.
    took: Duration,
    /// Bytes a sandbox's policy, all that stays of it.
    each: f64,
}

/// Makes the fleet and tells what it weighs.
fn fleet(options: &Options, names: &Names, table: &mut Table) -> Fleet {
    let (count, large) = (options.number("sandboxes"), options.number("group"));
    let what = format!("{} sandboxes × {RULES}, a group of {}", short(count), short(large));
    eprintln!("{what}");
    let pool: Vec<String> = (0..POOL).map(|index| names.pattern(Kind::Mix, index)).collect();
    let mut random = Random(3);
    let mut draw = || (0..RULES).map(|_| pool[random.below(pool.len())].clone()).collect();
    let drawn: Vec<Vec<String>> = (0..count).map(|_| draw()).collect();
    let denied: Vec<String> = (POOL..POOL + large).map(|index| names.pattern(Kind::Mix, index)).collect();
    let group = || {
        let mut all = documents(ABOVE);
        all[1] = document("name: group, group: grp", "Unrestricted", Action::Deny, &denied);
        all
    };
    let each = || drawn.iter().enumerate().map(|(index, texts)| own(&format!("sbx-{index}"), texts));
    let (all, _, above) = built(group);
    drop(all);
    let (all, _, sources) = built(|| each().collect::<Vec<_>>());
    drop(all);
    // All that stays once the documents are gone, names and places with it.
    let (shared, _, below) = built(|| compile(&group(), None));
    drop(shared);
    let mut took = Duration::ZERO;
    let (set, _, bytes) = built(|| {
        let all: Vec<_> = group().into_iter().chain(each()).collect();
        let (set, compiled, _) = built(|| compile(&all, None));
        took = compiled;
        set
    });
    let each = bytes.saturating_sub(below) as f64 / count as f64;
    let mut tell = |case: &str, who: &str, value: String| {
        table.row(vec![what.clone(), case.into(), who.into(), value]);
    };
    tell("bytes a policy", "all that stays", figure(each));
    tell(
        "bytes a policy",
        "the document as written, until it is compiled",
        figure(sources as f64 / count as f64),
    );
    tell("bytes", "the documents above, all that stays", figure(below as f64));
    tell("bytes", "the documents above, as written", figure(above as f64));
    tell("build", "all", time(took));
    Fleet { what, drawn, denied, set, took, each }
}

/// Asks the fleet, each question a sandbox of its own, so that policies are as cold as names.
fn ask(fleet: &Fleet, options: &Options, names: &Names, table: &mut Table) {
    let Fleet { what, drawn, denied, set, took, each, .. } = fleet;
    let (count, budget) = (drawn.len(), Duration::from_millis(options.number("ms") as u64));
    let mut random = Random(5);
    let identities: Vec<String> = (0..count).map(|index| format!("sbx-{index}")).collect();
    let policies: Vec<Policy> =
        identities.iter().map(|sandbox| set.policy_for(sandbox, Some("grp"), true)).collect();
    let mut question = || {
        let sandbox = random.below(count);
        let pattern = random.pick::<String>(&drawn[sandbox]);
        let name = match random.below(8) {
            0 => Names::hit(random.pick::<String>(denied), &mut random),
            1 => names.other(pattern, &mut random),
            _ => Names::hit(pattern, &mut random),
        };
        (sandbox, target(&name))
    };
    let questions: Vec<(usize, Target)> = (0..131_072).map(|_| question()).collect();
    let few = GLOB_SANDBOXES.min(count);
    let (rivals, rivals_took, rival_bytes) =
        built(|| drawn[..few].iter().map(|texts| globs(texts)).collect::<Vec<_>>());
    let above = globs(denied);
    let mut runners: Vec<(String, Runner<'_>)> = vec![
        (
            "A, C, B".into(),
            Box::new(|range| {
                let questions = questions[range].iter();
                questions.map(|(sandbox, target)| u64::from(decide(&policies[*sandbox], target))).sum()
            }),
        ),
        (
            "the policy found by name, A, C, B".into(),
            Box::new(|range| {
                let of = |sandbox: usize| set.policy_for(&identities[sandbox], Some("grp"), true);
                let questions = questions[range].iter();
                questions.map(|(sandbox, target)| u64::from(decide(&of(*sandbox), target))).sum()
            }),
        ),
        (
            format!("a GlobSet for each ({few} of them) and one for the group, names only"),
            Box::new(|range| {
                let allows = |sandbox: usize, target: &Target| {
                    let text = target.host().name().map_or("", |name| name.as_str());
                    !above.is_match(text) && rivals[sandbox % few].is_match(text)
                };
                let questions = questions[range].iter();
                questions.map(|(sandbox, target)| u64::from(allows(*sandbox, target))).sum()
            }),
        ),
    ];
    let results = race(questions.len(), budget, &mut runners);
    drop(runners);
    let mut tell = |case: &str, who: &str, value: String, ratio: f64| {
        table.row(vec![what.clone(), case.into(), who.into(), value, format!("{ratio:.1}×")]);
    };
    for (who, ns) in &results {
        tell("decision", who, figure(*ns), ns / results[0].1);
    }
    let rival = rival_bytes as f64 / few as f64;
    tell("bytes a policy", "a GlobSet for each", figure(rival), rival / each);
    let all = rivals_took.mul_f64(count as f64 / few as f64);
    tell("build", "a GlobSet for each", time(all), all.as_secs_f64() / took.as_secs_f64());
}

/// Changes one sandbox of the fleet after another.
fn change(fleet: &mut Fleet, table: &mut Table) {
    let lists = CategoryLists::shipped();
    let mut least = Duration::MAX;
    for round in 0..5 {
        let changed = own(&format!("sbx-{round}"), &fleet.drawn[round + 1]);
        let (next, took, _) = built(|| {
            let mut draft = Draft::new(&lists, None, Some(&fleet.set));
            let unchanged = fleet.set.units().filter(|unit| *unit.scope() != changed.scope);
            unchanged.for_each(|unit| draft.reuse(unit));
            draft.compile(&changed);
            let (set, problems) = draft.finish(Arc::default());
            assert!(problems.is_empty() && set.conflicts(None).is_empty() && !set.is_same(&fleet.set));
            set
        });
        fleet.set = next;
        least = least.min(took);
    }
    let ratio = format!("{:.4} of all", least.as_secs_f64() / fleet.took.as_secs_f64());
    table.row(vec![
        fleet.what.clone(),
        "one sandbox changed".into(),
        "compiled, and all checked again".into(),
        time(least),
        ratio,
    ]);
}

/// A very large document comes into force while decisions are made.
fn swap(options: &Options, names: &Names, table: &mut Table) {
    let size = options.number("swap");
    let what = format!("a group of {} swapped", short(size));
    eprintln!("{what}");
    let mut tell =
        |case: &str, who: &str, value: String| table.row(vec![what.clone(), case.into(), who.into(), value]);
    let few = size.min(100_000);
    let lines = (0..few).map(|index| format!("    - \"{}\"\n", names.pattern(Kind::Mix, index)));
    let text = format!(
        "kind: EgressPolicy\nmetadata: {{name: g}}\nspec:\n  mode: Limited\n  hostRules:\n{}",
        lines.collect::<String>()
    );
    let (read, took, _) = built(|| documents(&text));
    assert_eq!(read[0].spec.host_rules.len(), few);
    drop(read);
    tell("read from YAML", &format!("{} rules", short(few)), time(took));

    let texts: Vec<String> = (0..size).map(|index| names.pattern(Kind::Mix, index)).collect();
    let (group, _, written) =
        built(|| document("name: group, group: grp", "Unrestricted", Action::Deny, &texts));
    let own = own("sbx", &["*.example.org".to_owned()]);
    let mut all = documents(ABOVE);
    all[1] = group;
    all.push(own);
    let target = target("www.example.org");

    let (sender, receiver) = watch::channel(Arc::new(compile(&documents(ABOVE), None)));
    // The slowest decision since the main thread looked last, in nanoseconds.
    let (slowest, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (mut compiled, mut published, mut dropped, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let (mut quiet, mut around) = (Vec::new(), Vec::new());
    let base = live();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let set = Arc::clone(&receiver.borrow());
                black_box(decide(&set.policy_for("sbx", Some("grp"), false), &target));
                drop(set);
                let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                slowest.fetch_max(took, Ordering::Relaxed);
            }
        });
        // What the slowest decision of a short time took, in which `work` is done.
        let window = |work: &mut dyn FnMut()| {
            slowest.store(0, Ordering::Relaxed);
            let begun = Instant::now();
            work();
            while begun.elapsed() < WINDOW {}
            slowest.load(Ordering::Relaxed)
        };
        for _ in 0..3 {
            let (next, took, held) = built(|| Arc::new(compile(&all, None)));
            compiled.push(took);
            bytes = held;
            let old = sender.send_replace(next);
            // A decision that still has the old set would be the one to free it.
            while Arc::strong_count(&old) > 1 {
                std::hint::spin_loop();
            }
            let begun = Instant::now();
            drop(old);
            dropped.push(begun.elapsed());
        }
        let mut other = Arc::new(compile(&all, None));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            quiet.push(window(&mut || {}));
            around.push(window(&mut || {
                let begun = Instant::now();
                other = sender.send_replace(Arc::clone(&other));
                published.push(begun.elapsed());
            }));
        }
        done.store(true, Ordering::Relaxed);
    });
    let least = |times: &[Duration]| time(times.iter().min().copied().unwrap_or_default());
    let median = |times: &mut Vec<u64>| {
        // Where the other thread did not run at all, there was no decision.
        times.retain(|time| *time > 0);
        times.sort_unstable();
        if times.is_empty() {
            return "–".to_owned();
        }
        time(Duration::from_nanos(times[times.len() / 2]))
    };
    published.sort();
    tell("build", "compiled from the document", least(&compiled));
    tell("B/rule", "compiled", figure(bytes as f64 / size as f64));
    tell("B/rule", "the document as written", figure(written as f64 / size as f64));
    tell("swap", "from the new set being ready to its use, median", time(published[published.len() / 2]));
    let slow = format!("slowest decision in {}", time(WINDOW));
    tell(&slow, "without a swap, median", median(&mut quiet));
    tell(&slow, "with a swap, median", median(&mut around));
    tell("the old one dropped", "off the data path", least(&dropped[1..]));
    drop(sender.send_replace(Arc::new(PolicySet::default())));
    drop((compiled, published, dropped, quiet, around));
    let left = live() as f64 - base as f64;
    tell("bytes left", "after all swaps, the last one dropped", figure(left.max(0.0)));
}

fn main() {
    let options = Options::read(&[
        ("parts", "sizes,vnet,fleet,swap"),
        ("sizes", "10,1k,100k,1M"),
        ("sandboxes", "10k"),
        ("group", "10k"),
        ("swap", "1M"),
        ("ms", "150"),
    ]);
    let names = Names::load();
    let mut table = Table::new(&["policy", "case", "what", "ns, bytes or time", "ratio"]);
    let mut aims = Table::new(&["aim", "at", "aimed", "measured", ""]);
    if options.has("parts", "sizes") {
        sizes(&options, &names, &mut table, &mut aims);
    }
    if options.has("parts", "vnet") {
        vnet(&options, &mut table, &mut aims);
    }
    if options.has("parts", "fleet") {
        let mut fleet = fleet(&options, &names, &mut table);
        aim(&mut aims, "B/policy", &fleet.what, 400.0, fleet.each);
        ask(&fleet, &options, &names, &mut table);
        change(&mut fleet, &mut table);
    }
    if options.has("parts", "swap") {
        swap(&options, &names, &mut table);
    }
    table.print();
    println!();
    aims.print();
}
