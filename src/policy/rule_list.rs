//! All rules of one document that have the same host pattern, compiled: the first that fits a request.

use super::document::RuleAction;
use super::method_set::MethodSet;
use super::path_pattern::PathPattern;
use super::path_tree::{Line, PathTree};

/// Rules in their order, compiled for look-up; immutable once built.
///
/// | rule | fits |
/// |---|---|
/// | no path, any method | every request: what stands behind it is never reached, and not kept |
/// | no path, methods | every path, `*` of an `OPTIONS` too |
/// | path, any method or methods | as [`PathPattern::matches`] says for its action |
#[derive(Debug, Clone, Default)]
pub struct RuleList {
    /// The first rule that fits every request.
    unconditional: Option<u32>,
    /// The first rule before it that grants.
    granting: Option<u32>,
    /// The first rule before it that rewrites: one that grants, and on whose place the verdict hangs.
    rewriting: Option<u32>,
    /// The first rule before it that denies.
    denying: Option<u32>,
    /// The rules before it.
    tree: Option<Box<PathTree>>,
}

impl RuleList {
    /// Compiles rules given as (id, action, path, methods). Ids must come in increasing order, below [`u32::MAX`].
    pub fn new<'p>(
        rules: impl IntoIterator<Item = (u32, RuleAction, Option<&'p PathPattern>, MethodSet)>,
    ) -> Self {
        let mut list = Self::default();
        let mut lines = Vec::new();
        for (id, action, path, methods) in rules {
            if path.is_none() && methods == MethodSet::ANY {
                list.unconditional = Some(id);
                break;
            }
            let deny = action == RuleAction::Deny;
            let first = if deny { &mut list.denying } else { &mut list.granting };
            first.get_or_insert(id);
            if action == RuleAction::Rewrite {
                list.rewriting.get_or_insert(id);
            }
            lines.extend(Line::new(id, path, deny, methods));
        }
        list.tree = (!lines.is_empty()).then(|| Box::new(PathTree::new(lines)));
        list
    }

    /// The first rule that fits the request for a canonical path, with the method as
    /// [`Methods::bit`](super::method_set::Methods::bit) has it.
    #[must_use]
    pub fn first(&self, path: &str, method: MethodSet) -> Option<u32> {
        let Some(tree) = &self.tree else { return self.unconditional };
        tree.first(path, method, self.unconditional)
    }

    /// The first rule with neither path nor methods.
    #[must_use]
    pub const fn unconditional(&self) -> Option<u32> {
        self.unconditional
    }

    /// The first rule before the unconditional one that asks for a path or a method, and denies, or does not.
    #[must_use]
    pub const fn conditional(&self, deny: bool) -> Option<u32> {
        if deny { self.denying } else { self.granting }
    }

    /// The first of those that rewrites.
    #[must_use]
    pub const fn rewriting(&self) -> Option<u32> {
        self.rewriting
    }

    /// Whether some rule before the unconditional one asks for a path or a method.
    #[must_use]
    pub const fn is_conditional(&self) -> bool {
        self.denying.is_some() || self.granting.is_some()
    }
}

#[cfg(test)]
#[path = "rule_list_tests.rs"]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]
mod tests;
