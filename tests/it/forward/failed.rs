//! Origins that fail, are silent or break off.

use super::*;

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
    let server = gateway.dns.address().to_string();
    assert!(!refused.body.contains(&server), "a server is not for a client to know");
    let calls = gateway.calls(2).await;
    assert_eq!(calls[0]["error"], format!("the name does not exist: said by {server}"));
    let cure = "see that it is up and answers this host, or change `dns.servers` or `networks.managed.dns`";
    assert_eq!(calls[1]["error"], format!("no DNS server answered in time: asked {server}: {cure}"));
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
