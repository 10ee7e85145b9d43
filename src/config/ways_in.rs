//! The ways in, as the configuration describes them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::TokenSource;
use crate::capture::Mode;

/// One way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// What comes in here.
    pub kind: ListenerKind,
    /// How the kernel redirects to it, when it is `Transparent`.
    pub mode: Mode,
    /// The sandbox that everything which comes in here is.
    pub sandbox: Option<Arc<str>>,
    /// The peers whose connections begin with a PROXY protocol header that says whose they are.
    pub proxy_protocol: Vec<IpNet>,
}

/// What comes in by a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ListenerKind {
    /// HTTP from clients that know the proxy.
    #[default]
    Explicit,
    /// TCP that the kernel redirected, from clients that do not know it.
    Transparent,
    /// DNS queries, over UDP and TCP.
    Dns(crate::proxy::dns::Settings),
}

impl ListenerSettings {
    /// A listener of this kind for everybody.
    #[must_use]
    pub const fn new(address: SocketAddr, kind: ListenerKind) -> Self {
        Self { address, kind, mode: Mode::Redirect, sandbox: None, proxy_protocol: Vec::new() }
    }
}

/// The administrative server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where it listens on TCP.
    pub address: SocketAddr,
    /// Its Unix socket, mode 0600.
    pub socket: Option<PathBuf>,
    /// Who may do what.
    pub tokens: Vec<AdminToken>,
}

/// A token of the administrative server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminToken {
    /// Who this is in records.
    pub name: Arc<str>,
    /// What they may do.
    pub role: Role,
    /// Where the token comes from.
    pub token: TokenSource,
}

/// What the holder of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Owner,
    /// Read: policy, decisions, audit.
    Reader,
}
