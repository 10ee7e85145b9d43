//! From the header operations of rules to the plan of a request, and where a secret may go.

use std::sync::Arc;

use super::compile::{Changing, Compiled};
use super::decision::{Cause, Denial, RuleId, TargetPermit};
use super::document::{HeaderChange, HeaderValue, Scrub, Secret, SecretKey, SecretRef};
use super::mode::Scope;
use super::plan::{Change, Edit, EditValue, Format, Plan, SecretUse};
use super::reason::Reason;
use super::request::Taken;
use super::scope::Policy;
use super::secret_set::{Missing, has_host, key_of, names_host, sendable};
use crate::addr::{Host, Name, Target};
use crate::source::quoted;

impl Policy {
    /// The plan of a request that goes to `to` in the end.
    ///
    /// The Sandbox's edits come first, then the Group's, then the Global ones: the higher scope has the last word.
    ///
    /// # Errors
    /// `secret_host_mismatch`, `secret_unavailable`.
    pub(super) fn plan(
        &self,
        mut taken: Vec<Taken>,
        to: &TargetPermit,
        secure: bool,
    ) -> Result<Plan, Denial> {
        taken.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let mut edits = Vec::new();
        for (place, (at, rule)) in taken.iter().copied().enumerate() {
            // The same rule may let the request pass by two names, or to the old and the new place.
            if taken.iter().take(place).any(|before| *before == (at, rule)) {
                continue;
            }
            let Some(document) = self.document(at) else { continue };
            let Some(own) = document.changing(rule) else { continue };
            let value = |value: &HeaderValue| {
                self.value(document, own, value, to, secure).map_err(|denial| {
                    let cause = Cause { document: Arc::clone(document), rule: Some(RuleId::Rule(rule)) };
                    Denial { cause: Some(cause), ..denial }
                })
            };
            for edit in &own.changes.edits {
                let change = match &edit.change {
                    HeaderChange::Set(text) => Change::Set(value(text)?),
                    HeaderChange::Insert(text) => Change::Insert(value(text)?),
                    HeaderChange::Remove => Change::Remove,
                };
                edits.push(Edit { name: Arc::clone(&edit.name), change });
            }
        }
        Ok(Plan::new(edits))
    }

    /// The value of a header of a request to `to`.
    fn value(
        &self,
        document: &Compiled,
        own: &Changing,
        value: &HeaderValue,
        to: &TargetPermit,
        secure: bool,
    ) -> Result<EditValue, Denial> {
        let is_home = |to: &Target| own.home.as_ref().is_some_and(|home| home.matches(to.host(), to.port()));
        let home = || to.is_all(is_home);
        match value {
            HeaderValue::Text(text) => Ok(EditValue::Text(Arc::clone(text))),
            HeaderValue::Identity(identity) => {
                sendable(&identity.resource, home(), &to.target, secure)?;
                Ok(EditValue::Secret(SecretUse {
                    name: Arc::clone(&identity.resource),
                    source: Arc::clone(&identity.source),
                    format: identity.format.clone(),
                    scrub: Scrub::default(),
                }))
            }
            HeaderValue::Secret(SecretRef { id, key, format, .. }) => {
                let group = match document.scope() {
                    Scope::Global => None,
                    Scope::Group(group) => Some(&**group),
                    Scope::Sandbox { .. } => self.group(),
                };
                let secret =
                    self.secrets().find(group, id).ok_or_else(|| unavailable(id, Missing::Secret))?;
                let key = key_of(secret, key.as_deref()).map_err(|missing| unavailable(id, missing))?;
                let is_host = |to: &Target| has_host(secret, to);
                let bound = if secret.hosts.is_some() { to.is_all(is_host) } else { home() };
                sendable(&secret.name, bound, &to.target, secure)?;
                Ok(EditValue::Secret(used(secret, key, format.clone())))
            }
        }
    }

    /// The secret that a placeholder `sluicegate:ID/KEY` or `sluicegate:ID` of a request stands for, when it may be sent to
    /// the target of `permit`, where the request goes in the end.
    ///
    /// The sandbox's group must see the secret, the secret must let placeholders stand for it, the target be one of its
    /// `hosts`, and the request go over verified TLS.
    ///
    /// # Errors
    /// `secret_unavailable`, `secret_host_mismatch`.
    pub fn admit_placeholder(
        &self,
        permit: &TargetPermit,
        id: &str,
        key: Option<&str>,
        secure: bool,
    ) -> Result<SecretUse, Denial> {
        self.check()?;
        if self.asks_none() {
            let detail = "no secret is sent where rules are not asked (`skipEgressProxy`)";
            return Err(Denial::new(Reason::SecretUnavailable, detail));
        }
        // SECURITY: a secret that lets no placeholder stand for it answers as one that is not there.
        let found = self.secrets().find(self.group(), id).filter(|secret| secret.placeholder);
        let secret = found.ok_or_else(|| unavailable(id, Missing::Secret))?;
        let key = key_of(secret, key).map_err(|missing| unavailable(id, missing))?;
        let bound = permit.is_all(|to| has_host(secret, to));
        sendable(&secret.name, bound, &permit.target, secure)?;
        Ok(used(secret, key, Format::default()))
    }

    /// The secrets that placeholders can stand for at the host of `permit`, on whatever port: an origin that was made to keep
    /// one may show it with any answer.
    pub fn placeholders_at(&self, permit: &TargetPermit) -> impl Iterator<Item = SecretUse> {
        let port = permit.target.port();
        let alias = permit.alias.clone().map(Host::Name);
        let is_there = move |secret: &&Arc<Secret>| {
            let names = |host: &Host| names_host(secret, host, port);
            secret.placeholder && (names(permit.target.host()) || alias.as_ref().is_some_and(names))
        };
        let seen = self.secrets().seen_by(self.group()).filter(is_there);
        seen.flat_map(|secret| secret.keys.iter().map(|key| used(secret, key, Format::default())))
    }
}

impl TargetPermit {
    /// Whether this holds for the target, and for the name that the call gives it besides.
    ///
    /// SECURITY: S1: it is that name which the origin's certificate is for, and the target where the call leads.
    fn is_all(&self, holds: impl Fn(&Target) -> bool) -> bool {
        let named = |name: &Name| Target::new(Host::Name(name.clone()), self.target.port());
        holds(&self.target) && self.alias.as_ref().is_none_or(|name| holds(&named(name)))
    }
}

/// The use of a key of a secret.
fn used(secret: &Secret, key: &SecretKey, format: Format) -> SecretUse {
    SecretUse {
        name: format!("{}/{}", secret.name, key.name).into(),
        source: Arc::clone(&key.source),
        format,
        scrub: secret.scrub,
    }
}

/// The denial of a reference that leads to no value.
fn unavailable(id: &str, missing: Missing) -> Denial {
    let id = quoted(id);
    let detail = match missing {
        Missing::Secret => format!("there is no secret {id} that may be used here"),
        Missing::Key => format!("secret {id} has no such key"),
        Missing::Unnamed => format!("secret {id} has several keys, and none was named"),
    };
    Denial::new(Reason::SecretUnavailable, detail)
}
