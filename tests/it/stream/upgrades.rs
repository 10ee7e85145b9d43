//! Upgrades: bytes both ways after a 101, and none without it.

use super::*;

#[tokio::test]
async fn a_websocket_is_bytes_both_ways_after_its_101() {
    let origin = Origin::http([Reply::ok("first"), Reply::upgrade("websocket")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    let first = format!("{}0123456789", request("POST", &origin, "/", "Content-Length: 10\r\n"));
    assert_eq!(client.ask(first).await.body, "first");
    client
        .send(request("GET", &origin, "/ws", &format!("{UPGRADE}Proxy-Authorization: Basic eA==\r\n")))
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"), "{head}");
    client.send(b"\x81\x06hello!").await;
    client.expect(b"\x81\x06hello!").await;
    let received = origin.received(0);
    assert!(
        received.contains("upgrade: websocket\r\n") && received.contains("connection: upgrade\r\n"),
        "{received}"
    );
    assert!(
        received.contains("sec-websocket-key: dGhl") && !received.contains("proxy-authorization"),
        "{received}"
    );
    client.finish().await;
    client.expect_end().await;
    assert_eq!(origin.wait_for_end(0).await, End::Fin, "a half-close is passed on");
    let call = &gateway.calls(2).await[1];
    assert_eq!(
        (&call["status"], &call["outcome"], &call["path"]),
        (&json!(101), &json!("ok"), &json!("/ws"))
    );
    assert_eq!((&call["bytes_up"], &call["bytes_down"]), (&json!(8), &json!(8)), "its own bytes only");
}

#[tokio::test]
async fn a_reset_of_a_websocket_stays_a_reset() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let (gateway, mut client) = websocket(&origin).await;
    client.send("ping").await;
    client.expect("ping").await;
    client.reset();
    assert_eq!(origin.wait_for_end(0).await, End::Reset);
    let call = &gateway.calls(1).await[0];
    assert_eq!(call["outcome"], "client_failed");
    assert!(call["error"].as_str().is_some_and(|error| error.contains("reset")), "{call}");
}

#[tokio::test]
async fn f5_bytes_before_the_101_wait_for_it_and_go_nowhere_without_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.8:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let gateway = Gateway::start(&format!("mode: Limited\nhostRules: ['127.0.0.8:{port}']\n")).await;
    let authority = format!("127.0.0.8:{port}");
    let hidden = format!("GET http://{authority}/hidden HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let asked = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{UPGRADE}\r\n{hidden}");
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 403 Forbidden\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nno",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let mut client = gateway.client().await;
        client.send(&asked).await;
        let (mut stream, _) = within("a connection", listener.accept()).await.expect("a connection");
        within("a head", read_head(&mut stream)).await;
        // All of it is here at the gateway by now, in the segment of the head.
        let mut more = [0; 1];
        assert!(stream.try_read(&mut more).is_err(), "nothing after the head before the answer");
        stream.write_all(answer.as_bytes()).await.expect("sent");
        let granted = answer.contains("upgrade: websocket") && answer.contains(" 101 ");
        if granted {
            let mut got = vec![0; hidden.len()];
            within("what was sent early", stream.read_exact(&mut got)).await.expect("the rest");
            assert_eq!(got, hidden.as_bytes());
            assert!(client.head().await.starts_with("HTTP/1.1 101 "));
            continue;
        }
        let answered: Response = client.response(false).await;
        let expected = if answer.contains(" 101 ") { "502" } else { &answer[9..12] };
        assert_eq!(answered.status.to_string(), expected, "{answer}");
        let mut rest = Vec::new();
        assert_eq!(answered.header("upgrade"), None);
        assert!(client.expect_closed().await.is_empty(), "{answer}");
        let _either = within("the end", stream.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "{answer}: {}", rest.escape_ascii());
    }
}

#[tokio::test]
async fn f5_a_101_that_nobody_asked_for_is_a_502() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    let refused = client.ask(request("GET", &origin, "/", "")).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (502, Some("upstream_failed")));
    let other = Origin::http([Reply::upgrade("h2c")]).await;
    gateway.name("good.test", &other);
    let call = &gateway.calls(1).await[0];
    assert_eq!((&call["reason"], &call["status"]), (&json!("upstream_failed"), &json!(502)));
    assert_eq!(call["id"], refused.header("x-request-id").unwrap_or_default());
}

#[tokio::test]
async fn upgrades_to_anything_but_websocket_are_refused() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let cases = [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "HTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Connection: Upgrade\r\nUpgrade: \r\n",
    ];
    for (at, fields) in cases.into_iter().enumerate() {
        let mut client = gateway.client().await;
        let refused = client.ask(request("GET", &origin, "/", fields)).await;
        assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")), "{fields}");
        assert!(client.expect_closed().await.is_empty(), "{fields}");
        assert_eq!(gateway.calls(at + 1).await[at]["reason"], "bad_request", "{fields}");
    }
    let old = request("GET", &origin, "/", UPGRADE).replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(gateway.client().await.ask(old).await.status, 400);
    assert_eq!(origin.connections(), 0);
}
