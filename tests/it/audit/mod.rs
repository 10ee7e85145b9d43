//! The audit log of a whole gateway: one line an event, exactly one end a connection, nothing lost silently
//! (threats L1, L2, L3, M1), and metrics that say the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sluicegate::audit::{self, Audit, FileSettings, Kind, Outcome, Text};
use sluicegate::config::SandboxSettings;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::{Gateway, read_records};
use crate::kit::http::Reply;
use crate::kit::origin::Origin;
use crate::kit::process::{BINARY, Place, command};
use crate::kit::{tool, within};

mod beyond;
mod ends;
mod full;
mod lines;
mod metrics;
mod told;

/// A small generator, so that each run tries the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Up to `most` bytes, of which many are harmful.
    fn bytes(&mut self, most: u64) -> Vec<u8> {
        const POOL: &[u8] = b"\"\\{}[]:,\0\t\x0b\x1b\x7f\xc2\x85\xe2\x80\xa8\xe2\x80\xae\xff\xfe\xed\xa0\x80ab.-_%/?#@ \xf0\x9f\x98\x80";
        let length = self.roll() % (most + 1);
        (0..length).map(|_| POOL[usize::try_from(self.roll()).unwrap_or(0) % POOL.len()]).collect()
    }
}

/// The complete lines of a text, each a JSON object, none with a character that could pass for a line end.
fn parse(text: &str) -> Vec<Value> {
    assert!(text.ends_with('\n'));
    let harmful =
        |c: char| c != '\n' && (c.is_control() || "\u{85}\u{2028}\u{2029}\u{202e}\u{feff}".contains(c));
    assert!(!text.chars().any(harmful));
    let parse =
        |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.split_terminator('\n').map(parse).collect()
}

/// The value of a series.
fn series(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().expect("a whole number"))
}

/// How many requests a stalled gateway is asked: more than its queue and a pipe take together.
const MANY: usize = 12_000;
/// What the queue of a sink holds.
const QUEUE: u64 = 8192;

/// The binary with a standard output that nobody reads until the test does.
struct Stalled {
    child: tokio::process::Child,
    proxy: SocketAddr,
    admin: SocketAddr,
    /// The address before those, if the configuration has a listener besides.
    other: Option<SocketAddr>,
    _place: Place,
}

impl Stalled {
    async fn start(on_full: &str) -> Self {
        Self::with(on_full, "mode: Limited\n", "").await
    }

    async fn with(on_full: &str, policy: &str, config: &str) -> Self {
        let place = Place::with(policy);
        let config = format!(
            "policy: {{path: policy.yaml}}\nguards: {{exempt: [127.0.0.8/29]}}\n\
             audit: {{onFull: {on_full}}}\n{config}"
        );
        place.write("config.yaml", &config);
        let mut command = command(BINARY);
        command.args(["run", "--config", "config.yaml", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut child = command.current_dir(place.path("")).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut addresses = Vec::new();
        while addresses.len() < 2 + usize::from(config.contains("listeners:")) {
            let line = within("the gateway to listen", log.next_line()).await.unwrap().expect("a line");
            addresses.extend(
                line.rsplit_once("address=")
                    .filter(|_| line.contains("is listening"))
                    .map(|(_, address)| address.parse::<SocketAddr>().unwrap()),
            );
        }
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let admin = addresses.pop().unwrap();
        let proxy = addresses.pop().unwrap();
        Self { child, proxy, admin, other: addresses.pop(), _place: place }
    }

    async fn metrics(&self) -> String {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin);
        Client::connect(self.admin).await.ask(request).await.body
    }

    async fn ready(&self) -> u16 {
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin);
        Client::connect(self.admin).await.ask(request).await.status
    }

    /// Waits until a metric satisfies.
    async fn until(&self, what: &str, fits: impl Fn(&str) -> bool) {
        within(what, async { while !fits(&self.metrics().await) {} }).await;
    }

    /// Asks many times; answers how often each status came. Runs beside the test.
    fn ask(&self) -> tokio::task::JoinHandle<BTreeMap<u16, usize>> {
        self.ask_times(MANY)
    }

    /// Asks so many times, a hundred on each connection.
    fn ask_times(&self, times: usize) -> tokio::task::JoinHandle<BTreeMap<u16, usize>> {
        let proxy = self.proxy;
        tokio::spawn(async move {
            let mut statuses = BTreeMap::new();
            let mut asked = 0;
            while asked < times {
                let (mut read, mut write) = tokio::net::TcpStream::connect(proxy).await.unwrap().into_split();
                let ask = "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n".repeat(99);
                let last = "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n";
                write.write_all((ask + last).as_bytes()).await.unwrap();
                let mut text = String::new();
                read.read_to_string(&mut text).await.unwrap();
                if text.starts_with("HTTP/1.1 429 ") {
                    // It came before the gateway saw the end of the one before it.
                    continue;
                }
                for line in text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")) {
                    *statuses.entry(line[..3].parse().unwrap()).or_default() += 1;
                    asked += 1;
                }
            }
            statuses
        })
    }

    /// Reads the records, ends the gateway, and answers them all.
    async fn finish(mut self) -> Vec<Value> {
        let mut stdout = self.child.stdout.take().unwrap();
        let reading = tokio::spawn(async move {
            let mut text = String::new();
            stdout.read_to_string(&mut text).await.unwrap();
            text
        });
        self.until("the queue to empty", |metrics| series(metrics, "sluicegate_audit_queue_events") == 0)
            .await;
        let id = i32::try_from(self.child.id().expect("it runs")).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        within("the gateway to end", self.child.wait()).await.unwrap();
        parse(&within("the last record", reading).await.unwrap())
    }
}

/// Checks that places are contiguous but where a `lost` record counts what is missing, and counts that.
fn lost(records: &[Value]) -> u64 {
    let (mut last, mut missing, mut told) = (0, 0, 0);
    for record in records {
        let seq = record["seq"].as_u64().expect("a place");
        assert!(seq > last, "{record}");
        missing += seq - last - 1;
        last = seq;
        if record["kind"] == "lost" {
            told += record["lost"]["events"].as_u64().expect("a count");
            assert_eq!(told, missing, "the gap is told where it is: {record}");
        }
    }
    assert_eq!(told, missing, "no gap without a record");
    told
}

impl Stalled {
    /// The same, where clients still wait for answers.
    async fn finish_after(mut self, asking: tokio::task::JoinHandle<BTreeMap<u16, usize>>) -> Vec<Value> {
        let mut stdout = self.child.stdout.take().unwrap();
        let (mut near, far) = tokio::io::duplex(1 << 20);
        let copying = tokio::spawn(async move { tokio::io::copy(&mut stdout, &mut near).await });
        let reading = tokio::spawn(async move {
            let mut text = String::new();
            BufReader::new(far).read_to_string(&mut text).await.unwrap();
            text
        });
        let statuses = within("every answer", asking).await.unwrap();
        assert_eq!(statuses.keys().collect::<Vec<_>>(), [&403]);
        let id = i32::try_from(self.child.id().expect("it runs")).unwrap();
        let id = rustix::process::Pid::from_raw(id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        within("the gateway to end", self.child.wait()).await.unwrap();
        copying.await.unwrap().unwrap();
        parse(&within("the last record", reading).await.unwrap())
    }
}
