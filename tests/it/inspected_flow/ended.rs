//! Policy changes, drains and limits.

use super::*;

/// The records of denials, and those of what only ended with them, once all have ended.
async fn after_a_change(gateway: &Gateway, count: usize) -> (Vec<Value>, Vec<Value>) {
    let ended = |record: &&Value| {
        (record["kind"] == "request" || record["kind"] == "connection")
            && record["outcome"] == "policy_change"
    };
    let of = |all: &[Value]| -> Vec<Value> { all.iter().filter(ended).cloned().collect() };
    let records = of(&gateway.wait_for("records of a policy change", |all| of(all).len() >= count).await);
    records.into_iter().partition(|record| record["decision"] == "deny")
}

#[tokio::test]
async fn p4_a_policy_change_ends_what_it_denies_inside_tls_within_a_second() {
    let denied = POLICY.replacen(
        "rules:\n",
        "rules:\n- {name: closed-now, match: {host: api.test, path: /open/x}, action: Deny}\n",
        1,
    );
    // An answer under way, over both versions, and a WebSocket.
    for (protocol, upgrades) in [("http/1.1", false), ("h2", false), ("http/1.1", true)] {
        let reply =
            if upgrades { Reply::upgrade("websocket") } else { Reply::chunked(["a", "b"]).step_by_step() };
        let origin = single("api.test", [reply]).await;
        let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
        let mut other = gateway.inside("api.test", &origin, &["http/1.1"]).await;
        let client = gateway.inside("api.test", &origin, &[protocol]).await;
        let ended: std::pin::Pin<Box<dyn Future<Output = ()>>> = if protocol == "h2" {
            let client = client.http2().await;
            let asked = Http2::request("GET", "https://api.test/open/x");
            let mut stream = client.start(asked, true).await.unwrap();
            stream.head().await.unwrap();
            Box::pin(async move { assert!(stream.rest().await.is_err()) })
        } else {
            let mut client = client;
            let upgrade = if upgrades { UPGRADE } else { "" };
            client.send(format!("GET /open/x HTTP/1.1\r\nhost: api.test\r\n{upgrade}\r\n")).await;
            client.head().await;
            Box::pin(async move {
                let rest = client.expect_closed().await;
                assert!(!rest.ends_with(b"0\r\n\r\n"));
            })
        };
        gateway.set_policy(&denied).await;
        let changed = Instant::now();
        ended.await;
        assert!(changed.elapsed() < Duration::from_secs(1), "{protocol}: {:?}", changed.elapsed());
        let (denials, others) = after_a_change(&gateway, 2).await;
        assert_eq!((denials.len(), others.len()), (1, 1), "{denials:#?} {others:#?}");
        assert_eq!((&denials[0]["kind"], &denials[0]["rule"]), (&"request".into(), &"closed-now".into()));
        assert_eq!(denials[0]["reason"], "policy_change");
        assert!(denials[0]["error"].as_str().unwrap().starts_with("rule_denied"), "{denials:#?}");
        // What is not denied goes on.
        assert_eq!(other.ask(get("api.test", "/closed")).await.status, 403);
    }
}

#[tokio::test]
async fn p4_a_policy_change_ends_connections_inside_tls_that_are_idle() {
    let origin = single("api.test", [Reply::ok("hello")]).await;
    for protocol in ["http/1.1", "h2"] {
        let gateway = Gateway::inspecting(POLICY, [("api.test", &origin)]).await;
        let mut client = gateway.inside("api.test", &origin, &[protocol]).await;
        if protocol == "http/1.1" {
            assert_eq!(client.ask(get("api.test", "/open/x")).await.status, 200);
        }
        gateway.set_policy(NOTHING).await;
        let changed = Instant::now();
        client.expect_closed().await;
        assert!(changed.elapsed() < Duration::from_secs(1), "{protocol}");
        let (denials, _) = after_a_change(&gateway, 1).await;
        assert_eq!((denials.len(), &denials[0]["reason"]), (1, &"policy_change".into()), "{denials:#?}");
        assert!(denials[0]["error"].as_str().unwrap().starts_with("default_deny"), "{denials:#?}");
    }
}

#[tokio::test]
async fn a_drain_lets_what_is_under_way_inside_tls_end_and_takes_nothing_new() {
    let (origin, gateway, client) = multiplexed([Stream::parts(["one", "two"]).step_by_step()]).await;
    let mut stream = client.start(Http2::request("GET", "https://api.test/open/x"), true).await.unwrap();
    stream.head().await.unwrap();
    assert_eq!(stream.part().await.unwrap().unwrap(), "one");
    let stopping = tokio::spawn(gateway.stop());
    origin.step();
    assert_eq!(stream.part().await.unwrap().unwrap(), "two");
    origin.step();
    assert_eq!(stream.part().await.unwrap(), None);
    // Once both have nothing more to say, either may be the first to be gone.
    let end = client.wait_for_end().await;
    assert!(matches!(end, None | Some(Reason::CONNECT_ERROR)), "GOAWAY without an error: {end:?}");
    let records = stopping.await.unwrap();
    let request = records.iter().find(|record| record["ingress"] == "inspected").unwrap();
    assert_eq!(request["outcome"], "ok", "{request}");
    let tunnel = records.iter().rfind(|record| record["kind"] == "connection").unwrap();
    assert!(["ok", "client_closed"].contains(&tunnel["outcome"].as_str().unwrap()), "{tunnel}");
}

#[tokio::test]
async fn r2_limits_hold_for_each_stream() {
    let policy = |limits: &str| format!("{POLICY}limits: {{{limits}}}\n");
    let origin = Origin::http2("api.test", [Stream::ok("hello")]).await;
    let gateway = Gateway::inspecting(&policy("requestsPerSecond: 3"), [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    let mut refused = 0;
    for _ in 0..12 {
        let answer = client.get("https://api.test/open/x").await;
        if answer.status == 429 {
            assert_eq!(answer.header("x-deny-reason"), Some("limit"));
            refused += 1;
        }
    }
    assert!(refused >= 4, "{refused} of 12 refused");

    let origin = Origin::http2("api.test", [Stream::ok("hello")]).await;
    let gateway = Gateway::inspecting(&policy("uploadBytes: 100000"), [("api.test", &origin)]).await;
    let client = gateway.inside("api.test", &origin, &["h2"]).await.http2().await;
    let started = Instant::now();
    let answer = client.send(Http2::request("POST", "https://api.test/open/x"), vec![b'x'; 300_000]).await;
    assert_eq!((answer.text().as_str(), origin.asked()[0].body.len()), ("hello", 300_000));
    assert!(
        started.elapsed() > Duration::from_secs(1),
        "100 kB are what a second is for: {:?}",
        started.elapsed()
    );
}
