//! Names that are denied, and names that carry data.

use super::*;

#[tokio::test]
async fn d5_a_thousand_denied_names_of_many_shapes_cause_no_query_and_leave_a_record_each() {
    const POLICY: &str =
        "mode: Limited\nhostRules: [good.test, '*.wild.test', {pattern: no.wild.test, action: Deny}]\n";
    let gateway = capture(POLICY, FREE).await;
    let stub = Stub::of(door(&gateway, 0)).await;
    let long = "x".repeat(63);
    let mut denied = 0;
    for number in 0..100 {
        for name in [
            format!("{number}.exfil.test."),
            format!("{number:x}.{long}.{long}.test."),
            format!("a{number}.good.test."),
            format!("good.test.a{number}.test."),
            format!("no.WILD.test.{}", if number % 2 == 0 { "" } else { "x." }),
            format!("wild.test.{number}x."),
            format!("{}deep.test.", "d.".repeat(number)),
            format!("xn--{number}.test."),
            format!("10.0.0.{number}."),
            format!("_{number}._tcp.wildtest."),
        ] {
            let kind = [RecordType::A, RecordType::AAAA, RecordType::HTTPS, RecordType::CNAME][number % 4];
            assert_eq!(stub.code(&name, kind).await, ResponseCode::NXDomain, "{name}");
            denied += 1;
        }
    }
    assert_eq!(denied, 1000);
    assert_eq!(gateway.dns.total_queries(), 0, "{:?}", gateway.dns.asked());
    let records = refusals(&gateway, 1000).await;
    for record in &records {
        assert_eq!((&record["decision"], &record["ingress"]), (&"deny".into(), &"dns".into()));
        assert_eq!((&record["sandbox"], &record["outcome"]), (&"default".into(), &"refused".into()));
        assert!(record["client"].is_string() && record["host"].is_string() && record["method"].is_string());
    }
    let of = |host: &str| records.iter().find(|record| record["host"] == host).unwrap().clone();
    assert_eq!(of("0.exfil.test")["reason"], "default_deny");
    assert!(of("0.exfil.test")["error"].as_str().unwrap().contains("add \"0.exfil.test\" to hostRules"));
    let wild = of("no.wild.test");
    assert_eq!(
        (&wild["reason"], &wild["rule"]),
        (&"host_denied".into(), &"hostRules[2] no.wild.test".into())
    );
    assert_eq!(of("10.0.0.7.")["reason"], "bad_request");
    assert_eq!(counted(&gateway, "denied").await, 1000);
}

#[tokio::test]
async fn d5_a_denied_name_is_refused_where_the_operator_wants_that() {
    let gateway = capture(OPEN, Settings { denied: Denied::Refused, ..FREE }).await;
    let stub = Stub::of(door(&gateway, 0)).await;
    assert_eq!(stub.code("denied.test.", RecordType::A).await, ResponseCode::Refused);
    assert_eq!(stub.code("127.0.0.1.", RecordType::A).await, ResponseCode::Refused);
    assert_eq!(gateway.dns.total_queries(), 0);
    assert_eq!(refusals(&gateway, 2).await[0]["reason"], "host_denied");
}

#[tokio::test]
async fn d5_nothing_of_a_query_goes_upstream_but_the_canonical_name_and_the_type() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    gateway.dns.says("www.good.test", Answer::addresses(["192.0.2.1"]));
    let stub = Stub::of(door(&gateway, 0)).await;
    let mut message = query("wWw.gOOd.TEST.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    message.set_edns(edns);
    let answer = stub.tell(&message).await;
    assert_eq!(answer.queries[0].name().to_ascii(), "wWw.gOOd.TEST.", "as it was asked for");
    assert_eq!(answer.answers[0].name.to_ascii(), "wWw.gOOd.TEST.");
    assert!(answer.edns.is_some() && answer.metadata.recursion_available);
    let asked: Vec<_> = gateway.dns.asked().into_iter().map(|asked| (asked.name, asked.kind)).collect();
    assert_eq!(asked, [("www.good.test".to_owned(), RecordType::A)]);
}

#[tokio::test]
async fn d5_names_that_no_rule_spells_out_are_bounded_in_number_and_shape() {
    let policy = "mode: Limited\nhostRules: [plain.test, '*.wild.test']\nrules: [{match: {host: ruled.test}, action: Allow}]\n";
    let settings = Settings { distinct_names_per_minute: 3, max_label_bytes: 20, ..Settings::DEFAULT };
    let gateway = capture(policy, settings).await;
    let stub = Stub::of(door(&gateway, 0)).await;
    for name in ["a", "b", "c", "a", "b"] {
        assert_eq!(stub.code(&format!("{name}.wild.test."), RecordType::A).await, ResponseCode::NXDomain);
    }
    let asked = gateway.dns.total_queries();
    assert!(asked >= 3);
    assert_eq!(stub.code("d.wild.test.", RecordType::A).await, ResponseCode::Refused);
    let data = "0123456789abcdefghijk.wild.test.";
    assert_eq!(stub.code(data, RecordType::A).await, ResponseCode::Refused);
    assert_eq!(gateway.dns.total_queries(), asked, "what is beyond a limit is not asked for");
    for name in ["plain.test.", "ruled.test.", "c.wild.test."] {
        assert_eq!(stub.code(name, RecordType::A).await, ResponseCode::NXDomain, "{name}");
    }
    let records = refusals(&gateway, 2).await;
    assert!(records.iter().all(|record| record["reason"] == "limit"));
    assert!(records[0]["error"].as_str().unwrap().contains("`distinctNamesPerMinute` (3)"));
    assert!(records[1]["error"].as_str().unwrap().contains("21 bytes, more than `maxLabelBytes` (20)"));
}
