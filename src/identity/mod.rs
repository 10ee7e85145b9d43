//! Which sandbox is this client.
//!
//! Signs, strongest first: the listener's own sandbox, the source address, a token. Every sign that
//! is shown must lead to the same sandbox, and a sandbox with `sources` needs one of them.
//!
//! | listener | source | token | answer |
//! |---|---|---|---|
//! | (no sandboxes listed) | any | any | sandbox `default` |
//! | a | of a, or unknown while a has no `sources` | none | a |
//! | a | of b, or unknown while a has `sources` | any | conflict |
//! | none | of a | none, or of a | a |
//! | none | of a | of b, wrong or malformed | conflict |
//! | none | unknown | of a, which has no `sources` | a |
//! | none | unknown | of a, which has `sources` | unknown |
//! | none | unknown | none, wrong or malformed | unknown; 407 where a token could help |

pub mod registry;
pub mod source;
pub mod token;

use std::sync::Arc;

pub use registry::{Registry, SandboxSettings, Settings, SettingsError};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sandbox {
    /// The sandbox's own name.
    pub id: Arc<str>,
    /// The group whose policy applies too.
    pub group: Option<Arc<str>>,
    /// Whether it is denied while it has no document of its own.
    pub require_policy: bool,
}

/// Why it is not known who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No sign leads to a sandbox.
    #[error("this client is not one of the sandboxes this gateway knows")]
    Unknown {
        /// Whether a (better) token could change that: the answer is then 407.
        token_could_help: bool,
    },
    /// Two signs disagree, or one of them is not valid.
    #[error("the listener, source address and token of this client do not name one sandbox")]
    Conflict,
}
