//! Load on a gateway of this host, and what it leaves behind. Run by `tests/load.sh`; standard library only.
//!
//! ```text
//! load GATEWAY IDLE ACTIVE CONNECTS
//! ```
//! Everything is on loopback and ends by itself. Exit code 1: something leaked, or a byte was wrong.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

mod kit;

use kit::{CLOSE, ECHO, Gateway, HOLD, Origin, Usage, open};

/// The bytes that each active tunnel carries in each direction.
const CARRIED: usize = 256 * 1024;
/// Short tunnels before the base is measured.
const WARM_UP: usize = 8192;
/// Clients at once while the rate of new tunnels is measured.
const AT_ONCE: usize = 64;

/// Holds idle tunnels, then closes them.
fn idle(gateway: &Gateway, origin: &Origin, count: usize, before: Usage) -> (Usage, Usage) {
    let already = origin.accepted.load(Ordering::Relaxed);
    let mut tunnels = Vec::with_capacity(count);
    for _ in 0..count {
        let mut tunnel = gateway.tunnel(origin.address);
        // What a tunnel is after its first bytes were looked at.
        tunnel.write_all(b"\x01first").unwrap();
        tunnels.push(tunnel);
    }
    assert_eq!(origin.accepted.load(Ordering::Relaxed) - already, count);
    let peak = gateway.steady();
    assert_eq!(gateway.active(), count, "every tunnel is open");
    drop(tunnels);
    origin.release();
    (peak, gateway.settled(before.descriptors))
}

/// Carries bytes on many tunnels at once; answers MB/s, both directions together.
fn active(gateway: &Gateway, origin: &Origin, count: usize) -> f64 {
    origin.does.store(ECHO, Ordering::Relaxed);
    let tunnels: Vec<TcpStream> = (0..count).map(|_| gateway.tunnel(origin.address)).collect();
    let begun = Instant::now();
    let work = tunnels.into_iter().enumerate().map(|(number, mut tunnel)| {
        let verify = move || {
            let byte = |at: usize| u8::try_from((at * 7 + number * 13 + at / 251) % 251).unwrap() | 1;
            let mut done = 0;
            while done < CARRIED {
                let piece: Vec<u8> = (done..done + 4096).map(byte).collect();
                tunnel.write_all(&piece).unwrap();
                let mut back = vec![0; piece.len()];
                tunnel.read_exact(&mut back).unwrap();
                assert!(back == piece, "tunnel {number} carried another byte at {done}");
                done += piece.len();
            }
        };
        thread::Builder::new().stack_size(128 * 1024).spawn(verify).unwrap()
    });
    let work: Vec<_> = work.collect();
    work.into_iter().for_each(|one| one.join().expect("every byte is right"));
    #[allow(clippy::cast_precision_loss)]
    let megabytes = (2 * CARRIED * count) as f64 / 1e6;
    origin.does.store(HOLD, Ordering::Relaxed);
    megabytes / begun.elapsed().as_secs_f64()
}

/// Opens and closes tunnels; answers how many a second, and the slowest one.
fn connects(gateway: &Gateway, origin: &Origin, count: usize) -> (f64, Duration) {
    origin.does.store(CLOSE, Ordering::Relaxed);
    let begun = Instant::now();
    let (proxy, address) = (gateway.proxy, origin.address);
    let work: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            thread::spawn(move || {
                let mut slowest = Duration::ZERO;
                for _ in 0..count / AT_ONCE {
                    let begun = Instant::now();
                    drop(open(proxy, address));
                    slowest = slowest.max(begun.elapsed());
                }
                slowest
            })
        })
        .collect();
    let slowest = work.into_iter().map(|one| one.join().unwrap()).max().unwrap();
    let rate = (count / AT_ONCE * AT_ONCE) as f64 / begun.elapsed().as_secs_f64();
    origin.does.store(HOLD, Ordering::Relaxed);
    (rate, slowest)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [binary, numbers @ ..] = &arguments[..] else { panic!("load GATEWAY IDLE ACTIVE CONNECTS") };
    let numbers: Vec<usize> = numbers.iter().map(|number| number.parse().expect("a number")).collect();
    let [many, busy, rounds] = numbers[..] else { panic!("load GATEWAY IDLE ACTIVE CONNECTS") };
    let directory = std::env::temp_dir().join(format!("sluicegate-load-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let origin = Origin::start();
    let policy = format!("mode: Limited\nhostRules: ['{}']\n", origin.address);
    fs::write(directory.join("policy.yaml"), policy).unwrap();
    let gateway = Gateway::start(binary, &directory);

    let row = |what: &str, usage: Usage, note: &str| {
        println!("{what:<34} {:>9} {:>6} {:>8}  {note}", usage.kib, usage.descriptors, usage.threads);
    };
    println!("{:<34} {:>9} {:>6} {:>8}", "", "RSS KiB", "fds", "threads");
    row("started", gateway.steady(), "");
    // Enough to fill what is bounded and kept: the recent audit records and the tables of the busiest.
    let started = gateway.usage().descriptors;
    connects(&gateway, &origin, WARM_UP);
    let base = gateway.settled(started + 8);
    row("base, after 8,192 short tunnels", base, "");
    let (peak, after) = idle(&gateway, &origin, many, base);
    #[allow(clippy::cast_precision_loss)]
    let each = (peak.kib - base.kib) as f64 / many as f64;
    row(&format!("{many} idle tunnels"), peak, &format!("{each:.2} KiB a tunnel"));
    row("closed", after, "");
    let (peak_again, after_again) = idle(&gateway, &origin, many, base);
    row(&format!("{many} idle tunnels again"), peak_again, "");
    row("closed", after_again, "");
    let rate = active(&gateway, &origin, busy);
    let after_active = gateway.settled(base.descriptors);
    row(
        &format!("{busy} active tunnels, closed"),
        after_active,
        &format!("{rate:.0} MB/s, every byte verified"),
    );
    let (rate, slowest) = connects(&gateway, &origin, rounds);
    let end = gateway.settled(base.descriptors);
    row(
        &format!("{rounds} CONNECTs by {AT_ONCE}, closed"),
        end,
        &format!("{rate:.0}/s, slowest {slowest:.0?}"),
    );
    drop(gateway);
    let _ = fs::remove_dir_all(&directory);

    let mut failed = false;
    for (holds, what) in [
        (end.descriptors <= base.descriptors, "no descriptor is left open"),
        (end.threads <= base.threads + 2, "no thread is left"),
        (peak_again.kib <= peak.kib + peak.kib / 10, "a second round needs no more memory than the first"),
        (
            end.kib <= after.kib + after.kib / 10,
            "memory at the end is within 10 % of that after the first round",
        ),
        (base.kib <= 16 * 1024, "the base takes at most 16 MiB"),
    ] {
        failed |= !holds;
        println!("{} {what}", if holds { "ok  " } else { "FAIL" });
    }
    // What an allocator keeps for later is no leak, but it is not given back either.
    for (holds, what) in [
        (each <= 3.3, "aim: an idle tunnel takes at most 3.3 KiB"),
        (after_again.kib <= base.kib + base.kib / 10, "aim: memory is given back to within 10 % of the base"),
    ] {
        println!("{} {what}", if holds { "ok  " } else { "miss" });
    }
    std::process::exit(i32::from(failed));
}
