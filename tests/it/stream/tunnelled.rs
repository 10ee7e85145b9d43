//! Upgraded connections and the tunnels around them: judged, recorded, ended.

use super::*;

#[tokio::test]
async fn a_websocket_inside_a_tunnel_is_judged_as_a_request() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let authority = format!("good.test:{}", origin.port());
    let mut tunnel = Client::tunnel(gateway.proxy(), &authority).await;
    tunnel.send(format!("GET /ws HTTP/1.1\r\nHost: {authority}\r\n{UPGRADE}\r\n")).await;
    assert!(tunnel.head().await.starts_with("HTTP/1.1 101 "));
    tunnel.send("ping").await;
    tunnel.expect("ping").await;
    tunnel.finish().await;
    tunnel.expect_end().await;
    let calls = gateway.calls(2).await;
    let request = only(&calls, "request");
    assert_eq!(
        (&request["path"], &request["status"], &request["outcome"]),
        (&json!("/ws"), &json!(101), &json!("ok"))
    );
    assert_eq!((&request["bytes_up"], &request["bytes_down"]), (&json!(4), &json!(4)));
    assert_eq!(only(&calls, "connection")["outcome"], "ok");
}

#[tokio::test]
async fn l3_a_websocket_is_a_tunnel_whose_record_opens_before_any_payload() {
    for (open, inside) in [(true, false), (true, true), (false, false)] {
        let origin = Origin::http([Reply::upgrade("websocket")]).await;
        let policy = format!("mode: Limited\nhostRules: ['good.test:{}']\n", origin.port());
        let gateway = Gateway::with(&policy, |config| config.audit.open = open).await;
        gateway.name("good.test", &origin);
        let target = format!("good.test:{}", origin.port());
        let mut client =
            if inside { Client::tunnel(gateway.proxy(), &target).await } else { gateway.client().await };
        client.send(request("GET", &origin, "/ws", UPGRADE)).await;
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
        client.send("ping").await;
        origin.wait_for_bytes(0, b"ping").await;
        // What a kill at this moment would leave behind.
        let left = read_records(&gateway.audit_file());
        client.expect("ping").await;
        client.finish().await;
        client.expect_end().await;
        let calls = gateway.calls(if inside { 2 } else { 1 }).await;
        let end = only(&calls, "request");
        let opened: Vec<_> =
            left.iter().filter(|record| record["kind"] == "open" && record["id"] == end["id"]).collect();
        assert_eq!(opened.len(), usize::from(open), "{left:#?}");
        if let [opened] = opened.as_slice() {
            assert_eq!(
                (&opened["path"], &opened["status"], &opened["decision"], &opened["outcome"]),
                (&json!("/ws"), &json!(101), &json!("allow"), &Value::Null)
            );
        }
        assert_eq!((&end["bytes_up"], &end["outcome"]), (&json!(4), &json!("ok")));
    }
}

#[tokio::test]
async fn l3_a_tunnel_and_its_connection_last_as_long_as_the_websocket_inside() {
    for inside in [true, false] {
        let origin = Origin::http([Reply::upgrade("websocket")]).await;
        let gateway = Gateway::allowing([("good.test", &origin)]).await;
        let target = format!("good.test:{}", origin.port());
        let mut client =
            if inside { Client::tunnel(gateway.proxy(), &target).await } else { gateway.client().await };
        client.send(request("GET", &origin, "/ws", UPGRADE)).await;
        assert!(client.head().await.starts_with("HTTP/1.1 101 "));
        client.send("ping").await;
        client.expect("ping").await;
        let ended = |record: &&Value| record["kind"] == "connection" || record["kind"] == "request";
        let records = gateway.records().await;
        assert_eq!(records.iter().find(ended), None, "nothing has ended");
        let (_, metrics) = gateway.admin_get("/metrics").await;
        for (ingress, count) in [("connect", usize::from(inside)), ("http", 1)] {
            let line = format!("sluicegate_connections_active{{ingress=\"{ingress}\"}} {count}");
            let never =
                count == 0 && !metrics.contains(&format!("connections_active{{ingress=\"{ingress}\"}}"));
            assert!(never || metrics.contains(&line), "{line}: {metrics}");
        }
        client.send("more").await;
        client.expect("more").await;
        client.reset();
        assert_eq!(origin.wait_for_end(0).await, End::Reset);
        let calls = gateway.calls(if inside { 2 } else { 1 }).await;
        let request = only(&calls, "request");
        assert_eq!((&request["bytes_up"], &request["bytes_down"]), (&json!(8), &json!(8)));
        assert_eq!(request["outcome"], "client_failed");
        if inside {
            let tunnel = only(&calls, "connection");
            assert_eq!((&tunnel["bytes_up"], &tunnel["bytes_down"]), (&json!(8), &json!(8)), "{tunnel}");
            assert_eq!(tunnel["outcome"], "client_failed");
            assert!(tunnel["seq"].as_u64() > request["seq"].as_u64());
            assert!(tunnel["duration_ms"].as_f64() >= request["duration_ms"].as_f64());
        }
    }
}

#[tokio::test]
async fn l3_a_stop_ends_a_websocket_and_the_tunnel_around_it_with_a_record_each() {
    let origin = Origin::http([Reply::upgrade("websocket")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let mut client = Client::tunnel(gateway.proxy(), &format!("good.test:{}", origin.port())).await;
    client.send(request("GET", &origin, "/ws", UPGRADE)).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.send("ping").await;
    client.expect("ping").await;
    let records = gateway.stop().await;
    for kind in ["request", "connection"] {
        let end = only(&records, kind);
        assert_eq!((&end["outcome"], &end["bytes_up"]), (&json!("drained"), &json!(4)), "{end}");
    }
}
