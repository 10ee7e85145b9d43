//! The gateway ends and comes back while its clients go on.

use serde_json::json;

use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::system::{Conversation, SYSTEM};
use crate::topology::{FOREIGN, LITERAL, ORIGIN, Topology};

/// One name and one address.
const POLICY: &str = "mode: Limited
hostRules: [good.test]
cidrRules: [{cidr: 93.184.216.40/32, action: Allow}]
";
/// How long an answer is.
const SIZE: usize = 512 * 1024;

/// The whole system, its origins, and clients that were not told to begin.
async fn net(label: &str, config: &str) -> Option<(Topology, [Origin; 2], Conversation)> {
    let net = Topology::system(label, POLICY, config).await?;
    net.dns.says("good.test", Answer::addresses([ORIGIN]));
    // Its end is the end of the connection.
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    let web = Reply::raw([head.as_bytes(), &vec![b'x'; SIZE]].concat()).then_close();
    let web = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![web]));
    let opaque = net.origin(&format!("{LITERAL}:9000"), Behaviour::Banner(vec![b'x'; SIZE]));
    let size = SIZE.to_string();
    let clients = net.converse(1, include_str!("load.py"), &[LITERAL, &size]);
    Some((net, [web, opaque], clients))
}

#[tokio::test]
async fn while_the_gateway_is_killed_and_gone_every_client_fails_and_nothing_of_a_sandbox_leaves() {
    for forwarding in [false, true] {
        let Some((mut net, origins, mut clients)) = net("killed", SYSTEM).await else { return };
        net.forwarding(forwarding);
        clients.tell("forever").await;
        clients.hear().await;
        net.kill().await;
        clients.tell("stop").await;
        let under_load = clients.hear().await;
        assert!(under_load["ok"].as_u64() >= Some(20), "{under_load}");
        assert_eq!(under_load["truncated"], json!([]), "{under_load}");
        // All of them, several times, while nobody is there.
        clients.tell("times 3").await;
        assert_eq!(clients.hear().await, json!({"ok": 0, "failed": 60, "truncated": []}));
        let said = net.run(1, "dig", ["@198.51.100.53", "+time=1", "+tries=1", "good.test"]).await.stdout;
        assert!(!said.contains("status: "), "{said}");
        let before = origins.each_ref().map(Origin::connections);
        assert_eq!(net.counted().await.0, 0, "ip_forward is {forwarding}");
        net.gateway(POLICY, SYSTEM).await;
        clients.tell("times 3").await;
        assert_eq!(clients.hear().await, json!({"ok": 60, "failed": 0, "truncated": []}));
        assert_eq!(net.counted().await.0, 0);
        let from_gateway = |origin: &Origin, count: usize| {
            (0..count).all(|at| origin.connection(at).peer.ip().to_string() == "93.184.216.1")
        };
        let after = origins.each_ref().map(Origin::connections);
        assert_eq!(after.iter().sum::<usize>() - before.iter().sum::<usize>(), 60);
        assert!(origins.iter().zip(after).all(|(origin, count)| from_gateway(origin, count)));
    }
}

#[tokio::test]
async fn l3_a_drain_under_load_truncates_nothing_that_looks_whole() {
    // Long enough for some to end well, and short enough for some to be cut.
    for timeout in [0, 20, 2000] {
        let config = format!("{SYSTEM}limits: {{drainTimeoutMs: {timeout}}}\n");
        let Some((mut net, _origins, mut clients)) = net("drained", &config).await else { return };
        clients.tell("forever").await;
        clients.hear().await;
        assert_eq!(net.terminate().await, Some(0));
        clients.tell("stop").await;
        let came = clients.hear().await;
        assert_eq!(came["truncated"], json!([]), "{timeout} ms: {came}");
        assert!(came["ok"].as_u64() >= Some(20) && came["failed"].as_u64() >= Some(20), "{came}");
        assert_eq!(net.counted().await.0, 0);
        // By name, too, once it is back.
        net.gateway(POLICY, SYSTEM).await;
        let mut client = net.connect(&format!("{FOREIGN}:80"));
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await.status, 200);
    }
}
