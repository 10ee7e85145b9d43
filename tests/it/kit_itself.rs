//! The kit does what its tests rely on.

use hickory_proto::rr::RecordType;

use crate::kit::client::Client;
use crate::kit::dns::{Answer, Dns};
use crate::kit::http::{Reply, chunked_end};
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::tool;

#[tokio::test]
async fn an_echo_keeps_half_close_and_records_every_byte() {
    let origin = Origin::echo().await;
    let mut client = Client::connect(origin.address()).await;
    client.send_in_pieces("hello", 2).await;
    client.expect("hello").await;
    client.finish().await;
    client.expect_end().await;
    assert_eq!((origin.received(0).as_str(), origin.connections()), ("hello", 1));
    assert_eq!(origin.wait_for_end(0).await, End::Fin);
    assert!(origin.address().ip().is_loopback());
}

#[tokio::test]
async fn a_banner_comes_before_the_client_speaks() {
    let origin = Origin::start(Behaviour::Banner(b"SSH-2.0-test\r\n".to_vec())).await;
    let mut client = Client::connect_from("127.0.0.3", origin.address()).await;
    client.expect("SSH-2.0-test\r\n").await;
    assert_eq!(origin.connection(0).peer, client.local());
}

#[tokio::test]
async fn an_answer_can_come_after_the_clients_fin_and_a_fin_before_its_bytes() {
    let after = Origin::start(Behaviour::AfterFin(b"bye".to_vec())).await;
    let mut client = Client::connect(after.address()).await;
    client.send("all").await;
    client.finish().await;
    assert_eq!(client.rest().await, b"bye");

    let first = Origin::start(Behaviour::FinFirst(b"done".to_vec())).await;
    let mut client = Client::connect(first.address()).await;
    assert_eq!(client.rest().await, b"done");
    client.send("late").await;
    first.wait_for_bytes(0, b"late").await;
}

#[tokio::test]
async fn resets_are_seen_on_both_sides() {
    let origin = Origin::start(Behaviour::Reset(3)).await;
    let mut client = Client::connect(origin.address()).await;
    client.send("abc").await;
    client.expect_reset().await;

    let origin = Origin::echo().await;
    let mut client = Client::connect(origin.address()).await;
    client.send("x").await;
    client.expect("x").await;
    client.reset();
    assert_eq!(origin.wait_for_end(0).await, End::Reset);
}

#[tokio::test]
async fn a_sink_counts_a_flood_pours_and_a_slow_reader_waits_for_its_step() {
    let sink = Origin::start(Behaviour::Sink).await;
    let mut client = Client::connect(sink.address()).await;
    client.send(vec![7; 100_000]).await;
    sink.wait_for_count(0, 100_000).await;

    let flood = Origin::start(Behaviour::Flood(100_000)).await;
    assert_eq!(Client::connect(flood.address()).await.rest().await.len(), 100_000);

    let slow = Origin::start(Behaviour::SlowReader).await;
    let mut client = Client::connect(slow.address()).await;
    client.send("waits").await;
    slow.wait_for_connections(1).await;
    assert_eq!(slow.connection(0).count, 0);
    slow.step();
    slow.wait_for_count(0, 5).await;
}

#[tokio::test]
async fn http_replies_come_in_turn_and_the_request_is_recorded_raw() {
    let chunked = Reply::chunked(["ab", "c"]).trailer("x-sum", "3");
    let origin = Origin::http([Reply::ok("one"), chunked, Reply::status("404 Not Found", "none")]).await;
    let mut client = Client::connect(origin.address()).await;
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.body, "one");
    let second =
        client.ask("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\nT: v\r\n\r\n").await;
    assert_eq!(second.body, "abc");
    assert!(second.raw_body.ends_with(b"0\r\nx-sum: 3\r\n\r\n"));
    let third = client.ask("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!((third.status, third.header("Content-Length")), (404, Some("4")));
    assert!(origin.received(0).ends_with("0\r\nT: v\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"));
}

#[tokio::test]
async fn continue_early_answers_events_and_upgrades_can_be_scripted() {
    let origin =
        Origin::http([Reply::ok("sent").after_continue(), Reply::ok("early").early().then_close()]).await;
    let mut client = Client::connect(origin.address()).await;
    client.send("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    assert_eq!(client.ask("hi").await.body, "sent");
    let early = client.ask("PUT / HTTP/1.1\r\nContent-Length: 9999\r\n\r\n").await;
    assert_eq!(early.body, "early");
    client.expect_end().await;

    let origin = Origin::http([Reply::events(["one", "two"])]).await;
    let mut client = Client::connect(origin.address()).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    assert!(client.head().await.contains("text/event-stream"));
    origin.step();
    client.expect("data: one\n\n").await;
    origin.step();
    client.expect("data: two\n\n").await;
    origin.step();
    client.expect_end().await;

    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let mut client = Client::connect(origin.address()).await;
    let upgraded = client.ask("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!((upgraded.status, upgraded.header("upgrade")), (101, Some("websocket")));
    client.send("frame").await;
    client.expect("frame").await;
}

#[tokio::test]
async fn a_tls_origin_is_trusted_by_its_own_certificate_only() {
    let origin = Origin::tls("www.example.com", Behaviour::Http(vec![Reply::ok("inside")])).await;
    let client = Client::connect(origin.address()).await;
    let mut inside = client.tls("www.example.com", origin.certificate()).await;
    assert_eq!(inside.ask("GET / HTTP/1.1\r\n\r\n").await.body, "inside");
    assert!(origin.received(0).starts_with("GET / "));
    let other = Client::connect(origin.address()).await;
    assert!(other.try_tls("other.example.com", origin.certificate()).await.is_err());
}

#[tokio::test]
async fn a_tunnel_is_asked_for_and_a_refusal_is_read_whole() {
    let refusing = "HTTP/1.1 403 Forbidden\r\nx-deny-reason: default_deny\r\ncontent-length: 2\r\n\r\nno";
    let script = [Reply::raw("HTTP/1.1 200 OK\r\n\r\n"), Reply::ok("through")];
    let (open, closed) = (Origin::http(script).await, Origin::http([Reply::raw(refusing)]).await);
    let mut tunnel = Client::tunnel(open.address(), "www.example.com:443").await;
    assert_eq!(tunnel.ask("GET / HTTP/1.1\r\n\r\n").await.body, "through");
    let refused = Client::try_tunnel(closed.address(), "www.example.com:443").await.err().unwrap();
    assert_eq!((refused.status, refused.header("x-deny-reason")), (403, Some("default_deny")));
    assert_eq!(refused.body, "no");
}

#[tokio::test]
#[should_panic(expected = "the connection ended 2 bytes before the head of an answer")]
async fn a_wait_that_cannot_be_answered_fails_with_a_sentence() {
    let origin = Origin::start(Behaviour::FinFirst(b"no".to_vec())).await;
    Client::connect(origin.address()).await.head().await;
}

#[tokio::test]
async fn the_name_server_counts_queries_of_names_it_was_not_told_about() {
    let dns = Dns::start().await;
    dns.says("www.example.com", Answer::addresses(["127.0.0.8"]));
    assert_eq!((dns.total_queries(), dns.queries("www.example.com")), (0, 0));
    let settings = sluicegate::upstream::DnsSettings { servers: vec![dns.address()], ..Default::default() };
    let resolver = sluicegate::upstream::Resolver::new(&settings).unwrap();
    let name = sluicegate::addr::Name::parse("gone.example.com").unwrap();
    assert!(resolver.resolve(&"default".into(), &name).await.is_err());
    dns.wait_for_query("gone.example.com").await;
    assert!(dns.asked().iter().any(|asked| asked.kind == RecordType::AAAA && !asked.over_tcp));
    assert_eq!(dns.queries("www.example.com"), 0);
}

#[test]
fn the_end_of_a_chunked_body_is_found_with_its_trailers() {
    assert_eq!(chunked_end(b"1\r\na\r\n0\r\n\r\nrest"), Some(11));
    assert_eq!(chunked_end(b"1;x=y\r\na\r\n0\r\nT: v\r\n\r\n"), Some(21));
    for part in [&b""[..], b"1", b"1\r\na\r\n", b"0\r\n", b"0\r\nT: v\r\n"] {
        assert_eq!(chunked_end(part), None, "{part:?}");
    }
}

#[tokio::test]
async fn a_real_tool_is_found_and_run() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let Some(curl) = tool::find("curl") else { return };
    let url = format!("http://{}/", origin.address());
    let ran = tool::run(&curl, ["-sS", url.as_str()]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hello"), "{}", ran.stderr);
}
