//! Names, addresses and DNS, from the client's bytes to the socket that is dialled (threats.md §1.1 to §1.3).

use std::net::SocketAddr;

use serde_json::Value;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};

mod dns;
mod guarded;
mod spelling;

/// Allows this list of hosts on every port, and nothing else.
fn limited(hosts: &str) -> String {
    format!("mode: Limited\nports: [1-65535]\nhostRules: [{hosts}]\n")
}

/// Asks for a tunnel that must be refused.
async fn refused(gateway: &Gateway, authority: &str) -> Response {
    match Client::try_tunnel(gateway.proxy(), authority).await {
        Ok(_) => panic!("a tunnel to {authority:?} was opened"),
        Err(response) => response,
    }
}

/// Requests `http://authority/` as a proxy client does, on a connection of its own.
async fn get(gateway: &Gateway, authority: &str) -> Response {
    let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    gateway.client().await.ask(request).await
}

/// Status and reason of a refusal.
fn verdict(response: &Response) -> (u16, &str) {
    (response.status, response.header("x-deny-reason").unwrap_or("none"))
}

/// The status and reason that both CONNECT and absolute-form requests are refused with.
async fn refused_both_ways(gateway: &Gateway, authority: &str) -> (u16, String) {
    let (connect, absolute) = (refused(gateway, authority).await, get(gateway, authority).await);
    assert_eq!(verdict(&connect), verdict(&absolute), "{authority}: both ways in agree");
    let (status, reason) = verdict(&connect);
    (status, reason.to_owned())
}

/// The records of refused and finished calls.
fn calls(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["kind"] == "connection" || record["kind"] == "request").collect()
}
