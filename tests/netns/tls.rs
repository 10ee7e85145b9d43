//! Redirected TLS: the name in the hello is the target.

use std::time::{Duration, Instant};

use crate::kit::dns::Answer;
use crate::kit::http::Reply;
use crate::kit::origin::Behaviour;
use crate::kit::tool;
use crate::topology::{CONFIG, FOREIGN, LITERAL, ORIGIN, ORIGIN6, Topology};

/// What a TLS client that may not is told: fatal, `access_denied`.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];
/// How soon a refusal must come; the machine may have other work.
const AT_ONCE: Duration = Duration::from_secs(2);

/// One name, and one address.
pub const POLICY: &str = "mode: Limited
hostRules: [good.test, also-good.test]
cidrRules: [{cidr: 93.184.216.40/32, action: Allow}]
";

/// Data with its length in two bytes before it.
fn vector(data: &[u8]) -> Vec<u8> {
    [&u16::try_from(data.len()).unwrap().to_be_bytes(), data].concat()
}

/// A hello for this server, or for none, in one record.
pub fn hello(name: Option<&str>, more: &[(u16, &[u8])]) -> Vec<u8> {
    let entry = |name: &str| [vec![0], vector(name.as_bytes())].concat();
    let mut list = name.map_or_else(Vec::new, |name| [vec![0, 0], vector(&vector(&entry(name)))].concat());
    for (kind, data) in more {
        list.extend([&kind.to_be_bytes()[..], &vector(data)].concat());
    }
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &vector(&list)].concat();
    let message = [&[1], &u32::try_from(body.len()).unwrap().to_be_bytes()[1..], &body].concat();
    [&[22, 3, 1][..], &vector(&message)].concat()
}

/// A running gateway whose good names lead to the usual origin.
async fn net(label: &str) -> Option<Topology> {
    let mut net = Topology::new(label)?;
    net.redirect();
    for name in ["good.test", "also-good.test"] {
        net.dns.says(name, Answer::addresses([ORIGIN]));
    }
    net.gateway(POLICY, CONFIG).await;
    Some(net)
}

#[tokio::test]
async fn i4_an_allowed_name_passes_and_its_record_tells_who_and_where() {
    let Some(net) = net("allowed").await else { return };
    let origin = net.tls_origin(&format!("{ORIGIN}:443"), "good.test", Behaviour::Echo);
    let client = net.connect(&format!("{ORIGIN}:443"));
    let from = client.local().to_string();
    let mut client = client.tls("good.test", origin.certificate()).await;
    client.send("ping").await;
    client.expect("ping").await;
    let open = net.record("open", "good.test").await;
    client.finish().await;
    client.expect_end().await;
    let record = net.record_of(&from).await;
    assert_eq!(open["id"], record["id"]);
    for (field, value) in [
        ("kind", "connection"),
        ("decision", "allow"),
        ("ingress", "transparent_tls"),
        ("scheme", "tls"),
        ("sandbox", "one"),
        ("host", "good.test"),
        ("sni", "good.test"),
        ("address", "93.184.216.34:443"),
        ("rule", "hostRules[0] good.test"),
        ("outcome", "ok"),
    ] {
        assert_eq!(record[field], value, "{field} in {record:#}");
    }
    assert_eq!(record["port"], 443);
    assert!(record["bytes_up"].as_u64().unwrap() > 100, "{record:#}");
}

#[tokio::test]
async fn i4_a_denied_name_gets_the_alert_at_once_and_nothing_is_asked_or_dialled() {
    let Some(net) = net("denied").await else { return };
    let origin = net.origin(&format!("{ORIGIN}:443"), Behaviour::Sink);
    let mut client = net.connect(&format!("{ORIGIN}:443"));
    let from = client.local().to_string();
    let begun = Instant::now();
    client.send(hello(Some("bad.test"), &[])).await;
    assert_eq!(client.expect_closed().await, ALERT);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let record = net.record_of(&from).await;
    assert_eq!(
        (&record["reason"], &record["host"], &record["ingress"]),
        (&"default_deny".into(), &"bad.test".into(), &"transparent_tls".into())
    );
    assert_eq!((net.dns.total_queries(), origin.connections()), (0, 0));
}

#[tokio::test]
async fn i4_an_allowed_name_toward_a_foreign_address_reaches_the_gateways_own_answer() {
    let Some(net) = net("foreign").await else { return };
    let origin = net.tls_origin(&format!("{ORIGIN}:443"), "good.test", Behaviour::Echo);
    let foreign = net.origin(&format!("{FOREIGN}:443"), Behaviour::Sink);
    let mut client = net.connect(&format!("{FOREIGN}:443")).tls("good.test", origin.certificate()).await;
    client.send("ping").await;
    client.expect("ping").await;
    client.finish().await;
    client.expect_end().await;
    let record = net.record("connection", "good.test").await;
    assert_eq!(record["address"], "93.184.216.34:443");
    assert_eq!(foreign.connections(), 0);
}

#[tokio::test]
async fn i4_d3_an_allowed_names_address_under_another_name_is_denied() {
    let Some(net) = net("other").await else { return };
    let origin = net.origin(&format!("{LITERAL}:443"), Behaviour::Sink);
    // Even where the address itself is allowed, the name that comes with it is what is judged.
    let mut client = net.connect(&format!("{LITERAL}:443"));
    client.send(hello(Some("bad.test"), &[])).await;
    assert_eq!(client.expect_closed().await, ALERT);
    assert_eq!(net.record("connection", "bad.test").await["reason"], "default_deny");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn t1_i4_a_hello_in_segments_of_one_byte_is_judged_the_same() {
    let Some(net) = net("bytes").await else { return };
    let origin = net.origin(&format!("{ORIGIN}:443"), Behaviour::Echo);
    let good = hello(Some("good.test"), &[]);
    let mut client = net.connect(&format!("{FOREIGN}:443"));
    client.send_in_pieces(&good, 1).await;
    origin.wait_for_bytes(0, &good).await;
    let mut client = net.connect(&format!("{ORIGIN}:443"));
    client.send_in_pieces(hello(Some("bad.test"), &[]), 1).await;
    assert_eq!(client.expect_closed().await, ALERT);
    assert_eq!(net.record("connection", "bad.test").await["reason"], "default_deny");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn t2_i4_tls_without_a_name_needs_an_ip_rule() {
    let Some(net) = net("nameless").await else { return };
    let origin = net.origin(&format!("{LITERAL}:443"), Behaviour::Echo);
    let foreign = net.origin(&format!("{FOREIGN}:443"), Behaviour::Sink);
    let nameless = hello(None, &[]);
    let mut refused = net.connect(&format!("{FOREIGN}:443"));
    refused.send(&nameless).await;
    assert_eq!(refused.expect_closed().await, ALERT);
    let record = net.record("connection", FOREIGN).await;
    assert_eq!((&record["reason"], &record["policy"]), (&"sni_missing".into(), &"policy".into()));
    assert!(record["error"].as_str().unwrap().contains("send a server name"), "{record:#}");
    let mut client = net.connect(&format!("{LITERAL}:443"));
    client.send(&nameless).await;
    origin.wait_for_bytes(0, &nameless).await;
    client.reset();
    let record = net.record("connection", LITERAL).await;
    assert_eq!(
        (&record["decision"], &record["rule"]),
        (&"allow".into(), &"cidrRules[0] 93.184.216.40/32".into())
    );
    assert_eq!(foreign.connections(), 0);
}

#[tokio::test]
async fn t2_i4_an_encrypted_hello_is_judged_by_its_outer_name_or_refused() {
    const ECH: &[(u16, &[u8])] = &[(0xfe0d, &[0, 0, 1, 0, 1, 9, 0, 0, 0, 0])];
    let Some(mut net) = net("ech").await else { return };
    let origin = net.origin(&format!("{ORIGIN}:443"), Behaviour::Echo);
    let mut client = net.connect(&format!("{ORIGIN}:443"));
    client.send(hello(Some("good.test"), ECH)).await;
    origin.wait_for_bytes(0, b"good.test").await;
    assert_eq!(net.record("open", "good.test").await["ech"], true);
    net.gateway(POLICY, &format!("{CONFIG}ech: Deny\n")).await;
    let mut client = net.connect(&format!("{ORIGIN}:443"));
    let from = client.local().to_string();
    client.send(hello(Some("good.test"), ECH)).await;
    assert_eq!(client.expect_closed().await, ALERT);
    let record = net.record_of(&from).await;
    assert_eq!((&record["reason"], &record["ech"]), (&"sni_missing".into(), &true.into()));
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn i4_ipv6_is_redirected_and_judged_alike() {
    let Some(net) = net("ipv6").await else { return };
    net.dns.says("good.test", Answer::addresses([ORIGIN6]));
    let origin = net.tls_origin(&format!("[{ORIGIN6}]:443"), "good.test", Behaviour::Echo);
    let client = net.connect("[2600:1f18::66]:443");
    let from = client.local().to_string();
    let mut client = client.tls("good.test", origin.certificate()).await;
    client.send("ping").await;
    client.expect("ping").await;
    client.finish().await;
    client.expect_end().await;
    let record = net.record_of(&from).await;
    assert_eq!((&record["sandbox"], &record["address"]), (&"one".into(), &format!("[{ORIGIN6}]:443").into()));
    let mut refused = net.connect(&format!("[{ORIGIN6}]:443"));
    refused.send(hello(None, &[])).await;
    assert_eq!(refused.expect_closed().await, ALERT);
    assert_eq!(net.record("connection", &format!("[{ORIGIN6}]")).await["reason"], "sni_missing");
}

#[tokio::test]
async fn i4_two_sandboxes_behind_one_gateway_have_each_their_own_verdict() {
    const POLICIES: &str = "kind: EgressPolicy
metadata: {name: first, sandbox: one}
spec: {mode: Limited, hostRules: [good.test]}
---
kind: EgressPolicy
metadata: {name: second, sandbox: two}
spec: {mode: Limited, hostRules: [also-good.test]}
";
    let Some(mut net) = net("two").await else { return };
    net.gateway(POLICIES, CONFIG).await;
    let origin = net.origin(&format!("{ORIGIN}:443"), Behaviour::Echo);
    for (sandbox, allowed, denied) in [(1, "good.test", "also-good.test"), (2, "also-good.test", "good.test")]
    {
        let mut client = net.sandbox(sandbox).connect(&format!("{ORIGIN}:443"));
        client.send(hello(Some(denied), &[])).await;
        assert_eq!(client.expect_closed().await, ALERT);
        let mut client = net.sandbox(sandbox).connect(&format!("{ORIGIN}:443"));
        client.send(hello(Some(allowed), &[])).await;
        origin.wait_for_bytes(sandbox - 1, allowed.as_bytes()).await;
        let open = net.record("open", allowed).await;
        assert_eq!(open["sandbox"], ["one", "two"][sandbox - 1]);
    }
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn t2_openssl_and_curl_see_the_alert() {
    let Some(net) = net("tools").await else { return };
    if crate::kit::tool::find("openssl").is_some() {
        let target = format!("{ORIGIN}:443");
        let ran = net.run(1, "openssl", ["s_client", "-connect", &target, "-servername", "bad.test"]).await;
        assert!(ran.stderr.contains("access denied"), "{}", ran.stderr);
    }
    if crate::kit::tool::find("curl").is_some() {
        let resolve = format!("bad.test:443:{ORIGIN}");
        let ran = net.run(1, "curl", ["-sS", "--resolve", &resolve, "https://bad.test/"]).await;
        assert_eq!(ran.code, 35, "{}", ran.stderr);
        assert!(ran.stderr.contains("access denied"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn n7_i4_explain_says_of_a_redirected_connection_what_becomes_of_it() {
    let Some(net) = net("explain").await else { return };
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("policy.yaml");
    let mut reasons = std::collections::BTreeSet::new();
    for policy in [
        "mode: Limited\nhostRules: [good.test, 93.184.216.40]\n",
        "mode: Unrestricted\nhostRules: [{pattern: bad.test, action: Deny}]\n",
        "mode: Limited\nhostRules: [good.test]\ncidrRules: [{cidr: 93.184.216.0/24, action: Deny}]\n",
        "mode: Limited\nports: [80]\nhostRules: [good.test]\n",
    ] {
        net.set_policy(policy).await;
        std::fs::write(&path, policy).unwrap();
        for address in [ORIGIN, LITERAL, "169.254.169.254", "10.200.2.1"] {
            for name in [None, Some("good.test"), Some("bad.test")] {
                let target = format!("{address}:443");
                let mut client = net.connect(&target);
                let from = client.local().to_string();
                client.send(hello(name, &[])).await;
                client.expect_closed().await;
                let record = net.record_of(&from).await;
                // Nobody listens there, and one name leads nowhere: what is allowed fails upstream.
                let done = record["reason"].as_str().expect("a reason");
                let done = if matches!(done, "upstream_failed" | "dns_failed") { "" } else { done };
                let resolved = if name == Some("good.test") {
                    format!("--address={ORIGIN}")
                } else {
                    "--sandbox=one".to_owned()
                };
                let path = path.to_str().unwrap();
                let sni = format!("--sni={}", name.unwrap_or_default());
                let words = ["explain", "--json", "--redirected", "--policy", path, &resolved, &sni, &target];
                let told = net.gate.run(crate::kit::process::BINARY, words).await.stdout;
                let told: serde_json::Value = serde_json::from_str(&told).unwrap();
                assert_eq!(
                    done,
                    told["reason"].as_str().unwrap_or_default(),
                    "{policy} {target} {name:?} {told}"
                );
                reasons.insert(done.to_owned());
            }
        }
    }
    assert!(reasons.len() >= 6, "{reasons:?}");
}

#[tokio::test]
async fn i4_i2_redirected_tls_is_decrypted_where_rules_ask_for_paths_and_each_request_is_judged() {
    let Some(mut net) = Topology::new("inspected") else { return };
    if tool::find("curl").is_none() {
        return;
    }
    net.redirect();
    net.dns.says("good.test", Answer::addresses([ORIGIN]));
    let replies = Behaviour::Http(vec![Reply::ok("hello")]);
    let origin = net.tls_origin(&format!("{ORIGIN}:443"), "good.test", replies);
    let config = net.intercepting(CONFIG, &[&origin]);
    let policy = "mode: Limited
rules: [{name: in, match: {host: good.test, path: /in/*}, action: Allow}]
";
    net.gateway(policy, &config).await;
    let ca = net.place.text("ca/ca.pem");
    // Where the client thinks to go does not matter, and both requests are on one connection.
    let to = format!("good.test:443:{FOREIGN}");
    let (good, bad) = ("https://good.test/in/1", "https://good.test/out");
    let always = ["-sS", "--max-time", "20", "--cacert", &ca, "--resolve", &to, "-w", " %{http_code} "];
    let ran = net.sandbox(1).run_all("curl", &[&always[..], &[good, bad, good]].concat()).await;
    assert!(
        ran.stdout.starts_with("hello 200 ") && ran.stdout.ends_with("hello 200 "),
        "{} {}",
        ran.stdout,
        ran.stderr
    );
    assert!(ran.stdout.contains("default_deny") && ran.stdout.contains(" 403 "), "{}", ran.stdout);
    let other = ["-H", "host: also-good.test", good];
    let ran = net.sandbox(1).run_all("curl", &[&always[..], &other].concat()).await;
    assert!(ran.stdout.ends_with(" 421 "), "{} {}", ran.stdout, ran.stderr);
    // Whether the second of them finds the first one's connection idle is a matter of moments.
    assert!((1..=2).contains(&origin.connections()), "{}", origin.connections());
    let inner = |all: &[serde_json::Value]| all.iter().filter(|one| one["ingress"] == "inspected").count();
    let records = net.records("the records of requests", |all| inner(all) >= 4).await;
    let told: Vec<_> = records.iter().filter(|one| one["ingress"] == "inspected").collect();
    assert!(told.iter().all(|one| one["sandbox"] == "one" && one["host"] == "good.test"), "{told:#?}");
    // A record is written when its answer has gone, which may be after the next one's.
    let mut reasons: Vec<_> = told.iter().map(|one| one["reason"].as_str().unwrap_or("-")).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["-", "-", "authority_mismatch", "default_deny"]);
}
