//! How an answer ends, and when.

use super::*;

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    let origin = Origin::http([
        Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\nx-kind: head\r\n\r\n"),
        Reply::raw("HTTP/1.1 204 No Content\r\nx-kind: none\r\n\r\n"),
        Reply::raw("HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\netag: \"a\"\r\n\r\n"),
        Reply::raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        Reply::raw("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 302 Found\r\nlocation: http://denied.test/\r\ncontent-length: 0\r\n\r\n"),
        Reply::ok("last"),
    ])
    .await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let mut client = gateway.client().await;
    let head = client.ask(request("HEAD", &good, "/1", "", "")).await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("1000")));
    let none = client.ask(get(&good, "/2")).await;
    assert_eq!(
        (none.status, none.header("content-length"), none.header("transfer-encoding")),
        (204, None, None)
    );
    let unchanged = client.ask(get(&good, "/3")).await;
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some("\"a\"")));
    let head = client.ask(request("HEAD", &good, "/4", "", "")).await;
    assert_eq!(head.status, 200);
    let moved = client.ask(get(&good, "/5")).await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (302, Some("http://denied.test/")),
        "and not followed"
    );
    assert_eq!(client.ask(get(&good, "/6")).await.body, "last");
    assert_eq!(origin.connections(), 1);
    assert_eq!(gateway.dns.queries("denied.test"), 0);
    let calls = gateway.calls(6).await;
    assert!(calls.iter().all(|call| call["outcome"] == "ok"), "{calls:#?}");
    assert_eq!(calls[0]["bytes_down"], 0);
}

#[tokio::test]
async fn each_hop_speaks_its_own_version() {
    let origin = Origin::http([
        Reply::chunked(["ab", "cd"]),
        Reply::ok("kept"),
        Reply::ok("next"),
        Reply::raw("HTTP/1.0 200 OK\r\nx-old: 1\r\n\r\nold").then_close(),
    ])
    .await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let mut client = gateway.client().await;
    let asked = format!("GET http://{good}/ HTTP/1.0\r\nHost: {good}\r\n\r\n");
    let answered = client.ask(&asked).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "abcd"));
    assert!(answered.head.starts_with("HTTP/1.0 "), "{}", answered.head);
    assert_eq!(answered.header("transfer-encoding"), None, "HTTP/1.0 has no chunks");
    assert!(origin.received(0).starts_with("GET / HTTP/1.1\r\n"), "{}", origin.received(0));
    drop(client);

    let origin =
        Origin::http([Reply::ok("kept"), Reply::raw("HTTP/1.0 200 OK\r\nx-old: 1\r\n\r\nold").then_close()])
            .await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let authority = self::good(&origin);
    let mut client = gateway.client().await;
    let keep = format!("GET http://{authority}/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.ask(&keep).await.body, "kept");
    let answered = client.ask(get(&authority, "/")).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "old"));
    assert!(answered.head.starts_with("HTTP/1.1 "), "{}", answered.head);
    assert_eq!(answered.header("x-old"), Some("1"));
}

#[tokio::test]
async fn f4_an_answer_before_the_end_of_the_body_comes_through_and_nothing_is_reused() {
    let origin = Origin::http([Reply::status("413 Content Too Large", "no").early().then_close()]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    client.send(request("POST", &good(&origin), "/", "Content-Length: 1000000\r\n", "some of it")).await;
    let answered = client.response(false).await;
    assert_eq!((answered.status, answered.body.as_str()), (413, "no"));
    assert!(client.expect_closed().await.is_empty());
    let call = &gateway.calls(1).await[0];
    assert_eq!((&call["status"], &call["outcome"]), (&json!(413), &json!("ok")));
}

#[tokio::test]
async fn f4_an_early_answer_ends_the_upload_that_goes_on_behind_it() {
    // The origin answers at once, keeps its connection, and would take the rest for hours.
    let origin = Origin::http([Reply::ok("early").early()]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    client
        .send(request("POST", &good(&origin), "/", "Transfer-Encoding: chunked\r\n", "4\r\nsome\r\n"))
        .await;
    assert_eq!(client.response(false).await.body, "early");
    gateway.calls(1).await;
    // The record is closed: what came from here on would be in none.
    assert!(client.expect_closed().await.is_empty());
    origin.wait_for_end(0).await;
}
