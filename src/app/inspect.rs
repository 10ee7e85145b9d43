//! What the admin server tells of the running gateway.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::enforcement::Enforcement;
use super::reconfigure::pending;
use crate::admin::{Check, ExplainQuery, Inspect};
use crate::explain::{Question, WaysOut, answer};
use crate::live::Live;
use crate::live::reload::Reloader;
use crate::policy::document::{HeaderChange, HeaderEdit, HeaderValue, NewPlace, SecurityRule, Toggle};
use crate::policy::{Compiled, Delegation};
use crate::proxy::Gateway;

/// The running gateway, as the admin server sees it.
pub(super) struct Inspector {
    pub(super) live: Live,
    pub(super) reloader: Reloader,
    pub(super) gateway: Arc<Gateway>,
    pub(super) ways: WaysOut,
    pub(super) enforcement: Option<Enforcement>,
}

impl Inspect for Inspector {
    fn readiness(&self) -> Vec<Check> {
        let last = self.reloader.last();
        let errors: Vec<String> =
            last.problems.iter().filter(|problem| problem.is_error()).map(ToString::to_string).collect();
        let mut detail = if errors.is_empty() {
            format!("generation {} with {} rules", last.generation, last.rules)
        } else {
            format!("the last load was rejected, generation {} stays: {}", last.generation, errors.join("; "))
        };
        if let Some(pending) = pending(&last.pending) {
            detail = format!("{detail}; {pending}");
        }
        let listening = !self.gateway.tasks.watcher().is_draining();
        let state = if listening { "taking connections" } else { "draining" };
        let mut checks = vec![
            // A rejected reload is told and leaves the last good policy in force: one broken file must not take every
            // replica out of service.
            Check { name: "policy", ok: true, detail },
            Check { name: "listeners", ok: listening, detail: state.to_owned() },
        ];
        checks.extend(self.enforcement.as_ref().map(Enforcement::check));
        checks
    }

    fn policy(&self) -> Value {
        let snapshot = self.live.current();
        let documents: Vec<Value> =
            snapshot.policies.documents().iter().map(|document| describe(document)).collect();
        json!({"generation": snapshot.generation, "documents": documents})
    }

    fn explain(&self, query: &ExplainQuery) -> Value {
        let question = Question::parse(&query.target, query.method.as_deref(), query.address);
        let question = question.and_then(|question| question.inside(query.sni.as_deref(), query.redirected));
        let question = match question {
            Ok(question) => question,
            Err(error) => return json!({"error": {"code": "bad_request", "message": error.to_string()}}),
        };
        let snapshot = self.live.current();
        let id = query.sandbox.as_deref().unwrap_or("default");
        let known = snapshot.registry.get(id);
        let group = known.map_or_else(|| snapshot.policies.group_of(id), |sandbox| sandbox.group.clone());
        let own = known.is_some_and(|sandbox| sandbox.require_policy);
        json!(answer(&snapshot.policies.policy_for(id, group.as_deref(), own), &question).by(&self.ways))
    }
}

/// A document in force: what it is, where it stands, and its rules as written.
fn describe(document: &Compiled) -> Value {
    let hosts = document.host_rules().map(|rule| json!({"pattern": rule.pattern, "action": rule.action}));
    let cidrs = document.cidr_rules().map(
        |rule| json!({"cidr": rule.net, "action": rule.action, "ports": rule.ports.map(ToString::to_string)}),
    );
    let rules = document.rules().map(|rule| {
        json!({"name": rule.name, "host": rule.host, "path": rule.path, "methods": rule.methods,
               "action": format!("{:?}", rule.action),
               "headers": rule.changes.map(|changes| changes.edits.iter().map(header).collect::<Vec<_>>()),
               "rewrite": rule.changes.and_then(|changes| changes.place.as_ref()).map(place)})
    });
    json!({
        "name": document.name(),
        "scope": document.scope().kind(),
        "appliesTo": document.scope().to_string(),
        "place": document.place().to_string(),
        "mode": document.mode(),
        "defaultAction": document.default_action(),
        "trafficInspection": document.inspection(),
        "enforcement": document.enforcement(),
        "limits": document.limits().iter().map(|(limit, most)| (limit.key(), most)).collect::<BTreeMap<_, _>>(),
        "ports": document.ports().map(ToString::to_string),
        "categories": document.categories().collect::<Vec<_>>(),
        "hostRules": hosts.collect::<Vec<_>>(),
        "cidrRules": cidrs.collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
        "vnet": document.vnet().map(vnet),
        "skipEgressProxy": document.skips(),
    })
}

/// What a document delegates, as written; in force in mode `VNet` only.
fn vnet(vnet: &Delegation) -> Value {
    let rules = vnet.security_rules().map(|rules| rules.iter().map(security_rule).collect::<Vec<_>>());
    json!({
        "network": vnet.network(),
        "securityRules": rules,
        "managedPath": {
            "switches": vnet.toggles().map(Toggle::label).collect::<Vec<_>>(),
            "remoteMcpServers": vnet.servers().collect::<Vec<_>>(),
            "additionalHosts": vnet.hosts().collect::<Vec<_>>(),
        },
    })
}

/// One `securityRules` entry.
fn security_rule(rule: &SecurityRule) -> Value {
    let any = || vec!["*".to_owned()];
    let nets = rule.destination.as_ref();
    json!({
        "name": rule.name, "priority": rule.priority, "action": rule.action, "protocol": rule.protocol.as_str(),
        "destination": nets.map_or_else(any, |nets| nets.iter().map(ToString::to_string).collect()),
        "ports": rule.ports.as_ref().map(ToString::to_string),
    })
}

/// A header operation. Its text is left out, as it may be a credential; a secret is told by its name.
fn header(edit: &HeaderEdit) -> Value {
    let (operation, value) = match &edit.change {
        HeaderChange::Set(value) => ("Set", Some(value)),
        HeaderChange::Insert(value) => ("Insert", Some(value)),
        HeaderChange::Remove => ("Remove", None),
    };
    let (secret, identity) = match value {
        Some(HeaderValue::Secret(secret)) => (Some(json!({"id": secret.id, "key": secret.key})), None),
        Some(HeaderValue::Identity(identity)) => (None, Some(&identity.resource)),
        Some(HeaderValue::Text(_)) | None => (None, None),
    };
    json!({"operation": operation, "name": edit.name, "secret": secret, "managedIdentity": identity})
}

/// Where a Rewrite leads.
fn place(place: &NewPlace) -> Value {
    let scheme = place.secure.map(|secure| if secure { "https" } else { "http" });
    json!({"host": place.host.as_ref().map(ToString::to_string), "path": place.path, "scheme": scheme})
}
