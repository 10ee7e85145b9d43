//! From a located tree to typed values, collecting every problem on the way.
//!
//! A [`Spot`] is one node together with its path. Reading it as the wrong type reports that and yields nothing, so a
//! decoder is written as if all were well and still names everything that is not.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Arc;

use super::near::nearest;
use super::node::{Key, Kind, Node, Position};
use super::problem::{Place, Problem, quoted};

/// The problems of one file that are kept; further ones are counted.
const KEPT: usize = 1000;

/// Collects the problems of one file.
#[derive(Debug)]
pub struct Decoder {
    /// The file as the user named it.
    file: Arc<str>,
    /// What was found so far.
    found: RefCell<Found>,
}

/// The problems so far.
#[derive(Debug, Default)]
struct Found {
    /// The first ones.
    problems: Vec<Problem>,
    /// How many errors there were, kept or not.
    errors: usize,
    /// How many problems were counted only.
    beyond: usize,
}

impl Decoder {
    /// A decoder without problems.
    #[must_use]
    pub fn new(file: &Arc<str>) -> Self {
        Self { file: Arc::clone(file), found: RefCell::default() }
    }

    /// The file as the user named it.
    #[must_use]
    pub const fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The root of a document.
    #[must_use]
    pub const fn root<'a>(&'a self, node: &'a Node) -> Spot<'a> {
        Spot { decoder: self, node, parent: None, step: Step::Root }
    }

    /// How many errors were reported.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.found.borrow().errors
    }

    /// Takes a problem in. An error is always kept in preference to nothing: only the number is bounded.
    pub fn report(&self, problem: Problem) {
        let mut found = self.found.borrow_mut();
        if problem.is_error() {
            found.errors += 1;
        }
        if found.problems.len() < KEPT {
            found.problems.push(problem);
        } else {
            found.beyond += 1;
            // The first error is worth more than the last warning.
            if problem.is_error() && found.errors == 1 {
                found.problems.pop();
                found.problems.push(problem);
            }
        }
    }

    /// Everything that was reported, in order, and how many more there were.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        let Found { mut problems, beyond, .. } = self.found.into_inner();
        if beyond > 0 {
            let message = format!("{}: {beyond} more problems are not shown", self.file);
            problems.push(if problems.iter().any(Problem::is_error) {
                Problem::error(message)
            } else {
                Problem::warning(message)
            });
        }
        problems
    }
}

/// A node, and how it was reached.
#[derive(Debug, Clone, Copy)]
pub struct Spot<'a> {
    /// Where problems go.
    decoder: &'a Decoder,
    /// The node.
    node: &'a Node,
    /// The spot it was reached from.
    parent: Option<&'a Spot<'a>>,
    /// The last step of its path.
    step: Step<'a>,
}

/// One step of a path.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    /// The document.
    Root,
    /// The value of a key.
    Key(&'a str),
    /// An item of a list.
    Item(usize),
}

impl<'a> Spot<'a> {
    /// The node.
    #[must_use]
    pub const fn node(&self) -> &'a Node {
        self.node
    }

    /// The decoder that collects the problems.
    #[must_use]
    pub const fn decoder(&self) -> &'a Decoder {
        self.decoder
    }

    /// Where it is written.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(&self.decoder.file, self.node.at)
    }

    /// Its path inside the document: `spec.hostRules[3].pattern`.
    #[must_use]
    pub fn path(&self) -> String {
        let mut out = self.parent.map(Spot::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.extend(key.chars().take(80).map(super::problem::visible));
            }
            Step::Item(index) => {
                let _written = write!(out, "[{index}]");
            }
        }
        out
    }

    /// Reports an error here.
    pub fn error(&self, message: impl Into<String>) {
        self.decoder.report(Problem::error(message).at(self.place()).path(self.path()));
    }

    /// Reports an error here, with what would be right.
    pub fn error_cure(&self, message: impl Into<String>, cure: impl Into<String>) {
        self.decoder.report(Problem::error(message).at(self.place()).path(self.path()).cure(cure));
    }

    /// Reports a warning here, with what would be right.
    pub fn warn(&self, message: impl Into<String>, cure: impl Into<String>) {
        self.decoder.report(Problem::warning(message).at(self.place()).path(self.path()).cure(cure));
    }

    /// Whether it is a mapping.
    #[must_use]
    pub const fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    /// Whether it is text.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self.node.kind, Kind::Text(_))
    }

    /// The keys of a mapping that may have only these; each unknown one is reported.
    #[must_use]
    pub fn fields<'s>(&'s self, known: &'s [&'s str]) -> Option<Fields<'s>> {
        let entries = self.map()?;
        for (key, _) in entries {
            if !known.contains(&key.text.as_ref()) {
                self.unknown(key, known);
            }
        }
        Some(Fields { spot: self, entries })
    }

    /// The values of a mapping with free keys, each with its key.
    pub fn entries(&self) -> impl Iterator<Item = (&Key, Spot<'_>)> + '_ {
        self.map().unwrap_or_default().iter().map(move |(key, node)| {
            (key, Spot { decoder: self.decoder, node, parent: Some(self), step: Step::Key(&key.text) })
        })
    }

    /// The items of a list.
    #[must_use]
    pub fn items(&self) -> impl ExactSizeIterator<Item = Spot<'_>> + '_ {
        let items =
            if let Kind::List(items) = &self.node.kind { items.as_slice() } else { self.not_a_list() };
        items.iter().enumerate().map(move |(index, node)| Spot {
            decoder: self.decoder,
            node,
            parent: Some(self),
            step: Step::Item(index),
        })
    }

    /// Every item of a list that decodes.
    pub fn each<T>(&self, decode: impl FnMut(Spot<'_>) -> Option<T>) -> Vec<T> {
        self.items().filter_map(decode).collect()
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        if let Kind::Text(text) = &self.node.kind {
            return Some(text);
        }
        match &self.node.kind {
            Kind::Null => self.error("expected text, found nothing"),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) => {
                self.error_cure(format!("expected text, found {}", self.node.kind.noun()), "quote it");
            }
            Kind::List(items) => match items.as_slice() {
                [Node { kind: Kind::Text(inner), .. }] => {
                    self.error_cure("expected text, found a list", format!("quote it: \"[{inner}]\""));
                }
                _ => self.error("expected text, found a list"),
            },
            Kind::Map(_) | Kind::Text(_) => self.error("expected text, found a mapping"),
        }
        None
    }

    /// The text, when it is not empty, has no control characters and at most this many.
    #[must_use]
    pub fn word(&self, longest: usize) -> Option<&'a str> {
        let text = self.text()?;
        if text.is_empty() {
            self.error("is empty");
        } else if text.chars().any(char::is_control) {
            self.error(format!("{} has control characters", quoted(text)));
        } else if text.trim() != text {
            self.error(format!("{} starts or ends with white space", quoted(text)));
        } else if text.chars().count() > longest {
            self.error(format!("is longer than {longest} characters"));
        } else {
            return Some(text);
        }
        None
    }

    /// The boolean.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        if let Kind::Bool(value) = self.node.kind {
            return Some(value);
        }
        self.error_cure(
            format!("expected a boolean, found {}", self.node.kind.noun()),
            "write `true` or `false`",
        );
        None
    }

    /// The whole number, when it is in this range.
    #[must_use]
    pub fn integer(&self, least: u64, most: u64) -> Option<u64> {
        let Kind::Int(value) = self.node.kind else {
            self.error_cure(
                format!("expected a whole number, found {}", self.node.kind.noun()),
                format!("write a number from {least} to {most}, without quotes"),
            );
            return None;
        };
        match u64::try_from(value) {
            Ok(value) if (least..=most).contains(&value) => Some(value),
            Ok(_) | Err(_) => {
                self.error(format!("{value} is not in the range {least} to {most}"));
                None
            }
        }
    }

    /// One of these words.
    #[must_use]
    pub fn choice<T: Copy>(&self, known: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<String> = known.iter().map(|(word, _)| format!("`{word}`")).collect();
            let cure = match nearest(text, known.iter().map(|(word, _)| *word)) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("write {}", words.join(" or ")),
            };
            self.error_cure(format!("unknown value {}: expected {}", quoted(text), words.join(" or ")), cure);
        }
        found
    }

    /// The entries of a mapping, or a report that it is none.
    fn map(&self) -> Option<&'a [(Key, Node)]> {
        if let Kind::Map(entries) = &self.node.kind {
            return Some(entries);
        }
        self.error(format!("expected a mapping, found {}", self.node.kind.noun()));
        None
    }

    /// Reports that it is no list.
    fn not_a_list(&self) -> &'a [Node] {
        let message = format!("expected a list, found {}", self.node.kind.noun());
        match &self.node.kind {
            Kind::Null => self.error_cure(message, "write the list, or leave the key out"),
            Kind::Text(text) => {
                self.error_cure(
                    message,
                    format!("write it as a list: [{}]", quoted(text).replace('`', "\"")),
                );
            }
            Kind::Int(number) => self.error_cure(message, format!("write it as a list: [{number}]")),
            Kind::Bool(_) | Kind::Float(_) | Kind::List(_) | Kind::Map(_) => self.error(message),
        }
        &[]
    }

    /// Reports an unknown key of this mapping.
    fn unknown(&self, key: &Key, known: &[&str]) {
        if self.decoder.found.borrow().beyond > 0 {
            // Nobody reads this one: spare the search for what was meant.
            self.decoder.report(Problem::error("unknown key"));
            return;
        }
        let problem = Problem::error(format!("unknown key {}", quoted(&key.text)))
            .at(self.at(key.at))
            .path(self.path());
        self.decoder.report(match nearest(&key.text, known.iter().copied()) {
            Some(word) => problem.cure(format!("did you mean `{word}`?")),
            None => problem.cure(format!("the keys here are {}", known.join(", "))),
        });
    }

    /// A place of the same file.
    fn at(&self, at: Position) -> Place {
        Place::new(&self.decoder.file, at)
    }
}

/// A mapping with known keys.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'s> {
    /// The mapping.
    spot: &'s Spot<'s>,
    /// Its entries.
    entries: &'s [(Key, Node)],
}

impl<'s> Fields<'s> {
    /// The value of a key, when it is there.
    #[must_use]
    pub fn get(&self, name: &'s str) -> Option<Spot<'s>> {
        let (_, node) = self.entries.iter().find(|(key, _)| *key.text == *name)?;
        Some(Spot { decoder: self.spot.decoder, node, parent: Some(self.spot), step: Step::Key(name) })
    }

    /// The value of a key that must be there.
    #[must_use]
    pub fn require(&self, name: &'s str) -> Option<Spot<'s>> {
        let found = self.get(name);
        if found.is_none() {
            self.spot.error(format!("`{name}` is missing"));
        }
        found
    }

    /// Whether a key is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| *key.text == *name)
    }

    /// The mapping itself.
    #[must_use]
    pub const fn spot(&self) -> &'s Spot<'s> {
        self.spot
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::yaml::parse;
    use super::*;

    fn problems(text: &str, decode: impl Fn(&Spot<'_>)) -> Vec<String> {
        let file: Arc<str> = "f.yaml".into();
        let nodes = parse(&file, text).unwrap();
        let decoder = Decoder::new(&file);
        for node in &nodes {
            decode(&decoder.root(node));
        }
        decoder.into_problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unknown_key_is_reported_with_the_nearest_one() {
        let found = problems("hostRulez: []\nfoo: 1\n", |spot| {
            let _fields = spot.fields(&["hostRules", "mode"]);
        });
        assert_eq!(
            found,
            [
                "f.yaml:1:1: error: unknown key `hostRulez` (did you mean `hostRules`?)",
                "f.yaml:2:1: error: unknown key `foo` (the keys here are hostRules, mode)",
            ]
        );
    }

    #[test]
    fn every_wrong_type_is_reported_with_its_path_and_a_cure() {
        let found = problems("a: 5\nb: [x]\nc: yes\nd: 443\ne: [{f: allow}]\ng: 70000\nh: ' x'\n", |spot| {
            let fields = spot.fields(&["a", "b", "c", "d", "e", "g", "h"]).unwrap();
            let _a = fields.get("a").unwrap().text();
            let _b = fields.get("b").unwrap().text();
            let _c = fields.get("c").unwrap().boolean();
            let _d = fields.get("d").unwrap().each(|_| Some(()));
            let _e = fields.get("e").unwrap().each(|item| {
                let fields = item.fields(&["f"])?;
                let _missing = fields.require("missing");
                fields.get("f")?.choice(&[("Allow", ()), ("Deny", ())])
            });
            let _g = fields.get("g").unwrap().integer(1, 65535);
            let _h = fields.get("h").unwrap().word(8);
        });
        assert_eq!(
            found,
            [
                "f.yaml:1:4: error: a: expected text, found a number (quote it)",
                "f.yaml:2:4: error: b: expected text, found a list (quote it: \"[x]\")",
                "f.yaml:3:4: error: c: expected a boolean, found text (write `true` or `false`)",
                "f.yaml:4:4: error: d: expected a list, found a number (write it as a list: [443])",
                "f.yaml:5:5: error: e[0]: `missing` is missing",
                "f.yaml:5:9: error: e[0].f: unknown value `allow`: expected `Allow` or `Deny` (did you mean `Allow`?)",
                "f.yaml:6:4: error: g: 70000 is not in the range 1 to 65535",
                "f.yaml:7:4: error: h: ` x` starts or ends with white space",
            ]
        );
    }

    #[test]
    fn problems_beyond_the_bound_are_counted_and_an_error_survives_a_flood_of_warnings() {
        let text = format!("[{}]", "x,".repeat(1500));
        let found = problems(&text, |spot| {
            for item in spot.items() {
                item.warn("odd", "look");
            }
            spot.error("wrong");
        });
        assert_eq!(found.len(), KEPT + 1);
        assert!(found.iter().any(|problem| problem.ends_with("error: wrong")));
        assert!(found.last().is_some_and(|last| last.contains("501 more problems")));
    }
}
