//! One request of the gateway itself to a service that gives tokens. How it is sent, somebody else knows.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use zeroize::Zeroizing;

use crate::addr::Endpoint;

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER: usize = 64 * 1024;
/// How long a request may take, from the look-up of the name to the last byte of the answer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Sends requests.
pub trait Fetch: Send + Sync {
    /// Sends one and reads its whole answer, within [`MAX_ANSWER`] and [`PATIENCE`]. A redirect is an answer.
    ///
    /// The future does all of the work: nothing happens while nobody waits for it.
    ///
    /// # Errors
    /// Why there is no answer.
    fn fetch(&self, call: Call) -> Pin<Box<dyn Future<Output = Result<Answer, FetchError>> + Send + '_>>;
}

/// A request. Only this room makes one, for an endpoint that an operator wrote.
pub struct Call {
    endpoint: Endpoint,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body, which has a token in it.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer. Nothing that was sent or received is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Plain HTTP to somewhere far.
    #[error("plain HTTP is only for an address of this machine or its network; use https")]
    Plain,
    /// Its name or its address.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// Its TLS, or its certificate.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// What came is not HTTP, or it broke off.
    #[error("it did not answer in HTTP/1.1, or broke off")]
    Broken,
    /// It took too long.
    #[error("it did not answer within 10 seconds")]
    Slow,
    /// Its answer is too long.
    #[error("its answer is larger than 65536 bytes")]
    TooLarge,
    /// What is to be sent does not fit into a request.
    #[error("the request cannot be written: a value that belongs into its header does not fit there")]
    Request,
}

impl Call {
    /// A request for JSON.
    pub(super) fn get(endpoint: Endpoint) -> Self {
        Self::new(endpoint, Method::GET, Bytes::new())
    }

    /// A request with this body.
    pub(super) fn post(endpoint: Endpoint, body: Zeroizing<Vec<u8>>) -> Self {
        let length = HeaderValue::from(body.len());
        // SECURITY: whoever drops it last overwrites it.
        let mut call = Self::new(endpoint, Method::POST, Bytes::from_owner(body));
        // Also of nothing: some services refuse a POST without it.
        call.headers.insert(CONTENT_LENGTH, length);
        call
    }

    /// A request with a form (RFC 6749 appendix B).
    pub(super) fn form(endpoint: Endpoint, fields: &[(&str, &str)]) -> Self {
        let mut call = Self::post(endpoint, form(fields));
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        call.headers.insert(CONTENT_TYPE, kind);
        call
    }

    /// A request.
    fn new(endpoint: Endpoint, method: Method, body: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("sluicegate"));
        Self { endpoint, method, headers, body }
    }

    /// The same with a header that may be seen.
    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The same with a header whose value must not be seen.
    ///
    /// # Errors
    /// The value does not fit into a header.
    pub(super) fn with_secret(
        mut self,
        name: HeaderName,
        value: Zeroizing<Vec<u8>>,
    ) -> Result<Self, FetchError> {
        let mut value =
            HeaderValue::from_maybe_shared(Bytes::from_owner(value)).map_err(|_| FetchError::Request)?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Where it goes.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its method, its headers without `Host`, and its body.
    #[must_use]
    pub fn into_parts(self) -> (Method, HeaderMap, Bytes) {
        (self.method, self.headers, self.body)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({} {})", self.method, self.endpoint)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({})", self.status)
    }
}

/// A form: names and values (`application/x-www-form-urlencoded`, as browsers write it).
pub(super) fn form(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    // SECURITY: room for everything at once, so that growing leaves no copy behind.
    let most = fields.iter().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(most));
    for (name, value) in fields {
        if !out.is_empty() {
            out.push(b'&');
        }
        escape(&mut out, name);
        out.push(b'=');
        escape(&mut out, value);
    }
    out
}

/// The same as a text, for the query of a URL; no secret belongs there.
pub(super) fn query(fields: &[(&str, &str)]) -> String {
    form(fields).iter().copied().map(char::from).collect()
}

/// Writes one name or value of a form.
fn escape(out: &mut Vec<u8>, text: &str) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend([b'%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_written_as_browsers_do() {
        let fields = [("grant_type", "client_credentials"), ("client_secret", "a+b /&=%\u{fc}~"), ("s", "")];
        let written = query(&fields);
        assert_eq!(written, "grant_type=client_credentials&client_secret=a%2Bb+%2F%26%3D%25%C3%BC%7E&s=");
    }

    #[test]
    fn s5_a_call_and_its_answer_show_no_value() {
        let endpoint = Endpoint::parse("https://a.example/t?code=hunter2").unwrap();
        let call = Call::form(endpoint, &[("client_secret", "hunter2")]);
        let secret = || Zeroizing::new(b"Bearer hunter2".to_vec());
        let call = call.with_secret(http::header::AUTHORIZATION, secret()).unwrap();
        let answer = Answer { status: StatusCode::OK, body: secret() };
        let shown = format!("{call:?} {call:#?} {answer:?} {:?}", call.headers);
        assert!(!shown.contains("hunter2") && shown.contains("POST https://a.example/t"), "{shown}");
        let broken = Call::get(Endpoint::parse("https://a.example").unwrap());
        let broken =
            broken.with_secret(http::header::AUTHORIZATION, Zeroizing::new(b"hunter2\r\nx: y".to_vec()));
        assert_eq!(broken.unwrap_err(), FetchError::Request);
    }
}
