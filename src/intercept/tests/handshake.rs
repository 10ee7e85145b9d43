//! Handshakes of a TLS client with what an authority makes.

use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use super::{Authority, Files, authority, host, ordinary};

/// A client that trusts a root, and offers these protocols.
fn client(
    root: &CertificateDer<'static>,
    alpn: &[&[u8]],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// The two ends of a connection after a byte went each way, or what the client or the server says.
fn handshake(
    client: &Arc<ClientConfig>,
    name: &str,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(server)?;
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

/// What a client that offers HTTP/2 is served with.
fn accept(authority: &Authority, name: &str, h2: bool) -> Arc<ServerConfig> {
    authority.accept(&host(name), h2, || true).unwrap()
}

#[test]
fn a_client_that_trusts_the_authority_gets_through_to_every_kind_of_host() {
    let authority = authority(&ordinary());
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    for version in rustls::ALL_VERSIONS {
        let client = Arc::new(client(authority.certificate(), &[], &[*version]));
        for name in ["example.com", "xn--bcher-kva.example", &longest, "192.0.2.7", "[2001:db8::1]"] {
            let (client, _) = handshake(&client, name, accept(&authority, name, true)).unwrap();
            assert_eq!(client.protocol_version(), Some(version.version), "{name}");
            assert_eq!(client.peer_certificates().unwrap().len(), 1, "the root is not sent");
        }
        let other =
            handshake(&client, "www.example.com", accept(&authority, "example.com", true)).unwrap_err();
        assert!(matches!(other, rustls::Error::InvalidCertificate(_)), "{other}");
    }
    let stranger = super::authority(&ordinary());
    let client = Arc::new(client(stranger.certificate(), &[], rustls::ALL_VERSIONS));
    assert!(handshake(&client, "example.com", accept(&authority, "example.com", true)).is_err());
}

#[test]
fn the_key_exchange_holds_against_quantum_computers() {
    let authority = authority(&ordinary());
    let client = Arc::new(client(authority.certificate(), &[], rustls::ALL_VERSIONS));
    let (client, _) = handshake(&client, "example.com", accept(&authority, "example.com", true)).unwrap();
    assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
}

#[test]
fn http2_is_offered_where_it_is_asked_for_and_nowhere_else() {
    let authority = authority(&ordinary());
    let chosen = |offered: &[&[u8]], h2| {
        let client = Arc::new(client(authority.certificate(), offered, rustls::ALL_VERSIONS));
        let (client, _) = handshake(&client, "example.com", accept(&authority, "example.com", h2))?;
        Ok::<_, rustls::Error>(client.alpn_protocol().map(<[u8]>::to_vec))
    };
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    assert_eq!(chosen(both, true).unwrap().unwrap(), b"h2");
    assert_eq!(chosen(both, false).unwrap().unwrap(), b"http/1.1");
    assert_eq!(chosen(&[b"http/1.1"], true).unwrap().unwrap(), b"http/1.1");
    assert_eq!(chosen(&[], true).unwrap(), None);
    assert!(chosen(&[b"h2"], false).is_err() && chosen(&[b"smtp"], true).is_err());
    assert_eq!(authority.minted(), 1);
}

#[test]
fn an_authority_that_another_made_is_sent_along() {
    let mut params = ordinary();
    params.distinguished_name.push(DnType::CommonName, "root");
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let middle = ordinary().signed_by(&key, &root).unwrap();
    let authority = Files::with(&middle.pem(), &key.serialize_pem()).load().unwrap();
    for trusted in [root.der(), authority.certificate()] {
        let client = Arc::new(client(trusted, &[], rustls::ALL_VERSIONS));
        let (client, _) = handshake(&client, "example.com", accept(&authority, "example.com", true)).unwrap();
        assert_eq!(client.peer_certificates().unwrap().len(), 2);
    }
}

/// What a client remembers of servers, used for every one of them.
#[derive(Debug)]
struct Mixed(ClientSessionMemoryCache);

/// The one name it is all kept under.
fn one() -> ServerName<'static> {
    ServerName::try_from("one.test").unwrap()
}

impl ClientSessionStore for Mixed {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(one(), group);
    }
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&one())
    }
    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(one(), value);
    }
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&one())
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one());
    }
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(one(), value);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one())
    }
}

#[test]
fn i2_a_session_is_resumed_with_the_same_host_and_with_no_other() {
    let authority = authority(&ordinary());
    for version in rustls::ALL_VERSIONS {
        for (a, b) in [("a.test", "b.test"), ("192.0.2.7", "192.0.2.8"), ("[2001:db8::1]", "192.0.2.7")] {
            let mut config = client(authority.certificate(), &[], &[*version]);
            config.resumption = Resumption::store(Arc::new(Mixed(ClientSessionMemoryCache::new(64))));
            let config = Arc::new(config);
            let kind = |name: &str| {
                let (client, server) = handshake(&config, name, accept(&authority, name, true)).unwrap();
                assert_eq!(client.handshake_kind(), server.handshake_kind());
                client.handshake_kind().unwrap()
            };
            assert_ne!(kind(a), HandshakeKind::Resumed);
            assert_eq!(kind(a), HandshakeKind::Resumed, "{a} {version:?}");
            assert_ne!(kind(b), HandshakeKind::Resumed, "{a} {b} {version:?}");
        }
    }
}

#[test]
fn nothing_is_read_before_the_handshake_is_over() {
    let authority = authority(&ordinary());
    let mut config = client(authority.certificate(), &[], &[&rustls::version::TLS13]);
    config.enable_early_data = true;
    let config = Arc::new(config);
    handshake(&config, "a.test", accept(&authority, "a.test", true)).unwrap();
    let mut again =
        ClientConnection::new(Arc::clone(&config), ServerName::try_from("a.test").unwrap()).unwrap();
    assert!(again.early_data().is_none(), "no ticket allows early data");
}

#[test]
fn an_expired_authority_is_believed_by_nobody_and_so_never_used() {
    let mut params: CertificateParams = ordinary();
    params.not_after = super::now() + time::Duration::minutes(5);
    let files = Files::of(&params);
    let later = super::now() + time::Duration::minutes(6);
    assert!(Authority::load_at(&files.settings, later).is_err());
}
