//! The outward side: names become addresses, permitted addresses become connections.

pub mod answer;
pub mod dial;
mod dial_error;
mod fetch;
#[cfg(feature = "oracle")]
pub mod fuzzed;
mod health;
pub mod local;
mod netlink;
pub mod options;
mod own;
pub mod parent;
mod port;
pub mod resolve;
mod runtime;
mod slot;
mod table;
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
pub use options::{Mark, OptionError, SocketOptions, Sources};
pub use parent::Parent;
pub use resolve::{DnsSettings, Resolution, ResolveError, Resolver, SetupError};
pub use tls::{Alpn, Negotiated, RootsError, Tls, TlsError, TlsSettings};
pub use uplink::{LookUpFailure, Uplink, Uplinks};
