//! What documents together leave a sandbox.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::{layers, policy_over};
use crate::policy::{Guards, Limit, Limits, Policy, Reason};

/// The policy of documents in the order of the scopes.
fn policy(specs: &[(&str, String)]) -> Policy {
    let specs: Vec<_> = specs.iter().map(|(scope, spec)| (*scope, spec.as_str())).collect();
    policy_over(&layers(&specs), Guards::default())
}

/// A document with these limits.
fn spec(enforcement: &str, limits: &[Option<u64>]) -> String {
    let written = Limit::ALL
        .iter()
        .zip(limits)
        .filter_map(|(limit, most)| most.map(|most| format!("{}: {most}", limit.key())));
    format!(
        "{{mode: Limited, enforcement: {enforcement}, limits: {{{}}}}}",
        written.collect::<Vec<_>>().join(", ")
    )
}

#[test]
fn the_smallest_number_of_all_documents_holds_and_its_document_is_named() {
    let policy = policy(&[
        ("Global", "{mode: Limited, limits: {connections: 9, requestsPerSecond: 5}}".into()),
        ("Group", "{mode: Limited, limits: {connections: 7, uploadBytes: 1000}}".into()),
        ("Sandbox", "{mode: Limited, limits: {connections: 8, requestsPerSecond: 5}}".into()),
    ]);
    let limits = policy.limits();
    assert_eq!(limits.get(Limit::Connections), Some(7));
    assert_eq!(limits.get(Limit::RequestsPerSecond), Some(5));
    assert_eq!(limits.get(Limit::UploadBytes), Some(1000));
    assert_eq!(limits.get(Limit::DnsQueriesPerSecond), None);

    let denial = policy.beyond(Limit::Connections, 7);
    assert_eq!((denial.reason(), denial.limit()), (Reason::Limit, Some(Limit::Connections)));
    assert_eq!(denial.cause().map(|cause| cause.policy().to_string()), Some("group-doc".into()));
    assert_eq!(
        denial.detail(),
        "beyond the 7 connections at once that `connections` of Group policy `group-doc` allows this sandbox"
    );
    let hint = denial.hint(None).unwrap();
    assert!(
        hint.contains("end a connection first")
            && hint.contains("raise `limits.connections` of policy `group-doc` (p.yaml:"),
        "{hint}"
    );
    // Of two that say the same the higher one is named.
    let denial = policy.beyond(Limit::RequestsPerSecond, 5);
    assert_eq!(denial.cause().map(|cause| cause.policy().to_string()), Some("global-doc".into()));
    // A number that no document has is the operator's.
    let denial = policy.beyond(Limit::Connections, 6);
    assert!(
        denial.cause().is_none() && denial.detail().contains("`limits.perSandbox`"),
        "{}",
        denial.detail()
    );
    assert!(
        denial.hint(None).unwrap().contains("`limits.perSandbox.connections` of the process configuration")
    );
}

#[test]
fn a_document_that_only_reports_limits_nothing() {
    let reporting = "{mode: Limited, enforcement: Report, limits: {connections: 1}}";
    let policy = policy(&[
        ("Global", reporting.into()),
        ("Sandbox", "{mode: Limited, limits: {connections: 3}}".into()),
    ]);
    assert_eq!(policy.limits().get(Limit::Connections), Some(3));
}

proptest! {
    #[test]
    fn r2_adding_a_document_can_only_narrow_what_a_sandbox_may_use(
        limits in vec((any::<bool>(), vec(of(1u64..6), Limit::ALL.len())), 2..4), left_out in 0usize..3,
    ) {
        let all: Vec<_> = ["Global", "Group", "Sandbox"].into_iter().zip(&limits)
            .map(|(scope, (enforced, limits))| (scope, spec(if *enforced { "Enforce" } else { "Report" }, limits)))
            .collect();
        let mut fewer = all.clone();
        fewer.remove(left_out.min(fewer.len() - 1));
        let (all, fewer) = (policy(&all).limits(), policy(&fewer).limits());
        for limit in Limit::ALL {
            let [with, without] = [all, fewer].map(|limits: Limits| limits.get(limit).unwrap_or(u64::MAX));
            prop_assert!(with <= without, "{limit:?}");
        }
        // And it is the smallest number that is written, no smaller one.
        for (at, limit) in Limit::ALL.into_iter().enumerate() {
            let smallest = limits.iter().filter(|(enforced, _)| *enforced).filter_map(|(_, limits)| limits[at]).min();
            prop_assert_eq!(all.get(limit), smallest);
        }
    }
}
