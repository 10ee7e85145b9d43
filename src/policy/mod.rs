//! Whether a destination may be reached: pure functions over compiled documents.
//!
//! ```text
//! text ─document─► Document ─compile─► Compiled ─Draft─┐
//!                                                     PolicySet ─policy_for─► Policy ─► permit | denial
//! guards, roster ─────────────────────────────────────┘
//! ```
//! [`evaluate`] is the decision, whole, on one page.

pub mod agreement;
pub mod category;
pub mod cidr_set;
pub mod compile;
mod cover;
mod dead;
pub mod decision;
pub mod document;
pub mod draft;
pub mod evaluate;
mod explain;
mod filter;
mod flat_table;
pub mod guard;
pub mod hello;
pub mod host_set;
mod inject;
mod inspection;
pub mod limit;
pub mod method_set;
pub mod mode;
mod name_key;
mod near;
pub mod network;
pub mod path_pattern;
mod path_tree;
pub mod pattern;
mod pattern_error;
pub mod pattern_pool;
pub mod plan;
pub mod port_set;
pub mod query;
pub mod reason;
mod redirected;
mod request;
pub mod route;
pub mod rule_list;
pub mod scope;
pub mod secret_set;
mod shape;
mod tags;
mod tenant;
mod together;
mod units;
mod verdict;
mod widening;
pub mod wildcard;

pub use compile::{Compiled, Delegation};
pub use decision::{
    AddressPermit, Cause, Denial, NamePermit, RequestFacts, RequestPermit, RuleId, TargetPermit, settle,
};
pub use draft::{Draft, lists};
pub use guard::{Authority, Guards, Interception};
pub use limit::{Limit, Limits};
pub use mode::{Action, Enforcement, Inspection, Mode, Scope};
pub use network::{NetworkFacts, Networks, platform_host};
pub use plan::{Plan, SecretUse};
pub use query::QueryPermit;
pub use reason::Reason;
pub use route::{Route, Way};
pub use scope::{Policy, PolicySet, Roster};
pub use secret_set::SecretSet;
pub use widening::Widening;

#[cfg(any(test, feature = "oracle"))]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "it judges tests")]
mod naive;
#[cfg(any(test, feature = "oracle"))]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "it judges tests")]
pub mod oracle;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]
mod properties;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]
mod tests;
