//! Queries of sandboxes to a listener of `kind: Dns`, over UDP and TCP.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::{Alpn, EchConfigList, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{HTTPS, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::Value;
use sluicegate::app::StartError;
use sluicegate::config::{Config, ListenerKind, ListenerSettings, SandboxSettings};
use sluicegate::policy::Limit;
use sluicegate::proxy::dns::{Denied, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::{tool, within};

/// Settings under which no name is too much by accident.
const FREE: Settings = Settings {
    distinct_names_per_minute: 100_000,
    max_name_bytes: 253,
    max_label_bits: 400,
    ..Settings::DEFAULT
};

/// A listener for queries on a free port.
fn listener(settings: Settings, sandbox: Option<&str>) -> ListenerSettings {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = ListenerSettings::new(address, ListenerKind::Dns(settings));
    ListenerSettings { sandbox: sandbox.map(Into::into), ..settings }
}

/// A gateway that answers queries.
async fn capture(policy: &str, settings: Settings) -> Gateway {
    Gateway::with(policy, |config| config.listeners.push(listener(settings, None))).await
}

/// Where a gateway answers queries; its first listener is the proxy.
fn door(gateway: &Gateway, place: usize) -> SocketAddr {
    gateway.running().listeners[1 + place]
}

/// Two sandboxes that are told apart by their listeners.
fn two(config: &mut Config, settings: Settings) {
    for id in ["a", "b"] {
        let (sources, token, group) = (Vec::new(), None, None);
        config.sandboxes.push(SandboxSettings {
            id: id.into(),
            group,
            sources,
            token,
            require_policy: false,
        });
        config.listeners.push(listener(settings, Some(id)));
    }
}

/// A query.
fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// A client of a UDP listener.
struct Stub(UdpSocket);

impl Stub {
    /// One that asks there.
    async fn of(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind((address.ip(), 0)).await.unwrap();
        socket.connect(address).await.unwrap();
        Self(socket)
    }

    /// Sends bytes.
    async fn send(&self, bytes: &[u8]) {
        self.0.send(bytes).await.unwrap();
    }

    /// The next answer.
    async fn next(&self) -> Message {
        let mut buffer = vec![0; 65_535];
        let length = within("an answer", self.0.recv(&mut buffer)).await.unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    /// What a message is answered with.
    async fn tell(&self, message: &Message) -> Message {
        self.send(&message.to_vec().unwrap()).await;
        let answer = self.next().await;
        assert_eq!((answer.metadata.id, answer.metadata.message_type), (4711, MessageType::Response));
        answer
    }

    /// What a name is answered with.
    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.tell(&query(name, kind)).await
    }

    /// The code that a name is answered with.
    async fn code(&self, name: &str, kind: RecordType) -> ResponseCode {
        let answer = self.ask(name, kind).await;
        assert!(answer.answers.is_empty() || answer.metadata.response_code == ResponseCode::NoError);
        answer.metadata.response_code
    }
}

/// Sends a message over TCP.
async fn send(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    let length = u16::try_from(bytes.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).await.unwrap();
}

/// The next answer over TCP.
async fn next(stream: &mut TcpStream) -> Message {
    let read = async {
        let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut bytes).await.unwrap();
        Message::from_vec(&bytes).unwrap()
    };
    within("an answer over TCP", read).await
}

/// The addresses in an answer, and its longest life.
fn addresses(answer: &Message) -> (Vec<String>, u32) {
    let all = answer.answers.iter();
    let found = all.clone().filter_map(|record| record.data.ip_addr()).map(|ip: IpAddr| ip.to_string());
    (found.collect(), all.map(|record| record.ttl).max().unwrap_or_default())
}

/// The records of queries.
async fn refusals(gateway: &Gateway, count: usize) -> Vec<Value> {
    let of_queries = |records: &[Value]| -> Vec<Value> {
        records.iter().filter(|record| record["kind"] == "query").cloned().collect()
    };
    let what = format!("{count} records of queries");
    let all = of_queries(&gateway.wait_for(&what, |records| of_queries(records).len() >= count).await);
    assert_eq!(all.len(), count, "{all:#?}");
    all
}

/// How often something was answered so.
async fn counted(gateway: &Gateway, result: &str) -> u64 {
    let (_, text) = gateway.admin_get("/metrics").await;
    let line = format!("sluicegate_dns_answers_total{{result=\"{result}\"}} ");
    text.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

/// Everything but what `says` denies.
const OPEN: &str = "mode: Unrestricted\nhostRules: [{pattern: denied.test, action: Deny}]\n";

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
    assert_eq!((counted(&gateway, "nothing").await, counted(&gateway, "failed").await), (2, 1));
}

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
async fn d6_what_is_no_query_is_told_so_or_nothing_and_is_never_passed_on() {
    let gateway = capture(OPEN, FREE).await;
    let stub = Stub::of(door(&gateway, 0)).await;
    let mut response = query("good.test.", RecordType::A);
    response.metadata.message_type = MessageType::Response;
    for silent in [response.to_vec().unwrap(), b"\0\x01".to_vec(), Vec::new(), vec![0; 4097]] {
        stub.send(&silent).await;
    }
    let mut update = query("good.test.", RecordType::A);
    update.metadata.op_code = OpCode::Status;
    assert_eq!(stub.tell(&update).await.metadata.response_code, ResponseCode::NotImp);
    let mut two = query("good.test.", RecordType::A);
    two.add_query(Query::query(Name::from_ascii("x.test.").unwrap(), RecordType::A));
    assert_eq!(stub.tell(&two).await.metadata.response_code, ResponseCode::FormErr);
    let mut cut = query("good.test.", RecordType::A).to_vec().unwrap();
    cut.truncate(cut.len() - 3);
    stub.send(&cut).await;
    assert_eq!(stub.next().await.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(gateway.dns.total_queries(), 0);
    assert!(refusals(&gateway, 3).await.iter().all(|record| record["reason"] == "bad_request"));
    assert_eq!((counted(&gateway, "malformed").await, counted(&gateway, "dropped").await), (3, 4));
}

#[tokio::test]
async fn d6_an_answer_that_does_not_fit_is_cut_and_comes_whole_over_tcp() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    let many: Vec<_> = (0..40).map(|last| format!("2001:db8::{last:x}")).collect();
    gateway.dns.says("many.test", Answer::addresses(many.iter().map(String::as_str)));
    let stub = Stub::of(door(&gateway, 0)).await;
    let request = query("many.test.", RecordType::AAAA);
    let cut = stub.tell(&request).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert!(cut.to_vec().unwrap().len() <= request.to_vec().unwrap().len(), "a cut answer is no larger");
    let mut stream = TcpStream::connect(door(&gateway, 0)).await.unwrap();
    send(&mut stream, &request).await;
    assert_eq!(next(&mut stream).await.answers.len(), 40);
}

#[tokio::test]
async fn r1_connections_that_say_nothing_or_too_much_hold_nobody_up() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    gateway.dns.says("good.test", Answer::addresses(["192.0.2.1"]));
    let mut silent = Vec::new();
    for _ in 0..31 {
        let mut stream = TcpStream::connect(door(&gateway, 0)).await.unwrap();
        stream.write_all(&[0]).await.unwrap();
        silent.push(stream);
    }
    let mut good = TcpStream::connect(door(&gateway, 0)).await.unwrap();
    send(&mut good, &query("good.test.", RecordType::A)).await;
    assert_eq!(addresses(&next(&mut good).await).0, ["192.0.2.1"]);

    let mut one_more = TcpStream::connect(door(&gateway, 0)).await.unwrap();
    assert_eq!(within("the end", one_more.read(&mut [0; 9])).await.unwrap_or(0), 0);
    let records =
        gateway.wait_for("a refusal", |all| all.iter().any(|record| record["reason"] == "limit")).await;
    let record = records.iter().find(|record| record["reason"] == "limit").unwrap();
    assert_eq!((&record["kind"], &record["ingress"]), (&"connection".into(), &"dns".into()));

    good.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    assert_eq!(within("the end", good.read(&mut [0; 9])).await.unwrap_or(0), 0);
    let stub = Stub::of(door(&gateway, 0)).await;
    assert_eq!(stub.code("good.test.", RecordType::A).await, ResponseCode::NoError);
    for stream in &mut silent {
        assert_eq!(within("the deadline of a message", stream.read(&mut [0; 9])).await.unwrap_or(0), 0);
    }
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

#[tokio::test]
async fn a6_the_sockets_for_queries_are_the_gateways_own() {
    let gateway = capture("mode: Unrestricted\n", FREE).await;
    let target = door(&gateway, 0).to_string();
    let mut client = Client::connect(gateway.proxy()).await;
    let response = client.ask(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n")).await;
    assert_eq!((response.status, response.header("x-deny-reason")), (403, Some("guard_self")));
}

#[tokio::test]
async fn a_gateway_that_would_ask_itself_does_not_start() {
    for ip in ["127.0.0.1", "0.0.0.0"] {
        let refused = || async {
            let free = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let started = Gateway::try_with(OPEN, |config| {
                config.dns.servers = vec![free];
                let address = SocketAddr::new(ip.parse().unwrap(), free.port());
                config.listeners.push(ListenerSettings { address, ..listener(FREE, None) });
            });
            let Err(StartError::Other(error)) = started.await else { panic!("it starts") };
            error.to_string()
        };
        let mut error = refused().await;
        // The port that was free a moment ago is somebody's by now.
        while error.starts_with("cannot ") {
            error = refused().await;
        }
        assert!(error.contains("is this gateway's own listener"), "{error}");
    }
}

#[tokio::test]
async fn a_policy_change_is_in_force_for_the_next_query() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    gateway.dns.says("good.test", Answer::addresses(["192.0.2.1"]));
    let stub = Stub::of(door(&gateway, 0)).await;
    assert_eq!(stub.code("good.test.", RecordType::A).await, ResponseCode::NoError);
    gateway.set_policy("mode: Limited\n").await;
    assert_eq!(stub.code("good.test.", RecordType::A).await, ResponseCode::NXDomain);
    assert_eq!(refusals(&gateway, 1).await[0]["generation"], 2);
}

#[tokio::test]
async fn a_stop_ends_the_listeners_and_waits_for_no_idle_connection() {
    let gateway = capture(OPEN, Settings::DEFAULT).await;
    let mut stream = TcpStream::connect(door(&gateway, 0)).await.unwrap();
    gateway.dns.says("good.test", Answer::addresses(["192.0.2.1"]));
    send(&mut stream, &query("good.test.", RecordType::A)).await;
    next(&mut stream).await;
    let address = door(&gateway, 0);
    gateway.stop().await;
    assert_eq!(within("the end", stream.read(&mut [0; 9])).await.unwrap_or(0), 0);
    UdpSocket::bind(address).await.expect("the port is free again");
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
