//! The path of a call: it takes exactly one, and its permits say which (`policy.md` §8).

use std::net::IpAddr;
use std::sync::Arc;

use super::decision::{AddressPermit, Denial, NamePermit, TargetPermit};
use super::reason::Reason;
use super::scope::Policy;
use crate::addr::Target;

/// The path of a call. There is no way from one to the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Route {
    /// The operator's own.
    #[default]
    Managed,
    /// The network of this name, to which documents delegate.
    Delegated(Arc<str>),
}

impl Route {
    /// The network of the managed path.
    pub const MANAGED: &str = "managed";

    /// The name of the network.
    #[must_use]
    pub fn network(&self) -> &str {
        match self {
            Self::Managed => Self::MANAGED,
            Self::Delegated(network) => network,
        }
    }

    /// Whether it is a delegated one.
    #[must_use]
    pub const fn is_delegated(&self) -> bool {
        matches!(self, Self::Delegated(_))
    }
}

/// The way that something under way took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The path.
    pub route: Route,
    /// The address that was dialled; None: a parent proxy was given the name.
    pub address: Option<IpAddr>,
}

impl Policy {
    /// The path of a call for this target.
    #[expect(clippy::unused_self, reason = "no document delegates so far")]
    pub(super) const fn route(&self, _target: &Target) -> Route {
        Route::Managed
    }

    /// The permit to give a name to the parent proxy of its path; None where names are resolved and addresses judged here.
    ///
    /// # Errors
    /// There is no policy to ask.
    pub fn admit_by_name(&self, permit: &TargetPermit) -> Result<Option<NamePermit>, Denial> {
        // INVARIANT: the permit may be another policy's.
        self.check()?;
        let TargetPermit { target, route, .. } = permit;
        let by_name = target.host().ip().is_none() && self.guards().networks.is_by_name(route);
        Ok(by_name.then(|| NamePermit { target: target.clone(), route: route.clone() }))
    }

    /// Question B for what is under way already: its path must be the one that a call would take, its address be permitted,
    /// if it is known.
    ///
    /// # Errors
    /// `policy_change` where the path is another one, or the denial of the address.
    pub fn admit_way(&self, permit: &TargetPermit, way: &Way) -> Result<Option<AddressPermit>, Denial> {
        if way.route != permit.route {
            let (taken, right) = (way.route.network(), permit.route.network());
            let detail = format!("it went by network `{taken}`, and a call like this takes `{right}`");
            return Err(Denial::new(Reason::PolicyChange, detail));
        }
        way.address.map(|address| self.admit_address(permit, address)).transpose()
    }
}
