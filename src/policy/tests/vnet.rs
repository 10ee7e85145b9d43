//! §8: two paths, each call takes exactly one.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::policy::{NetworkFacts, Networks, Route, Way};

mod any;
mod network;
mod path;
mod ruled;

/// A document that delegates to `prod`, with this in its `managedPath`.
fn delegating(managed: &str) -> String {
    format!("{{mode: VNet, vnet: {{network: prod, managedPath: {{{managed}}}}}}}")
}

/// A document that delegates to `prod` under these `securityRules`.
fn ruled(rules: &str) -> String {
    format!("{{mode: VNet, vnet: {{network: prod, securityRules: [{rules}]}}}}")
}

/// The network that a permitted call takes.
fn path(policy: &Policy, text: &str) -> String {
    admit(policy, text).unwrap().route().network().to_owned()
}

/// The guards of an operator who has these networks, each with its groups (none: any) and whether it gets names.
fn operator(networks: &[(&str, &[&str], bool)]) -> Guards {
    let facts = |(name, groups, by_name): &(&str, &[&str], bool)| {
        let groups = (!groups.is_empty()).then(|| groups.iter().map(|group| Arc::from(*group)).collect());
        (Arc::from(*name), NetworkFacts { groups, by_name: *by_name })
    };
    let delegated: BTreeMap<_, _> = networks.iter().map(facts).collect();
    Guards { networks: Networks { delegated: Some(delegated), ..Networks::default() }, ..Guards::default() }
}

/// The errors of documents under an operator, and what a call of `sbx` then gets.
fn together(layers_of: &[(&str, &str)], guards: Guards) -> (String, &'static str) {
    let (set, problems) = set_over(&layers(layers_of), guards, None);
    let problems = problems.into_iter().chain(set.conflicts(None)).filter(Problem::is_error);
    let told: Vec<String> = problems.map(|problem| problem.to_string()).collect();
    (told.join("\n"), a(&set.policy_for("sbx", Some("grp"), false), "any.example:443"))
}
