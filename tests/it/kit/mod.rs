//! What tests are made of: a name server, origins and clients on loopback, each wait bounded.
//!
//! Nothing sleeps. A test waits for an event through [`within`] or a [`Seen`], and a wait that is not
//! answered in [`PATIENCE`] fails with a sentence that says what was waited for.

pub mod asking;
pub mod client;
pub mod dns;
pub mod frames;
pub mod gateway;
pub mod http;
pub mod http2;
pub mod http2_origin;
pub mod inspecting;
pub mod net;
pub mod origin;
pub mod parent;
pub mod process;
pub mod tls;
pub mod tool;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

/// How long any wait may take before the test fails.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// What `event` gives; fails the test when it takes longer than [`PATIENCE`].
pub async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, event).await;
    happened.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for {what}"))
}

/// An address of 127.0.0.1 that was free a moment ago, for a program that wants to be told one.
pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket")
}

/// Waits until something listens there.
pub async fn listening(address: SocketAddr) {
    let up = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within(&format!("something to listen on {address}"), up).await;
}

/// The runtime that servers of the kit run on, apart from the runtime of any one test.
pub fn background() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let build = || Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    RUNTIME.get_or_init(build).handle()
}

/// Things seen so far, in order; a test can look at them or wait for more.
#[derive(Debug)]
pub struct Seen<T>(watch::Sender<Vec<T>>);

impl<T: Clone> Seen<T> {
    /// Nothing seen yet.
    fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    /// Adds one.
    fn push(&self, item: T) {
        self.0.send_modify(|items| items.push(item));
    }

    /// Changes what was seen.
    fn modify(&self, change: impl FnOnce(&mut Vec<T>)) {
        self.0.send_modify(change);
    }

    /// All of it so far.
    pub fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    /// How many so far.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Waits until `enough` is true of all of it; `what` names it in the failure.
    pub async fn wait_until(&self, what: &str, mut enough: impl FnMut(&[T]) -> bool) -> Vec<T> {
        let mut receiver = self.0.subscribe();
        let waited = within(what, receiver.wait_for(|items| enough(items))).await;
        waited.expect("the sender is held by self").clone()
    }
}
