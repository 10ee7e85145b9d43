//! Which rules of the kernel a configuration asks for: whose traffic is taken, by its `capture`; how and where to, by
//! its listeners.

use rustix::process::geteuid;

use crate::capture::{Mode, Ports, Settings, Who};
use crate::config::{Config, ListenerKind, ListenerSettings, Taken};

/// The rules that a configuration asks for.
///
/// # Errors
/// It asks for none, or for some that cannot be.
pub(super) fn settings(config: &Config) -> Result<Settings, String> {
    let Some(capture) = &config.capture else {
        return Err("the configuration has no `capture` that says what the rules should be".to_owned());
    };
    // SECURITY: whoever is that user instead of the gateway is let out by the rules.
    let own = geteuid().as_raw();
    if let Taken::EveryoneBut(uid) = capture.who
        && uid != own
    {
        return Err(format!("`sidecarUid` is {uid}, and this process is user {own}: make them the same"));
    }
    let settings =
        Settings { who: who(&capture.who, mode(config)?), ipv6: capture.ipv6, ports: ports(config)? };
    settings.check().map_err(|error| error.to_string())?;
    Ok(settings)
}

/// Whose traffic is taken, and how. In a sandbox's own namespace there is one way only.
#[must_use]
pub fn who(taken: &Taken, mode: Mode) -> Who {
    match taken {
        Taken::Behind { interfaces, gateway } => {
            Who::Interfaces { interfaces: interfaces.clone(), mode, gateway: gateway.clone() }
        }
        Taken::EveryoneBut(uid) => Who::EveryoneBut(*uid),
    }
}

/// How a configuration's listeners take TCP.
///
/// # Errors
/// Two listeners take it in different ways: there are rules for one.
pub fn mode(config: &Config) -> Result<Mode, String> {
    let mut modes = transparent(config).map(|listener| listener.mode);
    let mode = modes.next().unwrap_or_default();
    if modes.all(|other| other == mode) {
        Ok(mode)
    } else {
        Err("listeners of kind Transparent have different modes, and rules lead to one".to_owned())
    }
}

/// The ports of a configuration's listeners.
///
/// # Errors
/// Two listeners of one kind have different ports: rules lead to one.
pub fn ports(config: &Config) -> Result<Ports, String> {
    let of = |kind: &str, is: fn(&ListenerSettings) -> bool, local: bool| {
        let mut found: Vec<u16> = config
            .listeners
            .iter()
            .filter(|listener| is(listener) && (local || !listener.address.ip().is_loopback()))
            .map(|listener| listener.address.port())
            .collect();
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [] => Ok(None),
            [port] => Ok(Some(*port)),
            [one, other, ..] => {
                Err(format!("listeners of kind {kind} have ports {one} and {other}, and rules lead to one"))
            }
        }
    };
    Ok(Ports {
        transparent: of("Transparent", |listener| listener.kind == ListenerKind::Transparent, true)?
            .unwrap_or(Ports::default().transparent),
        dns: of("Dns", |listener| matches!(listener.kind, ListenerKind::Dns(_)), true)?,
        // One on loopback is for this host alone.
        explicit: of("Explicit", |listener| listener.kind == ListenerKind::Explicit, false)?,
        admin: Some(config.admin.address.port()),
    })
}

/// The listeners that redirected connections come to.
pub(super) fn transparent(config: &Config) -> impl Iterator<Item = &ListenerSettings> {
    config.listeners.iter().filter(|listener| listener.kind == ListenerKind::Transparent)
}
