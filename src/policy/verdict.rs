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
    /// It hangs on the request: on the path or method, which this rule asks for, or on where this rule rewrites it to.
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
    /// The first rule that might fit, by its place in `rules`.
    hangs_on: Option<u32>,
    /// One of those that might fit allows.
    may_allow: bool,
    /// One of those that might fit denies.
    may_deny: bool,
    /// The rule that decides when none of the others fits.
    last: Option<Verdict>,
}

impl Ways {
    /// The ways that end in `last`, if nothing before it fits.
    pub(super) fn ending(last: Option<Verdict>) -> Self {
        Self { last, ..Self::default() }
    }

    /// Adds what happens if the rule at this place fits.
    pub(super) fn maybe(&mut self, rule: u32, verdict: Verdict) {
        self.hangs_on = Some(self.hangs_on.map_or(rule, |first| first.min(rule)));
        match verdict {
            Verdict::Allow(_) => self.may_allow = true,
            Verdict::Deny(..) => self.may_deny = true,
            Verdict::Open(_) => (self.may_allow, self.may_deny) = (true, true),
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
            Some(rule) if disagrees => Verdict::Open(RuleId::Rule(rule)),
            Some(_) | None => last,
        }
    }
}
