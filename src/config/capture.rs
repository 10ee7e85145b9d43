//! The rules that take what sandboxes send to the gateway: `capture`.

use std::net::IpAddr;

use super::identity::name;
use super::network::prefix;
use super::{ListenerSettings, SandboxSettings};
use crate::capture::{Interface, Mode};
use crate::source::{Spot, nearest, quoted};

/// The keys of `capture`.
pub(crate) const CAPTURE_KEYS: [&str; 4] = ["interfaces", "ipv6", "gatewayAddresses", "sidecarUid"];
/// The keys of an interface.
pub(crate) const INTERFACE_KEYS: [&str; 3] = ["name", "sources", "sandbox"];

/// The rules that take what sandboxes send to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureSettings {
    /// Whose traffic is taken.
    pub who: Taken,
    /// Whether a sandbox may speak IPv6.
    pub ipv6: bool,
}

/// Whose traffic is taken. How, the listeners say that it is taken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// That of sandboxes behind interfaces of the gateway.
    Behind {
        /// The interfaces.
        interfaces: Vec<Interface>,
        /// The addresses at which the explicit proxy is reached; none: every address of the gateway.
        gateway: Vec<IpAddr>,
    },
    /// That of everybody in this network namespace but one user, which is the proxy's.
    EveryoneBut(u32),
}

/// `capture`.
pub(super) fn capture(
    spot: &Spot<'_>,
    sandboxes: &[SandboxSettings],
    listeners: &[ListenerSettings],
) -> Option<CaptureSettings> {
    let fields = spot.fields(&CAPTURE_KEYS)?;
    let ipv6 = fields.get("ipv6").and_then(|spot| spot.boolean()).unwrap_or(false);
    let interfaces = fields.get("interfaces").map(|spot| spot.each(|item| interface(&item, sandboxes)));
    let gateway = fields.get("gatewayAddresses").map(|spot| spot.each(|item| address(&item)));
    if let Some(spot) = fields.get("sidecarUid") {
        if ["interfaces", "gatewayAddresses"].iter().any(|key| fields.has(key)) {
            spot.error_cure(
                "a sidecar shares its network with the sandbox, so there are no interfaces between them",
                "leave `sidecarUid` out, or `interfaces` and `gatewayAddresses`",
            );
        }
        if listeners.iter().any(|listener| listener.mode == Mode::TProxy) {
            spot.error_cure(
                "what is sent in this namespace itself can only be rewritten, and a listener has `mode: TProxy`",
                "give that listener `mode: Redirect`",
            );
        }
        let uid = spot.integer(1, u64::from(u32::MAX - 1)).and_then(|uid| u32::try_from(uid).ok())?;
        return Some(CaptureSettings { who: Taken::EveryoneBut(uid), ipv6 });
    }
    let interfaces = interfaces.unwrap_or_default();
    if interfaces.is_empty() {
        spot.error_cure("names nobody whose traffic is taken", "list `interfaces`, or write `sidecarUid`");
    }
    for (at, interface) in interfaces.iter().enumerate() {
        if interfaces.iter().take(at).any(|other| other.name() == interface.name()) {
            spot.error(format!("interface {} is named twice", quoted(interface.name())));
        }
    }
    let gateway = gateway.unwrap_or_default();
    Some(CaptureSettings { who: Taken::Behind { interfaces, gateway }, ipv6 })
}

/// One interface.
fn interface(item: &Spot<'_>, sandboxes: &[SandboxSettings]) -> Option<Interface> {
    let fields = item.fields(&INTERFACE_KEYS)?;
    let spot = fields.require("name")?;
    let name_of = spot.word(64)?;
    let mut sources = fields.get("sources").map(|spot| spot.each(|item| prefix(&item))).unwrap_or_default();
    if fields.has("sources") && fields.has("sandbox") {
        item.error_cure("has its own `sources` and those of a sandbox", "leave one of them out");
    }
    if let Some(spot) = fields.get("sandbox") {
        let id = name(&spot)?;
        match sandboxes.iter().find(|sandbox| sandbox.id == id) {
            Some(sandbox) if sandbox.sources.is_empty() => {
                spot.error_cure(
                    format!("sandbox {} has no sources", quoted(&id)),
                    "give it `sources`, or write them here",
                );
            }
            Some(sandbox) => sources.clone_from(&sandbox.sources),
            None => {
                let message = format!("no sandbox {} is listed", quoted(&id));
                match nearest(&id, sandboxes.iter().map(|known| known.id.as_ref())) {
                    Some(near) => spot.error_cure(message, format!("did you mean `{near}`?")),
                    None => spot.error_cure(message, "list it under `sandboxes`"),
                }
            }
        }
    }
    let interface = Interface::new(name_of, &sources);
    interface.map_err(|error| spot.error(error.to_string())).ok()
}

/// An address of the gateway.
fn address(item: &Spot<'_>) -> Option<IpAddr> {
    let text = item.text()?;
    let found = text.parse().ok();
    if found.is_none() {
        item.error_cure(format!("{} is not an address", quoted(text)), "write it as 10.200.1.1");
    }
    found
}
