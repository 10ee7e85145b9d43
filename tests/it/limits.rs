//! The limits of sandboxes, over real sockets (issue 4 point 6, threat R2).

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sluicegate::config::{Config, SandboxSettings, TokenSource};
use sluicegate::policy::Limit;
use tempfile::NamedTempFile;

use crate::handshake::{hello, record};
use crate::kit::client::{Client, Response};
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;

/// A sandbox that is known by its address.
fn by_source(id: &str, source: &str) -> SandboxSettings {
    SandboxSettings {
        id: Arc::from(id),
        group: None,
        sources: vec![format!("{source}/32").parse().unwrap()],
        token: None,
        require_policy: false,
    }
}

/// A sandbox that is known by its token, which is in a file.
fn by_token(id: &str, token: &NamedTempFile) -> SandboxSettings {
    let token = Some(TokenSource::File(token.path().to_str().unwrap().into()));
    SandboxSettings { token, sources: Vec::new(), ..by_source(id, "127.0.0.1") }
}

/// A file with a token.
fn token() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"secret").unwrap();
    file
}

/// The header that shows it.
fn shown(id: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{id}:secret")))
}

/// A request for `good.test` with more header lines.
fn get(origin: &Origin, more: &str) -> String {
    let port = origin.port();
    format!("GET http://good.test:{port}/ HTTP/1.1\r\nHost: good.test:{port}\r\n{more}\r\n")
}

/// Documents: a Global one that allows every test name, and one for each of these sandboxes.
fn documents(global: &str, own: &[(&str, &str)]) -> String {
    let own = own.iter().map(|(id, spec)| {
        format!(
            "---\nkind: EgressPolicy\nmetadata: {{name: {id}-limits, sandbox: {id}}}\n\
             spec: {{mode: Unrestricted, {spec}}}\n"
        )
    });
    let global =
        format!("kind: EgressPolicy\nmetadata: {{name: floor}}\nspec: {{mode: Unrestricted, {global}}}\n");
    global + &own.collect::<String>()
}

/// A gateway where `good.test` is the origin, `a` comes from 127.0.0.2 and `b` from 127.0.0.3.
async fn gateway(policy: &str, origin: &Origin, change: impl FnOnce(&mut Config)) -> Gateway {
    let gateway = Gateway::with(policy, |config| {
        config.sandboxes = vec![by_source("a", "127.0.0.2"), by_source("b", "127.0.0.3")];
        change(config);
    })
    .await;
    gateway.name("good.test", origin);
    gateway
}

/// A connection with a head that goes no further.
async fn begun(gateway: &Gateway) -> Client {
    let mut client = gateway.client().await;
    client.send("CONNECT ").await;
    client
}

/// A connection of sandbox `a`.
async fn a(gateway: &Gateway) -> Client {
    Client::connect_from("127.0.0.2", gateway.proxy()).await
}

/// A connection of sandbox `b`.
async fn b(gateway: &Gateway) -> Client {
    Client::connect_from("127.0.0.3", gateway.proxy()).await
}

/// Asks for a tunnel; the status and reason of the answer.
async fn connect(client: &mut Client, target: &str) -> (u16, String) {
    client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    let head = client.head().await;
    let answer = Response { status: 0, head, body: String::new(), raw_body: Vec::new() };
    let status = answer.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    if let Some(length) = answer.header("content-length") {
        client.take(length.parse().unwrap()).await;
    }
    (status, answer.header("x-deny-reason").unwrap_or_default().to_owned())
}

/// What a refused client reads.
fn error(answer: &Response) -> Value {
    serde_json::from_str::<Value>(&answer.body).unwrap()["error"].clone()
}

/// How often a limit was reached.
async fn limited(gateway: &Gateway, limit: Limit) -> u64 {
    let (_, text) = gateway.admin_get("/metrics").await;
    let name = format!("sluicegate_limited_total{{limit=\"{}\"}} ", limit.as_str());
    text.lines().find_map(|line| line.strip_prefix(&name)).expect("the metric").parse().unwrap()
}

#[tokio::test]
async fn r2_i4_a_sandbox_that_floods_is_refused_and_every_request_of_another_succeeds() {
    const CONNECTIONS: usize = 800;
    const SHARE: usize = 200;
    const SLOW: usize = 300;
    let (origin, token) = (Origin::http([Reply::ok("x")]).await, token());
    let gateway = Gateway::with("mode: Unrestricted\n", |config| {
        config.limits.connections = CONNECTIONS;
        config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::Connections, SHARE as u64);
        config.limits.header_timeout = Duration::from_mins(2);
        config.sandboxes = vec![by_token("a", &token), by_token("b", &token)];
    })
    .await;
    let literal = format!("127.0.0.8:{}", origin.port());
    let request =
        |id: &str| format!("GET http://{literal}/ HTTP/1.1\r\nHost: {literal}\r\n{}\r\n", shown(id));

    // Names that are never answered, each by a connection that shows who asks.
    gateway.dns.hold();
    let mut looking = Vec::new();
    for at in 0..SHARE {
        let mut client = gateway.client().await;
        let name = format!("n{at}.slow.test");
        let target = format!("{name}:443");
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", shown("a"))).await;
        gateway.dns.wait_for_query(&name).await;
        looking.push(client);
    }
    for _ in 0..10 {
        let mut client = gateway.client().await;
        let answer = client.ask(request("a")).await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (429, Some("limit")));
        let told = |key: &str| error(&answer)[key].as_str().unwrap_or_default().to_owned();
        assert!(told("message").contains("beyond the 200 connections at once"), "{answer:?}");
        assert!(told("hint").contains("limits.perSandbox.connections"), "{answer:?}");
        client.expect_end().await;
    }
    assert_eq!(limited(&gateway, Limit::Connections).await, 10);

    // Heads that never end: nobody knows whose they are. There are more of them in the end than the gateway has room for.
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(begun(&gateway).await);
    }
    for _ in 0..CONNECTIONS / 5 {
        slow.push(begun(&gateway).await);
        let mut good = gateway.client().await;
        slow.push(begun(&gateway).await);
        assert_eq!(good.ask(request("b")).await.status, 200);
    }
    let opened = SHARE + slow.len();
    assert!(opened > CONNECTIONS, "{opened} connections would fit");
    let crowded_out = limited(&gateway, Limit::Connections).await - 10;
    assert!(crowded_out >= 20, "{crowded_out} made room");

    let is_limit = |record: &Value| record["reason"] == "limit";
    let records =
        gateway.wait_for("what was refused", |all| all.iter().filter(|one| is_limit(one)).count() >= 30);
    let records: Vec<_> = records.await.into_iter().filter(is_limit).collect();
    assert_eq!(records.iter().filter(|record| record["sandbox"] == "a").count(), 10);
    let silent = records.iter().find(|record| record["sandbox"].is_null()).expect("one that made room");
    assert!(silent["error"].as_str().unwrap().contains("have not said whose they are"), "{silent}");
    assert!(!records.iter().any(|record| record["sandbox"] == "b"), "{records:#?}");
    gateway.dns.release();
}

#[tokio::test]
async fn r2_i4_where_sandboxes_are_listed_each_has_half_of_the_connections_unless_said_otherwise() {
    let origin = Origin::http([Reply::ok("x")]).await;
    for (said, share) in [(None, 5), (Some(2), 2), (Some(7), 7)] {
        let gateway = gateway("mode: Unrestricted\n", &origin, |config| {
            // With room for one that is on its way out.
            config.limits.connections = 10;
            if let Some(most) = said {
                config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::Connections, most);
            }
        })
        .await;
        let mut open = Vec::new();
        for _ in 0..share {
            let mut client = a(&gateway).await;
            assert_eq!(client.ask(get(&origin, "")).await.status, 200);
            open.push(client);
        }
        // It is refused before it has said anything, and closed.
        let answer = a(&gateway).await.response(false).await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (429, Some("limit")));
        assert_eq!(answer.header("retry-after"), None, "{answer:?}");
        assert!(answer.body.contains(&format!("beyond the {share} connections at once")), "{answer:?}");
        assert_eq!(b(&gateway).await.ask(get(&origin, "")).await.status, 200);
        let refused =
            gateway.wait_for("the record", |all| all.iter().any(|one| one["reason"] == "limit")).await;
        let refused = refused.into_iter().find(|one| one["reason"] == "limit").unwrap();
        assert_eq!(
            (&refused["sandbox"], &refused["kind"], &refused["status"]),
            (&"a".into(), &"connection".into(), &429.into())
        );

        // A place comes back when its connection has ended.
        drop(open.pop());
        let again = async {
            loop {
                let mut client = a(&gateway).await;
                let _may_be_refused = client.try_send(get(&origin, "")).await;
                if client.expect_closed_or_head().await.starts_with("HTTP/1.1 200") {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        within("a place to come back", again).await;
    }
}

#[tokio::test]
async fn r2_i4_without_listed_sandboxes_one_may_have_all() {
    let origin = Origin::echo().await;
    let gateway = Gateway::with("mode: Unrestricted\n", |config| config.limits.connections = 4).await;
    gateway.name("good.test", &origin);
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await);
    }
    let answer = gateway.client().await.response(false).await;
    assert!(answer.body.contains("as `limits.connections` allows"), "{answer:?}");
}

#[tokio::test]
async fn r2_i4_the_smaller_of_policy_and_configuration_holds_and_a_refusal_names_its_document() {
    let origin = Origin::http([Reply::ok("x")]).await;
    let policy = documents("limits: {connections: 3}", &[("a", "limits: {connections: 2}"), ("b", "")]);
    let gateway = gateway(&policy, &origin, |config| {
        config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::Connections, 5);
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(a(&gateway).await);
    }
    for client in &mut open {
        assert_eq!(client.ask(get(&origin, "")).await.status, 200);
    }
    let answer = a(&gateway).await.response(false).await;
    assert_eq!(error(&answer)["policy"], "a-limits");
    let hint = error(&answer)["hint"].as_str().unwrap().to_owned();
    assert!(
        hint.contains("raise `limits.connections` of policy `a-limits` (") && hint.contains("policy.yaml:"),
        "{hint}"
    );
    for _ in 0..3 {
        let mut client = b(&gateway).await;
        assert_eq!(client.ask(get(&origin, "")).await.status, 200);
        open.push(client);
    }
    let answer = b(&gateway).await.response(false).await;
    assert_eq!(error(&answer)["policy"], "floor", "{answer:?}");

    // A number that was raised lets the next one in.
    gateway
        .set_policy(&documents("", &[("a", "limits: {connections: 3, uploadBytes: 5000000}"), ("b", "")]))
        .await;
    assert_eq!(a(&gateway).await.ask(get(&origin, "")).await.status, 200);
}

#[tokio::test]
async fn r2_i4_a_connection_that_shows_two_tokens_takes_a_place_of_each() {
    let (origin, token) = (Origin::http([Reply::ok("x")]).await, token());
    let gateway = Gateway::with("{mode: Unrestricted, limits: {connections: 1}}\n", |config| {
        config.sandboxes = vec![by_token("a", &token), by_token("b", &token)];
    })
    .await;
    gateway.name("good.test", &origin);
    let mut both = gateway.client().await;
    for id in ["a", "b", "a", "b"] {
        assert_eq!(both.ask(get(&origin, &shown(id))).await.status, 200, "{id}");
    }
    for id in ["a", "b"] {
        let mut other = gateway.client().await;
        let answer = other.ask(get(&origin, &shown(id))).await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (429, Some("limit")), "{id}");
        other.expect_end().await;
    }
}

#[tokio::test]
async fn r2_i4_new_connections_a_second_are_limited_and_others_are_not() {
    const RATE: u64 = 5;
    let origin = Origin::http([Reply::ok("x")]).await;
    let policy = documents("", &[("a", "limits: {connectionsPerSecond: 5}"), ("b", "")]);
    let gateway = gateway(&policy, &origin, |_| {}).await;
    let (start, mut admitted, mut refused) = (Instant::now(), 0, 0);
    while refused < 5 {
        let mut client = a(&gateway).await;
        let _may_be_refused = client.try_send(get(&origin, "")).await;
        let head = client.expect_closed_or_head().await;
        if head.starts_with("HTTP/1.1 200") {
            admitted += 1;
        } else {
            assert!(
                head.contains("x-deny-reason: limit\r\n") && head.contains("retry-after: 1\r\n"),
                "{head}"
            );
            refused += 1;
        }
        assert_eq!(b(&gateway).await.ask(get(&origin, "")).await.status, 200);
    }
    let most = (start.elapsed() + Duration::from_millis(1100)).as_millis() * u128::from(RATE) / 1000;
    assert!((u128::from(RATE)..=most).contains(&admitted), "{admitted} of at most {most}");
    assert_eq!(limited(&gateway, Limit::ConnectionsPerSecond).await, 5);
}

#[tokio::test]
async fn r2_i4_requests_a_second_are_limited_and_connects_are_requests_too() {
    let origin = Origin::http([Reply::ok("x")]).await;
    let policy = documents("", &[("a", "limits: {requestsPerSecond: 5}"), ("b", "")]);
    let gateway = gateway(&policy, &origin, |_| {}).await;
    let (mut one, mut other, start) = (a(&gateway).await, b(&gateway).await, Instant::now());
    let (mut admitted, mut refused) = (0_u128, 0);
    while refused < 5 {
        let answer = one.ask(get(&origin, "")).await;
        if answer.status == 200 {
            admitted += 1;
        } else {
            assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
            assert!(answer.body.contains("requestsPerSecond"), "{answer:?}");
            refused += 1;
        }
        assert_eq!(other.ask(get(&origin, "")).await.status, 200);
    }
    let most = (start.elapsed() + Duration::from_millis(1100)).as_millis() * 5 / 1000;
    assert!((5..=most).contains(&admitted), "{admitted} of at most {most}");

    // The connection lives on, and so does its tunnel when its turn comes; each request in it counts.
    let target = format!("good.test:{}", origin.port());
    let opened = async { while connect(&mut one, &target).await.0 != 200 {} };
    within("a tunnel", opened).await;
    let mut inside = 0;
    while inside < 5 {
        let answer = one.ask(format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        inside += u32::from(answer.status == 429);
    }
}

#[tokio::test]
async fn r2_i4_dns_look_ups_a_second_are_limited_and_what_is_refused_asks_nobody() {
    let origin = Origin::echo().await;
    let policy = documents("", &[("a", "limits: {dnsQueriesPerSecond: 3}"), ("b", "")]);
    let gateway = gateway(&policy, &origin, |_| {}).await;
    let (mut refused, mut at) = (0, 0);
    while refused < 3 {
        at += 1;
        let name = format!("n{at}.test");
        gateway.name(&name, &origin);
        let answer = connect(&mut a(&gateway).await, &format!("{name}:{}", origin.port())).await;
        if answer == (429, "limit".into()) {
            assert_eq!(gateway.dns.queries(&name), 0);
            refused += 1;
        } else {
            assert_eq!(answer.0, 200);
        }
        let literal = format!("127.0.0.8:{}", origin.port());
        assert_eq!(connect(&mut a(&gateway).await, &literal).await.0, 200, "a literal needs no look-up");
        assert_eq!(connect(&mut b(&gateway).await, &format!("good.test:{}", origin.port())).await.0, 200);
    }
    assert!(at > 3);
    assert_eq!(limited(&gateway, Limit::DnsQueriesPerSecond).await, 3);
}

#[tokio::test]
async fn r2_i4_look_ups_that_are_never_answered_are_limited_and_come_back() {
    let origin = Origin::echo().await;
    let gateway = gateway("mode: Unrestricted\n", &origin, |config| {
        config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::DnsQueries, 2);
    })
    .await;
    let good = format!("good.test:{}", origin.port());
    assert_eq!(connect(&mut b(&gateway).await, &good).await.0, 200, "its answer is known from here on");
    gateway.dns.hold();
    let mut waiting = Vec::new();
    for name in ["one.test", "two.test"] {
        gateway.name(name, &origin);
        let mut client = a(&gateway).await;
        let target = format!("{name}:{}", origin.port());
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        gateway.dns.wait_for_query(name).await;
        waiting.push(client);
    }
    let mut third = a(&gateway).await;
    assert_eq!(connect(&mut third, "three.test:443").await, (429, "limit".into()));
    assert_eq!(gateway.dns.queries("three.test"), 0);
    assert_eq!(connect(&mut b(&gateway).await, &good).await.0, 200);
    gateway.dns.release();
    for client in &mut waiting {
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(connect(&mut third, &good).await.0, 200);
}

#[tokio::test]
async fn r2_i4_whatever_goes_up_is_slowed_down_for_that_sandbox_only() {
    const RATE: usize = 200_000;
    const BYTES: usize = 350_000;
    let sink = Origin::start(Behaviour::Sink).await;
    let http = Origin::http([Reply::ok("done")]).await;
    let websocket = Origin::http([Reply::upgrade("websocket")]).await;
    let policy = documents("", &[("a", &format!("limits: {{uploadBytes: {RATE}}}")), ("b", "")]);
    let bytes = vec![b'\x01'; BYTES];
    for way in ["tunnel", "early data", "heads", "body", "trailers", "websocket"] {
        let gateway = gateway(&policy, &sink, |_| {}).await;
        gateway.name("http.test", &http);
        gateway.name("websocket.test", &websocket);
        let mut times = Vec::new();
        for mut client in [a(&gateway).await, b(&gateway).await] {
            let start = Instant::now();
            match way {
                "tunnel" => {
                    let at = sink.connections();
                    assert_eq!(connect(&mut client, &format!("good.test:{}", sink.port())).await.0, 200);
                    client.send(&bytes).await;
                    sink.wait_for_count(at, BYTES).await;
                }
                "early data" => {
                    // No server has to answer before it goes on.
                    let at = sink.connections();
                    assert_eq!(connect(&mut client, &format!("good.test:{}", sink.port())).await.0, 200);
                    client.send(hello("good.test")).await;
                    let record = record(0x17, &[b'x'; 16_000]);
                    client.send(record.repeat(BYTES / 16_000 + 1)).await;
                    sink.wait_for_count(at, BYTES).await;
                }
                "heads" => {
                    let more = format!("X: {}\r\n", "x".repeat(35_000));
                    let host = format!("http.test:{}", http.port());
                    for _ in 0..BYTES / 35_000 {
                        let head = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
                        assert_eq!(client.ask(head).await.status, 200);
                    }
                }
                "body" => {
                    let host = format!("http.test:{}", http.port());
                    let head = format!(
                        "POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: {BYTES}\r\n\r\n"
                    );
                    let answer = client.ask([head.as_bytes(), &bytes].concat()).await;
                    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
                }
                "trailers" => {
                    const TRAILER: usize = 7_000;
                    let host = format!("http.test:{}", http.port());
                    let request = format!(
                        "POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\
                         Trailer: X\r\n\r\n0\r\nX: {}\r\n\r\n",
                        "x".repeat(TRAILER)
                    );
                    for _ in 0..BYTES / TRAILER {
                        assert_eq!(client.ask(&request).await.status, 200);
                    }
                }
                _ => {
                    let host = format!("websocket.test:{}", websocket.port());
                    let head = format!(
                        "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                    );
                    client.send(head).await;
                    assert!(client.head().await.starts_with("HTTP/1.1 101"));
                    let (sent, came) = tokio::join!(
                        async { websocket.wait_for_count(websocket.connections() - 1, BYTES).await },
                        async {
                            client.send(&bytes).await;
                            client.take(BYTES).await
                        }
                    );
                    let () = sent;
                    assert_eq!(came, bytes);
                }
            }
            times.push(start.elapsed());
        }
        // A second's worth may go at once; the rest not before its time.
        let least = Duration::from_millis(((BYTES - RATE) * 1000 / RATE) as u64 - 10);
        assert!(times[0] >= least, "{way}: {times:?}, at least {least:?}");
        assert!(limited(&gateway, Limit::UploadBytes).await >= 1, "{way}");
    }
}

#[tokio::test]
async fn r2_i4_connections_of_a_sandbox_share_its_rate_and_another_rate_holds_at_once() {
    const BYTES: usize = 3_000_000;
    let sink = Origin::start(Behaviour::Sink).await;
    let slow = documents("", &[("a", "limits: {uploadBytes: 1000}"), ("b", "")]);
    let gateway = gateway(&slow, &sink, |_| {}).await;
    let target = format!("good.test:{}", sink.port());
    let mut sending = tokio::task::JoinSet::new();
    for at in 0..2 {
        let mut client = a(&gateway).await;
        assert_eq!(connect(&mut client, &target).await.0, 200);
        sink.wait_for_connections(at + 1).await;
        sending.spawn(async move {
            client.send(vec![b'\x01'; BYTES]).await;
            client
        });
    }
    // Another sandbox is done meanwhile.
    let mut free = b(&gateway).await;
    assert_eq!(connect(&mut free, &target).await.0, 200);
    let start = Instant::now();
    free.send(vec![b'\x01'; BYTES]).await;
    sink.wait_for_count(2, BYTES).await;
    let sent = sink.connection(0).count + sink.connection(1).count;
    // From a time before `start` they have had little of a second's worth more than this.
    assert!(sent < BYTES / 2, "{sent} bytes after {:?}", start.elapsed());

    gateway.set_policy(&documents("", &[("a", ""), ("b", "")])).await;
    for at in 0..2 {
        sink.wait_for_count(at, BYTES).await;
    }
    let clients = within("everything to be sent", sending.join_all()).await;
    assert_eq!(clients.len(), 2);
}

#[tokio::test]
async fn r2_i4_a_slowed_down_tunnel_still_hears_the_origin_and_ends_at_once() {
    let origin = Origin::echo().await;
    let gateway =
        gateway(&documents("", &[("a", "limits: {uploadBytes: 5}"), ("b", "")]), &origin, |_| {}).await;
    let mut client = a(&gateway).await;
    let target = format!("good.test:{}", origin.port());
    assert_eq!(connect(&mut client, &target).await.0, 200);
    client.send([b'\x01'; 100]).await;
    client.expect([b'\x01'; 5]).await;
    client.reset();
    let record = gateway.record("connection", "good.test").await;
    assert_eq!((&record["outcome"], &record["sandbox"]), (&"client_failed".into(), &"a".into()), "{record}");
    assert!(record["bytes_up"].as_u64().unwrap() < 100, "{record}");
}
