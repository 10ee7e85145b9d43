//! The file as a whole, and what it says about the network: DNS, guards, interception, limits.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::{IpNet, Ipv6Net};

use super::{
    CONFIG_KEYS, Config, DnsSettings, Ech, GuardSettings, InterceptSettings, Limits, Networks,
    SandboxSettings, audit, capture, identity, listen, secrets, uplink,
};
use crate::policy::document::{limit, network, pattern};
use crate::source::{Kind, Spot, quoted};

/// The keys of `policy`.
pub(crate) const POLICY_KEYS: [&str; 1] = ["path"];
/// The keys of `dns`.
pub(crate) const DNS_KEYS: [&str; 2] = ["servers", "maxTtlSeconds"];
/// The keys of `guards`.
pub(crate) const GUARD_KEYS: [&str; 3] = ["exempt", "nat64", "self"];
/// The keys of `intercept`.
pub(crate) const INTERCEPT_KEYS: [&str; 4] = ["certificate", "key", "upstreamRoots", "exclude"];
/// The keys of `limits`.
pub(crate) const LIMIT_KEYS: [&str; 7] = [
    "connections",
    "perSandbox",
    "headerBytes",
    "headerTimeoutMs",
    "connectTimeoutMs",
    "idleTimeoutMs",
    "drainTimeoutMs",
];

/// The whole file. Where something is wrong, the default stands in, and the problem is reported.
pub(super) fn config(spot: &Spot<'_>) -> Option<Config> {
    let fields = spot.fields(&CONFIG_KEYS)?;
    let base = Config::default();
    let sandboxes = fields.get("sandboxes").map(|spot| identity::sandboxes(&spot)).unwrap_or_default();
    let listeners = match fields.get("listeners") {
        Some(spot) => listen::listeners(&spot, &sandboxes),
        None => base.listeners,
    };
    identity::unrecognised(&fields, &sandboxes, &listeners);
    let dns = fields.get("dns").map_or(base.dns, |spot| dns(&spot));
    Some(Config {
        policy: fields.get("policy").and_then(|spot| policy(&spot)),
        admin: fields.get("admin").map_or(base.admin, |spot| listen::admin(&spot)),
        networks: fields.get("networks").map(|spot| networks(&spot, &dns, &sandboxes)).unwrap_or_default(),
        dns,
        ech: fields
            .get("ech")
            .and_then(|spot| spot.choice(&[("Allow", Ech::Allow), ("Deny", Ech::Deny)]))
            .unwrap_or_default(),
        skip_egress_proxy: fields
            .get("skipEgressProxy")
            .and_then(|spot| spot.choice(&[("Permitted", ())]))
            .is_some(),
        guards: fields.get("guards").map(|spot| guards(&spot)).unwrap_or_default(),
        secrets: fields.get("secrets").map(|spot| secrets::secrets(&spot)).unwrap_or_default(),
        intercept: fields.get("intercept").and_then(|spot| intercept(&spot)),
        audit: fields.get("audit").map_or(base.audit, |spot| audit::audit(&spot)),
        limits: fields.get("limits").map_or(base.limits, |spot| limits(&spot)),
        capture: fields.get("capture").and_then(|spot| capture::capture(&spot, &sandboxes, &listeners)),
        require_enforcement: base.require_enforcement,
        listeners,
        sandboxes,
    })
}

/// `networks`, beside what is said of DNS and of sandboxes.
fn networks(spot: &Spot<'_>, dns: &DnsSettings, sandboxes: &[SandboxSettings]) -> Networks {
    let networks = uplink::networks(spot, !dns.servers.is_empty());
    if !sandboxes.is_empty() {
        let groups: Vec<_> = sandboxes.iter().filter_map(|sandbox| sandbox.group.clone()).collect();
        uplink::unknown_groups(spot, &groups);
    }
    networks
}

/// `policy`.
fn policy(spot: &Spot<'_>) -> Option<PathBuf> {
    spot.fields(&POLICY_KEYS)?.require("path").and_then(|spot| path(&spot))
}

/// A path of the file system.
pub(super) fn path(spot: &Spot<'_>) -> Option<PathBuf> {
    spot.word(4096).map(PathBuf::from)
}

/// An address and a port.
pub(super) fn socket(spot: &Spot<'_>, example: &str) -> Option<SocketAddr> {
    let text = spot.text()?;
    let found = text.parse().ok();
    if found.is_none() {
        spot.error_cure(
            format!("{} is not an address and a port", quoted(text)),
            format!("write it as {example}"),
        );
    }
    found
}

/// A network, or one address.
pub(super) fn prefix(spot: &Spot<'_>) -> Option<IpNet> {
    match &spot.node().kind {
        Kind::Text(text) => match text.parse::<IpAddr>() {
            Ok(address) if is_mapped(address) => {
                spot.error_cure(
                    format!("{} is IPv4 written as IPv6", quoted(text)),
                    "write the IPv4 address",
                );
                None
            }
            Ok(address) => Some(IpNet::from(address)),
            Err(_) => network(spot),
        },
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::List(_) | Kind::Map(_) => {
            network(spot)
        }
    }
}

/// `dns`.
fn dns(spot: &Spot<'_>) -> DnsSettings {
    let mut settings = Config::default().dns;
    let Some(fields) = spot.fields(&DNS_KEYS) else { return settings };
    if let Some(spot) = fields.get("servers") {
        settings.servers = servers(&spot);
        if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
            spot.error_cure("lists no server", "leave `servers` out for the system's");
        }
    }
    if let Some(seconds) = fields.get("maxTtlSeconds").and_then(|spot| spot.integer(0, 86_400)) {
        settings.max_ttl = Duration::from_secs(seconds);
    }
    settings
}

/// A list of DNS servers.
pub(super) fn servers(spot: &Spot<'_>) -> Vec<SocketAddr> {
    spot.each(|item| {
        let address = socket(&item, "10.0.0.53:53 or [2001:db8::53]:53")?;
        if address.port() == 0 || address.ip().is_unspecified() {
            item.error(format!("{address} is not a server"));
        }
        if is_mapped(address.ip()) {
            item.error_cure(format!("{address} is IPv4 written as IPv6"), "write the IPv4 address");
        }
        Some(address)
    })
}

/// Whether this is IPv4 written as IPv6, which nobody would find where the IPv4 address is looked for.
pub(super) fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// `guards`.
fn guards(spot: &Spot<'_>) -> GuardSettings {
    let Some(fields) = spot.fields(&GUARD_KEYS) else { return GuardSettings::default() };
    GuardSettings {
        exempt: fields.get("exempt").map(|spot| spot.each(|item| prefix(&item))).unwrap_or_default(),
        nat64: fields.get("nat64").map(|spot| spot.each(|item| nat64(&item))).unwrap_or_default(),
        own: fields.get("self").map(|spot| spot.each(|item| prefix(&item))).unwrap_or_default(),
    }
}

/// A NAT64 prefix: RFC 6052 §2.2 has these lengths, and bits 64 to 71 zero.
fn nat64(item: &Spot<'_>) -> Option<Ipv6Net> {
    let net = network(item)?;
    match net {
        IpNet::V6(net)
            if matches!(net.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96)
                && net.addr().octets().get(8) == Some(&0) =>
        {
            Some(net)
        }
        IpNet::V6(_) | IpNet::V4(_) => {
            item.error_cure(
                format!("{net} is not a NAT64 prefix"),
                "write an IPv6 network of length 32, 40, 48, 56, 64 or 96 whose ninth byte is zero (RFC 6052)",
            );
            None
        }
    }
}

/// `intercept`.
fn intercept(spot: &Spot<'_>) -> Option<InterceptSettings> {
    let fields = spot.fields(&INTERCEPT_KEYS)?;
    let certificate = fields.require("certificate").and_then(|spot| path(&spot));
    let key = fields.require("key").and_then(|spot| path(&spot));
    let upstream_roots =
        fields.get("upstreamRoots").map(|spot| spot.each(|item| path(&item))).unwrap_or_default();
    let exclude = fields.get("exclude").map(|spot| spot.each(|item| pattern(&item))).unwrap_or_default();
    Some(InterceptSettings { certificate: certificate?, key: key?, upstream_roots, exclude })
}

/// `limits`.
fn limits(spot: &Spot<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(fields) = spot.fields(&LIMIT_KEYS) else { return limits };
    let number = |key, least, most, target: &mut usize| {
        let found = fields.get(key).and_then(|spot| spot.integer(least, most));
        if let Some(found) = found.and_then(|found| usize::try_from(found).ok()) {
            *target = found;
        }
    };
    number("connections", 1, 1_000_000, &mut limits.connections);
    number("headerBytes", 1024, 1 << 20, &mut limits.header_bytes);
    let time = |key, least, target: &mut Duration| {
        if let Some(found) = fields.get(key).and_then(|spot| spot.integer(least, 30 * 86_400_000)) {
            *target = Duration::from_millis(found);
        }
    };
    time("headerTimeoutMs", 1, &mut limits.header_timeout);
    time("connectTimeoutMs", 1, &mut limits.connect_timeout);
    time("idleTimeoutMs", 1, &mut limits.idle_timeout);
    time("drainTimeoutMs", 0, &mut limits.drain_timeout);
    if let Some(spot) = fields.get("perSandbox") {
        limits.per_sandbox = limit::limits(&spot);
    }
    limits
}
