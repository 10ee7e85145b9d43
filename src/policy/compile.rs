//! A document as written becomes one that answers: indexes built, categories spelled out.

use std::collections::HashMap;
use std::sync::Arc;

use super::category::CategoryLists;
use super::cidr_set::CidrSet;
use super::decision::RuleId;
use super::document::{Document, Rule, RuleAction};
use super::host_set::{Class, HostSet};
use super::method_set::Methods;
use super::mode::{Action, Enforcement, Inspection, Mode, Scope};
use super::pattern::Pattern;
use super::pattern_pool::{Interner, PatternPool};
use super::port_set::PortSet;
use super::rule_list::RuleList;
use crate::addr::Port;
use crate::source::{Place, Problem};

/// Ports of an Allow under `defaultAction: Deny` where the document has no `ports`.
const WEB_PORTS: [(u16, u16); 2] = [(80, 80), (443, 443)];

/// One document, compiled. Immutable.
#[derive(Debug, Clone)]
pub struct Compiled {
    pub(super) name: Arc<str>,
    pub(super) scope: Scope,
    pub(super) mode: Mode,
    pub(super) default_action: Action,
    pub(super) inspection: Inspection,
    pub(super) enforcement: Enforcement,
    /// `hostRules`, then the hosts of `categories`, then those of `rules`, each once.
    pub(super) hosts: HostSet,
    /// The pool that `hosts` refers to.
    pub(super) lineage: u64,
    /// The `rules` of each of their hosts.
    lists: Box<[RuleList]>,
    /// The methods that `rules` name.
    pub(super) methods: Methods,
    pub(super) cidrs: CidrSet,
    /// The ports of an Allow; `None` is any.
    pub(super) ports: Option<PortSet>,
    /// The `categories` entry that each of their hosts belongs to.
    categories: Box<[u32]>,
    /// What should be looked at.
    warnings: Vec<Problem>,
    /// The document as it was written, for names and places.
    source: Arc<Document>,
}

impl Compiled {
    /// Compiles `document`, spelling its categories out from `lists` and storing its patterns by `interner`.
    ///
    /// # Errors
    /// Every problem of its `categories`, or a limit that it exceeds.
    pub fn new(
        document: &Arc<Document>,
        lists: &CategoryLists,
        interner: &mut Interner,
    ) -> Result<Self, Vec<Problem>> {
        let spec = &document.spec;
        let limit = |what: &str, cure: &str| vec![Problem::error(what).at(document.place.clone()).cure(cure)];
        let categories = Categories::of(document, lists)?;
        let named = spec.rules.iter().filter_map(|rule| rule.methods.as_deref()).flatten();
        let methods = Methods::of(named.map(|method| &**method))
            .map_err(|many| limit(&many.to_string(), "leave `methods` out where any will do"))?;
        let by_host = by_host(&spec.rules);
        let rules = by_host.iter().map(|(host, _)| (Class::Rules, *host));
        let written = spec.host_rules.iter().map(|rule| {
            let class = if rule.action == Action::Deny { Class::Deny } else { Class::Allow };
            (class, &rule.pattern)
        });
        let listed = categories.patterns.iter().map(|pattern| (Class::Allow, pattern));
        let hosts = HostSet::new(interner, written.chain(listed).chain(rules));
        let hosts = hosts.map_err(|error| {
            limit(&error.to_string(), "name fewer hosts, or put one wider pattern in the place of many")
        })?;
        let list = |rules: &[(u32, &Rule)]| {
            RuleList::new(rules.iter().map(|(id, rule)| {
                (*id, rule.action, rule.path.as_ref(), methods.set(rule.methods.as_deref()))
            }))
        };
        Ok(Self {
            name: document.name.clone(),
            scope: document.scope.clone(),
            mode: spec.mode,
            default_action: spec.default_action,
            inspection: spec.inspection,
            enforcement: spec.enforcement,
            hosts,
            lineage: interner.lineage(),
            lists: by_host.iter().map(|(_, rules)| list(rules)).collect(),
            methods,
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
            categories: categories.uses.into(),
            warnings: categories.warnings,
            source: Arc::clone(document),
        })
    }

    /// The same document over another pool, which gets what this one needs. `None`: that pool is full.
    pub(super) fn moved(&self, from: &PatternPool, to: &mut Interner) -> Option<Self> {
        let hosts = self.hosts.moved(from, to)?;
        Some(Self { hosts, lineage: to.lineage(), ..self.clone() })
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
        let spec = &self.source.spec;
        spec.host_rules.len() + self.categories.len() + spec.rules.len() + self.cidrs.len()
    }

    /// Whether an Allow may use `port`.
    pub(super) fn bounds(&self, port: Port) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(port))
    }

    /// The rule at a place of `hosts` that denies or allows.
    pub(super) fn host_rule(&self, place: u32) -> RuleId {
        let written = self.source.spec.host_rules.len();
        let listed = usize::try_from(place).ok().and_then(|place| place.checked_sub(written));
        match listed.and_then(|index| self.categories.get(index)) {
            Some(category) => RuleId::Category(*category),
            None => RuleId::Host(place),
        }
    }

    /// The `rules` at a place of `hosts`.
    pub(super) fn rules_at(&self, place: u32) -> Option<&RuleList> {
        let before = self.source.spec.host_rules.len() + self.categories.len();
        self.lists.get(usize::try_from(place).ok()?.checked_sub(before)?)
    }

    /// What one of `rules` does.
    pub(super) fn action(&self, rule: u32) -> RuleAction {
        at(&self.source.spec.rules, rule).map_or(RuleAction::Deny, |rule| rule.action)
    }

    /// Whether there are `rules`.
    pub(super) fn has_rules(&self) -> bool {
        !self.lists.is_empty()
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

/// The rules of each host, in order; the hosts in the order in which they come first.
fn by_host(rules: &[Rule]) -> Vec<(&Pattern, Vec<(u32, &Rule)>)> {
    let mut lists: Vec<(&Pattern, Vec<(u32, &Rule)>)> = Vec::new();
    let mut known: HashMap<&Pattern, usize> = HashMap::new();
    for (rule, id) in rules.iter().zip(0_u32..) {
        let list = *known.entry(&rule.host).or_insert_with(|| {
            lists.push((&rule.host, Vec::new()));
            lists.len() - 1
        });
        if let Some((_, list)) = lists.get_mut(list) {
            list.push((id, rule));
        }
    }
    lists
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
