use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason as Code;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use tokio::net::TcpStream as Tcp;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::server::TlsStream;

use super::kit::{Payload, Rig, Server, nothing, read, request, within};
use super::*;
use crate::audit::Outcome;
use crate::policy::{Limit, Limits};

/// Protocols that an origin speaks.
const BOTH: &[&str] = &["h2", "http/1.1"];
const ONE: &[&str] = &["http/1.1"];

/// A text as a body.
fn text(text: impl Into<Bytes>) -> Payload {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// A body whose frames come one by one.
fn frames() -> (mpsc::UnboundedSender<Frame<Bytes>>, Payload) {
    let (send, receive) = mpsc::unbounded_channel();
    (send, StreamBody::new(Frames(receive)).boxed())
}

/// Frames as they come.
struct Frames(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl tokio_stream::Stream for Frames {
    type Item = std::io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// Sends back what it gets, trailers included.
async fn echo(request: Request<Incoming>) -> Response<Payload> {
    Response::new(request.into_body().map_err(std::io::Error::other).boxed())
}

/// Says hello.
async fn hello(_: Request<Incoming>) -> Response<Payload> {
    Response::new(text("hello"))
}

/// An origin that does this with each stream of HTTP/2; it is told how many came before.
async fn streams<A>(rig: &Rig, answer: A) -> Server
where
    A: Fn(h2::server::SendResponse<Bytes>, h2::RecvStream, usize) + Clone + Send + Sync + 'static,
{
    let count = Arc::<AtomicUsize>::default();
    let serve = move |stream: TlsStream<Tcp>, _| {
        let (answer, count) = (answer.clone(), Arc::clone(&count));
        async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                answer(respond, request.into_body(), count.fetch_add(1, Ordering::SeqCst));
            }
        }
    };
    Server::raw(rig, rig.ca.server("good.test", &["h2"]), serve).await
}

/// The head of a response.
fn head(status: StatusCode) -> Response<()> {
    Response::builder().status(status).body(()).unwrap()
}

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
