//! What is counted from audit events.

use prometheus::core::GenericCounter;

use super::children::{self, INGRESSES, REASONS};
use super::{MANAGED, Metrics, NONE, OUTCOMES, STATUS_CLASSES};
use crate::audit::{Counted, Event, Kind, Observe, Route};
use crate::policy::Reason;

impl Observe for Metrics {
    fn observe(&self, event: &Event) {
        if event.decides() {
            self.observe_decision(event);
        }
        if event.ends() {
            self.observe_end(event);
            self.observe_secrets(event);
        }
    }
}

impl Metrics {
    /// Counts the decision and what led to it.
    fn observe_decision(&self, event: &Event) {
        let (place, decision) =
            event.decision.map_or((0, NONE), |decision| (decision as usize + 1, decision.as_str()));
        let (reason_place, reason) = children::reason(event);
        let (ingress_place, ingress) = children::ingress(event);
        let place = (place * REASONS + reason_place) * INGRESSES + ingress_place;
        self.decisions.with(place, [decision, reason, ingress], GenericCounter::inc);
        if let (Some(policy), Some(rule)) = (&event.policy, &event.rule) {
            self.rule_hits.count(policy, rule);
        }
        if event.overturns() {
            return;
        }
        let network = event.network.as_deref().unwrap_or(MANAGED);
        if let Some(dns) = event.dns {
            self.dns_duration.with_label_values(&[network]).observe(dns.as_secs_f64());
        }
        if let Some(connect) = event.connect {
            self.connect_duration.with_label_values(&[network]).observe(connect.as_secs_f64());
        }
    }

    /// Counts the secrets that went with a request, or the one that could not.
    fn observe_secrets(&self, event: &Event) {
        let [ok, unavailable, host_mismatch] = &self.injections;
        ok.inc_by(event.secrets.len() as u64);
        if event.reason == Some(Reason::SecretUnavailable) {
            unavailable.inc();
        } else if event.reason == Some(Reason::SecretHostMismatch) {
            host_mismatch.inc();
        }
    }

    /// Counts what is known at the end of a connection or request.
    fn observe_end(&self, event: &Event) {
        let (place, ingress) = children::ingress(event);
        if event.kind == Kind::Query {
            // Counted with those that leave no record, as answers.
            return;
        }
        if event.kind == Kind::Connection {
            let (outcome_place, outcome) =
                event.outcome.map_or((0, NONE), |outcome| (outcome as usize + 1, outcome.as_str()));
            let place = place * OUTCOMES + outcome_place;
            self.connections.with(place, [ingress, outcome], GenericCounter::inc);
        } else {
            let (class_place, class) = status_class(event.status);
            let class_place = place * STATUS_CLASSES + class_place;
            self.requests.with(class_place, [ingress, class], GenericCounter::inc);
            if let Some(duration) = event.duration {
                self.request_duration.with(place, [ingress], |all| all.observe(duration.as_secs_f64()));
            }
        }
        if event.counted == Counted::Inside {
            return;
        }
        let [up, down] = &self.bytes;
        for (counters, bytes) in [(up, event.bytes_up), (down, event.bytes_down)] {
            let [managed, delegated] = counters;
            let counter = if event.route == Some(Route::Delegated) { delegated } else { managed };
            counter.inc_by(bytes.unwrap_or(0));
        }
    }
}

/// The number and the label of an HTTP status.
const fn status_class(status: Option<u16>) -> (usize, &'static str) {
    match status {
        Some(100..=199) => (1, "1xx"),
        Some(200..=299) => (2, "2xx"),
        Some(300..=399) => (3, "3xx"),
        Some(400..=499) => (4, "4xx"),
        Some(500..=599) => (5, "5xx"),
        _ => (0, NONE),
    }
}
