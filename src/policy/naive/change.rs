//! What becomes of a request, from `policy.md` §6 and §9: every document and every rule is read again for it.

use std::sync::Arc;

use super::text::{fits, path_fits};
use super::{Answer, Naive, Said, Where, Written, cidr, forms, say};
use crate::policy::Reason;
use crate::policy::document::{HeaderChange, HeaderValue, Rule, RuleAction, Secret, SecretRef};
use crate::policy::mode::{Action, Enforcement, Scope};
use crate::policy::oracle::place;

/// A request: method and path.
type Request<'r> = (&'r str, &'r str);

impl Naive {
    /// Question C with what becomes of the request: its edits, and where it goes instead.
    pub(in crate::policy) fn sent(
        &self,
        secrets: &[Arc<Secret>],
        (host, port): (&Where, u16),
        (method, path): Request<'_>,
        secure: bool,
    ) -> (Answer, String) {
        let mut answer = self.ask(host, port, Some((method, path)));
        if answer.said != Said::Allow {
            return (answer, String::new());
        }
        let deny = |at: usize, reason| {
            let scope = Some(self.documents[at].document.scope.kind());
            (Answer { said: Said::Deny(reason), scope, would_deny: None }, String::new())
        };
        let by = |at: usize, host: &Where, port, path| {
            let document: &Written = &self.documents[at];
            let allows = say(document, host, port, Some((method, path))) == Said::Allow;
            first(document, host, port, (method, path)).filter(|rule| allows && rule.changes.is_some())
        };
        let mut taken: Vec<(usize, &Rule)> = (self.first_asked()..self.documents.len())
            .filter_map(|at| Some((at, by(at, host, port, path)?)))
            .collect();
        let rewriting: Vec<(usize, &Rule)> =
            taken.iter().copied().filter(|(_, rule)| rule.action == RuleAction::Rewrite).collect();
        let (mut target, mut tls, mut url) = ((host.clone(), port), secure, String::new());
        match rewriting.as_slice() {
            [] => {}
            [(at, rule)] => {
                let new = rule.changes.as_ref().unwrap().place.as_ref().unwrap();
                tls = new.secure.unwrap_or(secure);
                target.1 = match (secure, tls, port) {
                    (false, true, 80) => 443,
                    (true, false, 443) => 80,
                    _ => port,
                };
                if let Some(host) = &new.host {
                    let text = host.to_string();
                    let text = if super::has_port(&text) { text } else { format!("{text}:{}", target.1) };
                    target = place(&text);
                }
                let path = new.path.as_deref().unwrap_or(path);
                url = format!("{}://{}{path}", if tls { "https" } else { "http" }, written(&target));
                for above in self.first_asked()..=*at {
                    let document = &self.documents[above];
                    let said = if above < *at {
                        say(document, &target.0, target.1, Some((method, path)))
                    } else {
                        floor(document, &target, (method, path))
                    };
                    match (said, document.document.spec.enforcement) {
                        (Said::Deny(reason), Enforcement::Enforce) => return deny(above, reason),
                        (Said::Deny(reason), Enforcement::Report) => {
                            let scope = document.document.scope.kind();
                            answer.would_deny = answer.would_deny.or(Some((reason, scope)));
                        }
                        _ if above < *at => {
                            let Some(rule) = by(above, &target.0, target.1, path) else { continue };
                            if rule.action == RuleAction::Rewrite {
                                return deny(above, Reason::PolicyError);
                            }
                            taken.push((above, rule));
                        }
                        _ => {}
                    }
                }
            }
            [_, (at, _), ..] => return deny(*at, Reason::PolicyError),
        }
        let mut words = Vec::new();
        let mut done: Vec<*const Rule> = Vec::new();
        for at in (0..self.documents.len()).rev() {
            for (_, rule) in taken.iter().filter(|(own, _)| *own == at) {
                if done.contains(&std::ptr::from_ref(*rule)) {
                    continue;
                }
                done.push(*rule);
                match edits(secrets, &self.documents[at].document.scope, rule, &target, tls) {
                    Ok(all) => words.extend(all),
                    Err(reason) => return deny(at, reason),
                }
            }
        }
        if !url.is_empty() {
            words.push(format!(
                "{url} by {}",
                self.route(&target.0, target.1).as_deref().unwrap_or("managed")
            ));
        }
        (answer, words.join(" ").trim().to_owned())
    }
}

/// The first rule of a document that fits a request.
fn first<'d>(
    document: &'d Written,
    host: &Where,
    port: u16,
    (method, path): Request<'_>,
) -> Option<&'d Rule> {
    let rules = document.document.spec.rules.iter().zip(&document.rules);
    let mut fitting = rules.filter(|(rule, (pattern, own))| {
        let deny = rule.action == RuleAction::Deny;
        fits(pattern, host, port)
            && own.as_ref().is_none_or(|own| path_fits(own, path, deny))
            && rule.methods.as_ref().is_none_or(|all| all.iter().any(|known| **known == *method))
    });
    fitting.next().map(|(rule, _)| rule)
}

/// Steps a, b and Deny of c.
fn floor(document: &Written, (host, port): &(Where, u16), request: Request<'_>) -> Said {
    let all = match host {
        Where::Name(_) => vec![host.clone()],
        Where::Ip(ip) => forms(*ip).into_iter().map(Where::Ip).collect(),
    };
    let patterns = document.document.spec.host_rules.iter().zip(&document.hosts);
    let mut denies = patterns.filter(|(rule, _)| rule.action == Action::Deny);
    if denies.any(|(_, pattern)| all.iter().any(|form| fits(pattern, form, *port))) {
        return Said::Deny(Reason::HostDenied);
    }
    let by_cidr = |form: &Where| match form {
        Where::Name(_) => false,
        Where::Ip(ip) => cidr(document, *ip, *port).is_some_and(|(action, _)| action == Action::Deny),
    };
    if all.iter().any(by_cidr) {
        return Said::Deny(Reason::CidrDenied);
    }
    let by_rule = |(at, form): (usize, &Where)| {
        first(document, form, *port, request).is_some_and(|rule| {
            rule.action == RuleAction::Deny || at > 0 && rule.action == RuleAction::Rewrite
        })
    };
    if all.iter().enumerate().any(by_rule) { Said::Deny(Reason::RuleDenied) } else { Said::Allow }
}

/// The edits of a rule in words.
fn edits(
    secrets: &[Arc<Secret>],
    scope: &Scope,
    rule: &Rule,
    target: &(Where, u16),
    secure: bool,
) -> Result<Vec<String>, Reason> {
    let changes = rule.changes.as_ref().unwrap();
    let moved = changes.place.as_ref().and_then(|place| place.host.as_ref());
    let home = moved.unwrap_or(&rule.host).to_string();
    let home = !home.contains('*') && fits(&home, &target.0, target.1);
    let value = |value: &HeaderValue| match value {
        HeaderValue::Text(text) => Ok(text.to_string()),
        HeaderValue::Identity(identity) if secure && home => Ok(format!("<{}>", identity.resource)),
        HeaderValue::Identity(_) => Err(Reason::SecretHostMismatch),
        HeaderValue::Secret(SecretRef { id, key, .. }) => {
            let named = |group: Option<&str>| {
                secrets.iter().find(|secret| secret.name == *id && secret.group.as_deref() == group)
            };
            let own = if *scope == Scope::Global { None } else { named(Some("grp")) };
            let secret = own.or_else(|| named(None)).ok_or(Reason::SecretUnavailable)?;
            let mut keys = secret.keys.iter().map(|known| &known.name);
            let key = match key {
                Some(key) => keys.find(|known| *known == key),
                None if secret.keys.len() == 1 => keys.next(),
                None => None,
            };
            let key = key.ok_or(Reason::SecretUnavailable)?;
            let hosts = secret.hosts.as_ref();
            let listed = |hosts: &Vec<_>| {
                hosts.iter().any(|host: &crate::policy::pattern::Pattern| {
                    fits(&host.to_string(), &target.0, target.1)
                })
            };
            let bound = hosts.map_or(home, listed);
            if secure && bound { Ok(format!("<{id}/{key}>")) } else { Err(Reason::SecretHostMismatch) }
        }
    };
    let edit = |edit: &crate::policy::document::HeaderEdit| {
        Ok(match &edit.change {
            HeaderChange::Set(text) => format!("{}={}", edit.name, value(text)?),
            HeaderChange::Insert(text) => format!("{}?{}", edit.name, value(text)?),
            HeaderChange::Remove => format!("-{}", edit.name),
        })
    };
    changes.edits.iter().map(edit).collect()
}

/// A target as text.
fn written((host, port): &(Where, u16)) -> String {
    match host {
        Where::Name(name) => format!("{name}:{port}"),
        Where::Ip(std::net::IpAddr::V4(ip)) => format!("{ip}:{port}"),
        Where::Ip(std::net::IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
    }
}
