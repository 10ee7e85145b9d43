//! What records tell of reporting documents and of tenants.

use super::*;

#[tokio::test]
async fn what_a_reporting_document_would_deny_passes_and_is_told_in_record_and_metrics() {
    let origin = Origin::echo().await;
    let gateway = Gateway::start(
        "mode: Limited\nenforcement: Report\nhostRules: [{pattern: bad.test, action: Deny}]\n",
    )
    .await;
    for name in ["bad.test", "other.test", "inside.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    gateway.dns.says("inside.test", Answer::addresses(["10.0.0.1"]));
    for (host, reason) in [("bad.test", "host_denied"), ("other.test", "default_deny")] {
        drop(Client::tunnel(gateway.proxy(), &format!("{host}:{}", origin.port())).await);
        let closed = gateway.record("connection", host).await;
        assert_eq!((&closed["decision"], &closed["would_deny"]["reason"]), (&"allow".into(), &reason.into()));
        assert_eq!(closed["would_deny"]["policy"], "policy");
        assert!(closed["reason"].is_null());
        let (_, metrics) = gateway.admin_get("/metrics").await;
        let name = format!(
            "sluicegate_decisions_total{{decision=\"allow\",ingress=\"connect\",reason=\"{reason}\"}}"
        );
        assert_eq!(series(&metrics, &name), 1, "{metrics}");
    }
    let ask = "CONNECT inside.test:443 HTTP/1.1\r\nHost: inside.test\r\n\r\n";
    let guarded = gateway.client().await.ask(ask).await;
    assert_eq!(guarded.header("x-deny-reason"), Some("guard_private"), "guards hold all the same");
}

#[tokio::test]
async fn tenants_are_told_apart_by_source_address_in_verdicts_and_records() {
    let origin = Origin::echo().await;
    let sandbox = |id: &str, group: Option<&str>, source: &str| SandboxSettings {
        id: id.into(),
        group: group.map(Into::into),
        sources: vec![source.parse().unwrap()],
        token: None,
        require_policy: false,
    };
    let port = origin.port();
    let document = |metadata: &str, host: &str| {
        format!(
            "---\napiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {{{metadata}}}\nspec: {{mode: Limited, hostRules: ['{host}:{port}']}}\n"
        )
    };
    let policy = [
        "apiVersion: sluicegate/v1\nkind: EgressPolicy\nmetadata: {name: all}\nspec: {mode: Unrestricted}\n"
            .to_owned(),
        document("name: agents, group: agents", "*.test"),
        document("name: one, group: agents, sandbox: one", "one.test"),
        document("name: two, group: agents, sandbox: two", "two.test"),
    ]
    .concat();
    let gateway = Gateway::with(&policy, |config| {
        config.sandboxes = vec![
            sandbox("one", Some("agents"), "127.0.0.1/32"),
            sandbox("two", Some("agents"), "127.0.0.2/32"),
            sandbox("free", None, "127.0.0.3/32"),
        ];
    })
    .await;
    for name in ["one.test", "two.test"] {
        gateway.dns.says(name, Answer::addresses(["127.0.0.8"]));
    }
    let cases = [
        ("127.0.0.1", "one.test", None, "one", Some("agents")),
        ("127.0.0.1", "two.test", Some("default_deny"), "one", Some("agents")),
        ("127.0.0.2", "one.test", Some("default_deny"), "two", Some("agents")),
        ("127.0.0.2", "two.test", None, "two", Some("agents")),
        ("127.0.0.3", "one.test", None, "free", None),
        ("127.0.0.3", "two.test", None, "free", None),
    ];
    let mut done = 0;
    // Interleaved and repeated, so that nothing of one tenant is still there for the next.
    for _ in 0..20 {
        for (source, host, denied, id, group) in cases {
            let mut client = Client::connect_from(source, gateway.proxy()).await;
            client.send(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")).await;
            let head = client.head().await;
            assert_eq!(head.starts_with("HTTP/1.1 200"), denied.is_none(), "{source} {host}: {head}");
            let local: SocketAddr = client.local();
            drop(client);
            // One after the other: a port may come back, a place does not.
            let ended = |record: &&Value| record["kind"] == "connection";
            done += 1;
            let records = gateway
                .wait_for("the end of it", |records| records.iter().filter(ended).count() == done)
                .await;
            let record = records.iter().rfind(ended).unwrap();
            assert_eq!(record["client"], local.to_string());
            assert_eq!(record["sandbox"], id);
            assert_eq!(record["group"].as_str(), group);
            assert_eq!(record["reason"].as_str(), denied);
            if denied.is_some() {
                assert_eq!((&record["scope"], &record["policy"]), (&"Sandbox".into(), &id.into()));
            }
        }
    }
    let mut stranger = Client::connect_from("127.0.0.4", gateway.proxy()).await;
    let refused =
        stranger.ask(format!("CONNECT one.test:{port} HTTP/1.1\r\nHost: one.test:{port}\r\n\r\n")).await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (407, Some("identity_unknown")));
}
