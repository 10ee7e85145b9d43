//! The ways out, as the configuration describes them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::{DnsSettings, TokenSource};
use crate::addr::Host;
use crate::policy::pattern::Pattern;
use crate::upstream::SocketOptions;
use crate::upstream::parent::Protocol;

/// The ways out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    /// The operator's own, which is also the default.
    pub managed: NetworkSettings,
    /// The hosts that take it whatever a document says.
    pub platform_hosts: Vec<Pattern>,
    /// Those that documents may delegate to, by name.
    pub delegated: BTreeMap<Arc<str>, NetworkSettings>,
}

impl Networks {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &NetworkSettings> {
        std::iter::once(&self.managed).chain(self.delegated.values())
    }
}

impl NetworkSettings {
    /// Whether it has a parent proxy that is spoken to inside TLS.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.server_name.is_some())
    }

    /// The servers that are asked for its names: its own, or else those that are there for all; none: the system's.
    #[must_use]
    pub fn servers<'a>(&'a self, dns: &'a DnsSettings) -> &'a [SocketAddr] {
        if self.dns.is_empty() { &dns.servers } else { &self.dns }
    }
}

/// One way out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkSettings {
    /// What its sockets have.
    pub options: SocketOptions,
    /// Its DNS servers; of `managed` none: those of `dns.servers`, or the system's.
    pub dns: Vec<SocketAddr>,
    /// Its parent proxy.
    pub proxy: Option<ProxySettings>,
    /// Whether the parent proxy gets names instead of judged addresses.
    pub by_name: bool,
    /// The groups whose sandboxes may use it; None: any sandbox.
    pub groups: Option<Vec<Arc<str>>>,
}

/// A parent proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// Where it is.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whom its certificate must be for; None: it is spoken to without TLS.
    pub server_name: Option<Host>,
    /// Its username, and where the password comes from.
    pub credentials: Option<(Arc<str>, TokenSource)>,
}
