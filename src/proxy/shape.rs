//! The same request in the form of HTTP/1.1 or of HTTP/2, whichever the origin speaks.
//!
//! | part | HTTP/1.1 | HTTP/2 (RFC 9113 §8.3.1) |
//! |---|---|---|
//! | target | `/path?query` | `https`, authority, path |
//! | authority | `Host` | `:authority`, and no `Host` |
//! | a body of unknown length | `Transfer-Encoding: chunked` | no field |
//! | `Connection`, `Upgrade`, `Keep-Alive` | as they are | none |
//! | `TE` | with `Connection: te` | `trailers` or none |
//! | several `Cookie` | one, joined by `; `, where they came by HTTP/2 (RFC 9113 §8.2.3) | as they are |

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};
use http_body::Body;

use super::refusal::Refusal;

/// Fields that have no place in HTTP/2 (RFC 9113 §8.2.2).
const OF_CONNECTIONS: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Gives a request the form of HTTP/1.1; one that came by HTTP/2 may have its cookies in pieces.
///
/// # Errors
/// Its authority cannot stand in a header.
pub(super) fn to_http1<B: Body>(request: &mut Request<B>, pieces: bool) -> Result<(), Refusal> {
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| unfit())?;
        let path = path_of(request.uri());
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = Uri::from(path);
    }
    *request.version_mut() = Version::HTTP_11;
    if pieces {
        join_cookies(request.headers_mut());
    }
    let unknown = !request.body().is_end_stream() && request.body().size_hint().exact().is_none();
    if unknown && !request.headers().contains_key(CONTENT_LENGTH) {
        // Without it hyper takes a GET or HEAD to have no body, and drops the one it has.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    Ok(())
}

/// Gives a request the form of HTTP/2.
///
/// # Errors
/// Nothing says for which authority it is.
pub(super) fn to_http2<B>(request: &mut Request<B>) -> Result<(), Refusal> {
    let host = request.headers_mut().remove(HOST);
    if let Some(host) = host {
        let path = path_of(request.uri());
        let uri = Uri::builder().scheme(Scheme::HTTPS).authority(host.as_bytes()).path_and_query(path);
        *request.uri_mut() = uri.build().map_err(|_| unfit())?;
    }
    if request.uri().authority().is_none() {
        return Err(unfit());
    }
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    for name in &OF_CONNECTIONS {
        headers.remove(name);
    }
    if headers.get(TE).is_some_and(|value| value != "trailers") {
        headers.remove(TE);
    }
    Ok(())
}

/// The path and the query of a target.
fn path_of(uri: &Uri) -> PathAndQuery {
    uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))
}

/// Makes one field of all cookies.
fn join_cookies(headers: &mut HeaderMap) {
    let mut all = headers.get_all(COOKIE).iter();
    let (Some(first), Some(_)) = (all.next(), all.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    let mut sensitive = first.is_sensitive();
    for value in headers.get_all(COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(value.as_bytes());
        sensitive |= value.is_sensitive();
    }
    // Values joined by what may be in a value are a value.
    if let Ok(mut joined) = HeaderValue::from_bytes(&joined) {
        joined.set_sensitive(sensitive);
        headers.insert(COOKIE, joined);
    }
}

/// The authority has no place where the origin expects it.
fn unfit() -> Refusal {
    Refusal::malformed("the target cannot stand in a request to the origin")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use http::Method;
    use http_body_util::{Empty, StreamBody};

    use super::*;

    /// A request with these fields.
    fn request(target: &str, fields: &[(&'static str, &'static str)]) -> Request<Empty<&'static [u8]>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = target.parse().unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    /// The fields as sorted lines.
    fn lines<B>(request: &Request<B>) -> Vec<String> {
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<String> = request.headers().iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn f6_a_request_to_http2_has_no_host_and_no_field_of_a_connection() {
        let fields = [
            ("host", "good.test:8443"),
            ("connection", "te"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "5"),
            ("proxy-connection", "close"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ];
        let mut asked = request("/x?y=1", &fields);
        to_http2(&mut asked).unwrap();
        assert_eq!(asked.uri(), "https://good.test:8443/x?y=1");
        assert_eq!(asked.version(), Version::HTTP_2);
        assert_eq!(lines(&asked), ["cookie: a=1", "cookie: b=2", "te: trailers"]);
        let mut other = request("/", &[("host", "good.test"), ("te", "gzip")]);
        to_http2(&mut other).unwrap();
        assert_eq!(lines(&other), Vec::<String>::new());
        assert!(to_http2(&mut request("/", &[])).is_err(), "there is no authority to ask");
    }

    #[test]
    fn f6_a_request_to_http1_has_a_host_and_one_cookie() {
        let fields = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
        let mut asked = request("https://good.test/x?y=1", &fields);
        *asked.version_mut() = Version::HTTP_2;
        let secret = HeaderValue::from_static("d=4");
        let mut secret = secret;
        secret.set_sensitive(true);
        asked.headers_mut().append(COOKIE, secret);
        to_http1(&mut asked, true).unwrap();
        assert_eq!(asked.uri(), "/x?y=1");
        assert_eq!(asked.version(), Version::HTTP_11);
        assert_eq!(lines(&asked), ["cookie: a=1; b=2; c=3; d=4", "host: good.test"]);
        assert!(asked.headers().get(COOKIE).unwrap().is_sensitive(), "a secret stays one");
    }

    #[test]
    fn a_request_goes_from_one_form_to_the_other_and_back() {
        let mut asked = request("/x", &[("host", "good.test:444"), ("accept", "*/*")]);
        to_http2(&mut asked).unwrap();
        to_http1(&mut asked, true).unwrap();
        assert_eq!(
            (asked.uri().to_string(), lines(&asked)),
            ("/x".into(), vec!["accept: */*".into(), "host: good.test:444".into()])
        );
    }

    #[test]
    fn f2_a_body_of_unknown_length_is_chunked_in_http1_whatever_the_method() {
        let frames = tokio_stream::iter([Ok::<_, std::io::Error>(http_body::Frame::data(&b"x"[..]))]);
        let mut asked = Request::new(StreamBody::new(frames));
        *asked.method_mut() = Method::GET;
        *asked.uri_mut() = "https://good.test/".parse().unwrap();
        to_http1(&mut asked, true).unwrap();
        assert_eq!(lines(&asked), ["host: good.test", "transfer-encoding: chunked"]);
        asked.headers_mut().remove(TRANSFER_ENCODING);
        asked.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("1"));
        to_http1(&mut asked, true).unwrap();
        assert_eq!(lines(&asked), ["content-length: 1", "host: good.test"]);
    }
}
