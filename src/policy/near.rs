//! What was denied by default beside a rule that names its host: the rule is what to change, and no line for the whole host.

use std::net::Ipv4Addr;

use super::compile::Compiled;
use super::decision::{Denial, RequestFacts};
use super::evaluate::Asked;
use super::reason::Reason;
use super::scope::Policy;
use crate::addr::Target;

/// The first rule that lets some requests to a host pass, and why it did not let this one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Near {
    /// It does not fit the method and path.
    Request(u32),
    /// The port is not one of the document's.
    Port(u32),
    /// No rule, but the delegated path, on which the guard does not hold.
    Delegated {
        /// What puts the name on the managed path, of which document, and where that is written.
        by: String,
        /// Whether a `cidrRules` Allow can lift it too.
        lifts: bool,
    },
    /// No rule, and `cidrRules` may not be written, as a parent proxy of a path resolves names.
    Remote,
    /// No rule of a network, about the IPv4 address inside of one that they allow.
    Inner(Ipv4Addr),
}

impl Policy {
    /// The rule that names the host of a denial by default.
    pub(super) fn near(
        &self,
        target: &Target,
        facts: Option<&RequestFacts<'_>>,
        denial: &Denial,
    ) -> Option<Near> {
        let cause = denial.cause.as_ref().filter(|_| denial.reason == Reason::DefaultDeny)?;
        let rule = self.granting(&cause.document, target)?;
        // Without a request the verdict would hang on it, were it not for the port.
        Some(if facts.is_some() { Near::Request(rule) } else { Near::Port(rule) })
    }

    /// What would let an address pass that a soft guard holds on the managed path, where that is not just a `cidrRules` Allow.
    pub(super) fn beside_guard(&self, target: &Target) -> Option<Near> {
        let networks = &self.guards().networks;
        let delegation = self.documents().find_map(|document| document.delegation());
        let remote = networks.managed_by_name
            || delegation.is_some_and(|vnet| networks.is_network_by_name(&vnet.network));
        // What the operator puts on the managed path no document takes away.
        let managing = self.managing(target).filter(|_| !networks.is_platform(target));
        match (managing, remote) {
            (None, false) => None,
            (None, true) => Some(Near::Remote),
            (Some((document, vnet, entry)), remote) => {
                let (label, place) = (vnet.label(entry), vnet.place_of(entry));
                let by = format!("{label} of policy `{}` ({place})", document.name);
                Some(Near::Delegated { by, lifts: !remote })
            }
        }
    }

    /// The first rule of a document that lets requests to this target pass by their path or method.
    fn granting(&self, document: &Compiled, target: &Target) -> Option<u32> {
        if !document.has_rules() {
            return None;
        }
        let (asked, mut first) = (Asked::of(target), None);
        document.hosts.rules(self.pool(), &asked.host, asked.port, |found| {
            let rule = document.rules_at(found.place).and_then(|list| list.conditional(false));
            first = first.into_iter().chain(rule).min();
        });
        first
    }
}
