//! The policy changes under a running gateway (`policy.md` §10, threats P2, P3, P4).

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use serde_json::Value;
use sluicegate::config::SandboxSettings;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::{Gateway, is_load};
use crate::kit::http::find;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::within;

mod files;
mod generation;
mod under_way;

/// A gateway under a policy, and an origin known as `good.test`.
async fn start(policy: impl Fn(u16) -> String) -> (Gateway, Origin) {
    start_with(policy, Behaviour::Echo).await
}

async fn start_with(policy: impl Fn(u16) -> String, behaviour: Behaviour) -> (Gateway, Origin) {
    let origin = Origin::start(behaviour).await;
    let gateway = Gateway::start(&policy(origin.port())).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    (gateway, origin)
}

/// Allows `good.test`.
fn good(port: u16) -> String {
    format!("mode: Limited\nhostRules: ['good.test:{port}']\n")
}

/// Allows nothing that a test asks for.
const NOTHING: &str = "mode: Limited\nhostRules: [nothing.test]\n";

/// A document for one sandbox.
fn own(sandbox: &str, spec: &str) -> String {
    format!(
        "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {{name: {sandbox}, sandbox: {sandbox}}}\nspec: {spec}\n"
    )
}

/// An open tunnel that was used once.
async fn tunnel(gateway: &Gateway, origin: &Origin) -> Client {
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
    tunnel.send("\x01ping").await;
    tunnel.expect("\x01ping").await;
    tunnel
}

/// The status and reason of a CONNECT to the origin; 200 where it is allowed.
async fn asked(gateway: &Gateway, origin: &Origin) -> (u16, String) {
    asked_from(gateway, origin, "127.0.0.1").await
}

async fn asked_from(gateway: &Gateway, origin: &Origin, source: &str) -> (u16, String) {
    let mut client = Client::connect_from(source, gateway.proxy()).await;
    client
        .send(format!("CONNECT good.test:{0} HTTP/1.1\r\nHost: good.test:{0}\r\n\r\n", origin.port()))
        .await;
    let head = client.head().await;
    let response = Response { status: 0, head, body: String::new(), raw_body: Vec::new() };
    let status = response.head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, response.header("x-deny-reason").unwrap_or_default().to_owned())
}

/// Puts a file into the policies at once, and waits until it was loaded.
async fn put(gateway: &Gateway, name: &str, text: &str) -> Value {
    let file = gateway.policies().join(name);
    let draft = file.with_extension("draft");
    std::fs::write(&draft, text).unwrap();
    change(gateway, || std::fs::rename(&draft, &file).unwrap()).await
}

/// Makes a change and answers the record of the load that follows it.
async fn change(gateway: &Gateway, change: impl FnOnce()) -> Value {
    let before = gateway.loads().await;
    change();
    let of = |records: &[Value]| -> Vec<Value> {
        records.iter().filter(|record| is_load(record)).cloned().collect()
    };
    let records = gateway.wait_for("the policy to be loaded", |records| of(records).len() > before).await;
    of(&records).last().cloned().expect("a load")
}
