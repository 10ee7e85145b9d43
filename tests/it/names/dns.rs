//! Look-ups: what is asked, and which addresses are dialled.

use super::*;

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
