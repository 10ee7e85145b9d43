//! Whether an uplink can be used, asked at the start and every [`PERIOD`].
//!
//! | asked | how |
//! |---|---|
//! | the interface is there and up | the kernel says so |
//! | the source addresses are there, and the other options can be set | a socket is made so, and thrown away |
//! | the routing rules lead to a network of its own | the kernel is asked for the way to the parent proxy, or to the DNS servers |
//! | the parent proxy answers | a TCP connection |
//!
//! While its interface or its parent proxy is known to be down, calls fail at once with that. They do not take another
//! path then, and the next probe that succeeds ends it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::dial_error::DialError;
use super::options::{Code, OptionError};
use super::parent::ParentFault;
use super::table;
use super::uplink::Uplink;
use crate::drain::Watcher;

/// How often it is asked.
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// How long the parent proxy may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// What the last probe found. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Option<DialError>>>);

impl Health {
    /// What is wrong, as far as is known.
    #[must_use]
    pub fn fault(&self) -> Option<DialError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no call can be made.
    pub(super) fn down(&self) -> Option<DialError> {
        let is_down = |error: &DialError| {
            matches!(
                error,
                DialError::Down
                    | DialError::Gone(_)
                    | DialError::Parent(_)
                    | DialError::Option(OptionError::Interface(_))
            )
        };
        self.fault().filter(is_down)
    }

    /// Notes what a probe found; whether that is news.
    fn note(&self, found: Option<DialError>) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *known, found) != found
    }
}

impl Uplink {
    /// Looks after this uplink until the gateway stops; `tell` is called after each probe.
    pub async fn watch(&self, watcher: Watcher, tell: impl Fn(bool) + Send) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let look = async {
            loop {
                ticks.tick().await;
                self.look(&tell).await;
            }
        };
        // Whoever stops does not wait for a parent that is silent.
        tokio::select! {
            biased;
            () = watcher.draining() => {}
            () = look => {}
        }
    }

    /// Probes once.
    async fn look(&self, tell: &(impl Fn(bool) + Send)) {
        let found = self.probe().await.err();
        if self.health.note(found) {
            let network = &*self.name;
            if let Some(why) = found {
                tracing::warn!(network, %why, "a network cannot be used");
            } else {
                tracing::info!(network, "a network can be used again");
            }
        }
        tell(found.is_none());
    }

    /// Whether it can be used.
    async fn probe(&self) -> Result<(), DialError> {
        let options = &self.dial.options;
        if let Some(interface) = &options.interface {
            let name = Arc::clone(interface);
            // The kernel may be busy with other interfaces, and lets others wait then.
            let asked = spawn_blocking(move || table::is_up(&name)).await;
            let up = asked.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
            if !up.map_err(|error| unseen(&error))? {
                return Err(DialError::Down);
            }
        }
        options.can_be_set()?;
        if let Some(parent) = &self.parent {
            let reached = timeout(PATIENCE, parent.reach(&self.dial)).await;
            reached.unwrap_or(Err(ParentFault::Timeout.into()))?;
        }
        for server in self.servers() {
            let usable = options.source.is_empty() || options.source.toward(server.ip()).is_some();
            if usable {
                options.stream(server)?;
            }
        }
        Ok(())
    }

    /// The DNS servers that are asked by this uplink.
    #[must_use]
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.resolver.as_ref().map(super::Resolver::servers).unwrap_or_default()
    }
}

/// Why it is not known that an interface is up: only where the system says so it is gone.
fn unseen(error: &io::Error) -> DialError {
    let code = Code::from(error);
    if Errno::from_io_error(error) == Some(Errno::NODEV) {
        DialError::Gone(code)
    } else {
        DialError::Unknown(code)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::drain::Drain;
    use crate::upstream::DialSettings;
    use crate::upstream::dial::tests::silent;
    use crate::upstream::parent::{Parent, Protocol};

    #[test]
    fn only_an_interface_that_is_not_there_takes_its_network_down() {
        for (error, words, is_down) in [
            (Errno::NODEV.into(), "its `interface` is not there: No such device (os error 19)", true),
            (
                Errno::MFILE.into(),
                "whether its `interface` is up is not known: Too many open files (os error 24)",
                false,
            ),
            (
                io::ErrorKind::InvalidData.into(),
                "whether its `interface` is up is not known: the system's answer cannot be read",
                false,
            ),
        ] {
            let error: io::Error = error;
            let (fault, health) = (unseen(&error), Health::default());
            health.note(Some(fault));
            assert_eq!((fault.to_string().as_str(), health.down().is_some()), (words, is_down));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_a_parent_that_takes_no_connection() {
        let (_socket, _fillers, address) = silent();
        let (credentials, cover, protocol) = (None, None, Protocol::Http);
        let parent = Parent { address, protocol, credentials, cover, by_name: true };
        let uplink = Uplink { parent: Some(parent), ..Uplink::bare("corp", DialSettings::default()) };
        let (drain, watcher) = Drain::new();
        let started = Instant::now();
        // The first probe is under way when the stop begins.
        tokio::join!(uplink.watch(watcher, |_| ()), async { drain.start() });
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
        assert_eq!(uplink.health.fault(), None, "it was broken off");
    }
}
