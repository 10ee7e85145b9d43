//! Uplinks on real sockets: parent proxies, socket options, and what is said when they fail.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sluicegate::addr::Host;
use sluicegate::config::{Config, NetworkSettings, ProxySettings, TokenSource};
use sluicegate::intercept::trust;
use sluicegate::upstream::SocketOptions;
use sluicegate::upstream::parent::Protocol;

use crate::kit::client::Client;
use crate::kit::gateway::Gateway;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::parent::{Manner, Parent, Speaks};
use crate::kit::process::command;
use crate::kit::tls::Secure;
use crate::kit::{free_address, listening, tool, within};

/// What is neither HTTP nor TLS.
const PING: &str = "\x01pi";

/// The managed network with this parent proxy.
fn through(address: SocketAddr, protocol: Protocol) -> NetworkSettings {
    let proxy = ProxySettings { address, protocol, server_name: None, credentials: None };
    NetworkSettings { proxy: Some(proxy), ..NetworkSettings::default() }
}

/// The same of one of the kit.
fn by(parent: &Parent, speaks: Speaks) -> NetworkSettings {
    let protocol = if speaks == Speaks::Connect { Protocol::Http } else { Protocol::Socks5 };
    through(parent.address(), protocol)
}

/// A gateway whose managed network is this one, under which `good.test` is the origin.
async fn gateway(origin: &Origin, managed: NetworkSettings) -> Gateway {
    gateway_with(origin, |config| config.networks.managed = managed).await
}

async fn gateway_with(origin: &Origin, change: impl FnOnce(&mut Config)) -> Gateway {
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway = Gateway::with(&policy, change).await;
    gateway.name("good.test", origin);
    gateway
}

/// A tunnel to the origin.
async fn tunnel(gateway: &Gateway, origin: &Origin) -> Client {
    Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await
}

/// The record of a tunnel to the origin that is refused.
async fn refused(gateway: &Gateway, origin: &Origin) -> Value {
    let answer = Client::try_tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
    let status = answer.err().expect("a refusal").status;
    let record = gateway.record("connection", "good.test").await;
    assert_eq!(record["status"], status, "{record:#}");
    record
}

/// Checks that a record says this.
fn says(record: &Value, reason: &str, parts: &[&str]) {
    let error = record["error"].as_str().unwrap_or_default();
    assert!(
        record["reason"] == reason && parts.iter().all(|part| error.contains(part)),
        "{parts:?}: {record:#}"
    );
}

#[tokio::test]
async fn a_parent_proxy_gets_the_judged_address_and_never_the_name() {
    for speaks in [Speaks::Connect, Speaks::Socks] {
        let (origin, parent) = (Origin::echo().await, Parent::start(speaks).await);
        let gateway = gateway(&origin, by(&parent, speaks)).await;
        let mut client = tunnel(&gateway, &origin).await;
        client.send(PING).await;
        client.expect(PING).await;
        client.finish().await;
        client.expect_end().await;
        let judged = origin.address().to_string();
        assert_eq!(parent.asked(), [judged.as_str()]);
        let record = gateway.record("connection", "good.test").await;
        assert_eq!(
            (&record["address"], &record["network"]),
            (&judged.into(), &"managed".into()),
            "{record:#}"
        );
        assert_eq!(origin.connections(), 1, "nothing went around the parent");
    }
}

#[tokio::test]
async fn a_parent_proxy_that_resolves_gets_the_name_and_nobody_is_asked_for_it() {
    for speaks in [Speaks::Connect, Speaks::Socks] {
        let (origin, parent) = (Origin::echo().await, Parent::start(speaks).await);
        let managed = NetworkSettings { by_name: true, ..by(&parent, speaks) };
        let gateway = gateway(&origin, managed).await;
        let mut client = tunnel(&gateway, &origin).await;
        client.send(PING).await;
        client.expect(PING).await;
        drop(client);
        assert_eq!(parent.asked(), [format!("good.test:{}", origin.port())]);
        assert_eq!(gateway.dns.total_queries(), 0);
        assert_eq!(gateway.record("connection", "good.test").await["address"], Value::Null);
    }
}

#[tokio::test]
async fn a4_a_parent_proxy_that_resolves_is_not_asked_for_itself_by_a_name_of_loopback() {
    let (origin, parent) = (Origin::echo().await, Parent::start(Speaks::Socks).await);
    let managed = NetworkSettings { by_name: true, ..by(&parent, Speaks::Socks) };
    let gateway = Gateway::with("mode: Unrestricted", |config| config.networks.managed = managed).await;
    for (target, reason) in [
        (format!("localhost:{}", origin.port()), "guard_self"),
        ("metadata.google.internal:80".to_owned(), "guard_metadata"),
        ("mail.test:25".to_owned(), "guard_port"),
    ] {
        let refused = Client::try_tunnel(gateway.proxy(), &target).await.err().expect("a refusal");
        let (host, _) = target.split_once(':').unwrap();
        let record = gateway.record("connection", host).await;
        assert_eq!((refused.status, &record["reason"]), (403, &reason.into()), "{target}: {record:#}");
    }
    assert!(parent.asked().is_empty() && origin.connections() == 0, "{:?}", parent.asked());
}

#[tokio::test]
async fn what_the_origin_says_first_is_not_taken_for_the_parents_answer() {
    for speaks in [Speaks::Connect, Speaks::Socks] {
        let origin = Origin::start(Behaviour::Banner(b"220 hello\r\n\r\n".to_vec())).await;
        let manner = Manner { eager: true, ..Manner::default() };
        let parent = Parent::with(speaks, manner, None).await;
        let gateway = gateway(&origin, by(&parent, speaks)).await;
        let mut client = tunnel(&gateway, &origin).await;
        client.expect("220 hello\r\n\r\n").await;
        client.send(PING).await;
        client.expect(PING).await;
    }
}

#[tokio::test]
async fn a_parent_proxy_is_shown_its_credentials_and_nobody_else_is() {
    const RIGHT: [&str; 2] = ["gate:hunter2", "Z2F0ZTpodW50ZXIy"];
    let place = tempfile::tempdir().unwrap();
    for (speaks, value, works) in [
        (Speaks::Connect, "hunter2", true),
        (Speaks::Socks, "hunter2", true),
        (Speaks::Connect, "hunter3", false),
        (Speaks::Socks, "hunter3", false),
    ] {
        let origin = Origin::echo().await;
        let manner = Manner { wants: Some(RIGHT), ..Manner::default() };
        let parent = Parent::with(speaks, manner, None).await;
        let file = place.path().join("password");
        std::fs::write(&file, value).unwrap();
        let mut managed = by(&parent, speaks);
        managed.proxy.as_mut().unwrap().credentials = Some(("gate".into(), TokenSource::File(file)));
        let gateway = gateway(&origin, managed).await;
        if works {
            let mut client = tunnel(&gateway, &origin).await;
            client.send(PING).await;
            client.expect(PING).await;
            assert_eq!(origin.received(0), PING);
        } else {
            let record = refused(&gateway, &origin).await;
            says(
                &record,
                "upstream_failed",
                &["network `managed`: the parent proxy wants other credentials"],
            );
            assert!(!record.to_string().contains("hunter"), "{record:#}");
            assert_eq!(origin.connections(), 0);
        }
    }
}

#[tokio::test]
async fn every_way_a_parent_proxy_fails_is_told_apart_and_nothing_goes_around_it() {
    let socks = |code| [b"\x05", &[code][..], b"\0\x01\0\0\0\0\0\0"].concat();
    for (speaks, answer, words) in [
        (Speaks::Connect, b"HTTP/1.1 403 No\r\n\r\n".to_vec(), "the parent proxy answered with status 403"),
        (Speaks::Connect, b"HTTP/1.1 200".to_vec(), "the parent proxy closed the connection"),
        (Speaks::Connect, b"SSH-2.0-x\r\n\r\n".to_vec(), "the parent proxy does not answer as such a proxy"),
        (Speaks::Connect, vec![b'a'; 20_000], "the parent proxy sent an answer that is too large"),
        (Speaks::Socks, socks(2), "the parent proxy answered with SOCKS code 2"),
        (Speaks::Socks, socks(5), "the origin refused the connection"),
        (Speaks::Socks, socks(4), "the origin cannot be reached"),
        (Speaks::Socks, b"HTTP/1.1 400".to_vec(), "the parent proxy does not answer as such a proxy"),
    ] {
        let origin = Origin::echo().await;
        let parent = Parent::with(speaks, Manner { says: Some(answer), ..Manner::default() }, None).await;
        let gateway = gateway(&origin, by(&parent, speaks)).await;
        let record = refused(&gateway, &origin).await;
        let proxy = format!("parent proxy {}", parent.address());
        says(&record, "upstream_failed", &["network `managed`: ", words, &proxy]);
        assert_eq!(origin.connections(), 0, "{words}");
    }
}

#[tokio::test]
async fn a_silent_parent_proxy_is_given_up_within_the_connect_timeout() {
    let origin = Origin::echo().await;
    let parent = Parent::with(Speaks::Connect, Manner { silent: true, ..Manner::default() }, None).await;
    let managed = by(&parent, Speaks::Connect);
    let gateway = gateway_with(&origin, |config| {
        config.networks.managed = managed;
        config.limits.connect_timeout = std::time::Duration::from_millis(200);
    });
    let record = refused(&gateway.await, &origin).await;
    says(&record, "upstream_failed", &["the parent proxy did not answer in time"]);
    assert_eq!(record["status"], 504);
}

/// A gateway whose parent proxy is inside TLS and verified by this name.
async fn covered(parent: &Parent, origin: &Origin, name: &str) -> Gateway {
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let mut managed = by(parent, Speaks::Connect);
    managed.proxy.as_mut().unwrap().server_name = Some(Host::parse(name).unwrap());
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("parent.pem");
    std::fs::write(&file, trust::pem(&parent.certificate())).unwrap();
    Gateway::inspecting_with(&policy, [("good.test", origin)], |config| {
        config.intercept.as_mut().unwrap().upstream_roots.push(file);
        config.networks.managed = managed;
    })
    .await
}

#[tokio::test]
async fn a_parent_proxy_inside_tls_is_verified_and_carries_both_ends() {
    let origin = Origin::start(Behaviour::Banner(b"220 hello\r\n".to_vec())).await;
    let manner = Manner { eager: true, ..Manner::default() };
    let parent = Parent::with(Speaks::Connect, manner.clone(), Some(Secure::new("proxy.test"))).await;
    let gateway = covered(&parent, &origin, "proxy.test").await;
    let mut client = tunnel(&gateway, &origin).await;
    client.expect("220 hello\r\n").await;
    let much = vec![1; 1 << 20];
    client.send(&much).await;
    assert_eq!(client.take(much.len()).await, much);
    client.finish().await;
    client.expect_end().await;
    assert_eq!(origin.wait_for_end(0).await, End::Fin);

    let other = covered(&parent, &origin, "other.test").await;
    let record = refused(&other, &origin).await;
    let words = "the parent proxy cannot be verified: the parent proxy's certificate is for another name";
    says(&record, "upstream_failed", &[words]);
}

#[tokio::test]
async fn an_origin_that_breaks_off_behind_a_parent_inside_tls_does_not_look_whole() {
    let origin = Origin::start(Behaviour::Reset(PING.len())).await;
    let parent = Parent::with(Speaks::Connect, Manner::default(), Some(Secure::new("proxy.test"))).await;
    let gateway = covered(&parent, &origin, "proxy.test").await;
    let mut client = tunnel(&gateway, &origin).await;
    client.send(PING).await;
    client.expect_reset().await;
}

#[tokio::test]
async fn an_option_that_cannot_be_set_fails_calls_and_look_ups_and_is_named() {
    let origin = Origin::echo().await;
    let options = SocketOptions { interface: Some("none0".into()), ..SocketOptions::default() };
    let managed = NetworkSettings { options, ..NetworkSettings::default() };
    let gateway = gateway(&origin, managed).await;
    let record = refused(&gateway, &origin).await;
    let error = record["error"].as_str().unwrap();
    assert!(
        error.contains("network `managed`: its `interface`") && error.contains("No such device"),
        "{error}"
    );
    assert_eq!((gateway.dns.total_queries(), origin.connections()), (0, 0));
    let up = r#"sluicegate_uplink_up{network="managed"} 0"#;
    let (_, metrics) = gateway.admin_get("/metrics").await;
    assert!(metrics.contains(up), "{metrics}");
}

#[tokio::test]
async fn calls_and_queries_leave_by_the_interface_and_from_the_source() {
    let origin = Origin::echo().await;
    let source = sluicegate::upstream::Sources { v4: Some("127.0.0.13".parse().unwrap()), v6: None };
    let options = SocketOptions { interface: Some("lo".into()), source, ..SocketOptions::default() };
    let gateway = gateway(&origin, NetworkSettings { options, ..NetworkSettings::default() }).await;
    let mut client = tunnel(&gateway, &origin).await;
    client.send(PING).await;
    client.expect(PING).await;
    assert_eq!(origin.connection(0).peer.ip().to_string(), "127.0.0.13");
    let asked = gateway.dns.asked();
    assert!(
        !asked.is_empty() && asked.iter().all(|asked| asked.from.ip().to_string() == "127.0.0.13"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_parent_that_is_gone_fails_calls_at_once_and_is_found_again() {
    let origin = Origin::echo().await;
    let free = std::net::TcpListener::bind("127.0.0.20:0").unwrap().local_addr().unwrap();
    let gateway = gateway(&origin, through(free, Protocol::Http)).await;
    let gauge = async |value: u8| {
        let line = format!("sluicegate_uplink_up{{network=\"managed\"}} {value}\n");
        let shown = async {
            while !gateway.admin_get("/metrics").await.1.contains(&line) {
                tokio::task::yield_now().await;
            }
        };
        within("the gauge", shown).await;
    };
    gauge(0).await;
    let record = refused(&gateway, &origin).await;
    says(&record, "upstream_failed", &["network `managed`: the parent proxy refused the connection"]);
    assert_eq!(gateway.dns.total_queries(), 0, "it was known before");
    let _parent = Parent::on(free, Speaks::Connect, Manner::default(), None).await;
    gauge(1).await;
    tunnel(&gateway, &origin).await;
}

/// Checks that a tunnel works through a real proxy.
async fn works_through(managed: NetworkSettings) {
    let origin = Origin::echo().await;
    let gateway = gateway(&origin, managed).await;
    let mut client = tunnel(&gateway, &origin).await;
    client.send(PING).await;
    client.expect(PING).await;
    assert_ne!(origin.connections(), 0);
}

#[tokio::test]
async fn tinyproxy_is_a_parent() {
    let Some(tinyproxy) = tool::find("tinyproxy") else { return };
    let (place, address) = (tempfile::tempdir().unwrap(), free_address());
    let file = place.path().join("tinyproxy.conf");
    let text = format!("Port {}\nListen 127.0.0.1\nBasicAuth gate hunter2\n", address.port());
    std::fs::write(&file, text).unwrap();
    let _running = command(tinyproxy).arg("-d").arg("-c").arg(&file).spawn().unwrap();
    listening(address).await;
    let mut managed = through(address, Protocol::Http);
    let password = place.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    managed.proxy.as_mut().unwrap().credentials = Some(("gate".into(), TokenSource::File(password)));
    works_through(managed).await;
}

#[tokio::test]
async fn microsocks_is_a_parent() {
    let Some(microsocks) = tool::find("microsocks") else { return };
    let (place, address) = (tempfile::tempdir().unwrap(), free_address());
    let port = address.port().to_string();
    let words = ["-i", "127.0.0.1", "-p", &port, "-u", "gate", "-P", "hunter2"];
    let _running = command(microsocks).args(words).spawn().unwrap();
    listening(address).await;
    let mut managed = through(address, Protocol::Socks5);
    let password = place.path().join("password");
    std::fs::write(&password, "hunter2").unwrap();
    managed.proxy.as_mut().unwrap().credentials = Some(("gate".into(), TokenSource::File(password)));
    works_through(managed).await;
}

#[tokio::test]
async fn squid_is_a_parent() {
    let Some(squid) = tool::find("squid") else { return };
    let (place, address) = (tempfile::tempdir().unwrap(), free_address());
    let file = place.path().join("squid.conf");
    // Its user must be able to read it, and its shared memory have a name of its own.
    std::fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let service = format!("t{}", std::process::id());
    let text = format!(
        "http_port {address}\nhttp_access allow all\naccess_log none\ncache_log /dev/null\npid_filename none\ncache deny all\n\
         shutdown_lifetime 0 seconds\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut running = command(squid).args(["-n", &service, "-N", "-f"]).arg(&file).spawn().unwrap();
    listening(address).await;
    works_through(through(address, Protocol::Http)).await;
    // It is asked to end, as it leaves shared memory behind otherwise.
    let pid = Pid::from_raw(running.id().unwrap().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    within("squid to end", running.wait()).await.unwrap();
}
