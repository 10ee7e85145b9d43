//! Sandboxes apart: verdicts, rates and look-ups that wait.

use super::*;

#[tokio::test]
async fn i4_two_sandboxes_never_see_each_others_verdicts_and_strangers_get_none() {
    let policy = "\
kind: EgressPolicy
metadata: {name: a, sandbox: a}
spec: {mode: Limited, hostRules: [only-a.test]}
---
kind: EgressPolicy
metadata: {name: b, sandbox: b}
spec: {mode: Unrestricted, hostRules: [{pattern: only-a.test, action: Deny}]}
";
    let gateway = Gateway::with(policy, |config| {
        two(config, Settings::DEFAULT);
        config.listeners.push(listener(Settings::DEFAULT, None));
    })
    .await;
    for name in ["only-a.test", "only-b.test"] {
        gateway.dns.says(name, Answer::addresses(["192.0.2.1"]));
    }
    let (a, b) = (Stub::of(door(&gateway, 0)).await, Stub::of(door(&gateway, 1)).await);
    let stranger = Stub::of(door(&gateway, 2)).await;
    for (stub, name, code) in [
        (&a, "only-a.test.", ResponseCode::NoError),
        (&a, "only-b.test.", ResponseCode::NXDomain),
        (&b, "only-b.test.", ResponseCode::NoError),
        (&b, "only-a.test.", ResponseCode::NXDomain),
        (&stranger, "only-a.test.", ResponseCode::Refused),
    ] {
        assert_eq!(stub.code(name, RecordType::A).await, code, "{name}");
    }
    let records = refusals(&gateway, 3).await;
    let seen: Vec<_> = records.iter().map(|record| (&record["sandbox"], &record["reason"])).collect();
    assert_eq!(
        seen,
        [
            (&"a".into(), &"default_deny".into()),
            (&"b".into(), &"host_denied".into()),
            (&Value::Null, &"identity_unknown".into())
        ]
    );

    let mut stream = TcpStream::connect(door(&gateway, 2)).await.unwrap();
    assert_eq!(within("the end", stream.read(&mut [0; 9])).await.unwrap_or(0), 0);
    let record = gateway.wait_for("a record", |all| all.iter().any(|one| one["kind"] == "connection")).await;
    let record = record.iter().find(|record| record["kind"] == "connection").unwrap();
    assert_eq!((&record["reason"], &record["ingress"]), (&"identity_unknown".into(), &"dns".into()));
}

#[tokio::test]
async fn i4_queries_beyond_the_rate_of_a_sandbox_are_refused_and_the_others_are_unaffected() {
    let gateway = Gateway::with(OPEN, |config| {
        two(config, FREE);
        config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::DnsQueriesPerSecond, 2);
    })
    .await;
    gateway.dns.says("good.test", Answer::addresses(["192.0.2.1"]));
    let (a, b) = (Stub::of(door(&gateway, 0)).await, Stub::of(door(&gateway, 1)).await);
    let mut codes = Vec::new();
    for _ in 0..50 {
        codes.push(a.code("good.test.", RecordType::A).await);
    }
    let refused = codes.iter().filter(|code| **code == ResponseCode::Refused).count();
    assert_eq!(codes[..2], [ResponseCode::NoError; 2]);
    assert!(refused > 0);
    assert_eq!(b.code("good.test.", RecordType::A).await, ResponseCode::NoError);
    let records = refusals(&gateway, refused).await;
    assert!(records.iter().all(|record| record["reason"] == "limit" && record["sandbox"] == "a"));
    assert!(records[0]["error"].as_str().unwrap().contains("`limits.perSandbox`"));
    assert_eq!(counted(&gateway, "limited").await, u64::try_from(refused).unwrap());
}

#[tokio::test]
async fn r2_look_ups_that_wait_are_bounded_for_each_sandbox_and_block_nobody() {
    let limited = |config: &mut Config| {
        two(config, FREE);
        config.limits.per_sandbox = config.limits.per_sandbox.with(Limit::DnsQueries, 128);
    };
    let gateway = Gateway::with(OPEN, limited).await;
    gateway.dns.says("known.test", Answer::addresses(["192.0.2.1"]));
    let (a, b) = (Stub::of(door(&gateway, 0)).await, Stub::of(door(&gateway, 1)).await);
    assert_eq!(a.code("known.test.", RecordType::A).await, ResponseCode::NoError);
    gateway.dns.hold();
    for number in 0..200 {
        a.send(&query(&format!("n{number}.slow.test."), RecordType::A).to_vec().unwrap()).await;
    }
    for _ in 0..72 {
        assert_eq!(a.next().await.metadata.response_code, ResponseCode::Refused);
    }
    assert_eq!(b.code("known.test.", RecordType::A).await, ResponseCode::NoError);
    b.send(&query("b.slow.test.", RecordType::A).to_vec().unwrap()).await;
    gateway.dns.wait_for_query("b.slow.test").await;
    gateway.dns.release();
    for _ in 0..128 {
        assert_eq!(a.next().await.metadata.response_code, ResponseCode::NXDomain);
    }
    assert_eq!(b.next().await.metadata.response_code, ResponseCode::NXDomain);
    assert!(refusals(&gateway, 72).await.iter().all(|record| record["reason"] == "limit"));
}

#[tokio::test]
async fn i4_a_reporting_document_lets_queries_pass_and_each_leaves_what_it_would_deny() {
    let gateway = capture("mode: Limited\nenforcement: Report\nhostRules: [good.test]\n", FREE).await;
    for name in ["good.test", "other.test"] {
        gateway.dns.says(name, Answer::addresses(["192.0.2.1"]));
    }
    gateway.dns.says("broken.test", Answer::ServFail);
    let stub = Stub::of(door(&gateway, 0)).await;
    for (name, code) in [
        ("good.test.", ResponseCode::NoError),
        ("other.test.", ResponseCode::NoError),
        ("broken.test.", ResponseCode::ServFail),
    ] {
        assert_eq!(stub.code(name, RecordType::A).await, code);
    }
    let records = refusals(&gateway, 2).await;
    let seen = |record: &Value| (record["host"].clone(), record["decision"].clone());
    assert_eq!(seen(&records[0]), ("other.test".into(), "allow".into()));
    assert_eq!(seen(&records[1]), ("broken.test".into(), "deny".into()));
    assert!(records.iter().all(|record| record["would_deny"]["reason"] == "default_deny"));
}
