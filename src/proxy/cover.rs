//! Keeps the values of secrets that went with a request out of its answer (threat S4).

use std::fmt;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::refusal::Refusal;
use crate::policy::document::Scrub;
use crate::policy::{Denial, Reason};
use crate::secrets::{Mask, Revealed, Scrubber};

/// What keeps values out of one answer.
pub(super) struct Cover {
    values: Vec<(Scrub, Revealed)>,
    /// Finds all of them.
    mask: Mask,
}

impl fmt::Debug for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cover").finish_non_exhaustive()
    }
}

impl Cover {
    /// Keeps out these, each in the bodies that it says.
    pub(super) fn new(values: Vec<(Scrub, Revealed)>) -> Self {
        let mask = Mask::new(values.iter().map(|(_, value)| value));
        Self { values, mask }
    }

    /// Whether some bodies are searched.
    pub(super) fn reads_bodies(&self) -> bool {
        self.values.iter().any(|(scrub, _)| *scrub != Scrub::Never)
    }

    /// Masks the values in headers or trailers; a header that has one in its name goes.
    pub(super) fn fields(&self, fields: &mut HeaderMap) {
        let shows = |name: &&HeaderName| self.mask.text(name.as_str().as_bytes()).is_some();
        let named: Vec<HeaderName> = fields.keys().filter(shows).cloned().collect();
        for name in named {
            fields.remove(name);
        }
        for value in fields.values_mut() {
            if let Some(masked) = self.mask.header(value) {
                *value = masked;
            }
        }
    }

    /// What masks the body of an answer with these headers; nothing where it is not searched.
    ///
    /// # Errors
    /// It is encoded, and cannot be searched.
    pub(super) fn body(&self, headers: &HeaderMap) -> Result<Option<Scrubber>, Refusal> {
        let text = is_text(headers);
        let searched = |scrub: Scrub| scrub == Scrub::Always || scrub == Scrub::Text && text;
        let values: Vec<&Revealed> =
            self.values.iter().filter(|(scrub, _)| searched(*scrub)).map(|(_, value)| value).collect();
        if values.is_empty() {
            return Ok(None);
        }
        let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
        if !headers.get_all(CONTENT_ENCODING).iter().all(plain) {
            let detail = "the origin encoded its answer though it was asked not to, so that it cannot be searched for the \
                          secret that went there; `scrub: Never` of the secret lets it pass";
            return Err(Denial::new(Reason::UpstreamFailed, detail).into());
        }
        let mask = if values.len() == self.values.len() { self.mask.clone() } else { Mask::new(values) };
        Ok(Some(mask.stream()))
    }
}

/// Whether a body is text by any of its types, or does not say what it is.
fn is_text(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter().peekable();
    // SECURITY: which of several a client believes, nobody knows.
    kinds.peek().is_none() || kinds.any(is_kind_of_text)
}

/// Whether a type is one of text, or has text in its parts; one that cannot be read is.
fn is_kind_of_text(kind: &HeaderValue) -> bool {
    let Ok(kind) = kind.to_str() else { return true };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is = |texts: &[&str]| texts.iter().any(|text| kind.contains(text));
    ["text/", "message/", "multipart/"].iter().any(|family| kind.starts_with(family))
        || kind.is_empty()
        || is(&[
            "json",
            "xml",
            "javascript",
            "ecmascript",
            "yaml",
            "urlencoded",
            "graphql",
            "toml",
            "csv",
            "sql",
        ])
}
