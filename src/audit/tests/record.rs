//! What a record is: one line of JSON, an end that is certain, the schema.

use super::*;

#[test]
fn l1_a_hundred_thousand_hostile_hosts_are_a_hundred_thousand_lines_of_json() {
    const HOSTS: usize = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let (audit, writer) = Audit::start(file(&path), vec![]).unwrap();
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..HOSTS {
        let mut bytes = vec![];
        for _ in 0..(state % 40) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let pool =
                "\n\r\0\"\\{}\u{7f}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\u{e0041}aé\t".as_bytes();
            let raw = state.to_le_bytes();
            bytes.push(if raw[7] < 200 { pool[usize::from(raw[1]) % pool.len()] } else { raw[0] });
        }
        let mut record = audit.record(Kind::Connection);
        record.event().host = Some(Text::from_bytes(&bytes));
        record.event().sni = Some(Text::new(&String::from_utf8_lossy(&bytes).repeat(100)));
        record.finish(Outcome::Refused);
    }
    writer.finish(Duration::from_mins(1)).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.split_terminator('\n').count(), HOSTS);
    assert!(!text.chars().any(|c| c != '\n' && (c.is_control() || "\u{2028}\u{202e}\u{feff}".contains(c))));
    assert_no_silent_gap(&lines(&path));
}

#[test]
fn l3_every_record_has_exactly_one_terminal_event_whatever_becomes_of_it() {
    let tally = Arc::new(Tally::default());
    let (sink, permits, out) = gate();
    permits.send(Permit::Open).unwrap();
    let settings = settings(sink, OnFull::Block, 64);
    let (audit, writer) = Audit::start(settings, vec![Arc::clone(&tally) as _]).unwrap();

    audit.record(Kind::Request).finish(Outcome::Ok);
    drop(audit.record(Kind::Connection));
    let panics = audit.clone();
    let panicked = std::thread::spawn(move || {
        let mut record = panics.record(Kind::Connection);
        record.open();
        panic!("on purpose");
    });
    panicked.join().unwrap_err();

    assert_eq!(tally.seen(), [3, 3, 2]);
    writer.finish(Duration::from_secs(10)).unwrap();
    let lines = out.lock().unwrap();
    let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, [Some("ok"), Some("aborted"), None, Some("aborted")]);
    assert_eq!(lines[3]["error"], "the gateway panicked");
    assert_eq!(lines[1].get("error"), None);
}

#[test]
fn l3_the_open_record_comes_before_and_shares_the_id_and_is_written_once() {
    let tally = Arc::new(Tally::default());
    let (sink, permits, out) = gate();
    permits.send(Permit::Open).unwrap();
    let settings = settings(sink, OnFull::Block, 64);
    let (audit, writer) = Audit::start(settings, vec![Arc::clone(&tally) as _]).unwrap();
    let mut record = audit.record(Kind::Connection);
    let id = record.id().to_owned();
    record.event().decision = Some(Decision::Allow);
    record.open();
    record.open();
    record.event().bytes_up = Some(7);
    record.finish(Outcome::Ok);
    writer.finish(Duration::from_secs(10)).unwrap();
    let lines = out.lock().unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!([&lines[0]["kind"], &lines[1]["kind"]], ["open", "connection"]);
    assert_eq!([&lines[0]["id"], &lines[1]["id"]], [&id, &id]);
    assert!(lines[0].get("bytes_up").is_none() && lines[0].get("duration_ms").is_none());
    assert!(lines[1]["duration_ms"].is_number());
    assert_eq!(tally.seen(), [1, 1, 0]);
}

#[test]
fn without_open_records_the_decision_is_still_observed_at_once() {
    let tally = Arc::new(Tally::default());
    let (sink, permits, out) = gate();
    permits.send(Permit::Open).unwrap();
    let settings = Settings { open: false, ..settings(sink, OnFull::Block, 64) };
    let (audit, writer) = Audit::start(settings, vec![Arc::clone(&tally) as _]).unwrap();
    let mut record = audit.record(Kind::Connection);
    record.open();
    assert_eq!(tally.seen(), [1, 0, 0]);
    record.finish(Outcome::Ok);
    assert_eq!(tally.seen(), [1, 1, 0]);
    writer.finish(Duration::from_secs(10)).unwrap();
    assert_eq!(out.lock().unwrap().len(), 1);
}

#[test]
fn a_full_record_is_covered_by_the_schema_and_knows_its_time() {
    let (sink, permits, out) = gate();
    permits.send(Permit::Open).unwrap();
    let (audit, writer) = Audit::start(settings(sink, OnFull::Block, 64), vec![]).unwrap();
    let mut record = audit.record(Kind::Request);
    fill(record.event());
    record.finish(Outcome::Ok);
    writer.finish(Duration::from_secs(10)).unwrap();
    let line = out.lock().unwrap()[0].clone();
    let product = "schema id seq time kind decision reason policy scope rule generation sandbox group client \
        listener ingress method scheme host port path sni address route network inspected secrets \
        headers_changed sent status bytes_up bytes_down dns_ms connect_ms tls_ms ttfb_ms duration_ms outcome \
        error would_deny ech lost change";
    let schema = schema();
    let described = schema["properties"].as_object().unwrap();
    let mut expected: Vec<_> = product.split_whitespace().collect();
    expected.sort_unstable();
    assert_eq!(line.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), expected);
    assert_eq!(described.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    assert_eq!(line["schema"], "sluicegate.audit/1");
    let time = line["time"].as_str().unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() == 24 && time.ends_with('Z'), "{time}");
    assert_eq!(line["scope"], "Global");
    assert_eq!(line["dns_ms"], 1.235);
    assert_eq!(line["would_deny"], serde_json::json!({"reason": "default_deny"}));
}

fn fill(event: &mut Event) {
    let some = |text: &str| -> Option<Arc<str>> { Some(text.into()) };
    event.decision = Some(Decision::Allow);
    event.reason = Some(crate::policy::Reason::DefaultDeny);
    event.policy = some("p");
    event.scope = Some(crate::policy::mode::Scope::Global);
    event.rule = some("hostRules[0]");
    event.generation = Some(1);
    event.sandbox = some("s");
    event.group = some("g");
    event.client = Some("127.0.0.1:5".parse().unwrap());
    event.listener = some("127.0.0.1:3128");
    event.ingress = Some(Ingress::Http);
    event.method = Some(Text::new("GET"));
    event.scheme = Some(Scheme::Http);
    event.host = Some(Text::new("example.com"));
    event.port = Some(80);
    event.path = Some(Text::path("/a?b"));
    event.sni = Some(Text::new("example.com"));
    event.address = Some("192.0.2.1:80".parse().unwrap());
    event.route = Some(Route::Managed);
    event.network = some("managed");
    event.inspected = Some(false);
    event.ech = true;
    let reason = crate::policy::Reason::DefaultDeny;
    event.would_deny = Some(WouldDeny { reason, policy: None, rule: None });
    event.secrets = vec!["github/token".into()];
    event.headers_changed = vec!["authorization".into()];
    event.sent = Some(Sent { scheme: Scheme::Https, host: Text::new("h"), path: Text::new("/") });
    event.status = Some(200);
    (event.bytes_up, event.bytes_down) = (Some(1), Some(2));
    event.dns = Some(Duration::from_nanos(1_234_567));
    (event.connect, event.tls, event.ttfb) =
        (Some(Duration::ZERO), Some(Duration::ZERO), Some(Duration::ZERO));
    event.error = Some(Text::new("none"));
    event.change = Some(Box::new(Change::Load(LoadChange { documents: 1, unrecorded: 0 })));
    event.lost = Some(Lost { sink: "x".into(), events: Some(1), bytes: None });
}
