//! Why there is no authority, or no certificate.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::addr::Host;

/// Why the sandbox CA cannot be used. Names files, never what a key file holds.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// A file could not be opened or read.
    #[error("cannot read `{path}`: {reason}; check the path and its permissions")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// A path leads to a directory, a pipe or a device, or to far more bytes than a certificate has.
    #[error("`{0}` is not a file with one certificate or key")]
    NotAFile(PathBuf),
    /// Others than the owner may read or replace the key.
    #[error(
        "the key `{path}` has mode {mode:04o}, so others may read or change it, and make certificates that sandboxes \
         trust; run `chmod 600 {path}`"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file has no certificate.
    #[error("`{0}` has no certificate in PEM; `sluicegate ca init DIR` makes one")]
    NoCertificate(PathBuf),
    /// The file has several certificates.
    #[error("`{path}` has {count} certificates; leave only the one that signs")]
    Several {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The certificate cannot be read.
    #[error("the certificate `{path}` cannot be read: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The certificate is not that of an authority, or not of one that may sign for servers.
    #[error(
        "the certificate `{path}` may not sign certificates of servers: {problem}; `sluicegate ca init DIR` makes one that may"
    )]
    NotAnAuthority {
        /// The file.
        path: PathBuf,
        /// What keeps it from that.
        problem: &'static str,
    },
    /// The certificate is from the future.
    #[error("the certificate `{path}` is valid from {from} only; check the clock")]
    NotYet {
        /// The file.
        path: PathBuf,
        /// When it begins.
        from: String,
    },
    /// The certificate has ended.
    #[error(
        "the certificate `{path}` ended on {end}; `sluicegate ca init DIR` makes another, which clients must then trust"
    )]
    Expired {
        /// The file.
        path: PathBuf,
        /// When it ended.
        end: String,
    },
    /// The key file has no key.
    #[error("`{0}` has no private key in PEM")]
    NoKey(PathBuf),
    /// The key has a passphrase.
    #[error("the key `{0}` is encrypted; write it without a passphrase, with mode 0600")]
    Encrypted(PathBuf),
    /// The key is of a kind that is not used.
    #[error("the key `{0}` is none of ECDSA P-256, ECDSA P-384 and RSA of 2048 bits or more")]
    KeyKind(PathBuf),
    /// Certificate and key do not belong together.
    #[error("the key `{key}` is not the key of the certificate `{certificate}`")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A library refuses what it is given.
    #[error("the sandbox CA cannot be set up: {0}")]
    Own(String),
}

/// Why there is no certificate for a host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LeafError {
    /// The sandbox CA may not sign for it.
    #[error("the name constraints of the sandbox CA leave out {0}: no client would believe the certificate")]
    Constrained(Host),
    /// The sandbox CA has ended, or has not begun.
    #[error("the sandbox CA is not valid at this time")]
    Expired,
    /// The caller may not have another one made.
    #[error("too many certificates for new names")]
    Refused,
    /// The certificate could not be made.
    #[error("no certificate could be made: {0}")]
    Own(Arc<str>),
}
