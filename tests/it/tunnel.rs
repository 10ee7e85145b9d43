//! What a tunnel owes to both of its ends, from the CONNECT to the last record (performance.md §7).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sluicegate::config::{Config, SandboxSettings, TokenSource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;

/// Allows the names of these tests on every port.
const POLICY: &str = "mode: Limited\nports: [1-65535]\nhostRules: [good.test, also-good.test]\n";

/// A gateway whose names lead to where origins are.
async fn gateway_with(change: impl FnOnce(&mut Config)) -> Gateway {
    let gateway = Gateway::with(POLICY, change).await;
    for name in ["good.test", "also-good.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    gateway
}

/// The same with every default.
async fn gateway() -> Gateway {
    gateway_with(|_| {}).await
}

/// A socket that origins' connections are accepted on.
async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.8:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The next connection to an origin.
async fn accepted(listener: &TcpListener) -> Client {
    Client::over(within("a connection to the origin", listener.accept()).await.unwrap().0)
}

/// Both ends of a tunnel: the client's and the origin's.
async fn ends(gateway: &Gateway) -> (Client, Client) {
    let (listener, port) = listener().await;
    let client = Client::tunnel(gateway.proxy(), &format!("good.test:{port}")).await;
    (client, accepted(&listener).await)
}

/// Both ends of a tunnel through which bytes have gone already.
async fn used_ends(gateway: &Gateway) -> (Client, Client) {
    let (mut client, mut origin) = ends(gateway).await;
    client.send("\x01up").await;
    origin.expect("\x01up").await;
    origin.send("down").await;
    client.expect("down").await;
    (client, origin)
}

/// The outcome of the first tunnel's record, and the bytes that it counts.
async fn ended(gateway: &Gateway) -> (String, u64, u64) {
    let record = gateway.record("connection", "good.test").await;
    let outcome = record["outcome"].as_str().unwrap().to_owned();
    (outcome, record["bytes_up"].as_u64().unwrap(), record["bytes_down"].as_u64().unwrap())
}

/// Bytes of which no part looks like another.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    // The first byte tells that this is neither TLS nor HTTP.
    std::iter::once([1; 8]).chain(std::iter::repeat_with(next)).flatten().take(length).collect()
}

#[tokio::test]
async fn the_clients_half_close_leaves_the_other_direction_open() {
    let gateway = gateway().await;
    let (mut client, mut origin) = ends(&gateway).await;
    client.send("\x01question").await;
    client.finish().await;
    assert_eq!(origin.rest().await, b"\x01question");
    let answer = noise(300_000, 3);
    let (got, ()) = tokio::join!(client.take(answer.len()), origin.send(&answer));
    assert!(got == answer);
    origin.finish().await;
    client.expect_end().await;
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), 9, 300_000));
}

#[tokio::test]
async fn the_origins_half_close_leaves_the_other_direction_open() {
    let gateway = gateway().await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    origin.send("bye").await;
    origin.finish().await;
    assert_eq!(client.rest().await, b"bye");
    let rest = noise(300_000, 4);
    let (got, ()) = tokio::join!(origin.take(rest.len()), client.send(&rest));
    assert!(got == rest);
    client.finish().await;
    origin.expect_end().await;
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), 300_003, 7));
}

#[tokio::test]
async fn half_closes_before_the_client_has_spoken_are_kept_too() {
    let gateway = gateway().await;
    // The client says nothing and closes: the origin may still speak.
    let (mut client, mut origin) = ends(&gateway).await;
    client.finish().await;
    origin.expect_end().await;
    origin.send("late").await;
    origin.finish().await;
    assert_eq!(client.rest().await, b"late");
    // The origin speaks and closes first: the client may still speak.
    let (mut client, mut origin) = ends(&gateway).await;
    origin.send("first").await;
    origin.finish().await;
    assert_eq!(client.rest().await, b"first");
    client.send("\x01late").await;
    origin.expect("\x01late").await;
    client.finish().await;
    origin.expect_end().await;
}

#[tokio::test]
async fn a_reset_stays_a_reset_in_both_directions_at_every_moment() {
    let gateway = gateway().await;
    // Before anybody has spoken.
    let (client, mut origin) = ends(&gateway).await;
    client.reset();
    origin.expect_reset().await;
    let (mut client, origin) = ends(&gateway).await;
    origin.reset();
    client.expect_reset().await;
    // While nothing is under way.
    let (client, mut origin) = used_ends(&gateway).await;
    client.reset();
    origin.expect_reset().await;
    let (mut client, origin) = used_ends(&gateway).await;
    origin.reset();
    client.expect_reset().await;
    let records = gateway
        .wait_for("four records", |records| records.iter().filter(|r| r["kind"] == "connection").count() == 4)
        .await;
    let of = |outcome: &str| records.iter().filter(|record| record["outcome"] == outcome).count();
    assert_eq!((of("client_failed"), of("upstream_failed")), (2, 2));
}

#[tokio::test]
async fn a_reset_after_a_half_close_stays_a_reset() {
    let gateway = gateway().await;
    // By the side that had closed before.
    let (mut client, mut origin) = used_ends(&gateway).await;
    client.finish().await;
    origin.expect_end().await;
    client.reset();
    origin.expect_failure().await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    origin.finish().await;
    client.expect_end().await;
    origin.reset();
    client.expect_failure().await;
    // By the other side.
    let (mut client, mut origin) = used_ends(&gateway).await;
    client.finish().await;
    origin.expect_end().await;
    origin.reset();
    client.expect_reset().await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    origin.finish().await;
    client.expect_end().await;
    client.reset();
    origin.expect_reset().await;
}

#[tokio::test]
async fn a_reset_after_a_half_close_stays_a_reset_while_the_client_has_not_spoken() {
    let gateway = gateway().await;
    let (mut client, mut origin) = ends(&gateway).await;
    origin.finish().await;
    client.expect_end().await;
    origin.reset();
    client.expect_failure().await;
    assert_eq!(ended(&gateway).await, ("upstream_failed".to_owned(), 0, 0));
    let (mut client, mut origin) = ends(&gateway).await;
    client.finish().await;
    origin.expect_end().await;
    client.reset();
    origin.expect_failure().await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_before_the_client_says_anything() {
    let origin = Origin::start(Behaviour::Banner(b"SSH-2.0-test\r\n".to_vec())).await;
    let gateway = gateway().await;
    let mut client = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
    client.expect("SSH-2.0-test\r\n").await;
    client.send("SSH-2.0-client\r\n").await;
    client.expect("SSH-2.0-client\r\n").await;
    client.finish().await;
    client.expect_end().await;
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), 16, 30));
}

#[tokio::test]
async fn http_after_the_origin_has_spoken_or_closed_does_not_leak_unjudged() {
    let gateway = gateway().await;
    for close in [true, false] {
        let (mut client, mut origin) = ends(&gateway).await;
        origin.send("hello").await;
        if close {
            origin.finish().await;
        }
        client.expect("hello").await;
        client.send("GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n").await;
        assert_eq!(origin.expect_closed().await, b"");
        assert_eq!(client.expect_closed().await, b"");
    }
    // Closed without a word.
    let (mut client, mut origin) = ends(&gateway).await;
    origin.finish().await;
    client.expect_end().await;
    client.send("GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n").await;
    assert_eq!(origin.expect_closed().await, b"");
}

#[tokio::test]
async fn a_client_that_does_not_read_can_still_be_heard_while_the_server_talks() {
    let gateway = gateway().await;
    let (mut client, origin) = ends(&gateway).await;
    let mut origin = origin.into_stream();
    // The server has talked until nobody took any more, and the client has read nothing of it.
    let talk = until_stalled(&mut origin).await;
    client.send("\x01stop").await;
    let mut heard = [0; 5];
    within("the server to hear the client", origin.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"\x01stop");
    origin.shutdown().await.unwrap();
    assert!(client.rest().await == vec![2; talk], "and nothing of what it said is lost");
    client.finish().await;
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), 5, talk as u64));
}

#[tokio::test]
async fn a_client_that_goes_away_while_the_server_talks_first_is_the_one_at_fault() {
    let gateway = gateway().await;
    let (mut client, origin) = ends(&gateway).await;
    let mut origin = origin.into_stream();
    let flood = tokio::spawn(async move { while origin.write_all(&[b'x'; 16 * 1024]).await.is_ok() {} });
    client.expect("x").await;
    client.reset();
    within("the server to notice the end", flood).await.unwrap();
    assert_eq!(ended(&gateway).await.0, "client_failed");
}

#[tokio::test]
async fn bytes_that_come_together_with_the_connect_are_forwarded() {
    let (listener, port) = listener().await;
    let gateway = gateway().await;
    let connect = format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test:{port}\r\n\r\n");
    let early = noise(100_000, 5);
    let mut client = gateway.client().await;
    let send = async { client.send([connect.as_bytes(), &early].concat()).await };
    let (mut origin, ()) = tokio::join!(accepted(&listener), send);
    assert!(origin.take(early.len()).await == early);
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    origin.send("answer").await;
    client.expect("answer").await;

    // HTTP is judged even so.
    let http = "GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n";
    let mut client = gateway.client().await;
    client.send(format!("{connect}{http}")).await;
    let mut origin = accepted(&listener).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.response(false).await.status, 400);
    drop(client);
    assert_eq!(origin.expect_closed().await, b"");
}

#[tokio::test]
async fn the_answer_to_a_connect_is_a_bare_200() {
    let gateway = gateway().await;
    let (listener, port) = listener().await;
    let mut client = gateway.client().await;
    client.send(format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test\r\n\r\n")).await;
    let head = client.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    drop(listener);
}

#[tokio::test]
async fn large_transfers_both_ways_at_once_arrive_whole_and_are_counted_exactly() {
    const SIZE: usize = 8 << 20;
    let gateway = gateway().await;
    let (client, origin) = ends(&gateway).await;
    let (mut client_reads, mut client_writes) = client.into_stream().into_split();
    let (mut origin_reads, mut origin_writes) = origin.into_stream().into_split();
    let (up, down) = (noise(SIZE, 1), noise(SIZE + 12_345, 2));
    let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
    let transfers = async {
        tokio::join!(
            async {
                client_writes.write_all(&up).await.unwrap();
                client_writes.shutdown().await.unwrap();
            },
            async {
                origin_writes.write_all(&down).await.unwrap();
                origin_writes.shutdown().await.unwrap();
            },
            async { client_reads.read_to_end(&mut got_down).await.unwrap() },
            async { origin_reads.read_to_end(&mut got_up).await.unwrap() },
        )
    };
    within("the transfers", transfers).await;
    assert!(got_up == up && got_down == down);
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), SIZE as u64, SIZE as u64 + 12_345));
}

/// How many bytes a side gets rid of before nobody takes any more.
async fn until_stalled(stream: &mut TcpStream) -> usize {
    let (piece, mut total) = (vec![2; 64 * 1024], 0);
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), stream.write(&piece)).await {
        total += written.unwrap();
        assert!(total < 64 << 20, "{total} bytes were taken though nobody reads them");
    }
    total
}

#[tokio::test]
async fn r4_a_reader_that_does_not_read_stops_the_writer_and_nothing_is_lost() {
    let gateway = gateway().await;
    let (client, origin) = used_ends(&gateway).await;
    let (mut client, mut origin) = (client.into_stream(), origin.into_stream());
    let (down, up) = tokio::join!(until_stalled(&mut origin), until_stalled(&mut client));
    origin.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
    let (mut got_down, mut got_up) = (Vec::new(), Vec::new());
    let reading = async { tokio::join!(client.read_to_end(&mut got_down), origin.read_to_end(&mut got_up)) };
    let (read_down, read_up) = within("the rest", reading).await;
    assert_eq!((read_down.unwrap(), read_up.unwrap()), (down, up));
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), up as u64 + 3, down as u64 + 4));
}

#[tokio::test]
async fn l3_a_tunnel_opens_and_ends_under_one_id_and_a_killed_client_leaves_its_end() {
    let gateway = gateway().await;
    let (client, mut origin) = used_ends(&gateway).await;
    let from = client.local().to_string();
    let open = gateway.record("open", "good.test").await;
    assert_eq!((&open["decision"], &open["client"]), (&"allow".into(), &from.as_str().into()));
    assert_eq!(open["outcome"], Value::Null);
    client.reset();
    origin.expect_reset().await;
    let end = gateway.record("connection", "good.test").await;
    assert_eq!((&end["id"], &end["outcome"]), (&open["id"], &"client_failed".into()));
    assert_eq!((&end["bytes_up"], &end["bytes_down"]), (&3.into(), &4.into()));
    assert_eq!(
        (&end["status"], &end["ingress"], &end["scheme"]),
        (&200.into(), &"connect".into(), &"tcp".into())
    );
    let records = gateway.records().await;
    let terminal = records.iter().filter(|record| record["kind"] == "connection");
    assert_eq!(terminal.count(), 1, "exactly one terminal record");
}

#[tokio::test]
async fn r1_a_tunnel_in_which_nothing_moves_is_closed_by_the_idle_limit() {
    let gateway = gateway_with(|config| config.limits.idle_timeout = Duration::from_secs(1)).await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    client.expect_reset().await;
    origin.expect_reset().await;
    assert_eq!(ended(&gateway).await, ("idle".to_owned(), 3, 4));
    // One in which nobody ever speaks is no exception.
    let (mut client, mut origin) = ends(&gateway).await;
    client.expect_reset().await;
    origin.expect_reset().await;
}

#[tokio::test]
async fn r2_beyond_the_connection_limit_a_client_is_told_and_room_is_given_back() {
    let gateway = gateway_with(|config| config.limits.connections = 2).await;
    let (first, first_origin) = used_ends(&gateway).await;
    let (mut second, mut second_origin) = used_ends(&gateway).await;
    let mut third = gateway.client().await;
    let from = third.local().to_string();
    let told = third.response(false).await;
    assert_eq!((told.status, told.header("x-deny-reason")), (429, Some("limit")));
    let body: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(body["error"]["code"], "limit");
    third.expect_closed().await;
    let is_it = |record: &Value| record["client"] == from.as_str();
    let records = gateway.wait_for("its record", |records| records.iter().any(is_it)).await;
    let record = records.iter().find(|record| is_it(record)).unwrap();
    assert_eq!((&record["reason"], &record["status"]), (&"limit".into(), &429.into()));
    assert_eq!(Some(record["id"].as_str().unwrap()), told.header("x-request-id"));
    // Those inside are not disturbed.
    second.send("more").await;
    second_origin.expect("more").await;
    // However one leaves, its place is free again.
    first.reset();
    drop(first_origin);
    let ended = |records: &[Value]| records.iter().any(|record| record["outcome"] == "client_failed");
    gateway.wait_for("the first tunnel to end", ended).await;
    let again = async {
        loop {
            let mut client = gateway.client().await;
            if client.try_send("GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n\r\n").await.is_ok()
                && client.expect_closed_or_head().await.starts_with("HTTP/1.1 403 ")
            {
                break;
            }
        }
    };
    within("room for another client", again).await;
}

#[tokio::test]
async fn p4_a_policy_that_no_longer_allows_a_tunnel_closes_it_within_a_second_and_leaves_the_others() {
    let (listener, port) = listener().await;
    let gateway = gateway().await;
    let mut tunnels = Vec::new();
    for name in ["good.test", "also-good.test"] {
        let mut client = Client::tunnel(gateway.proxy(), &format!("{name}:{port}")).await;
        client.send("\x01up").await;
        let mut origin = accepted(&listener).await;
        origin.expect("\x01up").await;
        tunnels.push((client, origin));
    }
    let silent = Client::tunnel(gateway.proxy(), &format!("good.test:{port}")).await;
    tunnels.push((silent, accepted(&listener).await));
    gateway.set_policy("mode: Limited\nports: [1-65535]\nhostRules: [also-good.test]\n").await;
    for at in [2, 0] {
        let (mut client, mut origin) = tunnels.remove(at);
        let both = async { tokio::join!(client.expect_reset(), origin.expect_reset()) };
        tokio::time::timeout(Duration::from_secs(1), both).await.expect("closed within a second");
    }
    let closed = |record: &&Value| record["kind"] == "connection" && record["host"] == "good.test";
    let records =
        gateway.wait_for("both records", |records| records.iter().filter(closed).count() == 2).await;
    for record in records.iter().filter(closed) {
        assert_eq!(
            (&record["outcome"], &record["reason"]),
            (&"policy_change".into(), &"policy_change".into())
        );
        assert_eq!(record["decision"], "deny");
    }
    let (mut client, mut origin) = tunnels.remove(0);
    client.send("still").await;
    origin.expect("still").await;
}

#[tokio::test]
async fn p4_a_tunnel_with_http_inside_is_closed_by_a_policy_change_also_between_requests() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let gateway = gateway().await;
    let mut tunnels = Vec::new();
    for name in ["good.test", "also-good.test"] {
        let mut tunnel = Client::tunnel(gateway.proxy(), &format!("{name}:{}", origin.port())).await;
        assert_eq!(tunnel.ask(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")).await.status, 200);
        tunnels.push(tunnel);
    }
    gateway.record("request", "good.test").await;
    gateway.set_policy("mode: Limited\nports: [1-65535]\nhostRules: [also-good.test]\n").await;
    let closed = tokio::time::timeout(Duration::from_secs(1), tunnels[0].expect_closed()).await;
    assert_eq!(closed.expect("closed within a second"), b"");
    assert_eq!(gateway.record("connection", "good.test").await["outcome"], "policy_change");
    assert_eq!(tunnels[1].ask("GET / HTTP/1.1\r\nHost: also-good.test\r\n\r\n").await.status, 200);
}

/// Waits until the gateway takes no new connection.
async fn refusing(proxy: std::net::SocketAddr) {
    let refused = async {
        while TcpStream::connect(proxy).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("the listener to close", refused).await;
}

#[tokio::test]
async fn a_drain_lets_what_runs_finish() {
    let gateway = gateway_with(|config| config.limits.drain_timeout = Duration::from_secs(8)).await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    let proxy = gateway.proxy();
    let finishing = async {
        refusing(proxy).await;
        client.send("more").await;
        origin.expect("more").await;
        origin.send("done").await;
        origin.finish().await;
        assert_eq!(client.rest().await, b"done");
        client.finish().await;
    };
    let (records, ()) = tokio::join!(gateway.stop(), finishing);
    // The probes for the closed listener may have left records too.
    let is_it = |record: &&Value| record["kind"] == "connection" && record["host"] == "good.test";
    let record = records.iter().find(is_it).unwrap();
    assert_eq!((&record["outcome"], &record["bytes_up"]), (&"ok".into(), &7.into()));
}

#[tokio::test]
async fn a_drain_ends_what_does_not_finish_and_the_record_says_so() {
    let gateway = gateway_with(|config| config.limits.drain_timeout = Duration::from_millis(200)).await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    let (mut silent, mut silent_origin) = ends(&gateway).await;
    let (records, _) = tokio::join!(gateway.stop(), client.expect_closed());
    origin.expect_closed().await;
    silent.expect_closed().await;
    silent_origin.expect_closed().await;
    let ended: Vec<&Value> = records.iter().filter(|record| record["kind"] == "connection").collect();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|record| record["outcome"] == "drained"), "{ended:?}");
    assert!(ended.iter().any(|record| record["bytes_up"] == 3), "what moved is counted: {ended:?}");
}

#[tokio::test]
async fn a_denied_connect_leaves_the_connection_usable() {
    let (listener, port) = listener().await;
    let gateway = gateway().await;
    let mut client = gateway.client().await;
    for target in ["denied.test:443", "169.254.169.254:80", "good.test:0", "gone.good.test:443"] {
        let response = client.ask(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        assert!(
            response.status >= 400 && response.header("connection") != Some("close"),
            "{}",
            response.head
        );
        let body: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(Some(body["error"]["code"].as_str().unwrap()), response.header("x-deny-reason"));
        assert_eq!(Some(body["error"]["requestId"].as_str().unwrap()), response.header("x-request-id"));
    }
    client
        .send(format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test:{port}\r\n\r\n\x01through"))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let mut origin = accepted(&listener).await;
    origin.expect("\x01through").await;
}

/// The header that shows a token.
fn shows(id: &str, token: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{id}:{token}")))
}

#[tokio::test]
async fn identities_come_from_source_and_token_and_credentials_go_nowhere_else() {
    const TOKEN: &str = "canary-3f9a77";
    const WRONG: &str = "wrong-canary-51";
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), TOKEN).unwrap();
    let token = TokenSource::File(secret.path().to_str().unwrap().into());
    let sandbox = |id: &str, sources: &[&str], token: Option<&TokenSource>| SandboxSettings {
        id: id.into(),
        group: None,
        sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
        token: token.cloned(),
        require_policy: false,
    };
    let gateway = gateway_with(|config| {
        config.sandboxes = vec![
            sandbox("by-token", &[], Some(&token)),
            sandbox("by-source", &["127.0.0.3/32"], None),
            sandbox("by-both", &["127.0.0.4/32"], Some(&token)),
        ];
    })
    .await;
    let origin = Origin::http([Reply::ok("yes")]).await;
    let port = origin.port();
    let right = shows("by-token", TOKEN);
    for (source, credentials, expected) in [
        ("127.0.0.1", String::new(), Err(true)),
        ("127.0.0.1", shows("by-token", WRONG), Err(true)),
        ("127.0.0.1", shows("nobody", TOKEN), Err(true)),
        ("127.0.0.1", shows("by-both", TOKEN), Err(true)),
        ("127.0.0.1", "Proxy-Authorization: Bearer canary-3f9a77\r\n".to_owned(), Err(true)),
        ("127.0.0.1", "Proxy-Authorization: Basic !!!\r\n".to_owned(), Err(true)),
        ("127.0.0.1", right.clone() + &shows("by-token", WRONG), Err(true)),
        ("127.0.0.4", shows("by-both", TOKEN) + &right, Err(false)),
        ("127.0.0.1", right.clone(), Ok("by-token")),
        ("127.0.0.3", String::new(), Ok("by-source")),
        ("127.0.0.3", right.clone(), Err(false)),
        ("127.0.0.4", String::new(), Ok("by-both")),
        ("127.0.0.4", shows("by-both", TOKEN), Ok("by-both")),
        ("127.0.0.4", shows("by-both", WRONG), Err(false)),
    ] {
        for request in [
            format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test:{port}\r\n{credentials}\r\n"),
            format!("GET http://good.test:{port}/ HTTP/1.1\r\nHost: good.test:{port}\r\n{credentials}\r\n"),
        ] {
            let mut client = Client::connect_from(source, gateway.proxy()).await;
            let from = client.local().to_string();
            client.send(&request).await;
            let head = client.head().await;
            let (status, reason) = if expected.is_ok() { ("200", "") } else { ("407", "identity_unknown") };
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{source} {credentials} {head}");
            assert!(reason.is_empty() || head.contains(&format!("x-deny-reason: {reason}\r\n")), "{head}");
            if expected == Err(true) && credentials.is_empty() {
                assert!(head.contains("proxy-authenticate: Basic "), "{head}");
            }
            drop(client);
            let is_it = |record: &Value| record["client"] == from.as_str() && record["kind"] != "open";
            let records = gateway.wait_for("its record", |records| records.iter().any(is_it)).await;
            let record = records.iter().find(|record| is_it(record)).unwrap();
            match expected {
                Ok(id) => assert_eq!(record["sandbox"], id, "{record}"),
                Err(_) => assert_eq!(
                    (&record["reason"], &record["sandbox"]),
                    (&"identity_unknown".into(), &Value::Null)
                ),
            }
        }
    }
    // After a 407 the same connection can try again, and inside the tunnel nothing is asked for any more.
    let mut client = gateway.client().await;
    let connect = |credentials: &str| {
        format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test:{port}\r\n{credentials}\r\n")
    };
    assert_eq!(client.ask(connect("")).await.status, 407);
    client.send(connect(&right)).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let inside = format!("GET / HTTP/1.1\r\nHost: good.test\r\n{right}\r\n");
    assert_eq!(client.ask(inside).await.status, 200);
    drop(client);

    let encoded = BASE64_STANDARD.encode(format!("by-token:{TOKEN}"));
    for at in 0..origin.connections() {
        let seen = origin.received(at).to_ascii_lowercase();
        assert!(
            !seen.contains("proxy-authorization") && !seen.contains(&encoded.to_ascii_lowercase()),
            "{seen}"
        );
    }
    gateway.records().await;
    let log = std::fs::read_to_string(gateway.audit_file()).unwrap();
    for secret in [TOKEN, WRONG, &encoded, "Basic"] {
        assert!(!log.contains(secret), "{secret} is in the audit log");
    }
}
