//! The authority of sandboxes (the sandbox CA), and the certificates that it makes.
//!
//! | what | where |
//! |---|---|
//! | the certificate and key of the configuration, checked | `authority`, `certificate` |
//! | the names that the authority may sign for | `constraint` |
//! | a certificate for one host, made when it is needed | `leaf`, `mint` |
//! | a new authority (`ca init`) | `create` |
//! | how clients are made to trust it (`ca export`) | `trust` |

pub mod authority;
mod certificate;
mod constraint;
pub mod create;
mod error;
pub mod leaf;
mod mint;
pub mod trust;

pub use authority::{Authority, AuthorityError, Settings};
pub use leaf::LeafError;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]
mod tests;
