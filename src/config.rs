//! The process configuration as written, `product.md` §2: every module's settings, or every problem.
//!
//! A file is one mapping. Unknown keys, wrong types and contradictions are errors; a feature that this version does
//! not have is parsed strictly and then refused in plain words, never ignored. Flags and the environment override the
//! result elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};

use crate::policy;
use crate::policy::pattern::Pattern;
use crate::source::{Decoder, Place, Problem, parse as read};

pub(crate) mod audit;
pub(crate) mod capture;
pub(crate) mod identity;
pub(crate) mod listen;
pub(crate) mod network;
pub(crate) mod secrets;
pub(crate) mod uplink;
mod ways_in;
mod ways_out;

pub use self::audit::{AuditSettings, OnFull, SinkSettings};
pub use self::capture::{CaptureSettings, Taken};
pub use self::identity::SandboxSettings;
pub use self::secrets::{SecretSettings, SecretsAllowed};
pub use crate::policy::document::SecretSource as TokenSource;
pub use ways_in::{AdminSettings, AdminToken, ListenerKind, ListenerSettings, Role};
pub use ways_out::{NetworkSettings, Networks, ProxySettings};

/// The keys of the file.
pub(crate) const CONFIG_KEYS: [&str; 14] = [
    "policy",
    "listeners",
    "admin",
    "dns",
    "ech",
    "networks",
    "skipEgressProxy",
    "guards",
    "secrets",
    "intercept",
    "sandboxes",
    "audit",
    "limits",
    "capture",
];

/// The whole process configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the policies are; None: a flag says so.
    pub policy: Option<PathBuf>,
    /// The ways in; at least one.
    pub listeners: Vec<ListenerSettings>,
    /// The administrative server.
    pub admin: AdminSettings,
    /// How names are resolved.
    pub dns: DnsSettings,
    /// What happens to an encrypted `ClientHello`.
    pub ech: Ech,
    /// The ways out.
    pub networks: Networks,
    /// Whether documents may ask that their rules are skipped.
    pub skip_egress_proxy: bool,
    /// What no policy can lift.
    pub guards: GuardSettings,
    /// Where secrets may come from.
    pub secrets: SecretSettings,
    /// The sandbox CA, and what is decrypted with it; none: TLS is not decrypted.
    pub intercept: Option<InterceptSettings>,
    /// Who is who.
    pub sandboxes: Vec<SandboxSettings>,
    /// The audit log.
    pub audit: AuditSettings,
    /// Limits of the whole process.
    pub limits: Limits,
    /// The rules that take what sandboxes send to the gateway; None: it is not known what they should be.
    pub capture: Option<CaptureSettings>,
    /// Whether the gateway is ready only while those rules are proven to be in force; a flag says so.
    pub require_enforcement: bool,
}

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSettings {
    /// The servers; none: the system's.
    pub servers: Vec<SocketAddr>,
    /// The longest that an answer is kept.
    pub max_ttl: Duration,
}

/// What happens to an encrypted `ClientHello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ech {
    /// It is judged by its outer name.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}

/// What no policy can lift.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuardSettings {
    /// Prefixes free of hard and soft guards; never the gateway itself.
    pub exempt: Vec<IpNet>,
    /// NAT64 prefixes besides the well-known one, RFC 6052 lengths.
    pub nat64: Vec<Ipv6Net>,
    /// Addresses that are the gateway, besides those found on its interfaces (`guards.self`).
    pub own: Vec<IpNet>,
}

/// The sandbox CA, and what is decrypted with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterceptSettings {
    /// The certificate of the sandbox CA.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Roots that origins may be signed by, besides the public ones.
    pub upstream_roots: Vec<PathBuf>,
    /// Hosts that are never decrypted, as their clients would not have it.
    pub exclude: Vec<Pattern>,
}

/// Limits of the whole process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// How long a client may take for a request's head.
    pub header_timeout: Duration,
    /// How long a connection to an origin may take.
    pub connect_timeout: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// How long connections may go on after a stop.
    pub drain_timeout: Duration,
    /// What each sandbox may use; what is not said follows from whether sandboxes are listed.
    pub per_sandbox: policy::Limits,
}

/// A configuration and its warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What should be looked at.
    pub warnings: Vec<Problem>,
}

impl Default for Config {
    /// What a gateway without a file does: loopback only, everything on standard output.
    fn default() -> Self {
        Self {
            policy: None,
            listeners: vec![ListenerSettings::new(loopback(3128), ListenerKind::Explicit)],
            admin: AdminSettings { address: loopback(9901), socket: None, tokens: Vec::new() },
            dns: DnsSettings { servers: Vec::new(), max_ttl: Duration::from_mins(1) },
            ech: Ech::default(),
            networks: Networks::default(),
            skip_egress_proxy: false,
            guards: GuardSettings::default(),
            secrets: SecretSettings::default(),
            intercept: None,
            sandboxes: Vec::new(),
            audit: AuditSettings {
                sinks: vec![SinkSettings::Stdout],
                on_full: OnFull::default(),
                open: true,
            },
            limits: Limits::default(),
            capture: None,
            require_enforcement: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 65_536,
            header_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_hours(1),
            drain_timeout: Duration::from_secs(10),
            per_sandbox: policy::Limits::NONE,
        }
    }
}

/// Whether the user asks for output without colours (`NO_COLOR`, set to anything but nothing).
#[expect(clippy::disallowed_methods, reason = "the environment is read here")]
#[must_use]
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// A port of 127.0.0.1.
const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// Every problem of the file, warnings too, when one of them is an error.
    pub fn parse(file: &Arc<str>, text: &str) -> Result<Loaded, Vec<Problem>> {
        let documents = read(file, text)?;
        let decoder = Decoder::new(file);
        let config = match documents.as_slice() {
            [node] => network::config(&decoder.root(node)),
            [] => {
                decoder.report(whole(file, "the file is empty", "write {} to take every default"));
                None
            }
            [_, ..] => {
                decoder.report(whole(file, "more than one document", "remove all but one"));
                None
            }
        };
        let failed = decoder.errors() > 0;
        let problems = decoder.into_problems();
        match config {
            Some(config) if !failed => Ok(Loaded { config, warnings: problems }),
            Some(_) | None => Err(problems),
        }
    }
}

/// A problem of the whole file.
fn whole(file: &Arc<str>, message: &str, cure: &str) -> Problem {
    Problem::error(message).at(Place { file: Arc::clone(file), line: 1, column: 1 }).cure(cure)
}

#[cfg(test)]
mod tests;
