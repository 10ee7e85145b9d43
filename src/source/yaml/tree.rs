//! The tree of one document, built event by event.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{Event, ScalarStyle, Tag};

use super::super::decode::Decoder;
use super::super::node::{Key, Kind, Node, Position};
use super::super::problem::{Place, Problem, quoted};
use super::{DEEPEST, MOST_COPIED, MOST_NODES, Root};

/// The different keys that are shared rather than stored each time.
const SHARED_KEYS: usize = 4096;
/// The entries from which on a mapping's keys are hashed.
const HASHED_FROM: usize = 12;

/// Why building stops early; the problem is reported.
pub(super) enum Stop {
    /// Nothing more of this document can be used.
    Document,
    /// Nothing more of this text is read.
    Stream,
}

/// Builds documents out of events.
pub(super) struct Builder<'d> {
    /// Where problems go.
    decoder: &'d Decoder,
    /// The collections that are open.
    open: Vec<Open>,
    /// The document's root, when it is complete.
    root: Option<Node>,
    /// The errors that there were when the document began.
    errors: usize,
    /// Whether a key of the first two levels was refused.
    ambiguous: bool,
    /// What aliases of this document can stand for.
    anchors: HashMap<usize, Anchored>,
    /// Keys seen before.
    keys: HashSet<Arc<str>>,
    /// The nodes so far.
    nodes: usize,
    /// The nodes that were copied for aliases so far.
    copied: usize,
}

/// An open list or mapping.
struct Open {
    /// Where it starts.
    at: Position,
    /// Its anchor, or 0.
    anchor: usize,
    /// What is in it so far.
    body: Body,
}

/// What is in an open collection.
enum Body {
    /// A list's items.
    List(Vec<Node>),
    /// A mapping's entries, the key that waits for its value, and the keys once there are many.
    Map(Vec<(Key, Node)>, Waiting, HashSet<Arc<str>>),
}

/// The key that waits for its value.
enum Waiting {
    /// None: what comes is a key.
    Nothing,
    /// This one.
    Key(Key),
    /// One that was refused: its value is dropped.
    Refused,
}

/// A node that aliases can stand for.
struct Anchored {
    /// The node.
    node: Node,
    /// How many nodes it is.
    count: usize,
    /// How deep it is.
    depth: usize,
}

impl<'d> Builder<'d> {
    /// A builder at the start of a text.
    pub(super) fn new(decoder: &'d Decoder) -> Self {
        Self {
            decoder,
            open: Vec::new(),
            root: None,
            errors: 0,
            ambiguous: false,
            anchors: HashMap::new(),
            keys: HashSet::new(),
            nodes: 0,
            copied: 0,
        }
    }

    /// Takes one event in.
    pub(super) fn take(&mut self, event: Event<'_>, at: Position) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag.as_deref(), at),
            Event::SequenceStart(_, anchor, tag) => {
                self.tagged(tag.as_deref(), at);
                self.start(Open { at, anchor, body: Body::List(Vec::new()) })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tagged(tag.as_deref(), at);
                let body = Body::Map(Vec::new(), Waiting::Nothing, HashSet::new());
                self.start(Open { at, anchor, body })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::UnresolvedAlias(name) => {
                let text = format!("*{name}");
                self.problem(
                    at,
                    format!("{} is an alias to YAML, and nothing has that anchor", quoted(&text)),
                    Some(format!("quote it: {}", quoted(&text).replace('`', "\""))),
                );
                self.place(Node { at, kind: Kind::Text(text) });
                Ok(())
            }
            Event::Anchor(..)
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd => Ok(()),
            _ => {
                self.problem(at, "this part of YAML is not read", None);
                Err(Stop::Document)
            }
        }
    }

    /// The document that just ended.
    pub(super) fn finish(&mut self) -> Option<Root> {
        let errors = self.decoder.errors();
        let root = self.root.take().map(|node| Root {
            node,
            sound: errors == self.errors,
            ambiguous: self.ambiguous,
        });
        self.abandon();
        root
    }

    /// Forgets the document that was begun.
    pub(super) fn abandon(&mut self) {
        self.open.clear();
        self.root = None;
        self.anchors.clear();
        self.ambiguous = false;
        self.errors = self.decoder.errors();
    }

    /// A scalar: a key where one is due, else a value.
    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: Position,
    ) -> Result<(), Stop> {
        let text_tag = self.tagged(tag, at);
        if let Some(c) = text.chars().find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
            self.problem(
                at,
                format!("text with the control character U+{:04X}", u32::from(c)),
                Some("remove it".to_owned()),
            );
        }
        let plain = style == ScalarStyle::Plain && !text_tag;
        if self.expects_key() {
            self.count(at)?;
            return self.key(&text, plain, at);
        }
        let kind = if plain { Kind::plain(&text) } else { Kind::Text(text.into_owned()) };
        let node = Node { at, kind };
        self.count(at)?;
        self.anchor(anchor, &node)?;
        self.place(node);
        Ok(())
    }

    /// Whether what comes is a key.
    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { body: Body::Map(_, Waiting::Nothing, _), .. }))
    }

    /// A key: unique, and not a merge.
    fn key(&mut self, text: &str, plain: bool, at: Position) -> Result<(), Stop> {
        let shallow = self.open.len() <= 2;
        let shared = self.shared(text);
        let Some(Open { body: Body::Map(entries, waiting, hashed), .. }) = self.open.last_mut() else {
            return Err(Stop::Document);
        };
        if entries.len() == HASHED_FROM && hashed.is_empty() {
            hashed.extend(entries.iter().map(|(key, _)| Arc::clone(&key.text)));
        }
        let twice = if entries.len() < HASHED_FROM {
            entries.iter().any(|(key, _)| *key.text == *text)
        } else {
            !hashed.insert(Arc::clone(&shared))
        };
        if twice {
            *waiting = Waiting::Refused;
            let first = entries.iter().find(|(key, _)| *key.text == *text).map_or(0, |(key, _)| key.at.line);
            self.ambiguous |= shallow;
            self.problem(
                at,
                format!("duplicate key {}: it is on line {first} already", quoted(text)),
                Some("keep one of them".to_owned()),
            );
        } else if plain && text == "<<" {
            *waiting = Waiting::Refused;
            self.ambiguous |= shallow;
            self.problem(at, "merge keys (`<<`) are not read", Some("write the keys out".to_owned()));
        } else {
            *waiting = Waiting::Key(Key { text: shared, at });
        }
        Ok(())
    }

    /// The key's text, stored once for all its uses.
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.keys.get(text) {
            return Arc::clone(known);
        }
        let fresh: Arc<str> = text.into();
        if self.keys.len() < SHARED_KEYS {
            self.keys.insert(Arc::clone(&fresh));
        }
        fresh
    }

    /// A list or mapping begins.
    fn start(&mut self, open: Open) -> Result<(), Stop> {
        self.count(open.at)?;
        if self.open.len() >= DEEPEST {
            self.problem(open.at, format!("nested deeper than {DEEPEST}"), None);
            return Err(Stop::Document);
        }
        self.open.push(open);
        Ok(())
    }

    /// A list or mapping ends.
    fn end(&mut self) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else { return Err(Stop::Document) };
        let kind = match open.body {
            Body::List(items) => Kind::List(items),
            Body::Map(entries, _, _) => Kind::Map(entries),
        };
        let node = Node { at: open.at, kind };
        self.anchor(open.anchor, &node)?;
        self.place(node);
        Ok(())
    }

    /// A node goes where it belongs: the root, a list, or the key that waits for it.
    fn place(&mut self, node: Node) {
        let at = node.at;
        let mut bad_key = false;
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { body: Body::List(items), .. }) => items.push(node),
            Some(Open { body: Body::Map(entries, waiting, _), .. }) => {
                match std::mem::replace(waiting, Waiting::Nothing) {
                    Waiting::Key(key) => entries.push((key, node)),
                    Waiting::Refused => {}
                    Waiting::Nothing => {
                        *waiting = Waiting::Refused;
                        bad_key = true;
                    }
                }
            }
        }
        if bad_key {
            self.ambiguous |= self.open.len() <= 2;
            self.problem(at, "a key must be text", None);
        }
    }

    /// Remembers a node that has an anchor.
    fn anchor(&mut self, anchor: usize, node: &Node) -> Result<(), Stop> {
        if anchor == 0 {
            return Ok(());
        }
        let (count, depth) = size(node);
        self.copy(count, node.at)?;
        self.anchors.insert(anchor, Anchored { node: node.clone(), count, depth });
        Ok(())
    }

    /// A copy of what an alias stands for.
    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Stop> {
        let Some(Anchored { count, depth, .. }) = self.anchors.get(&anchor) else {
            self.problem(at, "an alias inside the very thing it stands for", Some("write it out".to_owned()));
            self.place(Node { at, kind: Kind::Null });
            return Ok(());
        };
        let (count, depth) = (*count, *depth);
        if self.open.len() + depth > DEEPEST {
            self.problem(at, format!("nested deeper than {DEEPEST}"), None);
            return Err(Stop::Document);
        }
        self.copy(count, at)?;
        if let Some(node) = self.anchors.get(&anchor).map(|anchored| anchored.node.clone()) {
            self.place(node);
        }
        Ok(())
    }

    /// Takes one node from the budget.
    fn count(&mut self, at: Position) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            self.problem(
                at,
                format!("more than {MOST_NODES} values and keys in one file"),
                Some("split the file".to_owned()),
            );
            return Err(Stop::Stream);
        }
        Ok(())
    }

    /// Takes the nodes of an alias from both budgets.
    fn copy(&mut self, count: usize, at: Position) -> Result<(), Stop> {
        self.copied += count;
        self.nodes += count;
        if self.copied > MOST_COPIED || self.nodes > MOST_NODES {
            self.problem(
                at,
                format!("the aliases of this file expand to more than {MOST_COPIED} values"),
                Some("write the values out".to_owned()),
            );
            return Err(Stop::Stream);
        }
        Ok(())
    }

    /// Refuses tags but `!!str`; says whether it was that one.
    fn tagged(&mut self, tag: Option<&Tag>, at: Position) -> bool {
        let Some(tag) = tag else { return false };
        if tag.core_suffix() == Some("str") {
            return true;
        }
        let written = format!("{}{}", tag.original_handle(), tag.suffix());
        self.problem(at, format!("the tag {} is not read", quoted(&written)), Some("remove it".to_owned()));
        false
    }

    /// Reports an error.
    fn problem(&self, at: Position, message: impl Into<String>, cure: Option<String>) {
        let problem = Problem::error(message).at(Place::new(self.decoder.file(), at));
        self.decoder.report(match cure {
            Some(cure) => problem.cure(cure),
            None => problem,
        });
    }
}

/// How many nodes a tree is, keys included, and how deep. The depth of a tree is bounded, so this recurses.
fn size(node: &Node) -> (usize, usize) {
    let fold = |(count, depth): (usize, usize), child: &Node| {
        let (inner, below) = size(child);
        (count + inner, depth.max(below + 1))
    };
    match &node.kind {
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Text(_) => (1, 0),
        Kind::List(items) => items.iter().fold((1, 1), fold),
        Kind::Map(entries) => {
            let (count, depth) = entries.iter().map(|(_, value)| value).fold((1, 1), fold);
            (count + entries.len(), depth)
        }
    }
}
