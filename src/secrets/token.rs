//! What a service answers that gives tokens: a token and how long it lives.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroize;

use super::fetch::Answer;
use super::value::{Revealed, Unfit, fit};

/// How long a token is used whose service does not say how long it lives.
const UNSAID: Duration = Duration::from_mins(5);
/// The longest that a token is used, whatever its service says.
const LONGEST: Duration = Duration::from_hours(24);

/// The codes of RFC 6749 §5.2, which may be repeated: whatever else an answer says may be a value.
const CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// Why an answer has no token. Nothing of the answer is in it but its status and the code of its error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is a redirect.
    #[error("it answered {0}, a redirect, which is not followed; write the URL that it leads to")]
    Redirect(StatusCode),
    /// It is an error.
    #[error("it answered {0}{because}", because = .1.map(|code| format!(" ({code})")).unwrap_or_default())]
    Status(StatusCode, Option<&'static str>),
    /// It is not the JSON that is expected.
    #[error("its answer is not the JSON of a token")]
    Malformed,
    /// It has no token in it.
    #[error("its answer has no token in it")]
    Missing,
    /// The token is not to be used by whoever has it (RFC 6749 §7.1).
    #[error("its token is not of the type `Bearer`")]
    NotBearer,
    /// The token ends before it can be used.
    #[error("its token has expired already; compare the clocks")]
    Expired,
    /// The token cannot be sent.
    #[error("its token cannot be sent in a header: {0}")]
    Unfit(Unfit),
}

/// A token.
#[derive(Debug)]
pub(super) struct Token {
    /// Its value.
    pub(super) value: Revealed,
    /// How long it may be used from when it was asked for.
    pub(super) life: Duration,
}

/// The fields of all the services together.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    access_token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
    #[serde(borrow)]
    token_type: Option<Cow<'a, str>>,
    expires_in: Option<Seconds>,
    expires_on: Option<Seconds>,
    #[serde(borrow)]
    expires_at: Option<Cow<'a, str>>,
}

/// The field of an error.
#[derive(Deserialize)]
struct Fault<'a> {
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

/// Whole seconds: services write them as a number or as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

impl Seconds {
    /// The number.
    fn get(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        for text in [&mut self.access_token, &mut self.token] {
            if let Some(Cow::Owned(text)) = text {
                text.zeroize();
            }
        }
    }
}

/// The token of an answer that was asked for at this time.
///
/// # Errors
/// Why it has none.
pub(super) fn read(answer: &Answer, asked: SystemTime) -> Result<Token, TokenError> {
    if answer.status.is_redirection() {
        return Err(TokenError::Redirect(answer.status));
    }
    if !answer.status.is_success() {
        return Err(TokenError::Status(answer.status, code(&answer.body)));
    }
    let reply: Reply<'_> = serde_json::from_slice(&answer.body).map_err(|_| TokenError::Malformed)?;
    if reply.token_type.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(TokenError::NotBearer);
    }
    let token = reply.access_token.as_ref().or(reply.token.as_ref()).ok_or(TokenError::Missing)?;
    fit(token.as_bytes()).map_err(TokenError::Unfit)?;
    let life = life(&reply, asked)?.min(LONGEST);
    if life < Duration::from_secs(1) {
        return Err(TokenError::Expired);
    }
    Ok(Token { value: Revealed::new(token.as_bytes()), life })
}

/// How long the token lives from when it was asked for.
fn life(reply: &Reply<'_>, asked: SystemTime) -> Result<Duration, TokenError> {
    if let Some(seconds) = &reply.expires_in {
        return seconds.get().map(Duration::from_secs).ok_or(TokenError::Malformed);
    }
    let since_epoch = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ends = match (&reply.expires_on, &reply.expires_at) {
        (Some(seconds), _) => Duration::from_secs(seconds.get().ok_or(TokenError::Malformed)?),
        (None, Some(at)) => {
            let at: Timestamp = at.parse().map_err(|_| TokenError::Malformed)?;
            Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0))
        }
        (None, None) => return Ok(UNSAID),
    };
    Ok(ends.saturating_sub(since_epoch(asked)))
}

/// The code of an error (RFC 6749 §5.2), when it is one of the known ones.
fn code(body: &[u8]) -> Option<&'static str> {
    let said = serde_json::from_slice::<Fault<'_>>(body).ok()?.error?;
    CODES.into_iter().find(|code| *code == said)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    /// What is read of this answer, asked for at second 1000 of the epoch.
    fn answered(status: u16, body: &str) -> Result<(String, u64), TokenError> {
        let body = Zeroizing::new(body.as_bytes().to_vec());
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), body };
        let token = read(&answer, SystemTime::UNIX_EPOCH + Duration::from_secs(1000))?;
        Ok((String::from_utf8(token.value.expose().to_vec()).unwrap(), token.life.as_secs()))
    }

    #[test]
    fn tokens_of_every_service_are_read() {
        for (body, life) in [
            (r#"{"access_token":"T","token_type":"Bearer","expires_in":3599}"#, 3599),
            (r#"{"access_token":"T","expires_in":"3599","expires_on":"9","resource":"r"}"#, 3599),
            (r#"{"access_token":"T","expires_on":"1600","token_type":"bearer"}"#, 600),
            (r#"{"access_token":"T","expires_on":1600,"not_before":"1"}"#, 600),
            (r#"{"token":"T","expires_at":"1970-01-01T01:00:00Z","permissions":{"a":"read"}}"#, 2600),
            (r#"{"access_token":"T"}"#, 300),
            (r#"{"access_token":"T","expires_in":18446744073709551615}"#, 86400),
        ] {
            assert_eq!(answered(200, body), Ok(("T".to_owned(), life)), "{body}");
        }
        assert_eq!(answered(201, r#"{"token":"a\/b","expires_in":60}"#), Ok(("a/b".to_owned(), 60)));
    }

    #[test]
    fn an_answer_without_a_usable_token_says_why() {
        for (body, error) in [
            ("", TokenError::Malformed),
            ("<html>hunter2", TokenError::Malformed),
            ("[]", TokenError::Malformed),
            (r#"{"access_token":7}"#, TokenError::Malformed),
            (r#"{"access_token":"a","access_token":"b"}"#, TokenError::Malformed),
            (r#"{"access_token":"a","expires_in":"soon"}"#, TokenError::Malformed),
            (r#"{"access_token":"a","expires_in":-1}"#, TokenError::Malformed),
            (r#"{"token":"a","expires_at":"soon"}"#, TokenError::Malformed),
            ("{}", TokenError::Missing),
            (r#"{"access_token":"hunter2","token_type":"DPoP"}"#, TokenError::NotBearer),
            (r#"{"access_token":"hunter2","expires_in":0}"#, TokenError::Expired),
            (r#"{"access_token":"hunter2","expires_on":"999"}"#, TokenError::Expired),
            (r#"{"token":"hunter2","expires_at":"1969-01-01T00:00:00Z"}"#, TokenError::Expired),
            (r#"{"access_token":""}"#, TokenError::Unfit(Unfit::Empty)),
            (r#"{"access_token":"hunter2\r\nx: y"}"#, TokenError::Unfit(Unfit::Control)),
            (r#"{"access_token":"hunter2ü"}"#, TokenError::Unfit(Unfit::NotAscii)),
        ] {
            let found = answered(200, body).unwrap_err();
            assert_eq!(found, error, "{body}");
            assert!(!format!("{found} {found:?}").contains("hunter2"));
        }
    }

    #[test]
    fn s5_of_an_error_only_its_status_and_a_known_code_are_told() {
        for (status, body, shown) in [
            (
                401,
                r#"{"error":"invalid_client","error_description":"hunter2"}"#,
                "401 Unauthorized (invalid_client)",
            ),
            (400, r#"{"error":"hunter2"}"#, "400 Bad Request"),
            (500, "hunter2", "500 Internal Server Error"),
            (403, r#"{"message":"hunter2"}"#, "403 Forbidden"),
        ] {
            assert_eq!(answered(status, body).unwrap_err().to_string(), format!("it answered {shown}"));
        }
        for status in [301, 302, 303, 307, 308] {
            let found = answered(status, r#"{"access_token":"T"}"#).unwrap_err();
            assert!(matches!(found, TokenError::Redirect(_)), "{found}");
        }
    }
}
