//! A name with two addresses, by a parent proxy: which of them it is asked for, and when it is asked for the next.

use std::time::Duration;

use sluicegate::config::{NetworkSettings, ProxySettings};
use sluicegate::upstream::parent::Protocol;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::origin::Origin;
use crate::kit::parent::{Manner, Parent, Speaks};

/// What is neither HTTP nor TLS.
const PING: &str = "\x01pi";
/// The first address of the name, where nothing is; the origin is at the second.
const FIRST: &str = "127.0.0.9";

/// A gateway that goes through this parent proxy, under which `good.test` has both addresses.
async fn gateway(origin: &Origin, parent: &Parent, speaks: Speaks) -> Gateway {
    let protocol = if speaks == Speaks::Connect { Protocol::Http } else { Protocol::Socks5 };
    let proxy = ProxySettings { address: parent.address(), protocol, server_name: None, credentials: None };
    let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
    let gateway = Gateway::with(&policy, |config| {
        config.networks.managed = NetworkSettings { proxy: Some(proxy), ..NetworkSettings::default() };
        config.limits.connect_timeout = Duration::from_secs(4);
    });
    let gateway = gateway.await;
    let second = origin.address().ip().to_string();
    gateway.dns.says("good.test", Answer::addresses([FIRST, &second]));
    gateway
}

/// Checks that a tunnel works, and that it is by the second address.
async fn works_by_the_second(origin: &Origin, parent: &Parent, speaks: Speaks) {
    let gateway = gateway(origin, parent, speaks).await;
    let mut client = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
    client.send(PING).await;
    client.expect(PING).await;
    drop(client);
    assert_eq!(parent.asked(), [format!("{FIRST}:{}", origin.port()), origin.address().to_string()]);
    let record = gateway.record("connection", "good.test").await;
    assert_eq!(record["address"], origin.address().to_string(), "{record:#}");
}

#[tokio::test]
async fn a_parent_that_is_silent_for_one_address_is_asked_for_the_next() {
    for speaks in [Speaks::Connect, Speaks::Socks] {
        let origin = Origin::echo().await;
        let manner = Manner { silent_for: Some(FIRST), ..Manner::default() };
        let parent = Parent::with(speaks, manner, None).await;
        works_by_the_second(&origin, &parent, speaks).await;
    }
}

#[tokio::test]
async fn a_parent_that_cannot_reach_one_address_is_asked_for_the_next_too() {
    for speaks in [Speaks::Connect, Speaks::Socks] {
        let (origin, parent) = (Origin::echo().await, Parent::start(speaks).await);
        works_by_the_second(&origin, &parent, speaks).await;
    }
}

#[tokio::test]
async fn a_parent_that_is_at_fault_itself_is_not_asked_for_the_next() {
    let origin = Origin::echo().await;
    let says = Some(b"HTTP/1.1 407 No\r\n\r\n".to_vec());
    let parent = Parent::with(Speaks::Connect, Manner { says, ..Manner::default() }, None).await;
    let gateway = gateway(&origin, &parent, Speaks::Connect).await;
    let target = format!("good.test:{}", origin.port());
    let answer = Client::try_tunnel(gateway.proxy(), &target).await.err().unwrap();
    let told = "network `managed` cannot be used at the moment";
    assert!(answer.status == 502 && answer.body.contains(told), "{}", answer.body);
    assert!(!answer.body.contains("parent") && !answer.body.contains("credentials"), "{}", answer.body);
    let record = gateway.record("connection", "good.test").await;
    let whole = format!(
        "{told}: network `managed`: the parent proxy wants other credentials: {FIRST}:{} parent, through the parent proxy {}",
        origin.port(),
        parent.address()
    );
    assert_eq!(record["error"], whole, "{record:#}");
    assert_eq!(parent.asked(), [format!("{FIRST}:{}", origin.port())]);
}

#[tokio::test]
async fn a_parent_that_wants_somebody_and_is_shown_nobody_is_named() {
    let origin = Origin::echo().await;
    let wants = Some(["gate:hunter2", "Z2F0ZTpodW50ZXIy"]);
    let parent = Parent::with(Speaks::Socks, Manner { wants, ..Manner::default() }, None).await;
    let gateway = gateway(&origin, &parent, Speaks::Socks).await;
    let target = format!("good.test:{}", origin.port());
    assert_eq!(Client::try_tunnel(gateway.proxy(), &target).await.err().unwrap().status, 502);
    let record = gateway.record("connection", "good.test").await;
    let words = "the parent proxy accepts no way to authenticate that is configured";
    assert!(record["error"].to_string().contains(words), "{record:#}");
    assert!(parent.asked().is_empty());
}
