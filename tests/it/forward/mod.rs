//! Plain HTTP through the explicit proxy: what is judged, what the origin gets, what the client gets back.

use std::time::Duration;

use serde_json::{Value, json};
use sluicegate::explain::{Question, answer};
use sluicegate::live::store::Store;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::within;

mod answers;
mod explained;
mod failed;
mod judged;
mod kept;
mod passed;

/// `good.test:port`.
fn good(origin: &Origin) -> String {
    format!("good.test:{}", origin.port())
}

/// A request line, its Host, these fields and this body.
fn request(method: &str, authority: &str, path: &str, fields: &str, body: &str) -> String {
    format!("{method} http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n{body}")
}

/// A plain GET.
fn get(authority: &str, path: &str) -> String {
    request("GET", authority, path, "", "")
}

/// The heads that an origin got on one connection: request line and sorted fields.
fn head_of(received: &str) -> (String, Vec<String>) {
    let head = received.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.lines().map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    let mut fields: Vec<String> = lines.collect();
    fields.sort();
    (first, fields)
}

/// The code of a refusal.
fn reason(response: &Response) -> Option<&str> {
    response.header("x-deny-reason")
}
