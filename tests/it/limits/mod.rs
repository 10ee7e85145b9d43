//! The limits of sandboxes, over real sockets (issue 4 point 6, threat R2).

use std::io::Write as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sluicegate::config::{Config, SandboxSettings, TokenSource};
use sluicegate::policy::Limit;
use tempfile::NamedTempFile;

use crate::handshake::{hello, record};
use crate::kit::client::{Client, Response};
use crate::kit::gateway::{Gateway, by_source};
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;

mod bandwidth;
mod connections;
mod rates;
mod skipped;

/// A sandbox that is known by its token, which is in a file.
fn by_token(id: &str, token: &NamedTempFile) -> SandboxSettings {
    let token = Some(TokenSource::File(token.path().to_str().unwrap().into()));
    SandboxSettings { token, sources: Vec::new(), ..by_source(id, "127.0.0.1") }
}

/// A file with a token.
fn token() -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"secret").unwrap();
    file
}

/// The header that shows it.
fn shown(id: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{id}:secret")))
}

/// A request for `good.test` with more header lines.
fn get(origin: &Origin, more: &str) -> String {
    let port = origin.port();
    format!("GET http://good.test:{port}/ HTTP/1.1\r\nHost: good.test:{port}\r\n{more}\r\n")
}

/// Documents: a Global one that allows every test name, and one for each of these sandboxes.
fn documents(global: &str, own: &[(&str, &str)]) -> String {
    let own = own.iter().map(|(id, spec)| {
        format!(
            "---\nkind: EgressPolicy\nmetadata: {{name: {id}-limits, sandbox: {id}}}\n\
             spec: {{mode: Unrestricted, {spec}}}\n"
        )
    });
    let global =
        format!("kind: EgressPolicy\nmetadata: {{name: floor}}\nspec: {{mode: Unrestricted, {global}}}\n");
    global + &own.collect::<String>()
}

/// A gateway where `good.test` is the origin, `a` comes from 127.0.0.2 and `b` from 127.0.0.3.
async fn gateway(policy: &str, origin: &Origin, change: impl FnOnce(&mut Config)) -> Gateway {
    let gateway = Gateway::with(policy, |config| {
        config.sandboxes = vec![by_source("a", "127.0.0.2"), by_source("b", "127.0.0.3")];
        change(config);
    })
    .await;
    gateway.name("good.test", origin);
    gateway
}

/// A connection with a head that goes no further.
async fn begun(gateway: &Gateway) -> Client {
    let mut client = gateway.client().await;
    client.send("CONNECT ").await;
    client
}

/// A connection of sandbox `a`.
async fn a(gateway: &Gateway) -> Client {
    Client::connect_from("127.0.0.2", gateway.proxy()).await
}

/// A connection of sandbox `b`.
async fn b(gateway: &Gateway) -> Client {
    Client::connect_from("127.0.0.3", gateway.proxy()).await
}

/// Asks for a tunnel; the status and reason of the answer.
async fn connect(client: &mut Client, target: &str) -> (u16, String) {
    client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
    let head = client.head().await;
    let answer = Response { status: 0, head, body: String::new(), raw_body: Vec::new() };
    let status = answer.head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
    if let Some(length) = answer.header("content-length") {
        client.take(length.parse().unwrap()).await;
    }
    (status, answer.header("x-deny-reason").unwrap_or_default().to_owned())
}

/// What a refused client reads.
fn error(answer: &Response) -> Value {
    serde_json::from_str::<Value>(&answer.body).unwrap()["error"].clone()
}

/// How often a limit was reached.
async fn limited(gateway: &Gateway, limit: Limit) -> u64 {
    let (_, text) = gateway.admin_get("/metrics").await;
    let name = format!("sluicegate_limited_total{{limit=\"{}\"}} ", limit.as_str());
    text.lines().find_map(|line| line.strip_prefix(&name)).expect("the metric").parse().unwrap()
}
