//! The value of a secret while it is in use.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

/// The value of a secret. Clones share it; the memory is overwritten when the last one goes.
///
/// SECURITY: it cannot be shown, compared or written by accident: there is only [`Revealed::expose`].
#[derive(Clone)]
pub struct Revealed(Arc<Zeroizing<Box<[u8]>>>);

impl Revealed {
    /// Copies a value, whose own memory is for the caller to overwrite.
    #[must_use]
    pub fn new(value: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(Box::from(value))))
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revealed(…)")
    }
}
