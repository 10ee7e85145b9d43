//! Clients that ask for a name each, again and again, until they are told to end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::within;

/// The clients.
pub struct Asking {
    done: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Asking {
    /// A client for each of these names; `ask` is one question.
    pub fn start<F: Future<Output = ()> + Send>(
        names: impl IntoIterator<Item = &'static str>,
        ask: impl Fn(&'static str) -> F + Copy + Send + 'static,
    ) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let client = |name| {
            let done = Arc::clone(&done);
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    ask(name).await;
                }
            })
        };
        let clients = names.into_iter().map(client).collect();
        Self { done, clients }
    }

    /// Ends them, and fails the test where one has failed.
    pub async fn end(self) {
        self.done.store(true, Ordering::Relaxed);
        for client in self.clients {
            within("the clients to end", client).await.unwrap();
        }
    }
}
