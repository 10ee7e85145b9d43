//! What a load of policies widened, in `policy` records: one of each document that did, and a sum in that of the load.

use std::fmt;

use aws_lc_rs::digest;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::text::Text;

/// What became wider. In the record of a document, what; in the record of the load, how often.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Change {
    /// In one document.
    Document(DocumentChange),
    /// By one load.
    Load(LoadChange),
}

/// What became wider in one document.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DocumentChange {
    /// Who changed it.
    pub actor: Actor,
    /// SHA-256 of the text of the file that the version before came from; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub before: Option<Digest>,
    /// The same of the version in force; absent when the document was taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub after: Option<Digest>,
    /// A sentence for each thing, each with its place.
    pub widened: Vec<Text>,
}

/// How many documents a load widened.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct LoadChange {
    /// All of them.
    pub documents: usize,
    /// Those of them that have no record of their own.
    pub unrecorded: usize,
}

/// Who changed a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Actor {
    /// Whoever wrote this file.
    File {
        /// The file.
        name: Text,
    },
    /// Whoever wrote the process configuration: its list of sandboxes is another one.
    Configuration,
}

/// SHA-256 of the text of a file, as `sha256sum` has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; digest::SHA256_OUTPUT_LEN]);

impl Digest {
    /// The digest of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut own = Self([0; digest::SHA256_OUTPUT_LEN]);
        for (byte, found) in own.0.iter_mut().zip(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()) {
            *byte = *found;
        }
        own
    }
}

impl fmt::Display for Digest {
    /// In hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn a_change_is_written_as_the_manual_says() {
        let widened = vec![Text::new("`a.test` is allowed by hostRules[0] (p.yaml:1:2)")];
        let actor = Actor::File { name: Text::new("policies/a.yaml") };
        let change = DocumentChange { actor, before: None, after: Some(Digest::of("abc")), widened };
        let written = json!({
            "actor": {"kind": "file", "name": "policies/a.yaml"},
            "after": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "widened": ["`a.test` is allowed by hostRules[0] (p.yaml:1:2)"],
        });
        assert_eq!(to_value(Change::Document(change)).unwrap(), written);
        let load = Change::Load(LoadChange { documents: 120, unrecorded: 20 });
        assert_eq!(to_value(load).unwrap(), json!({"documents": 120, "unrecorded": 20}));
        assert_eq!(to_value(Actor::Configuration).unwrap(), json!({"kind": "configuration"}));
    }
}
