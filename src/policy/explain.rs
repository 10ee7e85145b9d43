//! A denial in words: what happened, and what to change.

use super::decision::{Denial, Reason};
use crate::addr::Target;

/// What happened, as a sentence about `target`.
pub(super) fn message(denial: &Denial, target: &str) -> String {
    if !denial.detail.is_empty() {
        return format!("{target}: {}", denial.detail);
    }
    let by = denial.cause.as_ref().map_or_else(String::new, |cause| match cause.rule() {
        Some(rule) => format!(" by {rule} of {} policy `{}`", cause.scope().kind(), cause.policy()),
        None => format!(" by {} policy `{}`", cause.scope().kind(), cause.policy()),
    });
    let what = match denial.reason {
        Reason::HostDenied | Reason::CidrDenied | Reason::RuleDenied | Reason::NetworkRuleDenied => {
            "is denied"
        }
        Reason::DefaultDeny => "is not on the allow-list: denied by default",
        Reason::PortDenied => "is allowed, but not on this port: denied",
        Reason::SniMissing => "is TLS without a server name: denied",
        Reason::PolicyChange => "was allowed and no longer is: closed",
        Reason::NoPolicy
        | Reason::PolicyError
        | Reason::IdentityUnknown
        | Reason::BadRequest
        | Reason::AuthorityMismatch
        | Reason::GuardLocal
        | Reason::GuardMetadata
        | Reason::GuardSelf
        | Reason::GuardPrivate
        | Reason::GuardPort
        | Reason::DnsFailed
        | Reason::DnsAllDenied
        | Reason::NotHttp
        | Reason::SecretUnavailable
        | Reason::SecretHostMismatch
        | Reason::Limit
        | Reason::AuditUnavailable
        | Reason::UpstreamFailed => "is refused",
    };
    format!("{target} {what}{by}")
}

/// The line to add or change, where a document can change the answer.
pub(super) fn hint(denial: &Denial, target: Option<&Target>) -> Option<String> {
    let host = target.map_or_else(|| "the host".to_owned(), |target| target.host().to_string());
    let port = target.map_or(0, |target| target.port().get());
    let place = denial.cause.as_ref().map(|cause| (cause.policy(), cause.place(), cause.rule()));
    let (policy, at, rule) = match &place {
        Some((policy, at, rule)) => (policy.as_ref(), at.to_string(), rule.clone().unwrap_or_default()),
        None => ("", String::new(), String::new()),
    };
    let is_ip = target.is_some_and(|target| target.host().ip().is_some());
    match denial.reason {
        Reason::DefaultDeny => {
            // Where `ports` would still deny it, the pattern has to name the port.
            let document = denial.cause.as_ref().map(|cause| &cause.document);
            let pattern = match (target, document) {
                (Some(target), Some(document)) if !document.bounds(target.port()) => target.to_string(),
                _ => host,
            };
            Some(format!("add \"{pattern}\" to hostRules of policy `{policy}` ({at})"))
        }
        Reason::PortDenied => Some(format!(
            "add {port} to ports of policy `{policy}`, or write the pattern as \"{host}:{port}\" ({at})"
        )),
        Reason::HostDenied | Reason::CidrDenied => Some(format!(
            "remove or narrow {rule} of policy `{policy}` ({at}); an Allow elsewhere cannot lift it"
        )),
        Reason::RuleDenied if !denial.detail.is_empty() => Some(format!(
            "{rule} of policy `{policy}` ({at}) asks for a path or method, which cannot be seen inside this tunnel: \
             use plain http:// for it, or allow the whole host without path and methods"
        )),
        Reason::RuleDenied => {
            Some(format!("change {rule} of policy `{policy}` ({at}), or put an Allow before it"))
        }
        Reason::SniMissing if is_ip => {
            Some(format!("add a cidrRules Allow or the literal \"{host}\" to policy `{policy}` ({at})"))
        }
        Reason::SniMissing | Reason::AuthorityMismatch => {
            Some("send the name that the proxy was asked for as SNI and Host".to_owned())
        }
        Reason::GuardPrivate => Some(
            "if the address is meant, add a cidrRules Allow for it to every policy that applies".to_owned(),
        ),
        Reason::GuardPort => Some(
            "if mail is meant, add a cidrRules Allow with ports: [25] to every policy that applies"
                .to_owned(),
        ),
        Reason::GuardLocal | Reason::GuardMetadata => Some(
            "no policy can lift this; the operator may set guards.exempt in the process configuration"
                .to_owned(),
        ),
        Reason::NoPolicy => {
            Some("give this sandbox a policy document: Global, for its group, or its own".to_owned())
        }
        Reason::PolicyError => {
            Some(format!("mend policy `{policy}` ({at}): `sluicegate check` says what is wrong"))
        }
        Reason::IdentityUnknown => Some(
            "connect from a configured source, or send Proxy-Authorization with the sandbox's id and token"
                .to_owned(),
        ),
        Reason::PolicyChange => Some(
            "the policy was changed while this connection was open; see the reason of a new attempt"
                .to_owned(),
        ),
        Reason::NetworkRuleDenied => Some(format!("change the securityRules of policy `{policy}` ({at})")),
        Reason::GuardSelf
        | Reason::BadRequest
        | Reason::DnsFailed
        | Reason::DnsAllDenied
        | Reason::NotHttp
        | Reason::SecretUnavailable
        | Reason::SecretHostMismatch
        | Reason::Limit
        | Reason::AuditUnavailable
        | Reason::UpstreamFailed => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use crate::addr::Target;
    use crate::policy::category::CategoryLists;
    use crate::policy::{Guards, PolicySet, document};

    #[test]
    fn following_the_hint_of_a_default_deny_allows_the_target() {
        let set = |text: &str| {
            let documents = document::parse(&Arc::from("p.yaml"), text).documents;
            let documents: Vec<_> = documents.into_iter().map(Arc::new).collect();
            let lists = CategoryLists::shipped();
            PolicySet::compile(&documents, &lists, Arc::new(Guards::default()), None, None).0
        };
        for target in ["a.test:443", "a.test:8443", "192.0.2.7:8000", "[2001:db8::1]:443"] {
            let target = Target::parse(target).unwrap();
            let ask = |text: &str| set(text).policy_for("default", None, false).admit(&target);
            let hint = ask("mode: Limited").unwrap_err().hint(Some(&target)).unwrap();
            let pattern = hint.strip_prefix("add ").unwrap().split(" to hostRules").next().unwrap();
            assert!(ask(&format!("mode: Limited\nhostRules: [{pattern}]")).is_ok(), "{hint}");
        }
    }
}
