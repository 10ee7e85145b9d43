//! The decision, whole: three questions, each a pure function of policies and question (`policy.md` §6).
//!
//! Documents apply in the order Global, Group, Sandbox, and **every** one must allow. Each is asked:
//!
//! | step | what | answer |
//! |---|---|---|
//! | a | a `hostRules` Deny matches | Deny `host_denied`, whatever the order |
//! | b | the longest `cidrRules` prefix of the address is a Deny | Deny `cidr_denied` |
//! | c | the first of `rules` that fits | its action; Deny is `rule_denied` |
//! | d | a `hostRules` Allow or a category matches | Allow |
//! | e | the target is an IP literal and its longest prefix is an Allow | Allow |
//! | f | nothing of this | `defaultAction`; Deny is `default_deny` |
//!
//! An Allow by c, d or f on a port outside `ports` is Deny `port_denied`, unless its pattern names the port.
//!
//! A literal that carries IPv4 addresses inside is denied by a, b or c for any of them, and allowed as itself only; a Rewrite
//! of one inside denies it.
//!
//! | question | asked | knows | steps |
//! |---|---|---|---|
//! | A [`Policy::admit`] | before any DNS | name, port | a, b for literals, c with path and method open, d, e, f |
//! | C [`Policy::admit_request`] | each HTTP request | method and path too | the same, nothing open; where a Rewrite leads to, again |
//! | B [`Policy::admit_address`] | each address, before connect | the address | hard guards, b, then by its path ([`super::route`]): soft guards or `securityRules` |
//!
//! Where a document says `skipEgressProxy: true`, it and those above it are not asked; those below are. The path and
//! `securityRules` are the network's and hold all the same, and so do hard guards; soft ones are lifted when every document that
//! is asked lifts them, so that none holds where none is asked. Then nothing is decrypted, edited or put in.
//!
//! | documents | a permit [counts as skipped](TargetPermit::is_skipped) | it names |
//! |---|---|---|
//! | none skips | no | the lowest that allowed |
//! | one skips, and others are below it | yes | the lowest of those below that allowed; the skipping one where all of them only report |
//! | one skips, and none is below it | yes | the skipping one, and no rule |
//!
//! `Transform` and `Rewrite` are Allow in c. Where a `Rewrite` may decide, A is open: its place is judged with the request.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::compile::Compiled;
use super::decision::{AddressPermit, Cause, Denial, RequestFacts, RuleId, TargetPermit};
use super::document::RuleAction;
use super::guard::{embedded, views};
use super::host_set::{HostKey, HostMatch};
use super::mode::{Action, Enforcement};
use super::pattern_pool::PatternPool;
use super::reason::Reason;
use super::rule_list::RuleList;
use super::scope::Policy;
use super::verdict::{Verdict, Ways};
use crate::addr::special::Ipv6Prefix;
use crate::addr::{Port, Target};

/// A host and a port, prepared for every document.
pub(super) struct Asked<'t> {
    pub(super) host: HostKey<'t>,
    pub(super) port: Port,
}

impl<'t> Asked<'t> {
    /// What is asked of a target.
    pub(super) fn of(target: &'t Target) -> Self {
        Self { host: HostKey::new(target.host()), port: target.port() }
    }

    /// The IPv4 addresses that a literal carries inside, as questions of their own.
    pub(super) fn inner<'f>(&self, nat64: &'f [Ipv6Prefix]) -> impl Iterator<Item = Self> + use<'t, 'f> {
        let port = self.port;
        let literal = match self.host {
            HostKey::Ip(ip) => Some(ip),
            HostKey::Name(_) => None,
        };
        let inside = literal.into_iter().flat_map(move |ip| embedded(ip, nat64));
        inside.map(move |ip| Self { host: HostKey::Ip(ip), port })
    }
}

/// What every document together says to a target that none denies.
pub(super) struct Answer {
    /// The allowing rule of the lowest document that allows.
    pub(super) cause: Cause,
    /// The rule that the verdict hangs on.
    pub(super) open: Option<Cause>,
    /// What a reporting document would have denied.
    pub(super) would_deny: Option<Denial>,
    /// The rule of each document that changes the request.
    pub(super) changing: [Option<u32>; 3],
}

impl Policy {
    /// Question A: may this target be reached at all? Asked before any DNS query.
    ///
    /// # Errors
    /// The denial of the highest scope that denies.
    #[inline]
    pub fn admit(&self, target: &Target) -> Result<TargetPermit, Denial> {
        let Answer { cause, open, would_deny, .. } = self.ask(target, None)?;
        let route = self.route(target);
        let skipped = self.is_skipped();
        Ok(TargetPermit { target: target.clone(), alias: None, route, cause, open, would_deny, skipped })
    }

    /// Question B: may this address be dialled for the permitted target? Asked for each resolved address.
    ///
    /// # Errors
    /// The guard, the `cidrRules` Deny or the `securityRules` that hold it; `policy_change` where a call for the target takes
    /// another path than the permit.
    pub fn admit_address(&self, permit: &TargetPermit, address: IpAddr) -> Result<AddressPermit, Denial> {
        // INVARIANT: the permit may be another policy's; without a document every "all documents" below is true.
        self.admit_route(permit)?;
        let port = permit.target.port();
        let guards = self.guards();
        if let Some(reason) = guards.hardest(address, port) {
            return Err(Denial::new(reason, format!("{address} is never reached through this gateway")));
        }
        let mut would_deny = None;
        for document in self.asked() {
            if let Verdict::Deny(reason, rule) = ask_cidrs(document, guards.views(address), port) {
                hold(document, reason, rule, &mut would_deny)?;
            }
        }
        let route = permit.route.clone();
        let mut network_rule = None;
        if self.delegates(&route) {
            network_rule = self.ask_network(address, port, &mut would_deny)?;
        } else if let Some((reason, view)) = self.soft_guard(address, port) {
            return Err(self.held(&permit.target, reason, view));
        }
        let address = SocketAddr::new(address, port.get());
        Ok(AddressPermit { address, route, network_rule, would_deny })
    }

    /// The denial of an address that a soft guard holds in this form.
    #[cold]
    fn held(&self, target: &Target, reason: Reason, view: IpAddr) -> Denial {
        let detail = if reason == Reason::GuardPort {
            "port 25 is closed".into()
        } else {
            format!("{view} is a private or special-purpose address").into()
        };
        Denial { detail, near: self.beside_guard(target).map(Box::new), ..Denial::new(reason, "") }
    }

    /// The soft guard that holds an address, unless every document that is asked lifts it, and the form of the address that it holds.
    fn soft_guard(&self, address: IpAddr, port: Port) -> Option<(Reason, IpAddr)> {
        let guards = self.guards();
        guards.views(address).find_map(|view| {
            let lifts = |listed: bool| {
                self.asked().all(|document| {
                    document.allows(view, port).is_some_and(|found| found.lists_port || !listed)
                })
            };
            let private = guards.soft(view).filter(|_| !lifts(false));
            let smtp = || (guards.guards_port(view, port) && !lifts(true)).then_some(Reason::GuardPort);
            Some((private.or_else(smtp)?, view))
        })
    }

    /// Asks every document in order; all must allow.
    pub(super) fn ask(&self, target: &Target, facts: Option<&RequestFacts<'_>>) -> Result<Answer, Denial> {
        let answer = self.ask_documents(target, facts);
        answer.map_err(|mut denial| {
            denial.near = self.near(target, facts, &denial).map(Box::new);
            denial.guard = self.guard_of(target);
            denial
        })
    }

    /// The guard that would hold a literal target, were it not denied: the line that would allow it is of no use then.
    pub(super) fn guard_of(&self, target: &Target) -> Option<Reason> {
        let (ip, port) = (target.host().ip()?, target.port());
        self.guards().hardest(ip, port).or_else(|| {
            if self.delegates(&self.route(target)) {
                self.ask_network(ip, port, &mut None).err().map(|denial| denial.reason)
            } else {
                self.soft_guard(ip, port).map(|(reason, _)| reason)
            }
        })
    }

    /// Asks every document in order that is to be asked; there must be one that is, or that says that none is.
    fn ask_documents(&self, target: &Target, facts: Option<&RequestFacts<'_>>) -> Result<Answer, Denial> {
        let asked = Asked::of(target);
        let (mut last, mut open, mut would_deny) = ((self.check()?, None), None, None);
        let mut changing = [None; 3];
        for (document, changing) in self.places().zip(&mut changing) {
            let Some(document) = document else { continue };
            match self.ask_document(document, &asked, facts) {
                Verdict::Allow(rule) => {
                    last = (document, rule);
                    *changing = document.changed_by(rule);
                }
                Verdict::Deny(reason, rule) => hold(document, reason, rule, &mut would_deny)?,
                Verdict::Open(rule) => {
                    last = (document, Some(rule));
                    if document.enforcement == Enforcement::Enforce {
                        open.get_or_insert(last);
                    }
                }
            }
        }
        let cause = |(document, rule): (&Arc<Compiled>, _)| Cause { document: Arc::clone(document), rule };
        Ok(Answer { cause: cause(last), open: open.map(cause), would_deny, changing })
    }

    /// Steps a to f for one document.
    pub(super) fn ask_document(
        &self,
        document: &Compiled,
        asked: &Asked<'_>,
        facts: Option<&RequestFacts<'_>>,
    ) -> Verdict {
        let (allowed, cidr) = match self.ask_ground(document, asked) {
            Ok(found) => found,
            Err(denied) => return denied,
        };
        let rest = || ask_rest(document, asked.port, allowed, cidr);
        if !document.has_rules() {
            return rest();
        }
        let pool = self.pool();
        let own = ask_rules(document, pool, asked, facts, Form::Own).join(rest);
        // SECURITY: a Deny of 192.0.2.7 holds for [::ffff:192.0.2.7] too; an Allow of it says nothing.
        asked.inner(&self.guards().nat64).fold(own, |verdict, form| {
            verdict.and(ask_rules(document, pool, &form, facts, Form::Inner).join(|| Verdict::Allow(None)))
        })
    }

    /// Steps a and b, and Deny of c, for one document.
    pub(super) fn ask_floor(
        &self,
        document: &Compiled,
        asked: &Asked<'_>,
        facts: &RequestFacts<'_>,
    ) -> Verdict {
        if let Err(denied) = self.ask_ground(document, asked) {
            return denied;
        }
        let ask = |asked: &Asked<'_>, form| {
            ask_rules(document, self.pool(), asked, Some(facts), form).join(|| Verdict::Allow(None))
        };
        let own = ask(asked, Form::Floor);
        asked.inner(&self.guards().nat64).fold(own, |verdict, form| verdict.and(ask(&form, Form::Inner)))
    }

    /// Steps a and b for one document; what d and e then allow by.
    fn ask_ground(
        &self,
        document: &Compiled,
        asked: &Asked<'_>,
    ) -> Result<(Option<HostMatch>, Option<RuleId>), Verdict> {
        let (pool, nat64) = (self.pool(), self.guards().nat64.as_slice());
        let find = |asked: &Asked<'_>| document.hosts.find(pool, &asked.host, asked.port);
        let found = find(asked);
        let denied = || asked.inner(nat64).find_map(|form| find(&form).denied);
        if let Some(denied) = found.denied.or_else(denied) {
            return Err(Verdict::Deny(Reason::HostDenied, Some(document.host_rule(denied.place))));
        }
        let HostKey::Ip(ip) = asked.host else { return Ok((found.allowed, None)) };
        match ask_cidrs(document, views(ip, nat64), asked.port) {
            deny @ Verdict::Deny(..) => Err(deny),
            Verdict::Allow(rule) => Ok((found.allowed, rule)),
            Verdict::Open(_) => Ok((found.allowed, None)),
        }
    }
}

/// What a rule that grants comes to.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// For the target itself, on a port that the document allows.
    Own,
    /// For an IPv4 address inside it: nothing.
    Inner,
    /// For the new place of a Rewrite by the same document: nothing.
    Floor,
}

/// Carries a document's Deny out, or only notes it when the document reports.
pub(super) fn hold(
    document: &Arc<Compiled>,
    reason: Reason,
    rule: Option<RuleId>,
    would_deny: &mut Option<Denial>,
) -> Result<(), Denial> {
    carry_out(Denial::by(reason, Cause { document: Arc::clone(document), rule }), would_deny)
}

/// Carries the denial by a document out, or only notes it when that reports.
pub(super) fn carry_out(denial: Denial, would_deny: &mut Option<Denial>) -> Result<(), Denial> {
    match denial.cause.as_ref().map(|cause| cause.document.enforcement) {
        None | Some(Enforcement::Enforce) => Err(denial),
        Some(Enforcement::Report) => {
            would_deny.get_or_insert(denial);
            Ok(())
        }
    }
}

/// Step b: Deny when a form of the address has a Deny as its longest prefix; Allow by the rule that allows
/// the address when every form has an Allow; Allow by nothing otherwise.
fn ask_cidrs(document: &Compiled, views: impl Iterator<Item = IpAddr>, port: Port) -> Verdict {
    let mut first = None;
    let mut all = true;
    for view in views {
        match document.longest(view, port) {
            Some(found) if found.action == Action::Deny => {
                return Verdict::Deny(Reason::CidrDenied, Some(RuleId::Cidr(found.id)));
            }
            Some(found) => first = first.or(Some(RuleId::Cidr(found.id))),
            None => all = false,
        }
    }
    Verdict::Allow(first.filter(|_| all))
}

/// Step c: every way the rules can turn out, given what is known.
///
/// The rules of a document are one list by their ids, kept as one list for each host. A request is decided by the
/// smallest id that fits in any of them. Without a request the first rule that asks for nothing decides at last, unless
/// one before it fits.
fn ask_rules(
    document: &Compiled,
    pool: &PatternPool,
    asked: &Asked<'_>,
    facts: Option<&RequestFacts<'_>>,
    form: Form,
) -> Ways {
    let lists = |see: &mut dyn FnMut(&RuleList, bool)| {
        document.hosts.rules(pool, &asked.host, asked.port, |found| {
            if let Some(list) = document.rules_at(found.place) {
                see(list, found.own_port);
            }
        });
    };
    let known = facts.is_some();
    let verdict = |id: u32, own_port: bool| {
        let rule = RuleId::Rule(id);
        match (document.action(id), form) {
            // SECURITY: what a Rewrite keeps from an address would be reached by another form of it.
            (RuleAction::Deny, _) | (RuleAction::Rewrite, Form::Inner) => {
                Verdict::Deny(Reason::RuleDenied, Some(rule))
            }
            (_, Form::Inner | Form::Floor) => Verdict::Allow(None),
            (RuleAction::Allow | RuleAction::Transform, Form::Own) => {
                allow(document, asked.port, rule, own_port)
            }
            (RuleAction::Rewrite, Form::Own) => match allow(document, asked.port, rule, own_port) {
                Verdict::Allow(_) if !known => Verdict::Open(rule),
                verdict @ (Verdict::Allow(_) | Verdict::Deny(..) | Verdict::Open(_)) => verdict,
            },
        }
    };
    let facts = facts.map(|facts| (facts.path, document.method(facts.method)));
    let mut first: Option<(u32, bool)> = None;
    lists(&mut |list, own_port| {
        let fits = facts.map_or_else(|| list.unconditional(), |(path, method)| list.first(path, method));
        first = first.into_iter().chain(fits.map(|id| (id, own_port))).min();
    });
    let mut ways = Ways::ending(first.map(|(id, own_port)| verdict(id, own_port)));
    if facts.is_none() {
        let end = first.map_or(u32::MAX, |(id, _)| id);
        lists(&mut |list, own_port| {
            let firsts = [list.conditional(true), list.conditional(false), list.rewriting()];
            for id in firsts.into_iter().flatten().filter(|id| *id < end) {
                ways.maybe(id, verdict(id, own_port));
            }
        });
    }
    ways
}

/// Steps d, e and f: the host that allows, the `cidrRules` entry that allows an IP literal, the default.
fn ask_rest(document: &Compiled, port: Port, allowed: Option<HostMatch>, cidr: Option<RuleId>) -> Verdict {
    if let Some(found) = allowed {
        return allow(document, port, document.host_rule(found.place), found.own_port);
    }
    match (cidr, document.default_action) {
        (Some(rule), _) => Verdict::Allow(Some(rule)),
        (None, Action::Deny) => Verdict::Deny(Reason::DefaultDeny, None),
        (None, Action::Allow) if document.bounds(port) => Verdict::Allow(None),
        (None, Action::Allow) => Verdict::Deny(Reason::PortDenied, None),
    }
}

/// An Allow by `rule`, which `ports` bounds unless the pattern has its own port.
fn allow(document: &Compiled, port: Port, rule: RuleId, own_port: bool) -> Verdict {
    if own_port || document.bounds(port) {
        Verdict::Allow(Some(rule))
    } else {
        Verdict::Deny(Reason::PortDenied, Some(rule))
    }
}
