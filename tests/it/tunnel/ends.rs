//! Records, limits, policy changes and drains end a tunnel.

use super::*;

#[tokio::test]
async fn l3_a_tunnel_opens_and_ends_under_one_id_and_a_killed_client_leaves_its_end() {
    let gateway = gateway().await;
    let (client, mut origin) = used_ends(&gateway).await;
    let from = client.local().to_string();
    let open = gateway.record("open", "good.test").await;
    assert_eq!((&open["decision"], &open["client"]), (&"allow".into(), &from.as_str().into()));
    assert_eq!(open["outcome"], Value::Null);
    client.reset();
    origin.expect_reset().await;
    let end = gateway.record("connection", "good.test").await;
    assert_eq!((&end["id"], &end["outcome"]), (&open["id"], &"client_failed".into()));
    assert_eq!((&end["bytes_up"], &end["bytes_down"]), (&3.into(), &4.into()));
    assert_eq!(
        (&end["status"], &end["ingress"], &end["scheme"]),
        (&200.into(), &"connect".into(), &"tcp".into())
    );
    let records = gateway.records().await;
    let terminal = records.iter().filter(|record| record["kind"] == "connection");
    assert_eq!(terminal.count(), 1, "exactly one terminal record");
}

#[tokio::test]
async fn r1_a_tunnel_in_which_nothing_moves_is_closed_by_the_idle_limit() {
    let gateway = gateway_with(|config| config.limits.idle_timeout = Duration::from_secs(1)).await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    client.expect_reset().await;
    origin.expect_reset().await;
    assert_eq!(ended(&gateway).await, ("idle".to_owned(), 3, 4));
    // One in which nobody ever speaks is no exception.
    let (mut client, mut origin) = ends(&gateway).await;
    client.expect_reset().await;
    origin.expect_reset().await;
}

#[tokio::test]
async fn r2_beyond_the_connection_limit_a_client_is_told_and_room_is_given_back() {
    let gateway = gateway_with(|config| config.limits.connections = 2).await;
    let (first, first_origin) = used_ends(&gateway).await;
    let (mut second, mut second_origin) = used_ends(&gateway).await;
    let mut third = gateway.client().await;
    let from = third.local().to_string();
    let told = third.response(false).await;
    assert_eq!((told.status, told.header("x-deny-reason")), (429, Some("limit")));
    let body: Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(body["error"]["code"], "limit");
    third.expect_closed().await;
    let is_it = |record: &Value| record["client"] == from.as_str();
    let records = gateway.wait_for("its record", |records| records.iter().any(is_it)).await;
    let record = records.iter().find(|record| is_it(record)).unwrap();
    assert_eq!((&record["reason"], &record["status"]), (&"limit".into(), &429.into()));
    assert_eq!(Some(record["id"].as_str().unwrap()), told.header("x-request-id"));
    // Those inside are not disturbed.
    second.send("more").await;
    second_origin.expect("more").await;
    // However one leaves, its place is free again.
    first.reset();
    drop(first_origin);
    let ended = |records: &[Value]| records.iter().any(|record| record["outcome"] == "client_failed");
    gateway.wait_for("the first tunnel to end", ended).await;
    let again = async {
        loop {
            let mut client = gateway.client().await;
            if client.try_send("GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n\r\n").await.is_ok()
                && client.expect_closed_or_head().await.starts_with("HTTP/1.1 403 ")
            {
                break;
            }
        }
    };
    within("room for another client", again).await;
}

#[tokio::test]
async fn p4_a_policy_that_no_longer_allows_a_tunnel_closes_it_within_a_second_and_leaves_the_others() {
    let (listener, port) = listener().await;
    let gateway = gateway().await;
    let mut tunnels = Vec::new();
    for name in ["good.test", "also-good.test"] {
        let mut client = Client::tunnel(gateway.proxy(), &format!("{name}:{port}")).await;
        client.send("\x01up").await;
        let mut origin = accepted(&listener).await;
        origin.expect("\x01up").await;
        tunnels.push((client, origin));
    }
    let silent = Client::tunnel(gateway.proxy(), &format!("good.test:{port}")).await;
    tunnels.push((silent, accepted(&listener).await));
    gateway.set_policy("mode: Limited\nports: [1-65535]\nhostRules: [also-good.test]\n").await;
    for at in [2, 0] {
        let (mut client, mut origin) = tunnels.remove(at);
        let both = async { tokio::join!(client.expect_reset(), origin.expect_reset()) };
        tokio::time::timeout(Duration::from_secs(1), both).await.expect("closed within a second");
    }
    let closed = |record: &&Value| record["kind"] == "connection" && record["host"] == "good.test";
    let records =
        gateway.wait_for("both records", |records| records.iter().filter(closed).count() == 2).await;
    for record in records.iter().filter(closed) {
        assert_eq!(
            (&record["outcome"], &record["reason"]),
            (&"policy_change".into(), &"policy_change".into())
        );
        assert_eq!(record["decision"], "deny");
    }
    let (mut client, mut origin) = tunnels.remove(0);
    client.send("still").await;
    origin.expect("still").await;
}

#[tokio::test]
async fn p4_a_tunnel_with_http_inside_is_closed_by_a_policy_change_also_between_requests() {
    let origin = Origin::http([Reply::ok("yes")]).await;
    let gateway = gateway().await;
    let mut tunnels = Vec::new();
    for name in ["good.test", "also-good.test"] {
        let mut tunnel = Client::tunnel(gateway.proxy(), &format!("{name}:{}", origin.port())).await;
        assert_eq!(tunnel.ask(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n")).await.status, 200);
        tunnels.push(tunnel);
    }
    gateway.record("request", "good.test").await;
    gateway.set_policy("mode: Limited\nports: [1-65535]\nhostRules: [also-good.test]\n").await;
    let closed = tokio::time::timeout(Duration::from_secs(1), tunnels[0].expect_closed()).await;
    assert_eq!(closed.expect("closed within a second"), b"");
    assert_eq!(gateway.record("connection", "good.test").await["outcome"], "policy_change");
    assert_eq!(tunnels[1].ask("GET / HTTP/1.1\r\nHost: also-good.test\r\n\r\n").await.status, 200);
}

/// Waits until the gateway takes no new connection.
async fn refusing(proxy: std::net::SocketAddr) {
    let refused = async {
        while TcpStream::connect(proxy).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("the listener to close", refused).await;
}

#[tokio::test]
async fn a_drain_lets_what_runs_finish() {
    let gateway = gateway_with(|config| config.limits.drain_timeout = Duration::from_secs(8)).await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    let proxy = gateway.proxy();
    let finishing = async {
        refusing(proxy).await;
        client.send("more").await;
        origin.expect("more").await;
        origin.send("done").await;
        origin.finish().await;
        assert_eq!(client.rest().await, b"done");
        client.finish().await;
    };
    let (records, ()) = tokio::join!(gateway.stop(), finishing);
    // The probes for the closed listener may have left records too.
    let is_it = |record: &&Value| record["kind"] == "connection" && record["host"] == "good.test";
    let record = records.iter().find(is_it).unwrap();
    assert_eq!((&record["outcome"], &record["bytes_up"]), (&"ok".into(), &7.into()));
}

#[tokio::test]
async fn a_drain_ends_what_does_not_finish_and_the_record_says_so() {
    let gateway = gateway_with(|config| config.limits.drain_timeout = Duration::from_millis(200)).await;
    let (mut client, mut origin) = used_ends(&gateway).await;
    let (mut silent, mut silent_origin) = ends(&gateway).await;
    let (records, _) = tokio::join!(gateway.stop(), client.expect_closed());
    origin.expect_closed().await;
    silent.expect_closed().await;
    silent_origin.expect_closed().await;
    let ended: Vec<&Value> = records.iter().filter(|record| record["kind"] == "connection").collect();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|record| record["outcome"] == "drained"), "{ended:?}");
    assert!(ended.iter().any(|record| record["bytes_up"] == 3), "what moved is counted: {ended:?}");
}
