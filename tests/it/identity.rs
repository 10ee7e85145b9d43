//! Who is who changes under a running gateway: `sandboxes` of the configuration file, read again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;

/// One sandbox by its address.
const ONE: &str = "sandboxes:\n  - {id: one, sources: [127.0.0.1]}\n";
/// Two of them.
const BOTH: &str = "sandboxes:\n  - {id: one, sources: [127.0.0.1]}\n  - {id: two, sources: [127.0.0.2]}\n";

/// A document of `kind` for one scope that allows `good.test` on a port.
fn document(metadata: &str, port: u16) -> String {
    format!(
        "kind: EgressPolicy\nmetadata: {{name: d, {metadata}}}\nspec: {{mode: Limited, hostRules: ['good.test:{port}']}}\n"
    )
}

/// Allows `good.test`.
fn good(port: u16) -> String {
    format!("mode: Limited\nhostRules: ['good.test:{port}']\n")
}

/// A gateway that was configured with `more`, and an echoing origin known as `good.test` that everybody may reach.
async fn start(more: &str) -> (Gateway, Origin) {
    start_with(more, Behaviour::Echo).await
}

async fn start_with(more: &str, behaviour: Behaviour) -> (Gateway, Origin) {
    let origin = Origin::start(behaviour).await;
    let gateway = Gateway::configured(&good(origin.port()), more).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    (gateway, origin)
}

/// What a client from an address is told to a CONNECT with these header lines, and its connection.
async fn connected(gateway: &Gateway, origin: &Origin, source: &str, fields: &str) -> (Client, Response) {
    let mut client = Client::connect_from(source, gateway.proxy()).await;
    let authority = format!("good.test:{}", origin.port());
    client.send(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")).await;
    let head = client.head().await;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (client, Response { status, head, body: String::new(), raw_body: Vec::new() })
}

/// An open tunnel of a client at an address that was used once.
async fn tunnel(gateway: &Gateway, origin: &Origin, source: &str, fields: &str) -> Client {
    let (mut tunnel, answer) = connected(gateway, origin, source, fields).await;
    assert_eq!(answer.status, 200, "{}", answer.head);
    goes_on(&mut tunnel).await;
    tunnel
}

/// The status and reason of a CONNECT.
async fn asked(gateway: &Gateway, origin: &Origin, source: &str) -> (u16, String) {
    let (_, answer) = connected(gateway, origin, source, "").await;
    (answer.status, answer.header("x-deny-reason").unwrap_or_default().to_owned())
}

/// Shows that a tunnel is still open.
async fn goes_on(tunnel: &mut Client) {
    tunnel.send("\x01ping").await;
    tunnel.expect("\x01ping").await;
}

/// The record of the end of the tunnel of this client.
async fn end_of(gateway: &Gateway, client: &Client) -> Value {
    let from = client.local().to_string();
    let is_it = |record: &Value| record["kind"] == "connection" && record["client"] == from.as_str();
    let records = gateway.wait_for("the end of the tunnel", |records| records.iter().any(is_it)).await;
    records.into_iter().find(is_it).expect("it was just seen")
}

/// Shows that a tunnel was ended because nobody knows its client any more, within a second.
async fn is_ended(gateway: &Gateway, mut tunnel: Client, sandbox: &str) {
    let begun = Instant::now();
    tunnel.expect_reset().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let end = end_of(gateway, &tunnel).await;
    assert_eq!(
        (&end["reason"], &end["outcome"]),
        (&"identity_unknown".into(), &"policy_change".into()),
        "{end:#}"
    );
    assert_eq!((&end["sandbox"], &end["decision"]), (&sandbox.into(), &"deny".into()));
    let told = end["error"].as_str().unwrap_or_default();
    assert!(told.contains(&format!("no longer sandbox `{sandbox}`")), "{end:#}");
    assert_eq!(end["generation"], gateway.running().last_load().generation);
}

/// A metric without labels, or with these.
async fn metric(gateway: &Gateway, name: &str) -> f64 {
    let (_, text) = gateway.admin_get("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

/// The header line that shows a token.
fn shows(id: &str, token: &str) -> String {
    use base64::Engine as _;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{token}"));
    format!("Proxy-Authorization: Basic {pair}\r\n")
}

#[tokio::test]
async fn p4_a_removed_sandbox_is_nobody_and_its_connections_end_while_the_others_go_on() {
    let (gateway, origin) = start(BOTH).await;
    let one = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    let mut two = tunnel(&gateway, &origin, "127.0.0.2", "").await;
    let load = gateway.configure("sandboxes:\n  - {id: two, sources: [127.0.0.2]}\n").await;
    assert_eq!((&load["generation"], &load["outcome"]), (&2.into(), &"ok".into()), "{load:#}");
    is_ended(&gateway, one, "one").await;
    goes_on(&mut two).await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.1").await, (407, "identity_unknown".into()));
    gateway.configure(BOTH).await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.1").await.0, 200, "and back again");
    goes_on(&mut two).await;
}

#[tokio::test]
async fn p4_a_connection_whose_address_is_nobodys_or_anothers_ends() {
    for then in [
        "sandboxes:\n  - {id: one, sources: [127.0.0.9]}\n",
        "sandboxes:\n  - {id: one, sources: [127.0.0.9]}\n  - {id: two, sources: [127.0.0.1]}\n",
    ] {
        let (gateway, origin) = start(ONE).await;
        let one = tunnel(&gateway, &origin, "127.0.0.1", "").await;
        gateway.configure(then).await;
        is_ended(&gateway, one, "one").await;
        let known = then.contains("two");
        let (status, reason) = if known { (200, "") } else { (407, "identity_unknown") };
        assert_eq!(asked(&gateway, &origin, "127.0.0.1").await, (status, reason.into()));
    }
}

#[tokio::test]
async fn p4_from_no_sandbox_listed_to_some_and_back_ends_what_is_open() {
    let (gateway, origin) = start("").await;
    let before = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    gateway.configure(ONE).await;
    is_ended(&gateway, before, "default").await;
    let listed = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await, (407, "identity_unknown".into()));
    gateway.configure("").await;
    is_ended(&gateway, listed, "one").await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 200);
}

#[tokio::test]
async fn p4_a_sandbox_in_another_group_is_judged_by_the_documents_of_that_group() {
    let origin = Origin::http([Reply::ok("x")]).await;
    let open = "mode: Unrestricted\n".to_owned();
    let in_group = |group: &str| {
        format!(
            "sandboxes:\n  - {{id: one, group: {group}, sources: [127.0.0.1]}}\n  - {{id: a, group: wide, sources: [127.0.1.1]}}\n  \
             - {{id: b, group: alike, sources: [127.0.1.2]}}\n  - {{id: c, group: shut, sources: [127.0.1.3]}}\n"
        )
    };
    let gateway = Gateway::configured(&open, &in_group("wide")).await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let shut = "kind: EgressPolicy\nmetadata: {name: shut, group: shut}\nspec: {mode: Limited}\n";
    let documents =
        [document("group: wide", origin.port()), document("group: alike", origin.port()), shut.to_owned()];
    gateway
        .after_load(|| {
            std::fs::write(gateway.policies().join("groups.yaml"), documents.join("---\n")).unwrap();
        })
        .await;

    // HTTP in a tunnel: each request is a call of its own, and the connection outlives the first change.
    let authority = format!("good.test:{}", origin.port());
    let mut client = Client::tunnel(gateway.proxy(), &authority).await;
    let request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    assert_eq!(client.ask(&request).await.status, 200);
    gateway.configure(&in_group("alike")).await;
    assert_eq!(client.ask(&request).await.status, 200, "the group of then allows it too");
    let groups = |records: &[Value]| -> Vec<Value> {
        records
            .iter()
            .filter(|record| record["kind"] == "request")
            .map(|record| record["group"].clone())
            .collect()
    };
    let records = gateway.wait_for("both records", |records| groups(records).len() == 2).await;
    assert_eq!(groups(&records), ["wide", "alike"]);
    gateway.configure(&in_group("shut")).await;
    client.expect_closed().await;
    let end = end_of(&gateway, &client).await;
    assert_eq!((&end["reason"], &end["policy"]), (&"policy_change".into(), &"shut".into()), "{end:#}");
    assert_eq!(asked(&gateway, &origin, "127.0.0.1").await, (403, "default_deny".into()));
}

#[tokio::test]
async fn p4_a_changed_token_ends_what_was_known_by_it_alone() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "first-canary").unwrap();
    let token = format!("token: {{file: '{}'}}", secret.path().display());
    let sandboxes = format!(
        "sandboxes:\n  - {{id: by-token, {token}}}\n  - {{id: by-both, sources: [127.0.0.3], {token}}}\n"
    );
    let (gateway, origin) = start(&sandboxes).await;
    let by_token = tunnel(&gateway, &origin, "127.0.0.1", &shows("by-token", "first-canary")).await;
    let mut by_both = tunnel(&gateway, &origin, "127.0.0.3", &shows("by-both", "first-canary")).await;

    // The same token in a file that was written anew is no change.
    std::fs::write(secret.path(), "first-canary\n").unwrap();
    gateway.running().reload();
    gateway.configure(&format!("{sandboxes}  - {{id: more, sources: [127.0.0.4]}}\n")).await;
    let mut by_token = by_token;
    goes_on(&mut by_token).await;

    std::fs::write(secret.path(), "second-canary").unwrap();
    let load = gateway.after_load(|| gateway.running().reload()).await;
    assert_eq!((&load["outcome"], &load["generation"]), (&"ok".into(), &3.into()));
    is_ended(&gateway, by_token, "by-token").await;
    goes_on(&mut by_both).await;
    for (token, status) in [("first-canary", 407), ("second-canary", 200)] {
        let (_, answer) = connected(&gateway, &origin, "127.0.0.1", &shows("by-token", token)).await;
        assert_eq!(answer.status, status, "{token}");
    }
    let told = std::fs::read_to_string(gateway.audit_file()).unwrap();
    assert!(!told.contains("canary"), "a token is in the records");
}

#[tokio::test]
async fn p4_requests_websockets_and_kept_alive_connections_are_asked_who_they_are_too() {
    let (gateway, origin) =
        start_with(BOTH, Behaviour::Http(vec![Reply::ok("x"), Reply::upgrade("websocket")])).await;
    let authority = format!("good.test:{}", origin.port());
    let request =
        |fields: &str| format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n");
    let mut idle = Client::connect_from("127.0.0.1", gateway.proxy()).await;
    assert_eq!(idle.ask(request("")).await.status, 200);
    let mut socket = Client::connect_from("127.0.0.1", gateway.proxy()).await;
    assert_eq!(socket.ask(request("")).await.status, 200);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    socket.send(request(upgrade)).await;
    assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
    // Somebody who was refused has nothing open, and stays.
    let mut stranger = Client::connect_from("127.0.0.5", gateway.proxy()).await;
    assert_eq!(stranger.ask(request("")).await.status, 407);

    gateway.configure("sandboxes:\n  - {id: five, sources: [127.0.0.5]}\n").await;
    let begun = Instant::now();
    idle.expect_closed().await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "not by the time that a head may take: {:?}",
        begun.elapsed()
    );
    socket.expect_closed().await;
    assert_eq!(stranger.ask(request("")).await.status, 200, "the next request is identified afresh");
    let from = socket.local().to_string();
    let is_it = |record: &Value| record["client"] == from.as_str() && record["reason"] == "identity_unknown";
    gateway.wait_for("the end of the WebSocket", |records| records.iter().any(is_it)).await;
}

#[tokio::test]
async fn a_document_for_a_sandbox_that_is_added_is_in_force_with_it_and_goes_with_it() {
    let (gateway, origin) = start(ONE).await;
    let file = gateway.policies().join("two.yaml");
    let own = "kind: EgressPolicy\nmetadata: {name: own, sandbox: two}\nspec: {mode: Limited}\n";
    let load = gateway.after_load(|| std::fs::write(&file, own).unwrap()).await;
    assert_eq!(
        (&load["outcome"], &load["generation"]),
        (&"refused".into(), &1.into()),
        "nobody is sandbox two"
    );
    let load = gateway.configure(BOTH).await;
    assert_eq!((&load["outcome"], &load["generation"]), (&"ok".into(), &2.into()), "{load:#}");
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await, (403, "default_deny".into()));

    // Its file goes with it: what is left is no orphan.
    let load = gateway
        .after_load(|| {
            std::fs::remove_file(&file).unwrap();
        })
        .await;
    assert_eq!(load["outcome"], "refused", "a file that vanishes removes nothing");
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await, (403, "default_deny".into()));
    let load = gateway.configure(ONE).await;
    assert_eq!((&load["outcome"], &load["error"]), (&"ok".into(), &Value::Null), "{load:#}");
    gateway.configure(BOTH).await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 200, "its document is gone");
}

#[tokio::test]
async fn a_sandbox_that_must_have_a_document_is_denied_from_the_reload_on() {
    let (gateway, origin) = start(ONE).await;
    let open = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    gateway.configure("sandboxes:\n  - {id: one, sources: [127.0.0.1], requirePolicy: true}\n").await;
    let mut open = open;
    open.expect_reset().await;
    assert_eq!(end_of(&gateway, &open).await["reason"], "policy_change");
    assert_eq!(asked(&gateway, &origin, "127.0.0.1").await, (403, "no_policy".into()));
}

#[tokio::test]
async fn p2_a_broken_configuration_leaves_the_last_good_one_in_force_and_is_told_like_a_broken_policy() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "ops-token").unwrap();
    let admin = format!(
        "admin: {{address: '127.0.0.1:0', tokens: [{{name: ops, role: Reader, token: {{file: '{}'}}}}]}}\n",
        secret.path().display()
    );
    let (gateway, origin) = start(&format!("{admin}{ONE}")).await;
    let mut open = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    let ready = async || {
        let host = gateway.admin();
        let ask = format!(
            "GET /readyz HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer ops-token\r\nconnection: close\r\n\r\n"
        );
        let answer = Client::connect(host).await.ask(ask).await;
        (answer.status, answer.body)
    };
    let two = format!("{admin}sandboxes:\n  - {{id: two, sources: [127.0.0.2]}}\n");
    let mut rejected = 0.0;
    for (broken, part) in [
        (format!("{two}sandboxes: []\n"), "duplicate key"),
        (format!("{two}colour: red\n"), "unknown key `colour`"),
        (format!("{two}  - {{id: two, sources: [127.0.0.3]}}\n"), "already"),
        (format!("{two}  - {{id: three, sources: [127.0.0.0/8]}}\n"), "overlaps"),
        (format!("{two}  - {{id: three, token: {{file: /nowhere/token}}}}\n"), "has no token"),
        (format!("{two}  - {{id: four, token: {{env: SLUICEGATE_TEST_UNSET}}}}\n"), "has no token"),
        (format!("{two}sinks: ["), "gate.yaml"),
    ] {
        let load = gateway.configure(&broken).await;
        assert_eq!((&load["outcome"], &load["generation"]), (&"refused".into(), &1.into()), "{load:#}");
        assert!(load["error"].as_str().unwrap_or_default().contains(part), "{part}: {load:#}");
        rejected += 1.0;
        let counted = metric(&gateway, "sluicegate_policy_reloads_total{result=\"rejected\"}").await;
        assert!((counted - rejected).abs() < f64::EPSILON, "{counted}");
        let (status, text) = ready().await;
        assert!(status == 200 && text.contains(part) && text.contains("generation 1 stays"), "{text}");
        goes_on(&mut open).await;
        assert_eq!(asked(&gateway, &origin, "127.0.0.1").await.0, 200);
        assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 407);
    }
    let load = gateway.after_load(|| std::fs::remove_file(gateway.config_file()).unwrap()).await;
    assert!(load["error"].as_str().unwrap_or_default().contains("cannot read"), "{load:#}");
    goes_on(&mut open).await;
    // A policy that changes meanwhile takes effect.
    let load = gateway.after_load(|| {
        std::fs::write(gateway.policies().join("one.yaml"), document("sandbox: one", origin.port())).unwrap();
    });
    assert_eq!(load.await["generation"], 2);
    let load = gateway.configure(&two).await;
    assert_eq!(load["generation"], 3);
    is_ended(&gateway, open, "one").await;
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 200);
}

#[tokio::test]
async fn p3_what_waits_for_a_restart_is_said_and_the_rest_takes_effect() {
    let (gateway, origin) = start(ONE).await;
    let listeners = "listeners: [{address: '127.0.0.1:1'}]\nech: Deny\nguards: {exempt: []}\n";
    let load = gateway.configure(&format!("{listeners}{BOTH}")).await;
    let told = "takes effect after a restart: listeners, ech, guards";
    assert_eq!((&load["outcome"], &load["error"]), (&"ok".into(), &told.into()), "{load:#}");
    assert_eq!(
        asked(&gateway, &origin, "127.0.0.2").await.0,
        200,
        "the sandbox is there, the guards are as they were"
    );
    let problems = gateway.running().last_load().problems;
    assert!(
        problems.iter().any(|problem| !problem.is_error() && problem.to_string().contains(told)),
        "{problems:#?}"
    );
    // The name of a sandbox at a listener waits too; the sandbox that was there is gone at once.
    let load = gateway.configure(BOTH).await;
    assert_eq!((&load["outcome"], &load["error"]), (&"ok".into(), &Value::Null), "{load:#}");
    assert!(gateway.running().last_load().pending.is_empty());
}

#[tokio::test]
async fn p3_a_listener_whose_sandbox_is_gone_lets_nobody_in_until_the_restart() {
    let listener = "listeners: [{address: '127.0.0.1:0', sandbox: one}]\n";
    let (gateway, origin) =
        start(&format!("{listener}sandboxes: [{{id: one}}, {{id: two, sources: [127.0.0.2]}}]\n")).await;
    let open = tunnel(&gateway, &origin, "127.0.0.1", "").await;
    let load = gateway.configure("sandboxes: [{id: two, sources: [127.0.0.2]}]\n").await;
    assert_eq!(load["error"], "takes effect after a restart: listeners", "{load:#}");
    is_ended(&gateway, open, "one").await;
    for source in ["127.0.0.1", "127.0.0.2"] {
        assert_eq!(asked(&gateway, &origin, source).await, (407, "identity_unknown".into()), "{source}");
    }
}

#[tokio::test]
async fn p3_every_request_is_of_one_sandbox_under_one_generation() {
    // In each generation the same client is one of two sandboxes; each may reach one of two names.
    let origin = Origin::echo().await;
    let port = origin.port();
    let listing = |id: &str| {
        let other = if id == "even" { "odd" } else { "even" };
        format!("sandboxes: [{{id: {id}, sources: [127.0.0.1]}}, {{id: {other}, sources: [127.0.0.2]}}]\n")
    };
    let gateway = Gateway::configured("mode: Unrestricted\n", &listing("odd")).await;
    let own = |id: &str| {
        format!(
            "kind: EgressPolicy\nmetadata: {{name: {id}, sandbox: {id}}}\nspec: {{mode: Limited, hostRules: ['{id}.test:{port}']}}\n"
        )
    };
    for id in ["even", "odd"] {
        gateway.dns.says(&format!("{id}.test"), Answer::addresses(["127.0.0.8"]));
        gateway
            .after_load(|| std::fs::write(gateway.policies().join(format!("{id}.yaml")), own(id)).unwrap())
            .await;
    }
    gateway.configure(&listing("even")).await;
    let first = gateway.running().last_load().generation;
    let done = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = ["even.test", "odd.test"]
        .into_iter()
        .map(|name| {
            let (done, proxy) = (Arc::clone(&done), gateway.proxy());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let mut client = Client::connect(proxy).await;
                    client
                        .send(format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n"))
                        .await;
                    let _head = client.expect_closed_or_head().await;
                }
            })
        })
        .collect();
    for round in 0..6 {
        gateway.configure(&listing(if round % 2 == 0 { "odd" } else { "even" })).await;
    }
    done.store(true, Ordering::Relaxed);
    for asking in asking {
        within("the clients to end", asking).await.unwrap();
    }
    let records = gateway.stop().await;
    let decided =
        records.iter().filter(|record| record["host"].is_string() && record["outcome"] != "policy_change");
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    for record in decided {
        let Some(generation) = record["generation"].as_u64().filter(|generation| *generation >= first) else {
            continue;
        };
        let sandbox = record["sandbox"].as_str().unwrap();
        assert_eq!(sandbox, if (generation - first) % 2 == 0 { "even" } else { "odd" }, "{record:#}");
        assert_eq!(record["decision"] == "allow", record["host"] == format!("{sandbox}.test"), "{record:#}");
        seen.insert(generation);
        count += 1;
    }
    assert!(seen.len() >= 4 && count > 20, "{seen:?} {count}");
}

#[tokio::test]
async fn p2_what_is_wrong_with_the_policies_goes_on_being_told_when_only_the_configuration_changes() {
    let (gateway, origin) = start(ONE).await;
    let broken = gateway.policies().join("broken.yaml");
    gateway.after_load(|| std::fs::write(&broken, "mode: limited\n").unwrap()).await;
    let load = gateway.configure(BOTH).await;
    assert_eq!((&load["outcome"], &load["generation"]), (&"refused".into(), &2.into()), "{load:#}");
    assert!(load["error"].as_str().unwrap_or_default().contains("broken.yaml"), "{load:#}");
    assert_eq!(asked(&gateway, &origin, "127.0.0.2").await.0, 200);
    let load = gateway.after_load(|| std::fs::remove_file(&broken).unwrap()).await;
    assert_eq!(load["outcome"], "ok", "{load:#}");
    // And the other way round.
    gateway.configure("sandboxes: [").await;
    let load = gateway.after_load(|| std::fs::write(&broken, "mode: limited\n").unwrap()).await;
    assert!(load["error"].as_str().unwrap_or_default().contains("gate.yaml"), "{load:#}");
    std::fs::remove_file(&broken).unwrap();
    let load = gateway.configure(ONE).await;
    assert_eq!((&load["outcome"], &load["error"]), (&"ok".into(), &Value::Null), "{load:#}");
}

#[tokio::test]
async fn a_configuration_from_a_mounted_configmap_is_followed() {
    let (gateway, origin) = start(BOTH).await;
    let file = gateway.config_file();
    let place = file.parent().unwrap().to_owned();
    let text = std::fs::read_to_string(&file).unwrap();
    let one = text.replace(BOTH, ONE);
    assert_ne!(text, one);
    for (version, text) in [("..1", &text), ("..2", &one)] {
        std::fs::create_dir(place.join(version)).unwrap();
        std::fs::write(place.join(version).join("gate.yaml"), text).unwrap();
    }
    std::os::unix::fs::symlink("..1", place.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/gate.yaml", place.join("link")).unwrap();
    std::fs::rename(place.join("link"), &file).unwrap();
    let two = tunnel(&gateway, &origin, "127.0.0.2", "").await;
    std::os::unix::fs::symlink("..2", place.join("..data_tmp")).unwrap();
    let load =
        gateway.after_load(|| std::fs::rename(place.join("..data_tmp"), place.join("..data")).unwrap()).await;
    assert_eq!((&load["outcome"], &load["generation"]), (&"ok".into(), &2.into()), "{load:#}");
    is_ended(&gateway, two, "two").await;
}
