//! Load on a gateway of this host, and what it leaves behind. Run by `tests/load.sh`; standard library only.
//!
//! ```text
//! load GATEWAY IDLE ACTIVE CONNECTS
//! ```
//! Everything is on loopback and ends by itself. Exit code 1: something leaked, or a byte was wrong.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The bytes that each active tunnel carries in each direction.
const CARRIED: usize = 256 * 1024;
/// Short tunnels before the base is measured.
const WARM_UP: usize = 8192;
/// Clients at once while the rate of new tunnels is measured.
const AT_ONCE: usize = 64;

/// A running gateway.
struct Gateway {
    child: Child,
    proxy: SocketAddr,
    admin: SocketAddr,
}

/// What the gateway uses at one moment.
#[derive(Clone, Copy)]
struct Usage {
    kib: usize,
    descriptors: usize,
    threads: usize,
}

impl Gateway {
    /// Starts the binary with a policy that allows one origin.
    fn start(binary: &str, directory: &std::path::Path, origin: SocketAddr) -> Self {
        fs::write(directory.join("policy.yaml"), format!("mode: Limited\nhostRules: ['{origin}']\n"))
            .unwrap();
        let config = "policy: {path: policy.yaml}\nguards: {exempt: [127.0.0.8/29]}\n\
                      audit: {sinks: [{file: {path: audit.jsonl}}]}\nlimits: {connections: 20000}\n";
        fs::write(directory.join("config.yaml"), config).unwrap();
        let mut child = Command::new(binary)
            .args(["run", "--config", "config.yaml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut addresses = Vec::new();
        while addresses.len() < 2 {
            let line = log.next().expect("the gateway listens").unwrap();
            if line.contains("is listening") {
                addresses.push(line.rsplit_once("address=").unwrap().1.parse().unwrap());
            }
        }
        thread::spawn(move || log.for_each(drop));
        Self { child, proxy: addresses[0], admin: addresses[1] }
    }

    /// What it uses.
    fn usage(&self) -> Usage {
        let id = self.child.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the gateway runs");
        let field = |name: &str| -> usize {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
        Usage { kib: field("VmRSS:"), descriptors, threads: field("Threads:") }
    }

    /// How many connections it says are open.
    fn active(&self) -> usize {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\nhost: {}\r\n\r\n", self.admin).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("sluicegate_connections_active{"));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum()
    }

    /// Opens a tunnel.
    fn tunnel(&self, origin: SocketAddr) -> TcpStream {
        open(self.proxy, origin)
    }

    /// Waits until it has no more descriptors than this, which no event tells, and answers what it uses then.
    fn settled(&self, descriptors: usize) -> Usage {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.active() == 0 && self.usage().descriptors <= descriptors {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.steady()
    }

    /// Waits until its memory stands still, and answers what it uses then. That, too, is seen by looking only.
    fn steady(&self) -> Usage {
        let (mut usage, mut still) = (self.usage(), 0);
        for _ in 0..80 {
            thread::sleep(Duration::from_millis(250));
            let now = self.usage();
            still = if now.kib.abs_diff(usage.kib) <= usage.kib / 500 { still + 1 } else { 0 };
            usage = now;
            // Longer than two of the gateway's own intervals for giving memory back: one may find it busy still.
            if still == 18 {
                break;
            }
        }
        usage
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a tunnel through a proxy.
fn open(proxy: SocketAddr, origin: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).expect("the gateway takes a connection");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// The origin holds what it accepts.
const HOLD: u8 = 0;
/// The origin echoes.
const ECHO: u8 = 1;
/// The origin closes what it accepts.
const CLOSE: u8 = 2;

/// An origin that does with each connection what it is told at the time.
struct Origin {
    address: SocketAddr,
    does: Arc<AtomicU8>,
    held: Arc<std::sync::Mutex<Vec<TcpStream>>>,
    accepted: Arc<AtomicUsize>,
}

impl Origin {
    /// Listens.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.8:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (does, accepted) = (Arc::new(AtomicU8::new(HOLD)), Arc::new(AtomicUsize::new(0)));
        let held = Arc::<std::sync::Mutex<Vec<TcpStream>>>::default();
        let origin = Self {
            address,
            does: Arc::clone(&does),
            held: Arc::clone(&held),
            accepted: Arc::clone(&accepted),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                accepted.fetch_add(1, Ordering::Relaxed);
                let does = does.load(Ordering::Relaxed);
                if does == ECHO {
                    let work = move || {
                        let mut buffer = [0; 8192];
                        while let Ok(length @ 1..) = stream.read(&mut buffer) {
                            if stream.write_all(&buffer[..length]).is_err() {
                                return;
                            }
                        }
                    };
                    thread::Builder::new().stack_size(64 * 1024).spawn(work).unwrap();
                } else if does == HOLD {
                    held.lock().unwrap().push(stream);
                }
            }
        });
        origin
    }

    /// Lets go of what it holds.
    fn release(&self) {
        self.held.lock().unwrap().clear();
    }
}

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
    let gateway = Gateway::start(binary, &directory, origin.address);

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
