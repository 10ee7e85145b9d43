//! New connections, requests and look-ups a second.

use super::*;

#[tokio::test]
async fn r2_i4_new_connections_a_second_are_limited_and_others_are_not() {
    const RATE: u64 = 5;
    let origin = Origin::http([Reply::ok("x")]).await;
    let policy = documents("", &[("a", "limits: {connectionsPerSecond: 5}"), ("b", "")]);
    let gateway = gateway(&policy, &origin, |_| {}).await;
    let (start, mut admitted, mut refused) = (Instant::now(), 0, 0);
    while refused < 5 {
        let mut client = a(&gateway).await;
        let _may_be_refused = client.try_send(get(&origin, "")).await;
        let head = client.expect_closed_or_head().await;
        if head.starts_with("HTTP/1.1 200") {
            admitted += 1;
        } else {
            assert!(
                head.contains("x-deny-reason: limit\r\n") && head.contains("retry-after: 1\r\n"),
                "{head}"
            );
            refused += 1;
        }
        assert_eq!(b(&gateway).await.ask(get(&origin, "")).await.status, 200);
    }
    let most = (start.elapsed() + Duration::from_millis(1100)).as_millis() * u128::from(RATE) / 1000;
    assert!((u128::from(RATE)..=most).contains(&admitted), "{admitted} of at most {most}");
    assert_eq!(limited(&gateway, Limit::ConnectionsPerSecond).await, 5);
}

#[tokio::test]
async fn r2_i4_requests_a_second_are_limited_and_connects_are_requests_too() {
    let origin = Origin::http([Reply::ok("x")]).await;
    let policy = documents("", &[("a", "limits: {requestsPerSecond: 5}"), ("b", "")]);
    let gateway = gateway(&policy, &origin, |_| {}).await;
    let (mut one, mut other, start) = (a(&gateway).await, b(&gateway).await, Instant::now());
    let (mut admitted, mut refused) = (0_u128, 0);
    while refused < 5 {
        let answer = one.ask(get(&origin, "")).await;
        if answer.status == 200 {
            admitted += 1;
        } else {
            assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
            assert!(answer.body.contains("requestsPerSecond"), "{answer:?}");
            refused += 1;
        }
        assert_eq!(other.ask(get(&origin, "")).await.status, 200);
    }
    let most = (start.elapsed() + Duration::from_millis(1100)).as_millis() * 5 / 1000;
    assert!((5..=most).contains(&admitted), "{admitted} of at most {most}");

    // The connection lives on, and so does its tunnel when its turn comes; each request in it counts.
    let target = format!("good.test:{}", origin.port());
    let opened = async { while connect(&mut one, &target).await.0 != 200 {} };
    within("a tunnel", opened).await;
    let mut inside = 0;
    while inside < 5 {
        let answer = one.ask(format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        inside += u32::from(answer.status == 429);
    }
}

#[tokio::test]
async fn r2_i4_dns_look_ups_a_second_are_limited_and_what_is_refused_asks_nobody() {
    let origin = Origin::echo().await;
    let policy = documents("", &[("a", "limits: {dnsQueriesPerSecond: 3}"), ("b", "")]);
    let gateway = gateway(&policy, &origin, |_| {}).await;
    let (mut refused, mut at) = (0, 0);
    while refused < 3 {
        at += 1;
        let name = format!("n{at}.test");
        gateway.name(&name, &origin);
        let answer = connect(&mut a(&gateway).await, &format!("{name}:{}", origin.port())).await;
        if answer == (429, "limit".into()) {
            assert_eq!(gateway.dns.queries(&name), 0);
            refused += 1;
        } else {
            assert_eq!(answer.0, 200);
        }
        let literal = format!("127.0.0.8:{}", origin.port());
        assert_eq!(connect(&mut a(&gateway).await, &literal).await.0, 200, "a literal needs no look-up");
        assert_eq!(connect(&mut b(&gateway).await, &format!("good.test:{}", origin.port())).await.0, 200);
    }
    assert!(at > 3);
    assert_eq!(limited(&gateway, Limit::DnsQueriesPerSecond).await, 3);
}

#[tokio::test]
async fn r2_i4_look_ups_that_are_never_answered_are_limited_and_come_back() {
    let origin = Origin::echo().await;
    let gateway = gateway("mode: Unrestricted\n", &origin, |config| {
        config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::DnsQueries, 2);
    })
    .await;
    let good = format!("good.test:{}", origin.port());
    assert_eq!(connect(&mut b(&gateway).await, &good).await.0, 200, "its answer is known from here on");
    gateway.dns.hold();
    let mut waiting = Vec::new();
    for name in ["one.test", "two.test"] {
        gateway.name(name, &origin);
        let mut client = a(&gateway).await;
        let target = format!("{name}:{}", origin.port());
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        gateway.dns.wait_for_query(name).await;
        waiting.push(client);
    }
    let mut third = a(&gateway).await;
    assert_eq!(connect(&mut third, "three.test:443").await, (429, "limit".into()));
    assert_eq!(gateway.dns.queries("three.test"), 0);
    assert_eq!(connect(&mut b(&gateway).await, &good).await.0, 200);
    gateway.dns.release();
    for client in &mut waiting {
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(connect(&mut third, &good).await.0, 200);
}
