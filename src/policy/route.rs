//! The path of a call: it takes exactly one, and its permits say which (`policy.md` §8).
//!
//! | documents in mode `VNet` that apply | the target | path |
//! |---|---|---|
//! | none | any | managed |
//! | some | an IP literal, whatever name the call gives it besides | delegated |
//! | some | a name that is one of the operator's platform hosts | managed |
//! | some | a name that the `managedPath` of **every** one of them lists | managed |
//! | some | any other name | delegated |
//! | two that name different networks | any | none: `policy_error` |
//!
//! Documents of other modes say nothing about it, and neither does their order. The name is the one that the call was judged
//! by: that of a CONNECT, the SNI of redirected TLS, the `Host` of a request; of a Rewrite its new place.
//!
//! | of the managed path | of the delegated path |
//! |---|---|
//! | hard guards hold, `cidrRules` hold | the same |
//! | soft guards hold | they do not: what is private there is the network's own |
//! | `securityRules` are not asked | those of every document in mode `VNet` must allow |

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::compile::{Compiled, Delegation};
use super::decision::{AddressPermit, Cause, Denial, NamePermit, RuleId, TargetPermit};
use super::evaluate::carry_out;
use super::guard::SMTP;
use super::host_set::HostKey;
use super::mode::Action;
use super::near::Near;
use super::reason::Reason;
use super::scope::Policy;
use crate::addr::special;
use crate::addr::{Port, Target};

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

/// What the `securityRules` of one document say, by the place of the rule.
enum Ruled {
    /// The rule lets it through.
    Allow(u32),
    /// The rule does not, or there is none.
    Deny(Option<u32>),
    /// It is let through itself, and there is no rule about this address inside.
    Unsaid(Ipv4Addr),
}

impl Policy {
    /// The path of a call for this target, were it permitted.
    #[must_use]
    pub fn route(&self, target: &Target) -> Route {
        if self.has_paths() { self.chosen(target) } else { Route::Managed }
    }

    /// The path where some document delegates.
    #[inline(never)]
    fn chosen(&self, target: &Target) -> Route {
        let Some((_, vnet)) = self.delegating().next() else { return Route::Managed };
        if target.host().ip().is_none() && (self.is_platform(target) || self.is_listed(target)) {
            return Route::Managed;
        }
        Route::Delegated(Arc::clone(&vnet.network))
    }

    /// What puts a target on the managed path where documents delegate: `platform`, or what the lowest of them calls it.
    #[must_use]
    pub fn managed_by(&self, target: &Target) -> Option<String> {
        let (_, vnet) = self.delegating().last()?;
        if self.route(target).is_delegated() {
            return None;
        }
        if self.is_platform(target) {
            return Some("platform".to_owned());
        }
        Some(vnet.label(self.managing(target)?.2))
    }

    /// The lowest of the documents that delegate, where it lists a target, and the place of what lists it.
    pub(super) fn managing(&self, target: &Target) -> Option<(&Arc<Compiled>, &Delegation, u32)> {
        let (document, vnet) = self.delegating().last()?;
        let place = vnet.manages(self.pool(), &HostKey::new(target.host()), target.port())?;
        Some((document, vnet, place))
    }

    /// The documents that delegate, Global first, whether their rules are asked or not: the path is the network's.
    fn delegating(&self) -> impl Iterator<Item = (&Arc<Compiled>, &Delegation)> {
        self.documents().filter_map(|document| Some((document, document.delegation()?)))
    }

    /// Whether the operator puts a host on the managed path.
    fn is_platform(&self, target: &Target) -> bool {
        self.guards().networks.is_platform(target)
    }

    /// Whether every document that delegates puts a host on the managed path.
    fn is_listed(&self, target: &Target) -> bool {
        let host = HostKey::new(target.host());
        self.delegating().all(|(_, vnet)| vnet.manages(self.pool(), &host, target.port()).is_some())
    }

    /// Whether a call on this path is one that documents delegate.
    ///
    /// SECURITY: what holds on the managed path only is left out for a network that these documents delegate to, and no other.
    pub(super) fn delegates(&self, route: &Route) -> bool {
        match route {
            Route::Managed => false,
            Route::Delegated(network) => self.delegating().any(|(_, vnet)| vnet.network == *network),
        }
    }

    /// What `securityRules` say of an address on the delegated path: every document that has some must allow it. The rule of
    /// the lowest that did.
    pub(super) fn ask_network(
        &self,
        address: IpAddr,
        port: Port,
        would_deny: &mut Option<Denial>,
    ) -> Result<Option<Cause>, Denial> {
        let mut allowed = None;
        for (document, vnet) in self.delegating().filter(|(_, vnet)| vnet.is_ruled()) {
            let cause =
                |id: Option<u32>| Cause { document: Arc::clone(document), rule: id.map(RuleId::Security) };
            match self.ask_one_network(vnet, address, port) {
                Ruled::Allow(id) => allowed = Some(cause(Some(id))),
                Ruled::Deny(id) => carry_out(Denial::by(Reason::NetworkRuleDenied, cause(id)), would_deny)?,
                Ruled::Unsaid(inner) => {
                    let detail = format!(
                        "{address} carries {inner}, which no entry of securityRules of {} policy `{}` allows",
                        document.scope.kind(),
                        document.name
                    );
                    let denial = Denial::by(Reason::NetworkRuleDenied, cause(None));
                    let denial =
                        Denial { detail: detail.into(), near: Some(Box::new(Near::Inner(inner))), ..denial };
                    carry_out(denial, would_deny)?;
                }
            }
        }
        Ok(allowed)
    }

    /// What the `securityRules` of one document say of an address, which may carry IPv4 inside.
    ///
    /// | the address | the IPv4 inside | said |
    /// |---|---|---|
    /// | is denied by a rule, or by none allowed | any | Deny |
    /// | is allowed | is denied by a rule | Deny |
    /// | is allowed | is allowed by a rule | Allow |
    /// | is allowed, by rules without a destination within the prefix that carries it | no rule is about it | Deny |
    /// | is allowed, and an Allow before any Deny has a destination within that prefix, as `64:ff9b::/96` | no rule is about it | Allow |
    /// | is a mapped one (`::ffff:0:0/96`), whatever allows it | no rule is about it | Deny |
    fn ask_one_network(&self, vnet: &Delegation, address: IpAddr, port: Port) -> Ruled {
        let first = |form: IpAddr| vnet.first(form, port);
        let denied = |form| first(form).filter(|(_, action)| *action == Action::Deny);
        if let Some((id, _)) = self.guards().views(address).find_map(denied) {
            return Ruled::Deny(Some(id));
        }
        let Some((id, _)) = first(address) else { return Ruled::Deny(None) };
        // SECURITY: the network sees a packet to 192.0.2.7 of what is sent to [::ffff:192.0.2.7].
        if first(address.to_canonical()).is_none() {
            return Ruled::Deny(None);
        }
        // SECURITY: a translator of the network makes 192.0.2.7 of [64:ff9b::192.0.2.7], and `::/0` says nothing of that.
        let mut inside = special::carried(address, &self.guards().nat64);
        let unsaid = inside
            .find(|inner| first(inner.address.into()).is_none() && !vnet.names(address, port, inner.length));
        unsaid.map_or(Ruled::Allow(id), |inner| Ruled::Unsaid(inner.address))
    }

    /// The permit to give a name to the parent proxy of its path; None where names are resolved and addresses judged here.
    ///
    /// SECURITY: what a name leads to is not seen here then: it is for the parent proxy to keep its own host from others. The
    /// guards that need no address hold all the same: names that lead to one place only, and port 25 of the managed path where
    /// some document is asked.
    ///
    /// # Errors
    /// There is no policy to ask, or a call like this takes another path; a guard.
    pub fn admit_by_name(&self, permit: &TargetPermit) -> Result<Option<NamePermit>, Denial> {
        self.admit_route(permit)?;
        let TargetPermit { target, route, .. } = permit;
        let by_name = self.guards().networks.is_by_name(route);
        let Some(name) = target.host().name().filter(|_| by_name) else { return Ok(None) };
        if let Some(address) = special::place_of(name)
            && let Some(reason) = self.guards().hardest(address, target.port())
        {
            let detail = format!("{name} is {address}, which is never reached through this gateway");
            return Err(Denial::new(reason, detail));
        }
        if !self.delegates(route) && target.port().get() == SMTP && !self.asks_none() {
            return Err(Denial::new(Reason::GuardPort, "port 25 is closed"));
        }
        Ok(Some(NamePermit { target: target.clone(), route: route.clone() }))
    }

    /// Question B for what is under way already: its path must be the one that a call would take, its address be permitted,
    /// if it is known.
    ///
    /// # Errors
    /// `policy_change` where the path is another one, or the denial of the address.
    pub fn admit_way(&self, permit: &TargetPermit, way: &Way) -> Result<Option<AddressPermit>, Denial> {
        self.admit_route(permit)?;
        if way.route != permit.route {
            return Err(self.other_path(&way.route, &permit.target));
        }
        way.address.map(|address| self.admit_address(permit, address)).transpose()
    }

    /// Whether a permit is for the path that a call takes, and there are documents to ask.
    ///
    /// INVARIANT: the permit may be another policy's; what is asked further holds for the path that it names.
    pub(super) fn admit_route(&self, permit: &TargetPermit) -> Result<(), Denial> {
        self.check()?;
        if !self.has_paths() && permit.route == Route::Managed {
            return Ok(());
        }
        if permit.route == self.route(&permit.target) {
            Ok(())
        } else {
            Err(self.other_path(&permit.route, &permit.target))
        }
    }

    /// The denial of what took one path where another is right, by the document that delegates.
    ///
    /// | the right path | the document | the words |
    /// |---|---|---|
    /// | delegated | the highest that keeps the target off the managed path | that it delegates |
    /// | managed, as documents list the target | the lowest of them | its entry |
    /// | managed, as a platform host | none | that |
    /// | managed, as no document delegates | none | that |
    #[cold]
    fn other_path(&self, taken: &Route, target: &Target) -> Denial {
        let named = |document: &Compiled| format!("{} `{}`", document.scope.kind(), document.name);
        let host = HostKey::new(target.host());
        let is_off = |vnet: &Delegation| {
            target.host().ip().is_some() || vnet.manages(self.pool(), &host, target.port()).is_none()
        };
        let right = self.route(target);
        let (document, why) = match (&right, self.managing(target)) {
            (Route::Delegated(_), _) => {
                let document = self.delegating().find(|(_, vnet)| is_off(vnet)).map(|(document, _)| document);
                (
                    document,
                    document.map(|by| format!(", to which {} delegates", named(by))).unwrap_or_default(),
                )
            }
            (Route::Managed, _) if self.has_paths() && self.is_platform(target) => {
                (None, ", as one of the operator's platform hosts".to_owned())
            }
            (Route::Managed, Some((document, vnet, place))) => {
                (Some(document), format!(" by {} of {}", vnet.label(place), named(document)))
            }
            (Route::Managed, None) => (None, ", as no document delegates".to_owned()),
        };
        let (taken, right) = (taken.network(), right.network());
        let detail = format!("it went by network `{taken}`, and a call like this takes `{right}`{why}");
        let cause = document.map(|document| Cause { document: Arc::clone(document), rule: None });
        Denial { cause, ..Denial::new(Reason::PolicyChange, detail) }
    }
}
