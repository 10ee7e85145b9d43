//! The listening sockets: opened here, or handed over by the service manager.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::net::{TcpListener, UdpSocket};

use super::inherited::Inherited;
use crate::admin::{self, UnixSocket};
use crate::capture::Mode;
use crate::config::{Config, ListenerKind, ListenerSettings};
use crate::identity::source::canonical_net;
use crate::policy::Route;
use crate::proxy::{self, Entry, Listener, dns};
use crate::upstream::{OwnAddresses, Uplinks};

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

    /// Checks that the gateway, on a host with these addresses, would not ask itself what it is asked.
    pub(super) fn check_no_loop(&self, uplinks: &Uplinks, host: &OwnAddresses) -> anyhow::Result<()> {
        let queries = self.queries.iter().filter_map(|(_, streams, _)| streams.local_addr().ok());
        for uplink in uplinks.all() {
            let servers = uplink.servers();
            let key = if *uplink.name == *Route::MANAGED {
                "dns.servers` or `networks.managed.dns".to_owned()
            } else {
                format!("networks.{}.dns", uplink.name)
            };
            if let Some(server) = own(queries.clone(), &servers, host) {
                bail!("the name server {server} is this gateway's own listener: list others under `{key}`");
            }
            let parents: Vec<_> = uplink.parent.iter().map(|parent| parent.address).collect();
            let doors = self.listeners.iter().copied().chain([self.admin]);
            if let Some(parent) = own(doors, &parents, host) {
                bail!(
                    "the parent proxy {parent} is this gateway's own listener: name another under `networks.{}.proxy`",
                    uplink.name
                );
            }
        }
        Ok(())
    }
}

/// The first of these places that is one of the gateway's own; `host` is where a door without an address is open.
fn own(
    mut doors: impl Iterator<Item = SocketAddr>,
    places: &[SocketAddr],
    host: &OwnAddresses,
) -> Option<SocketAddr> {
    let is_own = |door: SocketAddr, place: &SocketAddr| {
        let (at, to) = (door.ip().to_canonical(), place.ip().to_canonical());
        let anywhere = at.is_unspecified() && (to.is_loopback() || host.contains(to));
        door.port() == place.port() && (at == to || anywhere)
    };
    doors.find_map(|door| places.iter().copied().find(|place| is_own(door, place)))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_own_sockets_are_known_in_every_spelling() {
        let host: OwnAddresses = ["10.0.0.4".parse().unwrap()].into_iter().collect();
        for (door, place, is_own) in [
            ("127.0.0.1:3128", "127.0.0.1:3128", true),
            ("127.0.0.1:3128", "[::ffff:127.0.0.1]:3128", true),
            ("[::ffff:127.0.0.1]:3128", "127.0.0.1:3128", true),
            ("0.0.0.0:3128", "[::ffff:127.9.9.9]:3128", true),
            ("[::]:3128", "[::ffff:10.0.0.4]:3128", true),
            ("[::ffff:0.0.0.0]:3128", "10.0.0.4:3128", true),
            ("0.0.0.0:3128", "10.0.0.5:3128", false),
            ("127.0.0.1:3128", "127.0.0.1:3129", false),
            ("127.0.0.1:3128", "127.0.0.2:3128", false),
        ] {
            let place: SocketAddr = place.parse().unwrap();
            let found = own(std::iter::once(door.parse().unwrap()), &[place], &host);
            assert_eq!(found, is_own.then_some(place), "{door} {place}");
        }
    }
}
