//! The admin server: health, metrics, the policy in force, the audit log.
//!
//! | who | may ask |
//! |---|---|
//! | anybody who reaches the TCP listener | `/livez`, `/readyz` (yes or no), `/metrics` |
//! | a bearer token with a role; the owner of the 0600 unix socket | everything, and why it is not ready |
//!
//! A TCP client's `Host` must be an address, `localhost` or a configured name: a web page that lets its own
//! name resolve to this server gets 421.

mod access;
mod answer;
mod query;
mod routes;
mod serve;
mod socket;
mod stream;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::audit::top::Top;
use crate::metrics::Metrics;

pub use access::{AccessToken, Role};
pub use serve::{Limits, Listener, Task, serve};
pub use socket::{SocketError, UnixSocket};

/// What the admin server asks the rest of the gateway.
pub trait Inspect: Send + Sync {
    /// Whether each part can do its work; the audit log is checked without it.
    fn readiness(&self) -> Vec<Check>;

    /// The policy in force, secrets as ids.
    fn policy(&self) -> serde_json::Value;

    /// The decision about a destination, without a packet.
    fn explain(&self, query: &ExplainQuery) -> serde_json::Value;
}

/// Whether one part can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The part.
    pub name: &'static str,
    /// Whether it can.
    pub ok: bool,
    /// What is wrong, or what it does.
    pub detail: String,
}

/// A question to `/v1/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExplainQuery {
    /// `host[:port]` or a URL.
    pub target: String,
    /// Who would ask.
    #[serde(default)]
    pub sandbox: Option<String>,
    /// The HTTP method.
    #[serde(default)]
    pub method: Option<String>,
    /// An address that the name would resolve to.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The server name of the TLS inside; empty: there is none.
    #[serde(default)]
    pub sni: Option<String>,
    /// Whether the client would be redirected.
    #[serde(default)]
    pub redirected: bool,
}

/// What the server answers from.
pub struct State {
    /// The rest of the gateway.
    pub inspect: Arc<dyn Inspect>,
    /// The audit log.
    pub audit: Audit,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The busiest hosts, sandboxes and rules.
    pub top: Arc<Top>,
    /// Who may ask for more.
    pub tokens: Vec<AccessToken>,
    /// The names, besides addresses and `localhost`, by which TCP clients may call this server.
    pub hosts: Vec<String>,
    /// What slow clients can take.
    pub limits: Limits,
}

impl State {
    /// Every check, the audit log's first.
    fn readiness(&self) -> Vec<Check> {
        let (ok, detail) = match self.audit.healthy() {
            Ok(()) => (true, "every sink takes records".to_owned()),
            Err(error) => (false, error),
        };
        let mut checks = vec![Check { name: "audit", ok, detail }];
        checks.extend(self.inspect.readiness());
        checks
    }
}

#[cfg(test)]
mod tests;
