//! Which connection a request goes out on, and what becomes of it when that ends.

use super::*;

#[tokio::test]
async fn streams_of_one_client_share_one_connection_of_http2() {
    let rig = Rig::new();
    let origin = Server::start(&rig, BOTH, hello).await;
    let mut client = rig.client(Alpn::Either).connect(origin.goal.clone()).await;
    let mut asked = request("GET", "/a?b=c", nothing());
    asked.headers_mut().append(COOKIE, HeaderValue::from_static("a=1"));
    asked.headers_mut().append(COOKIE, HeaderValue::from_static("b=2"));
    let mut under_way = vec![client.begin(asked)];
    under_way.extend((0..20).map(|_| client.begin(request("GET", "/", nothing()))));
    for response in under_way {
        assert_eq!(read(within(response).await.unwrap()).await.0, "hello");
    }
    assert_eq!(origin.connections(), 1);
    let (_, first) = origin.asked().into_iter().find(|(_, head)| head.uri.path() == "/a").unwrap();
    assert_eq!(
        (first.version, first.uri.to_string()),
        (http::Version::HTTP_2, "https://good.test/a?b=c".into())
    );
    assert!(!first.headers.contains_key(HOST) && !first.headers.contains_key(TRANSFER_ENCODING));
    let mut opened = 0;
    for _ in 0..21 {
        let event = rig.event().await;
        assert_eq!((event.outcome, event.address), (Some(Outcome::Ok), Some(origin.goal.address)));
        assert_eq!(event.tls.is_some(), event.connect.is_some());
        opened += usize::from(event.tls.is_some());
    }
    assert_eq!(opened, 1, "one of them has opened it");
}

#[tokio::test]
async fn requests_of_a_client_of_http1_go_out_as_http1_on_one_connection() {
    let rig = Rig::new();
    let origin = Server::start(&rig, BOTH, echo).await;
    let mut client = rig.client(Alpn::Http1).connect(origin.goal.clone()).await;
    for _ in 0..3 {
        assert_eq!(read(client.ask(request("POST", "/", text("abc"))).await).await.0, "abc");
    }
    assert_eq!(origin.connections(), 1);
    for (_, head) in origin.asked() {
        assert_eq!((head.version, head.uri.to_string()), (http::Version::HTTP_11, "/".into()));
        assert_eq!(head.headers.get(HOST).unwrap(), "good.test");
    }
}

#[tokio::test]
async fn streams_toward_an_origin_of_http1_have_a_connection_each_and_leave_it_to_the_next() {
    let rig = Rig::new();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let answer = move |request: Request<Incoming>| {
        let gate = Arc::clone(&held);
        async move {
            gate.acquire().await.unwrap().forget();
            echo(request).await
        }
    };
    let origin = Server::start(&rig, ONE, answer).await;
    let mut client = rig.client(Alpn::Either).connect(origin.goal.clone()).await;
    let (send, body) = frames();
    let mut first = request("GET", "/", body);
    first.headers_mut().append(COOKIE, HeaderValue::from_static("a=1"));
    first.headers_mut().append(COOKIE, HeaderValue::from_static("b=2"));
    let mut under_way = vec![client.begin(first)];
    under_way.extend((0..3).map(|_| client.begin(request("GET", "/", nothing()))));
    send.send(Frame::data(Bytes::from("abc"))).unwrap();
    drop(send);
    within(async {
        while origin.asked().len() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(origin.connections(), 4);
    gate.add_permits(100);
    let mut bodies = Vec::new();
    for response in under_way {
        bodies.push(read(within(response).await.unwrap()).await.0);
    }
    assert_eq!(bodies, ["abc", "", "", ""]);
    let (_, streamed) =
        origin.asked().into_iter().find(|(_, head)| head.headers.contains_key(COOKIE)).unwrap();
    assert_eq!(streamed.headers.get(COOKIE).unwrap(), "a=1; b=2");
    assert_eq!(streamed.headers.get(TRANSFER_ENCODING).unwrap(), "chunked");
    for _ in 0..4 {
        read(client.ask(request("GET", "/", nothing())).await).await;
    }
    assert_eq!(origin.connections(), 4, "idle ones are used again");
}

#[tokio::test]
async fn what_the_origin_did_nothing_about_is_sent_again_if_that_can_be() {
    let rig = Rig::new();
    let origin = streams(&rig, |mut respond, _, at| {
        if at % 2 == 1 {
            respond.send_reset(Code::REFUSED_STREAM);
        } else {
            let mut stream = respond.send_response(head(StatusCode::OK), false).unwrap();
            stream.send_data(Bytes::from("done"), true).unwrap();
        }
    })
    .await;
    let mut client = rig.client(Alpn::Either).connect(origin.goal.clone()).await;
    assert_eq!(client.ask(request("GET", "/", nothing())).await.status(), 200);
    assert_eq!(client.ask(request("POST", "/", nothing())).await.status(), 200, "sent again");
    assert_eq!(client.ask(request("POST", "/", text("once"))).await.status(), 502, "its body is gone");
    for status in [200, 200, 502] {
        assert_eq!(rig.event().await.status, Some(status));
    }
}

#[tokio::test]
async fn a_connection_that_the_origin_takes_leave_of_is_replaced() {
    let rig = Rig::new();
    let (told, mut tell) = mpsc::unbounded_channel();
    let serve = move |stream: TlsStream<Tcp>, _| {
        let told = told.clone();
        async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(head(StatusCode::NO_CONTENT), true).unwrap();
                connection.graceful_shutdown();
            }
            told.send(()).unwrap();
        }
    };
    let origin = Server::raw(&rig, rig.ca.server("good.test", &["h2"]), serve).await;
    let mut client = rig.client(Alpn::Either).connect(origin.goal.clone()).await;
    for connections in 1..4 {
        assert_eq!(client.ask(request("POST", "/", text("x"))).await.status(), 204);
        assert_eq!(origin.connections(), connections);
        within(tell.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn s1_an_origin_that_cannot_be_verified_is_a_502_that_says_why() {
    let rig = Rig::new();
    let seen = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&seen);
    let serve = move |_: TlsStream<Tcp>, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async {}
    };
    let origin = Server::raw(&rig, rig.ca.server("evil.test", BOTH), serve).await;
    for alpn in [Alpn::Http1, Alpn::Either] {
        let mut client = rig.client(alpn).connect(origin.goal.clone()).await;
        let response = client.ask(request("GET", "/", nothing())).await;
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers().get("x-deny-reason").unwrap(), "upstream_failed");
        assert!(read(response).await.0.contains("the origin's certificate is for another name"));
        let event = rig.event().await;
        assert_eq!((event.status, event.outcome), (Some(502), Some(Outcome::UpstreamFailed)));
        assert!(event.tls.is_some() && event.error.unwrap().as_str().contains("for another name"));
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0, "no byte of a request went there");
}

#[tokio::test]
async fn whoever_waits_for_a_connection_that_fails_does_not_wait_for_the_next_one() {
    let rig = Rig::new();
    let origin = Server::raw(&rig, rig.ca.server("evil.test", BOTH), |_, _| async {}).await;
    let mut client = rig.client(Alpn::Either).connect(origin.goal.clone()).await;
    let under_way: Vec<_> = (0..20).map(|_| client.begin(request("GET", "/", nothing()))).collect();
    for response in under_way {
        assert_eq!(within(response).await.unwrap().status(), 502);
    }
    assert!(origin.connections() < 10, "{}", origin.connections());
}

#[tokio::test]
async fn p1_a_connection_is_used_by_one_client_and_for_the_same_secrets_only() {
    let rig = Rig::new();
    for (protocols, alpn) in [(BOTH, Alpn::Either), (ONE, Alpn::Either), (ONE, Alpn::Http1)] {
        let origin = Server::start(&rig, protocols, hello).await;
        let mut connections = 0;
        for secrets in [&["a/x"][..], &["b/x"], &["a/x", "b/x"], &[]] {
            for _ in 0..2 {
                let mut client = rig.client(alpn);
                client.secrets = secrets.iter().copied().map(Arc::from).collect();
                let mut client = client.connect(origin.goal.clone()).await;
                connections += 1;
                for _ in 0..3 {
                    assert_eq!(client.ask(request("GET", "/", nothing())).await.status(), 200);
                    assert_eq!(origin.connections(), connections, "another client is another connection");
                }
            }
        }
    }
}

#[tokio::test]
async fn p1_what_a_connection_is_for_is_all_of_it() {
    let purpose = |sandbox: &str, target: &str, proven: Option<&str>, secrets: &[&str]| Purpose {
        sandbox: Arc::from(sandbox),
        target: target.parse().unwrap(),
        route: Route::Managed,
        proven: proven.map(|host| host.parse().unwrap()),
        secrets: secrets.iter().copied().map(Arc::from).collect(),
    };
    let same = purpose("one", "good.test:443", Some("good.test"), &["a/x"]);
    let others = [
        purpose("two", "good.test:443", Some("good.test"), &["a/x"]),
        purpose("one", "good.test:444", Some("good.test"), &["a/x"]),
        purpose("one", "other.test:443", Some("good.test"), &["a/x"]),
        purpose("one", "good.test:443", None, &["a/x"]),
        Purpose { route: Route::Delegated("prod".into()), ..same.clone() },
        purpose("one", "good.test:443", Some("good.test"), &[]),
        purpose("one", "good.test:443", Some("good.test"), &["a/x", "b/x"]),
    ];
    let each =
        others.iter().flat_map(|other| [Negotiated::Http1, Negotiated::Http2].map(|spoken| (other, spoken)));
    for (other, spoken) in each {
        let rig = Rig::new();
        let origins = Origins::new(Alpn::Either);
        let listener = tokio::net::TcpListener::bind("127.0.0.8:0").await.unwrap();
        let permit = crate::policy::AddressPermit::for_test(listener.local_addr().unwrap());
        let dialed = rig.gateway.uplinks.dial(vec![permit]).await.unwrap();
        let (way, lease) = (dialed.way(), Lease::new(&origins.count, None));
        let stream = OriginStream::Plain(dialed.stream);
        let origin = Origin::new(stream, spoken, way, lease, rig.tasks()).await.unwrap();
        origins.pool().kept.push((same.clone(), origin));
        assert!(origins.take(other).is_none(), "{other:?} {spoken:?}");
        assert!(origins.take(&same).is_some());
    }
}

#[tokio::test]
async fn r2_more_connections_than_the_clients_own_are_of_the_sandboxs_share() {
    let rig = Rig::limited(Limits::NONE.with(Limit::Connections, 1));
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let answer = move |request: Request<Incoming>| {
        let gate = Arc::clone(&held);
        async move {
            gate.acquire().await.unwrap().forget();
            hello(request).await
        }
    };
    let origin = Server::start(&rig, ONE, answer).await;
    let mut client = rig.client(Alpn::Either).connect(origin.goal.clone()).await;
    let under_way: Vec<_> = (0..3).map(|_| client.begin(request("GET", "/", nothing()))).collect();
    // The one that is refused is the first to end.
    assert_eq!(rig.event().await.status, Some(429));
    gate.add_permits(10);
    let mut statuses = Vec::new();
    for response in under_way {
        statuses.push(within(response).await.unwrap().status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(origin.connections(), 2);
    assert_eq!(client.ask(request("GET", "/", nothing())).await.status(), 200, "they are used again");
}
