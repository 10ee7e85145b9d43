//! `skipEgressProxy` by every way in: the rules are not asked, and what is not the rules' holds all the same.

use std::net::SocketAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use sluicegate::app::StartError;
use sluicegate::config::{Config, ListenerKind, ListenerSettings, NetworkSettings};
use sluicegate::proxy::dns::Settings;
use tokio::net::UdpSocket;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;

/// A document that by its rules allows nothing and looks into everything, were they asked.
const SKIPS: &str = "mode: Limited\ntrafficInspection: Full\nskipEgressProxy: true\n";

/// One above all that permits those below to skip, and one of the sandbox that does.
fn below(constraints: &str) -> String {
    format!(
        "kind: EgressPolicy
metadata: {{name: above}}
spec: {{mode: Limited, hostRules: [{{pattern: bad.test, action: Deny}}]{constraints}}}
---
kind: EgressPolicy
metadata: {{name: free, sandbox: default}}
spec: {{mode: Limited, skipEgressProxy: true}}
"
    )
}

/// What permits it.
const PERMITTED: &str = ", constraints: {skipEgressProxy: Permitted}";

/// An operator who permits it, and answers queries.
fn permit(config: &mut Config) {
    config.skip_egress_proxy = true;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    config.listeners.push(ListenerSettings::new(address, ListenerKind::Dns(Settings::DEFAULT)));
}

/// A gateway that could decrypt, of an operator who permits it, under which these names are these origins.
async fn gateway<const N: usize>(policy: &str, origins: [(&str, &Origin); N]) -> Gateway {
    Gateway::inspecting_with(policy, origins, permit).await
}

/// The code that a query for the addresses of a name is answered with, and how many addresses there are.
async fn look_up(gateway: &Gateway, name: &str) -> (ResponseCode, usize) {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    let door = gateway.running().listeners[1];
    let socket = UdpSocket::bind((door.ip(), 0)).await.unwrap();
    socket.send_to(&query.to_vec().unwrap(), door).await.unwrap();
    let mut buffer = [0; 4096];
    let length = within("an answer", socket.recv(&mut buffer)).await.unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    (answer.metadata.response_code, answer.answers.len())
}

/// Asks for a page as a client of a proxy does.
async fn get(gateway: &Gateway, place: &str, lines: &str) -> Response {
    let request = format!("GET http://{place}/x?q=1 HTTP/1.1\r\nHost: {place}\r\n{lines}\r\n");
    gateway.client().await.ask(request).await
}

/// Status and reason of a refused tunnel.
async fn refused(gateway: &Gateway, place: &str) -> (u16, String) {
    let answer = Client::try_tunnel(gateway.proxy(), place).await.err().expect("a refusal");
    (answer.status, answer.header("x-deny-reason").unwrap_or_default().to_owned())
}

/// Checks that a call was recorded as one whose rules were not asked, for this document alone.
fn skipped(record: &Value, policy: &str) {
    assert_eq!([&record["decision"], &record["policy"]], ["skip", policy], "{record:#}");
    assert!(record["reason"].is_null() && record["rule"].is_null(), "{record:#}");
    assert!(record["inspected"] != true && record["secrets"].is_null(), "{record:#}");
}

/// The value of one line of the metrics.
async fn metric(gateway: &Gateway, name: &str) -> String {
    let (_, text) = gateway.admin_get("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

/// The metric of how many documents skip.
const DOCUMENTS: &str = "sluicegate_skip_egress_proxy_documents";

#[tokio::test]
async fn every_way_in_passes_unread_and_unasked_and_is_counted_and_recorded_as_skipped() {
    let (echo, web) = (Origin::echo().await, Origin::http([Reply::ok("plain")]).await);
    let inside = Origin::tls("tls.test", Behaviour::Http(vec![Reply::ok("inside")])).await;
    let origins = [("echo.test", &echo), ("web.test", &web), ("tls.test", &inside), ("in.test", &web)];
    let gateway = gateway(SKIPS, origins).await;
    // Whose certificate it is shows whether somebody looked inside.
    let tunnel = Client::tunnel(gateway.proxy(), &format!("tls.test:{}", inside.port())).await;
    let mut client = tunnel.tls("tls.test", inside.certificate()).await;
    assert_eq!(client.ask("GET / HTTP/1.1\r\nhost: tls.test\r\n\r\n").await.body, "inside");
    assert_eq!(client.shown(), inside.certificate());
    drop(client);
    let mut client = Client::tunnel(gateway.proxy(), &format!("echo.test:{}", echo.port())).await;
    client.send("\x01opaque").await;
    client.expect("\x01opaque").await;
    drop(client);
    let answer = get(&gateway, &format!("web.test:{}", web.port()), "x-own: 1\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "plain"));
    // HTTP in the clear inside of a tunnel.
    let mut client = Client::tunnel(gateway.proxy(), &format!("in.test:{}", web.port())).await;
    let request = format!("GET / HTTP/1.1\r\nhost: in.test:{}\r\n\r\n", web.port());
    assert_eq!(client.ask(request).await.body, "plain");
    drop(client);
    assert_eq!(look_up(&gateway, "echo.test.").await, (ResponseCode::NoError, 1));
    for (kind, host) in [
        ("connection", "tls.test"),
        ("connection", "echo.test"),
        ("request", "web.test"),
        ("request", "in.test"),
    ] {
        skipped(&gateway.record(kind, host).await, "policy");
    }
    let records = gateway.records().await;
    let opened = records.iter().filter(|record| record["kind"] == "open");
    assert!(opened.clone().count() >= 2 && opened.clone().all(|record| record["decision"] == "skip"));
    for ingress in ["connect", "http"] {
        let name =
            format!("sluicegate_decisions_total{{decision=\"skip\",ingress=\"{ingress}\",reason=\"none\"}}");
        assert_ne!(metric(&gateway, &name).await, "0");
    }
    assert_eq!(metric(&gateway, DOCUMENTS).await, "1");
    assert_eq!(metric(&gateway, "sluicegate_certificates_minted_total").await, "0");
}

#[tokio::test]
async fn s2_no_header_is_edited_and_no_secret_is_sent() {
    let value = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(value.path(), "hunter2hunter2").unwrap();
    let policy = format!(
        "kind: Secret\nmetadata: {{name: github}}\nspec: {{keys: {{token: {{file: '{}'}}}}, hosts: [api.test], placeholder: true}}
---
kind: EgressPolicy
metadata: {{name: p}}
spec:
  mode: Limited
  skipEgressProxy: true
  ports: [1-65535]
  rules:
  - match: {{host: api.test}}
    action:
      type: Transform
      headers:
      - {{operation: Set, name: x-set, value: edited}}
      - {{operation: Remove, name: x-own}}
      - {{operation: Set, name: authorization, valueRef: {{secretRef: {{secretId: github}}}}}}
",
        value.path().display()
    );
    let inside = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("inside")])).await;
    let gateway = gateway(&policy, [("api.test", &inside)]).await;
    let tunnel = Client::tunnel(gateway.proxy(), &format!("api.test:{}", inside.port())).await;
    let mut client = tunnel.tls("api.test", inside.certificate()).await;
    let lines = "host: api.test\r\nx-own: 1\r\nauthorization: token sluicegate:github/token\r\n";
    assert_eq!(client.ask(format!("GET / HTTP/1.1\r\n{lines}\r\n")).await.body, "inside");
    assert_eq!(inside.received(0), format!("GET / HTTP/1.1\r\n{lines}\r\n"), "byte by byte");
    drop(client);
    skipped(&gateway.record("connection", "api.test").await, "p");

    let web = Origin::http([Reply::ok("plain")]).await;
    gateway.name("api.test", &web);
    // Another name of the pool, as answers of DNS are kept.
    gateway.name("web.test", &web);
    let answer = get(&gateway, &format!("web.test:{}", web.port()), "x-own: 1\r\n").await;
    assert_eq!(answer.status, 200);
    let seen = web.received(0);
    assert!(seen.contains("x-own: 1\r\n") && !seen.contains("edited") && !seen.contains("hunter2"), "{seen}");
    let placeholder = "x-own: sluicegate:github/token\r\n";
    let answer = get(&gateway, &format!("web.test:{}", web.port()), placeholder).await;
    assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some("secret_unavailable")));
    assert!(!web.received(0).contains("github") && web.connections() == 1, "{}", web.received(0));
    let text = std::fs::read_to_string(gateway.audit_file()).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a4_a6_hard_guards_hold_and_names_must_agree_by_every_way_in() {
    let echo = Origin::tls("a.test", Behaviour::Echo).await;
    let gateway = gateway(SKIPS, [("a.test", &echo), ("b.test", &echo)]).await;
    for (name, address) in
        [("meta.test", "169.254.169.254"), ("link.test", "169.254.1.1"), ("own.test", "127.0.0.1")]
    {
        gateway.dns.says(name, Answer::addresses([address]));
    }
    let own = format!("own.test:{}", gateway.admin().port());
    for (place, reason) in [
        ("169.254.169.254:80", "guard_metadata"),
        ("[::ffff:169.254.169.254]:80", "guard_metadata"),
        ("meta.test:80", "guard_metadata"),
        ("link.test:80", "guard_local"),
        ("0.0.0.0:80", "guard_local"),
        (own.as_str(), "guard_self"),
        (&gateway.admin().to_string(), "guard_self"),
        (&gateway.dns.address().to_string(), "guard_self"),
    ] {
        assert_eq!(refused(&gateway, place).await, (403, reason.to_owned()), "{place}");
        let answer = get(&gateway, place, "").await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some(reason)), "{place}");
    }
    let records = gateway.records().await;
    let calls = records.iter().filter(|record| record["kind"] == "connection" || record["kind"] == "request");
    assert!(calls.clone().count() == 16 && calls.clone().all(|record| record["decision"] == "deny"));
    // It may ask for the address, as by any document that allows the name.
    assert_eq!(look_up(&gateway, "meta.test.").await, (ResponseCode::NoError, 1));

    let tunnel = Client::tunnel(gateway.proxy(), &format!("a.test:{}", echo.port())).await;
    assert!(tunnel.try_tls("b.test", CertificateDer::clone(&echo.certificate())).await.is_err());
    let record = gateway.record("connection", "a.test").await;
    assert_eq!(record["reason"], "authority_mismatch", "{record:#}");
    assert_eq!(record["bytes_up"], 0, "{record:#}");
    let mut client = gateway.client().await;
    let request = format!("CONNECT a.test:{0} HTTP/1.1\r\nHost: b.test:{0}\r\n\r\n", echo.port());
    let before = echo.connections();
    assert_eq!(client.ask(request).await.header("x-deny-reason"), Some("authority_mismatch"));
    assert_eq!(echo.connections(), before);
}

#[tokio::test]
async fn a_document_below_is_asked_all_the_same() {
    let echo = Origin::echo().await;
    let policy = format!(
        "kind: EgressPolicy\nmetadata: {{name: above}}\nspec: {{mode: Limited, skipEgressProxy: true}}\n---\n\
         kind: EgressPolicy\nmetadata: {{name: own, sandbox: default}}\nspec: {{mode: Limited, hostRules: ['ok.test:{}']}}\n",
        echo.port()
    );
    let gateway = gateway(&policy, [("ok.test", &echo), ("no.test", &echo)]).await;
    drop(Client::tunnel(gateway.proxy(), &format!("ok.test:{}", echo.port())).await);
    let record = gateway.record("connection", "ok.test").await;
    let said = ["decision", "policy", "scope", "rule"].map(|key| record[key].as_str().unwrap_or_default());
    let rule = format!("hostRules[0] ok.test:{}", echo.port());
    assert_eq!(said, ["skip", "own", "Sandbox", rule.as_str()], "{record:#}");
    assert_eq!(gateway.record("open", "ok.test").await["decision"], "skip");
    for place in ["no.test", "bad.test"] {
        let place = format!("{place}:{}", echo.port());
        assert_eq!(refused(&gateway, &place).await, (403, "default_deny".to_owned()));
        assert_eq!(get(&gateway, &place, "").await.status, 403);
    }
    assert_eq!(look_up(&gateway, "no.test.").await.1, 0);
    assert_eq!(gateway.dns.queries("no.test"), 0);
}

#[tokio::test]
async fn what_permits_it_is_taken_away_and_given_back_while_calls_are_open() {
    let (echo, web) =
        (Origin::echo().await, Origin::http([Reply::chunked(["held", "on"]).step_by_step()]).await);
    let gateway = gateway(&below(PERMITTED), [("echo.test", &echo), ("web.test", &web)]).await;
    let place = format!("echo.test:{}", echo.port());
    let mut tunnel = Client::tunnel(gateway.proxy(), &place).await;
    tunnel.send("\x01").await;
    tunnel.expect("\x01").await;
    let mut under_way = gateway.client().await;
    under_way
        .send(format!("GET http://web.test:{0}/ HTTP/1.1\r\nHost: web.test:{0}\r\n\r\n", web.port()))
        .await;
    web.wait_for_bytes(0, b"\r\n\r\n").await;
    assert_eq!(metric(&gateway, DOCUMENTS).await, "1");

    gateway.set_policy(&below("")).await;
    tunnel.expect_closed().await;
    under_way.expect_closed_or_head().await;
    let record = gateway.record("connection", "echo.test").await;
    let said = [&record["decision"], &record["reason"], &record["outcome"], &record["policy"]];
    assert_eq!(said, ["deny", "policy_change", "policy_change", "free"], "{record:#}");
    assert_eq!(gateway.record("open", "echo.test").await["decision"], "skip");
    let record = gateway.record("request", "web.test").await;
    assert_eq!(record["reason"], "policy_change", "{record:#}");
    assert_eq!(metric(&gateway, DOCUMENTS).await, "0");
    assert_eq!(refused(&gateway, &place).await, (403, "policy_error".to_owned()));
    assert_eq!(get(&gateway, &format!("web.test:{}", web.port()), "").await.status, 403);
    assert_eq!(look_up(&gateway, "echo.test.").await.1, 0);
    let problems = gateway.running().last_load().problems;
    let told = "`free` has `skipEgressProxy: true`, which Global `above` does not permit";
    assert!(problems.iter().any(|problem| problem.to_string().contains(told)), "{problems:#?}");

    gateway.set_policy(&below(PERMITTED)).await;
    let mut tunnel = Client::tunnel(gateway.proxy(), &place).await;
    tunnel.send("\x01").await;
    tunnel.expect("\x01").await;
    assert_eq!(metric(&gateway, DOCUMENTS).await, "1");
}

#[tokio::test]
async fn p8_an_operator_who_does_not_permit_it_has_forbidden_it_at_the_start_and_later() {
    let told = "`free` has `skipEgressProxy: true`, which the process configuration does not permit";
    let Err(StartError::Policy(loaded)) = Gateway::try_with(&below(PERMITTED), |_| {}).await else {
        panic!("it starts")
    };
    assert!(loaded.problems.iter().any(|problem| problem.to_string().contains(told)), "{loaded:#?}");

    let gateway = Gateway::configured("mode: Unrestricted\n", "").await;
    gateway.set_policy(&below(PERMITTED)).await;
    assert_eq!(refused(&gateway, "ok.test:443").await, (403, "policy_error".to_owned()));
    // What the operator says of it takes effect after a restart, and is told so.
    let load = gateway.configure("skipEgressProxy: Permitted\n").await;
    assert!(load["error"].to_string().contains("skipEgressProxy"), "{load:#}");
    assert_eq!(refused(&gateway, "ok.test:443").await, (403, "policy_error".to_owned()));
    assert_eq!((metric(&gateway, DOCUMENTS).await.as_str(), gateway.dns.total_queries()), ("0", 0));
}

#[tokio::test]
async fn a_network_that_only_reports_lets_pass_and_tells_what_it_would_deny() {
    let echo = Origin::echo().await;
    let rules = "securityRules: [{name: none, priority: 100, action: Deny, destination: ['*']}]";
    let policy = |enforcement: &str| {
        format!(
            "mode: VNet\nskipEgressProxy: true\nenforcement: {enforcement}\nvnet: {{network: prod, {rules}}}\n"
        )
    };
    let gateway = Gateway::with(&policy("Report"), |config| {
        permit(config);
        let prod = NetworkSettings { dns: config.dns.servers.clone(), ..NetworkSettings::default() };
        config.networks.delegated.insert("prod".into(), prod);
    })
    .await;
    gateway.name("echo.test", &echo);
    let place = format!("echo.test:{}", echo.port());
    drop(Client::tunnel(gateway.proxy(), &place).await);
    let record = gateway.record("connection", "echo.test").await;
    let said = [&record["decision"], &record["route"], &record["would_deny"]["reason"]];
    assert_eq!(said, ["skip", "delegated", "network_rule_denied"], "{record:#}");
    gateway.set_policy(&policy("Enforce")).await;
    assert_eq!(refused(&gateway, &place).await, (403, "network_rule_denied".to_owned()));
}
