//! The head of a request on an HTTP/2 stream, read as strictly as one of HTTP/1 (RFC 9113 §8.1 to §8.3).
//!
//! The engine below refuses upper-case names, fields of a connection, pseudo-fields twice or late, and bodies of another
//! length than they say. What is left is what would mean another request where it goes on as HTTP/1.

use http::header::{COOKIE, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderMap, Method, Uri};

use super::super::headers::agrees;
use super::{Framing, Head, HeadError, MAX_FIELDS, Version, framing};
use crate::addr::{Port, Target};

/// The most crumbs that a cookie comes in.
const MAX_CRUMBS: usize = 200;

impl Head {
    /// The head of a stream; `ended` when no body follows.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn of_stream(method: &Method, uri: &Uri, fields: &HeaderMap, ended: bool) -> Result<Self, HeadError> {
        if *method == Method::CONNECT {
            return Err(HeadError::StreamConnect);
        }
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(HeadError::StreamScheme);
        }
        // SECURITY: R3: a byte of HTTP/2 can stand for a field, which takes hundreds here as long as the request lasts.
        let crumbs = fields.get_all(COOKIE).iter().count();
        if crumbs > MAX_CRUMBS || fields.len() - crumbs > MAX_FIELDS {
            return Err(HeadError::TooManyFields);
        }
        let mut headers = fields.clone();
        let blank = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        if headers.values().any(|value| blank(value.as_bytes().first()) || blank(value.as_bytes().last())) {
            return Err(HeadError::StreamValue);
        }
        if headers.contains_key(TRANSFER_ENCODING) {
            return Err(HeadError::Encoding);
        }
        headers.insert(HOST, authority(uri, &headers)?);
        join_cookies(&mut headers);
        let framing = match framing(&headers, Version::Http11)? {
            Framing::None if !ended => Framing::Chunked,
            Framing::Length(1..) if ended => return Err(HeadError::Length),
            found @ (Framing::None | Framing::Length(_) | Framing::Chunked) => found,
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { method: method.clone(), target, version: Version::Http11, headers, framing })
    }
}

/// What a stream is for: `:authority`, or `Host` in its place (RFC 9113 §8.3.1).
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<HeaderValue, HeadError> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(HeadError::HostTwice),
        (host, None) => host,
    };
    let Some(authority) = uri.authority() else { return host.cloned().ok_or(HeadError::HostMissing) };
    if let Some(host) = host {
        let target = Target::parse_or(authority.as_str(), Port::HTTPS).map_err(|_| HeadError::Host)?;
        let same = host.to_str().ok().and_then(|host| agrees(host, &target).ok());
        if same != Some(true) {
            return Err(HeadError::StreamAuthority);
        }
    }
    HeaderValue::from_str(authority.as_str()).map_err(|_| HeadError::Host)
}

/// Puts the crumbs of a cookie together, as one field is all that HTTP/1 may have (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookie);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::header::HeaderName;

    use super::*;

    /// What a stream with these fields is, for `https://a.example/x`.
    fn head(method: &str, uri: &str, fields: &[(&str, &str)], ended: bool) -> Result<Head, HeadError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        Head::of_stream(
            &Method::from_bytes(method.as_bytes()).unwrap(),
            &uri.parse().unwrap(),
            &headers,
            ended,
        )
    }

    #[test]
    fn a_stream_is_the_request_that_its_pseudo_fields_say() {
        let found = head("GET", "https://a.example/x?y=1", &[("accept", "*/*")], true).unwrap();
        assert_eq!((found.method().as_str(), found.target()), ("GET", "/x?y=1"));
        assert_eq!((found.host(), found.framing()), (Some("a.example"), Framing::None));
        assert_eq!(head("OPTIONS", "https://a.example", &[], true).unwrap().target(), "/");
    }

    #[test]
    fn a_body_without_a_length_is_chunked_where_it_goes_on_as_http1() {
        let framing = |fields: &[_], ended| {
            head("POST", "https://a.example/", fields, ended).map(|head| head.framing())
        };
        assert_eq!(framing(&[], false), Ok(Framing::Chunked));
        assert_eq!(framing(&[("content-length", "3")], false), Ok(Framing::Length(3)));
        assert_eq!(framing(&[("content-length", "0")], true), Ok(Framing::Length(0)));
        assert_eq!(framing(&[("content-length", "3")], true), Err(HeadError::Length));
        assert_eq!(
            framing(&[("content-length", "3"), ("content-length", "3")], false),
            Err(HeadError::LengthTwice)
        );
        assert_eq!(framing(&[("content-length", "+3")], false), Err(HeadError::Length));
    }

    #[test]
    fn f6_what_would_be_another_request_in_http1_is_none() {
        let get = |fields: &[_]| head("GET", "https://a.example/", fields, true).map(drop);
        assert_eq!(head("CONNECT", "a.example:443", &[], true).map(drop), Err(HeadError::StreamConnect));
        assert_eq!(head("GET", "http://a.example/", &[], true).map(drop), Err(HeadError::StreamScheme));
        assert_eq!(get(&[("transfer-encoding", "chunked")]), Err(HeadError::Encoding));
        assert_eq!(get(&[("host", "b.example")]), Err(HeadError::StreamAuthority));
        assert_eq!(get(&[("host", "a.example:8443")]), Err(HeadError::StreamAuthority));
        assert_eq!(get(&[("host", "a.example"), ("host", "a.example")]), Err(HeadError::HostTwice));
        assert_eq!(get(&[("host", "A.example.")]), Ok(()));
        assert_eq!(get(&[("x", " y")]), Err(HeadError::StreamValue));
        assert_eq!(get(&[("x", "y\t")]), Err(HeadError::StreamValue));
    }

    #[test]
    fn f6_no_value_can_hold_the_end_of_a_line() {
        for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b"] {
            assert!(HeaderValue::from_bytes(value.as_bytes()).is_err(), "{value:?}");
        }
    }

    #[test]
    fn r3_a_stream_has_no_more_fields_than_a_request_of_http1() {
        let with = |fields: usize, crumbs: usize| {
            let names: Vec<String> = (0..fields).map(|at| format!("x-{at}")).collect();
            let mut all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
            all.extend(vec![("cookie", "a"); crumbs]);
            head("GET", "https://a.example/", &all, true).map(drop)
        };
        assert_eq!(with(MAX_FIELDS, MAX_CRUMBS), Ok(()));
        assert_eq!(with(MAX_FIELDS + 1, 0), Err(HeadError::TooManyFields));
        assert_eq!(with(0, MAX_CRUMBS + 1), Err(HeadError::TooManyFields));
    }

    #[test]
    fn the_crumbs_of_a_cookie_are_one_cookie() {
        let found =
            head("GET", "https://a.example/", &[("cookie", "a=1"), ("cookie", "b=2; c=3")], true).unwrap();
        let cookies: Vec<_> = found.headers().get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }
}
