//! The counters of one family, each looked up by its labels once.

use std::sync::OnceLock;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use crate::audit::{Event, Ingress};
use crate::policy::Reason;

/// A family whose labels are all members of closed lists, so that a number stands for them.
pub(super) struct Children<F: Family> {
    /// The family.
    family: F,
    /// The metrics that were used so far, by number.
    used: Box<[OnceLock<F::Metric>]>,
}

/// A family of metrics that differ in their labels.
pub(super) trait Family {
    /// One metric.
    type Metric;

    /// The metric with these labels.
    fn metric(&self, labels: &[&str]) -> Self::Metric;
}

impl Family for IntCounterVec {
    type Metric = IntCounter;

    fn metric(&self, labels: &[&str]) -> IntCounter {
        self.with_label_values(labels)
    }
}

impl Family for HistogramVec {
    type Metric = Histogram;

    fn metric(&self, labels: &[&str]) -> Histogram {
        self.with_label_values(labels)
    }
}

impl<F: Family> Children<F> {
    /// A family with no metric yet and room for `numbers` of them.
    pub(super) fn new(family: F, numbers: usize) -> Self {
        Self { family, used: std::iter::repeat_with(OnceLock::new).take(numbers).collect() }
    }

    /// Does something with the metric of this number; `labels` are what the number stands for.
    pub(super) fn with<const N: usize>(
        &self,
        number: usize,
        labels: [&str; N],
        act: impl FnOnce(&F::Metric),
    ) {
        match self.used.get(number) {
            Some(metric) => act(metric.get_or_init(|| self.family.metric(&labels))),
            None => act(&self.family.metric(&labels)),
        }
    }
}

/// One more than the number of reasons: none has a place too.
pub(super) const REASONS: usize = Reason::ALL.len() + 1;
/// One more than the number of ways in.
pub(super) const INGRESSES: usize = Ingress::ALL.len() + 1;

/// The number and the label of a reason; of what was allowed, the reason for which it would have been denied.
pub(super) fn reason(event: &Event) -> (usize, &'static str) {
    let reason = event.reason.or_else(|| event.would_deny.as_ref().map(|reported| reported.reason));
    reason.map_or((0, super::NONE), |reason| (reason as usize + 1, reason.as_str()))
}

/// The number and the label of a way in.
pub(super) fn ingress(event: &Event) -> (usize, &'static str) {
    event.ingress.map_or((0, super::NONE), |ingress| (ingress as usize + 1, ingress.as_str()))
}
