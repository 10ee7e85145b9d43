//! Bodies, events, upgrades: as they come, and whole.

use super::*;

#[tokio::test]
async fn large_bodies_both_ways_over_http2_arrive_whole_and_are_counted() {
    let (_origin, gateway, client) = multiplexed([Stream::echo()]).await;
    let mut stream = client.open(Http2::request("POST", "https://api.test/open/x")).await;
    // No window holds more of what comes back while it is sent.
    let part = Bytes::from((0..=255).cycle().take(32 << 10).collect::<Vec<u8>>());
    stream.head().await.unwrap();
    let (mut sent, mut received) = (0, 0);
    while sent < LARGE {
        stream.send(part.clone()).await;
        sent += part.len();
        while received < sent {
            let bytes = stream.part().await.unwrap().expect("more of the echo");
            assert!(bytes.iter().enumerate().all(|(at, byte)| usize::from(*byte) == (received + at) % 256));
            received += bytes.len();
        }
    }
    stream.finish();
    assert_eq!(stream.part().await.unwrap(), None);
    let record = inner(&gateway, 1).await.remove(0);
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&LARGE.into(), &LARGE.into()), "{record}");
}

#[tokio::test]
async fn large_bodies_both_ways_over_http1_arrive_whole_and_are_counted() {
    let body = "x".repeat(LARGE);
    let origin = single("api.test", [Reply::ok(&body)]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    client.send(format!("POST /open/x HTTP/1.1\r\nhost: api.test\r\ncontent-length: {LARGE}\r\n\r\n")).await;
    client.send(&body).await;
    let answer = client.response(false).await;
    assert!(answer.body == body, "{} bytes", answer.body.len());
    assert!(origin.received(0).ends_with(&body));
    let record = inner(&gateway, 1).await.remove(0);
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&LARGE.into(), &LARGE.into()), "{record}");
}

#[tokio::test]
async fn r4_a_client_that_does_not_read_one_stream_stops_its_origin_and_no_other_stream() {
    let (origin, _gateway, client) = multiplexed([Stream::large(LARGE), Stream::ok("fast")]).await;
    let mut slow = client.start(Http2::request("GET", "https://api.test/open/slow"), true).await.unwrap();
    slow.head().await.unwrap();
    for _ in 0..20 {
        assert_eq!(client.get("https://api.test/open/fast").await.text(), "fast");
    }
    assert_eq!(origin.connections(), 1);
    let mut got = 0;
    while let Some(part) = slow.part().await.unwrap() {
        got += part.len();
    }
    assert_eq!(got, LARGE);
}

#[tokio::test]
async fn events_arrive_one_by_one_over_both_versions() {
    let origin = single("api.test", [Reply::events(["one", "two"])]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    client.send(get("api.test", "/open/events")).await;
    let head = client.head().await.to_lowercase();
    assert!(head.contains("text/event-stream"), "{head}");
    for event in ["data: one\n\n", "data: two\n\n"] {
        origin.step();
        // It comes while the next one is held back.
        let mut got = String::new();
        while !got.contains(event) {
            got.push(client.next_byte().await.expect("an event").into());
        }
    }
    drop(client);

    let (origin, _gateway, client) =
        multiplexed([Stream::parts(["one", "two", "three"]).step_by_step()]).await;
    let mut stream = client.start(Http2::request("GET", "https://api.test/open/x"), true).await.unwrap();
    stream.head().await.unwrap();
    for part in ["one", "two", "three"] {
        assert_eq!(stream.part().await.unwrap().unwrap(), part);
        origin.step();
    }
    assert_eq!(stream.part().await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_goes_both_ways_at_once_as_in_grpc() {
    let (origin, _gateway, client) = multiplexed([Stream::echo()]).await;
    let asked = Request::post("https://api.test/open/Chat").header("te", "trailers");
    let asked = asked.header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = client.open(asked).await;
    stream.head().await.unwrap();
    for message in ["one", "two", "three"] {
        stream.send(message).await;
        assert_eq!(stream.part().await.unwrap().unwrap(), message, "it comes back before the next is sent");
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    stream.finish_with(trailers);
    assert_eq!(stream.part().await.unwrap(), None);
    assert_eq!(stream.trailers().await.unwrap()["grpc-status"], "0");
    assert_eq!(origin.asked()[0].header("te"), Some("trailers"));
}

#[tokio::test]
async fn a_websocket_inside_tls_reaches_an_origin_inside_tls() {
    let origin = single("api.test", [Reply::upgrade("websocket")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    client.send(format!("GET /open/chat HTTP/1.1\r\nhost: api.test\r\n{UPGRADE}\r\n")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    for message in ["ping", "\0\x01\x02"] {
        client.send(message).await;
        client.expect(message).await;
    }
    let mut denied = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    denied.send(format!("GET /closed HTTP/1.1\r\nhost: api.test\r\n{UPGRADE}\r\n")).await;
    assert!(denied.head().await.starts_with("HTTP/1.1 403 "));
    client.finish().await;
    client.expect_end().await;
    let records = inner(&gateway, 2).await;
    let upgraded = records.iter().find(|record| record["path"] == "/open/chat").unwrap();
    assert_eq!((&upgraded["status"], &upgraded["bytes_up"]), (&101.into(), &7.into()), "{upgraded}");
}

#[tokio::test]
async fn an_expected_continue_is_passed_on_and_heard_only_where_the_request_is_allowed() {
    let origin = single("api.test", [Reply::ok("hello").after_continue()]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    let head = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nhost: api.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
    };
    client.send(head("/open/x")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send("abc").await;
    assert_eq!(client.response(false).await.body, "hello");
    client.send(head("/closed")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 403 "), "and no 100 before it");
    assert!(origin.received(0).ends_with("abc"));
}

#[tokio::test]
async fn answers_without_a_body_have_none_over_either_version() {
    for status in ["204 No Content", "304 Not Modified"] {
        let reply = || [Reply::raw(format!("HTTP/1.1 {status}\r\netag: x\r\n\r\n"))];
        let origin = single("api.test", reply()).await;
        let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
        let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        for _ in 0..2 {
            let answer = client.ask(get("api.test", "/open/x")).await;
            assert_eq!(
                (answer.status.to_string().as_str(), answer.header("etag")),
                (&status[..3], Some("x"))
            );
        }
        let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
        let answer = client.get("https://api.test/open/x").await;
        assert_eq!((answer.status.as_str(), answer.body.len()), (&status[..3], 0));
        assert_eq!(answer.header("content-length"), None);
    }
    let head = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    let origin = single("api.test", [head]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    for _ in 0..2 {
        let answer = client.ask(Http2::request("HEAD", "https://api.test/open/x")).await;
        assert_eq!((answer.header("content-length"), answer.body.len()), (Some("5"), 0));
    }
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    for _ in 0..2 {
        let answer = client.ask("HEAD /open/x HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
    }
}
