//! Parent proxies inside TLS, by real programs: haproxy ends the TLS, and a proxy behind it does what it is asked.

use std::net::SocketAddr;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use sluicegate::addr::Host;
use sluicegate::config::{NetworkSettings, ProxySettings};
use sluicegate::upstream::parent::Protocol;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;

use crate::kit::client::Client;
use crate::kit::gateway::Gateway;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::parent::{Parent, Speaks};
use crate::kit::process::command;
use crate::kit::{free_address, listening, tool, within};

/// What ends TLS before a proxy, for `proxy.test` and its address.
struct Front {
    address: SocketAddr,
    place: TempDir,
    _running: Child,
}

impl Front {
    /// One before this proxy; none where there is no such program.
    async fn before(proxy: SocketAddr) -> Option<Self> {
        let haproxy = tool::find("haproxy")?;
        let (place, address) = (tempfile::tempdir().unwrap(), free_address());
        let key = KeyPair::generate().unwrap();
        let names = ["proxy.test".to_owned(), address.ip().to_string()];
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
        std::fs::write(place.path().join("root.pem"), &certificate).unwrap();
        std::fs::write(place.path().join("both.pem"), certificate + &key.serialize_pem()).unwrap();
        let text = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen front\n  bind {address} ssl crt {}\n  server proxy {proxy}\n",
            place.path().join("both.pem").display()
        );
        let file = place.path().join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let running = command(haproxy).args(["-db", "-f"]).arg(&file).spawn().unwrap();
        listening(address).await;
        Some(Self { address, place, _running: running })
    }

    /// Its own certificate, which is its authority.
    fn root(&self) -> PathBuf {
        self.place.path().join("root.pem")
    }

    /// A gateway whose calls go through it, verified by this name or else by its address, with this authority or none.
    async fn gateway(&self, origin: &Origin, name: Option<&str>, root: Option<PathBuf>) -> Gateway {
        let server_name = Host::parse(name.unwrap_or("127.0.0.1")).ok();
        let proxy =
            ProxySettings { address: self.address, protocol: Protocol::Http, server_name, credentials: None };
        let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
        Gateway::inspecting_with(&policy, [("good.test", origin)], |config| {
            config.intercept.as_mut().unwrap().upstream_roots.extend(root);
            config.networks.managed = NetworkSettings { proxy: Some(proxy), ..NetworkSettings::default() };
        })
        .await
    }
}

/// A real proxy that connects whatever it is asked for; none where there is no such program.
async fn tinyproxy() -> Option<(SocketAddr, TempDir, Child)> {
    let tinyproxy = tool::find("tinyproxy")?;
    let (place, address) = (tempfile::tempdir().unwrap(), free_address());
    let file = place.path().join("tinyproxy.conf");
    std::fs::write(&file, format!("Port {}\nListen 127.0.0.1\n", address.port())).unwrap();
    let running = command(tinyproxy).arg("-d").arg("-c").arg(&file).spawn().unwrap();
    listening(address).await;
    Some((address, place, running))
}

/// Where the origin is.
fn place(origin: &Origin) -> String {
    format!("good.test:{}", origin.port())
}

/// Bytes that are like no others in their place.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test]
async fn much_goes_both_ways_at_once_and_every_byte_arrives() {
    let Some((proxy, _place, _running)) = tinyproxy().await else { return };
    let Some(front) = Front::before(proxy).await else { return };
    let origin = Origin::echo().await;
    for name in [Some("proxy.test"), None] {
        let gateway = front.gateway(&origin, name, Some(front.root())).await;
        let tunnel = Client::tunnel(gateway.proxy(), &place(&origin)).await;
        let (mut from, mut to) = tunnel.into_stream().into_split();
        let much = noise(8 << 20);
        let sending = much.clone();
        let send = tokio::spawn(async move {
            to.write_all(&sending).await.unwrap();
            to
        });
        let mut got = vec![0; much.len()];
        within("all of it", from.read_exact(&mut got)).await.unwrap();
        assert!(got == much, "every byte, in its place");
        drop((within("the sender", send).await.unwrap(), from));
        let record = gateway.record("connection", "good.test").await;
        let bytes = [&record["bytes_up"], &record["bytes_down"]];
        assert_eq!(bytes, [much.len(), much.len()], "{record:#}");
        assert_eq!(record["address"], origin.address().to_string());
    }
}

#[tokio::test]
async fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let parent = Parent::start(Speaks::Connect).await;
    let Some(front) = Front::before(parent.address()).await else { return };
    // The client ends first: what the origin says then arrives whole.
    let answer = noise(1 << 20);
    let origin = Origin::start(Behaviour::AfterFin(answer.clone())).await;
    let gateway = front.gateway(&origin, Some("proxy.test"), Some(front.root())).await;
    let mut client = Client::tunnel(gateway.proxy(), &place(&origin)).await;
    let question = noise(300_000);
    client.send(&question).await;
    client.finish().await;
    assert!(client.rest().await == answer, "every byte, in its place");
    assert_eq!(origin.wait_for_end(0).await, End::Fin);
    assert!(origin.connection(0).received == question, "every byte, in its place");
    let record = gateway.record("connection", "good.test").await;
    assert_eq!(record["outcome"], "ok", "{record:#}");

    // The origin ends first, and goes on reading.
    let origin = Origin::start(Behaviour::FinFirst(b"first".to_vec())).await;
    let gateway = front.gateway(&origin, Some("proxy.test"), Some(front.root())).await;
    let mut client = Client::tunnel(gateway.proxy(), &place(&origin)).await;
    assert_eq!(client.rest().await, b"first");
    client.send(&question).await;
    client.finish().await;
    assert_eq!(origin.wait_for_end(0).await, End::Fin);
    assert!(origin.connection(0).received == question, "every byte, in its place");
}

/// The record of a tunnel that is refused, and how often the proxy was asked.
async fn refused(gateway: &Gateway, origin: &Origin) -> Value {
    let answer = Client::try_tunnel(gateway.proxy(), &place(origin)).await.err().expect("a refusal");
    assert_eq!((answer.status, answer.header("x-deny-reason")), (502, Some("upstream_failed")));
    gateway.record("connection", "good.test").await
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_an_unknown_authority_is_refused_and_nothing_is_asked() {
    let parent = Parent::start(Speaks::Connect).await;
    let Some(front) = Front::before(parent.address()).await else { return };
    let origin = Origin::echo().await;
    for (name, root, words) in [
        (Some("other.test"), Some(front.root()), "the parent proxy's certificate is for another name"),
        (Some("127.0.0.9"), Some(front.root()), "the parent proxy's certificate is for another name"),
        (Some("proxy.test"), None, "authority"),
    ] {
        let gateway = front.gateway(&origin, name, root).await;
        let record = refused(&gateway, &origin).await;
        let error = record["error"].as_str().unwrap_or_default();
        let told = "network `managed`: the parent proxy cannot be verified: ";
        assert!(error.contains(told) && error.contains(words), "{name:?}: {error}");
        assert!(error.contains(&format!("parent proxy {}", front.address)), "{error}");
        assert_eq!((parent.asked().len(), origin.connections()), (0, 0), "{name:?}");
    }
}
