//! Guards: addresses that lie below every rule (`policy.md` §5).
//!
//! | guard | kind | lifted by |
//! |---|---|---|
//! | `guard_self`: the gateway's own addresses, sockets, resolvers; the unspecified address where it is exempt | hard | nothing |
//! | `guard_metadata`: cloud metadata addresses | hard | the operator's `guards.exempt` |
//! | `guard_local`: loopback, link-local, multicast, broadcast, unspecified, site-local | hard | `guards.exempt` |
//! | `guard_private`: RFC 1918, shared, unique-local, other special-purpose ranges | soft | `guards.exempt`, or a `cidrRules` Allow in every document |
//! | `guard_port`: port 25 | soft | `guards.exempt`, or a `cidrRules` Allow that lists 25 in every document |

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::network::Networks;
use super::pattern::Pattern;
use super::reason::Reason;
use crate::addr::Port;
use crate::addr::special::{self, Ipv6Prefix, Special};

/// The port of SMTP, which no sandbox reaches by accident.
pub(super) const SMTP: u16 = 25;

/// What the operator says about addresses and hellos, and what belongs to the gateway itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    /// Prefixes exempt from every guard but `guard_self`.
    pub exempt: Vec<IpNet>,
    /// NAT64 prefixes of this network, besides `64:ff9b::/96`.
    pub nat64: Vec<Ipv6Prefix>,
    /// Addresses of this host's interfaces, and the operator's `guards.self`.
    pub own: Vec<IpNet>,
    /// Sockets of the gateway: its listeners, resolvers and parent proxies. An unspecified address stands
    /// for every local one.
    pub sockets: Vec<SocketAddr>,
    /// Whether TLS whose `ClientHello` is encrypted is refused (`ech: Deny`).
    pub deny_ech: bool,
    /// Whether and where TLS can be decrypted.
    pub interception: Interception,
    /// The networks that documents may delegate to.
    pub networks: Networks,
    /// Whether documents may ask that their rules are skipped (`skipEgressProxy: Permitted`).
    pub skip_permitted: bool,
}

/// Whether and where TLS can be decrypted (`intercept` of the process configuration).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interception {
    /// Whether there is an authority to make certificates.
    pub authority: Authority,
    /// The hosts whose TLS is never decrypted, as their clients would not have it.
    pub exclude: Vec<Pattern>,
}

/// Whether there is an authority to make certificates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Authority {
    /// There is none: a document that needs it does not load.
    Missing,
    /// Nobody has said; decided as if there were one.
    #[default]
    Unknown,
    /// There is one.
    Present,
}

impl Interception {
    /// Whether TLS can be decrypted, as far as is known.
    pub(super) const fn is_possible(&self) -> bool {
        !matches!(self.authority, Authority::Missing)
    }
}

/// An address with every form it is judged by: itself, and each IPv4 address inside it.
pub(super) fn views(address: IpAddr, nat64: &[Ipv6Prefix]) -> impl Iterator<Item = IpAddr> {
    std::iter::once(address).chain(embedded(address, nat64))
}

/// Each IPv4 address inside an address.
pub(super) fn embedded(address: IpAddr, nat64: &[Ipv6Prefix]) -> impl Iterator<Item = IpAddr> {
    special::embedded(address, nat64).map(IpAddr::V4)
}

impl Guards {
    /// Every form that `address` is judged by.
    pub(super) fn views(&self, address: IpAddr) -> impl Iterator<Item = IpAddr> {
        views(address, &self.nat64)
    }

    /// The hard guard that an address runs into on `port` by any of its forms; the least liftable of them.
    pub(super) fn hardest(&self, address: IpAddr, port: Port) -> Option<Reason> {
        let rank = |reason: &Reason| {
            [Reason::GuardSelf, Reason::GuardMetadata, Reason::GuardLocal]
                .iter()
                .position(|known| known == reason)
        };
        self.views(address).filter_map(|view| self.hard(view, port)).min_by_key(rank)
    }

    /// The hard guard that `view` on `port` runs into.
    fn hard(&self, view: IpAddr, port: Port) -> Option<Reason> {
        if self.is_own(view, port) {
            return Some(Reason::GuardSelf);
        }
        if self.is_exempt(view) {
            // SECURITY: what connects to the unspecified address reaches this host, which nothing exempts.
            return view.is_unspecified().then_some(Reason::GuardSelf);
        }
        match special::classify(view) {
            Some(Special::Metadata) => Some(Reason::GuardMetadata),
            Some(range) if range.is_hard() => Some(Reason::GuardLocal),
            Some(_) | None => None,
        }
    }

    /// The soft guard that `view` runs into unless something lifts it.
    pub(super) fn soft(&self, view: IpAddr) -> Option<Reason> {
        (!self.is_exempt(view) && special::classify(view).is_some()).then_some(Reason::GuardPrivate)
    }

    /// Whether `port` is guarded toward `view`.
    pub(super) fn guards_port(&self, view: IpAddr, port: Port) -> bool {
        port.get() == SMTP && !self.is_exempt(view)
    }

    /// Whether the operator lifts guards for `view`.
    fn is_exempt(&self, view: IpAddr) -> bool {
        self.exempt.iter().any(|net| net.contains(&view))
    }

    /// Whether `view` on `port` is the gateway itself.
    fn is_own(&self, view: IpAddr, port: Port) -> bool {
        let local = || view.is_loopback() || view.is_unspecified();
        self.own.iter().any(|net| net.contains(&view))
            || self.sockets.iter().any(|socket| {
                let own = socket.ip().to_canonical();
                // A translated address and the one inside it lead to one place.
                let is_it = || self.views(own).any(|form| form == view);
                socket.port() == port.get() && (is_it() || own.is_unspecified() && local())
            })
    }
}
