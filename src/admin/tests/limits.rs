//! Clients that are too many, too slow or do not leave.

use super::*;

#[tokio::test]
async fn streams_and_connections_are_limited_and_their_slots_come_back() {
    let bench = bench(Limits { connections: 2, patience: Duration::from_hours(1) }, 16).await;
    let follower = bench.follow("", "").await;
    assert_eq!(bench.get("/v1/audit/stream", TOKEN).await.code(), "too_many_streams");
    let idle = bench.idle().await;
    let mut refused = TcpStream::connect(bench.address).await.unwrap();
    // Closed: by an end or, where something is unread, by a reset.
    assert_eq!(refused.read_to_end(&mut vec![]).await.unwrap_or(0), 0);
    drop((follower, idle));
    bench.idle().await;
    // The socket has slots of its own.
    assert_eq!(bench.get_unix("/livez").await.status, 200);
}

#[tokio::test]
async fn s3_a_client_that_sends_nothing_half_a_head_or_half_a_body_is_closed() {
    let bench = bench(Limits { patience: Duration::from_millis(50), ..Limits::default() }, 16).await;
    for sent in ["", "GET /livez HTTP/1.1\r\nHo", "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
        let mut stream = TcpStream::connect(bench.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.starts_with("HTTP/1.1 200"), sent.ends_with("\r\n\r\n"), "{text}");
    }
    let half = format!("POST /v1/explain HTTP/1.1\r\nHost: localhost\r\n{TOKEN}Content-Length: 9\r\n\r\n{{");
    assert_eq!(bench.raw(&half).await.code(), "timeout");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_given_up() {
    let (near, _far) = tokio::io::duplex(16);
    let mut patient = serve::Patient::new(near, Duration::from_millis(50));
    let error = patient.write_all(&[0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn stopping_ends_streams_and_idle_connections_and_takes_the_socket_away() {
    let bench = Bench::new().await;
    let mut follower = bench.follow("", "").await;
    let mut idle = bench.idle().await;
    for stop in bench.stop {
        stop.send(()).unwrap();
    }
    for served in bench.served {
        served.await.unwrap();
    }
    let mut rest = vec![];
    follower.0.read_to_end(&mut rest).await.unwrap();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(bench.address).await.is_err() && !bench.socket.exists());
}
