//! What the `rules` of a document change of a request, and whether what they refer to is there.

use std::sync::Arc;

use super::Compiled;
use crate::addr::{Host, Port};
use crate::policy::decision::RuleId;
use crate::policy::document::{Changes, RuleAction, SecretRef, Spec};
use crate::policy::mode::{Inspection, Scope};
use crate::policy::pattern::{Pattern, PatternKind};
use crate::policy::secret_set::{Missing, SecretSet, key_of};
use crate::source::{Place, Problem, quoted};

/// A `Transform` or `Rewrite` of a document.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Changing {
    /// Its place in `rules`.
    pub(in crate::policy) rule: u32,
    /// The one host that its requests end at, if there is one.
    pub(in crate::policy) home: Option<Pattern>,
    /// What it does.
    pub(in crate::policy) changes: Arc<Changes>,
}

/// The `Transform`s and `Rewrite`s of `spec`, in order.
pub(super) fn changing(spec: &Spec) -> Box<[Changing]> {
    let rules = spec.rules.iter().zip(0_u32..);
    let changing = rules.filter_map(|(rule, id)| {
        let changes = rule.changes.as_ref()?;
        Some(Changing { rule: id, home: changes.home(&rule.host).cloned(), changes: Arc::clone(changes) })
    });
    changing.collect()
}

impl Compiled {
    /// What one of `rules` changes of a request.
    pub(in crate::policy) fn changing(&self, rule: u32) -> Option<&Changing> {
        let all = &self.rare.as_ref()?.changing;
        all.get(all.binary_search_by_key(&rule, |own| own.rule).ok()?)
    }

    /// The rule by which it allows, where that changes the request.
    pub(in crate::policy) fn changed_by(&self, rule: Option<RuleId>) -> Option<u32> {
        match rule {
            Some(RuleId::Rule(id)) => self.changing(id).map(|own| own.rule),
            Some(RuleId::Host(_) | RuleId::Cidr(_) | RuleId::Category(_) | RuleId::Security(_)) | None => {
                None
            }
        }
    }

    /// Whether it asks for TLS to be decrypted, and where.
    pub(in crate::policy) fn needs_inside(&self) -> Option<Place> {
        match self.inspection {
            Inspection::None => None,
            Inspection::Legacy | Inspection::Full => Some(self.place()),
            Inspection::Partial => {
                let mut rules = self.rules().zip(0_u32..);
                let (_, id) = rules.find(|(rule, _)| {
                    rule.path.is_some()
                        || rule.methods.is_some()
                        || matches!(rule.action, RuleAction::Transform | RuleAction::Rewrite)
                })?;
                Some(self.place_of(Some(RuleId::Rule(id))))
            }
        }
    }

    /// What is wrong with its references to secrets, where its sandboxes are in `group`.
    pub(in crate::policy) fn unmet(&self, secrets: &SecretSet, group: Option<&str>) -> Vec<Problem> {
        let all = self.rare.iter().flat_map(|rare| &rare.changing);
        let uses = all.flat_map(|own| own.changes.secrets().map(move |used| (own, used)));
        uses.filter_map(|(own, used)| unmet(secrets, group, &self.scope, own, used)).collect()
    }
}

/// What is wrong with a reference to a secret.
fn unmet(
    secrets: &SecretSet,
    group: Option<&str>,
    scope: &Scope,
    own: &Changing,
    used: &SecretRef,
) -> Option<Problem> {
    let id = quoted(&used.id);
    let key = used.key.as_deref();
    let found = secrets.find(group, &used.id).ok_or(Missing::Secret);
    let (message, cure) = match found.and_then(|secret| key_of(secret, key).map(|_| secret)) {
        Ok(secret) => match (&secret.hosts, &own.home) {
            (None, None) => (
                format!("secret {id} has no `hosts`, and this rule is for more than one host"),
                format!("add `hosts` to the secret at {}, or write one rule for each host", secret.place),
            ),
            (Some(hosts), Some(home)) if !hosts.iter().any(|host| meet(host, home)) => {
                let problem = Problem::warning(format!(
                    "secret {id} is not bound to `{home}`: such requests are denied"
                ));
                let cure = format!("add \"{home}\" to `hosts` of the secret at {}", secret.place);
                return Some(problem.at(used.place.clone()).cure(cure));
            }
            (None | Some(_), None | Some(_)) => return None,
        },
        Err(Missing::Key) => (
            format!("secret {id} has no key {}", quoted(key.unwrap_or_default())),
            "name one of its `keys`".to_owned(),
        ),
        Err(Missing::Unnamed) => (
            format!("secret {id} has several keys, and `secretKey` does not say which"),
            "add `secretKey`".to_owned(),
        ),
        Err(Missing::Secret) => match secrets.iter().find(|secret| secret.name == used.id) {
            Some(other) => (
                format!("secret {id} is not visible to a document for {scope}: it is of another group"),
                format!("give the secret at {} this document's group, or none", other.place),
            ),
            None => (
                format!("there is no secret {id}"),
                format!("add a document `kind: Secret` with `metadata: {{name: {}}}`", used.id),
            ),
        },
    };
    Some(Problem::error(message).at(used.place.clone()).cure(cure))
}

/// Whether a pattern may match a host that another pattern names, on some port.
fn meet(pattern: &Pattern, home: &Pattern) -> bool {
    let port = pattern.port().or(home.port()).unwrap_or(Port::HTTPS);
    home.port().is_none_or(|own| own == port) && one(home).is_none_or(|host| pattern.matches(&host, port))
}

/// The host of a pattern that names one.
pub(in crate::policy) fn one(pattern: &Pattern) -> Option<Host> {
    match pattern.kind() {
        PatternKind::Exact(name) => Some(Host::Name(name.clone())),
        PatternKind::Ip(ip) => Some(Host::Ip(*ip)),
        PatternKind::Any | PatternKind::Suffix(_) | PatternKind::Inner(_) => None,
    }
}
