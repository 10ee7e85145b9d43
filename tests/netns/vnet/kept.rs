//! One connection of a client, several paths: each request takes its own, no connection of one path is used for the other,
//! and a rewritten request goes where its new place is.

use serde_json::Value;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::tool;
use crate::namespace::Namespace;
use crate::topology::FOREIGN;
use crate::vnet::ask::{PROXY, assert_path};
use crate::vnet::counters::Link;
use crate::vnet::topology::{NETWORKS, PRIVATE, TwoUplinks, config, managed};

/// Where the origins are, on both paths.
const KEEPING: &str = "93.184.216.40";

/// A running gateway, and an origin on each path that keeps connections.
async fn net(label: &str, policy: &str) -> Option<(TwoUplinks, [Origin; 2])> {
    let net = TwoUplinks::start(label, policy, NETWORKS).await?;
    for name in ["left.test", "right.test", "moves.test"] {
        net.dns.says(name, Answer::addresses([KEEPING]));
        net.private_dns.says(name, Answer::addresses([KEEPING]));
    }
    let web = |says: &str| {
        let address = format!("{KEEPING}:80").parse().expect("an address");
        Origin::start_on(address, Behaviour::Http(vec![Reply::ok(says)]))
    };
    let origins = [net.internet.inside(|| web("managed")), net.vnet.inside(|| web("delegated"))];
    Some((net, origins))
}

/// What a request for this host on a kept connection is answered.
async fn get(client: &mut Client, host: &str) -> String {
    let answer = client.ask(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    answer.body
}

#[tokio::test]
async fn p1_requests_of_one_connection_take_a_path_each_also_when_a_switch_is_turned_between_them() {
    let path = "additionalHosts: [left.test]";
    let Some((net, origins)) = net("kept", &managed(path)).await else { return };
    let mut client = net.connect(PROXY);
    for _ in 0..3 {
        assert_eq!(get(&mut client, "left.test").await, "managed");
        assert_eq!(get(&mut client, "right.test").await, "delegated");
    }
    assert_eq!(get(&mut client, "moves.test").await, "delegated");
    net.set_policy(&managed("additionalHosts: [left.test, moves.test]")).await;
    assert_eq!(get(&mut client, "moves.test").await, "managed");
    net.set_policy(&managed("additionalHosts: [right.test]")).await;
    assert_eq!(get(&mut client, "moves.test").await, "delegated");
    assert_eq!(get(&mut client, "left.test").await, "delegated");
    assert_eq!(get(&mut client, "right.test").await, "managed");
    assert!(origins.iter().all(|origin| origin.connections() > 0));
}

#[tokio::test]
async fn a_rewritten_request_takes_the_path_of_its_new_place() {
    let rules = "rules:
  - {match: {host: to-left.test}, action: {type: Rewrite, host: left.test}}
  - {match: {host: to-right.test}, action: {type: Rewrite, host: right.test}}
";
    let path = "additionalHosts: [left.test, to-right.test]";
    let Some((mut net, _origins)) = net("rewritten", &managed(path)).await else { return };
    // A rewritten request must be readable, inside TLS too.
    let config = net.intercepting(&config(NETWORKS), &[]);
    net.gateway(&format!("{}{rules}", managed(path)), &config).await;
    for (name, link) in [("to-left.test", Link::Managed), ("to-right.test", Link::Delegated)] {
        net.both_say(name);
        let (answer, record) = net.only_by(link, async || net.get(&format!("http://{name}/")).await).await;
        assert_eq!(answer.body, link.says(), "{record:#}");
        assert_path(&record, link);
        assert_eq!(
            (net.dns.queries(name), net.private_dns.queries(name)),
            (0, 0),
            "the old place is not asked for"
        );
    }
}

#[tokio::test]
async fn p7_a_request_inside_tls_that_is_rewritten_takes_the_path_of_its_new_place() {
    if tool::find("curl").is_none() {
        return;
    }
    let rules = "rules:
  - {match: {host: to-left.test}, action: {type: Rewrite, host: left.test}}
  - {match: {host: to-right.test}, action: {type: Rewrite, host: right.test}}
";
    let path = "additionalHosts: [left.test, to-right.test]";
    let Some(mut net) = TwoUplinks::new("rewritten-tls") else { return };
    let secure = |namespace: &Namespace, name: &str, says: &str| {
        let place = format!("{KEEPING}:443").parse().expect("an address");
        let replies = vec![Reply::ok(says).then_close()];
        namespace.inside(|| Origin::tls_on(place, name, Behaviour::Http(replies)))
    };
    let origins =
        [secure(&net.internet, "left.test", "managed"), secure(&net.vnet, "right.test", "delegated")];
    let config = net.intercepting(&config(NETWORKS), &[&origins[0], &origins[1]]);
    net.gateway(&format!("{}{rules}", managed(path)), &config).await;
    net.load_rules().await;
    for name in ["left.test", "right.test"] {
        net.dns.says(name, Answer::addresses([KEEPING]));
        net.private_dns.says(name, Answer::addresses([KEEPING]));
    }
    let (ca, proxy) = (net.place.text("ca/ca.pem"), format!("http://{PROXY}"));
    for (name, link) in [("to-left.test", Link::Managed), ("to-right.test", Link::Delegated)] {
        net.both_say(name);
        let url = format!("https://{name}/");
        let resolve = format!("{name}:443:{FOREIGN}");
        for way in [["-x", &proxy], ["--resolve", &resolve]] {
            let [option, value] = way;
            let ask = ["-sS", "-m", "20", "--cacert", &ca, option, value, &url];
            let ran = net.only_by(link, async || net.run(1, "curl", ask).await).await;
            assert_eq!(ran.stdout, link.says(), "{}", ran.stderr);
        }
        let inside = |one: &Value| one["ingress"] == "inspected" && one["host"] == name;
        let records = net.records("both requests", |all| all.iter().filter(|one| inside(one)).count() == 2);
        for record in records.await.iter().filter(|one| inside(one)) {
            assert_path(record, link);
        }
        // The tunnel would have taken the other path: nothing of it has.
        let asked = (net.dns.queries(name), net.private_dns.queries(name));
        assert_eq!(asked, (0, 0), "the old place is not asked for");
    }
    assert_eq!(origins.map(|origin| origin.connections()), [2, 2]);
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_udp_is_fetched_again_by_the_same_link() {
    let Some(mut net) = TwoUplinks::new("long") else { return };
    let sides = net.origins();
    for (name, link, address) in [
        ("long.left.test", Link::Managed, crate::topology::ORIGIN),
        ("long.right.test", Link::Delegated, PRIVATE),
    ] {
        // A connection to a name server is kept, so each has a gateway of its own.
        net.run_gateway(&managed("additionalHosts: ['*.left.test']"), NETWORKS).await;
        let server = if link == Link::Managed { &net.dns } else { &net.private_dns };
        server.says("target.test", Answer::addresses([address]).truncated_over_udp());
        server.says(name, Answer::alias("target.test"));
        let tunnel = net.only_by(link, async || net.hello(name, link).await).await;
        net.end(tunnel, link).await;
        assert!(server.asked().iter().any(|asked| asked.name == name && asked.over_tcp));
        net.kill().await;
    }
    assert_eq!(sides.connections(), (1, 1));
}
