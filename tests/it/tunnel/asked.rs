//! CONNECTs that are denied, and who asks.

use super::*;

#[tokio::test]
async fn a_denied_connect_leaves_the_connection_usable() {
    let (listener, port) = listener().await;
    let gateway = gateway().await;
    let mut client = gateway.client().await;
    for target in ["denied.test:443", "169.254.169.254:80", "good.test:0", "gone.good.test:443"] {
        let response = client.ask(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        assert!(
            response.status >= 400 && response.header("connection") != Some("close"),
            "{}",
            response.head
        );
        let body: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(Some(body["error"]["code"].as_str().unwrap()), response.header("x-deny-reason"));
        assert_eq!(Some(body["error"]["requestId"].as_str().unwrap()), response.header("x-request-id"));
    }
    client
        .send(format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test:{port}\r\n\r\n\x01through"))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let mut origin = accepted(&listener).await;
    origin.expect("\x01through").await;
}

/// The header that shows a token.
fn shows(id: &str, token: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", BASE64_STANDARD.encode(format!("{id}:{token}")))
}

#[tokio::test]
async fn identities_come_from_source_and_token_and_credentials_go_nowhere_else() {
    const TOKEN: &str = "canary-3f9a77";
    const WRONG: &str = "wrong-canary-51";
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), TOKEN).unwrap();
    let token = TokenSource::File(secret.path().to_str().unwrap().into());
    let sandbox = |id: &str, sources: &[&str], token: Option<&TokenSource>| SandboxSettings {
        id: id.into(),
        group: None,
        sources: sources.iter().map(|source| source.parse().unwrap()).collect(),
        token: token.cloned(),
        require_policy: false,
    };
    let gateway = gateway_with(|config| {
        config.sandboxes = vec![
            sandbox("by-token", &[], Some(&token)),
            sandbox("by-source", &["127.0.0.3/32"], None),
            sandbox("by-both", &["127.0.0.4/32"], Some(&token)),
        ];
    })
    .await;
    let origin = Origin::http([Reply::ok("yes")]).await;
    let port = origin.port();
    let right = shows("by-token", TOKEN);
    for (source, credentials, expected) in [
        ("127.0.0.1", String::new(), Err(true)),
        ("127.0.0.1", shows("by-token", WRONG), Err(true)),
        ("127.0.0.1", shows("nobody", TOKEN), Err(true)),
        ("127.0.0.1", shows("by-both", TOKEN), Err(true)),
        ("127.0.0.1", "Proxy-Authorization: Bearer canary-3f9a77\r\n".to_owned(), Err(true)),
        ("127.0.0.1", "Proxy-Authorization: Basic !!!\r\n".to_owned(), Err(true)),
        ("127.0.0.1", right.clone() + &shows("by-token", WRONG), Err(true)),
        ("127.0.0.4", shows("by-both", TOKEN) + &right, Err(false)),
        ("127.0.0.1", right.clone(), Ok("by-token")),
        ("127.0.0.3", String::new(), Ok("by-source")),
        ("127.0.0.3", right.clone(), Err(false)),
        ("127.0.0.4", String::new(), Ok("by-both")),
        ("127.0.0.4", shows("by-both", TOKEN), Ok("by-both")),
        ("127.0.0.4", shows("by-both", WRONG), Err(false)),
    ] {
        for request in [
            format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test:{port}\r\n{credentials}\r\n"),
            format!("GET http://good.test:{port}/ HTTP/1.1\r\nHost: good.test:{port}\r\n{credentials}\r\n"),
        ] {
            let mut client = Client::connect_from(source, gateway.proxy()).await;
            let from = client.local().to_string();
            client.send(&request).await;
            let head = client.head().await;
            let (status, reason) = if expected.is_ok() { ("200", "") } else { ("407", "identity_unknown") };
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{source} {credentials} {head}");
            assert!(reason.is_empty() || head.contains(&format!("x-deny-reason: {reason}\r\n")), "{head}");
            if expected == Err(true) && credentials.is_empty() {
                assert!(head.contains("proxy-authenticate: Basic "), "{head}");
            }
            drop(client);
            let is_it = |record: &Value| record["client"] == from.as_str() && record["kind"] != "open";
            let records = gateway.wait_for("its record", |records| records.iter().any(is_it)).await;
            let record = records.iter().find(|record| is_it(record)).unwrap();
            match expected {
                Ok(id) => assert_eq!(record["sandbox"], id, "{record}"),
                Err(_) => assert_eq!(
                    (&record["reason"], &record["sandbox"]),
                    (&"identity_unknown".into(), &Value::Null)
                ),
            }
        }
    }
    // After a 407 the same connection can try again, and inside the tunnel nothing is asked for any more.
    let mut client = gateway.client().await;
    let connect = |credentials: &str| {
        format!("CONNECT good.test:{port} HTTP/1.1\r\nHost: good.test:{port}\r\n{credentials}\r\n")
    };
    assert_eq!(client.ask(connect("")).await.status, 407);
    client.send(connect(&right)).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    let inside = format!("GET / HTTP/1.1\r\nHost: good.test\r\n{right}\r\n");
    assert_eq!(client.ask(inside).await.status, 200);
    drop(client);

    let encoded = BASE64_STANDARD.encode(format!("by-token:{TOKEN}"));
    for at in 0..origin.connections() {
        let seen = origin.received(at).to_ascii_lowercase();
        assert!(
            !seen.contains("proxy-authorization") && !seen.contains(&encoded.to_ascii_lowercase()),
            "{seen}"
        );
    }
    gateway.records().await;
    let log = std::fs::read_to_string(gateway.audit_file()).unwrap();
    for secret in [TOKEN, WRONG, &encoded, "Basic"] {
        assert!(!log.contains(secret), "{secret} is in the audit log");
    }
}
