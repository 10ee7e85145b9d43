//! Bodies and upgraded connections through the explicit proxy: unbuffered, whole, and ended with their reason.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::client::{Client, Response};
use crate::kit::gateway::{Gateway, read_records};
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::{tool, within};

/// What asks for a WebSocket.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// A request for `good.test` with these fields.
fn request(method: &str, origin: &Origin, path: &str, fields: &str) -> String {
    let authority = format!("good.test:{}", origin.port());
    format!("{method} http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
}

/// An open WebSocket to an origin that echoes, and its gateway.
async fn websocket(origin: &Origin) -> (Gateway, Client) {
    // Rules by path need an authority, though nothing is decrypted here.
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway = Gateway::inspecting(&policy, [("good.test", origin)]).await;
    let mut client = gateway.client().await;
    client.send(request("GET", origin, "/ws", UPGRADE)).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    (gateway, client)
}

/// Reads a head, and nothing after it.
async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    head
}

/// The one record of a kind.
fn only<'a>(records: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = records.iter().filter(|record| record["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{records:#?}");
    found[0]
}

#[tokio::test]
async fn chunks_go_both_ways_as_they_come() {
    let origin = Origin::http([Reply::chunked(["one", "two", "three"]).step_by_step()]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    client.send(request("POST", &origin, "/", "Transfer-Encoding: chunked\r\n")).await;
    client.send("5\r\nfirst\r\n").await;
    origin.wait_for_bytes(0, b"5\r\nfirst\r\n").await;
    client.send("6\r\nsecond\r\n").await;
    origin.wait_for_bytes(0, b"6\r\nsecond\r\n").await;
    client.send("0\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for chunk in ["3\r\none\r\n", "3\r\ntwo\r\n", "5\r\nthree\r\n", "0\r\n\r\n"] {
        origin.step();
        client.expect(chunk).await;
    }
    let call = &gateway.calls(1).await[0];
    assert_eq!(
        (&call["bytes_up"], &call["bytes_down"], &call["outcome"]),
        (&json!(11), &json!(11), &json!("ok"))
    );
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let reply = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n";
    let origin = Origin::http([Reply::raw(reply)]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    let fields = "TE: trailers\r\nConnection: TE\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n";
    let body = "3\r\nabc\r\n0\r\nX-Check: 9\r\n\r\n";
    let answered = client.ask(format!("{}{body}", request("POST", &origin, "/", fields))).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "hi"));
    let raw = String::from_utf8_lossy(&answered.raw_body).to_ascii_lowercase();
    assert!(raw.ends_with("0\r\nx-sum: 7\r\n\r\n"), "{raw}");
    let received = origin.received(0).to_ascii_lowercase();
    assert!(received.ends_with("3\r\nabc\r\n0\r\nx-check: 9\r\n\r\n"), "{received}");
    // A client that does not want trailers gets the body alone, on a connection that goes on.
    let plain = client.ask(request("GET", &origin, "/", "")).await;
    assert_eq!((plain.body.as_str(), plain.raw_body.ends_with(b"0\r\n\r\n")), ("hi", true));
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let origin = Origin::http([Reply::events(["one", "two", "three"])]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    client.send(request("GET", &origin, "/events", "Accept: text/event-stream\r\n")).await;
    let head = client.head().await;
    assert!(head.contains("text/event-stream"), "the head comes before any event: {head}");
    for event in ["one", "two", "three"] {
        origin.step();
        let event = format!("data: {event}\n\n");
        client.expect(format!("{:X}\r\n{event}\r\n", event.len())).await;
    }
    origin.step();
    client.expect("0\r\n\r\n").await;
    assert_eq!(gateway.calls(1).await[0]["outcome"], "ok");
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    const TOTAL: usize = 32 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.8:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let gateway = Gateway::start(&format!("mode: Limited\nhostRules: ['127.0.0.8:{port}']\n")).await;
    // The origin answers with the very body that it gets, while it gets it.
    let mirror = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_head(&mut stream).await;
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n").as_bytes())
            .await
            .expect("sent");
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut (&mut read).take(TOTAL as u64), &mut write).await.expect("mirrored");
        stream
    };
    let client = async {
        let mut stream = tokio::net::TcpStream::connect(gateway.proxy()).await.expect("a connection");
        let (mut read, mut write) = stream.split();
        let sending = async {
            let authority = format!("127.0.0.8:{port}");
            let head = format!(
                "POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {TOTAL}\r\n\r\n"
            );
            write.write_all(head.as_bytes()).await.expect("sent");
            let (mut hasher, mut seed) = (DefaultHasher::new(), 1_u64);
            for _ in 0..TOTAL / (64 << 10) {
                let block: Vec<u8> = (0..8 << 10)
                    .flat_map(|_| {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        seed.to_le_bytes()
                    })
                    .collect();
                hasher.write(&block);
                write.write_all(&block).await.expect("sent");
            }
            hasher.finish()
        };
        let reading = async {
            let head = read_head(&mut read).await;
            assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", head.escape_ascii());
            let (mut hasher, mut left, mut block) = (DefaultHasher::new(), TOTAL, vec![0; 64 << 10]);
            while left > 0 {
                // Hashed in the blocks that were sent, as the hash depends on them.
                read.read_exact(&mut block).await.expect("the body");
                hasher.write(&block);
                left -= block.len();
            }
            hasher.finish()
        };
        tokio::join!(sending, reading)
    };
    let (_open, (sent, received)) =
        within("the body both ways", async { tokio::join!(mirror, client) }).await;
    assert_eq!(sent, received);
    let call = &gateway.calls(1).await[0];
    assert_eq!(
        (&call["bytes_up"], &call["bytes_down"], &call["outcome"]),
        (&json!(TOTAL), &json!(TOTAL), &json!("ok"))
    );
}

#[tokio::test]
async fn r4_a_slow_reader_holds_the_other_side_back() {
    const TOTAL: usize = 64 << 20;
    // Neither side reads: what is written is what the sockets and a bounded buffer hold.
    let slow = Origin::start(Behaviour::SlowReader).await;
    let gateway = Gateway::allowing([("good.test", &slow)]).await;
    let mut client = tokio::net::TcpStream::connect(gateway.proxy()).await.expect("a connection");
    let head = request("POST", &slow, "/", &format!("Content-Length: {TOTAL}\r\n"));
    client.write_all(head.as_bytes()).await.expect("sent");
    let block = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while sent < TOTAL {
        let writing = tokio::time::timeout(std::time::Duration::from_millis(500), client.write(&block));
        match writing.await {
            Ok(written) => sent += written.expect("an open connection"),
            Err(_) => break,
        }
    }
    assert!(sent < TOTAL / 2, "{sent} bytes were taken for an origin that reads none");
    slow.step();
    while sent < TOTAL {
        let left = block.len().min(TOTAL - sent);
        sent +=
            within("the rest to be taken", client.write(&block[..left])).await.expect("an open connection");
    }
    slow.wait_for_count(0, TOTAL).await;
}

#[tokio::test]
async fn r4_an_answer_that_is_not_read_is_not_fetched() {
    const TOTAL: usize = 64 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.8:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let gateway = Gateway::start(&format!("mode: Limited\nhostRules: ['127.0.0.8:{port}']\n")).await;
    let mut client = gateway.client().await;
    let authority = format!("127.0.0.8:{port}");
    client.send(format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
    let (mut origin, _) = within("a connection", listener.accept()).await.expect("a connection");
    // An answer to a request that was not sent yet would be none.
    within("the request", read_head(&mut origin)).await;
    origin
        .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    let block = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while sent < TOTAL {
        let writing = tokio::time::timeout(std::time::Duration::from_millis(500), origin.write(&block));
        match writing.await {
            Ok(written) => sent += written.expect("an open connection"),
            Err(_) => break,
        }
    }
    assert!(sent < TOTAL / 2, "{sent} bytes were fetched for a client that reads none");
    drop(client);
    let call = &gateway.calls(1).await[0];
    assert_eq!(call["outcome"], "client_closed");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_at_the_origin_and_in_the_record() {
    let before = Origin::start(Behaviour::Sink).await;
    let during = Origin::http([Reply::chunked(["one", "two"]).step_by_step()]).await;
    let upload = Origin::start(Behaviour::Sink).await;
    let gateway =
        Gateway::allowing([("before.test", &before), ("during.test", &during), ("upload.test", &upload)])
            .await;
    let ask = |method: &str, name: &str, origin: &Origin, fields: &str| {
        request(method, origin, "/", fields).replace("good.test", name)
    };
    // Before the answer has begun.
    let mut client = gateway.client().await;
    client.send(ask("GET", "before.test", &before, "")).await;
    before.wait_for_count(0, 10).await;
    client.reset();
    assert_ne!(before.wait_for_end(0).await, End::Open);
    assert_eq!(gateway.calls(1).await[0]["outcome"], "client_closed");
    // In the middle of the answer.
    let mut client = gateway.client().await;
    client.send(ask("GET", "during.test", &during, "")).await;
    client.head().await;
    during.step();
    client.expect("3\r\none\r\n").await;
    client.reset();
    // Also while the origin says nothing more.
    let call = &gateway.calls(2).await[1];
    assert_eq!(
        (&call["outcome"], &call["bytes_down"], &call["status"]),
        (&json!("client_closed"), &json!(3), &json!(200))
    );
    // It sees the end only when it goes on.
    (0..4).for_each(|_| during.step());
    assert_ne!(during.wait_for_end(0).await, End::Open);
    // In the middle of its own body.
    let mut client = gateway.client().await;
    client.send(ask("POST", "upload.test", &upload, "Content-Length: 100\r\n")).await;
    client.send("some").await;
    upload.wait_for_count(0, 20).await;
    drop(client);
    assert_ne!(upload.wait_for_end(0).await, End::Open);
    let call = &gateway.calls(3).await[2];
    assert_eq!((&call["outcome"], &call["decision"]), (&json!("client_closed"), &json!("allow")), "{call}");
}

#[tokio::test]
async fn a_websocket_is_bytes_both_ways_after_its_101() {
    let origin = Origin::http([Reply::ok("first"), Reply::upgrade("websocket")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    let first = format!("{}0123456789", request("POST", &origin, "/", "Content-Length: 10\r\n"));
    assert_eq!(client.ask(first).await.body, "first");
    client
        .send(request("GET", &origin, "/ws", &format!("{UPGRADE}Proxy-Authorization: Basic eA==\r\n")))
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
    client.send(b"\x81\x06hello!").await;
    client.expect(b"\x81\x06hello!").await;
    let received = origin.received(0);
    assert!(
        received.contains("upgrade: websocket\r\n") && received.contains("connection: upgrade\r\n"),
        "{received}"
    );
    assert!(
        received.contains("sec-websocket-key: dGhl") && !received.contains("proxy-authorization"),
        "{received}"
    );
    client.finish().await;
    client.expect_end().await;
    assert_eq!(origin.wait_for_end(0).await, End::Fin, "a half-close is passed on");
    let call = &gateway.calls(2).await[1];
    assert_eq!(
        (&call["status"], &call["outcome"], &call["path"]),
        (&json!(101), &json!("ok"), &json!("/ws"))
    );
    assert_eq!((&call["bytes_up"], &call["bytes_down"]), (&json!(8), &json!(8)), "its own bytes only");
}

#[tokio::test]
async fn a_reset_of_a_websocket_stays_a_reset() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let (gateway, mut client) = websocket(&origin).await;
    client.send("ping").await;
    client.expect("ping").await;
    client.reset();
    assert_eq!(origin.wait_for_end(0).await, End::Reset);
    let call = &gateway.calls(1).await[0];
    assert_eq!(call["outcome"], "client_failed");
    assert!(call["error"].as_str().is_some_and(|error| error.contains("reset")), "{call}");
}

#[tokio::test]
async fn f5_bytes_before_the_101_wait_for_it_and_go_nowhere_without_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.8:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let gateway = Gateway::start(&format!("mode: Limited\nhostRules: ['127.0.0.8:{port}']\n")).await;
    let authority = format!("127.0.0.8:{port}");
    let hidden = format!("GET http://{authority}/hidden HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let asked = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{UPGRADE}\r\n{hidden}");
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 403 Forbidden\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let mut client = gateway.client().await;
        client.send(&asked).await;
        let (mut stream, _) = within("a connection", listener.accept()).await.expect("a connection");
        within("a head", read_head(&mut stream)).await;
        // All of it is here at the gateway by now, in the segment of the head.
        let mut more = [0; 1];
        assert!(stream.try_read(&mut more).is_err(), "nothing after the head before the answer");
        stream.write_all(answer.as_bytes()).await.expect("sent");
        let granted = answer.contains("upgrade: websocket") && answer.contains(" 101 ");
        if granted {
            let mut got = vec![0; hidden.len()];
            within("what was sent early", stream.read_exact(&mut got)).await.expect("the rest");
            assert_eq!(got, hidden.as_bytes());
            assert!(client.head().await.starts_with("HTTP/1.1 101 "));
            continue;
        }
        let answered: Response = client.response(false).await;
        let expected = if answer.contains(" 101 ") { "502" } else { &answer[9..12] };
        assert_eq!(answered.status.to_string(), expected, "{answer}");
        let mut rest = Vec::new();
        assert_eq!(answered.header("upgrade"), None);
        assert!(client.expect_closed().await.is_empty(), "{answer}");
        let _either = within("the end", stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{answer}: {}", rest.escape_ascii());
    }
}

#[tokio::test]
async fn f5_a_101_that_nobody_asked_for_is_a_502() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    let refused = client.ask(request("GET", &origin, "/", "")).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (502, Some("upstream_failed")));
    let other = Origin::http([Reply::upgrade("h2c")]).await;
    gateway.name("good.test", &other);
    let call = &gateway.calls(1).await[0];
    assert_eq!((&call["reason"], &call["status"]), (&json!("upstream_failed"), &json!(502)));
    assert_eq!(call["id"], refused.header("x-request-id").unwrap_or_default());
}

#[tokio::test]
async fn upgrades_to_anything_but_websocket_are_refused() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let cases = [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "HTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: \r\n",
    ];
    for (at, fields) in cases.into_iter().enumerate() {
        let mut client = gateway.client().await;
        let refused = client.ask(request("GET", &origin, "/", fields)).await;
        assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")), "{fields}");
        assert!(client.expect_closed().await.is_empty(), "{fields}");
        assert_eq!(gateway.calls(at + 1).await[at]["reason"], "bad_request", "{fields}");
    }
    let old = request("GET", &origin, "/", UPGRADE).replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(gateway.client().await.ask(old).await.status, 400);
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn p4_a_policy_that_denies_it_ends_a_response_under_way() {
    let origin = Origin::http([Reply::events(["one", "two"])]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    client.send(request("GET", &origin, "/", "")).await;
    client.head().await;
    origin.step();
    client.expect("B\r\ndata: one\n\n\r\n").await;
    // A change that still allows it ends nothing.
    gateway.set_policy(&format!("mode: Limited\nhostRules: ['good.test:{}', x.test]\n", origin.port())).await;
    origin.step();
    client.expect("B\r\ndata: two\n\n\r\n").await;
    gateway.set_policy("mode: Limited\nhostRules: [x.test]\n").await;
    let rest = client.expect_closed().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut body does not look whole");
    // It sees the end only when it goes on.
    (0..2).for_each(|_| origin.step());
    assert_ne!(origin.wait_for_end(0).await, End::Open);
    let call = &gateway.calls(1).await[0];
    assert_eq!((&call["reason"], &call["outcome"]), (&json!("policy_change"), &json!("policy_change")));
    assert_eq!((&call["decision"], &call["bytes_down"]), (&json!("deny"), &json!(22)));
}

#[tokio::test]
async fn p4_a_policy_that_denies_it_ends_a_request_that_waits_and_an_upload() {
    let origin = Origin::start(Behaviour::Sink).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut waiting = gateway.client().await;
    waiting.send(request("GET", &origin, "/", "")).await;
    origin.wait_for_count(0, 10).await;
    let mut upload = gateway.client().await;
    upload.send(request("POST", &origin, "/", "Content-Length: 100\r\n")).await;
    upload.send("some").await;
    origin.wait_for_count(1, 10).await;
    gateway.set_policy("mode: Limited\nhostRules: [x.test]\n").await;
    waiting.expect_closed().await;
    upload.expect_closed().await;
    for at in 0..2 {
        assert_ne!(origin.wait_for_end(at).await, End::Open);
    }
    for call in gateway.calls(2).await {
        assert_eq!((&call["reason"], &call["outcome"]), (&json!("policy_change"), &json!("policy_change")));
    }
}

#[tokio::test]
async fn p4_a_policy_that_denies_it_ends_a_websocket() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let (gateway, mut client) = websocket(&origin).await;
    client.send("ping").await;
    client.expect("ping").await;
    // By path: what was asked for when it was opened is asked again.
    let rule = |path: &str| {
        format!(
            "mode: Limited\nrules:\n- {{match: {{host: 'good.test:{}', path: {path}}}, action: Allow}}\n",
            origin.port()
        )
    };
    gateway.set_policy(&rule("/ws")).await;
    client.send("pong").await;
    client.expect("pong").await;
    gateway.set_policy(&rule("/other")).await;
    client.expect_reset().await;
    assert_eq!(origin.wait_for_end(0).await, End::Reset);
    let call = &gateway.calls(1).await[0];
    assert_eq!((&call["reason"], &call["outcome"]), (&json!("policy_change"), &json!("policy_change")));
    assert_eq!((&call["bytes_up"], &call["bytes_down"]), (&json!(8), &json!(8)));
}

#[tokio::test]
async fn a_websocket_inside_a_tunnel_is_judged_as_a_request() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let authority = format!("good.test:{}", origin.port());
    let mut tunnel = Client::tunnel(gateway.proxy(), &authority).await;
    tunnel.send(format!("GET /ws HTTP/1.1\r\nHost: {authority}\r\n{UPGRADE}\r\n")).await;
    assert!(tunnel.head().await.starts_with("HTTP/1.1 101 "));
    tunnel.send("ping").await;
    tunnel.expect("ping").await;
    tunnel.finish().await;
    tunnel.expect_end().await;
    let calls = gateway.calls(2).await;
    let request = only(&calls, "request");
    assert_eq!(
        (&request["path"], &request["status"], &request["outcome"]),
        (&json!("/ws"), &json!(101), &json!("ok"))
    );
    assert_eq!((&request["bytes_up"], &request["bytes_down"]), (&json!(4), &json!(4)));
    assert_eq!(only(&calls, "connection")["outcome"], "ok");
}

#[tokio::test]
async fn l3_a_websocket_is_a_tunnel_whose_record_opens_before_any_payload() {
    for (open, inside) in [(true, false), (true, true), (false, false)] {
        let origin = Origin::http([Reply::upgrade("websocket")]).await;
        let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
        let gateway = Gateway::with(&policy, |config| config.audit.open = open).await;
        gateway.name("good.test", &origin);
        let target = format!("good.test:{}", origin.port());
        let mut client =
            if inside { Client::tunnel(gateway.proxy(), &target).await } else { gateway.client().await };
        client.send(request("GET", &origin, "/ws", UPGRADE)).await;
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
        client.send("ping").await;
        origin.wait_for_bytes(0, b"ping").await;
        // What a kill at this moment would leave behind.
        let left = read_records(&gateway.audit_file());
        client.expect("ping").await;
        client.finish().await;
        client.expect_end().await;
        let calls = gateway.calls(if inside { 2 } else { 1 }).await;
        let end = only(&calls, "request");
        let opened: Vec<_> =
            left.iter().filter(|record| record["kind"] == "open" && record["id"] == end["id"]).collect();
        assert_eq!(opened.len(), usize::from(open), "{left:#?}");
        if let [opened] = opened.as_slice() {
            assert_eq!(
                (&opened["path"], &opened["status"], &opened["decision"], &opened["outcome"]),
                (&json!("/ws"), &json!(101), &json!("allow"), &Value::Null)
            );
        }
        assert_eq!((&end["bytes_up"], &end["outcome"]), (&json!(4), &json!("ok")));
    }
}

#[tokio::test]
async fn l3_a_tunnel_and_its_connection_last_as_long_as_the_websocket_inside() {
    for inside in [true, false] {
        let origin = Origin::http([Reply::upgrade("websocket")]).await;
        let gateway = Gateway::allowing([("good.test", &origin)]).await;
        let target = format!("good.test:{}", origin.port());
        let mut client =
            if inside { Client::tunnel(gateway.proxy(), &target).await } else { gateway.client().await };
        client.send(request("GET", &origin, "/ws", UPGRADE)).await;
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
        client.send("ping").await;
        client.expect("ping").await;
        let ended = |record: &&Value| record["kind"] == "connection" || record["kind"] == "request";
        let records = gateway.records().await;
        assert_eq!(records.iter().find(ended), None, "nothing has ended");
        let (_, metrics) = gateway.admin_get("/metrics").await;
        for (ingress, count) in [("connect", usize::from(inside)), ("http", 1)] {
            let line = format!("sluicegate_connections_active{{ingress=\"{ingress}\"}} {count}");
            let never =
                count == 0 && !metrics.contains(&format!("connections_active{{ingress=\"{ingress}\"}}"));
            assert!(never || metrics.contains(&line), "{line}: {metrics}");
        }
        client.send("more").await;
        client.expect("more").await;
        client.reset();
        assert_eq!(origin.wait_for_end(0).await, End::Reset);
        let calls = gateway.calls(if inside { 2 } else { 1 }).await;
        let request = only(&calls, "request");
        assert_eq!((&request["bytes_up"], &request["bytes_down"]), (&json!(8), &json!(8)));
        assert_eq!(request["outcome"], "client_failed");
        if inside {
            let tunnel = only(&calls, "connection");
            assert_eq!((&tunnel["bytes_up"], &tunnel["bytes_down"]), (&json!(8), &json!(8)), "{tunnel}");
            assert_eq!(tunnel["outcome"], "client_failed");
            assert!(tunnel["seq"].as_u64() > request["seq"].as_u64());
            assert!(tunnel["duration_ms"].as_f64() >= request["duration_ms"].as_f64());
        }
    }
}

#[tokio::test]
async fn l3_a_stop_ends_a_websocket_and_the_tunnel_around_it_with_a_record_each() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
    client.send(request("GET", &origin, "/ws", UPGRADE)).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.send("ping").await;
    client.expect("ping").await;
    let records = gateway.stop().await;
    for kind in ["request", "connection"] {
        let end = only(&records, kind);
        assert_eq!((&end["outcome"], &end["bytes_up"]), (&json!("drained"), &json!(4)), "{end}");
    }
}

#[tokio::test]
async fn curl_reaches_what_is_allowed_and_reads_why_not() {
    let Some(curl) = tool::find("curl") else { return };
    let origin = Origin::http([Reply::chunked(["hel", "lo"]), Reply::ok("posted"), Reply::ok("put")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let proxy = format!("http://{}", gateway.proxy());
    let url = |path: &str| format!("http://good.test:{}{path}", origin.port());
    // Two URLs on one connection to the proxy, the second with a body, under Expect: 100-continue.
    let ran = tool::run(
        &curl,
        [
            "-sS",
            "-x",
            &proxy,
            &url("/a/../b"),
            "--next",
            "-sS",
            "-x",
            &proxy,
            "-H",
            "Expect: 100-continue",
            "-d",
            "x=1",
            &url("/p"),
        ],
    )
    .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "helloposted"), "{}", ran.stderr);
    assert!(origin.received(0).starts_with("GET /b HTTP/1.1\r\n"), "{}", origin.received(0));
    assert!(origin.received(0).ends_with("x=1"));
    let ran = tool::run(&curl, ["-sS", "-x", &proxy, "-i", "http://denied.test/x"]).await;
    assert!(
        ran.stdout.starts_with("HTTP/1.1 403 ") && ran.stdout.contains("x-deny-reason: default_deny"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("add \\\"denied.test\\\" to hostRules"), "{}", ran.stdout);
    // A prior-knowledge HTTP/2 client and one that offers h2c are told, not hung.
    let ran = tool::run(
        &curl,
        ["-sS", "-x", &proxy, "--http2", "-o", "/dev/null", "-w", "%{http_code}", &url("/")],
    )
    .await;
    assert!(ran.stdout == "400" || ran.stdout == "200", "{} {}", ran.stdout, ran.stderr);
    let ran = tool::run(&curl, ["-sS", "-p", "-x", &proxy, &url("/tunnel")]).await;
    assert_eq!((ran.code, ran.stdout.is_empty()), (0, false), "{}", ran.stderr);
}

#[tokio::test]
async fn python_requests_works_through_the_proxy() {
    let Some(python) = tool::find("python") else { return };
    let origin = Origin::http([Reply::ok("one"), Reply::chunked(["t", "wo"]), Reply::ok("three")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let script = "
import sys, requests
proxy, url = sys.argv[1:]
session = requests.Session()
session.trust_env = False
session.proxies = {'http': proxy, 'https': proxy}
print(session.get(url + '/1', timeout=10).text)
print(session.post(url + '/2', data=iter([b'a', b'bc']), timeout=10).text)
print(session.post(url + '/3', data=b'x' * 100000, timeout=10).text)
denied = session.get('http://denied.test/', timeout=10)
print(denied.status_code, denied.headers['x-deny-reason'], denied.json()['error']['target'])
try:
    session.get('https://denied.test/', timeout=10)
except requests.exceptions.ProxyError as error:
    print('403' in str(error))
";
    let (proxy, url) = (format!("http://{}", gateway.proxy()), format!("http://good.test:{}", origin.port()));
    let ran = tool::run(&python, ["-c", script, &proxy, &url]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "one\ntwo\nthree\n403 default_deny denied.test:80\nTrue\n");
    assert_eq!(origin.connections(), 1);
    let calls = gateway.calls(5).await;
    let up: Vec<&Value> = calls.iter().map(|call| &call["bytes_up"]).take(3).collect();
    assert_eq!(up, [&json!(0), &json!(3), &json!(100_000)]);
}

#[tokio::test]
async fn python_websockets_works_through_the_proxy() {
    let Some(python) = tool::find("python") else { return };
    // The script takes any free port.
    let gateway = Gateway::start("mode: Limited\nhostRules: [127.0.0.8]\nports: [1-65535]\n").await;
    // The library asks for a tunnel; the second client asks in absolute form, as some do for ws://.
    let script = "
import asyncio, sys, socket, websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
proxy = sys.argv[1]

async def echo(socket):
    async for message in socket:
        await socket.send(message[::-1])

async def converse(client):
    await client.send('hello')
    print(await client.recv())
    await client.send(b'x' * 300000)
    print(len(await client.recv()))
    await client.ping()

async def absolute(url):
    host, proxy_port = proxy.removeprefix('http://').split(':')
    class Rewrite(websockets.client.ClientProtocol):
        def send_request(self, request):
            request.path = url.replace('ws:', 'http:')
            super().send_request(request)
    raw = socket.create_connection((host, int(proxy_port)))
    raw.setblocking(False)
    import websockets.asyncio.client as library
    previous = library.ClientProtocol
    library.ClientProtocol = Rewrite
    try:
        return await connect(url, sock=raw, proxy=None)
    finally:
        library.ClientProtocol = previous

async def main():
    async with serve(echo, '127.0.0.8', 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f'ws://127.0.0.8:{port}/ws'
        async with connect(url, proxy=proxy) as client:
            await converse(client)
        client = await absolute(url)
        await converse(client)
        await client.close()
        print(client.close_code)
        try:
            await connect('ws://denied.test/', proxy=proxy)
        except websockets.exceptions.InvalidProxyStatus as error:
            print(error.response.status_code)

asyncio.run(main())
";
    let ran = tool::run(&python, ["-c", script, &format!("http://{}", gateway.proxy())]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "olleh\n300000\nolleh\n300000\n1000\n403\n");
    let calls = gateway.calls(4).await;
    let upgraded =
        |call: &&Value| call["status"] == 101 && call["path"] == "/ws" && call["kind"] == "request";
    assert_eq!(calls.iter().filter(upgraded).count(), 2, "{calls:#?}");
    assert!(
        calls.iter().filter(|call| call["decision"] == "allow").all(|call| call["outcome"] == "ok"),
        "{calls:#?}"
    );
}
