//! A document as written becomes one that answers: indexes built, categories spelled out.

use std::net::IpAddr;
use std::sync::Arc;

use super::category::CategoryLists;
use super::cidr_set::{CidrMatch, CidrSet};
use super::decision::RuleId;
use super::document::{Constraints, Document, Rule, RuleAction};
use super::host_set::{Class, HostSet, HostSetError};
use super::limit::Limits;
use super::method_set::{MethodSet, Methods};
use super::mode::{Action, Enforcement, Inspection, Mode, Scope};
use super::pattern_pool::{Interner, PatternPool, PatternRef, Texts};
use super::port_set::PortSet;
use super::rule_list::RuleList;
use crate::addr::Port;
use crate::source::{Place, Position, Problem};

mod changes;
mod hosts;
mod network;
mod places;
mod switch;
mod told;
mod warning;

use changes::changing;
pub(super) use changes::{Changing, one};
use hosts::{Categories, by_host, patterns};
pub use network::Delegation;
use places::Places;
pub(super) use switch::lost;
use switch::{Switch, switches};
use told::Told;
pub use told::{CidrEntry, HostEntry, RuleEntry};

/// Ports of an Allow under `defaultAction: Deny` where the document has no `ports`.
const WEB_PORTS: [Port; 2] = [Port::HTTP, Port::HTTPS];

/// One document, compiled. Immutable.
///
/// Of what was written it keeps what is told of a rule: its text, which `texts` has, and its place.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// `hostRules`, then the hosts of `categories`, then those of `rules`, each once.
    pub(super) hosts: HostSet,
    /// What the references of `hosts` mean.
    texts: Arc<Texts>,
    pub(super) name: Arc<str>,
    pub(super) scope: Scope,
    /// The file that it stands in.
    file: Arc<str>,
    /// Where it begins, and where each of its `hostRules`, `cidrRules`, `rules` and `categories` stands.
    places: Places,
    rare: Option<Box<Rare>>,
    /// How many `hostRules` there are.
    written: u32,
    pub(super) mode: Mode,
    pub(super) default_action: Action,
    pub(super) inspection: Inspection,
    pub(super) enforcement: Enforcement,
}

/// What few documents have.
#[derive(Debug, Clone, Default)]
struct Rare {
    /// `ports`.
    ports: Option<PortSet>,
    cidrs: CidrSet,
    /// The `rules` of each of their hosts.
    lists: Box<[RuleList]>,
    /// What `rules` change of a request.
    changing: Box<[Changing]>,
    /// The methods that `rules` name.
    methods: Methods,
    /// The `categories` entry that each of their hosts belongs to.
    uses: Box<[u32]>,
    constraints: Constraints,
    limits: Limits,
    /// `vnet`.
    vnet: Option<Box<Delegation>>,
    /// Where it asks that rules are not asked.
    skip: Option<Place>,
    /// What should be looked at.
    warnings: Box<[Problem]>,
    /// The pattern at each place of `hosts`, and what it does there, where `hosts` itself does not know.
    patterns: Box<[u32]>,
    told: Told,
}

impl Compiled {
    /// Compiles `document`, spelling its categories out from `lists` and storing its patterns by `interner`.
    ///
    /// # Errors
    /// Every problem of its `categories` and switches, or a limit that it exceeds; with them what should be looked at besides.
    pub fn new(
        document: &Document,
        lists: &CategoryLists,
        interner: &mut Interner,
    ) -> Result<Self, Vec<Problem>> {
        match (Categories::of(document, lists), switches(document, lists)) {
            (Ok(mut categories), Ok(switches)) => {
                let mut found = std::mem::take(&mut categories.warnings);
                found.extend(switches.iter().flat_map(|switch| switch.warnings.iter().cloned()));
                found.extend(warning::warnings(document, &switches));
                let compiled = Self::sound(document, categories, &switches, &found, interner);
                compiled.map_err(|problems| problems.into_iter().chain(found).collect())
            }
            (categories, switches) => {
                let problems = [categories.err(), switches.err()].into_iter().flatten().flatten();
                Err(problems.chain(warning::warnings(document, &[])).collect())
            }
        }
    }

    /// Compiles a document whose categories and switches stand for these hosts, with these warnings.
    fn sound(
        document: &Document,
        categories: Categories,
        switches: &[Switch<'_>],
        warnings: &[Problem],
        interner: &mut Interner,
    ) -> Result<Self, Vec<Problem>> {
        let spec = &document.spec;
        let limit = |what: &str, cure: &str| vec![Problem::error(what).at(document.place.clone()).cure(cure)];
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
        let all = written.chain(listed).chain(rules);
        let beyond = |error: HostSetError| {
            limit(&error.to_string(), "name fewer hosts, or put one wider pattern in the place of many")
        };
        let vnet = spec.vnet.as_ref().map(|vnet| Delegation::new(vnet, switches, interner));
        let hosts = HostSet::new(interner, all.clone()).map_err(beyond)?;
        let patterns = patterns(&hosts, all, interner).ok_or_else(|| beyond(HostSetError::PoolFull))?;
        let list = |rules: &[(u32, &Rule)]| {
            RuleList::new(rules.iter().map(|(id, rule)| {
                (*id, rule.action, rule.path.as_ref(), methods.set(rule.methods.as_deref()))
            }))
        };
        let rare = Rare {
            ports: spec.ports.clone(),
            cidrs: CidrSet::new(
                spec.cidr_rules
                    .iter()
                    .zip(0_u32..)
                    .map(|(rule, id)| (id, rule.net, rule.action, rule.ports.as_ref())),
            ),
            lists: by_host.iter().map(|(_, rules)| list(rules)).collect(),
            told: Told::of(spec, &by_host, &methods),
            changing: changing(spec),
            methods,
            uses: categories.uses.into(),
            constraints: spec.constraints,
            limits: spec.limits,
            vnet: vnet.transpose()?.map(Box::new),
            skip: spec.skip.clone(),
            warnings: warnings.into(),
            patterns,
        };
        Ok(Self {
            hosts,
            texts: Arc::clone(interner.texts()),
            name: name(document),
            scope: document.scope.clone(),
            file: Arc::clone(&document.place.file),
            places: Places::new(
                places(document).map(|place| Position { line: place.line, column: place.column }),
            ),
            rare: (!rare.is_empty()).then(|| Box::new(rare)),
            written: u32::try_from(spec.host_rules.len()).unwrap_or(u32::MAX),
            mode: spec.mode,
            default_action: spec.default_action,
            inspection: spec.inspection,
            enforcement: spec.enforcement,
        })
    }

    /// The same document over another pool, which gets what this one needs. `None`: that pool is full.
    pub(super) fn moved(&self, from: &PatternPool, to: &mut Interner) -> Option<Self> {
        let mut moved =
            Self { hosts: self.hosts.moved(from, to)?, texts: Arc::clone(to.texts()), ..self.clone() };
        for pattern in moved.rare.iter_mut().flat_map(|rare| &mut rare.patterns) {
            *pattern = Class::of(*pattern).tag(to.add(from.get(PatternRef::from_bits(*pattern))?)?);
        }
        for vnet in moved.rare.iter_mut().filter_map(|rare| rare.vnet.as_mut()) {
            **vnet = vnet.moved(from, to)?;
        }
        Some(moved)
    }

    /// Equal to that of the pool that it refers to.
    pub(super) fn lineage(&self) -> u64 {
        self.texts.lineage()
    }

    /// The patterns that it refers to, perhaps some more than once.
    pub(super) fn patterns(&self) -> impl Iterator<Item = PatternRef> {
        let more = self.rare.iter().flat_map(|rare| &rare.patterns).copied();
        let all = self.hosts.patterns().into_iter().map(|filed| filed.pattern).chain(more);
        all.map(PatternRef::from_bits).chain(self.managed_patterns())
    }

    /// Whether it has nothing of what few documents have.
    #[cfg(test)]
    pub(super) const fn is_plain(&self) -> bool {
        self.rare.is_none()
    }

    /// Whether an Allow may use `port`.
    pub(super) fn bounds(&self, port: Port) -> bool {
        match self.ports() {
            Some(ports) => ports.contains(port),
            None => self.default_action == Action::Allow || WEB_PORTS.contains(&port),
        }
    }

    /// All ports that `ports`, or what holds without them, leave to an Allow.
    pub(super) fn bound_ports(&self) -> PortSet {
        match self.ports() {
            Some(ports) => ports.clone(),
            None if self.default_action == Action::Allow => [(1, u16::MAX)].into_iter().collect(),
            None => WEB_PORTS.map(|port| (port.get(), port.get())).into_iter().collect(),
        }
    }

    /// The rule at a place of `hosts` that denies or allows.
    pub(super) fn host_rule(&self, place: u32) -> RuleId {
        let listed = place.checked_sub(self.written);
        match self.rare.as_ref().zip(listed).and_then(|(rare, listed)| at(&rare.uses, listed)) {
            Some(category) => RuleId::Category(*category),
            None => RuleId::Host(place),
        }
    }

    /// The `rules` at a place of `hosts`.
    pub(super) fn rules_at(&self, place: u32) -> Option<&RuleList> {
        let rare = self.rare.as_deref()?;
        let listed = usize::try_from(place.checked_sub(self.written)?).ok()?;
        rare.lists.get(listed.checked_sub(rare.uses.len())?)
    }

    /// What one of `rules` does.
    pub(super) fn action(&self, rule: u32) -> RuleAction {
        self.told_rule(rule).map_or(RuleAction::Deny, |rule| rule.action)
    }

    /// Whether some of its patterns have a port of their own, which `ports` do not bound.
    pub(super) fn has_own_ports(&self) -> bool {
        !self.hosts.own_ports().is_empty()
    }

    /// Whether there are `rules`.
    pub(super) fn has_rules(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.lists.is_empty())
    }

    /// The method of a request, as its `rules` have it.
    pub(super) fn method(&self, name: &str) -> MethodSet {
        self.rare.as_ref().map_or_else(|| Methods::default().bit(name), |rare| rare.methods.bit(name))
    }

    /// What the longest prefix says, as in [`CidrSet::longest`].
    pub(super) fn longest(&self, address: IpAddr, port: Port) -> Option<CidrMatch> {
        self.rare.as_ref()?.cidrs.longest(address, port)
    }

    /// The same where it is an Allow.
    pub(super) fn allows(&self, address: IpAddr, port: Port) -> Option<CidrMatch> {
        self.rare.as_ref()?.cidrs.allows(address, port)
    }

    /// Bounds on lower documents.
    pub(super) fn constraints(&self) -> Constraints {
        self.rare.as_ref().map(|rare| rare.constraints).unwrap_or_default()
    }

    /// How much one sandbox may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.rare.as_ref().map_or(&Limits::NONE, |rare| &rare.limits)
    }
}

impl Rare {
    /// Whether there is nothing in it.
    fn is_empty(&self) -> bool {
        let Self {
            ports,
            cidrs,
            lists,
            changing: _,
            methods: _,
            uses,
            constraints,
            limits,
            vnet,
            skip,
            warnings,
            patterns,
            told,
        } = self;
        ports.is_none()
            && cidrs.is_empty()
            && lists.is_empty()
            && uses.is_empty()
            && *constraints == Constraints::default()
            && *limits == Limits::NONE
            && vnet.is_none()
            && skip.is_none()
            && warnings.is_empty()
            && patterns.is_empty()
            && told.categories.is_empty()
    }
}

/// The element at a rule's index.
fn at<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)
}

/// The name of a document; one text with that of its sandbox or group, where these are equal.
fn name(document: &Document) -> Arc<str> {
    let own = match &document.scope {
        Scope::Global => None,
        Scope::Group(group) => Some(group),
        Scope::Sandbox { sandbox, .. } => Some(sandbox),
    };
    Arc::clone(own.filter(|own| **own == document.name).unwrap_or(&document.name))
}

/// Where a document begins, and where each of its rules stands.
fn places(document: &Document) -> impl Iterator<Item = &Place> {
    let spec = &document.spec;
    std::iter::once(&document.place)
        .chain(spec.host_rules.iter().map(|rule| &rule.place))
        .chain(spec.cidr_rules.iter().map(|rule| &rule.place))
        .chain(spec.rules.iter().map(|rule| &rule.place))
        .chain(spec.categories.iter().map(|entry| &entry.place))
}
