//! What a `Transform` or `Rewrite` does to a request, as written: references are names here, and nothing is looked up.

use std::sync::Arc;

use super::secret::KeySource;
use crate::policy::pattern::{Pattern, PatternKind};
use crate::policy::plan::Format;
use crate::source::Place;

/// What a `Transform` or `Rewrite` does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What happens to headers, in order.
    pub edits: Vec<HeaderEdit>,
    /// Where a `Rewrite` sends it.
    pub place: Option<NewPlace>,
}

/// One header operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderEdit {
    /// The header, in lower case.
    pub name: Arc<str>,
    /// What happens to it.
    pub change: HeaderChange,
}

/// What happens to a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderChange {
    /// All its values are replaced.
    Set(HeaderValue),
    /// It is added where it is absent.
    Insert(HeaderValue),
    /// It is taken away.
    Remove,
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// A text.
    Text(Arc<str>),
    /// A key of a `Secret` document.
    Secret(SecretRef),
    /// A token of an identity that the platform gave.
    Identity(IdentityRef),
}

/// A `secretRef`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRef {
    /// The secret.
    pub id: Arc<str>,
    /// Its key; None: the only one that it has.
    pub key: Option<Arc<str>>,
    /// What is written around the value.
    pub format: Format,
    /// Where it stands.
    pub place: Place,
}

/// A `managedIdentityRef`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRef {
    /// The resource, which is its name in records.
    pub resource: Arc<str>,
    /// Where its value comes from.
    pub source: Arc<KeySource>,
    /// What is written around the value.
    pub format: Format,
}

/// Where a `Rewrite` sends a request; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewPlace {
    /// One host, and a port if it is not to be the one of the scheme.
    pub host: Option<Pattern>,
    /// The path in canonical form.
    pub path: Option<Arc<str>>,
    /// Whether it is sent over TLS.
    pub secure: Option<bool>,
}

impl Changes {
    /// The secrets that it refers to.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        self.values().filter_map(|value| match value {
            HeaderValue::Secret(secret) => Some(secret),
            HeaderValue::Text(_) | HeaderValue::Identity(_) => None,
        })
    }

    /// Whether some value of it is not written in the document.
    pub(super) fn has_references(&self) -> bool {
        self.values().any(|value| !matches!(value, HeaderValue::Text(_)))
    }

    /// Whether a token of an identity is one of its values.
    pub(super) fn has_identities(&self) -> bool {
        self.values().any(|value| matches!(value, HeaderValue::Identity(_)))
    }

    /// The one host that a request ends at which a rule for `host` lets pass with these changes, if there is one.
    pub(crate) fn home<'a>(&'a self, host: &'a Pattern) -> Option<&'a Pattern> {
        let last = self.place.as_ref().and_then(|place| place.host.as_ref()).unwrap_or(host);
        matches!(last.kind(), PatternKind::Exact(_) | PatternKind::Ip(_)).then_some(last)
    }

    /// The values.
    fn values(&self) -> impl Iterator<Item = &HeaderValue> {
        self.edits.iter().filter_map(|edit| match &edit.change {
            HeaderChange::Set(value) | HeaderChange::Insert(value) => Some(value),
            HeaderChange::Remove => None,
        })
    }
}
