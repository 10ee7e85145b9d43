//! What becomes of a request that may be sent: edits of its headers, in their order, and where it goes instead.
//!
//! Values are texts of the policy, or the names of secrets. What a secret's value is, nobody here knows.

use std::fmt;
use std::sync::Arc;

use super::decision::TargetPermit;
use super::document::secret::{KeySource, Scrub};
use crate::addr::Target;

/// Edits of a request's headers, in the order in which they are made: the Sandbox's, the Group's, the Global ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    edits: Vec<Edit>,
}

/// One edit of one header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The header's name, in lower case.
    pub name: Arc<str>,
    /// What happens to it.
    pub change: Change,
}

/// What happens to a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This value takes the place of all that are there.
    Set(EditValue),
    /// This value is added where there is none.
    ///
    /// SECURITY: whatever a client sent in the header of a secret is dropped first, so that this is a `Set` then.
    Insert(EditValue),
    /// All that are there go.
    Remove,
}

/// The value that a header gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditValue {
    /// A text of the policy.
    Text(Arc<str>),
    /// A secret's, which somebody else must look up.
    Secret(SecretUse),
}

/// One use of a secret, toward a host that it may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    /// What it is called in records: `id/key`, or the resource of a managed identity.
    pub name: Arc<str>,
    /// Where its value comes from.
    pub source: Arc<KeySource>,
    /// What is written around it.
    pub format: Format,
    /// Where responses are searched for it.
    pub scrub: Scrub,
}

/// A text with a place for a value, as `Bearer {value}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Arc<str>);

/// Where the value stands in a [`Format`].
pub(super) const PLACE: &str = "{value}";

impl Format {
    /// A format; `None` unless the text has `{value}` in it exactly once.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.matches(PLACE).count() == 1).then(|| Self(text.into()))
    }

    /// What stands before the value and what behind it.
    #[must_use]
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once(PLACE).unwrap_or((&self.0, ""))
    }
}

impl Default for Format {
    /// The value alone.
    fn default() -> Self {
        Self(PLACE.into())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Plan {
    /// These edits, in this order.
    #[must_use]
    pub const fn new(edits: Vec<Edit>) -> Self {
        Self { edits }
    }

    /// The edits, in the order in which they are made.
    #[must_use]
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Whether nothing is edited.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The secrets whose values it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretUse> {
        self.edits.iter().filter_map(|edit| match &edit.change {
            Change::Set(EditValue::Secret(used)) | Change::Insert(EditValue::Secret(used)) => Some(used),
            Change::Set(EditValue::Text(_)) | Change::Insert(EditValue::Text(_)) | Change::Remove => None,
        })
    }
}

impl fmt::Display for Edit {
    /// What happens to the header, without its value: `Set authorization`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match self.change {
            Change::Set(_) => "Set",
            Change::Insert(_) => "Insert",
            Change::Remove => "Remove",
        };
        write!(f, "{operation} {}", self.name)
    }
}

/// Where a request goes instead of where it asked to, judged as a question of its own.
#[derive(Debug)]
pub struct Rewritten {
    /// The permit of the new target: its addresses are judged by it.
    pub permit: TargetPermit,
    /// The new path, in canonical form; the query stays. None: the path stays.
    pub path: Option<Arc<str>>,
    /// Whether it is sent over TLS.
    pub secure: bool,
}

/// Where a request goes instead of where it asked to, to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The new target.
    pub target: Target,
    /// The canonical path there.
    pub path: Arc<str>,
    /// Whether it goes over TLS.
    pub secure: bool,
}

impl Rewritten {
    /// Where it goes, of a request for `path`.
    #[must_use]
    pub fn elsewhere(&self, path: &str) -> Elsewhere {
        let Self { permit, path: new, secure } = self;
        let path = new.clone().unwrap_or_else(|| path.into());
        Elsewhere { target: permit.target.clone(), path, secure: *secure }
    }

    /// Where it goes, of a request for `path`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.permit.target, self.path.as_deref().unwrap_or(path))
    }
}
