//! What interception costs, beside other proxies that can do it. Run by `tests/load.sh intercept`.
//!
//! ```text
//! intercept ROUNDS SECONDS GATEWAY [GATEWAY]
//! ```
//! Everybody takes a turn in every round, and the median of the rounds counts. A second gateway, of another commit, takes
//! turns too. `MITMPROXY` and `SQUID` are directories in which
//! others are. Loopback only; ends by itself.
#![allow(missing_docs, unreachable_pub, dead_code, reason = "a program, and a kit that serves others too")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "load: what is not as expected ends it"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

mod client;
#[path = "../kit.rs"]
mod kit;
mod origin;
mod rivals;
mod wire;

use client::{Turn, Way, Work, turn};
use kit::{family, spent};
use rivals::{Place, Rival};

/// What is done: its name, the work, clients at once, and how often each at most.
const TASKS: [(&str, Work, usize, u64); 9] = [
    ("kept, HTTP/1.1", Work::Kept, 64, u64::MAX),
    ("kept, HTTP/2", Work::Streams, 64, u64::MAX),
    ("new connections", Work::New, 16, u64::MAX),
    ("resumed", Work::Resumed, 16, u64::MAX),
    ("cold hosts", Work::Cold, 16, u64::MAX),
    ("64 KiB down", Work::Down(64 << 10), 16, u64::MAX),
    ("64 KiB up", Work::Up(64 << 10), 16, u64::MAX),
    ("256 MiB down", Work::Down(256 << 20), 1, 1),
    ("256 MiB up", Work::Up(256 << 20), 1, 1),
];

/// What the rounds of one came to.
#[derive(Default)]
struct Row {
    rates: Vec<f64>,
    /// Processor time for a thousand, in milliseconds.
    costs: Vec<f64>,
    resident: usize,
    turns: Turn,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rounds, seconds, binaries @ ..] = &arguments[..] else {
        panic!("intercept ROUNDS SECONDS GATEWAY [GATEWAY]")
    };
    let (rounds, seconds) = (rounds.parse().expect("a number"), seconds.parse().expect("seconds"));
    let directory = std::env::temp_dir().join(format!("sluicegate-intercept-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let failed = runtime.block_on(run(&directory, binaries, rounds, Duration::from_secs_f64(seconds)));
    let _ = std::fs::remove_dir_all(&directory);
    ExitCode::from(u8::from(failed))
}

/// Starts everybody and has them take turns; whether ours failed anything.
async fn run(directory: &Path, binaries: &[String], rounds: usize, long: Duration) -> bool {
    let (origin, root) = origin::start().await;
    std::fs::write(directory.join("root.pem"), &root).unwrap();
    let made = Command::new(&binaries[0])
        .args(["ca", "init", "ca"])
        .current_dir(directory)
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "a sandbox CA is made");
    for entry in std::fs::read_dir(directory.join("ca")).unwrap() {
        let path = entry.unwrap().path();
        let is_key = std::fs::read_to_string(&path).unwrap().contains("PRIVATE KEY");
        std::fs::copy(&path, directory.join(if is_key { "ca.key" } else { "ca.pem" })).unwrap();
    }
    let place = Place { directory, origin };
    let mut roots = RootCertStore::empty();
    for text in [root, place.text("ca.pem")] {
        roots.add(CertificateDer::from_pem_slice(text.as_bytes()).unwrap()).unwrap();
    }
    let way = |rival: &Rival, roots| Way { proxy: rival.proxy, origin, roots };
    let (rivals, roots) = (everybody(&place, binaries), Arc::new(roots));
    let wanted = std::env::var("TASKS").unwrap_or_default();
    let mut failed = false;
    for (what, work, clients, most) in TASKS.into_iter().filter(|task| task.0.contains(wanted.trim())) {
        let mut rows: Vec<Row> = rivals.iter().map(|_| Row::default()).collect();
        // The first round of each warms up, and is not counted.
        for round in 0..=rounds {
            for (rival, row) in rivals.iter().zip(&mut rows) {
                if work == Work::Streams && !rival.http2 {
                    continue;
                }
                let long = if round == 0 { long / 4 } else { long };
                let mut before = 0;
                let begin = || before = rival.id.map_or(0, used);
                let turn = turn(&way(rival, Arc::clone(&roots)), work, (clients, most), long, begin).await;
                let cost = rival.id.map_or(0, used) - before;
                if round > 0 {
                    row.add(turn, cost, rival.id);
                } else if let Some(error) = turn.error {
                    row.turns.error = Some(error);
                    row.turns.failed += turn.failed;
                }
            }
        }
        failed |= table(what, work, &rivals, &mut rows);
    }
    failed
}

/// Everybody that can be had.
fn everybody(place: &Place<'_>, binaries: &[String]) -> Vec<Rival> {
    let mut all = vec![rivals::nobody(), rivals::ours(place, &binaries[0], "Sluicegate")];
    if let Some(other) = binaries.get(1) {
        all.push(rivals::ours(place, other, "the other"));
    }
    let at = |variable: &str, file: &str| {
        let path = PathBuf::from(std::env::var_os(variable)?);
        path.join(file).exists().then_some(path)
    };
    let others = [
        ("Squid", at("SQUID", "usr/sbin/squid").map(|root| rivals::squid(place, &root))),
        ("mitmproxy", at("MITMPROXY", "bin/mitmdump").map(|root| rivals::mitmproxy(place, &root))),
    ];
    for (name, rival) in others {
        match rival {
            Some(Ok(rival)) => all.push(rival),
            Some(Err(error)) => println!("SKIPPED {name}: {error}"),
            None => println!("SKIPPED {name}: it is not on this machine"),
        }
    }
    all
}

/// The processor time of a process and its children so far, in milliseconds.
fn used(id: u32) -> usize {
    family(id).into_iter().map(|id| spent(id).1).sum()
}

impl Row {
    /// Adds a turn, and what the proxy needed for it.
    fn add(&mut self, turn: Turn, cost: usize, id: Option<u32>) {
        self.rates.push(turn.done as f64 / turn.took.as_secs_f64());
        self.costs.push(cost as f64 * 1e3 / turn.done.max(1) as f64);
        let resident = id.map_or(0, |id| family(id).into_iter().map(|id| spent(id).0).sum());
        self.resident = self.resident.max(resident);
        self.turns.done += turn.done;
        self.turns.failed += turn.failed;
        self.turns.resumed += turn.resumed;
        self.turns.error = self.turns.error.take().or(turn.error);
    }
}

/// The value in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Prints what came of a task; whether ours failed at it.
fn table(what: &str, work: Work, rivals: &[Rival], rows: &mut [Row]) -> bool {
    // A large body is told in MB/s, and its cost for a GB.
    let (unit, cost_unit, size) = match work {
        Work::Down(size) | Work::Up(size) => ("MB/s", "CPU ms/GB", size as f64 / 1e6),
        Work::Kept | Work::Streams | Work::New | Work::Resumed | Work::Cold => ("a second", "CPU ms/1k", 1.0),
    };
    println!(
        "{what:<16} {unit:>10} {:>9} {:>9} {cost_unit:>10} {:>8} {:>7}",
        "of none", "ours/it", "RSS MiB", "failed"
    );
    let rates: Vec<f64> = rows.iter_mut().map(|row| median(&mut row.rates) * size).collect();
    let mut failed = false;
    for ((rival, row), rate) in rivals.iter().zip(rows).zip(&rates) {
        if row.rates.is_empty() || *rate == 0.0 {
            println!(
                "  {:<14} {:>10}  {}",
                rival.name,
                "-",
                row.turns.error.as_deref().unwrap_or("not with clients")
            );
            continue;
        }
        let cost = median(&mut row.costs) / size;
        let resumed = if row.turns.resumed > 0 {
            format!("  {:.0} % resumed", row.turns.resumed as f64 * 100.0 / row.turns.done as f64)
        } else {
            String::new()
        };
        println!(
            "  {:<14} {rate:>10.0} {:>9.2} {:>9.2} {cost:>10.0} {:>8} {:>7}{resumed}  {}",
            rival.name,
            rate / rates[0],
            rates[1] / rate,
            row.resident / 1024,
            row.turns.failed,
            row.turns.error.as_deref().unwrap_or_default()
        );
        failed |= row.turns.failed > 0 && matches!(rival.name, "Sluicegate");
    }
    println!();
    failed
}
