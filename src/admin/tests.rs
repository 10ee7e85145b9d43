//! Who gets what, over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::audit::{Decision, FileSettings, Kind, Observe, Outcome, Settings, SinkSettings, Text, Writer};

mod access;
mod answers;
mod limits;

const TOKEN: &str = "Authorization: Bearer reader-token\r\n";
const CANARY: &str = "canary-4711";

struct Gate;

impl Inspect for Gate {
    fn readiness(&self) -> Vec<Check> {
        vec![Check { name: "policy", ok: false, detail: CANARY.to_owned() }]
    }

    fn policy(&self) -> Value {
        json!({"generation": 1, "name": CANARY})
    }

    fn explain(&self, query: &ExplainQuery) -> Value {
        json!({"target": query.target, "method": query.method, "address": query.address})
    }
}

struct Bench {
    address: SocketAddr,
    socket: PathBuf,
    audit: Audit,
    stop: Vec<oneshot::Sender<()>>,
    served: Vec<JoinHandle<()>>,
    _writer: Writer,
    _directory: tempfile::TempDir,
}

async fn bench(limits: Limits, recent: usize) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Metrics::new().unwrap();
    let top = Arc::new(Top::new());
    let sinks = vec![SinkSettings::File(FileSettings::new(directory.path().join("audit.jsonl")))];
    let settings = Settings { sinks, recent, ..Settings::default() };
    let observers: Vec<Arc<dyn Observe>> = vec![Arc::clone(&metrics) as _, Arc::clone(&top) as _];
    let (audit, writer) = Audit::start(settings, observers).unwrap();
    let token = |name: &str, role, secret: &str| AccessToken {
        name: name.into(),
        role,
        secret: secret.to_owned().into(),
    };
    let tokens = vec![
        token("dash", Role::Reader, "reader-token"),
        token("ops", Role::Owner, "owner-token"),
        token("unset", Role::Owner, ""),
    ];
    let hosts = vec!["gate.corp".to_owned()];
    let inspect = Arc::new(Gate);
    let state = State { inspect, audit: audit.clone(), metrics, top, tokens, hosts, limits };
    let state = Arc::new(state);
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let socket = directory.path().join("admin.sock");
    let unix = UnixSocket::bind(&socket).unwrap();
    let (mut stop, mut served) = (vec![], vec![]);
    for listener in [Listener::Tcp(tcp), Listener::Unix(unix)] {
        let (sender, stopped) = oneshot::channel::<()>();
        let spawn = |task| drop(tokio::spawn(task));
        let state = Arc::clone(&state);
        served.push(tokio::spawn(async move {
            serve(listener, state, spawn, async { drop(stopped.await) }).await;
        }));
        stop.push(sender);
    }
    Bench { address, socket, audit, stop, served, _writer: writer, _directory: directory }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

async fn exchange(mut stream: impl Duplex, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Duplex for S {}

impl Bench {
    async fn new() -> Self {
        bench(Limits::default(), 4096).await
    }

    async fn raw(&self, request: &str) -> Answer {
        exchange(TcpStream::connect(self.address).await.unwrap(), request).await
    }

    async fn get(&self, path: &str, headers: &str) -> Answer {
        let host = self.address;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        self.raw(&request).await
    }

    /// A connection that has a slot: it was answered, and stays.
    async fn idle(&self) -> TcpStream {
        loop {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let mut start = [0; 12];
            let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
            // Until the slot of a connection that has just ended is free again.
            if stream.write_all(request).await.is_ok() && stream.read_exact(&mut start).await.is_ok() {
                assert_eq!(&start, b"HTTP/1.1 200");
                return stream;
            }
        }
    }

    async fn get_unix(&self, path: &str) -> Answer {
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n");
        exchange(stream, &request).await
    }

    fn emit(&self, host: &str) {
        let mut record = self.audit.record(Kind::Connection);
        record.event().host = Some(Text::new(host));
        record.event().sandbox = Some("sbx-1".into());
        record.event().decision = Some(Decision::Deny);
        record.finish(Outcome::Refused);
    }

    async fn follow(&self, query: &str, headers: &str) -> Follower {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let path = format!("/v1/audit/stream{query}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{TOKEN}{headers}\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut follower = Follower(BufReader::new(stream));
        let head = follower.until(str::is_empty).await;
        assert!(head[0].starts_with("HTTP/1.1 200"), "{head:?}");
        follower
    }
}

/// A client of the stream.
struct Follower(BufReader<TcpStream>);

impl Follower {
    async fn until(&mut self, end: impl Fn(&str) -> bool) -> Vec<String> {
        let mut lines = vec![];
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).await.unwrap() > 0, "ended after {lines:?}");
            let line = line.trim_end().to_owned();
            if end(&line) {
                return lines.into_iter().chain([line]).collect();
            }
            lines.push(line);
        }
    }

    /// The kind, id and data of the next event.
    async fn event(&mut self) -> (String, String, Value) {
        let lines = self.until(|line| line.starts_with("data:")).await;
        let lines: Vec<_> = lines.iter().rev().take(2).collect();
        let data = serde_json::from_str(lines[0].strip_prefix("data:").unwrap()).unwrap();
        let (kind, id) = match lines[1].split_once(": ") {
            Some(("event", kind)) => (kind.to_owned(), String::new()),
            Some(("id", id)) => ("message".to_owned(), id.to_owned()),
            _ => panic!("{lines:?}"),
        };
        (kind, id, data)
    }
}
