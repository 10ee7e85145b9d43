//! HTTP inside a tunnel and on a kept connection: each request for the name of its call.

use super::*;

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
