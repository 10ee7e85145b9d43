//! `rules`: ordered, by host, path and method.

use std::collections::HashSet;
use std::sync::Arc;

use super::metadata::name;
use super::transform::{self, Verb};
use super::{Rule, RuleAction, pattern};
use crate::policy::mode::Inspection;
use crate::policy::path_pattern::PathPattern;
use crate::source::{Kind, Spot, quoted};

/// The keys of a `rules` entry.
pub(crate) const RULE_KEYS: [&str; 3] = ["name", "match", "action"];
/// The keys of `match`.
pub(crate) const MATCH_KEYS: [&str; 3] = ["host", "path", "methods"];
/// The methods whose lower-case spelling is certainly a slip.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// `rules`, in order.
pub(super) fn rules(spot: &Spot<'_>, inspection: Inspection) -> Vec<Rule> {
    let mut names: HashSet<Arc<str>> = HashSet::new();
    spot.each(|item| {
        let rule = rule(&item, inspection)?;
        if let Some(name) = rule.name.as_ref().filter(|name| !names.insert(Arc::clone(name))) {
            item.warn(
                format!("another rule is named {} too", quoted(name)),
                "records could not tell them apart: rename one",
            );
        }
        Some(rule)
    })
}

/// One `rules` entry.
fn rule(item: &Spot<'_>, inspection: Inspection) -> Option<Rule> {
    let fields = item.fields(&RULE_KEYS)?;
    let before = item.decoder().errors();
    let name = fields.get("name").and_then(|spot| name(&spot));
    let facts = fields.require("match").and_then(|spot| facts(&spot));
    let verb = fields.require("action").and_then(|spot| transform::action(&spot));
    if matches!(verb, Some(Verb::Transform | Verb::Rewrite)) {
        item.error_cure(
            "a Transform or Rewrite needs interception, which this version does not have",
            "write `Allow` or `Deny`, or remove the rule",
        );
    }
    let inside = facts.as_ref().is_some_and(|facts| facts.path.is_some() || facts.methods.is_some());
    if inside {
        match inspection {
            Inspection::None => item.error_cure(
                "a rule with a path or methods needs to see the request, but `trafficInspection` is `None`",
                "remove the path and methods, or write `trafficInspection: Partial`",
            ),
            Inspection::Partial => item.warn(
                "this version does not decrypt TLS: the rule decides plain HTTP; over TLS the host is denied `rule_denied`",
                "remove the path and methods to decide by host",
            ),
            Inspection::Legacy | Inspection::Full => {}
        }
    }
    if item.decoder().errors() > before {
        return None;
    }
    let Facts { host, path, methods } = facts?;
    let action = match verb? {
        Verb::Allow => RuleAction::Allow,
        Verb::Deny => RuleAction::Deny,
        Verb::Transform | Verb::Rewrite => return None,
    };
    Some(Rule { name, host, path, methods, action, place: item.place() })
}

/// A decoded `match`.
struct Facts {
    /// The hosts.
    host: crate::policy::pattern::Pattern,
    /// The paths.
    path: Option<PathPattern>,
    /// The methods.
    methods: Option<Box<[Box<str>]>>,
}

/// `match`.
fn facts(spot: &Spot<'_>) -> Option<Facts> {
    let fields = spot.fields(&MATCH_KEYS)?;
    let host = fields.require("host").and_then(|spot| pattern(&spot));
    let path = fields.get("path").and_then(|spot| path(&spot));
    let methods = fields.get("methods").map(|spot| methods(&spot));
    Some(Facts { host: host?, path, methods })
}

/// A path pattern.
pub(super) fn path(spot: &Spot<'_>) -> Option<PathPattern> {
    match spot.text()?.parse() {
        Ok(path) => Some(path),
        Err(error) => {
            spot.error(error.to_string());
            None
        }
    }
}

/// Methods: tokens of RFC 9110 §5.6.2, at least one.
fn methods(spot: &Spot<'_>) -> Box<[Box<str>]> {
    if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
        spot.error_cure("lists no method", "leave `methods` out for any method");
    }
    let mut methods: Vec<Box<str>> = Vec::new();
    for item in spot.items() {
        let Some(text) = item.text() else { continue };
        let upper = text.to_ascii_uppercase();
        if !transform::is_token(text) {
            item.error(format!("{} is not a method", quoted(text)));
        } else if upper != text && METHODS.contains(&upper.as_str()) {
            item.error_cure(
                format!("methods are case-sensitive, and {} is none", quoted(text)),
                format!("did you mean `{upper}`?"),
            );
        } else if !methods.iter().any(|known| **known == *text) {
            methods.push(text.into());
        }
    }
    methods.into_boxed_slice()
}
