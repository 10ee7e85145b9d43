//! The ways in: accept → name → decide → resolve → dial → relay → record.
//!
//! | what comes | files, in the order of the flow |
//! |---|---|
//! | any connection | `entry` (how it comes to a listener), `accept`, `introduction` (PROXY protocol), `session` (who it is), `limit` and `account` (its share), `exchange` (its record) |
//! | HTTP | `explicit` (request by request), `socket` and `strict` (before the engine sees it), `whence` (what a request is for), `silence` (where none comes), `connect`, `forward`, `onward` and [`inject`] (what goes on), `arriving`, `body` and `upload`, `cover` and `outlet`, `origins`, `origin` and `origin_io`, `shape`, `upgrade` |
//! | a connection that was redirected | `transparent`, then as HTTP or as a tunnel |
//! | a tunnel | `tunnel`, `peek` (its first bytes), `handshake` (TLS), `relay` |
//! | TLS that is decrypted | `inspect`, then HTTP/1.1 as above, or `streams` (HTTP/2) |
//! | a DNS query | [`dns`] |
//! | all that is allowed | `reach`: resolve, judge each address, dial |
//! | all that is denied | `refusal`: what the client is told |

mod accept;
mod account;
mod arriving;
mod body;
mod connect;
mod cover;
pub mod dns;
mod entry;
mod exchange;
mod explicit;
mod forward;
mod handshake;
pub mod inject;
mod inspect;
mod introduction;
mod limit;
mod onward;
mod origin;
mod origin_io;
mod origins;
mod outlet;
mod peek;
mod reach;
mod refusal;
mod relay;
mod session;
mod shape;
mod side;
mod silence;
mod socket;
mod streams;
mod strict;
mod transparent;
mod tunnel;
mod upgrade;
mod upload;
mod whence;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use accept::accept;
pub use entry::{Entry, listen};
pub use session::Listener;

use crate::audit::Audit;
use crate::drain::Tasks;
use crate::intercept::Authority;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::secrets::Secrets;
use crate::share::{Newcomers, Shares};
use crate::upstream::{Tls, Uplinks};

/// What every connection needs.
pub struct Gateway {
    /// Who is who and the policy in force.
    pub live: Live,
    /// Where records go.
    pub audit: Audit,
    /// What is counted besides records.
    pub metrics: Arc<Metrics>,
    /// How names become addresses, and addresses connections.
    pub uplinks: Arc<Uplinks>,
    /// The values of secrets.
    pub secrets: Secrets,
    /// What makes the certificates that clients are shown; none: TLS is not decrypted.
    pub intercept: Option<Arc<Authority>>,
    /// How origins are verified.
    pub tls: Tls,
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
