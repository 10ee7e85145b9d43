//! The audit record's schema, `product.md` §4: one event is one line of JSON.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::change::Change;
use super::text::{Text, to_json};
use super::vocabulary::{Counted, Decision, Ingress, Kind, Outcome, Route, Scheme};
use crate::policy::Reason;
use crate::policy::mode::Scope;

/// The name of the schema, in each record.
pub const SCHEMA: &str = "sluicegate.audit/1";

/// One thing that happened. A field that is absent is not known, or does not apply.
///
/// As JSON it is the part of a line after `schema`, `seq` and `time`, which are given when it is queued.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Event {
    /// Its place in this process's audit log, from 1; 0 while it has none.
    #[serde(skip)]
    pub seq: u64,
    /// When it was queued.
    #[serde(skip)]
    pub time: Timestamp,
    /// Whether an `open` twin told the decision already.
    #[serde(skip)]
    pub(super) opened: bool,
    /// Whether it may go into a full queue, see [`super`]; what it may not is counted as lost.
    #[serde(skip)]
    pub(super) admitted: bool,
    /// Unique for this start of the process; shared by an `open` record and the record of the end.
    pub id: Arc<str>,
    /// What the record is about.
    pub kind: Kind,
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Why it was denied.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "reason_code")]
    #[schemars(with = "Option<String>")]
    pub reason: Option<Reason>,
    /// The document that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<str>>,
    /// The kind of scope of that document: `Global`, `Group` or `Sandbox`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "scope_kind")]
    #[schemars(with = "Option<String>")]
    pub scope: Option<Scope>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// The generation of the policy that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Arc<str>>,
    /// The sandbox's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Arc<str>>,
    /// The client's address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// The listener it came in by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Arc<str>>,
    /// The way in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// The HTTP method, or the type of a DNS query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Text>,
    /// The protocol that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The name or address that was asked for: canonical, or as it came when it has no canonical form. Where a request
    /// inside a tunnel to a literal names it in `Host`, and the literal was allowed, that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Text>,
    /// The port that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The path, without its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
    /// The server name of the TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<Text>,
    /// The address that was dialled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The path it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// The network it left by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Arc<str>>,
    /// Whether TLS was decrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspected: Option<bool>,
    /// Whether the `ClientHello` was encrypted, so that its visible name is only the outer one.
    #[serde(skip_serializing_if = "is_false")]
    pub ech: bool,
    /// The denial that a document under `enforcement: Report` did not carry out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<WouldDeny>,
    /// The secrets that were injected, as `id/key`; never values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Arc<str>>,
    /// The names of the headers that were changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers_changed: Vec<Arc<str>>,
    /// What was sent to the origin, where a rule rewrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// The HTTP status that the client got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// By which records the payload bytes are counted.
    #[serde(skip)]
    pub counted: Counted,
    /// Payload bytes from the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_up: Option<u64>,
    /// Payload bytes to the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_down: Option<u64>,
    /// Time for name resolution, in milliseconds.
    #[serde(rename = "dns_ms", skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    #[schemars(with = "Option<f64>")]
    pub dns: Option<Duration>,
    /// Time to connect to the origin, in milliseconds.
    #[serde(rename = "connect_ms", skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    #[schemars(with = "Option<f64>")]
    pub connect: Option<Duration>,
    /// Time for the TLS handshake with the origin, in milliseconds.
    #[serde(rename = "tls_ms", skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    #[schemars(with = "Option<f64>")]
    pub tls: Option<Duration>,
    /// Time to the origin's first byte, in milliseconds.
    #[serde(rename = "ttfb_ms", skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    #[schemars(with = "Option<f64>")]
    pub ttfb: Option<Duration>,
    /// Time from the record's opening to its end, in milliseconds.
    #[serde(rename = "duration_ms", skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    #[schemars(with = "Option<f64>")]
    pub duration: Option<Duration>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What went wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Text>,
    /// What is missing, in a `lost` record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// What became wider, in a `policy` record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Box<Change>>,
}

/// A denial that was only recorded.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WouldDeny {
    /// Why it would have been denied.
    #[serde(serialize_with = "shown")]
    #[schemars(with = "String")]
    pub reason: Reason,
    /// The document that would have denied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<str>>,
    /// The rule that would have denied it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
}

/// The destination after a rule rewrote it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Sent {
    /// The protocol.
    pub scheme: Scheme,
    /// The name or address.
    pub host: Text,
    /// The path, without its query.
    pub path: Text,
}

/// What is missing at this place of one sink.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Lost {
    /// The sink that it is missing from.
    pub sink: Arc<str>,
    /// Records that were dropped because the queue was full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Bytes of a last line that a killed process left unfinished, cut at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Event {
    /// An event about which nothing but its kind is known.
    pub(super) const fn new(kind: Kind, id: Arc<str>) -> Self {
        Self {
            seq: 0,
            time: Timestamp::UNIX_EPOCH,
            opened: false,
            admitted: true,
            id,
            kind,
            decision: None,
            reason: None,
            policy: None,
            scope: None,
            rule: None,
            generation: None,
            sandbox: None,
            group: None,
            client: None,
            listener: None,
            ingress: None,
            method: None,
            scheme: None,
            host: None,
            port: None,
            path: None,
            sni: None,
            address: None,
            route: None,
            network: None,
            inspected: None,
            ech: false,
            would_deny: None,
            secrets: Vec::new(),
            headers_changed: Vec::new(),
            sent: None,
            status: None,
            counted: Counted::Here,
            bytes_up: None,
            bytes_down: None,
            dns: None,
            connect: None,
            tls: None,
            ttfb: None,
            duration: None,
            outcome: None,
            error: None,
            lost: None,
            change: None,
        }
    }

    /// Whether this is an event that tells a decision: the first of a connection or request, or one that
    /// [overturns](Self::overturns) it.
    #[must_use]
    pub const fn decides(&self) -> bool {
        match self.kind {
            Kind::Open => true,
            Kind::Connection | Kind::Request | Kind::Query => !self.opened || self.overturns(),
            Kind::Policy | Kind::Admin | Kind::Lost => false,
        }
    }

    /// Whether this denies what its `open` twin allowed: what is inside of a tunnel, or under another policy.
    #[must_use]
    pub const fn overturns(&self) -> bool {
        self.opened && matches!(self.decision, Some(Decision::Deny))
    }

    /// Whether this is the one event that ends a connection, a request or a query.
    #[must_use]
    pub const fn ends(&self) -> bool {
        matches!(self.kind, Kind::Connection | Kind::Request | Kind::Query)
    }

    /// The JSON object without `schema`, `seq` and `time`.
    pub(super) fn body(&self) -> String {
        to_json(self)
    }
}

/// An event as it stands in the log, and what it can be found by.
#[derive(Debug)]
pub struct Line {
    /// Its place in this process's audit log.
    pub seq: u64,
    /// When it was queued.
    pub time: Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// What was decided.
    pub decision: Option<Decision>,
    /// Why it was denied.
    pub reason: Option<Reason>,
    /// The name or address that was asked for.
    pub host: Option<Text>,
    /// Who asked.
    pub sandbox: Option<Arc<str>>,
    /// The JSON object without `schema`, `seq` and `time`.
    body: Box<str>,
}

impl Line {
    /// The line of an event that has its place and time.
    pub(super) fn new(event: &Event, body: String) -> Self {
        Self {
            seq: event.seq,
            time: event.time,
            kind: event.kind,
            decision: event.decision,
            reason: event.reason,
            host: event.host.clone(),
            sandbox: event.sandbox.clone(),
            body: body.into_boxed_str(),
        }
    }

    /// A line that was kept in parts.
    pub(super) fn kept(
        (seq, time): (u64, Timestamp),
        (kind, decision, reason): (Kind, Option<Decision>, Option<Reason>),
        (host, sandbox): (Option<&str>, Option<&str>),
        body: &str,
    ) -> Self {
        let (host, sandbox) = (host.map(Text::new), sandbox.map(Arc::from));
        Self { seq, time, kind, decision, reason, host, sandbox, body: body.into() }
    }

    /// The JSON object without `schema`, `seq` and `time`.
    pub(super) fn body(&self) -> &str {
        &self.body
    }
}

impl fmt::Display for Line {
    /// The JSON object, without a line end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, time, body, .. } = self;
        let fields = body.strip_prefix('{').unwrap_or(body);
        write!(f, r#"{{"schema":"{SCHEMA}","seq":{seq},"time":"{time:.3}",{fields}"#)
    }
}

/// The JSON Schema of a record.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Event).to_value();
    let own = serde_json::json!({
        "schema": {"const": SCHEMA, "description": "The name of this schema."},
        "seq": {"type": "integer", "minimum": 1, "description": "Its place in this process's audit log."},
        "time": {"type": "string", "format": "date-time", "description": "RFC 3339, UTC, milliseconds."},
    });
    if let (Some(properties), serde_json::Value::Object(own)) =
        (schema.pointer_mut("/properties").and_then(serde_json::Value::as_object_mut), own)
    {
        properties.extend(own);
    }
    if let Some(root) = schema.as_object_mut() {
        // Only what every line has; lists and `ech` are left out when they are empty.
        root.insert("required".to_owned(), serde_json::json!(["schema", "seq", "time", "id", "kind"]));
        root.insert("title".to_owned(), SCHEMA.into());
    }
    schema
}

/// Writes the code of a reason.
#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde's calling convention")]
fn reason_code<S: Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::as_str).serialize(serializer)
}

/// Writes a value by its `Display`.
fn shown<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Writes the kind of a scope.
#[expect(clippy::ref_option, reason = "serde's calling convention")]
fn scope_kind<S: Serializer>(scope: &Option<Scope>, serializer: S) -> Result<S::Ok, S::Error> {
    scope.as_ref().map(Scope::kind).serialize(serializer)
}

/// Writes milliseconds, to the microsecond.
#[expect(clippy::ref_option, reason = "serde's calling convention")]
fn millis<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| (duration.as_secs_f64() * 1e6).round() / 1e3).serialize(serializer)
}

/// Whether a flag is off, and so left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's calling convention")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}
