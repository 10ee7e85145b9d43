//! The authority's checks, its leaves, and handshakes with them, all in memory.

mod handshake;
mod leaf;
mod load;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use super::authority::{Authority, AuthorityError, Settings};
use crate::addr::Host;

/// What an ordinary authority is.
fn ordinary() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = now() - Duration::days(1);
    params.not_after = now() + Duration::days(100);
    params
}

/// This moment.
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A host.
fn host(text: &str) -> Host {
    text.parse().unwrap()
}

/// Files of an authority.
struct Files {
    directory: TempDir,
    settings: Settings,
}

impl Files {
    /// The files of an authority with a key of its own.
    fn of(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self::with(&params.self_signed(&key).unwrap().pem(), &key.serialize_pem())
    }

    /// Files with these texts.
    fn with(certificate: &str, key: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name);
        let settings = Settings { certificate: path("ca.pem"), key: path("key.pem") };
        fs::write(&settings.certificate, certificate).unwrap();
        fs::write(&settings.key, key).unwrap();
        fs::set_permissions(&settings.key, fs::Permissions::from_mode(0o600)).unwrap();
        Self { directory, settings }
    }

    /// What loading them gives.
    fn load(&self) -> Result<Authority, AuthorityError> {
        Authority::load(&self.settings)
    }
}

/// An authority with these properties.
fn authority(params: &CertificateParams) -> Authority {
    Files::of(params).load().unwrap()
}
