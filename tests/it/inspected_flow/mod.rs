//! What flows inside TLS: long bodies, upgrades, events, and how each way of breaking off reaches the other side.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::Reason;
use http::Request;
use serde_json::Value;

use crate::inspected::{POLICY, get, inner, single};
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::http2::Http2;
use crate::kit::http2_origin::Stream;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::tls::Secure;

mod bodies;
mod broken;
mod ended;

/// Larger than all windows and buffers together.
const LARGE: usize = 32 << 20;
/// What a client sends to speak WebSocket.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
/// Nothing is allowed.
const NOTHING: &str = "mode: Limited\n";

/// An HTTP/2 origin, a gateway and a client of it.
async fn multiplexed(streams: impl IntoIterator<Item = Stream>) -> (Origin, Gateway, Http2) {
    let origin = Origin::http2("api.test", streams).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    (origin, gateway, client)
}
