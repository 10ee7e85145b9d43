//! Plain HTTP through the explicit proxy: what is judged, what the origin gets, what the client gets back.

use std::time::Duration;

use serde_json::{Value, json};
use sluicegate::config::InterceptSettings;
use sluicegate::explain::{Question, answer};
use sluicegate::live::store::Store;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::{EXEMPT, Gateway};
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::within;

/// `good.test:port`.
fn good(origin: &Origin) -> String {
    format!("good.test:{}", origin.port())
}

/// A request line, its Host, these fields and this body.
fn request(method: &str, authority: &str, path: &str, fields: &str, body: &str) -> String {
    format!("{method} http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n{body}")
}

/// A plain GET.
fn get(authority: &str, path: &str) -> String {
    request("GET", authority, path, "", "")
}

/// The heads that an origin got on one connection: request line and sorted fields.
fn head_of(received: &str) -> (String, Vec<String>) {
    let head = received.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.lines().map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    let mut fields: Vec<String> = lines.collect();
    fields.sort();
    (first, fields)
}

/// The code of a refusal.
fn reason(response: &Response) -> Option<&str> {
    response.header("x-deny-reason")
}

#[tokio::test]
async fn f7_fields_of_this_hop_never_reach_the_origin() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let fields = "Connection: authorization,host, x-foo,, content-length\r\nConnection: close-not, X-Bar\r\n\
        Authorization: Bearer a\r\nX-Foo: 1\r\nx-foo: 2\r\nX-Bar: 3\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
        Proxy-Authorization: Basic eDp5\r\nProxy-Anything: 1\r\nTE: gzip;q=1\r\nTrailer: X-Sum\r\nAccept: */*\r\n\
        Cookie: a=1\r\nCookie: b=2\r\nContent-Length: 3\r\n";
    let answered = gateway.client().await.ask(request("POST", &good, "/", fields, "abc")).await;
    assert_eq!(answered.status, 200);
    let (line, fields) = head_of(&origin.received(0));
    assert_eq!(line, "POST / HTTP/1.1");
    let expected = [
        "accept: */*".to_owned(),
        "content-length: 3".to_owned(),
        "cookie: a=1".to_owned(),
        "cookie: b=2".to_owned(),
        format!("host: {good}"),
        "trailer: X-Sum".to_owned(),
    ];
    assert_eq!(fields, expected);
    assert!(origin.received(0).ends_with("\r\n\r\nabc"), "Content-Length cannot be named away");
}

#[tokio::test]
async fn f7_a_chunked_body_is_framed_anew_and_te_is_trailers_or_nothing() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let mut client = gateway.client().await;
    for (te, passed) in [("gzip, Trailers;q=0.5", false), ("gzip, trailers", true), ("x", false)] {
        let before = origin.connections().checked_sub(1).map_or(0, |last| origin.received(last).len());
        let fields = format!("Connection: te\r\nTE: {te}\r\nTransfer-Encoding: Chunked\r\n");
        let body = "1;ext=1\r\na\r\n002\r\nbc\r\n0\r\n\r\n";
        assert_eq!(client.ask(request("POST", &good, "/", &fields, body)).await.status, 200);
        let received = origin.received(0)[before..].to_owned();
        let (_, fields) = head_of(&received);
        assert_eq!(fields.contains(&"te: trailers".to_owned()), passed, "{te}: {fields:?}");
        assert_eq!(fields.iter().filter(|field| field.starts_with("te:")).count(), usize::from(passed));
        assert!(fields.contains(&"transfer-encoding: chunked".to_owned()), "{fields:?}");
        assert!(!received.contains("ext=1"), "chunk extensions are of this hop: {received}");
    }
}

#[tokio::test]
async fn f7_fields_of_the_next_hop_never_reach_the_client() {
    let origin = Origin::http([Reply::raw(
        "HTTP/1.1 200 OK\r\nConnection: x-foo, keep-alive\r\nX-Foo: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
         Proxy-Connection: close\r\nTE: x\r\nUpgrade: h2c\r\nX-Bar: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 2\r\n\r\nhi",
    )])
    .await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let answered = gateway.client().await.ask(get(&good(&origin), "/")).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "hi"));
    let (_, fields) = head_of(&answered.head);
    assert_eq!(fields, ["content-length: 2", "set-cookie: a", "set-cookie: b", "x-bar: 2"]);
}

#[tokio::test]
async fn i3_the_host_is_made_from_the_target_and_another_one_is_refused() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let port = origin.port();
    let mut client = gateway.client().await;
    for host in [format!("good.test:{port}"), "good.test".to_owned(), format!("GOOD.test.:{port}")] {
        let asked = format!("GET http://Good.TEST.:{port}/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(client.ask(asked).await.status, 200, "{host}");
    }
    let received = origin.received(0);
    assert_eq!(received.matches(&format!("host: good.test:{port}\r\n")).count(), 3, "{received}");
    assert_eq!(received.to_ascii_lowercase().matches("host:").count(), 3);
    for host in ["other.test", "good.test:1", "127.0.0.8", "a.good.test"] {
        let asked = format!("GET http://good.test:{port}/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let refused = client.ask(asked).await;
        assert_eq!((refused.status, reason(&refused)), (400, Some("authority_mismatch")), "{host}");
    }
    let old = client
        .ask(format!("GET http://good.test:{port}/old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))
        .await;
    assert_eq!(old.status, 200, "only HTTP/1.0 may leave Host out");
    assert_eq!(origin.received(0).matches(&format!("host: good.test:{port}\r\n")).count(), 4);
    assert_eq!(gateway.dns.queries("other.test"), 0);
}

#[tokio::test]
async fn the_canonical_path_is_sent_and_the_query_as_it_came() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let mut client = gateway.client().await;
    for (at, (path, sent)) in [
        ("", "/"),
        ("?q=/../%2e", "/?q=/../%2e"),
        ("/a/../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("//a///b//", "/a/b/"),
        ("/a/./b/.", "/a/b/"),
        ("/%61%7e", "/a~"),
        ("/a%c3%bc", "/a%C3%BC"),
        ("/../../a", "/a"),
        ("/a%252fb", "/a%252fb"),
        ("/a?b=c//d/../e%2f&f=?g", "/a?b=c//d/../e%2f&f=?g"),
        ("/a;b=1/c?", "/a;b=1/c?"),
    ]
    .into_iter()
    .enumerate()
    {
        let before = if at == 0 { 0 } else { origin.received(0).len() };
        assert_eq!(client.ask(get(&good, path)).await.status, 200, "{path}");
        let (line, _) = head_of(&origin.received(0)[before..]);
        assert_eq!(line, format!("GET {sent} HTTP/1.1"), "{path}");
    }
    let calls = gateway.calls(12).await;
    assert_eq!((&calls[1]["path"], &calls[10]["path"]), (&json!("/"), &json!("/a")), "no query in a record");
}

#[tokio::test]
async fn headers_that_override_method_or_path_pass_only_where_no_rule_decides_by_them() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let port = origin.port();
    let gateway = Gateway::inspecting(
        &format!(
            "mode: Limited\nhostRules: ['free.test:{port}']\nrules:\n\
         - {{match: {{host: 'good.test:{port}', path: '/a*', methods: [GET]}}, action: Allow}}\n"
        ),
        [],
    )
    .await;
    gateway.name("good.test", &origin);
    gateway.name("free.test", &origin);
    let fields = "X-HTTP-Method-Override: DELETE\r\nX_HTTP_Method: DELETE\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nX-Method-Override: PUT\r\nX-Other: 1\r\n";
    for (at, (name, kept)) in [("good.test", 1), ("free.test", 6)].into_iter().enumerate() {
        let asked = request("GET", &format!("{name}:{port}"), "/a", fields, "");
        assert_eq!(gateway.client().await.ask(asked).await.status, 200);
        let (_, fields) = head_of(&origin.received(at));
        assert_eq!(fields.iter().filter(|field| field.starts_with('x')).count(), kept, "{fields:?}");
    }
}

#[tokio::test]
async fn rules_by_method_and_path_decide_in_their_order_request_by_request() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let port = origin.port();
    let gateway = Gateway::inspecting(&format!(
        "mode: Limited\nrules:\n\
         - {{name: public, match: {{host: 'good.test:{port}', path: /admin/public}}, action: Allow}}\n\
         - {{name: no-admin, match: {{host: 'good.test:{port}', path: /admin}}, action: Deny}}\n\
         - {{name: read, match: {{host: 'good.test:{port}', methods: [GET, HEAD]}}, action: Allow}}\n\
         - {{name: drop, match: {{host: 'good.test:{port}', path: '/drop/*', methods: [PUT]}}, action: Allow}}\n"
    ), [])
    .await;
    gateway.name("good.test", &origin);
    let good = good(&origin);
    let mut client = gateway.client().await;
    let asked = [
        ("GET", "/", None),
        ("GET", "/admin", Some("rule_denied")),
        ("GET", "/admin/public", None),
        ("GET", "/admin/public/x", Some("rule_denied")),
        ("GET", "/admin/", Some("rule_denied")),
        ("GET", "/x/../admin/x", Some("rule_denied")),
        ("GET", "//admin", Some("rule_denied")),
        ("GET", "/%61dmin", Some("rule_denied")),
        ("GET", "/administrator", None),
        ("HEAD", "/x", None),
        ("get", "/x", Some("default_deny")),
        ("POST", "/x", Some("default_deny")),
        ("POST", "/admin/public", None),
        ("PUT", "/drop/x", None),
        ("PUT", "/drop", Some("default_deny")),
        ("PUT", "/drop/../x", Some("default_deny")),
        ("DELETE", "/", Some("default_deny")),
    ];
    for (method, path, expected) in asked {
        let answered = client.ask(request(method, &good, path, "", "")).await;
        assert_eq!(reason(&answered), expected, "{method} {path}");
        assert_eq!(answered.status, if expected.is_some() { 403 } else { 200 }, "{method} {path}");
    }
    let allowed = asked.iter().filter(|(_, _, denied)| denied.is_none()).count();
    // The scripted origin answers HEAD with a body, so that connection is not used again.
    let received: String = (0..origin.connections()).map(|at| origin.received(at)).collect();
    assert_eq!(received.matches("HTTP/1.1\r\n").count(), allowed, "{received}");
    let calls = gateway.calls(asked.len()).await;
    let rules: Vec<&str> = calls.iter().filter_map(|call| call["rule"].as_str()).collect();
    assert_eq!(rules.iter().filter(|rule| rule.contains("no-admin")).count(), 6, "{rules:?}");
}

#[tokio::test]
async fn i6_each_request_of_a_connection_is_judged_by_itself() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let denied = get(&format!("denied.test:{}", origin.port()), "/");
    let mut client = gateway.client().await;
    let statuses = [
        client.ask(get(&good, "/1")).await.status,
        client.ask(&denied).await.status,
        client.ask(get(&good, "/2")).await.status,
    ];
    assert_eq!(statuses, [200, 403, 200]);
    client.send([get(&good, "/3"), denied.clone(), get(&good, "/4"), denied.clone()].concat()).await;
    let mut pipelined = Vec::new();
    for _ in 0..4 {
        pipelined.push(client.response(false).await.status);
    }
    assert_eq!(pipelined, [200, 403, 200, 403]);
    assert_eq!(gateway.dns.queries("denied.test"), 0);
    let calls = gateway.calls(7).await;
    let ids: std::collections::BTreeSet<_> = calls.iter().filter_map(|call| call["id"].as_str()).collect();
    assert_eq!(ids.len(), 7, "each request has a record of its own");
    assert_eq!(origin.received(0).matches("HTTP/1.1\r\n").count(), 4);
}

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

#[tokio::test]
async fn an_origin_that_resets_closes_or_talks_nonsense_is_a_502() {
    let reset = Origin::start(Behaviour::Reset(1)).await;
    let closing = Origin::http([Reply::raw("").then_close()]).await;
    let garbage = Origin::http([Reply::raw("SSH-2.0-OpenSSH\r\n\r\n").then_close()]).await;
    let cases = [("reset.test", &reset), ("closing.test", &closing), ("garbage.test", &garbage)];
    let gateway = Gateway::allowing(cases).await;
    let asked = cases.map(|(name, origin)| get(&format!("{name}:{}", origin.port()), "/"));
    for (at, asked) in asked.iter().enumerate() {
        let mut client = gateway.client().await;
        let refused = client.ask(asked).await;
        assert_eq!((refused.status, reason(&refused)), (502, Some("upstream_failed")), "{asked}");
        let call = &gateway.calls(2 * at + 1).await[2 * at];
        assert_eq!(call["reason"], "upstream_failed", "{asked}");
        assert_eq!((&call["status"], &call["outcome"]), (&json!(502), &json!("upstream_failed")), "{asked}");
        assert_eq!(call["id"], refused.header("x-request-id").unwrap_or_default());
        assert_eq!(client.ask(get("denied.test", "/")).await.status, 403, "the connection goes on: {asked}");
        gateway.calls(2 * at + 2).await;
    }
}

#[tokio::test]
async fn an_origin_that_refuses_the_connection_is_a_502() {
    // Bound and not listening, so that no other test gets the port.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let address: std::net::SocketAddr = "127.0.0.8:0".parse().expect("an address");
    socket.bind(&address.into()).expect("a free port");
    let target = socket.local_addr().expect("bound").as_socket().expect("an IP address").to_string();
    let gateway = Gateway::start(&format!("mode: Limited\nhostRules: ['{target}']\n")).await;
    for asked in [get(&target, "/"), format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")] {
        let refused = gateway.client().await.ask(&asked).await;
        assert_eq!((refused.status, reason(&refused)), (502, Some("upstream_failed")), "{asked}");
    }
    for call in gateway.calls(2).await {
        assert_eq!(
            (&call["reason"], &call["outcome"]),
            (&json!("upstream_failed"), &json!("upstream_failed"))
        );
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_502_and_one_that_nobody_answers_for_a_504() {
    let gateway = Gateway::start("mode: Limited\nhostRules: [none.test, silent.test]\n").await;
    gateway.dns.says("silent.test", Answer::Silent);
    let refused = gateway.client().await.ask(get("none.test", "/")).await;
    assert_eq!((refused.status, reason(&refused)), (502, Some("dns_failed")));
    let refused = gateway.client().await.ask(get("silent.test", "/")).await;
    assert_eq!((refused.status, reason(&refused)), (504, Some("dns_failed")));
    let calls = gateway.calls(2).await;
    assert_eq!((&calls[0]["outcome"], &calls[1]["outcome"]), (&json!("upstream_failed"), &json!("timeout")));
}

#[tokio::test]
async fn an_origin_that_takes_no_connection_in_time_is_a_504() {
    // A full backlog drops what comes after it.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let address: std::net::SocketAddr = "127.0.0.8:0".parse().expect("an address");
    socket.bind(&address.into()).expect("a free port");
    socket.listen(0).expect("a listening socket");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    let mut held = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        held.push(stream);
    }
    let policy = format!("mode: Limited\nhostRules: ['full.test:{}']\n", address.port());
    let gateway =
        Gateway::with(&policy, |config| config.limits.connect_timeout = Duration::from_millis(300)).await;
    gateway.dns.says("full.test", Answer::addresses(["127.0.0.8"]));
    let refused = gateway.client().await.ask(get(&format!("full.test:{}", address.port()), "/")).await;
    assert_eq!((refused.status, reason(&refused)), (504, Some("upstream_failed")));
    let calls = gateway.calls(1).await;
    assert_eq!((&calls[0]["outcome"], &calls[0]["status"]), (&json!("timeout"), &json!(504)));
}

#[tokio::test]
async fn an_origin_that_never_answers_is_a_504_when_the_idle_limit_is_reached() {
    let origin = Origin::start(Behaviour::Sink).await;
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway =
        Gateway::with(&policy, |config| config.limits.idle_timeout = Duration::from_millis(300)).await;
    gateway.name("good.test", &origin);
    let refused = gateway.client().await.ask(get(&good(&origin), "/")).await;
    assert_eq!((refused.status, reason(&refused)), (504, Some("upstream_failed")));
    let calls = gateway.calls(1).await;
    assert_eq!((&calls[0]["outcome"], &calls[0]["reason"]), (&json!("timeout"), &json!("upstream_failed")));
    assert_eq!(origin.wait_for_end(0).await, End::Fin);
}

#[tokio::test]
async fn an_answer_that_the_origin_cuts_off_is_cut_off_for_the_client_and_in_the_record() {
    for (at, (cut, down)) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", 3),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n", 4),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nab", 2),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\nx\r\n", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let origin = Origin::http([Reply::raw(cut).then_close()]).await;
        let gateway = Gateway::allowing([("good.test", &origin)]).await;
        let mut client = gateway.client().await;
        client.send(get(&good(&origin), "/")).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let body = client.expect_closed().await;
        assert!(
            !body.ends_with(b"0\r\n\r\n"),
            "{at}: a cut body must not look whole: {}",
            body.escape_ascii()
        );
        let call = &gateway.calls(1).await[0];
        assert_eq!(
            (&call["outcome"], &call["bytes_down"]),
            (&json!("upstream_closed"), &json!(down)),
            "{at}"
        );
        assert_eq!(call["status"], 200);
    }
}

#[tokio::test]
async fn f1_an_answer_whose_framing_has_two_meanings_is_a_502() {
    for head in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: gzip",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: +5",
        "content-length: 5, 6",
    ] {
        let reply = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let origin = Origin::http([Reply::raw(reply).then_close()]).await;
        let gateway = Gateway::allowing([("good.test", &origin)]).await;
        let refused = gateway.client().await.ask(get(&good(&origin), "/")).await;
        assert_eq!((refused.status, reason(&refused)), (502, Some("upstream_failed")), "{head}");
        let call = &gateway.calls(1).await[0];
        assert_eq!(call["reason"], "upstream_failed", "{head}");
    }
}

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

#[tokio::test]
async fn a_denial_says_what_was_asked_who_denied_it_and_what_to_add() {
    let gateway = Gateway::inspecting(
        "mode: Limited\nhostRules:\n- {pattern: bad.test, action: Deny}\n- port.test\n- good.test\nrules:\n\
         - {name: no-admin, match: {host: good.test, path: /admin}, action: Deny}\n",
        [],
    )
    .await;
    let file = gateway.policies().join("policy.yaml");
    let file = file.display();
    for (asked, code, target, rule, hint) in [
        (
            get("new.test", "/secret?token=1"),
            "default_deny",
            "new.test:80",
            json!(null),
            "add \"new.test\" to hostRules of policy `policy`".to_owned(),
        ),
        (
            get("bad.test:81", "/"),
            "host_denied",
            "bad.test:81",
            json!("hostRules[0] bad.test"),
            format!("({file}:3:"),
        ),
        (
            get("port.test:8080", "/"),
            "port_denied",
            "port.test:8080",
            json!("hostRules[1] port.test"),
            "add 8080 to ports".to_owned(),
        ),
        (get("good.test", "/admin"), "rule_denied", "good.test:80", json!("no-admin"), format!("({file}:7:")),
        (
            "CONNECT new.test:443 HTTP/1.1\r\nHost: new.test\r\n\r\n".to_owned(),
            "default_deny",
            "new.test:443",
            json!(null),
            "add \"new.test\"".to_owned(),
        ),
    ] {
        let mut client = gateway.client().await;
        let refused = client.ask(&asked).await;
        assert_eq!(refused.status, 403, "{asked}");
        assert_eq!(reason(&refused), Some(code));
        assert_eq!(refused.header("content-type"), Some("application/json"));
        let id = refused.header("x-request-id").expect("an id").to_owned();
        let body: Value = serde_json::from_str(&refused.body).expect("JSON");
        let error = &body["error"];
        let keys: Vec<&String> = error.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["code", "hint", "message", "policy", "requestId", "rule", "target"]);
        assert_eq!(
            (&error["code"], &error["target"], &error["policy"]),
            (&json!(code), &json!(target), &json!("policy"))
        );
        assert_eq!(error["requestId"], id);
        let said = error["rule"].as_str().unwrap_or_default();
        assert!(said.contains(rule.as_str().unwrap_or_default()), "{said}");
        assert_eq!(error["rule"].is_null(), rule.is_null(), "{error}");
        assert!(error["hint"].as_str().unwrap_or_default().contains(&hint), "{hint}: {error}");
        assert!(error["message"].as_str().unwrap_or_default().contains(target), "{error}");
        assert!(!refused.body.contains("token=1"), "no query in an answer");
        let record =
            gateway.wait_for("its record", |records| records.iter().any(|record| record["id"] == id)).await;
        let record = record.iter().find(|record| record["id"] == id).expect("it was just seen");
        assert_eq!((&record["decision"], &record["reason"]), (&json!("deny"), &json!(code)));
    }
    assert_eq!(gateway.dns.total_queries(), 0, "what A or C denies causes no query");
}

#[tokio::test]
async fn f4_a_denied_body_is_not_waited_for_and_never_read_as_requests() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let hidden = get(&good(&origin), "/hidden");
    // Not sent at all: the denial comes at once and the connection ends.
    let mut client = gateway.client().await;
    let refused = client.ask(request("POST", "denied.test", "/", "Content-Length: 100000000\r\n", "")).await;
    assert_eq!(refused.status, 403);
    assert!(client.expect_closed().await.is_empty());
    // Sent in part, sent whole, and chunked: whatever comes back, none of it answers the hidden request.
    let whole = format!("Content-Length: {}\r\n", hidden.len());
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for (fields, body) in [
        ("Content-Length: 100000000\r\n", &hidden),
        (whole.as_str(), &hidden),
        ("Transfer-Encoding: chunked\r\n", &chunk),
    ] {
        let mut client = gateway.client().await;
        client.send(request("POST", "denied.test", "/", fields, body)).await;
        assert_eq!(client.response(false).await.status, 403);
        client.finish().await;
        assert!(client.expect_closed().await.is_empty(), "{fields}");
    }
    gateway.calls(4).await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn expect_continue_is_answered_only_for_what_is_allowed() {
    let origin = Origin::http([Reply::ok("hello").after_continue()]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let fields = "Expect: 100-continue\r\nContent-Length: 3\r\n";
    let mut client = gateway.client().await;
    client.send(request("POST", &good(&origin), "/", fields, "")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send("abc").await;
    assert_eq!(client.response(false).await.body, "hello");
    assert!(origin.received(0).ends_with("abc"));
    let refused = client.ask(request("POST", "denied.test", "/", fields, "")).await;
    assert_eq!(refused.status, 403, "and no 100 before it");
}

/// A small generator of numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    /// One of these.
    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(self.0 >> 33).expect("31 bits") % all.len();
        &all[at]
    }

    /// Up to `most` of these, joined.
    fn some(&mut self, most: usize, all: &[&str]) -> String {
        let count = *self.pick(&(0..=most).collect::<Vec<_>>());
        (0..count).map(|_| *self.pick(all)).collect::<Vec<_>>().join(", ")
    }

    /// A policy over the names of the test.
    fn policy(&mut self) -> String {
        let hosts = [
            "a.test",
            "'*.a.test'",
            "'*'",
            "c.test",
            "127.0.0.8",
            "'d.test:8443'",
            "{pattern: a.test, action: Deny}",
            "{pattern: '*.a.test', action: Deny}",
            "{pattern: c.test, action: Deny}",
            "{pattern: 127.0.0.10, action: Deny}",
        ];
        let rules = [
            "{match: {host: a.test, path: /admin}, action: Deny}",
            "{match: {host: a.test, methods: [GET]}, action: Allow}",
            "{match: {host: '*.a.test', path: '/x*'}, action: Allow}",
            "{match: {host: d.test}, action: Deny}",
            "{match: {host: 'd.test:8443', methods: [POST]}, action: Allow}",
            "{match: {host: '*'}, action: Allow}",
        ];
        let cidrs = [
            "{cidr: 127.0.0.8/30, action: Allow}",
            "{cidr: 127.0.0.12/32, action: Deny}",
            "{cidr: 127.0.0.8/32, action: Allow, ports: [8443]}",
            "{cidr: 127.0.0.10/32, action: Deny, ports: [80]}",
        ];
        let ports = ["", "ports: [80, 8443]\n", "ports: [443]\n", "ports: [1-65535]\n"];
        format!(
            "defaultAction: {}\nhostRules: [{}]\nrules: [{}]\ncidrRules: [{}]\n{}",
            self.pick(&["Allow", "Deny"]),
            self.some(4, &hosts),
            self.some(3, &rules),
            self.some(2, &cidrs),
            self.pick(&ports),
        )
    }
}

#[tokio::test]
async fn n7_explain_and_the_gateway_give_the_same_answer() {
    let names = [
        ("a.test", Some("127.0.0.8")),
        ("b.a.test", Some("127.0.0.10")),
        ("A.test.", Some("127.0.0.8")),
        ("xa.test", Some("127.0.0.8")),
        ("c.test", Some("10.0.0.5")),
        ("d.test", Some("127.0.0.12")),
        ("meta.test", Some("169.254.169.254")),
        ("self.test", Some("127.0.0.1")),
        ("127.0.0.8", None),
        ("127.0.0.10", None),
        ("127.0.0.12", None),
        ("127.0.0.1", None),
        ("10.0.0.5", None),
        ("169.254.169.254", None),
        ("[::1]", None),
        ("[::ffff:10.0.0.5]", None),
        ("0x7f.1", None),
        ("2130706433", None),
        ("a..test", None),
        ("foo.123", None),
        ("a_b.test", Some("127.0.0.8")),
        ("-a.test", None),
        ("[a.test]", None),
    ];
    let mut dice = Dice(7);
    let (mut asked, mut allowed, mut reasons) = (0, 0, std::collections::BTreeSet::new());
    for _ in 0..12 {
        let policy = dice.policy();
        let gateway = Gateway::inspecting(&policy, []).await;
        for (name, address) in names {
            if let Some(address) = address {
                gateway.dns.says(name.trim_end_matches('.'), Answer::addresses([address]));
            }
        }
        let mut config = sluicegate::config::Config::default();
        config.guards.exempt = vec![EXEMPT.parse().expect("a prefix")];
        config.intercept = Some(InterceptSettings {
            certificate: "ca.pem".into(),
            key: "ca-key.pem".into(),
            upstream_roots: Vec::new(),
            exclude: Vec::new(),
        });
        let sockets = [gateway.proxy(), gateway.admin(), gateway.dns.address()];
        let guards =
            std::sync::Arc::new(sluicegate::app::guards(&config, &sockets).expect("this host's addresses"));
        let loaded = Store::new(gateway.policies(), None).load(&guards, None).expect("a load");
        assert!(!loaded.has_errors(), "{policy}: {:#?}", loaded.problems);
        let explained = loaded.policies.policy_for("default", None, false);
        for _ in 0..30 {
            let (name, address) = *dice.pick(&names);
            let port = *dice.pick(&[80, 443, 8443, 25]);
            let target = format!("{name}:{port}");
            let method = *dice.pick(&["GET", "POST", "CONNECT"]);
            let path = *dice.pick(&["/", "/admin", "/admin/x", "/x/../admin", "/%61dmin", "/xyz", "/x%2fy"]);
            let address = address.map(|address| address.parse().expect("an IP address"));
            let (request, question) = if method == "CONNECT" {
                let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
                (request, Question::parse(&target, None, address))
            } else {
                let url = format!("http://{target}{path}");
                (
                    format!("{method} {url} HTTP/1.1\r\nHost: {target}\r\n\r\n"),
                    Question::parse(&url, Some(method), address),
                )
            };
            let mut client: Client = gateway.client().await;
            client.send(&request).await;
            let head = within("an answer", client.head()).await;
            let header = |key: &str| {
                head.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
            };
            // Nobody listens there: what is allowed fails upstream.
            let done = header("x-deny-reason:").filter(|reason| reason != "upstream_failed");
            let said = match question {
                Ok(question) => {
                    let mut whole = answer(&explained, &question);
                    let waits =
                        method == "CONNECT" && (whole.decrypted == Some(true) || whole.hangs_on.is_some());
                    if waits && done.is_none() {
                        // Granted until what is inside is seen; where that leads is asked then.
                        whole = answer(&explained, &Question { address: None, ..question });
                    }
                    whole.reason.map(str::to_owned)
                }
                Err(_) => Some("bad_request".to_owned()),
            };
            assert_eq!(done, said, "{request}{policy}");
            asked += 1;
            allowed += usize::from(done.is_none());
            reasons.extend(done);
        }
    }
    assert!(asked >= 300 && allowed >= 30, "{allowed} of {asked} allowed");
    assert!(reasons.len() >= 8, "the questions reach many answers: {reasons:?}");
}
