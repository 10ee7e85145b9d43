//! The closed vocabularies of a policy document: actions, modes, inspection, scopes.

use std::fmt;
use std::sync::Arc;

/// What a rule or a default does with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "proxy", derive(schemars::JsonSchema, serde::Serialize))]
pub enum Action {
    /// Let it pass.
    Allow,
    /// Refuse it.
    Deny,
}

/// The egress mode of a document, `policy.md` §2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "proxy", derive(schemars::JsonSchema, serde::Serialize))]
pub enum Mode {
    /// Only what the rules allow.
    Limited,
    /// Through a delegated network.
    VNet,
    /// Everything but what the rules deny.
    Unrestricted,
}

/// What of TLS is decrypted, `policy.md` §7; ordered from weakest to strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[cfg_attr(feature = "proxy", derive(schemars::JsonSchema, serde::Serialize))]
pub enum Inspection {
    /// Never decrypted.
    None,
    /// Decrypted where a `rules` entry names the host.
    #[default]
    Partial,
    /// Always decrypted; what is not HTTP passes.
    Legacy,
    /// Always decrypted; what is not HTTP is denied.
    Full,
}

/// Whether a document's Deny is carried out or only recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "proxy", derive(schemars::JsonSchema, serde::Serialize))]
pub enum Enforcement {
    /// Carried out.
    #[default]
    Enforce,
    /// Recorded as `would_deny`; the call goes on.
    Report,
}

/// Whom a document applies to. The order is the order of application: Global, Group, Sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every sandbox.
    Global,
    /// Every sandbox of the group of this name.
    Group(Arc<str>),
    /// One sandbox; its group where the document names one.
    Sandbox {
        /// The group that the document says the sandbox is in.
        group: Option<Arc<str>>,
        /// The sandbox's id.
        sandbox: Arc<str>,
    },
}

impl Scope {
    /// The kind of scope as audit records write it: `Global`, `Group` or `Sandbox`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Global => "Global",
            Self::Group(_) => "Group",
            Self::Sandbox { .. } => "Sandbox",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("Global"),
            Self::Group(group) => write!(f, "Group {group}"),
            Self::Sandbox { sandbox, .. } => write!(f, "Sandbox {sandbox}"),
        }
    }
}
