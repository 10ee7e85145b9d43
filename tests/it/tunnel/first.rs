//! Who speaks first, and what comes with the CONNECT.

use super::*;

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_before_the_client_says_anything() {
    let origin = Origin::start(Behaviour::Banner(b"SSH-2.0-test\r\n".to_vec())).await;
    let gateway = gateway().await;
    let mut client = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
    client.expect("SSH-2.0-test\r\n").await;
    client.send("SSH-2.0-client\r\n").await;
    client.expect("SSH-2.0-client\r\n").await;
    client.finish().await;
    client.expect_end().await;
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), 16, 30));
}

#[tokio::test]
async fn http_after_the_origin_has_spoken_or_closed_does_not_leak_unjudged() {
    let gateway = gateway().await;
    for close in [true, false] {
        let (mut client, mut origin) = ends(&gateway).await;
        origin.send("hello").await;
        if close {
            origin.finish().await;
        }
        client.expect("hello").await;
        client.send("GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n").await;
        assert_eq!(origin.expect_closed().await, b"");
        assert_eq!(client.expect_closed().await, b"");
    }
    // Closed without a word.
    let (mut client, mut origin) = ends(&gateway).await;
    origin.finish().await;
    client.expect_end().await;
    client.send("GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n").await;
    assert_eq!(origin.expect_closed().await, b"");
}

#[tokio::test]
async fn a_client_that_does_not_read_can_still_be_heard_while_the_server_talks() {
    let gateway = gateway().await;
    let (mut client, origin) = ends(&gateway).await;
    let mut origin = origin.into_stream();
    // The server has talked until nobody took any more, and the client has read nothing of it.
    let talk = until_stalled(&mut origin).await;
    client.send("\x01stop").await;
    let mut heard = [0; 5];
    within("the server to hear the client", origin.read_exact(&mut heard)).await.unwrap();
    assert_eq!(&heard, b"\x01stop");
    origin.shutdown().await.unwrap();
    assert!(client.rest().await == vec![2; talk], "and nothing of what it said is lost");
    client.finish().await;
    assert_eq!(ended(&gateway).await, ("ok".to_owned(), 5, talk as u64));
}

#[tokio::test]
async fn a_client_that_goes_away_while_the_server_talks_first_is_the_one_at_fault() {
    let gateway = gateway().await;
    let (mut client, origin) = ends(&gateway).await;
    let mut origin = origin.into_stream();
    let flood = tokio::spawn(async move { while origin.write_all(&[b'x'; 16 * 1024]).await.is_ok() {} });
    client.expect("x").await;
    client.reset();
    within("the server to notice the end", flood).await.unwrap();
    assert_eq!(ended(&gateway).await.0, "client_failed");
}

#[tokio::test]
async fn bytes_that_come_together_with_the_connect_are_forwarded() {
    let (listener, port) = listener().await;
    let gateway = gateway().await;
    let connect = format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test:{port}\r\n\r\n");
    let early = noise(100_000, 5);
    let mut client = gateway.client().await;
    let send = async { client.send([connect.as_bytes(), &early].concat()).await };
    let (mut origin, ()) = tokio::join!(accepted(&listener), send);
    assert!(origin.take(early.len()).await == early);
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    origin.send("answer").await;
    client.expect("answer").await;

    // HTTP is judged even so.
    let http = "GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n";
    let mut client = gateway.client().await;
    client.send(format!("{connect}{http}")).await;
    let mut origin = accepted(&listener).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(client.response(false).await.status, 400);
    drop(client);
    assert_eq!(origin.expect_closed().await, b"");
}

#[tokio::test]
async fn the_answer_to_a_connect_is_a_bare_200() {
    let gateway = gateway().await;
    let (listener, port) = listener().await;
    let mut client = gateway.client().await;
    client.send(format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test\r\n\r\n")).await;
    let head = client.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    drop(listener);
}
