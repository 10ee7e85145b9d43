//! Why an origin could not be verified, in words for its client and for records.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why there is no verified TLS with an origin.
///
/// SECURITY: no text of the origin is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Nothing came in time.
    #[error("the origin did not finish the TLS handshake in time")]
    Timeout,
    /// The certificate is of the past.
    #[error("the origin's certificate has expired")]
    Expired,
    /// The certificate is of the future.
    #[error("the origin's certificate is not valid yet")]
    NotYetValid,
    /// Nobody who is trusted vouches for it.
    #[error("the origin's certificate is not signed by an authority that the gateway trusts")]
    UnknownIssuer,
    /// It is somebody else's.
    #[error("the origin's certificate is for another name")]
    WrongName,
    /// It was taken back.
    #[error("the origin's certificate was revoked")]
    Revoked,
    /// It is not for servers.
    #[error("the origin's certificate is not for a TLS server")]
    WrongPurpose,
    /// It is signed with something that is not supported, or wrongly.
    #[error("a signature of the origin's certificate or handshake does not hold")]
    Signature,
    /// It cannot be read.
    #[error("the origin's certificate is malformed")]
    Malformed,
    /// Any other fault of the certificate.
    #[error("the origin's certificate is not acceptable")]
    Certificate,
    /// The origin said no.
    #[error("the origin refused the TLS handshake ({0:?})")]
    Refused(AlertDescription),
    /// Both sides have no version, cipher suite or key exchange in common.
    #[error("the origin has no TLS version, cipher suite or key exchange that the gateway supports")]
    Incompatible,
    /// What came is not TLS.
    #[error("the origin does not answer with TLS")]
    NotTls,
    /// What came breaks the protocol.
    #[error("the origin breaks the TLS protocol")]
    Misbehaved,
    /// The connection ended.
    #[error("the connection to the origin ended during the TLS handshake ({0})")]
    Closed(io::ErrorKind),
    /// No certificate can be for this host.
    #[error("no certificate can be for this host")]
    Nameless,
    /// Nobody is trusted.
    #[error("the gateway trusts no authority: neither the system nor `intercept.upstreamRoots` names one")]
    Trustless,
}

impl TlsError {
    /// What a failed handshake means.
    pub(super) fn of(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        match tls {
            None => Self::Closed(error.kind()),
            Some(Error::InvalidCertificate(error)) => certificate(error),
            Some(Error::NoCertificatesPresented) => Self::Certificate,
            Some(Error::UnsupportedNameType) => Self::Nameless,
            Some(Error::AlertReceived(alert)) => Self::Refused(*alert),
            Some(Error::PeerIncompatible(_)) => Self::Incompatible,
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(_) => Self::Misbehaved,
        }
    }

    /// Whether it only took too long.
    #[must_use]
    pub const fn is_timeout(self) -> bool {
        matches!(self, Self::Timeout)
    }
}

/// What is wrong with a certificate.
#[expect(clippy::wildcard_enum_match_arm, reason = "the list of rustls is open")]
fn certificate(error: &CertificateError) -> TlsError {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsError::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsError::NotYetValid,
        CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsError::WrongName
        }
        CertificateError::Revoked => TlsError::Revoked,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            TlsError::WrongPurpose
        }
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => TlsError::Signature,
        CertificateError::BadEncoding => TlsError::Malformed,
        _ => TlsError::Certificate,
    }
}
