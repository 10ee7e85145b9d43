//! How a certificate is made.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::certificate::Certificate;
use super::error::{AuthorityError, LeafError};
use crate::addr::{Host, Name};

/// How long before it is made a certificate begins, for clients whose clocks are slow.
const BEFORE: Duration = Duration::HOUR;
/// How long after it is made a certificate ends at the latest; with [`BEFORE`], a day.
const AFTER: Duration = Duration::hours(23);

/// What makes certificates: the authority's certificate and key, and the one key of all leaves.
pub(super) struct Mint {
    /// Who signs.
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate.
    authority: Certificate,
    /// The key of every leaf, made for this process and never written.
    key: KeyPair,
    /// The same, to shake hands with.
    signer: Arc<dyn SigningKey>,
}

/// A certificate that was made.
pub(super) struct Minted {
    /// It, with its key.
    pub(super) certified: CertifiedKey,
    /// When it begins.
    pub(super) begin: OffsetDateTime,
    /// When it ends.
    pub(super) end: OffsetDateTime,
}

impl Mint {
    /// Sets up signing with the key of an authority's certificate.
    ///
    /// # Errors
    /// A library refuses the certificate, or no key can be made.
    pub(super) fn new(authority: Certificate, signs: KeyPair) -> Result<Self, AuthorityError> {
        let own = |error: rcgen::Error| AuthorityError::Own(error.to_string());
        let issuer = Issuer::from_ca_cert_der(&authority.der, signs).map_err(own)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(own)?;
        let encoded = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = any_ecdsa_type(&encoded).map_err(|error| AuthorityError::Own(error.to_string()))?;
        Ok(Self { issuer, authority, key, signer })
    }

    /// Makes a certificate and looks whether clients will find the authority by it.
    ///
    /// # Errors
    /// The name of the authority cannot be written as it is in its certificate.
    pub(super) fn check(&self, path: &Path, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let name = Name::parse("check.invalid").map_err(|error| AuthorityError::Own(error.to_string()))?;
        let (der, _, _) =
            self.sign(&Host::Name(name), now).map_err(|error| AuthorityError::Own(error.to_string()))?;
        let issuer = X509Certificate::from_der(&der)
            .map(|(_, made)| made.issuer().as_raw() == &*self.authority.subject);
        if matches!(issuer, Ok(true)) {
            return Ok(());
        }
        let problem = "its subject has two parts of one kind (such as DC=example, DC=com), which cannot be written again";
        Err(AuthorityError::Malformed { path: path.to_owned(), problem })
    }

    /// When the authority ends.
    pub(super) const fn end(&self) -> OffsetDateTime {
        self.authority.end
    }

    /// Makes a certificate for a host.
    ///
    /// # Errors
    /// Clients would not believe it, or it cannot be made.
    pub(super) fn mint(&self, host: &Host, now: OffsetDateTime) -> Result<Minted, LeafError> {
        if now < self.authority.begin || now >= self.authority.end {
            return Err(LeafError::Expired);
        }
        if !self.authority.constraints.permit(host) {
            return Err(LeafError::Constrained(host.clone()));
        }
        let (der, begin, end) = self.sign(host, now)?;
        let mut chain = vec![der];
        if !self.authority.is_root {
            // Clients may trust only the one who made it.
            chain.push(self.authority.der.clone());
        }
        Ok(Minted { certified: CertifiedKey::new(chain, Arc::clone(&self.signer)), begin, end })
    }

    /// Signs a certificate for a host: what it is, when it begins and ends.
    fn sign(
        &self,
        host: &Host,
        now: OffsetDateTime,
    ) -> Result<(CertificateDer<'static>, OffsetDateTime, OffsetDateTime), LeafError> {
        let own = |error: &dyn std::fmt::Display| LeafError::Own(error.to_string().into());
        let mut params = CertificateParams::default();
        // The host stands in the alternative names alone, as it may be longer than a common name can be (64 bytes); with
        // an empty subject that extension is critical (RFC 5280 §4.2.1.6).
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![match host {
            Host::Name(name) => {
                SanType::DnsName(Ia5String::try_from(name.as_str()).map_err(|error| own(&error))?)
            }
            Host::Ip(address) => SanType::IpAddress(*address),
        }];
        params.not_before = now - BEFORE;
        params.not_after = (now + AFTER).min(self.authority.end);
        let mut serial = [0; 16];
        rand::fill(&mut serial).map_err(|error| own(&error))?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let made = params.signed_by(&self.key, &self.issuer).map_err(|error| own(&error))?;
        // Encoding leaves room behind, which would stay as long as the certificate.
        let der = CertificateDer::from(made.der().to_vec());
        Ok((der, params.not_before, params.not_after))
    }
}
