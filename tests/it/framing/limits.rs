//! Heads that are too long, too slow or never come.

use super::*;

#[tokio::test]
async fn r1_a_head_longer_than_the_limit_is_refused_before_its_end() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway = Gateway::with(&policy, |config| config.limits.header_bytes = 2048).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let authority = format!("good.test:{}", origin.port());
    let start = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nX: ");
    let fitting = format!("{start}{}\r\n\r\n", "x".repeat(2048 - start.len() - 4));
    assert_eq!(gateway.client().await.ask(&fitting).await.status, 200, "{} bytes fit", fitting.len());
    let mut client = gateway.client().await;
    let refused = client.ask(format!("{start}{}", "x".repeat(2048 - start.len()))).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    assert!(client.expect_closed().await.is_empty());
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn r1_a_hundred_headers_pass_and_one_more_does_not() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, authority) = start(&origin).await;
    let with = |count: usize| {
        let fields: Vec<String> = (1..count).map(|at| format!("X-{at}: y\r\n")).collect();
        let fields = fields.concat();
        format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
    };
    assert_eq!(gateway.client().await.ask(with(100)).await.status, 200);
    assert!(origin.received(0).contains("x-99: y"));
    let mut client = gateway.client().await;
    assert_eq!(client.ask(with(101)).await.status, 400);
    assert!(client.expect_closed().await.is_empty());
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn r1_a_head_that_does_not_end_in_time_closes_the_connection_and_is_recorded() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, authority) = with_header_timeout(&origin, Duration::from_millis(600)).await;
    let mut first = gateway.client().await;
    first.send(format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n")).await;
    let mut later = gateway.client().await;
    let good = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    assert_eq!(later.ask(&good).await.status, 200);
    later.send(&good[..good.len() - 2]).await;
    for client in [&mut first, &mut later] {
        assert!(client.expect_closed().await.is_empty());
    }
    let late = |records: &[Value]| {
        calls(records).iter().filter(|record| record["reason"] == "bad_request").count() == 2
    };
    let records = gateway.wait_for("a record of each", late).await;
    assert_eq!(calls(&records).len(), 3, "{records:#?}");
    assert_eq!(origin.received(0).matches("GET").count(), 1);
}

#[tokio::test]
async fn r1_a_silent_connection_is_closed_and_recorded_and_an_idle_one_only_closed() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, authority) = with_header_timeout(&origin, Duration::from_millis(600)).await;
    let mut silent = gateway.client().await;
    assert!(silent.expect_closed().await.is_empty());
    let records = gateway.wait_for("a record", |records| calls(records).len() == 1).await;
    assert_eq!(calls(&records)[0]["reason"], "bad_request");
    assert_eq!(calls(&records)[0]["kind"], "connection");
    let mut idle = gateway.client().await;
    let good = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    assert_eq!(idle.ask(&good).await.status, 200);
    assert!(idle.expect_closed().await.is_empty());
    let records = gateway.stop().await;
    assert_eq!(
        calls(&records).len(),
        2,
        "an idle connection that was used leaves no record more: {records:#?}"
    );
}

#[tokio::test]
async fn a_connection_that_closes_without_a_word_is_recorded() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, _) = start(&origin).await;
    drop(gateway.client().await);
    let mut partial = gateway.client().await;
    partial.send("GET http://go").await;
    drop(partial);
    let records = gateway.wait_for("two records", |records| calls(records).len() == 2).await;
    assert!(
        calls(&records).iter().all(|record| record["kind"] == "connection" && record["decision"] == "deny")
    );
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_the_same_request() {
    let origin = Origin::http([Reply::ok("hello"), Reply::chunked(["a", "b"])]).await;
    let (gateway, authority) = start(&origin).await;
    let mut client = gateway.client().await;
    let head = format!("POST http://{authority}/x HTTP/1.1\r\nHost: {authority}\r\n");
    client.send_in_pieces(format!("\r\n{head}Content-Length: 3\r\n\r\nabc"), 1).await;
    assert_eq!(client.response(false).await.body, "hello");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n";
    client.send_in_pieces(format!("{head}{chunked}"), 1).await;
    assert_eq!(client.response(false).await.body, "ab");
    let records = gateway.wait_for("two records", |records| calls(records).len() == 2).await;
    assert!(calls(&records).iter().all(|record| record["bytes_up"] == 3), "{records:#?}");
    assert_eq!(origin.connections(), 1);
}
