//! The certificate of an authority, and whether it is one.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;

use super::constraint::Constraints;
use super::error::AuthorityError;

/// The most bytes of a file with a certificate or a key.
pub(super) const MOST_BYTES: u64 = 64 * 1024;

/// The certificate of an authority.
#[derive(Debug)]
pub(super) struct Certificate {
    /// It, encoded.
    pub(super) der: CertificateDer<'static>,
    /// Its public key, encoded (`SubjectPublicKeyInfo`).
    pub(super) public_key: Box<[u8]>,
    /// Its subject, encoded.
    pub(super) subject: Box<[u8]>,
    /// Whether it says that it made itself.
    pub(super) is_root: bool,
    /// When it begins.
    pub(super) begin: OffsetDateTime,
    /// When it ends.
    pub(super) end: OffsetDateTime,
    /// What it may sign for.
    pub(super) constraints: Constraints,
}

impl Certificate {
    /// Reads the one certificate of a file. Its dates are not looked at.
    ///
    /// # Errors
    /// The first thing that keeps it from signing certificates of servers.
    pub(super) fn read(path: &Path) -> Result<Self, AuthorityError> {
        let malformed = |problem| AuthorityError::Malformed { path: path.to_owned(), problem };
        let unfit = |problem| AuthorityError::NotAnAuthority { path: path.to_owned(), problem };
        let der = only(path)?;
        let (rest, parsed) =
            X509Certificate::from_der(&der).map_err(|_| malformed("it is no X.509 certificate"))?;
        if !rest.is_empty() {
            return Err(malformed("something follows it"));
        }
        // A subject with several values in one part would be written otherwise in what it signs.
        if parsed.subject().iter().any(|part| part.iter().count() != 1) {
            return Err(malformed("a part of its subject has several values"));
        }
        let constraints = judge(&parsed).map_err(unfit)?;
        let read = Self {
            public_key: parsed.public_key().raw.into(),
            subject: parsed.subject().as_raw().into(),
            is_root: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            begin: parsed.validity().not_before.to_datetime(),
            end: parsed.validity().not_after.to_datetime(),
            constraints,
            der: der.clone(),
        };
        Ok(read)
    }

    /// Whether it is valid at a time.
    ///
    /// # Errors
    /// It has ended, or not begun.
    pub(super) fn check_time(&self, path: &Path, now: OffsetDateTime) -> Result<(), AuthorityError> {
        let path = path.to_owned();
        if now < self.begin {
            return Err(AuthorityError::NotYet { path, from: day(self.begin) });
        }
        if now >= self.end {
            return Err(AuthorityError::Expired { path, end: day(self.end) });
        }
        Ok(())
    }
}

/// A date for people.
pub(super) fn day(time: OffsetDateTime) -> String {
    let date = time.date();
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// The one certificate in a file.
fn only(path: &Path) -> Result<CertificateDer<'static>, AuthorityError> {
    let failed = |reason| AuthorityError::Read { path: path.to_owned(), reason };
    // Asked before opening: opening a pipe would wait for its writer.
    let facts = std::fs::metadata(path).map_err(failed)?;
    if !facts.is_file() || facts.len() > MOST_BYTES {
        return Err(AuthorityError::NotAFile(path.to_owned()));
    }
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text)).map_err(failed)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let mut found = found
        .map_err(|_| AuthorityError::Malformed { path: path.to_owned(), problem: "it is no good PEM" })?;
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (Some(_), others) => Err(AuthorityError::Several { path: path.to_owned(), count: others + 1 }),
        (None, _) => Err(AuthorityError::NoCertificate(path.to_owned())),
    }
}

/// What a certificate may sign for, or why it may sign for no server (RFC 5280 §4.2.1).
fn judge(parsed: &X509Certificate<'_>) -> Result<Constraints, &'static str> {
    let (mut is_authority, mut constraints) = (false, Constraints::default());
    for extension in parsed.extensions() {
        let read = extension.parsed_extension();
        if read.error().is_some() {
            return Err("an extension of it cannot be read");
        }
        if extension.critical && (read.unsupported() || matches!(read, ParsedExtension::Unparsed)) {
            return Err("it has a critical extension that is not known here");
        }
        if let ParsedExtension::BasicConstraints(basic) = read {
            is_authority = basic.ca;
        } else if let ParsedExtension::KeyUsage(usage) = read
            && !usage.key_cert_sign()
        {
            return Err("its key usage leaves out the signing of certificates (keyCertSign)");
        } else if let ParsedExtension::ExtendedKeyUsage(usage) = read
            && !usage.any
            && !usage.server_auth
        {
            return Err("its extended key usage leaves out servers (serverAuth)");
        } else if let ParsedExtension::NameConstraints(written) = read {
            constraints = Constraints::read(written).ok_or("its name constraints cannot be read")?;
        }
    }
    if is_authority { Ok(constraints) } else { Err("it is no authority (CA:TRUE)") }
}
