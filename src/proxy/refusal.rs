//! What a client is told that may not (`product.md` §3).

use http::header::{CONNECTION, CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use crate::addr::Target;
use crate::audit::{Full, Outcome};
use crate::policy::{Cause, Denial, Limit, Reason};
use crate::upstream::{DialFailure, LookUpFailure, ResolveError, TlsError};

/// A denial on its way to the client.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    denial: Denial,
    timed_out: bool,
    close: bool,
    /// The request is for another origin than its connection.
    misdirected: bool,
    proof: Proof,
    /// What is for the record only.
    aside: Option<Box<str>>,
}

/// What a client that is not known could do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Come in another way.
    Useless,
    /// Show credentials.
    Asked,
    /// Nothing: it does not know the proxy.
    Impossible,
}

/// When to try again after a rate was exceeded, in seconds: a second's worth is there by then.
const RETRY_SECONDS: &str = "1";

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let (timed_out, close, misdirected, proof) = (false, false, false, Proof::Useless);
        Self { denial, timed_out, close, misdirected, proof, aside: None }
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        Denial::new(Reason::AuditUnavailable, full.to_string()).into()
    }
}

impl From<LookUpFailure> for Refusal {
    fn from(failure: LookUpFailure) -> Self {
        let timed_out = matches!(failure.error, ResolveError::Timeout);
        let told = failure.told();
        let aside = Some(aside(&told, failure.to_string(), &failure.asked()));
        Self { timed_out, aside, ..Denial::new(Reason::DnsFailed, told).into() }
    }
}

impl From<DialFailure> for Refusal {
    fn from(failure: DialFailure) -> Self {
        let timed_out = failure.error.is_timeout();
        let told = failure.told();
        let aside = Some(aside(&told, failure.to_string(), &failure.tried()));
        Self { timed_out, aside, ..Denial::new(Reason::UpstreamFailed, told).into() }
    }
}

/// What the record says besides what the client is told: the whole failure, where that is more, and what was tried.
fn aside(told: &str, whole: String, tried: &str) -> Box<str> {
    let whole = Some(whole).filter(|whole| whole != told).unwrap_or_default();
    let between = if whole.is_empty() || tried.is_empty() { "" } else { ": " };
    (whole + between + tried).into()
}

impl From<TlsError> for Refusal {
    fn from(error: TlsError) -> Self {
        Self {
            timed_out: error.is_timeout(),
            ..Denial::new(Reason::UpstreamFailed, error.to_string()).into()
        }
    }
}

impl Refusal {
    /// A message that cannot be understood in only one way.
    pub(super) fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Denial::new(Reason::BadRequest, detail).into()
    }

    /// The refusal that also asks for credentials.
    pub(super) fn challenging(self) -> Self {
        Self { proof: Proof::Asked, ..self }
    }

    /// The refusal of a client that does not know the proxy.
    pub(super) fn redirected(self) -> Self {
        Self { proof: Proof::Impossible, ..self }
    }

    /// The refusal after which nothing more on the connection can be trusted to be a message.
    pub(super) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// The refusal of a request that should be made on another connection (RFC 9110 §15.5.20).
    pub(super) fn misdirected(self) -> Self {
        Self { misdirected: true, ..self }
    }

    /// The refusal of something that took too long.
    pub(super) fn late(self) -> Self {
        Self { timed_out: true, ..self }
    }

    /// What was denied.
    pub(super) const fn denial(&self) -> &Denial {
        &self.denial
    }

    /// What the record says besides, and the client is not told: addresses of what is behind the gateway.
    pub(super) fn aside(&self) -> Option<&str> {
        self.aside.as_deref()
    }

    /// How the record of it ends.
    pub(super) const fn outcome(&self) -> Outcome {
        if self.timed_out {
            Outcome::Timeout
        } else if matches!(self.denial.reason(), Reason::UpstreamFailed | Reason::DnsFailed) {
            Outcome::UpstreamFailed
        } else {
            Outcome::Refused
        }
    }

    /// The HTTP status.
    pub(super) const fn status(&self) -> StatusCode {
        match self.denial.reason() {
            _ if self.timed_out => StatusCode::GATEWAY_TIMEOUT,
            _ if self.misdirected => StatusCode::MISDIRECTED_REQUEST,
            Reason::BadRequest | Reason::AuthorityMismatch => StatusCode::BAD_REQUEST,
            Reason::IdentityUnknown if matches!(self.proof, Proof::Impossible) => StatusCode::FORBIDDEN,
            Reason::IdentityUnknown => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Reason::Limit => StatusCode::TOO_MANY_REQUESTS,
            Reason::DnsFailed | Reason::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Reason::AuditUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Reason::NoPolicy
            | Reason::PolicyError
            | Reason::SniMissing
            | Reason::HostDenied
            | Reason::CidrDenied
            | Reason::RuleDenied
            | Reason::DefaultDeny
            | Reason::PortDenied
            | Reason::GuardLocal
            | Reason::GuardMetadata
            | Reason::GuardSelf
            | Reason::GuardPrivate
            | Reason::GuardPort
            | Reason::DnsAllDenied
            | Reason::NotHttp
            | Reason::NetworkRuleDenied
            | Reason::SecretUnavailable
            | Reason::SecretHostMismatch
            | Reason::PolicyChange => StatusCode::FORBIDDEN,
        }
    }

    /// Whether it helps to try again, as a rate was exceeded.
    fn passes(&self) -> bool {
        self.denial.limit().is_some_and(Limit::is_rate)
    }

    /// The body of the response: for people and agents.
    fn body(&self, id: &str, target: Option<&Target>) -> String {
        let asked = target.map(ToString::to_string);
        let cause = self.denial.cause();
        let body = json!({"error": {
            "code": self.denial.reason().as_str(),
            "message": self.denial.message(asked.as_deref().unwrap_or("the request")),
            "target": asked,
            "policy": cause.map(Cause::policy),
            "rule": cause.and_then(Cause::rule),
            "requestId": id,
            "hint": self.denial.hint(target),
        }});
        format!("{body}\n")
    }

    /// The response as it is sent where no HTTP engine runs.
    pub(super) fn text(&self, id: &str) -> String {
        let (status, reason, body) = (self.status(), self.denial.reason().as_str(), self.body(id, None));
        let length = body.len();
        let retry = if self.passes() { format!("retry-after: {RETRY_SECONDS}\r\n") } else { String::new() };
        format!(
            "HTTP/1.1 {status}\r\n{retry}content-type: application/json\r\nx-deny-reason: {reason}\r\n\
             x-request-id: {id}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }

    /// The response: a status, the reason as a header, and a body.
    pub(super) fn response(&self, id: &str, target: Option<&Target>) -> Response<Body> {
        let reason = self.denial.reason().as_str();
        let mut response = Response::new(Body::text(self.body(id, target)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("x-deny-reason", HeaderValue::from_static(reason));
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert("x-request-id", id);
        }
        if self.proof == Proof::Asked {
            headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"sluicegate\""));
        }
        if self.passes() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::upstream::parent::ParentFault;
    use crate::upstream::{DialError, OptionError};

    /// What the client and the record say of a failure.
    fn said(refusal: &Refusal) -> (&str, &str) {
        (refusal.denial().detail(), refusal.aside().unwrap())
    }

    /// A failure to connect by a network of this name.
    fn failure(network: Option<&str>, error: DialError) -> Refusal {
        let attempts = vec![("192.0.2.7:443".parse().unwrap(), error)];
        DialFailure { network: network.map(Into::into), parent: None, error, attempts }.into()
    }

    #[test]
    fn a_client_is_told_what_the_origin_does_and_not_how_the_operators_network_is_made() {
        let origin = failure(Some("corp"), DialError::Refused);
        let told = "network `corp`: the origin refused the connection";
        assert_eq!(said(&origin), (told, "192.0.2.7:443 refused"));
        for error in [
            DialError::Option(OptionError::Unrouted { mark: 0x5b }),
            DialError::Option(OptionError::Astray),
            DialError::Parent(ParentFault::Credentials),
            DialError::Parent(ParentFault::Timeout),
            DialError::Down,
            DialError::NotPermitted,
            DialError::NoDescriptor,
            DialError::NoPort,
            DialError::NotConfigured,
        ] {
            let refusal = failure(Some("corp"), error);
            let (told, aside) = said(&refusal);
            assert_eq!(told, "network `corp` cannot be used at the moment", "{error}");
            let whole = format!("network `corp`: {error}: 192.0.2.7:443 {}", error.as_str());
            assert_eq!(aside, whole);
            let status =
                if error.is_timeout() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
            assert_eq!(refusal.status(), status, "{error}");
            let plain = failure(None, error);
            assert_eq!(said(&plain).0, "the gateway cannot connect at the moment", "{error}");
        }
    }

    #[test]
    fn a_client_is_told_why_a_name_has_no_address_and_not_how_the_operators_network_is_made() {
        let servers = vec!["10.20.0.53:53".parse().unwrap()];
        let failure = |error| LookUpFailure { network: Some("corp".into()), servers: servers.clone(), error };
        let absent = Refusal::from(failure(ResolveError::NotFound));
        let told = "network `corp`: the name does not exist";
        assert_eq!(said(&absent), (told, "said by 10.20.0.53:53"));
        for (error, whole) in [
            (ResolveError::Remote, "only its parent proxy resolves names (`resolve: Remote`)"),
            (
                ResolveError::Option(OptionError::Unrouted { mark: 0x5b }),
                "the routing rules send mark 0x5b to no table of its own",
            ),
        ] {
            let refusal = Refusal::from(failure(error));
            let aside = format!("network `corp`: {whole}");
            assert_eq!(said(&refusal), ("network `corp` cannot be used at the moment", aside.as_str()));
        }
    }
}
