//! The URL of a service that the gateway itself calls, as an operator wrote it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use thiserror::Error;

use super::{Host, Port, Target, TargetError};

/// The longest URL in bytes.
const MAX_URL: usize = 2048;

/// A URL of `http` or `https` (RFC 9110 §4.2): where the service is, and the path that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether it is `https`.
    secure: bool,
    /// Host and port.
    target: Target,
    /// The path, and the query if there is one; begins with `/`.
    path: Arc<str>,
}

/// Why a text is not such a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Another scheme, or none.
    #[error("it must begin with https://")]
    Scheme,
    /// Host or port.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A fragment.
    #[error("it must not have a fragment; leave out everything from the `#` on")]
    Fragment,
    /// A query where none fits.
    #[error("it must not have a query; leave out everything from the `?` on")]
    Query,
    /// A byte that no URL has.
    #[error("it has a character that no URL has, such as a space")]
    Character,
    /// Too long.
    #[error("it is longer than 2048 bytes")]
    TooLong,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// What keeps the text from being one.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        if text.len() > MAX_URL {
            return Err(EndpointError::TooLong);
        }
        if text.contains('#') {
            return Err(EndpointError::Fragment);
        }
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(EndpointError::Scheme),
        };
        let (authority, path) = match rest.find(['/', '?']).and_then(|at| rest.split_at_checked(at)) {
            Some((authority, path)) if path.starts_with('/') => (authority, path.to_owned()),
            Some((authority, query)) => (authority, format!("/{query}")),
            None => (rest, "/".to_owned()),
        };
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if !path.bytes().all(fits) {
            return Err(EndpointError::Character);
        }
        let default = if secure { Port::HTTPS } else { Port::HTTP };
        Ok(Self { secure, target: Target::parse_or(authority, default)?, path: path.into() })
    }

    /// Reads a URL that paths are put behind, which so has no query.
    ///
    /// # Errors
    /// What keeps the text from being one.
    pub fn parse_base(text: &str) -> Result<Self, EndpointError> {
        if text.contains('?') { Err(EndpointError::Query) } else { Self::parse(text) }
    }

    /// The same with more of a path, which begins with `/`.
    #[must_use]
    pub fn below(&self, more: &str) -> Self {
        let path = format!("{}{more}", self.path.trim_end_matches('/'));
        Self { path: path.into(), ..self.clone() }
    }

    /// The same with a query, without its `?`; for one that has none.
    #[must_use]
    pub fn with_query(&self, query: &str) -> Self {
        Self { path: format!("{}?{query}", self.path).into(), ..self.clone() }
    }

    /// Whether it is reached by TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether it is of this machine or network by its address alone, without a look-up: loopback, link-local or
    /// private, or `localhost`.
    #[must_use]
    pub fn is_near(&self) -> bool {
        match self.target.host() {
            Host::Name(name) => name.as_str() == "localhost",
            Host::Ip(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local() || ip.is_private(),
            Host::Ip(IpAddr::V6(ip)) => {
                ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local()
            }
        }
    }

    /// Host and port.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The path, and the query if there is one.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What `Host` says (RFC 9110 §7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        let default = if self.secure { Port::HTTPS } else { Port::HTTP };
        if self.target.port() == default { self.target.host().to_string() } else { self.target.to_string() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split_once('?').map_or(&*self.path, |(path, _)| path);
        write!(f, "{}://{}{path}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_target_and_a_path() {
        for (text, secure, target, path) in [
            ("https://Login.example", true, "login.example:443", "/"),
            ("https://a.example:8443/t/token", true, "a.example:8443", "/t/token"),
            ("https://a.example?v=1", true, "a.example:443", "/?v=1"),
            ("http://169.254.169.254/metadata", false, "169.254.169.254:80", "/metadata"),
            ("https://[2001:db8::1]:1/", true, "[2001:db8::1]:1", "/"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.is_secure(), secure, "{text}");
            assert_eq!((endpoint.target().to_string().as_str(), endpoint.path()), (target, path), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_url_is_refused() {
        for (text, error) in [
            ("ftp://a.example", EndpointError::Scheme),
            ("HTTPS://a.example", EndpointError::Scheme),
            ("https://u:p@a.example/", EndpointError::Target(TargetError::Userinfo)),
            ("https://a.example/#x", EndpointError::Fragment),
            ("https://a.example/a b", EndpointError::Character),
            ("https://a.example/\r\nx", EndpointError::Character),
            ("https://a.example:0/", EndpointError::Target(TargetError::PortRange)),
        ] {
            assert_eq!(Endpoint::parse(text), Err(error), "{text}");
        }
        assert!(Endpoint::parse(&format!("https://a.example/{}", "a".repeat(2048))).is_err());
        assert_eq!(Endpoint::parse_base("https://a.example/?x"), Err(EndpointError::Query));
    }

    #[test]
    fn it_is_shown_without_its_query_and_without_the_default_port() {
        for (text, shown) in [
            ("https://a.example:443/t?code=hunter2", "https://a.example/t"),
            ("http://[::1]:80/", "http://[::1]/"),
            ("http://127.0.0.1:81", "http://127.0.0.1:81/"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), shown);
        }
        let base = Endpoint::parse_base("https://g.example/api/v3/").unwrap();
        assert_eq!(base.below("/app").path(), "/api/v3/app");
    }

    #[test]
    fn only_addresses_of_this_machine_or_network_are_near() {
        for (text, near) in [
            ("http://169.254.169.254/", true),
            ("http://127.0.0.1/", true),
            ("http://localhost:42356/msi/token", true),
            ("http://10.1.2.3/", true),
            ("http://[fd00::1]/", true),
            ("http://8.8.8.8/", false),
            ("http://metadata.internal/", false),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().is_near(), near, "{text}");
        }
    }
}
