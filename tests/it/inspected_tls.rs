//! The two TLS connections of an interception: whose certificates are shown and believed, and what is not decrypted.

use serde_json::Value;
use sluicegate::config::Ech;
use sluicegate::policy::pattern::Pattern;

use crate::inspected::{POLICY, get, inner, single};
use crate::kit::client::Client;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::http2_origin::Stream;
use crate::kit::origin::{Behaviour, End, Origin};
use crate::kit::tls::Secure;

/// How many certificates were made.
async fn minted(gateway: &Gateway) -> u64 {
    let metrics = gateway.admin_get("/metrics").await.1;
    let line = metrics.lines().find(|line| line.starts_with("sluicegate_certificates_minted_total "));
    let line = line.unwrap_or_else(|| panic!("no such metric: {metrics}"));
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Data with its length in two bytes before it.
fn vector(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

/// A hello for this server with one more extension.
fn hello(name: &str, extension: u16) -> Vec<u8> {
    let name = vector(&vector(&[&[0], &vector(name.as_bytes())[..]].concat()));
    let list = [&[0, 0], &name[..], &extension.to_be_bytes(), &vector(&[0; 40])].concat();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &vector(&list)].concat();
    let message = [&[1], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], &body].concat();
    [&[22, 3, 1][..], &vector(&message)].concat()
}

/// The record of a tunnel from this client.
async fn tunnel_of(gateway: &Gateway, client: &str) -> Value {
    let is_it = |record: &Value| record["kind"] == "connection" && record["client"] == client;
    let records = gateway.wait_for("the record of a tunnel", |all| all.iter().any(is_it)).await;
    records.into_iter().find(is_it).unwrap()
}

#[tokio::test]
async fn c1_an_origin_that_cannot_be_verified_is_a_502_that_says_why() {
    for (secure, trusted, why) in [
        (Secure::new("api.test").years(2001, 2002), true, "has expired"),
        (Secure::new("api.test").years(2090, 2091), true, "not valid yet"),
        (Secure::new("wrong.test"), true, "for another name"),
        (Secure::new("api.test"), false, "not signed by an authority that the gateway trusts"),
    ] {
        for protocols in [&["http/1.1"][..], &["h2"]] {
            let origin = Origin::secure(secure.clone(), Behaviour::Http(vec![Reply::ok("hello")])).await;
            let gateway = if trusted {
                Gateway::inspecting(POLICY, [("api.test", &origin)]).await
            } else {
                let gateway = Gateway::inspecting(POLICY, []).await;
                gateway.name("api.test", &origin);
                gateway
            };
            let mut client = gateway.inside("api.test", &origin, protocols).await;
            let (status, reason, body) = if protocols == ["h2"] {
                let answer = client.http2().await.get("https://api.test/open/x").await;
                let reason = answer.header("x-deny-reason").map(str::to_owned);
                (answer.status.as_u16(), reason, answer.text())
            } else {
                let answer = client.ask(get("api.test", "/open/x")).await;
                (answer.status, answer.header("x-deny-reason").map(str::to_owned), answer.body)
            };
            assert_eq!((status, reason.as_deref()), (502, Some("upstream_failed")), "{why}");
            assert!(body.contains(why), "{why}: {body}");
            let record = inner(&gateway, 1).await.remove(0);
            assert_eq!((&record["status"], &record["reason"]), (&502.into(), &"upstream_failed".into()));
            assert!(record["error"].as_str().unwrap().contains(why), "{record}");
            assert_eq!(origin.received(0), "", "nothing was sent");
        }
    }
}

#[tokio::test]
async fn c1_what_is_no_http_inside_tls_reaches_only_an_origin_that_is_verified() {
    let policy = "mode: Limited\nports: [1-65535]\nhostRules: [api.test]\ntrafficInspection: Legacy\n";
    let origin = Origin::secure(Secure::new("wrong.test"), Behaviour::Echo).await;
    let gateway = Gateway::inspecting(policy, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &[]).await;
    let from = client.source().to_string();
    client.send("\x01 no HTTP").await;
    client.expect_closed().await;
    let record = tunnel_of(&gateway, &from).await;
    assert_eq!((&record["reason"], &record["bytes_up"]), (&"upstream_failed".into(), &0.into()), "{record}");
    assert!(record["error"].as_str().unwrap().contains("for another name"), "{record}");
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_leaves_a_record_that_says_what_to_do() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
    let tunnel = Client::tunnel(gateway.proxy(), &format!("api.test:{}", origin.port())).await;
    let from = tunnel.local().to_string();
    assert!(tunnel.try_tls("api.test", origin.certificate()).await.is_err());
    let record = tunnel_of(&gateway, &from).await;
    let error = record["error"].as_str().unwrap();
    assert!(error.contains("sluicegate ca export") && error.contains("intercept.exclude"), "{record}");
    assert_eq!((&record["inspected"], &record["decision"]), (&true.into(), &"allow".into()), "{record}");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn c1_no_certificate_is_made_for_what_is_denied_or_not_decrypted() {
    let policy = "
mode: Limited
ports: [1-65535]
hostRules: [plain.test, {pattern: denied.test, action: Deny}]
cidrRules: [{cidr: 127.0.0.8/32, action: Allow}]
rules:
- {match: {host: api.test, path: /open}, action: Allow}
- {match: {host: denied.test, path: /open}, action: Allow}
";
    let plain = single("plain.test", [Reply::ok("plain")]).await;
    let origin = single("api.test", [Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(
        policy,
        [("api.test", &origin), ("denied.test", &origin), ("plain.test", &plain)],
    );
    let gateway = gateway.await;
    let port = origin.port();
    // Refused before any TLS.
    for host in ["denied.test", "unknown.test"] {
        let refused = Client::try_tunnel(gateway.proxy(), &format!("{host}:{port}")).await.err().unwrap();
        assert_eq!(refused.status, 403, "{host}");
    }
    // Refused for the name in the hello.
    for (target, name) in
        [("api.test", "denied.test"), ("api.test", "plain.test"), ("127.0.0.8", "denied.test")]
    {
        let tunnel = Client::tunnel(gateway.proxy(), &format!("{target}:{port}")).await;
        assert!(tunnel.try_tls(name, gateway.authority()).await.is_err(), "{target} {name}");
    }
    // Allowed, and its own business.
    let tunnel = Client::tunnel(gateway.proxy(), &format!("plain.test:{}", plain.port())).await;
    drop(tunnel.tls("plain.test", plain.certificate()).await);
    assert_eq!(minted(&gateway).await, 0);
    for _ in 0..3 {
        drop(gateway.inside("api.test", &origin, &[]).await);
    }
    assert_eq!(minted(&gateway).await, 1, "one for the host, however many come");
}

#[tokio::test]
async fn a_host_that_the_operator_excludes_is_not_decrypted_whatever_a_document_says() {
    let policy =
        "mode: Limited\nports: [1-65535]\nhostRules: [api.test, '*.bank.test']\ntrafficInspection: Full\n";
    let (api, bank) =
        (single("api.test", [Reply::ok("api")]).await, single("my.bank.test", [Reply::ok("bank")]).await);
    let gateway = Gateway::inspecting_with(policy, [("api.test", &api), ("my.bank.test", &bank)], |config| {
        let intercept = config.intercept.as_mut().unwrap();
        intercept.exclude = vec!["*.bank.test".parse::<Pattern>().unwrap()];
    });
    let gateway = gateway.await;
    assert_eq!(gateway.inside("api.test", &api, &[]).await.ask(get("api.test", "/")).await.body, "api");
    let tunnel = Client::tunnel(gateway.proxy(), &format!("my.bank.test:{}", bank.port())).await;
    let mut sealed = tunnel.tls("my.bank.test", bank.certificate()).await;
    assert_eq!(sealed.ask(get("x.test", "/")).await.body, "bank");
    // It is the name that is excluded, not what is no TLS.
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("my.bank.test:{}", bank.port())).await;
    tunnel.send("\x01 no HTTP").await;
    tunnel.expect_closed().await;
    let refused = |all: &[Value]| all.iter().any(|record| record["reason"] == "not_http");
    gateway.wait_for("a record of what is no HTTP", refused).await;
}

#[tokio::test]
async fn t2_ech_deny_refuses_an_encrypted_hello_where_tls_is_decrypted_too() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    let gateway =
        Gateway::inspecting_with(POLICY, [("api.test", &origin)], |config| config.ech = Ech::Deny).await;
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("api.test:{}", origin.port())).await;
    let from = tunnel.local().to_string();
    tunnel.send(hello("api.test", 0xfe0d)).await;
    assert_eq!(tunnel.expect_closed().await, [21, 3, 3, 0, 2, 2, 49]);
    let record = tunnel_of(&gateway, &from).await;
    assert_eq!((&record["reason"], &record["ech"]), (&"sni_missing".into(), &true.into()), "{record}");
    assert_eq!((minted(&gateway).await, origin.connections()), (0, 0));
}

#[tokio::test]
async fn i1_a_hello_for_another_name_than_the_tunnel_is_not_decrypted() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(POLICY, [("api.test", &origin), ("other.test", &origin)]).await;
    let tunnel = Client::tunnel(gateway.proxy(), &format!("api.test:{}", origin.port())).await;
    let from = tunnel.local().to_string();
    let failed = tunnel.try_tls("other.test", gateway.authority()).await.err().unwrap();
    assert!(failed.to_string().contains("AccessDenied"), "{failed}");
    assert_eq!(tunnel_of(&gateway, &from).await["reason"], "authority_mismatch");
    assert_eq!(minted(&gateway).await, 0);
}

/// One address, by itself, in rules; and one name.
const LITERAL: &str = "
mode: Limited
ports: [1-65535]
cidrRules: [{cidr: 127.0.0.8/32, action: Allow}]
rules: [{match: {host: 127.0.0.8, path: /open/*}, action: Allow}, {match: {host: api.test, path: /open/*}, action: Allow}]
";

#[tokio::test]
async fn tls_to_an_address_without_a_name_is_decrypted_under_that_address() {
    let origin = single("127.0.0.8", [Reply::ok("hello")]).await;
    let gateway = Gateway::inspecting(LITERAL, [("unused.test", &origin)]).await;
    // A server name that is an address is none in the hello.
    let mut client = gateway.inside("127.0.0.8", &origin, &["http/1.1"]).await;
    assert_eq!(client.ask(get("127.0.0.8", "/open/x")).await.body, "hello");
    assert_eq!(client.ask(get("127.0.0.8", "/closed")).await.status, 200, "cidrRules allow all of it");
    assert_eq!(client.ask(get("api.test", "/open/x")).await.status, 421);
    let record = inner(&gateway, 3).await.remove(0);
    assert_eq!((&record["host"], &record["sni"]), (&"127.0.0.8".into(), &Value::Null), "{record}");
}

#[tokio::test]
async fn i2_tls_to_an_address_with_a_name_is_judged_and_verified_by_that_name() {
    let (named, other) =
        (single("api.test", [Reply::ok("named")]).await, single("127.0.0.8", [Reply::ok("x")]).await);
    let gateway = Gateway::inspecting(LITERAL, [("api.test", &named), ("other.test", &other)]).await;
    let inside = async |origin: &Origin, name: &str| {
        let tunnel = Client::tunnel(gateway.proxy(), &format!("127.0.0.8:{}", origin.port())).await;
        tunnel.try_tls(name, gateway.authority()).await
    };
    let mut client = inside(&named, "api.test").await.unwrap();
    assert_eq!(client.ask(get("api.test", "/open/x")).await.body, "named");
    assert_eq!(client.ask(get("api.test", "/closed")).await.status, 403, "the rules about the name hold");
    assert_eq!(client.ask(get("127.0.0.8", "/open/x")).await.status, 421, "and it is the authority");
    let host = format!("api.test:{}", named.port());
    let absolute = format!("GET http://{host}/open/x HTTP/1.1\r\nhost: {host}\r\n\r\n");
    assert_eq!(client.ask(absolute).await.status, 200, "in whichever form");
    // An origin that shows a certificate for the address is not who the client asked for.
    let mut client = inside(&other, "api.test").await.unwrap();
    assert_eq!(client.ask(get("api.test", "/open/x")).await.status, 502);
    assert!(inside(&named, "denied.test").await.is_err(), "a name that no rule allows");
}

/// Everything is decrypted, and what is no HTTP passes.
const LEGACY: &str = "mode: Limited\nports: [1-65535]\nhostRules: [api.test]\ntrafficInspection: Legacy\n";

#[tokio::test]
async fn a_server_that_speaks_first_inside_tls_is_heard_where_that_may_pass() {
    let origin = Origin::tls("api.test", Behaviour::Banner(b"220 ready\r\n".to_vec())).await;
    let gateway = Gateway::inspecting(LEGACY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &[]).await;
    client.expect("220 ready\r\n").await;
    client.send("EHLO x\r\n").await;
    client.expect("EHLO x\r\n").await;
    client.finish().await;
    client.expect_end().await;
    let record = gateway.record("connection", "api.test").await;
    assert_eq!((&record["outcome"], &record["inspected"]), (&"ok".into(), &true.into()), "{record}");
    assert_eq!((&record["bytes_up"], &record["bytes_down"]), (&8.into(), &19.into()), "{record}");
}

#[tokio::test]
async fn a_client_that_is_silent_at_first_is_decrypted_when_its_hello_comes() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    for policy in [LEGACY, POLICY] {
        let gateway = Gateway::inspecting(policy, [("api.test", &origin)]).await;
        let at = origin.connections();
        let tunnel = Client::tunnel(gateway.proxy(), &format!("api.test:{}", origin.port())).await;
        if policy == LEGACY {
            // As the origin might speak first, it was reached; nothing is said on that connection.
            origin.wait_for_connections(at + 1).await;
        }
        let mut client = tunnel.tls("api.test", gateway.authority()).await;
        assert_eq!(client.ask(get("api.test", "/open/x")).await.body, "hello");
        for number in at..origin.connections().saturating_sub(1) {
            assert_eq!(origin.received(number), "");
        }
    }
}

#[tokio::test]
async fn r1_a_client_that_is_silent_inside_tls_where_only_http_may_pass_is_ended_by_the_idle_limit() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    for protocols in [&[][..], &["http/1.1"], &["h2"]] {
        let gateway = Gateway::inspecting_with(POLICY, [("api.test", &origin)], |config| {
            config.limits.idle_timeout = std::time::Duration::from_millis(500);
        });
        let gateway = gateway.await;
        let mut client = gateway.inside("api.test", &origin, protocols).await;
        let from = client.source().to_string();
        client.expect_closed().await;
        let record = tunnel_of(&gateway, &from).await;
        assert_eq!(record["outcome"], "idle", "{protocols:?}: {record}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn the_end_of_tls_on_one_side_is_told_to_the_other() {
    let origin = Origin::tls("api.test", Behaviour::FinFirst(b"\x01bye".to_vec())).await;
    let gateway = Gateway::inspecting(LEGACY, [("api.test", &origin)]).await;
    let mut client = gateway.inside("api.test", &origin, &[]).await;
    client.send("\x02hello").await;
    assert_eq!(client.rest().await, b"\x01bye");
    client.send("more").await;
    client.finish().await;
    origin.wait_for_bytes(0, b"\x02hellomore").await;
    assert_eq!(origin.wait_for_end(0).await, End::Fin);
}

#[tokio::test]
async fn r2_certificates_for_names_without_end_are_bounded_for_each_sandbox() {
    let policy = "defaultAction: Deny\nports: [1-65535]\nrules: [{match: {host: '*.api.test', path: /x}, action: Allow}]\n";
    let origin = Origin::http2("x.api.test", [Stream::ok("hello")]).await;
    let gateway = Gateway::inspecting(policy, [("x.api.test", &origin)]).await;
    for number in 0..40 {
        drop(gateway.inside(&format!("n{number}.api.test"), &origin, &[]).await);
    }
    assert_eq!(minted(&gateway).await, 40);
    for number in 0..40 {
        drop(gateway.inside(&format!("n{number}.api.test"), &origin, &[]).await);
    }
    assert_eq!(minted(&gateway).await, 40, "they are kept");
    assert_eq!(gateway.dns.total_queries(), 0, "nobody was reached for it");
}
