use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::{AlertDescription, HandshakeKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use super::super::tls_kit::Ca;
use super::*;

/// Whoever trusts this authority alone.
fn trusting(ca: &Ca) -> Tls {
    let timeout = Duration::from_secs(10);
    Tls::new(&TlsSettings { system: false, roots: vec![ca.path()], timeout }).unwrap()
}

/// A host from its text.
fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

/// What a handshake comes to: what is spoken and the name that the server saw, or the error.
async fn shake(
    tls: &Tls,
    server: TlsAcceptor,
    named: &str,
    alpn: Alpn,
) -> Result<(Negotiated, Option<String>), TlsError> {
    let (ours, theirs) = duplex(64 * 1024);
    let host = host(named);
    let (client, server) = tokio::join!(tls.connect(ours, &host, alpn), server.accept(theirs));
    let (_stream, negotiated) = client?;
    let server = server.unwrap();
    assert_eq!(server.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "nothing is resumed");
    Ok((negotiated, server.get_ref().1.server_name().map(ToOwned::to_owned)))
}

/// The error of a handshake with a peer that does this.
async fn fails<F: Future<Output = ()>>(peer: impl FnOnce(DuplexStream) -> F) -> TlsError {
    let ca = Ca::new();
    let tls = Tls { timeout: Duration::from_millis(200), ..trusting(&ca) };
    let (ours, theirs) = duplex(64 * 1024);
    let host = host("good.test");
    let peer = async {
        peer(theirs).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        failed = tls.connect(ours, &host, Alpn::Http1) => failed.map(drop).unwrap_err(),
        () = peer => unreachable!("it never ends"),
    }
}

#[tokio::test]
async fn p1_what_is_spoken_is_agreed_and_no_session_is_resumed() {
    let ca = Ca::new();
    let tls = trusting(&ca);
    let named = Some("good.test".to_owned());
    for (protocols, alpn, spoken) in [
        (&["h2", "http/1.1"][..], Alpn::Either, Negotiated::Http2),
        (&["h2", "http/1.1"], Alpn::Http1, Negotiated::Http1),
        (&["http/1.1"], Alpn::Either, Negotiated::Http1),
        (&[], Alpn::Either, Negotiated::Http1),
    ] {
        let server = ca.server("good.test", protocols);
        for _ in 0..2 {
            let shaken = shake(&tls, server.clone(), "good.test", alpn).await;
            assert_eq!(shaken, Ok((spoken, named.clone())), "{protocols:?} {alpn:?}");
        }
    }
}

#[tokio::test]
async fn s1_an_origin_is_verified_by_its_name_or_its_address() {
    let ca = Ca::new();
    let tls = trusting(&ca);
    for (literal, address) in [("127.0.0.8", "127.0.0.8"), ("[::1]", "::1")] {
        let shaken = shake(&tls, ca.server(address, &[]), literal, Alpn::Http1).await;
        assert_eq!(shaken, Ok((Negotiated::Http1, None)), "an address is no server name");
        let shaken = shake(&tls, ca.server("good.test", &[]), literal, Alpn::Http1).await;
        assert_eq!(shaken, Err(TlsError::WrongName));
    }
    let shaken = shake(&tls, ca.server("*.good.test", &[]), "a.good.test", Alpn::Http1).await;
    assert_eq!(shaken.map(|(spoken, _)| spoken), Ok(Negotiated::Http1));
}

#[tokio::test]
async fn s1_a_certificate_that_does_not_hold_is_told_in_plain_words() {
    let ca = Ca::new();
    let tls = trusting(&ca);
    let old = ca.server_with("good.test", &[], |params| params.not_after = date_time_ymd(2020, 1, 1));
    let young = ca.server_with("good.test", &[], |params| params.not_before = date_time_ymd(2200, 1, 1));
    let other = ca.server_with("good.test", &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    for (server, error, words) in [
        (old, TlsError::Expired, "has expired"),
        (young, TlsError::NotYetValid, "not valid yet"),
        (other, TlsError::WrongPurpose, "not for a TLS server"),
        (ca.server("evil.test", &[]), TlsError::WrongName, "for another name"),
        (Ca::new().server("good.test", &[]), TlsError::UnknownIssuer, "not signed by an authority"),
    ] {
        assert_eq!(shake(&tls, server, "good.test", Alpn::Http1).await, Err(error));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_told_in_plain_words() {
    let silent = |io: DuplexStream| async move {
        let _held = io;
        std::future::pending::<()>().await;
    };
    assert_eq!(fails(silent).await, TlsError::Timeout);
    let gone = |io: DuplexStream| async move { drop(io) };
    assert!(matches!(fails(gone).await, TlsError::Closed(_)));
    let plain = |mut io: DuplexStream| async move {
        io.write_all(b"HTTP/1.1 400 \x1b[31mBad\r\n\r\n").await.unwrap();
        io.read_to_end(&mut Vec::new()).await.unwrap();
    };
    assert_eq!(fails(plain).await, TlsError::NotTls);
    let ca = Ca::new();
    let refusing = |io: DuplexStream| async move {
        ca.server("good.test", &["imap"]).accept(io).await.map(drop).unwrap_err();
    };
    assert_eq!(fails(refusing).await, TlsError::Refused(AlertDescription::NoApplicationProtocol));
}

#[tokio::test]
async fn nothing_is_verified_where_nobody_is_trusted() {
    let timeout = Duration::from_secs(10);
    let tls = Tls::new(&TlsSettings { system: false, roots: Vec::new(), timeout }).unwrap();
    assert!(tls.is_trustless());
    let (ours, _theirs) = duplex(1024);
    let failed = tls.connect(ours, &host("good.test"), Alpn::Http1).await.map(drop);
    assert_eq!(failed, Err(TlsError::Trustless));
}

#[test]
fn roots_that_cannot_be_read_are_named_with_their_file() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let missing = directory.path().join("missing.pem");
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (path, words) in [
        (missing, "cannot be read"),
        (at("empty.pem", "nothing here"), "no certificate in this file"),
        (at("half.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"), "no file of PEM certificates"),
        (at("garbled.pem", garbled), "no file of PEM certificates"),
    ] {
        let settings = TlsSettings { system: true, roots: vec![path.clone()], timeout: Duration::ZERO };
        let error = Tls::new(&settings).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{error}");
    }
}
