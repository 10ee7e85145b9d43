//! What becomes of what cannot be read as it is: TLS, and what is no HTTP (`policy.md` §7).
//!
//! | `trafficInspection`, the strongest of all documents | TLS | what is no HTTP |
//! |---|---|---|
//! | `None` | never decrypted | passes |
//! | `Partial` | decrypted where an entry of `rules` names the host | passes |
//! | `Legacy` | decrypted | passes |
//! | `Full` | decrypted | `not_http` |
//!
//! Where the verdict hangs on the request, what is no HTTP never passes, and TLS only decrypted. What the operator
//! excludes (`intercept.exclude`) is not decrypted whatever a document says. Where nothing can be decrypted, TLS that should
//! be is refused, but for hosts that documents under `Partial` name in rules about the host alone.
//!
//! Where no document is asked (`skipEgressProxy`), it is as under `None`.
//!
//! A document that only reports decrypts as any other, and lets everything pass.

use std::sync::Arc;

use super::compile::Compiled;
use super::decision::{Cause, Denial, TargetPermit};
use super::document::RuleAction;
use super::evaluate::Asked;
use super::mode::{Enforcement, Inspection};
use super::reason::Reason;
use super::rule_list::RuleList;
use super::scope::Policy;
use crate::addr::{Host, Name, Target};

impl Policy {
    /// Whether TLS toward a permitted target is decrypted here.
    #[must_use]
    pub fn decrypts(&self, permit: &TargetPermit) -> bool {
        if !self.guards().interception.is_possible() || self.is_excluded(permit) {
            return false;
        }
        match self.inspection() {
            Inspection::None => false,
            Inspection::Partial => permit.open.is_some() || self.names(permit, |_, _| true),
            Inspection::Legacy | Inspection::Full => true,
        }
    }

    /// Whether TLS toward a permitted target may pass as it is.
    ///
    /// # Errors
    /// `rule_denied` by the rule that hangs on what is inside; `policy_error` where it has to be decrypted.
    pub fn admit_sealed(&self, permit: &TargetPermit) -> Result<(), Denial> {
        // INVARIANT: the permit may be another policy's.
        self.check()?;
        if let Some(cause) = &permit.open {
            let detail = if cause.rewrites() {
                "a rule sends requests elsewhere, which cannot be done inside TLS that is not decrypted"
            } else {
                "a rule asks for a path or method, which cannot be seen inside TLS that is not decrypted"
            };
            return Err(Denial { detail: detail.into(), ..Denial::by(Reason::RuleDenied, cause.clone()) });
        }
        if self.decrypts(permit) {
            return Err(Denial::new(Reason::PolicyError, "TLS to this host is decrypted, and this is not"));
        }
        if self.needs_decryption(permit) && !self.is_excluded(permit) {
            let detail = "TLS to this host has to be decrypted, and there is no authority for that";
            return Err(Denial::new(Reason::PolicyError, detail));
        }
        Ok(())
    }

    /// Whether something that is neither TLS nor HTTP may pass toward a permitted target.
    ///
    /// # Errors
    /// `not_http`.
    pub fn admit_opaque(&self, permit: &TargetPermit) -> Result<(), Denial> {
        self.check()?;
        if let Some(cause) = &permit.open {
            let detail = if cause.rewrites() {
                "a rule sends requests elsewhere, and this is no HTTP"
            } else {
                "a rule asks for a path or method, and this is no HTTP"
            };
            return Err(Denial { detail: detail.into(), ..Denial::by(Reason::NotHttp, cause.clone()) });
        }
        match self.enforcing().find(|document| document.inspection == Inspection::Full) {
            Some(document) => Err(Denial {
                detail: "`trafficInspection: Full` lets only HTTP pass".into(),
                ..Denial::by(Reason::NotHttp, Cause { document: Arc::clone(document), rule: None })
            }),
            None => Ok(()),
        }
    }

    /// Whether everything may pass toward a permitted target unread, so that nothing of it must be seen before it is
    /// reached.
    #[must_use]
    pub fn passes_unread(&self, permit: &TargetPermit) -> bool {
        self.admit_opaque(permit).is_ok() && self.admit_sealed(permit).is_ok()
    }

    /// The documents whose Deny is carried out.
    fn enforcing(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.asked().filter(|document| document.enforcement == Enforcement::Enforce)
    }

    /// Whether TLS toward a permitted target has to be decrypted, and nothing can be.
    fn needs_decryption(&self, permit: &TargetPermit) -> bool {
        if self.guards().interception.is_possible() {
            return false;
        }
        if self.enforcing().any(|document| document.inspection >= Inspection::Legacy) {
            return true;
        }
        let looks = |document: &Compiled, list: &RuleList| {
            let changes = |id| matches!(document.action(id), RuleAction::Transform | RuleAction::Rewrite);
            document.enforcement == Enforcement::Enforce
                && (list.is_conditional() || list.unconditional().is_some_and(changes))
        };
        self.inspection() == Inspection::Partial && self.names(permit, looks)
    }

    /// Whether the operator keeps TLS to this host from being decrypted.
    ///
    /// SECURITY: a literal is not excluded by the name that a client gives it: it leads wherever the client likes.
    fn is_excluded(&self, permit: &TargetPermit) -> bool {
        let target = &permit.target;
        let mut excluded = self.guards().interception.exclude.iter();
        excluded.any(|pattern| pattern.matches(target.host(), target.port()))
    }

    /// Whether rules of some document that are such ones name a permitted target, or the name that the call gives it
    /// besides.
    fn names(&self, permit: &TargetPermit, such: impl Fn(&Compiled, &RuleList) -> bool) -> bool {
        let named = |name: &Name| Target::new(Host::Name(name.clone()), permit.target.port());
        self.names_target(&permit.target, &such)
            || permit.alias.as_ref().is_some_and(|name| self.names_target(&named(name), &such))
    }

    /// Whether rules of some document that are such ones name this target.
    pub(super) fn names_target(&self, target: &Target, such: &impl Fn(&Compiled, &RuleList) -> bool) -> bool {
        let mut named = false;
        if !self.asked().any(|document| document.has_rules()) {
            return false;
        }
        let asked = Asked::of(target);
        for document in self.asked().filter(|document| document.has_rules()) {
            let mut see = |asked: &Asked<'_>| {
                document.hosts.rules(self.pool(), &asked.host, asked.port, |found| {
                    named |= document.rules_at(found.place).is_some_and(|list| such(document, list));
                });
            };
            see(&asked);
            asked.inner(&self.guards().nat64).for_each(|form| see(&form));
        }
        named
    }
}
