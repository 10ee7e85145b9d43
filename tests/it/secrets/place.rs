//! Where a secret may go, and what is said where it may not.

use crate::kit::client::Client;

use super::*;

/// What a request to a refused place is told: its reason and the text.
fn refused(status: u16, body: &str) -> (u16, String) {
    let told: serde_json::Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    (status, told["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn s1_a_secret_never_goes_in_plain_text_whatever_the_way() {
    let scene = Scene::answering([Reply::ok("")]).await;
    let plain = Origin::http([Reply::ok("")]).await;
    let port = plain.port();
    let asked = format!("GET http://api.test:{port}/ HTTP/1.1\r\nhost: api.test:{port}\r\n\r\n");
    let inside = format!("GET / HTTP/1.1\r\nhost: api.test:{port}\r\n\r\n");
    let mut tunnel = Client::tunnel(scene.gateway.proxy(), &format!("api.test:{port}")).await;
    let answers = [scene.gateway.client().await.ask(asked).await, tunnel.ask(inside).await];
    for answer in answers {
        assert_eq!(
            refused(answer.status, &answer.body),
            (403, "secret_host_mismatch".into()),
            "{}",
            answer.body
        );
        assert!(answer.body.contains("https://") && answer.body.contains("verified TLS"), "{}", answer.body);
    }
    for at in 0..plain.connections() {
        assert_eq!(plain.received(at), "");
    }
}

#[tokio::test]
async fn s1_nothing_of_a_request_goes_to_an_origin_that_cannot_prove_who_it_is() {
    for certificate in ["other.test", "api.test"] {
        let scene = Scene::answering([Reply::ok("")]).await;
        // It is for another name, or by an authority that nobody trusts.
        let other = Origin::tls(certificate, Behaviour::Http(vec![Reply::ok("")])).await;
        for protocols in [&["http/1.1"][..], &["h2"]] {
            let client = scene.gateway.inside("api.test", &other, protocols).await;
            let (status, body) = if protocols == ["h2"] {
                let answer = client.http2().await.get(&format!("https://api.test:{}/", other.port())).await;
                (answer.status.as_u16(), answer.text())
            } else {
                let mut client = client;
                let answer = client.ask(get("/", "")).await;
                (answer.status, answer.body)
            };
            assert_eq!(refused(status, &body), (502, "upstream_failed".into()), "{body}");
            assert_hidden(VALUE, &body, "a refusal");
        }
        for at in 0..other.connections() {
            assert_eq!(other.received(at), "");
        }
        let records = scene.gateway.wait_for("two requests", |records| {
            records.iter().filter(|record| record["kind"] == "request").count() == 2
        });
        for record in records.await.iter().filter(|record| record["kind"] == "request") {
            assert!(record.get("secrets").is_none(), "no secret went anywhere: {record}");
        }
    }
}

#[tokio::test]
async fn s2_a_secret_goes_to_its_hosts_only_and_a_port_binds_too() {
    let value = file(VALUE);
    let (one, two) = (
        Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("")])).await,
        Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("")])).await,
    );
    let other = Origin::tls("other.test", Behaviour::Http(vec![Reply::ok("")])).await;
    let hosts = format!(", hosts: ['api.test:{}', elsewhere.test]", one.port());
    let policy = secret(value.path(), &hosts)
        + &rules(&format!(
            "  - {{match: {{host: '*.test'}}, action: {{type: Transform, headers: [{BEARER}]}}}}\n"
        ));
    let gateway = Gateway::inspecting(&policy, [("api.test", &one), ("other.test", &other)]).await;
    let answer = gateway.inside("api.test", &one, &["http/1.1"]).await.ask(get("/", "")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    for (name, origin) in [("api.test", &two), ("other.test", &other)] {
        let asked = format!("GET / HTTP/1.1\r\nhost: {name}\r\n\r\n");
        let answer = gateway.inside(name, origin, &["http/1.1"]).await.ask(asked).await;
        assert_eq!(refused(answer.status, &answer.body), (403, "secret_host_mismatch".into()));
        assert!(answer.body.contains("`github`") && answer.body.contains("not bound"), "{}", answer.body);
        let file = value.path().display().to_string();
        assert!(!answer.body.contains("elsewhere") && !answer.body.contains(&file), "{}", answer.body);
        assert_eq!(origin.connections(), 0, "nothing is opened for it");
    }
}

#[tokio::test]
async fn i2_s1_the_authority_inside_tls_decides_nothing_that_the_name_around_it_did_not() {
    let scene = Scene::answering([Reply::ok("")]).await;
    let mut client = scene.client().await;
    for host in ["other.test", "api.test:444", "api.test.other.test", "127.0.0.1"] {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert_eq!(answer.status, 421, "{host}: {}", answer.body);
        client = scene.client().await;
    }
    assert_eq!(scene.origin.connections(), 0);
}

#[tokio::test]
async fn s2_the_final_host_of_a_rewritten_request_is_what_counts_and_is_judged_again() {
    let value = file(VALUE);
    let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("")])).await;
    let near = Origin::tls("near.test", Behaviour::Http(vec![Reply::ok("")])).await;
    let port = origin.port();
    let moved = |to: &str, more: &str| {
        rules(&format!(
            "  - {{match: {{host: near.test, path: /closed}}, action: Deny}}\n  \
             - {{match: {{host: near.test}}, action: {{type: Rewrite, {to}, headers: [{BEARER}]}}}}\n{more}"
        ))
    };
    let bound = secret(value.path(), ", hosts: [api.test]");
    let policy = bound.clone() + &moved("host: api.test, path: /new", "");
    let gateway = Gateway::inspecting(&policy, [("near.test", &near), ("api.test", &origin)]).await;
    let ask = async |path: &str| {
        // The origin is on the same port under its other name.
        let mut client = gateway.inside("near.test", &origin, &["http/1.1"]).await;
        client.ask(format!("GET {path} HTTP/1.1\r\nhost: near.test\r\n\r\n")).await
    };
    let answer = ask("/old?q=1").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let received = origin.received(0);
    assert!(received.starts_with("GET /new?q=1 HTTP/1.1\r\n"), "{received}");
    assert!(received.contains(&format!("host: api.test:{port}\r\n")), "{received}");
    assert!(received.contains(VALUE), "{received}");
    let record = gateway.record("request", "near.test").await;
    assert_eq!(record["sent"]["host"], "api.test", "{record}");
    assert_eq!(ask("/closed").await.status, 403);

    // Where the rule leads away from the hosts of the secret, and where the new place is denied.
    for (policy, reason) in [
        (secret(value.path(), ", hosts: [near.test]") + &moved("host: api.test", ""), "secret_host_mismatch"),
        (
            format!(
                "{bound}kind: EgressPolicy\nmetadata: {{name: g, scope: Global}}\nspec: {{defaultAction: Allow, ports: [1-65535], \
                 hostRules: [{{pattern: api.test, action: Deny}}]}}\n---\n{}",
                moved("host: api.test", "").replace("name: p", "name: p, sandbox: default")
            ),
            "host_denied",
        ),
    ] {
        gateway.set_policy(&policy).await;
        let before = origin.connections();
        let answer = ask("/old").await;
        assert_eq!(refused(answer.status, &answer.body), (403, reason.into()), "{}", answer.body);
        assert_eq!(origin.connections(), before);
    }
    assert_eq!(near.connections(), 0);
}

#[tokio::test]
async fn s1_a_rewrite_to_https_puts_tls_around_what_came_in_the_clear_and_verifies_it() {
    let value = file(VALUE);
    let origin = Origin::tls("api.test", Behaviour::Http(vec![Reply::ok("")])).await;
    let wrong = Origin::tls("other.test", Behaviour::Http(vec![Reply::ok("")])).await;
    let policy = secret(value.path(), "")
        + &rules(&format!(
            "  - {{match: {{host: api.test}}, action: {{type: Rewrite, scheme: https, headers: [{BEARER}]}}}}\n"
        ));
    let gateway = Gateway::inspecting(&policy, [("api.test", &origin)]).await;
    let ask = async |origin: &Origin| {
        let port = origin.port();
        let asked = format!("GET http://api.test:{port}/ HTTP/1.1\r\nhost: api.test:{port}\r\n\r\n");
        gateway.client().await.ask(asked).await
    };
    let answer = ask(&origin).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(origin.received(0).contains(VALUE));
    assert_eq!(ask(&wrong).await.status, 502);
    for at in 0..wrong.connections() {
        assert_eq!(wrong.received(at), "");
    }
}
