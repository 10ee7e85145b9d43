//! Inside TLS each request is judged, over HTTP/1.1 and over HTTP/2 (policy.md §7).

use http::Request;
use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::http2_origin::Stream;
use crate::kit::origin::{Behaviour, Origin};

/// Some paths of two hosts, and all of another.
pub const POLICY: &str = "
mode: Limited
ports: [1-65535]
hostRules: [plain.test]
rules:
- {name: open, match: {host: api.test, path: /open/*}, action: Allow}
- {match: {host: other.test, path: /open/*}, action: Allow}
";

/// A GET of HTTP/1.1.
pub fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

/// An HTTP/1.1 origin inside TLS.
pub async fn single(name: &str, replies: impl IntoIterator<Item = Reply>) -> Origin {
    Origin::tls(name, Behaviour::Http(replies.into_iter().collect())).await
}

/// The records of requests inside TLS, once there are this many.
pub async fn inner(gateway: &Gateway, count: usize) -> Vec<Value> {
    let is_one = |record: &&Value| record["kind"] == "request" && record["ingress"] == "inspected";
    let of = |all: &[Value]| -> Vec<Value> { all.iter().filter(is_one).cloned().collect() };
    of(&gateway.wait_for("records of requests inside TLS", |all| of(all).len() >= count).await)
}

#[tokio::test]
async fn i5_i6_requests_of_one_connection_inside_tls_are_judged_one_by_one() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    assert_eq!(client.protocol(), Some("http/1.1"));
    for (path, status) in [("/open/1", 200), ("/open/../closed", 403), ("/open/2", 200)] {
        let answer = client.ask(get("api.test", path)).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.head);
    }
    assert_eq!(origin.connections(), 1);
    assert!(!origin.received(0).contains("closed"));
    let records = inner(&gateway, 3).await;
    for (record, (decision, rule, path, status)) in records.iter().zip([
        ("allow", "open", "/open/1", 200),
        ("deny", "", "/closed", 403),
        ("allow", "open", "/open/2", 200),
    ]) {
        assert_eq!(record["decision"], decision, "{record}");
        assert_eq!(record["rule"].as_str().unwrap_or_default(), rule, "{record}");
        assert_eq!((&record["path"], &record["status"]), (&path.into(), &status.into()), "{record}");
        assert_eq!((&record["scheme"], &record["host"]), (&"https".into(), &"api.test".into()), "{record}");
    }
    client.finish_if_open().await;
    let tunnel = gateway.record("connection", "api.test").await;
    assert_eq!((&tunnel["inspected"], &tunnel["decision"]), (&true.into(), &"allow".into()), "{tunnel}");
    assert_eq!((&tunnel["sni"], &tunnel["ingress"]), (&"api.test".into(), &"connect".into()), "{tunnel}");
}

#[tokio::test]
async fn i5_i6_streams_of_one_connection_are_judged_one_by_one_and_share_one_origin_connection() {
    let origin = Origin::http2("api.test", [Stream::ok("hello").trailer("x-sum", "5")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2", "http/1.1"]).await;
    assert_eq!(client.protocol(), Some("h2"));
    let client = client.http2().await;
    let port = origin.port();
    let ask = async |path: &str| client.get(&format!("https://api.test:{port}{path}")).await;
    let answers = futures([ask("/open/1"), ask("/closed"), ask("/open/2"), ask("/open/%2e./x")]).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [200, 403, 200, 403]);
    assert_eq!((answers[0].text().as_str(), answers[0].trailer("x-sum")), ("hello", Some("5")));
    assert_eq!(answers[1].header("x-deny-reason"), Some("default_deny"));
    assert_eq!((origin.connections(), origin.asked().len()), (1, 2));
    assert!(origin.asked().iter().all(|asked| asked.path().starts_with("/open/")));
    let denied = inner(&gateway, 4).await.iter().filter(|record| record["decision"] == "deny").count();
    assert_eq!(denied, 2);
}

/// The outputs of these, which run at once.
async fn futures<T>(all: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        let mut done = true;
        for (future, output) in &mut all {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(ready) => *output = Some(ready),
                    std::task::Poll::Pending => done = false,
                }
            }
        }
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    all.into_iter().map(|(_, output)| output.expect("done")).collect()
}

#[tokio::test]
async fn an_http2_client_reaches_an_http1_origin_with_bodies_and_trailers_both_ways() {
    let chunked = Reply::chunked(["one", "two"]).trailer("x-sum", "6");
    let origin = single("api.test", [chunked, Reply::ok("length")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    // Without a length, and with trailers: chunked on the other side, and back.
    let asked = Request::post("https://api.test/open/a").header("trailer", "x-check").body(()).unwrap();
    let mut stream = client.open(asked).await;
    stream.send("ping").await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-check", "7".parse().unwrap());
    stream.finish_with(trailers);
    let answer = stream.answer().await.unwrap();
    assert_eq!((answer.text().as_str(), answer.trailer("x-sum")), ("onetwo", Some("6")));
    assert_eq!(answer.header("transfer-encoding"), None);
    let sent = origin.received(0);
    assert!(sent.starts_with("POST /open/a HTTP/1.1\r\n"), "{sent}");
    assert!(sent.to_lowercase().contains("transfer-encoding: chunked"), "{sent}");
    assert!(sent.contains("4\r\nping\r\n0\r\nx-check: 7\r\n\r\n"), "{sent}");
    let second = || Request::post("https://api.test/open/b").header("content-length", "3").body(()).unwrap();
    let mut answer = client.send(second(), "abc").await;
    // Whether the connection of the first is seen to be idle already is a matter of moments; another one begins anew.
    for _ in 0..8 {
        if answer.text() == "length" {
            break;
        }
        answer = client.send(second(), "abc").await;
    }
    assert_eq!((answer.text().as_str(), answer.header("content-length")), ("length", Some("6")));
}

#[tokio::test]
async fn an_http1_client_reaches_an_origin_that_would_speak_http2() {
    let secure = crate::kit::tls::Secure::new("api.test").speaking(&["h2", "http/1.1"]);
    let origin = Origin::secure(secure, Behaviour::Http(vec![Reply::ok("one")])).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    assert_eq!(client.ask(get("api.test", "/open/x")).await.body, "one");
}

#[tokio::test]
async fn an_http1_client_of_an_origin_that_speaks_only_http2_is_told_so() {
    let origin = Origin::http2("api.test", [Stream::ok("x")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    let answer = client.ask(get("api.test", "/open/x")).await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (502, Some("upstream_failed")));
    assert!(answer.body.contains("NoApplicationProtocol"), "{}", answer.body);
}

#[tokio::test]
async fn a_client_that_names_no_protocol_is_served_whichever_http1_it_sends() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &[]).await;
    assert_eq!(client.protocol(), None);
    assert_eq!(client.ask(get("api.test", "/open/x")).await.body, "hello");
    let port = origin.port();
    let absolute = format!("GET http://api.test:{port}/open/x HTTP/1.1\r\nhost: api.test:{port}\r\n\r\n");
    assert_eq!(client.ask(&absolute).await.status, 200);
    assert_eq!(client.ask(absolute.replace("http://", "https://")).await.status, 200);
    assert_eq!(client.ask(get("api.test", "/closed")).await.status, 403);
}

#[tokio::test]
async fn i2_a_request_inside_tls_for_another_authority_is_misdirected_and_sent_nowhere() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin), ("other.test", &origin)]).await;
    let port = origin.port();
    for host in ["other.test", "other.test.", "plain.test", "api.test.other.test", "127.0.0.8"] {
        let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        assert_eq!(client.ask(get("api.test", "/open/x")).await.status, 200);
        let refused = client.ask(get(host, "/open/x")).await;
        assert_eq!(
            (refused.status, refused.header("x-deny-reason")),
            (421, Some("authority_mismatch")),
            "{host}"
        );
        let absolute = format!("GET http://{host}:{port}/open/x HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n");
        let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        assert_eq!(client.ask(&absolute).await.status, 421, "{host}, absolute");
        let secure = absolute.replace("http://", "https://");
        assert_eq!(client.ask(secure).await.status, 421, "{host}, absolute, https");
    }
    // The port is a part of the authority.
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    let other = port.wrapping_add(1).max(1);
    assert_eq!(client.ask(get(&format!("api.test:{other}"), "/open/x")).await.status, 421);
    for at in 0..origin.connections() {
        let received = origin.received(at).to_lowercase();
        assert_eq!(received.matches("http/1.1").count(), 1, "{received}");
        assert!(received.contains("host: api.test"), "{received}");
    }
}

#[tokio::test]
async fn i2_f6_a_stream_for_another_authority_is_misdirected_and_the_others_go_on() {
    let origin = Origin::http2("api.test", [Stream::ok("hello")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin), ("other.test", &origin)]).await;
    let port = origin.port();
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    for host in [format!("other.test:{port}"), "other.test".into(), "plain.test".into(), "api.test:1".into()]
    {
        let refused = client.get(&format!("https://{host}/open/x")).await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("x-deny-reason")),
            (421, Some("authority_mismatch"))
        );
        assert_eq!(client.get("https://api.test/open/x").await.status, 200, "{host}");
    }
    // Without `:authority` it is the `Host` that counts, and where there are both they agree.
    let differs = Request::get("https://api.test/open/x").header("host", "other.test").body(()).unwrap();
    assert_eq!(client.try_ask(differs).await.unwrap_err().reason(), Some(h2::Reason::PROTOCOL_ERROR));
    assert_eq!(client.get("https://api.test/open/y").await.status, 200);
    assert!(origin.asked().iter().all(|asked| asked.header("host").is_none()));
    assert_eq!(origin.asked().len(), 5);
    let records = inner(&gateway, 10).await;
    let mismatches = records.iter().filter(|record| record["reason"] == "authority_mismatch").count();
    assert_eq!(mismatches, 4, "{records:#?}");
    assert_eq!(records.iter().filter(|record| record["reason"] == "bad_request").count(), 1);
}

#[tokio::test]
async fn i7_a_connect_inside_tls_is_refused_over_both_versions() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    let refused = client.ask("CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\n\r\n").await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    let connect = Request::connect("api.test:443").body(()).unwrap();
    assert_eq!(client.try_ask(connect).await.unwrap_err().reason(), Some(h2::Reason::PROTOCOL_ERROR));
    assert_eq!(origin.connections(), 0);
}

/// What becomes of TLS with HTTP inside, TLS with something else inside, and something else, under an inspection.
async fn passes(inspection: &str) -> (bool, bool, bool) {
    let policy =
        format!("mode: Limited\nports: [1-65535]\nhostRules: [api.test]\ntrafficInspection: {inspection}\n");
    let http = single("api.test", [Reply::ok("hello")]).await;
    let echo = Origin::tls("api.test", Behaviour::Echo).await;
    let plain = Origin::echo().await;
    let gateway = Gateway::inspecting(&policy, [("api.test", &http), ("api.test", &echo)]).await;
    // Whose certificate a client is shown: of the origin where TLS is tunnelled.
    let tunnel = Client::tunnel(gateway.proxy(), &format!("api.test:{}", http.port())).await;
    let sealed = tunnel.try_tls("api.test", http.certificate()).await;
    let decrypted = sealed.is_err();
    let mut client =
        if let Ok(client) = sealed { client } else { gateway.inside("api.test", &http, &[]).await };
    assert_eq!(client.ask(get("api.test", "/")).await.body, "hello");
    let trusted = if decrypted { gateway.authority() } else { echo.certificate() };
    let tunnel = Client::tunnel(gateway.proxy(), &format!("api.test:{}", echo.port())).await;
    let mut client = tunnel.tls("api.test", trusted).await;
    client.send("\x01\x02 no HTTP").await;
    let inside = if inspection == "Full" {
        client.expect_closed().await;
        let refused =
            |all: &[Value]| all.iter().any(|one| one["reason"] == "not_http" && one["inspected"] == true);
        gateway.wait_for("a record of what is no HTTP inside TLS", refused).await;
        assert_eq!(echo.connections(), 0);
        false
    } else {
        client.expect("\x01\x02 no HTTP").await;
        client.send("more").await;
        client.expect("more").await;
        true
    };
    let mut client = Client::tunnel(gateway.proxy(), &format!("api.test:{}", plain.port())).await;
    client.send("\x01\x02 no HTTP").await;
    let bare = client.next_byte().await == Some(1);
    (decrypted, inside, bare)
}

#[tokio::test]
async fn partial_without_rules_decrypts_nothing_and_lets_all_protocols_pass() {
    assert_eq!(passes("Partial").await, (false, true, true));
}

#[tokio::test]
async fn none_decrypts_nothing_and_lets_all_protocols_pass() {
    assert_eq!(passes("None").await, (false, true, true));
}

#[tokio::test]
async fn legacy_decrypts_all_tls_and_lets_all_protocols_pass() {
    assert_eq!(passes("Legacy").await, (true, true, true));
}

#[tokio::test]
async fn full_decrypts_all_tls_and_lets_only_http_pass() {
    assert_eq!(passes("Full").await, (true, false, false));
}

#[tokio::test]
async fn a_host_without_rules_shows_its_own_certificate_beside_one_that_is_decrypted() {
    let (api, plain) =
        (single("api.test", [Reply::ok("api")]).await, single("plain.test", [Reply::ok("plain")]).await);
    let gateway = Gateway::inspecting(POLICY, [("api.test", &api), ("plain.test", &plain)]).await;
    let inside = gateway.inside("api.test", &api, &["h2", "http/1.1"]).await;
    assert_ne!(inside.shown(), api.certificate());
    let tunnel = Client::tunnel(gateway.proxy(), &format!("plain.test:{}", plain.port())).await;
    let mut sealed = tunnel.tls("plain.test", plain.certificate()).await;
    assert_eq!(sealed.shown(), plain.certificate());
    assert_eq!(sealed.ask(get("anything.test", "/")).await.body, "plain");
    assert!(
        gateway.try_inside("plain.test", &plain, &[]).await.is_err(),
        "the sandbox CA does not sign for it"
    );
    sealed.finish_if_open().await;
    let record = gateway.record("connection", "plain.test").await;
    assert_eq!(record["inspected"], Value::Null, "{record}");
}

#[tokio::test]
async fn a_plain_request_through_the_proxy_under_the_same_rules_is_judged_alike() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let host = format!("api.test:{}", origin.port());
    let mut client = gateway.client().await;
    for (path, status) in [("/open/1", 200), ("/closed", 403), ("/open/2", 200)] {
        let asked = format!("GET http://{host}{path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_eq!(client.ask(asked).await.status, status, "{path}");
    }
    // HTTP in plain text in a tunnel is read request by request, too.
    let mut tunnel = Client::tunnel(gateway.proxy(), &host).await;
    for (path, status) in [("/open/1", 200), ("/closed", 403), ("/open/2", 200)] {
        assert_eq!(tunnel.ask(get(&host, path)).await.status, status, "{path}");
    }
    // Anything else, under rules about what cannot be seen in it, is not let through.
    let mut tunnel = Client::tunnel(gateway.proxy(), &host).await;
    tunnel.send("\x01 no HTTP").await;
    tunnel.expect_closed().await;
    let refused = |all: &[Value]| all.iter().any(|record| record["reason"] == "not_http");
    gateway.wait_for("a record of what is no HTTP", refused).await;
}
