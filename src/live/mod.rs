//! Who is who and what applies to whom: one snapshot at a time, swapped whole.

pub mod reload;
pub mod store;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::identity::{Identity, Registry, Sandbox};
use crate::policy::{Denial, Policy, PolicySet};

/// Everything that decides, at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts the swaps; 1 is the first load.
    pub generation: u64,
    /// The documents in force and the guards below them.
    pub policies: PolicySet,
    /// Who is who.
    pub registry: Arc<Registry>,
}

/// The current snapshot and the sign that there is a new one. Clones see the same.
#[derive(Debug, Clone)]
pub struct Live {
    sender: Arc<watch::Sender<Arc<Snapshot>>>,
}

impl Live {
    /// Puts the first snapshot in force.
    #[must_use]
    pub fn new(first: Snapshot) -> Self {
        Self { sender: Arc::new(watch::Sender::new(Arc::new(first))) }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.sender.borrow())
    }

    /// A receiver that sees every later snapshot. Subscribe **before** deciding, so that no change between
    /// the decision and the wait is missed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.sender.subscribe()
    }

    /// Puts another snapshot in force; answers its generation, the next one.
    #[must_use]
    pub fn replace(&self, policies: PolicySet, registry: Arc<Registry>) -> u64 {
        let mut generation = 0;
        self.sender.send_modify(|snapshot| {
            generation = snapshot.generation + 1;
            *snapshot = Arc::new(Snapshot { generation, policies, registry });
        });
        generation
    }
}

impl Snapshot {
    /// The policy of a sandbox in this snapshot.
    #[must_use]
    pub fn policy_for(&self, sandbox: &Sandbox) -> Policy {
        self.policies.policy_for(&sandbox.id, sandbox.group.as_deref(), sandbox.require_policy)
    }

    /// Who a client is in this snapshot that an earlier one recognised; `listener` and `source` are where it came to
    /// and from.
    ///
    /// # Errors
    /// `identity_unknown`, once it is not that sandbox any more.
    pub fn identify_again(
        &self,
        listener: Option<&str>,
        source: IpAddr,
        known: &Identity,
    ) -> Result<Identity, Denial> {
        self.registry.identify_again(listener, source, known).map_err(|error| known.lapsed(error))
    }
}
