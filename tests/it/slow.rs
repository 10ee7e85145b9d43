//! What a reader that reads nothing makes the gateway hold of plain HTTP (threat R4).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::gateway::Gateway;
use crate::kit::within;

/// More than any socket holds.
const TOTAL: usize = 64 << 20;
/// The most of one direction that may be neither in a socket of the gateway nor on either side of it.
const MOST: usize = 64 << 10;

/// A gateway, a client connected to it, where an origin listens, and its authority.
async fn start() -> (Gateway, TcpStream, TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.8:0").await.expect("a free port");
    let authority = format!("127.0.0.8:{}", listener.local_addr().expect("bound").port());
    let gateway = Gateway::start(&format!("mode: Limited\nhostRules: ['{authority}']\n")).await;
    let client = TcpStream::connect(gateway.proxy()).await.expect("a connection");
    (gateway, client, listener, authority)
}

/// Accepts a connection and reads the head on it.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut origin, _) = within("a connection", listener.accept()).await.expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("a head", origin.read_u8()).await.expect("a head"));
    }
    origin
}

/// Writes until nothing more is taken, and answers how much was.
async fn push(stream: &mut TcpStream) -> usize {
    let block = vec![b'x'; 64 << 10];
    let mut sent = 0;
    while sent < TOTAL {
        match tokio::time::timeout(Duration::from_millis(500), stream.write(&block)).await {
            Ok(written) => sent += written.expect("an open connection"),
            Err(_) => break,
        }
    }
    sent
}

/// What lies in the kernel at one end of a connection: bytes that the other end has not acknowledged, and bytes that
/// nobody has read.
fn queued((local, remote): (SocketAddr, SocketAddr)) -> usize {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => {
            format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port())
        }
        SocketAddr::V6(_) => panic!("IPv4 only"),
    };
    let ends = format!(" {} {} ", hex(local), hex(remote));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
    let line = table.lines().find(|line| line.contains(&ends)).expect("an open connection");
    let queues = line.split_once(&ends).expect("just seen").1.split(' ').nth(1).expect("its queues");
    let (unsent, unread) = queues.split_once(':').expect("two queues");
    [unsent, unread].iter().map(|hex| usize::from_str_radix(hex, 16).expect("a number")).sum()
}

/// What lies in the kernel at both ends of a connection.
fn on_the_way(stream: &TcpStream) -> usize {
    let (local, remote) = (stream.local_addr().expect("open"), stream.peer_addr().expect("open"));
    queued((local, remote)) + queued((remote, local))
}

#[tokio::test]
async fn r4_of_an_answer_that_is_not_read_64_kib_are_held() {
    let (_gateway, mut client, listener, authority) = start().await;
    let head = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("sent");
    let mut origin = accept(&listener).await;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {TOTAL}\r\n\r\n");
    origin.write_all(head.as_bytes()).await.expect("sent");
    let sent = head.len() + push(&mut origin).await;
    assert!(sent < TOTAL, "all of it was fetched");
    let kept = sent.saturating_sub(on_the_way(&origin) + on_the_way(&client));
    assert!(kept <= MOST, "{kept} bytes are held for a client that reads none");
    assert!(on_the_way(&client) > MOST, "of {sent} bytes none are on the way");
}

#[tokio::test]
async fn r4_of_an_upload_that_is_not_read_64_kib_are_held() {
    for chunked in [false, true] {
        let (_gateway, mut client, listener, authority) = start().await;
        let framing = if chunked {
            format!("Transfer-Encoding: chunked\r\n\r\n{TOTAL:x}\r\n")
        } else {
            format!("Content-Length: {TOTAL}\r\n\r\n")
        };
        let asked = format!("POST http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{framing}");
        client.write_all(asked.as_bytes()).await.expect("sent");
        let origin = accept(&listener).await;
        let sent = push(&mut client).await;
        assert!(sent < TOTAL, "all of it was taken");
        // The gateway has framed what it sent anew, in chunks of its own.
        let kept = sent.saturating_sub(on_the_way(&origin) + on_the_way(&client));
        assert!(kept <= MOST, "{kept} bytes are held for an origin that reads none; chunked: {chunked}");
    }
}

#[tokio::test]
async fn an_answer_with_a_head_of_nearly_64_kib_passes_and_a_longer_one_is_a_502() {
    for (length, status) in [(60 << 10, "200"), (90 << 10, "502")] {
        let (_gateway, mut client, listener, authority) = start().await;
        let head =
            format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("sent");
        let mut origin = accept(&listener).await;
        let field = format!("x-part: {}\r\n", "x".repeat(1014));
        let head = format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", field.repeat(length >> 10));
        let _may_be_closed_already = origin.write_all(head.as_bytes()).await;
        let mut answer = String::new();
        within("an answer", client.read_to_string(&mut answer)).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answer:.100}");
    }
}
