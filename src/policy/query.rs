//! What a DNS query may ask: question A with the port left open.
//!
//! A query names no port, and a name that a document allows on `db.corp:5432` only must resolve. So a query is allowed
//! when question A allows the name on some port. What a document says of a name changes with the port only where one of
//! its patterns begins or ends to name a port, or its `ports` do. Between two such turns every port has the same
//! verdict, so that asking [`Policy::admit`] at each turn is asking it for all 65535.

use std::collections::BTreeSet;

use super::compile::Compiled;
use super::decision::{Cause, Denial, TargetPermit};
use super::port_set::PortSet;
use super::reason::Reason;
use super::route::Route;
use super::scope::Policy;
use crate::addr::{Host, Name, Port, Target};

/// The ports that are asked first: most names are allowed on one of them, or on none.
const FIRST: [Port; 2] = [Port::HTTPS, Port::HTTP];

/// A query was allowed: this name may be resolved.
#[derive(Debug)]
pub struct QueryPermit {
    name: Name,
    route: Route,
    cause: Cause,
    would_deny: Option<Denial>,
    skipped: bool,
}

impl QueryPermit {
    /// The name that was judged.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The path that the query takes: that of a call for the name on the port for which it was allowed.
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

    /// What a document under `enforcement: Report` would have denied, on every port.
    #[must_use]
    pub const fn would_deny(&self) -> Option<&Denial> {
        self.would_deny.as_ref()
    }

    /// Whether some document was not asked, as it or one below it says `skipEgressProxy`.
    #[must_use]
    pub const fn is_skipped(&self) -> bool {
        self.skipped
    }

    /// Whether the rule that allowed it is about this one name, so that to ask for it says no more than the policy says
    /// already. An entry of `categories` is not: it is a list that others keep.
    #[must_use]
    pub fn is_spelled_out(&self) -> bool {
        self.cause.rule.is_some_and(|rule| self.cause.document.names(rule, &self.name))
    }
}

impl Policy {
    /// Question A for a query: is the name allowed on any port?
    ///
    /// # Errors
    /// The denial of the name on port 443, which is the one that is meant most often.
    pub fn admit_query(&self, name: &Name) -> Result<QueryPermit, Denial> {
        let ask = |port: Port| {
            let permit = self.admit(&Target::new(Host::Name(name.clone()), port))?;
            let TargetPermit { route, cause, would_deny, skipped, .. } = permit;
            Ok(QueryPermit { name: name.clone(), route, cause, would_deny, skipped })
        };
        let (mut denial, mut reported) = (None, None);
        let mut settle = |answer: Result<QueryPermit, Denial>| match answer {
            Ok(permit) if permit.would_deny.is_none() => Some(permit),
            Ok(permit) => {
                reported.get_or_insert(permit);
                None
            }
            Err(error) => {
                denial.get_or_insert(error);
                None
            }
        };
        if let Some(permit) = FIRST.into_iter().find_map(|port| settle(ask(port))) {
            return Ok(permit);
        }
        let turns: BTreeSet<Port> = self.asked().flat_map(|document| turns(document)).collect();
        let mut turns = turns.into_iter().filter(|port| !FIRST.contains(port));
        if let Some(permit) = turns.find_map(|port| settle(ask(port))) {
            return Ok(permit);
        }
        match (reported, denial) {
            (Some(permit), _) => Ok(permit),
            (None, Some(denial)) => Err(denial),
            (None, None) => Err(Denial::new(Reason::NoPolicy, "no port was asked about")),
        }
    }
}

/// The ports at which the verdicts of a document may become other ones than at the port before. The first port is one.
fn turns(document: &Compiled) -> impl Iterator<Item = Port> {
    let web = || FIRST.map(|port| (port.get(), port.get())).into_iter();
    let ports = document.ports();
    let ranges = ports.into_iter().flat_map(PortSet::ranges).chain(web().filter(move |_| ports.is_none()));
    let own = document.hosts.own_ports().iter().map(|port| (*port, *port));
    let ends = ranges.chain(own).flat_map(|(low, high)| [Some(low), high.checked_add(1)]);
    std::iter::once(Some(1)).chain(ends).flatten().filter_map(Port::new)
}

/// The denial of a query of a type that is not answered, whatever the name.
#[must_use]
pub fn unanswered_type(kind: &str) -> Denial {
    let detail = format!("queries of type {kind} are not answered; A, AAAA, CNAME and HTTPS are");
    Denial::new(Reason::DefaultDeny, detail)
}

/// The denial of a query beyond a limit of its sandbox.
#[must_use]
pub fn beyond_limit(detail: impl Into<std::borrow::Cow<'static, str>>) -> Denial {
    Denial::new(Reason::Limit, detail)
}
