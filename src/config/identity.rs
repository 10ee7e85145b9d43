//! Who is who: `sandboxes`.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::network::prefix;
use super::{ListenerSettings, TokenSource};
use crate::policy::document::LONGEST_NAME;
use crate::policy::document::secret::source;
use crate::source::{Fields, Kind, Place, Problem, Spot, quoted};

/// The keys of a sandbox.
pub(crate) const SANDBOX_KEYS: [&str; 5] = ["id", "group", "sources", "token", "requirePolicy"];

/// One sandbox and how it is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSettings {
    /// Its id.
    pub id: Arc<str>,
    /// Its group.
    pub group: Option<Arc<str>>,
    /// The addresses it comes from; no two sandboxes share one.
    pub sources: Vec<IpNet>,
    /// Its token in `Proxy-Authorization: Basic id:token`.
    pub token: Option<TokenSource>,
    /// Whether it is denied while it has no policy of its own.
    pub require_policy: bool,
}

/// An address range, and who claims it where.
struct Claim {
    /// The range.
    net: IpNet,
    /// The sandbox.
    id: Arc<str>,
    /// Where it is written.
    place: Place,
    /// The path there.
    path: String,
}

/// `sandboxes`: ids are unique, and no address belongs to two.
pub(super) fn sandboxes(spot: &Spot<'_>) -> Vec<SandboxSettings> {
    let mut ids: HashMap<Arc<str>, u32> = HashMap::new();
    let mut claims = Vec::new();
    let found = spot.each(|item| {
        let sandbox = sandbox(&item, &mut claims)?;
        if let Some(line) = ids.insert(Arc::clone(&sandbox.id), item.place().line) {
            item.error(format!("sandbox {} is on line {line} already", quoted(&sandbox.id)));
        }
        Some(sandbox)
    });
    overlaps(spot, claims);
    found
}

/// One sandbox.
fn sandbox(item: &Spot<'_>, claims: &mut Vec<Claim>) -> Option<SandboxSettings> {
    let fields = item.fields(&SANDBOX_KEYS)?;
    let id = fields.require("id").and_then(|spot| name(&spot));
    let group = fields.get("group").and_then(|spot| name(&spot));
    let token = fields.get("token").map(|spot| source(&spot));
    let require_policy = fields.get("requirePolicy").and_then(|spot| spot.boolean()).unwrap_or(false);
    let mut sources = Vec::new();
    if let Some(spot) = fields.get("sources") {
        if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
            spot.error_cure("lists no address", "leave `sources` out, or name at least one");
        }
        for item in spot.items() {
            let Some(net) = prefix(&item) else { continue };
            sources.push(net);
            if let Some(id) = &id {
                claims.push(Claim { net, id: Arc::clone(id), place: item.place(), path: item.path() });
            }
        }
    }
    if let (Some(id), Some(_)) = (&id, &token)
        && id.contains(':')
    {
        item.error_cure(
            format!("{} has a `:`, and a token is shown as `id:token`", quoted(id)),
            "choose an id without `:`",
        );
    }
    Some(SandboxSettings { id: id?, group, sources, token: token.flatten(), require_policy })
}

/// Reports every range that another sandbox claims too. Networks either nest or are apart, so neighbours tell.
fn overlaps(spot: &Spot<'_>, mut claims: Vec<Claim>) {
    claims.sort_by_key(|claim| (claim.net.addr(), claim.net.prefix_len()));
    let mut outer: Option<&Claim> = None;
    for claim in &claims {
        match outer {
            Some(wide) if wide.net.contains(&claim.net) => {
                let message = if wide.id == claim.id {
                    format!("{} is within {} of the same sandbox", claim.net, wide.net)
                } else {
                    format!("{} overlaps {} of sandbox {}", claim.net, wide.net, quoted(&wide.id))
                };
                let problem = Problem::error(message).at(claim.place.clone()).path(claim.path.clone());
                spot.decoder().report(
                    problem.cure(format!("an address is one sandbox; the other is at {}", wide.place)),
                );
            }
            Some(_) | None => outer = Some(claim),
        }
    }
}

/// Warns of sandboxes that nobody can be.
pub(super) fn unrecognised(
    fields: &Fields<'_>,
    sandboxes: &[SandboxSettings],
    listeners: &[ListenerSettings],
) {
    let Some(spot) = fields.get("sandboxes") else { return };
    if spot.decoder().errors() > 0 {
        return;
    }
    for (item, sandbox) in spot.items().zip(sandboxes) {
        let own = listeners.iter().any(|listener| listener.sandbox.as_ref() == Some(&sandbox.id));
        if sandbox.sources.is_empty() && sandbox.token.is_none() && !own {
            item.warn(
                format!("nobody can be sandbox {}", quoted(&sandbox.id)),
                "give it `sources`, a `token`, or a listener of its own",
            );
        }
    }
}

/// A name: 1 to 128 characters, none of them a control character.
pub(super) fn name(spot: &Spot<'_>) -> Option<Arc<str>> {
    spot.word(LONGEST_NAME).map(Arc::from)
}
