//! How long a look-up of a host takes, beside everything that others use for it.
//!
//! `cargo bench --no-default-features --bench hosts`, and `-- --sizes 1k --kinds mix --cases mixed,parsed` for less.
//!
//! | case | the names asked |
//! |---|---|
//! | `hit`, `miss` | all match, none matches |
//! | `mixed` | both at random |
//! | `parsed` | the same, and the text is brought into its canonical form first by every contender: `Host::parse` |
//! | `deep` | as many labels as a name can have |
//! | `long` | as many bytes as a name can have |
//!
//! Every contender answers with the first pattern of the list, and the answers are compared; but the two made of
//! globs say only whether there is one, which is less work, and their inner `*` crosses dots, which is less too.
//! They are asked with the canonical text, the others with the canonical name.
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

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use globset::{Glob, GlobMatcher, GlobSet, GlobSetBuilder};
use sluicegate::addr::{Host, Port};
use sluicegate::policy::pattern::Pattern;

#[path = "../kit/mod.rs"]
mod kit;
mod rivals;

use kit::names::{Kind, Names};
use kit::{Options, Ours, Random, Runner, Table, built, figure, race, short, time};
use rivals::{Automaton, Suffixes, Trie};

/// A linear scan is asked up to this size.
const SCAN_UP_TO: usize = 1_000;
/// One set of globs is built with so many inner wildcards at most: each costs it a regular expression.
const GLOB_INNER_UP_TO: usize = 10_000;

/// One kind of pattern in one size, with its questions.
struct Field {
    texts: Vec<String>,
    patterns: Vec<Pattern>,
}

/// What was measured: for each contender and case the nanoseconds by size, and what building took.
#[derive(Default)]
struct Results {
    nanoseconds: BTreeMap<(String, String, String), BTreeMap<usize, f64>>,
    built: BTreeMap<(String, String), (usize, Duration, usize)>,
}

/// A contender that is built: its name and how it answers.
enum Contender {
    Ours(Ours),
    Globs(GlobSet),
    GlobScan(Vec<GlobMatcher>),
    Scan(Vec<Pattern>),
    Suffixes(Suffixes),
    Trie(Trie),
    Fst(Automaton),
}

/// Every contender, ours first.
const CONTENDERS: [&str; 7] = ["HostSet", "globset", "globs", "scan", "hashmap", "trie", "fst"];

impl Contender {
    /// Builds one, unless it could not stand so many patterns.
    fn build(name: &str, kind: Kind, field: &Field) -> Option<Self> {
        let size = field.texts.len();
        let inner = match kind {
            Kind::Inner | Kind::Crowd => size,
            Kind::Mix => size / 10,
            Kind::Exact | Kind::Suffix => 0,
        };
        match name {
            "HostSet" => Some(Self::Ours(Ours::build(&field.patterns))),
            "globset" if inner <= GLOB_INNER_UP_TO => {
                let mut set = GlobSetBuilder::new();
                for text in &field.texts {
                    set.add(Glob::new(text).unwrap());
                }
                set.build().ok().map(Self::Globs)
            }
            "globs" if size <= SCAN_UP_TO => {
                let globs = field.texts.iter().map(|text| Glob::new(text).unwrap().compile_matcher());
                Some(Self::GlobScan(globs.collect()))
            }
            "scan" if size <= SCAN_UP_TO => Some(Self::Scan(field.patterns.clone())),
            "hashmap" => Some(Self::Suffixes(Suffixes::build(&field.texts))),
            "trie" => Some(Self::Trie(Trie::build(&field.texts))),
            "fst" => Some(Self::Fst(Automaton::build(&field.texts))),
            _ => None,
        }
    }

    /// The first match, or 0 for any match of one that does not say which.
    #[inline]
    fn find(&self, host: &Host) -> Option<u32> {
        let text = || host.name().map_or("", |name| name.as_str());
        match self {
            Self::Ours(ours) => ours.find(host),
            Self::Globs(set) => set.is_match(text()).then_some(0),
            Self::GlobScan(globs) => globs.iter().any(|glob| glob.is_match(text())).then_some(0),
            Self::Scan(patterns) => patterns
                .iter()
                .position(|pattern| pattern.matches(host, Port::HTTPS))
                .and_then(|at| u32::try_from(at).ok()),
            Self::Suffixes(map) => map.find(text()),
            Self::Trie(trie) => trie.find(text()),
            Self::Fst(automaton) => automaton.find(text()),
        }
    }

    /// How it is run over questions; `texts` are parsed first if given.
    fn runner<'a>(&'a self, hosts: &'a [Host], texts: Option<&'a [String]>) -> Runner<'a> {
        /// The loop, compiled for each contender by itself.
        fn over<'a>(
            hosts: &'a [Host],
            texts: Option<&'a [String]>,
            find: impl Fn(&Host) -> Option<u32> + 'a,
        ) -> Runner<'a> {
            match texts {
                None => Box::new(move |range| {
                    hosts[range].iter().map(|host| u64::from(find(black_box(host)).is_some())).sum()
                }),
                Some(texts) => Box::new(move |range| {
                    let parsed = texts[range].iter().map(|text| Host::parse(black_box(text)).unwrap());
                    parsed.map(|host| u64::from(find(&host).is_some())).sum()
                }),
            }
        }
        match self {
            Self::Ours(ours) => over(hosts, texts, move |host| ours.find(host)),
            Self::Suffixes(map) => over(hosts, texts, move |host| map.find(text_of(host))),
            Self::Trie(trie) => over(hosts, texts, move |host| trie.find(text_of(host))),
            Self::Fst(automaton) => over(hosts, texts, move |host| automaton.find(text_of(host))),
            Self::Globs(_) | Self::GlobScan(_) | Self::Scan(_) => {
                over(hosts, texts, move |host| self.find(host))
            }
        }
    }
}

/// The canonical text of a name.
#[inline]
fn text_of(host: &Host) -> &str {
    host.name().map_or("", |name| name.as_str())
}

/// The questions of a case, checked against a judge where they must hit or miss.
fn questions(case: &str, names: &Names, field: &Field, judge: &Trie, count: usize) -> Vec<Host> {
    let mut random = Random(7);
    let mut hosts = Vec::with_capacity(count);
    while hosts.len() < count {
        let pattern = random.pick(&field.texts);
        let wanted = match case {
            "hit" => Some(true),
            "miss" => Some(false),
            "deep" | "long" => None,
            _ => Some(random.below(2) == 0),
        };
        let text = match (case, wanted) {
            ("deep", _) => Names::deep(pattern, &mut random),
            ("long", _) => names.long(pattern, &mut random),
            (_, Some(true)) => Names::hit(pattern, &mut random),
            _ => names.other(pattern, &mut random),
        };
        let Ok(host) = Host::parse(&text) else { continue };
        if wanted.is_none_or(|wanted| judge.find(text_of(&host)).is_some() == wanted) {
            hosts.push(host);
        }
    }
    // In memory as they are asked, as if they had been read just now.
    hosts.iter().map(|host| Host::parse(text_of(host)).unwrap()).collect()
}

/// Measures one kind in one size.
fn measure(kind_name: &str, size: usize, names: &Names, options: &Options, results: &mut Results) {
    let kind = Kind::named(kind_name).unwrap();
    let texts: Vec<String> = (0..size).map(|index| names.pattern(kind, index)).collect();
    let patterns: Vec<Pattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
    let field = Field { texts, patterns };
    let mut contenders = Vec::new();
    for name in CONTENDERS {
        if !(options.list("rivals").is_empty() || name == "HostSet" || options.has("rivals", name)) {
            continue;
        }
        let (made, took, bytes) = built(|| Contender::build(name, kind, &field));
        if let Some(made) = made {
            contenders.push((name, made));
            results.built.insert((kind_name.to_owned(), name.to_owned()), (size, took, bytes));
        }
    }
    let judge = Trie::build(&field.texts);
    let budget = Duration::from_millis(options.number("ms") as u64);
    let count = if size <= SCAN_UP_TO { 8_192 } else { 131_072 };
    for case in options.list("cases") {
        let hosts = questions(case, names, &field, &judge, count);
        agree(&contenders, &hosts[..hosts.len().min(4_096)], &field);
        let texts: Option<Vec<String>> =
            (case == "parsed").then(|| hosts.iter().map(|host| text_of(host).to_owned()).collect());
        let mut runners: Vec<(String, Runner<'_>)> = Vec::new();
        for (name, contender) in &contenders {
            runners.push(((*name).to_owned(), contender.runner(&hosts, texts.as_deref())));
        }
        if let Some(texts) = &texts {
            let parse: Runner<'_> = Box::new(|range| {
                texts[range].iter().map(|text| u64::from(Host::parse(black_box(text)).is_ok())).sum()
            });
            runners.push(("parse alone".into(), parse));
        }
        for (name, ns) in race(hosts.len(), budget, &mut runners) {
            let key = (kind_name.to_owned(), case.clone(), name);
            results.nanoseconds.entry(key).or_default().insert(size, ns);
        }
    }
}

/// Checks that all contenders give the same answers.
fn agree(contenders: &[(&str, Contender)], hosts: &[Host], field: &Field) {
    let Some((_, judge)) = contenders.first() else { return };
    for host in hosts.iter().take(if field.texts.len() > SCAN_UP_TO { 4_096 } else { 512 }) {
        let expected = judge.find(host);
        for (name, contender) in contenders {
            let found = contender.find(host);
            if matches!(contender, Contender::Globs(_) | Contender::GlobScan(_)) {
                // An inner star of theirs is any text, so they match more.
                assert!(found.is_some() || expected.is_none(), "{name}: {host}");
            } else {
                let pattern = |id: Option<u32>| id.map(|id| &field.texts[id as usize]);
                assert_eq!(found, expected, "{name}: {host}: {:?} {:?}", pattern(found), pattern(expected));
            }
        }
    }
}

/// One table of everything.
fn print(options: &Options, results: &Results) {
    let sizes = options.numbers("sizes");
    let largest = sizes.iter().copied().max().unwrap_or_default();
    let mut columns = vec!["patterns".to_owned(), "names".into(), "ns a look-up (× ours)".into()];
    columns.extend(sizes.iter().map(|size| short(*size)));
    columns.extend(["B/rule".into(), format!("build {}", short(largest))]);
    let mut table = Table::new(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    for kind in options.list("kinds") {
        for case in options.list("cases") {
            let at = |name: &str, size: usize| {
                results.nanoseconds.get(&(kind.clone(), case.clone(), name.to_owned()))?.get(&size).copied()
            };
            for name in CONTENDERS.into_iter().chain(["parse alone"]) {
                let cell = |size: &usize| match (at(name, *size), at("HostSet", *size)) {
                    (Some(ns), _) if name == "HostSet" => figure(ns),
                    (Some(ns), Some(ours)) => format!("{} ({:.1}×)", figure(ns), ns / ours),
                    _ => "–".into(),
                };
                let cells: Vec<String> = sizes.iter().map(cell).collect();
                if cells.iter().all(|cell| cell == "–") {
                    continue;
                }
                let mut row = vec![kind.clone(), case.clone(), name.to_owned()];
                row.extend(cells);
                let built = results.built.get(&(kind.clone(), name.to_owned()));
                if let Some((size, took, bytes)) =
                    built.filter(|_| options.list("cases").first() == Some(case))
                {
                    let note = if *size == largest { String::new() } else { format!(" ({})", short(*size)) };
                    row.push(format!("{}{note}", figure(*bytes as f64 / *size as f64)));
                    row.push(format!("{}{note}", time(*took)));
                }
                table.row(row);
            }
        }
    }
    table.print();
}

/// The aims of the specification, as far as they were measured.
fn aims(results: &Results) {
    let at = |kind: &str, case: &str, name: &str, size: usize| {
        let key = (kind.to_owned(), case.to_owned(), name.to_owned());
        results.nanoseconds.get(&key)?.get(&size).copied()
    };
    let mut table = Table::new(&["aim", "at", "aimed", "measured", ""]);
    let mut tell = |what: &str, at: String, aimed: f64, measured: Option<f64>, at_least: bool| {
        let Some(measured) = measured else { return };
        let met = if at_least { measured >= aimed } else { measured <= aimed };
        let sign = if at_least { "≥" } else { "≤" };
        let verdict = if met { "met" } else { "missed" };
        table.row(vec![what.into(), at, format!("{sign} {aimed}"), format!("{measured:.2}"), verdict.into()]);
    };
    let ratio = |kind: &str, case: &str, name: &str, size: usize| {
        Some(at(kind, case, name, size)? / at(kind, case, "HostSet", size)?)
    };
    for (size, globset, trie) in [(1_000, 3.0, 1.3), (100_000, 5.0, 2.0), (1_000_000, 5.0, 2.0)] {
        for kind in ["exact", "suffix", "mix"] {
            tell(
                "× globset",
                format!("{kind}, {}", short(size)),
                globset,
                ratio(kind, "mixed", "globset", size),
                true,
            );
        }
        for kind in ["exact", "suffix", "inner", "mix"] {
            tell(
                "× trie, both parsed",
                format!("{kind}, {}", short(size)),
                trie,
                ratio(kind, "parsed", "trie", size),
                true,
            );
        }
    }
    for kind in ["exact", "suffix", "inner", "mix"] {
        tell("misses × hashmap", format!("{kind}, 1M"), 1.3, ratio(kind, "miss", "hashmap", 1_000_000), true);
        for size in [10, 1_000, 100_000, 1_000_000] {
            let deep = at(kind, "deep", "HostSet", size);
            let mixed = at(kind, "mixed", "HostSet", size);
            let measured = deep.zip(mixed).map(|(deep, mixed)| deep / mixed);
            tell("deep ÷ mixed", format!("{kind}, {}", short(size)), 2.5, measured, false);
        }
        let of = |name: &str| results.built.get(&(kind.to_owned(), name.to_owned()));
        if let Some((size, took, bytes)) = of("HostSet") {
            tell(
                "B/rule",
                format!("{kind}, {}", short(*size)),
                48.0,
                Some(*bytes as f64 / *size as f64),
                false,
            );
            let globset = of("globset").filter(|(other, ..)| other == size);
            let measured = globset.map(|(_, other, _)| took.as_secs_f64() / other.as_secs_f64());
            tell("build ÷ globset's", format!("{kind}, {}", short(*size)), 0.1, measured, false);
        }
    }
    println!();
    table.print();
}

fn main() {
    let options = Options::read(&[
        ("sizes", "10,1k,100k,1M"),
        ("kinds", "exact,suffix,inner,mix"),
        ("cases", "mixed,parsed,hit,miss,deep,long"),
        ("rivals", ""),
        ("ms", "80"),
    ]);
    let names = Names::load();
    let (listed, unlisted) = names.count();
    eprintln!("{listed} real names listed, {unlisted} in no pattern; beyond them, sub-names of the former");
    let mut results = Results::default();
    for size in options.numbers("sizes") {
        for kind in options.list("kinds") {
            if Kind::named(kind).is_none() {
                eprintln!("--kinds: exact, suffix, inner, mix, crowd");
                std::process::exit(2);
            }
            eprintln!("{} {kind} patterns", short(size));
            measure(kind, size, &names, &options, &mut results);
        }
    }
    print(&options, &results);
    aims(&results);
}
