//! One call has one name: CONNECT, its `Host`, the SNI and the `Host` inside agree, on every way in (threats.md §1.4, §1.5).

use serde_json::Value;
use sluicegate::app::StartError;
use sluicegate::config::Ech;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, End, Origin};

/// What a TLS client that may not go on is told: fatal, `access_denied`.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// A TLS extension of a hello.
type Extension = (u16, Vec<u8>);

/// Data with its length in two bytes before it.
fn vector(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

/// The extension that names these servers.
fn sni(names: &[&str]) -> Extension {
    let list: Vec<u8> = names.iter().flat_map(|name| [vec![0], vector(name.as_bytes())].concat()).collect();
    (0, vector(&list))
}

/// A hello with these extensions, in records of at most `record` bytes.
fn hello_in_records(extensions: &[Extension], record: usize) -> Vec<u8> {
    let list: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, data)| [kind.to_be_bytes().to_vec(), vector(data)].concat())
        .collect();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &vector(&list)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    message.chunks(record).flat_map(|payload| [&[0x16, 3, 1][..], &vector(payload)].concat()).collect()
}

/// A hello for these servers, in one record.
fn hello(names: &[&str]) -> Vec<u8> {
    let extensions: Vec<Extension> = if names.is_empty() { Vec::new() } else { vec![sni(names)] };
    hello_in_records(&extensions, 1 << 14)
}

/// A gateway whose names all lead to the origin.
async fn gateway(policy: &str) -> Gateway {
    let gateway = Gateway::start(policy).await;
    names_lead_to_origins(&gateway);
    gateway
}

/// Makes the names of these tests lead to where origins are.
fn names_lead_to_origins(gateway: &Gateway) {
    for name in ["good.test", "also-good.test", "denied.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
}

/// Allows two names on every port.
const TWO_NAMES: &str = "mode: Limited\nports: [1-65535]\nhostRules: [good.test, also-good.test]\n";

/// Sends first bytes into a tunnel that must be closed for this reason, and checks that none of them came out.
async fn closed_for(gateway: &Gateway, origin: &Origin, target: &str, first: &[u8], reason: &str) -> Value {
    let at = origin.connections();
    let target = format!("{target}:{}", origin.port());
    let mut tunnel = Client::tunnel(gateway.proxy(), &target).await;
    let from = tunnel.local().to_string();
    let _may_be_closed_already = tunnel.try_send(first).await;
    let told = tunnel.expect_closed().await;
    let shown = String::from_utf8_lossy(first).chars().take(40).collect::<String>();
    if reason == "bad_request" {
        assert!(told.is_empty(), "{shown:?}: {told:?}");
    } else {
        assert_eq!(told, ALERT, "{shown:?}");
    }
    origin.wait_for_connections(at + 1).await;
    assert_eq!(origin.wait_for_end(at).await, End::Reset, "{shown:?}");
    assert_eq!(origin.received(at), "", "the origin sees none of it");
    let is_it = |record: &Value| record["kind"] == "connection" && record["client"] == from.as_str();
    let records = gateway.wait_for("the record of the tunnel", |records| records.iter().any(is_it)).await;
    let record = records.into_iter().find(is_it).unwrap();
    assert_eq!(
        (&record["decision"], &record["reason"]),
        (&"deny".into(), &reason.into()),
        "{shown:?} {record}"
    );
    assert_eq!((&record["bytes_up"], &record["outcome"]), (&0.into(), &"refused".into()), "{record}");
    record
}

/// Sends first bytes into a tunnel to an echo and fails unless they come back; answers the tunnel.
async fn passes(gateway: &Gateway, target: &str, first: &[u8]) -> Client {
    let mut tunnel = Client::tunnel(gateway.proxy(), target).await;
    tunnel.send(first).await;
    tunnel.expect(first).await;
    tunnel
}

/// Status and reason of an answer.
fn verdict(response: &Response) -> (u16, &str) {
    (response.status, response.header("x-deny-reason").unwrap_or("none"))
}

#[tokio::test]
async fn i1_t2_t4_a_server_name_other_than_the_connect_name_closes_the_tunnel_unseen() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    for (names, reason) in [
        (&["denied.test"][..], "authority_mismatch"),
        // Allowed by itself, and still not what the tunnel was opened for.
        (&["also-good.test"], "authority_mismatch"),
        (&["www.good.test"], "authority_mismatch"),
        (&["good.test.denied.test"], "authority_mismatch"),
        (&[], "sni_missing"),
        (&["good.test", "denied.test"], "bad_request"),
        (&["good.test", "good.test"], "bad_request"),
        (&["127.0.0.8"], "bad_request"),
        (&[""], "bad_request"),
        (&["good.test\0.denied.test"], "bad_request"),
        (&["good.test.."], "bad_request"),
        (&["0x7f.1"], "bad_request"),
    ] {
        let record = closed_for(&gateway, &origin, "good.test", &hello(names), reason).await;
        assert_eq!(record["host"], "good.test");
        if reason == "authority_mismatch" {
            assert_eq!(record["sni"], names[0]);
        }
    }
    let twice = hello_in_records(&[sni(&["good.test"]), sni(&["denied.test"])], 1 << 14);
    closed_for(&gateway, &origin, "good.test", &twice, "bad_request").await;
}

#[tokio::test]
async fn i1_n1_a_server_name_that_is_the_same_in_canonical_form_passes() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    for (target, name) in [
        ("good.test", "good.test"),
        ("good.test", "GOOD.Test"),
        ("good.test", "good.test."),
        ("GOOD.test.", "good.TEST"),
    ] {
        let target = format!("{target}:{}", origin.port());
        let mut tunnel = passes(&gateway, &target, &hello(&[name])).await;
        tunnel.send("after").await;
        tunnel.expect("after").await;
    }
    let record = gateway.record("connection", "good.test").await;
    assert_eq!((&record["sni"], &record["scheme"]), (&"good.test".into(), &"tls".into()));
}

#[tokio::test]
async fn i1_a_real_handshake_goes_through_and_the_origins_certificate_is_the_clients_to_check() {
    let origin = Origin::tls("good.test", Behaviour::Http(vec![Reply::ok("inside")])).await;
    let gateway = gateway(TWO_NAMES).await;
    let target = format!("good.test:{}", origin.port());
    let tunnel = Client::tunnel(gateway.proxy(), &target).await;
    let mut inside = tunnel.tls("good.test", origin.certificate()).await;
    assert_eq!(inside.ask("GET / HTTP/1.1\r\nHost: whatever.test\r\n\r\n").await.body, "inside");
    let other = Client::tunnel(gateway.proxy(), &target).await;
    let failed = other.try_tls("denied.test", origin.certificate()).await.err().unwrap();
    assert!(failed.to_string().contains("AccessDenied"), "the alert is understood: {failed}");
}

#[tokio::test]
async fn t2_an_encrypted_hello_is_judged_by_its_outer_name_and_recorded_or_refused() {
    let origin = Origin::echo().await;
    let encrypted = |name: &str| hello_in_records(&[sni(&[name]), (0xfe0d, vec![0; 40])], 1 << 14);
    let allowing = gateway(TWO_NAMES).await;
    let target = format!("good.test:{}", origin.port());
    drop(passes(&allowing, &target, &encrypted("good.test")).await);
    assert_eq!(allowing.record("connection", "good.test").await["ech"], true);
    let record =
        closed_for(&allowing, &origin, "good.test", &encrypted("cover.test"), "authority_mismatch").await;
    assert_eq!((&record["ech"], &record["sni"]), (&true.into(), &"cover.test".into()));

    let denying = Gateway::with(TWO_NAMES, |config| config.ech = Ech::Deny).await;
    names_lead_to_origins(&denying);
    let record = closed_for(&denying, &origin, "good.test", &encrypted("good.test"), "sni_missing").await;
    assert_eq!(record["ech"], true);
    assert!(record["error"].as_str().unwrap().contains("ech: Deny"), "{record}");
    drop(passes(&denying, &target, &hello(&["good.test"])).await);
}

#[tokio::test]
async fn t1_the_verdict_is_the_same_however_the_hello_is_cut() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    let target = format!("good.test:{}", origin.port());
    let extensions = |name| [(10, vec![0, 2, 0, 29]), sni(&[name]), (13, vec![0, 2, 8, 4])];
    for record in [1, 2, 3, 5, 40, 60, 1 << 14] {
        let good = hello_in_records(&extensions("good.test"), record);
        drop(passes(&gateway, &target, &good).await);
        let bad = hello_in_records(&extensions("denied.test"), record);
        closed_for(&gateway, &origin, "good.test", &bad, "authority_mismatch").await;
    }
    for record in [7, 1 << 14] {
        let good = hello_in_records(&extensions("good.test"), record);
        let mut tunnel = Client::tunnel(gateway.proxy(), &target).await;
        tunnel.send_in_pieces(&good, 1).await;
        tunnel.expect(&good).await;

        let at = origin.connections();
        let bad = hello_in_records(&extensions("denied.test"), record);
        let mut tunnel = Client::tunnel(gateway.proxy(), &target).await;
        tunnel.send_in_pieces(&bad, 1).await;
        assert_eq!(tunnel.expect_closed().await, ALERT);
        origin.wait_for_connections(at + 1).await;
        origin.wait_for_end(at).await;
        assert_eq!(origin.received(at), "");
    }
}

#[tokio::test]
async fn t3_a_large_hello_passes_and_one_beyond_64_kib_does_not() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    let target = format!("good.test:{}", origin.port());
    // The name comes last, so that everything before it has to be read.
    let padded = |size| hello_in_records(&[(21, vec![0; size]), sni(&["good.test"])], 1 << 14);
    for size in [2_000, 17_000, 60_000] {
        drop(passes(&gateway, &target, &padded(size)).await);
    }
    closed_for(&gateway, &origin, "good.test", &padded(65_500), "bad_request").await;
    // Many one-byte records: small as a message, large on the wire.
    let spread = hello_in_records(&[(21, vec![0; 12_000]), sni(&["good.test"])], 1);
    assert!(spread.len() > 70_000);
    closed_for(&gateway, &origin, "good.test", &spread, "bad_request").await;
}

#[tokio::test]
async fn t2_garbage_that_starts_like_tls_or_http2_is_refused() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    for first in [
        &b"\x16\x03garbage that is no record at all"[..],
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x01\x01\x17\x03\x03\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        closed_for(&gateway, &origin, "good.test", first, "bad_request").await;
    }
}

#[tokio::test]
async fn t3_r1_first_bytes_that_never_become_a_message_are_cut_off_after_five_seconds() {
    let origin = Origin::echo().await;
    let gateway = gateway(TWO_NAMES).await;
    let whole = hello(&["good.test"]);
    let waits = [&whole[..1], &whole[..6], &whole[..whole.len() - 1], b"GET / HT", b"\r\n\r\n"];
    let mut tunnels = Vec::new();
    for first in waits {
        let mut tunnel = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
        tunnel.send(first).await;
        tunnels.push(tunnel);
    }
    for mut tunnel in tunnels {
        assert_eq!(tunnel.expect_closed().await, b"");
    }
    for at in 0..waits.len() {
        assert_eq!(origin.wait_for_end(at).await, End::Reset);
        assert_eq!(origin.received(at), "");
    }
    let cut = |record: &&Value| record["reason"] == "bad_request" && record["kind"] == "connection";
    gateway.wait_for("a record each", |records| records.iter().filter(cut).count() == waits.len()).await;
}

#[tokio::test]
async fn i5_http_in_any_spelling_inside_a_tunnel_never_reaches_the_origin_unjudged() {
    let origin = Origin::http([Reply::ok("leaked")]).await;
    let gateway = gateway(TWO_NAMES).await;
    let host = "\r\nHost: denied.test\r\n\r\n";
    let lines = [
        "GET / HTTP/1.1",
        "\r\nGET / HTTP/1.1",
        "\r\n\r\n\r\nGET / HTTP/1.1",
        "\nGET / HTTP/1.1",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET  /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / http/1.1",
        "get / HTTP/1.1",
        "GET / HTTP/1.0",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/11",
        "GET\x0b/\x0cHTTP/1.1",
        "GET http://denied.test/ HTTP/1.1",
        "CONNECT denied.test:443 HTTP/1.1",
        "X-ODD! / HTTP/1.1",
    ];
    let mut first: Vec<String> = lines.iter().map(|line| format!("{line}{host}")).collect();
    // Bare line feeds throughout, and a request line that the FIN ends.
    first.push("GET / HTTP/1.1\nHost: denied.test\n\n".to_owned());
    first.push("GET / HTTP/1.1".to_owned());
    first.push("GET / HTTP/1.1\r".to_owned());
    for first in first {
        let at = origin.connections();
        let mut tunnel = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
        tunnel.send(&first).await;
        tunnel.finish().await;
        let told = String::from_utf8(tunnel.expect_closed().await).unwrap();
        let refused = ["HTTP/1.0 400 ", "HTTP/1.1 400 "].iter().any(|start| told.starts_with(start));
        assert!(told.is_empty() || refused, "{first:?}: {told}");
        origin.wait_for_connections(at + 1).await;
        origin.wait_for_end(at).await;
        assert_eq!(origin.received(at), "", "{first:?}");
    }
}

#[tokio::test]
async fn i3_i6_each_request_inside_a_tunnel_must_name_the_tunnels_target() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let gateway = gateway(TWO_NAMES).await;
    let port = origin.port();
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("good.test:{port}")).await;
    let absolute = format!("http://good.test:{port}/abs");
    let elsewhere = format!("http://also-good.test:{port}/");
    for (path, host, expected) in [
        ("/first", "good.test", (200, "none")),
        ("/denied", "denied.test", (400, "authority_mismatch")),
        ("/other", "also-good.test", (400, "authority_mismatch")),
        ("/port", "good.test:1", (400, "authority_mismatch")),
        ("/spelling", "good.test:x", (400, "bad_request")),
        ("/literal", "127.0.0.8", (400, "authority_mismatch")),
        (&elsewhere, "also-good.test", (400, "authority_mismatch")),
        (&absolute, "denied.test", (400, "authority_mismatch")),
        ("/canonical", &format!("GOOD.test.:{port}"), (200, "none")),
        (&absolute, "good.test", (200, "none")),
        ("/last", "good.test", (200, "none")),
    ] {
        let response = tunnel.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(verdict(&response), expected, "{path} {host}");
    }
    let seen = origin.received(0);
    let lines: Vec<&str> = seen.lines().filter(|line| line.starts_with("GET ")).collect();
    assert_eq!(
        lines,
        ["GET /first HTTP/1.1", "GET /canonical HTTP/1.1", "GET /abs HTTP/1.1", "GET /last HTTP/1.1"]
    );
    assert_eq!(origin.connections(), 1, "the tunnel's own connection carries them all");
    let count = |records: &[Value]| records.iter().filter(|record| record["kind"] == "request").count();
    let records = gateway.wait_for("a record a request", |records| count(records) == 11).await;
    let denied = records.iter().filter(|record| record["kind"] == "request" && record["decision"] == "deny");
    assert_eq!(denied.count(), 7);
}

#[tokio::test]
async fn i3_an_absolute_uri_and_its_host_agree_or_the_request_is_refused() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let policy = "mode: Limited\nports: [1-65535]\nhostRules: [good.test, also-good.test, 127.0.0.8]\n";
    let gateway = gateway(policy).await;
    let port = origin.port();
    for (uri, headers, expected) in [
        ("good.test", format!("Host: good.test:{port}"), (200, "none")),
        ("good.test", "Host: good.test".to_owned(), (200, "none")),
        ("good.test", "Host: GOOD.test.".to_owned(), (200, "none")),
        ("good.test", "Host: also-good.test".to_owned(), (400, "authority_mismatch")),
        ("good.test", "Host: denied.test".to_owned(), (400, "authority_mismatch")),
        ("good.test", "Host: good.test:1".to_owned(), (400, "authority_mismatch")),
        ("good.test", "Host: 127.0.0.8".to_owned(), (400, "authority_mismatch")),
        ("good.test", "Host: good.test, denied.test".to_owned(), (400, "bad_request")),
        ("good.test", "Host: good.test\r\nHost: good.test".to_owned(), (400, "bad_request")),
        ("good.test", "Host: good.test\r\nHost: denied.test".to_owned(), (400, "bad_request")),
        ("good.test", "Host:".to_owned(), (400, "bad_request")),
        ("good.test", "Accept: */*".to_owned(), (400, "bad_request")),
        ("127.0.0.8", format!("Host: 127.0.0.8:{port}"), (200, "none")),
        ("127.0.0.8", "Host: denied.test".to_owned(), (400, "authority_mismatch")),
        ("127.0.0.8", "Host: also-good.test".to_owned(), (400, "authority_mismatch")),
    ] {
        let request = format!("GET http://{uri}:{port}/ HTTP/1.1\r\n{headers}\r\n\r\n");
        let response = gateway.client().await.ask(request).await;
        assert_eq!(verdict(&response), expected, "{uri} {headers}");
        let target = format!("{uri}:{port}");
        let mut client = gateway.client().await;
        client.send(format!("CONNECT {target} HTTP/1.1\r\n{headers}\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {} ", expected.0)), "CONNECT {target} {headers}: {head}");
        assert!(expected.0 == 200 || head.contains(&format!("x-deny-reason: {}\r\n", expected.1)), "{head}");
    }
    for at in 0..origin.connections() {
        let seen = origin.received(at).to_ascii_lowercase();
        assert!(!seen.contains("denied") && !seen.contains("also-good"), "{seen}");
    }
}

#[tokio::test]
async fn i5_every_way_in_denies_what_is_denied() {
    let origin = Origin::http([Reply::ok("leaked")]).await;
    let policy = "
mode: Limited
ports: [1-65535]
hostRules: [good.test, {pattern: denied.test, action: Deny}]
cidrRules: [{cidr: 127.0.0.8/32, action: Allow}]
";
    let gateway = gateway(policy).await;
    let port = origin.port();
    let denied = format!("denied.test:{port}");
    let upgrade =
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n";
    for request in [
        format!("CONNECT {denied} HTTP/1.1\r\nHost: {denied}\r\n\r\n"),
        format!("CONNECT {denied} HTTP/1.0\r\n\r\n"),
        format!("GET http://{denied}/ HTTP/1.1\r\nHost: {denied}\r\n\r\n"),
        format!("GET http://{denied}/ HTTP/1.0\r\n\r\n"),
        format!("HEAD http://{denied}/ HTTP/1.1\r\nHost: {denied}\r\n\r\n"),
        format!("OPTIONS http://{denied}/ HTTP/1.1\r\nHost: {denied}\r\n\r\n"),
        format!("POST http://{denied}/ HTTP/1.1\r\nHost: {denied}\r\nContent-Length: 4\r\n\r\ndata"),
        format!(
            "POST http://{denied}/ HTTP/1.1\r\nHost: {denied}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        ),
        format!("GET http://{denied}/ HTTP/1.1\r\nHost: {denied}\r\n{upgrade}\r\n"),
    ] {
        let response = gateway.client().await.ask(&request).await;
        assert_eq!(verdict(&response), (403, "host_denied"), "{request}");
    }
    // The literal is allowed; the name that it carries is not.
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("127.0.0.8:{port}")).await;
    let inside = tunnel.ask(format!("GET / HTTP/1.1\r\nHost: {denied}\r\n\r\n")).await;
    assert_eq!(verdict(&inside), (403, "host_denied"));
    let websocket = tunnel.ask(format!("GET / HTTP/1.1\r\nHost: {denied}\r\n{upgrade}\r\n")).await;
    assert_eq!(verdict(&websocket), (403, "host_denied"));
    // The tunnel above has one, which nothing was sent on.
    origin.wait_for_connections(1).await;
    closed_for(&gateway, &origin, "127.0.0.8", &hello(&["denied.test"]), "host_denied").await;
    for at in 0..origin.connections() {
        assert_eq!(origin.received(at), "");
    }
    assert_eq!(gateway.dns.total_queries(), 0);
}

#[tokio::test]
async fn i6_on_a_kept_alive_connection_every_request_is_judged_afresh() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let gateway = gateway(TWO_NAMES).await;
    let port = origin.port();
    let mut client = gateway.client().await;
    for (name, status) in [
        ("good.test", 200),
        ("denied.test", 403),
        ("good.test", 200),
        ("also-good.test", 200),
        ("denied.test", 403),
    ] {
        let request = format!("GET http://{name}:{port}/ HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n");
        assert_eq!(client.ask(request).await.status, status, "{name}");
    }
    // All at once as well: the answers come in order and each is its own.
    let pipelined = ["good.test", "denied.test", "good.test"]
        .map(|name| format!("GET http://{name}:{port}/ HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n"))
        .concat();
    client.send(pipelined).await;
    for status in [200, 403, 200] {
        assert_eq!(client.response(false).await.status, status);
    }
}

#[tokio::test]
async fn i7_connect_inside_a_tunnel_is_refused_and_forged_headers_change_nothing() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let gateway = gateway(TWO_NAMES).await;
    let target = format!("good.test:{}", origin.port());
    let mut tunnel = Client::tunnel(gateway.proxy(), &target).await;
    assert_eq!(tunnel.ask("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await.status, 200);
    let inner = tunnel.ask(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    assert_eq!(verdict(&inner), (400, "bad_request"));
    tunnel.expect_closed().await;
    assert!(!origin.received(0).contains("CONNECT"));

    let forged = "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1;host=good.test\r\nX-Forwarded-Host: good.test\r\nVia: 1.1 sluicegate\r\nX-Real-IP: 127.0.0.1";
    let connect = format!("CONNECT denied.test:443 HTTP/1.1\r\nHost: denied.test\r\n{forged}\r\n\r\n");
    assert_eq!(gateway.client().await.ask(connect).await.status, 403);
    let get = format!("GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n{forged}\r\n\r\n");
    assert_eq!(gateway.client().await.ask(get).await.status, 403);
}

#[tokio::test]
async fn a_literal_that_carries_a_name_is_asked_for_both() {
    let origin = Origin::echo().await;
    let policy = "
mode: Limited
ports: [1-65535]
hostRules: [good.test, {pattern: denied.test, action: Deny}]
cidrRules: [{cidr: 127.0.0.8/32, action: Allow}]
";
    let limited = gateway(policy).await;
    let target = format!("127.0.0.8:{}", origin.port());
    drop(passes(&limited, &target, &hello(&["good.test"])).await);
    // The cidrRules Allow is an IP rule, which admits TLS without a name.
    drop(passes(&limited, &target, &hello(&[])).await);
    closed_for(&limited, &origin, "127.0.0.8", &hello(&["denied.test"]), "host_denied").await;
    closed_for(&limited, &origin, "127.0.0.8", &hello(&["unlisted.test"]), "default_deny").await;

    let open = gateway("mode: Unrestricted\nhostRules: [{pattern: denied.test, action: Deny}]\n").await;
    drop(passes(&open, &target, &hello(&["anything.test"])).await);
    closed_for(&open, &origin, "127.0.0.8", &hello(&["denied.test"]), "host_denied").await;
    closed_for(&open, &origin, "127.0.0.8", &hello(&[]), "sni_missing").await;

    let nothing_denied = gateway("mode: Unrestricted\n").await;
    drop(passes(&nothing_denied, &target, &hello(&[])).await);
}

#[tokio::test]
async fn http_to_a_literal_with_a_permitted_name_reaches_the_origin_under_that_name() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let policy = "mode: Limited\nports: [1-65535]\nhostRules: [good.test, 127.0.0.8]\n";
    let gateway = gateway(policy).await;
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("127.0.0.8:{}", origin.port())).await;
    assert_eq!(tunnel.ask("GET / HTTP/1.1\r\nHost: GOOD.test\r\n\r\n").await.status, 200);
    let host = format!("host: good.test:{}\r\n", origin.port());
    assert!(origin.received(0).to_ascii_lowercase().contains(&host), "{}", origin.received(0));
    let denied = tunnel.ask("GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n").await;
    assert_eq!(verdict(&denied), (403, "default_deny"));
}

#[tokio::test]
async fn the_record_of_a_request_to_a_literal_says_the_name_that_was_judged() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let (port, policy) =
        (origin.port(), "mode: Limited\nhostRules: [good.test, 127.0.0.8]\nports: [1-65535]\n");
    let gateway = gateway(policy).await;
    let literal = format!("127.0.0.8:{port}");
    let mut tunnel = Client::tunnel(gateway.proxy(), &literal).await;
    for (at, (host, line, status, recorded)) in [
        ("GOOD.test.", "/", 200, "good.test"),
        ("denied.test", "/", 403, "denied.test"),
        (literal.as_str(), "/", 200, "127.0.0.8"),
        ("good.test", "http://127.0.0.8", 200, "good.test"),
    ]
    .into_iter()
    .enumerate()
    {
        let line = if line == "/" { "/".to_owned() } else { format!("{line}:{port}/") };
        let answered = tunnel.ask(format!("GET {line} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answered.status, status, "{host} {line}");
        // The record of the tunnel is written when it ends.
        let records = gateway.wait_for("a request", |all| requests(all).len() > at).await;
        let record = requests(&records).swap_remove(at);
        assert_eq!(record["host"], recorded, "{record}");
        if status == 200 {
            assert_eq!(record["address"], literal.as_str(), "{record}");
        }
        if host == "denied.test" {
            let (told, body) = (record["error"].to_string(), &answered.body);
            assert!(
                told.contains("add \\\"denied.test\\\" to hostRules"),
                "the hint is about the name: {told}"
            );
            assert!(body.contains("add \\\"denied.test\\\" to hostRules"), "{body}");
            assert!(body.contains(&format!("denied.test:{port} is not on the allow-list")), "{body}");
        }
    }
}

/// The records of requests.
fn requests(all: &[Value]) -> Vec<Value> {
    all.iter().filter(|record| record["kind"] == "request").cloned().collect()
}

#[tokio::test]
async fn a_rule_that_needs_the_inside_wants_an_authority_and_then_judges_each_request_alike() {
    let policy = "
mode: Limited
ports: [1-65535]
rules:
  - {name: no-admin, match: {host: good.test, path: /admin}, action: Deny}
  - {name: read-only, match: {host: good.test, methods: [GET, HEAD]}, action: Allow}
";
    let Err(StartError::Policy(loaded)) = Gateway::try_with(policy, |_| {}).await else {
        panic!("it starts without an authority")
    };
    assert!(loaded.problems[0].message.contains("needs the `intercept` authority"), "{:?}", loaded.problems);

    let plain = Origin::http([Reply::ok("yes")]).await;
    let secure = Origin::tls("good.test", Behaviour::Http(vec![Reply::ok("yes")])).await;
    let gateway = Gateway::inspecting(policy, [("good.test", &secure)]).await;
    let (plain_port, secure_port) = (plain.port(), secure.port());
    for (method, path, expected) in [
        ("GET", "/", (200, "none")),
        ("GET", "/admin", (403, "rule_denied")),
        ("GET", "/admin/users", (403, "rule_denied")),
        ("GET", "/x/../admin", (403, "rule_denied")),
        ("GET", "//admin", (403, "rule_denied")),
        ("GET", "/%61dmin", (403, "rule_denied")),
        ("GET", "/administrator", (200, "none")),
        ("POST", "/", (403, "default_deny")),
        ("get", "/", (403, "default_deny")),
    ] {
        let request =
            format!("{method} http://good.test:{plain_port}{path} HTTP/1.1\r\nHost: good.test\r\n\r\n");
        let response = gateway.client().await.ask(request).await;
        assert_eq!(verdict(&response), expected, "{method} {path}");
        let request = format!("{method} {path} HTTP/1.1\r\nHost: good.test:{secure_port}\r\n\r\n");
        let mut tunnel = gateway.inside("good.test", &secure, &[]).await;
        assert_eq!(verdict(&tunnel.ask(request).await), expected, "{method} {path} inside TLS");
    }
}

#[tokio::test]
async fn nothing_can_hide_in_the_body_of_a_refused_upgrade() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let policy = "
mode: Limited
ports: [1-65535]
rules: [{name: read-only, match: {host: good.test, methods: [GET]}, action: Allow}]
";
    let gateway = Gateway::inspecting(policy, []).await;
    names_lead_to_origins(&gateway);
    // If the proxy and its HTTP engine disagreed on where the body ends, what is judged as a GET would go
    // out as the POST inside its header.
    let carrier =
        format!("GET http://good.test:{}/ HTTP/1.1\r\nHost: good.test\r\nX-Hidden: ", origin.port());
    for length in 1..160 {
        let mut client = gateway.client().await;
        let upgrade = format!(
            "GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: {length}\r\n\r\n"
        );
        let _may_be_closed_already =
            client.try_send(format!("{upgrade}{carrier}POST / HTTP/1.1\r\nX-More: 1\r\n\r\n")).await;
        let told = String::from_utf8(client.expect_closed().await).unwrap();
        assert!(told.starts_with("HTTP/1.1 400 "), "{length}: {told}");
    }
    for at in 0..origin.connections() {
        assert!(!origin.received(at).starts_with("POST"), "{}", origin.received(at));
    }
}

#[tokio::test]
async fn the_proxys_own_port_refuses_tls_and_http2_in_the_clear_in_words() {
    let gateway = gateway(TWO_NAMES).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for (first, word) in [(preface, "HTTP/2"), (hello(&["good.test"]), "TLS")] {
        let mut client = gateway.client().await;
        let from = client.local().to_string();
        client.send(&first).await;
        let response = client.response(false).await;
        assert_eq!(verdict(&response), (400, "bad_request"));
        assert!(response.body.contains(word), "{}", response.body);
        client.expect_closed().await;
        let is_it = |record: &Value| record["client"] == from.as_str() && record["reason"] == "bad_request";
        gateway.wait_for("its record", |records| records.iter().any(is_it)).await;
    }
}
