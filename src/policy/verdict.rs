//! What one document says, and every way that can turn out while the request is unknown.

use super::decision::RuleId;
use super::reason::Reason;

/// What one document says to a target, with or without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Let it pass; by this rule, or by default.
    Allow(Option<RuleId>),
    /// Refuse it.
    Deny(Reason, Option<RuleId>),
    /// It hangs on the path or method, which this rule asks for.
    Open(RuleId),
}

impl Verdict {
    /// What two verdicts that must both allow come to.
    pub(super) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny(..), _) | (Self::Open(_), Self::Open(_) | Self::Allow(_)) | (_, Self::Allow(_)) => {
                self
            }
            (_, Self::Deny(..) | Self::Open(_)) => other,
        }
    }
}

/// The ways a verdict can turn out while path and method are unknown.
#[derive(Default)]
pub(super) struct Ways {
    /// The first rule that might fit.
    hangs_on: Option<RuleId>,
    /// One of those that might fit allows.
    may_allow: bool,
    /// One of those that might fit denies.
    may_deny: bool,
    /// The rule that decides when none of the others fits.
    pub(super) last: Option<Verdict>,
}

impl Ways {
    /// Adds what happens if `rule` fits.
    pub(super) fn maybe(&mut self, rule: RuleId, verdict: Verdict) {
        self.hangs_on.get_or_insert(rule);
        match verdict {
            Verdict::Allow(_) => self.may_allow = true,
            Verdict::Deny(..) | Verdict::Open(_) => self.may_deny = true,
        }
    }

    /// The verdict: that of the last way when every way agrees with it, else open.
    pub(super) fn join(self, rest: impl FnOnce() -> Verdict) -> Verdict {
        let last = self.last.unwrap_or_else(rest);
        let disagrees = match last {
            Verdict::Allow(_) => self.may_deny,
            Verdict::Deny(..) => self.may_allow,
            Verdict::Open(_) => true,
        };
        match self.hangs_on {
            Some(rule) if disagrees => Verdict::Open(rule),
            Some(_) | None => last,
        }
    }
}
