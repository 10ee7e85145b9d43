//! What a request line asks for (RFC 9112 §3.2).

use std::borrow::Cow;

use http::Method;
use thiserror::Error;

use super::path::{self, PathError};
use crate::addr::{Port, Target, TargetError};

/// A request target in one of its four forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestTarget {
    /// `CONNECT host:port`.
    Authority(Target),
    /// `GET http://host/path?query`, as sent to a proxy.
    Absolute(Target, Resource),
    /// `GET /path?query`, as sent to a server.
    Origin(Resource),
    /// `OPTIONS *`.
    Asterisk,
}

/// What is asked of the origin: a canonical path, and a query as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The canonical path.
    path: String,
    /// What follows the question mark.
    query: Option<String>,
}

impl Resource {
    /// The canonical path, which is what rules see.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What follows the question mark, untouched.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Reads `/path?query`.
    fn parse(text: &str) -> Result<Self, RequestTargetError> {
        let (path, query) = path::split_query(text);
        if query.is_some_and(|query| !query.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(RequestTargetError::Query);
        }
        Ok(Self { path: path::canonicalise(path)?.into_owned(), query: query.map(str::to_owned) })
    }
}

impl std::fmt::Display for Resource {
    /// Writes what is forwarded: path and query.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

impl RequestTarget {
    /// Reads the target of a request with this method.
    ///
    /// | method | target | form |
    /// |---|---|---|
    /// | CONNECT | `host:port`, the port must be there | authority |
    /// | any other | `http://host[:port][/path][?query]` | absolute |
    /// | any other | `/path[?query]` | origin |
    /// | OPTIONS | `*` | asterisk |
    ///
    /// # Errors
    /// When the target has no form that the method allows, or a part of it is refused.
    pub fn parse(method: &Method, target: &str) -> Result<Self, RequestTargetError> {
        if target.contains('#') {
            return Err(RequestTargetError::Fragment);
        }
        if *method == Method::CONNECT {
            return Target::parse(target).map(Self::Authority).map_err(RequestTargetError::Connect);
        }
        if target.starts_with('/') {
            return Resource::parse(target).map(Self::Origin);
        }
        match target.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => absolute(rest, Port::HTTP),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => Err(RequestTargetError::Https),
            Some(_) => Err(RequestTargetError::Scheme),
            None if target == "*" && *method == Method::OPTIONS => Ok(Self::Asterisk),
            None if target == "*" => Err(RequestTargetError::Asterisk),
            None => Err(RequestTargetError::Form),
        }
    }
}

impl RequestTarget {
    /// Reads the target of a request that came inside TLS, where an absolute form begins with `https://` (RFC 9112 §3.2.2).
    ///
    /// # Errors
    /// As [`RequestTarget::parse`].
    pub fn parse_inside_tls(method: &Method, target: &str) -> Result<Self, RequestTargetError> {
        match target.split_once("://") {
            Some((scheme, rest))
                if *method != Method::CONNECT
                    && !rest.contains('#')
                    && scheme.eq_ignore_ascii_case("https") =>
            {
                absolute(rest, Port::HTTPS)
            }
            _ => Self::parse(method, target),
        }
    }
}

/// Reads what follows `http://` or `https://`.
fn absolute(rest: &str, usual: Port) -> Result<RequestTarget, RequestTargetError> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, resource) = rest.split_at(end);
    let target = Target::parse_or(authority, usual)?;
    let resource =
        if resource.starts_with('/') { Cow::Borrowed(resource) } else { Cow::Owned(format!("/{resource}")) };
    Ok(RequestTarget::Absolute(target, Resource::parse(&resource)?))
}

/// Why a request target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RequestTargetError {
    /// The target of a CONNECT is not `host:port`.
    #[error("the target of CONNECT is not host:port: {0}")]
    Connect(TargetError),
    /// The authority of an absolute URI is refused.
    #[error("the authority of the request target is refused: {0}")]
    Authority(#[from] TargetError),
    /// The path is refused.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The query is not visible ASCII.
    #[error("the query has a byte that is not visible ASCII; percent-encode it")]
    Query,
    /// A fragment, which never leaves the client.
    #[error("the request target has a fragment; leave out the `#` and what follows")]
    Fragment,
    /// `https://` in the clear.
    #[error("an https URL cannot be requested in the clear; open a tunnel with CONNECT")]
    Https,
    /// Another scheme.
    #[error("the scheme of the request target is not http")]
    Scheme,
    /// `*` with a method other than OPTIONS.
    #[error("the request target `*` is for OPTIONS only")]
    Asterisk,
    /// None of the forms.
    #[error("the request target is neither a path nor an http URL")]
    Form,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::addr::HostError;

    /// The form that a GET of a target has, as text.
    fn get(target: &str) -> Result<(Option<String>, String), RequestTargetError> {
        RequestTarget::parse(&Method::GET, target).map(|form| match form {
            RequestTarget::Absolute(target, resource) => (Some(target.to_string()), resource.to_string()),
            RequestTarget::Origin(resource) => (None, resource.to_string()),
            RequestTarget::Authority(_) | RequestTarget::Asterisk => unreachable!(),
        })
    }

    #[test]
    fn inside_tls_an_absolute_form_is_an_https_url() {
        let inside = |target: &str| RequestTarget::parse_inside_tls(&Method::GET, target);
        let Ok(RequestTarget::Absolute(target, resource)) = inside("HTTPS://a.example/x?y") else {
            unreachable!()
        };
        assert_eq!((target.to_string().as_str(), resource.to_string().as_str()), ("a.example:443", "/x?y"));
        assert_eq!(inside("/x"), RequestTarget::parse(&Method::GET, "/x"));
        assert_eq!(inside("https://a.example/#x"), Err(RequestTargetError::Fragment));
        assert!(inside("https://me@a.example/").is_err());
        assert!(RequestTarget::parse_inside_tls(&Method::CONNECT, "https://a.example/").is_err());
    }

    #[test]
    fn f8_the_forms_are_read() {
        for (target, authority, resource) in [
            ("http://Example.com", Some("example.com:80"), "/"),
            ("HTTP://example.com./%61?b%2f", Some("example.com:80"), "/a?b%2f"),
            ("http://example.com?b=/c", Some("example.com:80"), "/?b=/c"),
            ("http://[::1]:8080//a/../b", Some("[::1]:8080"), "/b"),
            ("/a/./b?c=http://x", None, "/a/b?c=http://x"),
            ("//example.com/x", None, "/example.com/x"),
            ("/http://x/", None, "/http:/x/"),
        ] {
            let expected = (authority.map(str::to_owned), resource.to_owned());
            assert_eq!(get(target), Ok(expected), "{target}");
        }
        let connect = RequestTarget::parse(&Method::CONNECT, "Example.com:443");
        assert_eq!(connect, Ok(RequestTarget::Authority("example.com:443".parse().unwrap())));
        assert_eq!(RequestTarget::parse(&Method::OPTIONS, "*"), Ok(RequestTarget::Asterisk));
        let RequestTarget::Origin(resource) = RequestTarget::parse(&Method::GET, "/%61?b").unwrap() else {
            unreachable!()
        };
        assert_eq!((resource.path(), resource.query()), ("/a", Some("b")));
    }

    #[test]
    fn f8_other_targets_are_refused() {
        for (target, error) in [
            ("*", RequestTargetError::Asterisk),
            ("host:80", RequestTargetError::Form),
            ("example.com", RequestTargetError::Form),
            ("", RequestTargetError::Form),
            ("http:/example.com", RequestTargetError::Form),
            ("http:example.com", RequestTargetError::Form),
            ("https://example.com/", RequestTargetError::Https),
            ("HTTPS://example.com/", RequestTargetError::Https),
            ("ftp://example.com/", RequestTargetError::Scheme),
            ("://example.com/", RequestTargetError::Scheme),
            ("http://example.com/#x", RequestTargetError::Fragment),
            ("/a#b", RequestTargetError::Fragment),
            ("http://u:p@example.com/", TargetError::Userinfo.into()),
            ("http://allowed.example\\@evil.example/", TargetError::Userinfo.into()),
            ("http://evil.example\\.allowed.example/", TargetError::from(HostError::Character('\\')).into()),
            ("http:///x", TargetError::from(HostError::Empty).into()),
            ("http://a.example:/", TargetError::Port.into()),
            ("http://a.example:65536/", TargetError::PortRange.into()),
            ("http://a%2eb/", TargetError::from(HostError::Percent).into()),
            ("http://127.1/", TargetError::from(HostError::Ipv4Spelling).into()),
            ("http://a b/", TargetError::from(HostError::Character(' ')).into()),
            ("/a?b c", RequestTargetError::Query),
            ("/a?b\0", RequestTargetError::Query),
            ("/%2e%2f", PathError::Forbidden.into()),
        ] {
            assert_eq!(get(target), Err(error), "{target}");
        }
    }

    #[test]
    fn f8_connect_wants_host_and_port() {
        for (target, error) in [
            ("example.com", TargetError::PortMissing),
            ("/x", TargetError::Path),
            ("*", TargetError::PortMissing),
            ("http://example.com:443", TargetError::Path),
            ("example.com:443/", TargetError::Path),
            ("u@example.com:443", TargetError::Userinfo),
            ("example.com:0", TargetError::PortRange),
            ("example.com:+443", TargetError::Port),
            ("example.com:443:443", TargetError::SecondColon),
        ] {
            let found = RequestTarget::parse(&Method::CONNECT, target);
            assert_eq!(found, Err(RequestTargetError::Connect(error)), "{target}");
        }
        let fragment = RequestTarget::parse(&Method::CONNECT, "example.com:443#x");
        assert_eq!(fragment, Err(RequestTargetError::Fragment));
    }

    proptest! {
        #[test]
        fn f8_what_is_forwarded_reads_as_the_same_resource(text in "(http://[a-zA-Z.:@%0-9]{0,8})?[/a?%2.e;{]{0,14}") {
            match RequestTarget::parse(&Method::GET, &text) {
                Ok(RequestTarget::Absolute(_, resource) | RequestTarget::Origin(resource)) => {
                    let again = RequestTarget::parse(&Method::GET, &resource.to_string());
                    prop_assert_eq!(again, Ok(RequestTarget::Origin(resource)));
                }
                Ok(RequestTarget::Authority(_) | RequestTarget::Asterisk) | Err(_) => {}
            }
        }
    }
}
