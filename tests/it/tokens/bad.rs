//! Services that give no token: broken, slow, redirecting, not who they should be.

use std::sync::Arc;

use sluicegate::addr::Endpoint;
use sluicegate::policy::document::{GithubApp, KeySource, SecretSource};
use sluicegate::secrets::{FetchError, Platform, TokenError, Unavailable};

use super::{CANARY, HOUR, Service, client, file, identity, json, revealed, secrets};
use crate::kit::dns::{Answer, Dns};
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};

#[tokio::test]
async fn a_key_that_is_none_is_no_key_and_is_not_shown() {
    let service = Service::answering(Reply::ok(HOUR)).await;
    let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let broken = format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n");
    for text in [CANARY.to_owned(), broken, elliptic] {
        let private_key = file(text);
        let source = Arc::new(KeySource::GithubApp(GithubApp {
            app: "1".into(),
            installation: 77,
            private_key: SecretSource::File(private_key.path().to_owned()),
            api: service.url("").into(),
        }));
        let error = revealed(&service.secrets(None), &source).await.unwrap_err();
        assert!(matches!(error, Unavailable::Key { .. }), "{error}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains(CANARY) && said.contains(private_key.path().to_str().unwrap()), "{said}");
    }
    assert_eq!(service.origin.connections(), 0);
}

/// Whether an error is the one that is expected.
type Expected = fn(&Unavailable) -> bool;

#[tokio::test]
async fn s5_a_service_that_answers_badly_gives_no_token_and_nothing_of_it_is_told() {
    fn token(error: &Unavailable, fits: impl Fn(&TokenError) -> bool) -> bool {
        matches!(error, Unavailable::Token { error, .. } if fits(error))
    }
    let large = "x".repeat(65_537);
    let piece = format!("{CANARY}{}", "x".repeat(4000));
    let cases: Vec<(Reply, Expected)> = vec![
        (
            json(
                "401 Unauthorized",
                &format!(r#"{{"error":"invalid_client","error_description":"{CANARY}"}}"#),
            ),
            |e| {
                token(
                    e,
                    |e| matches!(e, TokenError::Status(status, Some("invalid_client")) if *status == 401),
                )
            },
        ),
        (json("500 Oops", CANARY), |e| token(e, |e| matches!(e, TokenError::Status(_, None)))),
        (Reply::ok(CANARY), |e| token(e, |e| *e == TokenError::Malformed)),
        (Reply::ok(&format!(r#"{{"access_token":"{CANARY}\r\nx: y"}}"#)), |e| {
            token(e, |e| matches!(e, TokenError::Unfit(_)))
        }),
        (Reply::ok(&format!(r#"{{"access_token":"{CANARY}","expires_in":0}}"#)), |e| {
            token(e, |e| *e == TokenError::Expired)
        }),
        (Reply::raw(format!("{CANARY} HTTP\r\n\r\n")).then_close(), |e| {
            matches!(e, Unavailable::Fetch { error: FetchError::Broken, .. })
        }),
        (Reply::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{CANARY}")).then_close(), |e| {
            matches!(e, Unavailable::Fetch { error: FetchError::Broken, .. })
        }),
        (Reply::ok(&large), |e| matches!(e, Unavailable::Fetch { error: FetchError::TooLarge, .. })),
        (Reply::chunked(vec![piece.as_str(); 20]), |e| {
            matches!(e, Unavailable::Fetch { error: FetchError::TooLarge, .. })
        }),
        (Reply::raw(format!("HTTP/1.1 200 OK\r\nX: {large}\r\n\r\n")).then_close(), |e| {
            matches!(e, Unavailable::Fetch { error: FetchError::Broken, .. })
        }),
    ];
    for (at, (reply, expected)) in cases.into_iter().enumerate() {
        let service = Service::answering(reply).await;
        let secret = file(CANARY);
        let error = revealed(&service.secrets(None), &service.client(&secret)).await.unwrap_err();
        assert!(expected(&error), "case {at}: {error:?}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains(CANARY) && said.contains("https://login.test"), "{said}");
        assert!(!said.contains("v=2"), "a query may be a secret: {said}");
    }
}

#[tokio::test]
async fn s3_a_redirect_is_not_followed() {
    let other = Service::answering(Reply::ok(HOUR)).await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let head = format!("HTTP/1.1 {status}\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", other.url("/t"));
        let service = Service::answering(Reply::raw(head)).await;
        let secret = file(CANARY);
        let error = revealed(&service.secrets(None), &service.client(&secret)).await.unwrap_err();
        assert!(matches!(error, Unavailable::Token { error: TokenError::Redirect(_), .. }), "{error}");
    }
    assert_eq!(other.origin.connections(), 0);
}

#[tokio::test]
async fn c1_credentials_go_to_a_verified_service_only() {
    let service = Service::answering(Reply::ok(HOUR)).await;
    let secret = file(CANARY);
    let other_name = client(&service.url("/").replace("login.test", "other.test"), &secret);
    let stranger = secrets(&service.dns, &[], None);
    for (secrets, source) in [(&service.secrets(None), &other_name), (&stranger, &service.client(&secret))] {
        let error = revealed(secrets, source).await.unwrap_err();
        assert!(matches!(error, Unavailable::Fetch { error: FetchError::Tls(_), .. }), "{error}");
    }
    assert!(service.origin.received(0).is_empty() && service.origin.received(1).is_empty());

    let plain = Origin::http([Reply::ok(HOUR)]).await;
    let url = format!("http://127.0.0.8:{}/", plain.port());
    let error = revealed(&service.secrets(None), &client(&url, &secret)).await.unwrap_err();
    assert!(matches!(error, Unavailable::Url { .. }), "{error}");
    assert_eq!(plain.connections(), 0);
    for far in ["http://192.0.2.1/token", "http://login.test/token"] {
        let endpoint = Endpoint::parse(far).unwrap();
        let secrets = service.secrets(Some(Platform::Metadata { endpoint }));
        let error = revealed(&secrets, &identity(None)).await.unwrap_err();
        assert!(matches!(error, Unavailable::Fetch { error: FetchError::Plain, .. }), "{error}");
    }
}

#[tokio::test]
async fn r1_a_service_that_says_nothing_is_given_up() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
    for behaviour in [Behaviour::Sink, Behaviour::Http(vec![Reply::raw(head)])] {
        let service = Service::behaving(behaviour).await;
        let (secrets, secret) = (service.secrets(None), file(CANARY));
        let source = service.client(&secret);
        let mut use_once = std::pin::pin!(secrets.reveal(&source));
        tokio::select! {
            biased;
            _ = &mut use_once => panic!("nothing was answered"),
            () = service.origin.wait_for_count(0, 100) => {}
        }
        // The clock jumps to the next deadline, as nothing else happens any more.
        tokio::time::pause();
        let error = use_once.await.unwrap_err();
        assert!(matches!(error, Unavailable::Fetch { error: FetchError::Slow, .. }), "{error}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_said_to_be_away() {
    let (dns, secret) = (Dns::start().await, file(CANARY));
    dns.says("login.test", Answer::addresses(["127.0.0.8"]));
    let secrets = secrets(&dns, &[], None);
    for url in ["https://login.test:1/", "https://nowhere.test/"] {
        let error = revealed(&secrets, &client(url, &secret)).await.unwrap_err();
        assert!(matches!(error, Unavailable::Fetch { error: FetchError::Unreachable(_), .. }), "{error}");
        assert!(!format!("{error:?}").contains(CANARY));
    }
}
