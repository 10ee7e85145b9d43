//! Secrets in requests, end to end (policy.md §9): the value reaches the origin, and nobody else ever sees it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::NamedTempFile;

use crate::kit::gateway::Gateway;
use crate::kit::http::Reply;
use crate::kit::http2::Http2;
use crate::kit::http2_origin::Stream;
use crate::kit::inspecting::Inside;
use crate::kit::origin::{Behaviour, Origin};

mod answer;
mod canary;
mod clients;
mod file;
mod identity;
mod place;
mod placeholder;
mod pool;
mod sent;
mod streams;

/// A value with characters that JSON, percent-encoding and base64 write in another way.
const VALUE: &str = "canary-7f/3b+\"q\" 9&x";

/// A gateway that decrypts, one origin `api.test`, and a secret `github/token` in a file.
struct Scene {
    gateway: Gateway,
    origin: Origin,
    value: NamedTempFile,
}

impl Scene {
    /// One that sets `authorization: Bearer VALUE`, with an origin that speaks HTTP/1.1.
    async fn answering(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with("", BEARER, replies).await
    }

    /// One whose secret says `more` about itself, and whose rule for `api.test` has these header operations.
    async fn with(more: &str, headers: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        let origin = Origin::tls("api.test", Behaviour::Http(replies.into_iter().collect())).await;
        Self::over(more, headers, origin).await
    }

    /// The same with an origin that speaks HTTP/2.
    async fn streaming(more: &str, headers: &str, streams: impl IntoIterator<Item = Stream>) -> Self {
        Self::over(more, headers, Origin::http2("api.test", streams).await).await
    }

    /// The same with this origin.
    async fn over(more: &str, headers: &str, origin: Origin) -> Self {
        let value = file(VALUE);
        let policy = secret(value.path(), more) + &transform(headers);
        let gateway = Gateway::inspecting(&policy, [("api.test", &origin)]).await;
        Self { gateway, origin, value }
    }

    /// A client inside TLS that speaks HTTP/1.1.
    async fn client(&self) -> Inside {
        self.gateway.inside("api.test", &self.origin, &["http/1.1"]).await
    }

    /// One that speaks HTTP/2.
    async fn http2(&self) -> Http2 {
        self.gateway.inside("api.test", &self.origin, &["h2"]).await.http2().await
    }

    /// What the origin has received on its first connection so far.
    fn received(&self) -> String {
        if self.origin.connections() == 0 { String::new() } else { self.origin.received(0) }
    }

    /// A URL of the origin.
    fn url(&self, path: &str) -> String {
        format!("https://api.test:{}{path}", self.origin.port())
    }
}

/// The header operation that most tests use.
const BEARER: &str = "{operation: Set, name: Authorization, \
                      valueRef: {secretRef: {secretId: github, format: 'Bearer {value}'}}}";

/// A document of the secret `github` with one key; `more` begins with a comma.
fn secret(file: &Path, more: &str) -> String {
    let file = file.display();
    format!(
        "kind: Secret\nmetadata: {{name: github}}\nspec: {{keys: {{token: {{file: '{file}'}}}}{more}}}\n---\n"
    )
}

/// A document that lets everything at `api.test` pass with these header operations.
fn transform(headers: &str) -> String {
    rules(&format!("  - {{match: {{host: api.test}}, action: {{type: Transform, headers: [{headers}]}}}}\n"))
}

/// A document with these rules.
fn rules(rules: &str) -> String {
    format!(
        "kind: EgressPolicy\nmetadata: {{name: p}}\nspec:\n  mode: Limited\n  ports: [1-65535]\n  rules:\n{rules}"
    )
}

/// A file with this in it.
fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

/// Replaces a file as an editor does.
fn replace(path: &Path, text: &str) {
    let draft = PathBuf::from(format!("{}.draft", path.display()));
    std::fs::write(&draft, text).expect("written");
    std::fs::rename(&draft, path).expect("replaced");
}

/// A GET of a path with these further lines.
fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: api.test\r\n{lines}\r\n")
}

/// Fails if a text shows a value, as it is or encoded.
fn assert_hidden(value: &str, text: impl AsRef<[u8]>, what: &str) {
    let text = text.as_ref();
    for form in forms(value) {
        let shown = text.windows(form.len()).any(|part| part == form.as_bytes());
        assert!(!shown, "{what} shows {form:?}: {}", String::from_utf8_lossy(text));
    }
}

/// The ways in which a value is looked for: as it is, with escapes, in hexadecimal digits, and in base64 whatever stands
/// before and behind it.
fn forms(value: &str) -> Vec<String> {
    let hex: Vec<_> = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    let percent = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    let percent: String = value.bytes().map(percent).collect();
    let mut forms = vec![
        value.to_owned(),
        percent.to_lowercase(),
        percent,
        value.replace('"', "\\\""),
        hex.to_uppercase(),
        hex,
    ];
    for before in 0..3 {
        let encoded = STANDARD.encode([&vec![b'x'; before], value.as_bytes()].concat());
        let (from, whole) = ([0, 2, 3][before], (before + value.len()) / 3 * 4);
        let inner = encoded[from..whole].to_owned();
        forms.push(inner.replace('+', "-").replace('/', "_"));
        forms.push(inner);
    }
    forms
}
