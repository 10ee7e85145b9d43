//! What somebody with the source in hand tried against a whole gateway, and what must come of it.

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::Origin;
use crate::kit::within;

/// A `ClientHello` in one record, for this server.
fn hello(name: &str) -> Vec<u8> {
    let vector = |data: &[u8]| [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat();
    let names = vector(&[&[0], &vector(name.as_bytes())[..]].concat());
    let extensions = vector(&[&[0, 0], &vector(&names)[..]].concat());
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &extensions].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0x16, 3, 1][..], &vector(&[&[1], &length[1..], &body].concat())].concat()
}

/// A gateway that allows `good.test` on every port.
async fn gateway() -> Gateway {
    let gateway = Gateway::start("mode: Limited\nports: [1-65535]\nhostRules: [good.test]\n").await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    gateway
}

/// Sends first bytes into a tunnel, then the FIN; none of them may reach the origin.
async fn nothing_comes_out(gateway: &Gateway, origin: &Origin, first: &[u8]) {
    let at = origin.connections();
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
    let _may_be_closed_already = tunnel.try_send(first).await;
    tunnel.finish_if_open().await;
    tunnel.expect_closed().await;
    origin.wait_for_connections(at + 1).await;
    origin.wait_for_end(at).await;
    assert_eq!(origin.received(at), "", "{}", first.escape_ascii());
}

#[tokio::test]
async fn i1_t2_tls_that_some_servers_take_although_its_first_record_is_odd_never_passes_unjudged() {
    let origin = Origin::echo().await;
    let gateway = gateway().await;
    let denied = hello("denied.test");
    let other_version = |major: u8, minor: u8| [&[0x16, major, minor], &denied[3..]].concat();
    // SSLv2-compatible, which has no place for a server name; OpenSSL answers it with TLS 1.2.
    let old = [&[0x80, 0x2c, 1, 3, 3, 0, 3, 0, 0, 0, 0x20, 0, 0, 0x2f][..], &[7; 32]].concat();
    for first in [
        old,
        // Warnings before the hello are skipped by Go's server.
        [&[0x15, 3, 1, 0, 2, 1, 90][..], &denied].concat(),
        [&[0x15, 0, 0, 0, 2, 1, 90][..], &denied].concat(),
        [&[0x14, 3, 3, 0, 1, 1][..], &denied].concat(),
        [&[0x17, 3, 3, 0, 0][..], &denied].concat(),
        // Go's server takes every version below 16.0 in the first record.
        other_version(2, 0),
        other_version(0, 0),
        other_version(15, 255),
    ] {
        nothing_comes_out(&gateway, &origin, &first).await;
    }
}

#[tokio::test]
async fn i5_request_lines_that_lenient_servers_take_never_pass_unjudged() {
    let origin = Origin::echo().await;
    let gateway = gateway().await;
    for line in [
        // Python's http.server splits at everything that Latin-1 has of white space.
        &b"GET\xa0/\xa0HTTP/1.1\r\nHost: denied.test\r\n\r\n"[..],
        b"GET\x85/\x85HTTP/1.1\r\nHost: denied.test\r\n\r\n",
        b"GET\x1c/\x1fHTTP/1.1\r\nHost: denied.test\r\n\r\n",
        b"GET /\x1d HTTP/1.1\x1e\r\nHost: denied.test\r\n\r\n",
        b"\x0bGET / HTTP/1.1\r\nHost: denied.test\r\n\r\n",
        b"\xa0\x0c GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n",
        // A carriage return that ends a line by itself.
        b"GET / HTTP/1.1\rHost: denied.test\r\r",
        b"GET / HTTP/1.1\rHost: denied.test\r\r\n",
        // HTTP/0.9 that names another host; nginx picks the server by it.
        b"GET http://denied.test/\r\n",
        b"GET  HTTP://denied.test/ \n",
        b"GET http://denied.test/",
        // llhttp, the parser of Node, reads header fields in HTTP/0.9 as well.
        b"GET /\r\nHost: denied.test\r\n\r\n",
        b"POST /x\r\nHost: denied.test\r\nContent-Length: 0\r\n\r\n",
        b"GET nine\r\nHost: denied.test\r\n\r\n",
        b"GET /x",
        // It speaks RTSP and ICE as well, and HTTP/1.1 behind them.
        b"GET /x RTSP/1.1\r\nHost: denied.test\r\n\r\nGET /y HTTP/1.1\r\nHost: denied.test\r\n\r\n",
        b"SOURCE /x ICE/1.1\r\nHost: denied.test\r\n\r\n",
        b"CONNECT denied.test:80 rtsp/1.0\r\n\r\n",
        b"GET / XHTTP/1.1\r\nHost: denied.test\r\n\r\n",
        b"GET / HTTP/1.1 x\r\nHost: denied.test\r\n\r\n",
    ] {
        nothing_comes_out(&gateway, &origin, line).await;
    }
}

#[tokio::test]
async fn p4_a_policy_that_changes_while_a_name_is_looked_up_is_asked_about_the_address() {
    let origin = Origin::http([Reply::ok("leaked")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let rule = format!("mode: Limited\nhostRules: ['good.test:{}', x.test]\n", origin.port());
    let mut client = gateway.client().await;
    gateway.dns.hold();
    let host = format!("good.test:{}", origin.port());
    client.send(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    gateway.dns.wait_for_query("good.test").await;
    gateway.set_policy(&format!("{rule}cidrRules: [{{cidr: 127.0.0.8/29, action: Deny}}]\n")).await;
    gateway.dns.release();
    let head = client.expect_closed_or_head().await;
    assert!(head.is_empty() || head.contains("x-deny-reason: policy_change"), "{head}");
    if origin.connections() > 0 {
        origin.wait_for_end(0).await;
        assert_eq!(origin.received(0), "");
    }
    assert_eq!(gateway.calls(1).await[0]["reason"], "policy_change");
}

#[tokio::test]
async fn a_trailer_cannot_override_the_method_or_path_either() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(&format!(
        "mode: Limited\nrules:\n- {{match: {{host: 'good.test:{}', path: '/a', methods: [POST]}}, action: Allow}}\n",
        origin.port()
    ), [])
    .await;
    gateway.name("good.test", &origin);
    for name in ["X-HTTP-Method-Override", "x_original_url"] {
        let host = format!("good.test:{}", origin.port());
        let head = format!(
            "POST http://{host}/a HTTP/1.1\r\nHost: {host}\r\nTrailer: {name}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let mut client = gateway.client().await;
        let at = origin.connections();
        client.send(format!("{head}1\r\nx\r\n0\r\n{name}: DELETE\r\n\r\n")).await;
        assert!(client.expect_closed_or_head().await.starts_with("HTTP/1.1 400 "), "{name}");
        if origin.connections() > at {
            origin.wait_for_end(at).await;
            assert!(!origin.received(at).contains("DELETE"), "{}", origin.received(at));
        }
    }
}

#[tokio::test]
async fn no_spelling_of_an_override_that_cgi_reads_as_one_reaches_the_origin() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let port = origin.port();
    let rule = format!("{{match: {{host: 'good.test:{port}', path: /a}}, action: Allow}}");
    let gateway = Gateway::inspecting(&format!("mode: Limited\nrules: [{rule}]\n"), []).await;
    gateway.name("good.test", &origin);
    // lighttpd makes an underscore of everything that is no letter or digit.
    let fields =
        "X.HTTP.Method.Override: DELETE\r\nX!Original~URL: /admin\r\nX_Rewrite.URL: /admin\r\nX.Other: 1\r\n";
    let head = format!("GET http://good.test:{port}/a HTTP/1.1\r\nHost: good.test:{port}\r\n{fields}\r\n");
    assert_eq!(gateway.client().await.ask(head).await.status, 200);
    let received = origin.received(0).to_ascii_lowercase();
    assert_eq!(received.lines().filter(|line| line.starts_with('x')).collect::<Vec<_>>(), ["x.other: 1"]);
}

#[tokio::test]
async fn l3_f1_a_length_that_no_message_has_is_refused_by_us_and_leaves_its_record() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let host = format!("good.test:{}", origin.port());
    let mut client = gateway.client().await;
    let get = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(client.ask(get).await.status, 200);
    let post = format!(
        "POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 18446744073709551615\r\n\r\n"
    );
    let refused = client.ask(post).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    assert_eq!(gateway.calls(2).await[1]["reason"], "bad_request");
}

#[tokio::test]
async fn a6_p6_the_unspecified_address_is_this_host_whatever_is_exempt() {
    let gateway = Gateway::with("mode: Unrestricted\nhostRules: ['*', 0.0.0.0]\n", |config| {
        config.guards.exempt = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    })
    .await;
    gateway.dns.says("me.test", Answer::addresses(["0.0.0.0", "::"]));
    for host in ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "[64:ff9b::]", "me.test"] {
        for port in [gateway.admin().port(), gateway.proxy().port()] {
            let target = format!("{host}:{port}");
            let refused = Client::try_tunnel(gateway.proxy(), &target).await.err();
            let refused = refused.unwrap_or_else(|| panic!("a tunnel to the gateway itself at {target}"));
            assert_eq!(refused.header("x-deny-reason"), Some("guard_self"), "{target}");
        }
    }
}

#[tokio::test]
async fn r1_a_refused_tls_client_that_does_not_read_gives_its_place_back() {
    let policy = "mode: Limited\nports: [1-65535]\nhostRules: [good.test]\n";
    let gateway = Gateway::with(policy, |config| config.limits.connections = 1).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let listener = TcpListener::bind("127.0.0.8:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("good.test:{port}")).await;
    let (origin, _) = within("the tunnel", listener.accept()).await.unwrap();
    // Until nothing is taken any more: every buffer up to the client is full.
    let piece = vec![b'x'; 64 * 1024];
    while tokio::time::timeout(Duration::from_millis(500), origin.writable()).await.is_ok() {
        let _ = origin.try_write(&piece);
    }
    tunnel.send(hello("denied.test")).await;
    let refused = |record: &Value| record["reason"] == "authority_mismatch";
    gateway.wait_for("the refusal", |records| records.iter().any(refused)).await;
    let free = async {
        loop {
            let mut client = gateway.client().await;
            let asked = "GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n\r\n";
            if client.try_send(asked).await.is_ok()
                && client.expect_closed_or_head().await.starts_with("HTTP/1.1 403 ")
            {
                break;
            }
        }
    };
    within("the place to be free again", free).await;
    drop(tunnel);
}

#[tokio::test]
async fn l3_a_head_within_the_configured_limit_is_ours_to_judge_however_long() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway = Gateway::with(&policy, |config| config.limits.header_bytes = 1 << 20).await;
    gateway.name("good.test", &origin);
    let host = format!("good.test:{}", origin.port());
    let mut client = gateway.client().await;
    assert_eq!(client.ask(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.status, 200);
    let long = "x".repeat(900 << 10);
    let denied = client
        .ask(format!("GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\nX: {long}\r\n\r\n"))
        .await;
    assert_eq!((denied.status, denied.header("x-deny-reason")), (403, Some("default_deny")));
    assert_eq!(gateway.calls(2).await[1]["host"], "denied.test");
}
