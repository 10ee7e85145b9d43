//! The secrets in force: who may use which, and what becomes of one when its document changes.
//!
//! | a document of | sees, the first that there is |
//! |---|---|
//! | Global | secrets without a group |
//! | a Group | secrets of that group, then those without one |
//! | a Sandbox | secrets of the group that the sandbox is in, then those without one |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decision::Denial;
use super::document::{Secret, SecretKey};
use super::reason::Reason;
use super::scope::Roster;
use crate::addr::{Host, Port, Target};
use crate::source::{Problem, quoted};

/// The secrets in force, by group and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretSet {
    /// Those without a group.
    global: BTreeMap<Arc<str>, Arc<Secret>>,
    /// Those of each group.
    groups: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Secret>>>,
}

/// Why a reference leads to no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is no such secret for whoever refers to it.
    Secret,
    /// The secret has no such key.
    Key,
    /// The secret has several keys and none was named.
    Unnamed,
}

impl SecretSet {
    /// The secrets of these documents, and what is wrong with them. Where a document is there no longer, or twice, the secret
    /// of `previous` stays.
    #[must_use]
    pub fn settle<'s>(
        written: impl IntoIterator<Item = &'s Arc<Secret>>,
        roster: Option<&Roster>,
        previous: Option<&Self>,
    ) -> (Self, Vec<Problem>) {
        let (mut set, mut problems) = (Self::default(), Vec::new());
        let mut removed = BTreeSet::new();
        for secret in written {
            if secret.removed {
                removed.insert((secret.group.as_deref(), &*secret.name));
                continue;
            }
            problems.extend(misplaced(secret, roster));
            if let Some(first) = set.get(secret.group.as_deref(), &secret.name) {
                let problem = Problem::error(format!("a second {}", told(secret))).at(secret.place.clone());
                problems.push(problem.cure(format!("keep one: the first is at {}", first.place)));
                let kept = previous.and_then(|set| set.get(secret.group.as_deref(), &secret.name));
                if let Some(kept) = kept.cloned() {
                    set.insert(kept);
                }
                continue;
            }
            let same = previous.and_then(|set| set.get(secret.group.as_deref(), &secret.name));
            set.insert(Arc::clone(same.filter(|same| *same == secret).unwrap_or(secret)));
        }
        for kept in previous.into_iter().flat_map(Self::iter) {
            let (group, name) = (kept.group.as_deref(), &*kept.name);
            if set.get(group, name).is_none() && !removed.contains(&(group, name)) {
                problems.push(
                    Problem::error(format!(
                        "the {} has no good version any more: it stays as it was",
                        told(kept)
                    ))
                    .at(kept.place.clone())
                    .cure("mend or restore it; to take it away, write `metadata: {removed: true}` in it"),
                );
                set.insert(Arc::clone(kept));
            }
        }
        (set, problems)
    }

    /// All of them, those without a group first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.global.values().chain(self.groups.values().flat_map(BTreeMap::values))
    }

    /// The secret of a group, or of none, by its name.
    #[must_use]
    pub fn of(&self, group: Option<&str>, name: &str) -> Option<&Arc<Secret>> {
        self.get(group, name)
    }

    /// The name of a group that has secrets of its own.
    pub(super) fn group(&self, group: &str) -> Option<&Arc<str>> {
        self.groups.get_key_value(group).map(|(name, _)| name)
    }

    /// The secret that somebody of a group means.
    pub(super) fn find(&self, group: Option<&str>, id: &str) -> Option<&Arc<Secret>> {
        group.and_then(|group| self.get(Some(group), id)).or_else(|| self.get(None, id))
    }

    /// The secrets that somebody of a group can mean.
    pub(super) fn seen_by<'s>(&'s self, group: Option<&'s str>) -> impl Iterator<Item = &'s Arc<Secret>> {
        let own = group.and_then(|group| self.groups.get(group));
        let hidden = move |secret: &&Arc<Secret>| own.is_some_and(|own| own.contains_key(&secret.name));
        let global = self.global.values().filter(move |secret| !hidden(secret));
        own.into_iter().flat_map(BTreeMap::values).chain(global)
    }

    /// A secret by its own group and name.
    fn get(&self, group: Option<&str>, name: &str) -> Option<&Arc<Secret>> {
        match group {
            None => self.global.get(name),
            Some(group) => self.groups.get(group)?.get(name),
        }
    }

    /// Puts a secret in the place of the one of its group and name.
    fn insert(&mut self, secret: Arc<Secret>) {
        let own = match &secret.group {
            None => &mut self.global,
            Some(group) => self.groups.entry(Arc::clone(group)).or_default(),
        };
        own.insert(Arc::clone(&secret.name), secret);
    }
}

/// The key of a secret that a reference means; without a name, the only one.
pub(super) fn key_of<'s>(secret: &'s Secret, key: Option<&str>) -> Result<&'s SecretKey, Missing> {
    match (key, secret.keys.as_slice()) {
        (Some(key), keys) => keys.iter().find(|known| *known.name == *key).ok_or(Missing::Key),
        (None, [only]) => Ok(only),
        (None, _) => Err(Missing::Unnamed),
    }
}

/// Whether a secret may be sent to a target: over verified TLS, and to a host that it is bound to.
///
/// # Errors
/// `secret_host_mismatch`.
pub(super) fn sendable(what: &str, bound: bool, to: &Target, secure: bool) -> Result<(), Denial> {
    if !secure {
        let detail =
            format!("{} is sent over verified TLS only, and this request goes in plain text", quoted(what));
        return Err(Denial::new(Reason::SecretHostMismatch, detail));
    }
    if !bound {
        let detail = format!("{} is not bound to {to}", quoted(what));
        return Err(Denial::new(Reason::SecretHostMismatch, detail));
    }
    Ok(())
}

/// Whether one of the hosts of a secret is a target; none of them without `hosts`.
pub(super) fn has_host(secret: &Secret, target: &Target) -> bool {
    let mut hosts = secret.hosts.iter().flatten();
    hosts.any(|pattern| pattern.matches(target.host(), target.port()))
}

/// Whether one of the hosts of a secret is a host, on whatever port.
pub(super) fn names_host(secret: &Secret, host: &Host, port: Port) -> bool {
    let mut hosts = secret.hosts.iter().flatten();
    hosts.any(|pattern| pattern.matches(host, pattern.port().unwrap_or(port)))
}

/// What a secret is called in problems.
pub(super) fn told(secret: &Secret) -> String {
    match &secret.group {
        None => format!("secret {}", quoted(&secret.name)),
        Some(group) => format!("secret {} of group {}", quoted(&secret.name), quoted(group)),
    }
}

/// What is wrong with the group of a secret, when the process configuration does not know it.
fn misplaced(secret: &Secret, roster: Option<&Roster>) -> Option<Problem> {
    let group = secret.group.as_deref()?;
    if roster?.values().flatten().any(|known| **known == *group) {
        return None;
    }
    let problem = Problem::error(format!("no configured sandbox is in group {}", quoted(group)));
    Some(
        problem
            .at(secret.place.clone())
            .cure("name a group of the process configuration: nobody could use this secret"),
    )
}
