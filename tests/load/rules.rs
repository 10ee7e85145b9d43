//! What a million rules cost a CONNECT, and what swapping them costs. Run by `tests/load.sh rules`.
//!
//! ```text
//! rules GATEWAY RULES
//! ```
//! Two gateways take turns: one with ten rules, one with many. Then the many are swapped while paced clients go on, and
//! their latencies meanwhile are compared with those of as long a time before. Loopback only; ends by itself.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

mod kit;

use kit::{CLOSE, Gateway, Origin, PATIENCE, open};

/// The rules of the small policy.
const FEW: usize = 10;
/// How often the two gateways take turns.
const ROUNDS: usize = 8;
/// The tunnels of a turn.
const TURN: usize = 4_000;
/// Clients at once in a turn.
const AT_ONCE: usize = 64;
/// Clients at once while rules are swapped, and the pause between two tunnels of one.
const PACED: (usize, Duration) = (4, Duration::from_millis(8));
/// The swaps that are watched.
const SWAPS: usize = 5;

/// Writes a policy with so many rules, the origin's among them; `version` makes it another one each time.
fn write(directory: &Path, origin: SocketAddr, rules: usize, version: usize) {
    let mut text = format!("mode: Limited\nhostRules:\n- '{origin}'\n- v{version}.example.com\n");
    for rule in 2..rules {
        let star = if rule % 2 == 0 { "'*." } else { "'" };
        text += &format!("- {star}host-{rule}.zone-{}.example'\n", rule % 50_000);
    }
    let draft = directory.join("policy.draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, directory.join("policy.yaml")).unwrap();
}

/// The value that so many of a hundred are below.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

/// Opens and closes tunnels as fast as they come; answers how many a second, and how long each took, in order.
fn turn(gateway: &Gateway, origin: SocketAddr) -> (f64, Vec<Duration>) {
    let (begun, proxy) = (Instant::now(), gateway.proxy);
    let clients: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            thread::spawn(move || -> Vec<Duration> {
                let one = || {
                    let begun = Instant::now();
                    drop(open(proxy, origin));
                    begun.elapsed()
                };
                (0..TURN / AT_ONCE).map(|_| one()).collect()
            })
        })
        .collect();
    let mut took: Vec<Duration> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    took.sort_unstable();
    #[allow(clippy::cast_precision_loss)]
    (took.len() as f64 / begun.elapsed().as_secs_f64(), took)
}

/// Clients that open a tunnel now and then until they are told to stop.
struct Paced {
    stop: Arc<AtomicBool>,
    took: Arc<Mutex<Vec<Duration>>>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Paced {
    fn start(proxy: SocketAddr, origin: SocketAddr) -> Self {
        let (stop, took) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Duration>>>::default());
        let client = |_| {
            let (stop, took) = (Arc::clone(&stop), Arc::clone(&took));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    drop(open(proxy, origin));
                    took.lock().unwrap().push(begun.elapsed());
                    thread::sleep(PACED.1.saturating_sub(begun.elapsed()));
                }
            })
        };
        let clients = (0..PACED.0).map(client).collect();
        Self { stop, took, clients }
    }

    /// What came since the last time.
    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.took.lock().unwrap())
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [binary, many] = &arguments[..] else { panic!("rules GATEWAY RULES") };
    let many: usize = many.parse().expect("a number");
    let directory = std::env::temp_dir().join(format!("sluicegate-rules-{}", std::process::id()));
    let origin = Origin::start();
    origin.does.store(CLOSE, Ordering::Relaxed);
    let gateways = [FEW, many].map(|rules| {
        let own = directory.join(rules.to_string());
        fs::create_dir_all(&own).unwrap();
        write(&own, origin.address, rules, 0);
        let begun = Instant::now();
        let gateway = Gateway::start(binary, &own);
        println!("{rules:>9} rules: listens after {:.1?}, {} KiB", begun.elapsed(), gateway.usage().kib);
        gateway
    });
    let mut rates = [Vec::new(), Vec::new()];
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for ((gateway, rates), all) in gateways.iter().zip(&mut rates).zip(&mut all) {
            let (rate, took) = turn(gateway, origin.address);
            rates.push(rate);
            all.extend(took);
        }
    }
    for (((rates, all), rules), gateway) in rates.iter_mut().zip(&mut all).zip([FEW, many]).zip(&gateways) {
        rates.sort_unstable_by(f64::total_cmp);
        all.sort_unstable();
        let (median, p50, p99) = (rates[ROUNDS / 2], percentile(all, 50), percentile(all, 99));
        println!(
            "{rules:>9} rules: {median:.0} CONNECTs a second, p50 {p50:.1?}, p99 {p99:.1?}, {} KiB",
            gateway.usage().kib
        );
    }
    println!("{:>9.2} of the rate with {FEW} rules", rates[1][ROUNDS / 2] / rates[0][ROUNDS / 2]);

    let [_, gateway] = &gateways;
    let generation = || gateway.metric("sluicegate_policy_generation");
    let paced = Paced::start(gateway.proxy, origin.address);
    let (mut calm, mut meanwhile) = (Vec::new(), Vec::new());
    for version in 1..=SWAPS {
        let (before, begun) = (generation(), Instant::now());
        paced.take();
        write(&directory.join(many.to_string()), origin.address, many, version);
        let written = Instant::now();
        paced.take();
        while generation() == before {
            assert!(written.elapsed() < PATIENCE, "the rules are swapped");
            thread::sleep(Duration::from_millis(5));
        }
        let took = written.elapsed();
        meanwhile.extend(paced.take());
        // As long again without a swap, once what it left behind is done.
        thread::sleep(Duration::from_secs(2));
        paced.take();
        thread::sleep(took);
        calm.extend(paced.take());
        println!("swap {version}: in force {took:.1?} after it was written, {:.1?} in all", begun.elapsed());
    }
    paced.stop();
    for (what, took) in [("no swap", &mut calm), ("a swap", &mut meanwhile)] {
        took.sort_unstable();
        let [p50, p90, p99, most] = [50, 90, 99, 100].map(|percent| percentile(took, percent));
        println!(
            "{what:>9}: {} CONNECTs, p50 {p50:.1?}, p90 {p90:.1?}, p99 {p99:.1?}, slowest {most:.1?}",
            took.len()
        );
    }
    let ratio = percentile(&meanwhile, 99).as_secs_f64() / percentile(&calm, 99).as_secs_f64();
    println!("{ratio:>9.2} of the p99 without a swap");
    drop(gateways);
    let _ = fs::remove_dir_all(&directory);
}
