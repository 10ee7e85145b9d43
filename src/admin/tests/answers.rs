//! What is answered, and the stream of records.

use super::*;

#[tokio::test]
async fn errors_are_json_with_a_code_and_what_would_be_right() {
    let bench = Bench::new().await;
    for (path, status, code, says) in [
        ("/nothing", 404, "not_found", "nothing"),
        ("/v1/audit?decision=maybe", 400, "bad_query", "allow, deny, skip"),
        ("/v1/audit?reason=x", 400, "bad_query", "no_policy"),
        ("/v1/audit?since=x", 400, "bad_query", "whole number"),
        ("/v1/audit?hots=x", 400, "bad_query", "hots"),
        ("/v1/top", 400, "bad_query", "by"),
        ("/v1/top?by=colour", 400, "bad_query", "host, sandbox or rule"),
        ("/v1/explain", 400, "bad_query", "target"),
    ] {
        let answer = bench.get(path, TOKEN).await;
        assert_eq!((answer.status, answer.code()), (status, code.to_owned()), "{path}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(says), "{path} {}", answer.body);
    }
    let delete = format!("DELETE /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{TOKEN}\r\n");
    assert_eq!(bench.raw(&delete).await.code(), "method_not_allowed");
}

#[tokio::test]
async fn the_audit_log_is_searched_and_the_busiest_are_listed() {
    let bench = Bench::new().await;
    for host in ["a.example", "b.example", "a.example", "\u{202e}\"evil\n"] {
        bench.emit(host);
    }
    let all = bench.get("/v1/audit", TOKEN).await.json();
    assert_eq!((all["oldest"].as_u64(), all["newest"].as_u64()), (Some(1), Some(4)));
    assert_eq!(all["events"].as_array().unwrap().len(), 4);
    let some = bench.get("/v1/audit?host=a.example&decision=deny&sandbox=sbx-1&since=1&limit=9", TOKEN).await;
    assert_eq!(some.json()["events"][0]["seq"], 3);
    assert_eq!(some.json()["events"].as_array().unwrap().len(), 1);
    let empty = bench.get("/v1/audit?kind=request", TOKEN).await.json();
    assert_eq!(empty["events"], json!([]));
    let top = bench.get("/v1/top?by=host&limit=2", TOKEN).await;
    assert_eq!((&top.json()["by"], &top.json()["rows"][0]["name"]), (&json!("host"), &json!("a.example")));
    assert_eq!(top.json()["rows"][0]["denied"], 2);
    let top = bench.get("/v1/top?by=host", TOKEN).await;
    assert!(top.body.is_ascii(), "{}", top.body);
}

#[tokio::test]
async fn explain_takes_its_question_from_the_query_or_the_body() {
    let bench = Bench::new().await;
    let answer = bench.get("/v1/explain?target=a.example:443&method=GET&address=192.0.2.1", TOKEN).await;
    assert_eq!(answer.json(), json!({"target": "a.example:443", "method": "GET", "address": "192.0.2.1"}));
    let post = |body: &str| {
        let length = body.len();
        format!(
            "POST /v1/explain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{TOKEN}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let answer = bench.raw(&post(r#"{"target": "b.example"}"#)).await;
    assert_eq!(answer.json()["target"], "b.example");
    for bad in ["{", r#"{"target": "a", "colour": 1}"#, &format!("\"{}\"", "x".repeat(20_000))] {
        assert_eq!(bench.raw(&post(bad)).await.code(), "bad_query");
    }
}

#[tokio::test]
async fn l2_the_stream_goes_on_where_a_client_left_it_and_tells_what_is_lost() {
    let bench = bench(Limits::default(), 4).await;
    let mut live = bench.follow("", "").await;
    bench.emit("a.example");
    let (kind, id, data) = live.event().await;
    assert_eq!((kind.as_str(), &data["seq"], &data["host"]), ("message", &json!(1), &json!("a.example")));
    drop(live);
    bench.emit("b.example");
    let mut resumed = bench.follow("", &format!("Last-Event-ID: {id}\r\n")).await;
    assert_eq!(resumed.event().await.2["seq"], 2);
    drop(resumed);
    for _ in 0..6 {
        bench.emit("c.example");
    }
    let mut late = bench.follow("", &format!("Last-Event-ID: {id}\r\n")).await;
    let (kind, _, data) = late.event().await;
    assert_eq!((kind.as_str(), data), ("lost", json!({"events": 3})));
    assert_eq!(late.event().await.2["seq"], 5);
    let mut stranger = bench.follow("", "Last-Event-ID: 3.1\r\n").await;
    let (kind, _, data) = stranger.event().await;
    assert_eq!((kind.as_str(), &data["events"]), ("lost", &Value::Null));
    assert_eq!(
        bench.get("/v1/audit/stream", &format!("{TOKEN}Last-Event-ID: x\r\n")).await.code(),
        "bad_query"
    );
}

#[tokio::test]
async fn the_stream_shows_only_what_was_asked_for() {
    let bench = Bench::new().await;
    let mut follower = bench.follow("?host=b.example&since=0", "").await;
    bench.emit("a.example");
    bench.emit("b.example");
    assert_eq!(follower.event().await.2["seq"], 2);
}
