//! Bodies and upgraded connections through the explicit proxy: unbuffered, whole, and ended with their reason.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::client::{Client, Response};
use crate::kit::gateway::{Gateway, read_records};
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::{tool, within};

mod bodies;
mod change;
mod clients;
mod tunnelled;
mod upgrades;

/// What asks for a WebSocket.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/// A request for `good.test` with these fields.
fn request(method: &str, origin: &Origin, path: &str, fields: &str) -> String {
    let authority = format!("good.test:{}", origin.port());
    format!("{method} http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
}

/// An open WebSocket to an origin that echoes, and its gateway.
async fn websocket(origin: &Origin) -> (Gateway, Client) {
    // Rules by path need an authority, though nothing is decrypted here.
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway = Gateway::inspecting(&policy, [("good.test", origin)]).await;
    let mut client = gateway.client().await;
    client.send(request("GET", origin, "/ws", UPGRADE)).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    (gateway, client)
}

/// Reads a head, and nothing after it.
async fn read_head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    head
}

/// The one record of a kind.
fn only<'a>(records: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = records.iter().filter(|record| record["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{records:#?}");
    found[0]
}
