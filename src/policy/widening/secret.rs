//! What became wider in Secrets, which documents refer to without saying where a value may go.

use std::sync::Arc;

use super::{Told, Widening};
use crate::policy::cover::Covering;
use crate::policy::document::{Scrub, Secret};
use crate::policy::secret_set::{SecretSet, told as what};
use crate::source::quoted;

impl SecretSet {
    /// What is wider in these secrets than it was in `before`, those without a group first.
    ///
    /// | a change of a secret | is told |
    /// |---|---|
    /// | it is new | with where it may be sent |
    /// | `hosts` has another host | unless one that was there covers it |
    /// | `hosts` is gone, so that a rule binds it to its own host; or is there, and takes the place of that | always |
    /// | `placeholder: true` | always, where it was not |
    /// | another key; or one that is the only one left, which references without a key mean | always |
    /// | `scrub` searches less of responses | always |
    /// | a group's own is gone | where there is one without a group, which is meant in its place |
    /// | another source of a value; whatever else | never |
    #[must_use]
    pub fn widened_since(&self, before: &Self) -> Vec<Widening<Secret>> {
        let mut all = Vec::new();
        for after in self.iter() {
            let own = before.of(after.group.as_deref(), &after.name);
            if own.is_some_and(|own| Arc::ptr_eq(own, after)) {
                continue;
            }
            let mut told = Told::default();
            widened(own.map(|own| &**own), after, &mut told);
            all.push(Widening {
                before: own.cloned(),
                after: Some(Arc::clone(after)),
                widened: told.finish(),
            });
        }
        for gone in before.iter().filter(|gone| self.of(gone.group.as_deref(), &gone.name).is_none()) {
            let mut told = Told::default();
            if let Some(meant) = gone.group.as_ref().and_then(|_| self.of(None, &gone.name)) {
                told.say(|| {
                    format!(
                        "the {} is gone: the one without a group is meant in its place ({})",
                        what(gone),
                        meant.place
                    )
                });
            }
            all.push(Widening { before: Some(Arc::clone(gone)), after: None, widened: told.finish() });
        }
        all.retain(|widening| !widening.widened.is_empty());
        all
    }
}

/// What a version of a secret lets through that the one before it did not.
fn widened(before: Option<&Secret>, after: &Secret, told: &mut Told) {
    let (own, place) = (what(after), &after.place);
    if before.is_none() {
        told.say(|| format!("the {own} is new ({place})"));
    }
    hosts(before, after, told);
    if after.placeholder && !before.is_some_and(|before| before.placeholder) {
        told.say(|| format!("the {own} is put in where a sandbox writes its placeholder ({place})"));
    }
    let Some(before) = before else { return };
    keys(before, after, told);
    let searched = |scrub| match scrub {
        Scrub::Never => 0,
        Scrub::Text => 1,
        Scrub::Always => 2,
    };
    if searched(after.scrub) < searched(before.scrub) {
        let (is, was) = (after.scrub, before.scrub);
        told.say(|| format!("`scrub` of the {own} is {is:?}, and was {was:?}: a sandbox may read it in a response ({place})"));
    }
}

/// `hosts`, or what holds without them.
fn hosts(before: Option<&Secret>, after: &Secret, told: &mut Told) {
    let (own, place) = (what(after), &after.place);
    let Some(hosts) = &after.hosts else {
        if before.is_none_or(|before| before.hosts.is_some()) {
            told.say(|| {
                format!(
                    "the {own} may be sent to the host of any rule that uses it: it has no `hosts` ({place})"
                )
            });
        }
        return;
    };
    let known = before.and_then(|before| before.hosts.as_ref()).into_iter().flatten();
    let known = Covering::of(known.map(|pattern| (pattern.clone(), 0)));
    for host in hosts.iter().filter(|host| known.find(host, false).is_none()) {
        told.say(|| format!("the {own} may be sent to `{host}` ({place})"));
    }
}

/// `keys`, as far as there is a value where there was none.
fn keys(before: &Secret, after: &Secret, told: &mut Told) {
    let own = what(after);
    let has = |name: &str| before.keys.iter().any(|key| *key.name == *name);
    for key in after.keys.iter().filter(|key| !has(&key.name)) {
        told.say(|| format!("the {own} has a key {} ({})", quoted(&key.name), key.place));
    }
    if let ([key], true) = (after.keys.as_slice(), before.keys.len() > 1) {
        told.say(|| {
            let name = quoted(&key.name);
            format!("{name} is the only key of the {own}, and is meant where none is named ({})", key.place)
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
