//! Inside TLS: what a client cannot get by it, whatever it writes (threats I2, P4, S4, S5, S7).

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::kit::client::Client;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::http2::Http2;
use crate::kit::http2_origin::Stream;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::tls::Secure;

/// The value of a secret.
const CANARY: &str = "canary-5f3a9c77e1";

/// A secret whose value is in a file, bound to `api.test`, and a policy.
fn with_secret(file: &NamedTempFile, more: &str, spec: &str) -> String {
    std::fs::write(file.path(), CANARY).expect("a file");
    let path = file.path().display();
    format!(
        "kind: Secret\nmetadata: {{name: s}}\nspec: {{keys: {{token: {{file: '{path}'}}}}, hosts: ['api.test'], {more}}}\n\
         ---\nkind: EgressPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    )
}

#[tokio::test]
async fn i2_a_request_without_a_host_is_judged_by_the_name_that_the_tls_was_opened_for() {
    let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("hello")])).await;
    let policy = "
mode: Unrestricted
rules:
- {match: {host: api.test, path: /closed}, action: Deny}
";
    let gateway = Gateway::inspecting(policy, [("api.test", &origin)]).await;
    for (path, status) in [("/open", 200), ("/closed", 403)] {
        let tunnel = Client::tunnel(gateway.proxy(), &origin.address().to_string()).await;
        let inside = tunnel.try_tls_with("api.test", gateway.authority(), &["http/1.1"]).await;
        let answer = inside.expect("TLS").ask(format!("GET {path} HTTP/1.0\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.head);
    }
    let all: String = (0..origin.connections()).map(|at| origin.received(at)).collect();
    let expected = format!("GET /open HTTP/1.1\r\nhost: api.test:{}\r\n\r\n", origin.port());
    assert_eq!(all, expected, "nothing else was sent");
}

#[tokio::test]
async fn s7_a_trailer_cannot_stand_for_the_header_of_a_secret_in_any_spelling() {
    let file = NamedTempFile::new().expect("a file");
    let spec = "
  mode: Limited
  ports: [1-65535]
  rules:
  - match: {host: api.test}
    action: {type: Transform, headers: [{operation: Set, name: x-api-key, valueRef: {secretRef: {secretId: s}}}, {operation: Set, name: x-org, value: ours}, {operation: Remove, name: x-gone}]}
";
    let origin = Origin::http2("api.test", [Stream::ok("hello")]).await;
    let gateway = Gateway::inspecting(&with_secret(&file, "", spec), [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    let mut stream =
        client.open(Http2::request("POST", &format!("https://api.test:{}/", origin.port()))).await;
    stream.send("body").await;
    let mut trailers = HeaderMap::new();
    for name in ["x-api-key", "x_api_key", "x.api-key", "x-org", "x_org", "x-gone", "x-sum"] {
        trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("theirs"));
    }
    stream.finish_with(trailers);
    assert_eq!(stream.answer().await.expect("an answer").status, 200);
    let asked = origin.wait_for_stream(0, "its end", |asked| asked.whole == Some(true)).await;
    assert_eq!(asked.header("x-api-key"), Some(CANARY));
    let names: Vec<&str> = asked.trailers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-sum"]);
}

#[tokio::test]
async fn s4_a_value_that_an_origin_was_made_to_keep_does_not_come_back_with_another_request() {
    let file = NamedTempFile::new().expect("a file");
    let spec = "
  mode: Limited
  ports: [1-65535]
  rules: [{match: {host: api.test}, action: Allow}]
";
    let kept = format!("kept: {CANARY}");
    let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok(&kept)])).await;
    let gateway =
        Gateway::inspecting(&with_secret(&file, "placeholder: true", spec), [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    let store = "GET /notes?add=sluicegate:s/token HTTP/1.1\r\nhost: api.test\r\n\r\n";
    let masked = format!("kept: {}", "*".repeat(CANARY.len()));
    assert_eq!(client.ask(store).await.body, masked);
    assert!(origin.received(0).contains(CANARY), "it was swapped: {}", origin.received(0));
    let read = "GET /notes HTTP/1.1\r\nhost: api.test\r\nrange: bytes=0-9\r\n\r\n";
    assert_eq!(client.ask(read).await.body, masked);
    let clear = Origin::http([Reply::ok(&kept)]).await;
    let read = format!("GET http://api.test:{0}/notes HTTP/1.1\r\nhost: api.test:{0}\r\n\r\n", clear.port());
    assert_eq!(gateway.client().await.ask(read).await.body, masked, "in the clear too");
}

/// Whether a request ended like this, by its record.
fn ended(records: &[Value], outcome: &str) -> bool {
    records.iter().any(|record| record["kind"] == "request" && record["outcome"] == outcome)
}

#[tokio::test]
async fn p4_a_request_that_was_sent_elsewhere_ends_when_it_may_not_go_there_any_more() {
    let slow = Reply::chunked(["a", "b"]).step_by_step();
    let origin = Origin::tls("other.test", Behaviour::Http(vec![slow])).await;
    let port = origin.port();
    let policy = |action: &str| {
        format!("mode: Unrestricted\nrules: [{{match: {{host: api.test}}, action: {action}}}]\n")
    };
    let rewriting = |more: &str| policy(&format!("{{type: Rewrite, host: 'other.test:{port}'{more}}}"));
    let same = rewriting("") + "limits: {connections: 99}\n";
    for (next, outcome) in [
        (policy("Allow"), "policy_change"),
        (policy("{type: Rewrite, path: /x}"), "policy_change"),
        (rewriting(", path: /x"), "policy_change"),
        (same, "ok"),
    ] {
        let names = [("other.test", &origin), ("api.test", &origin)];
        let gateway = Gateway::inspecting(&rewriting(""), names).await;
        let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        client.send("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        gateway.set_policy(&next).await;
        if outcome == "ok" {
            // Those before wait as well.
            (0..12).for_each(|_| origin.step());
        }
        let records = gateway.wait_for("the end", |records| ended(records, outcome)).await;
        assert!(
            !ended(&records, if outcome == "ok" { "policy_change" } else { "ok" }),
            "{next}: {records:#?}"
        );
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small one").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn s5_what_an_origin_says_as_it_goes_away_is_in_no_record() {
    let hello = [frame(4, 0, 0, &[]), frame(4, 1, 0, &[])].concat();
    let goes = [&[0, 0, 0, 0, 0, 0, 0, 2], format!("bad header: {CANARY}").as_bytes()].concat();
    let answer = [frame(1, 4, 1, &[0x88]), frame(0, 0, 1, b"a"), frame(7, 0, 0, &goes)].concat();
    // The preface of HTTP/2 ends as two heads of HTTP/1 do, and the body of the request ends as one more.
    let replies = [hello, Vec::new(), answer].map(Reply::raw);
    let secure = Secure::new("api.test").speaking(&["h2"]);
    let origin = Origin::secure(secure, Behaviour::Http(replies.to_vec())).await;
    let policy = "mode: Unrestricted\ntrafficInspection: Full\n";
    let gateway = Gateway::inspecting(policy, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    let request = Http2::request("POST", &format!("https://api.test:{}/", origin.port()));
    let mut stream = client.open(request).await;
    stream.send("\r\n\r\n").await;
    assert!(stream.answer().await.is_err(), "it is cut off");
    let records = gateway.wait_for("the end", |records| ended(records, "upstream_closed")).await;
    let texts: Vec<String> = records.iter().map(Value::to_string).collect();
    assert!(texts.iter().any(|text| text.contains("unexpected internal error")), "{texts:#?}");
    assert!(!texts.iter().any(|text| text.contains("canary")), "{texts:#?}");
}

#[tokio::test]
async fn s4_an_answer_that_is_text_by_any_of_its_types_is_searched() {
    let file = NamedTempFile::new().expect("a file");
    let spec = "
  mode: Limited
  ports: [1-65535]
  rules:
  - match: {host: api.test}
    action: {type: Transform, headers: [{operation: Set, name: x-key, valueRef: {secretRef: {secretId: s}}}]}
";
    let masked = "*".repeat(CANARY.len());
    for (types, body) in [
        (&["image/png", "text/html"][..], masked.as_str()),
        (&[""], masked.as_str()),
        (&["message/http"], masked.as_str()),
        (&["multipart/form-data; boundary=x"], masked.as_str()),
        (&["image/png"], CANARY),
    ] {
        let fields =
            types.iter().map(|kind| format!("content-type: {kind}\r\n")).collect::<Vec<_>>().concat();
        let reply = format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n{CANARY}", CANARY.len());
        let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::raw(reply)])).await;
        let gateway = Gateway::inspecting(&with_secret(&file, "", spec), [("api.test", &origin)]).await;
        let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        let answer = client.ask("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n").await;
        assert_eq!(answer.body, body, "{types:?}");
    }
}
