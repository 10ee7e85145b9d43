//! The sandbox CA of the configuration: read once, checked, and ready to sign.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData as _};
use rustix::process::geteuid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::certificate::{Certificate, MOST_BYTES, day};
pub use super::error::AuthorityError;
use super::leaf::Leaves;
use super::mint::Mint;

/// How long before its end an authority is warned about.
const SOON: Duration = Duration::from_hours(30 * 24);

/// Where the authority is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file of its certificate, PEM.
    pub certificate: PathBuf,
    /// The file of its key, PEM.
    pub key: PathBuf,
}

/// The sandbox CA: what clients in sandboxes trust, and what makes the certificates that they are shown.
///
/// It is asked only about names that the policy has allowed: it judges none of them.
pub struct Authority {
    /// Its own certificate.
    certificate: CertificateDer<'static>,
    /// When it ends.
    end: OffsetDateTime,
    /// What it made.
    pub(super) leaves: Leaves,
}

impl Authority {
    /// Reads the certificate and the key, and checks that they can be used.
    ///
    /// # Errors
    /// The first thing that is wrong; see [`AuthorityError`].
    pub fn load(settings: &Settings) -> Result<Self, AuthorityError> {
        Self::load_at(settings, OffsetDateTime::now_utc())
    }

    /// [`load`](Self::load) at a time.
    pub(super) fn load_at(settings: &Settings, now: OffsetDateTime) -> Result<Self, AuthorityError> {
        let certificate = Certificate::read(&settings.certificate)?;
        certificate.check_time(&settings.certificate, now)?;
        let key = key(&settings.key)?;
        if key.subject_public_key_info() != *certificate.public_key {
            return Err(AuthorityError::Mismatch {
                certificate: settings.certificate.clone(),
                key: settings.key.clone(),
            });
        }
        let (der, end) = (certificate.der.clone(), certificate.end);
        let mint = Mint::new(certificate, key)?;
        mint.check(&settings.certificate, now)?;
        Ok(Self { certificate: der, end, leaves: Leaves::new(mint)? })
    }

    /// Has `note` called for each certificate that is made.
    #[must_use]
    pub fn counted(mut self, note: Arc<dyn Fn() + Send + Sync>) -> Self {
        self.leaves.note = Some(note);
        self
    }

    /// Its certificate, which clients are to trust.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What an operator should know of it: that it ends soon.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.warning_at(OffsetDateTime::now_utc())
    }

    /// [`warning`](Self::warning) at a time.
    pub(super) fn warning_at(&self, now: OffsetDateTime) -> Option<String> {
        (self.end - now <= SOON).then(|| {
            format!(
                "the sandbox CA ends on {}, and TLS can be decrypted until then only: make another with `sluicegate ca \
                 init`, and have clients trust both before it takes over",
                day(self.end)
            )
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// The certificate in a file, if it is that of an authority; its dates are not looked at.
///
/// # Errors
/// What keeps it from signing certificates of servers.
pub fn certificate(path: &Path) -> Result<CertificateDer<'static>, AuthorityError> {
    Ok(Certificate::read(path)?.der)
}

/// The key in a file that nobody else may read.
fn key(path: &Path) -> Result<KeyPair, AuthorityError> {
    let text = text(path)?;
    let der = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        let encrypted = text.windows(9).any(|part| part == b"ENCRYPTED");
        let error = if encrypted { AuthorityError::Encrypted } else { AuthorityError::NoKey };
        error(path.to_owned())
    })?;
    let kind = || AuthorityError::KeyKind(path.to_owned());
    let key = KeyPair::try_from(&der).map_err(|_| kind())?;
    let used = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_RSA_SHA256];
    if used.contains(&key.algorithm()) { Ok(key) } else { Err(kind()) }
}

/// The text of a key file.
fn text(path: &Path) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
    let failed = |reason| AuthorityError::Read { path: path.to_owned(), reason };
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(AuthorityError::NotAFile(path.to_owned()));
    }
    let file = File::open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    let mode = facts.mode() & 0o7777;
    if is_exposed(mode, facts.uid(), geteuid().as_raw()) {
        return Err(AuthorityError::Exposed { path: path.to_owned(), mode });
    }
    if facts.len() > MOST_BYTES {
        return Err(AuthorityError::NotAFile(path.to_owned()));
    }
    // SECURITY: room for everything at once, so that growing leaves no copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST_BYTES).unwrap_or(0) + 64));
    file.take(MOST_BYTES).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

/// Whether others may read or change a file of this mode and owner that is read by the user `own`.
///
/// A file of root's may be readable by the group of a user who is not root: there is no other way to hand one over
/// where only root can write, as on a volume of Kubernetes.
const fn is_exposed(mode: u32, owner: u32, own: u32) -> bool {
    let allowed = if owner == 0 && own != 0 { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_read_a_key_but_a_group_may_read_one_of_roots() {
        for (mode, owner, own, exposed) in [
            (0o600, 1000, 1000, false),
            (0o400, 0, 0, false),
            (0o640, 1000, 1000, true),
            (0o604, 1000, 1000, true),
            (0o640, 0, 0, true),
            (0o440, 0, 1000, false),
            (0o460, 0, 1000, true),
            (0o444, 0, 1000, true),
        ] {
            assert_eq!(is_exposed(mode, owner, own), exposed, "{mode:o} of {owner} read by {own}");
        }
    }
}
