//! Looks again and again whether the kernel takes everything that sandboxes send to this gateway.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustix::process::geteuid;
use tokio::sync::Notify;

use crate::admin::Check;
use crate::capture::{self, Ports, Settings, Verdict, Who};
use crate::config::{Config, ListenerKind, ListenerSettings};
use crate::drain::{Tasks, Watcher};
use crate::metrics::Metrics;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);

/// What is known about the capture. Clones share it.
#[derive(Clone)]
pub(super) struct Enforcement {
    /// What the rules should be, or why that is not known.
    settings: Result<Settings, String>,
    /// Whether the gateway is ready only while it is proven.
    required: bool,
    /// What was found last.
    verdict: Arc<RwLock<Verdict>>,
    /// Asks for another look.
    again: Arc<Notify>,
}

impl Enforcement {
    /// Looks from here on; nothing, where no listener takes redirected connections and nobody asks for it.
    pub(super) fn start(config: &Config, metrics: &Arc<Metrics>, tasks: &Tasks) -> Option<Self> {
        let transparent = config.listeners.iter().any(|listener| listener.kind == ListenerKind::Transparent);
        if !transparent && !config.require_enforcement {
            return None;
        }
        let first = Verdict::Unknown("it was not looked yet".to_owned());
        let enforcement = Self {
            settings: settings(config),
            required: config.require_enforcement,
            verdict: Arc::new(RwLock::new(first)),
            again: Arc::new(Notify::new()),
        };
        let watch = enforcement.clone().watch(Arc::clone(metrics), tasks.watcher().clone());
        tasks.spawn("enforcement", watch);
        Some(enforcement)
    }

    /// Asks for another look.
    pub(super) fn look_again(&self) {
        self.again.notify_one();
    }

    /// What the admin server tells.
    pub(super) fn check(&self) -> Check {
        let verdict = self.verdict.read().unwrap_or_else(PoisonError::into_inner);
        Check { name: "enforcement", ok: verdict.holds() || !self.required, detail: verdict.describe() }
    }

    /// Looks until the gateway stops.
    async fn watch(self, metrics: Arc<Metrics>, watcher: Watcher) {
        loop {
            self.look(&metrics).await;
            tokio::select! {
                biased;
                () = watcher.draining() => return,
                () = self.again.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Looks once, and tells of what changed.
    async fn look(&self, metrics: &Metrics) {
        let verdict = match &self.settings {
            Ok(settings) => capture::judge(settings, &capture::observe().await),
            Err(reason) => Verdict::Unknown(reason.clone()),
        };
        metrics.enforcement(verdict.holds());
        let before = {
            let mut last = self.verdict.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *last, verdict.clone())
        };
        if before == verdict {
            return;
        }
        let required = self.required;
        match &verdict {
            Verdict::Proven => {
                tracing::info!("everything that sandboxes send is taken: every rule is loaded");
            }
            Verdict::Unknown(reason) => {
                tracing::warn!(
                    required,
                    reason,
                    "whether everything that sandboxes send is taken is not known"
                );
            }
            Verdict::Broken(findings) => {
                for finding in findings {
                    let (found, cure) = (&finding.cause, &finding.cure);
                    tracing::error!(required, found, cure, "{}", finding.problem);
                }
            }
        }
    }
}

/// The rules that a configuration asks for.
fn settings(config: &Config) -> Result<Settings, String> {
    let Some(capture) = &config.capture else {
        return Err("the configuration has no `capture` that says what the rules should be".to_owned());
    };
    // SECURITY: whoever is that user instead of the gateway is let out by the rules.
    let own = geteuid().as_raw();
    if let Who::EveryoneBut(uid) = capture.who
        && uid != own
    {
        return Err(format!("`sidecarUid` is {uid}, and this process is user {own}: make them the same"));
    }
    let settings = Settings { who: capture.who.clone(), ipv6: capture.ipv6, ports: ports(config)? };
    settings.check().map_err(|error| error.to_string())?;
    Ok(settings)
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
