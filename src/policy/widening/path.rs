//! What became wider in the path of calls, and by rules that are not asked.

use std::collections::HashSet;

use super::Told;
use crate::policy::compile::{Compiled, Delegation};
use crate::policy::document::SecurityRule;
use crate::policy::mode::Action;

/// `skipEgressProxy`.
pub(super) fn skip(before: Option<&Compiled>, after: &Compiled, told: &mut Told) {
    if let Some(place) = after.skip().filter(|_| !before.is_some_and(Compiled::skips)) {
        told.say(|| {
            format!("`skipEgressProxy` is true: no rule of it, nor of any document above, is asked ({place})")
        });
    }
}

/// `vnet`, as far as it is in force.
pub(super) fn network(before: Option<&Compiled>, after: &Compiled, told: &mut Told) {
    let was = before.and_then(|before| Some((before, before.delegation()?)));
    match (was, after.delegation()) {
        (None, None) => {}
        (None, Some(is)) => {
            let (network, place) = (&is.network, &is.place);
            told.say(|| {
                format!("calls take network `{network}`, in which no private address is guarded ({place})")
            });
            managed(None, after, told);
        }
        (Some((_, was)), None) => {
            let (network, place) = (&was.network, after.place());
            told.say(|| {
                format!("calls take the managed path, and took network `{network}` with its rules ({place})")
            });
        }
        (Some((before, was)), Some(is)) => {
            if was.network != is.network {
                let (old, new, place) = (&was.network, &is.network, &is.place);
                told.say(|| format!("calls take network `{new}`, and took `{old}` ({place})"));
            }
            managed(Some(before), after, told);
            security_rules(was, is, told);
        }
    }
}

/// Hosts that take another path than before.
fn managed(before: Option<&Compiled>, after: &Compiled, told: &mut Told) {
    let hosts = |document: &Compiled| document.managed_hosts().collect::<Vec<_>>();
    let (old, new) = (before.map(hosts).unwrap_or_default(), hosts(after));
    let texts = |all: &[(String, String)]| all.iter().map(|(text, _)| text.clone()).collect::<HashSet<_>>();
    let (was, is) = (texts(&old), texts(&new));
    let place = || after.delegation().map_or_else(|| after.place(), |vnet| vnet.place.clone());
    for (text, part) in new.iter().filter(|(text, _)| !was.contains(text)) {
        told.say(|| {
            format!("`{text}` takes the managed path, outside of the network, by {part} ({})", place())
        });
    }
    for (text, part) in old.iter().filter(|(text, _)| !is.contains(text)) {
        told.say(|| {
            let place = place();
            format!(
                "`{text}` takes the network, in which no private address is guarded: {part} is gone ({place})"
            )
        });
    }
}

/// `securityRules`.
fn security_rules(was: &Delegation, is: &Delegation, told: &mut Told) {
    let Some(old) = was.security_rules() else { return };
    let Some(new) = is.security_rules() else {
        let place = &is.place;
        told.say(|| format!("`securityRules` are gone: the network alone decides ({place})"));
        return;
    };
    let has = |all: &[SecurityRule], rule: &SecurityRule| all.iter().any(|own| says_the_same(own, rule));
    for rule in new.iter().filter(|rule| rule.action == Action::Allow && !has(old, rule)) {
        told.say(|| format!("securityRules `{}` is new, and allows ({})", rule.name, rule.place));
    }
    for rule in old.iter().filter(|rule| rule.action == Action::Deny && !has(new, rule)) {
        told.say(|| {
            format!("securityRules `{}`, which denied, is gone (it was at {})", rule.name, rule.place)
        });
    }
}

/// Whether two entries do the same, whatever they are called.
fn says_the_same(one: &SecurityRule, other: &SecurityRule) -> bool {
    let SecurityRule { name: _, priority, action, destination, ports, protocol, place: _ } = one;
    *priority == other.priority
        && *action == other.action
        && *destination == other.destination
        && *ports == other.ports
        && *protocol == other.protocol
}
