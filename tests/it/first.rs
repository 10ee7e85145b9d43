//! The main path, end to end.

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::origin::Origin;

#[tokio::test]
async fn an_allowed_name_is_reached_through_a_tunnel_and_leaves_two_records() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::start(&format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port())).await;
    gateway.dns.says("good.test", Answer::addresses([origin.address().ip().to_string().as_str()]));

    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
    tunnel.send("\x01hello").await;
    tunnel.expect("\x01hello").await;
    tunnel.finish().await;
    tunnel.expect_end().await;

    let open = gateway.record("open", "good.test").await;
    let closed = gateway.record("connection", "good.test").await;
    assert_eq!(open["id"], closed["id"]);
    assert_eq!(closed["decision"], "allow");
    assert_eq!((&closed["bytes_up"], &closed["bytes_down"]), (&6.into(), &6.into()));
    assert_eq!(closed["outcome"], "ok");
}
