//! A gateway, an origin and the tunnels between them, for load on this host. Standard library only.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A running gateway.
pub struct Gateway {
    child: Child,
    pub proxy: SocketAddr,
    admin: SocketAddr,
}

/// What the gateway uses at one moment.
#[derive(Clone, Copy)]
pub struct Usage {
    pub kib: usize,
    pub descriptors: usize,
    pub threads: usize,
}

impl Gateway {
    /// Starts the binary with the `policy.yaml` that is in a directory.
    pub fn start(binary: &str, directory: &Path) -> Self {
        Self::start_with(binary, directory, "")
    }

    /// The same, with more lines in its configuration.
    pub fn start_with(binary: &str, directory: &Path, more: &str) -> Self {
        let config = "policy: {path: policy.yaml}\nguards: {exempt: [127.0.0.8/29]}\n\
                      audit: {sinks: [{file: {path: audit/log.jsonl}}]}\nlimits: {connections: 20000}\n";
        fs::write(directory.join("config.yaml"), format!("{config}{more}")).unwrap();
        // Beside a file that is watched, each line would be looked at for a change of that.
        fs::create_dir(directory.join("audit")).unwrap();
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

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it uses.
    pub fn usage(&self) -> Usage {
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
    pub fn active(&self) -> usize {
        self.metric("sluicegate_connections_active{")
    }

    /// The sum of the metrics whose lines start so.
    pub fn metric(&self, start: &str) -> usize {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\nhost: {}\r\n\r\n", self.admin).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap()).sum()
    }

    /// Opens a tunnel.
    pub fn tunnel(&self, origin: SocketAddr) -> TcpStream {
        open(self.proxy, origin)
    }

    /// Waits until it has no more descriptors than this, which no event tells, and answers what it uses then.
    pub fn settled(&self, descriptors: usize) -> Usage {
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
    pub fn steady(&self) -> Usage {
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

/// What a process has used: resident memory in KiB, and processor time in milliseconds; nothing where there is none.
pub fn spent(id: u32) -> (usize, usize) {
    let proc = Path::new("/proc").join(id.to_string());
    let read = |name: &str| fs::read_to_string(proc.join(name)).ok();
    let (Some(status), Some(stat)) = (read("status"), read("stat")) else { return (0, 0) };
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    let resident = resident.trim_end_matches("kB").trim().parse().unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    // The kernel counts in hundredths of a second.
    let ticks = |at: usize| fields[at].parse::<usize>().unwrap();
    (resident, (ticks(11) + ticks(12)) * 10)
}

/// A process and those that it started, and they in turn.
pub fn family(id: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(id).chain(children.flat_map(family)).collect()
}

/// Opens a tunnel through a proxy.
pub fn open(proxy: SocketAddr, origin: SocketAddr) -> TcpStream {
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
pub const HOLD: u8 = 0;
/// The origin echoes.
pub const ECHO: u8 = 1;
/// The origin closes what it accepts.
pub const CLOSE: u8 = 2;

/// An origin that does with each connection what it is told at the time.
pub struct Origin {
    pub address: SocketAddr,
    pub does: Arc<AtomicU8>,
    held: Arc<std::sync::Mutex<Vec<TcpStream>>>,
    pub accepted: Arc<AtomicUsize>,
}

impl Origin {
    /// Listens.
    pub fn start() -> Self {
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
    pub fn release(&self) {
        self.held.lock().unwrap().clear();
    }
}
