//! What is judged by rules, and what a denial says.

use super::*;

#[tokio::test]
async fn rules_by_method_and_path_decide_in_their_order_request_by_request() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let port = origin.port();
    let gateway = Gateway::inspecting(&format!(
        "mode: Limited\nrules:\n\
         - {{name: public, match: {{host: 'good.test:{port}', path: /admin/public}}, action: Allow}}\n\
         - {{name: no-admin, match: {{host: 'good.test:{port}', path: /admin}}, action: Deny}}\n\
         - {{name: read, match: {{host: 'good.test:{port}', methods: [GET, HEAD]}}, action: Allow}}\n\
         - {{name: drop, match: {{host: 'good.test:{port}', path: '/drop/*', methods: [PUT]}}, action: Allow}}\n"
    ), [])
    .await;
    gateway.name("good.test", &origin);
    let good = good(&origin);
    let mut client = gateway.client().await;
    let asked = [
        ("GET", "/", None),
        ("GET", "/admin", Some("rule_denied")),
        ("GET", "/admin/public", None),
        ("GET", "/admin/public/x", Some("rule_denied")),
        ("GET", "/admin/", Some("rule_denied")),
        ("GET", "/x/../admin/x", Some("rule_denied")),
        ("GET", "//admin", Some("rule_denied")),
        ("GET", "/%61dmin", Some("rule_denied")),
        ("GET", "/administrator", None),
        ("HEAD", "/x", None),
        ("get", "/x", Some("default_deny")),
        ("POST", "/x", Some("default_deny")),
        ("POST", "/admin/public", None),
        ("PUT", "/drop/x", None),
        ("PUT", "/drop", Some("default_deny")),
        ("PUT", "/drop/../x", Some("default_deny")),
        ("DELETE", "/", Some("default_deny")),
    ];
    for (method, path, expected) in asked {
        let answered = client.ask(request(method, &good, path, "", "")).await;
        assert_eq!(reason(&answered), expected, "{method} {path}");
        assert_eq!(answered.status, if expected.is_some() { 403 } else { 200 }, "{method} {path}");
    }
    let allowed = asked.iter().filter(|(_, _, denied)| denied.is_none()).count();
    // The scripted origin answers HEAD with a body, so that connection is not used again.
    let received: String = (0..origin.connections()).map(|at| origin.received(at)).collect();
    assert_eq!(received.matches("HTTP/1.1\r\n").count(), allowed, "{received}");
    let calls = gateway.calls(asked.len()).await;
    let rules: Vec<&str> = calls.iter().filter_map(|call| call["rule"].as_str()).collect();
    assert_eq!(rules.iter().filter(|rule| rule.contains("no-admin")).count(), 6, "{rules:?}");
}

#[tokio::test]
async fn i6_each_request_of_a_connection_is_judged_by_itself() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let good = good(&origin);
    let denied = get(&format!("denied.test:{}", origin.port()), "/");
    let mut client = gateway.client().await;
    let statuses = [
        client.ask(get(&good, "/1")).await.status,
        client.ask(&denied).await.status,
        client.ask(get(&good, "/2")).await.status,
    ];
    assert_eq!(statuses, [200, 403, 200]);
    client.send([get(&good, "/3"), denied.clone(), get(&good, "/4"), denied.clone()].concat()).await;
    let mut pipelined = Vec::new();
    for _ in 0..4 {
        pipelined.push(client.response(false).await.status);
    }
    assert_eq!(pipelined, [200, 403, 200, 403]);
    assert_eq!(gateway.dns.queries("denied.test"), 0);
    let calls = gateway.calls(7).await;
    let ids: std::collections::BTreeSet<_> = calls.iter().filter_map(|call| call["id"].as_str()).collect();
    assert_eq!(ids.len(), 7, "each request has a record of its own");
    assert_eq!(origin.received(0).matches("HTTP/1.1\r\n").count(), 4);
}

#[tokio::test]
async fn a_denial_says_what_was_asked_who_denied_it_and_what_to_add() {
    let gateway = Gateway::inspecting(
        "mode: Limited\nhostRules:\n- {pattern: bad.test, action: Deny}\n- port.test\n- good.test\nrules:\n\
         - {name: no-admin, match: {host: good.test, path: /admin}, action: Deny}\n",
        [],
    )
    .await;
    let file = gateway.policies().join("policy.yaml");
    let file = file.display();
    for (asked, code, target, rule, hint) in [
        (
            get("new.test", "/secret?token=1"),
            "default_deny",
            "new.test:80",
            json!(null),
            "add \"new.test\" to hostRules of policy `policy`".to_owned(),
        ),
        (
            get("bad.test:81", "/"),
            "host_denied",
            "bad.test:81",
            json!("hostRules[0] bad.test"),
            format!("({file}:3:"),
        ),
        (
            get("port.test:8080", "/"),
            "port_denied",
            "port.test:8080",
            json!("hostRules[1] port.test"),
            "add 8080 to ports".to_owned(),
        ),
        (get("good.test", "/admin"), "rule_denied", "good.test:80", json!("no-admin"), format!("({file}:7:")),
        (
            "CONNECT new.test:443 HTTP/1.1\r\nHost: new.test\r\n\r\n".to_owned(),
            "default_deny",
            "new.test:443",
            json!(null),
            "add \"new.test\"".to_owned(),
        ),
    ] {
        let mut client = gateway.client().await;
        let refused = client.ask(&asked).await;
        assert_eq!(refused.status, 403, "{asked}");
        assert_eq!(reason(&refused), Some(code));
        assert_eq!(refused.header("content-type"), Some("application/json"));
        let id = refused.header("x-request-id").expect("an id").to_owned();
        let body: Value = serde_json::from_str(&refused.body).expect("JSON");
        let error = &body["error"];
        let keys: Vec<&String> = error.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["code", "hint", "message", "policy", "requestId", "rule", "target"]);
        assert_eq!(
            (&error["code"], &error["target"], &error["policy"]),
            (&json!(code), &json!(target), &json!("policy"))
        );
        assert_eq!(error["requestId"], id);
        let said = error["rule"].as_str().unwrap_or_default();
        assert!(said.contains(rule.as_str().unwrap_or_default()), "{said}");
        assert_eq!(error["rule"].is_null(), rule.is_null(), "{error}");
        assert!(error["hint"].as_str().unwrap_or_default().contains(&hint), "{hint}: {error}");
        assert!(error["message"].as_str().unwrap_or_default().contains(target), "{error}");
        assert!(!refused.body.contains("token=1"), "no query in an answer");
        let record =
            gateway.wait_for("its record", |records| records.iter().any(|record| record["id"] == id)).await;
        let record = record.iter().find(|record| record["id"] == id).expect("it was just seen");
        assert_eq!((&record["decision"], &record["reason"]), (&json!("deny"), &json!(code)));
    }
    assert_eq!(gateway.dns.total_queries(), 0, "what A or C denies causes no query");
}

#[tokio::test]
async fn f4_a_denied_body_is_not_waited_for_and_never_read_as_requests() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let hidden = get(&good(&origin), "/hidden");
    // Not sent at all: the denial comes at once and the connection ends.
    let mut client = gateway.client().await;
    let refused = client.ask(request("POST", "denied.test", "/", "Content-Length: 100000000\r\n", "")).await;
    assert_eq!(refused.status, 403);
    assert!(client.expect_closed().await.is_empty());
    // Sent in part, sent whole, and chunked: whatever comes back, none of it answers the hidden request.
    let whole = format!("Content-Length: {}\r\n", hidden.len());
    let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
    for (fields, body) in [
        ("Content-Length: 100000000\r\n", &hidden),
        (whole.as_str(), &hidden),
        ("Transfer-Encoding: chunked\r\n", &chunk),
    ] {
        let mut client = gateway.client().await;
        client.send(request("POST", "denied.test", "/", fields, body)).await;
        assert_eq!(client.response(false).await.status, 403);
        client.finish().await;
        assert!(client.expect_closed().await.is_empty(), "{fields}");
    }
    gateway.calls(4).await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn expect_continue_is_answered_only_for_what_is_allowed() {
    let origin = Origin::http([Reply::ok("hello").after_continue()]).await;
    let gateway = Gateway::allowing([("good.test", &origin)]).await;
    let fields = "Expect: 100-continue\r\nContent-Length: 3\r\n";
    let mut client = gateway.client().await;
    client.send(request("POST", &good(&origin), "/", fields, "")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send("abc").await;
    assert_eq!(client.response(false).await.body, "hello");
    assert!(origin.received(0).ends_with("abc"));
    let refused = client.ask(request("POST", "denied.test", "/", fields, "")).await;
    assert_eq!(refused.status, 403, "and no 100 before it");
}
