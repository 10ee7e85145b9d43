//! Looks again and again whether the kernel takes everything that sandboxes send to this gateway.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::rules;
use crate::admin::Check;
use crate::capture::{self, Settings, Verdict};
use crate::config::Config;
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
        if rules::transparent(config).next().is_none() && !config.require_enforcement {
            return None;
        }
        let first = Verdict::Unknown("it was not looked yet".to_owned());
        let enforcement = Self {
            settings: rules::settings(config),
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
