//! The outward side: names become addresses, permitted addresses become connections.

pub mod answer;
pub mod dial;
pub mod local;
pub mod resolve;
mod slot;

pub use answer::Answer;
pub use dial::{DialError, DialFailure, DialSettings, Dialed, dial};
pub use local::OwnAddresses;
pub use resolve::{DnsSettings, Resolution, ResolveError, Resolver, SetupError};
