//! A connection to an origin that is used again: for whom, after what, and what the record says of it.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use sluicegate::config::{SandboxSettings, TokenSource};

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{End, Origin};

/// A request without a body.
fn request(method: &str, authority: &str, path: &str, fields: &str) -> String {
    format!("{method} http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
}

/// `good.test:port`.
fn good(origin: &Origin) -> String {
    format!("good.test:{}", origin.port())
}

#[tokio::test]
async fn p1_a_kept_connection_is_not_used_for_another_sandbox() {
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "0123456789abcdef0123456789abcdef").expect("written");
    let token = TokenSource::File(secret.path().to_str().expect("UTF-8").into());
    let origin = Origin::http([Reply::ok("hello")]).await;
    let good = good(&origin);
    let gateway = Gateway::with(&format!("mode: Limited\nhostRules: ['{good}']\n"), |config| {
        let sandbox = |id: &str| SandboxSettings {
            id: Arc::from(id),
            group: None,
            sources: Vec::new(),
            token: Some(token.clone()),
            require_policy: false,
        };
        config.sandboxes = vec![sandbox("one"), sandbox("two")];
    })
    .await;
    gateway.name("good.test", &origin);
    let mut client = gateway.client().await;
    for (id, connections) in [("one", 1), ("one", 1), ("two", 2), ("two", 2), ("one", 3)] {
        let shown = BASE64_STANDARD.encode(format!("{id}:0123456789abcdef0123456789abcdef"));
        let fields = format!("Proxy-Authorization: Basic {shown}\r\n");
        assert_eq!(client.ask(request("GET", &good, "/", &fields)).await.status, 200, "{id}");
        assert_eq!(origin.connections(), connections, "{id}");
    }
    let calls = gateway.calls(5).await;
    let sandboxes: Vec<_> = calls.iter().filter_map(|call| call["sandbox"].as_str()).collect();
    assert_eq!(sandboxes, ["one", "one", "two", "two", "one"]);
}

#[tokio::test]
async fn f2_a_chunked_body_reaches_the_origin_whatever_the_method() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    for (at, method) in ["GET", "HEAD", "DELETE", "OPTIONS", "POST"].into_iter().enumerate() {
        let asked = request(method, &good, "/", "Transfer-Encoding: chunked\r\n");
        let mut client = gateway.client().await;
        assert_eq!(client.ask(format!("{asked}5\r\nfirst\r\n0\r\n\r\n")).await.status, 200, "{method}");
        let received = origin.received(at);
        assert!(received.contains("\r\ntransfer-encoding: chunked\r\n"), "{method}: {received}");
        assert!(received.ends_with("\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"), "{method}: {received}");
        let call = &gateway.calls(at + 1).await[at];
        assert_eq!((&call["bytes_up"], &call["outcome"]), (&json!(5), &json!("ok")), "{method}: {call:#}");
    }
    // An empty one is still one.
    let asked = request("GET", &good, "/", "Transfer-Encoding: chunked\r\n");
    assert_eq!(gateway.client().await.ask(format!("{asked}0\r\n\r\n")).await.status, 200);
    assert!(origin.received(5).ends_with("\r\n\r\n0\r\n\r\n"), "{}", origin.received(5));
}

#[tokio::test]
async fn a_request_whose_answer_has_begun_is_not_sent_again() {
    for begun in ["H", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\ncontent-", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        for method in ["GET", "DELETE"] {
            let origin = Origin::http([Reply::ok("hello"), Reply::raw(begun).then_close()]).await;
            let gateway = Gateway::allowing([("good.test", &origin)]).await;
            let good = good(&origin);
            let mut client = gateway.client().await;
            assert_eq!(client.ask(request("GET", &good, "/first", "")).await.status, 200);
            let refused = client.ask(request(method, &good, "/second", "")).await;
            assert_eq!(refused.header("x-deny-reason"), Some("upstream_failed"), "{method} {begun:?}");
            assert_eq!(origin.connections(), 1, "{method} {begun:?}");
        }
    }
}

#[tokio::test]
async fn a_failed_dial_names_each_address_and_the_rule_that_allowed_it() {
    // Bound on both and listening on neither, so that no other test gets the port.
    let bind = |address: &str| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let address: std::net::SocketAddr = address.parse().expect("an address");
        socket.bind(&address.into()).expect("a free port");
        socket
    };
    let held = bind("127.0.0.8:0");
    let port = held.local_addr().expect("bound").as_socket().expect("an IP address").port();
    let _held_too = bind(&format!("127.0.0.9:{port}"));
    let good = format!("good.test:{port}");
    let gateway = Gateway::start(&format!("mode: Limited\nhostRules: ['{good}']\n")).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8", "127.0.0.9"]));
    let connect = format!("CONNECT {good} HTTP/1.1\r\nHost: {good}\r\n\r\n");
    for (at, asked) in [request("GET", &good, "/", ""), connect].into_iter().enumerate() {
        let refused = gateway.client().await.ask(asked).await;
        assert_eq!((refused.status, refused.header("x-deny-reason")), (502, Some("upstream_failed")));
        assert!(!refused.body.contains("127.0.0."), "an address is not for the client: {}", refused.body);
        let call = &gateway.calls(at + 1).await[at];
        let error = call["error"].as_str().unwrap_or_default();
        for address in ["127.0.0.8", "127.0.0.9"] {
            assert!(error.contains(&format!("{address}:{port} refused")), "{call:#}");
        }
        assert_eq!(call["address"], format!("127.0.0.9:{port}"), "the last one: {call:#}");
        assert!(call["rule"].as_str().is_some_and(|rule| rule.ends_with(&good)), "{call:#}");
        assert_eq!(call["policy"], "policy", "{call:#}");
    }
}

#[tokio::test]
async fn an_answer_that_the_origin_cuts_off_says_in_its_record_what_went_wrong() {
    for (cut, error) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "end of file before message length reached"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\nx\r\n", "Invalid chunk size"),
    ] {
        let origin = Origin::http([Reply::raw(cut).then_close()]).await;
        let gateway = Gateway::allowing([("good.test", &origin)]).await;
        let mut client = gateway.client().await;
        client.send(request("GET", &good(&origin), "/", "")).await;
        client.expect_closed().await;
        let call = &gateway.calls(1).await[0];
        assert_eq!(call["outcome"], "upstream_closed", "{call:#}");
        assert!(call["error"].as_str().is_some_and(|said| said.contains(error)), "{call:#}");
    }
}

#[tokio::test]
async fn a_request_on_a_kept_connection_tells_its_route_like_any_other() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let mut client = gateway.client().await;
    let mut tunnel = Client::tunnel(gateway.proxy(), &good).await;
    for _ in 0..2 {
        assert_eq!(client.ask(request("GET", &good, "/", "")).await.status, 200);
        let inside = format!("GET / HTTP/1.1\r\nHost: {good}\r\n\r\n");
        assert_eq!(tunnel.ask(inside).await.status, 200);
    }
    assert_eq!(origin.connections(), 2);
    for call in gateway.calls(4).await {
        assert_eq!((&call["route"], &call["network"]), (&json!("managed"), &json!("managed")), "{call:#}");
        assert_eq!(call["address"], format!("127.0.0.8:{}", origin.port()), "{call:#}");
    }
}

#[tokio::test]
async fn p4_a_connection_that_waits_for_its_next_request_is_closed_when_the_policy_changes() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let mut client = gateway.client().await;
    assert_eq!(client.ask(request("GET", &good, "/", "")).await.status, 200);
    gateway.set_policy("mode: Limited\nhostRules: [other.test]\n").await;
    assert_eq!(origin.wait_for_end(0).await, End::Fin);
    let denied = client.ask(request("GET", &good, "/", "")).await;
    assert_eq!(denied.header("x-deny-reason"), Some("default_deny"));
    assert_eq!(origin.connections(), 1);
}
