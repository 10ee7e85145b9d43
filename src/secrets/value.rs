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

/// Why a value cannot be the value of a header, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It has no bytes.
    #[error("it is empty")]
    Empty,
    /// SECURITY: a line break in a header would begin another header.
    #[error("it has a line break or another control character; write it as one line of text")]
    Control,
    /// It has bytes beyond ASCII, which every origin reads in its own way.
    #[error("it has a character that is not ASCII; write it in base64, for example")]
    NotAscii,
}

/// Whether a value may stand in a header (RFC 9110 §5.5, without what is obsolete there).
///
/// # Errors
/// The first reason why it may not.
pub(super) fn fit(value: &[u8]) -> Result<(), Unfit> {
    if value.is_empty() {
        Err(Unfit::Empty)
    } else if !value.is_ascii() {
        Err(Unfit::NotAscii)
    } else if value.iter().any(u8::is_ascii_control) {
        Err(Unfit::Control)
    } else {
        Ok(())
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revealed(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_line_of_ascii_may_stand_in_a_header() {
        for good in ["a", "a b", "~!\"#{}", " a "] {
            assert_eq!(fit(good.as_bytes()), Ok(()), "{good:?}");
        }
        for byte in 0..=u8::MAX {
            let value = [b'a', byte, b'b'];
            let allowed = (b' '..=b'~').contains(&byte);
            assert_eq!(fit(&value).is_ok(), allowed, "{byte:#x}");
        }
        assert_eq!(fit(b""), Err(Unfit::Empty));
        assert_eq!(fit(b"a\r\nX-Admin: 1"), Err(Unfit::Control));
        assert_eq!(fit("schl\u{fc}ssel".as_bytes()), Err(Unfit::NotAscii));
    }

    #[test]
    fn s5_a_value_is_never_shown() {
        let shown = format!("{0:?} {0:#?}", Revealed::new(b"hunter2"));
        assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
    }
}
