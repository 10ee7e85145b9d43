//! Figures, not checks: many new connections at once, redirected and by CONNECT.
//!
//! `cargo test --release --test netns figures -- --ignored --nocapture`

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::kit::dns::Answer;
use crate::kit::origin::Behaviour;
use crate::tls::hello;
use crate::topology::{CONFIG, ORIGIN, Topology};

/// How many connections are opened at once.
const CONNECTIONS: usize = 2_000;
/// Redirects all TCP of the sandboxes but that to the explicit proxy.
const RULES: &str = r#"
table inet sluicegate {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname { "sbx1", "sbx2" } tcp dport != 3128 redirect to :15001
  }
}
"#;

/// From the first packet to the first byte of the origin; `connect` is sent first, and its answer awaited.
async fn one(address: &'static str, connect: &'static [u8], hello: Vec<u8>) -> std::io::Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await?;
    let mut bytes = [0; 4096];
    if !connect.is_empty() {
        stream.write_all(connect).await?;
        let read = stream.read(&mut bytes).await?;
        assert!(bytes[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&bytes[..read]));
    }
    stream.write_all(&hello).await?;
    stream.read_exact(&mut bytes[..hello.len()]).await?;
    Ok(begun.elapsed())
}

/// Opens them all, and says how long it took.
fn round(net: &Topology, label: &str, address: &'static str, connect: &'static [u8]) {
    let mut times = net.sandbox(1).inside(async || {
        let mut running = JoinSet::new();
        for _ in 0..CONNECTIONS {
            running.spawn(one(address, connect, hello(Some("good.test"), &[])));
        }
        running.join_all().await.into_iter().map(|time| time.expect("a connection")).collect::<Vec<_>>()
    });
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    eprintln!("{label}: {CONNECTIONS} at once: p50 {:?}, p99 {:?}, last {:?}", at(50), at(99), at(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures, not a check"]
async fn two_thousand_connections_at_once() {
    let Some(mut net) = Topology::new("figures") else { return };
    net.gate.feed("nft", RULES);
    net.dns.says("good.test", Answer::addresses([ORIGIN]));
    net.gateway("mode: Limited\nhostRules: [good.test]\n", CONFIG).await;
    let _origin = net.origin(&format!("{ORIGIN}:443"), Behaviour::Echo);
    for _ in 0..3 {
        round(&net, "redirected", "93.184.216.34:443", b"");
        round(
            &net,
            "CONNECT",
            "10.200.1.1:3128",
            b"CONNECT good.test:443 HTTP/1.1\r\nHost: good.test:443\r\n\r\n",
        );
    }
}
