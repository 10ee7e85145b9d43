//! Names: one form, or none.

use super::*;

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
