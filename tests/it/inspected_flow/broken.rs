//! What is broken off is seen to be broken off.

use super::*;

#[tokio::test]
async fn an_answer_that_its_origin_breaks_off_is_broken_off_over_either_version() {
    let broken = [
        // A length that is not kept, chunks that do not end, and a body up to an end of TLS that is not announced.
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
    ];
    for raw in broken {
        let origin = single("api.test", [Reply::raw(raw).then_close()]).await;
        let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
        let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        client.send(get("api.test", "/open/x")).await;
        let told = String::from_utf8_lossy(&client.expect_closed().await).into_owned();
        assert!(told.contains("part") && !told.contains("0\r\n\r\n"), "{told}");
        let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
        let failed = client.try_ask(Http2::request("GET", "https://api.test/open/x")).await.unwrap_err();
        assert!(failed.is_reset(), "{failed}");
        for record in inner(&gateway, 2).await {
            assert_eq!(
                (&record["outcome"], &record["decision"]),
                (&"upstream_closed".into(), &"allow".into()),
                "{record}"
            );
        }
    }
    for stream in [
        Stream::parts(["part"]).step_by_step().then_reset(Reason::INTERNAL_ERROR),
        Stream::parts(["part"]).step_by_step().then_lost(),
        Stream::parts(["part"]).header("content-length", "9").step_by_step(),
    ] {
        let (origin, gateway, client) = multiplexed([stream, Stream::ok("next")]).await;
        let mut broken = client.start(Http2::request("GET", "https://api.test/open/x"), true).await.unwrap();
        broken.head().await.unwrap();
        assert_eq!(broken.part().await.unwrap().unwrap(), "part");
        origin.step();
        let failed = broken.part().await.unwrap_err();
        assert!(failed.is_reset(), "{failed}");
        assert_eq!(client.get("https://api.test/open/x").await.text(), "next", "the connection goes on");
        let outcome = inner(&gateway, 2).await[0]["outcome"].clone();
        assert!(outcome == "upstream_closed" || outcome == "upstream_failed", "{outcome}");
    }
}

#[tokio::test]
async fn a_request_that_its_client_breaks_off_is_no_whole_request_at_the_origin() {
    let (origin, gateway, client) = multiplexed([Stream::ok("x")]).await;
    let mut stream = client.open(Http2::request("POST", "https://api.test/open/x")).await;
    stream.send("part").await;
    origin.wait_for_stream(0, "a part", |asked| asked.body == b"part").await;
    stream.reset(Reason::CANCEL);
    let asked = origin.wait_for_stream(0, "the end of a stream", |asked| asked.whole.is_some()).await;
    assert_eq!(asked.whole, Some(false));
    assert_eq!(inner(&gateway, 1).await[0]["outcome"], "client_closed");

    let origin = single("api.test", [Reply::ok("x")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    let mut stream = client.open(Http2::request("POST", "https://api.test/open/x")).await;
    stream.send("part").await;
    origin.wait_for_bytes(0, b"part").await;
    stream.reset(Reason::CANCEL);
    origin.wait_for_end(0).await;
    assert!(!origin.received(0).contains("\r\n0\r\n"), "{}", origin.received(0));
}

#[tokio::test]
async fn a_failed_origin_is_answered_on_its_stream_and_the_connection_goes_on() {
    let secure = Secure::new("api.test").speaking(&["h2"]);
    let origin = Origin::secure(secure, Behaviour::Reset(20)).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    for _ in 0..2 {
        let answer = client.get("https://api.test/open/x").await;
        assert_eq!((answer.status.as_u16(), answer.header("x-deny-reason")), (502, Some("upstream_failed")));
    }
    assert_eq!(client.get("https://api.test/closed").await.status, 403);
}
