//! The same in HTTP/2 and in web sockets.

use http::HeaderValue;

use super::*;

#[tokio::test]
async fn s7_the_streams_of_a_client_show_the_value_and_nothing_of_their_own() {
    let headers = format!(
        "{BEARER}, {{operation: Insert, name: X-Api-Key, valueRef: {{secretRef: {{secretId: github}}}}}}"
    );
    let scene = Scene::streaming("", &headers, [Stream::ok("hello")]).await;
    let client = scene.http2().await;
    let mut request = Http2::request("POST", &scene.url("/a?b=c"));
    for name in ["authorization", "x-api-key", "x_api_key"] {
        request.headers_mut().append(name, HeaderValue::from_static("mine"));
        request.headers_mut().append(name, HeaderValue::from_static("mine too"));
    }
    let mut stream = client.open(request).await;
    stream.send("body").await;
    let mut trailers = http::HeaderMap::new();
    for name in ["authorization", "x-api-key", "x_api_key"] {
        trailers.insert(name, HeaderValue::from_static("mine"));
    }
    trailers.insert("x-sum", HeaderValue::from_static("4"));
    stream.finish_with(trailers);
    assert_eq!(stream.answer().await.unwrap().text(), "hello");
    let asked = scene.origin.wait_for_stream(0, "a whole request", |asked| asked.whole.is_some()).await;
    assert_eq!(asked.path(), "/a?b=c");
    let bearer = format!("Bearer {VALUE}");
    for (name, value) in [("authorization", bearer.as_str()), ("x-api-key", VALUE)] {
        let values: Vec<_> = asked.head.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}");
    }
    assert!(asked.header("x_api_key").is_none());
    let trailers: Vec<_> = asked.trailers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(trailers, ["x-sum"]);
}

#[tokio::test]
async fn s4_headers_bodies_and_trailers_of_streams_do_not_show_the_value() {
    let (one, two) = VALUE.split_at(5);
    let echo = Stream::parts(["a ", one, two, " b"]).header("x-echo", VALUE).trailer("x-echo", VALUE);
    let scene = Scene::streaming("", BEARER, [echo]).await;
    let answer = scene.http2().await.get(&scene.url("/")).await;
    assert_eq!(answer.text(), format!("a {} b", "*".repeat(VALUE.len())));
    assert_eq!(answer.header("x-echo").unwrap().len(), VALUE.len());
    for shown in [format!("{:?}", answer.headers), format!("{:?}", answer.trailers)] {
        assert_hidden(VALUE, shown, "fields");
    }
    assert!(answer.trailer("x-echo").is_some());
}

#[tokio::test]
async fn an_answer_that_is_a_head_alone_stays_one() {
    // As gRPC tells of a failure at once: what follows would be taken for an answer without a status.
    let status = Stream::parts([]).header("content-type", "application/grpc").header("grpc-status", "7");
    for more in ["", ", scrub: Always"] {
        let scene = Scene::streaming(more, BEARER, [status.clone()]).await;
        let client = scene.http2().await;
        let mut stream = client.start(Http2::request("POST", &scene.url("/")), true).await.unwrap();
        let (_, headers) = stream.head().await.unwrap();
        assert_eq!(headers["grpc-status"], "7");
        assert!(stream.is_ended(), "with `{more}`");
    }
}

#[tokio::test]
async fn p1_two_secrets_of_one_client_never_share_a_connection_of_streams() {
    let values = [file("canary-one-12"), file("canary-two-34")];
    let origin = Origin::http2("api.test", [Stream::ok("x")]).await;
    let second = secret(values[1].path(), "").replace("name: github", "name: other");
    let set = |path: &str, name: &str| {
        let headers = BEARER.replace("github", name);
        format!(
            "  - {{match: {{host: api.test, path: {path}}}, action: {{type: Transform, headers: [{headers}]}}}}\n"
        )
    };
    let policy =
        secret(values[0].path(), "") + &second + &rules(&(set("/a/*", "github") + &set("/b/*", "other")));
    let gateway = Gateway::inspecting(&policy, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    for round in 0..20 {
        for path in ["a", "b"] {
            let answer = client.get(&format!("https://api.test:{}/{path}/{round}", origin.port())).await;
            assert_eq!(answer.status, 200);
        }
    }
    let asked = origin.asked();
    let shown = |connection: usize| {
        let all = asked.iter().filter(|asked| asked.connection == connection);
        all.map(|asked| asked.header("authorization").unwrap()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!((asked.len(), origin.connections()), (40, 2));
    assert!((0..2).all(|connection| shown(connection).len() == 1), "{:?} {:?}", shown(0), shown(1));
}

#[tokio::test]
async fn a_websocket_gets_the_value_in_its_handshake_and_its_answer_does_not_show_it() {
    let agreed = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-echo: {VALUE}\r\n\r\n"
    );
    let scene = Scene::answering([Reply::raw(agreed)]).await;
    let mut client = scene.client().await;
    let own = "connection: upgrade, authorization\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
               sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: mine\r\n";
    client.send(get("/ws", own)).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_hidden(VALUE, &head, "a 101");
    let received = scene.origin.received(0);
    assert!(received.contains(&format!("authorization: Bearer {VALUE}\r\n")), "{received}");
    assert!(!received.contains("mine"), "{received}");
}

#[tokio::test]
async fn s4_no_websocket_is_opened_with_a_secret_that_nothing_may_pass_unsearched_for() {
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let scene = Scene::with(", scrub: Always", BEARER, [Reply::raw(agreed)]).await;
    let mut client = scene.client().await;
    let own = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
               sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answer = client.ask(get("/ws", own)).await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (502, Some("upstream_failed")));
    assert!(answer.body.contains("WebSocket"), "{}", answer.body);
}
