//! Values that must not be seen: read where they are, or asked for from a service that gives them, kept while they are
//! good, overwritten when they go, and never printed. No error of this room carries a value or a part of one.

mod allowed;
pub mod fetch;
mod github;
mod given;
pub mod identity;
mod oauth;
pub mod placeholder;
pub mod scrub;
pub mod source;
mod store;
mod supply;
mod token;
mod unavailable;
pub mod value;

pub use allowed::Allowed;
pub use fetch::{Answer, Call, Fetch, FetchError};
pub use identity::Platform;
pub use scrub::{Mask, Scrubber};
pub use source::{SecretError, Source};
pub use store::Secrets;
pub use token::TokenError;
pub use unavailable::{Place, Unavailable};
pub use value::{Revealed, Unfit};
