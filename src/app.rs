//! Builds the gateway from its configuration, in the order in which it can fail, and takes it down again.
//!
//! policy → sandbox CA → audit log → sockets → guards → reloader → accept

mod doors;
mod enforcement;
mod inherited;
mod inspect;
mod load;
mod networks;
mod reconfigure;
mod rules;
mod settings;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;

use crate::admin::{self, State};
use crate::audit::top::Top;
use crate::audit::{Audit, Observe, Writer};
use crate::config::Config;
use crate::drain::{Drain, Drained, Panicked, Tasks, Watcher};
use crate::heap;
use crate::identity::Registry;
use crate::intercept::Authority;
use crate::live::reload::{Reloader, Report};
use crate::live::store::{Loaded, Store};
use crate::live::{Live, Snapshot};
use crate::metrics::Metrics;
use crate::policy::PolicySet;
use crate::proxy::{Gateway, accept, dns};
use crate::share::{Newcomers, Shares};
use crate::upstream::OwnAddresses;
use crate::upstream::local::AddressWatch;
use doors::Doors;
use enforcement::Enforcement;
use inspect::Inspector;
use load::loaded;

pub use networks::ways_out;
pub use reconfigure::ConfigFile;
pub use rules::{mode, ports, who};
pub use settings::{authority, guards, roster, unreadable};

/// How long the audit log may take to be written out at the end.
const WRITE_OUT: Duration = Duration::from_secs(5);

/// How often it is looked whether there is memory to give back.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(2);
/// How many connections must have ended, or records been written, for it.
const MANY: usize = 256;

/// Why the gateway cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The policy has problems; they come with the text of their files.
    Policy(Box<Loaded>),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// A gateway that takes connections.
pub struct Running {
    /// Where clients connect, in the order of the configuration.
    pub listeners: Vec<SocketAddr>,
    /// Where the admin server is.
    pub admin: SocketAddr,
    /// What the first load had to say.
    pub report: Report,
    reloader: Reloader,
    enforcement: Option<Enforcement>,
    audit: Audit,
    writer: Writer,
    drain: Drain,
    drain_timeout: Duration,
}

impl Running {
    /// Reads the policy and the sandboxes of the configuration again, and opens the audit file anew, as SIGHUP asks.
    pub fn reload(&self) {
        self.reloader.trigger();
        if let Some(enforcement) = &self.enforcement {
            enforcement.look_again();
        }
        self.audit.reopen();
    }

    /// What the last load of the policy ended with.
    #[must_use]
    pub fn last_load(&self) -> Report {
        self.reloader.last()
    }

    /// The audit log.
    #[must_use]
    pub const fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Stops: takes nothing new, waits for what runs up to the configured time, writes the audit log out.
    pub async fn stop(self) -> Drained {
        let drained = self.drain.finish(self.drain_timeout).await;
        let writer = self.writer;
        let finished = tokio::task::spawn_blocking(move || writer.finish(WRITE_OUT)).await;
        if !matches!(finished, Ok(Ok(()))) {
            tracing::error!("the audit log could not be written out in time");
        }
        drained
    }
}

/// Starts a gateway. Must be called inside the runtime. `file` is what the configuration was read from, to follow it.
///
/// # Errors
/// The first thing that does not work, and every problem of the policy at once.
pub fn start(config: Config, file: Option<ConfigFile>) -> Result<Running, StartError> {
    let config = Arc::new(config);
    let first = first_load(&config)?;
    let tokens = settings::tokens(&config)?;
    let authority = settings::authority(&config).context("TLS cannot be decrypted")?;
    let tls = settings::tls(&config)?;
    let Log { metrics, top, audit, writer } = Log::open(&config)?;
    let (drain, watcher) = Drain::new();
    let tasks = drain.tasks(on_panic(Arc::clone(&metrics)));
    let uplinks = Arc::new(networks::uplinks(&config, &tls, &tasks)?);
    let doors = Doors::open(&config)?;
    let servers = uplinks.sockets();
    let host = OwnAddresses::collect().context("cannot list this host's addresses")?;
    doors.check_no_loop(&uplinks, &host)?;
    let own = doors.listeners.iter().chain([&doors.admin]).copied().chain(servers).collect();
    let (live, reloader, report) = keep_up(first, &config, file, own, (&audit, &metrics))?;
    networks::watch(&uplinks, &metrics, &tasks, &watcher);
    let gateway = Arc::new(Gateway {
        live: live.clone(),
        audit: audit.clone(),
        metrics: Arc::clone(&metrics),
        secrets: settings::secrets(&config, &uplinks, &tls),
        uplinks,
        intercept: authority.map(|authority| intercepting(authority, &metrics)),
        tls,
        limits: settings::limits(&config),
        shares: shares(&config, &metrics),
        newcomers: Newcomers::new(config.limits.connections / 4),
        tasks: tasks.clone(),
    });
    let enforcement = Enforcement::start(&config, &metrics, &tasks);
    let inspector = Inspector {
        live,
        reloader: reloader.clone(),
        gateway: Arc::clone(&gateway),
        ways: networks::ways_out(&config),
        enforcement: enforcement.clone(),
    };
    tasks.spawn("addresses", follow_addresses(reloader.clone(), watcher.clone()));
    let state = Arc::new(State {
        inspect: Arc::new(inspector),
        audit: audit.clone(),
        metrics,
        top,
        tokens,
        hosts: Vec::new(),
        limits: admin::Limits::default(),
    });
    let Doors { sockets, queries, listeners, admin_sockets, admin } = doors;
    for socket in admin_sockets {
        serve_admin(socket, &state, &tasks, &watcher);
    }
    let slots = Arc::new(Semaphore::new(config.limits.connections));
    tasks.spawn("memory", keep_small(Arc::clone(&slots), audit.clone(), watcher));
    for (socket, listener) in sockets {
        tasks.spawn("accept", accept(Arc::clone(&gateway), socket, Arc::new(listener), Arc::clone(&slots)));
    }
    for (datagrams, streams, door) in queries {
        let door = Arc::new(door);
        tasks.spawn("queries", dns::serve_datagrams(Arc::clone(&gateway), datagrams, Arc::clone(&door)));
        tasks.spawn("accept", dns::serve_streams(Arc::clone(&gateway), streams, door, Arc::clone(&slots)));
    }
    let drain_timeout = config.limits.drain_timeout;
    Ok(Running { listeners, admin, report, reloader, enforcement, audit, writer, drain, drain_timeout })
}

/// The sandbox CA, whose certificates are counted.
fn intercepting(authority: Authority, metrics: &Arc<Metrics>) -> Arc<Authority> {
    if let Some(warning) = authority.warning() {
        tracing::warn!("{warning}");
    }
    let metrics = Arc::clone(metrics);
    Arc::new(authority.counted(Arc::new(move || metrics.minted())))
}

/// What sandboxes use, counted where it is too much.
fn shares(config: &Config, metrics: &Arc<Metrics>) -> Shares {
    let metrics = Arc::clone(metrics);
    Shares::new(settings::shares(config), Arc::new(move |limit| metrics.limited(limit)))
}

/// What a first load gives.
struct First {
    store: Store,
    policies: PolicySet,
    registry: Registry,
    report: Report,
}

/// Loads the policy and who is who, as a whole or not at all.
fn first_load(config: &Config) -> Result<First, StartError> {
    let path =
        config.policy.clone().context("there is no policy: give --policy, or `policy.path` in --config")?;
    let mut store = Store::new(path, roster(config));
    let guards = guards(config, &[]).context("cannot list this host's addresses")?;
    let (policies, report) = Reloader::first(&mut store, guards).map_err(StartError::Policy)?;
    for problem in settings::unreadable(config, &policies) {
        tracing::warn!("{problem}");
    }
    let registry = settings::registry(config)?;
    Ok(First { store, policies, registry, report })
}

/// Puts the first load in force and keeps it up to date; `own` are the gateway's sockets.
fn keep_up(
    First { store, policies, registry, report }: First,
    config: &Arc<Config>,
    file: Option<ConfigFile>,
    own: Vec<SocketAddr>,
    (audit, metrics): (&Audit, &Arc<Metrics>),
) -> anyhow::Result<(Live, Reloader, Report)> {
    let configuration = file.map(|file| reconfigure::follow(file, config));
    let guards_now = {
        let config = Arc::clone(config);
        move || guards(&config, &own)
    };
    let now = guards_now().context("cannot list this host's addresses")?;
    let (policies, registry) = (policies.with_guards(Arc::new(now)), Arc::new(registry));
    let live = Live::new(Snapshot { generation: 1, policies, registry });
    let note = {
        let (audit, metrics) = (audit.clone(), Arc::clone(metrics));
        move |report: &Report| loaded(&audit, &metrics, report)
    };
    note(&report);
    let (guards_now, note) = (Box::new(guards_now), Box::new(note));
    let reloader = Reloader::start(store, configuration, live.clone(), report.clone(), guards_now, note)
        .context("cannot start the policy thread")?;
    Ok((live, reloader, report))
}

/// What happened, for people and programs.
struct Log {
    metrics: Arc<Metrics>,
    top: Arc<Top>,
    audit: Audit,
    writer: Writer,
}

impl Log {
    /// Opens the audit log and what reads along with it.
    fn open(config: &Config) -> anyhow::Result<Self> {
        let metrics = Metrics::new().context("cannot set up the metrics")?;
        let top = Arc::new(Top::new());
        let observers: Vec<Arc<dyn Observe>> = vec![metrics.clone(), top.clone()];
        let (audit, writer) =
            Audit::start(settings::audit(config), observers).context("cannot open the audit log")?;
        Ok(Self { metrics, top, audit, writer })
    }
}

/// Has the guards made anew when this host gets or loses an address. What is missed is found when policies are next
/// looked at.
async fn follow_addresses(reloader: Reloader, watcher: Watcher) {
    let watching = async {
        let watch = AddressWatch::start()?;
        loop {
            watch.changed().await?;
            reloader.look_again();
        }
    };
    let failed: io::Result<Infallible> = tokio::select! {
        biased;
        () = watcher.draining() => return,
        failed = watching => failed,
    };
    let Err(error) = failed;
    tracing::warn!(%error, "this host does not tell when it gets another address: that is found within 10 seconds");
}

/// Gives memory back when many connections have ended, and when it is quiet after much was done.
async fn keep_small(slots: Arc<Semaphore>, audit: Audit, watcher: Watcher) {
    let (mut least_free, mut done, mut given_back) = (slots.available_permits(), 0, 0);
    loop {
        tokio::select! {
            biased;
            () = watcher.draining() => return,
            () = tokio::time::sleep(GIVE_BACK_EVERY) => {}
        }
        let (free, events) = (slots.available_permits(), audit.counts().events);
        let ended = free.saturating_sub(least_free) >= MANY;
        let quiet = events == done && events - given_back >= MANY as u64;
        (least_free, done) = (least_free.min(free), events);
        if ended || quiet {
            (least_free, given_back) = (free, events);
            // It cannot fail but by a panic, which leaves the memory where it is.
            let _ = tokio::task::spawn_blocking(heap::give_back).await;
        }
    }
}

/// Counts and logs a panic that was caught.
fn on_panic(metrics: Arc<Metrics>) -> impl Fn(&Panicked) + Send + Sync + 'static {
    move |panicked| {
        metrics.panicked();
        // It may quote what a client sent.
        let message = panicked.message.escape_debug().to_string();
        tracing::error!(task = panicked.task, message, "a task panicked");
    }
}

/// Serves the admin API on one socket.
fn serve_admin(socket: admin::Listener, state: &Arc<State>, tasks: &Tasks, watcher: &Watcher) {
    let (state, watcher, spawner) = (Arc::clone(state), watcher.clone(), tasks.clone());
    tasks.spawn("admin", async move {
        let spawn = |task| spawner.spawn("admin connection", task);
        admin::serve(socket, state, spawn, watcher.draining()).await;
    });
}
