//! `rules[].action`: the verb, and for `Transform` and `Rewrite` everything they carry.
//!
//! This version does not carry them out. They are validated all the same, so that a file written for one that does
//! is judged whole.

use super::metadata::name;
use super::{pattern, rule};
use crate::source::{Fields, Kind, Spot, quoted};

/// The keys of an action in its mapping form.
pub(crate) const ACTION_KEYS: [&str; 5] = ["type", "host", "path", "scheme", "headers"];
/// The keys of a header operation.
pub(crate) const HEADER_KEYS: [&str; 4] = ["operation", "name", "value", "valueRef"];
/// The keys of `valueRef`.
pub(crate) const REF_KEYS: [&str; 2] = ["secretRef", "managedIdentityRef"];
/// The keys of `secretRef`.
pub(crate) const SECRET_REF_KEYS: [&str; 3] = ["secretId", "secretKey", "format"];
/// The keys of `managedIdentityRef`.
pub(crate) const IDENTITY_REF_KEYS: [&str; 4] = ["type", "resource", "identityResourceId", "format"];

/// The longest header value, in bytes.
const LONGEST_VALUE: usize = 8192;

/// Headers that no rule may touch, in lower case: hop-by-hop, framing, what names the target, and what servers echo.
const REFUSED: [&str; 26] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Let it pass.
    Allow,
    /// Refuse it.
    Deny,
    /// Let it pass with other headers.
    Transform,
    /// Send it elsewhere.
    Rewrite,
}

/// The words for a verb.
const VERBS: [(&str, Verb); 4] = [
    ("Allow", Verb::Allow),
    ("Deny", Verb::Deny),
    ("Transform", Verb::Transform),
    ("Rewrite", Verb::Rewrite),
];

/// What an operation does with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    /// Replace all values.
    Set,
    /// Add it when it is absent.
    Insert,
    /// Take it away.
    Remove,
}

/// An action: a bare word, or a mapping with `type`.
pub(super) fn action(spot: &Spot<'_>) -> Option<Verb> {
    if spot.is_text() {
        let verb = spot.choice(&VERBS)?;
        match verb {
            Verb::Transform => {
                spot.error_cure("a Transform without headers", "write {type: Transform, headers: […]}");
            }
            Verb::Rewrite => {
                spot.error_cure("a Rewrite without a new place", "write {type: Rewrite, host: …}");
            }
            Verb::Allow | Verb::Deny => {}
        }
        return Some(verb);
    }
    let fields = spot.fields(&ACTION_KEYS)?;
    let verb = fields.require("type").and_then(|spot| spot.choice(&VERBS));
    destination(&fields, verb);
    let headers = fields.get("headers").map(|spot| {
        let count = spot.each(|item| header(&item)).len();
        (spot, count)
    });
    match (verb, headers) {
        (Some(Verb::Allow | Verb::Deny), Some((headers, _))) => {
            headers.error_cure(
                "only Transform and Rewrite change headers",
                "write `type: Transform`, or remove `headers`",
            );
        }
        (Some(Verb::Transform), None) => {
            spot.error_cure("a Transform without headers", "add `headers`, or write `type: Allow`");
        }
        (Some(Verb::Transform), Some((headers, 0))) if matches!(&headers.node().kind, Kind::List(items) if items.is_empty()) =>
        {
            headers.error_cure("a Transform without headers", "add an operation, or write `type: Allow`");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    verb
}

/// `host`, `path` and `scheme`: of a Rewrite only, and at least one of them.
fn destination(fields: &Fields<'_>, verb: Option<Verb>) {
    let host = fields.get("host");
    let path = fields.get("path");
    let scheme = fields.get("scheme");
    for (key, found) in [("host", host), ("path", path), ("scheme", scheme)] {
        if let (Some(found), Some(Verb::Allow | Verb::Deny | Verb::Transform)) = (found, verb) {
            found.error_cure(
                format!("only Rewrite has a new `{key}`"),
                "write `type: Rewrite`, or put it under `match`",
            );
        }
    }
    if let Some(host) = host
        && let Some(found) = pattern(&host)
    {
        exact(&host, &found.to_string());
    }
    if let Some(path) = path
        && let Some(found) = rule::path(&path)
    {
        exact(&path, &found.to_string());
    }
    if let Some(scheme) = scheme {
        let _known = scheme.choice(&[("http", ()), ("https", ())]);
    }
    if verb == Some(Verb::Rewrite) && host.is_none() && path.is_none() && scheme.is_none() {
        fields.spot().error_cure(
            "a Rewrite without a new place",
            "add `host`, `path` or `scheme`, or write `type: Transform`",
        );
    }
}

/// Refuses a wildcard where one place is meant.
fn exact(spot: &Spot<'_>, text: &str) {
    if text.contains('*') {
        spot.error_cure(
            format!("{} is a pattern; a Rewrite goes to one place", quoted(text)),
            "write it without `*`",
        );
    }
}

/// One header operation.
fn header(item: &Spot<'_>) -> Option<()> {
    let fields = item.fields(&HEADER_KEYS)?;
    let words = [("Set", Operation::Set), ("Insert", Operation::Insert), ("Remove", Operation::Remove)];
    let operation = fields.require("operation").and_then(|spot| spot.choice(&words));
    if let Some(spot) = fields.require("name") {
        header_name(&spot);
    }
    let value = fields.get("value");
    let reference = fields.get("valueRef");
    if let Some(value) = value {
        header_value(&value);
    }
    if let Some(reference) = reference {
        value_ref(&reference);
    }
    match (operation, value.or(reference)) {
        (Some(Operation::Remove), Some(found)) => {
            found.error_cure("Remove takes no value", "remove it, or write `operation: Set`");
        }
        (Some(Operation::Set | Operation::Insert), None) => {
            item.error_cure("no value to set", "add `value` or `valueRef`");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    if value.is_some() && reference.is_some() {
        item.error_cure("both `value` and `valueRef`", "keep one of them");
    }
    Some(())
}

/// A header name that a rule may touch.
fn header_name(spot: &Spot<'_>) {
    let Some(text) = spot.text() else { return };
    let lower = text.to_ascii_lowercase();
    if !is_token(text) {
        spot.error(format!("{} is not a header name", quoted(text)));
    } else if REFUSED.contains(&lower.as_str())
        || lower.starts_with("x-forwarded-")
        || lower.starts_with("proxy-")
    {
        // SECURITY: framing headers would smuggle requests; echoed ones would hand a secret back to the sandbox.
        spot.error_cure(
            format!(
                "no rule may change {}: it frames or routes the request, or servers echo it",
                quoted(text)
            ),
            "use a header of your own, or `Authorization`",
        );
    }
}

/// A header value: visible ASCII, inner spaces and tabs.
fn header_value(spot: &Spot<'_>) {
    let Some(text) = spot.text() else { return };
    // The value is not repeated in the message: it may be a secret.
    if !text.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)) {
        spot.error("a header value has visible ASCII characters, spaces and tabs only");
    } else if text.trim() != text {
        spot.error("a header value cannot start or end with white space");
    } else if text.len() > LONGEST_VALUE {
        spot.error(format!("a header value has at most {LONGEST_VALUE} bytes"));
    }
}

/// `valueRef`: exactly one reference.
fn value_ref(spot: &Spot<'_>) {
    let Some(fields) = spot.fields(&REF_KEYS) else { return };
    let secret = fields.get("secretRef");
    let identity = fields.get("managedIdentityRef");
    if let Some(secret) = secret {
        secret_ref(&secret);
    }
    if let Some(identity) = identity {
        identity_ref(&identity);
    }
    if secret.is_some() == identity.is_some() {
        spot.error_cure("exactly one reference is needed", "write `secretRef` or `managedIdentityRef`");
    }
}

/// `secretRef`.
fn secret_ref(spot: &Spot<'_>) {
    let Some(fields) = spot.fields(&SECRET_REF_KEYS) else { return };
    let _id = fields.require("secretId").and_then(|spot| name(&spot));
    let _key = fields.get("secretKey").and_then(|spot| name(&spot));
    format(&fields);
}

/// `managedIdentityRef`.
fn identity_ref(spot: &Spot<'_>) {
    let Some(fields) = spot.fields(&IDENTITY_REF_KEYS) else { return };
    let user = fields
        .require("type")
        .and_then(|spot| spot.choice(&[("SystemAssigned", false), ("UserAssigned", true)]));
    let _resource = fields.require("resource").and_then(|spot| spot.word(2048));
    let id = fields.get("identityResourceId");
    let _id = id.and_then(|spot| spot.word(2048));
    match (user, id) {
        (Some(true), None) => {
            spot.error("`identityResourceId` is missing: a UserAssigned identity is named by it");
        }
        (Some(false), Some(id)) => {
            id.error_cure("a SystemAssigned identity has no id", "remove `identityResourceId`");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    format(&fields);
}

/// `format`: a header value with `{value}` in it once.
fn format(fields: &Fields<'_>) {
    let Some(spot) = fields.get("format") else { return };
    header_value(&spot);
    if spot.is_text() && spot.text().is_some_and(|text| text.matches("{value}").count() != 1) {
        spot.error_cure("a format has `{value}` in it exactly once", "write `Bearer {value}`");
    }
}

/// Whether text is a token, RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
