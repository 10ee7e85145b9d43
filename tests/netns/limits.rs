//! What bounds redirected connections, and what outlives or ends them.

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, End};
use crate::tls::{POLICY, hello};
use crate::topology::{CONFIG, LITERAL, ORIGIN, Topology};

/// A gateway under this configuration besides the usual one.
async fn net(label: &str, more: &str) -> Option<Topology> {
    let mut net = Topology::new(label)?;
    net.redirect();
    net.dns.says("good.test", Answer::addresses([ORIGIN]));
    net.gateway(POLICY, &format!("{CONFIG}{more}")).await;
    Some(net)
}

/// An opaque connection that is known to be open at its origin.
async fn open(net: &Topology) -> Client {
    let mut client = net.connect(&format!("{LITERAL}:9000"));
    client.send(b"\0\x01opaque").await;
    client.expect(b"\0\x01opaque").await;
    client
}

#[tokio::test]
async fn r2_i4_one_connection_too_many_is_reset_and_recorded() {
    let Some(net) = net("limit", "limits: {connections: 2, perSandbox: {connections: 2}}\n").await else {
        return;
    };
    let _origin = net.origin(&format!("{LITERAL}:9000"), Behaviour::Echo);
    let (first, _second) = (open(&net).await, open(&net).await);
    let mut third = net.connect(&format!("{LITERAL}:9000"));
    let from = third.local().to_string();
    assert!(third.expect_reset().await.is_empty());
    let record = net.record_of(&from).await;
    assert_eq!((&record["reason"], &record["ingress"]), (&"limit".into(), &"transparent_tcp".into()));
    assert_eq!((&record["host"], &record["port"]), (&LITERAL.into(), &9000.into()));
    let from = first.local().to_string();
    first.reset();
    net.record_of(&from).await;
    open(&net).await;
}

#[tokio::test]
async fn r2_i4_redirected_connections_that_are_nobodys_make_room_for_those_of_a_sandbox() {
    const FEW: usize = 8;
    let Some(mut net) = Topology::new("nobody") else { return };
    net.redirect();
    net.dns.says("good.test", Answer::addresses([ORIGIN]));
    let config = CONFIG.replace("10.200.1.2/32", "10.200.1.3/32");
    net.gateway(POLICY, &format!("{config}limits: {{connections: {FEW}}}\n")).await;
    let _origin = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![Reply::ok("x")]));
    // Each has begun to say something, and does not end.
    let begun = async || {
        let mut client = net.connect(&format!("{ORIGIN}:80"));
        let _may_be_refused = client.try_send("GET ").await;
        client
    };
    let mut slow = Vec::new();
    for _ in 0..2 * FEW {
        slow.push(begun().await);
    }
    let served = async {
        loop {
            let mut client = net.sandbox(2).connect(&format!("{ORIGIN}:80"));
            let _may_be_refused = client.try_send("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await;
            if client.expect_closed_or_head().await.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    crate::kit::within("a sandbox to be served", served).await;
    let made_room = |record: &serde_json::Value| {
        record["error"].as_str().is_some_and(|text| text.contains("have not said"))
    };
    let records = net.records("one that made room", |all| all.iter().any(made_room)).await;
    let record = records.into_iter().find(made_room).unwrap();
    assert_eq!((&record["reason"], &record["sandbox"]), (&"limit".into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn r1_i4_an_idle_redirected_connection_ends_at_the_limit() {
    let Some(net) = net("idle", "limits: {idleTimeoutMs: 300}\n").await else { return };
    let _origin = net.origin(&format!("{LITERAL}:9000"), Behaviour::Echo);
    let mut client = open(&net).await;
    let from = client.local().to_string();
    assert!(client.expect_reset().await.is_empty());
    assert_eq!(net.record_of(&from).await["outcome"], "idle");
}

#[tokio::test]
async fn i4_a_reset_of_either_side_reaches_the_other() {
    let Some(net) = net("reset", "").await else { return };
    let origin = net.origin(&format!("{LITERAL}:9000"), Behaviour::Echo);
    let client = open(&net).await;
    let from = client.local().to_string();
    client.reset();
    assert_eq!(origin.wait_for_end(0).await, End::Reset);
    assert_eq!(net.record_of(&from).await["outcome"], "client_failed");
    let _resets = net.origin(&format!("{LITERAL}:9001"), Behaviour::Reset(4));
    let mut client = net.connect(&format!("{LITERAL}:9001"));
    let from = client.local().to_string();
    client.send(b"\0\x01\x02\x03").await;
    client.expect_reset().await;
    assert_eq!(net.record_of(&from).await["outcome"], "upstream_failed");
}

#[tokio::test]
async fn i4_a_client_that_goes_before_it_said_anything_leaves_a_record() {
    let Some(net) = net("gone", "").await else { return };
    let client = net.connect(&format!("{ORIGIN}:443"));
    let from = client.local().to_string();
    client.reset();
    assert_eq!(net.record_of(&from).await["outcome"], "client_failed");
    let mut client = net.connect(&format!("{ORIGIN}:443"));
    let from = client.local().to_string();
    client.finish().await;
    client.expect_closed().await;
    let record = net.record_of(&from).await;
    assert_eq!((&record["reason"], &record["outcome"]), (&"default_deny".into(), &"refused".into()));
}

#[tokio::test]
async fn i4_an_origin_that_cannot_be_reached_is_told_in_the_form_of_the_client() {
    let Some(net) = net("closed", "").await else { return };
    let mut client = net.connect(&format!("{ORIGIN}:443"));
    let from = client.local().to_string();
    client.send(hello(Some("good.test"), &[])).await;
    // No policy refuses it, so no alert says so.
    assert!(client.expect_reset().await.is_empty());
    assert_eq!(net.record_of(&from).await["reason"], "upstream_failed");
    let mut client = net.connect(&format!("{ORIGIN}:80"));
    let answer = client.ask("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (502, Some("upstream_failed")));
}

#[tokio::test]
async fn i1_i4_another_hello_of_a_redirected_handshake_is_for_the_same_server() {
    const RANDOM: &str = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";
    let Some(net) = net("retry", "").await else { return };
    let random = (0..32).map(|at| u8::from_str_radix(&RANDOM[2 * at..2 * at + 2], 16).unwrap());
    let extensions = [0, 12, 0, 0x2b, 0, 2, 3, 4, 0, 0x33, 0, 2, 0, 0x18];
    let body = [&[3, 3][..], &random.collect::<Vec<u8>>(), &[0, 0x13, 1, 0], &extensions].concat();
    let length = u8::try_from(body.len()).unwrap();
    let retry = [&[22, 3, 3, 0, length + 4, 2, 0, 0, length][..], &body].concat();
    let origin = net.origin(&format!("{ORIGIN}:443"), Behaviour::Banner(retry.clone()));
    let mut client = net.connect(&format!("{ORIGIN}:443"));
    let from = client.local().to_string();
    let first = hello(Some("good.test"), &[]);
    client.send(&first).await;
    client.expect(&retry).await;
    origin.wait_for_bytes(0, &first).await;
    client.send(hello(Some("also-good.test"), &[])).await;
    client.expect_closed().await;
    assert_eq!(net.record_of(&from).await["reason"], "authority_mismatch");
    assert_eq!(origin.connection(0).received, first);
}

#[tokio::test]
async fn i4_a_websocket_over_redirected_http_passes_and_ends_with_its_policy() {
    const ASK: &str = "GET /chat HTTP/1.1\r\nHost: good.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let Some(net) = net("upgrade", "").await else { return };
    let reply = Reply::upgrade("websocket");
    let _origin = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![reply]));
    let mut client = net.connect(&format!("{ORIGIN}:80"));
    let from = client.local().to_string();
    client.send(ASK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.send("frame").await;
    client.expect("frame").await;
    net.set_policy("mode: Limited\n").await;
    client.expect_reset().await;
    let record = net.record_of(&from).await;
    assert_eq!(
        (&record["reason"], &record["ingress"]),
        (&"policy_change".into(), &"transparent_http".into()),
        "{record:#}"
    );
}

#[tokio::test]
async fn l3_i4_a_drain_ends_redirected_connections_with_a_record() {
    let Some(net) = net("drain", "limits: {drainTimeoutMs: 200}\n").await else { return };
    let _origin = net.origin(&format!("{LITERAL}:9000"), Behaviour::Echo);
    // Before the other one, whose record tells that both were accepted.
    let silent = net.connect(&format!("{ORIGIN}:443"));
    let tunnel = open(&net).await;
    let opened = |all: &[serde_json::Value]| all.iter().any(|record| record["kind"] == "open");
    net.records("the tunnel to be open", opened).await;
    net.process().signal(rustix::process::Signal::TERM);
    for client in [tunnel, silent] {
        assert_eq!(net.record_of(&client.local().to_string()).await["outcome"], "drained");
    }
}
