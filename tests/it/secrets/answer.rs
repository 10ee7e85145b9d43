//! What comes back.

use super::*;

/// A reply with this head line and fields, and a body.
fn reply(status: &str, fields: &str, body: &str) -> Reply {
    Reply::raw(format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n{body}", body.len()))
}

/// Every way of showing the value that is masked, in one text.
fn shown() -> String {
    let encoded = |before: &str| STANDARD.encode(format!("{before}{VALUE}"));
    let encoded = ["", "x", "xx"].map(encoded);
    let url = encoded.clone().map(|text| text.replace('+', "-").replace('/', "_"));
    [forms(VALUE)[..6].to_vec(), encoded.to_vec(), url.to_vec()].concat().join("\n")
}

#[tokio::test]
async fn s4_no_header_reason_phrase_or_text_of_an_answer_shows_the_value() {
    let percent = forms(VALUE).swap_remove(2);
    let fields = format!(
        "x-echo: Bearer {VALUE}\r\nlocation: https://other.test/?t={percent}\r\nset-cookie: t={}\r\n",
        STANDARD.encode(format!("user:{VALUE}"))
    );
    let html = "content-type: text/html; charset=utf-8\r\n";
    let scene = Scene::answering([
        reply(&format!("200 {VALUE}"), &fields, &shown()),
        reply("302 Found", &fields, ""),
        reply("500 Oh no", &format!("{html}{fields}"), &shown()),
        reply("401 Unauthorized", "content-type: application/problem+json\r\n", &shown()),
        reply("200 OK", "content-type: message/http\r\n", &shown()),
        reply("200 OK", "content-type: multipart/mixed; boundary=x\r\n", &shown()),
    ])
    .await;
    let mut client = scene.client().await;
    for status in [200, 302, 500, 401, 200, 200] {
        let answer = client.ask(get("/", "")).await;
        assert_eq!(answer.status, status);
        assert_hidden(VALUE, &answer.head, "a head");
        assert_hidden(VALUE, &answer.body, "a body");
        if status == 302 {
            assert!(
                answer.header("location").unwrap().starts_with("https://other.test/?t=*"),
                "{}",
                answer.head
            );
        } else {
            assert_eq!(answer.body.len(), shown().len());
        }
    }
}

#[tokio::test]
async fn s4_a_value_that_is_cut_by_chunks_or_events_is_masked_and_events_pass_one_by_one() {
    let (one, two) = VALUE.split_at(9);
    let chunks = Reply::chunked(["a ", one, two, " b", "x", one, "no"]).trailer("x-echo", VALUE);
    let events = Reply::events(["one", VALUE, "three"]);
    let scene = Scene::answering([chunks, events]).await;
    let mut client = scene.client().await;
    let answer = client.ask(get("/", "te: trailers\r\n")).await;
    assert_eq!(answer.body, format!("a {} bx{one}no", "*".repeat(VALUE.len())));
    assert_hidden(VALUE, &answer.raw_body, "trailers");
    client.send(get("/", "")).await;
    let head = client.head().await;
    assert!(head.contains("text/event-stream"), "{head}");
    for event in ["one", &"*".repeat(VALUE.len()), "three"] {
        scene.origin.step();
        let expected = format!("data: {event}\n\n");
        client.expect(format!("{:X}\r\n{expected}\r\n", expected.len())).await;
    }
    scene.origin.step();
    client.expect("0\r\n\r\n").await;
}

#[tokio::test]
async fn s4_what_cannot_be_searched_is_not_asked_for_and_not_passed_on() {
    let scene = Scene::answering([
        reply("200 OK", "content-encoding: gzip\r\ncontent-type: text/plain\r\n", "\x1f"),
        reply("200 OK", "content-encoding: gzip\r\ncontent-type: application/octet-stream\r\n", "\x1f"),
        reply("206 Partial Content", "content-range: bytes 2-9/90\r\ncontent-type: text/plain\r\n", &shown()),
    ])
    .await;
    let mut client = scene.client().await;
    let own = "accept-encoding: gzip, br\r\nrange: bytes=2-9\r\nif-range: \"x\"\r\n";
    let answer = client.ask(get("/", own)).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert!(answer.body.contains("scrub: Never"), "{}", answer.body);
    let mut client = scene.client().await;
    // Each connection to the origin begins with the first reply.
    assert_eq!(client.ask(get("/", own)).await.status, 502);
    for at in 0..scene.origin.connections() {
        let received = scene.origin.received(at).to_ascii_lowercase();
        assert!(received.contains("accept-encoding: identity\r\n"), "{received}");
        assert!(!received.contains("gzip") && !received.contains("range"), "{received}");
    }
}

#[tokio::test]
async fn s4_answers_without_a_body_pass_whatever_they_say_about_one() {
    let fields = "content-type: text/plain\r\ncontent-encoding: gzip\r\n";
    let head = Reply::raw(format!("HTTP/1.1 200 OK\r\n{fields}content-length: 90\r\n\r\n"));
    let unchanged = Reply::raw(format!("HTTP/1.1 304 Not Modified\r\n{fields}etag: \"{VALUE}\"\r\n\r\n"));
    let nothing = Reply::raw("HTTP/1.1 204 No Content\r\n\r\n");
    let scene = Scene::answering([head, unchanged, nothing, Reply::ok("")]).await;
    let mut client = scene.client().await;
    let answer = client.ask("HEAD / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("90")), "{}", answer.head);
    let answer = client.ask(get("/", "if-none-match: \"x\"\r\n")).await;
    assert_eq!(answer.status, 304, "{}", answer.body);
    assert_hidden(VALUE, &answer.head, "a 304");
    assert_eq!(client.ask(get("/", "")).await.status, 204);
    assert_eq!(client.ask(get("/", "")).await.status, 200);
    assert_eq!(scene.origin.connections(), 1);
}

#[tokio::test]
async fn s4_bodies_are_searched_as_the_secret_says() {
    let binary = "content-type: application/octet-stream\r\n";
    for (more, fields, masked) in [
        ("", binary, false),
        (", scrub: Text", binary, false),
        (", scrub: Text", "", true),
        (", scrub: Always", binary, true),
        (", scrub: Never", "content-type: text/plain\r\n", false),
    ] {
        let scene =
            Scene::with(more, BEARER, [reply("200 OK", &format!("x-echo: {VALUE}\r\n{fields}"), VALUE)])
                .await;
        let answer = scene.client().await.ask(get("/", "accept-encoding: gzip\r\n")).await;
        let body = if masked { "*".repeat(VALUE.len()) } else { VALUE.to_owned() };
        assert_eq!(answer.body, body, "{more} {fields}");
        assert_hidden(VALUE, &answer.head, "a head");
        let asked = scene.origin.received(0);
        assert_eq!(asked.contains("accept-encoding: gzip"), more.contains("Never"), "{asked}");
    }
}
