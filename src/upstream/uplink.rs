//! The ways out: one uplink for each network, each with its own sockets and its own DNS.
//!
//! Which of them a call takes is decided by the policy, and its permits say so. Here nobody chooses: a permit's addresses are
//! dialled by the uplink of its [`Route`], its name is resolved there, and where there is no such uplink nothing is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::dial::{DialError, DialFailure, DialSettings, Dialed, dial};
use super::resolve::Resolver;
use crate::policy::{AddressPermit, Route};

/// One way out.
pub struct Uplink {
    /// Its name in the process configuration, in records and in metrics.
    pub name: Arc<str>,
    /// How names become addresses by it.
    pub resolver: Resolver,
    /// How connections are opened by it.
    pub dial: DialSettings,
}

/// Every way out.
pub struct Uplinks {
    managed: Uplink,
    delegated: BTreeMap<Arc<str>, Uplink>,
}

impl Uplinks {
    /// The managed uplink, and those that policies may delegate to.
    #[must_use]
    pub fn new(managed: Uplink, delegated: Vec<Uplink>) -> Self {
        let delegated = delegated.into_iter().map(|uplink| (Arc::clone(&uplink.name), uplink)).collect();
        Self { managed, delegated }
    }

    /// The managed one, by which the gateway's own requests go too.
    #[must_use]
    pub const fn managed(&self) -> &Uplink {
        &self.managed
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Uplink> {
        std::iter::once(&self.managed).chain(self.delegated.values())
    }

    /// The uplink of a path. `None`: no such network is configured.
    #[must_use]
    pub fn of(&self, route: &Route) -> Option<&Uplink> {
        match route {
            Route::Managed => Some(&self.managed),
            Route::Delegated(network) => self.delegated.get(network),
        }
    }

    /// Opens one connection to one of the permitted addresses, by the uplink that the permits are for.
    ///
    /// # Errors
    /// [`DialFailure`] when every attempt failed or the time is up, and where the permits are not all for one uplink.
    pub async fn dial(&self, permits: Vec<AddressPermit>) -> Result<Dialed, DialFailure> {
        let nowhere = |error| DialFailure { error, attempts: Vec::new() };
        let route = permits.first().map(|permit| permit.route().clone()).unwrap_or_default();
        // SECURITY: a call takes one path, and every address was judged for it.
        if permits.iter().any(|permit| *permit.route() != route) {
            return Err(nowhere(DialError::NotPermitted));
        }
        let uplink = self.of(&route).ok_or_else(|| nowhere(DialError::Unreachable))?;
        let dialed = dial(permits, &uplink.dial).await?;
        Ok(Dialed { route, ..dialed })
    }
}
