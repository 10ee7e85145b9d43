//! Connections to origins that are kept for the next request.

use super::*;

#[tokio::test]
async fn the_connection_to_an_origin_is_kept_for_one_target_and_one_client() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let other = Origin::http([Reply::chunked(["o", "k"])]).await;
    let gateway = Gateway::allowing([("good.test", &origin), ("other.test", &other)]).await;
    let (good, second) = (good(&origin), format!("other.test:{}", other.port()));
    let mut client = gateway.client().await;
    for at in 0..5 {
        let body = "x".repeat(at);
        let asked = request("POST", &good, "/", &format!("Content-Length: {at}\r\n"), &body);
        assert_eq!(client.ask(asked).await.body, "hello");
    }
    assert_eq!(origin.connections(), 1);
    assert_eq!(client.ask(get(&second, "/")).await.body, "ok");
    assert_eq!(client.ask(get(&second, "/")).await.body, "ok");
    assert_eq!((origin.connections(), other.connections()), (1, 1));
    assert_eq!(client.ask(get(&good, "/")).await.body, "hello");
    assert_eq!((origin.connections(), other.connections()), (2, 1));
    assert_eq!(gateway.client().await.ask(get(&good, "/")).await.body, "hello");
    assert_eq!(origin.connections(), 3, "another client has a connection of its own");
    drop(client);
    assert_eq!(other.wait_for_end(0).await, End::Fin, "a kept connection goes with its client");
}

#[tokio::test]
async fn a_kept_connection_that_the_origin_has_closed_is_replaced_unseen() {
    let origin = Origin::http([Reply::ok("hello").then_close()]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let mut client = gateway.client().await;
    for at in 0..4 {
        let answered = client.ask(request("POST", &good, "/", "Content-Length: 2\r\n", "ab")).await;
        assert_eq!((answered.status, answered.body.as_str()), (200, "hello"), "request {at}");
        assert_eq!(origin.wait_for_end(at).await, End::Fin, "the gateway has seen the origin close");
    }
    assert_eq!(origin.connections(), 4);
    for at in 0..4 {
        assert_eq!(origin.received(at).matches("POST").count(), 1, "nothing is sent twice");
    }
    gateway.calls(4).await;
}

/// An origin that closes each kept connection at the moment in which the second request on it arrives.
async fn closing_on_the_second() -> Origin {
    Origin::http([Reply::ok("hello"), Reply::raw("").then_close()]).await
}

#[tokio::test]
async fn a_request_that_may_be_sent_twice_is_sent_again_when_the_origin_closes_under_it() {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let origin = closing_on_the_second().await;
        let gateway = Gateway::allowing([("good.test", &origin)]).await;
        let good = good(&origin);
        let mut client = gateway.client().await;
        assert_eq!(client.ask(get(&good, "/first")).await.status, 200);
        let answered = client.ask(request(method, &good, "/second", "X-Mark: 1\r\n", "")).await;
        assert_eq!(answered.status, 200, "{method}");
        assert_eq!(origin.connections(), 2, "{method}");
        let again = origin.received(1);
        assert!(again.starts_with(&format!("{method} /second HTTP/1.1\r\n")), "{method}");
        assert_eq!(again.matches("x-mark: 1").count(), 1, "{method}: {again}");
        assert_eq!(gateway.calls(2).await.len(), 2, "{method}: one record a request");
    }
}

#[tokio::test]
async fn a_request_that_may_not_be_sent_twice_fails_when_the_origin_closes_under_it() {
    let body = ("Content-Length: 2\r\n", "ab");
    for (method, (fields, body)) in [("POST", ("Content-Length: 0\r\n", "")), ("POST", body), ("PUT", body)] {
        let origin = closing_on_the_second().await;
        let gateway = Gateway::allowing([("good.test", &origin)]).await;
        let good = good(&origin);
        let mut client = gateway.client().await;
        assert_eq!(client.ask(get(&good, "/")).await.status, 200);
        let refused = client.ask(request(method, &good, "/", fields, body)).await;
        assert_eq!((refused.status, reason(&refused)), (502, Some("upstream_failed")), "{method}");
        assert_eq!(origin.connections(), 1, "{method}");
    }
}

#[tokio::test]
async fn an_origin_that_closes_a_fresh_connection_is_not_asked_again() {
    let origin = Origin::http([Reply::raw("").then_close()]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    assert_eq!(gateway.client().await.ask(get(&good(&origin), "/")).await.status, 502);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn f4_bytes_behind_an_answer_are_never_taken_for_the_next_one() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let origin =
        Origin::http([Reply::raw(format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello{evil}"))]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask(get(&good(&origin), "/")).await.body, "hello");
    }
    assert_eq!(origin.connections(), 3);
}
