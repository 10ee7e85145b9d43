//! `rules[].action`: the verb, and for `Transform` and `Rewrite` everything they carry.

use super::change::{Changes, NewPlace};
use super::header::header;
use super::{RuleAction, pattern, rule};
use crate::policy::pattern::{Pattern, PatternKind};
use crate::source::{Fields, Kind, Spot, quoted};

/// The keys of an action in its mapping form.
pub(crate) const ACTION_KEYS: [&str; 5] = ["type", "host", "path", "scheme", "headers"];
/// The words for a verb.
const VERBS: [(&str, RuleAction); 4] = [
    ("Allow", RuleAction::Allow),
    ("Deny", RuleAction::Deny),
    ("Transform", RuleAction::Transform),
    ("Rewrite", RuleAction::Rewrite),
];

/// An action: a bare word, or a mapping with `type`; what it changes of a request.
pub(super) fn action(spot: &Spot<'_>) -> Option<(RuleAction, Option<Changes>)> {
    if spot.is_text() {
        let verb = spot.choice(&VERBS)?;
        match verb {
            RuleAction::Transform => {
                spot.error_cure("a Transform without headers", "write {type: Transform, headers: […]}");
            }
            RuleAction::Rewrite => {
                spot.error_cure("a Rewrite without a new place", "write {type: Rewrite, host: …}");
            }
            RuleAction::Allow | RuleAction::Deny => {}
        }
        return Some((verb, None));
    }
    let fields = spot.fields(&ACTION_KEYS)?;
    let verb = fields.require("type").and_then(|spot| spot.choice(&VERBS));
    let place = destination(&fields, verb);
    let headers = fields.get("headers").map(|spot| (spot, spot.each(|item| header(&item))));
    match (verb, &headers) {
        (Some(RuleAction::Allow | RuleAction::Deny), Some((headers, _))) => {
            headers.error_cure(
                "only Transform and Rewrite change headers",
                "write `type: Transform`, or remove `headers`",
            );
        }
        (Some(RuleAction::Transform), None) => {
            spot.error_cure("a Transform without headers", "add `headers`, or write `type: Allow`");
        }
        (Some(RuleAction::Transform), Some((headers, _))) if matches!(&headers.node().kind, Kind::List(items) if items.is_empty()) =>
        {
            headers.error_cure("a Transform without headers", "add an operation, or write `type: Allow`");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    let edits = headers.map(|(_, edits)| edits).unwrap_or_default();
    let verb = verb?;
    let changes = match verb {
        RuleAction::Allow | RuleAction::Deny => None,
        RuleAction::Transform => Some(Changes { edits, place: None }),
        RuleAction::Rewrite => Some(Changes { edits, place: Some(place) }),
    };
    Some((verb, changes))
}

/// `host`, `path` and `scheme`: of a Rewrite only, and at least one of them.
fn destination(fields: &Fields<'_>, verb: Option<RuleAction>) -> NewPlace {
    let host = fields.get("host");
    let path = fields.get("path");
    let scheme = fields.get("scheme");
    for (key, found) in [("host", host), ("path", path), ("scheme", scheme)] {
        if let (Some(found), Some(RuleAction::Allow | RuleAction::Deny | RuleAction::Transform)) =
            (found, verb)
        {
            found.error_cure(
                format!("only Rewrite has a new `{key}`"),
                "write `type: Rewrite`, or put it under `match`",
            );
        }
    }
    if verb == Some(RuleAction::Rewrite) && host.is_none() && path.is_none() && scheme.is_none() {
        fields.spot().error_cure(
            "a Rewrite without a new place",
            "add `host`, `path` or `scheme`, or write `type: Transform`",
        );
    }
    NewPlace {
        host: host.and_then(|spot| one_host(&spot)),
        path: path.and_then(|spot| one_path(&spot)),
        secure: scheme.and_then(|spot| spot.choice(&[("http", false), ("https", true)])),
    }
}

/// One host, and perhaps a port.
fn one_host(spot: &Spot<'_>) -> Option<Pattern> {
    let found = pattern(spot)?;
    if matches!(found.kind(), PatternKind::Exact(_) | PatternKind::Ip(_)) {
        return Some(found);
    }
    several(spot, &found.to_string());
    None
}

/// One path in canonical form.
fn one_path(spot: &Spot<'_>) -> Option<std::sync::Arc<str>> {
    let found = rule::path(spot)?.to_string();
    if found.contains('*') {
        several(spot, &found);
        return None;
    }
    Some(found.into())
}

/// Refuses a wildcard where one place is meant.
fn several(spot: &Spot<'_>, text: &str) {
    spot.error_cure(
        format!("{} is a pattern; a Rewrite goes to one place", quoted(text)),
        "write it without `*`",
    );
}
