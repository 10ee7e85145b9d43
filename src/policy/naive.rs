//! The decision a second time, from `policy.md` alone: strings, lists and linear scans.
//!
//! It shares the decoded [`Document`] and the [`Reason`] codes with the real one, and no way of matching: patterns,
//! prefixes and paths are read from their text again. Properties compare the two.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::Reason;
use super::document::{Document, Rule, RuleAction};
use super::mode::{Action, Enforcement};

mod change;
mod path;
mod text;

pub(super) use text::fits;
use text::{has_port, path_fits, within};

/// What a document, or all of them, say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Let it pass.
    Allow,
    /// It hangs on the request.
    Open,
    /// Refuse it.
    Deny(Reason),
}

/// An answer: what is said, by the scope of this kind when it is a Deny of a document, and what a reporting
/// document would have denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) said: Said,
    pub(super) scope: Option<&'static str>,
    pub(super) would_deny: Option<(Reason, &'static str)>,
}

/// A host as text: a lower-case name, or an address.
#[derive(Debug, Clone)]
pub(super) enum Where {
    Name(String),
    Ip(IpAddr),
}

/// A document, and its patterns, networks and paths written out again.
#[derive(Debug, Clone)]
struct Written {
    document: Arc<Document>,
    /// Of `hostRules`.
    hosts: Vec<String>,
    /// Of `rules`: host and path.
    rules: Vec<(String, Option<String>)>,
    /// Of `cidrRules`.
    nets: Vec<String>,
    /// Of `vnet.managedPath`.
    managed: Vec<String>,
}

/// The policy: documents from Global to Sandbox, and the operator's lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Naive {
    documents: Vec<Written>,
    exempt: Vec<String>,
    own: Vec<String>,
    sockets: Vec<(IpAddr, u16)>,
    platform: Vec<String>,
    skip_permitted: bool,
}

/// The addresses of metadata services, `policy.md` §5.
const METADATA: &str = "169.254.169.254 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 168.63.129.16 100.100.100.200 \
    192.0.0.192";
/// The other hard ranges.
const LOCAL: &str = "127.0.0.0/8 ::1/128 169.254.0.0/16 fe80::/10 0.0.0.0/32 ::/128 224.0.0.0/4 ff00::/8 \
    255.255.255.255/32 fec0::/10";
/// The soft ranges within IPv4 and within `2000::/3`.
const SOFT: &str = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.31.196.0/24 \
    192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 \
    203.0.113.0/24 240.0.0.0/4 2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20";

impl Naive {
    /// The policy of documents, from Global to Sandbox, and an operator's lists: exempt, own, sockets.
    pub(super) fn new(documents: &[Arc<Document>], [exempt, own, sockets]: &[Vec<&'static str>; 3]) -> Self {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let written = |document: &Arc<Document>| {
            let spec = &document.spec;
            let path = |rule: &Rule| rule.path.as_ref().map(ToString::to_string);
            Written {
                document: Arc::clone(document),
                hosts: spec.host_rules.iter().map(|rule| rule.pattern.to_string()).collect(),
                rules: spec.rules.iter().map(|rule| (rule.host.to_string(), path(rule))).collect(),
                nets: spec.cidr_rules.iter().map(|rule| rule.net.to_string()).collect(),
                managed: path::managed(document),
            }
        };
        let sockets = sockets.iter().map(|socket| socket.parse::<SocketAddr>().unwrap());
        Self {
            documents: documents.iter().map(written).collect(),
            exempt: owned(exempt),
            own: owned(own),
            sockets: sockets.map(|socket| (socket.ip(), socket.port())).collect(),
            ..Self::default()
        }
    }

    /// Questions A (no request) and C for one target.
    pub(super) fn ask(&self, host: &Where, port: u16, request: Option<(&str, &str)>) -> Answer {
        let mut answer = Answer { said: Said::Allow, scope: None, would_deny: None };
        if self.documents.is_empty() {
            return Answer { said: Said::Deny(Reason::NoPolicy), ..answer };
        }
        if let Some(scope) = self.wrong() {
            return Answer { said: Said::Deny(Reason::PolicyError), scope: Some(scope), would_deny: None };
        }
        for document in &self.documents[self.first_asked()..] {
            let scope = document.document.scope.kind();
            match (say(document, host, port, request), document.document.spec.enforcement) {
                (Said::Deny(reason), Enforcement::Enforce) => {
                    return Answer { said: Said::Deny(reason), scope: Some(scope), would_deny: None };
                }
                (Said::Deny(reason), Enforcement::Report) => {
                    answer.would_deny = answer.would_deny.or(Some((reason, scope)));
                }
                (Said::Open, Enforcement::Enforce) => answer.said = Said::Open,
                (Said::Open, Enforcement::Report) | (Said::Allow, _) => {}
            }
        }
        answer
    }

    /// Question B, of a call that is delegated or not.
    pub(super) fn address(&self, address: IpAddr, port: u16, delegated: bool) -> Answer {
        let mut answer = Answer { said: Said::Allow, scope: None, would_deny: None };
        let deny = |reason| Answer { said: Said::Deny(reason), scope: None, would_deny: None };
        if let Some(scope) = self.wrong() {
            return Answer { scope: Some(scope), ..deny(Reason::PolicyError) };
        }
        let forms = forms(address);
        let exempt = |form: IpAddr| self.exempt.iter().any(|net| within(net, form));
        if forms.iter().any(|form| self.is_self(*form, port)) {
            return deny(Reason::GuardSelf);
        }
        let bound = || forms.iter().copied().filter(|form| !exempt(*form));
        if bound().any(|form| METADATA.split(' ').any(|text| text == form.to_string())) {
            return deny(Reason::GuardMetadata);
        }
        if bound().any(|form| LOCAL.split(' ').any(|net| within(net, form))) {
            return deny(Reason::GuardLocal);
        }
        let asked = &self.documents[self.first_asked()..];
        for document in asked {
            if forms
                .iter()
                .any(|form| cidr(document, *form, port).is_some_and(|(action, _)| action == Action::Deny))
            {
                let scope = document.document.scope.kind();
                match document.document.spec.enforcement {
                    Enforcement::Enforce => return Answer { scope: Some(scope), ..deny(Reason::CidrDenied) },
                    Enforcement::Report => {
                        answer.would_deny = answer.would_deny.or(Some((Reason::CidrDenied, scope)));
                    }
                }
            }
        }
        if delegated {
            return self.network(address, port, answer);
        }
        let lifted = |form: IpAddr, must_list: bool| {
            asked.iter().all(|document| match cidr(document, form, port) {
                Some((Action::Allow, lists)) => lists || !must_list,
                Some((Action::Deny, _)) | None => false,
            })
        };
        for form in bound() {
            let outside = matches!(form, IpAddr::V6(_)) && !within("2000::/3", form);
            let soft = outside || SOFT.split(' ').any(|net| within(net, form));
            if soft && !lifted(form, false) {
                return deny(Reason::GuardPrivate);
            }
            if port == 25 && !lifted(form, true) {
                return deny(Reason::GuardPort);
            }
        }
        answer
    }

    /// Whether an address is the gateway's own.
    fn is_self(&self, form: IpAddr, port: u16) -> bool {
        let here = form.is_loopback() || form.is_unspecified();
        let socket =
            self.sockets.iter().any(|(ip, own)| *own == port && (*ip == form || ip.is_unspecified() && here));
        socket || self.own.iter().any(|net| within(net, form))
    }
}

/// Steps a to f for one document, over every way its rules can turn out.
fn say(document: &Written, host: &Where, port: u16, request: Option<(&str, &str)>) -> Said {
    let spec = &document.document.spec;
    let patterns = || spec.host_rules.iter().zip(&document.hosts);
    let carried: Vec<Where> = match host {
        Where::Name(_) => Vec::new(),
        Where::Ip(ip) => forms(*ip).into_iter().skip(1).map(Where::Ip).collect(),
    };
    let denied = |form: &Where| {
        patterns().any(|(rule, pattern)| rule.action == Action::Deny && fits(pattern, form, port))
    };
    if denied(host) || carried.iter().any(denied) {
        return Said::Deny(Reason::HostDenied);
    }
    let mut by_address = false;
    if let Where::Ip(ip) = host {
        let found: Vec<_> =
            forms(*ip).into_iter().map(|form| cidr(document, form, port).map(|(action, _)| action)).collect();
        if found.contains(&Some(Action::Deny)) {
            return Said::Deny(Reason::CidrDenied);
        }
        by_address = found.iter().all(|action| *action == Some(Action::Allow));
    }
    let web = if spec.default_action == Action::Deny { port == 80 || port == 443 } else { true };
    let listed = spec
        .ports
        .as_ref()
        .map_or(web, |ports| ports.ranges().any(|(low, high)| low <= port && port <= high));
    let bounded = |own: bool| if own || listed { Said::Allow } else { Said::Deny(Reason::PortDenied) };
    let ruled = |own: bool, rewrites: bool| match bounded(own) {
        Said::Allow if rewrites && request.is_none() => Said::Open,
        said @ (Said::Allow | Said::Open | Said::Deny(_)) => said,
    };

    let rest = || {
        let allowing: Vec<&String> = patterns()
            .filter(|(rule, _)| rule.action == Action::Allow)
            .map(|(_, pattern)| pattern)
            .filter(|pattern| fits(pattern, host, port))
            .collect();
        if !allowing.is_empty() {
            return bounded(allowing.iter().any(|pattern| has_port(pattern)));
        }
        if by_address {
            return Said::Allow;
        }
        match spec.default_action {
            Action::Allow => bounded(false),
            Action::Deny => Said::Deny(Reason::DefaultDeny),
        }
    };
    let own = turn_out(document, host, port, request, ruled, rest);
    carried.iter().fold(own, |said, form| {
        let inside = |_, rewrites| if rewrites { Said::Deny(Reason::RuleDenied) } else { Said::Allow };
        let inner = turn_out(document, form, port, request, inside, || Said::Allow);
        match (said, inner) {
            (Said::Deny(_), _) | (_, Said::Allow) => said,
            (_, Said::Deny(_)) => inner,
            (Said::Allow | Said::Open, Said::Open) => Said::Open,
        }
    })
}

/// The one verdict of `rules` and what follows when every way agrees on it, else open.
fn turn_out(
    document: &Written,
    host: &Where,
    port: u16,
    request: Option<(&str, &str)>,
    allow: impl Fn(bool, bool) -> Said,
    rest: impl FnOnce() -> Said,
) -> Said {
    let mut ways = Vec::new();
    let mut last = None;
    for (rule, (pattern, path)) in document.document.spec.rules.iter().zip(&document.rules) {
        if !fits(pattern, host, port) {
            continue;
        }
        let deny = rule.action == RuleAction::Deny;
        let rewrites = rule.action == RuleAction::Rewrite;
        let said = if deny { Said::Deny(Reason::RuleDenied) } else { allow(has_port(pattern), rewrites) };
        let conditional = path.is_some() || rule.methods.is_some();
        match request {
            None if conditional => ways.push(said),
            Some((method, asked)) if conditional => {
                let method = rule
                    .methods
                    .as_ref()
                    .is_none_or(|methods| methods.iter().any(|known| **known == *method));
                let path = path.as_ref().is_none_or(|pattern| path_fits(pattern, asked, deny));
                if method && path {
                    last = Some(said);
                    break;
                }
            }
            None | Some(_) => {
                last = Some(said);
                break;
            }
        }
    }
    let last = last.unwrap_or_else(rest);
    let allows = |said: &Said| *said == Said::Allow;
    if ways.contains(&Said::Open) {
        return Said::Open;
    }
    if ways.iter().all(|said| allows(said) == allows(&last)) { last } else { Said::Open }
}

/// The deciding `cidrRules` entry about an address: its action, and whether it lists ports.
fn cidr(document: &Written, address: IpAddr, port: u16) -> Option<(Action, bool)> {
    let mut best: Option<(u8, Action, bool)> = None;
    for (rule, net) in document.document.spec.cidr_rules.iter().zip(&document.nets) {
        let lists = rule.ports.as_ref();
        if lists.is_some_and(|ports| !ports.ranges().any(|(low, high)| low <= port && port <= high)) {
            continue;
        }
        if !within(net, address) {
            continue;
        }
        let length: u8 = net.split_once('/').unwrap().1.parse().unwrap();
        let lists = lists.is_some();
        best = match best {
            Some(old) if old.0 > length => Some(old),
            Some((old, action, listed)) if old == length => match (action, rule.action) {
                (Action::Deny, _) => Some((old, action, listed)),
                (Action::Allow, Action::Deny) => Some((length, Action::Deny, lists)),
                (Action::Allow, Action::Allow) => Some((length, Action::Allow, lists || listed)),
            },
            Some(_) | None => Some((length, rule.action, lists)),
        };
    }
    best.map(|(_, action, lists)| (action, lists))
}

/// An address and every IPv4 address inside it, `policy.md` §3 (without the operator's NAT64 prefixes).
fn forms(address: IpAddr) -> Vec<IpAddr> {
    let mut forms = vec![address];
    let IpAddr::V6(ip) = address else { return forms };
    let bytes = ip.octets();
    let four = |at: usize| IpAddr::from([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let flipped = IpAddr::from([!bytes[12], !bytes[13], !bytes[14], !bytes[15]]);
    let last = ["::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"];
    if last.iter().any(|net| within(net, address)) {
        forms.push(four(12));
    }
    if within("::/96", address) && !ip.is_unspecified() && !ip.is_loopback() {
        forms.push(four(12));
    }
    if within("64:ff9b:1::/48", address) {
        forms.push(IpAddr::from([bytes[6], bytes[7], bytes[9], bytes[10]]));
        if bytes[12..] != [0; 4] {
            forms.push(four(12));
        }
    }
    if within("2002::/16", address) {
        forms.push(four(2));
    }
    if within("2001::/32", address) {
        forms.push(four(4));
        forms.push(flipped);
    }
    forms
}
