//! Many new connections at once through network namespaces, redirected and by CONNECT in turn. Run as root by
//! `tests/load.sh transparent`.
//!
//! ```text
//! transparent GATEWAY CONNECTIONS ROUNDS NAME
//! ```
//! Three namespaces: a sandbox, the gateway with the rules that it prints, an internet with a name server and an origin that
//! echoes. Both ways in lead to the same origin by the same name, look it up, and are judged by the same first bytes. A
//! connection takes from its first packet to the first byte of the origin. Everything is gone at the end.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

mod kit;

use kit::spent;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a thread that only waits needs.
const STACK: usize = 64 * 1024;
/// How many origins there are, each with a name of its own: a listener of the standard library has 128 places to wait in.
const ORIGINS: usize = 32;
/// Where the sandbox goes when it knows no proxy; nobody is there.
const FOREIGN: &str = "93.184.217.66:443";
/// Where it goes when it knows one.
const PROXY: &str = "10.200.1.1:3128";
/// The ways in.
const WAYS: [&str; 2] = ["redirected", "CONNECT"];

/// The gateway's configuration; no limit is met.
const CONFIG: &str = r#"
policy: {path: policy.yaml}
listeners:
  - {address: "0.0.0.0:3128", kind: Explicit}
  - {address: "0.0.0.0:15001", kind: Transparent}
  - {address: "0.0.0.0:15053", kind: Dns}
admin: {address: "127.0.0.1:9901"}
dns: {servers: ["93.184.217.53:53"]}
sandboxes: [{id: one, sources: [10.200.1.2/32]}]
capture: {interfaces: [{name: sbx1, sandbox: one}]}
limits: {connections: 20000, perSandbox: {connections: 20000, dnsQueries: 20000, dnsQueriesPerSecond: 1000000}}
audit: {sinks: [{file: {path: audit.jsonl}}]}
"#;

/// A `ClientHello` for this server, in one record.
fn hello(name: &str) -> Vec<u8> {
    let vector = |data: &[u8]| [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat();
    let list = vector(&[&[0][..], &vector(name.as_bytes())].concat());
    let extensions = [&[0, 0][..], &vector(&list)].concat();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &vector(&extensions)].concat();
    let message = [&[1], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], &body].concat();
    [&[22, 3, 1][..], &vector(&message)].concat()
}

/// An origin that echoes.
fn origin(listener: TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let echo = move || {
            let mut bytes = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut bytes) {
                if stream.write_all(&bytes[..length]).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().stack_size(STACK).spawn(echo).unwrap();
    }
}

/// The internet: a name server, and its origins.
fn internet() -> ExitCode {
    let dns = UdpSocket::bind("93.184.217.53:53").unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = dns.recv_from(&mut query) {
            // The question ends four bytes behind the zero of its name; what follows it is left out.
            let end = 12 + query[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_a = query[end - 4..end] == [0, 1, 0, 1];
            let none = u8::from(!is_a);
            let head = [query[0], query[1], 0x81, 0x80, 0, 1, 0, 1 - none, 0, none, 0, 0];
            // A label of its own for each origin: `o7`.
            let number: u8 =
                String::from_utf8_lossy(&query[14..13 + usize::from(query[12])]).parse().unwrap();
            let address = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 93, 184, 217, 100 + number];
            // An SOA record, for how long there is none.
            let start =
                [0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22].into_iter().chain([0; 18]).chain([0, 0, 0, 60]);
            let record = if is_a { address.to_vec() } else { start.collect() };
            dns.send_to(&[&head[..], &query[12..end], &record].concat(), from).unwrap();
        }
    });
    let listen = |number| TcpListener::bind(format!("93.184.217.{}:443", 100 + number)).unwrap();
    let origins: Vec<_> =
        (0..ORIGINS).map(listen).map(|listener| thread::spawn(|| origin(listener))).collect();
    println!("ready");
    origins.into_iter().for_each(|origin| origin.join().unwrap());
    ExitCode::SUCCESS
}

/// One connection, held open afterwards; how long until the origin's first byte.
fn connect(way: &str, name: &str) -> std::io::Result<(Duration, TcpStream)> {
    let hello = hello(name);
    let begun = Instant::now();
    let mut stream = TcpStream::connect(if way == WAYS[0] { FOREIGN } else { PROXY })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = [0; 1024];
    if way != WAYS[0] {
        let ask = format!("CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n");
        stream.write_all(ask.as_bytes())?;
        let length = stream.read(&mut bytes)?;
        if !bytes[..length].starts_with(b"HTTP/1.1 200") {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    stream.write_all(&hello)?;
    stream.read_exact(&mut bytes[..hello.len()])?;
    let same = bytes[..hello.len()] == hello[..];
    if same { Ok((begun.elapsed(), stream)) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

/// The sandbox: for each line that names a way, so many connections at once; answers failures, the whole time and each
/// connection's, in microseconds. They are held until a line comes, so that memory can be looked at.
fn sandbox(count: usize) -> ExitCode {
    println!("ready");
    let mut lines = std::io::stdin().lines().map(Result::unwrap);
    while let Some(way) = lines.next() {
        let start = Arc::new(Barrier::new(count + 1));
        let clients: Vec<_> = (0..count)
            .map(|number| {
                let (start, way) = (Arc::clone(&start), way.clone());
                let name = format!("o{}.test", number % ORIGINS);
                let work = move || {
                    start.wait();
                    connect(&way, &name)
                };
                thread::Builder::new().stack_size(STACK).spawn(work).unwrap()
            })
            .collect();
        start.wait();
        let begun = Instant::now();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let whole = begun.elapsed().as_micros();
        let (good, failed): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
        let good: Vec<_> = good.into_iter().map(Result::unwrap).collect();
        let times: Vec<String> = good.iter().map(|(time, _)| time.as_micros().to_string()).collect();
        println!("{} {whole} {}", failed.len(), times.join(" "));
        lines.next();
        drop(good);
    }
    ExitCode::SUCCESS
}

/// Three namespaces; deleted when dropped, and by `tests/load.sh` when this is killed.
struct Net {
    name: String,
    directory: PathBuf,
}

impl Net {
    /// Namespaces and a directory of this name.
    fn new(name: &str) -> Self {
        let net = Self { name: name.to_owned(), directory: std::env::temp_dir().join(name) };
        fs::create_dir(&net.directory).unwrap();
        let [sbx, gate, out] = ["sbx", "gate", "net"].map(|place| net.place(place));
        net.ip(&format!("netns add {sbx}\nnetns add {gate}\nnetns add {out}\n"));
        net.ip(&format!(
            "-n {gate} link add sbx1 type veth peer name eth0 netns {sbx}
-n {gate} link add up0 type veth peer name eth0 netns {out}
-n {gate} addr add 10.200.1.1/24 dev sbx1
-n {gate} addr add 93.184.217.1/24 dev up0
-n {sbx} addr add 10.200.1.2/24 dev eth0
-n {out} addr add 93.184.217.53/24 dev eth0
-n {gate} link set lo up
-n {gate} link set sbx1 up
-n {gate} link set up0 up
-n {sbx} link set eth0 up
-n {out} link set eth0 up
-n {sbx} route add default via 10.200.1.1
"
        ));
        let origin = |number| format!("-n {out} addr add 93.184.217.{}/24 dev eth0\n", 100 + number);
        net.ip(&(0..ORIGINS).map(origin).collect::<String>());
        net
    }

    /// The name of a namespace.
    fn place(&self, place: &str) -> String {
        format!("{}-{place}", self.name)
    }

    /// Runs `ip`, a line each.
    fn ip(&self, lines: &str) {
        for line in lines.lines() {
            let ended = Command::new("ip").args(line.split_whitespace()).status().unwrap();
            assert!(ended.success(), "ip {line}");
        }
    }

    /// A command in a namespace.
    fn command(&self, place: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.place(place), program]).current_dir(&self.directory);
        command
    }

    /// Starts this program in another role and waits until it is ready.
    fn role(&self, place: &str, arguments: &[&str]) -> (Running, BufReader<std::process::ChildStdout>) {
        let own = std::env::current_exe().unwrap();
        let mut command = self.command(place, own.to_str().unwrap());
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        (Running(child), lines)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for place in ["sbx", "gate", "net"] {
            let _ = Command::new("ip").args(["netns", "del", &self.place(place)]).status();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the gateway, and loads the rules that it prints.
fn gateway(net: &Net, binary: &str) -> Running {
    fs::write(net.directory.join("config.yaml"), CONFIG).unwrap();
    fs::write(net.directory.join("policy.yaml"), "mode: Limited\nhostRules: ['*.test']\n").unwrap();
    let printed =
        net.command("gate", binary).args(["nft", "print", "--config", "config.yaml"]).output().unwrap();
    assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
    fs::write(net.directory.join("rules.nft"), printed.stdout).unwrap();
    assert!(net.command("gate", "nft").args(["-f", "rules.nft"]).status().unwrap().success());
    let mut command = net.command("gate", binary);
    command.args(["run", "--config", "config.yaml", "--require-enforcement"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let running = Running(child);
    loop {
        let line = log.next().expect("the gateway is ready").unwrap();
        if line.contains("every rule is loaded") {
            break;
        }
    }
    thread::spawn(move || log.for_each(drop));
    running
}

/// What the rounds of one way came to.
#[derive(Default)]
struct Way {
    rates: Vec<f64>,
    times: Vec<usize>,
    failed: usize,
    resident: usize,
    milliseconds: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["internet"] => internet(),
        ["sandbox", count] => sandbox(count.parse().unwrap()),
        [binary, count, rounds, name] => drive(binary, count, rounds.parse().unwrap(), name),
        _ => panic!("transparent GATEWAY CONNECTIONS ROUNDS NAME"),
    }
}

/// Makes everything, and has the rounds run.
fn drive(binary: &str, count: &str, rounds: usize, name: &str) -> ExitCode {
    let net = Net::new(name);
    let (_internet, _) = net.role("net", &["internet"]);
    let gateway = gateway(&net, binary);
    let (mut sandbox, mut answers) = net.role("sbx", &["sandbox", count]);
    let mut tell = |line: &str| writeln!(sandbox.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    let mut ways: [Way; 2] = Default::default();
    // The first round of each warms up, and is not counted.
    for round in 0..=rounds {
        for (name, way) in WAYS.iter().zip(&mut ways) {
            let before = spent(gateway.0.id());
            tell(name);
            let mut line = String::new();
            answers.read_line(&mut line).unwrap();
            let after = spent(gateway.0.id());
            tell("");
            let numbers: Vec<usize> = line.split_whitespace().map(|one| one.parse().unwrap()).collect();
            let [failed, whole, times @ ..] = &numbers[..] else { panic!("{line}") };
            if round > 0 {
                way.rates.push(times.len() as f64 * 1e6 / *whole as f64);
                way.times.extend(times);
                way.failed += failed;
                way.resident = way.resident.max(after.0);
                way.milliseconds += after.1 - before.1;
            }
        }
    }
    table(&mut ways, count, rounds)
}

/// Prints what came of them.
fn table(ways: &mut [Way; 2], count: &str, rounds: usize) -> ExitCode {
    println!("{rounds} rounds each of {count} new connections at once, in turn");
    println!(
        "{:<12} {:>9} {:>9} {:>9} {:>7} {:>9} {:>11}",
        "", "conn/s", "p50 ms", "p99 ms", "failed", "RSS KiB", "CPU ms/1000"
    );
    let rows = ways.each_mut().map(|way| {
        way.rates.sort_unstable_by(f64::total_cmp);
        way.times.sort_unstable();
        let at = |part: usize| way.times[(way.times.len() - 1) * part / 100] as f64 / 1e3;
        let each = way.milliseconds as f64 * 1e3 / way.times.len() as f64;
        [way.rates[way.rates.len() / 2], at(50), at(99), way.failed as f64, way.resident as f64, each]
    });
    for (name, [rate, p50, p99, failed, resident, each]) in WAYS.iter().zip(rows) {
        println!("{name:<12} {rate:>9.0} {p50:>9.1} {p99:>9.1} {failed:>7} {resident:>9} {each:>11.0}");
    }
    let ratio = |at: usize| rows[0][at] / rows[1][at];
    println!(
        "{:<12} {:>9.2} {:>9.2} {:>9.2} {:>7} {:>9.2} {:>11.2}",
        "ratio",
        ratio(0),
        ratio(1),
        ratio(2),
        "",
        ratio(4),
        ratio(5)
    );
    if ways.iter().any(|way| way.failed > 0) {
        println!("FAIL a connection failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
