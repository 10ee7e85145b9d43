//! Bytes a second.

use super::*;

#[tokio::test]
async fn r2_i4_whatever_goes_up_is_slowed_down_for_that_sandbox_only() {
    const RATE: usize = 200_000;
    const BYTES: usize = 350_000;
    let sink = Origin::start(Behaviour::Sink).await;
    let http = Origin::http([Reply::ok("done")]).await;
    let websocket = Origin::http([Reply::upgrade("websocket")]).await;
    let policy = documents("", &[("a", &format!("limits: {{uploadBytes: {RATE}}}")), ("b", "")]);
    let bytes = vec![b'\x01'; BYTES];
    for way in ["tunnel", "early data", "heads", "body", "trailers", "websocket"] {
        let gateway = gateway(&policy, &sink, |_| {}).await;
        gateway.name("http.test", &http);
        gateway.name("websocket.test", &websocket);
        let mut times = Vec::new();
        for mut client in [a(&gateway).await, b(&gateway).await] {
            let start = Instant::now();
            match way {
                "tunnel" => {
                    let at = sink.connections();
                    assert_eq!(connect(&mut client, &format!("good.test:{}", sink.port())).await.0, 200);
                    client.send(&bytes).await;
                    sink.wait_for_count(at, BYTES).await;
                }
                "early data" => {
                    // No server has to answer before it goes on.
                    let at = sink.connections();
                    assert_eq!(connect(&mut client, &format!("good.test:{}", sink.port())).await.0, 200);
                    client.send(hello("good.test")).await;
                    let record = record(0x17, &[b'x'; 16_000]);
                    client.send(record.repeat(BYTES / 16_000 + 1)).await;
                    sink.wait_for_count(at, BYTES).await;
                }
                "heads" => {
                    let more = format!("X: {}\r\n", "x".repeat(35_000));
                    let host = format!("http.test:{}", http.port());
                    for _ in 0..BYTES / 35_000 {
                        let head = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{more}\r\n");
                        assert_eq!(client.ask(head).await.status, 200);
                    }
                }
                "body" => {
                    let host = format!("http.test:{}", http.port());
                    let head = format!(
                        "POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: {BYTES}\r\n\r\n"
                    );
                    let answer = client.ask([head.as_bytes(), &bytes].concat()).await;
                    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
                }
                "trailers" => {
                    const TRAILER: usize = 7_000;
                    let host = format!("http.test:{}", http.port());
                    let request = format!(
                        "POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\
                         Trailer: X\r\n\r\n0\r\nX: {}\r\n\r\n",
                        "x".repeat(TRAILER)
                    );
                    for _ in 0..BYTES / TRAILER {
                        assert_eq!(client.ask(&request).await.status, 200);
                    }
                }
                _ => {
                    let host = format!("websocket.test:{}", websocket.port());
                    let head = format!(
                        "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
                    );
                    client.send(head).await;
                    assert!(client.head().await.starts_with("HTTP/1.1 101"));
                    let (sent, came) = tokio::join!(
                        async { websocket.wait_for_count(websocket.connections() - 1, BYTES).await },
                        async {
                            client.send(&bytes).await;
                            client.take(BYTES).await
                        }
                    );
                    let () = sent;
                    assert_eq!(came, bytes);
                }
            }
            times.push(start.elapsed());
        }
        // A second's worth may go at once; the rest not before its time.
        let least = Duration::from_millis(((BYTES - RATE) * 1000 / RATE) as u64 - 10);
        assert!(times[0] >= least, "{way}: {times:?}, at least {least:?}");
        assert!(limited(&gateway, Limit::UploadBytes).await >= 1, "{way}");
    }
}

#[tokio::test]
async fn r2_i4_connections_of_a_sandbox_share_its_rate_and_another_rate_holds_at_once() {
    const BYTES: usize = 3_000_000;
    let sink = Origin::start(Behaviour::Sink).await;
    let slow = documents("", &[("a", "limits: {uploadBytes: 1000}"), ("b", "")]);
    let gateway = gateway(&slow, &sink, |_| {}).await;
    let target = format!("good.test:{}", sink.port());
    let mut sending = tokio::task::JoinSet::new();
    for at in 0..2 {
        let mut client = a(&gateway).await;
        assert_eq!(connect(&mut client, &target).await.0, 200);
        sink.wait_for_connections(at + 1).await;
        sending.spawn(async move {
            client.send(vec![b'\x01'; BYTES]).await;
            client
        });
    }
    // Another sandbox is done meanwhile.
    let mut free = b(&gateway).await;
    assert_eq!(connect(&mut free, &target).await.0, 200);
    let start = Instant::now();
    free.send(vec![b'\x01'; BYTES]).await;
    sink.wait_for_count(2, BYTES).await;
    let sent = sink.connection(0).count + sink.connection(1).count;
    // From a time before `start` they have had little of a second's worth more than this.
    assert!(sent < BYTES / 2, "{sent} bytes after {:?}", start.elapsed());

    gateway.set_policy(&documents("", &[("a", ""), ("b", "")])).await;
    for at in 0..2 {
        sink.wait_for_count(at, BYTES).await;
    }
    let clients = within("everything to be sent", sending.join_all()).await;
    assert_eq!(clients.len(), 2);
}

#[tokio::test]
async fn r2_i4_a_slowed_down_tunnel_still_hears_the_origin_and_ends_at_once() {
    let origin = Origin::echo().await;
    let gateway =
        gateway(&documents("", &[("a", "limits: {uploadBytes: 5}"), ("b", "")]), &origin, |_| {}).await;
    let mut client = a(&gateway).await;
    let target = format!("good.test:{}", origin.port());
    assert_eq!(connect(&mut client, &target).await.0, 200);
    client.send([b'\x01'; 100]).await;
    client.expect([b'\x01'; 5]).await;
    client.reset();
    let record = gateway.record("connection", "good.test").await;
    assert_eq!((&record["outcome"], &record["sandbox"]), (&"client_failed".into(), &"a".into()), "{record}");
    assert!(record["bytes_up"].as_u64().unwrap() < 100, "{record}");
}
