//! Why a value cannot be had.

use std::path::PathBuf;
use std::sync::Arc;

use super::fetch::FetchError;
use super::source::SecretError;
use super::token::TokenError;
use super::value::Unfit;
use crate::addr::EndpointError;
use crate::policy::document::SecretSource;

/// Why the value of a secret cannot be had: where it should have come from, and what went wrong there.
///
/// SECURITY: no value and no part of one is in it. It names files, variables and services of the operator, so it is
/// for logs and records, not for a sandbox.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// A file or a variable cannot be read.
    #[error(transparent)]
    Source(#[from] Arc<SecretError>),
    /// Its value cannot be sent.
    #[error("the secret from {place} cannot be sent in a header: {fault}")]
    Unfit {
        /// The file or variable.
        place: Place,
        /// Why.
        fault: Unfit,
    },
    /// It is no private key.
    #[error("{place} has no RSA private key in PEM (PKCS #1 or PKCS #8, 2048 to 8192 bits)")]
    Key {
        /// The file or variable.
        place: Place,
    },
    /// No service is configured for managed identities.
    #[error(
        "no managed identity is configured; add `secrets: {{managedIdentity: {{endpoint: …}}}}` to the configuration"
    )]
    NoIdentity,
    /// The configured service knows one identity only.
    #[error(
        "a workload identity is one identity: remove `identityResourceId`, or configure `managedIdentity: {{endpoint: …}}`"
    )]
    OneIdentity,
    /// The URL of a service is none.
    #[error("`{url}` cannot be asked for a token: {fault}")]
    Url {
        /// The URL as written.
        url: Arc<str>,
        /// Why.
        fault: EndpointError,
    },
    /// The service gave no answer.
    #[error("{endpoint} cannot be asked for a token: {error}")]
    Fetch {
        /// The service.
        endpoint: Arc<str>,
        /// Why.
        error: FetchError,
    },
    /// The service gave no token.
    #[error("{endpoint} gave no token: {error}")]
    Token {
        /// The service.
        endpoint: Arc<str>,
        /// Why.
        error: TokenError,
    },
    /// It did not end in time.
    #[error("it could not be had within 15 seconds")]
    Slow,
    /// The gateway is stopping, or something went wrong within it.
    #[error("the gateway could not read it")]
    Internal,
}

/// A file or a variable, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file.
    File(PathBuf),
    /// A variable.
    Env(Arc<str>),
}

impl From<&SecretSource> for Place {
    fn from(source: &SecretSource) -> Self {
        match source {
            SecretSource::File(path) => Self::File(path.clone()),
            SecretSource::Env(name) => Self::Env(Arc::clone(name)),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::Env(name) => write!(f, "environment variable `{name}`"),
        }
    }
}
