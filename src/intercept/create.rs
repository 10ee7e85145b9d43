//! A new sandbox CA.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber,
};
use thiserror::Error;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::authority::Settings;
use crate::addr::{HostError, Name};

/// The longest that a new authority is valid, in days.
pub const MOST_DAYS: u32 = 7300;

/// Why there is no new authority.
#[derive(Debug, Error)]
pub enum CreateError {
    /// There is one already.
    #[error("`{0}` is there already, and nothing is overwritten; choose another directory, or move it away")]
    Exists(PathBuf),
    /// A file or directory could not be made.
    #[error("cannot write `{path}`: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// A suffix is no name.
    #[error("`{text}` cannot constrain names: {reason}; write it as example.com")]
    Constraint {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: HostError,
    },
    /// The certificate cannot be made.
    #[error("the certificate cannot be made: {0}")]
    Own(String),
}

/// The names that a new authority may sign for.
///
/// # Errors
/// A text is no name.
pub fn suffixes(texts: &[String]) -> Result<Vec<Name>, CreateError> {
    let name = |text: &String| {
        Name::parse(text).map_err(|reason| CreateError::Constraint { text: text.clone(), reason })
    };
    texts.iter().map(name).collect()
}

/// Makes a new authority in a directory, as `ca.pem` and `ca-key.pem`; says where they are.
///
/// With `suffixes` it can sign for these names and those below them, and for no address; clients refuse all else.
///
/// # Errors
/// One of the files is there already, or cannot be written.
pub fn create(directory: &Path, suffixes: &[Name], days: u32) -> Result<Settings, CreateError> {
    let settings = Settings { certificate: directory.join("ca.pem"), key: directory.join("ca-key.pem") };
    let failed = |path: &Path| {
        let path = path.to_owned();
        |reason: io::Error| {
            if reason.kind() == io::ErrorKind::AlreadyExists {
                CreateError::Exists(path)
            } else {
                CreateError::Write { path, reason }
            }
        }
    };
    for path in [&settings.certificate, &settings.key] {
        // Also where a link leads nowhere.
        if fs::symlink_metadata(path).is_ok() {
            return Err(CreateError::Exists(path.clone()));
        }
    }
    let own = |error: rcgen::Error| CreateError::Own(error.to_string());
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(own)?;
    let certificate = params(suffixes, days)?.self_signed(&key).map_err(own)?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed(directory))?;
    write_new(&settings.key, 0o600, Zeroizing::new(key.serialize_pem()).as_bytes())
        .map_err(failed(&settings.key))?;
    let written = write_new(&settings.certificate, 0o644, certificate.pem().as_bytes());
    if written.is_err() {
        // A key without its certificate is of no use, and would be in the way of the next try. It was made here.
        let _ = fs::remove_file(&settings.key);
    }
    written.map_err(failed(&settings.certificate))?;
    Ok(settings)
}

/// What a new authority is.
fn params(suffixes: &[Name], days: u32) -> Result<CertificateParams, CreateError> {
    let random = |bytes: &mut [u8]| rand::fill(bytes).map_err(|error| CreateError::Own(error.to_string()));
    let (mut serial, mut label) = ([0; 16], [0; 4]);
    random(&mut serial)?;
    random(&mut label)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Sluicegate");
    // Two of them in one store are told apart.
    let common = format!("Sluicegate sandbox CA {:08x}", u32::from_be_bytes(label));
    params.distinguished_name.push(DnType::CommonName, common);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let now = OffsetDateTime::now_utc();
    // A client whose clock is slow.
    params.not_before = now - Duration::DAY;
    params.not_after = now + Duration::days(days.into());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if !suffixes.is_empty() {
        let name = |name: &Name| GeneralSubtree::DnsName(name.as_str().to_owned());
        // Permitted names say nothing about addresses (RFC 5280 §4.2.1.10).
        let every = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let net = |address| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, 0));
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: suffixes.iter().map(name).collect(),
            excluded_subtrees: every.into_iter().map(net).collect(),
        });
    }
    Ok(params)
}

/// Writes a file that was not there, with this mode from the start.
///
/// # Errors
/// It is there already, or cannot be written.
pub fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
