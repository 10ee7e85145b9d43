//! The outward side: names become addresses, permitted addresses become connections.

pub mod answer;
pub mod dial;
pub mod local;
pub mod resolve;
mod slot;
pub mod tls;
mod tls_error;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tls_kit;

pub use answer::Answer;
pub use dial::{DialError, DialFailure, DialSettings, Dialed, dial};
pub use local::OwnAddresses;
pub use resolve::{DnsSettings, Resolution, ResolveError, Resolver, SetupError};
pub use tls::{Alpn, Negotiated, RootsError, Tls, TlsError, TlsSettings};
