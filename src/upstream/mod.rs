//! The outward side: names become addresses, permitted addresses become connections.

pub mod answer;
pub mod dial;
mod fetch;
pub mod local;
mod own;
pub mod resolve;
mod slot;
pub mod tls;
mod tls_error;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tls_kit;
pub mod uplink;

pub use answer::Answer;
pub use dial::{DialError, DialFailure, DialSettings, Dialed};
pub use fetch::Fetcher;
pub use local::OwnAddresses;
pub use resolve::{DnsSettings, Resolution, ResolveError, Resolver, SetupError};
pub use tls::{Alpn, Negotiated, RootsError, Tls, TlsError, TlsSettings};
pub use uplink::{Uplink, Uplinks};
