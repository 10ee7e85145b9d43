//! Rules as a tree of path segments, in flat arrays.
//!
//! ```text
//! 0 Deny  /admin          ·─┬─ admin   subtree 0
//! 1 Allow /v1/users         ├─ repos ─── * ─── pulls   exact 3   open "" 4
//! 2 Allow /v1*              └─ v1 ─── users   exact 1
//! 3 Allow /repos/*/pulls    open "v1" 2
//! 4 Allow /repos/*/pulls/*
//! ```
//! A node is reached when the path has its segments, and by one way only. There it has three kinds of rules: for the
//! path that ends there (*exact*), for that and all below (*subtree*), and for a next segment that begins with
//! something (*open*). A look-up walks the nodes that the path reaches, keeps the smallest id that fits, and leaves
//! out every branch whose smallest id is not smaller.
//!
//! | at a node | found by | steps |
//! |---|---|---|
//! | the child of a text | binary search, by the last four bytes and then all | log children |
//! | children with stars | trying each | children with stars |
//! | open texts that begin the segment | binary search, then from each to the longest other that begins it | log texts + texts that begin each other |
//! | open texts with stars | trying each | texts with stars |
//! | rules of one kind | in order; a rule whose methods those before it have is not kept | at most 64 |
//!
//! The walk goes back up by the nodes' parents: it needs no stack, and allocates nothing.

use std::cmp::Ordering;

use super::method_set::MethodSet;
use super::wildcard;

mod build;

pub(super) use build::Line;

/// Where nothing is: beyond the end of every array.
///
/// INVARIANT: a document is at most 256 MiB of text and equal patterns share their nodes, so no array of its trees has
/// this many elements.
const NOWHERE: u32 = u32::MAX;

/// Rules by path and method; immutable once built.
#[derive(Debug, Clone)]
pub(super) struct PathTree {
    /// The nodes level by level, the root first; the last is no node, and says where the one before it ends.
    nodes: Box<[Node]>,
    /// The open patterns, node by node: texts in their order, then those with stars.
    opens: Box<[Open]>,
    /// The rules, one kind of one node after the other.
    rules: Box<[Rule]>,
    /// All segments and beginnings of segments.
    text: Box<str>,
}

/// A place in the tree.
#[derive(Debug, Clone, Copy)]
struct Node {
    /// The segment that leads here.
    segment: Span,
    /// Its [`tail`].
    tail: u32,
    /// The smallest id here and below.
    first: u32,
    /// The node above.
    parent: u32,
    /// Where the rules for this path and all below it begin.
    subtree: u32,
    /// Where the rules for this path alone begin.
    exact: u32,
    /// Where its open patterns begin; they end where those of the next node begin.
    opens: u32,
    /// Where its children begin, in the order of their tails and segments; they end where those of the next node begin.
    children: u32,
    /// Where its children with stars begin.
    stars: u32,
}

/// The beginning of a segment, after which any rest may follow.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// The beginning.
    text: Span,
    /// Where its rules begin.
    rules: u32,
    /// The longest other text of this node that begins this text.
    shorter: u32,
    /// Whether there are stars in it.
    stars: bool,
}

/// A rule that is left to be asked for its method.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// Its methods.
    methods: MethodSet,
    /// Its id.
    id: u32,
    /// Whether it is the last of its kind and node.
    last: bool,
}

/// A piece of the text.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl PathTree {
    /// The smallest id whose rule fits, or `rest` when there is none below it.
    pub(super) fn first(&self, path: &str, method: MethodSet, rest: Option<u32>) -> Option<u32> {
        let mut walk = Walk { tree: self, path, method, best: rest.unwrap_or(NOWHERE) };
        walk.run();
        (walk.best != NOWHERE).then_some(walk.best)
    }

    /// How many rules are kept.
    #[cfg(test)]
    pub(super) const fn rules(&self) -> usize {
        self.rules.len()
    }

    /// A node and the one after it, which says where the former ends.
    fn node(&self, index: u32) -> Option<&[Node; 2]> {
        from(&self.nodes, index).first_chunk()
    }

    /// The text of a span.
    fn text(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The child of this very segment.
    fn literal(&self, node: &Node, segment: &str) -> Option<u32> {
        let children = between(&self.nodes, node.children, node.stars);
        let tail = tail(segment);
        let order = |child: &Node| child.tail.cmp(&tail).then_with(|| self.compare(child.segment, segment));
        let found = children.binary_search_by(order).ok()?;
        Some(node.children + small(found))
    }

    /// How a text of the tree compares with one that is looked for.
    fn compare(&self, span: Span, text: &str) -> Ordering {
        tried();
        let own = self.text.as_bytes().get(span.start as usize..span.end as usize).unwrap_or_default();
        own.cmp(text.as_bytes())
    }
}

/// A look-up under way.
struct Walk<'t> {
    /// Where it looks.
    tree: &'t PathTree,
    /// The path of the request.
    path: &'t str,
    /// The method of the request.
    method: MethodSet,
    /// The smallest id that fits so far.
    best: u32,
}

impl Walk<'_> {
    /// Visits every node that the path reaches and that may have a smaller id.
    fn run(&mut self) {
        let tree = self.tree;
        if !self.path.starts_with('/') {
            return self.take(tree.node(0).map_or(NOWHERE, |[root, _]| root.subtree));
        }
        // Where the walk is, where the path goes on after it, and the child that it came back from. A path that ends
        // goes on one past its length, where `get` finds nothing.
        let (mut at, mut start, mut back) = (0, 1, None);
        // How many nodes on the way from the root have children with stars left to try.
        let mut forks = 0_u32;
        while let Some(node) = tree.node(at) {
            let segment = self.path.get(start..).map(first_segment);
            match back {
                Some(child) => forks -= u32::from(has_next(node, child)),
                None => self.visit(node, segment),
            }
            if let Some(segment) = segment
                && let Some(child) = self.child(node, back, segment)
            {
                forks += u32::from(has_next(node, child));
                (at, start, back) = (child, start + segment.len() + 1, None);
            } else if forks == 0 {
                return;
            } else {
                let above = self.path.get(..start - 1).and_then(|path| path.rfind('/'));
                let [node, _] = node;
                (at, start, back) = (node.parent, above.map_or(1, |slash| slash + 1), Some(at));
            }
        }
    }

    /// Takes the rules of a node after which the path has this segment, or ends.
    fn visit(&mut self, [node, next]: &[Node; 2], segment: Option<&str>) {
        let tree = self.tree;
        self.take(node.subtree);
        let Some(segment) = segment else { return self.take(node.exact) };
        let opens = between(&tree.opens, node.opens, next.opens);
        let begins = |open: &Open| !open.stars && tree.compare(open.text, segment).is_le();
        // INVARIANT: every text that begins the segment is the last one that is not greater, or begins that one.
        let mut open = opens.partition_point(begins).checked_sub(1).and_then(|last| opens.get(last));
        while let Some(found) = open {
            tried();
            if segment.starts_with(tree.text(found.text)) {
                self.take(found.rules);
            }
            open = from(&tree.opens, found.shorter).first();
        }
        for open in opens.iter().rev().take_while(|open| open.stars) {
            tried();
            if wildcard::strip(tree.text(open.text), segment).is_some() {
                self.take(open.rules);
            }
        }
    }

    /// Takes the first rule of a kind that fits the method, if its id is smaller.
    fn take(&mut self, rules: u32) {
        for rule in from(&self.tree.rules, rules) {
            if rule.id >= self.best {
                return;
            }
            if rule.methods.contains(self.method) {
                self.best = rule.id;
                return;
            }
            if rule.last {
                return;
            }
        }
    }

    /// The next child after `back` that takes the segment and may have a smaller id: that of the very text, then those
    /// with stars.
    fn child(&self, [node, next]: &[Node; 2], back: Option<u32>, segment: &str) -> Option<u32> {
        let tree = self.tree;
        let may = |child: &Node| child.first < self.best;
        if back.is_none()
            && let Some(found) = tree.literal(node, segment)
            && from(&tree.nodes, found).first().is_some_and(may)
        {
            return Some(found);
        }
        let start = first_star_after(node, back);
        let mut children = between(&tree.nodes, start, next.children).iter().zip(start..);
        let fits = |child: &Node| {
            tried();
            wildcard::fits(tree.text(child.segment), segment)
        };
        children.find(|(child, _)| may(child) && fits(child)).map(|(_, index)| index)
    }
}

/// A path up to its first slash.
fn first_segment(rest: &str) -> &str {
    let end = rest.bytes().position(|byte| byte == b'/');
    end.and_then(|end| rest.get(..end)).unwrap_or(rest)
}

/// The last four bytes of a text: what tells segments apart, which often begin alike, in one step.
const fn tail(text: &str) -> u32 {
    u32::from_be_bytes(match *text.as_bytes() {
        [.., a, b, c, d] => [a, b, c, d],
        [b, c, d] => [0, b, c, d],
        [c, d] => [0, 0, c, d],
        [d] => [0, 0, 0, d],
        [] => [0; 4],
    })
}

/// Whether a node has children with stars after this child of it.
fn has_next([node, next]: &[Node; 2], child: u32) -> bool {
    first_star_after(node, Some(child)) < next.children
}

/// The first child with stars after this child.
fn first_star_after(node: &Node, child: Option<u32>) -> u32 {
    child.map_or(node.stars, |child| node.stars.max(child + 1))
}

/// The elements from an index on; none when it is nowhere.
fn from<T>(list: &[T], start: u32) -> &[T] {
    list.get(start as usize..).unwrap_or_default()
}

/// The elements from one index up to another.
fn between<T>(list: &[T], start: u32, end: u32) -> &[T] {
    list.get(start as usize..end as usize).unwrap_or_default()
}

/// A length or an index of an array of a tree.
fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NOWHERE)
}

#[cfg(test)]
thread_local! {
    /// How many texts of trees this thread has looked at.
    pub(super) static TRIED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts a text that is looked at, in tests.
#[inline]
fn tried() {
    #[cfg(test)]
    TRIED.set(TRIED.get() + 1);
}
