//! Inside TLS: each request is judged, and goes on over verified TLS (policy.md §7).

use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::http2_origin::Stream;
use crate::kit::origin::{Behaviour, Origin};

/// Some paths of two hosts, and all of another.
const POLICY: &str = "
mode: Limited
ports: [1-65535]
hostRules: [plain.test]
rules:
- {match: {host: api.test, path: /open/*}, action: Allow}
- {match: {host: other.test, path: /open/*}, action: Allow}
";

#[tokio::test]
async fn a_request_inside_tls_is_judged_by_its_path_and_sent_on() {
    let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("hello")])).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &["http/1.1"]).await;
    assert_eq!(client.protocol(), Some("http/1.1"));
    for (path, status) in [("/open/1", 200), ("/closed", 403), ("/open/2", 200)] {
        let answer = client.ask(format!("GET {path} HTTP/1.1\r\nhost: api.test\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.head);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_stream_inside_tls_is_judged_by_its_path_and_sent_on() {
    let origin = Origin::http2("api.test", [Stream::ok("hello").trailer("x-sum", "5")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2", "http/1.1"]).await.http2().await;
    let port = origin.port();
    for (path, status) in [("/open/1", 200), ("/closed", 403), ("/open/2", 200)] {
        let answer = client.get(&format!("https://api.test:{port}{path}")).await;
        assert_eq!(answer.status, status, "{path}");
        if status == 200 {
            assert_eq!((answer.text().as_str(), answer.trailer("x-sum")), ("hello", Some("5")));
        }
    }
    assert_eq!((origin.connections(), origin.asked().len()), (1, 2));
}
