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

#[test]
fn l1_a_hundred_thousand_hostile_hosts_paths_methods_and_names_are_as_many_lines_of_json() {
    const EVENTS: usize = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let sinks = vec![audit::SinkSettings::File(FileSettings::new(&path))];
    let (log, writer) =
        Audit::start(audit::Settings { sinks, ..audit::Settings::default() }, vec![]).unwrap();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for number in 0..EVENTS {
        let most = if number % 100 == 0 { 700 } else { 30 };
        let mut record = log.record(Kind::Request);
        let event = record.event();
        event.host = Some(Text::from_bytes(&dice.bytes(40)));
        event.path = Some(Text::from_bytes(&dice.bytes(most)));
        event.method = Some(Text::from_bytes(&dice.bytes(10)));
        event.sni = Some(Text::from_bytes(&dice.bytes(40)));
        event.error = Some(Text::from_bytes(&dice.bytes(20)));
        record.finish(Outcome::Refused);
    }
    writer.finish(std::time::Duration::from_mins(1)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let records = parse(&text);
    assert_eq!(records.len(), EVENTS);
    for (record, seq) in records.iter().zip(1_u64..) {
        assert_eq!(record["seq"], seq);
        assert!(record["path"].as_str().is_some_and(|path| path.len() <= 512), "{record}");
    }
}

#[tokio::test]
async fn l1_whatever_a_client_sends_is_one_line_and_never_a_line_of_its_own() {
    let gateway = Gateway::start("mode: Limited\n").await;
    let mut dice = Dice(7);
    let forged = "{\"schema\":\"sluicegate.audit/1\",\"seq\":1,\"kind\":\"connection\",\"decision\":\"allow\",\"host\":\"forged.test\"}";
    let mut clients = Vec::new();
    for number in 0..600 {
        let (one, two) = (dice.bytes(30), dice.bytes(30));
        let request: Vec<u8> = match number % 6 {
            0 => [b"CONNECT ", &one[..], b":443 HTTP/1.1\r\nHost: ", &two, b"\r\n\r\n"].concat(),
            1 => [b"GET http://", &one[..], b"/", &two, b" HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat(),
            2 => [&one[..], b" http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat(),
            3 => {
                [b"GET http://a.test/\n", forged.as_bytes(), b"\n HTTP/1.1\r\nHost: a.test\r\n\r\n"].concat()
            }
            4 => [b"CONNECT a.test\n", forged.as_bytes(), b"\n:443 HTTP/1.1\r\n\r\n"].concat(),
            _ => {
                [b"GET http://a.test/", &one[..], b" HTTP/1.1\r\nHost: ", &two, b"\r\nX: ", &one, b"\r\n\r\n"]
                    .concat()
            }
        };
        let mut client = gateway.client().await;
        client.send(&request).await;
        client.finish().await;
        client.expect_closed().await;
        clients.push(client.local().to_string());
    }
    let all_there = |records: &[Value]| {
        let of = |client: &String| records.iter().filter(|record| record["client"] == *client).count();
        clients.iter().all(|client| of(client) >= 1)
    };
    gateway.wait_for("a record of each client", all_there).await;
    let records = gateway.stop().await;
    assert!(records.iter().all(|record| record["host"] != "forged.test"));
    assert!(records.iter().zip(1_u64..).all(|(record, seq)| record["seq"] == seq));
    assert!(records.iter().all(|record| record["decision"] != "allow"));
}

#[tokio::test]
async fn l3_every_connection_leaves_exactly_one_end_and_the_metrics_say_the_same() {
    let echo = Origin::echo().await;
    let web = Origin::http([Reply::ok("hello")]).await;
    let policy = format!(
        "mode: Limited\nhostRules: ['good.test:{}', 'web.test:{}', {{pattern: bad.test, action: Deny}}]\n",
        echo.port(),
        web.port()
    );
    let gateway = Gateway::start(&policy).await;
    for name in ["good.test", "web.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    let good = format!("good.test:{}", echo.port());
    let web = format!("web.test:{}", web.port());
    // How many ends each client must leave.
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..360 {
        let mut client = gateway.client().await;
        let mut ends = 1;
        match number % 12 {
            // Allowed and used, ended by the client's FIN, its reset, or nothing yet.
            0..=2 => {
                client.send(format!("CONNECT {good} HTTP/1.1\r\nHost: {good}\r\n\r\n")).await;
                client.head().await;
                client.send("\x01on").await;
                client.expect("\x01on").await;
                if number % 12 == 0 {
                    client.finish().await;
                    client.expect_end().await;
                }
            }
            // Allowed and never used.
            3 => {
                client.send(format!("CONNECT {good} HTTP/1.1\r\nHost: {good}\r\n\r\n")).await;
                client.head().await;
            }
            // Denied.
            4 => assert_eq!(
                client.ask("CONNECT bad.test:443 HTTP/1.1\r\nHost: bad.test\r\n\r\n").await.status,
                403
            ),
            5 => assert_eq!(
                client.ask("GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n").await.status,
                403
            ),
            // No answer waited for.
            6 => client.send(format!("CONNECT {good} HTTP/1.1\r\nHost: {good}\r\n\r\n")).await,
            // Half a head, nothing at all, and nonsense.
            7 => client.send("CONNECT good.te").await,
            8 => {}
            9 => {
                client.send("\x16\x03\x01\x02\x00nonsense\r\n\r\n").await;
                client.expect_closed().await;
            }
            // Three requests on one connection: allowed, denied, allowed.
            10 => {
                for (host, status) in [(&web, 200), (&"bad.test".to_owned(), 403), (&web, 200)] {
                    let ask = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
                    assert_eq!(client.ask(ask).await.status, status);
                }
                ends = 3;
            }
            // A name that cannot be resolved to anything that may be dialled.
            _ => {
                let answer = client.ask("CONNECT bad.test:443 HTTP/1.1\r\nHost: good.test\r\n\r\n").await;
                assert_eq!(answer.status, 400);
            }
        }
        expected.insert(client.local().to_string(), ends);
        if number % 12 == 1 || number % 24 == 6 {
            client.reset();
        }
    }
    let ends = |records: &[Value]| {
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for record in records
            .iter()
            .filter(|record| ["connection", "request"].iter().any(|kind| record["kind"] == *kind))
        {
            *ends.entry(record["client"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        ends
    };
    let records = gateway.wait_for("every end", |records| ends(records) == expected).await;
    // Every `open` has one end of the same id, and no two ends share one.
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for record in
        records.iter().filter(|record| record["kind"] == "connection" || record["kind"] == "request")
    {
        *ids.entry(record["id"].as_str().unwrap()).or_default() += 1;
    }
    assert!(ids.values().all(|count| *count == 1));
    assert!(
        records
            .iter()
            .filter(|record| record["kind"] == "open")
            .all(|open| ids.contains_key(open["id"].as_str().unwrap()))
    );

    assert_agree(&records, &gateway.admin_get("/metrics").await.1);
}

/// Fails unless metrics tell of the same events as records. A tunnel is decided by its `open`, and again where
/// it is denied later.
fn assert_agree(records: &[Value], metrics: &str) {
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or("none").to_owned();
    let (mut decisions, mut connections, mut requests) =
        (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new(), 0);
    let opened: Vec<&Value> =
        records.iter().filter(|record| record["kind"] == "open").map(|open| &open["id"]).collect();
    for record in records {
        let is_end = record["kind"] == "connection" || record["kind"] == "request";
        let first = record["kind"] == "open" || !opened.contains(&&record["id"]);
        if (is_end || record["kind"] == "open") && (first || record["decision"] == "deny") {
            *decisions
                .entry((text(record, "decision"), text(record, "ingress"), text(record, "reason")))
                .or_default() += 1;
        }
        if record["kind"] == "connection" {
            *connections.entry((text(record, "ingress"), text(record, "outcome"))).or_default() += 1;
        }
        requests += u64::from(record["kind"] == "request");
    }
    for ((decision, ingress, reason), count) in &decisions {
        let name = format!(
            "sluicegate_decisions_total{{decision=\"{decision}\",ingress=\"{ingress}\",reason=\"{reason}\"}}"
        );
        assert_eq!(series(metrics, &name), *count, "{name}");
    }
    for ((ingress, outcome), count) in &connections {
        let name = format!("sluicegate_connections_total{{ingress=\"{ingress}\",outcome=\"{outcome}\"}}");
        assert_eq!(series(metrics, &name), *count, "{name}");
    }
    let sum = |family: &str| -> u64 {
        let lines = metrics.lines().filter(|line| line.starts_with(family));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(sum("sluicegate_decisions_total{"), decisions.values().sum::<u64>());
    assert_eq!(sum("sluicegate_connections_total{"), connections.values().sum::<u64>());
    assert_eq!(sum("sluicegate_requests_total{"), requests);
    assert_eq!(sum("sluicegate_connections_active{"), 0, "nothing is open any more");
    let up: u64 = records
        .iter()
        .filter(|record| record["kind"] != "open")
        .filter_map(|record| record["bytes_up"].as_u64())
        .sum();
    assert_eq!(sum("sluicegate_bytes_total{direction=\"up\""), up);
    assert_eq!(series(metrics, "sluicegate_audit_events_total"), records.len() as u64);
    assert_eq!(series(metrics, "sluicegate_audit_written_total{sink=\"file\"}"), records.len() as u64);
    assert_eq!(sum("sluicegate_panics_total"), 0);
}

#[tokio::test]
async fn what_metrics_say_is_what_promtool_accepts() {
    let Some(promtool) = tool::find("promtool") else { return };
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway =
        Gateway::start(&format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port())).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let host = format!("good.test:{}", origin.port());
    for ask in [
        format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        gateway.client().await.ask(ask).await;
    }
    drop(Client::tunnel(gateway.proxy(), &host).await);
    gateway.record("connection", "good.test").await;
    let (_, metrics) = gateway.admin_get("/metrics").await;
    let mut promtool = tokio::process::Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).await.unwrap();
    let output = within("promtool", promtool.wait_with_output()).await.unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[tokio::test]
async fn m1_thousands_of_random_hosts_paths_and_methods_add_no_series() {
    let gateway = Gateway::start("mode: Limited\nhostRules: ['*.ask.test']\n").await;
    let names = |metrics: &str| -> Vec<String> {
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    let mut dice = Dice(99);
    let mut ask = async |rounds: usize| {
        let mut client = gateway.client().await;
        for _ in 0..rounds {
            let (host, path) = (dice.roll(), dice.roll());
            let under = if host % 8 == 0 { "ask.test" } else { "test" };
            let request = format!(
                "M{} http://h{host:x}.{under}/p{path:x} HTTP/1.1\r\nHost: h{host:x}.{under}\r\n\r\n",
                path % 97
            );
            assert!(client.ask(request).await.status >= 400);
        }
    };
    ask(50).await;
    let before = names(&gateway.admin_get("/metrics").await.1);
    ask(4000).await;
    assert_eq!(names(&gateway.admin_get("/metrics").await.1), before);
}

#[tokio::test]
async fn what_a_reporting_document_would_deny_passes_and_is_told_in_record_and_metrics() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(
        "mode: Limited\nenforcement: Report\nhostRules: [{pattern: bad.test, action: Deny}]\n",
    )
    .await;
    for name in ["bad.test", "other.test", "inside.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    gateway.dns.says("inside.test", Answer::addresses(["10.0.0.1"]));
    for (host, reason) in [("bad.test", "host_denied"), ("other.test", "default_deny")] {
        drop(Client::tunnel(gateway.proxy(), &format!("{host}:{}", origin.port())).await);
        let closed = gateway.record("connection", host).await;
        assert_eq!((&closed["decision"], &closed["would_deny"]["reason"]), (&"allow".into(), &reason.into()));
        assert_eq!(closed["would_deny"]["policy"], "policy");
        assert!(closed["reason"].is_null());
        let (_, metrics) = gateway.admin_get("/metrics").await;
        let name = format!(
            "sluicegate_decisions_total{{decision=\"allow\",ingress=\"connect\",reason=\"{reason}\"}}"
        );
        assert_eq!(series(&metrics, &name), 1, "{metrics}");
    }
    let ask = "CONNECT inside.test:443 HTTP/1.1\r\nHost: inside.test\r\n\r\n";
    let guarded = gateway.client().await.ask(ask).await;
    assert_eq!(guarded.header("x-deny-reason"), Some("guard_private"), "guards hold all the same");
}

#[tokio::test]
async fn tenants_are_told_apart_by_source_address_in_verdicts_and_records() {
    let origin = Origin::echo().await;
    let sandbox = |id: &str, group: Option<&str>, source: &str| SandboxSettings {
        id: id.into(),
        group: group.map(Into::into),
        sources: vec![source.parse().unwrap()],
        token: None,
        require_policy: false,
    };
    let port = origin.port();
    let document = |metadata: &str, host: &str| {
        format!(
            "---\napiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {{{metadata}}}\nspec: {{mode: Limited, hostRules: ['{host}:{port}']}}\n"
        )
    };
    let policy = [
        "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {name: all}\nspec: {mode: Unrestricted}\n"
            .to_owned(),
        document("name: agents, group: agents", "*.test"),
        document("name: one, group: agents, sandbox: one", "one.test"),
        document("name: two, group: agents, sandbox: two", "two.test"),
    ]
    .concat();
    let gateway = Gateway::with(&policy, |config| {
        config.sandboxes = vec![
            sandbox("one", Some("agents"), "127.0.0.1/32"),
            sandbox("two", Some("agents"), "127.0.0.2/32"),
            sandbox("free", None, "127.0.0.3/32"),
        ];
    })
    .await;
    for name in ["one.test", "two.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    let cases = [
        ("127.0.0.1", "one.test", None, "one", Some("agents")),
        ("127.0.0.1", "two.test", Some("default_deny"), "one", Some("agents")),
        ("127.0.0.2", "one.test", Some("default_deny"), "two", Some("agents")),
        ("127.0.0.2", "two.test", None, "two", Some("agents")),
        ("127.0.0.3", "one.test", None, "free", None),
        ("127.0.0.3", "two.test", None, "free", None),
    ];
    let mut done = 0;
    // Interleaved and repeated, so that nothing of one tenant is still there for the next.
    for _ in 0..20 {
        for (source, host, denied, id, group) in cases {
            let mut client = Client::connect_from(source, gateway.proxy()).await;
            client.send(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")).await;
            let head = client.head().await;
            assert_eq!(head.starts_with("HTTP/1.1 200"), denied.is_none(), "{source} {host}: {head}");
            let local: SocketAddr = client.local();
            drop(client);
            // One after the other: a port may come back, a place does not.
            let ended = |record: &&Value| record["kind"] == "connection";
            done += 1;
            let records = gateway
                .wait_for("the end of it", |records| records.iter().filter(ended).count() == done)
                .await;
            let record = records.iter().rfind(ended).unwrap();
            assert_eq!(record["client"], local.to_string());
            assert_eq!(record["sandbox"], id);
            assert_eq!(record["group"].as_str(), group);
            assert_eq!(record["reason"].as_str(), denied);
            if denied.is_some() {
                assert_eq!((&record["scope"], &record["policy"]), (&"Sandbox".into(), &id.into()));
            }
        }
    }
    let mut stranger = Client::connect_from("127.0.0.4", gateway.proxy()).await;
    let refused =
        stranger.ask(format!("CONNECT one.test:{port} HTTP/1.1\r\nHost: one.test:{port}\r\n\r\n")).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (407, Some("identity_unknown")));
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

#[tokio::test]
async fn l2_under_drop_traffic_goes_on_and_the_gap_is_counted_where_it_is() {
    let gateway = Stalled::start("Drop").await;
    let statuses = within("every answer", gateway.ask()).await.unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&403]);
    assert_eq!(gateway.ready().await, 503);
    let metrics = gateway.metrics().await;
    let dropped = series(&metrics, "sluicegate_audit_dropped_total{sink=\"stdout\"}");
    let written = series(&metrics, "sluicegate_audit_written_total{sink=\"stdout\"}");
    assert!(dropped > 0);
    assert_eq!(series(&metrics, "sluicegate_audit_events_total"), written + dropped + QUEUE, "{metrics}");
    let records = gateway.finish().await;
    assert_eq!(lost(&records), dropped);
}

#[tokio::test]
async fn l2_under_block_traffic_waits_and_nothing_is_lost() {
    let gateway = Stalled::start("Block").await;
    let asking = gateway.ask();
    gateway.until("a full queue", |metrics| series(metrics, "sluicegate_audit_queue_events") >= QUEUE).await;
    assert!(!asking.is_finished());
    assert_eq!(gateway.ready().await, 503);
    let records = gateway.finish_after(asking).await;
    assert_eq!(lost(&records), 0);
    let denied = records.iter().filter(|record| record["reason"] == "default_deny").count();
    assert_eq!(denied, MANY);
}

#[tokio::test]
async fn l2_under_block_clients_that_leave_while_they_wait_are_counted_and_a_record_tells_of_them() {
    const LEAVE: usize = 300;
    let gateway = Stalled::start("Block").await;
    let asking = gateway.ask();
    let queued = |metrics: &str| series(metrics, "sluicegate_audit_queue_events");
    gateway.until("a full queue", |metrics| queued(metrics) >= QUEUE).await;
    for _ in 0..LEAVE {
        let mut client = Client::connect(gateway.proxy).await;
        client.send("GET http://left.test/ HTTP/1.1\r\nHost: left.test\r\n\r\n").await;
        client.reset();
    }
    let dropped = |metrics: &str| series(metrics, "sluicegate_audit_dropped_total{sink=\"stdout\"}");
    gateway.until("some of them to be counted", |metrics| dropped(metrics) > 0).await;
    let metrics = gateway.metrics().await;
    assert!(queued(&metrics) <= QUEUE + 8, "what was not admitted fills no queue: {}", queued(&metrics));
    let records = gateway.finish_after(asking).await;
    let told = records.iter().filter_map(|record| record["lost"]["events"].as_u64()).sum::<u64>();
    // A reset that came before the request was read leaves a silent connection, which waits for its record; one that
    // came when there was room again leaves a request of which nothing is known.
    let recorded = records.iter().filter(|record| {
        ["connection", "request"].iter().any(|kind| record["kind"] == *kind) && record["host"] != "evil.test"
    });
    let all = told + recorded.count() as u64;
    assert_eq!((told > 0, all), (true, LEAVE as u64), "each is in the log or in the count");
    let denied = records.iter().filter(|record| record["host"] == "evil.test").count();
    assert_eq!(denied, MANY, "those who waited have theirs");
}

#[tokio::test]
async fn r3_beyond_the_connection_limit_nobody_waits_for_the_audit_log() {
    let gateway = Stalled::with("Block", "mode: Limited\n", "limits: {connections: 8}\n").await;
    let asking = gateway.ask();
    gateway.until("a full queue", |metrics| series(metrics, "sluicegate_audit_queue_events") >= QUEUE).await;
    // One of the eight is `asking`.
    let mut waiting = Vec::new();
    for _ in 0..7 {
        let mut client = Client::connect(gateway.proxy).await;
        client.send("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
        waiting.push(client);
    }
    // It may have been between two connections.
    let open = |metrics: &str| series(metrics, "sluicegate_connections_active{ingress=\"http\"}");
    gateway.until("eight connections", |metrics| open(metrics) == 8).await;
    for _ in 0..200 {
        let mut client = Client::connect(gateway.proxy).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("x-deny-reason: limit"), "{head}");
    }
    let id = gateway.child.id().expect("it runs");
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    assert!(open < 100, "{open} descriptors are open");
    drop(waiting);
    gateway.finish_after(asking).await;
}

#[tokio::test]
async fn r2_queries_beyond_the_rate_of_a_sandbox_wait_for_no_audit_log_and_keep_no_place_of_another() {
    /// A query for the services of a name, which is answered without asking anybody.
    fn query(label: &str) -> Vec<u8> {
        let length = u8::try_from(label.len()).unwrap();
        let name = [&[length], label.as_bytes(), b"\x04test\0"].concat();
        [&[0x12, 0x67, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name, &[0, 64, 0, 1]].concat()
    }
    let config = "listeners: [{address: '127.0.0.1:0', kind: Dns}]\nsandboxes:\n\
                  - {id: a, sources: [127.0.0.2/32]}\n- {id: b, sources: [127.0.0.3/32]}\n\
                  - {id: c, sources: [127.0.0.1/32]}\n";
    let gateway = Stalled::with("Block", "mode: Limited\nhostRules: [good.test]\n", config).await;
    let asking = gateway.ask();
    gateway.until("a full queue", |metrics| series(metrics, "sluicegate_audit_queue_events") >= QUEUE).await;
    let from = async |source: &str| {
        let socket = tokio::net::UdpSocket::bind((source, 0)).await.unwrap();
        socket.connect(gateway.other.expect("the DNS listener")).await.unwrap();
        socket
    };
    let (flood, good) = (from("127.0.0.2").await, from("127.0.0.3").await);
    // More than there are places; few enough at once for a socket to hold.
    for _ in 0..60 {
        for _ in 0..100 {
            flood.send(&query("evil")).await.unwrap();
        }
        let mut answer = [0; 512];
        // A datagram can be lost where the machine is busy: it is sent again, as every client does.
        within("an answer", async {
            loop {
                good.send(&query("good")).await.unwrap();
                let answered = tokio::time::timeout(Duration::from_secs(1), good.recv(&mut answer)).await;
                if let Ok(answered) = answered {
                    return answered.unwrap();
                }
            }
        })
        .await;
        assert_eq!(answer[3] & 15, 0, "no error");
    }
    gateway.finish_after(asking).await;
}

#[tokio::test]
async fn l2_under_deny_a_tunnel_whose_record_cannot_be_written_is_refused_and_sends_nothing() {
    let origin = Origin::echo().await;
    let authority = format!("127.0.0.8:{}", origin.port());
    let policy = format!("mode: Limited\nhostRules: ['{authority}']\n");
    let gateway = Stalled::with("Deny", &policy, "").await;
    // More than a pipe holds, and less than the queue.
    let statuses = gateway.ask_times(2000).await.unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&403]);
    let connect = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let mut early = Client::connect(gateway.proxy).await;
    early.send(&connect).await;
    // Nobody may know yet that the sink is stuck; then the tunnel waits for its record, and not for long.
    if early.head().await.starts_with("HTTP/1.1 200 ") {
        early.send("\0opaque").await;
        early.expect_closed().await;
    }
    within("the gateway to know", async { while gateway.ready().await != 503 {} }).await;
    let mut late = Client::connect(gateway.proxy).await;
    let refused = late.ask(&connect).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (503, Some("audit_unavailable")));
    for connection in 0..origin.connections() {
        assert_eq!(origin.received(connection), "");
    }
    let records = gateway.finish().await;
    let unavailable = records.iter().filter(|record| record["reason"] == "audit_unavailable").count();
    assert_eq!(unavailable, 2);
}

#[tokio::test]
async fn l2_under_deny_a_websocket_whose_record_cannot_be_written_gets_no_101() {
    let origin = tokio::net::TcpListener::bind("127.0.0.8:0").await.unwrap();
    let authority = origin.local_addr().unwrap().to_string();
    let gateway = Stalled::with("Deny", &format!("mode: Limited\nhostRules: ['{authority}']\n"), "").await;
    let mut client = Client::connect(gateway.proxy).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let asked = format!("GET http://{authority}/ws HTTP/1.1\r\nHost: {authority}\r\n{upgrade}\r\n");
    client.send(format!("{asked}early")).await;
    let mut origin = Client::over(within("a connection", origin.accept()).await.unwrap().0);
    assert!(origin.head().await.starts_with("GET /ws "));
    // The sink gets stuck while the origin thinks.
    let statuses = gateway.ask_times(2000).await.unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&403]);
    within("the gateway to know", async { while gateway.ready().await != 503 {} }).await;
    origin
        .send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    let refused = client.response(false).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (503, Some("audit_unavailable")));
    assert!(client.expect_closed().await.is_empty());
    assert_eq!(origin.expect_closed().await, b"");
    let records = gateway.finish().await;
    let of_it: Vec<_> = records.iter().filter(|record| record["path"] == "/ws").collect();
    assert_eq!(of_it.len(), 1, "{of_it:?}");
    assert_eq!((&of_it[0]["reason"], &of_it[0]["kind"]), (&"audit_unavailable".into(), &"request".into()));
}

#[tokio::test]
async fn l2_under_deny_a_full_queue_denies_and_does_not_grow_by_it() {
    let gateway = Stalled::start("Deny").await;
    let statuses = within("every answer", gateway.ask()).await.unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&403, &503]);
    let mut client = Client::connect(gateway.proxy).await;
    let refused = client.ask("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (503, Some("audit_unavailable")));
    let metrics = gateway.metrics().await;
    let queued = series(&metrics, "sluicegate_audit_queue_events");
    assert!(queued <= QUEUE + 64, "what is denied for want of room takes none: {queued}");
    let dropped = series(&metrics, "sluicegate_audit_dropped_total{sink=\"stdout\"}");
    assert!(dropped >= statuses[&503] as u64);
    drop(client);
    let records = gateway.finish().await;
    assert_eq!(lost(&records), dropped);
    assert_eq!(records.iter().filter(|record| record["reason"] == "default_deny").count(), statuses[&403]);
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

#[tokio::test]
async fn l3_a_gateway_that_is_stopped_leaves_an_end_for_everything_that_was_open() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::with(&format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port()), |config| {
            config.limits.drain_timeout = std::time::Duration::from_millis(100);
        })
        .await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let mut open = Vec::new();
    for number in 0..60 {
        let mut client = gateway.client().await;
        match number % 3 {
            0 => {
                client
                    .send(format!(
                        "CONNECT good.test:{0} HTTP/1.1\r\nHost: good.test:{0}\r\n\r\n",
                        origin.port()
                    ))
                    .await;
                client.head().await;
            }
            1 => client.send("GET http://good.te").await,
            _ => {}
        }
        open.push(client);
    }
    // Accepted in order: once this one is answered, all of those before it were taken.
    gateway.client().await.ask("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    let audit = gateway.audit_file();
    let records = gateway.stop().await;
    for client in &open {
        let ours = records
            .iter()
            .filter(|record| record["client"] == client.local().to_string() && record["kind"] != "open");
        assert_eq!(ours.count(), 1, "{}", client.local());
    }
    assert!(!audit.exists() || read_records(&audit).len() == records.len());
}
