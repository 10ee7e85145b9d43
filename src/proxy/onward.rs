//! What goes on of a request that was judged: where to, and with which headers.
//!
//! ```text
//! judged ─► another place? ─► what is for this hop goes ─► placeholders ─► the plan's edits, values of secrets last
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use http::header::{ACCEPT_ENCODING, HOST, IF_RANGE, RANGE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};

use super::Gateway;
use super::cover::Cover;
use super::exchange::Exchange;
use super::inject::{EditError, apply, decided};
use super::refusal::Refusal;
use crate::addr::{Host, Port, Target};
use crate::audit::{Scheme, Sent, Text};
use crate::policy::plan::{Elsewhere, SecretUse};
use crate::policy::{Denial, Plan, Policy, Reason, RequestPermit, TargetPermit};
use crate::secrets::Revealed;
use crate::secrets::placeholder::{self, Found, Parts, PlaceholderError};
use crate::wire::head::{Framing, Head, Upgrade};
use crate::wire::headers::{self, KeepUpgrade};
use crate::wire::request_target::Resource;

/// Where a judged request goes, and what is done to it on the way.
pub(super) struct Onward {
    /// The permit of the place.
    pub(super) permit: TargetPermit,
    /// Whom the certificate there must be for; None: it is reached in the clear.
    pub(super) proven: Option<Host>,
    /// It was rewritten.
    pub(super) is_elsewhere: bool,
    /// What the origin gets as `Host`.
    authority: String,
    /// The canonical path.
    path: Arc<str>,
    plan: Plan,
    /// Some rule decides by path or method.
    by_request: bool,
}

/// A request as the origin gets it.
pub(super) struct Dressed {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// The headers that the plan decides, by their folded names: nothing of the client's own may follow by these.
    pub(super) decided: HashSet<String>,
    /// The names of the secrets that are in it.
    pub(super) secrets: Vec<Arc<str>>,
    /// What keeps their values out of the answer.
    pub(super) cover: Option<Cover>,
}

/// The values that a request needs, and those that its answer may show besides.
#[derive(Default)]
struct Values {
    needed: Vec<(SecretUse, Revealed)>,
    shown: Vec<(SecretUse, Revealed)>,
}

impl Onward {
    /// Where the request for `path` goes that came for `named`; `outer` is what the TLS around it was opened for.
    pub(super) fn new(
        permit: TargetPermit,
        mut request: RequestPermit,
        (named, path): (Target, &str),
        outer: Option<&Host>,
    ) -> Self {
        let (plan, by_request) = (request.plan().clone(), request.decides_by_request());
        let rewritten = request.rewritten();
        let is_elsewhere = rewritten.is_some();
        let (permit, named, path, proven) = match rewritten {
            None => (permit, named, Arc::from(path), outer.cloned()),
            Some(to) => {
                let named = to.permit.target().clone();
                let proven = to.secure.then(|| named.host().clone());
                (to.permit, named, to.path.unwrap_or_else(|| path.into()), proven)
            }
        };
        let usual = if proven.is_some() { Port::HTTPS } else { Port::HTTP };
        let authority = if named.port() == usual { named.host().to_string() } else { named.to_string() };
        Self { permit, proven, is_elsewhere, authority, path, plan, by_request }
    }

    /// Where a rule sends it instead.
    pub(super) fn elsewhere(&self) -> Option<Elsewhere> {
        self.is_elsewhere.then(|| Elsewhere {
            target: self.permit.target().clone(),
            path: Arc::clone(&self.path),
            secure: self.proven.is_some(),
        })
    }

    /// What of it the record tells, where it goes to another place.
    pub(super) fn sent(&self) -> Sent {
        let scheme = if self.proven.is_some() { Scheme::Https } else { Scheme::Http };
        let host = Text::new(&self.permit.target().host().to_string());
        Sent { scheme, host, path: Text::new(&self.path) }
    }

    /// The request as the origin gets it; `fields` are the client's.
    ///
    /// # Errors
    /// A value cannot be had, or may not be sent there; a placeholder would go on as it is.
    pub(super) async fn dress(
        &self,
        (gateway, policy): (&Gateway, &Policy),
        (head, resource): (&Head, &Resource),
        fields: HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Dressed, Refusal> {
        let mut headers = self.headers(head, fields)?;
        let parts = Parts {
            method: head.method().as_str(),
            path: resource.path(),
            query: resource.query(),
            headers: &headers,
        };
        let found = placeholder::find(&parts).map_err(|error| misplaced(&error))?;
        let values = self.reveal((gateway, policy), &found, exchange).await?;
        let mut value = |found: &Found| values.of_placeholder(policy, self, found);
        placeholder::swap_headers(&mut headers, &mut value).map_err(|error| misplaced(&error))?;
        let query = resource.query().map(|query| placeholder::swap_query(query, &mut value)).transpose();
        let query = query.map_err(|error| misplaced(&error))?.flatten();
        let query = query.as_ref().map(|query| query.as_str()).or_else(|| resource.query());
        let uri = origin_form(&self.path, query)?;
        let mut applied =
            apply(&self.plan, &mut |used| values.of(used), &mut headers).map_err(|error| unedited(&error))?;
        for name in found.iter().filter_map(|found| self.stands_for(policy, found).ok()).map(|used| used.name)
        {
            if !applied.secrets.contains(&name) {
                applied.secrets.push(name);
            }
        }
        let cover = values.cover();
        if cover.as_ref().is_some_and(Cover::reads_bodies) {
            // What is encoded, or cut into ranges, cannot be searched.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            headers.remove(RANGE);
            headers.remove(IF_RANGE);
        }
        exchange.note(|event| event.headers_changed = applied.changed);
        Ok(Dressed { uri, headers, decided: decided(&self.plan), secrets: applied.secrets, cover })
    }

    /// The client's headers as far as they go on, before anything is put into them.
    fn headers(&self, head: &Head, mut fields: HeaderMap) -> Result<HeaderMap, Refusal> {
        let websocket = head.upgrade() == Upgrade::WebSocket;
        headers::strip_request(&mut fields, if websocket { KeepUpgrade::WebSocket } else { KeepUpgrade::No });
        if self.by_request {
            headers::remove_overrides(&mut fields);
        }
        let host = HeaderValue::from_str(&self.authority)
            .map_err(|_| Refusal::malformed("the target cannot stand in a Host header"))?;
        fields.insert(HOST, host);
        if head.framing() == Framing::Chunked {
            // Without it hyper takes a GET or HEAD to have no body, and drops the one it has.
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Ok(fields)
    }

    /// The values of the plan's secrets, of those that placeholders stand for, and of those that could.
    async fn reveal(
        &self,
        (gateway, policy): (&Gateway, &Policy),
        found: &[Found],
        exchange: &mut Exchange,
    ) -> Result<Values, Refusal> {
        let mut used: Vec<SecretUse> = self.plan.secrets().cloned().collect();
        for found in found {
            used.push(exchange.decide(|| self.stands_for(policy, found))?);
        }
        let mut values = Values::default();
        for used in used {
            if values.of(&used).is_some() {
                continue;
            }
            let value = gateway.secrets.reveal(&used.source).await.map_err(|why| {
                // Where values come from is not for a sandbox to know.
                exchange.note(|event| event.error = Some(Text::new(&why.to_string())));
                Denial::new(
                    Reason::SecretUnavailable,
                    format!("the value of the secret {} cannot be had", used.name),
                )
            })?;
            values.needed.push((used, value));
        }
        // SECURITY: S4: the sandbox may have had the origin keep one, and ask for it without a placeholder.
        for used in policy.placeholders_at(&self.permit) {
            if values.of(&used).is_none()
                && let Ok(value) = gateway.secrets.reveal(&used.source).await
            {
                values.shown.push((used, value));
            }
        }
        Ok(values)
    }

    /// What a placeholder stands for, where the request goes.
    fn stands_for(&self, policy: &Policy, Found { wanted, .. }: &Found) -> Result<SecretUse, Denial> {
        policy.admit_placeholder(&self.permit, &wanted.id, wanted.key.as_deref(), self.proven.is_some())
    }
}

impl Values {
    /// The value of a use.
    fn of(&self, used: &SecretUse) -> Option<Revealed> {
        let known =
            self.needed.iter().find(|(known, _)| known.source == used.source && known.name == used.name);
        known.map(|(_, value)| value.clone())
    }

    /// The value that a placeholder stands for.
    fn of_placeholder(&self, policy: &Policy, onward: &Onward, found: &Found) -> Option<Revealed> {
        self.of(&onward.stands_for(policy, found).ok()?)
    }

    /// What keeps them out of the answer.
    fn cover(self) -> Option<Cover> {
        let values = self.needed.into_iter().chain(self.shown).map(|(used, value)| (used.scrub, value));
        Some(values.collect::<Vec<_>>()).filter(|values| !values.is_empty()).map(Cover::new)
    }
}

/// The refusal of a placeholder that would go on as it is.
pub(super) fn misplaced(error: &PlaceholderError) -> Refusal {
    Denial::new(Reason::SecretUnavailable, error.to_string()).into()
}

/// The refusal of a request whose headers cannot be edited.
fn unedited(error: &EditError) -> Refusal {
    let reason = match error {
        EditError::Unavailable(_) | EditError::Value { .. } => Reason::SecretUnavailable,
        EditError::Header(_) => Reason::PolicyError,
    };
    Denial::new(reason, error.to_string()).into()
}

/// The target of the forwarded request.
fn origin_form(path: &str, query: Option<&str>) -> Result<Uri, Refusal> {
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    // What is wrong is not quoted: it may have a value in it.
    let target =
        PathAndQuery::try_from(target).map_err(|_| Refusal::malformed("the request target is malformed"))?;
    Ok(Uri::from(target))
}
