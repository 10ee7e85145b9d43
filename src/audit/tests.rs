//! The log as a whole: nothing lost, nothing twice, in order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::future::Future;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What a [`Gate`] does with the next batch.
enum Permit {
    /// Takes so many lines, then says "not yet"; takes none, and says "no space".
    Take(usize),
    /// Takes everything from here on.
    Open,
}

/// A sink that blocks its writer until the test lets lines pass.
struct Gate {
    permits: Receiver<Permit>,
    out: Arc<Mutex<Vec<Value>>>,
    open: bool,
}

impl Sink for Gate {
    fn name(&self) -> Arc<str> {
        "gate".into()
    }

    fn write(&mut self, lines: &[Arc<Line>]) -> Wrote {
        let permit = if self.open { Permit::Open } else { self.permits.recv().unwrap_or(Permit::Open) };
        let taken = match permit {
            Permit::Take(lines) => lines,
            Permit::Open => {
                self.open = true;
                usize::MAX
            }
        };
        let taken = taken.min(lines.len());
        self.out.lock().unwrap().extend(lines[..taken].iter().map(|line| parse(&line.to_string())));
        let kind = if taken == 0 { io::ErrorKind::StorageFull } else { io::ErrorKind::WouldBlock };
        let error = (taken < lines.len()).then(|| io::Error::from(kind));
        Wrote { lines: taken, error }
    }
}

fn gate() -> (SinkSettings, Sender<Permit>, Arc<Mutex<Vec<Value>>>) {
    let (sender, permits) = channel();
    let out = Arc::new(Mutex::new(Vec::new()));
    let sink = Gate { permits, out: Arc::clone(&out), open: false };
    (SinkSettings::Custom(Box::new(sink)), sender, out)
}

fn settings(sink: SinkSettings, on_full: OnFull, queue: usize) -> Settings {
    Settings { sinks: vec![sink], on_full, queue, ..Settings::default() }
}

fn file(path: &Path) -> Settings {
    settings(SinkSettings::File(FileSettings::new(path)), OnFull::Block, 8192)
}

fn emit(audit: &Audit) {
    audit.record(Kind::Connection).finish(Outcome::Ok);
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(parse).collect()
}

fn assert_counts(audit: &Audit) {
    let counts = audit.counts();
    for sink in &counts.sinks {
        assert_eq!(counts.events, sink.written + sink.dropped + sink.queued, "{sink:?}");
    }
}

/// Every place is there, or a `lost` record that stands at the gap tells of it.
fn assert_no_silent_gap(lines: &[Value]) {
    let mut last = 0;
    for line in lines {
        let seq = line["seq"].as_u64().unwrap();
        let told = line.pointer("/lost/events").and_then(Value::as_u64).unwrap_or(0);
        assert_eq!(seq, last + told + 1, "{line}");
        last = seq;
    }
}

/// Counts what each observer must see exactly once.
#[derive(Default)]
struct Tally {
    decided: AtomicUsize,
    ended: AtomicUsize,
    aborted: AtomicUsize,
}

impl Observe for Tally {
    fn observe(&self, event: &Event) {
        self.decided.fetch_add(usize::from(event.decides()), Ordering::Relaxed);
        self.ended.fetch_add(usize::from(event.ends()), Ordering::Relaxed);
        let aborted = event.outcome == Some(Outcome::Aborted);
        self.aborted.fetch_add(usize::from(aborted), Ordering::Relaxed);
    }
}

impl Tally {
    fn seen(&self) -> [usize; 3] {
        [&self.decided, &self.ended, &self.aborted].map(|count| count.load(Ordering::Relaxed))
    }
}

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

#[tokio::test]
async fn l2_under_block_admission_waits_and_nothing_is_dropped() {
    let (sink, permits, out) = gate();
    let (audit, writer) = Audit::start(settings(sink, OnFull::Block, 2), vec![]).unwrap();
    let mut under_way = audit.unadmitted(Kind::Connection);
    under_way.admit().await.unwrap();
    for _ in 0..2 {
        emit(&audit);
    }
    assert!(audit.healthy().unwrap_err().contains("full"));
    let mut late = audit.unadmitted(Kind::Connection);
    let mut waits = Box::pin(late.admit());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(waits.as_mut().poll(&mut cx), Poll::Pending));
    under_way.finish(Outcome::Ok);
    permits.send(Permit::Open).unwrap();
    waits.await.unwrap();
    late.finish(Outcome::Ok);
    audit.flushed().await;
    assert_eq!(audit.healthy(), Ok(()));
    writer.finish(Duration::from_secs(10)).unwrap();
    assert_eq!(out.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn l2_under_block_what_gives_up_waiting_is_counted_and_fills_no_queue() {
    let tally = Arc::new(Tally::default());
    let (sink, permits, out) = gate();
    let settings = settings(sink, OnFull::Block, 2);
    let (audit, writer) = Audit::start(settings, vec![Arc::clone(&tally) as _]).unwrap();
    for _ in 0..2 {
        emit(&audit);
    }
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        let mut waiting = audit.unadmitted(Kind::Request);
        assert!(Box::pin(waiting.admit()).as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(tally.seen(), [1002, 1002, 1000], "metrics see them all");
    let sink = &audit.counts().sinks[0];
    assert_eq!((sink.queued, sink.dropped), (2, 1000));
    assert_counts(&audit);
    permits.send(Permit::Open).unwrap();
    audit.flushed().await;
    writer.finish(Duration::from_secs(10)).unwrap();
    let lines = out.lock().unwrap();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["lost"], serde_json::json!({"sink": "gate", "events": 1000}));
    assert_no_silent_gap(&lines);
}

#[tokio::test]
async fn what_gives_up_waiting_has_its_own_record_where_there_is_room() {
    let (sink, permits, out) = gate();
    permits.send(Permit::Open).unwrap();
    let (audit, writer) = Audit::start(settings(sink, OnFull::Block, 2), vec![]).unwrap();
    drop(audit.unadmitted(Kind::Request));
    writer.finish(Duration::from_secs(10)).unwrap();
    assert_eq!(out.lock().unwrap()[0]["outcome"], "aborted");
}

#[tokio::test(start_paused = true)]
async fn certainty_is_awaited_under_block_and_refused_under_deny_by_a_sink_that_fails_or_hangs() {
    let (sink, permits, _) = gate();
    let (audit, _writer) = Audit::start(settings(sink, OnFull::Deny, 64), vec![]).unwrap();
    emit(&audit);
    assert_eq!(audit.expect_certainty(), Ok(()));
    assert_eq!(audit.certain().await, Err(Full), "it hangs");
    permits.send(Permit::Take(0)).unwrap();
    audit.0.progress_until(|shared| shared.healthy().is_err()).await;
    assert_eq!(audit.expect_certainty(), Err(Full));
    assert_eq!(audit.certain().await, Err(Full), "it fails");
    permits.send(Permit::Open).unwrap();
    audit.flushed().await;
    assert_eq!((audit.expect_certainty(), audit.certain().await), (Ok(()), Ok(())));

    let (sink, permits, _) = gate();
    let (audit, _writer) = Audit::start(settings(sink, OnFull::Block, 64), vec![]).unwrap();
    emit(&audit);
    permits.send(Permit::Take(0)).unwrap();
    audit.0.progress_until(|shared| shared.healthy().is_err()).await;
    let mut waits = Box::pin(audit.certain());
    assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(audit.expect_certainty(), Ok(()));
    permits.send(Permit::Open).unwrap();
    assert_eq!(waits.await, Ok(()));
}

#[tokio::test]
async fn l2_under_deny_a_full_queue_refuses_admission_until_there_is_room() {
    let (sink, permits, _) = gate();
    let (audit, _writer) = Audit::start(settings(sink, OnFull::Deny, 1), vec![]).unwrap();
    let mut record = audit.unadmitted(Kind::Connection);
    assert_eq!(record.admit().await, Ok(()));
    record.finish(Outcome::Ok);
    let mut refused = audit.unadmitted(Kind::Connection);
    assert_eq!(refused.admit().await, Err(Full));
    refused.finish(Outcome::Ok);
    assert_eq!(audit.counts().sinks[0].dropped, 1);
    permits.send(Permit::Open).unwrap();
    audit.flushed().await;
    // The record that tells of the refused one.
    audit.flushed().await;
    assert_eq!(audit.unadmitted(Kind::Connection).admit().await, Ok(()));
}

#[tokio::test]
async fn l2_under_drop_a_lost_record_stands_where_the_dropped_ones_would_have_stood() {
    let (sink, permits, out) = gate();
    let (audit, writer) = Audit::start(settings(sink, OnFull::Drop, 2), vec![]).unwrap();
    for _ in 0..7 {
        let mut record = audit.unadmitted(Kind::Connection);
        record.admit().await.unwrap();
        record.finish(Outcome::Ok);
    }
    assert_eq!(audit.counts().sinks[0].dropped, 5);
    assert_counts(&audit);
    permits.send(Permit::Open).unwrap();
    audit.flushed().await;
    emit(&audit);
    writer.finish(Duration::from_secs(10)).unwrap();
    assert_counts(&audit);
    let lines = out.lock().unwrap();
    let seqs: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 8, 9]);
    assert_eq!(lines[2]["lost"], serde_json::json!({"sink": "gate", "events": 5}));
    assert_no_silent_gap(&lines);
}

#[tokio::test]
async fn a_sink_that_fails_is_tried_again_and_no_line_is_lost_or_doubled() {
    let (sink, permits, out) = gate();
    let (audit, writer) = Audit::start(settings(sink, OnFull::Block, 64), vec![]).unwrap();
    for _ in 0..5 {
        emit(&audit);
    }
    permits.send(Permit::Take(0)).unwrap();
    audit.0.progress_until(|shared| shared.healthy().is_err()).await;
    assert!(audit.healthy().unwrap_err().starts_with("gate: "));
    permits.send(Permit::Take(2)).unwrap();
    permits.send(Permit::Open).unwrap();
    audit.flushed().await;
    assert_eq!(audit.healthy(), Ok(()));
    writer.finish(Duration::from_secs(10)).unwrap();
    assert_eq!(out.lock().unwrap().len(), 5);
    assert_no_silent_gap(&out.lock().unwrap());
}

#[test]
fn finishing_gives_up_at_the_deadline_and_says_how_much_is_left() {
    let (sink, permits, _) = gate();
    let (audit, writer) = Audit::start(settings(sink, OnFull::Block, 64), vec![]).unwrap();
    emit(&audit);
    emit(&audit);
    assert_eq!(writer.finish(Duration::ZERO), Err(Unfinished(2)));
    drop(permits);
}

#[test]
fn an_observer_that_panics_harms_nobody() {
    struct Bad;
    impl Observe for Bad {
        fn observe(&self, _: &Event) {
            panic!("on purpose");
        }
    }
    let tally = Arc::new(Tally::default());
    let (sink, permits, _) = gate();
    permits.send(Permit::Open).unwrap();
    let observers: Vec<Arc<dyn Observe>> = vec![Arc::new(Bad), Arc::clone(&tally) as _];
    let (audit, _writer) = Audit::start(settings(sink, OnFull::Block, 64), observers).unwrap();
    drop(audit.record(Kind::Connection));
    assert_eq!(tally.seen(), [1, 1, 1]);
}

#[test]
fn l2_the_order_in_the_file_is_the_order_of_places_also_with_many_threads() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let (audit, writer) = Audit::start(file(&path), vec![]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..1000).for_each(|_| emit(&audit)));
        }
    });
    writer.finish(Duration::from_secs(30)).unwrap();
    let lines = lines(&path);
    assert_eq!(lines.len(), 8000);
    assert_no_silent_gap(&lines);
    let ids: std::collections::HashSet<_> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 8000);
    assert_counts(&audit);
}

#[test]
fn two_sinks_have_each_their_own_state() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let (one, permits, out) = gate();
    let sinks = vec![SinkSettings::File(FileSettings::new(&path)), one];
    let settings = Settings { sinks, on_full: OnFull::Drop, queue: 4, ..Settings::default() };
    let (audit, writer) = Audit::start(settings, vec![]).unwrap();
    for _ in 0..100 {
        emit(&audit);
        assert_counts(&audit);
    }
    drop(permits);
    writer.finish(Duration::from_secs(10)).unwrap();
    assert_counts(&audit);
    let of = |name: &str, lines: &[Value]| -> Vec<Value> {
        let own = |line: &&Value| line.pointer("/lost/sink").is_none_or(|sink| sink == name);
        lines.iter().filter(own).cloned().collect()
    };
    // A sink's own `lost` records account for its gaps; the others' are just records to it.
    for (name, lines) in [("file", lines(&path)), ("gate", out.lock().unwrap().clone())] {
        let told: u64 = of(name, &lines).iter().filter_map(|line| line["lost"]["events"].as_u64()).sum();
        let index = usize::from(name == "gate");
        assert_eq!(told, audit.counts().sinks[index].dropped, "{name}");
    }
}

#[test]
fn a_custom_sink_of_a_taken_name_gets_a_number() {
    let (one, _permits, _) = gate();
    let (two, _more, _) = gate();
    let settings = Settings { sinks: vec![one, two], ..Settings::default() };
    let (audit, _writer) = Audit::start(settings, vec![]).unwrap();
    let names: Vec<_> = audit.counts().sinks.iter().map(|sink| sink.sink.to_string()).collect();
    assert_eq!(names, ["gate", "gate2"]);
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

/// One step of the property below.
#[derive(Debug, Clone)]
enum Act {
    Emit,
    Take(usize),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn l2_events_are_always_written_dropped_or_queued(
        on_full in prop_oneof![Just(OnFull::Block), Just(OnFull::Drop), Just(OnFull::Deny)],
        limit in 1_usize..5,
        acts in prop::collection::vec(
            prop_oneof![3 => Just(Act::Emit), 1 => (1_usize..4).prop_map(Act::Take)], 0..40),
    ) {
        let (sink, permits, out) = gate();
        let (audit, writer) = Audit::start(settings(sink, on_full, limit), vec![]).unwrap();
        for act in acts {
            match act {
                Act::Emit => emit(&audit),
                Act::Take(lines) => permits.send(Permit::Take(lines)).unwrap(),
            }
            assert_counts(&audit);
            let sink = &audit.counts().sinks[0];
            if on_full == OnFull::Drop {
                prop_assert!(sink.queued <= limit as u64);
            } else {
                prop_assert_eq!(sink.dropped, 0);
            }
        }
        drop(permits);
        writer.finish(Duration::from_secs(30)).unwrap();
        assert_counts(&audit);
        assert_no_silent_gap(&out.lock().unwrap());
        prop_assert_eq!(out.lock().unwrap().len() as u64, audit.counts().sinks[0].written);
    }
}
