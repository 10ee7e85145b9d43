//! Whether a network can be used, as it is shown and logged while a parent proxy dies and returns.

use std::net::SocketAddr;

use crate::kit::client::Client;
use crate::kit::dns::{Answer, Dns};
use crate::kit::origin::Origin;
use crate::kit::parent::{Manner, Parent, Speaks};
use crate::kit::process::{Place, Process};
use crate::kit::within;

/// Waits until the metric of `managed` is this.
async fn gauge(gateway: &Process, value: u8) {
    let line = format!("sluicegate_uplink_up{{network=\"managed\"}} {value}\n");
    let shown = async {
        loop {
            let mut client = Client::connect(gateway.admin()).await;
            let host = gateway.admin();
            let request = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            if client.ask(request).await.body.contains(&line) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within("the gauge", shown).await;
}

#[tokio::test]
async fn a_parent_that_dies_and_returns_is_shown_and_each_is_one_line_of_the_log() {
    let (origin, dns) = (Origin::echo().await, Dns::start().await);
    dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let free = std::net::TcpListener::bind("127.0.0.20:0").unwrap().local_addr().unwrap();
    let parent = |at: SocketAddr| Parent::on(at, Speaks::Connect, Manner::default(), None);
    let place = Place::with(&format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port()));
    place.write(
        "gate.yaml",
        format!(
            "policy: {{path: policy.yaml}}\ndns: {{servers: ['{}']}}\nguards: {{exempt: [127.0.0.8/29]}}\nnetworks: {{managed: {{proxy: 'http://{free}'}}}}\n",
            dns.address()
        ),
    );
    let running = parent(free).await;
    let gateway = Process::start(&place, &["--config", "gate.yaml"]).await;
    gauge(&gateway, 1).await;
    let target = format!("good.test:{}", origin.port());
    let mut open = Client::tunnel(gateway.proxy(), &target).await;
    open.send("\x01").await;
    open.expect("\x01").await;

    drop(running);
    open.expect_closed().await;
    gauge(&gateway, 0).await;
    assert_eq!(Client::try_tunnel(gateway.proxy(), &target).await.err().unwrap().status, 502);
    let _running = parent(free).await;
    gauge(&gateway, 1).await;
    let mut again = Client::tunnel(gateway.proxy(), &target).await;
    again.send("\x01").await;
    again.expect("\x01").await;
    gateway.logs("a network can be used again").await;
    let log = gateway.stderr.all();
    for part in ["a network cannot be used", "a network can be used again"] {
        let lines: Vec<_> = log.iter().filter(|line| line.contains(part)).collect();
        assert!(lines.len() == 1 && lines[0].contains("network=\"managed\""), "{log:#?}");
    }
    assert_eq!(origin.connections(), 2, "nothing went around it");
}
