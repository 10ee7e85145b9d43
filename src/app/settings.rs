//! From the configuration as written to what each room takes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use ipnet::IpNet;
use secrecy::SecretString;

use crate::addr::special::Ipv6Prefix;
use crate::admin::{self, AccessToken};
use crate::audit::{self, FileSettings};
use crate::config::{
    Config, Ech, InterceptSettings, ListenerKind, OnFull, Role, SandboxSettings, SinkSettings, TokenSource,
};
use crate::identity::{self, Registry, Sandbox};
use crate::intercept::{self, AuthorityError};
use crate::policy::document::{Secret, SecretKey};
use crate::policy::{Authority, Guards, Interception, Limit, Limits as ShareLimits, PolicySet, Roster};
use crate::proxy::Limits;
use crate::secrets::{Allowed, Secrets};
use crate::source::Problem;
use crate::upstream::local::OwnAddresses;
use crate::upstream::resolve::MAX_LOOKUPS;
use crate::upstream::{Fetcher, Tls, TlsSettings, Uplinks};

/// How many DNS queries a second one sandbox may make where a listener takes them and nobody says otherwise.
const QUERIES_PER_SECOND: u64 = 1000;

/// The guards of this host at this moment; `sockets` are the gateway's own.
///
/// # Errors
/// This host does not say which addresses it has.
pub fn guards(config: &Config, sockets: &[SocketAddr]) -> io::Result<Guards> {
    let mut own: Vec<IpNet> = OwnAddresses::collect()?.iter().map(IpNet::from).collect();
    own.extend(&config.guards.own);
    let nat64 = config.guards.nat64.iter().filter_map(|net| net.to_string().parse::<Ipv6Prefix>().ok());
    let interception = config.intercept.as_ref().map_or_else(
        || Interception { authority: Authority::Missing, exclude: Vec::new() },
        |intercept| Interception { authority: Authority::Present, exclude: intercept.exclude.clone() },
    );
    Ok(Guards {
        exempt: config.guards.exempt.clone(),
        nat64: nat64.collect(),
        own,
        sockets: sockets.to_vec(),
        deny_ech: config.ech == Ech::Deny,
        interception,
        networks: super::networks::facts(config),
        skip_permitted: config.skip_egress_proxy,
    })
}

/// The sandbox CA, when the configuration has one.
///
/// # Errors
/// It cannot be used.
pub fn authority(config: &Config) -> Result<Option<intercept::Authority>, AuthorityError> {
    let load = |settings: &InterceptSettings| {
        intercept::Authority::load(&intercept::Settings {
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
        })
    };
    config.intercept.as_ref().map(load).transpose()
}

/// The sandboxes by id, when the configuration lists any.
#[must_use]
pub fn roster(config: &Config) -> Option<Roster> {
    let all = config.sandboxes.iter().map(|sandbox| (Arc::clone(&sandbox.id), sandbox.group.clone()));
    Some(all.collect()).filter(|roster: &Roster| !roster.is_empty())
}

/// Who is who.
pub(super) fn registry(config: &Config) -> anyhow::Result<Registry> {
    let sandbox = |settings: &SandboxSettings| {
        let token = settings.token.as_ref().map(|source| secret(config, source));
        let token = token.transpose().with_context(|| format!("sandbox `{}` has no token", settings.id))?;
        let sandbox = Sandbox {
            id: Arc::clone(&settings.id),
            group: settings.group.clone(),
            require_policy: settings.require_policy,
        };
        Ok(identity::SandboxSettings { sandbox, sources: settings.sources.clone(), token })
    };
    let sandboxes = config.sandboxes.iter().map(sandbox).collect::<anyhow::Result<_>>()?;
    let listeners = config.listeners.iter().filter_map(|listener| listener.sandbox.clone()).collect();
    let peers = config.listeners.iter().flat_map(|listener| &listener.proxy_protocol).copied().collect();
    Registry::new(identity::Settings { sandboxes, listeners, peers }).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!("the sandboxes cannot be told apart: {}", lines.join("; "))
    })
}

/// Who may ask the admin server.
pub(super) fn tokens(config: &Config) -> anyhow::Result<Vec<AccessToken>> {
    let token = |token: &crate::config::AdminToken| {
        let secret = secret(config, &token.token).with_context(|| format!("admin token `{}`", token.name))?;
        let role = match token.role {
            Role::Owner => admin::Role::Owner,
            Role::Reader => admin::Role::Reader,
        };
        Ok(AccessToken { name: Arc::clone(&token.name), role, secret })
    };
    config.admin.tokens.iter().map(token).collect()
}

/// Reads a secret value, from where `secrets.allow` lets it come from.
pub(super) fn secret(config: &Config, source: &TokenSource) -> anyhow::Result<SecretString> {
    Ok(allowed(config).read(source)?)
}

/// Where secrets may come from.
fn allowed(config: &Config) -> Allowed {
    match &config.secrets.allow {
        Some(allow) => Allowed::only(allow.directories.clone(), allow.env.clone()),
        None => Allowed::ANY,
    }
}

/// The values of secrets; the services that give tokens are reached by the managed one of `uplinks`.
pub(super) fn secrets(config: &Config, uplinks: &Arc<Uplinks>, tls: &Tls) -> Secrets {
    let fetch = Fetcher::new(Arc::clone(uplinks), &tls.client_config());
    Secrets::new(allowed(config), config.secrets.managed_identity.clone(), Arc::new(fetch))
}

/// How origins are verified.
pub(super) fn tls(config: &Config) -> anyhow::Result<Tls> {
    let intercept = config.intercept.as_ref();
    let roots = intercept.map(|intercept| intercept.upstream_roots.clone()).unwrap_or_default();
    let settings = TlsSettings { system: true, roots, timeout: config.limits.connect_timeout };
    let tls = Tls::new(&settings).context("`intercept.upstreamRoots`")?;
    if intercept.is_some() && tls.is_trustless() {
        return Err(anyhow!(
            "no origin can be verified: this system has no authorities (`ca-certificates`), and `intercept.upstreamRoots` names none"
        ));
    }
    Ok(tls)
}

/// What bounds every connection.
pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        header_bytes: config.limits.header_bytes,
        header_timeout: config.limits.header_timeout,
        idle_timeout: config.limits.idle_timeout,
    }
}

/// What each sandbox may use. Where sandboxes are listed, one has half of what they share unless the operator says
/// otherwise, so that none can take all.
///
/// Where queries come in, their rate is limited in any case, as each of those that are refused leaves a record.
pub(super) fn shares(config: &Config) -> ShareLimits {
    let said = config.limits.per_sandbox;
    let queries = config.listeners.iter().any(|listener| matches!(listener.kind, ListenerKind::Dns(_)));
    let said = if queries && said.get(Limit::DnsQueriesPerSecond).is_none() {
        said.with(Limit::DnsQueriesPerSecond, QUERIES_PER_SECOND)
    } else {
        said
    };
    if config.sandboxes.is_empty() {
        return said;
    }
    let all = [(Limit::Connections, config.limits.connections), (Limit::DnsQueries, MAX_LOOKUPS)];
    all.into_iter().fold(said, |limits, (limit, all)| {
        let half = u64::try_from(all.div_ceil(2)).unwrap_or(u64::MAX);
        if limits.get(limit).is_some() { limits } else { limits.with(limit, half) }
    })
}

/// Where records go.
pub(super) fn audit(config: &Config) -> audit::Settings {
    let sink = |sink: &SinkSettings| match sink {
        SinkSettings::Stdout => audit::SinkSettings::Stdout,
        SinkSettings::File { path, max_bytes, keep } => {
            audit::SinkSettings::File(FileSettings { path: path.clone(), max_bytes: *max_bytes, keep: *keep })
        }
    };
    audit::Settings {
        sinks: config.audit.sinks.iter().map(sink).collect(),
        on_full: match config.audit.on_full {
            OnFull::Block => audit::OnFull::Block,
            OnFull::Drop => audit::OnFull::Drop,
            OnFull::Deny => audit::OnFull::Deny,
        },
        open: config.audit.open,
        ..audit::Settings::default()
    }
}

/// A warning for each secret of the policies whose value cannot be read: requests that need it are denied until it can.
#[must_use]
pub fn unreadable(config: &Config, policies: &PolicySet) -> Vec<Problem> {
    let allowed = allowed(config);
    let keys = policies.secrets().iter().flat_map(|secret| secret.keys.iter().map(move |key| (secret, key)));
    let warning = |(secret, key): (&Arc<Secret>, &SecretKey)| {
        let error = allowed.read(key.source.given()?).err()?;
        let problem =
            Problem::warning(format!("the value of `{}/{}` cannot be had: {error}", secret.name, key.name));
        Some(
            problem
                .at(key.place.clone())
                .cure("until it can, requests that need it are denied `secret_unavailable`"),
        )
    };
    keys.filter_map(warning).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn roots_that_cannot_be_read_end_the_start_and_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("corp.pem");
        for text in [None, Some("garbled")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let file = format!(
                "intercept: {{certificate: ca.pem, key: ca.key, upstreamRoots: ['{}']}}",
                path.display()
            );
            let config = Config::parse(&"gate.yaml".into(), &file).unwrap().config;
            let error = format!("{:#}", tls(&config).unwrap_err());
            assert!(error.contains("upstreamRoots") && error.contains(path.to_str().unwrap()), "{error}");
        }
        assert!(tls(&Config::default()).is_ok(), "who intercepts nothing needs no roots");
    }
}
