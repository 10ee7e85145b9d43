//! A literal that carries a name.

use super::*;

#[tokio::test]
async fn a_literal_that_carries_a_name_is_asked_for_both() {
    let origin = Origin::echo().await;
    let policy = "
mode: Limited
ports: [1-65535]
hostRules: [good.test, {pattern: denied.test, action: Deny}]
cidrRules: [{cidr: 127.0.0.8/32, action: Allow}]
";
    let limited = gateway(policy).await;
    let target = format!("127.0.0.8:{}", origin.port());
    drop(passes(&limited, &target, &hello(&["good.test"])).await);
    // The cidrRules Allow is an IP rule, which admits TLS without a name.
    drop(passes(&limited, &target, &hello(&[])).await);
    closed_for(&limited, &origin, "127.0.0.8", &hello(&["denied.test"]), "host_denied").await;
    closed_for(&limited, &origin, "127.0.0.8", &hello(&["unlisted.test"]), "default_deny").await;

    let open = gateway("mode: Unrestricted\nhostRules: [{pattern: denied.test, action: Deny}]\n").await;
    drop(passes(&open, &target, &hello(&["anything.test"])).await);
    closed_for(&open, &origin, "127.0.0.8", &hello(&["denied.test"]), "host_denied").await;
    closed_for(&open, &origin, "127.0.0.8", &hello(&[]), "sni_missing").await;

    let nothing_denied = gateway("mode: Unrestricted\n").await;
    drop(passes(&nothing_denied, &target, &hello(&[])).await);
}

#[tokio::test]
async fn http_to_a_literal_with_a_permitted_name_reaches_the_origin_under_that_name() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let policy = "mode: Limited\nports: [1-65535]\nhostRules: [good.test, 127.0.0.8]\n";
    let gateway = gateway(policy).await;
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("127.0.0.8:{}", origin.port())).await;
    assert_eq!(tunnel.ask("GET / HTTP/1.1\r\nHost: GOOD.test\r\n\r\n").await.status, 200);
    let host = format!("host: good.test:{}\r\n", origin.port());
    assert!(origin.received(0).to_ascii_lowercase().contains(&host), "{}", origin.received(0));
    let denied = tunnel.ask("GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n").await;
    assert_eq!(verdict(&denied), (403, "default_deny"));
}

#[tokio::test]
async fn the_record_of_a_request_to_a_literal_says_the_name_that_was_judged() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let (port, policy) =
        (origin.port(), "mode: Limited\nhostRules: [good.test, 127.0.0.8]\nports: [1-65535]\n");
    let gateway = gateway(policy).await;
    let literal = format!("127.0.0.8:{port}");
    let mut tunnel = Client::tunnel(gateway.proxy(), &literal).await;
    for (at, (host, line, status, recorded)) in [
        ("GOOD.test.", "/", 200, "good.test"),
        ("denied.test", "/", 403, "denied.test"),
        (literal.as_str(), "/", 200, "127.0.0.8"),
        ("good.test", "http://127.0.0.8", 200, "good.test"),
    ]
    .into_iter()
    .enumerate()
    {
        let line = if line == "/" { "/".to_owned() } else { format!("{line}:{port}/") };
        let answered = tunnel.ask(format!("GET {line} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answered.status, status, "{host} {line}");
        // The record of the tunnel is written when it ends.
        let records = gateway.wait_for("a request", |all| requests(all).len() > at).await;
        let record = requests(&records).swap_remove(at);
        assert_eq!(record["host"], recorded, "{record}");
        if status == 200 {
            assert_eq!(record["address"], literal.as_str(), "{record}");
        }
        if host == "denied.test" {
            let (told, body) = (record["error"].to_string(), &answered.body);
            assert!(
                told.contains("add \\\"denied.test\\\" to hostRules"),
                "the hint is about the name: {told}"
            );
            assert!(body.contains("add \\\"denied.test\\\" to hostRules"), "{body}");
            assert!(body.contains(&format!("denied.test:{port} is not on the allow-list")), "{body}");
        }
    }
}
