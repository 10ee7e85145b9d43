//! The tables of `policy.md` §3 to §6, row by row, through compiled documents.

use std::net::IpAddr;
use std::sync::Arc;

use super::category::CategoryLists;
use super::document::{self, Document};
use super::{
    AddressPermit, Authority, Denial, Draft, Guards, Interception, Policy, PolicySet, Reason, RequestFacts,
    RequestPermit, Roster, SecretSet, TargetPermit, settle,
};
use crate::addr::{Host, Target};
use crate::source::Problem;

mod change;
mod guard;
mod hole;
mod inspection;
mod limit;
mod name;
mod pool;
mod query;
mod redirected;
mod secret;
mod skip;
mod table;
mod told;
mod vnet;
mod word;

/// Everything allowed by name.
const OPEN: &str = "{mode: Unrestricted}";

/// The documents of a text, which must load without an error.
pub(super) fn documents(text: &str) -> Vec<Arc<Document>> {
    let parsed = document::parse(&"p.yaml".into(), text);
    let errors: Vec<_> = parsed.problems.iter().filter(|problem| problem.is_error()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{text}");
    parsed.documents.into_iter().map(Arc::new).collect()
}

/// The text of documents, each a scope (`Global`, `Group`, `Sandbox`) and a spec in flow style.
pub(super) fn layers(layers: &[(&str, &str)]) -> String {
    let text = layers.iter().map(|(scope, spec)| {
        let named = match *scope {
            "Global" => "",
            "Group" => ", group: grp",
            _ => ", group: grp, sandbox: sbx",
        };
        format!("kind: EgressPolicy\nmetadata: {{name: {}-doc{named}}}\nspec: {spec}\n", scope.to_lowercase())
    });
    text.collect::<Vec<_>>().join("---\n")
}

/// The policies and secrets of a text, and what is wrong with them together.
pub(super) fn set_over(text: &str, guards: Guards, roster: Option<&Roster>) -> (PolicySet, Vec<Problem>) {
    let parsed = document::parse(&"p.yaml".into(), text);
    let secrets: Vec<_> = parsed.secrets.into_iter().map(Arc::new).collect();
    let (secrets, mut problems) = SecretSet::settle(&secrets, roster, None);
    let mut draft =
        Draft::new(&CategoryLists::shipped(), roster, None).with_secrets(Arc::new(secrets)).under(&guards);
    for document in documents(text) {
        draft.compile(&document);
    }
    let (set, found) = draft.finish(Arc::new(guards));
    problems.extend(found);
    (set, problems)
}

/// The policy of sandbox `sbx` in group `grp` under the documents of a text.
pub(super) fn policy_over(text: &str, guards: Guards) -> Policy {
    set_over(text, guards, None).0.policy_for("sbx", Some("grp"), false)
}

/// Guards with this authority to decrypt, which leave these hosts out.
fn intercepting(authority: Authority, exclude: &[&str]) -> Guards {
    let exclude = exclude.iter().map(|text| text.parse().unwrap()).collect();
    Guards { interception: Interception { authority, exclude }, ..Guards::default() }
}

/// The policy of one Global document.
fn policy(spec: &str) -> Policy {
    policy_over(&layers(&[("Global", spec)]), Guards::default())
}

/// A target from its text.
fn target(text: &str) -> Target {
    Target::parse(text).unwrap()
}

/// An address from its text.
fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Question A.
fn admit(policy: &Policy, text: &str) -> Result<TargetPermit, Denial> {
    policy.admit(&target(text))
}

/// Question A in a word: `Allow`, `open`, or the reason.
fn a(policy: &Policy, text: &str) -> &'static str {
    match admit(policy, text) {
        Ok(permit) if permit.open().is_some() => "open",
        Ok(_) => "Allow",
        Err(denial) => denial.reason().as_str(),
    }
}

/// Questions A and C.
fn request(policy: &Policy, text: &str, method: &str, path: &str) -> Result<RequestPermit, Denial> {
    policy.admit_request(&admit(policy, text)?, &RequestFacts { method, path, secure: false })
}

/// Questions A and C in a word.
fn c(policy: &Policy, text: &str, method: &str, path: &str) -> &'static str {
    request(policy, text, method, path).map_or_else(|denial| denial.reason().as_str(), |_| "Allow")
}

/// Questions A and B.
fn address(policy: &Policy, text: &str, address: &str) -> Result<AddressPermit, Denial> {
    policy.admit_address(&admit(policy, text)?, ip(address))
}

/// Questions A and B in a word.
fn b(policy: &Policy, text: &str, at: &str) -> &'static str {
    address(policy, text, at).map_or_else(|denial| denial.reason().as_str(), |_| "Allow")
}

/// The kind of scope that a denial names.
fn scope(denial: &Denial) -> &'static str {
    denial.cause().unwrap().scope().kind()
}
