//! Inside TLS: what a client cannot get by it, whatever it writes (threats I2, P4, S4, S5, S7).

use crate::kit::client::Client;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};

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
