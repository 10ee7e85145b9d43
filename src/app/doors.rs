//! The listening sockets: opened here, or handed over by the service manager.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, anyhow};
use tokio::net::{TcpListener, UdpSocket};

use super::inherited::Inherited;
use crate::admin::{self, UnixSocket};
use crate::capture::Mode;
use crate::config::{Config, ListenerKind, ListenerSettings};
use crate::identity::source::canonical_net;
use crate::proxy::{self, Entry, Listener, dns};

/// How many free ports are tried for a socket of each kind.
const TRIES: u32 = 16;

/// Every listening socket.
pub(super) struct Doors {
    pub(super) sockets: Vec<(TcpListener, Listener)>,
    /// Those for DNS queries: UDP and TCP on one port.
    pub(super) queries: Vec<(UdpSocket, TcpListener, dns::Door)>,
    /// Where they all are, in the order of the configuration.
    pub(super) listeners: Vec<SocketAddr>,
    pub(super) admin_sockets: Vec<admin::Listener>,
    pub(super) admin: SocketAddr,
}

impl Doors {
    /// Opens them all, or none.
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let mut inherited = Inherited::take_all()?;
        let (mut sockets, mut queries, mut listeners) = (Vec::new(), Vec::new(), Vec::new());
        for settings in &config.listeners {
            let entry = entry(settings);
            let listener = |address: SocketAddr| Listener {
                name: address.to_string().into(),
                entry,
                sandbox: settings.sandbox.clone(),
                peers: settings.proxy_protocol.iter().copied().map(canonical_net).collect(),
            };
            listeners.push(match settings.kind {
                ListenerKind::Explicit | ListenerKind::Transparent => {
                    let socket = listen(settings.address, entry, &mut inherited)?;
                    let address = local_address(&socket)?;
                    sockets.push((socket, listener(address)));
                    address
                }
                ListenerKind::Dns(limits) => {
                    let (datagrams, streams) = listen_twice(settings.address)?;
                    let address = local_address(&streams)?;
                    queries.push((datagrams, streams, dns::Door::new(listener(address), limits)));
                    address
                }
            });
        }
        let socket = listen(config.admin.address, Entry::Explicit, &mut inherited)?;
        inherited.finish()?;
        let admin = socket.local_addr().context("cannot read the admin address")?;
        let mut admin_sockets = vec![admin::Listener::Tcp(socket)];
        if let Some(path) = &config.admin.socket {
            admin_sockets.push(admin::Listener::Unix(UnixSocket::bind(path)?));
        }
        Ok(Self { sockets, queries, listeners, admin_sockets, admin })
    }

    /// Checks that the gateway would not ask itself what it is asked.
    pub(super) fn check_no_loop(&self, servers: &[SocketAddr]) -> anyhow::Result<()> {
        let mut doors = self.queries.iter().filter_map(|(_, streams, _)| streams.local_addr().ok());
        let is_own = |door: SocketAddr, server: &SocketAddr| {
            let anywhere = door.ip().is_unspecified() && server.ip().is_loopback();
            door.port() == server.port() && (door.ip() == server.ip() || anywhere)
        };
        match doors.find_map(|door| servers.iter().find(|server| is_own(door, server))) {
            Some(server) => Err(anyhow!(
                "the name server {server} is this gateway's own listener: list others under `dns.servers`"
            )),
            None => Ok(()),
        }
    }
}

/// How connections come to a listener.
const fn entry(settings: &ListenerSettings) -> Entry {
    match (settings.kind, settings.mode) {
        (ListenerKind::Explicit | ListenerKind::Dns(_), _) => Entry::Explicit,
        (ListenerKind::Transparent, Mode::Redirect) => Entry::Redirect,
        (ListenerKind::Transparent, Mode::TProxy) => Entry::TProxy,
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

/// Where a listening socket is.
fn local_address(socket: &TcpListener) -> anyhow::Result<SocketAddr> {
    socket.local_addr().context("cannot read a listener's address")
}

/// Opens a UDP and a TCP socket on one port. A port that is free for one may be taken for the other, so where any will
/// do several are tried.
fn listen_twice(address: SocketAddr) -> anyhow::Result<(UdpSocket, TcpListener)> {
    let mut tries = if address.port() == 0 { TRIES } else { 1 };
    loop {
        let streams = proxy::listen(address, Entry::Explicit);
        let streams = streams.with_context(|| format!("cannot listen on {address}"))?;
        let both = local_address(&streams)?;
        tries -= 1;
        match datagrams(both) {
            Ok(datagrams) => return Ok((datagrams, streams)),
            Err(error) if tries == 0 => {
                return Err(error).with_context(|| format!("cannot receive datagrams on {both}"));
            }
            Err(_) => {}
        }
    }
}

/// Opens one socket for datagrams.
fn datagrams(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
