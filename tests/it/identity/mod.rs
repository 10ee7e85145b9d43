//! Who is who changes under a running gateway: `sandboxes` of the configuration file, read again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};

mod documents;
mod ended;
mod generation;
mod told;

/// One sandbox by its address.
const ONE: &str = "sandboxes:\n  - {id: one, sources: [127.0.0.1]}\n";
/// Two of them.
const BOTH: &str = "sandboxes:\n  - {id: one, sources: [127.0.0.1]}\n  - {id: two, sources: [127.0.0.2]}\n";

/// A document of `kind` for one scope that allows `good.test` on a port.
fn document(metadata: &str, port: u16) -> String {
    format!(
        "kind: EgressPolicy\nmetadata: {{name: d, {metadata}}}\nspec: {{mode: Limited, hostRules: ['good.test:{port}']}}\n"
    )
}

/// Allows `good.test`.
fn good(port: u16) -> String {
    format!("mode: Limited\nhostRules: ['good.test:{port}']\n")
}

/// A gateway that was configured with `more`, and an echoing origin known as `good.test` that everybody may reach.
async fn start(more: &str) -> (Gateway, Origin) {
    start_with(more, Behaviour::Echo).await
}

async fn start_with(more: &str, behaviour: Behaviour) -> (Gateway, Origin) {
    let origin = Origin::start(behaviour).await;
    let gateway = Gateway::configured(&good(origin.port()), more).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    (gateway, origin)
}

/// What a client from an address is told to a CONNECT with these header lines, and its connection.
async fn connected(gateway: &Gateway, origin: &Origin, source: &str, fields: &str) -> (Client, Response) {
    let mut client = Client::connect_from(source, gateway.proxy()).await;
    let authority = format!("good.test:{}", origin.port());
    client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")).await;
    let head = client.head().await;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (client, Response { status, head, body: String::new(), raw_body: Vec::new() })
}

/// An open tunnel of a client at an address that was used once.
async fn tunnel(gateway: &Gateway, origin: &Origin, source: &str, fields: &str) -> Client {
    let (mut tunnel, answer) = connected(gateway, origin, source, fields).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    goes_on(&mut tunnel).await;
    tunnel
}

/// The status and reason of a CONNECT.
async fn asked(gateway: &Gateway, origin: &Origin, source: &str) -> (u16, String) {
    let (_, answer) = connected(gateway, origin, source, "").await;
    (answer.status, answer.header("x-deny-reason").unwrap_or_default().to_owned())
}

/// Shows that a tunnel is still open.
async fn goes_on(tunnel: &mut Client) {
    tunnel.send("\x01ping").await;
    tunnel.expect("\x01ping").await;
}

/// The record of the end of the tunnel of this client.
async fn end_of(gateway: &Gateway, client: &Client) -> Value {
    let from = client.local().to_string();
    let is_it = |record: &Value| record["kind"] == "connection" && record["client"] == from.as_str();
    let records = gateway.wait_for("the end of the tunnel", |records| records.iter().any(is_it)).await;
    records.into_iter().find(is_it).expect("it was just seen")
}

/// Shows that a tunnel was ended because nobody knows its client any more, within a second.
async fn is_ended(gateway: &Gateway, mut tunnel: Client, sandbox: &str) {
    let begun = Instant::now();
    tunnel.expect_reset().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let end = end_of(gateway, &tunnel).await;
    assert_eq!(
        (&end["reason"], &end["outcome"]),
        (&"identity_unknown".into(), &"policy_change".into()),
        "{end:#}"
    );
    assert_eq!((&end["sandbox"], &end["decision"]), (&sandbox.into(), &"deny".into()));
    let told = end["error"].as_str().unwrap_or_default();
    assert!(told.contains(&format!("no longer sandbox `{sandbox}`")), "{end:#}");
    assert_eq!(end["generation"], gateway.running().last_load().generation);
}

/// The header line that shows a token.
fn shows(id: &str, token: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{token}"));
    format!("Proxy-Authorization: Basic {pair}\r\n")
}
