//! Whether a network can be used, as it is shown and logged: while a parent proxy dies and returns, and where the gateway may
//! not set what the network needs.

use std::net::SocketAddr;

use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::dns::{Answer, Dns};
use crate::kit::origin::Origin;
use crate::kit::parent::{Manner, Parent, Speaks};
use crate::kit::process::{BINARY, Place, Process, command};
use crate::kit::{tool, within};

/// Waits until the metric of a network is this.
async fn gauge(gateway: &Process, network: &str, value: u8) {
    let line = format!("sluicegate_uplink_up{{network=\"{network}\"}} {value}\n");
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
    gauge(&gateway, "managed", 1).await;
    let target = format!("good.test:{}", origin.port());
    let mut open = Client::tunnel(gateway.proxy(), &target).await;
    open.send("\x01").await;
    open.expect("\x01").await;

    drop(running);
    open.expect_closed().await;
    gauge(&gateway, "managed", 0).await;
    assert_eq!(Client::try_tunnel(gateway.proxy(), &target).await.err().unwrap().status, 502);
    let _running = parent(free).await;
    gauge(&gateway, "managed", 1).await;
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

/// Runs the gateway without any capability. None: that cannot be had here, which was said.
async fn powerless(place: &Place) -> Option<Process> {
    let mut command = command(tool::find("setpriv")?);
    command.args(["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"]);
    // Who is not root has none to begin with.
    if rustix::process::geteuid().is_root() {
        command.arg("--bounding-set=-all");
    }
    command.args([
        BINARY,
        "run",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--config",
        "gate.yaml",
    ]);
    command.current_dir(place.path(""));
    Some(Process::spawn(command).await)
}

#[tokio::test]
async fn a_gateway_that_may_set_no_mark_fails_what_needs_it_and_sends_nothing() {
    let (origin, dns) = (Origin::echo().await, Dns::start().await);
    for name in ["near.test", "far.test"] {
        dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    let policy = "mode: VNet\nvnet: {network: prod, managedPath: {additionalHosts: [near.test]}}\n";
    // The mark alone, and with everything else that a network can have.
    for more in ["", ", interface: lo, sourceAddress: 127.0.0.14"] {
        let place = Place::with(policy);
        let server = dns.address();
        place.write(
            "gate.yaml",
            format!(
                "policy: {{path: policy.yaml}}\ndns: {{servers: ['{server}']}}\nguards: {{exempt: [127.0.0.8/29]}}\n\
                 networks: {{managed: {{}}, prod: {{mark: 0x5b, dns: ['{server}']{more}}}}}\n"
            ),
        );
        let Some(gateway) = powerless(&place).await else { return };
        let connections = origin.connections();
        gauge(&gateway, "prod", 0).await;
        let told = "its `mark` cannot be set: Operation not permitted";
        gateway.logs(told).await;
        let literal = origin.address().to_string();
        let named = format!("far.test:{}", origin.port());
        for (place, host, reason) in
            [(&named, "far.test", "dns_failed"), (&literal, "127.0.0.8", "upstream_failed")]
        {
            assert_eq!(Client::try_tunnel(gateway.proxy(), place).await.err().unwrap().status, 502);
            let is_it = |record: &Value| record["kind"] == "connection" && record["host"] == host;
            let records = gateway.records("its record", |all| all.iter().any(is_it)).await;
            let record = records.iter().find(|record| is_it(record)).unwrap();
            assert_eq!([&record["reason"], &record["network"]], [reason, "prod"], "{record:#}");
            assert!(record["error"].to_string().contains(told), "{record:#}");
        }
        assert_eq!((dns.queries("far.test"), origin.connections()), (0, connections));
        let mut near = Client::tunnel(gateway.proxy(), &format!("near.test:{}", origin.port())).await;
        near.send("\x01").await;
        near.expect("\x01").await;
    }
}
