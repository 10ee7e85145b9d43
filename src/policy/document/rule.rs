//! `rules`: ordered, by host, path and method.

use std::collections::HashSet;
use std::sync::Arc;

use super::change::Changes;
use super::metadata::name;
use super::{Rule, header, pattern, transform};
use crate::policy::mode::Inspection;
use crate::policy::path_pattern::PathPattern;
use crate::policy::pattern::Pattern;
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
    let action = fields.require("action").and_then(|spot| transform::action(&spot));
    let looks = facts.as_ref().is_some_and(|facts| facts.path.is_some() || facts.methods.is_some());
    let changes = action.as_ref().is_some_and(|(_, changes)| changes.is_some());
    if inspection == Inspection::None && (looks || changes) {
        let (what, cure) = if changes {
            ("a Transform or Rewrite changes the request", "write `Allow` or `Deny`")
        } else {
            ("a rule with a path or methods needs to see the request", "remove the path and methods")
        };
        item.error_cure(
            format!("{what}, but `trafficInspection` is `None`"),
            format!("{cure}, or write `trafficInspection: Partial`"),
        );
    }
    if let (Some(facts), Some((_, Some(changes)))) = (&facts, &action) {
        bound(item, &facts.host, changes);
    }
    if item.decoder().errors() > before {
        return None;
    }
    let Facts { host, path, methods } = facts?;
    let (action, changes) = action?;
    Some(Rule { name, host, path, methods, action, changes: changes.map(Arc::new), place: item.place() })
}

/// Reports values that could be sent nowhere: over plain HTTP, or to no host that is known.
fn bound(item: &Spot<'_>, host: &Pattern, changes: &Changes) {
    let plain = changes.place.as_ref().is_some_and(|place| place.secure == Some(false));
    if plain && changes.has_references() {
        item.error_cure(
            "a `valueRef` is sent over verified TLS only, and this Rewrite leads to plain HTTP",
            "write `scheme: https`, or remove the `valueRef`",
        );
    }
    // SECURITY: without one host, the token would go wherever the sandbox asks to.
    if changes.has_identities() && changes.home(host).is_none() {
        item.error_cure(
            format!(
                "a `managedIdentityRef` is sent to one host, and {} is a pattern",
                quoted(&host.to_string())
            ),
            "write one rule for each host that needs the token",
        );
    }
}

/// A decoded `match`.
struct Facts {
    /// The hosts.
    host: Pattern,
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
        if !header::is_token(text) {
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
