//! Values that must not be seen: read once, held in [`SecretString`](secrecy::SecretString), never
//! printed. No error of this module carries a value or a part of one.

pub mod placeholder;
pub mod scrub;
pub mod source;
pub mod value;

pub use scrub::{Mask, Scrubber};
pub use source::{SecretError, Source};
pub use value::Revealed;
