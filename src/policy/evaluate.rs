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
//! A literal that carries IPv4 addresses inside is denied by a, b or c for any of them, and allowed as itself only.
//!
//! | question | asked | knows | steps |
//! |---|---|---|---|
//! | A [`Policy::admit`] | before any DNS | name, port | a, b for literals, c with path and method open, d, e, f |
//! | C [`Policy::admit_request`] | each HTTP request | method and path too | the same, nothing open |
//! | B [`Policy::admit_address`] | each address, before connect | the address | hard guards, b, soft guards |

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::compile::Compiled;
use super::decision::{AddressPermit, Cause, Denial, RequestFacts, RequestPermit, RuleId, TargetPermit};
use super::document::RuleAction;
use super::guard::{embedded, views};
use super::host_set::{HostKey, HostMatch};
use super::mode::{Action, Enforcement};
use super::pattern_pool::PatternPool;
use super::plan::Plan;
use super::reason::Reason;
use super::rule_list::RuleList;
use super::scope::Policy;
use super::verdict::{Verdict, Ways};
use crate::addr::special::Ipv6Prefix;
use crate::addr::{Host, Port, Target};

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
struct Answer {
    /// The allowing rule of the lowest document that allows.
    cause: Cause,
    /// The rule that the verdict hangs on.
    open: Option<Cause>,
    /// What a reporting document would have denied.
    would_deny: Option<Denial>,
}

impl Policy {
    /// Question A: may this target be reached at all? Asked before any DNS query.
    ///
    /// # Errors
    /// The denial of the highest scope that denies.
    pub fn admit(&self, target: &Target) -> Result<TargetPermit, Denial> {
        let Answer { cause, open, would_deny } = self.ask(target, None)?;
        Ok(TargetPermit { target: target.clone(), alias: None, cause, open, would_deny })
    }

    /// Question C: may this request be sent? Asked for each request of a connection.
    ///
    /// # Errors
    /// The denial of the highest scope that denies.
    pub fn admit_request(
        &self,
        permit: &TargetPermit,
        facts: &RequestFacts<'_>,
    ) -> Result<RequestPermit, Denial> {
        let mut answer = self.ask(&permit.target, Some(facts))?;
        let mut by_request = self.decides_by_request(&permit.target);
        if let Some(name) = &permit.alias {
            let alias = Target::new(Host::Name(name.clone()), permit.target.port());
            let second = self.ask(&alias, Some(facts))?;
            by_request |= self.decides_by_request(&alias);
            answer.would_deny = answer.would_deny.or(second.would_deny);
        }
        Ok(RequestPermit {
            cause: answer.cause,
            by_request,
            would_deny: answer.would_deny,
            plan: Plan::default(),
            rewritten: None,
        })
    }

    /// Question B: may this address be dialled for the permitted target? Asked for each resolved address.
    ///
    /// # Errors
    /// The guard or the `cidrRules` Deny that holds it.
    pub fn admit_address(&self, permit: &TargetPermit, address: IpAddr) -> Result<AddressPermit, Denial> {
        // INVARIANT: the permit may be another policy's; without a document every "all documents" below is true.
        self.check()?;
        let port = permit.target.port();
        let guards = self.guards();
        if let Some(reason) = guards.hardest(address, port) {
            return Err(Denial::new(reason, format!("{address} is never reached through this gateway")));
        }
        let mut would_deny = None;
        for document in self.documents() {
            if let Verdict::Deny(reason, rule) = ask_cidrs(document, guards.views(address), port) {
                hold(document, reason, rule, &mut would_deny)?;
            }
        }
        match self.soft_guard(address, port) {
            Some((Reason::GuardPort, _)) => Err(Denial::new(Reason::GuardPort, "port 25 is closed")),
            Some((reason, view)) => {
                Err(Denial::new(reason, format!("{view} is a private or special-purpose address")))
            }
            None => Ok(AddressPermit { address: SocketAddr::new(address, port.get()), would_deny }),
        }
    }

    /// The soft guard that holds an address, unless every document lifts it, and the form of the address that it holds.
    fn soft_guard(&self, address: IpAddr, port: Port) -> Option<(Reason, IpAddr)> {
        let guards = self.guards();
        guards.views(address).find_map(|view| {
            let lifts = |listed: bool| {
                self.documents().all(|document| {
                    document.allows(view, port).is_some_and(|found| found.lists_port || !listed)
                })
            };
            let private = guards.soft(view).filter(|_| !lifts(false));
            let smtp = || (guards.guards_port(view, port) && !lifts(true)).then_some(Reason::GuardPort);
            Some((private.or_else(smtp)?, view))
        })
    }

    /// Asks every document in order; all must allow.
    fn ask(&self, target: &Target, facts: Option<&RequestFacts<'_>>) -> Result<Answer, Denial> {
        self.ask_documents(target, facts).map_err(|denial| {
            // The line that would allow a literal is of no use to whoever a guard stops then.
            let (ip, port) = (target.host().ip(), target.port());
            let soft = |ip| self.soft_guard(ip, port).map(|(reason, _)| reason);
            let guard = ip.and_then(|ip| self.guards().hardest(ip, port).or_else(|| soft(ip)));
            Denial { guard, ..denial }
        })
    }

    /// Asks every document in order, of which there must be one.
    fn ask_documents(&self, target: &Target, facts: Option<&RequestFacts<'_>>) -> Result<Answer, Denial> {
        let asked = Asked::of(target);
        let (mut last, mut open, mut would_deny) = ((self.check()?, None), None, None);
        for document in self.documents() {
            match self.ask_document(document, &asked, facts) {
                Verdict::Allow(rule) => last = (document, rule),
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
        Ok(Answer { cause: cause(last), open: open.map(cause), would_deny })
    }

    /// Whether some rule for `target` asks for a path or a method.
    fn decides_by_request(&self, target: &Target) -> bool {
        let mut decides = false;
        let mut documents = self.documents().filter(|document| document.has_rules()).peekable();
        if documents.peek().is_none() {
            return false;
        }
        let asked = Asked::of(target);
        for document in documents {
            let mut see = |asked: &Asked<'_>| {
                document.hosts.rules(self.pool(), &asked.host, asked.port, |found| {
                    decides |= document.rules_at(found.place).is_some_and(RuleList::is_conditional);
                });
            };
            see(&asked);
            asked.inner(&self.guards().nat64).for_each(|form| see(&form));
        }
        decides
    }

    /// Steps a to f for one document.
    fn ask_document(
        &self,
        document: &Compiled,
        asked: &Asked<'_>,
        facts: Option<&RequestFacts<'_>>,
    ) -> Verdict {
        let (pool, nat64) = (self.pool(), self.guards().nat64.as_slice());
        let find = |asked: &Asked<'_>| document.hosts.find(pool, &asked.host, asked.port);
        let found = find(asked);
        let denied = || asked.inner(nat64).find_map(|form| find(&form).denied);
        if let Some(denied) = found.denied.or_else(denied) {
            return Verdict::Deny(Reason::HostDenied, Some(document.host_rule(denied.place)));
        }
        let mut cidr = None;
        if let HostKey::Ip(ip) = asked.host {
            match ask_cidrs(document, views(ip, nat64), asked.port) {
                deny @ Verdict::Deny(..) => return deny,
                Verdict::Allow(rule) => cidr = rule,
                Verdict::Open(_) => {}
            }
        }
        let rest = || ask_rest(document, asked.port, found.allowed, cidr);
        if !document.has_rules() {
            return rest();
        }
        let ways = |asked: &Asked<'_>, allow: &dyn Fn(RuleId, bool) -> Verdict| {
            ask_rules(document, pool, asked, facts, allow)
        };
        let own = ways(asked, &|rule, own_port| allow(document, asked.port, rule, own_port)).join(rest);
        // SECURITY: a Deny of 192.0.2.7 holds for [::ffff:192.0.2.7] too; an Allow of it says nothing.
        asked.inner(nat64).fold(own, |verdict, form| {
            verdict.and(ways(&form, &|_, _| Verdict::Allow(None)).join(|| Verdict::Allow(None)))
        })
    }
}

/// Carries a document's Deny out, or only notes it when the document reports.
fn hold(
    document: &Arc<Compiled>,
    reason: Reason,
    rule: Option<RuleId>,
    would_deny: &mut Option<Denial>,
) -> Result<(), Denial> {
    let denial = Denial::by(reason, Cause { document: Arc::clone(document), rule });
    match document.enforcement {
        Enforcement::Enforce => Err(denial),
        Enforcement::Report => {
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

/// Step c: every way the rules can turn out, given what is known; `allow` says what an Allow comes to.
///
/// The rules of a document are one list by their ids, kept as one list for each host. A request is decided by the
/// smallest id that fits in any of them. Without a request the first rule that asks for nothing decides at last, unless
/// one before it fits.
fn ask_rules(
    document: &Compiled,
    pool: &PatternPool,
    asked: &Asked<'_>,
    facts: Option<&RequestFacts<'_>>,
    allow: &dyn Fn(RuleId, bool) -> Verdict,
) -> Ways {
    let lists = |see: &mut dyn FnMut(&RuleList, bool)| {
        document.hosts.rules(pool, &asked.host, asked.port, |found| {
            if let Some(list) = document.rules_at(found.place) {
                see(list, found.own_port);
            }
        });
    };
    let verdict = |id: u32, own_port: bool| match document.action(id) {
        RuleAction::Deny => Verdict::Deny(Reason::RuleDenied, Some(RuleId::Rule(id))),
        RuleAction::Allow => allow(RuleId::Rule(id), own_port),
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
            let firsts = [list.conditional(true), list.conditional(false)];
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
