//! Every way in judges alike.

use super::*;

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
