//! Several sandboxes behind one gateway, and rules about names that nobody has resolved.

use std::collections::BTreeSet;

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::{Gateway, by_source};
use crate::kit::http::Reply;
use crate::kit::origin::Origin;
use crate::kit::within;

#[tokio::test]
async fn p1_no_origin_connection_carries_requests_of_two_clients() {
    const ROUNDS: usize = 50;
    let origin = Origin::http([Reply::ok("x")]).await;
    let port = origin.port();
    let gateway = Gateway::with(&format!("mode: Limited\nhostRules: ['good.test:{port}']\n"), |config| {
        config.sandboxes = vec![by_source("one", "127.0.0.2"), by_source("two", "127.0.0.3")];
    })
    .await;
    gateway.dns.says("good.test", Answer::addresses(["127.0.0.8"]));

    // Two connections of one sandbox and one of another; all kept alive, in turn, to the very same target.
    let mut clients = Vec::new();
    for (tag, source) in [("one-a", "127.0.0.2"), ("one-b", "127.0.0.2"), ("two-a", "127.0.0.3")] {
        clients.push((tag, Client::connect_from(source, gateway.proxy()).await));
    }
    for round in 0..ROUNDS {
        for (tag, client) in &mut clients {
            let request = format!(
                "GET http://good.test:{port}/{round}?by={tag} HTTP/1.1\r\nhost: good.test:{port}\r\n\r\n"
            );
            assert_eq!(client.ask(request).await.status, 200, "{tag} {round}");
        }
    }
    let mut requests = 0;
    for at in 0..origin.connections() {
        let received = origin.received(at);
        let tags: BTreeSet<_> =
            received.split("?by=").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
        assert!(tags.len() <= 1, "connection {at} carries requests of {tags:?}");
        requests += received.matches("?by=").count();
    }
    assert_eq!(requests, 3 * ROUNDS, "every request reached the origin");
    assert!(origin.connections() < requests, "connections are used again, or this shows nothing");
}

#[tokio::test]
async fn d4_a_rule_about_a_name_that_was_never_resolved_denies_it_and_opens_nothing_else() {
    let gateway = Gateway::start(
        "defaultAction: Allow\nhostRules: [{pattern: denied.test, action: Deny}, {pattern: '*.denied.test', action: Deny}]\n",
    )
    .await;
    gateway.dns.says("denied.test", Answer::Silent);
    for host in ["denied.test", "a.denied.test"] {
        let refused =
            Client::try_tunnel(gateway.proxy(), &format!("{host}:443")).await.err().expect("a refusal");
        assert_eq!((refused.status, refused.header("x-deny-reason")), (403, Some("host_denied")), "{host}");
    }
    assert_eq!(gateway.dns.total_queries(), 0);

    // The other way round: an Allow of a name without addresses opens no other name and no address.
    gateway.set_policy("mode: Limited\nhostRules: [nowhere.test]\n").await;
    let unresolved = Client::try_tunnel(gateway.proxy(), "nowhere.test:443").await.err().expect("a refusal");
    assert_eq!(unresolved.header("x-deny-reason"), Some("dns_failed"));
    for target in ["other.test:443", "127.0.0.8:443", "192.0.2.7:443"] {
        let refused = Client::try_tunnel(gateway.proxy(), target).await.err().expect("a refusal");
        assert_eq!(refused.header("x-deny-reason"), Some("default_deny"), "{target}");
    }
}

#[tokio::test]
async fn p1_two_sandboxes_with_opposite_policies_never_see_each_others_verdicts() {
    const ROUNDS: usize = 250;
    let origin = Origin::http([Reply::ok("x")]).await;
    let port = origin.port();
    let gateway = Gateway::with("mode: Unrestricted\n", |config| {
        config.sandboxes = vec![by_source("one", "127.0.0.2"), by_source("two", "127.0.0.3")];
    })
    .await;
    for (id, other) in [("one", "two"), ("two", "one")] {
        gateway.dns.says(&format!("{id}.test"), Answer::addresses(["127.0.0.8"]));
        let own = format!(
            "kind: EgressPolicy\nmetadata: {{name: of-{id}, sandbox: {id}}}\nspec: {{mode: Unrestricted, hostRules: [{{pattern: {other}.test, action: Deny}}]}}\n"
        );
        gateway
            .after_load(|| std::fs::write(gateway.policies().join(format!("{id}.yaml")), own).unwrap())
            .await;
    }
    // Each asks for both names on a kept connection, at the same time as the other: 10^3 requests.
    let asking = [("one", "127.0.0.2"), ("two", "127.0.0.3")].map(|(id, source)| {
        let proxy = gateway.proxy();
        tokio::spawn(async move {
            let mut client = Client::connect_from(source, proxy).await;
            for round in 0..ROUNDS {
                for name in ["one", "two"] {
                    let host = format!("{name}.test:{port}");
                    let request =
                        format!("GET http://{host}/{round}?by={id} HTTP/1.1\r\nhost: {host}\r\n\r\n");
                    let answer = client.ask(request).await;
                    let (status, reason) = if name == id { (200, None) } else { (403, Some("host_denied")) };
                    assert_eq!(
                        (answer.status, answer.header("x-deny-reason")),
                        (status, reason),
                        "{id} {host}"
                    );
                    assert!(name == id || answer.body.contains(&format!("\"of-{id}\"")), "{}", answer.body);
                }
            }
        })
    });
    for asking in asking {
        within("the requests of a sandbox", asking).await.unwrap();
    }
    let calls = gateway.calls(4 * ROUNDS).await;
    for call in &calls {
        let (sandbox, host) = (call["sandbox"].as_str().unwrap(), call["host"].as_str().unwrap());
        let allowed = host == format!("{sandbox}.test");
        assert_eq!(call["decision"] == "allow", allowed, "{call:#}");
        assert_eq!(call["policy"], format!("of-{sandbox}"), "{call:#}");
        let source = if sandbox == "one" { "127.0.0.2:" } else { "127.0.0.3:" };
        assert!(call["client"].as_str().unwrap().starts_with(source), "{call:#}");
    }
    for at in 0..origin.connections() {
        let received = origin.received(at);
        assert!(
            !(received.contains("by=one") && received.contains("by=two")),
            "connection {at} carries both"
        );
    }
}

#[tokio::test]
async fn p5_a_sandbox_reads_no_records_of_another_nor_its_own() {
    let gateway = Gateway::with("mode: Unrestricted\n", |config| {
        config.sandboxes = vec![by_source("one", "127.0.0.2"), by_source("two", "127.0.0.3")];
    })
    .await;
    let admin = gateway.admin();
    for path in ["/v1/audit", "/v1/audit?sandbox=two", "/v1/audit/stream", "/v1/top?by=sandbox", "/v1/policy"]
    {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\n\r\n");
        let direct = Client::connect_from("127.0.0.2", admin).await.ask(request).await;
        assert_eq!(direct.status, 401, "{path}");
        assert!(!direct.body.contains("two"), "{path}: {}", direct.body);
        let request = format!("GET http://{admin}{path} HTTP/1.1\r\nhost: {admin}\r\n\r\n");
        let proxied = Client::connect_from("127.0.0.2", gateway.proxy()).await.ask(request).await;
        assert_eq!((proxied.status, proxied.header("x-deny-reason")), (403, Some("guard_self")), "{path}");
    }
}
