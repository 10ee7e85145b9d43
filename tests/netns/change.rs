//! What changes while redirected connections are open: the policy, who is who, the rules.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::tool;
use crate::system::SYSTEM;
use crate::tls::hello;
use crate::topology::{FOREIGN, LITERAL, ORIGIN, Topology};

/// One name and one address, for both sandboxes.
const POLICY: &str = "mode: Limited
hostRules: [good.test]
cidrRules: [{cidr: 93.184.216.40/32, action: Allow}]
";
/// How soon a change must be felt.
const SOON: Duration = Duration::from_secs(1);

/// The whole system and its two origins.
async fn net(label: &str) -> Option<(Topology, [Origin; 2])> {
    let net = Topology::system(label, POLICY, SYSTEM).await?;
    net.dns.says("good.test", Answer::addresses([ORIGIN]));
    let tls = net.origin(&format!("{ORIGIN}:443"), Behaviour::Echo);
    let opaque = net.origin(&format!("{LITERAL}:9000"), Behaviour::Echo);
    Some((net, [tls, opaque]))
}

/// An open connection to the address.
async fn literal(net: &Topology, sandbox: usize) -> Client {
    let mut client = net.sandbox(sandbox).connect(&format!("{LITERAL}:9000"));
    client.send(b"\0\x01opaque").await;
    client.expect(b"\0\x01opaque").await;
    client
}

/// An open connection to the name.
async fn named(net: &Topology, sandbox: usize) -> Client {
    let good = hello(Some("good.test"), &[]);
    let mut client = net.sandbox(sandbox).connect_saying(&format!("{FOREIGN}:443"), &good);
    client.expect(&good).await;
    client
}

/// It still carries bytes both ways.
async fn carries_on(client: &mut Client) {
    // An alert is a record that passes at any time.
    client.send([21, 3, 3, 0, 2, 1, 0]).await;
    client.expect([21, 3, 3, 0, 2, 1, 0]).await;
}

/// The clients whose connections ended for this reason.
fn ended(records: &[Value], reason: &str) -> Vec<String> {
    let ends = records.iter().filter(|one| one["kind"] == "connection" && one["reason"] == reason);
    let mut clients: Vec<String> = ends.map(|one| one["client"].as_str().unwrap().to_owned()).collect();
    clients.sort_unstable();
    clients
}

/// Where these come from, in order.
fn places(clients: &[Client]) -> Vec<String> {
    let mut places: Vec<String> = clients.iter().map(|client| client.local().to_string()).collect();
    places.sort_unstable();
    places
}

#[tokio::test]
async fn p4_a_policy_change_ends_exactly_what_it_denies_within_a_second() {
    let Some((net, origins)) = net("swap").await else { return };
    let (mut denied, mut stays) = (Vec::new(), Vec::new());
    for at in 0..100 {
        denied.push(literal(&net, 1 + at % 2).await);
        stays.push(named(&net, 1 + at % 2).await);
    }
    net.set_policy("mode: Limited\nhostRules: [good.test]\n").await;
    let in_force = Instant::now();
    for client in &mut denied {
        client.expect_reset().await;
    }
    assert!(in_force.elapsed() < SOON, "{:?}", in_force.elapsed());
    let all_ended = |all: &[Value]| ended(all, "policy_change").len() >= 100;
    let records = net.records("the records of what was ended", all_ended).await;
    assert_eq!(ended(&records, "policy_change"), places(&denied));
    for client in &mut stays {
        carries_on(client).await;
    }
    assert_eq!(origins.map(|origin| origin.connections()), [100, 100]);
    let again = net.records("the records so far", |_| true).await;
    assert_eq!(ended(&again, "policy_change").len(), 100);
}

#[tokio::test]
async fn p4_a_sandbox_that_is_taken_out_loses_its_connections_and_comes_back_with_the_next_change() {
    let line = "  - {id: two, sources: [10.200.2.2/32, \"fd00:200:2::2/128\"]}\n";
    let other = "  - {id: two, sources: [10.200.2.3/32]}\n";
    let Some((net, _origins)) = net("sandboxes").await else { return };
    let (mut stays, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        stays.push(named(&net, 1).await);
        ends.push(named(&net, 2).await);
        ends.push(literal(&net, 2).await);
    }
    // Its address belongs to nobody from here on.
    net.set_config(&SYSTEM.replace(line, other)).await;
    let begun = Instant::now();
    for client in &mut ends {
        client.expect_closed().await;
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let all_ended = |all: &[Value]| ended(all, "identity_unknown").len() >= 40;
    let records = net.records("the records of what was ended", all_ended).await;
    assert_eq!(ended(&records, "identity_unknown"), places(&ends));
    assert!(records.iter().all(|one| one["reason"].is_null() || one["outcome"] == "policy_change"));
    let mut refused = net.sandbox(2).connect_saying(&format!("{ORIGIN}:443"), &hello(Some("good.test"), &[]));
    assert_eq!(refused.expect_closed().await, [21, 3, 3, 0, 2, 2, 49]);
    assert_eq!(net.record_of(&refused.local().to_string()).await["reason"], "identity_unknown");
    if tool::find("dig").is_some() {
        let said = net.run(2, "dig", ["@198.51.100.53", "good.test"]).await.stdout;
        assert!(said.contains("NXDOMAIN") || said.contains("REFUSED"), "{said}");
    }
    net.set_config(SYSTEM).await;
    carries_on(&mut named(&net, 2).await).await;
    for client in &mut stays {
        carries_on(client).await;
    }
}

#[tokio::test]
async fn a_gateway_that_requires_enforcement_is_ready_while_the_rules_are_loaded_and_not_before_or_after() {
    let Some(mut net) = Topology::new("ready") else { return };
    net.gateway_with(POLICY, SYSTEM, &["--require-enforcement"]).await;
    let told = async |net: &Topology| {
        let (status, _) = net.admin("/readyz").await;
        let (_, metrics) = net.admin("/metrics").await;
        let ok = metrics.lines().find_map(|line| line.strip_prefix("sluicegate_enforcement_ok "));
        (status, ok.unwrap_or("none").to_owned())
    };
    net.process().logs("there is no table `inet sluicegate`").await;
    assert_eq!(told(&net).await, ("HTTP/1.0 503 Service Unavailable".into(), "0".into()));
    net.load_rules().await;
    net.process().signal(rustix::process::Signal::HUP);
    net.process().logs("every rule is loaded").await;
    assert_eq!(told(&net).await, ("HTTP/1.0 200 OK".into(), "1".into()));
    let missing =
        || net.process().stderr.all().iter().filter(|line| line.contains("there is no table")).count();
    let before = missing();
    assert_eq!(net.gate.run("nft", ["flush", "ruleset"]).await.code, 0);
    net.process().signal(rustix::process::Signal::HUP);
    let again =
        |lines: &[String]| lines.iter().filter(|line| line.contains("there is no table")).count() > before;
    net.process().stderr.wait_until("the loss to be found", again).await;
    assert_eq!(told(&net).await, ("HTTP/1.0 503 Service Unavailable".into(), "0".into()));
}
