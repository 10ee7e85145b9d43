//! Who may read what.

use super::*;

#[tokio::test]
async fn p5_without_a_token_only_liveness_readiness_and_metrics_are_told() {
    let bench = Bench::new().await;
    assert_eq!(bench.get("/livez", "").await.body, "ok\n");
    let ready = bench.get("/readyz", "").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "not ready\n"));
    assert_eq!(bench.get("/metrics", "").await.status, 200);
    for path in ["/v1/policy", "/v1/audit", "/v1/audit/stream", "/v1/top?by=host", "/v1/explain?target=a"] {
        for headers in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Bearer \r\n",
            "Authorization: Bearer\r\n",
            "Authorization: Basic reader-token\r\n",
            "Authorization: Bearer reader-token\r\nAuthorization: Bearer reader-token\r\n",
            "Authorization: Bearer reader-toke\r\n",
        ] {
            let answer = bench.get(path, headers).await;
            assert_eq!((answer.status, answer.code()), (401, "unauthorized".to_owned()), "{path} {headers}");
            assert!(answer.head.contains("www-authenticate: bearer") && !answer.body.contains(CANARY));
        }
    }
    let post = format!(
        "POST /v1/explain HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        bench.address
    );
    assert_eq!(bench.raw(&post).await.status, 401);
}

#[tokio::test]
async fn p5_a_token_of_any_role_or_the_socket_may_read_everything() {
    let bench = Bench::new().await;
    for token in [TOKEN, "Authorization: bearer owner-token\r\n"] {
        let answer = bench.get("/v1/policy", token).await;
        assert_eq!((answer.status, answer.json()["name"].as_str()), (200, Some(CANARY)));
        assert!(answer.head.contains("no-store") && answer.head.contains("nosniff"));
    }
    assert_eq!(bench.get_unix("/v1/policy").await.json()["generation"], 1);
}

#[tokio::test]
async fn readiness_says_what_is_wrong_to_those_who_may_know() {
    let bench = Bench::new().await;
    for answer in [bench.get("/readyz", TOKEN).await, bench.get_unix("/readyz").await] {
        assert_eq!(answer.status, 503);
        let checks = &answer.json()["checks"];
        assert_eq!((&checks[0]["name"], &checks[0]["ok"]), (&json!("audit"), &json!(true)));
        assert_eq!((&checks[1]["name"], &checks[1]["detail"]), (&json!("policy"), &json!(CANARY)));
    }
}

#[tokio::test]
async fn p5_a_web_page_that_lets_its_name_resolve_to_this_server_is_misdirected() {
    let bench = Bench::new().await;
    let close = "Connection: close\r\n";
    for request in [
        format!("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n{close}\r\n"),
        format!("GET /metrics HTTP/1.1\r\nHost: evil.example:9901\r\n{close}{TOKEN}\r\n"),
        format!("GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n{close}\r\n"),
        format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n{close}\r\n"),
        format!("GET /livez HTTP/1.1\r\nHost:\r\n{close}\r\n"),
    ] {
        let answer = bench.raw(&request).await;
        assert_eq!((answer.status, answer.code()), (421, "misdirected".to_owned()), "{request}");
    }
    for host in ["localhost:1", "gate.corp", "[::1]:9901", "10.0.0.1"] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n{close}\r\n");
        assert_eq!(bench.raw(&request).await.status, 200, "{host}");
    }
    assert_eq!(bench.raw("GET /livez HTTP/1.0\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn s5_tokens_are_not_shown_by_debug() {
    let secret = CANARY.to_owned().into();
    let token = AccessToken { name: "ops".into(), role: Role::Owner, secret };
    assert!(!format!("{token:?}").contains(CANARY));
}
