//! `run`: the gateway itself.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgAction, Args};
use tokio::signal::unix::{SignalKind, signal};

use super::policy::{parsed, rendered, text};
use crate::app::{self, ConfigFile, Running, StartError};
use crate::config::{Config, ListenerKind, ListenerSettings, NetworkSettings};
use crate::drain::Drained;

/// Run the gateway until SIGTERM; SIGHUP reloads policy and sandboxes and reopens the audit log
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The process configuration
    #[arg(long, env = "SLUICEGATE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

/// What the command line and the environment override of the configuration.
#[derive(Debug, Args)]
struct Overrides {
    /// The policy file or directory; overrides `policy.path` of the configuration
    #[arg(long, env = "SLUICEGATE_POLICY")]
    policy: Option<PathBuf>,
    /// An address for the explicit proxy; may be given several times, overrides the `listeners` of that kind
    #[arg(long, value_name = "ADDRESS", env = "SLUICEGATE_LISTEN", value_delimiter = ',')]
    listen: Vec<SocketAddr>,
    /// An address for TCP that nftables redirects here; may be given several times, overrides the `listeners` of that
    /// kind
    #[arg(long, value_name = "ADDRESS", env = "SLUICEGATE_TRANSPARENT", value_delimiter = ',')]
    transparent: Vec<SocketAddr>,
    /// The address of the admin server; overrides `admin.address`
    #[arg(long, value_name = "ADDRESS", env = "SLUICEGATE_ADMIN")]
    admin: Option<SocketAddr>,
    /// Be ready only while it is proven that everything sandboxes send is taken
    #[arg(long, env = "SLUICEGATE_REQUIRE_ENFORCEMENT", action = ArgAction::SetTrue)]
    require_enforcement: bool,
}

impl Run {
    /// Runs the gateway.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        super::log();
        keep_memory_private();
        let text = self.config.as_deref().map(text).transpose()?;
        let config = match self.config.as_deref().zip(text.as_deref()) {
            Some((path, text)) => parsed(path, text),
            None => Ok(Config::default()),
        };
        let config = match config {
            Ok(config) => self.overrides.apply(config),
            Err(problems) => {
                super::complain(&problems);
                return Ok(super::FAILED);
            }
        };
        let Self { config: path, overrides } = self;
        // What comes through a pipe is there once.
        let file = path.zip(text).filter(|(path, _)| path.is_file()).map(|(path, text)| {
            let overrides = Box::new(move |config| overrides.apply(config));
            ConfigFile { path, text, overrides }
        });
        raise_descriptor_limit(descriptors(&config));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(serve(config, file))
    }
}

impl Overrides {
    /// The configuration that is meant: flags over the environment over the file, at the start and at each reload.
    fn apply(&self, mut config: Config) -> Config {
        if let Some(policy) = &self.policy {
            config.policy = Some(policy.clone());
        }
        for (kind, addresses) in
            [(ListenerKind::Explicit, &self.listen), (ListenerKind::Transparent, &self.transparent)]
        {
            if !addresses.is_empty() {
                config.listeners.retain(|listener| listener.kind != kind);
                config.listeners.extend(addresses.iter().map(|at| ListenerSettings::new(*at, kind)));
            }
        }
        if let Some(admin) = self.admin {
            config.admin.address = admin;
        }
        config.require_enforcement = self.require_enforcement;
        config
    }
}

/// Runs until a signal ends it.
async fn serve(config: Config, file: Option<ConfigFile>) -> anyhow::Result<u8> {
    let mut reload = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let kinds: Vec<ListenerKind> = config.listeners.iter().map(|listener| listener.kind).collect();
    let running = match app::start(config, file) {
        Ok(running) => running,
        Err(StartError::Policy(loaded)) => {
            super::complain(&rendered(&loaded.problems, &loaded.texts));
            return Ok(super::FAILED);
        }
        Err(StartError::Other(error)) => return Err(error),
    };
    announce(&running, &kinds);
    loop {
        tokio::select! {
            _ = reload.recv() => running.reload(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping: no new connections, those that run may finish");
    match running.stop().await {
        Drained::Clean => tracing::info!("stopped"),
        Drained::Forced { tasks } => tracing::warn!(tasks, "stopped: some had to be ended"),
    }
    Ok(0)
}

/// Says where the gateway is.
fn announce(running: &Running, kinds: &[ListenerKind]) {
    for (address, kind) in running.listeners.iter().zip(kinds) {
        match kind {
            ListenerKind::Explicit => tracing::info!(%address, "explicit proxy is listening"),
            ListenerKind::Transparent => tracing::info!(%address, "listening for redirected connections"),
            ListenerKind::Dns(_) => tracing::info!(%address, "DNS server is listening"),
        }
    }
    tracing::info!(address = %running.admin, "admin server is listening");
}

/// Has the kernel keep the memory and the environment of this process from other processes of its user, and out of
/// core dumps.
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user may read the memory of the gateway");
    }
}

/// How many descriptors the connections of a configuration need: two each, and two more for a parent proxy inside TLS.
fn descriptors(config: &Config) -> u64 {
    let covered = config.networks.all().any(NetworkSettings::is_covered);
    (config.limits.connections as u64).saturating_mul(if covered { 4 } else { 2 })
}

/// Takes as many descriptors as this process may have.
fn raise_descriptor_limit(needed: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, the warning below says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if current < needed {
        tracing::warn!(
            current,
            needed,
            "the descriptor limit is lower than limits.connections needs: raise `ulimit -n`"
        );
    }
}

/// Ask the admin server of a running gateway whether it lives; exit 0 if so
#[derive(Debug, Args)]
pub(super) struct Health {
    /// The address of the admin server
    #[arg(long, value_name = "ADDRESS", env = "SLUICEGATE_ADMIN", default_value = "127.0.0.1:9901")]
    admin: SocketAddr,
    /// Ask whether it is ready rather than whether it lives
    #[arg(long)]
    ready: bool,
}

impl Health {
    /// Asks.
    #[expect(
        clippy::disallowed_methods,
        reason = "the admin server of this very program, named by the operator"
    )]
    pub(super) fn run(self) -> anyhow::Result<u8> {
        const PATIENCE: Duration = Duration::from_secs(3);
        let path = if self.ready { "/readyz" } else { "/livez" };
        let mut stream = std::net::TcpStream::connect_timeout(&self.admin, PATIENCE)
            .with_context(|| format!("no gateway answers at {}", self.admin))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin)?;
        let mut answer = String::new();
        stream.take(64 * 1024).read_to_string(&mut answer).context("the gateway did not answer")?;
        let status = answer.lines().next().unwrap_or_default();
        super::print(&format!("{path}: {status}\n"));
        Ok(if status.split(' ').nth(1) == Some("200") { 0 } else { super::FAILED })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn r5_a_parent_proxy_inside_tls_takes_two_descriptors_more_of_each_connection() {
        for (url, each) in [("http", 2), ("socks5", 2), ("https", 4)] {
            let text = format!(
                "limits: {{connections: 100}}\nnetworks: {{prod: {{dns: [10.20.0.53:53], proxy: '{url}://10.20.0.9:3128'}}}}"
            );
            let config = Config::parse(&"c.yaml".into(), &text).unwrap().config;
            assert_eq!(descriptors(&config), 100 * each, "{url}");
        }
    }
}
