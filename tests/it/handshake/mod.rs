//! From the first hello of a tunnel to the server's answer: a hello that the server asks for again is judged like the first.

use std::time::Duration;

use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;

mod again;
mod flow;

/// What a TLS client that may not go on is told: fatal, `access_denied`.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// What TLS 1.3 clients send for the sake of old middleboxes.
const CHANGE_CIPHER: [u8; 6] = [20, 3, 3, 0, 1, 1];
/// A part of a server's answer that is no retry.
const SERVER_HELLO: [u8; 12] = [22, 3, 3, 0, 90, 2, 0, 0, 86, 3, 3, 0];

/// Data with its length in two bytes before it.
fn vector(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

/// A record of this type.
pub fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &vector(payload)].concat()
}

/// The message of a hello for these servers, with further extensions.
fn message(names: &[&str], more: &[(u16, &[u8])]) -> Vec<u8> {
    let names: Vec<u8> = names.iter().flat_map(|name| [vec![0], vector(name.as_bytes())].concat()).collect();
    let mut list = if names.is_empty() { Vec::new() } else { [vec![0, 0], vector(&vector(&names))].concat() };
    for (kind, data) in more {
        list.extend([&kind.to_be_bytes()[..], &vector(data)].concat());
    }
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &vector(&list)].concat();
    [&[1], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], &body].concat()
}

/// A hello for this server in one record.
pub fn hello(name: &str) -> Vec<u8> {
    record(22, &message(&[name], &[]))
}

/// A `HelloRetryRequest` in one record.
fn retry() -> Vec<u8> {
    const RANDOM: &str = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";
    let random = (0..32).map(|at| u8::from_str_radix(&RANDOM[2 * at..2 * at + 2], 16).unwrap());
    let extensions = [0, 0x2b, 0, 2, 3, 4, 0, 0x33, 0, 2, 0, 0x18];
    let body = [&[3, 3][..], &random.collect::<Vec<u8>>(), &[0, 0x13, 1, 0], &vector(&extensions)].concat();
    record(22, &[&[2, 0, 0, u8::try_from(body.len()).unwrap()], &body[..]].concat())
}

/// Allows two names on every port, and an address.
const POLICY: &str = "
mode: Limited
ports: [1-65535]
hostRules: [good.test, also-good.test]
cidrRules: [{cidr: 127.0.0.8/32, action: Allow}]
";

/// A gateway whose names lead to where origins are.
async fn gateway_with(idle: Duration) -> Gateway {
    let gateway = Gateway::with(POLICY, |config| config.limits.idle_timeout = idle).await;
    for name in ["good.test", "also-good.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    gateway
}

/// The same with a long idle limit.
async fn gateway() -> Gateway {
    gateway_with(Duration::from_mins(5)).await
}

/// Both ends of a tunnel to `host`, through which this first hello has gone already, and nothing else.
async fn greeted(gateway: &Gateway, host: &str, first: &[u8]) -> (Client, Client) {
    let (client, mut origin) = ends(gateway, host).await;
    let mut client = client;
    client.send(first).await;
    origin.expect(first).await;
    (client, origin)
}

/// Both ends of a tunnel.
async fn ends(gateway: &Gateway, host: &str) -> (Client, Client) {
    let listener = TcpListener::bind("127.0.0.8:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = Client::tunnel(gateway.proxy(), &format!("{host}:{port}")).await;
    let origin = within("a connection to the origin", listener.accept()).await.unwrap().0;
    (client, Client::over(origin))
}

/// Checks that data passes both ways.
async fn flows(client: &mut Client, origin: &mut Client) {
    for round in 0u8..3 {
        client.send([b'u', round]).await;
        origin.expect([b'u', round]).await;
        origin.send([b'd', round]).await;
        client.expect([b'd', round]).await;
    }
}

/// The record of the tunnel from this client.
async fn record_of(gateway: &Gateway, from: &str) -> Value {
    let is_it = |record: &Value| record["kind"] == "connection" && record["client"] == from;
    let records = gateway.wait_for("the record of the tunnel", |records| records.iter().any(is_it)).await;
    records.into_iter().find(is_it).unwrap()
}

/// Checks that a tunnel is ended for the other hello, that nothing more of it comes out, and answers the record; so many
/// bytes have gone up and down by now.
async fn refused(gateway: &Gateway, mut client: Client, mut origin: Client, up: usize, down: usize) -> Value {
    let from = client.local().to_string();
    let told = client.expect_closed().await;
    let more = told.strip_suffix(&ALERT).expect("the client is told");
    assert!(more.is_empty() || more == retry(), "and nothing else: {told:?}");
    assert_eq!(origin.expect_reset().await, b"", "the origin sees nothing of it");
    let record = record_of(gateway, &from).await;
    assert_eq!(
        (&record["decision"], &record["reason"], &record["outcome"]),
        (&"deny".into(), &"authority_mismatch".into(), &"refused".into()),
        "{record}"
    );
    assert_eq!(
        (&record["bytes_up"], &record["bytes_down"]),
        (&up.into(), &(down + more.len()).into()),
        "{record}"
    );
    record
}
