//! What became wider in `rules`, whose order decides.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::Told;
use crate::policy::compile::{Compiled, RuleEntry};
use crate::policy::decision::RuleId;
use crate::policy::document::{Changes, HeaderChange, HeaderValue, RuleAction};
use crate::policy::mode::Action;
use crate::policy::pattern::Pattern;

/// One of `rules`, as it is compared.
struct Line {
    rule: RuleId,
    /// All that it says but its name.
    key: String,
    /// It in words.
    said: String,
    action: RuleAction,
    /// Its host has a port of its own, so that `ports` do not bound it.
    own_port: bool,
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
    let beyond_ports = after.has_own_ports() || after.cidr_rules().any(|entry| entry.action == Action::Allow);
    for line in old.iter().filter(|line| line.twin.is_none()) {
        let keeps_back = match line.action {
            RuleAction::Deny | RuleAction::Transform | RuleAction::Rewrite => true,
            // What `ports` kept from it may be let through by what comes after it.
            RuleAction::Allow => !line.own_port && beyond_ports,
        };
        if keeps_back {
            let place = before.place_of(Some(line.rule));
            told.say(|| format!("{} is gone: {} (it was at {place})", line.rule, line.said));
        }
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
        let port = entry.host.parse::<Pattern>().ok().and_then(|host| host.port());
        Line {
            rule: RuleId::Rule(id),
            key: format!("{said}{}", entry.changes.map(changed).unwrap_or_default()),
            said,
            action: entry.action,
            own_port: port.is_some(),
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
