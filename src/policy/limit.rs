//! How much one sandbox may use: numbers of a document, and the smallest of all that apply.
//!
//! Of the documents of a sandbox each can only make a limit smaller. One that only reports limits nothing.

use std::sync::Arc;

use super::compile::Compiled;
use super::decision::{Cause, Denial};
use super::mode::Enforcement;
use super::reason::Reason;
use super::scope::Policy;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// Client connections at once.
    Connections,
    /// New client connections a second.
    ConnectionsPerSecond,
    /// HTTP requests and CONNECTs a second.
    RequestsPerSecond,
    /// Bytes a second from the sandbox to origins, all its connections together.
    UploadBytes,
    /// DNS queries that are looked up at once.
    DnsQueries,
    /// DNS queries a second: look-ups for connections, and messages to a listener of `kind: Dns`.
    DnsQueriesPerSecond,
}

impl Limit {
    /// Every limit.
    pub const ALL: [Self; 6] = [
        Self::Connections,
        Self::ConnectionsPerSecond,
        Self::RequestsPerSecond,
        Self::UploadBytes,
        Self::DnsQueries,
        Self::DnsQueriesPerSecond,
    ];

    /// Its key in a document and in the process configuration.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerSecond => "connectionsPerSecond",
            Self::RequestsPerSecond => "requestsPerSecond",
            Self::UploadBytes => "uploadBytes",
            Self::DnsQueries => "dnsQueries",
            Self::DnsQueriesPerSecond => "dnsQueriesPerSecond",
        }
    }

    /// Its metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerSecond => "connections_per_second",
            Self::RequestsPerSecond => "requests_per_second",
            Self::UploadBytes => "upload_bytes",
            Self::DnsQueries => "dns_queries",
            Self::DnsQueriesPerSecond => "dns_queries_per_second",
        }
    }

    /// What is counted, in words.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Connections => "connections at once",
            Self::ConnectionsPerSecond => "new connections a second",
            Self::RequestsPerSecond => "requests a second",
            Self::UploadBytes => "bytes a second to origins",
            Self::DnsQueries => "DNS queries at once",
            Self::DnsQueriesPerSecond => "DNS queries a second",
        }
    }

    /// Whether it comes back with time; the others come back when something ends.
    #[must_use]
    pub const fn is_rate(self) -> bool {
        match self {
            Self::Connections | Self::DnsQueries => false,
            Self::ConnectionsPerSecond
            | Self::RequestsPerSecond
            | Self::UploadBytes
            | Self::DnsQueriesPerSecond => true,
        }
    }

    /// The largest number that can be written.
    #[must_use]
    pub const fn largest(self) -> u64 {
        match self {
            Self::UploadBytes => 1 << 40,
            Self::Connections
            | Self::ConnectionsPerSecond
            | Self::RequestsPerSecond
            | Self::DnsQueries
            | Self::DnsQueriesPerSecond => 1_000_000,
        }
    }
}

/// A number for each limit that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits([Option<u64>; Limit::ALL.len()]);

impl Limits {
    /// No limit.
    pub const NONE: Self = Self([None; Limit::ALL.len()]);

    /// The most that is allowed; any amount without.
    #[must_use]
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.0.get(limit as usize).copied().flatten()
    }

    /// The same with another number for one limit.
    #[must_use]
    pub fn with(mut self, limit: Limit, most: u64) -> Self {
        if let Some(number) = self.0.get_mut(limit as usize) {
            *number = Some(most);
        }
        self
    }

    /// The smaller number for each limit.
    #[must_use]
    pub fn narrowed(self, other: &Self) -> Self {
        other.iter().fold(self, |all, (limit, most)| {
            all.with(limit, all.get(limit).map_or(most, |known| known.min(most)))
        })
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.into_iter().zip(self.0).filter_map(|(limit, most)| Some((limit, most?)))
    }
}

impl Policy {
    /// The smallest number of all documents that are carried out, for each limit.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limiting().fold(Limits::NONE, |all, document| all.narrowed(document.limits()))
    }

    /// The denial of what goes beyond `limit`, of which there is `most`: by the highest document that says so, else by
    /// the process configuration.
    #[must_use]
    pub fn beyond(&self, limit: Limit, most: u64) -> Denial {
        let says = |document: &&Arc<Compiled>| document.limits().get(limit) == Some(most);
        let detail = |setter: &str| {
            let (unit, key) = (limit.unit(), limit.key());
            format!("beyond the {most} {unit} that `{key}` of {setter} allows this sandbox")
        };
        let denial = match self.limiting().find(says) {
            Some(document) => Denial {
                detail: detail(&format!("{} policy `{}`", document.scope.kind(), document.name)).into(),
                ..Denial::by(Reason::Limit, Cause { document: Arc::clone(document), rule: None })
            },
            None => Denial::new(Reason::Limit, detail("the process configuration (`limits.perSandbox`)")),
        };
        Denial { limit: Some(limit), ..denial }
    }

    /// The documents whose limits are carried out.
    fn limiting(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.documents().filter(|document| document.enforcement == Enforcement::Enforce)
    }
}
