//! The ways out: `networks`.
//!
//! | key | of `managed` | of the others |
//! |---|---|---|
//! | `interface`, `sourceAddress`, `mark`, `proxy`, `resolve` | yes | yes, and at least one of the first four |
//! | `dns` | yes, unless `dns.servers` says it | needed, so that no name is asked for elsewhere |
//! | `groups` | no: every sandbox has this path | who may delegate to it |
//! | `platformHosts` | the hosts that always take this path | no |
//!
//! With `resolve: Remote` there is a `proxy` and no `dns`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::network::{is_mapped, servers};
use super::{NetworkSettings, Networks, ProxySettings, identity};
use crate::addr::{Host, Name};
use crate::policy::document::LONGEST_NAME;
use crate::policy::document::secret::source;
use crate::policy::pattern::Pattern;
use crate::policy::{Route, platform_host};
use crate::source::{Fields, Kind, Spot, quoted};
use crate::upstream::parent::Protocol;
use crate::upstream::{Mark, SocketOptions, Sources};

/// The keys of an uplink; the last one is of `managed` alone.
pub(crate) const UPLINK_KEYS: [&str; 8] =
    ["interface", "sourceAddress", "mark", "dns", "proxy", "resolve", "groups", "platformHosts"];
/// The keys of a parent proxy.
pub(crate) const PROXY_KEYS: [&str; 4] = ["url", "serverName", "username", "password"];

/// The schemes of parent proxies: what is spoken, and whether inside TLS.
const SCHEMES: [(&str, Protocol, bool); 3] = [
    ("http://", Protocol::Http, false),
    ("https://", Protocol::Http, true),
    ("socks5://", Protocol::Socks5, false),
];
/// How a parent proxy is written.
const PROXY_CURE: &str =
    "write it as http://10.20.0.9:3128, https://10.20.0.9:3129 or socks5://10.20.0.9:1080";
/// The longest name of an interface, in bytes: the kernel's `IFNAMSIZ` without its end.
const LONGEST_INTERFACE: usize = 15;
/// The longest username and password of SOCKS5, in bytes (RFC 1929 §2).
pub(crate) const LONGEST_CREDENTIAL: usize = 255;

/// `networks`; `servers` says whether `dns.servers` is given.
pub(super) fn networks(spot: &Spot<'_>, servers: bool) -> Networks {
    let mut found = Networks::default();
    if !spot.is_map() {
        let _reported = spot.fields(&[]);
        return found;
    }
    for (key, spot) in spot.entries() {
        let Some(fields) = spot.fields(&UPLINK_KEYS) else { continue };
        let settings = uplink(&fields);
        if *key.text == *Route::MANAGED {
            found.platform_hosts = managed(&fields, servers);
            found.managed = settings;
        } else {
            delegated(&key.text, &fields, &settings);
            found.delegated.insert(Arc::clone(&key.text), settings);
        }
    }
    found
}

/// What only `managed` has; its platform hosts.
fn managed(fields: &Fields<'_>, servers: bool) -> Vec<Pattern> {
    if let Some(spot) = fields.get("groups") {
        spot.error_cure("every sandbox has the managed path", "leave `groups` out");
    }
    if let Some(spot) = fields.get("dns").filter(|_| servers) {
        spot.error_cure("`dns.servers` says this already", "leave one of them out");
    }
    if let Some(spot) = fields.get("resolve").filter(|spot| servers && is_remote(spot)) {
        spot.error_cure("nobody would ask the servers of `dns.servers`", "leave one of them out");
    }
    fields.get("platformHosts").map(|spot| spot.each(|item| platform_host(&item))).unwrap_or_default()
}

/// What the others must and must not have.
fn delegated(name: &Arc<str>, fields: &Fields<'_>, settings: &NetworkSettings) {
    let spot = fields.spot();
    let named = !name.is_empty()
        && name.trim() == &**name
        && name.chars().count() <= LONGEST_NAME
        && !name.chars().any(char::is_control);
    if !named {
        spot.error_cure(format!("{} is not the name of a network", quoted(name)), "write it as prod");
    }
    if let Some(spot) = fields.get("platformHosts") {
        spot.error_cure("only `managed` has platform hosts", "move them to `managed`");
    }
    if !["interface", "sourceAddress", "mark", "proxy"].iter().any(|key| fields.has(key)) {
        spot.error_cure(
            "nothing tells this network from any other",
            "add `interface`, `sourceAddress`, `mark` or `proxy`",
        );
    }
    if !fields.has("dns") && !settings.by_name {
        spot.error_cure(
            "this network has no DNS servers, and no others are asked for it",
            "add `dns: [10.20.0.53:53]`",
        );
    }
}

/// Whether this says `Remote`.
fn is_remote(spot: &Spot<'_>) -> bool {
    matches!(&spot.node().kind, Kind::Text(text) if text == "Remote")
}

/// What every uplink may have.
fn uplink(fields: &Fields<'_>) -> NetworkSettings {
    let options = SocketOptions {
        interface: fields.get("interface").and_then(|spot| interface(&spot)),
        source: fields.get("sourceAddress").map(|spot| sources(&spot)).unwrap_or_default(),
        mark: fields.get("mark").and_then(|spot| mark(&spot)),
        others: Arc::default(),
    };
    let dns = fields.get("dns").map(|spot| servers(&spot));
    if let Some(spot) = fields.get("dns")
        && matches!(&spot.node().kind, Kind::List(items) if items.is_empty())
    {
        spot.error_cure("lists no server", "write it as [10.20.0.53:53]");
    }
    let by_name = fields.get("resolve").and_then(|spot| {
        let remote = spot.choice(&[("Local", false), ("Remote", true)])?;
        if remote && !fields.has("proxy") {
            spot.error_cure(
                "there is no parent proxy that could resolve names",
                "add `proxy`, or write `Local`",
            );
        }
        if remote && fields.has("proxy") && fields.has("dns") {
            spot.error_cure(
                "the parent proxy resolves names, and nobody would ask the servers of `dns`",
                "leave `dns` out, or write `Local`",
            );
        }
        Some(remote)
    });
    NetworkSettings {
        options,
        dns: dns.unwrap_or_default(),
        proxy: fields.get("proxy").and_then(|spot| proxy(&spot)),
        by_name: by_name.unwrap_or_default(),
        groups: fields.get("groups").map(|spot| groups(&spot)),
    }
}

/// The groups that may use a network.
fn groups(spot: &Spot<'_>) -> Vec<Arc<str>> {
    if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
        spot.error_cure("lists no group", "leave `groups` out for every sandbox");
    }
    spot.each(|item| identity::name(&item))
}

/// The name of an interface.
fn interface(spot: &Spot<'_>) -> Option<Arc<str>> {
    let text = spot.word(LONGEST_INTERFACE)?;
    if text.len() > LONGEST_INTERFACE {
        spot.error(format!("is longer than {LONGEST_INTERFACE} bytes"));
        return None;
    }
    let shaped = !matches!(text, "." | "..")
        && !text.chars().any(|c| c.is_whitespace() || matches!(c, '/' | ':' | '*'));
    if !shaped {
        spot.error_cure(format!("{} is not the name of an interface", quoted(text)), "write it as eth1");
        return None;
    }
    Some(text.into())
}

/// One source address, or one of each family.
fn sources(spot: &Spot<'_>) -> Sources {
    let mut found = Sources::default();
    let mut add = |spot: &Spot<'_>| {
        let Some(address) = own_address(spot) else { return };
        let before = match address {
            IpAddr::V4(v4) => found.v4.replace(v4).is_some(),
            IpAddr::V6(v6) => found.v6.replace(v6).is_some(),
        };
        if before {
            spot.error_cure("a second address of this family", "keep at most one IPv4 and one IPv6 address");
        }
    };
    if let Kind::List(items) = &spot.node().kind {
        if items.is_empty() {
            spot.error_cure("lists no address", "leave `sourceAddress` out, and the system chooses");
        }
        for item in spot.items() {
            add(&item);
        }
    } else {
        add(spot);
    }
    found
}

/// An address that this host can have.
fn own_address(spot: &Spot<'_>) -> Option<IpAddr> {
    const CURE: &str = "write it as 10.20.0.4";
    let text = spot.text()?;
    let Ok(address) = text.parse::<IpAddr>() else {
        spot.error_cure(format!("{} is not an address", quoted(text)), CURE);
        return None;
    };
    if is_mapped(address) || address.is_unspecified() || address.is_multicast() {
        spot.error_cure(format!("{} is not an address that packets can leave from", quoted(text)), CURE);
        return None;
    }
    Some(address)
}

/// A mark: a number, or `VALUE/MASK` as text.
fn mark(spot: &Spot<'_>) -> Option<Mark> {
    let (value, mask) = if spot.is_text() {
        let text = spot.text()?;
        let (value, mask) = match text.split_once('/') {
            Some((value, mask)) => (number(value), number(mask)),
            None => (number(text), Some(u32::MAX)),
        };
        let (Some(value), Some(mask)) = (value, mask) else {
            spot.error_cure(
                format!("{} is not a packet mark", quoted(text)),
                "write it as 0x5b000000, or with a mask as \"0x5b000000/0xff000000\"",
            );
            return None;
        };
        (value, mask)
    } else {
        (u32::try_from(spot.integer(1, u64::from(u32::MAX))?).ok()?, u32::MAX)
    };
    let found = Mark::new(value, mask);
    if value == 0 {
        spot.error_cure("0 is what every packet without a mark has", "write a mark from 0x1 to 0xffffffff");
    } else if found.is_none() {
        spot.error_cure(
            format!("the value {value:#x} has bits that are not in the mask {mask:#x}"),
            "write a mask that holds every bit of the value",
        );
    }
    found
}

/// A number as nft and iptables write it.
fn number(text: &str) -> Option<u32> {
    let shaped =
        |digits: &str, fits: fn(&u8) -> bool| !digits.is_empty() && digits.as_bytes().iter().all(fits);
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => {
            shaped(digits, u8::is_ascii_hexdigit).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        }
        None => shaped(text, u8::is_ascii_digit).then(|| text.parse().ok()).flatten(),
    }
}

/// `proxy`: a URL, or a mapping.
fn proxy(spot: &Spot<'_>) -> Option<ProxySettings> {
    if spot.is_text() {
        let (protocol, secure, address) = url(spot)?;
        let server_name = secure.then(|| Host::Ip(address.ip()));
        return Some(ProxySettings { address, protocol, server_name, credentials: None });
    }
    let fields = spot.fields(&PROXY_KEYS)?;
    let place = fields.require("url").and_then(|spot| url(&spot));
    let name = fields.get("serverName").map(|spot| server_name(&spot));
    let username = fields.get("username").map(|spot| username(&spot, place.map(|(protocol, ..)| protocol)));
    let password = fields.get("password").map(|spot| source(&spot));
    if username.is_some() != password.is_some() {
        spot.error_cure("`username` and `password` belong together", "write both, or neither");
    }
    let (protocol, secure, address) = place?;
    if let Some(spot) = fields.get("serverName").filter(|_| !secure) {
        spot.error_cure(
            "only a proxy that is reached over TLS is verified",
            "write `url: https://…`, or remove it",
        );
    }
    let host = match name {
        Some(name) => Host::Name(name?),
        None => Host::Ip(address.ip()),
    };
    let credentials = match (username, password) {
        (Some(username), Some(password)) => Some((username?, password?)),
        _ => None,
    };
    Some(ProxySettings { address, protocol, server_name: secure.then_some(host), credentials })
}

/// The URL of a parent proxy. Its text is not repeated: somebody may have written a password into it.
fn url(spot: &Spot<'_>) -> Option<(Protocol, bool, SocketAddr)> {
    let text = spot.word(256)?;
    let known = SCHEMES
        .iter()
        .find_map(|(scheme, protocol, secure)| Some((text.strip_prefix(scheme)?, *protocol, *secure)));
    let Some((rest, protocol, secure)) = known else {
        spot.error_cure("this is not the URL of a parent proxy", PROXY_CURE);
        return None;
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        spot.error_cure(
            "credentials do not belong into a URL",
            "write {url: …, username: …, password: {file: …}}",
        );
        return None;
    }
    match authority.parse::<SocketAddr>() {
        Ok(address) if is_mapped(address.ip()) => {
            spot.error_cure("the address is IPv4 written as IPv6", PROXY_CURE);
            None
        }
        Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => {
            Some((protocol, secure, address))
        }
        Ok(_) | Err(_) => {
            spot.error_cure("a parent proxy is named by an IP address and a port", PROXY_CURE);
            None
        }
    }
}

/// The name that the certificate of a parent proxy is for.
fn server_name(spot: &Spot<'_>) -> Option<Name> {
    let text = spot.word(253)?;
    match Host::parse(text) {
        Ok(Host::Name(name)) => Some(name),
        Ok(Host::Ip(_)) => {
            spot.error_cure(
                "this is an address, not a name",
                "leave it out, and the address of `url` is verified",
            );
            None
        }
        Err(error) => {
            spot.error_cure(format!("{} is not a name: {error}", quoted(text)), "write it as proxy.corp");
            None
        }
    }
}

/// A username that the protocol can send.
fn username(spot: &Spot<'_>, protocol: Option<Protocol>) -> Option<Arc<str>> {
    let text = spot.word(LONGEST_CREDENTIAL)?;
    if text.len() > LONGEST_CREDENTIAL {
        spot.error(format!("is longer than {LONGEST_CREDENTIAL} bytes"));
        return None;
    }
    if protocol == Some(Protocol::Http) && text.contains(':') {
        spot.error_cure("HTTP cannot send a username with a colon (RFC 7617 §2)", "choose another");
        return None;
    }
    Some(text.into())
}

/// Warns of the groups that networks name and no sandbox is in, each where it is written.
pub(super) fn unknown_groups(spot: &Spot<'_>, known: &[Arc<str>]) {
    if !spot.is_map() {
        return;
    }
    for (network, fields) in spot.entries().filter(|(_, fields)| fields.is_map()) {
        let groups = fields.entries().filter(|(key, _)| *key.text == *"groups");
        for (_, groups) in groups.filter(|(_, groups)| matches!(groups.node().kind, Kind::List(_))) {
            for item in groups.items() {
                if let Kind::Text(group) = &item.node().kind
                    && !known.iter().any(|known| **known == **group)
                {
                    let (network, group) = (quoted(&network.text), quoted(group));
                    item.warn(
                        format!("network {network} is for the group {group}, which no sandbox is in"),
                        "list a sandbox of that group, or correct the name",
                    );
                }
            }
        }
    }
}
