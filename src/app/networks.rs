//! The ways out: from `networks` as written to uplinks, and to what documents are judged by.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use secrecy::ExposeSecret as _;

use super::settings::secret;
use crate::config::uplink::LONGEST_CREDENTIAL;
use crate::config::{Config, NetworkSettings, ProxySettings};
use crate::drain::{Tasks, Watcher};
use crate::explain::{WayOut, WaysOut};
use crate::metrics::Metrics;
use crate::policy::{NetworkFacts, Networks, Route};
use crate::upstream::parent::{Cover, Credentials, Protocol};
use crate::upstream::{DialSettings, DnsSettings, Parent, Resolver, SocketOptions, Tls, Uplink, Uplinks};

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
    let resolver = match (network.by_name, network.servers(&config.dns)) {
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
    let servers = network.servers(&config.dns).to_vec();
    let dns = DnsSettings { servers, max_ttl: config.dns.max_ttl, ..DnsSettings::default() };
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
            proxy.protocol != Protocol::Socks5 || value.len() <= LONGEST_CREDENTIAL,
            "SOCKS5 cannot send a password of more than {LONGEST_CREDENTIAL} bytes"
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::addr::Host;
    use crate::config::TokenSource;
    use crate::drain::Drain;
    use crate::upstream::{Mark, TlsSettings};

    /// What is wrong with a parent proxy that speaks this and is shown this password; nothing: it can be used.
    fn wrong(protocol: Protocol, password: Option<&str>, server_name: Option<&str>) -> Option<String> {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("password");
        let credentials = password.map(|password| {
            std::fs::write(&file, password).unwrap();
            ("gate".into(), TokenSource::File(file.clone()))
        });
        let server_name = server_name.map(|name| Host::parse(name).unwrap());
        let address = "127.0.0.20:3128".parse().unwrap();
        let proxy = ProxySettings { address, protocol, server_name, credentials };
        let timeout = Duration::from_secs(1);
        let tls = Tls::new(&TlsSettings { system: false, roots: Vec::new(), timeout }).unwrap();
        let tasks = Drain::new().0.tasks(|_| ());
        parent(&Config::default(), &proxy, false, &tls, &tasks).err().map(|error| error.to_string())
    }

    #[test]
    fn a_password_that_cannot_be_sent_is_refused_at_the_start_and_not_repeated() {
        let long = |length| "p".repeat(length);
        for (protocol, password, problem) in [
            (Protocol::Http, long(7), None),
            (Protocol::Http, long(9_000), None),
            (Protocol::Socks5, long(255), None),
            (Protocol::Socks5, long(256), Some("SOCKS5 cannot send a password of more than 255 bytes")),
            (Protocol::Http, "hunter2\r\nX: y".to_owned(), Some("its password has control characters")),
            (Protocol::Socks5, "hunter\u{7f}2".to_owned(), Some("its password has control characters")),
        ] {
            let found = wrong(protocol, Some(&password), None);
            assert_eq!(found.as_deref(), problem, "{protocol:?} {}", password.len());
        }
    }

    #[test]
    fn a_parent_inside_tls_that_nobody_can_verify_is_refused_at_the_start() {
        let found = wrong(Protocol::Http, None, Some("proxy.test")).unwrap();
        assert!(found.starts_with("it cannot be verified: this system has no authorities"), "{found}");
        assert_eq!(wrong(Protocol::Http, None, None), None);
    }

    #[test]
    fn a_mark_knows_those_of_other_networks_that_are_not_its_own() {
        let marked = |value, mask| {
            let options = SocketOptions { mark: Mark::new(value, mask), ..SocketOptions::default() };
            NetworkSettings { options, ..NetworkSettings::default() }
        };
        let mut config = Config::default();
        config.networks.managed = marked(0x1, 0xf);
        let all = [("corp", marked(0x11, 0xff)), ("lab", marked(0x2, 0xf)), ("same", marked(0x2, 0xf))];
        config.networks.delegated = all.into_iter().map(|(name, network)| (name.into(), network)).collect();
        let others = |network: &NetworkSettings| {
            options(&config, network).others.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(others(&config.networks.managed), "0x2/0xf 0x2/0xf");
        assert_eq!(others(config.networks.delegated.get("corp").unwrap()), "0x1/0xf 0x2/0xf 0x2/0xf");
        assert_eq!(others(config.networks.delegated.get("lab").unwrap()), "0x1/0xf 0x11/0xff");
        assert_eq!(others(&NetworkSettings::default()), "", "who has no mark asks nothing");
    }
}
