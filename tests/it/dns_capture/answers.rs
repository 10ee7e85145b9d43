//! What is answered for names that are allowed, and to real clients.

use super::*;

#[tokio::test]
async fn i4_an_allowed_name_is_answered_and_leaves_no_record() {
    let gateway =
        capture("mode: Limited\nhostRules: ['*.good.test', 'db.corp.test:5432']\n", Settings::DEFAULT).await;
    gateway.dns.says("www.good.test", Answer::addresses(["192.0.2.1", "2001:db8::1"]).ttl(86_400));
    gateway.dns.says("alias.good.test", Answer::alias("elsewhere.test"));
    gateway.dns.says("elsewhere.test", Answer::addresses(["192.0.2.2"]).ttl(7));
    gateway.dns.says("db.corp.test", Answer::addresses(["192.0.2.3"]));
    let stub = Stub::of(door(&gateway, 0)).await;
    for (name, kind, address, ttl) in [
        ("www.good.test.", RecordType::A, "192.0.2.1", 60),
        ("www.good.test.", RecordType::AAAA, "2001:db8::1", 60),
        ("alias.good.test.", RecordType::A, "192.0.2.2", 7),
        ("db.corp.test.", RecordType::A, "192.0.2.3", 60),
    ] {
        let answer = stub.ask(name, kind).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{name}");
        let (found, life) = addresses(&answer);
        assert_eq!(found, [address], "{name}");
        assert!(life <= ttl && life + 3 > ttl, "{name}: {life}");
        assert_eq!(answer.answers[0].name.to_ascii(), name, "aliases are followed, and left out");
    }
    let alias = stub.ask("alias.good.test.", RecordType::CNAME).await;
    assert_eq!(alias.answers.len(), 1);
    assert!(
        matches!(&alias.answers[0].data, RData::CNAME(target) if target.0.to_ascii() == "elsewhere.test.")
    );

    let mut stream = TcpStream::connect(door(&gateway, 0)).await.unwrap();
    for name in ["www.good.test.", "db.corp.test."] {
        send(&mut stream, &query(name, RecordType::A)).await;
    }
    assert_eq!(addresses(&next(&mut stream).await).0, ["192.0.2.1"]);
    assert_eq!(addresses(&next(&mut stream).await).0, ["192.0.2.3"]);
    assert_eq!(counted(&gateway, "answered").await, 7);
    assert_eq!(refusals(&gateway, 0).await, Vec::<Value>::new());
}

#[tokio::test]
async fn i4_other_types_are_refused_and_services_come_without_ech() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    let alpn = (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".to_owned()])));
    let ech = (SvcParamKey::EchConfigList, SvcParamValue::EchConfigList(EchConfigList(vec![0, 1, 2])));
    let service = |params| RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), params)));
    let text = RData::TXT(TXT::new(vec!["data".to_owned()]));
    let records = vec![service(vec![alpn.clone(), ech]), text];
    gateway.dns.says("www.good.test", Answer::Records(records));
    let stub = Stub::of(door(&gateway, 0)).await;

    let answer = stub.ask("www.good.test.", RecordType::HTTPS).await;
    let data: Vec<_> = answer.answers.iter().map(|record| record.data.clone()).collect();
    assert_eq!(data, [service(vec![alpn])]);
    gateway.dns.says("alias.test", Answer::alias("www.good.test"));
    assert_eq!(stub.ask("alias.test.", RecordType::HTTPS).await.answers.len(), 1, "aliases are followed");
    let before = gateway.dns.total_queries();
    for kind in [RecordType::TXT, RecordType::ANY, RecordType::MX, RecordType::NS, RecordType::SRV] {
        assert_eq!(stub.code("www.good.test.", kind).await, ResponseCode::Refused, "{kind}");
    }
    for kind in [RecordType::NULL, RecordType::AXFR, RecordType::from(65_280)] {
        assert_eq!(stub.code("www.good.test.", kind).await, ResponseCode::Refused, "{kind}");
    }
    assert_eq!(stub.code("1.0.0.10.in-addr.arpa.", RecordType::PTR).await, ResponseCode::NXDomain);
    let service = stub.ask("_dns.resolver.arpa.", RecordType::SVCB).await;
    assert_eq!((service.metadata.response_code, service.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(gateway.dns.total_queries(), before);
    let records = refusals(&gateway, 9).await;
    assert!(records.iter().all(|record| record["reason"] == "default_deny"));
    assert_eq!(records[0]["method"], "TXT");
    assert!(records[0]["error"].as_str().unwrap().contains("queries of type TXT are not answered"));
}

#[tokio::test]
async fn i4_a_name_that_is_not_there_is_told_apart_from_one_without_such_an_address_and_from_a_failure() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    gateway.dns.says("four.test", Answer::addresses(["192.0.2.1"]));
    gateway.dns.says("broken.test", Answer::ServFail);
    let stub = Stub::of(door(&gateway, 0)).await;
    assert_eq!(stub.code("four.test.", RecordType::AAAA).await, ResponseCode::NoError);
    assert_eq!(stub.code("gone.test.", RecordType::AAAA).await, ResponseCode::NXDomain);
    assert_eq!(stub.code("broken.test.", RecordType::A).await, ResponseCode::ServFail);
    let record = refusals(&gateway, 1).await.remove(0);
    assert_eq!((&record["host"], &record["reason"]), (&"broken.test".into(), &"dns_failed".into()));
    assert_eq!((&record["outcome"], record["dns_ms"].is_number()), (&"upstream_failed".into(), true));
    let asked = format!("SERVFAIL): asked {}: see that it is up", gateway.dns.address());
    assert!(record["error"].as_str().unwrap().contains(&asked), "{record:#}");
    assert_eq!((counted(&gateway, "nothing").await, counted(&gateway, "failed").await), (2, 1));
}

#[tokio::test]
async fn i4_dig_and_kdig_are_answered_over_udp_and_tcp() {
    let gateway = capture("mode: Limited\nhostRules: [good.test]\n", FREE).await;
    gateway.dns.says("good.test", Answer::addresses(["192.0.2.1", "2001:db8::1"]));
    let address = door(&gateway, 0);
    let (server, port) = (format!("@{}", address.ip()), address.port().to_string());
    for name in ["dig", "kdig"] {
        let Some(dig) = tool::find(name) else { continue };
        let ask = async |more: &[&str]| {
            let base = [server.as_str(), "-p", port.as_str()];
            tool::run(&dig, base.iter().chain(more)).await.stdout
        };
        for way in ["+notcp", "+tcp"] {
            assert_eq!(ask(&[way, "+short", "good.test", "A"]).await.trim(), "192.0.2.1", "{name} {way}");
            assert_eq!(ask(&[way, "+short", "good.test", "AAAA"]).await.trim(), "2001:db8::1");
            let denied = ask(&[way, "data.evil.test"]).await;
            assert!(denied.contains("NXDOMAIN"), "{name} {way}: {denied}");
            let refused = ask(&[way, "good.test", "TXT"]).await;
            assert!(refused.contains("REFUSED"), "{name} {way}: {refused}");
        }
        assert_eq!(gateway.dns.queries("data.evil.test"), 0);
    }
}
