//! What became wider in `rules`, whose order decides.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::Told;
use crate::policy::compile::{Compiled, RuleEntry};
use crate::policy::decision::RuleId;
use crate::policy::document::{Changes, HeaderChange, HeaderValue, RuleAction};
use crate::policy::mode::{Action, Enforcement, Inspection, Scope};
use crate::policy::pattern::{Pattern, PatternKind};

/// So many patterns are compared with each Allow of `rules` that is gone.
const MOST_COMPARED: usize = 256;
/// So many of those are compared.
const MOST_LINES: usize = 1_000;

/// One of `rules`, as it is compared.
struct Line {
    rule: RuleId,
    /// All that it says but its name.
    key: String,
    /// It in words.
    said: String,
    action: RuleAction,
    /// Its host.
    host: Option<Pattern>,
    /// The place of its twin in the other version.
    twin: Option<usize>,
}

/// What one version lets through by `rules` that the one before it did not.
pub(super) fn rules(before: Option<&Compiled>, after: &Compiled, told: &mut Told) {
    let (mut old, mut new) = (before.map(lines).unwrap_or_default(), lines(after));
    pair(&mut old, &mut new);
    for line in new.iter().filter(|line| line.twin.is_none() && line.grants()) {
        told.say(|| format!("{} is new: {} ({})", line.rule, line.said, after.place_of(Some(line.rule))));
    }
    let Some(before) = before else { return };
    let gone: Vec<&Line> = old.iter().filter(|line| line.twin.is_none()).collect();
    let rest = Rest::of(after, &gone);
    for line in gone {
        let why = match line.action {
            RuleAction::Deny | RuleAction::Transform | RuleAction::Rewrite => "",
            RuleAction::Allow if rest.asks_less(line) => ", and what else allows it asks for less",
            RuleAction::Allow => continue,
        };
        let place = before.place_of(Some(line.rule));
        told.say(|| format!("{} is gone: {}{why} (it was at {place})", line.rule, line.said));
    }
    moved(&new, |line| {
        let place = after.place_of(Some(line.rule));
        let order = if line.grants() {
            "is in front of rules that it was behind"
        } else {
            "is behind a rule that grants"
        };
        told.say(|| format!("{} {order}: {} ({place})", line.rule, line.said));
    });
}

/// The places that a document sends requests to which those below it may deny, as they are not asked about them.
pub(super) fn elsewhere(after: &Compiled, told: &mut Told) {
    if matches!(after.scope(), Scope::Sandbox { .. }) {
        return;
    }
    for line in lines(after).iter().filter(|line| line.action == RuleAction::Rewrite) {
        told.say(|| format!("{} is new: {} ({})", line.rule, line.said, after.place_of(Some(line.rule))));
    }
}

/// What a document allows by else than the `rules` that are gone.
struct Rest<'c> {
    after: &'c Compiled,
    /// It allows addresses.
    addresses: bool,
    /// What it allows by; None: everything, or too much to compare.
    granting: Option<Vec<Pattern>>,
}

impl<'c> Rest<'c> {
    /// What `after` allows, for these lines to be asked of.
    fn of(after: &'c Compiled, gone: &[&Line]) -> Self {
        let addresses = after.cidr_rules().any(|entry| entry.action == Action::Allow);
        let lets_all = after.default_action() == Action::Allow || after.enforcement() == Enforcement::Report;
        let is_all = lets_all || gone.len() > MOST_LINES;
        let granting = || {
            let hosts = super::host::granted(after).map(|(text, _)| text);
            let rules = after.rules().filter(|entry| entry.action != RuleAction::Deny);
            hosts.chain(rules.map(|entry| entry.host)).map(|text| text.parse().ok()).collect()
        };
        let is_all = is_all || after.rule_count() > MOST_COMPARED;
        Self { after, addresses, granting: if is_all { None } else { granting() } }
    }

    /// Whether it may allow what a line that is gone allowed, and asks for less of it: for no port of `ports`, for no server
    /// name of TLS to an address, or for no TLS that is decrypted.
    fn asks_less(&self, line: &Line) -> bool {
        let Some(host) = &line.host else { return true };
        let is_literal = |pattern: &Pattern| matches!(pattern.kind(), PatternKind::Ip(_));
        // A rule about an address is about those that carry it inside too.
        let meets = |own: &Pattern| own.may_meet(host) || (is_literal(own) && is_literal(host));
        let allows = || {
            let named = self.granting.as_ref().is_none_or(|all| all.iter().any(meets));
            named || (self.addresses && is_literal(host))
        };
        let unruled = self.after.default_action() == Action::Allow && !self.after.has_rules();
        let unread = self.after.inspection() < Inspection::Legacy;
        let beyond_ports = self.after.has_own_ports() || self.addresses;
        (beyond_ports && host.port().is_none()) || unruled || (unread && allows())
    }
}

/// Whether two versions have the same `rules` in the same order.
pub(super) fn same(before: &Compiled, after: &Compiled) -> bool {
    let keys = |document| lines(document).into_iter().map(|line| line.key);
    keys(before).eq(keys(after))
}

/// The `rules` of a document.
fn lines(document: &Compiled) -> Vec<Line> {
    let all = document.rules().zip(0_u32..);
    all.map(|(entry, id)| {
        let said = said(&entry);
        Line {
            rule: RuleId::Rule(id),
            key: format!("{said}{}", entry.changes.map(changed).unwrap_or_default()),
            said,
            action: entry.action,
            host: entry.host.parse().ok(),
            twin: None,
        }
    })
    .collect()
}

impl Line {
    /// Whether it lets something through.
    fn grants(&self) -> bool {
        self.action != RuleAction::Deny
    }
}

/// Gives each line its twin in the other version, the first ones to the first.
fn pair(old: &mut [Line], new: &mut [Line]) {
    let mut free: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, line) in old.iter().enumerate().rev() {
        free.entry(&line.key).or_default().push(place);
    }
    let twins: Vec<_> = new.iter().map(|line| free.get_mut(line.key.as_str()).and_then(Vec::pop)).collect();
    for (place, (line, twin)) in new.iter_mut().zip(twins).enumerate() {
        line.twin = twin;
        if let Some(old) = twin.and_then(|twin| old.get_mut(twin)) {
            old.twin = Some(place);
        }
    }
}

/// Shows the lines that explain every pair in which one that grants is in front of another that it was behind.
///
/// Of each such pair at least one is not in the longest part whose order stayed.
fn moved(new: &[Line], mut see: impl FnMut(&Line)) {
    let kept: Vec<(&Line, usize)> = new.iter().filter_map(|line| Some((line, line.twin?))).collect();
    let stayed = longest_increasing(&kept.iter().map(|(_, twin)| *twin).collect::<Vec<_>>());
    // Of all that come after each line: the smallest place that one had.
    let mut first_behind: Vec<usize> = Vec::with_capacity(kept.len());
    let mut least = usize::MAX;
    for (_, twin) in kept.iter().rev() {
        first_behind.push(least);
        least = least.min(*twin);
    }
    first_behind.reverse();
    // Of all that grant and come before it: the largest place that one had.
    let mut granting = None;
    for (((line, twin), behind), stayed) in kept.into_iter().zip(first_behind).zip(stayed) {
        let overtook = line.grants() && behind < twin;
        let overtaken = granting.is_some_and(|granting| granting > twin);
        if !stayed && (overtook || overtaken) {
            see(line);
        }
        if line.grants() {
            granting = granting.max(Some(twin));
        }
    }
}

/// Which numbers belong to a longest part in increasing order.
fn longest_increasing(numbers: &[usize]) -> Vec<bool> {
    // The place of the smallest last number of a part of each length, and for each number the place of the one before it.
    let (mut ends, mut before): (Vec<usize>, Vec<Option<usize>>) = (Vec::new(), Vec::new());
    for (place, number) in numbers.iter().enumerate() {
        let at = ends.partition_point(|end| numbers.get(*end).is_some_and(|end| end < number));
        before.push(at.checked_sub(1).and_then(|last| ends.get(last)).copied());
        match ends.get_mut(at) {
            Some(end) => *end = place,
            None => ends.push(place),
        }
    }
    let mut belongs = vec![false; numbers.len()];
    let mut next = ends.last().copied();
    while let Some(place) = next {
        if let Some(own) = belongs.get_mut(place) {
            *own = true;
        }
        next = before.get(place).copied().flatten();
    }
    belongs
}

/// What a rule is about and does, in words.
fn said(entry: &RuleEntry<'_>) -> String {
    let mut said = format!("{:?} of `{}", entry.action, entry.host);
    said.push_str(entry.path.unwrap_or_default());
    said.push('`');
    if let Some(methods) = &entry.methods {
        let mut methods = methods.clone();
        methods.sort_unstable();
        said.push_str(" for ");
        said.push_str(&methods.join(", "));
    }
    said
}

/// What a rule changes, so that two that change the same are equal wherever they stand.
fn changed(changes: &Changes) -> String {
    let mut text = format!("{:?}", changes.place);
    for edit in &changes.edits {
        let change = match &edit.change {
            HeaderChange::Set(value) => format!("Set {}", referred(value)),
            HeaderChange::Insert(value) => format!("Insert {}", referred(value)),
            HeaderChange::Remove => "Remove".to_owned(),
        };
        // Writing to a text cannot fail.
        let _ = write!(text, "{:?} {change};", edit.name);
    }
    text
}

/// The value of a header, without its place.
fn referred(value: &HeaderValue) -> String {
    match value {
        HeaderValue::Secret(used) => format!("{:?} {:?} {:?}", used.id, used.key, used.format),
        HeaderValue::Text(_) | HeaderValue::Identity(_) => format!("{value:?}"),
    }
}
