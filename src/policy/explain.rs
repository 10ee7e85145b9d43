//! A denial in words: what happened, and what to change.

use super::decision::{Cause, Denial, RuleId};
use super::limit::Limit;
use super::near::Near;
use super::reason::Reason;
use crate::addr::Target;

/// How TLS that is not decrypted is decrypted.
const DECRYPT: &str =
    "have TLS to it decrypted (`intercept` of the process configuration, and no entry of its `exclude`)";

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
        Reason::NetworkRuleDenied if denial.cause.as_ref().is_some_and(|cause| cause.rule.is_none()) => {
            "is allowed by no entry of securityRules: denied"
        }
        Reason::HostDenied | Reason::CidrDenied | Reason::RuleDenied | Reason::NetworkRuleDenied => {
            "is denied"
        }
        Reason::DefaultDeny if matches!(denial.near.as_deref(), Some(Near::Request(_))) => {
            "has rules, and none of them fits this method and path: denied by default"
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
    denial.cause.as_ref().and_then(|cause| in_document(denial, cause, target)).or_else(|| {
        let hint = match denial.reason {
            Reason::GuardPrivate | Reason::GuardPort if denial.near.is_some() => {
                return denial.near.as_deref().map(|near| beside_guard(near, denial.reason));
            }
            Reason::SniMissing => "send a server name (SNI) that can be read",
            Reason::AuthorityMismatch => {
                "send one name, in the URL or CONNECT, as Host and as SNI, and the port of the connection"
            }
            Reason::GuardPrivate => {
                "if the address is meant, add a cidrRules Allow for it to every policy that applies"
            }
            Reason::GuardPort => {
                "if mail is meant, add a cidrRules Allow with ports: [25] to every policy that applies"
            }
            Reason::GuardLocal | Reason::GuardMetadata => {
                "no policy can lift this; the operator may set guards.exempt in the process configuration"
            }
            Reason::NoPolicy => "give this sandbox a policy document: Global, for its group, or its own",
            Reason::PolicyError => "`sluicegate check` says what is wrong with the policies",
            Reason::IdentityUnknown => {
                "list the address it comes from under `sandboxes[].sources` of the process configuration; \
                 a client that knows the proxy may show a sandbox's token instead"
            }
            Reason::SecretHostMismatch => {
                "use https:// and a host that is among the `hosts` of the secret"
            }
            Reason::SecretUnavailable => {
                "where a value cannot be had, the audit record tells the operator why; where a placeholder was sent, it must be \
                 `sluicegate:ID/KEY`, of a secret with `placeholder: true` that this sandbox may use"
            }
            Reason::PolicyChange => {
                "the policy was changed while this connection was open; see the reason of a new attempt"
            }
            Reason::HostDenied
            | Reason::CidrDenied
            | Reason::RuleDenied
            | Reason::DefaultDeny
            | Reason::PortDenied
            | Reason::NetworkRuleDenied
            | Reason::GuardSelf
            | Reason::BadRequest
            | Reason::DnsFailed
            | Reason::DnsAllDenied
            | Reason::NotHttp
            | Reason::AuditUnavailable
            | Reason::UpstreamFailed => return None,
            Reason::Limit => {
                return denial.limit.map(|limit| {
                    let key = limit.key();
                    format!(
                        "{}, or raise `limits.perSandbox.{key}` of the process configuration",
                        less(limit)
                    )
                });
            }
        };
        Some(hint.to_owned())
    })
}

/// The line of the document that decided.
fn in_document(denial: &Denial, cause: &Cause, target: Option<&Target>) -> Option<String> {
    // Of the denials by a rule only the one of a tunnel comes with a detail.
    let in_tunnel = !denial.detail.is_empty();
    let rewrites = cause.rewrites();
    let (host, bare) = match target {
        Some(target) => (target.host().to_string(), !cause.document.bounds(target.port())),
        None => ("the host".to_owned(), false),
    };
    let full = target.map_or_else(|| "the host and port".to_owned(), ToString::to_string);
    let port = target.map_or_else(|| "the port".to_owned(), |target| target.port().to_string());
    let rule = cause.rule().unwrap_or_default();
    let at = format!("policy `{}` ({})", cause.policy(), cause.place());
    let hint = match denial.reason {
        Reason::DefaultDeny | Reason::PortDenied | Reason::SniMissing if denial.guard.is_some() => {
            guarded(denial.guard, &host, &port, &at)
        }
        Reason::DefaultDeny => match denial.near.as_deref() {
            Some(near) => beside(cause, near, &port),
            None => format!("add \"{}\" to hostRules of {at}", if bare { full } else { host }),
        },
        Reason::PortDenied => format!("add {port} to ports of {at}, or write the pattern as \"{full}\""),
        Reason::HostDenied | Reason::CidrDenied => {
            format!("remove or narrow {rule} of {at}; an Allow elsewhere cannot lift it")
        }
        Reason::RuleDenied if in_tunnel && rewrites => {
            format!(
                "{rule} of {at} rewrites requests: {DECRYPT}, use plain http:// for them, or write `Allow`"
            )
        }
        Reason::RuleDenied if in_tunnel => format!(
            "{rule} of {at} asks for a path or method, which cannot be seen inside TLS that is not decrypted: \
             {DECRYPT}, use plain http:// for it, or decide by host, without path and methods"
        ),
        Reason::RuleDenied => format!("change {rule} of {at}, or put an Allow before it"),
        Reason::SniMissing if target.is_some_and(|target| target.host().ip().is_some()) => {
            format!("send a server name, or add a cidrRules Allow or the literal \"{host}\" to {at}")
        }
        Reason::PolicyError if rewrites => {
            format!("let one rule only rewrite this request: change {rule} of {at}, or the other one")
        }
        Reason::PolicyError => format!("mend {at}: `sluicegate check` says what is wrong"),
        Reason::NotHttp if cause.rule_id().is_none() => {
            format!("write `trafficInspection: Legacy` or `Partial` into {at} to let other protocols pass")
        }
        Reason::SecretHostMismatch => format!(
            "use https:// and a host that the secret of {rule} of {at} is for: its `hosts`, or without them the host of the rule"
        ),
        Reason::SecretUnavailable => format!("add or mend the secret that {rule} of {at} refers to"),
        Reason::NetworkRuleDenied if rule.is_empty() => match denial.near.as_deref() {
            Some(Near::Inner(inner)) => format!(
                "add an Allow for {inner}, or for the prefix that carries it (as 64:ff9b::/96), and the port to securityRules of {at}"
            ),
            _ => format!("add an Allow for the address and port to securityRules of {at}"),
        },
        Reason::NetworkRuleDenied => {
            format!("change {rule} of {at}, or put an Allow with a lower priority number before it")
        }
        Reason::Limit => {
            let limit = denial.limit?;
            format!("{}, or raise `limits.{}` of {at}", less(limit), limit.key())
        }
        Reason::NoPolicy
        | Reason::SniMissing
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
        | Reason::AuditUnavailable
        | Reason::PolicyChange
        | Reason::UpstreamFailed => return None,
    };
    Some(hint)
}

/// What helps where a rule names the host, and an entry of hostRules would open every path of it.
fn beside(cause: &Cause, near: &Near, port: &str) -> String {
    let id = match near {
        Near::Request(id) | Near::Port(id) => *id,
        Near::Delegated { .. } | Near::Remote | Near::Inner(_) => return String::new(),
    };
    let rule = Some(RuleId::Rule(id));
    let at = format!("policy `{}` ({})", cause.policy(), cause.document.place_of(rule));
    let label = cause.document.label(RuleId::Rule(id));
    match near {
        Near::Request(_) => format!(
            "let {label} of {at} fit this method and path, or add a rule that does; an entry in hostRules would open every path"
        ),
        Near::Port(_) | Near::Delegated { .. } | Near::Remote | Near::Inner(_) => {
            format!("add {port} to ports of the policy, or to the host of {label} of {at}")
        }
    }
}

/// What helps where a guard holds an address on the managed path.
fn beside_guard(near: &Near, reason: Reason) -> String {
    let ports = if reason == Reason::GuardPort { " with ports: [25]" } else { "" };
    let lift = format!("add a cidrRules Allow for it{ports} to every policy that applies");
    match near {
        Near::Delegated { by, lifts } => {
            let or = if *lifts { format!(", or {lift}") } else { String::new() };
            format!(
                "the name takes the managed path by {by}: take it out of there if the address is the delegated network's{or}"
            )
        }
        Near::Remote | Near::Request(_) | Near::Port(_) | Near::Inner(_) => {
            "no policy can lift this where a parent proxy resolves names; the operator may set guards.exempt"
                .to_owned()
        }
    }
}

/// What a client can do about a limit by itself.
const fn less(limit: Limit) -> &'static str {
    match limit {
        Limit::Connections => "end a connection first",
        Limit::DnsQueries => "wait for the answers first",
        Limit::ConnectionsPerSecond
        | Limit::RequestsPerSecond
        | Limit::UploadBytes
        | Limit::DnsQueriesPerSecond => "try again in a second",
    }
}

/// What helps against a denial of an address that a guard would hold as well.
fn guarded(guard: Option<Reason>, host: &str, port: &str, at: &str) -> String {
    match guard {
        Some(Reason::GuardPrivate) => {
            format!(
                "if {host} is meant, add a cidrRules Allow for it to every policy that applies, first {at}"
            )
        }
        Some(Reason::GuardPort) => format!(
            "if mail is meant, add a cidrRules Allow for {host} with ports: [{port}] to every policy that applies, first {at}"
        ),
        Some(Reason::NetworkRuleDenied) => format!(
            "if {host} is meant, allow it in {at}, and with port {port} in securityRules of every policy that has some"
        ),
        Some(Reason::GuardSelf) => format!("no policy can allow {host}:{port}: it is the gateway itself"),
        Some(_) | None => format!(
            "no policy can allow {host}; the operator may set guards.exempt in the process configuration"
        ),
    }
}
