//! What is not exactly one HTTP/1.1 message is refused and never forwarded (threats F1, F2, F3, F8).

use std::time::Duration;

use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::Origin;

mod bodies;
mod heads;
mod limits;
mod strangers;

/// A gateway that allows `good.test` on the origin's port, and the authority `good.test:port`.
async fn start(origin: &Origin) -> (Gateway, String) {
    with_header_timeout(origin, Duration::from_secs(10)).await
}

/// The same with a deadline for request heads.
async fn with_header_timeout(origin: &Origin, limit: Duration) -> (Gateway, String) {
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway = Gateway::with(&policy, |config| config.limits.header_timeout = limit).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let authority = format!("good.test:{}", origin.port());
    (gateway, authority)
}

/// The records of requests and connections.
fn calls(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["kind"] == "request" || record["kind"] == "connection").collect()
}

/// Sends each message on a connection of its own: it is refused with 400 and one record, the connection is
/// closed where `closes` says so, and the origin hears nothing.
async fn each_is_refused(messages: &[Vec<u8>], closes: bool) {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, authority) = start(&origin).await;
    for (at, message) in messages.iter().enumerate() {
        let message = replace(message, b"{h}", authority.as_bytes());
        let text = message.escape_ascii().to_string();
        let mut client = gateway.client().await;
        client.send(&message).await;
        let refused = client.response(false).await;
        assert_eq!(refused.status, 400, "{text}\n{}", refused.head);
        assert_eq!(refused.header("x-deny-reason"), Some("bad_request"), "{text}");
        if closes {
            assert_eq!(refused.header("connection"), Some("close"), "{text}");
            let more = client.expect_closed().await;
            assert!(more.is_empty(), "{text}: {}", more.escape_ascii());
        }
        drop(client);
        let id = refused.header("x-request-id").expect("an id").to_owned();
        let of_it = |records: &[Value]| calls(records).iter().any(|record| record["id"] == *id);
        let records = gateway.wait_for(&format!("the record of {text}"), of_it).await;
        let calls = calls(&records);
        assert_eq!(calls.len(), at + 1, "one record each: {text}");
        let record = calls[at];
        assert_eq!(record["id"], *id, "{text}");
        assert_eq!(record["decision"], "deny", "{text}");
        assert_eq!(record["reason"], "bad_request", "{text}");
        assert_eq!(record["status"], 400, "{text}");
        assert_eq!(record["outcome"], "refused", "{text}");
        assert!(!record["error"].as_str().unwrap_or_default().is_empty(), "it says what is wrong: {text}");
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(gateway.dns.total_queries(), 0, "what cannot be read causes no query");
}

/// `text` with every `from` replaced.
fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// A POST with these header lines and a body that is ten bytes, chunked or not.
fn post(fields: &[u8]) -> Vec<u8> {
    [&b"POST http://{h}/ HTTP/1.1\r\nHost: {h}\r\n"[..], fields, b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"].concat()
}

/// A GET with these header lines.
fn get(fields: &[u8]) -> Vec<u8> {
    [&b"GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n"[..], fields, b"\r\n\r\n"].concat()
}
