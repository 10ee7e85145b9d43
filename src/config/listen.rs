//! The ways in: `listeners` and `admin`.

use ipnet::IpNet;

use super::identity::name;
use super::network::{path, prefix, socket};
use super::{AdminSettings, AdminToken, Config, ListenerKind, ListenerSettings, Role, SandboxSettings};
use crate::capture::Mode;
use crate::identity::registry::overlapping;
use crate::policy::document::secret::source;
use crate::proxy::dns::{Denied, Settings};
use crate::source::{Fields, Kind, Spot, nearest, quoted};

/// The keys of a listener.
pub(crate) const LISTENER_KEYS: [&str; 10] = [
    "address",
    "kind",
    "mode",
    "sandbox",
    "proxyProtocol",
    "denied",
    "distinctNamesPerMinute",
    "maxNameBytes",
    "maxLabelBytes",
    "maxLabelBits",
];
/// Those of a listener of `kind: Dns` alone.
const QUERY_KEYS: [&str; 5] =
    ["denied", "distinctNamesPerMinute", "maxNameBytes", "maxLabelBytes", "maxLabelBits"];
/// The kinds of a listener.
pub(crate) const LISTENER_KINDS: [(&str, ListenerKind); 3] = [
    ("Explicit", ListenerKind::Explicit),
    ("Transparent", ListenerKind::Transparent),
    ("Dns", ListenerKind::Dns(Settings::DEFAULT)),
];
/// How the kernel redirects to a listener.
pub(crate) const MODES: [(&str, Mode); 2] = [("Redirect", Mode::Redirect), ("TProxy", Mode::TProxy)];
/// What a denied name is told.
pub(crate) const DENIED: [(&str, Denied); 2] = [("NxDomain", Denied::NxDomain), ("Refused", Denied::Refused)];
/// The keys of `admin`.
pub(crate) const ADMIN_KEYS: [&str; 4] = ["address", "socket", "tls", "tokens"];
/// The keys of `admin.tls`.
pub(crate) const TLS_KEYS: [&str; 2] = ["certificate", "key"];
/// The keys of a token.
pub(crate) const TOKEN_KEYS: [&str; 3] = ["name", "role", "token"];

/// `listeners`.
pub(super) fn listeners(spot: &Spot<'_>, sandboxes: &[SandboxSettings]) -> Vec<ListenerSettings> {
    if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
        spot.error_cure("lists no listener", "leave `listeners` out for 127.0.0.1:3128");
    }
    let mut found: Vec<ListenerSettings> = Vec::new();
    for item in spot.items() {
        let Some(listener) = listener(&item, sandboxes) else { continue };
        let taken =
            listener.address.port() != 0 && found.iter().any(|other| other.address == listener.address);
        if taken {
            item.error(format!("another listener has {} already", listener.address));
        }
        found.push(listener);
    }
    found
}

/// One listener.
fn listener(item: &Spot<'_>, sandboxes: &[SandboxSettings]) -> Option<ListenerSettings> {
    let fields = item.fields(&LISTENER_KEYS)?;
    let kind = fields.get("kind").and_then(|spot| spot.choice(&LISTENER_KINDS)).unwrap_or_default();
    let mode = fields.get("mode").and_then(|spot| {
        if kind != ListenerKind::Transparent {
            spot.error_cure(
                "says how connections are redirected to a listener that takes none",
                "write `kind: Transparent`, or remove `mode`",
            );
        }
        spot.choice(&MODES)
    });
    let kind = queries(&fields, kind);
    let sandbox = fields.get("sandbox").and_then(|spot| {
        let id = name(&spot)?;
        if !sandboxes.iter().any(|known| known.id == id) {
            let message = format!("no sandbox {} is listed", quoted(&id));
            match nearest(&id, sandboxes.iter().map(|known| known.id.as_ref())) {
                Some(near) => spot.error_cure(message, format!("did you mean `{near}`?")),
                None => spot.error_cure(message, "list it under `sandboxes`"),
            }
        }
        Some(id)
    });
    let address = fields.require("address").and_then(|spot| socket(&spot, "0.0.0.0:3128 or [::]:3128"))?;
    if !address.ip().is_loopback() && sandboxes.is_empty() {
        item.warn(
            format!("{address} is open to other machines, and no `sandboxes` say who is who: everybody is sandbox `default`"),
            "list `sandboxes`, or listen on 127.0.0.1",
        );
    }
    let proxy_protocol = fields.get("proxyProtocol").map(|spot| peers(&spot, kind, sandboxes));
    let (mode, proxy_protocol) = (mode.unwrap_or_default(), proxy_protocol.unwrap_or_default());
    Some(ListenerSettings { address, kind, mode, sandbox, proxy_protocol })
}

/// `listeners[].proxyProtocol`: who is believed, and none of them is a sandbox.
fn peers(spot: &Spot<'_>, kind: ListenerKind, sandboxes: &[SandboxSettings]) -> Vec<IpNet> {
    if matches!(kind, ListenerKind::Dns(_)) {
        spot.error_cure(
            "DNS has no PROXY protocol",
            "remove `proxyProtocol`, or write it at another listener",
        );
    }
    if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
        spot.error_cure("lists no peer", "leave `proxyProtocol` out, or name at least one");
    }
    spot.each(|item| {
        let net = prefix(&item)?;
        let sources =
            |sandbox: &SandboxSettings| Some((overlapping(&sandbox.sources, &net)?, sandbox.id.clone()));
        if let Some((source, id)) = sandboxes.iter().find_map(sources) {
            item.error_cure(
                format!(
                    "{net} has addresses of sandbox {} ({source}), which could say that it is another",
                    quoted(&id)
                ),
                "name the load balancer's own addresses only",
            );
        } else if net.prefix_len() == 0 {
            item.warn("everybody can say who they are", "name the load balancer's own addresses only");
        }
        Some(net)
    })
}

/// The kind with what is said of the queries that come in, where they do.
fn queries(fields: &Fields<'_>, kind: ListenerKind) -> ListenerKind {
    let ListenerKind::Dns(mut settings) = kind else {
        for spot in QUERY_KEYS.iter().filter_map(|key| fields.get(key)) {
            spot.error_cure(
                "this is about DNS queries, which do not come in here",
                "remove it, or write `kind: Dns`",
            );
        }
        return kind;
    };
    if let Some(denied) = fields.get("denied").and_then(|spot| spot.choice(&DENIED)) {
        settings.denied = denied;
    }
    let number = |key, most| fields.get(key).and_then(|spot| spot.integer(1, most));
    let set = |found: Option<u64>, target: &mut u32| {
        if let Some(found) = found.and_then(|found| found.try_into().ok()) {
            *target = found;
        }
    };
    set(number("distinctNamesPerMinute", 100_000), &mut settings.distinct_names_per_minute);
    set(number("maxNameBytes", 253), &mut settings.max_name_bytes);
    set(number("maxLabelBytes", 63), &mut settings.max_label_bytes);
    set(number("maxLabelBits", 400), &mut settings.max_label_bits);
    ListenerKind::Dns(settings)
}

/// `admin`.
pub(super) fn admin(spot: &Spot<'_>) -> AdminSettings {
    let mut settings = Config::default().admin;
    let Some(fields) = spot.fields(&ADMIN_KEYS) else { return settings };
    if let Some(address) = fields.get("address").and_then(|spot| socket(&spot, "127.0.0.1:9901")) {
        settings.address = address;
    }
    settings.socket = fields.get("socket").and_then(|spot| path(&spot));
    if let Some(spot) = fields.get("tls") {
        if let Some(fields) = spot.fields(&TLS_KEYS) {
            let _certificate = fields.require("certificate").and_then(|spot| path(&spot));
            let _key = fields.require("key").and_then(|spot| path(&spot));
        }
        spot.error_cure(
            "TLS on the admin server is a feature that this version does not have",
            "remove `tls`, and keep `address` on loopback or use `socket`",
        );
    }
    if let Some(spot) = fields.get("tokens") {
        for item in spot.items() {
            let Some(token) = token(&item) else { continue };
            if settings.tokens.iter().any(|other| other.name == token.name) {
                item.error(format!("another token is named {}", quoted(&token.name)));
            }
            settings.tokens.push(token);
        }
    }
    settings
}

/// One token.
fn token(item: &Spot<'_>) -> Option<AdminToken> {
    let fields = item.fields(&TOKEN_KEYS)?;
    let name = fields.require("name").and_then(|spot| name(&spot));
    let role = fields
        .require("role")
        .and_then(|spot| spot.choice(&[("Owner", Role::Owner), ("Reader", Role::Reader)]));
    let token = fields.require("token").and_then(|spot| source(&spot));
    Some(AdminToken { name: name?, role: role?, token: token? })
}
