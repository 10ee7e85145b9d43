//! What is told of a compiled document: names, texts and places, as they were written.

use std::sync::Arc;

use ipnet::IpNet;

use super::{Compiled, Delegation, at};
use crate::addr::Name;
use crate::policy::decision::RuleId;
use crate::policy::document::{CategoryUse, Changes, Rule, RuleAction, Spec};
use crate::policy::host_set::Class;
use crate::policy::method_set::Methods;
use crate::policy::mode::{Action, Enforcement, Inspection, Mode, Scope};
use crate::policy::pattern::Pattern;
use crate::policy::pattern_pool::PatternRef;
use crate::policy::port_set::PortSet;
use crate::source::{Place, Problem};

/// What the indexes of a document do not tell of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// `cidrRules`.
    nets: Box<[(IpNet, Action)]>,
    /// Those of them that list ports.
    ports: Box<[(u32, PortSet)]>,
    /// `rules`.
    rules: Box<[ToldRule]>,
    /// `categories`: a name, or a name and a part.
    pub(super) categories: Box<[Box<str>]>,
}

/// One of `rules`.
#[derive(Debug, Clone)]
pub(super) struct ToldRule {
    name: Option<Arc<str>>,
    path: Option<Box<str>>,
    /// The methods as written, each by its place among those of the document.
    methods: Option<Box<[u8]>>,
    /// Its host, by its place among those of `rules`.
    host: u32,
    pub(super) action: RuleAction,
}

impl Told {
    /// What is told of `spec`, whose rules are these by their hosts.
    pub(super) fn of(spec: &Spec, by_host: &[(&Pattern, Vec<(u32, &Rule)>)], methods: &Methods) -> Self {
        let mut hosts = vec![0; spec.rules.len()];
        for ((_, rules), place) in by_host.iter().zip(0_u32..) {
            for (id, _) in rules {
                if let Some(host) = usize::try_from(*id).ok().and_then(|id| hosts.get_mut(id)) {
                    *host = place;
                }
            }
        }
        let rules = spec.rules.iter().zip(hosts).map(|(rule, host)| ToldRule {
            name: rule.name.clone(),
            path: rule.path.as_ref().map(|path| path.to_string().into()),
            methods: rule
                .methods
                .as_ref()
                .map(|listed| listed.iter().filter_map(|name| methods.place(name)).collect()),
            host,
            action: rule.action,
        });
        let ports = spec.cidr_rules.iter().zip(0_u32..);
        let named = |entry: &CategoryUse| match &entry.part {
            Some(part) => format!("{}/{part}", entry.category).into(),
            None => entry.category.as_ref().into(),
        };
        Self {
            nets: spec.cidr_rules.iter().map(|rule| (rule.net, rule.action)).collect(),
            ports: ports.filter_map(|(rule, id)| Some((id, rule.ports.clone()?))).collect(),
            rules: rules.collect(),
            categories: spec.categories.iter().map(named).collect(),
        }
    }
}

/// A `hostRules` entry, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The hosts.
    pub pattern: String,
    /// What happens to them.
    pub action: Action,
}

/// A `cidrRules` entry, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CidrEntry<'c> {
    /// The addresses.
    pub net: IpNet,
    /// What happens to them.
    pub action: Action,
    /// The ports that it is about; any without.
    pub ports: Option<&'c PortSet>,
}

/// A `rules` entry, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleEntry<'c> {
    /// Its name.
    pub name: Option<&'c str>,
    /// The hosts.
    pub host: String,
    /// The paths; any without.
    pub path: Option<&'c str>,
    /// The methods; any without.
    pub methods: Option<Vec<&'c str>>,
    /// What happens.
    pub action: RuleAction,
    /// What a `Transform` or `Rewrite` changes.
    pub changes: Option<&'c Changes>,
}

impl Compiled {
    /// Its name in records and answers.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whom it applies to.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The egress mode.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// What happens to a destination that no rule mentions.
    #[must_use]
    pub const fn default_action(&self) -> Action {
        self.default_action
    }

    /// What of TLS is decrypted.
    #[must_use]
    pub const fn inspection(&self) -> Inspection {
        self.inspection
    }

    /// Whether its Deny is carried out.
    #[must_use]
    pub const fn enforcement(&self) -> Enforcement {
        self.enforcement
    }

    /// Its `ports`, where it has some.
    #[must_use]
    pub fn ports(&self) -> Option<&PortSet> {
        self.rare.as_ref()?.ports.as_ref()
    }

    /// What should be looked at, though it loads.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        self.rare.as_ref().map(|rare| &*rare.warnings).unwrap_or_default()
    }

    /// Whether it names categories, or parts of them by `managedPath`, so that it depends on the list of them.
    #[must_use]
    pub fn names_categories(&self) -> bool {
        self.told().is_some_and(|told| !told.categories.is_empty())
            || self.vnet().is_some_and(|vnet| vnet.toggles().next().is_some())
    }

    /// How many rules the document has, categories spelled out, `securityRules` where they are in force.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        let rare =
            self.rare.as_ref().map_or(0, |rare| rare.uses.len() + rare.told.rules.len() + rare.cidrs.len());
        let network = self.delegation().and_then(Delegation::security_rules).map_or(0, <[_]>::len);
        rare + network + usize::try_from(self.written).unwrap_or(usize::MAX)
    }

    /// Where it begins.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(&self.file, self.places.get(0).unwrap_or_default())
    }

    /// Its `hostRules`.
    pub fn host_rules(&self) -> impl Iterator<Item = HostEntry> {
        (0..self.written).map(|place| {
            let pattern = self.pattern(place);
            let denies = pattern.is_none_or(|pattern| Class::of(pattern) == Class::Deny);
            let action = if denies { Action::Deny } else { Action::Allow };
            HostEntry { pattern: self.text(place).unwrap_or_default(), action }
        })
    }

    /// The hosts that its `categories` allow, each with the place of its entry.
    pub(in crate::policy) fn category_hosts(&self) -> impl Iterator<Item = (String, u32)> {
        let uses = self.rare.iter().flat_map(|rare| &rare.uses);
        uses.zip(self.written..).map(|(entry, place)| (self.text(place).unwrap_or_default(), *entry))
    }

    /// The texts of what it allows and of the hosts of its `rules`; `None` where there are more rules than `most`.
    pub(in crate::policy) fn granting(&self, most: usize) -> Option<Vec<String>> {
        // How many there are is known without asking for them.
        if self.rule_count() > most {
            return None;
        }
        let all = self.hosts.patterns();
        let granting = all.iter().filter(|filed| Class::of(filed.pattern) != Class::Deny);
        granting.map(|filed| self.texts.get(PatternRef::from_bits(filed.pattern))).collect()
    }

    /// Its `cidrRules`.
    pub fn cidr_rules(&self) -> impl Iterator<Item = CidrEntry<'_>> {
        self.told().into_iter().flat_map(|told| {
            let ports =
                |id| Some(&told.ports.get(told.ports.binary_search_by_key(&id, |(id, _)| *id).ok()?)?.1);
            told.nets.iter().zip(0..).map(move |((net, action), id)| CidrEntry {
                net: *net,
                action: *action,
                ports: ports(id),
            })
        })
    }

    /// Its `rules`.
    pub fn rules(&self) -> impl Iterator<Item = RuleEntry<'_>> {
        self.rare.iter().flat_map(move |rare| {
            rare.told.rules.iter().zip(0..).map(move |(rule, id)| RuleEntry {
                name: rule.name.as_deref(),
                host: self.host(rule).unwrap_or_default(),
                path: rule.path.as_deref(),
                methods: rule
                    .methods
                    .as_ref()
                    .map(|listed| listed.iter().filter_map(|place| rare.methods.name(*place)).collect()),
                action: rule.action,
                changes: self.changing(id).map(|own| &*own.changes),
            })
        })
    }

    /// Its `categories`.
    pub fn categories(&self) -> impl Iterator<Item = &str> {
        self.told().into_iter().flat_map(|told| &told.categories).map(|text| &**text)
    }

    /// What a rule is called in records and refusals.
    pub(in crate::policy) fn label(&self, rule: RuleId) -> String {
        let text = match rule {
            RuleId::Host(place) => self.text(place),
            RuleId::Cidr(id) => {
                self.told().and_then(|told| at(&told.nets, id)).map(|(net, _)| net.to_string())
            }
            RuleId::Rule(id) => match self.told_rule(id) {
                Some(ToldRule { name: Some(name), .. }) => return name.to_string(),
                Some(rule) => self.host(rule),
                None => None,
            },
            RuleId::Category(id) => {
                self.told().and_then(|told| at(&told.categories, id)).map(ToString::to_string)
            }
            RuleId::Security(id) => {
                self.vnet().and_then(|vnet| vnet.security_rule(id)).map(|rule| rule.name.to_string())
            }
        };
        text.map_or_else(|| rule.to_string(), |text| format!("{rule} {text}"))
    }

    /// Whether a rule is about this one name, on any port or on one.
    pub(in crate::policy) fn names(&self, rule: RuleId, name: &Name) -> bool {
        let text = match rule {
            RuleId::Host(place) => self.text(place),
            RuleId::Rule(id) => self.told_rule(id).and_then(|rule| self.host(rule)),
            RuleId::Cidr(_) | RuleId::Category(_) | RuleId::Security(_) => None,
        };
        let rest = text.as_deref().and_then(|text| text.strip_prefix(name.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }

    /// Where a rule stands; where the document stands without one.
    pub(in crate::policy) fn place_of(&self, rule: Option<RuleId>) -> Place {
        let hosts = usize::try_from(self.written).unwrap_or(usize::MAX);
        let (cidrs, rules) = self.told().map_or((0, 0), |told| (told.nets.len(), told.rules.len()));
        let (list, id) = match rule {
            None => return self.place(),
            Some(RuleId::Host(id)) => (1, id),
            Some(RuleId::Cidr(id)) => (1 + hosts, id),
            Some(RuleId::Rule(id)) => (1 + hosts + cidrs, id),
            Some(RuleId::Category(id)) => (1 + hosts + cidrs + rules, id),
            Some(RuleId::Security(id)) => {
                let rule = self.vnet().and_then(|vnet| vnet.security_rule(id));
                return rule.map_or_else(|| self.place(), |rule| rule.place.clone());
            }
        };
        let place = usize::try_from(id).ok().and_then(|id| self.places.get(list + id));
        place.map_or_else(|| self.place(), |place| Place::new(&self.file, place))
    }

    /// One of `rules`.
    pub(super) fn told_rule(&self, id: u32) -> Option<&ToldRule> {
        at(&self.told()?.rules, id)
    }

    /// What the indexes do not tell.
    fn told(&self) -> Option<&Told> {
        self.rare.as_ref().map(|rare| &rare.told)
    }

    /// The host of a rule, as written.
    fn host(&self, rule: &ToldRule) -> Option<String> {
        let listed = u32::try_from(self.rare.as_ref()?.uses.len()).ok()?;
        self.text(self.written.checked_add(listed)?.checked_add(rule.host)?)
    }

    /// The text of the pattern at a place of `hosts`.
    pub(in crate::policy) fn text(&self, place: u32) -> Option<String> {
        self.texts.get(PatternRef::from_bits(self.pattern(place)?))
    }

    /// The pattern at a place of `hosts`, and what it does there.
    fn pattern(&self, place: u32) -> Option<u32> {
        let listed = self.rare.as_ref().and_then(|rare| at(&rare.patterns, place)).copied();
        listed.or_else(|| self.hosts.pattern(place))
    }
}
