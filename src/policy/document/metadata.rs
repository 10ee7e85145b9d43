//! What a document is and whom it applies to: `apiVersion`, `kind`, `metadata`.

use std::sync::Arc;

use super::{API_VERSION, LONGEST_NAME};
use crate::policy::mode::Scope;
use crate::source::Spot;

/// The keys of a document with a kind.
pub(crate) const DOCUMENT_KEYS: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
/// The keys of a policy's `metadata`.
pub(crate) const METADATA_KEYS: [&str; 5] = ["name", "scope", "group", "sandbox", "removed"];

/// The kinds of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Without a kind: the spec of a Global policy.
    Bare,
    /// A policy.
    Policy,
    /// A secret.
    Secret,
    /// A category list.
    List,
}

/// A policy's `metadata`.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// Its name.
    pub(super) name: Arc<str>,
    /// Whom it applies to.
    pub(super) scope: Scope,
    /// Whether it takes the policy of this scope away.
    pub(super) removed: bool,
}

/// The words for a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Every sandbox.
    Global,
    /// A group.
    Group,
    /// A sandbox.
    Sandbox,
}

/// The kind of a document, after its `apiVersion` was looked at.
pub(super) fn kind(spot: &Spot<'_>) -> Option<Kind> {
    let mut found = None;
    let mut version = None;
    let mut envelope = None;
    for (key, value) in spot.entries() {
        match key.text.as_ref() {
            "kind" => {
                let kinds =
                    [("EgressPolicy", Kind::Policy), ("Secret", Kind::Secret), ("CategoryList", Kind::List)];
                found = Some(value.choice(&kinds)?);
            }
            "apiVersion" => version = Some(value.choice(&[(API_VERSION, ())])),
            "metadata" | "spec" => envelope = Some(key.text.as_ref()),
            _ => {}
        }
    }
    if version == Some(None) {
        return None;
    }
    if found.is_none()
        && let Some(key) = envelope.or(version.map(|_| "apiVersion"))
    {
        spot.error_cure(format!("`{key}` without `kind`"), "add `kind: EgressPolicy`");
        return None;
    }
    Some(found.unwrap_or(Kind::Bare))
}

/// A policy's `metadata`; the scope follows from what is named, and an explicit one must fit that.
pub(super) fn decode(spot: &Spot<'_>) -> Option<About> {
    let fields = spot.fields(&METADATA_KEYS)?;
    let before = spot.decoder().errors();
    let name = fields.require("name").and_then(|spot| self::name(&spot));
    let group = fields.get("group").and_then(|spot| self::name(&spot));
    let sandbox = fields.get("sandbox").and_then(|spot| self::name(&spot));
    let removed = fields.get("removed").and_then(|spot| spot.boolean());
    let words = [("Global", Word::Global), ("Group", Word::Group), ("Sandbox", Word::Sandbox)];
    let explicit = fields.get("scope").map(|spot| (spot, spot.choice(&words)));
    if spot.decoder().errors() > before {
        return None;
    }
    let scope = match (sandbox, group) {
        (Some(sandbox), group) => Scope::Sandbox { group, sandbox },
        (None, Some(group)) => Scope::Group(group),
        (None, None) => Scope::Global,
    };
    if let Some((place, Some(word))) = explicit {
        fits(&place, word, &scope)?;
    }
    Some(About { name: name?, scope, removed: removed.unwrap_or(false) })
}

/// Whether an explicit scope fits what is named.
fn fits(spot: &Spot<'_>, word: Word, scope: &Scope) -> Option<()> {
    let (message, cure) = match (word, scope) {
        (Word::Global, Scope::Global)
        | (Word::Group, Scope::Group(_))
        | (Word::Sandbox, Scope::Sandbox { .. }) => {
            return Some(());
        }
        (Word::Global, Scope::Group(_) | Scope::Sandbox { .. }) => (
            "scope `Global` applies to every sandbox, but a group or sandbox is named",
            "remove `group` and `sandbox`, or change `scope`",
        ),
        (Word::Group, Scope::Sandbox { .. }) => {
            ("scope `Group`, but a sandbox is named", "remove `sandbox`, or write `scope: Sandbox`")
        }
        (Word::Group, Scope::Global) => ("scope `Group`, but no group is named", "add `group: …`"),
        (Word::Sandbox, Scope::Global | Scope::Group(_)) => {
            ("scope `Sandbox`, but no sandbox is named", "add `sandbox: …`")
        }
    };
    spot.error_cure(message, cure);
    None
}

/// A name: 1 to 128 characters, none of them a control character.
pub(super) fn name(spot: &Spot<'_>) -> Option<Arc<str>> {
    spot.word(LONGEST_NAME).map(Arc::from)
}
