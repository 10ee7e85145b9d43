//! A log that cannot keep up: it drops, waits or denies.

use super::*;

#[tokio::test]
async fn l2_under_drop_traffic_goes_on_and_the_gap_is_counted_where_it_is() {
    let gateway = Stalled::start("Drop").await;
    let statuses = within("every answer", gateway.ask()).await.unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&403]);
    assert_eq!(gateway.ready().await, 503);
    let metrics = gateway.metrics().await;
    let dropped = series(&metrics, "sluicegate_audit_dropped_total{sink=\"stdout\"}");
    let written = series(&metrics, "sluicegate_audit_written_total{sink=\"stdout\"}");
    assert!(dropped > 0);
    assert_eq!(series(&metrics, "sluicegate_audit_events_total"), written + dropped + QUEUE, "{metrics}");
    let records = gateway.finish().await;
    assert_eq!(lost(&records), dropped);
}

#[tokio::test]
async fn l2_under_block_traffic_waits_and_nothing_is_lost() {
    let gateway = Stalled::start("Block").await;
    let asking = gateway.ask();
    gateway.until("a full queue", |metrics| series(metrics, "sluicegate_audit_queue_events") >= QUEUE).await;
    assert!(!asking.is_finished());
    assert_eq!(gateway.ready().await, 503);
    let records = gateway.finish_after(asking).await;
    assert_eq!(lost(&records), 0);
    let denied = records.iter().filter(|record| record["reason"] == "default_deny").count();
    assert_eq!(denied, MANY);
}

#[tokio::test]
async fn l2_under_block_clients_that_leave_while_they_wait_are_counted_and_a_record_tells_of_them() {
    const LEAVE: usize = 300;
    let gateway = Stalled::start("Block").await;
    let asking = gateway.ask();
    let queued = |metrics: &str| series(metrics, "sluicegate_audit_queue_events");
    gateway.until("a full queue", |metrics| queued(metrics) >= QUEUE).await;
    for _ in 0..LEAVE {
        let mut client = Client::connect(gateway.proxy).await;
        client.send("GET http://left.test/ HTTP/1.1\r\nHost: left.test\r\n\r\n").await;
        client.reset();
    }
    let dropped = |metrics: &str| series(metrics, "sluicegate_audit_dropped_total{sink=\"stdout\"}");
    gateway.until("some of them to be counted", |metrics| dropped(metrics) > 0).await;
    let metrics = gateway.metrics().await;
    assert!(queued(&metrics) <= QUEUE + 8, "what was not admitted fills no queue: {}", queued(&metrics));
    let records = gateway.finish_after(asking).await;
    let told = records.iter().filter_map(|record| record["lost"]["events"].as_u64()).sum::<u64>();
    // A reset that came before the request was read leaves a silent connection, which waits for its record; one that
    // came when there was room again leaves a request of which nothing is known.
    let recorded = records.iter().filter(|record| {
        ["connection", "request"].iter().any(|kind| record["kind"] == *kind) && record["host"] != "evil.test"
    });
    let all = told + recorded.count() as u64;
    assert_eq!((told > 0, all), (true, LEAVE as u64), "each is in the log or in the count");
    let denied = records.iter().filter(|record| record["host"] == "evil.test").count();
    assert_eq!(denied, MANY, "those who waited have theirs");
}

#[tokio::test]
async fn l2_under_deny_a_tunnel_whose_record_cannot_be_written_is_refused_and_sends_nothing() {
    let origin = Origin::echo().await;
    let authority = format!("127.0.0.8:{}", origin.port());
    let policy = format!("mode: Limited\nhostRules: ['{authority}']\n");
    let gateway = Stalled::with("Deny", &policy, "").await;
    // More than a pipe holds, and less than the queue.
    let statuses = gateway.ask_times(2000).await.unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&403]);
    let connect = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let mut early = Client::connect(gateway.proxy).await;
    early.send(&connect).await;
    // Nobody may know yet that the sink is stuck; then the tunnel waits for its record, and not for long.
    if early.head().await.starts_with("HTTP/1.1 200 ") {
        early.send("\0opaque").await;
        early.expect_closed().await;
    }
    within("the gateway to know", async { while gateway.ready().await != 503 {} }).await;
    let mut late = Client::connect(gateway.proxy).await;
    let refused = late.ask(&connect).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (503, Some("audit_unavailable")));
    for connection in 0..origin.connections() {
        assert_eq!(origin.received(connection), "");
    }
    let records = gateway.finish().await;
    let unavailable = records.iter().filter(|record| record["reason"] == "audit_unavailable").count();
    assert_eq!(unavailable, 2);
}

#[tokio::test]
async fn l2_under_deny_a_websocket_whose_record_cannot_be_written_gets_no_101() {
    let origin = tokio::net::TcpListener::bind("127.0.0.8:0").await.unwrap();
    let authority = origin.local_addr().unwrap().to_string();
    let gateway = Stalled::with("Deny", &format!("mode: Limited\nhostRules: ['{authority}']\n"), "").await;
    let mut client = Client::connect(gateway.proxy).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let asked = format!("GET http://{authority}/ws HTTP/1.1\r\nHost: {authority}\r\n{upgrade}\r\n");
    client.send(format!("{asked}early")).await;
    let mut origin = Client::over(within("a connection", origin.accept()).await.unwrap().0);
    assert!(origin.head().await.starts_with("GET /ws "));
    // The sink gets stuck while the origin thinks.
    let statuses = gateway.ask_times(2000).await.unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&403]);
    within("the gateway to know", async { while gateway.ready().await != 503 {} }).await;
    origin
        .send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .await;
    let refused = client.response(false).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (503, Some("audit_unavailable")));
    assert!(client.expect_closed().await.is_empty());
    assert_eq!(origin.expect_closed().await, b"");
    let records = gateway.finish().await;
    let of_it: Vec<_> = records.iter().filter(|record| record["path"] == "/ws").collect();
    assert_eq!(of_it.len(), 1, "{of_it:?}");
    assert_eq!((&of_it[0]["reason"], &of_it[0]["kind"]), (&"audit_unavailable".into(), &"request".into()));
}

#[tokio::test]
async fn l2_under_deny_a_full_queue_denies_and_does_not_grow_by_it() {
    let gateway = Stalled::start("Deny").await;
    let statuses = within("every answer", gateway.ask()).await.unwrap();
    assert_eq!(statuses.keys().collect::<Vec<_>>(), [&403, &503]);
    let mut client = Client::connect(gateway.proxy).await;
    let refused = client.ask("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (503, Some("audit_unavailable")));
    let metrics = gateway.metrics().await;
    let queued = series(&metrics, "sluicegate_audit_queue_events");
    assert!(queued <= QUEUE + 64, "what is denied for want of room takes none: {queued}");
    let dropped = series(&metrics, "sluicegate_audit_dropped_total{sink=\"stdout\"}");
    assert!(dropped >= statuses[&503] as u64);
    drop(client);
    let records = gateway.finish().await;
    assert_eq!(lost(&records), dropped);
    assert_eq!(records.iter().filter(|record| record["reason"] == "default_deny").count(), statuses[&403]);
}
