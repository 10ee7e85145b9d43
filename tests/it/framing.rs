//! What is not exactly one HTTP/1.1 message is refused and never forwarded (threats F1, F2, F3, F8).

use std::time::Duration;

use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::Origin;

/// A gateway that allows `good.test` on the origin's port, and the authority `good.test:port`.
async fn start(origin: &Origin) -> (Gateway, String) {
    with_header_timeout(origin, Duration::from_secs(10)).await
}

/// The same with a deadline for request heads.
async fn with_header_timeout(origin: &Origin, limit: Duration) -> (Gateway, String) {
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway = Gateway::with(&policy, |config| config.limits.header_timeout = limit).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let authority = format!("good.test:{}", origin.port());
    (gateway, authority)
}

/// The records of requests and connections.
fn calls(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["kind"] == "request" || record["kind"] == "connection").collect()
}

/// Sends each message on a connection of its own: it is refused with 400 and one record, the connection is
/// closed where `closes` says so, and the origin hears nothing.
async fn each_is_refused(messages: &[Vec<u8>], closes: bool) {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, authority) = start(&origin).await;
    for (at, message) in messages.iter().enumerate() {
        let message = replace(message, b"{h}", authority.as_bytes());
        let text = message.escape_ascii().to_string();
        let mut client = gateway.client().await;
        client.send(&message).await;
        let refused = client.response(false).await;
        assert_eq!(refused.status, 400, "{text}\n{}", refused.head);
        assert_eq!(refused.header("x-deny-reason"), Some("bad_request"), "{text}");
        if closes {
            assert_eq!(refused.header("connection"), Some("close"), "{text}");
            let more = client.expect_closed().await;
            assert!(more.is_empty(), "{text}: {}", more.escape_ascii());
        }
        drop(client);
        let id = refused.header("x-request-id").expect("an id").to_owned();
        let of_it = |records: &[Value]| calls(records).iter().any(|record| record["id"] == *id);
        let records = gateway.wait_for(&format!("the record of {text}"), of_it).await;
        let calls = calls(&records);
        assert_eq!(calls.len(), at + 1, "one record each: {text}");
        let record = calls[at];
        assert_eq!(record["id"], *id, "{text}");
        assert_eq!(record["decision"], "deny", "{text}");
        assert_eq!(record["reason"], "bad_request", "{text}");
        assert_eq!(record["status"], 400, "{text}");
        assert_eq!(record["outcome"], "refused", "{text}");
        assert!(!record["error"].as_str().unwrap_or_default().is_empty(), "it says what is wrong: {text}");
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(gateway.dns.total_queries(), 0, "what cannot be read causes no query");
}

/// `text` with every `from` replaced.
fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// A POST with these header lines and a body that is ten bytes, chunked or not.
fn post(fields: &[u8]) -> Vec<u8> {
    [&b"POST http://{h}/ HTTP/1.1\r\nHost: {h}\r\n"[..], fields, b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"].concat()
}

/// A GET with these header lines.
fn get(fields: &[u8]) -> Vec<u8> {
    [&b"GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n"[..], fields, b"\r\n\r\n"].concat()
}

#[tokio::test]
async fn f1_a_length_that_two_servers_could_read_in_two_ways_is_refused() {
    let values: [&[u8]; 25] = [
        b"+5",
        b"-5",
        b"0x5",
        b"",
        b"1_0",
        b"5 5",
        b"5, 5",
        b"5,6",
        b"5,",
        b",5",
        b"05",
        b"00",
        b"5a",
        b"5.0",
        b"5e0",
        b"5;",
        b"\"5\"",
        b"18446744073709551616",
        b"99999999999999999999999999",
        b"\xd9\xa5",
        b"\xef\xbc\x95",
        b"5\x0b",
        b"\x0c5",
        b"five",
        b"5\0",
    ];
    let mut messages: Vec<_> =
        values.iter().map(|value| post(&[b"Content-Length: ", *value].concat())).collect();
    messages.extend(
        [
            &b"Content-Length: 5\r\nContent-Length: 5"[..],
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Content-Length: 5\r\nX: y\r\ncontent-length: 6",
            b"Content-Length: 15\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nContent-Length: 15",
            b"Content-Length: 0\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: identity\r\nContent-Length: 5",
            b"Content-Length : 5",
            b"Content-Length\t: 5",
            b"Content-Length: 5\r\n 0",
        ]
        .map(post),
    );
    each_is_refused(&messages, true).await;
}

#[tokio::test]
async fn f2_a_transfer_encoding_other_than_exactly_one_chunked_is_refused() {
    let values: [&[u8]; 26] = [
        // The spellings that hyper lets pass, as it looks at the last item of the last line only.
        b"chunked, chunked",
        b"gzip, chunked",
        b"identity, chunked",
        b"cow, chunked",
        b"gzip\r\nTransfer-Encoding: chunked",
        b"chunked\r\nTransfer-Encoding: chunked",
        b"chunked\r\nX: y\r\ntransfer-encoding: chunked",
        b"cow\r\nTransfer-Encoding: chunked",
        b"chunked\r\nTransfer-Encoding: cow",
        b"chunked, gzip",
        b"chunked, identity",
        b"identity",
        b"gzip",
        b"xchunked",
        b"chunkedx",
        b"chunked;q=1",
        b"\"chunked\"",
        b"'chunked'",
        b"chunked,",
        b",chunked",
        b", ,chunked",
        b"",
        b"\x0bchunked",
        b"chunked\x0c",
        b"chunked\xa0",
        b"chun ked",
    ];
    let mut messages: Vec<_> =
        values.iter().map(|value| post(&[b"Transfer-Encoding: ", *value].concat())).collect();
    messages.extend([
        post(b"Transfer-Encoding : chunked"),
        post(b"Transfer-Encoding\t: chunked"),
        post(b"Transfer-Encoding:\r\n chunked"),
        post(b" Transfer-Encoding: chunked"),
        post(b"X: y\r\n\tTransfer-Encoding: chunked"),
        post(b"X: y\nTransfer-Encoding: chunked"),
        post(b"X: y\rTransfer-Encoding: chunked"),
        b"POST http://{h}/ HTTP/1.0\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(),
    ]);
    each_is_refused(&messages, true).await;
}

#[tokio::test]
async fn f3_odd_lines_and_names_are_refused() {
    let mut messages: Vec<_> = [
        &b"X: y\n"[..],
        b"X: y\nZ: z",
        b"X: y\rz",
        b"X: y\r\r",
        b"X: \ry",
        b"X: a\0b",
        b"X\0: y",
        b"X: \x01",
        b"X: \x7f",
        b"X: y\r\n folded",
        b"X: y\r\n\tfolded",
        b"X: y\r\n ",
        b"X : y",
        b"X\t: y",
        b": y",
        b":",
        b"X",
        b"X y",
        b"X Y: z",
        b"(X): y",
        b"X@: y",
        b"X/Y: z",
        b"[X]: y",
        b"\"X\": y",
        b"X\xc3\xbc: y",
        b"X{}: y",
        b"\x0bX: y",
        b"GET / HTTP/1.1",
    ]
    .map(get)
    .into();
    messages.extend(
        [
            &b"GET http://{h}/ HTTP/1.1\nHost: {h}\n\n"[..],
            b"GET http://{h}/ HTTP/1.1\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\n",
            b"GET http://{h}/ HTTP/1.1\r\n Host: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\r\nHost: {h}\r\n\r\n",
            b"GET  http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/  HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET\thttp://{h}/\tHTTP/1.1\r\nHost: {h}\r\n\r\n",
            b" GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1 \r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1 x\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/a b HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/\r\nHost: {h}\r\n\r\n",
            b"GET\r\nHost: {h}\r\n\r\n",
            b"GET  HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"G(T http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"G\0T http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET: http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/\0 HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/\xc3\xbc HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/\x7f HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ http/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.2\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.10\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/01.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/2.0\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/0.9\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTX/1.1\r\nHost: {h}\r\n\r\n",
            b"\r\n\r\n\r\n\r\n\r\nGET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"\nGET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\nHost: {h}\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\nhost: other.test\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nX: y\r\n\r\n",
            b"GET http://{h}/ HTTP/1.1\r\nHost: good.t\xc3\xa9st\r\n\r\n",
            b"CONNECT {h} HTTP/1.1\r\nHost: {h}\r\nContent-Length: 5\r\n\r\nhello",
            b"CONNECT {h} HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            // What follows an Upgrade is not of HTTP any more, so it cannot be a body as well.
            b"POST http://{h}/ HTTP/1.1\r\nHost: {h}\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
            b"POST http://{h}/ HTTP/1.1\r\nHost: {h}\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
            b"POST http://{h}/ HTTP/1.1\r\nHost: {h}\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ]
        .map(<[u8]>::to_vec),
    );
    each_is_refused(&messages, true).await;
}

#[tokio::test]
async fn f8_request_targets_without_one_meaning_are_refused() {
    let lines: [&[u8]; 29] = [
        b"CONNECT good.test",
        b"CONNECT /x",
        b"CONNECT http://{h}",
        b"CONNECT {h}/",
        b"CONNECT {h}:443",
        b"CONNECT good.test:",
        b"CONNECT good.test:0",
        b"CONNECT good.test:65536",
        b"CONNECT good.test:+443",
        b"CONNECT u@{h}",
        b"CONNECT {h}#x",
        b"CONNECT *",
        b"GET {h}",
        b"GET good.test",
        b"GET *",
        b"OPTIONS *",
        b"GET /",
        b"GET //{h}/",
        b"GET http:/{h}/",
        b"GET http:///x",
        b"GET http://{h}/#x",
        b"GET http://u:p@{h}/",
        b"GET http://good.test:/",
        b"GET http://good.test:99999/",
        b"GET https://{h}/",
        b"GET ftp://{h}/",
        b"GET http://{h}/a%2fb",
        b"GET http://{h}/a%00",
        b"GET http://{h}/..;/a",
    ];
    let whole = |line: &&[u8]| [*line, b" HTTP/1.1\r\nHost: {h}\r\n\r\n"].concat();
    each_is_refused(&lines.iter().map(whole).collect::<Vec<_>>(), false).await;
}

#[tokio::test]
async fn i3_a_host_that_is_no_authority_is_refused() {
    let hosts: [&[u8]; 9] = [
        b"",
        b"{h}/",
        b"u@{h}",
        b"{h}, {h}",
        b"{h} {h}",
        b"http://{h}",
        b"good.test:",
        b"good..test",
        b"good.test%00",
    ];
    let whole = |host: &&[u8]| [b"GET http://{h}/ HTTP/1.1\r\nHost: ", *host, b"\r\n\r\n"].concat();
    each_is_refused(&hosts.iter().map(whole).collect::<Vec<_>>(), false).await;
}

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
async fn tls_on_the_plain_port_is_refused_at_once_and_told_why() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, _) = start(&origin).await;
    // A ClientHello need not have a line feed in it; and the one of rustls for real.
    let mut client = gateway.client().await;
    let refused = client.ask(b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03").await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    assert!(refused.body.contains("TLS"), "{}", refused.body);
    assert!(client.expect_closed().await.is_empty());
    let certificate = Origin::tls("good.test", crate::kit::origin::Behaviour::Echo).await.certificate();
    let failed = gateway.client().await.try_tls("good.test", certificate).await;
    assert!(failed.is_err());
    let records = gateway.wait_for("two records", |records| calls(records).len() == 2).await;
    for record in calls(&records) {
        assert_eq!(record["reason"], "bad_request");
        assert!(record["error"].as_str().unwrap_or_default().contains("TLS"), "{record}");
    }
}

#[tokio::test]
async fn socks_on_the_http_port_is_refused_at_once() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, _) = start(&origin).await;
    for greeting in [&b"\x05\x01\x00"[..], b"\x04\x01\x00\x50\x7f\x00\x00\x08\x00"] {
        let refused = gateway.client().await.ask(greeting).await;
        assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    }
}

#[tokio::test]
async fn an_http2_preface_on_the_plain_port_is_refused_and_told_why() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, _) = start(&origin).await;
    let mut client = gateway.client().await;
    let refused = client.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    assert!(refused.body.contains("HTTP/2"), "{}", refused.body);
    assert!(client.expect_closed().await.is_empty());
    let records = gateway.wait_for("a record", |records| calls(records).len() == 1).await;
    assert!(calls(&records)[0]["error"].as_str().unwrap_or_default().contains("HTTP/2"));
}

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
