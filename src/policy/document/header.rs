//! The header operations of a `Transform` or `Rewrite`.

use std::sync::Arc;

use super::change::{HeaderChange, HeaderEdit, HeaderValue, IdentityRef, SecretRef};
use super::metadata::name;
use super::secret::{KeySource, ManagedIdentity};
use crate::policy::plan::Format;
use crate::source::{Fields, Spot, quoted};

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

/// One header operation.
pub(super) fn header(item: &Spot<'_>) -> Option<HeaderEdit> {
    let fields = item.fields(&HEADER_KEYS)?;
    let words = [("Set", Operation::Set), ("Insert", Operation::Insert), ("Remove", Operation::Remove)];
    let operation = fields.require("operation").and_then(|spot| spot.choice(&words));
    let name = fields.require("name").and_then(|spot| header_name(&spot));
    let (value, reference) = (fields.get("value"), fields.get("valueRef"));
    let text = value.and_then(|spot| header_value(&spot));
    let referred = reference.and_then(|spot| value_ref(&spot));
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
    let value = text.map(|text| HeaderValue::Text(text.into())).or(referred);
    let change = match operation? {
        Operation::Set => HeaderChange::Set(value?),
        Operation::Insert => HeaderChange::Insert(value?),
        Operation::Remove => HeaderChange::Remove,
    };
    Some(HeaderEdit { name: name?, change })
}

/// A header name that a rule may touch, in lower case.
fn header_name(spot: &Spot<'_>) -> Option<Arc<str>> {
    let text = spot.text()?;
    let lower = text.to_ascii_lowercase();
    if !is_token(text) {
        spot.error(format!("{} is not a header name", quoted(text)));
        return None;
    }
    if REFUSED.contains(&lower.as_str()) || lower.starts_with("x-forwarded-") || lower.starts_with("proxy-") {
        // SECURITY: framing headers would smuggle requests; echoed ones would hand a secret back to the sandbox.
        spot.error_cure(
            format!(
                "no rule may change {}: it frames or routes the request, or servers echo it",
                quoted(text)
            ),
            "use a header of your own, or `Authorization`",
        );
        return None;
    }
    Some(lower.into())
}

/// A header value: visible ASCII, inner spaces and tabs.
fn header_value<'a>(spot: &Spot<'a>) -> Option<&'a str> {
    let text = spot.text()?;
    // The value is not repeated in the message: it may be a secret.
    if !text.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)) {
        spot.error("a header value has visible ASCII characters, spaces and tabs only");
    } else if text.trim() != text {
        spot.error("a header value cannot start or end with white space");
    } else if text.len() > LONGEST_VALUE {
        spot.error(format!("a header value has at most {LONGEST_VALUE} bytes"));
    } else {
        return Some(text);
    }
    None
}

/// `valueRef`: exactly one reference.
fn value_ref(spot: &Spot<'_>) -> Option<HeaderValue> {
    let fields = spot.fields(&REF_KEYS)?;
    let (secret, identity) = (fields.get("secretRef"), fields.get("managedIdentityRef"));
    if secret.is_some() == identity.is_some() {
        spot.error_cure("exactly one reference is needed", "write `secretRef` or `managedIdentityRef`");
    }
    let secret = secret.and_then(|spot| secret_ref(&spot)).map(HeaderValue::Secret);
    let identity = identity.and_then(|spot| identity_ref(&spot)).map(HeaderValue::Identity);
    secret.or(identity)
}

/// `secretRef`.
fn secret_ref(spot: &Spot<'_>) -> Option<SecretRef> {
    let fields = spot.fields(&SECRET_REF_KEYS)?;
    let id = fields.require("secretId").and_then(|spot| name(&spot));
    let key = fields.get("secretKey").and_then(|spot| name(&spot));
    let format = format(&fields);
    Some(SecretRef { id: id?, key, format: format?, place: spot.place() })
}

/// `managedIdentityRef`.
fn identity_ref(spot: &Spot<'_>) -> Option<IdentityRef> {
    let fields = spot.fields(&IDENTITY_REF_KEYS)?;
    let user = fields
        .require("type")
        .and_then(|spot| spot.choice(&[("SystemAssigned", false), ("UserAssigned", true)]));
    let resource = fields.require("resource").and_then(|spot| spot.word(2048));
    let id = fields.get("identityResourceId");
    let identity = id.and_then(|spot| spot.word(2048));
    match (user, id) {
        (Some(true), None) => {
            spot.error("`identityResourceId` is missing: a UserAssigned identity is named by it");
        }
        (Some(false), Some(id)) => {
            id.error_cure("a SystemAssigned identity has no id", "remove `identityResourceId`");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    let format = format(&fields);
    let resource: Arc<str> = resource?.into();
    let of = ManagedIdentity { resource: Arc::clone(&resource), identity: identity.map(Arc::from) };
    Some(IdentityRef { resource, source: Arc::new(KeySource::ManagedIdentity(of)), format: format? })
}

/// `format`: a header value with `{value}` in it once; the value alone without.
fn format(fields: &Fields<'_>) -> Option<Format> {
    let Some(spot) = fields.get("format") else { return Some(Format::default()) };
    let format = Format::new(header_value(&spot)?);
    if format.is_none() {
        spot.error_cure("a format has `{value}` in it exactly once", "write `Bearer {value}`");
    }
    format
}

/// Whether text is a token, RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
