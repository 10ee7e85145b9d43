//! Bodies that are odd, or look like requests.

use super::*;

#[tokio::test]
async fn f3_a_body_whose_chunks_are_odd_ends_the_request_and_never_reaches_its_end_at_the_origin() {
    let bodies: [&str; 20] = [
        "x\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhellooo\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: y\r\n z\r\n\r\n",
    ];
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, authority) = start(&origin).await;
    for (at, body) in bodies.iter().enumerate() {
        let mut client = gateway.client().await;
        let head = format!(
            "POST http://{authority}/{at} HTTP/1.1\r\nHost: {authority}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let refused = client.ask(format!("{head}{body}")).await;
        assert_eq!(refused.status, 400, "{body:?}");
        assert_eq!(refused.header("x-deny-reason"), Some("bad_request"), "{body:?}");
        assert!(client.expect_closed().await.is_empty(), "{body:?}");
        let path = format!("/{at}");
        let of_it = |record: &Value| record["path"] == *path;
        let records = gateway.wait_for("the record", |records| records.iter().any(of_it)).await;
        let record = records.iter().find(|record| of_it(record)).expect("it was just seen");
        assert_eq!(record["reason"], "bad_request", "{body:?}");
        assert_eq!(record["outcome"], "refused", "{body:?}");
        assert_eq!(calls(&records).len(), at + 1, "one record each: {body:?}");
    }
    for at in 0..origin.connections() {
        origin.wait_for_end(at).await;
        let received = origin.received(at);
        assert!(
            !received.ends_with("0\r\n\r\n"),
            "the origin must not take it for a whole request: {received}"
        );
    }
}

#[tokio::test]
async fn f3_a_bad_request_behind_a_good_one_is_refused_after_its_answer() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, authority) = start(&origin).await;
    let mut client = gateway.client().await;
    let good = format!("GET http://{authority}/good HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let bad = format!("GET http://{authority}/bad HTTP/1.1\r\nHost: {authority}\r\nX : y\r\n\r\n");
    client.send(format!("{good}{bad}{good}")).await;
    let answered = client.response(false).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "hello"));
    let refused = client.response(false).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    assert!(client.expect_closed().await.is_empty(), "nothing after a bad message is read");
    let records = gateway.wait_for("two records", |records| calls(records).len() == 2).await;
    assert_eq!(calls(&records).len(), 2);
    assert_eq!(origin.received(0).matches("HTTP/1.1").count(), 1);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn f4_a_request_in_the_body_of_another_stays_a_body() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, authority) = start(&origin).await;
    let hidden = "GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\nX : y\r\n\r\n";
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    let head = format!("POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n");
    let mut client = gateway.client().await;
    for (framing, body) in [
        (format!("Content-Length: {}", hidden.len()), hidden),
        ("Transfer-Encoding: chunked".to_owned(), chunk.as_str()),
    ] {
        let answered = client.ask(format!("{head}{framing}\r\n\r\n{body}")).await;
        assert_eq!((answered.status, answered.body.as_str()), (200, "hello"));
    }
    let records = gateway.wait_for("two records", |records| calls(records).len() == 2).await;
    assert!(calls(&records).iter().all(|record| record["bytes_up"] == hidden.len()), "{records:#?}");
    assert_eq!(origin.received(0).matches(hidden).count(), 2);
    assert_eq!(gateway.dns.queries("denied.test"), 0);
}

#[tokio::test]
async fn f4_a_refused_upgrade_with_a_body_does_not_shift_the_requests_after_it() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let policy = format!(
        "mode: Limited\nrules:\n- {{match: {{host: 'good.test:{}', methods: [GET]}}, action: Allow}}\n",
        origin.port()
    );
    let gateway = Gateway::inspecting(&policy, []).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let authority = format!("good.test:{}", origin.port());
    let inner = format!("GET http://{authority}/ HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    // As long as the form in which the HTTP engine is handed that head.
    let length = inner.len() - format!("http://{authority}").len();
    for upgrade in ["x", "h2c", "websocket"] {
        let mut client = gateway.client().await;
        client
            .send(format!(
                "POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nUpgrade: {upgrade}\r\nContent-Length: {length}\r\n\r\n{inner}\
                 DELETE http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n"
            ))
            .await;
        let answered = String::from_utf8_lossy(&client.expect_closed().await).into_owned();
        assert!(answered.starts_with("HTTP/1.1 400"), "{answered}");
        assert_eq!(answered.matches("HTTP/1.1 ").count(), 1, "{answered}");
    }
    assert_eq!(origin.connections(), 0, "neither the hidden request nor the one behind it is sent");
}

#[tokio::test]
async fn f5_what_is_pipelined_behind_a_connect_reaches_the_tunnel_untouched() {
    let origin = Origin::http([Reply::ok("hello").step_by_step()]).await;
    let echo = Origin::echo().await;
    let policy =
        format!("mode: Limited\nhostRules: ['good.test:{}', 'echo.test:{}']\n", origin.port(), echo.port());
    let gateway = Gateway::start(&policy).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    gateway.dns.says("echo.test", Answer::addresses(["127.0.0.8"]));
    let mut client: Client = gateway.client().await;
    let (good, tunnel) = (format!("good.test:{}", origin.port()), format!("echo.test:{}", echo.port()));
    client
        .send(format!(
            "GET http://{good}/ HTTP/1.1\r\nHost: {good}\r\n\r\nCONNECT {tunnel} HTTP/1.1\r\nHost: {tunnel}\r\n\r\n\x01opaque bytes\r\n\r\n"
        ))
        .await;
    assert_eq!(client.response(false).await.body, "hello");
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    client.expect("\x01opaque bytes\r\n\r\n").await;
    client.finish().await;
    client.expect_end().await;
    assert_eq!(echo.received(0), "\x01opaque bytes\r\n\r\n");
}
