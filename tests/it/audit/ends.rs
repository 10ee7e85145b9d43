//! Every connection has one end, also when the gateway stops.

use super::*;

#[tokio::test]
async fn l3_every_connection_leaves_exactly_one_end_and_the_metrics_say_the_same() {
    let echo = Origin::echo().await;
    let web = Origin::http([Reply::ok("hello")]).await;
    let policy = format!(
        "mode: Limited\nhostRules: ['good.test:{}', 'web.test:{}', {{pattern: bad.test, action: Deny}}]\n",
        echo.port(),
        web.port()
    );
    let gateway = Gateway::start(&policy).await;
    for name in ["good.test", "web.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    let good = format!("good.test:{}", echo.port());
    let web = format!("web.test:{}", web.port());
    // How many ends each client must leave.
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..360 {
        let mut client = gateway.client().await;
        let mut ends = 1;
        match number % 12 {
            // Allowed and used, ended by the client's FIN, its reset, or nothing yet.
            0..=2 => {
                client.send(format!("CONNECT {good} HTTP/1.1\r\nHost: {good}\r\n\r\n")).await;
                client.head().await;
                client.send("\x01on").await;
                client.expect("\x01on").await;
                if number % 12 == 0 {
                    client.finish().await;
                    client.expect_end().await;
                }
            }
            // Allowed and never used.
            3 => {
                client.send(format!("CONNECT {good} HTTP/1.1\r\nHost: {good}\r\n\r\n")).await;
                client.head().await;
            }
            // Denied.
            4 => assert_eq!(
                client.ask("CONNECT bad.test:443 HTTP/1.1\r\nHost: bad.test\r\n\r\n").await.status,
                403
            ),
            5 => assert_eq!(
                client.ask("GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n").await.status,
                403
            ),
            // No answer waited for.
            6 => client.send(format!("CONNECT {good} HTTP/1.1\r\nHost: {good}\r\n\r\n")).await,
            // Half a head, nothing at all, and nonsense.
            7 => client.send("CONNECT good.te").await,
            8 => {}
            9 => {
                client.send("\x16\x03\x01\x02\x00nonsense\r\n\r\n").await;
                client.expect_closed().await;
            }
            // Three requests on one connection: allowed, denied, allowed.
            10 => {
                for (host, status) in [(&web, 200), (&"bad.test".to_owned(), 403), (&web, 200)] {
                    let ask = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
                    assert_eq!(client.ask(ask).await.status, status);
                }
                ends = 3;
            }
            // A name that cannot be resolved to anything that may be dialled.
            _ => {
                let answer = client.ask("CONNECT bad.test:443 HTTP/1.1\r\nHost: good.test\r\n\r\n").await;
                assert_eq!(answer.status, 400);
            }
        }
        // A port that was reset is free at once, and may be that of a later client too.
        *expected.entry(client.local().to_string()).or_default() += ends;
        if number % 12 == 1 || number % 24 == 6 {
            client.reset();
        }
    }
    let ends = |records: &[Value]| {
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for record in records
            .iter()
            .filter(|record| ["connection", "request"].iter().any(|kind| record["kind"] == *kind))
        {
            *ends.entry(record["client"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        ends
    };
    let records = gateway.wait_for("every end", |records| ends(records) == expected).await;
    // Every `open` has one end of the same id, and no two ends share one.
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for record in
        records.iter().filter(|record| record["kind"] == "connection" || record["kind"] == "request")
    {
        *ids.entry(record["id"].as_str().unwrap()).or_default() += 1;
    }
    assert!(ids.values().all(|count| *count == 1));
    assert!(
        records
            .iter()
            .filter(|record| record["kind"] == "open")
            .all(|open| ids.contains_key(open["id"].as_str().unwrap()))
    );

    assert_agree(&records, &gateway.admin_get("/metrics").await.1);
}

/// Fails unless metrics tell of the same events as records. A tunnel is decided by its `open`, and again where
/// it is denied later.
fn assert_agree(records: &[Value], metrics: &str) {
    let text = |record: &Value, key: &str| record[key].as_str().unwrap_or("none").to_owned();
    let (mut decisions, mut connections, mut requests) =
        (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new(), 0);
    let opened: Vec<&Value> =
        records.iter().filter(|record| record["kind"] == "open").map(|open| &open["id"]).collect();
    for record in records {
        let is_end = record["kind"] == "connection" || record["kind"] == "request";
        let first = record["kind"] == "open" || !opened.contains(&&record["id"]);
        if (is_end || record["kind"] == "open") && (first || record["decision"] == "deny") {
            *decisions
                .entry((text(record, "decision"), text(record, "ingress"), text(record, "reason")))
                .or_default() += 1;
        }
        if record["kind"] == "connection" {
            *connections.entry((text(record, "ingress"), text(record, "outcome"))).or_default() += 1;
        }
        requests += u64::from(record["kind"] == "request");
    }
    for ((decision, ingress, reason), count) in &decisions {
        let name = format!(
            "sluicegate_decisions_total{{decision=\"{decision}\",ingress=\"{ingress}\",reason=\"{reason}\"}}"
        );
        assert_eq!(series(metrics, &name), *count, "{name}");
    }
    for ((ingress, outcome), count) in &connections {
        let name = format!("sluicegate_connections_total{{ingress=\"{ingress}\",outcome=\"{outcome}\"}}");
        assert_eq!(series(metrics, &name), *count, "{name}");
    }
    let sum = |family: &str| -> u64 {
        let lines = metrics.lines().filter(|line| line.starts_with(family));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    };
    assert_eq!(sum("sluicegate_decisions_total{"), decisions.values().sum::<u64>());
    assert_eq!(sum("sluicegate_connections_total{"), connections.values().sum::<u64>());
    assert_eq!(sum("sluicegate_requests_total{"), requests);
    assert_eq!(sum("sluicegate_connections_active{"), 0, "nothing is open any more");
    let up: u64 = records
        .iter()
        .filter(|record| record["kind"] != "open")
        .filter_map(|record| record["bytes_up"].as_u64())
        .sum();
    assert_eq!(sum("sluicegate_bytes_total{direction=\"up\""), up);
    assert_eq!(series(metrics, "sluicegate_audit_events_total"), records.len() as u64);
    assert_eq!(series(metrics, "sluicegate_audit_written_total{sink=\"file\"}"), records.len() as u64);
    assert_eq!(sum("sluicegate_panics_total"), 0);
}

#[tokio::test]
async fn l3_a_gateway_that_is_stopped_leaves_an_end_for_everything_that_was_open() {
    let origin = Origin::echo().await;
    let gateway =
        Gateway::with(&format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port()), |config| {
            config.limits.drain_timeout = std::time::Duration::from_millis(100);
        })
        .await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));
    let mut open = Vec::new();
    for number in 0..60 {
        let mut client = gateway.client().await;
        match number % 3 {
            0 => {
                client
                    .send(format!(
                        "CONNECT good.test:{0} HTTP/1.1\r\nHost: good.test:{0}\r\n\r\n",
                        origin.port()
                    ))
                    .await;
                client.head().await;
            }
            1 => client.send("GET http://good.te").await,
            _ => {}
        }
        open.push(client);
    }
    // Accepted in order: once this one is answered, all of those before it were taken.
    gateway.client().await.ask("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    let audit = gateway.audit_file();
    let records = gateway.stop().await;
    for client in &open {
        let ours = records
            .iter()
            .filter(|record| record["client"] == client.local().to_string() && record["kind"] != "open");
        assert_eq!(ours.count(), 1, "{}", client.local());
    }
    assert!(!audit.exists() || read_records(&audit).len() == records.len());
}
