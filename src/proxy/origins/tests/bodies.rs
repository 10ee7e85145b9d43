//! Bodies and trailers both ways: whole, or seen to be broken off.

use super::*;

#[tokio::test]
async fn trailers_pass_both_ways() {
    let rig = Rig::new();
    for (protocols, alpn) in [(BOTH, Alpn::Either), (ONE, Alpn::Either), (ONE, Alpn::Http1)] {
        let answer = |request: Request<Incoming>| async {
            let mut response = echo(request).await;
            response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
            response
        };
        let origin = Server::start(&rig, protocols, answer).await;
        let mut client = rig.client(alpn).connect(origin.goal.clone()).await;
        let (send, body) = frames();
        let mut asked = request("POST", "/", body);
        asked.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        asked.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        let response = client.begin(asked);
        send.send(Frame::data(Bytes::from("abc"))).unwrap();
        let fields = HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("6"))]);
        send.send(Frame::trailers(fields)).unwrap();
        drop(send);
        let (body, trailers) = read(within(response).await.unwrap()).await;
        assert_eq!(body, "abc");
        assert_eq!(trailers.get("x-sum").unwrap(), "6", "{protocols:?} {alpn:?}");
    }
}

#[tokio::test]
async fn f4_a_stream_that_the_origin_resets_never_looks_as_if_it_had_ended() {
    let rig = Rig::new();
    for code in [Code::NO_ERROR, Code::CANCEL, Code::INTERNAL_ERROR] {
        let (tell, mut told) = mpsc::unbounded_channel();
        let origin = streams(&rig, move |mut respond, _, _| {
            let mut stream = respond.send_response(head(StatusCode::OK), false).unwrap();
            stream.send_data(Bytes::from("part"), false).unwrap();
            tell.send(stream).unwrap();
        })
        .await;
        let mut client = rig.client(Alpn::Either).connect(origin.goal.clone()).await;
        let mut body = client.ask(request("GET", "/", nothing())).await.into_body();
        assert_eq!(within(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "part");
        within(told.recv()).await.unwrap().send_reset(code);
        assert!(within(body.collect()).await.is_err(), "{code:?}");
        assert_eq!(rig.event().await.outcome, Some(Outcome::UpstreamClosed), "{code:?}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_whole() {
    let rig = Rig::new();
    let (tell, mut told) = mpsc::unbounded_channel();
    let origin = streams(&rig, move |mut respond, _, _| {
        let mut stream = respond.send_response(head(StatusCode::PAYLOAD_TOO_LARGE), false).unwrap();
        stream.send_data(Bytes::from("too much"), true).unwrap();
        tell.send(stream).unwrap();
    })
    .await;
    let mut client = rig.client(Alpn::Either).connect(origin.goal.clone()).await;
    let (send, body) = frames();
    send.send(Frame::data(Bytes::from("much"))).unwrap();
    let response = client.ask(request("POST", "/", body)).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // What is left of the request is not wanted (RFC 9113 §8.1).
    within(told.recv()).await.unwrap().send_reset(Code::NO_ERROR);
    assert_eq!(read(response).await.0, "too much");
    assert_eq!(rig.event().await.outcome, Some(Outcome::Ok));
}

#[tokio::test]
async fn r4_what_a_client_does_not_read_is_not_fetched() {
    const PIECE: usize = 16 * 1024;
    const PIECES: usize = 2048;
    for (protocols, alpn) in [(BOTH, Alpn::Either), (ONE, Alpn::Either), (ONE, Alpn::Http1)] {
        let rig = Rig::new();
        let made = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&made);
        let answer = move |_: Request<Incoming>| {
            let count = Arc::clone(&count);
            async move {
                let piece = move |_| {
                    count.fetch_add(PIECE, Ordering::SeqCst);
                    Ok(Frame::data(Bytes::from_static(&[b'x'; PIECE])))
                };
                let pieces = tokio_stream::StreamExt::map(tokio_stream::iter(0..PIECES), piece);
                Response::new(StreamBody::new(pieces).boxed())
            }
        };
        let origin = Server::start(&rig, protocols, answer).await;
        let mut client = rig.client(alpn).connect(origin.goal.clone()).await;
        let mut body = client.ask(request("GET", "/", nothing())).await.into_body();
        // Nothing more is made once a second has gone by in which nothing was.
        let mut before = usize::MAX;
        while before != made.load(Ordering::SeqCst) {
            before = made.load(Ordering::SeqCst);
            let more = async {
                while made.load(Ordering::SeqCst) == before {
                    tokio::task::yield_now().await;
                }
            };
            let _ = tokio::time::timeout(std::time::Duration::from_millis(300), more).await;
        }
        assert!(before < 16 << 20, "{before} bytes {protocols:?} {alpn:?}");
        let mut read = 0;
        while let Some(frame) = within(body.frame()).await {
            read += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        assert_eq!(read, PIECES * PIECE);
    }
}

#[tokio::test]
async fn a_large_upload_arrives_whole() {
    const PIECES: usize = 1024;
    let rig = Rig::new();
    for (protocols, alpn) in [(BOTH, Alpn::Either), (ONE, Alpn::Either), (BOTH, Alpn::Http1)] {
        let answer = |request: Request<Incoming>| async {
            let (mut body, mut bytes) = (request.into_body(), 0);
            while let Some(frame) = body.frame().await {
                bytes += frame.unwrap().data_ref().map_or(0, Bytes::len);
            }
            Response::new(text(bytes.to_string()))
        };
        let origin = Server::start(&rig, protocols, answer).await;
        let mut client = rig.client(alpn).connect(origin.goal.clone()).await;
        let pieces =
            tokio_stream::iter((0..PIECES).map(|_| Ok(Frame::data(Bytes::from(vec![1; 16 * 1024])))));
        let response = client.ask(request("PUT", "/", StreamBody::new(pieces).boxed())).await;
        assert_eq!(read(response).await.0, (PIECES * 16 * 1024).to_string());
        let event = rig.event().await;
        assert_eq!(event.bytes_up, Some((PIECES * 16 * 1024) as u64), "{protocols:?} {alpn:?}");
    }
}

#[tokio::test]
async fn events_of_a_server_are_passed_on_one_by_one() {
    let rig = Rig::new();
    for (protocols, alpn) in [(BOTH, Alpn::Either), (ONE, Alpn::Either), (ONE, Alpn::Http1)] {
        let (send, body) = frames();
        let body = Arc::new(std::sync::Mutex::new(Some(body)));
        let answer = move |_: Request<Incoming>| {
            let body = body.lock().unwrap().take().unwrap();
            async { Response::new(body) }
        };
        let origin = Server::start(&rig, protocols, answer).await;
        let mut client = rig.client(alpn).connect(origin.goal.clone()).await;
        let mut body = client.ask(request("GET", "/", nothing())).await.into_body();
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            send.send(Frame::data(Bytes::from(event))).unwrap();
            assert_eq!(within(body.frame()).await.unwrap().unwrap().into_data().unwrap(), event);
        }
        drop(send);
        assert!(within(body.collect()).await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test]
async fn f4_an_upload_that_the_client_takes_back_never_looks_as_if_it_had_ended() {
    let rig = Rig::new();
    for protocols in [BOTH, ONE] {
        let (tell, mut told) = mpsc::unbounded_channel();
        let answer = move |request: Request<Incoming>| {
            let tell = tell.clone();
            async move {
                let mut body = request.into_body();
                tell.send(None).unwrap();
                loop {
                    match body.frame().await {
                        Some(Ok(_)) => {}
                        Some(Err(_)) => break tell.send(Some(false)).unwrap(),
                        None => break tell.send(Some(true)).unwrap(),
                    }
                }
                hello(Request::new(body)).await
            }
        };
        let origin = Server::start(&rig, protocols, answer).await;
        let mut client = rig.client(Alpn::Either).connect(origin.goal.clone()).await;
        let (send, body) = frames();
        send.send(Frame::data(Bytes::from("part"))).unwrap();
        let response = client.begin(request("POST", "/", body));
        let waiting = rig.tasks().clone();
        let (leave, left) = tokio::sync::oneshot::channel::<()>();
        waiting.spawn("client", async move {
            tokio::select! {
                _ = response => {}
                _ = left => {}
            }
        });
        assert_eq!(within(told.recv()).await, Some(None));
        leave.send(()).unwrap();
        // Either it fails, or the origin is not asked any more.
        assert_ne!(within(told.recv()).await, Some(Some(true)), "{protocols:?}");
        drop(send);
    }
}

#[tokio::test]
async fn a_body_with_a_length_keeps_it() {
    let rig = Rig::new();
    for (protocols, alpn) in [(BOTH, Alpn::Either), (ONE, Alpn::Either), (ONE, Alpn::Http1)] {
        let origin = Server::start(&rig, protocols, hello).await;
        let mut client = rig.client(alpn).connect(origin.goal.clone()).await;
        let mut asked = request("POST", "/", text("abc"));
        asked.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        let response = client.ask(asked).await;
        assert_eq!(response.headers().get(CONTENT_LENGTH).unwrap(), "5");
        assert_eq!(response.body().size_hint().exact(), Some(5));
        assert_eq!(origin.asked()[0].1.headers.get(CONTENT_LENGTH).unwrap(), "3");
        assert!(!origin.asked()[0].1.headers.contains_key(TRANSFER_ENCODING));
    }
}
