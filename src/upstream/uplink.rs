//! The ways out: one uplink for each network, each with its own sockets and its own DNS.
//!
//! Which of them a call takes is decided by the policy, and its permits say so. Here nobody chooses: a permit's addresses are
//! dialled by the uplink of its [`Route`], its name is resolved there, and where there is no such uplink nothing is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::proto::rr::RecordType;
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::dial::{DialSettings, Dialed, Rules, race, race_by};
use super::dial_error::{DialError, DialFailure, unusable};
use super::health::Health;
use super::parent::{PART, Parent, ParentFault, To, is_of_this_address};
use super::resolve::{Resolution, ResolveError, Resolver};
use crate::addr::{Name, Target};
use crate::policy::{AddressPermit, NamePermit, Route};

/// One way out.
pub struct Uplink {
    /// Its name in the process configuration, in records and in metrics.
    pub name: Arc<str>,
    /// How names become addresses by it; None: its parent proxy alone resolves them.
    pub resolver: Option<Resolver>,
    /// How connections are opened by it.
    pub dial: DialSettings,
    /// The proxy that its connections go through.
    pub parent: Option<Parent>,
    /// What is known of it.
    pub health: Health,
}

/// Why a name could not be resolved by a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct LookUpFailure {
    /// The network, where it is one that the operator described.
    pub network: Option<Arc<str>>,
    /// Who was asked.
    pub servers: Vec<SocketAddr>,
    /// What is wrong.
    pub error: ResolveError,
}

impl fmt::Display for LookUpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = &self.network {
            write!(f, "network `{network}`: ")?;
        }
        self.error.fmt(f)
    }
}

impl LookUpFailure {
    /// What the client is told: SECURITY: what is wrong with the operator's network is for records alone.
    #[must_use]
    pub fn told(&self) -> String {
        match self.error {
            ResolveError::Remote | ResolveError::Option(_) => unusable(self.network.as_deref()),
            ResolveError::NoData
            | ResolveError::NotFound
            | ResolveError::TooLarge
            | ResolveError::Timeout
            | ResolveError::ServFail
            | ResolveError::Other(_) => self.to_string(),
        }
    }

    /// Who was asked and what to do about it, for records: addresses are not for the client to know.
    #[must_use]
    pub fn asked(&self) -> String {
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        let servers = servers.join(", ");
        match self.error {
            _ if servers.is_empty() => servers,
            ResolveError::NoData | ResolveError::NotFound | ResolveError::TooLarge => {
                format!("said by {servers}")
            }
            ResolveError::Timeout | ResolveError::ServFail | ResolveError::Other(_) => {
                let delegated = self.network.as_deref().filter(|network| *network != Route::MANAGED);
                let key = delegated.map(|network| format!("`networks.{network}.dns`"));
                let key = key.unwrap_or_else(|| "`dns.servers` or `networks.managed.dns`".to_owned());
                format!("asked {servers}: see that it is up and answers this host, or change {key}")
            }
            // Nobody was asked.
            ResolveError::Remote | ResolveError::Option(_) => String::new(),
        }
    }
}

impl Uplink {
    /// One without a parent proxy.
    #[must_use]
    pub fn new(name: &str, resolver: Resolver, dial: DialSettings) -> Self {
        Self { resolver: Some(resolver), ..Self::bare(name, dial) }
    }

    /// One that resolves nothing, and has no parent proxy.
    #[must_use]
    pub fn bare(name: &str, dial: DialSettings) -> Self {
        Self { name: name.into(), resolver: None, dial, parent: None, health: Health::default() }
    }

    /// Its name, where it is one that the operator described; None: it is the system's way.
    #[must_use]
    pub fn described(&self) -> Option<&Arc<str>> {
        let plain = &*self.name == Route::MANAGED && self.dial.options.is_plain() && self.parent.is_none();
        (!plain).then_some(&self.name)
    }

    /// Whether calls can be made, as far as is known.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn check_up(&self) -> Result<(), DialFailure> {
        self.health.down().map_or(Ok(()), |error| Err(self.failure(DialFailure::new(error, Vec::new()))))
    }

    /// The addresses of `name`, for `sandbox`.
    ///
    /// # Errors
    /// See [`Resolver::resolve`].
    pub async fn resolve(&self, sandbox: &Arc<str>, name: &Name) -> Result<Resolution, LookUpFailure> {
        let found = match &self.resolver {
            Some(resolver) => resolver.resolve(sandbox, name).await,
            None => Err(ResolveError::Remote),
        };
        found.map_err(|error| self.unresolved(error))
    }

    /// The records of one type that `name` has, for `sandbox`.
    ///
    /// # Errors
    /// See [`Resolver::records`].
    pub async fn records(
        &self,
        sandbox: &Arc<str>,
        name: &Name,
        kind: RecordType,
    ) -> Result<Answer, LookUpFailure> {
        let found = match &self.resolver {
            Some(resolver) => resolver.records(sandbox, name, kind).await,
            None => Err(ResolveError::Remote),
        };
        found.map_err(|error| self.unresolved(error))
    }

    /// Opens one connection to one of these addresses, all of them from permits that were used up.
    pub(super) async fn connect(&self, addresses: Vec<SocketAddr>) -> Result<Dialed, DialFailure> {
        self.check_up()?;
        let dialed = match &self.parent {
            Some(parent) => self.connect_through(parent, addresses).await,
            None => race(addresses.into_iter(), &self.dial).await,
        };
        dialed.map_err(|failure| self.failure(failure))
    }

    /// The same through the parent proxy.
    async fn connect_through(
        &self,
        parent: &Parent,
        addresses: Vec<SocketAddr>,
    ) -> Result<Dialed, DialFailure> {
        let rules = Rules {
            stagger: self.dial.stagger.max(self.dial.connect_timeout / PART),
            late: ParentFault::Timeout.into(),
            is_final: |error| !is_of_this_address(error),
        };
        let open = |address| parent.open(To::Address(address), &self.dial);
        race_by(addresses.into_iter(), &self.dial, &rules, open).await
    }

    /// Opens one connection by giving its parent proxy a name, whose permit was used up.
    pub(super) async fn connect_name(&self, target: &Target) -> Result<Dialed, DialFailure> {
        self.check_up()?;
        let failed = |error| self.failure(DialFailure::new(error, Vec::new()));
        // SECURITY: only the operator's `resolve: Remote` gives names away.
        let parent = self.parent.as_ref().filter(|parent| parent.by_name);
        let parent = parent.ok_or_else(|| failed(DialError::NotPermitted))?;
        let deadline = Instant::now() + self.dial.connect_timeout;
        let opened = timeout_at(deadline, parent.open(To::Name(target), &self.dial)).await;
        let stream = opened.unwrap_or(Err(ParentFault::Timeout.into())).map_err(failed)?;
        Ok(Dialed { stream, address: None, route: Route::default() })
    }

    /// A failure with what it was that failed.
    fn failure(&self, failure: DialFailure) -> DialFailure {
        let parent = self.parent.as_ref().map(|parent| parent.address);
        DialFailure { network: self.described().cloned(), parent, ..failure }
    }

    /// The same of a look-up.
    fn unresolved(&self, error: ResolveError) -> LookUpFailure {
        LookUpFailure { network: self.described().cloned(), servers: self.servers(), error }
    }
}

/// Every way out.
pub struct Uplinks {
    managed: Arc<Uplink>,
    delegated: BTreeMap<Arc<str>, Arc<Uplink>>,
}

impl Uplinks {
    /// The managed uplink, and those that policies may delegate to.
    #[must_use]
    pub fn new(managed: Uplink, delegated: Vec<Uplink>) -> Self {
        let delegated =
            delegated.into_iter().map(|uplink| (Arc::clone(&uplink.name), Arc::new(uplink))).collect();
        Self { managed: Arc::new(managed), delegated }
    }

    /// The managed one, by which the gateway's own requests go too.
    #[must_use]
    pub fn managed(&self) -> &Uplink {
        &self.managed
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Uplink>> {
        std::iter::once(&self.managed).chain(self.delegated.values())
    }

    /// The sockets that belong to them, for `guard_self`: DNS servers and parent proxies.
    #[must_use]
    pub fn sockets(&self) -> Vec<SocketAddr> {
        let of = |uplink: &Arc<Uplink>| {
            let parent = uplink.parent.as_ref().map(|parent| parent.address);
            uplink.servers().into_iter().chain(parent)
        };
        self.all().flat_map(of).collect()
    }

    /// The uplink of a path. `None`: no such network is configured.
    #[must_use]
    pub fn of(&self, route: &Route) -> Option<&Uplink> {
        match route {
            Route::Managed => Some(&self.managed),
            Route::Delegated(network) => self.delegated.get(network).map(|uplink| &**uplink),
        }
    }

    /// Opens one connection to one of the permitted addresses, by the uplink that the permits are for.
    ///
    /// # Errors
    /// [`DialFailure`] when every attempt failed or the time is up, and where the permits are not all for one uplink.
    pub async fn dial(&self, permits: Vec<AddressPermit>) -> Result<Dialed, DialFailure> {
        let route = permits.first().map(|permit| permit.route().clone()).unwrap_or_default();
        // SECURITY: a call takes one path, and every address was judged for it.
        if permits.iter().any(|permit| *permit.route() != route) {
            return Err(DialFailure::new(DialError::NotPermitted, Vec::new()));
        }
        let addresses = permits.into_iter().map(|permit| permit.address()).collect();
        let dialed = self.expect(&route)?.connect(addresses).await?;
        Ok(Dialed { route, ..dialed })
    }

    /// Opens one connection by giving a permitted name to the parent proxy of the uplink that the permit is for.
    ///
    /// # Errors
    /// [`DialFailure`] when that failed or the time is up, and where that uplink is given no names.
    pub async fn dial_name(&self, permit: NamePermit) -> Result<Dialed, DialFailure> {
        let route = permit.route().clone();
        let dialed = self.expect(&route)?.connect_name(permit.target()).await?;
        Ok(Dialed { route, ..dialed })
    }

    /// The uplink of a path.
    ///
    /// # Errors
    /// There is none, and no other is taken for it.
    pub fn expect(&self, route: &Route) -> Result<&Uplink, DialFailure> {
        self.of(route).ok_or_else(|| DialFailure {
            network: Some(route.network().into()),
            ..DialFailure::new(DialError::NotConfigured, Vec::new())
        })
    }
}

/// Whether a call to this address has nothing to do with any network: it stays on this machine or its link.
pub(super) const fn is_here(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}
