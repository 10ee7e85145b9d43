//! Every request is decided by one whole generation.

use super::*;
use crate::kit::asking::Asking;

#[tokio::test]
async fn p3_every_request_is_decided_by_one_whole_generation() {
    // In each generation exactly one of two names is allowed; a mixture would allow both or none.
    let (gateway, origin) = start(|_| NOTHING.to_owned()).await;
    gateway.dns.says("even.test", Answer::addresses(["127.0.0.8"]));
    gateway.dns.says("odd.test", Answer::addresses(["127.0.0.8"]));
    let port = origin.port();
    let policy =
        |name: &str| format!("mode: Limited\nhostRules: ['{name}:{port}', {{pattern: filler.test}}]\n");
    put(&gateway, "policy.yaml", &policy("even.test")).await;
    let proxy = gateway.proxy();
    let asking = Asking::start(["even.test", "odd.test"], move |name| async move {
        let mut client = Client::connect(proxy).await;
        client.send(format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n")).await;
        let _head = client.head().await;
    });
    for round in 0..20 {
        put(&gateway, "policy.yaml", &policy(if round % 2 == 0 { "odd.test" } else { "even.test" })).await;
    }
    asking.end().await;
    let records = gateway.stop().await;
    // Generation 2 allows `even.test`, 3 `odd.test`, and so on; a tunnel that a later one ended was open before.
    let decided =
        records.iter().filter(|record| record["host"].is_string() && record["reason"] != "policy_change");
    let (mut seen, mut asked) = (BTreeSet::new(), 0);
    for record in decided {
        let generation = record["generation"].as_u64().expect("a generation");
        let even = record["host"] == "even.test";
        let allowed = record["decision"] == "allow";
        assert_eq!(allowed, even == (generation % 2 == 0), "{record}");
        seen.insert(generation);
        asked += 1;
    }
    assert!(seen.len() >= 4 && asked > 20, "{seen:?} {asked}");
}
