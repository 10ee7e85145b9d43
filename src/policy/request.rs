//! Question C, and where a request that is rewritten goes.

use std::sync::Arc;

use super::compile::{Compiled, one};
use super::decision::{Cause, Denial, RequestFacts, RequestPermit, RuleId, TargetPermit};
use super::document::NewPlace;
use super::evaluate::{Asked, hold};
use super::pattern::Pattern;
use super::plan::{Elsewhere, Plan, Rewritten};
use super::reason::Reason;
use super::rule_list::RuleList;
use super::scope::Policy;
use super::verdict::Verdict;
use crate::addr::{Host, Port, Target};

/// A rule that changes a request, by the place of its document in the order.
pub(super) type Taken = (usize, u32);

impl Policy {
    /// Question C: may this request be sent, how is it changed, and where does it go? Asked for each request of a
    /// connection.
    ///
    /// Where the target is a literal, and the call gives it a name besides, both are asked, and both may change the request.
    /// A Rewrite's new place is judged as a question of its own:
    ///
    /// | document | is asked about the new place |
    /// |---|---|
    /// | above the one that rewrites | all steps; what its Transform for that place changes is changed as well |
    /// | the one that rewrites | a, b and Deny of c |
    /// | below it | nothing |
    ///
    /// # Errors
    /// The denial of the highest scope that denies; `policy_error` where two Rewrites meet; `secret_host_mismatch` or
    /// `secret_unavailable` of a header that the request needs.
    pub fn admit_request(
        &self,
        permit: &TargetPermit,
        facts: &RequestFacts<'_>,
    ) -> Result<RequestPermit, Denial> {
        let answer = self.ask(&permit.target, Some(facts))?;
        let conditional = |_: &Compiled, list: &RuleList| list.is_conditional();
        let mut by_request = self.names_target(&permit.target, &conditional);
        let mut would_deny = answer.would_deny;
        let mut changing = [answer.changing, [None; 3]];
        if let Some(name) = &permit.alias {
            let alias = Target::new(Host::Name(name.clone()), permit.target.port());
            let second = self.ask(&alias, Some(facts))?;
            by_request |= self.names_target(&alias, &conditional);
            would_deny = would_deny.or(second.would_deny);
            changing = [answer.changing, second.changing];
        }
        let (mut plan, mut rewritten) = (Plan::default(), None);
        if changing.iter().flatten().any(Option::is_some) {
            let places = changing.iter().flat_map(|rules| rules.iter().enumerate());
            let mut taken = places.filter_map(|(place, rule)| Some((place, (*rule)?))).collect();
            rewritten = self.rewrite(permit, facts, &mut taken, &mut would_deny)?;
            // A header that names another path would undo what was judged.
            by_request |= rewritten.is_some();
            let (to, secure) =
                rewritten.as_ref().map_or((permit, facts.secure), |new| (&new.permit, new.secure));
            plan = self.plan(taken, to, secure)?;
        }
        let skipped = self.is_skipped();
        Ok(RequestPermit { cause: answer.cause, by_request, would_deny, plan, rewritten, skipped })
    }

    /// Question C for a request that is under way already: it must go where it went.
    ///
    /// # Errors
    /// Question C's denial, or `policy_change`.
    pub fn admit_request_again(
        &self,
        permit: TargetPermit,
        facts: &RequestFacts<'_>,
        went: Option<&Elsewhere>,
    ) -> Result<TargetPermit, Denial> {
        let rewritten = self.admit_request(&permit, facts)?.rewritten();
        // SECURITY: P4: it is under way to where it was sent; that another place may be asked says nothing of that.
        if rewritten.as_ref().map(|to| to.elsewhere(facts.path)).as_ref() != went {
            let detail = "a request like this goes to another place than this one went to";
            return Err(Denial::new(Reason::PolicyChange, detail));
        }
        Ok(rewritten.map_or(permit, |to| to.permit))
    }

    /// Where a request goes that one of the rules `taken` rewrites. What changes it on the way there is added to them.
    fn rewrite(
        &self,
        permit: &TargetPermit,
        facts: &RequestFacts<'_>,
        taken: &mut Vec<Taken>,
        would_deny: &mut Option<Denial>,
    ) -> Result<Option<Rewritten>, Denial> {
        let mut found = taken.iter().filter_map(|(at, rule)| {
            let document = self.document(*at)?;
            Some((*at, document, *rule, document.changing(*rule)?.changes.place.as_ref()?))
        });
        let Some((at, document, rule, place)) = found.next() else { return Ok(None) };
        if let Some((_, other, rule, _)) = found.next() {
            return Err(rewritten_twice(other, rule));
        }
        let secure = place.secure.unwrap_or(facts.secure);
        let target = moved(&permit.target, place, facts.secure);
        let alias = permit.alias.clone().filter(|_| place.host.is_none());
        let path = place.path.clone();
        let facts = RequestFacts { path: path.as_deref().unwrap_or(facts.path), secure, ..*facts };
        let second = alias.as_ref().map(|name| Target::new(Host::Name(name.clone()), target.port()));
        let mut new = Vec::new();
        for target in std::iter::once(&target).chain(&second) {
            self.judge(at, target, &facts, &mut new, would_deny)?;
        }
        taken.extend(new);
        let cause = Cause { document: Arc::clone(document), rule: Some(RuleId::Rule(rule)) };
        let route = self.route(&target);
        let skipped = self.is_skipped();
        let permit = TargetPermit { target, alias, route, cause, open: None, would_deny: None, skipped };
        Ok(Some(Rewritten { permit, path, secure }))
    }

    /// Asks the documents down to the one that rewrites about the new place.
    fn judge(
        &self,
        rewriting: usize,
        target: &Target,
        facts: &RequestFacts<'_>,
        taken: &mut Vec<Taken>,
        would_deny: &mut Option<Denial>,
    ) -> Result<(), Denial> {
        let asked = Asked::of(target);
        for (at, document) in self.placed().take_while(|(at, _)| *at <= rewriting) {
            let verdict = if at < rewriting {
                self.ask_document(document, &asked, Some(facts))
            } else {
                self.ask_floor(document, &asked, facts)
            };
            match verdict {
                Verdict::Deny(reason, rule) => {
                    let guard = || self.guard_of(target);
                    let new = |denial| Denial { alias: Some(target.clone()), guard: guard(), ..denial };
                    hold(document, reason, rule, would_deny).map_err(new)?;
                }
                Verdict::Allow(rule) => {
                    let Some(rule) = document.changed_by(rule) else { continue };
                    if document.changing(rule).is_some_and(|own| own.changes.place.is_some()) {
                        return Err(rewritten_twice(document, rule));
                    }
                    taken.push((at, rule));
                }
                Verdict::Open(_) => {}
            }
        }
        Ok(())
    }
}

/// The denial of a request that two rules rewrite, by one of them.
fn rewritten_twice(document: &Arc<Compiled>, rule: u32) -> Denial {
    let cause = Cause { document: Arc::clone(document), rule: Some(RuleId::Rule(rule)) };
    let detail = "two rules rewrite this request, and a request is rewritten once".into();
    Denial { detail, ..Denial::by(Reason::PolicyError, cause) }
}

/// Where a Rewrite leads from a target that was asked for over TLS, or not.
///
/// | `host` | `scheme` | the port |
/// |---|---|---|
/// | with a port | any | that |
/// | without, or absent | another one | 80 becomes 443, 443 becomes 80, others stay |
/// | without, or absent | the same, or absent | stays |
fn moved(from: &Target, place: &NewPlace, secure: bool) -> Target {
    let own = place.host.as_ref();
    let host = own.and_then(one).unwrap_or_else(|| from.host().clone());
    let port = match (place.secure.filter(|new| *new != secure), from.port()) {
        (Some(true), Port::HTTP) => Port::HTTPS,
        (Some(false), Port::HTTPS) => Port::HTTP,
        (Some(_) | None, port) => port,
    };
    Target::new(host, own.and_then(Pattern::port).unwrap_or(port))
}
