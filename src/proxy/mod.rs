//! The ways in, one file a flow: accept → name → decide → resolve → dial → relay → record.

mod accept;
mod account;
mod body;
mod connect;
mod exchange;
mod explicit;
mod forward;
mod handshake;
mod limit;
mod origin;
mod outlet;
mod peek;
mod reach;
mod refusal;
mod relay;
mod session;
mod socket;
mod strict;
mod tunnel;
mod upgrade;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use accept::accept;
pub use session::Listener;

use crate::addr::Target;
use crate::audit::Audit;
use crate::drain::Tasks;
use crate::identity::Registry;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::policy::{Denial, Reason};
use crate::share::{Newcomers, Shares};
use crate::upstream::{DialSettings, Resolver};
use refusal::Refusal;

/// What every connection needs.
pub struct Gateway {
    /// The policy in force.
    pub live: Live,
    /// Who is who.
    pub registry: Registry,
    /// Where records go.
    pub audit: Audit,
    /// What is counted besides records.
    pub metrics: Arc<Metrics>,
    /// How names become addresses.
    pub resolver: Resolver,
    /// How connections are opened.
    pub dial: DialSettings,
    /// What bounds every connection.
    pub limits: Limits,
    /// What each sandbox uses.
    pub shares: Shares,
    /// Connections that have not said whose they are.
    pub newcomers: Arc<Newcomers>,
    /// Where tasks run.
    pub tasks: Tasks,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

/// What bounds every connection.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest request head, in bytes.
    pub header_bytes: usize,
    /// How long a request head may take.
    pub header_timeout: Duration,
    /// How long nothing may move.
    pub idle_timeout: Duration,
}

/// Two names of one request differ.
fn mismatch(named: &str, target: &Target) -> Refusal {
    Denial::new(Reason::AuthorityMismatch, format!("the request is for {target} but names {named}")).into()
}
