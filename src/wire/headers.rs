//! Which headers go on, and whether a `Host` is the target's.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::field::items;
use crate::addr::{Target, TargetError};

/// Headers that are for the next hop only, besides those that `Connection` names and every `Proxy-*`.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("http2-settings"),
];

/// Headers that `Connection` cannot name away: without them the message would mean another one to the next hop.
const ESSENTIAL: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// Headers by which a client asks an origin to take another method or path than the request line's, with `-` for `_`.
const OVERRIDES: [&str; 13] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-method",
    "x-original-method",
    "x-forwarded-method",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-rewrite-uri",
    "x-override-url",
    "x-forwarded-uri",
    "x-envoy-original-path",
];

/// Whether an upgrade goes on to the next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepUpgrade {
    /// It does not.
    No,
    /// `Upgrade: websocket`, which was judged.
    WebSocket,
}

/// Removes from a request what is for this hop only (RFC 9110 §7.6.1, threat F7).
///
/// | header | goes on |
/// |---|---|
/// | `Connection` and all it names | no; but `Host` and `Content-Length` cannot be named away |
/// | `Keep-Alive`, `Transfer-Encoding`, `HTTP2-Settings`, every `Proxy-*` | no |
/// | `TE` | `trailers` only, with the `Connection: te` that it needs |
/// | `Upgrade` | `websocket` when it was judged, with its `Connection: upgrade` |
///
/// SECURITY: this comes before anything is injected, so that a client cannot name an injected header away.
pub fn strip_request(headers: &mut HeaderMap, upgrade: KeepUpgrade) {
    let trailers = items(headers, &header::TE).any(|item| item.eq_ignore_ascii_case("trailers"));
    strip(headers);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let connection = match (upgrade, trailers) {
        (KeepUpgrade::No, false) => None,
        (KeepUpgrade::No, true) => Some("te"),
        (KeepUpgrade::WebSocket, false) => Some("upgrade"),
        (KeepUpgrade::WebSocket, true) => Some("upgrade, te"),
    };
    restore(headers, connection, upgrade);
}

/// Removes from a response what is for this hop only; the same headers as in a request, and `TE` altogether.
pub fn strip_response(headers: &mut HeaderMap, upgrade: KeepUpgrade) {
    strip(headers);
    let connection = match upgrade {
        KeepUpgrade::No => None,
        KeepUpgrade::WebSocket => Some("upgrade"),
    };
    restore(headers, connection, upgrade);
}

/// Removes every header that is for this hop only.
fn strip(headers: &mut HeaderMap) {
    let named = items(headers, &header::CONNECTION).filter_map(|item| item.parse().ok());
    let named: Vec<HeaderName> = named.filter(|name| !ESSENTIAL.contains(name)).collect();
    let proxy: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned().collect();
    for name in named.iter().chain(&proxy).chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Puts back the connection options of this hop that the next one needs as well.
fn restore(headers: &mut HeaderMap, connection: Option<&'static str>, upgrade: KeepUpgrade) {
    if let Some(connection) = connection {
        headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
    }
    if upgrade == KeepUpgrade::WebSocket {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// Removes the headers that make some origins take another method or path than the one that was judged.
///
/// Whatever is no letter or digit counts as a hyphen, as it does where headers become environment variables.
pub fn remove_overrides(headers: &mut HeaderMap) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_override(name)).cloned().collect();
    for name in &found {
        headers.remove(name);
    }
}

/// Whether a header asks an origin to take another method or path.
pub(super) fn is_override(name: &HeaderName) -> bool {
    OVERRIDES.contains(&name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-").as_str())
}

/// Whether a `Host` (or `:authority`) names the target: the same host, and the same port when it has one.
///
/// # Errors
/// When the header is not `host` or `host:port`.
pub fn agrees(host: &str, target: &Target) -> Result<bool, TargetError> {
    Ok(Target::parse_or(host, target.port())? == *target)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::addr::HostError;

    /// Headers of `name: value` pairs.
    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    /// The headers as sorted `name: value` lines.
    fn lines(headers: &HeaderMap) -> Vec<String> {
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<String> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn f7_hop_by_hop_headers_never_go_on() {
        let all = [
            ("Host", "a.example"),
            ("Accept", "*/*"),
            ("Connection", "keep-alive, X-Hop ,, close"),
            ("Connection", "x-other, \u{7f}?"),
            ("X-Hop", "1"),
            ("X-Hop", "2"),
            ("X-Other", "3"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic eDp5"),
            ("Proxy-Features", "x"),
            ("TE", "gzip"),
            ("Transfer-Encoding", "chunked"),
            ("Trailer", "X-Sum"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABk"),
        ];
        let all: Vec<_> = all.into_iter().filter(|(_, value)| !value.contains('\u{7f}')).collect();
        let mut request = map(&all);
        request.append("connection", HeaderValue::from_bytes(b"x-other, \xff").unwrap());
        let mut response = request.clone();
        strip_request(&mut request, KeepUpgrade::No);
        assert_eq!(lines(&request), ["accept: */*", "host: a.example", "trailer: X-Sum"]);
        strip_response(&mut response, KeepUpgrade::No);
        assert_eq!(lines(&response), ["accept: */*", "host: a.example", "trailer: X-Sum"]);
    }

    #[test]
    fn f7_connection_cannot_name_away_what_the_message_needs_or_what_is_injected_later() {
        let mut headers = map(&[
            ("Host", "a.example"),
            ("Content-Length", "3"),
            ("Connection", "authorization, HOST, content-length"),
            ("Authorization", "the client's"),
        ]);
        strip_request(&mut headers, KeepUpgrade::No);
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("ours"));
        assert_eq!(lines(&headers), ["authorization: ours", "content-length: 3", "host: a.example"]);
    }

    #[test]
    fn f7_te_trailers_and_a_judged_websocket_go_on() {
        let mut headers = map(&[("TE", "gzip, Trailers"), ("Connection", "TE")]);
        strip_request(&mut headers, KeepUpgrade::No);
        assert_eq!(lines(&headers), ["connection: te", "te: trailers"]);
        let mut headers = map(&[
            ("Upgrade", "WebSocket"),
            ("Connection", "Upgrade, x-a"),
            ("X-A", "1"),
            ("TE", "trailers"),
        ]);
        let mut response = headers.clone();
        strip_request(&mut headers, KeepUpgrade::WebSocket);
        assert_eq!(lines(&headers), ["connection: upgrade, te", "te: trailers", "upgrade: websocket"]);
        strip_response(&mut response, KeepUpgrade::WebSocket);
        assert_eq!(lines(&response), ["connection: upgrade", "upgrade: websocket"]);
    }

    #[test]
    fn overrides_of_method_and_path_are_removed_in_every_spelling() {
        let mut headers = map(&[
            ("X-HTTP-Method-Override", "DELETE"),
            ("x_http_method_override", "DELETE"),
            ("X-HTTP-Method", "DELETE"),
            ("X-Method-Override", "DELETE"),
            ("X-Original-URL", "/admin"),
            ("X-Rewrite-URL", "/admin"),
            ("X_Rewrite-URL", "/admin"),
            ("X.HTTP~Method!Override", "DELETE"),
            ("X-Request-Id", "1"),
        ]);
        remove_overrides(&mut headers);
        assert_eq!(lines(&headers), ["x-request-id: 1"]);
    }

    #[test]
    fn i3_a_host_agrees_by_name_and_by_port_when_it_has_one() {
        for (host, target, agree) in [
            ("Example.com.", "example.com:443", true),
            ("example.com", "example.com:8443", true),
            ("example.com:8443", "example.com:8443", true),
            ("example.com:80", "example.com:443", false),
            ("example.org", "example.com:443", false),
            ("a.example.com", "example.com:443", false),
            ("[::1]", "[::1]:80", true),
            ("[0:0::1]:80", "[::1]:80", true),
            ("127.0.0.1", "[::1]:80", false),
        ] {
            assert_eq!(agrees(host, &target.parse().unwrap()), Ok(agree), "{host} {target}");
        }
        let target = "example.com:443".parse().unwrap();
        for (host, error) in [
            ("", HostError::Empty.into()),
            ("example.com:", TargetError::Port),
            ("example.com, example.com", HostError::Character(',').into()),
            ("example.com/", TargetError::Path),
            ("u@example.com", TargetError::Userinfo),
        ] {
            assert_eq!(agrees(host, &target), Err(error), "{host}");
        }
    }
}
