//! The listening sockets: opened here, or handed over by the service manager.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;

use super::inherited::Inherited;
use crate::admin::{self, UnixSocket};
use crate::config::{CaptureMode, Config, ListenerKind, ListenerSettings};
use crate::identity::source::canonical_net;
use crate::proxy::{self, Entry, Listener};

/// Every listening socket.
pub(super) struct Doors {
    pub(super) sockets: Vec<(TcpListener, Listener)>,
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) admin_sockets: Vec<admin::Listener>,
    pub(super) admin: SocketAddr,
}

impl Doors {
    /// Opens them all, or none.
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let mut inherited = Inherited::take_all()?;
        let sockets = bind(&config.listeners, &mut inherited)?;
        let listeners = sockets.iter().map(|(socket, _)| socket.local_addr()).collect::<Result<_, _>>();
        let listeners = listeners.context("cannot read a listener's address")?;
        let socket = listen(config.admin.address, Entry::Explicit, &mut inherited)?;
        inherited.finish()?;
        let admin = socket.local_addr().context("cannot read the admin address")?;
        let mut admin_sockets = vec![admin::Listener::Tcp(socket)];
        if let Some(path) = &config.admin.socket {
            admin_sockets.push(admin::Listener::Unix(UnixSocket::bind(path)?));
        }
        Ok(Self { sockets, listeners, admin_sockets, admin })
    }
}

/// Opens every listener of the configuration.
fn bind(
    listeners: &[ListenerSettings],
    inherited: &mut Inherited,
) -> anyhow::Result<Vec<(TcpListener, Listener)>> {
    let mut sockets = Vec::new();
    for settings in listeners {
        let entry = entry(settings)?;
        let socket = listen(settings.address, entry, inherited)?;
        let address = socket.local_addr().context("cannot read a listener's address")?;
        let listener = Listener {
            name: address.to_string().into(),
            entry,
            sandbox: settings.sandbox.clone(),
            peers: settings.proxy_protocol.iter().copied().map(canonical_net).collect(),
        };
        sockets.push((socket, listener));
    }
    Ok(sockets)
}

/// How connections come to a listener.
fn entry(settings: &ListenerSettings) -> anyhow::Result<Entry> {
    match (settings.kind, settings.mode) {
        (ListenerKind::Explicit, _) => Ok(Entry::Explicit),
        (ListenerKind::Transparent, CaptureMode::Redirect) => Ok(Entry::Redirect),
        (ListenerKind::Transparent, CaptureMode::TProxy) => Ok(Entry::TProxy),
        (ListenerKind::Dns, _) => bail!("answering DNS queries is a feature that this version does not have"),
    }
}

/// What a listener needs that may be the reason why it cannot be opened.
const fn needs(entry: Entry) -> &'static str {
    match entry {
        Entry::Explicit | Entry::Redirect => "",
        Entry::TProxy => " (`mode: TProxy` needs the capability CAP_NET_ADMIN)",
    }
}

/// Opens one listening socket, or takes the one that was handed over.
fn listen(address: SocketAddr, entry: Entry, inherited: &mut Inherited) -> anyhow::Result<TcpListener> {
    if let Some(socket) = inherited.take(address) {
        return TcpListener::from_std(socket).context("a socket of LISTEN_FDS cannot be used");
    }
    proxy::listen(address, entry).with_context(|| format!("cannot listen on {address}{}", needs(entry)))
}
