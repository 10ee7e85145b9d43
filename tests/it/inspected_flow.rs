//! What flows inside TLS: long bodies, upgrades, events, and how each way of breaking off reaches the other side.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::Request;
use serde_json::Value;

use crate::inspected::{POLICY, get, inner, single};
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::http2::Http2;
use crate::kit::http2_origin::Stream;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::tls::Secure;

/// Larger than all windows and buffers together.
const LARGE: usize = 32 << 20;
/// What a client sends to speak WebSocket.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
/// Nothing is allowed.
const NOTHING: &str = "mode: Limited\n";

/// An HTTP/2 origin, a gateway and a client of it.
async fn multiplexed(streams: impl IntoIterator<Item = Stream>) -> (Origin, Gateway, Http2) {
    let origin = Origin::http2("api.test", streams).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    (origin, gateway, client)
}

#[tokio::test]
async fn large_bodies_both_ways_over_http2_arrive_whole_and_are_counted() {
    let (_origin, gateway, client) = multiplexed([Stream::echo()]).await;
    let mut stream = client.open(Http2::request("POST", "https://api.test/open/x")).await;
    // No window holds more of what comes back while it is sent.
    let part = Bytes::from((0..=255).cycle().take(32 << 10).collect::<Vec<u8>>());
    stream.head().await.unwrap();
    let (mut sent, mut received) = (0, 0);
    while sent < LARGE {
        stream.send(part.clone()).await;
        sent += part.len();
        while received < sent {
            let bytes = stream.part().await.unwrap().expect("more of the echo");
            assert!(bytes.iter().enumerate().all(|(at, byte)| usize::from(*byte) == (received + at) % 256));
            received += bytes.len();
        }
    }
    stream.finish();
    assert_eq!(stream.part().await.unwrap(), None);
    let record = inner(&gateway, 1).await.remove(0);
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&LARGE.into(), &LARGE.into()), "{record}");
}

#[tokio::test]
async fn large_bodies_both_ways_over_http1_arrive_whole_and_are_counted() {
    let body = "x".repeat(LARGE);
    let origin = single("api.test", [Reply::ok(&body)]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    client.send(format!("POST /open/x HTTP/1.1\r\nhost: api.test\r\ncontent-length: {LARGE}\r\n\r\n")).await;
    client.send(&body).await;
    let answer = client.response(false).await;
    assert!(answer.body == body, "{} bytes", answer.body.len());
    assert!(origin.received(0).ends_with(&body));
    let record = inner(&gateway, 1).await.remove(0);
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&LARGE.into(), &LARGE.into()), "{record}");
}

#[tokio::test]
async fn r4_a_client_that_does_not_read_one_stream_stops_its_origin_and_no_other_stream() {
    let (origin, _gateway, client) = multiplexed([Stream::large(LARGE), Stream::ok("fast")]).await;
    let mut slow = client.start(Http2::request("GET", "https://api.test/open/slow"), true).await.unwrap();
    slow.head().await.unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("https://api.test/open/fast").await.text(), "fast");
    }
    assert_eq!(origin.connections(), 1);
    let mut got = 0;
    while let Some(part) = slow.part().await.unwrap() {
        got += part.len();
    }
    assert_eq!(got, LARGE);
}

#[tokio::test]
async fn events_arrive_one_by_one_over_both_versions() {
    let origin = single("api.test", [Reply::events(["one", "two"])]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    client.send(get("api.test", "/open/events")).await;
    let head = client.head().await.to_lowercase();
    assert!(head.contains("text/event-stream"), "{head}");
    for event in ["data: one\n\n", "data: two\n\n"] {
        origin.step();
        // It comes while the next one is held back.
        let mut got = String::new();
        while !got.contains(event) {
            got.push(client.next_byte().await.expect("an event").into());
        }
    }
    drop(client);

    let (origin, _gateway, client) =
        multiplexed([Stream::parts(["one", "two", "three"]).step_by_step()]).await;
    let mut stream = client.start(Http2::request("GET", "https://api.test/open/x"), true).await.unwrap();
    stream.head().await.unwrap();
    for part in ["one", "two", "three"] {
        assert_eq!(stream.part().await.unwrap().unwrap(), part);
        origin.step();
    }
    assert_eq!(stream.part().await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_goes_both_ways_at_once_as_in_grpc() {
    let (origin, _gateway, client) = multiplexed([Stream::echo()]).await;
    let asked = Request::post("https://api.test/open/Chat").header("te", "trailers");
    let asked = asked.header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = client.open(asked).await;
    stream.head().await.unwrap();
    for message in ["one", "two", "three"] {
        stream.send(message).await;
        assert_eq!(stream.part().await.unwrap().unwrap(), message, "it comes back before the next is sent");
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.finish_with(trailers);
    assert_eq!(stream.part().await.unwrap(), None);
    assert_eq!(stream.trailers().await.unwrap()["grpc-status"], "0");
    assert_eq!(origin.asked()[0].header("te"), Some("trailers"));
}

#[tokio::test]
async fn a_websocket_inside_tls_reaches_an_origin_inside_tls() {
    let origin = single("api.test", [Reply::upgrade("websocket")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    client.send(format!("GET /open/chat HTTP/1.1\r\nhost: api.test\r\n{UPGRADE}\r\n")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    for message in ["ping", "\0\x01\x02"] {
        client.send(message).await;
        client.expect(message).await;
    }
    let mut denied = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    denied.send(format!("GET /closed HTTP/1.1\r\nhost: api.test\r\n{UPGRADE}\r\n")).await;
    assert!(denied.head().await.starts_with("HTTP/1.1 403 "));
    client.finish().await;
    client.expect_end().await;
    let records = inner(&gateway, 2).await;
    let upgraded = records.iter().find(|record| record["path"] == "/open/chat").unwrap();
    assert_eq!((&upgraded["status"], &upgraded["bytes_up"]), (&101.into(), &7.into()), "{upgraded}");
}

#[tokio::test]
async fn an_expected_continue_is_passed_on_and_heard_only_where_the_request_is_allowed() {
    let origin = single("api.test", [Reply::ok("hello").after_continue()]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    let head = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: api.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
    };
    client.send(head("/open/x")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send("abc").await;
    assert_eq!(client.response(false).await.body, "hello");
    client.send(head("/closed")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 403 "), "and no 100 before it");
    assert!(origin.received(0).ends_with("abc"));
}

#[tokio::test]
async fn answers_without_a_body_have_none_over_either_version() {
    for status in ["204 No Content", "304 Not Modified"] {
        let reply = || [Reply::raw(format!("HTTP/1.1 {status}\r\netag: x\r\n\r\n"))];
        let origin = single("api.test", reply()).await;
        let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
        let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        for _ in 0..2 {
            let answer = client.ask(get("api.test", "/open/x")).await;
            assert_eq!(
                (answer.status.to_string().as_str(), answer.header("etag")),
                (&status[..3], Some("x"))
            );
        }
        let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
        let answer = client.get("https://api.test/open/x").await;
        assert_eq!((answer.status.as_str(), answer.body.len()), (&status[..3], 0));
        assert_eq!(answer.header("content-length"), None);
    }
    let head = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    let origin = single("api.test", [head]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    for _ in 0..2 {
        let answer = client.ask(Http2::request("HEAD", "https://api.test/open/x")).await;
        assert_eq!((answer.header("content-length"), answer.body.len()), (Some("5"), 0));
    }
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    for _ in 0..2 {
        let answer = client.ask("HEAD /open/x HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
    }
}

#[tokio::test]
async fn an_answer_that_its_origin_breaks_off_is_broken_off_over_either_version() {
    let broken = [
        // A length that is not kept, chunks that do not end, and a body up to an end of TLS that is not announced.
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
    ];
    for raw in broken {
        let origin = single("api.test", [Reply::raw(raw).then_close()]).await;
        let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
        let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        client.send(get("api.test", "/open/x")).await;
        let told = String::from_utf8_lossy(&client.expect_closed().await).into_owned();
        assert!(told.contains("part") && !told.contains("0\r\n\r\n"), "{told}");
        let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
        let failed = client.try_ask(Http2::request("GET", "https://api.test/open/x")).await.unwrap_err();
        assert!(failed.is_reset(), "{failed}");
        for record in inner(&gateway, 2).await {
            assert_eq!(
                (&record["outcome"], &record["decision"]),
                (&"upstream_closed".into(), &"allow".into()),
                "{record}"
            );
        }
    }
    for stream in [
        Stream::parts(["part"]).step_by_step().then_reset(Reason::INTERNAL_ERROR),
        Stream::parts(["part"]).step_by_step().then_lost(),
        Stream::parts(["part"]).header("content-length", "9").step_by_step(),
    ] {
        let (origin, gateway, client) = multiplexed([stream, Stream::ok("next")]).await;
        let mut broken = client.start(Http2::request("GET", "https://api.test/open/x"), true).await.unwrap();
        broken.head().await.unwrap();
        assert_eq!(broken.part().await.unwrap().unwrap(), "part");
        origin.step();
        let failed = broken.part().await.unwrap_err();
        assert!(failed.is_reset(), "{failed}");
        assert_eq!(client.get("https://api.test/open/x").await.text(), "next", "the connection goes on");
        let outcome = inner(&gateway, 2).await[0]["outcome"].clone();
        assert!(outcome == "upstream_closed" || outcome == "upstream_failed", "{outcome}");
    }
}

#[tokio::test]
async fn a_request_that_its_client_breaks_off_is_no_whole_request_at_the_origin() {
    let (origin, gateway, client) = multiplexed([Stream::ok("x")]).await;
    let mut stream = client.open(Http2::request("POST", "https://api.test/open/x")).await;
    stream.send("part").await;
    origin.wait_for_stream(0, "a part", |asked| asked.body == b"part").await;
    stream.reset(Reason::CANCEL);
    let asked = origin.wait_for_stream(0, "the end of a stream", |asked| asked.whole.is_some()).await;
    assert_eq!(asked.whole, Some(false));
    assert_eq!(inner(&gateway, 1).await[0]["outcome"], "client_closed");

    let origin = single("api.test", [Reply::ok("x")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    let mut stream = client.open(Http2::request("POST", "https://api.test/open/x")).await;
    stream.send("part").await;
    origin.wait_for_bytes(0, b"part").await;
    stream.reset(Reason::CANCEL);
    origin.wait_for_end(0).await;
    assert!(!origin.received(0).contains("\r\n0\r\n"), "{}", origin.received(0));
}

#[tokio::test]
async fn a_failed_origin_is_answered_on_its_stream_and_the_connection_goes_on() {
    let secure = Secure::new("api.test").speaking(&["h2"]);
    let origin = Origin::secure(secure, Behaviour::Reset(20)).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    for _ in 0..2 {
        let answer = client.get("https://api.test/open/x").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-deny-reason")), (502, Some("upstream_failed")));
    }
    assert_eq!(client.get("https://api.test/closed").await.status, 403);
}

/// The records of denials, and those of what only ended with them, once all have ended.
async fn after_a_change(gateway: &Gateway, count: usize) -> (Vec<Value>, Vec<Value>) {
    let ended = |record: &&Value| {
        (record["kind"] == "request" || record["kind"] == "connection")
            && record["outcome"] == "policy_change"
    };
    let of = |all: &[Value]| -> Vec<Value> { all.iter().filter(ended).cloned().collect() };
    let records = of(&gateway.wait_for("records of a policy change", |all| of(all).len() >= count).await);
    records.into_iter().partition(|record| record["decision"] == "deny")
}

#[tokio::test]
async fn p4_a_policy_change_ends_what_it_denies_inside_tls_within_a_second() {
    let denied = POLICY.replacen(
        "rules:\n",
        "rules:\n- {name: closed-now, match: {host: api.test, path: /open/x}, action: Deny}\n",
        1,
    );
    // An answer under way, over both versions, and a WebSocket.
    for (protocol, upgrades) in [("http/1.1", false), ("h2", false), ("http/1.1", true)] {
        let reply =
            if upgrades { Reply::upgrade("websocket") } else { Reply::chunked(["a", "b"]).step_by_step() };
        let origin = single("api.test", [reply]).await;
        let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
        let mut other = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        let client = gateway.inside("api.test", &origin, &[protocol]).await;
        let ended: std::pin::Pin<Box<dyn Future<Output = ()>>> = if protocol == "h2" {
            let client = client.http2().await;
            let asked = Http2::request("GET", "https://api.test/open/x");
            let mut stream = client.start(asked, true).await.unwrap();
            stream.head().await.unwrap();
            Box::pin(async move { assert!(stream.rest().await.is_err()) })
        } else {
            let mut client = client;
            let upgrade = if upgrades { UPGRADE } else { "" };
            client.send(format!("GET /open/x HTTP/1.1\r\nhost: api.test\r\n{upgrade}\r\n")).await;
            client.head().await;
            Box::pin(async move {
                let rest = client.expect_closed().await;
                assert!(!rest.ends_with(b"0\r\n\r\n"));
            })
        };
        gateway.set_policy(&denied).await;
        let changed = Instant::now();
        ended.await;
        assert!(changed.elapsed() < Duration::from_secs(1), "{protocol}: {:?}", changed.elapsed());
        let (denials, others) = after_a_change(&gateway, 2).await;
        assert_eq!((denials.len(), others.len()), (1, 1), "{denials:#?} {others:#?}");
        assert_eq!((&denials[0]["kind"], &denials[0]["rule"]), (&"request".into(), &"closed-now".into()));
        assert_eq!(denials[0]["reason"], "policy_change");
        assert!(denials[0]["error"].as_str().unwrap().starts_with("rule_denied"), "{denials:#?}");
        // What is not denied goes on.
        assert_eq!(other.ask(get("api.test", "/closed")).await.status, 403);
    }
}

#[tokio::test]
async fn p4_a_policy_change_ends_connections_inside_tls_that_are_idle() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    for protocol in ["http/1.1", "h2"] {
        let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
        let mut client = gateway.inside("api.test", &origin, &[protocol]).await;
        if protocol == "http/1.1" {
            assert_eq!(client.ask(get("api.test", "/open/x")).await.status, 200);
        }
        gateway.set_policy(NOTHING).await;
        let changed = Instant::now();
        client.expect_closed().await;
        assert!(changed.elapsed() < Duration::from_secs(1), "{protocol}");
        let (denials, _) = after_a_change(&gateway, 1).await;
        assert_eq!((denials.len(), &denials[0]["reason"]), (1, &"policy_change".into()), "{denials:#?}");
        assert!(denials[0]["error"].as_str().unwrap().starts_with("default_deny"), "{denials:#?}");
    }
}

#[tokio::test]
async fn a_drain_lets_what_is_under_way_inside_tls_end_and_takes_nothing_new() {
    let (origin, gateway, client) = multiplexed([Stream::parts(["one", "two"]).step_by_step()]).await;
    let mut stream = client.start(Http2::request("GET", "https://api.test/open/x"), true).await.unwrap();
    stream.head().await.unwrap();
    assert_eq!(stream.part().await.unwrap().unwrap(), "one");
    let stopping = tokio::spawn(gateway.stop());
    origin.step();
    assert_eq!(stream.part().await.unwrap().unwrap(), "two");
    origin.step();
    assert_eq!(stream.part().await.unwrap(), None);
    // Once both have nothing more to say, either may be the first to be gone.
    let end = client.wait_for_end().await;
    assert!(matches!(end, None | Some(Reason::CONNECT_ERROR)), "GOAWAY without an error: {end:?}");
    let records = stopping.await.unwrap();
    let request = records.iter().find(|record| record["ingress"] == "inspected").unwrap();
    assert_eq!(request["outcome"], "ok", "{request}");
    let tunnel = records.iter().rfind(|record| record["kind"] == "connection").unwrap();
    assert!(["ok", "client_closed"].contains(&tunnel["outcome"].as_str().unwrap()), "{tunnel}");
}

#[tokio::test]
async fn r2_limits_hold_for_each_stream() {
    let policy = |limits: &str| format!("{POLICY}limits: {{{limits}}}\n");
    let origin = Origin::http2("api.test", [Stream::ok("hello")]).await;
    let gateway = Gateway::inspecting(&policy("requestsPerSecond: 3"), [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    let mut refused = 0;
    for _ in 0..12 {
        let answer = client.get("https://api.test/open/x").await;
        if answer.status == 429 {
            assert_eq!(answer.header("x-deny-reason"), Some("limit"));
            refused += 1;
        }
    }
    assert!(refused >= 4, "{refused} of 12 refused");

    let origin = Origin::http2("api.test", [Stream::ok("hello")]).await;
    let gateway = Gateway::inspecting(&policy("uploadBytes: 100000"), [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    let started = Instant::now();
    let answer = client.send(Http2::request("POST", "https://api.test/open/x"), vec![b'x'; 300_000]).await;
    assert_eq!((answer.text().as_str(), origin.asked()[0].body.len()), ("hello", 300_000));
    assert!(
        started.elapsed() > Duration::from_secs(1),
        "100 kB are what a second is for: {:?}",
        started.elapsed()
    );
}
