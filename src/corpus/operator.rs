//! What a corpus file says that the process configuration says.

use std::sync::Arc;

use crate::policy::{Guards, NetworkFacts, Networks, Route, platform_host};
use crate::source::Spot;

/// `operator`.
pub(super) fn guards(spot: &Spot<'_>) -> Guards {
    let Some(fields) = spot.fields(&["platformHosts", "skipEgressProxy", "networks"]) else {
        return Guards::default();
    };
    let platform = fields.get("platformHosts").map(|spot| spot.each(|item| platform_host(&item)));
    let skip = fields.get("skipEgressProxy").and_then(|spot| spot.choice(&[("Permitted", ())]));
    let known = fields.get("networks").map(|spot| networks(&spot)).unwrap_or_default();
    let networks = Networks { platform: platform.unwrap_or_default(), ..known };
    Guards { networks, skip_permitted: skip.is_some(), ..Guards::default() }
}

/// `operator.networks`: `managed`, and those that documents may delegate to.
fn networks(spot: &Spot<'_>) -> Networks {
    let mut found = Networks::default();
    if !spot.is_map() {
        let _reported = spot.fields(&[]);
        return found;
    }
    let delegated = found.delegated.insert(std::collections::BTreeMap::new());
    for (key, spot) in spot.entries() {
        if *key.text == *Route::MANAGED {
            let fields = spot.fields(&["resolve"]);
            found.managed_by_name =
                fields.is_some_and(|fields| fields.get("resolve").is_some_and(|spot| is_remote(&spot)));
        } else if let Some(fields) = spot.fields(&["resolve", "groups"]) {
            let by_name = fields.get("resolve").is_some_and(|spot| is_remote(&spot));
            let groups = fields.get("groups").map(|spot| spot.each(|item| item.text().map(Arc::from)));
            delegated.insert(Arc::clone(&key.text), NetworkFacts { groups, by_name });
        }
    }
    found
}

/// Whether the parent proxy of a network resolves names.
fn is_remote(spot: &Spot<'_>) -> bool {
    spot.choice(&[("Local", false), ("Remote", true)]).unwrap_or_default()
}
