//! From sorted rules to the arrays of a tree.

use std::collections::VecDeque;

use super::{NOWHERE, Node, Open, PathTree, Rule, Span, from, small, tail};
use crate::policy::method_set::MethodSet;
use crate::policy::path_pattern::{End, PathPattern, Segment};

/// One rule to compile.
#[derive(Debug)]
pub(in crate::policy) struct Line<'p> {
    /// The segments that a path must have whole.
    steps: &'p [Segment],
    /// What it may have after them.
    end: End<'p>,
    /// The rule's id.
    id: u32,
    /// The rule's methods.
    methods: MethodSet,
}

impl<'p> Line<'p> {
    /// A rule, if there is a path and a method that it fits.
    pub(in crate::policy) fn new(
        id: u32,
        path: Option<&'p PathPattern>,
        deny: bool,
        methods: MethodSet,
    ) -> Option<Self> {
        let (steps, end) = path.map_or(Some((&[] as &[Segment], End::Subtree)), |path| path.cut(deny))?;
        (methods != MethodSet::NONE).then_some(Self { steps, end, id, methods })
    }
}

/// The arrays of a tree as they grow.
#[derive(Default)]
struct Growth {
    nodes: Vec<Node>,
    opens: Vec<Open>,
    rules: Vec<Rule>,
    text: String,
}

impl PathTree {
    /// Compiles rules: they are sorted, and then every segment of every rule is looked at once.
    pub(in crate::policy) fn new(mut lines: Vec<Line<'_>>) -> Self {
        lines.sort_unstable_by(|a, b| (a.steps, a.end, a.id).cmp(&(b.steps, b.end, b.id)));
        let mut growth = Growth::default();
        // INVARIANT: the nodes that wait come right after those that are done, in this order.
        let mut waiting = VecDeque::from([(growth.node(NOWHERE, "", &lines), &*lines, 0)]);
        while let Some((mut node, lines, depth)) = waiting.pop_front() {
            let ending = lines.partition_point(|line| line.steps.len() == depth);
            let (ending, deeper) = lines.split_at(ending);
            node.opens = small(growth.opens.len());
            for alike in ending.chunk_by(|a, b| a.end == b.end) {
                let rules = growth.rules(alike);
                match alike.first().map(|line| line.end) {
                    Some(End::Subtree) => node.subtree = rules,
                    Some(End::Exact) => node.exact = rules,
                    Some(End::Open(last)) => growth.open(node.opens, last, rules),
                    None => {}
                }
            }
            let index = growth.nodes.len();
            node.children = small(index + 1 + waiting.len());
            node.stars = node.children;
            let steps = deeper.chunk_by(|a, b| a.steps.get(depth) == b.steps.get(depth));
            let mut steps: Vec<_> =
                steps.filter_map(|alike| Some((alike.first()?.steps.get(depth)?, alike))).collect();
            steps.sort_unstable_by(|(a, _), (b, _)| place(a).cmp(&place(b)));
            for (segment, alike) in steps {
                node.stars += u32::from(!segment.has_stars());
                waiting.push_back((growth.node(small(index), segment.as_str(), alike), alike, depth + 1));
            }
            growth.nodes.push(node);
        }
        growth.finish()
    }
}

/// Where a segment stands among the children of its node.
fn place(segment: &Segment) -> (bool, u32, &str) {
    (segment.has_stars(), tail(segment.as_str()), segment.as_str())
}

impl Growth {
    /// A node without rules and children, of the lines that go through it.
    fn node(&mut self, parent: u32, segment: &str, lines: &[Line<'_>]) -> Node {
        Node {
            segment: self.text(segment),
            tail: tail(segment),
            first: lines.iter().map(|line| line.id).min().unwrap_or(NOWHERE),
            parent,
            subtree: NOWHERE,
            exact: NOWHERE,
            opens: NOWHERE,
            children: NOWHERE,
            stars: NOWHERE,
        }
    }

    /// Adds a beginning of a segment to the node whose first one is at `first`.
    fn open(&mut self, first: u32, last: &Segment, rules: u32) {
        let text = last.as_str();
        // INVARIANT: texts come in order, so those that begin this one are the one before it and its shorter ones.
        let before = self.opens.len().checked_sub(1).map_or(NOWHERE, small);
        let mut shorter = if before < first || last.has_stars() { NOWHERE } else { before };
        while let Some(open) = from(&self.opens, shorter).first() {
            let known = self.text.get(open.text.start as usize..open.text.end as usize).unwrap_or_default();
            if text.starts_with(known) {
                break;
            }
            shorter = open.shorter;
        }
        let text = self.text(text);
        self.opens.push(Open { text, rules, shorter, stars: last.has_stars() });
    }

    /// Adds the rules of one kind and node, in the order of their ids, and says where they begin.
    fn rules(&mut self, lines: &[Line<'_>]) -> u32 {
        let start = self.rules.len();
        let mut seen = MethodSet::NONE;
        for line in lines {
            if !seen.covers(line.methods) {
                seen = seen.with(line.methods);
                self.rules.push(Rule { methods: line.methods, id: line.id, last: false });
            }
        }
        if let Some(rule) = self.rules.last_mut() {
            rule.last = true;
        }
        small(start)
    }

    /// Adds a text.
    fn text(&mut self, text: &str) -> Span {
        let start = small(self.text.len());
        self.text.push_str(text);
        Span { start, end: small(self.text.len()) }
    }

    /// The tree.
    fn finish(mut self) -> PathTree {
        let mut end = self.node(NOWHERE, "", &[]);
        (end.opens, end.children) = (small(self.opens.len()), small(self.nodes.len()));
        self.nodes.push(end);
        PathTree {
            nodes: self.nodes.into(),
            opens: self.opens.into(),
            rules: self.rules.into(),
            text: self.text.into(),
        }
    }
}
