//! Who an origin inside TLS says it is, and what it speaks.

use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

/// A certificate signed by itself, and what its server speaks.
#[derive(Debug, Clone)]
pub struct Secure {
    params: CertificateParams,
    protocols: Vec<Vec<u8>>,
    kx_groups: Vec<&'static dyn SupportedKxGroup>,
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl Secure {
    /// For this name or address, with everything that TLS offers and no protocol named.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        // Each is an authority of its own, under a name of its own.
        params.distinguished_name.push(DnType::CommonName, name);
        let kx_groups = default_provider().kx_groups;
        Self { params, protocols: Vec::new(), kx_groups, versions: rustls::ALL_VERSIONS.to_vec() }
    }

    /// Agrees on one of these protocols (ALPN).
    pub fn speaking(self, protocols: &[&str]) -> Self {
        Self { protocols: protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect(), ..self }
    }

    /// Knows these groups and versions only.
    pub fn knowing(
        self,
        kx_groups: Vec<&'static dyn SupportedKxGroup>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        Self { kx_groups, versions: versions.to_vec(), ..self }
    }

    /// Its certificate holds for these years, from the first of January to the first of January.
    pub fn years(mut self, from: i32, to: i32) -> Self {
        self.params.not_before = rcgen::date_time_ymd(from, 1, 1);
        self.params.not_after = rcgen::date_time_ymd(to, 1, 1);
        self
    }

    /// What accepts TLS, and the certificate that it shows.
    pub(super) fn make(self) -> (TlsAcceptor, CertificateDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.params.self_signed(&key).expect("a certificate").der().clone();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(CryptoProvider { kx_groups: self.kx_groups, ..default_provider() });
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&self.versions);
        let config = config.expect("versions").with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate.clone()], key).expect("a key that fits");
        config.alpn_protocols = self.protocols;
        (TlsAcceptor::from(Arc::new(config)), certificate)
    }
}
