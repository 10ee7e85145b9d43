//! What is cut in the middle is never taken for a whole: it ends with a reset where only the end of the connection tells.

use rustix::process::Signal;

use crate::kit::client::Client;
use crate::kit::dns::{Answer, Dns};
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::process::{Place, Process};

/// How a gateway can end at once.
const ENDS: [Signal; 2] = [Signal::KILL, Signal::TERM];

/// A gateway that lets nothing finish, and an origin of `good.test`.
async fn start(behaviour: Behaviour) -> (Process, Place, Origin, Dns) {
    let (origin, dns) = (Origin::start(behaviour).await, Dns::start().await);
    dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let place = Place::with(&format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port()));
    let config = format!(
        "policy: {{path: policy.yaml}}\ndns: {{servers: ['{}']}}\nguards: {{exempt: [127.0.0.8/29]}}\n\
         limits: {{drainTimeoutMs: 0}}\n",
        dns.address()
    );
    place.write("gate.yaml", config);
    (Process::start(&place, &["--config", "gate.yaml"]).await, place, origin, dns)
}

/// Asks as a client of HTTP/1.0.
async fn ask(gateway: &Process, origin: &Origin) -> Client {
    let mut client = Client::connect(gateway.proxy()).await;
    let authority = format!("good.test:{}", origin.port());
    client.send(format!("GET http://{authority}/ HTTP/1.0\r\nHost: {authority}\r\n\r\n")).await;
    client
}

#[tokio::test]
async fn l3_a_tunnel_that_the_end_of_the_gateway_cuts_is_reset_on_both_sides() {
    for signal in ENDS {
        let (gateway, _place, origin, _dns) = start(Behaviour::Banner(b"half of".to_vec())).await;
        let mut client = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
        client.expect("half of").await;
        let mut spoken = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
        spoken.send(b"\0\x01").await;
        spoken.expect(b"half of\0\x01").await;
        gateway.signal(signal);
        assert!(client.expect_reset().await.is_empty(), "{signal:?}");
        assert!(spoken.expect_reset().await.is_empty(), "{signal:?}");
        for at in [0, 1] {
            assert_eq!(origin.wait_for_end(at).await, End::Reset, "{signal:?}");
        }
    }
}

#[tokio::test]
async fn l3_an_answer_without_a_length_that_the_end_of_the_gateway_cuts_is_reset() {
    for signal in ENDS {
        let (gateway, _place, origin, _dns) = start(Behaviour::Http(vec![Reply::events(["a", "b"])])).await;
        let mut client = ask(&gateway, &origin).await;
        assert!(client.head().await.starts_with("HTTP/1.0 200 "));
        origin.step();
        client.expect("data: a\n\n").await;
        gateway.signal(signal);
        assert!(client.expect_reset().await.is_empty(), "{signal:?}");
    }
}

#[tokio::test]
async fn p4_an_answer_without_a_length_that_a_policy_change_cuts_is_reset() {
    let (gateway, place, origin, _dns) = start(Behaviour::Http(vec![Reply::events(["a", "b"])])).await;
    let mut client = ask(&gateway, &origin).await;
    client.head().await;
    origin.step();
    client.expect("data: a\n\n").await;
    place.replace("policy.yaml", "mode: Limited\n");
    assert!(client.expect_reset().await.is_empty());
}

#[tokio::test]
async fn l3_an_answer_that_the_origin_cuts_is_reset_where_it_has_no_length_for_the_client() {
    let cut = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let (gateway, _place, origin, _dns) = start(Behaviour::Http(vec![Reply::raw(cut).then_close()])).await;
    ask(&gateway, &origin).await.expect_reset().await;
}

#[tokio::test]
async fn l3_an_answer_without_a_length_ends_in_order_when_it_is_whole() {
    let (gateway, _place, origin, _dns) = start(Behaviour::Http(vec![Reply::chunked(["hel", "lo"])])).await;
    let mut client = ask(&gateway, &origin).await;
    client.head().await;
    assert_eq!(client.rest().await, b"hello");
}
