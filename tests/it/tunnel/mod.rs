//! What a tunnel owes to both of its ends, from the CONNECT to the last record (performance.md §7).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sluicegate::config::{Config, SandboxSettings, TokenSource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;

mod asked;
mod closes;
mod ends;
mod first;
mod flow;

/// Allows the names of these tests on every port.
const POLICY: &str = "mode: Limited\nports: [1-65535]\nhostRules: [good.test, also-good.test]\n";

/// A gateway whose names lead to where origins are.
async fn gateway_with(change: impl FnOnce(&mut Config)) -> Gateway {
    let gateway = Gateway::with(POLICY, change).await;
    for name in ["good.test", "also-good.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    gateway
}

/// The same with every default.
async fn gateway() -> Gateway {
    gateway_with(|_| {}).await
}

/// A socket that origins' connections are accepted on.
async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.8:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// The next connection to an origin.
async fn accepted(listener: &TcpListener) -> Client {
    Client::over(within("a connection to the origin", listener.accept()).await.unwrap().0)
}

/// Both ends of a tunnel: the client's and the origin's.
async fn ends(gateway: &Gateway) -> (Client, Client) {
    let (listener, port) = listener().await;
    let client = Client::tunnel(gateway.proxy(), &format!("good.test:{port}")).await;
    (client, accepted(&listener).await)
}

/// Both ends of a tunnel through which bytes have gone already.
async fn used_ends(gateway: &Gateway) -> (Client, Client) {
    let (mut client, mut origin) = ends(gateway).await;
    client.send("\x01up").await;
    origin.expect("\x01up").await;
    origin.send("down").await;
    client.expect("down").await;
    (client, origin)
}

/// The outcome of the first tunnel's record, and the bytes that it counts.
async fn ended(gateway: &Gateway) -> (String, u64, u64) {
    let record = gateway.record("connection", "good.test").await;
    let outcome = record["outcome"].as_str().unwrap().to_owned();
    (outcome, record["bytes_up"].as_u64().unwrap(), record["bytes_down"].as_u64().unwrap())
}

/// Bytes of which no part looks like another.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    // The first byte tells that this is neither TLS nor HTTP.
    std::iter::once([1; 8]).chain(std::iter::repeat_with(next)).flatten().take(length).collect()
}

/// How many bytes a side gets rid of before nobody takes any more.
async fn until_stalled(stream: &mut TcpStream) -> usize {
    let (piece, mut total) = (vec![2; 64 * 1024], 0);
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), stream.write(&piece)).await {
        total += written.unwrap();
        assert!(total < 64 << 20, "{total} bytes were taken though nobody reads them");
    }
    total
}
