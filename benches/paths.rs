//! How long the rules of one host take to answer a request, beside a scan of their patterns and one `RegexSet`.
//!
//! `cargo bench --no-default-features --bench paths`
#![allow(clippy::unwrap_used, reason = "benchmarks")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use regex::bytes::{RegexSet, RegexSetBuilder};
use sluicegate::policy::document::RuleAction;
use sluicegate::policy::method_set::{MethodSet, Methods};
use sluicegate::policy::path_pattern::PathPattern;
use sluicegate::policy::rule_list::RuleList;

/// How many rules.
const SIZES: [usize; 3] = [1, 10, 1_000];

/// The `n`th pattern: exact ones, open ones, and some with a star inside, as an interface is written down.
fn pattern(n: usize) -> String {
    match n % 4 {
        0 => format!("/api/v1/resource-{n}"),
        1 => format!("/api/v1/resource-{n}/*"),
        2 => format!("/repos/*/resource-{n}"),
        _ => format!("/files/resource-{n}.*"),
    }
}

/// A path that the `n`th pattern matches and none before it.
fn path(n: usize) -> String {
    pattern(n).replace('*', "some-thing")
}

/// The patterns as one set of expressions.
fn expressions(patterns: &[String]) -> RegexSet {
    let expressions = patterns.iter().map(|pattern| {
        let (closed, end) = pattern.strip_suffix('*').map_or((pattern.as_str(), "$"), |rest| (rest, ""));
        format!("^{}{end}", closed.replace('.', r"\.").replace('*', "[^/]+"))
    });
    RegexSetBuilder::new(expressions).unicode(false).size_limit(1 << 30).build().unwrap()
}

/// One rule with a path and a list of methods, as it is written.
struct Written {
    /// The path.
    path: PathPattern,
    /// The methods.
    methods: Vec<&'static str>,
}

impl Written {
    /// Whether it fits a request.
    fn fits(&self, path: &str, method: &str) -> bool {
        self.methods.contains(&method) && self.path.matches(path, false)
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut group = criterion.benchmark_group("path");
    for size in SIZES {
        let texts: Vec<String> = (0..size).map(pattern).collect();
        let rules: Vec<Written> = texts
            .iter()
            .map(|text| Written { path: text.parse().unwrap(), methods: vec!["GET", "HEAD"] })
            .collect();
        let methods = Methods::of(rules.iter().flat_map(|rule| rule.methods.iter().copied())).unwrap();
        let sets: Vec<MethodSet> = rules.iter().map(|rule| methods.set(Some(&rule.methods))).collect();
        let build = || {
            let lines = (0..).zip(&rules).zip(&sets);
            RuleList::new(lines.map(|((id, rule), set)| (id, RuleAction::Allow, Some(&rule.path), *set)))
        };
        let (list, set) = (build(), expressions(&texts));
        let miss = "/repos/some-thing/resource-none".to_owned();
        for (case, path, found) in
            [("first", path(0), Some(0)), ("last", path(size - 1), Some(size - 1)), ("miss", miss, None)]
        {
            let ours = |path: &str, method: &str| list.first(path, methods.bit(method));
            let scan = |path: &str, method: &str| rules.iter().position(|rule| rule.fits(path, method));
            // The method would be asked of each one that matches; all have it.
            let rival = |path: &str| set.matches(path.as_bytes()).iter().next();
            assert_eq!(ours(&path, "HEAD").map(|id| id as usize), found);
            assert_eq!((scan(&path, "HEAD"), rival(&path)), (found, found));
            let id = |who: &str| BenchmarkId::new(format!("{who}/{case}"), size);
            group.bench_function(id("list"), |b| b.iter(|| ours(black_box(&path), black_box("HEAD"))));
            group.bench_function(id("scan"), |b| b.iter(|| scan(black_box(&path), black_box("HEAD"))));
            group.bench_function(id("regexset"), |b| b.iter(|| rival(black_box(&path))));
        }
        group.bench_function(BenchmarkId::new("list/build", size), |b| b.iter(build));
    }
    group.finish();
    criterion.final_summary();
}
