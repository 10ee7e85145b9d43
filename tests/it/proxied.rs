//! PROXY protocol: a trusted peer says whose connection it passes on, and nobody else does.

use std::net::SocketAddr;

use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::process::command;
use crate::kit::{tool, within};

/// The peer that is believed.
const BALANCER: &str = "127.0.0.20";
/// Sandboxes at addresses that nothing here can connect from.
const LISTED: &str =
    "sandboxes:\n  - {id: one, sources: [10.200.1.2]}\n  - {id: two, sources: ['2001:db8::2']}\n";

/// A listener that believes the balancer, and limits that a test can wait for.
fn listening(timeout: u32) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0', proxyProtocol: [{BALANCER}]}}]\nlimits: {{headerTimeoutMs: {timeout}, drainTimeoutMs: 2000}}\n"
    )
}

/// A gateway with such a listener, and an echoing origin that everybody may reach.
async fn start(more: &str) -> (Gateway, Origin) {
    start_with(more, Behaviour::Echo).await
}

async fn start_with(more: &str, behaviour: Behaviour) -> (Gateway, Origin) {
    let origin = Origin::start(behaviour).await;
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway = Gateway::configured(&policy, more).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    (gateway, origin)
}

/// A header of this command, family and block.
fn header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, block].concat()
}

/// The header of a connection from this address, with something behind the addresses.
fn from(source: &str) -> Vec<u8> {
    let source: SocketAddr = source.parse().unwrap();
    let (family, octets) = match source {
        SocketAddr::V4(source) => (0x11, [source.ip().octets(), [192, 0, 2, 7]].concat()),
        SocketAddr::V6(source) => (0x21, [source.ip().octets(), [7; 16]].concat()),
    };
    let ports = [source.port().to_be_bytes(), 443_u16.to_be_bytes()].concat();
    header(0x21, family, &[octets, ports, b"\x04\0\x02hi".to_vec()].concat())
}

/// The head of a CONNECT to the origin.
fn connect(origin: &Origin) -> String {
    format!("CONNECT good.test:{0} HTTP/1.1\r\nHost: good.test:{0}\r\n\r\n", origin.port())
}

/// The one record of a client's connection that is no `open` record.
async fn record_of(gateway: &Gateway, client: &str) -> Value {
    let is_it = |record: &Value| record["client"] == client && record["kind"] != "open";
    let records = gateway.wait_for("its record", |records| records.iter().any(is_it)).await;
    let mut all = records.into_iter().filter(is_it);
    let record = all.next().expect("it was just seen");
    assert!(all.next().is_none(), "more than one record of {client}");
    record
}

#[tokio::test]
async fn i7_a_trusted_peer_says_who_its_clients_are_for_identity_and_records() {
    let (gateway, origin) = start(&format!("{}{LISTED}", listening(10_000))).await;
    for (source, sandbox) in
        [("10.200.1.2:5000", "one"), ("[2001:db8::2]:5001", "two"), ("[::ffff:10.200.1.2]:5002", "one")]
    {
        let mut client = Client::connect_from(BALANCER, gateway.proxy()).await;
        client.send([from(source), connect(&origin).into_bytes(), b"\x01pi".to_vec()].concat()).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        client.send("ng").await;
        client.expect("\x01ping").await;
        client.finish().await;
        client.expect_end().await;
        let record = record_of(&gateway, source).await;
        assert_eq!((&record["sandbox"], &record["bytes_up"]), (&sandbox.into(), &5.into()), "{record:#}");
    }
    let mut stranger = Client::connect_from(BALANCER, gateway.proxy()).await;
    stranger.send([from("10.200.1.9:6000"), connect(&origin).into_bytes()].concat()).await;
    assert!(stranger.head().await.contains("x-deny-reason: identity_unknown"));
    assert_eq!(record_of(&gateway, "10.200.1.9:6000").await["reason"], "identity_unknown");
}

#[tokio::test]
async fn i7_nobody_else_can_say_who_they_are() {
    let sandboxes = "sandboxes:\n  - {id: one, sources: [10.200.1.2]}\n  - {id: me, sources: [127.0.0.21]}\n";
    let (gateway, origin) = start(&format!("{}{sandboxes}", listening(10_000))).await;
    for source in ["127.0.0.21", "127.0.0.22", "127.0.0.1"] {
        let mut client = Client::connect_from(source, gateway.proxy()).await;
        let local = client.local().to_string();
        client.send([from("10.200.1.2:5000"), connect(&origin).into_bytes()].concat()).await;
        let told = client.expect_closed_or_head().await;
        assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
        let record = record_of(&gateway, &local).await;
        assert_eq!(
            (&record["reason"], &record["sandbox"]),
            (&"bad_request".into(), &Value::Null),
            "{record:#}"
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn i7_a_header_after_the_first_is_bad_bytes() {
    let (gateway, origin) = start(&format!("{}{LISTED}", listening(10_000))).await;
    let mut client = Client::connect_from(BALANCER, gateway.proxy()).await;
    let twice = [from("10.200.1.9:5000"), from("10.200.1.2:5001"), connect(&origin).into_bytes()].concat();
    client.send(twice).await;
    assert!(client.expect_closed_or_head().await.starts_with("HTTP/1.1 400 "));
    assert_eq!(record_of(&gateway, "10.200.1.9:5000").await["reason"], "bad_request");
}

#[tokio::test]
async fn i7_a_trusted_peer_that_says_nothing_that_is_understood_is_refused() {
    let (gateway, origin) = start(&format!("{}{LISTED}", listening(10_000))).await;
    let v1 = format!("PROXY TCP4 10.200.1.2 127.0.0.1 5000 3128\r\n{}", connect(&origin));
    for (bytes, part) in [
        (connect(&origin).into_bytes(), "does not begin with a PROXY protocol header"),
        (v1.into_bytes(), "send-proxy-v2"),
        (header(0x21, 0x00, &[]), "names no TCP address"),
        (header(0x21, 0x31, &[0; 216]), "names no TCP address"),
        (header(0x21, 0x12, &[0; 12]), "names no TCP address"),
        (header(0x21, 0x11, &[0; 8]), "too few for its addresses"),
        (header(0x21, 0x11, &[0; 1000])[..16].to_vec(), "1016 bytes, more than 536"),
        (header(0x2f, 0x11, &[0; 12]), "unknown command 15"),
    ] {
        let mut client = Client::connect_from(BALANCER, gateway.proxy()).await;
        let local = client.local().to_string();
        client.send(&bytes).await;
        client.expect_reset().await;
        let record = record_of(&gateway, &local).await;
        assert_eq!(
            (&record["reason"], &record["outcome"]),
            (&"bad_request".into(), &"refused".into()),
            "{part}"
        );
        let told = record["error"].as_str().unwrap_or_default();
        assert!(told.contains(part) && told.contains("proxyProtocol"), "{part}: {record:#}");
    }
    let mut gone = Client::connect_from(BALANCER, gateway.proxy()).await;
    let local = gone.local().to_string();
    gone.send(&from("10.200.1.2:5000")[..20]).await;
    gone.finish().await;
    assert_eq!(record_of(&gateway, &local).await["reason"], "bad_request");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn i7_a_peer_that_passes_nobody_on_is_itself() {
    let sandboxes = "sandboxes:\n  - {id: one, token: {file: TOKEN}}\n";
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "secret").unwrap();
    let sandboxes = sandboxes.replace("TOKEN", secret.path().to_str().unwrap());
    let (gateway, origin) = start(&format!("{}{sandboxes}", listening(10_000))).await;
    for family in [0x00, 0x11] {
        let mut client = Client::connect_from(BALANCER, gateway.proxy()).await;
        let local = client.local().to_string();
        client.send([header(0x20, family, &[10; 12]), connect(&origin).into_bytes()].concat()).await;
        assert!(client.head().await.contains("x-deny-reason: identity_unknown"));
        assert_eq!(record_of(&gateway, &local).await["reason"], "identity_unknown");
    }
}

#[tokio::test]
async fn r1_a_peer_that_is_slow_to_say_it_is_ended_by_the_deadline_and_holds_up_nobody() {
    let (gateway, origin) = start(&format!("{}{LISTED}", listening(700))).await;
    let mut slow = Vec::new();
    for length in [0, 1, 11, 16, 27] {
        let mut client = Client::connect_from(BALANCER, gateway.proxy()).await;
        client.send(&from("10.200.1.2:5000")[..length]).await;
        slow.push(client);
    }
    let mut good = Client::connect_from(BALANCER, gateway.proxy()).await;
    good.send_in_pieces([from("10.200.1.2:5001"), connect(&origin).into_bytes()].concat(), 1).await;
    assert!(good.head().await.starts_with("HTTP/1.1 200 "), "the others hold it up");
    for mut client in slow {
        let local = client.local().to_string();
        client.expect_reset().await;
        let record = record_of(&gateway, &local).await;
        assert!(record["error"].as_str().unwrap_or_default().contains("in time"), "{record:#}");
    }
}

#[tokio::test]
async fn l3_a_stop_leaves_one_record_of_a_connection_that_was_not_introduced() {
    let (gateway, _origin) = start(&listening(30_000)).await;
    let client = Client::connect_from(BALANCER, gateway.proxy()).await;
    let mut half = Client::connect_from(BALANCER, gateway.proxy()).await;
    half.send(&from("10.200.1.2:5000")[..20]).await;
    // One that came after both were accepted.
    let mut last = Client::connect_from("127.0.0.1", gateway.proxy()).await;
    last.ask("GET / HTTP/1.1\r\n\r\n").await;
    let records = gateway.stop().await;
    for local in [client.local().to_string(), half.local().to_string()] {
        let own: Vec<_> = records.iter().filter(|record| record["client"] == local.as_str()).collect();
        assert_eq!(own.len(), 1, "{own:#?}");
        assert_eq!(own[0]["outcome"], "drained");
    }
}

#[tokio::test]
async fn p4_a_client_that_was_passed_on_is_asked_again_by_the_address_that_was_said() {
    let (gateway, origin) = start(&format!("{}{LISTED}", listening(10_000))).await;
    let mut tunnels = Vec::new();
    for source in ["10.200.1.2:5000", "[2001:db8::2]:5001"] {
        let mut client = Client::connect_from(BALANCER, gateway.proxy()).await;
        client.send([from(source), connect(&origin).into_bytes()].concat()).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        tunnels.push(client);
    }
    gateway
        .configure(&format!("{}sandboxes:\n  - {{id: two, sources: ['2001:db8::2']}}\n", listening(10_000)))
        .await;
    tunnels[0].expect_reset().await;
    let end = record_of(&gateway, "10.200.1.2:5000").await;
    assert_eq!((&end["reason"], &end["outcome"]), (&"identity_unknown".into(), &"policy_change".into()));
    tunnels[1].send("\x01on").await;
    tunnels[1].expect("\x01on").await;
}

#[tokio::test]
async fn i7_a_sandbox_is_never_a_trusted_peer_also_not_by_a_reload() {
    let (gateway, _origin) = start(&format!("{}{LISTED}", listening(10_000))).await;
    // The listeners of the file are others, those of the process are as they were.
    let more = format!("sandboxes:\n  - {{id: three, sources: [{BALANCER}]}}\n");
    let load = gateway.configure(&more).await;
    assert_eq!((&load["outcome"], &load["generation"]), (&"refused".into(), &1.into()), "{load:#}");
    assert!(load["error"].as_str().unwrap_or_default().contains("trusted peers 127.0.0.20/32"), "{load:#}");
}

#[tokio::test]
async fn haproxy_in_front_passes_on_who_its_clients_are() {
    let Some(haproxy) = tool::find("haproxy") else { return };
    let sandboxes =
        "sandboxes:\n  - {id: one, sources: [127.0.0.31]}\n  - {id: two, sources: [127.0.0.32]}\n";
    let (gateway, origin) =
        start_with(&format!("{}{sandboxes}", listening(10_000)), Behaviour::Http(vec![Reply::ok("yes")]))
            .await;
    let place = tempfile::tempdir().unwrap();
    let front = free_address();
    let configuration = place.path().join("haproxy.cfg");
    let text = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         listen front\n  bind {front}\n  source {BALANCER}\n  server gate {} send-proxy-v2 proxy-v2-options unique-id,crc32c\n  \
         unique-id-format %[uuid()]\n",
        gateway.proxy()
    );
    std::fs::write(&configuration, text).unwrap();
    let mut running = command(haproxy);
    let _running = running.args(["-db", "-f"]).arg(&configuration).spawn().unwrap();
    let up = async {
        while tokio::net::TcpStream::connect(front).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within("haproxy to listen", up).await;
    let request = format!("GET http://good.test:{0}/ HTTP/1.1\r\nHost: good.test:{0}\r\n\r\n", origin.port());
    for (source, sandbox) in [("127.0.0.31", "one"), ("127.0.0.32", "two")] {
        let mut client = Client::connect_from(source, front).await;
        let local = client.local().to_string();
        assert_eq!(client.ask(&request).await.status, 200);
        assert_eq!(record_of(&gateway, &local).await["sandbox"], sandbox);
    }
}

/// An address of 127.0.0.1 that was free a moment ago.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
