//! Whether documents can be in force together, and over what the operator says.
//!
//! | document | beside | is |
//! |---|---|---|
//! | beyond `constraints` | of a higher one | not in force |
//! | in mode `VNet` for a network | in mode `VNet` for another one | not in force, the lower of them |
//! | in mode `VNet` for a network that nobody configured, or that is kept to other groups | | an error |
//! | in mode `VNet` for a network under `resolve: Remote` | `cidrRules` of any, or `securityRules` | not in force; an error where they are its own |
//! | with `cidrRules` | `resolve: Remote` of the managed network | an error |
//! | with `skipEgressProxy: true` | a higher one, or a process configuration, that does not say `Permitted` | not in force |
//!
//! Whoever has a document that is not in force is denied everything (`policy_error`). A document with an error does not load.

use std::sync::Arc;

use super::compile::{Compiled, Delegation};
use super::decision::{Cause, Denial, RuleId};
use super::guard::Guards;
use super::network::Networks;
use super::reason::Reason;
use crate::source::{Place, Problem, nearest};

/// What is wrong in a document, where in it, and what would be right.
pub(super) struct Wrong {
    message: String,
    place: Place,
    cure: String,
}

impl Wrong {
    /// An error of the document.
    pub(super) fn problem(self) -> Problem {
        Problem::error(self.message).at(self.place).cure(self.cure)
    }
}

/// Why documents cannot be asked for a sandbox of this group.
pub(super) fn fault(
    documents: &[Option<Arc<Compiled>>; 3],
    guards: &Guards,
    group: Option<&str>,
) -> Option<Denial> {
    documents.iter().enumerate().find_map(|(place, lower)| {
        let lower = lower.as_ref()?;
        let mut higher = documents.iter().take(place).flatten();
        let alone = unpermitted(lower, guards).or_else(|| unfit(lower, &guards.networks, group).next());
        let wrong = alone.or_else(|| higher.find_map(|higher| beyond(higher, lower, &guards.networks)))?;
        Some(Denial {
            cause: Some(Cause { document: Arc::clone(lower), rule: None }),
            ..Denial::new(Reason::PolicyError, wrong.message)
        })
    })
}

/// How many leading places are not asked, as the lowest document that skips is in the last of them.
pub(super) fn skipped(documents: &[Option<Arc<Compiled>>; 3]) -> usize {
    let skips = |document: &Option<Arc<Compiled>>| document.as_ref().is_some_and(|own| own.skips());
    documents.iter().rposition(skips).map_or(0, |place| place + 1)
}

/// What in `lower` goes beyond what the operator or `higher` ones permit, as a problem of a set of documents.
pub(super) fn conflict<'c>(
    mut higher: impl Iterator<Item = &'c Arc<Compiled>>,
    lower: &Compiled,
    guards: &Guards,
) -> Option<Problem> {
    let wrong = unpermitted(lower, guards)
        .or_else(|| higher.find_map(|higher| beyond(higher, lower, &guards.networks)))?;
    let message = format!(
        "{}; until that is mended, {} is denied everything (`policy_error`)",
        wrong.message, lower.scope
    );
    Some(Wrong { message, ..wrong }.problem())
}

/// Whether a document can bring lower ones into conflict with itself.
pub(super) fn binds(higher: &Compiled, networks: &Networks) -> bool {
    higher.constraints() != super::document::Constraints::default()
        || higher.delegation().is_some()
        || (networks.has_by_name() && higher.judges_addresses())
}

/// Whether a document can be in conflict with one above it that binds no other, or with the process configuration.
pub(super) fn can_be_bound(lower: &Compiled, networks: &Networks) -> bool {
    lower.skips() || (networks.has_by_name() && lower.delegation().is_some())
}

/// What a document asks for that the process configuration must permit.
fn unpermitted(document: &Compiled, guards: &Guards) -> Option<Wrong> {
    let place = document.skip().filter(|_| !guards.skip_permitted)?;
    Some(Wrong {
        message: format!(
            "`{}` has `skipEgressProxy: true`, which the process configuration does not permit",
            document.name
        ),
        place: place.clone(),
        cure: "write `skipEgressProxy: false`, or let the operator write `skipEgressProxy: Permitted` into the process \
               configuration"
            .to_owned(),
    })
}

/// All that is wrong with a document over the networks that the operator configured, for sandboxes of this group.
pub(super) fn unfit<'w>(
    document: &'w Compiled,
    networks: &'w Networks,
    group: Option<&'w str>,
) -> impl Iterator<Item = Wrong> + use<'w> {
    let by_name = networks.managed_by_name && document.judges_addresses();
    let judging = by_name.then(|| Wrong {
        message: format!(
            "`{}` has cidrRules, and the managed network leaves it to its parent proxy to resolve names",
            document.name
        ),
        place: document.place_of(Some(RuleId::Cidr(0))),
        cure: "remove the cidrRules, or write `resolve: Local` at the network `managed`".to_owned(),
    });
    let delegating = document.delegation().into_iter().flat_map(move |vnet| {
        absent(vnet, networks, group).into_iter().chain(remote(document, document, vnet, networks))
    });
    judging.into_iter().chain(delegating)
}

/// Why a network cannot be delegated to: nobody configured it, or it is kept to other groups.
fn absent(vnet: &Delegation, networks: &Networks, group: Option<&str>) -> Option<Wrong> {
    let known = networks.delegated.as_ref()?;
    let network = &*vnet.network;
    let Some(facts) = known.get(network) else {
        let names = || known.keys().map(|name| &**name);
        let cure = match nearest(network, names()) {
            Some(name) => format!("did you mean `{name}`?"),
            None if known.is_empty() => {
                "add it to `networks` of the process configuration, which has none to delegate to".to_owned()
            }
            None => format!("the networks are {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Some(Wrong {
            message: format!("the process configuration has no network `{network}`"),
            place: vnet.place.clone(),
            cure,
        });
    };
    let kept = facts.groups.as_ref()?;
    if group.is_some_and(|group| kept.iter().any(|own| **own == *group)) {
        return None;
    }
    let groups: Vec<&str> = kept.iter().map(|own| &**own).collect();
    Some(Wrong {
        message: format!("network `{network}` is kept to other groups: {}", groups.join(", ")),
        place: vnet.place.clone(),
        cure: "name another network, or write this into a document of such a group".to_owned(),
    })
}

/// Why a document that judges addresses cannot be asked where `delegating` leaves it to a parent proxy to resolve names.
fn remote(
    delegating: &Compiled,
    judging: &Compiled,
    vnet: &Delegation,
    networks: &Networks,
) -> Option<Wrong> {
    let by_name = || networks.is_network_by_name(&vnet.network);
    let own = judging.delegation().is_some_and(|vnet| vnet.security_rules().is_some());
    let (what, first) = match (judging.judges_addresses(), own) {
        (true, _) => ("cidrRules", RuleId::Cidr(0)),
        (false, true) => ("securityRules", RuleId::Security(0)),
        (false, false) => return None,
    };
    by_name().then(|| Wrong {
        message: format!(
            "`{}` has {what}, and network `{}`, to which `{}` delegates, leaves it to its parent proxy to resolve names",
            judging.name, vnet.network, delegating.name
        ),
        place: judging.place_of(Some(first)),
        cure: format!("remove the {what}, or write `resolve: Local` at the network `{}`", vnet.network),
    })
}

/// What in `lower` cannot be beside `higher`.
fn beyond(higher: &Compiled, lower: &Compiled, networks: &Networks) -> Option<Wrong> {
    bounds(higher, lower).or_else(|| {
        let both = higher.delegation().zip(lower.delegation());
        let other = both.filter(|(above, own)| above.network != own.network);
        if let Some((above, own)) = other {
            return Some(Wrong {
                message: format!(
                    "`{}` delegates to network `{}`, but {} `{}` delegates to `{}`",
                    lower.name, own.network, higher.scope, higher.name, above.network
                ),
                place: own.place.clone(),
                cure: "name one network in both, or leave the mode VNet to one of them".to_owned(),
            });
        }
        let above = higher.delegation().and_then(|vnet| remote(higher, lower, vnet, networks));
        // What is not in force is the lower one, so that its network is pointed at.
        let own = |vnet: &Delegation| {
            Some(Wrong { place: vnet.place.clone(), ..remote(lower, higher, vnet, networks)? })
        };
        above.or_else(|| own(lower.delegation()?))
    })
}

/// What in `lower` goes beyond the `constraints` of `higher`.
fn bounds(higher: &Compiled, lower: &Compiled) -> Option<Wrong> {
    let constraints = higher.constraints();
    let above = || format!("{} `{}`", higher.scope, higher.name);
    let managed = || lower.delegation().and_then(Delegation::first_managed);
    let (message, place) = if let Some(max) = constraints.max_mode.filter(|max| lower.mode > *max) {
        (format!("`{}` has mode {:?}, but {} allows at most {max:?}", lower.name, lower.mode, above()), None)
    } else if let Some(min) = constraints.min_inspection.filter(|min| lower.inspection < *min) {
        let has = format!("`{}` has trafficInspection {:?}", lower.name, lower.inspection);
        (format!("{has}, but {} asks for at least {min:?}", above()), None)
    } else if let Some(first) = constraints.managed_path_forbidden.then(managed).flatten() {
        (format!("`{}` has a `managedPath`, which {} forbids", lower.name, above()), Some(first))
    } else if let Some(skip) = lower.skip().filter(|_| !constraints.skip_permitted) {
        let message =
            format!("`{}` has `skipEgressProxy: true`, which {} does not permit", lower.name, above());
        (message, Some(skip.clone()))
    } else {
        return None;
    };
    let cure = format!("narrow this document, or widen the `constraints` of the one at {}", higher.place());
    Some(Wrong { message, place: place.unwrap_or_else(|| lower.place()), cure })
}
