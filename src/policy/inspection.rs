//! What becomes of what cannot be read as it is: TLS, and what is no HTTP (`policy.md` §7).
//!
//! | `trafficInspection`, the strongest of all documents | TLS | what is no HTTP |
//! |---|---|---|
//! | `None` | never decrypted | passes |
//! | `Partial` | decrypted where an entry of `rules` names the host | passes |
//! | `Legacy` | decrypted | passes |
//! | `Full` | decrypted | `not_http` |
//!
//! Where the verdict hangs on a path or a method, what is no HTTP never passes, and TLS only decrypted. What the operator
//! excludes (`intercept.exclude`) is not decrypted whatever a document says.

use super::decision::{Denial, TargetPermit};
use super::evaluate::Asked;
use super::mode::Inspection;
use super::reason::Reason;
use super::scope::Policy;
use crate::addr::{Host, Name, Target};

impl Policy {
    /// Whether TLS toward a permitted target is decrypted here.
    #[must_use]
    pub fn decrypts(&self, permit: &TargetPermit) -> bool {
        let interception = &self.guards().interception;
        if !interception.is_possible() || self.is_excluded(permit) {
            return false;
        }
        match self.inspection() {
            Inspection::None => false,
            Inspection::Partial => permit.open.is_some() || self.names(permit),
            Inspection::Legacy | Inspection::Full => true,
        }
    }

    /// Whether TLS toward a permitted target may pass as it is.
    ///
    /// # Errors
    /// `rule_denied` by the rule that hangs on what is inside.
    pub fn admit_sealed(&self, permit: &TargetPermit) -> Result<(), Denial> {
        match &permit.open {
            Some(cause) => Err(Denial {
                detail:
                    "a rule asks for a path or method, which cannot be seen inside TLS that is not decrypted"
                        .into(),
                ..Denial::by(Reason::RuleDenied, cause.clone())
            }),
            None if self.decrypts(permit) => {
                Err(Denial::new(Reason::PolicyError, "TLS to this host is decrypted, and this is not"))
            }
            None => Ok(()),
        }
    }

    /// Whether something that is neither TLS nor HTTP may pass toward a permitted target.
    ///
    /// # Errors
    /// `not_http`.
    pub fn admit_opaque(&self, permit: &TargetPermit) -> Result<(), Denial> {
        match &permit.open {
            Some(cause) => Err(Denial {
                detail: "a rule asks for a path or method, and this is no HTTP".into(),
                ..Denial::by(Reason::NotHttp, cause.clone())
            }),
            None if self.inspection() == Inspection::Full => {
                Err(Denial::new(Reason::NotHttp, "`trafficInspection: Full` lets only HTTP pass"))
            }
            None => Ok(()),
        }
    }

    /// Whether everything may pass toward a permitted target unread, so that nothing of it must be seen before it is
    /// reached.
    #[must_use]
    pub fn passes_unread(&self, permit: &TargetPermit) -> bool {
        self.admit_opaque(permit).is_ok() && !self.decrypts(permit)
    }

    /// Whether the operator keeps TLS to this host from being decrypted.
    ///
    /// SECURITY: a literal is not excluded by the name that a client gives it: it leads wherever the client likes.
    fn is_excluded(&self, permit: &TargetPermit) -> bool {
        let target = &permit.target;
        let mut excluded = self.guards().interception.exclude.iter();
        excluded.any(|pattern| pattern.matches(target.host(), target.port()))
    }

    /// Whether an entry of some document's `rules` names a permitted target, or the name that the call gives it besides.
    fn names(&self, permit: &TargetPermit) -> bool {
        let named = |name: &Name| Target::new(Host::Name(name.clone()), permit.target.port());
        self.names_target(&permit.target)
            || permit.alias.as_ref().is_some_and(|name| self.names_target(&named(name)))
    }

    /// Whether an entry of some document's `rules` names this target.
    fn names_target(&self, target: &Target) -> bool {
        let mut named = false;
        let mut documents = self.documents().filter(|document| document.has_rules()).peekable();
        if documents.peek().is_none() {
            return false;
        }
        let asked = Asked::of(target);
        for document in documents {
            let mut see = |asked: &Asked<'_>| {
                document.hosts.rules(self.pool(), &asked.host, asked.port, |_| named = true);
            };
            see(&asked);
            asked.inner(&self.guards().nat64).for_each(|form| see(&form));
        }
        named
    }
}
