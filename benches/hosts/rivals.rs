//! What else one could look hosts up with, each written as one would who had only that.
//!
//! Patterns come as text. Each answers with the first pattern of the list that matches.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use fst::raw::{CompiledAddr, Fst, Output};

/// No pattern.
const NONE: u32 = u32::MAX;

/// A pattern with a star inside: its labels from the right.
type Labels = Box<[Box<str>]>;

/// Whether the labels of a pattern fit those of a name, both from the right; a leading `*` takes one or more.
fn fits(pattern: &Labels, name: &str) -> bool {
    let mut labels = name.rsplit('.');
    for (index, own) in pattern.iter().enumerate() {
        let Some(label) = labels.next() else { return false };
        if **own == *"*" && index + 1 == pattern.len() {
            return true;
        }
        if !label_fits(own, label) {
            return false;
        }
    }
    labels.next().is_none()
}

/// Whether a label fits; a star in it is one character at least. The patterns here have one star a label.
fn label_fits(own: &str, label: &str) -> bool {
    match own.split_once('*') {
        None => own == label,
        Some((head, tail)) => {
            label.len() > head.len() + tail.len() && label.starts_with(head) && label.ends_with(tail)
        }
    }
}

/// Whether the stars are others than a leading whole label.
fn is_inner(text: &str) -> bool {
    text.strip_prefix("*.").unwrap_or(text).contains('*')
}

/// A hash map of names, asked for each suffix of the name.
pub struct Suffixes {
    /// A name, the pattern that is it and the one that is `*.` and it.
    map: HashMap<Box<str>, (u32, u32), RandomState>,
    /// The patterns with a star inside, under the name right of their last star.
    inner: HashMap<Box<str>, Vec<(u32, Labels)>, RandomState>,
}

impl Suffixes {
    pub fn build(texts: &[String]) -> Self {
        let mut map: HashMap<Box<str>, (u32, u32), RandomState> = HashMap::default();
        let mut inner: HashMap<Box<str>, Vec<(u32, Labels)>, RandomState> = HashMap::default();
        for (text, id) in texts.iter().zip(0..) {
            if is_inner(text) {
                let tail = text.rsplit_once("*.").map_or("", |(_, tail)| tail);
                inner.entry(tail.into()).or_default().push((id, text.rsplit('.').map(Into::into).collect()));
                continue;
            }
            let (name, below) = text.strip_prefix("*.").map_or((text.as_str(), false), |name| (name, true));
            let entry = map.entry(name.into()).or_insert((NONE, NONE));
            let place = if below { &mut entry.1 } else { &mut entry.0 };
            *place = id.min(*place);
        }
        map.shrink_to_fit();
        inner.shrink_to_fit();
        Self { map, inner }
    }

    #[inline]
    pub fn find(&self, name: &str) -> Option<u32> {
        let mut best = NONE;
        let mut suffix = name;
        let mut whole = true;
        loop {
            if let Some((exact, below)) = self.map.get(suffix) {
                best = best.min(if whole { *exact } else { *below });
            }
            if !self.inner.is_empty()
                && let Some(inner) = self.inner.get(suffix)
            {
                let first =
                    inner.iter().take_while(|(id, _)| *id < best).find(|(_, labels)| fits(labels, name));
                best = first.map_or(best, |(id, _)| *id);
            }
            let Some((_, rest)) = suffix.split_once('.') else { break };
            suffix = rest;
            whole = false;
        }
        (best != NONE).then_some(best)
    }
}

/// A node of the trie.
struct Node {
    children: HashMap<Box<str>, u32, RandomState>,
    /// The pattern that ends here.
    exact: u32,
    /// The pattern that ends here with `*.` before it.
    below: u32,
    /// Where a `*` label leads.
    star: u32,
    /// Where labels with a star inside lead.
    parts: Vec<(Box<str>, u32)>,
}

/// A trie of labels, from the right.
pub struct Trie {
    nodes: Vec<Node>,
}

impl Trie {
    pub fn build(texts: &[String]) -> Self {
        let mut trie = Self { nodes: Vec::new() };
        trie.add();
        for (text, id) in texts.iter().zip(0..) {
            let (name, below) = text.strip_prefix("*.").map_or((text.as_str(), false), |name| (name, true));
            let mut at = 0;
            for label in name.rsplit('.') {
                at = trie.step(at, label);
            }
            let node = &mut trie.nodes[at as usize];
            let place = if below { &mut node.below } else { &mut node.exact };
            *place = id.min(*place);
        }
        trie.nodes.shrink_to_fit();
        for node in &mut trie.nodes {
            node.children.shrink_to_fit();
        }
        trie
    }

    /// A node.
    fn add(&mut self) -> u32 {
        let (children, parts) = (HashMap::default(), Vec::new());
        self.nodes.push(Node { children, exact: NONE, below: NONE, star: NONE, parts });
        u32::try_from(self.nodes.len() - 1).unwrap()
    }

    /// Where a label of a pattern leads, made if need be.
    fn step(&mut self, at: u32, label: &str) -> u32 {
        let node = &self.nodes[at as usize];
        let known = match label {
            "*" => Some(node.star).filter(|star| *star != NONE),
            _ if label.contains('*') => node.parts.iter().find(|(own, _)| **own == *label).map(|(_, to)| *to),
            _ => node.children.get(label).copied(),
        };
        if let Some(known) = known {
            return known;
        }
        let to = self.add();
        let node = &mut self.nodes[at as usize];
        match label {
            "*" => node.star = to,
            _ if label.contains('*') => node.parts.push((label.into(), to)),
            _ => {
                node.children.insert(label.into(), to);
            }
        }
        to
    }

    #[inline]
    pub fn find(&self, name: &str) -> Option<u32> {
        let best = self.walk(0, Some(name));
        (best != NONE).then_some(best)
    }

    /// The first pattern from a node on for the labels that are left.
    fn walk(&self, mut at: u32, mut left: Option<&str>) -> u32 {
        let mut best = NONE;
        loop {
            let node = &self.nodes[at as usize];
            let Some(rest) = left else { return best.min(node.exact) };
            best = best.min(node.below);
            let (before, label) =
                rest.rsplit_once('.').map_or((None, rest), |(before, label)| (Some(before), label));
            if node.star != NONE {
                best = best.min(self.walk(node.star, before));
            }
            for (part, to) in &node.parts {
                if label_fits(part, label) {
                    best = best.min(self.walk(*to, before));
                }
            }
            let Some(child) = node.children.get(label) else { return best };
            (at, left) = (*child, before);
        }
    }
}

/// A finite-state transducer over the bytes of the patterns from the right: `*.example.com` is `moc.elpmaxe.`.
pub struct Automaton {
    fst: Fst<Vec<u8>>,
}

impl Automaton {
    pub fn build(texts: &[String]) -> Self {
        let mut keys: Vec<(Vec<u8>, u64)> = Vec::with_capacity(texts.len());
        for (text, id) in texts.iter().zip(0..) {
            let key = text.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(text);
            keys.push((key.bytes().rev().collect(), id));
        }
        keys.sort_unstable();
        keys.dedup_by(|later, first| later.0 == first.0);
        let map = fst::Map::from_iter(keys).unwrap();
        Self { fst: map.into_fst() }
    }

    #[inline]
    pub fn find(&self, name: &str) -> Option<u32> {
        let best = self.walk(self.fst.root().addr(), Output::zero(), name.as_bytes());
        u32::try_from(best).ok()
    }

    /// The first pattern from a state on for the bytes that are left.
    fn walk(&self, mut at: CompiledAddr, mut output: Output, mut left: &[u8]) -> u64 {
        let mut best = u64::MAX;
        loop {
            let node = self.fst.node(at);
            if let Some(star) = node.find_input(b'*') {
                let star = node.transition(star);
                // A star is every way to take one byte of the label or more.
                let mut rest = left;
                while let Some((byte, before)) = rest.split_last() {
                    if *byte == b'.' {
                        break;
                    }
                    rest = before;
                    best = best.min(self.walk(star.addr, output.cat(star.out), rest));
                }
            }
            let Some((byte, rest)) = left.split_last() else {
                return if node.is_final() {
                    best.min(output.cat(node.final_output()).value())
                } else {
                    best
                };
            };
            let Some(index) = node.find_input(*byte) else { return best };
            let next = node.transition(index);
            (at, output, left) = (next.addr, output.cat(next.out), rest);
            if *byte == b'.' {
                let node = self.fst.node(at);
                // What ends with a dot stands for anything before it.
                if node.is_final() {
                    best = best.min(output.cat(node.final_output()).value());
                }
            }
        }
    }
}
