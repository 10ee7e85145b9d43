//! Two sandboxes behind one gateway: opposite policies, and neither meets the verdicts, records or limits of the other.

use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::tool;
use crate::system::SYSTEM;
use crate::tls::hello;
use crate::topology::{FOREIGN, ORIGIN, Topology};

/// What the one may, the other may not.
const OPPOSITE: &str = "kind: EgressPolicy
metadata: {name: first, sandbox: one}
spec: {mode: Limited, hostRules: [good.test, {pattern: also-good.test, action: Deny}]}
---
kind: EgressPolicy
metadata: {name: second, sandbox: two}
spec: {mode: Limited, hostRules: [also-good.test, {pattern: good.test, action: Deny}]}
";
/// The name of each sandbox, and the one that it may reach.
const SANDBOXES: [(&str, &str); 2] = [("one", "good.test"), ("two", "also-good.test")];

/// The whole system under a policy, and the origin of both names.
async fn net(label: &str, policy: &str) -> Option<(Topology, Origin)> {
    let net = Topology::system(label, policy, SYSTEM).await?;
    for (_, name) in SANDBOXES {
        net.dns.says(name, Answer::addresses([ORIGIN]));
    }
    let origin = net.origin(&format!("{ORIGIN}:443"), Behaviour::Echo);
    Some((net, origin))
}

/// A connection from a sandbox that has said this name.
async fn say(net: &Topology, sandbox: usize, name: &str) -> Client {
    let mut client = net.sandbox(sandbox).connect(&format!("{FOREIGN}:443"));
    // One that is beyond a limit is reset before it has said it.
    let _may_be_gone = client.try_send(hello(Some(name), &[])).await;
    client
}

#[tokio::test]
async fn opposite_verdicts_are_kept_apart_in_two_hundred_connections_by_turns() {
    let Some((net, origin)) = net("opposite", OPPOSITE).await else { return };
    let mut all = Vec::new();
    // All open at once before any is looked at.
    for at in 0..200 {
        let (sandbox, (_, name)) = (1 + at % 2, SANDBOXES[at / 2 % 2]);
        all.push((say(&net, sandbox, name).await, sandbox, name));
    }
    for (client, sandbox, name) in &mut all {
        if SANDBOXES[*sandbox - 1].1 == *name {
            client.expect(hello(Some(*name), &[])).await;
            client.finish().await;
            client.expect_end().await;
        } else {
            assert_eq!(client.expect_closed().await, [21, 3, 3, 0, 2, 2, 49]);
        }
    }
    let ends = |all: &[Value]| all.iter().filter(|one| one["kind"] == "connection").count();
    let records = net.records("two hundred records", |all| ends(all) >= 200).await;
    assert_eq!((ends(&records), origin.connections()), (200, 100));
    for (client, sandbox, name) in &all {
        let from = client.local().to_string();
        let of_client: Vec<&Value> = records.iter().filter(|one| one["client"] == from).collect();
        let (id, allowed) = SANDBOXES[*sandbox - 1];
        let expected = if allowed == *name { ("allow", 2) } else { ("deny", 1) };
        assert_eq!(of_client.len(), expected.1, "{from}: {of_client:#?}");
        for record in of_client {
            let policy = ["first", "second"][*sandbox - 1];
            assert_eq!(
                (&record["sandbox"], &record["host"], &record["decision"], &record["policy"]),
                (&id.into(), &(*name).into(), &expected.0.into(), &policy.into()),
                "{record:#}"
            );
        }
    }
    assert_eq!(net.counted().await.0, 0);
}

#[tokio::test]
async fn d5_each_sandbox_is_answered_for_its_own_names_only() {
    let Some((net, _origin)) = net("names", OPPOSITE).await else { return };
    if tool::find("dig").is_none() {
        return;
    }
    for _ in 0..3 {
        for (sandbox, allowed, denied) in
            [(1, "good.test", "also-good.test"), (2, "also-good.test", "good.test")]
        {
            // What the other may is in nobody's cache for this one.
            let said = net.run(sandbox, "dig", ["@198.51.100.53", "+short", allowed]).await.stdout;
            assert_eq!(said.trim(), ORIGIN);
            let said = net.run(sandbox, "dig", ["@198.51.100.53", denied]).await.stdout;
            assert!(said.contains("NXDOMAIN"), "{said}");
        }
    }
    let refused = |all: &[Value]| all.iter().filter(|one| one["kind"] == "query").count();
    let records = net.records("the refusals", |all| refused(all) >= 6).await;
    for record in records.iter().filter(|one| one["kind"] == "query") {
        let (id, allowed) = SANDBOXES[usize::from(record["sandbox"] == "two")];
        assert!(record["sandbox"] == id && record["host"] != allowed, "{record:#}");
    }
}

#[tokio::test]
async fn r2_the_limit_of_one_sandbox_never_refuses_the_other() {
    const LIMITED: &str = "kind: EgressPolicy
metadata: {name: first, sandbox: one}
spec: {mode: Limited, hostRules: [good.test], limits: {connections: 5}}
---
kind: EgressPolicy
metadata: {name: second, sandbox: two}
spec: {mode: Limited, hostRules: [also-good.test]}
";
    let Some((net, _origin)) = net("limits", LIMITED).await else { return };
    let (mut held, mut others) = (Vec::new(), Vec::new());
    for at in 0..40 {
        let mut client = say(&net, 1, "good.test").await;
        if at < 5 {
            client.expect(hello(Some("good.test"), &[])).await;
            held.push(client);
        } else {
            let from = client.local().to_string();
            client.expect_closed().await;
            assert_eq!(net.record_of(&from).await["reason"], "limit");
        }
        let mut other = say(&net, 2, "also-good.test").await;
        other.expect(hello(Some("also-good.test"), &[])).await;
        others.push(other);
    }
    let records = net.records("the records so far", |_| true).await;
    let over: Vec<&Value> = records.iter().filter(|one| one["reason"] == "limit").collect();
    assert_eq!(over.len(), 35);
    assert!(over.iter().all(|record| record["sandbox"] == "one"), "{over:#?}");
    // One that ends makes room for one.
    let first = held.remove(0);
    let from = first.local().to_string();
    first.reset();
    net.record_of(&from).await;
    say(&net, 1, "good.test").await.expect(hello(Some("good.test"), &[])).await;
}
