//! A queue that is full: it waits, drops and says so, or refuses.

use super::*;

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
