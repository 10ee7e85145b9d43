//! The admin server of a running gateway, and that nobody reaches it who may not.

use serde_json::Value;
use sluicegate::config::{AdminToken, Role, TokenSource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::client::Client;
use crate::kit::dns::Answer;
use crate::kit::gateway::Gateway;
use crate::kit::origin::Origin;
use crate::kit::within;

/// The token of these tests.
const TOKEN: &str = "correct-horse-battery-staple";
const POLICY: &str = "mode: Limited\nhostRules: ['good.test', {pattern: bad.test, action: Deny}]\n";

/// A gateway with a token and a unix socket.
async fn start(policy: &str) -> Gateway {
    Gateway::with(policy, |config| {
        let place = config.policy.clone().unwrap().parent().unwrap().to_owned();
        let file = place.join("token");
        std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
        config.admin.socket = Some(place.join("admin.sock"));
        let token = TokenSource::File(file.to_str().unwrap().into());
        config.admin.tokens = vec![AdminToken { name: "ops".into(), role: Role::Reader, token }];
    })
    .await
}

/// Gets a path with these header lines.
async fn get(gateway: &Gateway, path: &str, headers: &str) -> (u16, String) {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{headers}connection: close\r\n\r\n", gateway.admin());
    let response = Client::connect(gateway.admin()).await.ask(request).await;
    (response.status, response.body)
}

/// Gets a path with the token.
async fn get_as_ops(gateway: &Gateway, path: &str) -> Value {
    let (status, body) = get(gateway, path, &format!("authorization: Bearer {TOKEN}\r\n")).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

/// Gets a path over the unix socket.
async fn get_over_socket(gateway: &Gateway, path: &str) -> String {
    let socket = gateway.policies().parent().unwrap().join("admin.sock");
    let mut stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// A CONNECT that is refused.
async fn refused(gateway: &Gateway, host: &str) {
    let ask = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(gateway.client().await.ask(ask).await.status, 403, "{host}");
}

#[tokio::test]
async fn p5_without_a_token_health_and_metrics_are_all_there_is() {
    let gateway = start(POLICY).await;
    assert_eq!(get(&gateway, "/livez", "").await, (200, "ok\n".into()));
    assert_eq!(get(&gateway, "/readyz", "").await, (200, "ready\n".into()));
    let (status, metrics) = get(&gateway, "/metrics", "").await;
    assert!(status == 200 && metrics.contains("sluicegate_policy_generation 1"), "{metrics}");
    for path in
        ["/v1/policy", "/v1/audit", "/v1/audit/stream", "/v1/top?by=host", "/v1/explain?target=a.test"]
    {
        for headers in [
            "",
            "authorization: Bearer wrong\r\n",
            "authorization: Bearer \r\n",
            "authorization: Basic b3BzOmNvcnJlY3QtaG9yc2UtYmF0dGVyeS1zdGFwbGU=\r\n",
            &format!("authorization: Bearer {TOKEN}x\r\n"),
            &format!("x-authorization: Bearer {TOKEN}\r\n"),
            "x-forwarded-for: 127.0.0.1\r\n",
        ] {
            let (status, body) = get(&gateway, path, headers).await;
            assert_eq!(status, 401, "{path} with {headers:?}: {body}");
        }
    }
}

#[tokio::test]
async fn a_rejected_reload_keeps_the_gateway_ready_and_is_told_to_those_who_may_know() {
    let gateway = start(POLICY).await;
    gateway.set_policy("mode: limited\n").await;
    assert_eq!(get(&gateway, "/livez", "").await.0, 200);
    // The last good policy is in force: one broken file must not take every replica out of service.
    assert_eq!(get(&gateway, "/readyz", "").await, (200, "ready\n".into()));
    let answer = get_over_socket(&gateway, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for part in ["policy.yaml:1:7", "limited", "generation 1 stays"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    gateway.set_policy(POLICY).await;
    assert_eq!(get(&gateway, "/readyz", "").await, (200, "ready\n".into()));
}

#[tokio::test]
async fn the_policy_in_force_is_shown_with_its_generation_and_changes_with_it() {
    let gateway = start(POLICY).await;
    let policy = get_as_ops(&gateway, "/v1/policy").await;
    assert_eq!(policy["generation"], 1);
    let document = &policy["documents"][0];
    assert_eq!((&document["scope"], &document["mode"]), (&"Global".into(), &"Limited".into()));
    assert_eq!(document["hostRules"][1]["pattern"], "bad.test");
    assert_eq!(document["hostRules"][1]["action"], "Deny");
    gateway.set_policy("mode: Unrestricted\n").await;
    let policy = get_as_ops(&gateway, "/v1/policy").await;
    assert_eq!((&policy["generation"], &policy["documents"][0]["mode"]), (&2.into(), &"Unrestricted".into()));
}

#[tokio::test]
async fn the_audit_log_is_searched_by_what_it_says() {
    let gateway = start(POLICY).await;
    for host in ["a.test", "bad.test", "b.test"] {
        refused(&gateway, host).await;
    }
    gateway.record("connection", "b.test").await;
    let hosts = |found: &Value| -> Vec<String> {
        let all = found["events"].as_array().unwrap().iter();
        all.filter_map(|event| Some(event["host"].as_str()?.to_owned())).collect()
    };
    let all = get_as_ops(&gateway, "/v1/audit").await;
    assert_eq!(hosts(&all), ["a.test", "bad.test", "b.test"]);
    for (query, expected) in [
        ("reason=host_denied", vec!["bad.test"]),
        ("reason=default_deny", vec!["a.test", "b.test"]),
        ("host=a.test", vec!["a.test"]),
        ("sandbox=default&decision=deny", vec!["a.test", "bad.test", "b.test"]),
        ("sandbox=nobody", vec![]),
        ("kind=policy", vec![]),
        ("decision=allow", vec![]),
        ("reason=default_deny&limit=1", vec!["b.test"]),
    ] {
        assert_eq!(hosts(&get_as_ops(&gateway, &format!("/v1/audit?{query}")).await), expected, "{query}");
    }
    let seq = all["events"].as_array().unwrap().last().unwrap()["seq"].as_u64().unwrap();
    assert_eq!(hosts(&get_as_ops(&gateway, &format!("/v1/audit?since={}", seq - 1)).await), ["b.test"]);
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    for query in ["reason=nope", "limit=many", "hots=a.test", "since=x"] {
        assert_eq!(get(&gateway, &format!("/v1/audit?{query}"), &bearer).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn the_busiest_are_listed() {
    let gateway = start(POLICY).await;
    for host in ["a.test", "a.test", "bad.test"] {
        refused(&gateway, host).await;
    }
    let top = get_as_ops(&gateway, "/v1/top?by=host").await;
    let text = top["rows"].to_string();
    assert!(text.find("a.test") < text.find("bad.test"), "{text}");
    assert!(get_as_ops(&gateway, "/v1/top?by=sandbox").await["rows"].to_string().contains("default"));
    assert!(get_as_ops(&gateway, "/v1/top?by=rule").await["rows"].to_string().contains("bad.test"));
}

#[tokio::test]
async fn explain_says_what_the_proxy_does() {
    let gateway = start(POLICY).await;
    for (target, verdict, reason) in [
        ("good.test:443", "allow", Value::Null),
        ("bad.test:443", "deny", "host_denied".into()),
        ("other.test:443", "deny", "default_deny".into()),
        ("good.test:8443", "deny", "port_denied".into()),
        ("127.0.0.1:443", "deny", "guard_local".into()),
    ] {
        let answer = get_as_ops(&gateway, &format!("/v1/explain?target={target}")).await;
        assert_eq!(answer["verdict"], verdict, "{answer}");
        if target != "127.0.0.1:443" {
            assert_eq!(answer["reason"], reason, "{answer}");
        }
        let over_socket = get_over_socket(&gateway, &format!("/v1/explain?target={target}")).await;
        assert!(over_socket.contains(&format!("\"verdict\":\"{verdict}\"")), "{over_socket}");
        if verdict == "deny" {
            let ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            let denied = gateway.client().await.ask(ask).await;
            assert_eq!(denied.header("x-deny-reason"), answer["reason"].as_str(), "{target}");
        }
    }
}

#[tokio::test]
async fn a_stream_shows_what_happens_and_goes_on_where_it_was_left() {
    let gateway = start(POLICY).await;
    refused(&gateway, "first.test").await;
    let follow = async |headers: String| {
        let mut client = Client::connect(gateway.admin()).await;
        let request = format!(
            "GET /v1/audit/stream?kind=connection HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n{headers}\r\n",
            gateway.admin()
        );
        client.send(request).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        client
    };
    let mut client = follow(String::new()).await;
    refused(&gateway, "second.test").await;
    let mut text = String::new();
    let mut last = String::new();
    while !text.contains("second.test") {
        text.push(char::from(client.take(1).await[0]));
    }
    for line in text.lines().filter_map(|line| line.strip_prefix("id: ").or(line.strip_prefix("id:"))) {
        line.trim().clone_into(&mut last);
    }
    // The id may stand after the data of its event.
    while last.is_empty() {
        text.push(char::from(client.take(1).await[0]));
        if let Some(line) =
            text.lines().rev().find_map(|line| line.strip_prefix("id:")).filter(|_| text.ends_with('\n'))
        {
            line.trim().clone_into(&mut last);
        }
    }
    drop(client);
    refused(&gateway, "third.test").await;
    let mut client = follow(format!("last-event-id: {last}\r\n")).await;
    let mut text = String::new();
    while !text.contains("third.test") {
        text.push(char::from(client.take(1).await[0]));
    }
    assert!(!text.contains("second.test") && !text.contains("first.test"), "{text}");
}

#[tokio::test]
async fn p6_the_admin_server_is_not_reached_through_the_proxy_by_any_spelling() {
    for exempt in [false, true] {
        let gateway = Gateway::with("mode: Unrestricted\nports: [1-65535]\n", |config| {
            if exempt {
                config.guards.exempt = vec![
                    "127.0.0.0/8".parse().unwrap(),
                    "0.0.0.0/8".parse().unwrap(),
                    "::/0".parse().unwrap(),
                ];
                config.admin.address = "0.0.0.0:0".parse().unwrap();
                config.listeners[0].address = "0.0.0.0:0".parse().unwrap();
            }
        })
        .await;
        gateway.dns.says("admin.test", Answer::addresses(["127.0.0.1"]));
        gateway.dns.says("mapped.test", Answer::addresses(["::ffff:127.0.0.1"]));
        gateway.dns.says("six.test", Answer::addresses(["::1"]));
        gateway.dns.says("any.test", Answer::addresses(["0.0.0.0"]));
        gateway.dns.says("alias.test", Answer::alias("admin.test"));
        let proxy = std::net::SocketAddr::from(([127, 0, 0, 1], gateway.proxy().port()));
        for own in [gateway.admin().port(), gateway.proxy().port()] {
            for host in [
                "127.0.0.1",
                "127.0.0.2",
                "127.255.255.254",
                "0.0.0.0",
                "localhost",
                "localhost.",
                "admin.test",
                "ADMIN.test.",
                "alias.test",
                "mapped.test",
                "six.test",
                "any.test",
                "[::1]",
                "[::]",
                "[::ffff:127.0.0.1]",
                "[::ffff:7f00:1]",
                "[::127.0.0.1]",
                "[64:ff9b::127.0.0.1]",
                "[64:ff9b::7f00:1]",
                "[2002:7f00:1::]",
                "0x7f000001",
                "2130706433",
                "127.1",
                "0177.0.0.1",
                "0x7f.1",
                "0",
                "①②⑦.0.0.1",
                "127。0。0。1",
            ] {
                let connect = format!("CONNECT {host}:{own} HTTP/1.1\r\nHost: {host}:{own}\r\n\r\n");
                let absolute =
                    format!("GET http://{host}:{own}/metrics HTTP/1.1\r\nHost: {host}:{own}\r\n\r\n");
                for request in [connect, absolute] {
                    let answer = Client::connect(proxy).await.ask(&request).await;
                    let refused = [400, 403, 502].contains(&answer.status);
                    assert!(refused, "exempt {exempt}: {request}{}{}", answer.head, answer.body);
                    assert!(!answer.body.contains("sluicegate_"), "{request}");
                    assert!(answer.header("x-deny-reason").is_some(), "{request}{}", answer.head);
                }
            }
        }
        // Nothing of that may be a connection that was tried: the admin server and the listener saw none.
        let reached = gateway.records().await;
        assert!(
            reached.iter().all(|record| record["decision"] != "allow" || record["address"].is_null()),
            "{reached:#?}"
        );
    }
}

#[tokio::test]
async fn p6_the_guard_of_the_own_sockets_is_what_refuses_inside_an_exempt_range() {
    let gateway = Gateway::with("mode: Unrestricted\nports: [1-65535]\n", |config| {
        config.guards.exempt = vec!["127.0.0.0/8".parse().unwrap()];
        config.admin.address = "0.0.0.0:0".parse().unwrap();
    })
    .await;
    // The range is open: an origin beside it is reached.
    let origin = Origin::echo().await;
    let mut tunnel = Client::tunnel(gateway.proxy(), &format!("127.0.0.8:{}", origin.port())).await;
    tunnel.send("\x01on").await;
    tunnel.expect("\x01on").await;
    for address in ["127.0.0.1", "127.0.0.8", "127.9.9.9"] {
        let target = format!("{address}:{}", gateway.admin().port());
        let ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        let answer = gateway.client().await.ask(ask).await;
        assert_eq!((answer.status, answer.header("x-deny-reason")), (403, Some("guard_self")), "{target}");
    }
}
