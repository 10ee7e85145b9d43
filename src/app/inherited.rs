//! Listening sockets that the service manager opened and hands over (socket activation: `LISTEN_FDS`, `LISTEN_PID`).
//!
//! One is used for the listener of exactly its address; one that no listener wants is an error, or clients of it would wait
//! for ever.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};

/// The sockets that were handed over and not taken yet.
pub(super) struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl Inherited {
    /// All that this process was given.
    pub(super) fn take_all() -> anyhow::Result<Self> {
        let mut given = ListenFd::from_env();
        let mut found = Vec::new();
        for number in 0..given.len() {
            let socket = given.take_tcp_listener(number);
            let socket = socket.with_context(|| format!("socket {number} of LISTEN_FDS cannot be used"))?;
            let Some(socket) = socket else { continue };
            fcntl_setfd(&socket, FdFlags::CLOEXEC).context("a socket of LISTEN_FDS cannot be kept")?;
            socket.set_nonblocking(true).context("a socket of LISTEN_FDS cannot be used")?;
            let address = socket.local_addr().context("a socket of LISTEN_FDS has no address")?;
            found.push((address, socket));
        }
        Ok(Self(found))
    }

    /// The one of this address.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.0.iter().position(|(found, _)| *found == address)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Nothing is left over.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        if let Some((address, _)) = self.0.first() {
            bail!(
                "the service manager hands over a socket on {address}, and no listener of the configuration has \
                 that address: make them the same"
            );
        }
        Ok(())
    }
}
