//! Asks the policy a question without sending a packet: the same functions, in the same order, as a call would.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::Serialize;

use crate::addr::{Host, Target};
use crate::policy::hello::HelloFacts;
use crate::policy::{Cause, Denial, Policy, RequestFacts, Route, RuleId, TargetPermit};

mod question;

pub use question::{Question, QuestionError};

/// A denial that a document under `enforcement: Report` would have made.
#[derive(Debug, Clone, Serialize)]
pub struct Reported {
    /// Why.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

/// The answer to a [`Question`], as people and programs read it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// The reason of a denial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The target in canonical form.
    pub target: String,
    /// The deciding document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<str>>,
    /// The kind of its scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'static str>,
    /// The deciding rule; none for `defaultAction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// That rule's list and position.
    #[serde(skip)]
    pub rule_id: Option<RuleId>,
    /// Where that rule stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The path that the call would take: `managed` or `delegated`.
    pub route: &'static str,
    /// The network of that path.
    pub network: Arc<str>,
    /// What its sockets leave by, where the process configuration is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    /// Who is asked for its names, where the process configuration is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<String>,
    /// What puts the name on the managed path, where documents delegate: a part of `managedPath`, or `platform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// The entry of `securityRules` that allows the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_rule: Option<String>,
    /// Whether some document that applies is not asked (`skipEgressProxy`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip: bool,
    /// The document that says so: it and those above it are not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped_by: Option<String>,
    /// What happened, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What a reporting document would have denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<Reported>,
    /// The rule on whose path or methods, or on whose new place, the verdict about the name hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hangs_on: Option<String>,
    /// Whether TLS is decrypted; nothing for a request in plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decrypted: Option<bool>,
    /// What happens to headers, in order: `Set authorization`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// The secrets that go with the request, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Where the request goes instead, as a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewritten: Option<String>,
    /// What is not decided yet.
    pub open: Vec<Cow<'static, str>>,
}

/// One way out, as the process configuration describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayOut {
    /// What its sockets leave by.
    pub uplink: String,
    /// Who is asked for its names.
    pub resolver: String,
}

/// The ways out by the names of their networks.
pub type WaysOut = BTreeMap<Arc<str>, WayOut>;

impl Answer {
    /// The same with what is known of the way out that the call would take.
    #[must_use]
    pub fn by(self, ways: &WaysOut) -> Self {
        let way = ways.get(&self.network);
        let (uplink, resolver) = (way.map(|way| way.uplink.clone()), way.map(|way| way.resolver.clone()));
        Self { uplink, resolver, ..self }
    }

    /// Whether the call would go on.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        self.verdict == "allow"
    }
}

/// What is found on the way to an answer.
#[derive(Default)]
struct Seen {
    would_deny: Option<Denial>,
    hangs_on: Option<String>,
    decrypted: Option<bool>,
    headers: Vec<String>,
    secrets: Vec<String>,
    rewritten: Option<String>,
    /// The path, and what puts the name on the managed one.
    path: Option<(Route, Option<String>)>,
    leads: Leads,
    security_rule: Option<String>,
    skip: bool,
}

/// What becomes of the name at last.
#[derive(Debug, Clone, Copy, Default)]
enum Leads {
    /// Its address is known, and judged.
    #[default]
    Judged,
    /// It is resolved when the call is made, and what it leads to judged then.
    Resolved,
    /// The parent proxy of its path gets it as it is.
    ByName,
}

impl Seen {
    /// Notes the path of a permit.
    fn goes(&mut self, policy: &Policy, permit: &TargetPermit) {
        self.path = Some((permit.route().clone(), policy.managed_by(permit.target())));
    }
}

/// Answers `question` under `policy`.
#[must_use]
pub fn answer(policy: &Policy, question: &Question) -> Answer {
    let mut seen = Seen::default();
    let judged = question.judged();
    let answer = match ask(policy, question, &mut seen) {
        Ok(cause) => {
            let reported = seen.would_deny.as_ref().map(|denial| Reported {
                reason: denial.reason().as_str(),
                message: denial.message(&judged.to_string()),
            });
            let open = open(question, &seen);
            Answer { would_deny: reported, open, ..described("allow", &question.target, Some(&cause)) }
        }
        Err(denial) => Answer {
            reason: Some(denial.reason().as_str()),
            message: Some(denial.message(&judged.to_string())),
            hint: denial.hint(Some(&judged)),
            ..described("deny", &question.target, denial.cause())
        },
    };
    let Seen { hangs_on, decrypted, headers, secrets, rewritten, path, security_rule, skip, .. } = seen;
    let (route, managed_by) = path.unwrap_or_else(|| (policy.route(&judged), policy.managed_by(&judged)));
    let (route, network) = match &route {
        Route::Managed => ("managed", Arc::from(Route::MANAGED)),
        Route::Delegated(network) => ("delegated", Arc::clone(network)),
    };
    let skipped_by =
        policy.skipping().filter(|_| skip).map(|by| format!("{} `{}`", by.scope().kind(), by.name()));
    let answer = Answer { route, network, managed_by, security_rule, skip, skipped_by, ..answer };
    Answer { hangs_on, decrypted, headers, secrets, rewritten, ..answer }
}

/// What is not decided yet.
fn open(question: &Question, seen: &Seen) -> Vec<Cow<'static, str>> {
    let mut open = Vec::new();
    let mut say = |text: &'static str| open.push(Cow::Borrowed(text));
    match seen.leads {
        Leads::Judged => {}
        Leads::Resolved => say("address: each address the name resolves to is judged before it is dialled"),
        Leads::ByName => say("address: the parent proxy resolves the name, and no address is judged here"),
    }
    match (&question.request, seen.decrypted) {
        (None, Some(true)) => say(
            "inside: the SNI and Host must name the same target; TLS is decrypted, and HTTP is judged request by request",
        ),
        (None, Some(false) | None) => {
            say("inside: the SNI or Host must name the same target; plain HTTP is judged request by request");
        }
        (Some(_), Some(false)) => {
            say("request: TLS to this host is not decrypted, so that the request is not seen");
        }
        (Some(_), Some(true) | None) => {}
    }
    if let (Some(rule), None) = (&seen.hangs_on, &question.request) {
        open.push(Cow::Owned(format!(
            "request: the verdict hangs on {rule}, and each request is judged by its method and path; ask about one with its method"
        )));
    }
    open
}

/// The questions in their order: A, then C or the tunnel, then where it leads.
fn ask(policy: &Policy, question: &Question, seen: &mut Seen) -> Result<Cause, Denial> {
    let permit =
        if question.redirected { redirected(policy, question)? } else { asked_for(policy, question)? };
    seen.goes(policy, &permit);
    seen.skip = permit.is_skipped();
    seen.hangs_on = permit.open().and_then(Cause::rule);
    seen.would_deny = permit.would_deny().cloned();
    let mut cause = permit.cause().clone();
    let sealed = question.secure || question.request.is_none();
    seen.decrypted = sealed.then(|| policy.decrypts(&permit));
    let mut rewritten = None;
    match &question.request {
        Some((method, path)) if seen.decrypted != Some(false) => {
            let facts = RequestFacts { method, path, secure: question.secure };
            let mut request = policy.admit_request(&permit, &facts)?;
            let reported = request.would_deny().cloned();
            seen.would_deny = seen.would_deny.take().or(reported);
            cause = request.cause().clone();
            seen.headers = request.plan().edits().iter().map(ToString::to_string).collect();
            seen.secrets = request.plan().secrets().map(|used| used.name.to_string()).collect();
            rewritten = request.rewritten();
            seen.rewritten = rewritten.as_ref().map(|new| new.url(path));
        }
        Some(_) | None if seen.decrypted == Some(true) => {}
        Some(_) | None => policy.admit_sealed(&permit)?,
    }
    let permit = rewritten.map_or(permit, |new| {
        seen.goes(policy, &new.permit);
        new.permit
    });
    lead(policy, &permit, question.address, seen)?;
    Ok(cause)
}

/// What is asked before a connection is opened: whether a parent proxy gets the name, else question B of the address.
fn lead(
    policy: &Policy,
    permit: &TargetPermit,
    given: Option<IpAddr>,
    seen: &mut Seen,
) -> Result<(), Denial> {
    if policy.admit_by_name(permit)?.is_some() {
        seen.leads = Leads::ByName;
        return Ok(());
    }
    let Some(address) = permit.target().host().ip().or(given) else {
        seen.leads = Leads::Resolved;
        return Ok(());
    };
    let judged = policy.admit_address(permit, address)?;
    seen.security_rule = judged.network_rule().and_then(Cause::rule);
    seen.would_deny = seen.would_deny.take().or_else(|| judged.would_deny().cloned());
    Ok(())
}

/// Question A for what a client of the proxy asks for, and for the TLS inside.
fn asked_for(policy: &Policy, question: &Question) -> Result<TargetPermit, Denial> {
    let permit = policy.admit(&question.target)?;
    match &question.tls {
        Some(Some(name)) => policy.admit_alias(permit, &Host::Name(name.clone())),
        Some(None) => policy.admit_nameless_tls(&permit).map(|()| permit),
        None => Ok(permit),
    }
}

/// The same for a client that was redirected on its way to the target: where that is an address, what the TLS inside says
/// of it comes in its place.
fn redirected(policy: &Policy, question: &Question) -> Result<TargetPermit, Denial> {
    let Some(ip) = question.target.host().ip() else { return asked_for(policy, question) };
    let address = policy.admit_redirected(Some(SocketAddr::new(ip, question.target.port().get())))?;
    match &question.tls {
        Some(name) => {
            let hello = HelloFacts { server_name: name.as_ref(), ech: false };
            policy.admit_redirected_hello(&address, hello)
        }
        None => policy.admit(&address),
    }
}

/// The part of an answer that names who decided.
fn described(verdict: &'static str, target: &Target, cause: Option<&Cause>) -> Answer {
    Answer {
        verdict,
        reason: None,
        target: target.to_string(),
        policy: cause.map(|cause| Arc::clone(cause.policy())),
        scope: cause.map(|cause| cause.scope().kind()),
        rule: cause.and_then(Cause::rule),
        rule_id: cause.and_then(Cause::rule_id),
        place: cause.map(|cause| cause.place().to_string()),
        route: "managed",
        network: Arc::from(Route::MANAGED),
        uplink: None,
        resolver: None,
        managed_by: None,
        security_rule: None,
        skip: false,
        skipped_by: None,
        message: None,
        hint: None,
        would_deny: None,
        hangs_on: None,
        decrypted: None,
        headers: Vec::new(),
        secrets: Vec::new(),
        rewritten: None,
        open: Vec::new(),
    }
}
