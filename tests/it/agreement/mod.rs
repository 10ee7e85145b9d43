//! One call has one name: CONNECT, its `Host`, the SNI and the `Host` inside agree, on every way in (threats.md §1.4, §1.5).

use serde_json::Value;
use sluicegate::app::StartError;
use sluicegate::config::Ech;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, End, Origin};

mod hello;
mod inside;
mod literal;
mod ways;

/// What a TLS client that may not go on is told: fatal, `access_denied`.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// A TLS extension of a hello.
type Extension = (u16, Vec<u8>);

/// Data with its length in two bytes before it.
fn vector(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

/// The extension that names these servers.
fn sni(names: &[&str]) -> Extension {
    let list: Vec<u8> = names.iter().flat_map(|name| [vec![0], vector(name.as_bytes())].concat()).collect();
    (0, vector(&list))
}

/// A hello with these extensions, in records of at most `record` bytes.
fn hello_in_records(extensions: &[Extension], record: usize) -> Vec<u8> {
    let list: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, data)| [kind.to_be_bytes().to_vec(), vector(data)].concat())
        .collect();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &vector(&list)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    message.chunks(record).flat_map(|payload| [&[0x16, 3, 1][..], &vector(payload)].concat()).collect()
}

/// A hello for these servers, in one record.
fn hello(names: &[&str]) -> Vec<u8> {
    let extensions: Vec<Extension> = if names.is_empty() { Vec::new() } else { vec![sni(names)] };
    hello_in_records(&extensions, 1 << 14)
}

/// A gateway whose names all lead to the origin.
async fn gateway(policy: &str) -> Gateway {
    let gateway = Gateway::start(policy).await;
    names_lead_to_origins(&gateway);
    gateway
}

/// Makes the names of these tests lead to where origins are.
fn names_lead_to_origins(gateway: &Gateway) {
    for name in ["good.test", "also-good.test", "denied.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
}

/// Allows two names on every port.
const TWO_NAMES: &str = "mode: Limited\nports: [1-65535]\nhostRules: [good.test, also-good.test]\n";

/// Sends first bytes into a tunnel that must be closed for this reason, and checks that none of them came out.
async fn closed_for(gateway: &Gateway, origin: &Origin, target: &str, first: &[u8], reason: &str) -> Value {
    let at = origin.connections();
    let target = format!("{target}:{}", origin.port());
    let mut tunnel = Client::tunnel(gateway.proxy(), &target).await;
    let from = tunnel.local().to_string();
    let _may_be_closed_already = tunnel.try_send(first).await;
    let told = tunnel.expect_closed().await;
    let shown = String::from_utf8_lossy(first).chars().take(40).collect::<String>();
    if reason == "bad_request" {
        assert!(told.is_empty(), "{shown:?}: {told:?}");
    } else {
        assert_eq!(told, ALERT, "{shown:?}");
    }
    origin.wait_for_connections(at + 1).await;
    assert_eq!(origin.wait_for_end(at).await, End::Reset, "{shown:?}");
    assert_eq!(origin.received(at), "", "the origin sees none of it");
    let is_it = |record: &Value| record["kind"] == "connection" && record["client"] == from.as_str();
    let records = gateway.wait_for("the record of the tunnel", |records| records.iter().any(is_it)).await;
    let record = records.into_iter().find(is_it).unwrap();
    assert_eq!(
        (&record["decision"], &record["reason"]),
        (&"deny".into(), &reason.into()),
        "{shown:?} {record}"
    );
    assert_eq!((&record["bytes_up"], &record["outcome"]), (&0.into(), &"refused".into()), "{record}");
    record
}

/// Sends first bytes into a tunnel to an echo and fails unless they come back; answers the tunnel.
async fn passes(gateway: &Gateway, target: &str, first: &[u8]) -> Client {
    let mut tunnel = Client::tunnel(gateway.proxy(), target).await;
    tunnel.send(first).await;
    tunnel.expect(first).await;
    tunnel
}

/// Status and reason of an answer.
fn verdict(response: &Response) -> (u16, &str) {
    (response.status, response.header("x-deny-reason").unwrap_or("none"))
}

/// The records of requests.
fn requests(all: &[Value]) -> Vec<Value> {
    all.iter().filter(|record| record["kind"] == "request").cloned().collect()
}
