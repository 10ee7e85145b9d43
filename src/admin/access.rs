//! Who may ask what.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use super::State;
use super::answer::Refusal;

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Read and change.
    Owner,
    /// Read.
    Reader,
}

/// A bearer token of the process configuration.
pub struct AccessToken {
    /// Whose it is.
    pub name: Arc<str>,
    /// What it is good for.
    pub role: Role,
    /// The token itself.
    pub secret: SecretString,
}

/// Where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The TCP listener.
    Tcp,
    /// The unix socket, which only its owner can open.
    Unix,
}

/// Who a request comes from; absent: nobody in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access(pub(super) Option<Role>);

/// Refuses foreign `Host`s and finds out who asks.
pub(super) async fn judge(Shared(state): Shared<Arc<State>>, mut request: Request, next: Next) -> Response {
    // INVARIANT: each connection says what it is; one that did not would be a TCP client.
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Tcp);
    if peer == Peer::Tcp && !is_own_host(request.uri(), request.headers(), &state.hosts) {
        return Refusal::Misdirected.into_response();
    }
    let role = match peer {
        Peer::Unix => Some(Role::Owner),
        Peer::Tcp => bearer_role(request.headers(), &state.tokens),
    };
    request.extensions_mut().insert(Access(role));
    next.run(request).await
}

/// Refuses everybody who is nobody in particular.
pub(super) async fn require(request: Request, next: Next) -> Response {
    match request.extensions().get::<Access>() {
        Some(Access(Some(Role::Owner | Role::Reader))) => next.run(request).await,
        _ => Refusal::Unauthorized.into_response(),
    }
}

/// The role of the one bearer token of a request.
fn bearer_role(headers: &HeaderMap, tokens: &[AccessToken]) -> Option<Role> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, shown) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut role = None;
    for token in tokens {
        let secret = token.secret.expose_secret().as_bytes();
        // SECURITY: every token is compared, in constant time; an empty one is good for nothing.
        if bool::from(secret.ct_eq(shown.trim().as_bytes())) && !secret.is_empty() {
            role = Some(token.role);
        }
    }
    role
}

/// Whether every name by which a request calls this server is one of its own.
fn is_own_host(uri: &Uri, headers: &HeaderMap, hosts: &[String]) -> bool {
    // SECURITY: a browser always sends Host, so its absence (HTTP/1.0 health checks) is no rebinding.
    let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("?"));
    named.chain(uri.authority().map(http::uri::Authority::as_str)).all(|host| is_own(host, hosts))
}

/// Whether a `host[:port]` is an address, `localhost` or a configured name.
fn is_own(authority: &str, hosts: &[String]) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => host,
        _ => authority,
    };
    let literal = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => matches!(host.parse(), Ok(IpAddr::V4(_))),
    };
    literal
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_localhost_and_configured_names_are_own_hosts() {
        let hosts = ["gate.corp".to_owned()];
        for own in [
            "127.0.0.1",
            "127.0.0.1:9901",
            "10.0.0.1:1",
            "[::1]",
            "[::1]:9901",
            "localhost:9901",
            "LOCALHOST",
            "Gate.corp:9901",
        ] {
            assert!(is_own(own, &hosts), "{own}");
        }
        for foreign in [
            "",
            "evil.example",
            "evil.example:9901",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "::1",
            "[evil]",
            "127.1",
            "localhost:x",
            "a@localhost",
            ":9901",
            "0x7f.1",
        ] {
            assert!(!is_own(foreign, &hosts), "{foreign}");
        }
    }
}
