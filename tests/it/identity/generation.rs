//! Every request is of one sandbox under one generation.

use super::*;
use crate::kit::asking::Asking;

#[tokio::test]
async fn p3_every_request_is_of_one_sandbox_under_one_generation() {
    // In each generation the same client is one of two sandboxes; each may reach one of two names.
    let origin = Origin::echo().await;
    let port = origin.port();
    let listing = |id: &str| {
        let other = if id == "even" { "odd" } else { "even" };
        format!("sandboxes: [{{id: {id}, sources: [127.0.0.1]}}, {{id: {other}, sources: [127.0.0.2]}}]\n")
    };
    let gateway = Gateway::configured("mode: Unrestricted\n", &listing("odd")).await;
    let own = |id: &str| {
        format!(
            "kind: EgressPolicy\nmetadata: {{name: {id}, sandbox: {id}}}\nspec: {{mode: Limited, hostRules: ['{id}.test:{port}']}}\n"
        )
    };
    for id in ["even", "odd"] {
        gateway.dns.says(&format!("{id}.test"), Answer::addresses(["127.0.0.8"]));
        gateway
            .after_load(|| std::fs::write(gateway.policies().join(format!("{id}.yaml")), own(id)).unwrap())
            .await;
    }
    gateway.configure(&listing("even")).await;
    let first = gateway.running().last_load().generation;
    let proxy = gateway.proxy();
    let asking = Asking::start(["even.test", "odd.test"], move |name| async move {
        let mut client = Client::connect(proxy).await;
        client.send(format!("CONNECT {name}:{port} HTTP/1.1\r\nHost: {name}:{port}\r\n\r\n")).await;
        let _head = client.expect_closed_or_head().await;
    });
    for round in 0..6 {
        gateway.configure(&listing(if round % 2 == 0 { "odd" } else { "even" })).await;
    }
    asking.end().await;
    let records = gateway.stop().await;
    let decided =
        records.iter().filter(|record| record["host"].is_string() && record["outcome"] != "policy_change");
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    for record in decided {
        let Some(generation) = record["generation"].as_u64().filter(|generation| *generation >= first) else {
            continue;
        };
        let sandbox = record["sandbox"].as_str().unwrap();
        assert_eq!(sandbox, if (generation - first) % 2 == 0 { "even" } else { "odd" }, "{record:#}");
        assert_eq!(record["decision"] == "allow", record["host"] == format!("{sandbox}.test"), "{record:#}");
        seen.insert(generation);
        count += 1;
    }
    assert!(seen.len() >= 4 && count > 20, "{seen:?} {count}");
}
