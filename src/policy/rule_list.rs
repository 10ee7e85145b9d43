//! stand-in
use super::document::RuleAction;
use super::method_set::MethodSet;
use super::path_pattern::PathPattern;
#[derive(Debug, Clone)]
pub struct RuleList(Vec<(u32, RuleAction, Option<PathPattern>, MethodSet)>);
impl RuleList {
    pub fn new<'a>(rules: impl IntoIterator<Item = (u32, RuleAction, Option<&'a PathPattern>, MethodSet)>) -> Self {
        Self(rules.into_iter().map(|(a, b, c, d)| (a, b, c.cloned(), d)).collect())
    }
    pub fn first(&self, path: &str, method: MethodSet) -> Option<u32> {
        self.0.iter().find(|(_, action, p, m)| m.contains(method) && p.as_ref().is_none_or(|p| p.matches(path, *action == RuleAction::Deny))).map(|r| r.0)
    }
    pub fn unconditional(&self) -> Option<u32> {
        self.0.iter().find(|r| r.2.is_none() && r.3 == MethodSet::ANY).map(|r| r.0)
    }
    pub fn is_conditional(&self) -> bool {
        self.conditional(true).or(self.conditional(false)).is_some()
    }
    pub fn conditional(&self, deny: bool) -> Option<u32> {
        let end = self.unconditional().unwrap_or(u32::MAX);
        self.0.iter().find(|r| r.0 < end && (r.1 == RuleAction::Deny) == deny).map(|r| r.0)
    }
}
