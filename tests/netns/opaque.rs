//! Redirected connections that are neither TLS nor HTTP: the address is the target.

use crate::kit::dns::Answer;
use crate::kit::origin::Behaviour;
use crate::tls::hello;
use crate::topology::{CONFIG, FOREIGN, LITERAL, ORIGIN, Topology};

/// One name, and one address on every port.
const POLICY: &str = "mode: Limited
hostRules: [good.test]
cidrRules: [{cidr: 93.184.216.40/32, action: Allow}]
";

/// A running gateway.
async fn net(label: &str, policy: &str) -> Option<Topology> {
    let mut net = Topology::new(label)?;
    net.redirect();
    net.dns.says("good.test", Answer::addresses([ORIGIN]));
    net.gateway(policy, CONFIG).await;
    Some(net)
}

#[tokio::test]
async fn i4_t2_what_is_neither_tls_nor_http_needs_an_ip_rule() {
    let Some(net) = net("opaque", POLICY).await else { return };
    let origin = net.origin(&format!("{LITERAL}:9000"), Behaviour::Echo);
    let named = net.origin(&format!("{ORIGIN}:443"), Behaviour::Sink);
    let mut client = net.connect(&format!("{LITERAL}:9000"));
    let from = client.local().to_string();
    client.send(b"\0\x01opaque").await;
    client.expect(b"\0\x01opaque").await;
    client.finish().await;
    client.expect_end().await;
    let record = net.record_of(&from).await;
    for (field, value) in [
        ("ingress", "transparent_tcp"),
        ("decision", "allow"),
        ("host", LITERAL),
        ("rule", "cidrRules[0] 93.184.216.40/32"),
        ("outcome", "ok"),
    ] {
        assert_eq!(record[field], value, "{field} in {record:#}");
    }
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&8.into(), &8.into()));
    // An address that an allowed name leads to is not allowed for that.
    let mut refused = net.connect(&format!("{ORIGIN}:443"));
    let from = refused.local().to_string();
    refused.send(b"\0\x01opaque").await;
    assert!(refused.expect_reset().await.is_empty());
    let record = net.record_of(&from).await;
    assert_eq!((&record["reason"], &record["ingress"]), (&"default_deny".into(), &"transparent_tcp".into()));
    assert_eq!((origin.connections(), named.connections()), (1, 0));
}

#[tokio::test]
async fn i4_an_origin_that_speaks_first_is_heard_where_an_ip_rule_allows_it() {
    let Some(net) = net("banner", POLICY).await else { return };
    let banner = Behaviour::Banner(b"SSH-2.0-test\r\n".to_vec());
    let origin = net.origin(&format!("{LITERAL}:22"), banner.clone());
    let foreign = net.origin(&format!("{FOREIGN}:22"), banner);
    let mut client = net.connect(&format!("{LITERAL}:22"));
    let from = client.local().to_string();
    client.expect("SSH-2.0-test\r\n").await;
    client.send(b"\0then the client").await;
    client.expect(b"\0then the client").await;
    client.finish().await;
    client.expect_end().await;
    assert_eq!(net.record_of(&from).await["outcome"], "ok");
    let mut refused = net.connect(&format!("{FOREIGN}:22"));
    let from = refused.local().to_string();
    assert!(refused.expect_reset().await.is_empty());
    let record = net.record_of(&from).await;
    assert_eq!((&record["reason"], &record["host"]), (&"default_deny".into(), &FOREIGN.into()));
    assert_eq!((origin.connections(), foreign.connections()), (1, 0));
}

#[tokio::test]
async fn i1_i4_what_is_said_late_to_an_allowed_address_is_judged_as_inside_a_connect() {
    let Some(net) = net("late", POLICY).await else { return };
    let origin = net.origin(&format!("{LITERAL}:443"), Behaviour::Echo);
    // The gateway has taken the silence for that of a client that waits.
    let mut client = net.connect(&format!("{LITERAL}:443"));
    origin.wait_for_connections(1).await;
    let late = hello(Some("bad.test"), &[]);
    client.send(&late).await;
    assert_eq!(client.expect_closed().await.first(), Some(&21));
    let records = net.records("the refusal", |all| all.iter().any(|one| one["sni"] == "bad.test")).await;
    let record = records.iter().find(|one| one["sni"] == "bad.test").unwrap();
    assert_eq!((&record["reason"], &record["ingress"]), (&"default_deny".into(), &"transparent_tls".into()));
    assert_eq!(origin.connection(0).count, 0);
    let mut client = net.connect(&format!("{LITERAL}:443"));
    origin.wait_for_connections(2).await;
    let answer = client.ask("GET / HTTP/1.1\r\nHost: bad.test\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some("default_deny")));
    assert_eq!(origin.connection(1).count, 0);
}

#[tokio::test]
async fn i4_an_http2_preface_and_a_malformed_hello_are_refused_at_any_address() {
    let Some(net) = net("malformed", "mode: Unrestricted\n").await else { return };
    let origin = net.origin(&format!("{ORIGIN}:443"), Behaviour::Sink);
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"] {
        let mut client = net.connect(&format!("{ORIGIN}:443"));
        let from = client.local().to_string();
        client.send(bytes).await;
        assert!(client.expect_reset().await.is_empty());
        assert_eq!(net.record_of(&from).await["reason"], "bad_request");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn p4_i4_a_policy_change_ends_what_it_denies_and_leaves_the_rest() {
    let Some(net) = net("change", POLICY).await else { return };
    let origin = net.origin(&format!("{LITERAL}:9000"), Behaviour::Echo);
    let tls = net.origin(&format!("{ORIGIN}:443"), Behaviour::Echo);
    let (mut ended, mut stays) = (Vec::new(), Vec::new());
    let (bytes, good) = (b"\0\x01opaque", hello(Some("good.test"), &[]));
    for _ in 0..100 {
        let mut client = net.connect(&format!("{LITERAL}:9000"));
        client.send(bytes).await;
        client.expect(bytes).await;
        ended.push(client);
        let mut client = net.connect(&format!("{FOREIGN}:443"));
        client.send(&good).await;
        client.expect(&good).await;
        stays.push(client);
    }
    net.set_policy("mode: Limited\nhostRules: [good.test]\n").await;
    for client in &mut ended {
        client.expect_reset().await;
    }
    let changed = |all: &[serde_json::Value]| {
        all.iter().filter(|record| record["reason"] == "policy_change" && record["host"] == LITERAL).count()
    };
    net.records("the records of what was ended", |all| changed(all) >= 100).await;
    for client in &mut stays {
        // An alert is a record that passes at any time.
        client.send([21, 3, 3, 0, 2, 1, 0]).await;
        client.expect([21, 3, 3, 0, 2, 1, 0]).await;
    }
    assert_eq!((origin.connections(), tls.connections()), (100, 100));
}

#[tokio::test]
async fn r1_t3_i4_many_slow_hellos_hold_little_memory_and_stop_nobody() {
    let Some(net) = net("slow", POLICY).await else { return };
    let origin = net.origin(&format!("{ORIGIN}:443"), Behaviour::Echo);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", net.process().id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim_end_matches("kB").trim().parse::<usize>().unwrap()
    };
    let before = resident();
    // A hello of 60 KiB, of which the end is missing.
    let long = hello(Some("good.test"), &[(0x15, &[0; 16 * 1024 - 100])]);
    let begun = long.get(..long.len() - 1).unwrap();
    let mut slow = Vec::new();
    for _ in 0..512 {
        let mut client = net.connect(&format!("{ORIGIN}:443"));
        client.send(begun).await;
        slow.push(client);
    }
    let good = hello(Some("good.test"), &[]);
    let mut client = net.connect(&format!("{ORIGIN}:443"));
    client.send(&good).await;
    client.expect(&good).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 * 1024, "512 hellos of 16 KiB hold {grown} KiB");
    assert_eq!(origin.connections(), 1);
    for client in &mut slow {
        client.expect_closed().await;
    }
    let late = |all: &[serde_json::Value]| all.iter().filter(|one| one["reason"] == "bad_request").count();
    net.records("the records of the slow", |all| late(all) >= 512).await;
}
