//! Prometheus metrics, `product.md` §5.
//!
//! What was decided is counted from audit events and nowhere else: [`Observe::observe`](crate::audit::Observe::observe) is the only writer
//! of those families, so the log and the counters cannot disagree. No label carries text that a client chose,
//! a host or a sandbox: labels are members of closed lists, networks of the operator's configuration, and
//! rules, which are capped.

mod children;
mod family;
mod observe;
mod result;
mod rules;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};
use thiserror::Error;

use crate::audit::{Counts, Decision, Ingress, Outcome, Route};
use crate::policy::Limit;
use children::{Children, INGRESSES, REASONS};
pub use result::{DnsAnswer, DnsResult, Reload};
use rules::RuleHits;

/// The label of what is not known.
const NONE: &str = "none";
/// The network of a call that names none.
const MANAGED: &str = "managed";

/// The numbers of decisions, outcomes and status classes, each with a place for "none".
const DECISIONS: usize = Decision::ALL.len() + 1;
/// See [`DECISIONS`].
const OUTCOMES: usize = Outcome::ALL.len() + 1;
/// See [`DECISIONS`].
const STATUS_CLASSES: usize = 6;

/// The families cannot be registered.
#[derive(Debug, Error)]
#[error("the metrics cannot be registered: {0}")]
pub struct MetricsError(prometheus::Error);

/// Every family, registered in a registry of its own.
pub struct Metrics {
    /// What is encoded.
    registry: Registry,
    /// `decisions_total`, by decision, reason and ingress.
    decisions: Children<IntCounterVec>,
    /// `connections_total`, by ingress and outcome.
    connections: Children<IntCounterVec>,
    /// `requests_total`, by ingress and status class.
    requests: Children<IntCounterVec>,
    /// `request_duration_seconds`, by ingress.
    request_duration: Children<HistogramVec>,
    /// `connections_active`.
    active: IntGaugeVec,
    /// `bytes_total`: up and down, managed and delegated.
    bytes: [[IntCounter; 2]; 2],
    /// `decision_duration_seconds`.
    decision_duration: Histogram,
    /// `dns_duration_seconds`.
    dns_duration: HistogramVec,
    /// `connect_duration_seconds`.
    connect_duration: HistogramVec,
    /// `dns_queries_total`.
    dns_queries: IntCounterVec,
    /// `dns_answers_total`.
    dns_answers: IntCounterVec,
    /// `rule_hits_total`.
    rule_hits: RuleHits,
    /// `policy_generation`.
    generation: IntGauge,
    /// `policy_reloads_total`.
    reloads: IntCounterVec,
    /// `policy_last_success_timestamp_seconds`.
    last_success: IntGauge,
    /// `policy_rules`.
    rules: IntGauge,
    /// `skip_egress_proxy_documents`.
    skipping: IntGauge,
    /// `panics_total`.
    panics: IntCounter,
    /// `uplink_up`, by network.
    uplinks: IntGaugeVec,
    /// `enforcement_ok`, once there is something to prove.
    enforcement: IntGauge,
    /// `certificates_minted_total`.
    minted: IntCounter,
    /// `secret_injections_total`: `ok`, `unavailable`, `host_mismatch`.
    injections: [IntCounter; 3],
    /// `limited_total`.
    limited: IntCounterVec,
    /// What is brought up to date from the audit log's own counts.
    audit: Mutex<AuditFamilies>,
}

/// The families about the audit log itself.
struct AuditFamilies {
    /// `audit_events_total`.
    events: IntCounter,
    /// `audit_written_total`.
    written: IntCounterVec,
    /// `audit_dropped_total`.
    dropped: IntCounterVec,
    /// `audit_queue_events`.
    queued: IntGauge,
}

/// One connection among the active ones, until it is dropped.
#[must_use = "the connection counts as active until this is dropped"]
pub struct Active(IntGauge);

impl Metrics {
    /// Registers every family.
    ///
    /// # Errors
    /// When the crate refuses a name of this file: never, as a test shows.
    pub fn new() -> Result<Arc<Self>, MetricsError> {
        Self::register(Registry::new()).map(Arc::new).map_err(MetricsError)
    }

    /// Registers every family in `registry`.
    fn register(registry: Registry) -> prometheus::Result<Self> {
        let family = family::Families(&registry);
        family.build_info()?;
        let bytes = family.bytes()?;
        let routes = |direction| {
            [Route::Managed, Route::Delegated]
                .map(|route| bytes.with_label_values(&[direction, route.as_str()]))
        };
        let reloads = family.reloads()?;
        for reload in [Reload::Applied, Reload::Rejected] {
            // From the start, so that the first rejection is an increase.
            reloads.with_label_values(&[reload.as_str()]);
        }
        let injections = family.secret_injections()?;
        let limited = family.limited()?;
        for limit in Limit::ALL {
            // From the start, for the same reason.
            limited.with_label_values(&[limit.as_str()]);
        }
        Ok(Self {
            decisions: Children::new(family.decisions()?, DECISIONS * REASONS * INGRESSES),
            connections: Children::new(family.connections()?, OUTCOMES * INGRESSES),
            requests: Children::new(family.requests()?, STATUS_CLASSES * INGRESSES),
            request_duration: Children::new(family.request_duration()?, INGRESSES),
            active: family.active()?,
            bytes: [routes("up"), routes("down")],
            decision_duration: family.decision_duration()?,
            dns_duration: family.dns_duration()?,
            connect_duration: family.connect_duration()?,
            dns_queries: family.dns_queries()?,
            dns_answers: family.dns_answers()?,
            rule_hits: RuleHits::new(family.rule_hits()?),
            generation: family.generation()?,
            reloads,
            last_success: family.last_success()?,
            rules: family.rules()?,
            skipping: family.skipping()?,
            panics: family.panics()?,
            minted: family.minted()?,
            injections: ["ok", "unavailable", "host_mismatch"]
                .map(|result| injections.with_label_values(&[result])),
            uplinks: family.uplinks()?,
            enforcement: family::enforcement()?,
            limited,
            audit: Mutex::new(family.audit()?),
            registry,
        })
    }

    /// Everything, in the Prometheus text format, with the audit log's own counts brought up to date.
    #[must_use]
    pub fn encode(&self, audit: &Counts) -> String {
        self.update_audit(audit);
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics cannot be encoded");
        }
        text
    }

    /// Counts a connection as active until the guard is dropped.
    pub fn active(&self, ingress: Ingress) -> Active {
        let gauge = self.active.with_label_values(&[ingress.as_str()]);
        gauge.inc();
        Active(gauge)
    }

    /// Notes how long the three questions of one call took.
    pub fn decided_in(&self, duration: Duration) {
        self.decision_duration.observe(duration.as_secs_f64());
    }

    /// Counts a DNS query by a network of the configuration.
    pub fn dns_query(&self, network: &str, result: DnsResult) {
        self.dns_queries.with_label_values(&[network, result.as_str()]).inc();
    }

    /// Counts a load of the policy.
    pub fn reloaded(&self, result: Reload) {
        self.reloads.with_label_values(&[result.as_str()]).inc();
    }

    /// Counts what a client of a DNS listener was told.
    pub fn dns_answer(&self, answer: DnsAnswer) {
        self.dns_answers.with_label_values(&[answer.as_str()]).inc();
    }

    /// Notes the policy in force: its generation, its number of rules, and how many of its documents skip them.
    pub fn policy_in_force(&self, generation: u64, rules: usize, skipping: usize) {
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.rules.set(i64::try_from(rules).unwrap_or(i64::MAX));
        self.skipping.set(i64::try_from(skipping).unwrap_or(i64::MAX));
    }

    /// Notes when the policy was last loaded without a problem, in Unix seconds.
    pub fn policy_loaded(&self, at: i64) {
        self.last_success.set(at);
    }

    /// Notes whether a network that the operator described can be used.
    pub fn uplink(&self, network: &str, up: bool) {
        self.uplinks.with_label_values(&[network]).set(i64::from(up));
    }

    /// Notes whether it is proven that everything sandboxes send is taken. Without a call the family is absent.
    pub fn enforcement(&self, proven: bool) {
        self.enforcement.set(i64::from(proven));
        // It is an error to register it twice, and of no consequence.
        let _ = self.registry.register(Box::new(self.enforcement.clone()));
    }

    /// Counts a panic that one task survived.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts a certificate that was made for a host.
    pub fn minted(&self) {
        self.minted.inc();
    }

    /// Counts something that went beyond a limit of its sandbox.
    pub fn limited(&self, limit: Limit) {
        self.limited.with_label_values(&[limit.as_str()]).inc();
    }

    /// Brings the audit families up to the log's own counts.
    fn update_audit(&self, counts: &Counts) {
        let families = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        // Two scrapes may come in the other order than their counts were taken: never backwards.
        let raise = |counter: &IntCounter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
        raise(&families.events, counts.events);
        for sink in &counts.sinks {
            raise(&families.written.with_label_values(&[&*sink.sink]), sink.written);
            raise(&families.dropped.with_label_values(&[&*sink.sink]), sink.dropped);
        }
        let queued = counts.sinks.iter().map(|sink| sink.queued).max().unwrap_or(0);
        families.queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
