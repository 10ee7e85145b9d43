//! Other protocols on the plain port.

use super::*;

#[tokio::test]
async fn tls_on_the_plain_port_is_refused_at_once_and_told_why() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, _) = start(&origin).await;
    // A ClientHello need not have a line feed in it; and the one of rustls for real.
    let mut client = gateway.client().await;
    let refused = client.ask(b"\x16\x03\x01\x00\x30\x01\x00\x00\x2c\x03\x03").await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    assert!(refused.body.contains("TLS"), "{}", refused.body);
    assert!(client.expect_closed().await.is_empty());
    let certificate = Origin::tls("good.test", crate::kit::origin::Behaviour::Echo).await.certificate();
    let failed = gateway.client().await.try_tls("good.test", certificate).await;
    assert!(failed.is_err());
    let records = gateway.wait_for("two records", |records| calls(records).len() == 2).await;
    for record in calls(&records) {
        assert_eq!(record["reason"], "bad_request");
        assert!(record["error"].as_str().unwrap_or_default().contains("TLS"), "{record}");
    }
}

#[tokio::test]
async fn socks_on_the_http_port_is_refused_at_once() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, _) = start(&origin).await;
    for greeting in [&b"\x05\x01\x00"[..], b"\x04\x01\x00\x50\x7f\x00\x00\x08\x00"] {
        let refused = gateway.client().await.ask(greeting).await;
        assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    }
}

#[tokio::test]
async fn an_http2_preface_on_the_plain_port_is_refused_and_told_why() {
    let origin = Origin::http([Reply::ok("hello")]).await;
    let (gateway, _) = start(&origin).await;
    let mut client = gateway.client().await;
    let refused = client.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert_eq!((refused.status, refused.header("x-deny-reason")), (400, Some("bad_request")));
    assert!(refused.body.contains("HTTP/2"), "{}", refused.body);
    assert!(client.expect_closed().await.is_empty());
    let records = gateway.wait_for("a record", |records| calls(records).len() == 1).await;
    assert!(calls(&records)[0]["error"].as_str().unwrap_or_default().contains("HTTP/2"));
}
