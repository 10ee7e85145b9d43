//! What a question is answered with: a permit, or a denial that names its rule.
//!
//! A permit is evidence. Its fields are private, it cannot be cloned, and only
//! [`Policy`](super::Policy) makes one, so an outward socket cannot be opened without a decision:
//!
//! ```compile_fail
//! use sluicegate::policy::AddressPermit;
//! let address: std::net::SocketAddr = "192.0.2.1:443".parse().unwrap();
//! let forged = AddressPermit { address };
//! ```

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::compile::Compiled;
use super::document::RuleAction;
use super::limit::Limit;
use super::mode::Scope;
use super::near::Near;
use super::plan::{Plan, Rewritten};
use super::reason::Reason;
use super::route::Route;
use crate::addr::{Name, Target};
use crate::source::Place;

/// Which rule of a document spoke: the list it stands in and its position there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleId {
    /// `hostRules[n]`.
    Host(u32),
    /// `cidrRules[n]`.
    Cidr(u32),
    /// `rules[n]`.
    Rule(u32),
    /// `categories[n]`.
    Category(u32),
    /// `vnet.securityRules[n]`.
    Security(u32),
}

impl fmt::Display for RuleId {
    /// The list and the position, as in `hostRules[2]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(index) => write!(f, "hostRules[{index}]"),
            Self::Cidr(index) => write!(f, "cidrRules[{index}]"),
            Self::Rule(index) => write!(f, "rules[{index}]"),
            Self::Category(index) => write!(f, "categories[{index}]"),
            Self::Security(index) => write!(f, "securityRules[{index}]"),
        }
    }
}

/// A document and the rule in it that decided; no rule stands for its `defaultAction`.
#[derive(Debug, Clone)]
pub struct Cause {
    pub(super) document: Arc<Compiled>,
    pub(super) rule: Option<RuleId>,
}

impl Cause {
    /// The document's name.
    #[must_use]
    pub fn policy(&self) -> &Arc<str> {
        &self.document.name
    }

    /// The document's scope.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.document.scope
    }

    /// The rule's list and position.
    #[must_use]
    pub const fn rule_id(&self) -> Option<RuleId> {
        self.rule
    }

    /// The rule as a reader of the document would point at it: `hostRules[2] *.github.com`, or its name.
    #[must_use]
    pub fn rule(&self) -> Option<String> {
        self.rule.map(|rule| self.document.label(rule))
    }

    /// Whether the rule sends requests elsewhere.
    pub(super) fn rewrites(&self) -> bool {
        matches!(self.rule, Some(RuleId::Rule(id)) if self.document.action(id) == RuleAction::Rewrite)
    }

    /// Where the rule stands; where the document stands when no rule decided.
    #[must_use]
    pub fn place(&self) -> Place {
        self.document.place_of(self.rule)
    }
}

/// A refusal: why, and by which rule of which document. Not an error: the question was answered.
#[derive(Debug, Clone)]
pub struct Denial {
    pub(super) reason: Reason,
    pub(super) cause: Option<Cause>,
    pub(super) detail: Cow<'static, str>,
    /// What was denied, when that is the second name of a call.
    pub(super) alias: Option<Target>,
    /// The guard that would hold the address if every document allowed it.
    pub(super) guard: Option<Reason>,
    /// The rule of the document that came near to allowing it.
    pub(super) near: Option<Box<Near>>,
    /// The limit that was reached.
    pub(super) limit: Option<Limit>,
}

impl Denial {
    /// A denial that no document made: a guard, a malformed message, a limit.
    ///
    /// `detail` is a full sentence for the person who reads the refusal; it must not carry a secret.
    #[must_use]
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, cause: None, detail: detail.into(), alias: None, guard: None, near: None, limit: None }
    }

    /// A denial by `cause`.
    pub(super) fn by(reason: Reason, cause: Cause) -> Self {
        Self { cause: Some(cause), ..Self::new(reason, "") }
    }

    /// The same as the reason why something toward `target` that was permitted is closed. Its own reason and its cure
    /// become the detail.
    #[must_use]
    pub fn overruling(self, target: &Target) -> Self {
        let hint = self.hint(Some(target)).unwrap_or_default();
        let words = [self.reason.as_str(), &self.detail, &hint];
        let words: Vec<&str> = words.into_iter().filter(|text| !text.is_empty()).collect();
        Self { reason: Reason::PolicyChange, detail: words.join(": ").into(), ..self }
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The document and rule, when a document decided.
    #[must_use]
    pub const fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// What was found, as far as more is known than the reason.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The limit of a sandbox that was reached, when that is why.
    #[must_use]
    pub const fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// What happened, as a sentence about `target`, or about the name that the call gives it.
    #[must_use]
    pub fn message(&self, target: &str) -> String {
        match &self.alias {
            Some(alias) => super::explain::message(self, &alias.to_string()),
            None => super::explain::message(self, target),
        }
    }

    /// What to change, as a sentence; nothing when no change of a document would help.
    #[must_use]
    pub fn hint(&self, target: Option<&Target>) -> Option<String> {
        super::explain::hint(self, self.alias.as_ref().or(target))
    }
}

/// What is known of one HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestFacts<'a> {
    /// The method, as sent (RFC 9110 §9: case-sensitive).
    pub method: &'a str,
    /// The path in canonical form, without query.
    pub path: &'a str,
    /// Whether it is sent on over TLS, whose certificate is verified.
    pub secure: bool,
}

/// Question A was answered: this target may be resolved, and asked about further.
#[derive(Debug)]
pub struct TargetPermit {
    pub(super) target: Target,
    pub(super) alias: Option<Name>,
    pub(super) route: Route,
    pub(super) cause: Cause,
    pub(super) open: Option<Cause>,
    pub(super) would_deny: Option<Denial>,
    pub(super) skipped: bool,
}

impl TargetPermit {
    /// The target that was judged.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The path that the call takes, DNS included.
    #[must_use]
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// The lowest document that allowed it, and the rule. Where none did, as all of them only report or none is asked: the one
    /// that skips the rules, or the highest.
    #[must_use]
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The rule on whose path or methods the verdict still hangs, if any.
    #[must_use]
    pub const fn open(&self) -> Option<&Cause> {
        self.open.as_ref()
    }

    /// What a document under `enforcement: Report` would have denied.
    #[must_use]
    pub const fn would_deny(&self) -> Option<&Denial> {
        self.would_deny.as_ref()
    }

    /// Whether some document was not asked, as it or one below it says `skipEgressProxy`.
    #[must_use]
    pub const fn is_skipped(&self) -> bool {
        self.skipped
    }
}

/// Question B was answered: this very address may be dialled, once.
#[derive(Debug)]
pub struct AddressPermit {
    pub(super) address: SocketAddr,
    pub(super) route: Route,
    pub(super) network_rule: Option<Cause>,
    pub(super) would_deny: Option<Denial>,
}

impl AddressPermit {
    /// The judged address.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The path on which it may be dialled, and on no other.
    #[must_use]
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// The entry of `securityRules` that allowed it, of the lowest document that has some.
    #[must_use]
    pub const fn network_rule(&self) -> Option<&Cause> {
        self.network_rule.as_ref()
    }

    /// What a document under `enforcement: Report` would have denied.
    #[must_use]
    pub const fn would_deny(&self) -> Option<&Denial> {
        self.would_deny.as_ref()
    }

    /// A permit for the gateway's own dials in tests of lower rooms.
    #[cfg(all(test, feature = "proxy"))]
    pub(crate) const fn for_test(address: SocketAddr) -> Self {
        Self { address, route: Route::Managed, network_rule: None, would_deny: None }
    }
}

/// Question B cannot be asked, as the operator leaves it to the parent proxy of this path to resolve names: it may be given
/// this name, once.
#[derive(Debug)]
pub struct NamePermit {
    pub(super) target: Target,
    pub(super) route: Route,
}

impl NamePermit {
    /// The target that was judged.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The path on which it may be given to the parent proxy, and on no other.
    #[must_use]
    pub const fn route(&self) -> &Route {
        &self.route
    }
}

/// Question C was answered: this request may be forwarded.
#[derive(Debug)]
pub struct RequestPermit {
    pub(super) cause: Cause,
    pub(super) by_request: bool,
    pub(super) would_deny: Option<Denial>,
    pub(super) plan: Plan,
    pub(super) rewritten: Option<Rewritten>,
    pub(super) skipped: bool,
}

impl RequestPermit {
    /// The lowest document that allowed it, and the rule. Where none did, as all of them only report or none is asked: the one
    /// that skips the rules, or the highest.
    #[must_use]
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Whether some document was not asked, as it or one below it says `skipEgressProxy`.
    #[must_use]
    pub const fn is_skipped(&self) -> bool {
        self.skipped
    }

    /// How its headers are edited.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where it goes instead of where it asked to; taken once.
    #[must_use]
    pub const fn rewritten(&mut self) -> Option<Rewritten> {
        self.rewritten.take()
    }

    /// Whether some rule for this host decides by path or method, so that headers which override either
    /// must not reach the origin.
    #[must_use]
    pub const fn decides_by_request(&self) -> bool {
        self.by_request
    }

    /// What a document under `enforcement: Report` would have denied.
    #[must_use]
    pub const fn would_deny(&self) -> Option<&Denial> {
        self.would_deny.as_ref()
    }
}

/// The one denial that stands for those of every resolved address: their common reason, else
/// `dns_all_denied`.
#[must_use]
pub fn settle(denials: Vec<(IpAddr, Denial)>) -> Denial {
    let mut all = denials.into_iter().map(|(_, denial)| denial);
    let Some(first) = all.next() else {
        return Denial::new(Reason::DnsFailed, "the name has no address");
    };
    if all.all(|denial| denial.reason == first.reason) {
        first
    } else {
        Denial::new(Reason::DnsAllDenied, "every address of the name was refused, for different reasons")
    }
}
