//! What a record says of a request that came to no good end: how much went up, and what had allowed it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::kit::client::Client;
use crate::kit::gateway::Gateway;
use crate::kit::within;

/// How much goes up, of twice as much that is announced.
const UP: usize = 3 << 20;

/// A gateway, an upload of which [`UP`] bytes have arrived, and its two ends.
struct Half {
    gateway: Gateway,
    client: Client,
    origin: TcpStream,
    /// The rule that allows it.
    rule: String,
}

/// Sends the first half of an upload, and waits until the origin has all of it.
async fn half(change: impl FnOnce(&mut sluicegate::config::Config)) -> Half {
    let listener = TcpListener::bind("127.0.0.8:0").await.expect("a free port");
    let rule = format!("127.0.0.8:{}", listener.local_addr().expect("bound").port());
    let gateway = Gateway::with(&format!("mode: Limited\nhostRules: ['{rule}']\n"), change).await;
    let mut client = gateway.client().await;
    let length = 2 * UP;
    let head = format!("POST http://{rule}/up HTTP/1.1\r\nHost: {rule}\r\nContent-Length: {length}\r\n\r\n");
    let sending = async {
        client.send(head).await;
        client.send(vec![b'x'; UP]).await;
    };
    let receiving = async {
        let (mut origin, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(origin.read_u8().await.expect("a head"));
        }
        origin.read_exact(&mut vec![0; UP]).await.expect("half a body");
        origin
    };
    let ((), origin) = within("half an upload", async { tokio::join!(sending, receiving) }).await;
    Half { gateway, client, origin, rule }
}

/// Waits until the metrics count as many bytes up as went; a record can be read before it is counted.
async fn metric_counts_all(gateway: &Gateway) {
    let counting = async {
        loop {
            let (_, metrics) = gateway.admin_get("/metrics").await;
            let up =
                metrics.lines().filter(|line| line.starts_with("sluicegate_bytes_total{direction=\"up\""));
            let up = up.filter_map(|line| line.rsplit_once(' '));
            if up.map(|(_, value)| value.parse::<usize>().expect("a number")).sum::<usize>() == UP {
                return;
            }
        }
    };
    tokio::time::timeout(super::kit::PATIENCE, counting).await.expect("the metrics count all");
}

/// Fails unless the record tells of all that went up and names the rule that let it.
fn tells_all(call: &Value, rule: &str) {
    assert_eq!((&call["bytes_up"], &call["bytes_down"]), (&json!(UP), &json!(0)), "{call:#}");
    let named = call["rule"].as_str().unwrap_or_default();
    assert_eq!((&call["policy"], named.ends_with(rule)), (&json!("policy"), true), "{call:#}");
    assert_eq!(call["scope"], "Global", "{call:#}");
}

#[tokio::test]
async fn l3_what_an_origin_swallows_before_it_closes_is_in_the_record_with_the_rule_that_allowed_it() {
    let Half { gateway, mut client, origin, rule } = half(|_| {}).await;
    drop(origin);
    assert_eq!(client.response(false).await.status, 502);
    let call = &gateway.calls(1).await[0];
    assert_eq!((&call["decision"], &call["reason"]), (&json!("deny"), &json!("upstream_failed")), "{call:#}");
    tells_all(call, &rule);
    metric_counts_all(&gateway).await;
}

#[tokio::test]
async fn l3_what_went_up_before_the_client_left_is_in_its_record() {
    for resets in [true, false] {
        let Half { gateway, mut client, origin: _origin, rule } = half(|_| {}).await;
        if resets {
            client.reset();
        } else {
            client.finish().await;
        }
        let call = &gateway.calls(1).await[0];
        assert_eq!(
            (&call["decision"], &call["outcome"]),
            (&json!("allow"), &json!("client_closed")),
            "{call:#}"
        );
        tells_all(call, &rule);
        metric_counts_all(&gateway).await;
    }
}

#[tokio::test]
async fn l3_what_went_up_before_the_idle_limit_is_in_the_record() {
    let limit = Duration::from_millis(500);
    let Half { gateway, client: _client, origin: _origin, rule } =
        half(|config| config.limits.idle_timeout = limit).await;
    tells_all(&gateway.calls(1).await[0], &rule);
}

#[tokio::test]
async fn l3_what_went_up_before_a_policy_change_is_in_the_record() {
    let Half { gateway, client: _client, origin: _origin, .. } = half(|_| {}).await;
    gateway.set_policy("mode: Limited\nhostRules: [other.test]\n").await;
    let call = &gateway.calls(1).await[0];
    assert_eq!((&call["reason"], &call["outcome"]), (&json!("policy_change"), &json!("policy_change")));
    assert_eq!((&call["bytes_up"], &call["bytes_down"]), (&json!(UP), &json!(0)), "{call:#}");
}

#[tokio::test]
async fn l3_what_went_up_before_the_end_of_a_drain_is_in_the_record() {
    let limit = Duration::from_millis(200);
    let Half { gateway, client: _client, origin: _origin, rule } =
        half(|config| config.limits.drain_timeout = limit).await;
    let records = gateway.stop().await;
    let call = records.iter().find(|record| record["kind"] == "request").expect("its record");
    assert_eq!(call["outcome"], "drained", "{call:#}");
    tells_all(call, &rule);
}

#[tokio::test]
async fn l3_nothing_goes_up_that_no_record_tells_of() {
    // The record ends with the answer; what the client sends behind it is for nobody.
    let Half { gateway, mut client, mut origin, rule } = half(|_| {}).await;
    origin.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("sent");
    assert_eq!(client.response(false).await.body, "ok");
    let call = &gateway.calls(1).await[0];
    let _may_be_closed_already = client.try_send(vec![b'x'; UP]).await;
    let mut rest = Vec::new();
    let _may_be_a_reset = within("the end of the upload", origin.read_to_end(&mut rest)).await;
    assert_eq!(
        (&call["bytes_up"], rest.len(), &call["bytes_down"]),
        (&json!(UP), 0, &json!(2)),
        "{call:#} {rule}"
    );
}
