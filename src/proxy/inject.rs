//! Edits the headers of a request as its plan says, the values of secrets last.

use std::collections::HashSet;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::policy::Plan;
use crate::policy::plan::{Change, EditValue, SecretUse};
use crate::secrets::Revealed;

/// What was done to the headers of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The names of the headers that were changed, each once, in the order of the plan.
    pub changed: Vec<Arc<str>>,
    /// The names of the secrets whose values go with the request, each once.
    pub secrets: Vec<Arc<str>>,
}

/// Why a request cannot get its headers. Names what is at fault, never a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditError {
    /// There is no value for a secret.
    #[error("the value of the secret {0} cannot be had")]
    Unavailable(Arc<str>),
    /// The value of a secret is empty, or has a line break or another control character.
    #[error("the value of the secret {secret} cannot stand in the header {header}")]
    Value {
        /// The secret's name.
        secret: Arc<str>,
        /// The header's.
        header: Arc<str>,
    },
    /// A name in the plan is none of a header, or a text cannot stand in one.
    #[error("the policy sets the header {0}, which cannot be sent as it is written")]
    Header(Arc<str>),
}

/// One edit, ready to be made.
enum Ready {
    /// This takes the place of all that are there; the secret's name when it is of one.
    Set(HeaderValue, Option<Arc<str>>),
    /// This is added where there is none.
    Insert(HeaderValue),
    /// All that are there go.
    Remove,
}

/// Edits headers as a plan says; comes after [`strip_request`](crate::wire::headers::strip_request), whatever
/// `Connection` named.
///
/// | edit | does |
/// |---|---|
/// | `Set` | takes the place of all that are there |
/// | `Insert` of a text | is added when none is there |
/// | `Insert` of a secret | as `Set` |
/// | `Remove` | all that are there go |
///
/// SECURITY: whatever the client sent in a header that carries a secret anywhere in the plan is dropped first. In all of
/// these a header is there in any spelling with another character for `-`, as it is where headers become environment
/// variables: `X_Api_Key`.
///
/// # Errors
/// A value cannot be had, or cannot be sent. Then nothing was changed.
pub fn apply(
    plan: &Plan,
    values: &mut dyn FnMut(&SecretUse) -> Option<Revealed>,
    headers: &mut HeaderMap,
) -> Result<Applied, EditError> {
    let mut edits = Vec::with_capacity(plan.edits().len());
    let mut bearing = HashSet::new();
    for edit in plan.edits() {
        let name = HeaderName::from_bytes(edit.name.as_bytes())
            .map_err(|_| EditError::Header(Arc::clone(&edit.name)))?;
        let ready = ready(&edit.change, &edit.name, values)?;
        if matches!(ready, Ready::Set(_, Some(_))) {
            bearing.insert(folded(&name));
        }
        edits.push((Arc::clone(&edit.name), name, ready));
    }
    let mut dropped = HashSet::new();
    for name in &bearing {
        if remove(headers, name) {
            dropped.insert(name.clone());
        }
    }
    let mut applied = Applied::default();
    let mut carried: Vec<(String, Arc<str>)> = Vec::new();
    for (written, name, ready) in edits {
        let key = folded(&name);
        let changed = match ready {
            Ready::Set(value, secret) => {
                remove(headers, &key);
                headers.insert(name, value);
                carried.retain(|(other, _)| *other != key);
                carried.extend(secret.map(|secret| (key.clone(), secret)));
                true
            }
            Ready::Insert(value) => {
                let absent = !headers.keys().any(|other| folded(other) == key);
                if absent {
                    headers.insert(name, value);
                }
                absent
            }
            Ready::Remove => {
                carried.retain(|(other, _)| *other != key);
                remove(headers, &key)
            }
        };
        if (changed || dropped.contains(&key)) && !applied.changed.contains(&written) {
            applied.changed.push(written);
        }
    }
    for (_, secret) in carried {
        if !applied.secrets.contains(&secret) {
            applied.secrets.push(secret);
        }
    }
    Ok(applied)
}

/// The headers that a plan decides: what a client writes behind its body by one of these names does not follow it.
pub(super) fn decided(plan: &Plan) -> HashSet<String> {
    let decides = |change: &Change| !matches!(change, Change::Insert(EditValue::Text(_)));
    let edits = plan.edits().iter().filter(|edit| decides(&edit.change));
    edits
        .filter_map(|edit| HeaderName::from_bytes(edit.name.as_bytes()).ok())
        .map(|name| folded(&name))
        .collect()
}

/// Removes every header of these folded names.
pub(super) fn keep_out(names: &HashSet<String>, fields: &mut HeaderMap) {
    for name in names {
        remove(fields, name);
    }
}

/// A change with its value.
fn ready(
    change: &Change,
    header: &Arc<str>,
    values: &mut dyn FnMut(&SecretUse) -> Option<Revealed>,
) -> Result<Ready, EditError> {
    let text = |text: &str| HeaderValue::from_str(text).map_err(|_| EditError::Header(Arc::clone(header)));
    match change {
        Change::Set(EditValue::Text(value)) => Ok(Ready::Set(text(value)?, None)),
        Change::Insert(EditValue::Text(value)) => text(value).map(Ready::Insert),
        Change::Set(EditValue::Secret(used)) | Change::Insert(EditValue::Secret(used)) => {
            let value = values(used).ok_or_else(|| EditError::Unavailable(Arc::clone(&used.name)))?;
            let refused = || EditError::Value { secret: Arc::clone(&used.name), header: Arc::clone(header) };
            let value = formatted(used, &value).ok_or_else(refused)?;
            Ok(Ready::Set(value, Some(Arc::clone(&used.name))))
        }
        Change::Remove => Ok(Ready::Remove),
    }
}

/// A secret's value with what is written around it, marked as not to be shown.
fn formatted(used: &SecretUse, value: &Revealed) -> Option<HeaderValue> {
    let (before, after) = used.format.parts();
    let value = value.expose();
    if value.is_empty() {
        return None;
    }
    // SECURITY: `concat` makes room for everything at once, so that growing leaves no copy behind.
    let whole = Zeroizing::new([before.as_bytes(), value, after.as_bytes()].concat());
    let mut field = HeaderValue::from_bytes(&whole).ok()?;
    field.set_sensitive(true);
    Some(field)
}

/// Removes every header with this folded name; says whether there was one.
fn remove(headers: &mut HeaderMap, name: &str) -> bool {
    let found: Vec<HeaderName> = headers.keys().filter(|other| folded(other) == name).cloned().collect();
    for name in &found {
        headers.remove(name);
    }
    !found.is_empty()
}

/// A name with `-` for whatever is no letter or digit.
fn folded(name: &HeaderName) -> String {
    name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests;
