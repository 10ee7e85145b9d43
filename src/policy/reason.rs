//! Why a call is denied: the codes of records, metrics and refusals.

use std::fmt;

/// Why a call was denied: the closed list of `product.md` §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No document applies to this sandbox.
    NoPolicy,
    /// A document of this sandbox cannot be evaluated.
    PolicyError,
    /// It is not known which sandbox this is, or the signs of it disagree.
    IdentityUnknown,
    /// The message, name or address is malformed or not in canonical form.
    BadRequest,
    /// Two names of one request differ.
    AuthorityMismatch,
    /// TLS that must carry a server name does not.
    SniMissing,
    /// A `hostRules` Deny matches.
    HostDenied,
    /// The longest matching `cidrRules` prefix is a Deny.
    CidrDenied,
    /// A `rules` Deny is the first that fits.
    RuleDenied,
    /// No rule allows it and the default is Deny.
    DefaultDeny,
    /// Allowed by name, but not on this port.
    PortDenied,
    /// Loopback, link-local and other addresses that never leave this host or link.
    GuardLocal,
    /// A cloud metadata address.
    GuardMetadata,
    /// The gateway itself: its addresses, sockets, resolvers or parent proxies.
    GuardSelf,
    /// A private or special-purpose address that no `cidrRules` Allow covers.
    GuardPrivate,
    /// Port 25 without a `cidrRules` Allow that lists it.
    GuardPort,
    /// The name could not be resolved.
    DnsFailed,
    /// Every resolved address was refused, for different reasons.
    DnsAllDenied,
    /// The verdict hangs on an HTTP request, and this is not one.
    NotHttp,
    /// A `securityRules` entry of the delegated network denies.
    NetworkRuleDenied,
    /// A secret that must be injected cannot be had.
    SecretUnavailable,
    /// A secret is not bound to this host.
    SecretHostMismatch,
    /// A limit of the gateway or of this sandbox is reached.
    Limit,
    /// The audit log cannot take another record.
    AuditUnavailable,
    /// The policy changed while the connection was open, and denies it now.
    PolicyChange,
    /// The origin could not be reached.
    UpstreamFailed,
}

impl Reason {
    /// Every reason, in the order of `product.md` §3.
    pub const ALL: [Self; 26] = [
        Self::NoPolicy,
        Self::PolicyError,
        Self::IdentityUnknown,
        Self::BadRequest,
        Self::AuthorityMismatch,
        Self::SniMissing,
        Self::HostDenied,
        Self::CidrDenied,
        Self::RuleDenied,
        Self::DefaultDeny,
        Self::PortDenied,
        Self::GuardLocal,
        Self::GuardMetadata,
        Self::GuardSelf,
        Self::GuardPrivate,
        Self::GuardPort,
        Self::DnsFailed,
        Self::DnsAllDenied,
        Self::NotHttp,
        Self::NetworkRuleDenied,
        Self::SecretUnavailable,
        Self::SecretHostMismatch,
        Self::Limit,
        Self::AuditUnavailable,
        Self::PolicyChange,
        Self::UpstreamFailed,
    ];

    /// The code in audit records, metric labels and `x-deny-reason`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoPolicy => "no_policy",
            Self::PolicyError => "policy_error",
            Self::IdentityUnknown => "identity_unknown",
            Self::BadRequest => "bad_request",
            Self::AuthorityMismatch => "authority_mismatch",
            Self::SniMissing => "sni_missing",
            Self::HostDenied => "host_denied",
            Self::CidrDenied => "cidr_denied",
            Self::RuleDenied => "rule_denied",
            Self::DefaultDeny => "default_deny",
            Self::PortDenied => "port_denied",
            Self::GuardLocal => "guard_local",
            Self::GuardMetadata => "guard_metadata",
            Self::GuardSelf => "guard_self",
            Self::GuardPrivate => "guard_private",
            Self::GuardPort => "guard_port",
            Self::DnsFailed => "dns_failed",
            Self::DnsAllDenied => "dns_all_denied",
            Self::NotHttp => "not_http",
            Self::NetworkRuleDenied => "network_rule_denied",
            Self::SecretUnavailable => "secret_unavailable",
            Self::SecretHostMismatch => "secret_host_mismatch",
            Self::Limit => "limit",
            Self::AuditUnavailable => "audit_unavailable",
            Self::PolicyChange => "policy_change",
            Self::UpstreamFailed => "upstream_failed",
        }
    }

    /// The reason with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == code)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
