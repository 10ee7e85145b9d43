//! Answers in JSON.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::audit::to_json;

/// Why a request is not answered.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It needs a token and has none, or not a valid one.
    Unauthorized,
    /// Its `Host` is not this server's.
    Misdirected,
    /// A parameter is wrong; this says which and how.
    BadQuery(String),
    /// There is nothing at this path.
    NotFound,
    /// The path has another method.
    MethodNotAllowed,
    /// The body did not come in time.
    Timeout,
    /// Too many follow the audit log already.
    TooManyStreams,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send `Authorization: Bearer <token>` with a token of `admin.tokens`, or use the admin socket",
            ),
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected",
                "the Host header must be an IP address, `localhost` or the configured name of this server",
            ),
            Self::BadQuery(message) => {
                return refuse(StatusCode::BAD_REQUEST, "bad_query", &message);
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "there is nothing at this path"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has another method")
            }
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time"),
            Self::TooManyStreams => (
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_streams",
                "too many clients follow the audit log: close one first",
            ),
        };
        refuse(status, code, message)
    }
}

/// A refusal in JSON.
fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let mut response = json(&json!({"error": {"code": code, "message": message}}));
    *response.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A value in JSON; what clients chose is escaped as in the audit log.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    text("application/json", to_json(value))
}

/// A body of a given type, which browsers neither guess at nor keep.
pub(super) fn text(content_type: &'static str, body: String) -> Response {
    const HEADERS: [(HeaderName, &str); 2] =
        [(header::X_CONTENT_TYPE_OPTIONS, "nosniff"), (header::CACHE_CONTROL, "no-store")];
    ([(header::CONTENT_TYPE, content_type)], HEADERS, body).into_response()
}
