//! Sandboxes whose rules are not asked (`skipEgressProxy`): their limits hold all the same.

use super::*;

/// A document above all that permits to skip, and one of sandbox `a` that does; each with these limits.
fn skipping(above: &str, own: &str) -> String {
    documents(
        &format!("constraints: {{skipEgressProxy: Permitted}}, limits: {{{above}}}"),
        &[("a", &format!("skipEgressProxy: true, limits: {{{own}}}")), ("b", "")],
    )
}

/// A gateway of an operator who permits it.
async fn permitting(policy: &str, origin: &Origin, most: Option<u64>) -> Gateway {
    gateway(policy, origin, |config| {
        config.skip_egress_proxy = true;
        if let Some(most) = most {
            config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::Connections, most);
        }
    })
    .await
}

#[tokio::test]
async fn r2_connections_at_once_are_limited_by_its_own_document_by_those_above_and_by_the_operator() {
    let origin = Origin::http([Reply::ok("x")]).await;
    for (above, own, most, told) in [
        ("connections: 9", "connections: 2", None, "`a-limits`"),
        ("connections: 2", "connections: 9", None, "`floor`"),
        ("connections: 9", "connections: 9", Some(2), "limits.perSandbox.connections"),
    ] {
        let gateway = permitting(&skipping(above, own), &origin, most).await;
        let mut open = [a(&gateway).await, a(&gateway).await];
        for client in &mut open {
            assert_eq!(client.ask(get(&origin, "")).await.status, 200);
        }
        for call in gateway.calls(2).await {
            assert_eq!([&call["decision"], &call["policy"]], ["skip", "a-limits"], "{call:#}");
        }
        let answer = a(&gateway).await.response(false).await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (429, Some("limit")), "{told}");
        assert!(error(&answer)["hint"].as_str().unwrap().contains(told), "{told}: {answer:?}");
        let record = gateway.calls(3).await.remove(2);
        assert_eq!([&record["decision"], &record["reason"]], ["deny", "limit"], "{record:#}");
        assert_eq!(b(&gateway).await.ask(get(&origin, "")).await.status, 200, "another sandbox has its own");
    }
}

#[tokio::test]
async fn r2_requests_a_second_are_limited_where_no_rule_is_asked() {
    let origin = Origin::http([Reply::ok("x")]).await;
    for policy in [skipping("", "requestsPerSecond: 2"), skipping("requestsPerSecond: 2", "")] {
        let gateway = permitting(&policy, &origin, None).await;
        let (mut client, start) = (a(&gateway).await, Instant::now());
        let (mut passed, mut refused) = (0_u128, 0);
        while refused < 3 {
            match client.ask(get(&origin, "")).await.status {
                200 => passed += 1,
                429 => refused += 1,
                other => panic!("{other}"),
            }
        }
        let most = (start.elapsed() + Duration::from_millis(1100)).as_millis() * 2 / 1000;
        assert!(passed <= most, "{passed} of at most {most}");
        assert_eq!(limited(&gateway, Limit::RequestsPerSecond).await, 3);
    }
}

#[tokio::test]
async fn r2_bytes_a_second_are_limited_in_a_tunnel_that_nobody_reads() {
    const RATE: usize = 200_000;
    const BYTES: usize = 350_000;
    let sink = Origin::start(Behaviour::Sink).await;
    let gateway = permitting(&skipping("", &format!("uploadBytes: {RATE}")), &sink, None).await;
    let mut client = a(&gateway).await;
    assert_eq!(connect(&mut client, &format!("good.test:{}", sink.port())).await.0, 200);
    let start = Instant::now();
    client.send(vec![1; BYTES]).await;
    sink.wait_for_count(0, BYTES).await;
    // A second's worth may go at once.
    let least = Duration::from_millis(((BYTES - RATE) * 900 / RATE) as u64);
    assert!(start.elapsed() > least, "{:?} is less than {least:?}", start.elapsed());
}
