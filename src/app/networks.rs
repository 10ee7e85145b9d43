//! The ways out: from `networks` as written to uplinks, and to what documents are judged by.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use secrecy::ExposeSecret as _;

use super::settings::secret;
use crate::config::{Config, NetworkSettings, ProxySettings};
use crate::drain::{Tasks, Watcher};
use crate::explain::{WayOut, WaysOut};
use crate::metrics::Metrics;
use crate::policy::{NetworkFacts, Networks, Route};
use crate::upstream::parent::{Cover, Credentials, Protocol};
use crate::upstream::{DialSettings, DnsSettings, Parent, Resolver, SocketOptions, Tls, Uplink, Uplinks};

/// The longest password that SOCKS5 can send (RFC 1929 §2).
const LONGEST_PASSWORD: usize = 255;

/// What documents are judged by.
pub(super) fn facts(config: &Config) -> Networks {
    let facts =
        |network: &NetworkSettings| NetworkFacts { groups: network.groups.clone(), by_name: network.by_name };
    let all = config.networks.delegated.iter();
    Networks {
        delegated: Some(all.map(|(name, network)| (Arc::clone(name), facts(network))).collect()),
        managed_by_name: config.networks.managed.by_name,
        platform: config.networks.platform_hosts.clone(),
    }
}

/// The ways out in words.
#[must_use]
pub fn ways_out(config: &Config) -> WaysOut {
    let managed = (Arc::from(Route::MANAGED), &config.networks.managed);
    let delegated = config.networks.delegated.iter().map(|(name, network)| (Arc::clone(name), network));
    let all = std::iter::once(managed).chain(delegated);
    all.map(|(name, network)| (name, way_out(config, network))).collect()
}

/// One of them.
fn way_out(config: &Config, network: &NetworkSettings) -> WayOut {
    let SocketOptions { interface, source, mark, others: _ } = &network.options;
    let mut parts: Vec<String> = interface.iter().map(|name| format!("interface {name}")).collect();
    parts.extend(source.iter().map(|source| format!("source {source}")));
    parts.extend(mark.iter().map(|mark| format!("mark {mark}")));
    parts.extend(network.proxy.iter().map(|proxy| format!("parent proxy {}", proxy.address)));
    let uplink = if parts.is_empty() { "the routes of this host".to_owned() } else { parts.join(", ") };
    let servers = if network.dns.is_empty() { &config.dns.servers } else { &network.dns };
    let resolver = match (network.by_name, servers.as_slice()) {
        (true, _) => "the parent proxy (`resolve: Remote`)".to_owned(),
        (false, []) => "the name servers of this host".to_owned(),
        (false, servers) => servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    WayOut { uplink, resolver }
}

/// The ways out; `tasks` carry what is spoken inside TLS with parent proxies.
pub(super) fn uplinks(config: &Config, tls: &Tls, tasks: &Tasks) -> anyhow::Result<Uplinks> {
    let build = |name: &str, network: &NetworkSettings| {
        uplink(config, name, network, tls, tasks).with_context(|| format!("network `{name}`"))
    };
    let managed = build(Route::MANAGED, &config.networks.managed)?;
    let delegated = config.networks.delegated.iter().map(|(name, network)| build(name, network));
    Ok(Uplinks::new(managed, delegated.collect::<anyhow::Result<_>>()?))
}

/// One of them.
fn uplink(
    config: &Config,
    name: &str,
    network: &NetworkSettings,
    tls: &Tls,
    tasks: &Tasks,
) -> anyhow::Result<Uplink> {
    let dial = DialSettings {
        connect_timeout: config.limits.connect_timeout,
        options: options(config, network),
        ..DialSettings::default()
    };
    let servers = if network.dns.is_empty() { &config.dns.servers } else { &network.dns };
    let dns = DnsSettings { servers: servers.clone(), max_ttl: config.dns.max_ttl, ..DnsSettings::default() };
    let resolver = if network.by_name {
        None
    } else {
        Some(Resolver::leaving(&dns, &dial.options).context("cannot set up name resolution")?)
    };
    let parent = network.proxy.as_ref().map(|proxy| parent(config, proxy, network.by_name, tls, tasks));
    let parent = parent.transpose().context("its parent proxy")?;
    Ok(Uplink { resolver, parent, ..Uplink::bare(name, dial) })
}

/// The options of its sockets: who has a mark knows those of the others too, to tell its own table from theirs. A mark that
/// has this one in it is no other: where the table for it is empty, it has this one's, which stays this one's.
fn options(config: &Config, network: &NetworkSettings) -> SocketOptions {
    let options = network.options.clone();
    let all = std::iter::once(&config.networks.managed).chain(config.networks.delegated.values());
    let marks = all.filter_map(|other| other.options.mark);
    let others = options.mark.map(|own| marks.filter(|mark| !own.is_in(*mark)).collect());
    SocketOptions { others: others.unwrap_or_default(), ..options }
}

/// A parent proxy, its password read.
fn parent(
    config: &Config,
    proxy: &ProxySettings,
    by_name: bool,
    tls: &Tls,
    tasks: &Tasks,
) -> anyhow::Result<Parent> {
    let cover = |host| Cover { tls: tls.clone(), host, tasks: tasks.clone() };
    if proxy.server_name.is_some() {
        ensure!(
            !tls.is_trustless(),
            "it cannot be verified: this system has no authorities (`ca-certificates`), and `intercept.upstreamRoots` names none"
        );
    }
    let credentials = proxy.credentials.as_ref().map(|(username, source)| {
        let password = secret(config, source)?;
        let value = password.expose_secret();
        ensure!(
            proxy.protocol != Protocol::Socks5 || value.len() <= LONGEST_PASSWORD,
            "SOCKS5 cannot send a password of more than {LONGEST_PASSWORD} bytes"
        );
        ensure!(!value.chars().any(char::is_control), "its password has control characters");
        Ok(Credentials { username: username.to_string(), password })
    });
    Ok(Parent {
        address: proxy.address,
        protocol: proxy.protocol,
        credentials: credentials.transpose()?,
        cover: proxy.server_name.clone().map(cover),
        by_name,
    })
}

/// Looks after every uplink that the operator described.
pub(super) fn watch(uplinks: &Uplinks, metrics: &Arc<Metrics>, tasks: &Tasks, watcher: &Watcher) {
    for uplink in uplinks.all().filter(|uplink| uplink.described().is_some()) {
        let (uplink, metrics, watcher) = (Arc::clone(uplink), Arc::clone(metrics), watcher.clone());
        tasks.spawn("uplink", async move {
            let name = Arc::clone(&uplink.name);
            uplink.watch(watcher, |up| metrics.uplink(&name, up)).await;
        });
    }
}
