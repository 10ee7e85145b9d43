//! The switches of a `managedPath`: the hosts that each stands for, and what is told of them.
//!
//! | of a switch is told | as |
//! |---|---|
//! | that the list in force gives no hosts for its part | an error |
//! | that its part is `optional` or `risk: exfil` | the warning that naming the part under `categories` has |
//! | which of its hosts are denied, so that they never take the managed path | one warning, with the Deny of the first few |

use crate::policy::category::{CategoryLists, Resolved};
use crate::policy::document::{CategoryUse, Document, Toggle};
use crate::policy::pattern::Pattern;
use crate::source::{Place, Problem};

/// So many denied hosts of a switch are named.
const MOST_NAMED: usize = 3;

/// A switch that is on, and the hosts that it stands for.
pub(super) struct Switch<'d> {
    pub(super) toggle: Toggle,
    pub(super) place: &'d Place,
    pub(super) hosts: Vec<Pattern>,
    pub(super) warnings: Vec<Problem>,
}

/// The switches of a document, or all of them that the list in force has no hosts for.
pub(super) fn switches<'d>(
    document: &'d Document,
    lists: &CategoryLists,
) -> Result<Vec<Switch<'d>>, Vec<Problem>> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (toggle, place) in document.spec.vnet.iter().flat_map(|vnet| &vnet.managed.toggles) {
        match hosts_of(*toggle, place, lists) {
            Ok(Resolved { patterns: hosts, warnings }) => {
                found.push(Switch { toggle: *toggle, place, hosts, warnings });
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// The hosts that a switch stands for.
fn hosts_of(toggle: Toggle, place: &Place, lists: &CategoryLists) -> Result<Resolved, Problem> {
    let (category, part) = toggle.part();
    let wanted = CategoryUse { category: category.into(), part: Some(part.into()), place: place.clone() };
    let path = || format!("spec.vnet.{toggle}");
    match lists.resolve(&wanted) {
        Ok(Resolved { patterns, warnings }) => {
            let cure = "list the hosts that are needed under `additionalHosts`, or leave it when it is meant";
            let warnings = warnings.into_iter().map(|warning| warning.path(path()).cure(cure));
            Ok(Resolved { patterns, warnings: warnings.collect() })
        }
        Err(problem) => {
            let list = lists.list();
            let message = format!(
                "`{toggle}` stands for `{category}/{part}`, which cannot be taken from the category list `{}`: {}",
                list.name, problem.message
            );
            let cure = format!(
                "give the part its hosts in the list at {}, or turn the switch off and name them under `additionalHosts`",
                list.place
            );
            Err(Problem::error(message).at(place.clone()).path(path()).cure(cure))
        }
    }
}

/// The warning of a switch which stands for `count` hosts, of which these are denied, each with the Deny.
pub(in crate::policy) fn lost(
    toggle: Toggle,
    place: &Place,
    count: usize,
    denied: &[(String, String)],
) -> Option<Problem> {
    let last = denied.len().min(MOST_NAMED).checked_sub(1)?;
    let mut named = String::new();
    for (at, (host, deny)) in denied.iter().enumerate().take(MOST_NAMED) {
        let comma = if at == 0 { "" } else { ", " };
        // A Deny is told once for the hosts that it holds for, behind the last of them.
        let next = denied.get(at + 1).filter(|_| at < last);
        let deny =
            if next.is_some_and(|(_, next)| next == deny) { String::new() } else { format!(" ({deny})") };
        named.extend([comma, &format!("`{host}`"), &deny]);
    }
    let more = match denied.len() - last - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let takes = if denied.len() == 1 { "takes" } else { "take" };
    let message =
        format!("{} of its {count} hosts never {takes} the managed path: {named}{more}", denied.len());
    let problem = Problem::warning(message).at(place.clone()).path(format!("spec.vnet.{toggle}"));
    Some(problem.cure("allow them there, or leave it when it is meant"))
}
