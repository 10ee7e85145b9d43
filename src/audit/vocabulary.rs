//! The closed vocabularies of an audit record.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// Declares a closed list whose members have one spelling, in records and in metric labels alike.
macro_rules! closed {
    ($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident = $code:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
        pub enum $name {
            $($(#[$member_doc])* #[serde(rename = $code)] $member,)+
        }

        impl $name {
            /// Every member, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$member,)+];

            /// The spelling in records and metric labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$member => $code,)+
                }
            }

            /// The member of this spelling.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|member| member.as_str() == code)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

closed! {
    /// What a record is about.
    Kind {
        /// A tunnel is about to carry its first byte; its `connection` record follows under the same id.
        Open = "open",
        /// A connection ended, or was refused.
        Connection = "connection",
        /// An HTTP request ended, or was refused.
        Request = "request",
        /// A DNS query was refused, or would have been; one that was answered leaves no record.
        Query = "query",
        /// A policy was loaded or rejected.
        Policy = "policy",
        /// An operator did something by the admin server.
        Admin = "admin",
        /// Records are missing here; `lost` says how many.
        Lost = "lost",
    }
}

closed! {
    /// What was decided.
    Decision {
        /// It may pass.
        Allow = "allow",
        /// It may not.
        Deny = "deny",
        /// It may pass, and some document that applies was not asked (`skipEgressProxy`).
        Skip = "skip",
    }
}

closed! {
    /// The way in.
    Ingress {
        /// CONNECT on the explicit proxy.
        Connect = "connect",
        /// An absolute-form request, or HTTP found inside the tunnel of a CONNECT.
        Http = "http",
        /// Redirected TLS.
        TransparentTls = "transparent_tls",
        /// Redirected plain HTTP.
        TransparentHttp = "transparent_http",
        /// Redirected, and neither TLS nor HTTP.
        TransparentTcp = "transparent_tcp",
        /// HTTP inside TLS that the gateway decrypted.
        Inspected = "inspected",
        /// A DNS query.
        Dns = "dns",
    }
}

closed! {
    /// The protocol that was asked for.
    Scheme {
        /// Plain HTTP.
        Http = "http",
        /// HTTP over TLS.
        Https = "https",
        /// TLS, whatever is inside.
        Tls = "tls",
        /// A stream of bytes.
        Tcp = "tcp",
    }
}

closed! {
    /// The path of mode `VNet` that a call took; everything else is managed.
    Route {
        /// The operator's own uplink.
        Managed = "managed",
        /// The delegated network.
        Delegated = "delegated",
    }
}

closed! {
    /// How it ended.
    Outcome {
        /// Completely, in order.
        Ok = "ok",
        /// The gateway refused it; `reason` says why.
        Refused = "refused",
        /// The client went away before the end.
        ClientClosed = "client_closed",
        /// The client broke the protocol, or reset the connection.
        ClientFailed = "client_failed",
        /// The origin went away before the end.
        UpstreamClosed = "upstream_closed",
        /// The origin could not be reached, broke the protocol, or reset the connection.
        UpstreamFailed = "upstream_failed",
        /// A step took longer than its limit.
        Timeout = "timeout",
        /// Nothing passed for longer than the idle limit.
        Idle = "idle",
        /// The policy changed and denies it.
        PolicyChange = "policy_change",
        /// The gateway stopped, and did not wait longer.
        Drained = "drained",
        /// The gateway itself failed at it.
        Failed = "failed",
        /// It was dropped without an end: a panic, or a cancelled task.
        Aborted = "aborted",
    }
}

/// By which records payload bytes are counted in sums over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counted {
    /// By this one.
    #[default]
    Here,
    /// By those of the requests inside.
    Inside,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_written_as_its_code_and_read_back() {
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
            assert_eq!(Outcome::from_code(outcome.as_str()), Some(*outcome));
        }
        for ingress in Ingress::ALL {
            assert_eq!(serde_json::to_value(ingress).unwrap(), ingress.as_str());
        }
        assert_eq!(Kind::from_code("Open"), None);
    }
}
