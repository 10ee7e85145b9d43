//! What of a request and an answer passes, and in which form.

use super::*;

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
