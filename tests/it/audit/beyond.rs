//! Beyond a limit nobody waits for the log.

use super::*;

#[tokio::test]
async fn r3_beyond_the_connection_limit_nobody_waits_for_the_audit_log() {
    let gateway = Stalled::with("Block", "mode: Limited\n", "limits: {connections: 8}\n").await;
    let asking = gateway.ask();
    gateway.until("a full queue", |metrics| series(metrics, "sluicegate_audit_queue_events") >= QUEUE).await;
    // One of the eight is `asking`.
    let mut waiting = Vec::new();
    for _ in 0..7 {
        let mut client = Client::connect(gateway.proxy).await;
        client.send("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
        waiting.push(client);
    }
    // It may have been between two connections.
    let open = |metrics: &str| series(metrics, "sluicegate_connections_active{ingress=\"http\"}");
    gateway.until("eight connections", |metrics| open(metrics) == 8).await;
    for _ in 0..200 {
        let mut client = Client::connect(gateway.proxy).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("x-deny-reason: limit"), "{head}");
    }
    let id = gateway.child.id().expect("it runs");
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    assert!(open < 100, "{open} descriptors are open");
    drop(waiting);
    gateway.finish_after(asking).await;
}

#[tokio::test]
async fn r2_queries_beyond_the_rate_of_a_sandbox_wait_for_no_audit_log_and_keep_no_place_of_another() {
    /// A query for the services of a name, which is answered without asking anybody.
    fn query(label: &str) -> Vec<u8> {
        let length = u8::try_from(label.len()).unwrap();
        let name = [&[length], label.as_bytes(), b"\x04test\0"].concat();
        [&[0x12, 0x67, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name, &[0, 64, 0, 1]].concat()
    }
    let config = "listeners: [{address: '127.0.0.1:0', kind: Dns}]\nsandboxes:\n\
                  - {id: a, sources: [127.0.0.2/32]}\n- {id: b, sources: [127.0.0.3/32]}\n\
                  - {id: c, sources: [127.0.0.1/32]}\n";
    let gateway = Stalled::with("Block", "mode: Limited\nhostRules: [good.test]\n", config).await;
    let asking = gateway.ask();
    gateway.until("a full queue", |metrics| series(metrics, "sluicegate_audit_queue_events") >= QUEUE).await;
    let from = async |source: &str| {
        let socket = tokio::net::UdpSocket::bind((source, 0)).await.unwrap();
        socket.connect(gateway.other.expect("the DNS listener")).await.unwrap();
        socket
    };
    let (flood, good) = (from("127.0.0.2").await, from("127.0.0.3").await);
    // More than there are places; few enough at once for a socket to hold.
    for _ in 0..60 {
        for _ in 0..100 {
            flood.send(&query("evil")).await.unwrap();
        }
        let mut answer = [0; 512];
        // A datagram can be lost where the machine is busy: it is sent again, as every client does.
        within("an answer", async {
            loop {
                good.send(&query("good")).await.unwrap();
                let answered = tokio::time::timeout(Duration::from_secs(1), good.recv(&mut answer)).await;
                if let Ok(answered) = answered {
                    return answered.unwrap();
                }
            }
        })
        .await;
        assert_eq!(answer[3] & 15, 0, "no error");
    }
    gateway.finish_after(asking).await;
}
