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

#[tokio::test]
async fn p5_without_a_token_only_liveness_readiness_and_metrics_are_told() {
    let bench = Bench::new().await;
    assert_eq!(bench.get("/livez", "").await.body, "ok\n");
    let ready = bench.get("/readyz", "").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "not ready\n"));
    assert_eq!(bench.get("/metrics", "").await.status, 200);
    for path in ["/v1/policy", "/v1/audit", "/v1/audit/stream", "/v1/top?by=host", "/v1/explain?target=a"] {
        for headers in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Bearer\r\n",
            "Authorization: Basic reader-token\r\n",
            "Authorization: Bearer reader-token\r\nAuthorization: Bearer reader-token\r\n",
            "Authorization: Bearer reader-toke\r\n",
        ] {
            let answer = bench.get(path, headers).await;
            assert_eq!((answer.status, answer.code()), (401, "unauthorized".to_owned()), "{path} {headers}");
            assert!(answer.head.contains("www-authenticate: bearer") && !answer.body.contains(CANARY));
        }
    }
    let post = format!(
        "POST /v1/explain HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        bench.address
    );
    assert_eq!(bench.raw(&post).await.status, 401);
}

#[tokio::test]
async fn p5_a_token_of_any_role_or_the_socket_may_read_everything() {
    let bench = Bench::new().await;
    for token in [TOKEN, "Authorization: bearer owner-token\r\n"] {
        let answer = bench.get("/v1/policy", token).await;
        assert_eq!((answer.status, answer.json()["name"].as_str()), (200, Some(CANARY)));
        assert!(answer.head.contains("no-store") && answer.head.contains("nosniff"));
    }
    assert_eq!(bench.get_unix("/v1/policy").await.json()["generation"], 1);
}

#[tokio::test]
async fn readiness_says_what_is_wrong_to_those_who_may_know() {
    let bench = Bench::new().await;
    for answer in [bench.get("/readyz", TOKEN).await, bench.get_unix("/readyz").await] {
        assert_eq!(answer.status, 503);
        let checks = &answer.json()["checks"];
        assert_eq!((&checks[0]["name"], &checks[0]["ok"]), (&json!("audit"), &json!(true)));
        assert_eq!((&checks[1]["name"], &checks[1]["detail"]), (&json!("policy"), &json!(CANARY)));
    }
}

#[tokio::test]
async fn p5_a_web_page_that_lets_its_name_resolve_to_this_server_is_misdirected() {
    let bench = Bench::new().await;
    let close = "Connection: close\r\n";
    for request in [
        format!("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n{close}\r\n"),
        format!("GET /metrics HTTP/1.1\r\nHost: evil.example:9901\r\n{close}{TOKEN}\r\n"),
        format!("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"),
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n{close}\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost:\r\n{close}\r\n"),
    ] {
        let answer = bench.raw(&request).await;
        assert_eq!((answer.status, answer.code()), (421, "misdirected".to_owned()), "{request}");
    }
    for host in ["localhost:1", "gate.corp", "[::1]:9901", "10.0.0.1"] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n{close}\r\n");
        assert_eq!(bench.raw(&request).await.status, 200, "{host}");
    }
    assert_eq!(bench.raw("GET /livez HTTP/1.0\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn errors_are_json_with_a_code_and_what_would_be_right() {
    let bench = Bench::new().await;
    for (path, status, code, says) in [
        ("/nothing", 404, "not_found", "nothing"),
        ("/v1/audit?decision=maybe", 400, "bad_query", "allow, deny, skip"),
        ("/v1/audit?reason=x", 400, "bad_query", "no_policy"),
        ("/v1/audit?since=x", 400, "bad_query", "whole number"),
        ("/v1/audit?hots=x", 400, "bad_query", "hots"),
        ("/v1/top", 400, "bad_query", "by"),
        ("/v1/top?by=colour", 400, "bad_query", "host, sandbox or rule"),
        ("/v1/explain", 400, "bad_query", "target"),
    ] {
        let answer = bench.get(path, TOKEN).await;
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{path}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(says), "{path} {}", answer.body);
    }
    let delete = format!("DELETE /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{TOKEN}\r\n");
    assert_eq!(bench.raw(&delete).await.code(), "method_not_allowed");
}

#[tokio::test]
async fn the_audit_log_is_searched_and_the_busiest_are_listed() {
    let bench = Bench::new().await;
    for host in ["a.example", "b.example", "a.example", "\u{202e}\"evil\n"] {
        bench.emit(host);
    }
    let all = bench.get("/v1/audit", TOKEN).await.json();
    assert_eq!((all["oldest"].as_u64(), all["newest"].as_u64()), (Some(1), Some(4)));
    assert_eq!(all["events"].as_array().unwrap().len(), 4);
    let some = bench.get("/v1/audit?host=a.example&decision=deny&sandbox=sbx-1&since=1&limit=9", TOKEN).await;
    assert_eq!(some.json()["events"][0]["seq"], 3);
    assert_eq!(some.json()["events"].as_array().unwrap().len(), 1);
    let empty = bench.get("/v1/audit?kind=request", TOKEN).await.json();
    assert_eq!(empty["events"], json!([]));
    let top = bench.get("/v1/top?by=host&limit=2", TOKEN).await;
    assert_eq!((&top.json()["by"], &top.json()["rows"][0]["name"]), (&json!("host"), &json!("a.example")));
    assert_eq!(top.json()["rows"][0]["denied"], 2);
    let top = bench.get("/v1/top?by=host", TOKEN).await;
    assert!(top.body.is_ascii(), "{}", top.body);
}

#[tokio::test]
async fn explain_takes_its_question_from_the_query_or_the_body() {
    let bench = Bench::new().await;
    let answer = bench.get("/v1/explain?target=a.example:443&method=GET&address=192.0.2.1", TOKEN).await;
    assert_eq!(answer.json(), json!({"target": "a.example:443", "method": "GET", "address": "192.0.2.1"}));
    let post = |body: &str| {
        let length = body.len();
        format!(
            "POST /v1/explain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{TOKEN}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let answer = bench.raw(&post(r#"{"target": "b.example"}"#)).await;
    assert_eq!(answer.json()["target"], "b.example");
    for bad in ["{", r#"{"target": "a", "colour": 1}"#, &format!("\"{}\"", "x".repeat(20_000))] {
        assert_eq!(bench.raw(&post(bad)).await.code(), "bad_query");
    }
}

#[tokio::test]
async fn l2_the_stream_goes_on_where_a_client_left_it_and_tells_what_is_lost() {
    let bench = bench(Limits::default(), 4).await;
    let mut live = bench.follow("", "").await;
    bench.emit("a.example");
    let (kind, id, data) = live.event().await;
    assert_eq!((kind.as_str(), &data["seq"], &data["host"]), ("message", &json!(1), &json!("a.example")));
    drop(live);
    bench.emit("b.example");
    let mut resumed = bench.follow("", &format!("Last-Event-ID: {id}\r\n")).await;
    assert_eq!(resumed.event().await.2["seq"], 2);
    drop(resumed);
    for _ in 0..6 {
        bench.emit("c.example");
    }
    let mut late = bench.follow("", &format!("Last-Event-ID: {id}\r\n")).await;
    let (kind, _, data) = late.event().await;
    assert_eq!((kind.as_str(), data), ("lost", json!({"events": 3})));
    assert_eq!(late.event().await.2["seq"], 5);
    let mut stranger = bench.follow("", "Last-Event-ID: 3.1\r\n").await;
    let (kind, _, data) = stranger.event().await;
    assert_eq!((kind.as_str(), &data["events"]), ("lost", &Value::Null));
    assert_eq!(
        bench.get("/v1/audit/stream", &format!("{TOKEN}Last-Event-ID: x\r\n")).await.code(),
        "bad_query"
    );
}

#[tokio::test]
async fn the_stream_shows_only_what_was_asked_for() {
    let bench = Bench::new().await;
    let mut follower = bench.follow("?host=b.example&since=0", "").await;
    bench.emit("a.example");
    bench.emit("b.example");
    assert_eq!(follower.event().await.2["seq"], 2);
}

#[tokio::test]
async fn streams_and_connections_are_limited_and_their_slots_come_back() {
    let bench = bench(Limits { connections: 2, patience: Duration::from_hours(1) }, 16).await;
    let follower = bench.follow("", "").await;
    assert_eq!(bench.get("/v1/audit/stream", TOKEN).await.code(), "too_many_streams");
    let idle = bench.idle().await;
    let mut refused = TcpStream::connect(bench.address).await.unwrap();
    // Closed: by an end or, where something is unread, by a reset.
    assert_eq!(refused.read_to_end(&mut vec![]).await.unwrap_or(0), 0);
    drop((follower, idle));
    bench.idle().await;
    // The socket has slots of its own.
    assert_eq!(bench.get_unix("/livez").await.status, 200);
}

#[tokio::test]
async fn s3_a_client_that_sends_nothing_half_a_head_or_half_a_body_is_closed() {
    let bench = bench(Limits { patience: Duration::from_millis(50), ..Limits::default() }, 16).await;
    for sent in ["", "GET /livez HTTP/1.1\r\nHo", "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.starts_with("HTTP/1.1 200"), sent.ends_with("\r\n\r\n"), "{text}");
    }
    let half = format!("POST /v1/explain HTTP/1.1\r\nHost: localhost\r\n{TOKEN}Content-Length: 9\r\n\r\n{{");
    assert_eq!(bench.raw(&half).await.code(), "timeout");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_given_up() {
    let (near, _far) = tokio::io::duplex(16);
    let mut patient = serve::Patient::new(near, Duration::from_millis(50));
    let error = patient.write_all(&[0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn stopping_ends_streams_and_idle_connections_and_takes_the_socket_away() {
    let bench = Bench::new().await;
    let mut follower = bench.follow("", "").await;
    let mut idle = bench.idle().await;
    for stop in bench.stop {
        stop.send(()).unwrap();
    }
    for served in bench.served {
        served.await.unwrap();
    }
    let mut rest = vec![];
    follower.0.read_to_end(&mut rest).await.unwrap();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(bench.address).await.is_err() && !bench.socket.exists());
}

#[tokio::test]
async fn s5_tokens_are_not_shown_by_debug() {
    let secret = CANARY.to_owned().into();
    let token = AccessToken { name: "ops".into(), role: Role::Owner, secret };
    assert!(!format!("{token:?}").contains(CANARY));
}
