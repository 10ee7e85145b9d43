//! Networks that documents delegate to: who may use one, what several documents make of the path, and what is said of it.

use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::Value;
use sluicegate::app::StartError;
use sluicegate::config::{ListenerKind, ListenerSettings, NetworkSettings, ProxySettings};
use sluicegate::proxy::dns::Settings;
use sluicegate::upstream::parent::Protocol;

use crate::kit::client::{Client, Response};
use crate::kit::dns::{Answer, Dns, look_up};
use crate::kit::gateway::Gateway;
use crate::kit::origin::Origin;
use crate::kit::parent::{Parent, Speaks};

/// Where the two sandboxes are.
const ONE: &str = "127.0.0.21";
const TWO: &str = "127.0.0.22";

/// Two networks to delegate to, with a name server of their own; `prod` is for one group.
fn networks(dns: &Dns) -> String {
    let dns = dns.address();
    format!(
        "networks:\n  prod: {{sourceAddress: 127.0.0.13, dns: ['{dns}'], groups: [agents]}}\n  lab: {{sourceAddress: 127.0.0.14, dns: ['{dns}']}}\n"
    )
}

/// Two sandboxes and their groups.
fn sandboxes(one: &str, two: &str) -> String {
    format!(
        "sandboxes:\n- {{id: one, group: {one}, sources: [{ONE}]}}\n- {{id: two, group: {two}, sources: [{TWO}]}}\n"
    )
}

/// A document of a scope that delegates.
fn delegating(scope: &str, network: &str, managed: &str) -> String {
    format!(
        "---\nkind: EgressPolicy\nmetadata: {{{scope}}}\nspec: {{mode: VNet, vnet: {{network: {network}, \
         managedPath: {{additionalHosts: [{managed}]}}}}}}\n"
    )
}

/// Lets names lead to an origin on every path.
fn names(gateway: &Gateway, private: &Dns, origin: &Origin, names: &[&str]) {
    for name in names {
        gateway.name(name, origin);
        private.says(name, Answer::addresses([origin.address().ip().to_string().as_str()]));
    }
}

/// A tunnel of a sandbox, or why not.
async fn tunnel(gateway: &Gateway, source: &str, place: &str) -> Result<Client, Response> {
    Client::connect_from(source, gateway.proxy()).await.into_tunnel(place).await
}

/// The reason of a tunnel that is refused.
async fn refused(gateway: &Gateway, source: &str, place: &str) -> String {
    let answer = tunnel(gateway, source, place).await.err().expect("a refusal");
    answer.header("x-deny-reason").unwrap_or_default().to_owned()
}

#[tokio::test]
async fn p8_a_network_is_for_its_groups_and_a_sandbox_that_leaves_one_loses_it_at_once() {
    let (origin, private) = (Origin::echo().await, Dns::start().await);
    let more = networks(&private);
    let policy = delegating("name: g, group: agents", "prod", "up.test")
        + &delegating("name: s, sandbox: two", "lab", "up.test");
    let gateway = Gateway::configured(&policy, &(more.clone() + &sandboxes("agents", "others"))).await;
    names(&gateway, &private, &origin, &["a.test"]);
    let place = format!("a.test:{}", origin.port());
    let mut open = tunnel(&gateway, ONE, &place).await.expect("a tunnel");
    open.send("\x01").await;
    open.expect("\x01").await;
    assert_eq!(gateway.record("open", "a.test").await["network"], "prod");
    assert!(tunnel(&gateway, TWO, &place).await.is_ok(), "by its own document and network");
    assert_eq!(gateway.dns.total_queries(), 0);

    // A document of a sandbox of another group, or of no group, that names it is refused, and says why.
    let other = policy.replace("lab", "prod");
    gateway.set_policy(&other).await;
    let problems = gateway.running().last_load().problems;
    let told = "network `prod` is kept to other groups: agents";
    assert!(
        problems.iter().any(|problem| problem.is_error() && problem.to_string().contains(told)),
        "{problems:#?}"
    );
    assert!(tunnel(&gateway, TWO, &place).await.is_ok(), "its last good version stays");
    gateway.set_policy(&policy).await;

    // Its sandbox becomes one of another group: the document of the old one is not its own any more.
    gateway.configure(&(more.clone() + &sandboxes("others", "others"))).await;
    open.expect_closed().await;
    assert_eq!(refused(&gateway, ONE, &place).await, "no_policy");
    gateway.configure(&(more + &sandboxes("agents", "others"))).await;
    assert!(tunnel(&gateway, ONE, &place).await.is_ok());
}

#[tokio::test]
async fn the_document_of_a_sandbox_that_leaves_the_group_of_its_network_is_not_in_force() {
    let (origin, private) = (Origin::echo().await, Dns::start().await);
    let more = networks(&private);
    let policy = delegating("name: s, sandbox: one", "prod", "up.test");
    let gateway = Gateway::configured(&policy, &(more.clone() + &sandboxes("agents", "others"))).await;
    names(&gateway, &private, &origin, &["a.test", "up.test"]);
    let places = ["a.test", "up.test"].map(|name| format!("{name}:{}", origin.port()));
    let mut open = Vec::new();
    for place in &places {
        open.push(tunnel(&gateway, ONE, place).await.expect("a tunnel"));
    }
    let before = (gateway.dns.total_queries(), private.total_queries());
    gateway.configure(&(more.clone() + &sandboxes("others", "others"))).await;
    for client in &mut open {
        client.expect_closed().await;
    }
    for place in &places {
        assert_eq!(refused(&gateway, ONE, place).await, "policy_error", "{place}");
    }
    assert_eq!((gateway.dns.total_queries(), private.total_queries()), before);
    let record =
        gateway.wait_for("a refusal", |all| all.iter().any(|record| record["reason"] == "policy_error"));
    let record = record.await.into_iter().find(|record| record["reason"] == "policy_error").unwrap();
    assert!(record["error"].to_string().contains("kept to other groups: agents"), "{record:#}");
    gateway.configure(&(more + &sandboxes("agents", "others"))).await;
    assert!(tunnel(&gateway, ONE, &places[0]).await.is_ok());
}

#[tokio::test]
async fn a_name_is_managed_only_where_every_document_that_delegates_lists_it() {
    let (origin, private) = (Origin::echo().await, Dns::start().await);
    let both = |above: &str, own: &str| {
        delegating("name: above", above, "both.test, '*.up.test'")
            + &delegating("name: own, sandbox: one", own, "both.test, low.test")
    };
    let more = networks(&private) + &sandboxes("agents", "others");
    let gateway = Gateway::configured(&both("lab", "lab"), &more).await;
    let all = ["both.test", "a.up.test", "low.test", "none.test"];
    names(&gateway, &private, &origin, &all);
    for (name, network) in all.into_iter().zip(["managed", "lab", "lab", "lab"]) {
        drop(tunnel(&gateway, ONE, &format!("{name}:{}", origin.port())).await.expect("a tunnel"));
        let record = gateway.record("connection", name).await;
        assert_eq!(record["network"], network, "{record:#}");
        let asked = (gateway.dns.queries(name) > 0, private.queries(name) > 0);
        assert_eq!(asked, (network == "managed", network == "lab"), "{name}");
    }
    // The other sandbox has the document above alone.
    drop(tunnel(&gateway, TWO, &format!("a.up.test:{}", origin.port())).await.expect("a tunnel"));
    let by_two = |all: &[Value]| {
        let own = |record: &&Value| record["sandbox"] == "two" && record["kind"] == "connection";
        all.iter().find(own).cloned()
    };
    let records = gateway.wait_for("its record", |all| by_two(all).is_some()).await;
    assert_eq!(by_two(&records).unwrap()["network"], "managed");

    // Two networks: nothing of the sandbox, until that is mended; the other one runs.
    let place = format!("none.test:{}", origin.port());
    let mut open = tunnel(&gateway, ONE, &place).await.expect("a tunnel");
    gateway.set_policy(&both("lab", "prod")).await;
    open.expect_closed().await;
    for name in all {
        let place = format!("{name}:{}", origin.port());
        assert_eq!(refused(&gateway, ONE, &place).await, "policy_error", "{name}");
        assert!(tunnel(&gateway, TWO, &place).await.is_ok(), "{name}");
    }
    let problems = gateway.running().last_load().problems;
    let told = "`own` delegates to network `prod`, but Global `above` delegates to `lab`";
    assert!(problems.iter().any(|problem| problem.to_string().contains(told)), "{problems:#?}");
    gateway.set_policy(&both("lab", "lab")).await;
    assert!(tunnel(&gateway, ONE, &place).await.is_ok());
}

/// The code that a DNS listener answers a query for the addresses of a name with.
async fn code(door: SocketAddr, name: &str) -> ResponseCode {
    look_up(door, name, RecordType::A).await.metadata.response_code
}

/// A network that leaves it to this parent to resolve names.
fn remote(parent: SocketAddr) -> NetworkSettings {
    let proxy =
        ProxySettings { address: parent, protocol: Protocol::Http, server_name: None, credentials: None };
    NetworkSettings { proxy: Some(proxy), by_name: true, ..NetworkSettings::default() }
}

#[tokio::test]
async fn a_query_for_a_name_that_only_a_parent_resolves_is_answered_servfail_and_recorded() {
    let (origin, parent) = (Origin::echo().await, Parent::start(Speaks::Connect).await);
    let policy = "mode: VNet\nvnet: {network: far, managedPath: {additionalHosts: [near.test]}}\n";
    for is_managed in [false, true] {
        let gateway = Gateway::with(policy, |config| {
            let own = NetworkSettings { dns: config.dns.servers.clone(), ..NetworkSettings::default() };
            let (managed, far) =
                if is_managed { (remote(parent.address()), own) } else { (own, remote(parent.address())) };
            // The servers of the managed network are those of `dns`.
            config.networks.managed = NetworkSettings { dns: Vec::new(), ..managed };
            config.networks.delegated.insert("far".into(), far);
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            config.listeners.push(ListenerSettings::new(address, ListenerKind::Dns(Settings::DEFAULT)));
        })
        .await;
        for name in ["near.test", "other.test"] {
            gateway.name(name, &origin);
        }
        let (left, right) =
            if is_managed { ("near.test", "other.test") } else { ("other.test", "near.test") };
        let door = gateway.running().listeners[1];
        assert_eq!(code(door, &format!("{left}.")).await, ResponseCode::ServFail);
        let record = gateway.record("query", left).await;
        assert_eq!([&record["reason"], &record["decision"]], ["dns_failed", "deny"], "{record:#}");
        let network = if is_managed { "managed" } else { "far" };
        assert_eq!(record["network"], network, "{record:#}");
        assert!(record["error"].to_string().contains("parent proxy"), "{record:#}");
        assert_eq!(gateway.dns.total_queries(), 0);
        assert_eq!(code(door, &format!("{right}.")).await, ResponseCode::NoError);
        // A call for the same name works.
        drop(Client::tunnel(gateway.proxy(), &format!("{left}:{}", origin.port())).await);
        assert_eq!(parent.asked().last(), Some(&format!("{left}:{}", origin.port())));
        assert_eq!(gateway.dns.queries(left), 0);
    }
}

#[tokio::test]
async fn a_parent_that_is_the_gateway_itself_is_refused_at_the_start_by_whatever_address() {
    let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let at = |ip: [u8; 4]| SocketAddr::from((ip, port));
    for (listener, parent) in [
        (at([127, 0, 0, 1]), at([127, 0, 0, 1])),
        (at([0, 0, 0, 0]), at([127, 0, 0, 1])),
        (at([0, 0, 0, 0]), at([127, 9, 9, 9])),
        (at([0, 0, 0, 0]), SocketAddr::new(own_address(), port)),
    ] {
        for name in ["managed", "far"] {
            let started = Gateway::try_with("mode: Limited\n", |config| {
                config.listeners = vec![ListenerSettings::new(listener, ListenerKind::Explicit)];
                if name == "managed" {
                    config.networks.managed = remote(parent);
                } else {
                    config.networks.delegated.insert(name.into(), remote(parent));
                }
            });
            let Err(StartError::Other(error)) = started.await else {
                panic!("{listener} {parent}: it starts")
            };
            let told = format!(
                "the parent proxy {parent} is this gateway's own listener: name another under `networks.{name}.proxy`"
            );
            assert!(format!("{error:#}").contains(&told), "{error:#}");
        }
    }
}

/// An address of this host that is not a loopback one; where it has none, one that is.
fn own_address() -> std::net::IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: the kernel only chooses the way.
    let chosen = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    chosen.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

#[tokio::test]
async fn a_change_of_networks_takes_effect_after_a_restart_and_is_told_so() {
    let (origin, private) = (Origin::echo().await, Dns::start().await);
    let more = networks(&private) + &sandboxes("agents", "others");
    let policy = delegating("name: s, sandbox: one", "prod", "up.test");
    let gateway = Gateway::configured(&policy, &more).await;
    names(&gateway, &private, &origin, &["a.test"]);
    let load = gateway.configure(&more.replace("lab", "hut")).await;
    let told = "takes effect after a restart: networks";
    assert_eq!([&load["outcome"], &load["error"]], ["ok", told], "{load:#}");
    let problems = gateway.running().last_load().problems;
    assert!(problems.iter().any(|problem| problem.to_string().contains(told)), "{problems:#?}");
    // Documents are judged by the networks that are there.
    gateway.set_policy(&delegating("name: s, sandbox: one", "hut", "up.test")).await;
    let problems = gateway.running().last_load().problems;
    let unknown = "the process configuration has no network `hut`";
    assert!(problems.iter().any(|problem| problem.to_string().contains(unknown)), "{problems:#?}");
    let place = format!("a.test:{}", origin.port());
    assert!(tunnel(&gateway, ONE, &place).await.is_ok(), "by the last good version");
}
