//! The mode is changed in the file while two hundred connections are open: those on the wrong path and those that are
//! denied end within about a second, the others carry on, and each record says which.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::kit::client::Client;
use crate::vnet::ask::assert_path;
use crate::vnet::counters::Link;
use crate::vnet::topology::{NETWORKS, TwoUplinks};

/// How soon a change must be felt, by the times of records; the machine may have other work.
const SOON: SignedDuration = SignedDuration::from_secs(2);
/// What stays in the document whatever its mode is: one name is denied, two are allowed, and the network of mode `VNet`.
const SETTINGS: &str = "hostRules: [left.test, right.test, {pattern: never.test, action: Deny}]
vnet: {network: prod, managedPath: {additionalHosts: [left.test]}}
";

/// The document in this mode.
fn document(mode: &str) -> String {
    format!("mode: {mode}\n{SETTINGS}")
}

/// Open connections of one name.
struct Open {
    link: Link,
    clients: Vec<Client>,
}

impl Open {
    /// Opens this many by this path.
    async fn new(net: &TwoUplinks, name: &str, link: Link, count: usize) -> Self {
        let mut clients = Vec::new();
        for at in 0..count {
            // By proxy and by redirection.
            clients.push(if at % 2 == 0 {
                net.hello(name, link).await
            } else {
                net.redirected(name, link).await
            });
        }
        Self { link, clients }
    }

    /// Where they come from, in order.
    fn places(&self) -> Vec<String> {
        let mut places: Vec<String> = self.clients.iter().map(|client| client.local().to_string()).collect();
        places.sort_unstable();
        places
    }

    /// All of them still carry bytes both ways.
    async fn carry_on(&mut self) {
        for client in &mut self.clients {
            // An alert is a record that passes at any time.
            client.send([21, 3, 3, 0, 2, 1, 0]).await;
            client.expect([21, 3, 3, 0, 2, 1, 0]).await;
        }
    }
}

/// Puts the document of this mode in force; exactly these must end, soon, with a record that says why and by which path
/// they went.
async fn switch(net: &TwoUplinks, mode: &str, ending: &mut [&mut Open]) {
    let ends = |all: &[Value]| -> Vec<Value> {
        all.iter().filter(|one| one["kind"] == "connection").cloned().collect()
    };
    let before = ends(&net.records("the records so far", |_| true).await).len();
    net.set_policy(&document(mode)).await;
    for open in &mut *ending {
        for client in &mut open.clients {
            client.expect_closed().await;
        }
    }
    let mut expected: Vec<String> = ending.iter().flat_map(|open| open.places()).collect();
    expected.sort_unstable();
    let wanted = before + expected.len();
    let all = net.records("the records of what ended", |all| ends(all).len() >= wanted).await;
    let ended = ends(&all).split_off(before);
    let load = all.iter().rfind(|one| one["kind"] == "policy" && one["policy"].is_null()).expect("a load");
    let took = ended.iter().map(|one| time(one).duration_since(time(load))).max();
    assert!(took.is_none_or(|took| took < SOON), "{mode}: {took:?}");
    let mut places: Vec<&str> = ended.iter().filter_map(|one| one["client"].as_str()).collect();
    places.sort_unstable();
    assert_eq!(places, expected, "{mode}: {ended:#?}");
    for record in &ended {
        assert_eq!(record["reason"], "policy_change", "{record:#}");
        let of = ending.iter().find(|open| open.places().iter().any(|place| record["client"] == *place));
        assert_path(record, of.expect("it was one of them").link);
    }
}

/// When something was recorded.
fn time(record: &Value) -> Timestamp {
    record["time"].as_str().and_then(|time| time.parse().ok()).expect("a time")
}

#[tokio::test]
async fn p4_modes_switched_under_two_hundred_connections_end_exactly_those_that_are_wrong() {
    let Some(net) = TwoUplinks::start("modes", &document("Unrestricted"), NETWORKS).await else { return };
    let _origins = net.origins();
    for name in ["left.test", "right.test", "extra.test", "never.test"] {
        net.both_say(name);
    }
    let denied = async || {
        let record = net.refused("never.test:443", Some("never.test")).await;
        assert_eq!(record["reason"], "host_denied", "{record:#}");
    };
    let mut left = Open::new(&net, "left.test", Link::Managed, 100).await;
    let mut right = Open::new(&net, "right.test", Link::Managed, 60).await;
    let mut extra = Open::new(&net, "extra.test", Link::Managed, 40).await;
    denied().await;

    switch(&net, "Limited", &mut [&mut extra]).await;
    let mut more = Open::new(&net, "right.test", Link::Managed, 40).await;
    left.carry_on().await;
    right.carry_on().await;
    denied().await;

    // The same names take the other path.
    switch(&net, "VNet", &mut [&mut right, &mut more]).await;
    let mut delegated = Open::new(&net, "right.test", Link::Delegated, 60).await;
    let mut others = Open::new(&net, "extra.test", Link::Delegated, 40).await;
    left.carry_on().await;
    denied().await;

    switch(&net, "Limited", &mut [&mut delegated, &mut others]).await;
    let mut back = Open::new(&net, "right.test", Link::Managed, 100).await;
    left.carry_on().await;
    denied().await;

    switch(&net, "Unrestricted", &mut []).await;
    left.carry_on().await;
    back.carry_on().await;
    denied().await;
    Open::new(&net, "extra.test", Link::Managed, 1).await.carry_on().await;
    // One connection from the first mode to the last is one record.
    let first = left.clients.remove(0);
    let record = net.end(first, Link::Managed).await;
    assert_eq!(record["outcome"], "ok", "{record:#}");
}

#[tokio::test]
async fn p4_unrestricted_and_vnet_turned_into_each_other_end_what_is_on_the_wrong_path_and_no_more() {
    let Some(net) = TwoUplinks::start("turned", &document("Unrestricted"), NETWORKS).await else { return };
    let _origins = net.origins();
    for name in ["left.test", "right.test", "extra.test"] {
        net.both_say(name);
    }
    let mut left = Open::new(&net, "left.test", Link::Managed, 10).await;
    for _ in 0..2 {
        let mut right = Open::new(&net, "right.test", Link::Managed, 10).await;
        let mut extra = Open::new(&net, "extra.test", Link::Managed, 10).await;
        switch(&net, "VNet", &mut [&mut right, &mut extra]).await;
        let mut delegated = Open::new(&net, "right.test", Link::Delegated, 10).await;
        let mut others = Open::new(&net, "extra.test", Link::Delegated, 10).await;
        for open in [&mut left, &mut delegated, &mut others] {
            open.carry_on().await;
        }
        switch(&net, "Unrestricted", &mut [&mut delegated, &mut others]).await;
        left.carry_on().await;
    }
    Open::new(&net, "right.test", Link::Managed, 2).await.carry_on().await;
}
