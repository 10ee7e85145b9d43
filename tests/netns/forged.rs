//! Packets that a sandbox makes itself: foreign sources, the other sandbox, the gateway's ports, fragments, odd openings.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::system::SYSTEM;
use crate::tls::hello;
use crate::topology::{FOREIGN, ORIGIN, ORIGIN6, Topology};

/// Each sandbox has a name of its own.
const POLICIES: &str = "kind: EgressPolicy
metadata: {name: first, sandbox: one}
spec: {mode: Limited, hostRules: [good.test]}
---
kind: EgressPolicy
metadata: {name: second, sandbox: two}
spec: {mode: Limited, hostRules: [also-good.test]}
";

/// The whole system, and an origin for both names.
async fn system(label: &str) -> Option<(Topology, Origin)> {
    let net = Topology::system(label, POLICIES, SYSTEM).await?;
    for name in ["good.test", "also-good.test"] {
        net.dns.says(name, Answer::addresses([ORIGIN, ORIGIN6]));
    }
    let origin = net.origin(&format!("{ORIGIN}:80"), Behaviour::Http(vec![Reply::ok("hello")]));
    Some((net, origin))
}

/// A sandbox is served.
async fn works(net: &Topology, sandbox: usize) {
    let mut client = net.sandbox(sandbox).connect(&format!("{FOREIGN}:80"));
    let host = ["good.test", "also-good.test"][sandbox - 1];
    assert_eq!(client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await.status, 200);
}

#[tokio::test]
async fn without_the_rules_a_forged_packet_would_arrive() {
    const SEND: &str = "
for source, to in [('10.200.1.2', '93.184.216.34'), ('10.200.1.77', '93.184.216.34'), ('fd00:200:1::2', '2600:1f18::34')]:
    send_raw(to, packet(source, to, 17, udp_from(source, 4000, to, 443, b'x')))
";
    let Some(net) = Topology::new("nothing") else { return };
    net.count();
    net.forwarding(true);
    net.python(1, SEND).await;
    assert_eq!(net.counted().await.0, 3);
}

#[tokio::test]
async fn i4_a_source_that_is_not_its_own_gets_a_sandbox_nothing() {
    const SEND: &str = "
for source in ['10.200.2.2', '10.200.1.77', '10.200.1.1', '93.184.216.53', '127.0.0.1']:
    for to in ['198.51.100.53', '10.200.1.1']:
        send_raw(to, packet(source, to, 17, udp_from(source, 4000, to, 53, query('also-good.test'))))
        for port in [80, 3128, 15001, 9901]:
            send_raw(to, packet(source, to, 6, syn_from(source, 4000, to, port)))
for source in ['fd00:200:2::2', 'fd00:200:1::77', 'fd00:200:1::1', '2600:1f18::34']:
    for to in ['2001:db8::53', 'fd00:200:1::1']:
        send_raw(to, packet(source, to, 17, udp_from(source, 4000, to, 53, query('also-good.test'))))
        for port in [80, 3128, 15001, 9901]:
            send_raw(to, packet(source, to, 6, syn_from(source, 4000, to, port)))
send_raw('198.51.100.53', packet('10.200.1.2', '198.51.100.53', 17, udp_from('10.200.1.2', 4001, '198.51.100.53', 53, query('good.test'))))
print('sent')
";
    let Some((net, _origin)) = system("spoofed").await else { return };
    net.forwarding(true);
    assert_eq!(net.python(1, SEND).await, ["sent"]);
    // Made by the same hand, and behind them in the same queue: so a packet like these arrives where it is honest.
    net.dns.wait_for_query("good.test").await;
    works(&net, 1).await;
    assert_eq!((net.dns.queries("also-good.test"), net.counted().await.0), (0, 0));
    let records = net.records("the records so far", |_| true).await;
    let foreign = |record: &&Value| {
        let client = record["client"].as_str().unwrap_or("10.200.1.2:");
        !client.starts_with("10.200.1.2:")
    };
    assert_eq!(records.iter().find(foreign), None);
    works(&net, 2).await;
}

#[tokio::test]
async fn p6_a6_no_sandbox_reaches_another_or_the_gateways_ports() {
    let Some((net, _origin)) = system("other").await else { return };
    net.forwarding(true);
    net.sandbox(2).feed("nft", ARRIVED);
    let service = "
import socket
s = socket.socket(socket.AF_INET6); s.bind(('::', 8080)); s.listen()
print('{}', flush=True)
while True: s.accept()[0].sendall(b'reached')
";
    let mut service = net.converse(2, service, &[]);
    service.hear().await;
    let mut asked = Vec::new();
    for other in ["10.200.2.2", "fd00:200:2::2", "::ffff:10.200.2.2"] {
        asked.extend([22, 8080, 3128, 9901, 15001, 15053].map(|port| (other, port, "ECONNRESET")));
    }
    for own in ["10.200.1.1", "10.200.2.1", "93.184.216.1", "fd00:200:1::1", "fd00:200:2::1", "2600:1f18::1"]
    {
        let direct =
            if own.ends_with("200.1.1") || own.ends_with("200:1::1") { "ECONNREFUSED" } else { "ECONNRESET" };
        asked.extend([(own, 9901, "ECONNRESET"), (own, 15001, direct), (own, 15053, "ECONNRESET")]);
        // The explicit proxy answers, and refuses what these bytes are.
        asked.push((own, 3128, "HTTP/1.1 400 Bad Request"));
    }
    let calls: Vec<String> =
        asked.iter().map(|(host, port, _)| format!("print(tcp('{host}', {port}))")).collect();
    let said = net.python(1, &calls.join("\n")).await;
    for ((host, port, expected), said) in asked.iter().zip(said) {
        assert_eq!(said, *expected, "{host} {port}");
    }
    for (proxy, target) in [
        ("10.200.1.1", "10.200.2.2:8080"),
        ("10.200.2.1", "10.200.1.1:9901"),
        ("[fd00:200:1::1]", "[fd00:200:2::1]:9901"),
    ] {
        let mut client = net.connect(&format!("{proxy}:3128"));
        let answer = client.ask(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        assert_eq!(answer.status, 403, "{target}");
    }
    let arrived = net.sandbox(2).run("nft", ["list", "counter", "inet", "count", "arrived"]).await.stdout;
    assert!(arrived.contains("packets 0 "), "{arrived}");
    assert_eq!(net.counted().await.0, 0);
}

/// What arrives in a sandbox that nobody answers and that is no talk of neighbours.
const ARRIVED: &str = "table inet count {
  counter arrived { }
  chain arrived {
    type filter hook prerouting priority -400; policy accept;
    iifname != \"eth0\" accept
    ip6 saddr { fe80::/10, :: } accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, mld-listener-query, mld2-listener-report } accept
    counter name arrived
  }
}
";

#[tokio::test]
async fn r1_a_flood_of_fragments_stops_nobody() {
    const FLOOD: &str = "
me = {socket.AF_INET: '10.200.1.2', socket.AF_INET6: 'fd00:200:1::2'}
for number in range(1000):
    for to in ['93.184.216.34', '2600:1f18::34']:
        source = me[family(to)]
        # The beginning of something that never ends, for the web, the resolver and the proxy in turn; a later part
        # that overlaps it now and then.
        begun = syn_from(source, 2000 + number, to, [80, 53, 3128][number % 3], data=bytes(1180))[:1200]
        send_raw(to, packet(source, to, [6, 17][number % 2], begun, (number, 0, True)))
        if number % 4 == 0: send_raw(to, packet(source, to, 6, bytes(64), (number, 600, True)))
print('sent')
";
    let Some((net, _origin)) = system("fragments").await else { return };
    works(&net, 1).await;
    assert_eq!(net.python(1, FLOOD).await, ["sent"]);
    for sandbox in [1, 2] {
        let begun = Instant::now();
        works(&net, sandbox).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let said = net.run(1, "dig", ["@198.51.100.53", "+short", "good.test"]).await.stdout;
    assert_eq!(said.trim(), ORIGIN);
    assert_eq!(net.counted().await.0, 0);
}

#[tokio::test]
async fn d5_a_query_in_fragments_is_judged_as_if_it_were_whole() {
    const SEND: &str = "
to, source = '198.51.100.53', '10.200.1.2'
for name in ['good.test', 'bad.test']:
    whole = udp_from(source, 4000, to, 53, query(name))
    send_raw(to, packet(source, to, 17, whole[16:], (len(name), 16, False)))
    send_raw(to, packet(source, to, 17, whole[:16], (len(name), 0, True)))
";
    let Some((net, _origin)) = system("parts").await else { return };
    net.python(1, SEND).await;
    net.dns.wait_for_query("good.test").await;
    let denied = |all: &[Value]| all.iter().any(|one| one["kind"] == "query" && one["host"] == "bad.test");
    net.records("the refusal of the other", denied).await;
    assert_eq!((net.dns.queries("bad.test"), net.counted().await.0), (0, 0));
}

#[tokio::test]
async fn t1_a_hello_that_begins_in_the_syn_is_judged_the_same() {
    let Some((net, _origin)) = system("open").await else { return };
    let tls = net.origin(&format!("{ORIGIN}:443"), Behaviour::Echo);
    // Data in the SYN: ignored by a host without TCP Fast Open, and taken by one that has it without a cookie.
    net.sandbox(1).sysctl("net.ipv4.tcp_fastopen=5");
    for (count, gate) in ["net.ipv4.tcp_fastopen=1", "net.ipv4.tcp_fastopen=1543"].into_iter().enumerate() {
        net.gate.sysctl(gate);
        let said = |name: &str| {
            let hello = hello(Some(name), &[]);
            let (first, rest) = hello.split_at(20);
            format!(
                "
s = socket.socket(); s.settimeout(10)
s.sendto(bytes({first:?}), 0x20000000, ('{FOREIGN}', 443))
s.sendall(bytes({rest:?}))
print(s.recv(4096).hex())
s.close()
"
            )
        };
        let lines = net.python(1, &(said("good.test") + &said("bad.test"))).await;
        assert_eq!(lines[0].len(), 2 * hello(Some("good.test"), &[]).len(), "{gate}");
        assert_eq!(lines[1], "15030300020231", "{gate}");
        assert_eq!(tls.connections(), count + 1);
    }
    assert_eq!(net.counted().await.0, 0);
}
