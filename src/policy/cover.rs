//! What can be said for certain of two patterns: that one matches all that the other does, or that they never meet.
//!
//! Nothing is decided by it. It serves warnings, which are given only when they are certain, and the list of what a change
//! of policy widened, which leaves out only what certainly widens nothing.

use std::collections::HashMap;

use super::path_pattern::{End, PathPattern, Segment};
use super::pattern::{LabelPattern, Pattern, PatternKind};
use super::wildcard::Wildcard;
use crate::addr::Host;

/// So many patterns with inner stars are tried one by one.
const MOST_INNER: usize = 64;

/// What one place of a name pattern takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label<'p> {
    /// This label.
    Text(&'p str),
    /// A label with a star inside.
    Part(&'p Wildcard),
    /// Any label.
    One,
}

impl Label<'_> {
    /// Whether it takes every label that another does.
    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::One, _) => true,
            (Self::Part(own), Self::Text(text)) => own.matches(text),
            (own, other) => own == other,
        }
    }

    /// Whether there may be a label that both take.
    fn may_meet(self, other: Self) -> bool {
        match (self, other) {
            (Self::Text(own), Self::Text(other)) => own == other,
            (Self::Text(text), Self::Part(part)) | (Self::Part(part), Self::Text(text)) => part.matches(text),
            (Self::One, _) | (_, Self::One) | (Self::Part(_), Self::Part(_)) => true,
        }
    }
}

/// The labels of a name pattern from the right, and whether one or more of any kind stand before them; `None` for a literal.
fn labels(pattern: &Pattern) -> Option<(Vec<Label<'_>>, bool)> {
    match pattern.kind() {
        PatternKind::Ip(_) => None,
        PatternKind::Any => Some((Vec::new(), true)),
        PatternKind::Exact(name) => Some((name.labels().rev().map(Label::Text).collect(), false)),
        PatternKind::Suffix(name) => Some((name.labels().rev().map(Label::Text).collect(), true)),
        PatternKind::Inner(inner) => {
            let fixed = inner.iter().rev().filter_map(|label| match label {
                LabelPattern::Literal(text) => Some(Label::Text(text)),
                LabelPattern::Part(part) => Some(Label::Part(part)),
                LabelPattern::One => Some(Label::One),
                LabelPattern::Many => None,
            });
            let open = matches!(inner.first(), Some(LabelPattern::Many));
            Some((fixed.collect(), open))
        }
    }
}

impl Pattern {
    /// Whether it matches whatever another one does. `false` where that is not certain.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.port().is_some() && self.port() != other.port() {
            return false;
        }
        let (Some((own, open)), Some((theirs, is_open))) = (labels(self), labels(other)) else {
            return self.kind() == other.kind();
        };
        let long_enough = if open {
            theirs.len() + usize::from(is_open) > own.len()
        } else {
            !is_open && theirs.len() == own.len()
        };
        long_enough && own.iter().zip(&theirs).all(|(own, other)| own.covers(*other))
    }

    /// Whether some host may match both. `true` where that is not certain.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        if self.port().zip(other.port()).is_some_and(|(own, other)| own != other) {
            return false;
        }
        let (Some((own, open)), Some((theirs, is_open))) = (labels(self), labels(other)) else {
            return self.kind() == other.kind();
        };
        let fits = match (open, is_open) {
            (true, true) => true,
            (true, false) => theirs.len() > own.len(),
            (false, true) => own.len() > theirs.len(),
            (false, false) => own.len() == theirs.len(),
        };
        fits && own.iter().zip(&theirs).all(|(own, other)| own.may_meet(*other))
    }

    /// The texts of patterns that may cover it, from the nearest: itself, `*.` before each end of it, `*`.
    pub(super) fn wider(&self, same_port: bool) -> Vec<String> {
        let mut hosts = vec![self.kind().to_string()];
        if let Some((labels, _)) = labels(self) {
            let texts = labels.iter().map_while(|label| match label {
                Label::Text(text) => Some(*text),
                Label::Part(_) | Label::One => None,
            });
            let mut end = String::new();
            let mut ends: Vec<String> = texts
                .map(|text| {
                    end = if end.is_empty() { text.to_owned() } else { format!("{text}.{end}") };
                    format!("*.{end}")
                })
                .collect();
            ends.reverse();
            hosts.extend(ends);
            hosts.push("*".to_owned());
        }
        let port = self.port().map(|port| format!(":{port}"));
        let with = |host: &String| port.as_ref().map(|port| format!("{host}{port}"));
        let bare = |host: &String| (port.is_none() || !same_port).then(|| host.clone());
        hosts.iter().flat_map(|host| [with(host), bare(host)]).flatten().collect()
    }
}

/// Patterns to look up those that cover another one; each with a number.
#[derive(Debug, Default)]
pub(super) struct Covering {
    known: HashMap<Box<str>, (Pattern, u32)>,
    inner: Vec<(Pattern, u32)>,
}

impl Covering {
    /// Patterns with their numbers; of equal ones the first counts.
    pub(super) fn of(patterns: impl Iterator<Item = (Pattern, u32)>) -> Self {
        let mut all = Self::default();
        for (pattern, number) in patterns {
            if matches!(pattern.kind(), PatternKind::Inner(_)) && all.inner.len() < MOST_INNER {
                all.inner.push((pattern.clone(), number));
            }
            all.known.entry(pattern.to_string().into()).or_insert((pattern, number));
        }
        all
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// One that covers a pattern, if that is certain; on the same port only, where that is asked for.
    pub(super) fn find(&self, pattern: &Pattern, same_port: bool) -> Option<(&Pattern, u32)> {
        let fits = |own: &Pattern| own.covers(pattern) && (!same_port || own.port() == pattern.port());
        let known = pattern
            .wider(same_port)
            .into_iter()
            .filter_map(|text| self.known.get(text.as_str()))
            .find(|(own, _)| fits(own));
        let (own, number) = known.or_else(|| self.inner.iter().find(|(own, _)| fits(own)))?;
        Some((own, *number))
    }
}

impl PathPattern {
    /// Whether every path that another pattern is about fits this one too, each in a rule that denies or does not. `false`
    /// where that is not certain.
    pub(super) fn covers(&self, deny: bool, other: &Self, other_denies: bool) -> bool {
        let (Some((own, end)), Some((theirs, their_end))) = (self.cut(deny), other.cut(other_denies)) else {
            return false;
        };
        if own.len() > theirs.len() || !own.iter().zip(theirs).all(|(own, other)| segment_covers(own, other))
        {
            return false;
        }
        match (end, theirs.get(own.len())) {
            (End::Subtree, _) => true,
            (End::Exact, next) => next.is_none() && their_end == End::Exact,
            (End::Open(begin), Some(next)) => begins(begin, next),
            (End::Open(begin), None) => match their_end {
                End::Open(next) => begins(begin, next),
                End::Exact | End::Subtree => false,
            },
        }
    }
}

/// A host that a pattern matches; of one that is about a single host, that.
pub(super) fn sample(pattern: &Pattern) -> Option<Host> {
    /// In the place of a star.
    const ANY: &str = "zq0";
    match pattern.kind() {
        PatternKind::Any => format!("{ANY}.{ANY}").parse().ok(),
        PatternKind::Exact(name) => Some(Host::Name(name.clone())),
        PatternKind::Ip(ip) => Some(Host::Ip(*ip)),
        kind @ (PatternKind::Suffix(_) | PatternKind::Inner(_)) => {
            kind.to_string().replace('*', ANY).parse().ok()
        }
    }
}

/// Whether a segment takes every text that another does.
fn segment_covers(own: &Segment, other: &Segment) -> bool {
    match (own, other) {
        (Segment::Part(own), Segment::Literal(text)) => own.matches(text),
        (own, other) => own == other,
    }
}

/// Whether whatever begins with, or is, a segment begins with another.
fn begins(begin: &Segment, next: &Segment) -> bool {
    match (begin, next) {
        (Segment::Literal(begin), _) if begin.is_empty() => true,
        (Segment::Literal(begin), Segment::Literal(next)) => next.starts_with(&**begin),
        (begin, next) => begin == next,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::addr::Port;

    /// A pattern of few and similar labels, perhaps with a port.
    fn pattern() -> impl Strategy<Value = Pattern> {
        let text = prop_oneof![
            1 => Just("*".to_owned()),
            6 => prop::collection::vec("a|b|ab|\\*|a\\*|\\*b|a\\*b", 1..4).prop_map(|labels| labels.join(".")),
            1 => Just("192.0.2.7".to_owned()),
        ];
        let port = prop_oneof![3 => Just(""), 1 => Just(":443"), 1 => Just(":80")];
        (text, port).prop_filter_map("no pattern", |(text, port)| format!("{text}{port}").parse().ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_certain_of_two_patterns_holds_for_every_host(
            one in pattern(),
            two in pattern(),
            name in "(a|b|ab|aab)(\\.(a|b|ab)){0,3}|192[.]0[.]2[.]7",
            port in prop::sample::select(vec![443_u16, 80, 22]),
        ) {
            let (host, port): (Host, _) = (name.parse().unwrap(), Port::new(port).unwrap());
            let (own, other) = (one.matches(&host, port), two.matches(&host, port));
            prop_assert!(!one.covers(&two) || own || !other, "{} covers {}, not at {}:{}", one, two, name, port);
            prop_assert!(one.may_meet(&two) || !own || !other, "{} meets {} at {}:{}", one, two, name, port);
            prop_assert!(one.covers(&one) && one.may_meet(&one));
            let sample = sample(&one).unwrap();
            prop_assert!(one.matches(&sample, one.port().unwrap_or(port)), "{} {}", one, sample);
            prop_assert_eq!(one.may_meet(&two), two.may_meet(&one));
            let found = Covering::of([(one.clone(), 0)].into_iter());
            prop_assert!(found.find(&two, false).is_none() || one.covers(&two));
            let plain = matches!(one.kind(), PatternKind::Inner(_)) || found.find(&two, false).is_some();
            prop_assert!(plain || !one.covers(&two), "{} covers {} and is not found", one, two);
        }

        #[test]
        fn what_is_certain_of_two_paths_holds_for_every_path(
            one in "/(a|b|a\\*|\\*b|\\*)?(/(a|ab|\\*|a\\*b)?)?(\\*)?",
            two in "/(a|b|a\\*|\\*b|\\*)?(/(a|ab|\\*|a\\*b)?)?(\\*)?",
            denies in any::<(bool, bool)>(),
            path in "/(a|b|ab|aab)?(/(a|ab|aab|b)?){0,2}",
        ) {
            let (Ok(one), Ok(two)) = (one.parse::<PathPattern>(), two.parse::<PathPattern>()) else { return Ok(()) };
            let certain = one.covers(denies.0, &two, denies.1);
            let (own, other) = (one.matches(&path, denies.0), two.matches(&path, denies.1));
            prop_assert!(!certain || own || !other, "{} covers {} but at {}", one, two, path);
            prop_assert!(one.covers(denies.0, &one, denies.0));
        }
    }

    #[test]
    fn a_wider_pattern_is_found_by_its_text() {
        for (wide, narrow, same_port) in [
            ("*", "a.example", true),
            ("*.example", "a.example", true),
            ("*.example", "*.a.example", true),
            ("*.example", "api-*.a.example", true),
            ("*.example", "a.example:443", false),
            ("*.example:443", "a.example:443", true),
            ("api-*.example", "api-1.example", true),
            ("192.0.2.7", "192.0.2.7:80", false),
        ] {
            let (wide, narrow): (Pattern, Pattern) = (wide.parse().unwrap(), narrow.parse().unwrap());
            let found = Covering::of([(wide.clone(), 7)].into_iter());
            assert_eq!(found.find(&narrow, same_port), Some((&wide, 7)), "{wide} {narrow}");
            let same = wide.port() == narrow.port();
            assert_eq!(found.find(&narrow, true).is_some(), same, "{wide} {narrow}");
        }
        let none: Pattern = "*.a.example".parse().unwrap();
        let found = Covering::of([(none, 0)].into_iter());
        assert!(found.find(&"a.example".parse().unwrap(), false).is_none());
    }
}
