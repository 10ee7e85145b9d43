//! What the benchmarks share: real names, an allocator that counts, rounds that are fair, one table.
//!
//! Two noisy cores do no harm: every contender runs in every round, over the same questions cut into short pieces,
//! and of each piece the quickest round counts.
#![allow(dead_code, reason = "no benchmark needs everything")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sluicegate::addr::{Host, Port};
use sluicegate::policy::host_set::{Class, HostKey, HostSet};
use sluicegate::policy::pattern::Pattern;
use sluicegate::policy::pattern_pool::{Interner, PatternPool};

pub mod names;

/// Our own contender: the one place to change when its interface does.
pub struct Ours {
    /// What is asked.
    set: HostSet,
    /// What it refers to.
    pool: PatternPool,
    /// What wrote that; it is kept as the process keeps it, and weighed with the rest.
    _interner: Interner,
}

impl Ours {
    /// Compiles patterns; each is known by its position.
    #[must_use]
    pub fn build(patterns: &[Pattern]) -> Self {
        let mut interner = Interner::default();
        let set = HostSet::new(&mut interner, patterns.iter().map(|pattern| (Class::Allow, pattern)));
        Self { set: set.unwrap(), pool: interner.pool(), _interner: interner }
    }

    /// The first pattern that matches.
    #[must_use]
    #[inline]
    pub fn find(&self, host: &Host) -> Option<u32> {
        self.set.find(&self.pool, &HostKey::new(host), Port::HTTPS).allowed.map(|found| found.place)
    }
}

/// The system's allocator, with a count of the bytes that are in use.
struct Counting;

/// The bytes in use.
static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is forwarded unchanged; the counter does not allocate.
#[expect(unsafe_code, reason = "a global allocator is an unsafe trait; this one counts and forwards")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size, Ordering::Relaxed);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The bytes that the program holds.
#[must_use]
pub fn live() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// What `work` made, how long it took, and how many bytes it holds.
pub fn built<T>(work: impl FnOnce() -> T) -> (T, Duration, usize) {
    let (before, begun) = (live(), Instant::now());
    let made = work();
    let took = begun.elapsed();
    (made, took, live().saturating_sub(before))
}

/// A stream of numbers (splitmix64), the same in every run.
pub struct Random(pub u64);

impl Random {
    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or_default()
    }

    /// One of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Puts a list out of order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

/// One contender of a race: it answers the questions of a range, and adds up the answers so that none is left out.
pub type Runner<'a> = Box<dyn FnMut(std::ops::Range<usize>) -> u64 + 'a>;

/// How many questions make a piece.
const PIECE: usize = 1024;
/// How many rounds there are at least.
const ROUNDS: usize = 5;

/// Lets contenders answer `questions` questions in turn, again and again for about `budget` each; the nanoseconds
/// that a question takes each of them.
///
/// One that is too slow to answer all of them within its budget is asked the first few only.
pub fn race(questions: usize, budget: Duration, runners: &mut [(String, Runner<'_>)]) -> Vec<(String, f64)> {
    let mut pieces: Vec<Vec<std::ops::Range<usize>>> = Vec::new();
    for (_, run) in runners.iter_mut() {
        let trial = questions.min(32);
        run(0..trial);
        let begun = Instant::now();
        black_box(run(0..trial));
        let each = begun.elapsed().as_secs_f64() / trial as f64;
        let affordable = (budget.as_secs_f64() / each.max(1e-9)) as usize;
        let asked = questions.min(affordable.max(64));
        let piece = PIECE.min(((2e-4 / each.max(1e-9)) as usize).max(16));
        pieces.push((0..asked).step_by(piece).map(|from| from..(from + piece).min(asked)).collect());
    }
    let mut best: Vec<Vec<f64>> = pieces.iter().map(|pieces| vec![f64::INFINITY; pieces.len()]).collect();
    let mut spent = vec![Duration::ZERO; runners.len()];
    for round in 0.. {
        let mut ran = false;
        for (index, (_, run)) in runners.iter_mut().enumerate() {
            if round >= ROUNDS && spent[index] >= budget {
                continue;
            }
            ran = true;
            let whole = Instant::now();
            for (piece, best) in pieces[index].iter().zip(&mut best[index]) {
                let begun = Instant::now();
                black_box(run(piece.clone()));
                *best = best.min(begun.elapsed().as_secs_f64());
            }
            spent[index] += whole.elapsed();
        }
        if !ran {
            break;
        }
    }
    let mut results = Vec::new();
    for (((name, _), pieces), best) in runners.iter().zip(&pieces).zip(&best) {
        let asked = pieces.last().map_or(1, |piece| piece.end);
        results.push((name.clone(), best.iter().sum::<f64>() * 1e9 / asked as f64));
    }
    results
}

/// What the command line asks for: `--sizes 10,1k --kinds mix --ms 50`.
pub struct Options {
    /// Each option with its list.
    given: BTreeMap<String, Vec<String>>,
}

impl Options {
    /// Reads the command line. `known` are the options there are, each with its default.
    #[must_use]
    pub fn read(known: &[(&str, &str)]) -> Self {
        let list = |text: &str| text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
        let mut given: BTreeMap<String, Vec<String>> =
            known.iter().map(|(name, default)| ((*name).to_owned(), list(default))).collect();
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next();
            let own = word.strip_prefix("--").and_then(|name| given.get_mut(name));
            if let (Some(own), Some(value)) = (own, value) {
                *own = list(&value);
                continue;
            }
            let options: Vec<String> =
                known.iter().map(|(name, default)| format!("--{name} {default}")).collect();
            eprintln!("options, with their defaults: {}", options.join(" "));
            std::process::exit(2);
        }
        Self { given }
    }

    /// The list of an option.
    #[must_use]
    pub fn list(&self, name: &str) -> &[String] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether an option's list has an element.
    #[must_use]
    pub fn has(&self, name: &str, element: &str) -> bool {
        self.list(name).iter().any(|one| one == element)
    }

    /// The numbers of an option.
    #[must_use]
    pub fn numbers(&self, name: &str) -> Vec<usize> {
        self.list(name).iter().map(|text| number(text)).collect()
    }

    /// The one number of an option.
    #[must_use]
    pub fn number(&self, name: &str) -> usize {
        self.numbers(name).first().copied().unwrap_or_default()
    }
}

/// A number with an optional `k` or `M`.
fn number(text: &str) -> usize {
    let (digits, unit) = match (text.strip_suffix('k'), text.strip_suffix('M')) {
        (Some(digits), _) => (digits, 1_000),
        (_, Some(digits)) => (digits, 1_000_000),
        _ => (text, 1),
    };
    let Ok(number) = digits.parse::<usize>() else {
        eprintln!("{text} is not a number");
        std::process::exit(2);
    };
    number * unit
}

/// A size as a column is named: 10, 1k, 100k, 1M.
#[must_use]
pub fn short(size: usize) -> String {
    match size {
        _ if size >= 1_000_000 && size.is_multiple_of(1_000_000) => format!("{}M", size / 1_000_000),
        _ if size >= 1_000 && size.is_multiple_of(1_000) => format!("{}k", size / 1_000),
        _ => size.to_string(),
    }
}

/// Nanoseconds, or any number, with as many digits as are worth reading.
#[must_use]
pub fn figure(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.1}");
    }
    let mut digits = format!("{value:.0}");
    let mut at = digits.len();
    while at > 3 {
        at -= 3;
        digits.insert(at, ',');
    }
    digits
}

/// A time with its unit.
#[must_use]
pub fn time(took: Duration) -> String {
    match took.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 1e-3 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.1} µs", seconds * 1e6),
    }
}

/// Rows under columns, printed as Markdown.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|column| (*column).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Prints all of it, the columns in line.
    pub fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|at| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(at))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::from("|");
            for (at, width) in widths.iter().enumerate() {
                let cell = row.get(at).map_or("", String::as_str);
                let _ = write!(line, " {cell}{} |", " ".repeat(width - cell.chars().count()));
            }
            println!("{line}");
            if index == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
                println!("|{}|", rules.join("|"));
            }
        }
    }
}
