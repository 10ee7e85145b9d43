//! Sinks and observers: they fail, hang or panic, and the order of records holds.

use super::*;

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
