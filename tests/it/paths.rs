//! What is under way when another mode puts its name on another path: it ends, what keeps its path goes on, and the next
//! call takes the new one.

use std::net::SocketAddr;

use serde_json::Value;
use sluicegate::config::{NetworkSettings, ProxySettings};
use sluicegate::upstream::parent::Protocol;
use sluicegate::upstream::{SocketOptions, Sources};

use crate::inspected::{get, single};
use crate::kit::client::Client;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::http2::Http2;
use crate::kit::http2_origin::Stream;
use crate::kit::inspecting::Inside;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::parent::{Parent, Speaks};

/// Where calls by the private network come from.
const PRIVATE: &str = "127.0.0.14";
/// What a client sends to speak WebSocket.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
/// The two changes: a name loses the managed path, and gets it back.
const CHANGES: [[Mode; 2]; 2] = [["Unrestricted", "VNet"], ["VNet", "Unrestricted"]];

/// A mode.
type Mode = &'static str;

/// The document in this mode: under `VNet` only `stays.test` has the managed path. With `look`, TLS is read.
fn document(mode: Mode, look: bool) -> String {
    let inspection = if look { "trafficInspection: Full\n" } else { "" };
    format!(
        "mode: {mode}\n{inspection}vnet: {{network: prod, managedPath: {{additionalHosts: [stays.test]}}}}\n"
    )
}

/// The private network, with this parent proxy.
fn private(dns: &[SocketAddr], parent: Option<SocketAddr>) -> NetworkSettings {
    let source = Sources { v4: Some(PRIVATE.parse().unwrap()), v6: None };
    let proxy = parent.map(|address| ProxySettings {
        address,
        protocol: Protocol::Http,
        server_name: None,
        credentials: None,
    });
    let options = SocketOptions { source, ..SocketOptions::default() };
    NetworkSettings { dns: dns.to_vec(), options, proxy, ..NetworkSettings::default() }
}

/// A gateway in this mode under which `moves.test` and `stays.test` are these origins.
async fn gateway(mode: Mode, look: bool, origins: &[Origin; 2], parent: Option<&Parent>) -> Gateway {
    let [moves, stays] = origins;
    let named = [("moves.test", moves), ("stays.test", stays)];
    Gateway::inspecting_with(&document(mode, look), named, |config| {
        let prod = private(&config.dns.servers, parent.map(Parent::address));
        config.networks.delegated.insert("prod".into(), prod);
    })
    .await
}

/// A request for a name, as to a proxy.
fn request(name: &str, origin: &Origin, fields: &str) -> String {
    let authority = format!("{name}:{}", origin.port());
    format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
}

/// The names and where they are.
fn named(origins: &[Origin; 2]) -> [(&'static str, &Origin); 2] {
    let [moves, stays] = origins;
    [("moves.test", moves), ("stays.test", stays)]
}

/// The network of `moves.test` in this mode.
fn network(mode: Mode) -> &'static str {
    if mode == "VNet" { "prod" } else { "managed" }
}

/// The connection number `at` to an origin came by the path of this mode.
fn came(origin: &Origin, at: usize, mode: Mode) {
    let by_private = origin.connection(at).peer.ip().to_string() == PRIVATE;
    assert_eq!(by_private, mode == "VNet", "{at}: {:?}", origin.connection(at));
}

/// The one terminal record of a call of this kind to `moves.test` says that it was ended, and the path that it had.
async fn ended(gateway: &Gateway, kind: &str, from: Mode) {
    let is_it = |record: &&Value| {
        record["kind"] == kind && record["host"] == "moves.test" && record["outcome"] == "policy_change"
    };
    let all = gateway.wait_for("the record of its end", |all| all.iter().any(|one| is_it(&one))).await;
    let record = all.iter().find(is_it).expect("it was just seen");
    assert_eq!([&record["reason"], &record["network"]], ["policy_change", network(from)], "{record:#}");
    assert_eq!(all.iter().filter(|one| one["id"] == record["id"] && one["kind"] == kind).count(), 1);
    let stays = |one: &&Value| one["host"] == "stays.test" && one["outcome"] == "policy_change";
    assert_eq!(all.iter().find(stays), None, "what keeps its path goes on");
}

#[tokio::test]
async fn p4_a_websocket_on_the_wrong_path_is_ended_and_one_on_the_right_path_goes_on() {
    for [from, to] in CHANGES {
        let origins = [
            Origin::http([Reply::upgrade("websocket")]).await,
            Origin::http([Reply::upgrade("websocket")]).await,
        ];
        let gateway = gateway(from, false, &origins, None).await;
        let mut open = Vec::new();
        for (name, origin) in named(&origins) {
            let mut client = gateway.client().await;
            client.send(request(name, origin, UPGRADE)).await;
            assert!(client.head().await.starts_with("HTTP/1.1 101 "));
            client.send("ping").await;
            client.expect("ping").await;
            open.push(client);
        }
        gateway.set_policy(&document(to, false)).await;
        open[0].expect_reset().await;
        assert_eq!(origins[0].wait_for_end(0).await, End::Reset);
        open[1].send("pong").await;
        open[1].expect("pong").await;
        ended(&gateway, "request", from).await;
        let mut again = gateway.client().await;
        again.send(request("moves.test", &origins[0], UPGRADE)).await;
        assert!(again.head().await.starts_with("HTTP/1.1 101 "));
        came(&origins[0], 0, from);
        came(&origins[0], 1, to);
    }
}

#[tokio::test]
async fn p4_a_request_in_flight_and_an_answer_under_way_are_ended_where_their_path_is_wrong() {
    for [from, to] in CHANGES {
        let parts = || Reply::chunked(["a", "b"]).step_by_step();
        for waits in [true, false] {
            let origins = if waits {
                [Origin::start(Behaviour::Sink).await, Origin::http([Reply::ok("here")]).await]
            } else {
                [Origin::http([parts()]).await, Origin::http([parts()]).await]
            };
            let gateway = gateway(from, false, &origins, None).await;
            let mut moving = gateway.client().await;
            moving.send(request("moves.test", &origins[0], "")).await;
            let mut staying = gateway.client().await;
            staying.send(request("stays.test", &origins[1], "")).await;
            origins[0].wait_for_count(0, 10).await;
            if !waits {
                origins[0].step();
                assert!(moving.head().await.starts_with("HTTP/1.1 200"));
            }
            assert!(staying.head().await.starts_with("HTTP/1.1 200"));
            gateway.set_policy(&document(to, false)).await;
            let rest = moving.expect_closed().await;
            assert!(!rest.ends_with(b"0\r\n\r\n"), "it does not look whole");
            if !waits {
                (0..3).for_each(|_| origins[1].step());
                staying.expect("1\r\na\r\n1\r\nb\r\n0\r\n\r\n").await;
            }
            ended(&gateway, "request", from).await;
            came(&origins[0], 0, from);
        }
    }
}

/// A client inside TLS that has the head of an answer that goes on.
async fn inside(gateway: &Gateway, name: &str, origin: &Origin, fields: &str) -> Inside {
    let mut client = gateway.inside(name, origin, &["http/1.1"]).await;
    client.send(get(name, "/").replace("\r\n\r\n", &format!("\r\n{fields}\r\n"))).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.1 101"), "{head}");
    client
}

#[tokio::test]
async fn p4_what_is_read_inside_tls_is_ended_where_its_path_is_wrong() {
    for [from, to] in CHANGES {
        for fields in ["", UPGRADE] {
            let reply = || {
                if fields.is_empty() {
                    Reply::chunked(["a", "b"]).step_by_step()
                } else {
                    Reply::upgrade("websocket")
                }
            };
            let origins = [single("moves.test", [reply()]).await, single("stays.test", [reply()]).await];
            let gateway = gateway(from, true, &origins, None).await;
            let mut moving = inside(&gateway, "moves.test", &origins[0], fields).await;
            let mut staying = inside(&gateway, "stays.test", &origins[1], fields).await;
            gateway.set_policy(&document(to, true)).await;
            assert!(!moving.expect_closed().await.ends_with(b"0\r\n\r\n"), "it does not look whole");
            if fields.is_empty() {
                (0..3).for_each(|_| origins[1].step());
                staying.expect("1\r\na\r\n1\r\nb\r\n0\r\n\r\n").await;
            } else {
                staying.send("pong").await;
                staying.expect("pong").await;
            }
            ended(&gateway, "request", from).await;
            let _again = inside(&gateway, "moves.test", &origins[0], fields).await;
            came(&origins[0], 0, from);
            came(&origins[0], 1, to);
        }
    }
}

#[tokio::test]
async fn p4_a_stream_of_http2_is_ended_where_its_path_is_wrong_and_no_connection_is_used_for_the_other() {
    for [from, to] in CHANGES {
        let parts = || [Stream::parts(["one", "two"]).step_by_step()];
        let origins =
            [Origin::http2("moves.test", parts()).await, Origin::http2("stays.test", parts()).await];
        let gateway = gateway(from, true, &origins, None).await;
        let mut open = Vec::new();
        for (name, origin) in named(&origins) {
            let client = gateway.inside(name, origin, &["h2"]).await.http2().await;
            let asked = Http2::request("GET", &format!("https://{name}/"));
            let mut stream = client.start(asked, true).await.unwrap();
            stream.head().await.unwrap();
            open.push((stream, client));
        }
        gateway.set_policy(&document(to, true)).await;
        assert!(open[0].0.rest().await.is_err(), "it does not look whole");
        (0..2).for_each(|_| origins[1].step());
        assert_eq!(open[1].0.rest().await.unwrap(), b"onetwo");
        ended(&gateway, "request", from).await;
        let client = gateway.inside("moves.test", &origins[0], &["h2"]).await.http2().await;
        let mut again = client.start(Http2::request("GET", "https://moves.test/"), true).await.unwrap();
        again.head().await.unwrap();
        came(&origins[0], 0, from);
        came(&origins[0], 1, to);
    }
}

#[tokio::test]
async fn p4_calls_behind_a_parent_proxy_are_ended_when_their_path_is_not_its_any_more_and_the_other_way_round()
 {
    for [from, to] in CHANGES {
        let origins = [Origin::echo().await, Origin::echo().await];
        let parent = Parent::start(Speaks::Connect).await;
        let gateway = gateway(from, false, &origins, Some(&parent)).await;
        let mut open = Vec::new();
        for (name, origin) in named(&origins) {
            let mut client = Client::tunnel(gateway.proxy(), &format!("{name}:{}", origin.port())).await;
            client.send("\x01pi").await;
            client.expect("\x01pi").await;
            open.push(client);
        }
        let through = |mode| usize::from(mode == "VNet");
        assert_eq!(parent.asked().len(), through(from));
        gateway.set_policy(&document(to, false)).await;
        open[0].expect_reset().await;
        assert_ne!(origins[0].wait_for_end(0).await, End::Open);
        open[1].send("on").await;
        open[1].expect("on").await;
        ended(&gateway, "connection", from).await;
        let place = format!("moves.test:{}", origins[0].port());
        let mut again = Client::tunnel(gateway.proxy(), &place).await;
        again.send("\x01pi").await;
        again.expect("\x01pi").await;
        assert_eq!(parent.asked(), [origins[0].address().to_string()], "from {from}");
        assert_eq!(origins[0].connections(), 2);
    }
}
