//! From the first hello of a tunnel to the server's answer: a hello that the server asks for again is judged like the first.

use std::time::Duration;

use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;

/// What a TLS client that may not go on is told: fatal, `access_denied`.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// What TLS 1.3 clients send for the sake of old middleboxes.
const CHANGE_CIPHER: [u8; 6] = [20, 3, 3, 0, 1, 1];
/// A part of a server's answer that is no retry.
const SERVER_HELLO: [u8; 12] = [22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3, 0];

/// Data with its length in two bytes before it.
fn vector(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

/// A record of this type.
pub fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &vector(payload)].concat()
}

/// The message of a hello for these servers, with further extensions.
fn message(names: &[&str], more: &[(u16, &[u8])]) -> Vec<u8> {
    let names: Vec<u8> = names.iter().flat_map(|name| [vec![0], vector(name.as_bytes())].concat()).collect();
    let mut list = if names.is_empty() { Vec::new() } else { [vec![0, 0], vector(&vector(&names))].concat() };
    for (kind, data) in more {
        list.extend([&kind.to_be_bytes()[..], &vector(data)].concat());
    }
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &vector(&list)].concat();
    [&[1], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], &body].concat()
}

/// A hello for this server in one record.
pub fn hello(name: &str) -> Vec<u8> {
    record(22, &message(&[name], &[]))
}

/// A `HelloRetryRequest` in one record.
fn retry() -> Vec<u8> {
    const RANDOM: &str = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";
    let random = (0..32).map(|at| u8::from_str_radix(&RANDOM[2 * at..2 * at + 2], 16).unwrap());
    let extensions = [0, 0x2b, 0, 2, 3, 4, 0, 0x33, 0, 2, 0, 0x18];
    let body = [&[3, 3][..], &random.collect::<Vec<u8>>(), &[0, 0x13, 1, 0], &vector(&extensions)].concat();
    record(22, &[&[2, 0, 0, u8::try_from(body.len()).unwrap()], &body[..]].concat())
}

/// Allows two names on every port, and an address.
const POLICY: &str = "
mode: Limited
ports: [1-65535]
hostRules: [good.test, also-good.test]
cidrRules: [{cidr: 127.0.0.8/32, action: Allow}]
";

/// A gateway whose names lead to where origins are.
async fn gateway_with(idle: Duration) -> Gateway {
    let gateway = Gateway::with(POLICY, |config| config.limits.idle_timeout = idle).await;
    for name in ["good.test", "also-good.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    gateway
}

/// The same with a long idle limit.
async fn gateway() -> Gateway {
    gateway_with(Duration::from_mins(5)).await
}

/// Both ends of a tunnel to `host`, through which this first hello has gone already, and nothing else.
async fn greeted(gateway: &Gateway, host: &str, first: &[u8]) -> (Client, Client) {
    let (client, mut origin) = ends(gateway, host).await;
    let mut client = client;
    client.send(first).await;
    origin.expect(first).await;
    (client, origin)
}

/// Both ends of a tunnel.
async fn ends(gateway: &Gateway, host: &str) -> (Client, Client) {
    let listener = TcpListener::bind("127.0.0.8:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Client::tunnel(gateway.proxy(), &format!("{host}:{port}")).await;
    let origin = within("a connection to the origin", listener.accept()).await.unwrap().0;
    (client, Client::over(origin))
}

/// Checks that data passes both ways.
async fn flows(client: &mut Client, origin: &mut Client) {
    for round in 0u8..3 {
        client.send([b'u', round]).await;
        origin.expect([b'u', round]).await;
        origin.send([b'd', round]).await;
        client.expect([b'd', round]).await;
    }
}

/// The record of the tunnel from this client.
async fn record_of(gateway: &Gateway, from: &str) -> Value {
    let is_it = |record: &Value| record["kind"] == "connection" && record["client"] == from;
    let records = gateway.wait_for("the record of the tunnel", |records| records.iter().any(is_it)).await;
    records.into_iter().find(is_it).unwrap()
}

/// Checks that a tunnel is ended for the other hello, that nothing more of it comes out, and answers the record; so many
/// bytes have gone up and down by now.
async fn refused(gateway: &Gateway, mut client: Client, mut origin: Client, up: usize, down: usize) -> Value {
    let from = client.local().to_string();
    let told = client.expect_closed().await;
    let more = told.strip_suffix(&ALERT).expect("the client is told");
    assert!(more.is_empty() || more == retry(), "and nothing else: {told:?}");
    assert_eq!(origin.expect_reset().await, b"", "the origin sees nothing of it");
    let record = record_of(gateway, &from).await;
    assert_eq!(
        (&record["decision"], &record["reason"], &record["outcome"]),
        (&"deny".into(), &"authority_mismatch".into(), &"refused".into()),
        "{record}"
    );
    assert_eq!(
        (&record["bytes_up"], &record["bytes_down"]),
        (&up.into(), &(down + more.len()).into()),
        "{record}"
    );
    record
}

#[tokio::test]
async fn i1_a_real_server_that_asks_for_another_key_share_gets_it() {
    for (groups, version) in [
        // Clients of the kit send a key for X25519 alone, so this server has to ask for another.
        (vec![kx_group::SECP384R1], &rustls::version::TLS13),
        (default_provider().kx_groups, &rustls::version::TLS13),
        (default_provider().kx_groups, &rustls::version::TLS12),
    ] {
        let replies = Behaviour::Http(vec![Reply::ok("inside"), Reply::ok("again")]);
        let origin = Origin::tls_with("good.test", replies, groups, &[version]).await;
        let gateway = gateway().await;
        let target = format!("good.test:{}", origin.port());
        let tunnel = Client::tunnel(gateway.proxy(), &target).await;
        let mut inside = tunnel.tls("good.test", origin.certificate()).await;
        for body in ["inside", "again"] {
            assert_eq!(inside.ask("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await.body, body);
        }
        drop(inside);
        let record = gateway.record("connection", "good.test").await;
        assert_eq!((&record["decision"], &record["sni"]), (&"allow".into(), &"good.test".into()), "{record}");
    }
}

#[tokio::test]
async fn i1_the_hello_after_a_retry_is_for_the_same_server_or_nothing_of_it_comes_out() {
    let gateway = gateway().await;
    let first = hello("good.test");
    let ech: &[(u16, &[u8])] = &[(0xfe0d, &[0; 40])];
    for (second, sni, found) in [
        (hello("denied.test"), "denied.test", "names \"denied.test\", the one before it \"good.test\""),
        // Allowed by itself, and still not what the tunnel was opened for.
        (hello("also-good.test"), "also-good.test", "also-good.test"),
        (record(22, &message(&[], &[])), "", "no server"),
        (record(22, &message(&["good.test", "denied.test"], &[])), "good.test", "malformed"),
        (record(22, &message(&["good.test"], ech)), "good.test", "encrypted"),
        (record(22, &[&message(&["good.test"], &[])[..], &[20]].concat()), "good.test", "malformed"),
        // Not a hello at all.
        (record(22, &[11, 0, 0, 0]), "good.test", "malformed"),
        (record(24, b"\x01\x00\x00"), "good.test", "malformed"),
        (b"GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n".to_vec(), "good.test", "malformed"),
        ([&CHANGE_CIPHER[..0], &hello("denied.test"), &hello("good.test")].concat(), "denied.test", "names"),
    ] {
        let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
        origin.send(retry()).await;
        client.expect(retry()).await;
        client.send(&second).await;
        let record = refused(&gateway, client, origin, first.len(), retry().len()).await;
        let told = record["error"].as_str().unwrap();
        assert!(told.contains(found), "{told}");
        assert_eq!(record["sni"].as_str().unwrap_or_default(), sni, "{record}");
        assert_eq!(record["host"], "good.test");
    }
}

#[tokio::test]
async fn i1_a_tunnel_to_an_address_keeps_the_name_of_its_first_hello_too() {
    let gateway = gateway().await;
    for (first, second) in
        [(&["good.test"][..], &["also-good.test"][..]), (&[], &["good.test"]), (&["good.test"], &[])]
    {
        let [first, second] = [first, second].map(|names| record(22, &message(names, &[])));
        let (mut client, mut origin) = greeted(&gateway, "127.0.0.8", &first).await;
        origin.send(retry()).await;
        client.expect(retry()).await;
        client.send(&second).await;
        refused(&gateway, client, origin, first.len(), retry().len()).await;

        let (mut client, mut origin) = greeted(&gateway, "127.0.0.8", &first).await;
        origin.send(retry()).await;
        client.expect(retry()).await;
        client.send(&first).await;
        origin.expect(&first).await;
    }
}

#[tokio::test]
async fn i1_a_second_hello_that_comes_before_it_is_asked_for_waits_for_the_answer() {
    let gateway = gateway().await;
    let first = hello("good.test");
    for name in ["denied.test", "good.test"] {
        // Together with the first one, and right behind it.
        for at_once in [true, false] {
            let (mut client, mut origin) = ends(&gateway, "good.test").await;
            let second = hello(name);
            if at_once {
                client.send([first.as_slice(), &second].concat()).await;
                origin.expect(&first).await;
            } else {
                client.send(&first).await;
                origin.expect(&first).await;
                client.send(&second).await;
            }
            origin.send(retry()).await;
            if name == "denied.test" {
                // Nobody needs the server's request any more.
                refused(&gateway, client, origin, first.len(), 0).await;
                continue;
            }
            client.expect(retry()).await;
            origin.expect(&second).await;
            origin.send(SERVER_HELLO).await;
            client.expect(SERVER_HELLO).await;
            flows(&mut client, &mut origin).await;
        }
    }
}

#[tokio::test]
async fn i1_t1_the_verdict_is_the_same_however_both_messages_are_cut() {
    let gateway = gateway().await;
    let first = hello("good.test");
    for name in ["denied.test", "good.test"] {
        let message = message(&[name], &[]);
        for size in [1, 2, 7, 50] {
            let second: Vec<u8> = message.chunks(size).flat_map(|part| record(22, part)).collect();
            let answer: Vec<u8> = retry()[5..].chunks(size).flat_map(|part| record(22, part)).collect();
            let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
            // What some servers say first changes nothing.
            origin.send(record(21, &[1, 112])).await;
            origin.send_in_pieces(&answer, 1).await;
            origin.send(CHANGE_CIPHER).await;
            client.expect(record(21, &[1, 112])).await;
            client.expect(&answer).await;
            client.expect(CHANGE_CIPHER).await;
            client.send(CHANGE_CIPHER).await;
            origin.expect(CHANGE_CIPHER).await;
            for byte in &second {
                let _may_be_closed_already = client.try_send([*byte]).await;
                tokio::task::yield_now().await;
            }
            if name == "good.test" {
                origin.expect(&second).await;
                origin.send(SERVER_HELLO).await;
                client.expect(SERVER_HELLO).await;
                flows(&mut client, &mut origin).await;
            } else {
                client.expect_closed().await;
                assert_eq!(origin.expect_reset().await, b"", "{size}");
            }
        }
    }
}

#[tokio::test]
async fn i1_a_server_that_asks_more_than_once_gets_the_same_name_each_time() {
    let gateway = gateway().await;
    let first = hello("good.test");
    for third in [hello("denied.test"), first.clone()] {
        let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
        origin.send(retry()).await;
        client.expect(retry()).await;
        // The third one at once with the second: it waits for its own request.
        client.send([first.as_slice(), &third].concat()).await;
        origin.expect(&first).await;
        origin.send([retry(), CHANGE_CIPHER.to_vec()].concat()).await;
        if third != first {
            refused(&gateway, client, origin, 2 * first.len(), retry().len()).await;
            continue;
        }
        client.expect([retry(), CHANGE_CIPHER.to_vec()].concat()).await;
        origin.expect(&third).await;
        origin.send(SERVER_HELLO).await;
        client.expect(SERVER_HELLO).await;
        flows(&mut client, &mut origin).await;
    }
}

#[tokio::test]
async fn early_data_goes_on_without_waiting_for_the_server() {
    let gateway = gateway().await;
    let (mut client, mut origin) = ends(&gateway, "good.test").await;
    let early = [&hello("good.test")[..], &CHANGE_CIPHER, &record(23, &[5; 3000])].concat();
    client.send(&early).await;
    origin.expect(&early).await;
    let more = record(23, &[6; 16_000]);
    client.send_in_pieces(&more, 1000).await;
    origin.expect(&more).await;
    // A part of a record goes on too, and the rest of it after the server has asked for another hello.
    client.send(&more[..3]).await;
    origin.expect(&more[..3]).await;
    origin.send(retry()).await;
    client.expect(retry()).await;
    client.send([&more[3..], &record(21, &[1, 0]), &hello("good.test")].concat()).await;
    origin.expect([&more[3..], &record(21, &[1, 0]), &hello("good.test")].concat()).await;
    origin.send(SERVER_HELLO).await;
    client.expect(SERVER_HELLO).await;
    flows(&mut client, &mut origin).await;
}

#[tokio::test]
async fn an_answer_that_is_no_retry_lets_everything_go_on() {
    let gateway = gateway().await;
    let first = hello("good.test");
    for answer in [&SERVER_HELLO[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x01", &record(23, &[1])] {
        let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
        let from = client.local().to_string();
        client.send("\x01whatever this is").await;
        origin.send(answer).await;
        client.expect(answer).await;
        origin.expect("\x01whatever this is").await;
        flows(&mut client, &mut origin).await;
        client.finish().await;
        origin.expect_end().await;
        origin.finish().await;
        client.expect_end().await;
        let record = record_of(&gateway, &from).await;
        assert_eq!(
            (&record["outcome"], &record["bytes_up"], &record["bytes_down"]),
            (&"ok".into(), &(first.len() + 17 + 6).into(), &(answer.len() + 6).into())
        );
    }
    // A server that closes without a word has answered too.
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    client.send("\x01rest").await;
    origin.finish().await;
    client.expect_end().await;
    origin.expect("\x01rest").await;
}

#[tokio::test]
async fn half_closes_and_resets_before_the_answer_are_passed_on() {
    let gateway = gateway().await;
    let first = hello("good.test");
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    client.finish().await;
    origin.expect_end().await;
    origin.send("late").await;
    origin.finish().await;
    assert_eq!(client.rest().await, b"late");

    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    origin.send(retry()).await;
    client.expect(retry()).await;
    client.finish().await;
    origin.expect_end().await;
    origin.send("late").await;
    client.expect("late").await;

    // Within the second hello.
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    origin.send(retry()).await;
    client.expect(retry()).await;
    client.send(&first[..20]).await;
    client.finish().await;
    let record = refused(&gateway, client, origin, first.len(), retry().len()).await;
    assert!(record["error"].as_str().unwrap().contains("ends in the middle"), "{record}");

    for waits in [&b""[..], &first[..20]] {
        let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
        client.send(waits).await;
        client.reset();
        origin.expect_reset().await;
        let (mut client, origin) = greeted(&gateway, "good.test", &first).await;
        client.send(waits).await;
        origin.reset();
        client.expect_reset().await;
    }
}

#[tokio::test]
async fn t3_r1_a_second_hello_that_never_ends_is_cut_off_after_five_seconds() {
    let gateway = gateway().await;
    let first = hello("good.test");
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    // Nothing is late as long as the server has not asked.
    client.send(&first[..30]).await;
    origin.send(retry()).await;
    client.expect(retry()).await;
    let record = refused(&gateway, client, origin, first.len(), retry().len()).await;
    assert!(record["error"].as_str().unwrap().contains("in time"), "{record}");
    assert!(record["duration_ms"].as_f64().unwrap() > 4_900.0, "{record}");
}

#[tokio::test]
async fn r1_a_tunnel_whose_server_does_not_answer_is_closed_by_the_idle_limit() {
    let gateway = gateway_with(Duration::from_secs(1)).await;
    let first = hello("good.test");
    let (mut client, mut origin) = greeted(&gateway, "good.test", &first).await;
    let from = client.local().to_string();
    client.send(hello("denied.test")).await;
    client.expect_reset().await;
    assert_eq!(origin.expect_reset().await, b"");
    let record = record_of(&gateway, &from).await;
    assert_eq!((&record["outcome"], &record["bytes_up"]), (&"idle".into(), &first.len().into()));
}

#[tokio::test]
async fn r4_what_waits_for_the_answer_is_bounded_and_arrives_whole() {
    let gateway = gateway().await;
    let first = hello("good.test");
    let (client, mut origin) = greeted(&gateway, "good.test", &first).await;
    let mut client = client.into_stream();
    let (piece, mut total) = (record(22, &[9; 16_000]), 0);
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), client.write_all(&piece)).await {
        written.unwrap();
        total += piece.len();
        assert!(total < 64 << 20, "{total} bytes were taken though none may go on");
    }
    origin.send(SERVER_HELLO).await;
    origin.take(total).await;
}

#[tokio::test]
async fn p4_a_policy_change_ends_a_tunnel_whose_server_has_not_answered() {
    let gateway = gateway().await;
    let (mut client, mut origin) = greeted(&gateway, "good.test", &hello("good.test")).await;
    gateway.set_policy("mode: Limited\nports: [1-65535]\nhostRules: [also-good.test]\n").await;
    client.expect_reset().await;
    origin.expect_reset().await;
    assert_eq!(gateway.record("connection", "good.test").await["outcome"], "policy_change");
}
