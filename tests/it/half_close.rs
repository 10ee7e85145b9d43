//! Clients that close their side behind a request and read on, and those that are gone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::within;

/// Longer than any test waits.
const NEVER: Duration = Duration::from_hours(1);

/// An origin that does nothing by itself.
struct Still {
    listener: TcpListener,
    authority: String,
}

impl Still {
    /// An origin, and a gateway that allows it and ends nothing by a limit of time.
    async fn start() -> (Self, Gateway) {
        let listener = TcpListener::bind("127.0.0.8:0").await.expect("a free port");
        let authority = listener.local_addr().expect("bound").to_string();
        let policy = format!("mode: Limited\nhostRules: ['{authority}', good.test]\n");
        let gateway = Gateway::with(&policy, |config| {
            config.limits.idle_timeout = NEVER;
            config.limits.header_timeout = NEVER;
        })
        .await;
        (Self { listener, authority }, gateway)
    }

    /// A request for it.
    fn request(&self, method: &str, fields: &str) -> String {
        let Self { authority, .. } = self;
        format!("{method} http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
    }

    /// Its side of a connection, after the head of a request.
    async fn asked(&self) -> Client {
        let accepted = within("a connection to the origin", self.listener.accept()).await;
        let mut origin = Client::over(accepted.expect("a connection").0);
        origin.head().await;
        origin
    }
}

/// The outcomes of the calls of a kind, in order.
fn outcomes<'a>(calls: &'a [Value], kind: &str) -> Vec<&'a str> {
    let of_kind = calls.iter().filter(|call| call["kind"] == kind);
    of_kind.map(|call| call["outcome"].as_str().expect("an outcome")).collect()
}

/// Lets the gateway do what there is to do: it answers somebody else meanwhile, more than once.
async fn goes_round(gateway: &Gateway) {
    for _ in 0..8 {
        let mut other = gateway.client().await;
        let refused = other.ask("GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n\r\n").await;
        assert_eq!(refused.status, 403);
    }
}

#[tokio::test]
async fn a_client_that_finishes_behind_its_request_gets_the_whole_answer() {
    let until_close = || Reply::raw("HTTP/1.1 200 OK\r\n\r\nhello").then_close();
    let cases = [
        ("GET", "1.1", "", "", Reply::ok("hello")),
        ("GET", "1.1", "", "", Reply::chunked(["hel", "lo"])),
        ("GET", "1.1", "", "", until_close()),
        ("GET", "1.0", "", "", Reply::ok("hello")),
        ("GET", "1.0", "", "", Reply::chunked(["hel", "lo"])),
        ("GET", "1.0", "", "", until_close()),
        ("POST", "1.1", "Content-Length: 5\r\n", "abcde", Reply::ok("hello")),
        ("POST", "1.1", "Transfer-Encoding: chunked\r\n", "5\r\nabcde\r\n0\r\n\r\n", Reply::ok("hello")),
        ("POST", "1.0", "Content-Length: 5\r\n", "abcde", Reply::ok("hello")),
    ];
    for (method, version, fields, body, reply) in cases {
        let origin = Origin::http([reply]).await;
        let gateway = Gateway::allowing([("good.test", &origin)]).await;
        let authority = format!("good.test:{}", origin.port());
        let head =
            format!("{method} http://{authority}/ HTTP/{version}\r\nHost: {authority}\r\n{fields}\r\n");
        let mut client = gateway.client().await;
        client.send(format!("{head}{body}")).await;
        client.finish().await;
        let answer = client.response(false).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "{head}");
        client.expect_end().await;
        let call = &gateway.calls(1).await[0];
        let up = if body.is_empty() { 0 } else { 5 };
        assert_eq!(
            (&call["outcome"], &call["bytes_up"], &call["bytes_down"]),
            (&json!("ok"), &json!(up), &json!(5)),
            "{head}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_begins_long_after_the_fin_arrives_piece_by_piece() {
    let (still, gateway) = Still::start().await;
    for body in ["", "abcde"] {
        let mut client = gateway.client().await;
        let request = still.request("POST", &format!("Content-Length: {}\r\n", body.len()));
        client.send(format!("{request}{body}")).await;
        client.finish().await;
        let mut origin = still.asked().await;
        origin.expect(body).await;
        for piece in ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "3\r\none\r\n", "3\r\ntwo\r\n"]
        {
            goes_round(&gateway).await;
            origin.send(piece).await;
            match piece.strip_prefix("HTTP/") {
                Some(_) => assert!(client.head().await.starts_with("HTTP/1.1 200 ")),
                None => client.expect(piece).await,
            }
        }
        origin.send("0\r\n\r\n").await;
        client.expect("0\r\n\r\n").await;
        client.expect_end().await;
        origin.expect_end().await;
    }
    let is_ok = |call: &&Value| call["decision"] == "allow" && call["outcome"] == "ok";
    assert_eq!(gateway.records().await.iter().filter(is_ok).count(), 2);
}

#[tokio::test]
async fn requests_before_a_fin_are_each_judged_and_answered_in_order() {
    let origin = Origin::http([Reply::ok("one"), Reply::chunked(["t", "wo"])]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = format!("good.test:{}", origin.port());
    let ask = |authority: &str| format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let mut client = gateway.client().await;
    client.send([ask(&good), ask("denied.test"), ask(&good)].concat()).await;
    client.finish().await;
    assert_eq!(client.response(false).await.body, "one");
    assert_eq!(client.response(false).await.status, 403);
    assert_eq!(client.response(false).await.body, "two");
    client.expect_end().await;
    assert_eq!(outcomes(&gateway.calls(3).await, "request"), ["ok", "refused", "ok"]);
    // What is left of a fourth one when the FIN comes is refused in the record, not forgotten.
    let mut client = gateway.client().await;
    client.send(format!("{}GET http://good", ask(&good))).await;
    client.finish().await;
    assert_eq!(client.response(false).await.status, 200);
    client.expect_end().await;
    let calls = gateway.calls(5).await;
    assert_eq!((&calls[4]["reason"], &calls[4]["outcome"]), (&json!("bad_request"), &json!("refused")));
}

#[tokio::test]
async fn a_client_that_finishes_inside_a_tunnel_gets_the_whole_answer() {
    let (still, gateway) = Still::start().await;
    let mut client = Client::tunnel(gateway.proxy(), &still.authority).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", still.authority)).await;
    client.finish().await;
    let mut origin = still.asked().await;
    goes_round(&gateway).await;
    origin.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let answer = client.response(false).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello"));
    client.expect_end().await;
    origin.expect_end().await;
    let is_ended = |record: &Value| record["kind"] == "connection" && record["outcome"] != "open";
    let records = gateway.wait_for("the tunnel to end", |records| records.iter().any(is_ended)).await;
    let allowed: Vec<_> = records.into_iter().filter(|record| record["decision"] == "allow").collect();
    assert_eq!(outcomes(&allowed, "request"), ["ok"]);
    assert_eq!(outcomes(&allowed, "connection"), ["ok"]);
}

#[tokio::test]
async fn a_fin_behind_a_connect_or_an_upgrade_is_passed_on_once_it_is_granted() {
    let origin = Origin::start(Behaviour::AfterFin(b"bye".to_vec())).await;
    let websocket = Origin::http([Reply::upgrade("websocket")]).await;
    let gateway = Gateway::allowing([("good.test", &origin), ("ws.test", &websocket)]).await;
    let (good, ws) = (format!("good.test:{}", origin.port()), format!("ws.test:{}", websocket.port()));
    let mut client = gateway.client().await;
    client.send(format!("CONNECT {good} HTTP/1.1\r\nHost: {good}\r\n\r\n\x01ping")).await;
    client.finish().await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.rest().await, b"bye");
    assert_eq!(origin.connection(0).received, b"\x01ping");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let mut client = gateway.client().await;
    client.send(format!("GET http://{ws}/ HTTP/1.1\r\nHost: {ws}\r\n{upgrade}\r\nping")).await;
    client.finish().await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(client.rest().await, b"ping");
    assert!(gateway.calls(2).await.iter().all(|call| call["outcome"] == "ok"));
    // One that is refused is told, and the connection ends there.
    let mut client = gateway.client().await;
    client.send("CONNECT denied.test:443 HTTP/1.1\r\nHost: denied.test:443\r\n\r\n").await;
    client.finish().await;
    assert_eq!(client.response(false).await.status, 403);
    client.expect_end().await;
}

#[tokio::test]
async fn a_reset_ends_a_request_at_once_at_every_moment() {
    for (finished, begun) in [(false, false), (true, false), (false, true), (true, true)] {
        let (still, gateway) = Still::start().await;
        let mut client = gateway.client().await;
        client.send(still.request("GET", "")).await;
        if finished {
            client.finish().await;
        }
        let mut origin = still.asked().await;
        if begun {
            origin.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
            client.head().await;
            client.expect("hello").await;
        }
        // The origin is silent from here on: nothing but the reset itself can end the request.
        client.reset();
        assert!(origin.expect_closed().await.is_empty());
        let call = &gateway.calls(1).await[0];
        let what = format!("finished: {finished}, begun: {begun}");
        assert_eq!(
            (&call["outcome"], &call["decision"]),
            (&json!("client_closed"), &json!("allow")),
            "{what}"
        );
        assert_eq!(call["bytes_down"], if begun { 5 } else { 0 }, "{what}");
    }
}

#[tokio::test]
async fn a_reset_behind_other_requests_ends_the_one_under_way() {
    let (still, gateway) = Still::start().await;
    let mut client = gateway.client().await;
    // The second request lies in the socket unread: the reset must not wait until it is its turn.
    client.send(still.request("GET", "").repeat(2)).await;
    let mut origin = still.asked().await;
    client.reset();
    assert!(origin.expect_closed().await.is_empty());
    assert_eq!(outcomes(&gateway.calls(1).await, "request"), ["client_closed"]);
}

#[tokio::test]
async fn a_reset_inside_a_tunnel_ends_its_request_and_the_tunnel() {
    let (still, gateway) = Still::start().await;
    let mut client = Client::tunnel(gateway.proxy(), &still.authority).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", still.authority)).await;
    client.finish().await;
    let mut origin = still.asked().await;
    client.reset();
    assert!(origin.expect_closed().await.is_empty());
    let calls = gateway.calls(2).await;
    assert_eq!(outcomes(&calls, "request"), ["client_closed"]);
    assert_eq!(outcomes(&calls, "connection"), ["client_closed"]);
    // Between two requests it ends the tunnel alone, which says so.
    let (still, gateway) = Still::start().await;
    let mut client = Client::tunnel(gateway.proxy(), &still.authority).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", still.authority)).await;
    let mut origin = still.asked().await;
    origin.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(client.response(false).await.body, "hello");
    client.reset();
    origin.expect_end().await;
    let calls = gateway.calls(2).await;
    assert_eq!(outcomes(&calls, "request"), ["ok"]);
    assert_eq!(outcomes(&calls, "connection"), ["client_closed"]);
}

#[tokio::test]
async fn a_reset_ends_a_connect_that_waits_for_its_name() {
    let (_still, gateway) = Still::start().await;
    gateway.dns.says("good.test", Answer::Silent);
    let mut client = gateway.client().await;
    client.send("CONNECT good.test:443 HTTP/1.1\r\nHost: good.test:443\r\n\r\n").await;
    gateway.dns.wait_for_query("good.test").await;
    client.reset();
    // Without the reset it would be the name that ends it, seconds later.
    assert_eq!(outcomes(&gateway.calls(1).await, "connection"), ["client_closed"]);
}

#[tokio::test]
async fn r4_a_reset_ends_an_upload_that_is_held_back() {
    const TOTAL: usize = 64 << 20;
    let (still, gateway) = Still::start().await;
    let mut client = TcpStream::connect(gateway.proxy()).await.expect("a connection");
    let head = still.request("POST", &format!("Content-Length: {TOTAL}\r\n"));
    client.write_all(head.as_bytes()).await.expect("sent");
    let origin = still.asked().await;
    // Until nobody takes any more: what hyper does not read it cannot see the end of.
    let block = vec![b'x'; 64 << 10];
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(300), client.write(&block)).await {
        written.expect("an open connection");
    }
    Client::over(client).reset();
    assert_eq!(outcomes(&gateway.calls(1).await, "request"), ["client_closed"]);
    drop(origin);
}

#[tokio::test]
async fn a_client_that_closed_altogether_is_noticed_by_what_it_is_sent() {
    let (still, gateway) = Still::start().await;
    let mut client = gateway.client().await;
    client.send(still.request("GET", "")).await;
    let mut origin = still.asked().await;
    drop(client);
    goes_round(&gateway).await;
    // A FIN is all that was seen of it, and may be a half-close: the first bytes tell.
    origin.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\nhello").await;
    assert!(origin.expect_closed().await.is_empty());
    let is_left = |call: &Value| call["outcome"] == "client_closed" && call["status"] == 200;
    gateway.wait_for("the record of a client that left", |records| records.iter().any(is_left)).await;
}

#[tokio::test]
async fn a_body_cut_off_by_a_fin_is_a_client_that_left() {
    let bodies = [("Content-Length: 100\r\n", "some"), ("Transfer-Encoding: chunked\r\n", "4\r\nsome\r\n")];
    for (fields, body) in bodies {
        let (still, gateway) = Still::start().await;
        let mut client = gateway.client().await;
        client.send(format!("{}{body}", still.request("POST", fields))).await;
        let mut origin = still.asked().await;
        client.finish().await;
        assert!(!origin.expect_closed().await.ends_with(b"0\r\n\r\n"), "a cut body does not look whole");
        let call = &gateway.calls(1).await[0];
        assert_eq!((&call["outcome"], &call["decision"]), (&json!("client_closed"), &json!("allow")));
        // The connection ends, and is not held for the hour that the limits allow.
        client.expect_closed().await;
    }
}

#[tokio::test]
async fn a_fin_between_two_requests_closes_the_connection_at_once() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let authority = origin.address().to_string();
    let gateway = Gateway::with(&format!("mode: Limited\nhostRules: ['{authority}']\n"), |config| {
        config.limits.idle_timeout = NEVER;
        config.limits.header_timeout = NEVER;
    })
    .await;
    let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let mut client = gateway.client().await;
    assert_eq!(client.ask(&request).await.status, 200);
    assert_eq!(client.ask(&request).await.status, 200);
    client.finish().await;
    client.expect_end().await;
    assert_eq!(origin.wait_for_end(0).await, End::Fin);
    // So does one before the first.
    let mut client = gateway.client().await;
    client.finish().await;
    client.expect_end().await;
    // And a reset, which ends no request either.
    let mut client = gateway.client().await;
    assert_eq!(client.ask(&request).await.status, 200);
    client.reset();
    assert_eq!(origin.wait_for_end(1).await, End::Fin);
    let calls = gateway.calls(4).await;
    assert_eq!(outcomes(&calls, "request"), ["ok", "ok", "ok"]);
    assert_eq!(outcomes(&calls, "connection"), ["refused"]);
}

#[tokio::test]
async fn r1_a_client_that_finished_is_still_bound_by_the_idle_limit() {
    let (still, _) = Still::start().await;
    let policy = format!("mode: Limited\nhostRules: ['{}']\n", still.authority);
    let gateway = Gateway::with(&policy, |config| config.limits.idle_timeout = Duration::from_secs(1)).await;
    let mut client = gateway.client().await;
    client.send(still.request("GET", "")).await;
    client.finish().await;
    let mut origin = still.asked().await;
    let late = client.response(false).await;
    assert_eq!((late.status, late.header("x-deny-reason")), (504, Some("upstream_failed")));
    client.expect_end().await;
    assert!(origin.expect_closed().await.is_empty());
    assert_eq!(gateway.calls(1).await[0]["outcome"], "timeout");
    // In the middle of an answer there is nothing left to say but the end.
    let mut client = gateway.client().await;
    client.send(still.request("GET", "")).await;
    client.finish().await;
    let mut origin = still.asked().await;
    origin.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    client.head().await;
    client.expect("hello").await;
    assert!(client.expect_closed().await.is_empty());
    assert!(origin.expect_closed().await.is_empty());
    assert_eq!(gateway.calls(2).await[1]["outcome"], "idle");
}
