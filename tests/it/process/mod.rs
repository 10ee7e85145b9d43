//! The real binary: its command line, its signals, and what a host can do to it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::dns::{Answer, Dns};
use crate::kit::origin::{End, Origin};
use crate::kit::process::{BINARY, Place, Process, command, parsed, ran};
use crate::kit::tool;
use crate::kit::within;

mod said;
mod signals;
mod start;
mod starved;

/// A configuration whose name server and origins are the test's; `more` is added to it.
fn configuration(place: &Place, dns: &Dns, more: &str) -> String {
    place.write(
        "config.yaml",
        format!(
            "policy: {{path: policy.yaml}}\ndns: {{servers: ['{}']}}\nguards: {{exempt: [127.0.0.8/29]}}\n{more}",
            dns.address()
        ),
    );
    place.text("config.yaml")
}

/// A policy that allows `good.test` on this port.
fn allowing(port: u16) -> String {
    format!("mode: Limited\nhostRules: ['good.test:{port}']\n")
}

/// An origin that echoes, known as `good.test`.
async fn echo() -> (Origin, Dns) {
    let (origin, dns) = (Origin::echo().await, Dns::start().await);
    dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    (origin, dns)
}

/// A tunnel to the origin that was used once.
async fn tunnel(proxy: SocketAddr, origin: &Origin) -> Client {
    let mut tunnel = Client::tunnel(proxy, &format!("good.test:{}", origin.port())).await;
    tunnel.send("\x01ping").await;
    tunnel.expect("\x01ping").await;
    tunnel
}

/// Asks for a tunnel; its end on the way is given as none.
async fn asked(proxy: SocketAddr, target: &str) -> Option<u16> {
    let mut client = tokio::net::TcpStream::connect(proxy).await.ok()?;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes()).await.ok()?;
    let mut head = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut client, &mut head).await.ok()?;
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

/// Tries until it is answered with this status.
async fn until_answered(proxy: SocketAddr, target: &str, status: u16) {
    let trying = async {
        while asked(proxy, target).await != Some(status) {
            tokio::task::yield_now().await;
        }
    };
    within("the gateway to answer again", trying).await;
}

/// Gets a path of the admin server.
async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    let response = Client::connect(admin).await.ask(request).await;
    (response.status, response.body)
}
