//! Names, addresses and DNS, from the client's bytes to the socket that is dialled (threats.md §1.1 to §1.3).

use std::net::SocketAddr;

use serde_json::Value;

use crate::kit::client::{Client, Response};
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};

/// Allows this list of hosts on every port, and nothing else.
fn limited(hosts: &str) -> String {
    format!("mode: Limited\nports: [1-65535]\nhostRules: [{hosts}]\n")
}

/// Asks for a tunnel that must be refused.
async fn refused(gateway: &Gateway, authority: &str) -> Response {
    match Client::try_tunnel(gateway.proxy(), authority).await {
        Ok(_) => panic!("a tunnel to {authority:?} was opened"),
        Err(response) => response,
    }
}

/// Requests `http://authority/` as a proxy client does, on a connection of its own.
async fn get(gateway: &Gateway, authority: &str) -> Response {
    let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    gateway.client().await.ask(request).await
}

/// Status and reason of a refusal.
fn verdict(response: &Response) -> (u16, &str) {
    (response.status, response.header("x-deny-reason").unwrap_or("none"))
}

/// The status and reason that both CONNECT and absolute-form requests are refused with.
async fn refused_both_ways(gateway: &Gateway, authority: &str) -> (u16, String) {
    let (connect, absolute) = (refused(gateway, authority).await, get(gateway, authority).await);
    assert_eq!(verdict(&connect), verdict(&absolute), "{authority}: both ways in agree");
    let (status, reason) = verdict(&connect);
    (status, reason.to_owned())
}

/// The records of refused and finished calls.
fn calls(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["kind"] == "connection" || record["kind"] == "request").collect()
}

#[tokio::test]
async fn n1_n4_n6_every_spelling_of_a_name_is_dialled_asked_and_logged_in_its_one_form() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let gateway = Gateway::start(&limited("good.test, xn--fa-hia.test")).await;
    let address = origin.address().ip().to_string();
    for name in ["good.test", "xn--fa-hia.test"] {
        gateway.dns.says(name, Answer::addresses([address.as_str()]).ttl(0));
    }
    let port = origin.port();
    let spellings = [
        ("good.test", "good.test"),
        ("GOOD.test", "good.test"),
        ("good.test.", "good.test"),
        ("GoOd.TeSt.", "good.test"),
        ("XN--fa-HIA.test.", "xn--fa-hia.test"),
    ];
    for (at, (spelling, canonical)) in spellings.into_iter().enumerate() {
        let response = get(&gateway, &format!("{spelling}:{port}")).await;
        assert_eq!((response.status, response.body.as_str()), (200, "yes"), "{spelling}");
        let seen = origin.received(2 * at).to_ascii_lowercase();
        assert!(seen.contains(&format!("host: {canonical}:{port}\r\n")), "{seen}");

        let mut tunnel = Client::tunnel(gateway.proxy(), &format!("{spelling}:{port}")).await;
        let inside = tunnel.ask(format!("GET / HTTP/1.1\r\nHost: {spelling}\r\n\r\n")).await;
        assert_eq!(inside.status, 200, "{spelling}");
        let seen = origin.received(2 * at + 1).to_ascii_lowercase();
        assert!(seen.contains(&format!("host: {canonical}:{port}\r\n")), "{seen}");
    }
    let records =
        gateway.wait_for("every record", |records| calls(records).len() >= 3 * spellings.len()).await;
    for record in calls(&records) {
        let host = record["host"].as_str().unwrap();
        assert!(["good.test", "xn--fa-hia.test"].contains(&host), "{record}");
    }
    let asked = gateway.dns.asked();
    assert!(asked.iter().all(|asked| ["good.test", "xn--fa-hia.test"].contains(&asked.name.as_str())));
}

#[tokio::test]
async fn n1_n2_n3_n8_a1_a_host_that_has_no_one_form_is_a_bad_request_and_is_never_resolved() {
    // Unrestricted and exempt everywhere, so that only the spelling can be the cause.
    let gateway = Gateway::with("mode: Unrestricted\n", |config| {
        config.guards.exempt = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    })
    .await;
    let spellings = [
        // N1: labels.
        "good.test..:443",
        ".good.test:443",
        "good..test:443",
        ".:443",
        "..:443",
        ":443",
        "-good.test:443",
        // N2: brackets.
        "[good.test]:443",
        "[127.0.0.8]:443",
        "[::1:443",
        "::1]:443",
        "[::1]x:443",
        "[]:443",
        // N3: bytes that no name has.
        "good.test\0.evil.test:443",
        "good.test\t:443",
        "good.test\x0b:443",
        "good.test\x7f:443",
        "good%2etest:443",
        "good.test%00:443",
        "good.test%2f.evil.test:443",
        "good.test\\.evil.test:443",
        "good.test@evil.test:443",
        "user:password@good.test:443",
        "good.test,evil.test:443",
        "good test:443",
        "g\u{f6}\u{f6}d.test:443",
        "\u{ff11}27.0.0.1:443",
        "xn--good-.test:443",
        // N8: ports.
        "good.test:0",
        "good.test:65536",
        "good.test:4294967739",
        "good.test:+443",
        "good.test:-1",
        "good.test:0443",
        "good.test:0x1bb",
        "good.test:443:443",
        "good.test:",
        // A1: every spelling of an IPv4 address but the strict one, and what ends in a number.
        "127.1:443",
        "127.0.1:443",
        "2130706433:443",
        "0x7f000001:443",
        "0X7F000001:443",
        "0x7f.1:443",
        "0177.0.0.1:443",
        "017700000001:443",
        "0x7f.0x0.0x0.0x1:443",
        "127.0.0.01:443",
        "127.0.0.1.:443",
        "0:443",
        "1.2.3.256:443",
        "256.256.256.256:443",
        "1.2.3.4.5:443",
        "good.127:443",
        "good.0x7f:443",
        // A3: zones, and IPv6 without brackets.
        "[fe80::1%eth0]:443",
        "[fe80::1%25eth0]:443",
        "fe80::1:443",
        "::1",
    ];
    for authority in spellings {
        assert_eq!(
            refused_both_ways(&gateway, authority).await,
            (400, "bad_request".to_owned()),
            "{authority:?}"
        );
    }
    // F8: what CONNECT takes for a target.
    for target in
        ["good.test", "/x", "*", "http://good.test:443/", "good.test:443/", "good.test:443#x", "[::1]"]
    {
        let response = refused(&gateway, target).await;
        assert_eq!(verdict(&response), (400, "bad_request"), "{target}");
    }
    assert_eq!(gateway.dns.total_queries(), 0, "a refused spelling is never looked up");
    let records = gateway.records().await;
    assert_eq!(calls(&records).len(), 2 * spellings.len() + 7);
    assert!(calls(&records).iter().all(|record| record["reason"] == "bad_request"));
}

#[tokio::test]
async fn n8_a_rule_without_a_port_opens_80_and_443_only() {
    let gateway = Gateway::start("mode: Limited\nhostRules: [good.test, 'db.test:5432']\n").await;
    for authority in ["good.test:22", "good.test:8443", "good.test:65535", "good.test:1"] {
        let found = refused_both_ways(&gateway, authority).await;
        assert_eq!(found, (403, "port_denied".to_owned()), "{authority}");
    }
    for authority in ["db.test:443", "db.test:80"] {
        let found = refused_both_ways(&gateway, authority).await;
        assert_eq!(found, (403, "default_deny".to_owned()), "{authority}");
    }
    assert_eq!(gateway.dns.total_queries(), 0);
    // The ports themselves are open: what fails is only the look-up of a name that does not exist.
    for authority in ["good.test:80", "good.test:443", "db.test:5432"] {
        assert_eq!(refused_both_ways(&gateway, authority).await.0, 502, "{authority}");
    }
}

#[tokio::test]
async fn d5_a_denied_call_causes_no_query_whatever_denies_it() {
    let policy = "
mode: Limited
hostRules:
  - '*.good.test'
  - {pattern: bad.good.test, action: Deny}
rules:
  - {name: no-admin, match: {host: api.good.test, path: /admin}, action: Deny}
";
    let gateway = Gateway::inspecting(policy, []).await;
    for (authority, reason) in [
        ("denied.test:80", "default_deny"),
        ("secret-data.denied.test:443", "default_deny"),
        ("bad.good.test:80", "host_denied"),
        ("BAD.good.test.:80", "host_denied"),
        ("good.test:80", "default_deny"),
        ("evilgood.test:80", "default_deny"),
        ("good.test.denied.test:80", "default_deny"),
        ("a.good.test:8080", "port_denied"),
    ] {
        assert_eq!(refused_both_ways(&gateway, authority).await, (403, reason.to_owned()), "{authority}");
    }
    let request = "GET http://api.good.test/admin/x HTTP/1.1\r\nHost: api.good.test\r\n\r\n";
    let by_path = gateway.client().await.ask(request).await;
    assert_eq!(verdict(&by_path), (403, "rule_denied"), "question C comes before DNS");
    let mismatch = "GET http://a.good.test/ HTTP/1.1\r\nHost: b.good.test\r\n\r\n";
    assert_eq!(gateway.client().await.ask(mismatch).await.status, 400);
    assert_eq!(gateway.dns.total_queries(), 0);
}

/// An HTTP origin on a port of 127.0.0.8 (exempt), and one on the same port of 127.0.0.1 (guarded).
async fn exempt_and_guarded() -> (Origin, Origin) {
    let exempt = Origin::http([Reply::ok("exempt")]).await;
    let guarded = SocketAddr::from(([127, 0, 0, 1], exempt.port()));
    let guarded = Origin::start_on(guarded, Behaviour::Http(vec![Reply::ok("guarded")])).await;
    (exempt, guarded)
}

#[tokio::test]
async fn d1_a_name_that_is_rebound_to_loopback_between_look_ups_never_leads_there() {
    const TRIES: usize = 120;
    let (exempt, guarded) = exempt_and_guarded().await;
    let gateway = Gateway::start(&limited("rebind.test")).await;
    let turns = (0..2 * TRIES).map(|turn| {
        let address = if turn % 2 == 0 { "127.0.0.8" } else { "127.0.0.1" };
        Answer::by_family(Answer::addresses([address]).ttl(0), Answer::NoData)
    });
    gateway.dns.says_in_turn("rebind.test", turns);
    let authority = format!("rebind.test:{}", exempt.port());
    let (mut reached, mut denied) = (0, 0);
    for turn in 0..TRIES {
        // The answer also changes between the look-ups of one kept-alive connection.
        let status = if turn % 3 == 0 {
            match Client::try_tunnel(gateway.proxy(), &authority).await {
                Ok(_) => 200,
                Err(response) => response.status,
            }
        } else {
            let response = get(&gateway, &authority).await;
            assert!(response.status != 200 || response.body == "exempt");
            response.status
        };
        match status {
            200 => reached += 1,
            403 => denied += 1,
            other => panic!("an unexpected status {other}"),
        }
    }
    assert_eq!(guarded.connections(), 0, "nobody came to 127.0.0.1");
    assert!(reached > TRIES / 4 && denied > TRIES / 4, "both answers were met: {reached} and {denied}");
}

#[tokio::test]
async fn d1_a_kept_origin_connection_does_not_carry_a_name_to_an_address_it_was_not_judged_for() {
    let (exempt, guarded) = exempt_and_guarded().await;
    let gateway = Gateway::start(&limited("first.test, second.test")).await;
    gateway.dns.says("first.test", Answer::addresses(["127.0.0.8"]));
    gateway.dns.says("second.test", Answer::addresses(["127.0.0.1"]));
    let mut client = gateway.client().await;
    for (name, status) in [("first.test", 200), ("second.test", 403), ("first.test", 200)] {
        let authority = format!("{name}:{}", exempt.port());
        let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        assert_eq!(client.ask(request).await.status, status, "{name}");
    }
    assert_eq!(guarded.connections(), 0);
}

#[tokio::test]
async fn d2_of_a_mixed_answer_only_the_permitted_addresses_are_dialled() {
    let (exempt, guarded) = exempt_and_guarded().await;
    let gateway = Gateway::start(&limited("mixed.test, dead.test")).await;
    gateway.dns.says(
        "mixed.test",
        Answer::addresses(["127.0.0.1", "10.0.0.1", "169.254.169.254", "127.0.0.8", "::1"]).ttl(0),
    );
    for _ in 0..20 {
        let response = get(&gateway, &format!("mixed.test:{}", exempt.port())).await;
        assert_eq!(response.body, "exempt");
    }
    // Where the permitted address does not answer, there is no falling back to a refused one.
    gateway.dns.says("dead.test", Answer::addresses(["127.0.0.14", "127.0.0.1"]).ttl(0));
    let found = refused_both_ways(&gateway, &format!("dead.test:{}", exempt.port())).await;
    assert_eq!(found, (502, "upstream_failed".to_owned()));
    assert_eq!(guarded.connections(), 0);
}

#[tokio::test]
async fn d2_when_every_address_is_refused_the_common_cause_is_the_reason() {
    let gateway = Gateway::start(&limited("'*.test'")).await;
    for (name, addresses, reason) in [
        ("private.test", vec!["10.0.0.1", "192.168.1.1", "fc00::1"], "guard_private"),
        ("metadata.test", vec!["169.254.169.254", "fd00:ec2::254"], "guard_metadata"),
        ("differ.test", vec!["10.0.0.1", "169.254.169.254"], "dns_all_denied"),
        ("mapped.test", vec!["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"], "guard_metadata"),
        ("special.test", vec!["224.0.0.1", "169.254.1.1", "fe80::1"], "guard_local"),
    ] {
        gateway.dns.says(name, Answer::addresses(addresses));
        let found = refused_both_ways(&gateway, &format!("{name}:443")).await;
        assert_eq!(found, (403, reason.to_owned()), "{name}");
    }
}

#[tokio::test]
async fn d3_an_address_learned_from_a_name_opens_nothing_for_another_name_or_the_literal() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let gateway = Gateway::start(&limited("good.test")).await;
    for name in ["good.test", "other.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    let port = origin.port();
    assert_eq!(get(&gateway, &format!("good.test:{port}")).await.status, 200);
    for host in ["other.test", "127.0.0.8", "[::ffff:127.0.0.8]"] {
        let found = refused_both_ways(&gateway, &format!("{host}:{port}")).await;
        assert_eq!(found, (403, "default_deny".to_owned()), "{host}");
    }
    assert_eq!((origin.connections(), gateway.dns.queries("other.test")), (1, 0));
}

#[tokio::test]
async fn the_ways_in_which_a_name_cannot_be_resolved_are_told_apart() {
    let gateway = Gateway::start(&limited("'*.test'")).await;
    for (name, answer, status) in [
        ("gone.test", Answer::NxDomain, 502),
        ("empty.test", Answer::NoData, 502),
        ("broken.test", Answer::ServFail, 502),
        ("silent.test", Answer::Silent, 504),
    ] {
        gateway.dns.says(name, answer);
        let response = refused(&gateway, &format!("{name}:443")).await;
        assert_eq!(verdict(&response), (status, "dns_failed"), "{name}");
        let record = gateway.record("connection", name).await;
        assert_eq!((&record["decision"], &record["status"]), (&"deny".into(), &status.into()), "{record}");
    }
}

#[tokio::test]
async fn a3_a4_guarded_literals_are_refused_in_every_form_whatever_the_policy_says() {
    let policy =
        "mode: Unrestricted\ncidrRules: [{cidr: 0.0.0.0/0, action: Allow}, {cidr: '::/0', action: Allow}]\n";
    let gateway = Gateway::start(policy).await;
    for (host, reason) in [
        ("169.254.169.254", "guard_metadata"),
        ("168.63.129.16", "guard_metadata"),
        ("100.100.100.200", "guard_metadata"),
        ("192.0.0.192", "guard_metadata"),
        ("[fd00:ec2::254]", "guard_metadata"),
        ("[fd00:ec2:0:0:0:0:0:254]", "guard_metadata"),
        ("[FD00:EC2::254]", "guard_metadata"),
        ("[::ffff:169.254.169.254]", "guard_metadata"),
        ("[::ffff:a9fe:a9fe]", "guard_metadata"),
        ("[::169.254.169.254]", "guard_metadata"),
        ("[64:ff9b::169.254.169.254]", "guard_metadata"),
        ("[2002:a9fe:a9fe::]", "guard_metadata"),
        ("127.0.0.2", "guard_local"),
        ("169.254.1.1", "guard_local"),
        ("[::ffff:127.0.0.2]", "guard_local"),
        ("[64:ff9b::127.0.0.2]", "guard_local"),
        ("[2002:7f00:2::1]", "guard_local"),
        ("0.0.0.0", "guard_local"),
        ("224.0.0.1", "guard_local"),
        ("255.255.255.255", "guard_local"),
        ("[::]", "guard_local"),
        ("[fe80::1]", "guard_local"),
        ("[fec0::1]", "guard_local"),
        ("[ff02::1]", "guard_local"),
    ] {
        let found = refused_both_ways(&gateway, &format!("{host}:80")).await;
        assert_eq!(found, (403, reason.to_owned()), "{host}");
    }
}

#[tokio::test]
async fn a2_private_literals_need_a_cidr_rule() {
    let gateway = Gateway::start("mode: Unrestricted\n").await;
    for host in
        ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1", "192.0.2.1", "240.0.0.1"]
    {
        for host in [host.to_owned(), format!("[::ffff:{host}]"), format!("[64:ff9b::{host}]")] {
            let found = refused_both_ways(&gateway, &format!("{host}:80")).await;
            assert_eq!(found, (403, "guard_private".to_owned()), "{host}");
        }
    }
    gateway.dns.says("mail.test", Answer::addresses(["93.184.216.34"]));
    let found = refused_both_ways(&gateway, "mail.test:25").await;
    assert_eq!(found, (403, "guard_port".to_owned()));
}

#[tokio::test]
async fn a6_p6_the_gateways_own_sockets_are_out_of_reach_by_any_spelling_and_any_permission() {
    let policy = "
mode: Unrestricted
hostRules: ['*', 127.0.0.1, localhost]
cidrRules: [{cidr: 127.0.0.0/8, action: Allow}, {cidr: '::/0', action: Allow}]
";
    let gateway = Gateway::with(policy, |config| {
        config.guards.exempt = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    })
    .await;
    gateway.dns.says("me.test", Answer::addresses(["127.0.0.1", "::ffff:127.0.0.1"]).ttl(0));
    gateway.dns.says("dns.test", Answer::addresses(["127.0.0.9"]).ttl(0));
    let (proxy, admin) = (gateway.proxy().port(), gateway.admin().port());
    let spellings =
        ["127.0.0.1", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "me.test", "ME.test."];
    for host in spellings {
        for port in [proxy, admin] {
            let found = refused_both_ways(&gateway, &format!("{host}:{port}")).await;
            assert_eq!(found, (403, "guard_self".to_owned()), "{host}:{port}");
        }
    }
    for host in ["127.0.0.9", "[::ffff:127.0.0.9]", "dns.test"] {
        let found = refused_both_ways(&gateway, &format!("{host}:{}", gateway.dns.address().port())).await;
        assert_eq!(found, (403, "guard_self".to_owned()), "{host}");
    }
}

#[tokio::test]
async fn a6_a_listener_on_every_address_is_guarded_on_every_address() {
    let gateway = Gateway::with("mode: Unrestricted\n", |config| {
        config.listeners[0].address = "0.0.0.0:0".parse().unwrap();
        config.guards.exempt = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    })
    .await;
    let port = gateway.proxy().port();
    let through = SocketAddr::from(([127, 0, 0, 1], port));
    for host in ["127.0.0.8", "127.9.9.9", "[::ffff:127.0.0.8]", "0.0.0.0", "[::]"] {
        let refused = Client::try_tunnel(through, &format!("{host}:{port}")).await.err();
        let refused = refused.unwrap_or_else(|| panic!("the gateway opened a tunnel to itself at {host}"));
        assert_eq!(verdict(&refused), (403, "guard_self"), "{host}");
    }
}

#[tokio::test]
async fn s5_a_malformed_target_is_recorded_by_its_host_alone() {
    let gateway = Gateway::start(&limited("good.test")).await;
    for target in [
        "https://good.test/path?token=canary-1",
        "http://user:canary-2@good.test/",
        "http://good.test/#canary-3",
        "http://good.test:x/canary-4",
        "ftp://canary-5:x@good.test/?canary-6",
        "canary-7@good.test",
        "/path?canary-8",
    ] {
        let response = gateway.client().await.ask(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(verdict(&response), (400, "bad_request"), "{target}");
    }
    let records = gateway.wait_for("a record each", |records| calls(records).len() == 7).await;
    assert!(
        calls(&records)[..6].iter().all(|record| record["host"].as_str().unwrap().starts_with("good.test"))
    );
    let log = std::fs::read_to_string(gateway.audit_file()).unwrap();
    assert!(!log.contains("canary"), "{log}");
}
