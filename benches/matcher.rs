//! How long a look-up and a whole decision take, beside one `GlobSet` and a linear scan.
//!
//! `cargo bench --no-default-features --bench matcher`
#![allow(clippy::unwrap_used, reason = "benchmarks")]

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use ipnet::IpNet;
use sluicegate::addr::{Host, Port, Target};
use sluicegate::policy::category::CategoryLists;
use sluicegate::policy::cidr_set::CidrSet;
use sluicegate::policy::document::parse;
use sluicegate::policy::host_set::{Class, HostKey, HostSet};
use sluicegate::policy::pattern::Pattern;
use sluicegate::policy::pattern_pool::Interner;
use sluicegate::policy::{Action, Policy, PolicySet, RequestFacts};

/// How many patterns or networks.
const SIZES: [u32; 3] = [10, 1_000, 100_000];
/// Beyond this the rivals take too long to build or to ask.
const RIVALS_UP_TO: u32 = 1_000;

/// A kind of pattern: its name, its `n`th pattern, a name that this one matches, one that none matches.
type Kind = (&'static str, fn(u32) -> String, fn(u32) -> String, &'static str);

/// The kinds of pattern.
const KINDS: [Kind; 3] = [
    ("exact", |n| format!("host-{n}.example.com"), |n| format!("host-{n}.example.com"), "other.example.com"),
    (
        "suffix",
        |n| format!("*.zone-{n}.example.com"),
        |n| format!("a.b.zone-{n}.example.com"),
        "a.b.other.example.com",
    ),
    (
        "inner",
        |n| format!("reg.*.zone-{n}.example.com"),
        |n| format!("reg.eu.zone-{n}.example.com"),
        "reg.eu.other.example.com",
    ),
];

/// The patterns as one set of globs: labels are path segments, a `*` is one character at least.
fn globs(patterns: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = pattern.replace('.', "/").replace('*', "?*");
        let glob = glob.strip_prefix("?*/").map_or(glob.clone(), |rest| format!("?*/**/{rest}"));
        set.add(GlobBuilder::new(&glob).literal_separator(true).build().unwrap());
    }
    set.build().unwrap()
}

/// Host patterns: ours, globs, a scan.
fn hosts(criterion: &mut Criterion) {
    for (kind, pattern, hit, miss) in KINDS {
        let mut group = criterion.benchmark_group(format!("host/{kind}"));
        for size in SIZES {
            let texts: Vec<String> = (0..size).map(pattern).collect();
            let patterns: Vec<Pattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let mut interner = Interner::default();
            let set = HostSet::new(&mut interner, patterns.iter().map(|one| (Class::Allow, one))).unwrap();
            let pool = interner.pool();
            let find = |host: &Host| set.find(&pool, &HostKey::new(host), Port::HTTPS).allowed;
            let rival = (size <= RIVALS_UP_TO).then(|| globs(&texts));
            for (case, name) in [("hit", hit(size / 2)), ("miss", miss.to_owned())] {
                let host = Host::parse(&name).unwrap();
                assert_eq!(find(&host).is_some(), case == "hit");
                let id = |who: &str| BenchmarkId::new(format!("{who}/{case}"), size);
                group.bench_function(id("set"), |b| b.iter(|| find(black_box(&host))));
                let Some(rival) = &rival else { continue };
                let path = name.replace('.', "/");
                assert_eq!(rival.is_match(&path), case == "hit");
                group.bench_function(id("globset"), |b| b.iter(|| rival.is_match(black_box(&path))));
                group.bench_function(id("scan"), |b| {
                    b.iter(|| {
                        patterns.iter().position(|pattern| pattern.matches(black_box(&host), Port::HTTPS))
                    });
                });
            }
        }
        group.finish();
    }
}

/// Networks: ours and a scan.
fn networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cidr");
    for size in SIZES {
        let net = |n: u32| IpNet::new(IpAddr::from((0x2000_0000 | n << 8).to_be_bytes()), 24).unwrap();
        let nets: Vec<IpNet> = (0..size).map(net).collect();
        let set = CidrSet::new((0..).zip(&nets).map(|(id, net)| (id, *net, Action::Allow, None)));
        for (case, address) in
            [("hit", nets.get(nets.len() / 2).unwrap().addr()), ("miss", IpAddr::from([9, 9, 9, 9]))]
        {
            assert_eq!(set.longest(address, Port::HTTPS).is_some(), case == "hit");
            let id = |who: &str| BenchmarkId::new(format!("{who}/{case}"), size);
            group.bench_function(id("set"), |b| b.iter(|| set.longest(black_box(address), Port::HTTPS)));
            if size <= RIVALS_UP_TO {
                group.bench_function(id("scan"), |b| {
                    b.iter(|| {
                        nets.iter()
                            .filter(|net| net.contains(black_box(&address)))
                            .max_by_key(|net| net.prefix_len())
                    });
                });
            }
        }
    }
    group.finish();
}

/// A Global, a Group and a Sandbox document, the last with `size` names.
fn policy(size: u32) -> Policy {
    let names: Vec<String> = (0..size).map(|n| format!("    - \"*.zone-{n}.example.com\"\n")).collect();
    let text = format!(
        "kind: EgressPolicy\nmetadata: {{name: global}}\nspec:\n  mode: Unrestricted\n  hostRules: [{{pattern: transfer.sh, action: Deny}}]\n  \
         cidrRules: [{{cidr: 20.0.0.0/8, action: Deny}}]\n---\n\
         kind: EgressPolicy\nmetadata: {{name: group, group: grp}}\nspec:\n  mode: Unrestricted\n  \
         rules: [{{match: {{host: \"*.example.com\", path: /admin}}, action: Deny}}]\n---\n\
         kind: EgressPolicy\nmetadata: {{name: own, group: grp, sandbox: sbx}}\nspec:\n  mode: Limited\n  hostRules:\n{}",
        names.concat()
    );
    let parsed = parse(&"bench.yaml".into(), &text);
    let documents: Vec<_> = parsed.documents.into_iter().map(Arc::new).collect();
    assert_eq!(documents.len(), 3);
    let (set, _) = PolicySet::compile(&documents, &CategoryLists::shipped(), Arc::default(), None, None);
    set.policy_for("sbx", Some("grp"), false)
}

/// Questions A, C and B, one after the other.
fn decide(policy: &Policy, target: &Target, address: IpAddr) -> bool {
    let facts = RequestFacts { method: "GET", path: "/v1/items" };
    policy.admit(target).is_ok_and(|permit| {
        policy.admit_request(&permit, &facts).is_ok() && policy.admit_address(&permit, address).is_ok()
    })
}

/// A whole decision over three documents.
fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decision");
    for size in SIZES {
        let policy = policy(size);
        let hit = format!("a.b.zone-{}.example.com:443", size / 2);
        for (case, target) in [("allow", hit.as_str()), ("deny", "a.b.other.example.com:443")] {
            let (target, address) = (target.parse().unwrap(), IpAddr::from([1, 1, 1, 1]));
            assert_eq!(decide(&policy, &target, address), case == "allow");
            group.bench_function(BenchmarkId::new(case, size), |b| {
                b.iter(|| decide(&policy, black_box(&target), black_box(address)));
            });
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    hosts(&mut criterion);
    networks(&mut criterion);
    decisions(&mut criterion);
    criterion.final_summary();
}
