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
//!
//! The source is that of the connection, or the one that a trusted peer of the listener says in front of it
//! ([`crate::wire::proxy_header`]).
//!
//! What is open when the configuration changes is asked again by the same table. The listener and the source are asked
//! afresh; a token that was right counts as long as the configuration holds that very token for that sandbox, and as
//! none from then on:
//!
//! | was | the configuration then | answer |
//! |---|---|---|
//! | `default` | lists no sandbox | `default` |
//! | `default` | lists any | changed |
//! | a | lists no sandbox, or not a | changed or unknown |
//! | a by listener or source | that still leads to a, whatever the token | a, in the group of then |
//! | a by source | that source is of b | changed |
//! | a by source | that source is of nobody | unknown |
//! | a by token alone | a has the same token and no `sources` | a, in the group of then |
//! | a by token alone | a has another token, none, or `sources` | unknown |
//! | a by listener or token | the source is of b, or a has `sources` without it at that listener | conflict |

pub mod registry;
pub mod source;
pub mod token;

use std::ops::Deref;
use std::sync::Arc;

pub use registry::{Registry, SandboxSettings, Settings, SettingsError};

use crate::policy::{Denial, Reason};

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

/// A client that was recognised: as which sandbox, and by what. Holds no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    sandbox: Sandbox,
    sign: Sign,
}

/// What a client was recognised by, besides the place that it came to and from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Nothing: no sandbox was listed.
    Unlisted,
    /// The token that its sandbox has had since this edition of the registry, if it showed one.
    Listed(Option<u64>),
}

impl Deref for Identity {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Identity {
    /// Why what is open under this identity is closed, when asking again gave `error`.
    #[must_use]
    pub fn lapsed(&self, error: IdentityError) -> Denial {
        let detail = format!(
            "the configuration has changed, and this client is no longer sandbox `{}`: {error}; \
             a new connection is judged by the configuration in force",
            self.id
        );
        Denial::new(Reason::IdentityUnknown, detail)
    }
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
    /// The signs lead to another sandbox than they did.
    #[error("what it is known by leads to another sandbox, or to none, in the configuration in force")]
    Changed,
}

impl IdentityError {
    /// The refusal of a client that nobody knows.
    #[must_use]
    pub fn denial(self) -> Denial {
        Denial::new(Reason::IdentityUnknown, self.to_string())
    }

    /// Whether (better) credentials could change it.
    #[must_use]
    pub const fn token_could_help(self) -> bool {
        matches!(self, Self::Unknown { token_could_help: true })
    }
}
