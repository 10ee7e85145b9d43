//! What the operator says of networks, as far as documents are judged by it (`networks` of the process configuration).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::pattern;
use super::pattern::{Pattern, PatternKind};
use super::route::Route;
use crate::addr::Target;
use crate::source::Spot;

/// The networks of the process configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// Those that documents may delegate to, by name; None: nobody has said, and any name will do.
    pub delegated: Option<BTreeMap<Arc<str>, NetworkFacts>>,
    /// Whether the parent proxy of the managed path gets names instead of judged addresses.
    pub managed_by_name: bool,
    /// The hosts that take the managed path whatever a document says.
    pub platform: Vec<Pattern>,
}

/// What is said of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkFacts {
    /// The groups whose sandboxes may use it; None: any sandbox.
    pub groups: Option<Vec<Arc<str>>>,
    /// Whether its parent proxy gets names instead of judged addresses (`resolve: Remote`).
    pub by_name: bool,
}

impl Networks {
    /// Whether the parent proxy of a path gets names instead of judged addresses.
    #[must_use]
    pub fn is_by_name(&self, route: &Route) -> bool {
        match route {
            Route::Managed => self.managed_by_name,
            Route::Delegated(network) => self.is_network_by_name(network),
        }
    }

    /// The same of a network that documents delegate to.
    pub(super) fn is_network_by_name(&self, network: &str) -> bool {
        self.delegated.as_ref().and_then(|all| all.get(network)).is_some_and(|facts| facts.by_name)
    }

    /// Whether that is so of any network.
    pub(super) fn has_by_name(&self) -> bool {
        self.managed_by_name || self.delegated.iter().flatten().any(|(_, facts)| facts.by_name)
    }

    /// Whether a host is the operator's own, so that it takes the managed path whatever a document says.
    pub(super) fn is_platform(&self, target: &Target) -> bool {
        self.platform.iter().any(|pattern| pattern.matches(target.host(), target.port()))
    }
}

/// One of `platformHosts`: a host pattern, and no address, as a call to an address always takes the delegated path.
#[must_use]
pub fn platform_host(item: &Spot<'_>) -> Option<Pattern> {
    let host = pattern(item)?;
    if matches!(host.kind(), PatternKind::Ip(_)) {
        item.error_cure(
            format!("{host} is an address, and a call to an address always takes the delegated path"),
            "name the host, or remove it",
        );
        return None;
    }
    Some(host)
}
