//! Connections to the gateway itself: never anything but refused, and recorded.

use sluicegate::upstream::local::AddressWatch;

use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::Behaviour;
use crate::kit::within;
use crate::namespace::Namespace;
use crate::tls::hello;
use crate::topology::{CONFIG, ORIGIN, Topology};

/// Everything is allowed, but for the guards.
const OPEN: &str = "mode: Unrestricted
cidrRules: [{cidr: 0.0.0.0/0, action: Allow}, {cidr: '::/0', action: Allow}]
";

#[tokio::test]
async fn a6_p6_i4_a_sandbox_never_reaches_the_gateway_by_any_address_or_port() {
    let Some(mut net) = Topology::new("self") else { return };
    net.redirect();
    net.gateway(OPEN, CONFIG).await;
    for address in [
        "10.200.1.1:15001",
        "10.200.1.1:9901",
        "10.200.1.1:3128",
        "10.200.1.1:443",
        "10.200.2.1:15001",
        "93.184.216.1:9901",
        "93.184.216.53:53",
        "[fd00:200:1::1]:15001",
        "[fd00:200:2::1]:9901",
        "[2600:1f18::1]:443",
    ] {
        let mut client = net.connect(address);
        let from = client.local().to_string();
        client.send(b"\0\x01opaque").await;
        assert!(client.expect_reset().await.is_empty(), "{address}");
        let record = net.record_of(&from).await;
        assert_eq!(
            (&record["reason"], &record["ingress"], &record["sandbox"]),
            (&"guard_self".into(), &"transparent_tcp".into(), &"one".into()),
            "{address}: {record:#}"
        );
    }
    // Told in the form that each client understands, whatever name it gives the gateway.
    for address in ["10.200.1.1:15001", "93.184.216.1:443", "[2600:1f18::1]:80"] {
        let mut client = net.connect(address);
        let answer = client.ask("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some("guard_self")), "{address}");
        let mut client = net.connect(address);
        client.send("GET / HTTP/1.1\r\nHost : good.test\r\n\r\n").await;
        assert_eq!(client.response(false).await.header("x-deny-reason"), Some("guard_self"), "{address}");
        let mut client = net.connect(address);
        client.send(hello(Some("good.test"), &[])).await;
        assert_eq!(client.expect_closed().await, [21, 3, 3, 0, 2, 2, 49], "{address}");
    }
    assert_eq!(net.dns.total_queries(), 0);
}

#[tokio::test]
async fn a6_i4_without_redirection_the_transparent_port_says_guard_self() {
    let Some(mut net) = Topology::new("bare") else { return };
    net.gateway(OPEN, CONFIG).await;
    for address in ["10.200.1.1:15001", "[fd00:200:1::1]:15001"] {
        let mut client = net.connect(address);
        let from = client.local().to_string();
        client.send(hello(Some("good.test"), &[])).await;
        client.expect_closed().await;
        let record = net.record_of(&from).await;
        assert_eq!(record["reason"], "guard_self", "{address}");
        assert_eq!(record["port"], 15001, "{address}");
    }
}

/// The list of own addresses is read every few seconds; an interface may be newer.
#[tokio::test]
async fn a6_i4_an_address_that_the_gateway_has_only_just_got_is_its_own() {
    let Some(mut net) = Topology::new("newer") else { return };
    net.redirect();
    net.gateway(OPEN, CONFIG).await;
    net.gate.ip("addr flush dev sbx1\naddr add 10.200.1.9/24 dev sbx1\n");
    net.sandbox(1).ip("route replace default via 10.200.1.9\n");
    let mut client = net.connect("10.200.1.9:9901");
    let answer = client.ask("GET /metrics HTTP/1.1\r\nHost: 10.200.1.9\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some("guard_self")));
}

#[tokio::test]
async fn a6_an_address_that_the_gateway_gets_or_loses_is_told_at_once() {
    let Some(net) = Topology::new("told") else { return };
    net.gate.inside(|| async {
        let watch = AddressWatch::start().unwrap();
        for change in ["addr add 198.18.7.7/32 dev sbx1\n", "addr del 198.18.7.7/32 dev sbx1\n"] {
            net.gate.ip(change);
            within(change, watch.changed()).await.unwrap();
        }
        net.gate.ip6("addr add fd00:7::7/128 dev sbx1\n");
        within("an IPv6 address", watch.changed()).await.unwrap();
    });
}

#[tokio::test]
async fn i4_who_is_no_sandbox_is_refused_whatever_it_asks() {
    let Some(mut net) = Topology::new("unknown") else { return };
    net.redirect();
    let only_two = CONFIG.replace("  - {id: one, sources: [10.200.1.2/32, \"fd00:200:1::2/128\"]}\n", "");
    net.gateway(OPEN, &only_two).await;
    let mut client = net.connect(&format!("{ORIGIN}:80"));
    let answer = client.ask("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some("identity_unknown")));
    assert_eq!(answer.header("proxy-authenticate"), None);
    let mut client = net.connect(&format!("{ORIGIN}:443"));
    client.send(hello(Some("good.test"), &[])).await;
    assert_eq!(client.expect_closed().await, [21, 3, 3, 0, 2, 2, 49]);
    let mut silent = net.connect(&format!("{ORIGIN}:22"));
    assert!(silent.expect_reset().await.is_empty());
    let refused = |all: &[serde_json::Value]| {
        all.iter().filter(|one| one["reason"] == "identity_unknown" && one["host"] == ORIGIN).count()
    };
    net.records("three refusals", |all| refused(all) == 3).await;
}

#[tokio::test]
async fn a3_i4_an_ipv4_mapped_address_is_the_ipv4_address() {
    let Some(mut net) = Topology::new("mapped") else { return };
    net.redirect();
    net.dns.says("good.test", Answer::addresses([ORIGIN]));
    net.gateway("mode: Limited\nhostRules: [good.test]\n", CONFIG).await;
    let origin = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![Reply::ok("hello")]));
    // The kernel of the sandbox sends IPv4 for this; the listener is one for both families.
    let mut client = net.connect(&format!("[::ffff:{ORIGIN}]:80"));
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: good.test\r\n\r\n").await.status, 200);
    let record = net.record("request", "good.test").await;
    assert!(record["client"].as_str().unwrap().starts_with("10.200.1.2:"), "{record:#}");
    let mut client = net.connect("[::ffff:10.200.1.1]:9901");
    let answer = client.ask("GET /metrics HTTP/1.1\r\nHost: 10.200.1.1\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some("guard_self")));
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_namespace_is_gone_when_it_is_dropped() {
    let Some(net) = Topology::new("gone") else { return };
    let name = net.gate.name.clone();
    let exists = |name: &str| std::path::Path::new("/run/netns").join(name).exists();
    assert!(exists(&name));
    drop(net);
    assert!(!exists(&name));
    let again = Namespace::new("again");
    assert_eq!(again.run("ip", ["-br", "addr", "show", "dev", "lo"]).await.code, 0);
}
