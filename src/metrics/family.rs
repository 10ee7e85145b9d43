//! The families: names, help texts, labels, buckets.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    Result,
};

use super::AuditFamilies;

/// Every name's beginning.
const PREFIX: &str = "sluicegate";
/// Buckets from a microsecond up, in seconds: for decisions, which touch nothing but memory.
const QUICK: [f64; 10] = [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 1e-3, 1e-2, 1e-1];
/// Buckets for what waits for a network, in seconds.
const SLOW: [f64; 12] = [5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 1e-1, 2.5e-1, 1.0, 5.0, 10.0];
/// Buckets for whole requests, in seconds.
const WHOLE: [f64; 12] = [1e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 1e-1, 2.5e-1, 1.0, 5.0, 10.0, 60.0, 600.0];

/// Makes families and registers them.
pub(super) struct Families<'a>(pub(super) &'a Registry);

impl Families<'_> {
    pub(super) fn decisions(&self) -> Result<IntCounterVec> {
        let help = "Decisions about connections and requests.";
        self.counters("decisions_total", help, &["decision", "reason", "ingress"])
    }

    pub(super) fn connections(&self) -> Result<IntCounterVec> {
        self.counters("connections_total", "Connections that ended, by outcome.", &["ingress", "outcome"])
    }

    pub(super) fn active(&self) -> Result<IntGaugeVec> {
        let help = "Connections that are open.";
        self.add(IntGaugeVec::new(options("connections_active", help), &["ingress"])?)
    }

    pub(super) fn requests(&self) -> Result<IntCounterVec> {
        let help = "HTTP requests that ended, by the class of the status that the client got.";
        self.counters("requests_total", help, &["ingress", "status_class"])
    }

    pub(super) fn bytes(&self) -> Result<IntCounterVec> {
        let help = "Payload bytes of connections and requests that ended, from (up) and to (down) clients.";
        self.counters("bytes_total", help, &["direction", "route"])
    }

    pub(super) fn decision_duration(&self) -> Result<Histogram> {
        let help = "Time to decide about one call, without waiting for names.";
        self.add(Histogram::with_opts(histogram("decision_duration_seconds", help, &QUICK))?)
    }

    pub(super) fn dns_duration(&self) -> Result<HistogramVec> {
        self.histograms("dns_duration_seconds", "Time to resolve a name.", "network", &SLOW)
    }

    pub(super) fn connect_duration(&self) -> Result<HistogramVec> {
        self.histograms("connect_duration_seconds", "Time to connect to an origin.", "network", &SLOW)
    }

    pub(super) fn request_duration(&self) -> Result<HistogramVec> {
        self.histograms("request_duration_seconds", "Time from a request to its end.", "ingress", &WHOLE)
    }

    pub(super) fn dns_queries(&self) -> Result<IntCounterVec> {
        self.counters("dns_queries_total", "Names that were resolved, by result.", &["network", "result"])
    }

    pub(super) fn dns_answers(&self) -> Result<IntCounterVec> {
        let help = "DNS queries of sandboxes, by what was answered.";
        self.counters("dns_answers_total", help, &["result"])
    }

    pub(super) fn rule_hits(&self) -> Result<IntCounterVec> {
        let help = "Decisions by the rule that made them; rules beyond a fixed number are counted as other.";
        self.counters("rule_hits_total", help, &["policy", "rule"])
    }

    pub(super) fn generation(&self) -> Result<IntGauge> {
        self.gauge("policy_generation", "Generation of the policy in force.")
    }

    pub(super) fn rules(&self) -> Result<IntGauge> {
        self.gauge("policy_rules", "Rules of the policy in force.")
    }

    pub(super) fn skipping(&self) -> Result<IntGauge> {
        let help = "Documents in force that skip the rules (skipEgressProxy).";
        self.gauge("skip_egress_proxy_documents", help)
    }

    pub(super) fn last_success(&self) -> Result<IntGauge> {
        let help = "When the policy was last loaded without a problem, in Unix seconds.";
        self.gauge("policy_last_success_timestamp_seconds", help)
    }

    pub(super) fn reloads(&self) -> Result<IntCounterVec> {
        self.counters("policy_reloads_total", "Loads of the policy, by result.", &["result"])
    }

    pub(super) fn panics(&self) -> Result<IntCounter> {
        let help = "Panics that ended one task and nothing else.";
        self.add(IntCounter::with_opts(options("panics_total", help))?)
    }

    pub(super) fn minted(&self) -> Result<IntCounter> {
        let help = "Certificates that the sandbox CA made for hosts whose TLS is decrypted.";
        self.add(IntCounter::with_opts(options("certificates_minted_total", help))?)
    }

    pub(super) fn secret_injections(&self) -> Result<IntCounterVec> {
        let help =
            "Secrets that were sent with requests, and requests that were refused because one could not be.";
        self.counters("secret_injections_total", help, &["result"])
    }

    pub(super) fn limited(&self) -> Result<IntCounterVec> {
        let help =
            "What was refused, or for upload_bytes had to wait, by the limit of a sandbox that was reached.";
        self.counters("limited_total", help, &["limit"])
    }

    pub(super) fn uplinks(&self) -> Result<IntGaugeVec> {
        let help = "Whether a network of the configuration can be used, as its last probe found.";
        self.add(IntGaugeVec::new(options("uplink_up", help), &["network"])?)
    }

    pub(super) fn audit(&self) -> Result<AuditFamilies> {
        let events = options("audit_events_total", "Audit events.");
        Ok(AuditFamilies {
            events: self.add(IntCounter::with_opts(events)?)?,
            written: self.counters("audit_written_total", "Audit records written.", &["sink"])?,
            dropped: self.counters("audit_dropped_total", "Audit events dropped.", &["sink"])?,
            queued: self.gauge("audit_queue_events", "Audit events in the longest queue.")?,
        })
    }

    pub(super) fn build_info(&self) -> Result<()> {
        let help = "Always 1; the version is the label.";
        let info = self.add(IntGaugeVec::new(options("build_info", help), &["version"])?)?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(())
    }

    /// Makes a family of counters.
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(IntCounterVec::new(options(name, help), labels)?)
    }

    /// Makes a family of histograms with one label.
    fn histograms(&self, name: &str, help: &str, label: &str, buckets: &[f64]) -> Result<HistogramVec> {
        self.add(HistogramVec::new(histogram(name, help, buckets), &[label])?)
    }

    /// Makes a gauge.
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(IntGauge::with_opts(options(name, help))?)
    }

    /// Registers a family.
    fn add<C: Collector + Clone + 'static>(&self, family: C) -> Result<C> {
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }
}

/// `enforcement_ok`, which is registered once there is something to tell.
pub(super) fn enforcement() -> Result<IntGauge> {
    let help = "Whether it is proven that everything sandboxes send is taken to the gateway.";
    IntGauge::with_opts(options("enforcement_ok", help))
}

/// A name and a help text.
fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace(PREFIX)
}

/// A name, a help text, and buckets.
fn histogram(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).namespace(PREFIX).buckets(buckets.to_vec())
}
