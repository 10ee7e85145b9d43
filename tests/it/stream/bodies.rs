//! Bodies: as they come, whole, no faster than they are read.

use std::time::Duration;

use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn chunks_go_both_ways_as_they_come() {
    let origin = Origin::http([Reply::chunked(["one", "two", "three"]).step_by_step()]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    client.send(request("POST", &origin, "/", "Transfer-Encoding: chunked\r\n")).await;
    client.send("5\r\nfirst\r\n").await;
    origin.wait_for_bytes(0, b"5\r\nfirst\r\n").await;
    client.send("6\r\nsecond\r\n").await;
    origin.wait_for_bytes(0, b"6\r\nsecond\r\n").await;
    client.send("0\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for chunk in ["3\r\none\r\n", "3\r\ntwo\r\n", "5\r\nthree\r\n", "0\r\n\r\n"] {
        origin.step();
        client.expect(chunk).await;
    }
    let call = &gateway.calls(1).await[0];
    assert_eq!(
        (&call["bytes_up"], &call["bytes_down"], &call["outcome"]),
        (&json!(11), &json!(11), &json!("ok"))
    );
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let reply = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n";
    let origin = Origin::http([Reply::raw(reply)]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    let fields = "TE: trailers\r\nConnection: TE\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n";
    let body = "3\r\nabc\r\n0\r\nX-Check: 9\r\n\r\n";
    let answered = client.ask(format!("{}{body}", request("POST", &origin, "/", fields))).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "hi"));
    let raw = String::from_utf8_lossy(&answered.raw_body).to_ascii_lowercase();
    assert!(raw.ends_with("0\r\nx-sum: 7\r\n\r\n"), "{raw}");
    let received = origin.received(0).to_ascii_lowercase();
    assert!(received.ends_with("3\r\nabc\r\n0\r\nx-check: 9\r\n\r\n"), "{received}");
    // A client that does not want trailers gets the body alone, on a connection that goes on.
    let plain = client.ask(request("GET", &origin, "/", "")).await;
    assert_eq!((plain.body.as_str(), plain.raw_body.ends_with(b"0\r\n\r\n")), ("hi", true));
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let origin = Origin::http([Reply::events(["one", "two", "three"])]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = gateway.client().await;
    client.send(request("GET", &origin, "/events", "Accept: text/event-stream\r\n")).await;
    let head = client.head().await;
    assert!(head.contains("text/event-stream"), "the head comes before any event: {head}");
    for event in ["one", "two", "three"] {
        origin.step();
        let event = format!("data: {event}\n\n");
        client.expect(format!("{:X}\r\n{event}\r\n", event.len())).await;
    }
    origin.step();
    client.expect("0\r\n\r\n").await;
    assert_eq!(gateway.calls(1).await[0]["outcome"], "ok");
}

#[tokio::test]
async fn large_bodies_arrive_whole_both_ways() {
    const TOTAL: usize = 32 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.8:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let gateway = Gateway::start(&format!("mode: Limited\nhostRules: ['127.0.0.8:{port}']\n")).await;
    // The origin answers with the very body that it gets, while it gets it.
    let mirror = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        read_head(&mut stream).await;
        stream
            .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n").as_bytes())
            .await
            .expect("sent");
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut (&mut read).take(TOTAL as u64), &mut write).await.expect("mirrored");
        stream
    };
    let client = async {
        let mut stream = tokio::net::TcpStream::connect(gateway.proxy()).await.expect("a connection");
        let (mut read, mut write) = stream.split();
        let sending = async {
            let authority = format!("127.0.0.8:{port}");
            let head = format!(
                "POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {TOTAL}\r\n\r\n"
            );
            write.write_all(head.as_bytes()).await.expect("sent");
            let (mut hasher, mut seed) = (DefaultHasher::new(), 1_u64);
            for _ in 0..TOTAL / (64 << 10) {
                let block: Vec<u8> = (0..8 << 10)
                    .flat_map(|_| {
                        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        seed.to_le_bytes()
                    })
                    .collect();
                hasher.write(&block);
                write.write_all(&block).await.expect("sent");
            }
            hasher.finish()
        };
        let reading = async {
            let head = read_head(&mut read).await;
            assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", head.escape_ascii());
            let (mut hasher, mut left, mut block) = (DefaultHasher::new(), TOTAL, vec![0; 64 << 10]);
            while left > 0 {
                // Hashed in the blocks that were sent, as the hash depends on them.
                read.read_exact(&mut block).await.expect("the body");
                hasher.write(&block);
                left -= block.len();
            }
            hasher.finish()
        };
        tokio::join!(sending, reading)
    };
    let (_open, (sent, received)) =
        within("the body both ways", async { tokio::join!(mirror, client) }).await;
    assert_eq!(sent, received);
    let call = &gateway.calls(1).await[0];
    assert_eq!(
        (&call["bytes_up"], &call["bytes_down"], &call["outcome"]),
        (&json!(TOTAL), &json!(TOTAL), &json!("ok"))
    );
}

/// Writes a block again and again, up to `most` bytes in all, until nothing is taken for a while: how many were taken.
async fn until_full(stream: &mut TcpStream, block: &[u8], most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        match tokio::time::timeout(Duration::from_millis(500), stream.write(block)).await {
            Ok(written) => sent += written.expect("an open connection"),
            Err(_) => break,
        }
    }
    sent
}

#[tokio::test]
async fn r4_a_slow_reader_holds_the_other_side_back() {
    const TOTAL: usize = 64 << 20;
    // Neither side reads: what is written is what the sockets and a bounded buffer hold.
    let slow = Origin::start(Behaviour::SlowReader).await;
    let gateway = Gateway::allowing([("good.test", &slow)]).await;
    let mut client = tokio::net::TcpStream::connect(gateway.proxy()).await.expect("a connection");
    let head = request("POST", &slow, "/", &format!("Content-Length: {TOTAL}\r\n"));
    client.write_all(head.as_bytes()).await.expect("sent");
    let block = vec![b'x'; 64 << 10];
    let mut sent = until_full(&mut client, &block, TOTAL).await;
    assert!(sent < TOTAL / 2, "{sent} bytes were taken for an origin that reads none");
    slow.step();
    while sent < TOTAL {
        let left = block.len().min(TOTAL - sent);
        sent +=
            within("the rest to be taken", client.write(&block[..left])).await.expect("an open connection");
    }
    slow.wait_for_count(0, TOTAL).await;
}

#[tokio::test]
async fn r4_an_answer_that_is_not_read_is_not_fetched() {
    const TOTAL: usize = 64 << 20;
    let listener = tokio::net::TcpListener::bind("127.0.0.8:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let gateway = Gateway::start(&format!("mode: Limited\nhostRules: ['127.0.0.8:{port}']\n")).await;
    let mut client = gateway.client().await;
    let authority = format!("127.0.0.8:{port}");
    client.send(format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
    let (mut origin, _) = within("a connection", listener.accept()).await.expect("a connection");
    // An answer to a request that was not sent yet would be none.
    within("the request", read_head(&mut origin)).await;
    origin
        .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    let block = vec![b'x'; 64 << 10];
    let sent = until_full(&mut origin, &block, TOTAL).await;
    assert!(sent < TOTAL / 2, "{sent} bytes were fetched for a client that reads none");
    drop(client);
    let call = &gateway.calls(1).await[0];
    assert_eq!(call["outcome"], "client_closed");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_request_at_the_origin_and_in_the_record() {
    let before = Origin::start(Behaviour::Sink).await;
    let during = Origin::http([Reply::chunked(["one", "two"]).step_by_step()]).await;
    let upload = Origin::start(Behaviour::Sink).await;
    let gateway =
        Gateway::allowing([("before.test", &before), ("during.test", &during), ("upload.test", &upload)])
            .await;
    let ask = |method: &str, name: &str, origin: &Origin, fields: &str| {
        request(method, origin, "/", fields).replace("good.test", name)
    };
    // Before the answer has begun.
    let mut client = gateway.client().await;
    client.send(ask("GET", "before.test", &before, "")).await;
    before.wait_for_count(0, 10).await;
    client.reset();
    assert_ne!(before.wait_for_end(0).await, End::Open);
    assert_eq!(gateway.calls(1).await[0]["outcome"], "client_closed");
    // In the middle of the answer.
    let mut client = gateway.client().await;
    client.send(ask("GET", "during.test", &during, "")).await;
    client.head().await;
    during.step();
    client.expect("3\r\none\r\n").await;
    client.reset();
    // Also while the origin says nothing more.
    let call = &gateway.calls(2).await[1];
    assert_eq!(
        (&call["outcome"], &call["bytes_down"], &call["status"]),
        (&json!("client_closed"), &json!(3), &json!(200))
    );
    // It sees the end only when it goes on.
    (0..4).for_each(|_| during.step());
    assert_ne!(during.wait_for_end(0).await, End::Open);
    // In the middle of its own body.
    let mut client = gateway.client().await;
    client.send(ask("POST", "upload.test", &upload, "Content-Length: 100\r\n")).await;
    client.send("some").await;
    upload.wait_for_count(0, 20).await;
    drop(client);
    assert_ne!(upload.wait_for_end(0).await, End::Open);
    let call = &gateway.calls(3).await[2];
    assert_eq!((&call["outcome"], &call["decision"]), (&json!("client_closed"), &json!("allow")), "{call}");
}
