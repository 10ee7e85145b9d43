//! Tells of a load of the policy: log, metrics, and `policy` records.

use jiff::Timestamp;

use super::reconfigure::pending;
use crate::audit::{Audit, Change, Kind, LoadChange, Outcome, Text};
use crate::live::reload::Report;
use crate::live::store::Changes;
use crate::metrics::{Metrics, Reload};
use crate::source::Problem;

/// Tells of a load. The record of the load comes last, after those of the documents that it widened.
pub(super) fn loaded(audit: &Audit, metrics: &Metrics, report: &Report) {
    for problem in &report.problems {
        if problem.is_error() {
            tracing::error!("{problem}");
        } else {
            tracing::warn!("{problem}");
        }
    }
    let rejected = report.is_rejected();
    metrics.reloaded(if rejected { Reload::Rejected } else { Reload::Applied });
    if report.swapped {
        metrics.policy_in_force(report.generation, report.rules, report.skipping);
    }
    if !rejected {
        metrics.policy_loaded(Timestamp::now().as_second());
    }
    let changes = &report.changes;
    widened(audit, changes, report.generation);
    let mut record = audit.record(Kind::Policy);
    record.event().generation = Some(report.generation);
    let error = report.problems.iter().find(|problem| problem.is_error()).map(Problem::to_string);
    record.event().error = error.or_else(|| pending(&report.pending)).map(|text| Text::new(&text));
    let documents = changes.documents.len() + changes.unrecorded;
    if documents > 0 {
        let unrecorded = changes.unrecorded;
        record.event().change = Some(Box::new(Change::Load(LoadChange { documents, unrecorded })));
    }
    record.finish(if rejected { Outcome::Refused } else { Outcome::Ok });
    let names: Vec<&str> = changes.documents.iter().map(|changed| &*changed.policy).collect();
    let (generation, rules, names) = (report.generation, report.rules, names.join(", "));
    if documents > 0 {
        tracing::warn!(
            generation,
            rules,
            rejected,
            widened = documents,
            names,
            "policy loaded: it lets more through"
        );
    } else {
        tracing::info!(generation, rules, rejected, "policy loaded");
    }
}

/// A record of each document that became wider.
fn widened(audit: &Audit, changes: &Changes, generation: u64) {
    for changed in &changes.documents {
        let mut record = audit.record(Kind::Policy);
        let event = record.event();
        event.generation = Some(generation);
        event.policy = Some(changed.policy.clone());
        event.scope = Some(changed.scope.clone());
        event.change = Some(Box::new(Change::Document(changed.change.clone())));
        record.finish(Outcome::Ok);
    }
}
