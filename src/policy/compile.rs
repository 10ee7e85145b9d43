//! A document as written becomes one that answers: indexes built, categories spelled out.

use std::sync::Arc;

use super::category::CategoryLists;
use super::cidr_set::CidrSet;
use super::decision::RuleId;
use super::document::{Document, RuleAction};
use super::host_set::HostSet;
use super::mode::{Action, Enforcement, Inspection, Mode, Scope};
use super::path_pattern::PathPattern;
use super::pattern::Pattern;
use super::port_set::PortSet;
use crate::addr::Port;
use crate::source::{Place, Problem};

/// Ports of an Allow under `defaultAction: Deny` where the document has no `ports`.
const WEB_PORTS: [(u16, u16); 2] = [(80, 80), (443, 443)];

/// One entry of `rules`, without its host.
#[derive(Debug)]
pub(super) struct CompiledRule {
    /// What to do.
    pub(super) action: RuleAction,
    /// The path it speaks of; any when absent.
    pub(super) path: Option<PathPattern>,
    /// The methods it speaks of; any when absent.
    pub(super) methods: Option<Box<[Box<str>]>>,
}

impl CompiledRule {
    /// Whether it can be decided only by a request.
    pub(super) const fn is_conditional(&self) -> bool {
        self.path.is_some() || self.methods.is_some()
    }
}

/// One document, compiled. Immutable.
#[derive(Debug)]
pub struct Compiled {
    pub(super) name: Arc<str>,
    pub(super) scope: Scope,
    pub(super) mode: Mode,
    pub(super) default_action: Action,
    pub(super) inspection: Inspection,
    pub(super) enforcement: Enforcement,
    /// `hostRules` Deny.
    pub(super) denied: HostSet,
    /// `hostRules` Allow by position, then the patterns of `categories`.
    pub(super) allowed: HostSet,
    /// `rules` by host.
    pub(super) ruled: HostSet,
    pub(super) rules: Vec<CompiledRule>,
    pub(super) cidrs: CidrSet,
    /// The ports of an Allow; `None` is any.
    pub(super) ports: Option<PortSet>,
    /// The `categories` entry that each id of `allowed` beyond the `hostRules` belongs to.
    categories: Vec<u32>,
    /// What should be looked at.
    warnings: Vec<Problem>,
    /// The document as it was written, for names and places.
    source: Arc<Document>,
}

impl Compiled {
    /// Compiles `document`, spelling its categories out from `lists`.
    ///
    /// # Errors
    /// Every problem of its `categories`.
    pub fn new(document: &Arc<Document>, lists: &CategoryLists) -> Result<Self, Vec<Problem>> {
        let spec = &document.spec;
        let categories = Categories::of(document, lists)?;
        let hosts = || spec.host_rules.iter().zip(0_u32..);
        let with = |action| {
            hosts().filter(move |(rule, _)| rule.action == action).map(|(rule, id)| (id, &rule.pattern))
        };
        let first = u32::try_from(spec.host_rules.len()).unwrap_or(u32::MAX);
        let listed = categories.patterns.iter().zip(first..).map(|(pattern, id)| (id, pattern));
        Ok(Self {
            name: document.name.clone(),
            scope: document.scope.clone(),
            mode: spec.mode,
            default_action: spec.default_action,
            inspection: spec.inspection,
            enforcement: spec.enforcement,
            denied: HostSet::new(with(Action::Deny)),
            allowed: HostSet::new(with(Action::Allow).chain(listed)),
            ruled: HostSet::new(spec.rules.iter().zip(0_u32..).map(|(rule, id)| (id, &rule.host))),
            rules: spec.rules.iter().map(compile_rule).collect(),
            cidrs: CidrSet::new(
                spec.cidr_rules
                    .iter()
                    .zip(0_u32..)
                    .map(|(rule, id)| (id, rule.net, rule.action, rule.ports.as_ref())),
            ),
            ports: match (&spec.ports, spec.default_action) {
                (Some(ports), _) => Some(ports.clone()),
                (None, Action::Deny) => Some(WEB_PORTS.into_iter().collect()),
                (None, Action::Allow) => None,
            },
            categories: categories.uses,
            warnings: categories.warnings,
            source: Arc::clone(document),
        })
    }

    /// The document as it was written.
    #[must_use]
    pub fn source(&self) -> &Arc<Document> {
        &self.source
    }

    /// Whom it applies to.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What should be looked at, though it loads.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// How many rules the document has, categories spelled out.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.denied.len() + self.allowed.len() + self.rules.len() + self.cidrs.len()
    }

    /// Whether an Allow may use `port`.
    pub(super) fn bounds(&self, port: Port) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(port))
    }

    /// The rule behind an id of `allowed`.
    pub(super) fn allowing(&self, id: u32) -> RuleId {
        let hosts = self.source.spec.host_rules.len();
        let listed = usize::try_from(id).ok().and_then(|id| id.checked_sub(hosts));
        match listed.and_then(|index| self.categories.get(index)) {
            Some(category) => RuleId::Category(*category),
            None => RuleId::Host(id),
        }
    }

    /// What a rule is called in records and refusals.
    pub(super) fn label(&self, rule: RuleId) -> String {
        let spec = &self.source.spec;
        let text = match rule {
            RuleId::Host(index) => {
                at(&spec.host_rules, index).map(|found| format!("{rule} {}", found.pattern))
            }
            RuleId::Cidr(index) => at(&spec.cidr_rules, index).map(|found| format!("{rule} {}", found.net)),
            RuleId::Rule(index) => at(&spec.rules, index).map(|found| match &found.name {
                Some(name) => name.to_string(),
                None => format!("{rule} {}", found.host),
            }),
            RuleId::Category(index) => at(&spec.categories, index).map(|found| match &found.part {
                Some(part) => format!("{rule} {}/{part}", found.category),
                None => format!("{rule} {}", found.category),
            }),
        };
        text.unwrap_or_default()
    }

    /// Where a rule stands; where the document stands without one.
    pub(super) fn place_of(&self, rule: Option<RuleId>) -> &Place {
        let spec = &self.source.spec;
        let place = rule.and_then(|rule| match rule {
            RuleId::Host(index) => at(&spec.host_rules, index).map(|rule| &rule.place),
            RuleId::Cidr(index) => at(&spec.cidr_rules, index).map(|rule| &rule.place),
            RuleId::Rule(index) => at(&spec.rules, index).map(|rule| &rule.place),
            RuleId::Category(index) => at(&spec.categories, index).map(|entry| &entry.place),
        });
        place.unwrap_or(&self.source.place)
    }
}

/// The element at a rule's index.
fn at<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)
}

/// The part of a rule that is asked once its host matched.
fn compile_rule(rule: &super::document::Rule) -> CompiledRule {
    CompiledRule { action: rule.action, path: rule.path.clone(), methods: rule.methods.clone() }
}

/// The patterns that a document's `categories` stand for, and the entry each came from.
#[derive(Default)]
struct Categories {
    patterns: Vec<Pattern>,
    uses: Vec<u32>,
    warnings: Vec<Problem>,
}

impl Categories {
    /// Spells out every entry, or reports all that name nothing.
    fn of(document: &Document, lists: &CategoryLists) -> Result<Self, Vec<Problem>> {
        let spec = &document.spec;
        let mut found = Self::default();
        let pinned =
            spec.categories_version.and_then(|version| lists.check_version(version, &document.place));
        let mut problems = Vec::from_iter(pinned);
        for (entry, index) in spec.categories.iter().zip(0_u32..) {
            match lists.resolve(entry) {
                Ok(resolved) => {
                    found.uses.extend(std::iter::repeat_n(index, resolved.patterns.len()));
                    found.patterns.extend(resolved.patterns);
                    found.warnings.extend(resolved.warnings);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }
}
