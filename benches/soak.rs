//! Whether the compiled decision is the naive one, over and over.
//!
//! `cargo bench --no-default-features --features oracle --bench soak`; `SOAK=5000000` decisions instead of a hundred
//! million, `SEED=7` to begin elsewhere. Prints the first difference as a document of `tests/corpus` and fails.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for the terminal and its environment"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sluicegate::policy::oracle::{Case, Choices};

/// How many decisions without being told.
const DECISIONS: u64 = 100_000_000;

/// The number in a variable of the environment.
fn variable(name: &str, default: u64) -> Result<u64, String> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text.replace('_', "").parse().map_err(|_| format!("{name}={text} is not a number")),
    }
}

/// Compares until enough decisions were made; how many, or the first difference.
fn run() -> Result<(u64, u64), String> {
    let (wanted, first) = (variable("SOAK", DECISIONS)?, variable("SEED", 1)?);
    let (seed, asked) = (AtomicU64::new(first), AtomicU64::new(0));
    let failure = Mutex::new(None);
    let work = || {
        while asked.load(Ordering::Relaxed) < wanted {
            let seed = seed.fetch_add(1, Ordering::Relaxed);
            match Case::draw(&mut Choices::Seed(seed)).compare() {
                Ok(decisions) => asked.fetch_add(decisions, Ordering::Relaxed),
                Err(difference) => {
                    if let Ok(mut failure) = failure.lock() {
                        failure.get_or_insert_with(|| format!("{difference}\n# SEED={seed}"));
                    }
                    asked.fetch_max(wanted, Ordering::Relaxed)
                }
            };
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let policies = seed.load(Ordering::Relaxed) - first;
    let failure = failure.into_inner().map_err(|_| "a thread panicked".to_owned())?;
    failure.map_or_else(|| Ok((asked.load(Ordering::Relaxed), policies)), Err)
}

fn main() -> ExitCode {
    let begun = Instant::now();
    match run() {
        Ok((decisions, policies)) => {
            let took = begun.elapsed().as_secs_f64();
            println!("{decisions} decisions of {policies} policies are the naive ones, in {took:.0} s");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
