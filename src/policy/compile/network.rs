//! `vnet` of a document, compiled: what stays on the managed path, and the network's rules in their order.

use std::net::IpAddr;
use std::sync::Arc;

use super::{CategoryLists, Compiled, at};
use crate::addr::Port;
use crate::policy::document::{CategoryUse, Document, ManagedHost, Protocol, SecurityRule, Toggle, Vnet};
use crate::policy::host_set::{Class, HostKey, HostSet, HostSetError};
use crate::policy::mode::{Action, Mode};
use crate::policy::pattern::Pattern;
use crate::policy::pattern_pool::{Interner, PatternPool, PatternRef};
use crate::source::{Place, Problem};

/// What a document delegates, whether it is in force or kept for mode `VNet`.
#[derive(Debug, Clone)]
pub struct Delegation {
    /// The network.
    pub(in crate::policy) network: Arc<str>,
    /// The names that take the managed path.
    managed: HostSet,
    /// What each place of `managed` is there for.
    parts: Box<[Part]>,
    /// The switches that are on.
    toggles: Box<[Toggle]>,
    /// `remoteMcpServers` and `additionalHosts`, as written.
    servers: Box<[Box<str>]>,
    hosts: Box<[Box<str>]>,
    /// `securityRules` as written, and their places in the order in which they are asked.
    rules: Option<Ordered>,
    /// Where the network is named.
    pub(in crate::policy) place: Place,
}

/// `securityRules`, as written, and the order in which those that can match are asked.
#[derive(Debug, Clone)]
struct Ordered {
    written: Box<[SecurityRule]>,
    order: Box<[u32]>,
}

/// What a managed name is there for.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// A switch.
    Toggle(Toggle),
    /// A `remoteMcpServers` entry.
    Server(u32),
    /// An `additionalHosts` entry.
    Host(u32),
}

impl Delegation {
    /// Compiles `vnet`, whose switches stand for parts of the list in force.
    ///
    /// # Errors
    /// The list lacks such a part, or there are too many patterns.
    pub(super) fn new(
        document: &Document,
        vnet: &Vnet,
        lists: &CategoryLists,
        interner: &mut Interner,
        beyond: impl FnOnce(HostSetError) -> Vec<Problem>,
    ) -> Result<Self, Vec<Problem>> {
        let (mut patterns, mut parts, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        for (toggle, place) in &vnet.managed.toggles {
            match hosts_of(*toggle, place, lists) {
                Ok(found) => {
                    parts.extend(std::iter::repeat_n(Part::Toggle(*toggle), found.len()));
                    patterns.extend(found);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let pinned = document.spec.categories_version.filter(|_| !vnet.managed.toggles.is_empty());
        // A list of another version was told of already; what its parts are is then of no interest.
        if !problems.is_empty() && pinned.is_none_or(|version| version == lists.list().version) {
            return Err(problems);
        }
        let managed = &vnet.managed;
        parts.extend((0_u32..).zip(&managed.servers).map(|(id, _)| Part::Server(id)));
        parts.extend((0_u32..).zip(&managed.hosts).map(|(id, _)| Part::Host(id)));
        patterns.extend(managed.servers.iter().chain(&managed.hosts).map(|host| host.pattern.clone()));
        let all = patterns.iter().map(|pattern| (Class::Allow, pattern));
        let texts =
            |hosts: &[ManagedHost]| hosts.iter().map(|host| host.pattern.to_string().into()).collect();
        Ok(Self {
            network: Arc::clone(&vnet.network),
            managed: HostSet::new(interner, all).map_err(beyond)?,
            parts: parts.into(),
            toggles: managed.toggles.iter().map(|(toggle, _)| *toggle).collect(),
            servers: texts(&managed.servers),
            hosts: texts(&managed.hosts),
            rules: vnet.security_rules.as_deref().map(Ordered::new),
            place: vnet.place.clone(),
        })
    }

    /// The same over another pool, which gets what this one needs. `None`: that pool is full.
    pub(super) fn moved(&self, from: &PatternPool, to: &mut Interner) -> Option<Self> {
        Some(Self { managed: self.managed.moved(from, to)?, ..self.clone() })
    }

    /// The patterns that it refers to.
    pub(super) fn patterns(&self) -> impl Iterator<Item = u32> {
        self.managed.patterns().into_iter().map(|filed| filed.pattern)
    }

    /// What each of its managed patterns is called.
    fn labels(&self) -> impl Iterator<Item = (PatternRef, String)> {
        let filed = self.managed.patterns().into_iter();
        filed.map(|filed| (PatternRef::from_bits(filed.pattern), self.label(filed.place)))
    }

    /// Whether some name takes the managed path.
    pub(in crate::policy) const fn has_managed(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The place of what puts a name on the managed path.
    pub(in crate::policy) fn manages(
        &self,
        pool: &PatternPool,
        host: &HostKey<'_>,
        port: Port,
    ) -> Option<u32> {
        self.managed.find(pool, host, port).allowed.map(|found| found.place)
    }

    /// What that is called: `managedPath.packageRegistries.pypi`, `managedPath.additionalHosts[2] *.corp`.
    pub(in crate::policy) fn label(&self, place: u32) -> String {
        let listed = |list: &str, id: u32, texts: &[Box<str>]| {
            format!("managedPath.{list}[{id}] {}", at(texts, id).map(|text| &**text).unwrap_or_default())
        };
        match at(&self.parts, place) {
            Some(Part::Toggle(toggle)) => toggle.label().to_owned(),
            Some(Part::Server(id)) => listed("remoteMcpServers", *id, &self.servers),
            Some(Part::Host(id)) => listed("additionalHosts", *id, &self.hosts),
            None => "managedPath".to_owned(),
        }
    }

    /// The network's name.
    #[must_use]
    pub const fn network(&self) -> &Arc<str> {
        &self.network
    }

    /// The switches that are on.
    #[must_use]
    pub fn toggles(&self) -> &[Toggle] {
        &self.toggles
    }

    /// Its `remoteMcpServers`.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|text| &**text)
    }

    /// Its `additionalHosts`.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|text| &**text)
    }

    /// Its `securityRules`, as written; None: the network itself decides.
    #[must_use]
    pub fn security_rules(&self) -> Option<&[SecurityRule]> {
        self.rules.as_ref().map(|rules| &*rules.written)
    }

    /// One of them.
    pub(in crate::policy) fn security_rule(&self, id: u32) -> Option<&SecurityRule> {
        at(self.security_rules()?, id)
    }

    /// Whether there are `securityRules`.
    pub(in crate::policy) const fn is_ruled(&self) -> bool {
        self.rules.is_some()
    }

    /// The first rule that matches an address as it stands, by its place.
    pub(in crate::policy) fn first(&self, address: IpAddr, port: Port) -> Option<(u32, Action)> {
        let rules = self.rules.as_ref()?;
        let mut asked = rules.order.iter().filter_map(|id| Some((*id, at(&rules.written, *id)?)));
        let found = asked.find(|(_, rule)| {
            rule.ports.as_ref().is_none_or(|ports| ports.contains(port))
                && rule.destination.as_ref().is_none_or(|nets| nets.iter().any(|net| net.contains(&address)))
        });
        found.map(|(id, rule)| (id, rule.action))
    }
}

impl Ordered {
    /// Puts rules in order.
    fn new(rules: &[SecurityRule]) -> Self {
        let ours = |rule: &SecurityRule| matches!(rule.protocol, Protocol::Any | Protocol::Tcp);
        let mut order: Vec<(u16, u32)> = rules
            .iter()
            .zip(0..)
            .filter(|(rule, _)| ours(rule))
            .map(|(rule, id)| (rule.priority, id))
            .collect();
        order.sort_unstable();
        Self { written: rules.into(), order: order.into_iter().map(|(_, id)| id).collect() }
    }
}

/// The hosts that a switch stands for.
fn hosts_of(toggle: Toggle, place: &Place, lists: &CategoryLists) -> Result<Vec<Pattern>, Problem> {
    let (category, part) = toggle.part();
    let wanted = CategoryUse { category: category.into(), part: Some(part.into()), place: place.clone() };
    lists.resolve(&wanted).map(|resolved| resolved.patterns).map_err(|_| {
        let list = lists.list();
        let message = format!(
            "`{toggle}` stands for `{category}/{part}`, of which the category list `{}` has no hosts",
            list.name
        );
        let cure = format!("add the part to the list at {}, or turn the switch off", list.place);
        Problem::error(message).at(place.clone()).path(format!("spec.vnet.{toggle}")).cure(cure)
    })
}

impl Compiled {
    /// Its `vnet`, whether it is in force or not.
    #[must_use]
    pub fn vnet(&self) -> Option<&Delegation> {
        self.rare.as_ref()?.vnet.as_deref()
    }

    /// Its `vnet`, where it is in force.
    #[must_use]
    pub fn delegation(&self) -> Option<&Delegation> {
        if self.mode == Mode::VNet { self.vnet() } else { None }
    }

    /// The hosts that it puts on the managed path, where it delegates, and what each is there for.
    pub(in crate::policy) fn managed_hosts(&self) -> impl Iterator<Item = (String, String)> {
        let labels = self.delegation().into_iter().flat_map(Delegation::labels);
        labels.filter_map(|(pattern, label)| Some((self.texts.get(pattern)?, label)))
    }

    /// Where it asks that rules are not asked.
    pub(in crate::policy) fn skip(&self) -> Option<&Place> {
        self.rare.as_ref()?.skip.as_ref()
    }

    /// Whether it asks that rules are not asked.
    #[must_use]
    pub fn skips(&self) -> bool {
        self.skip().is_some()
    }

    /// Whether there are `cidrRules`.
    pub(in crate::policy) fn judges_addresses(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.cidrs.is_empty())
    }

    /// The patterns of its managed path.
    pub(super) fn managed_patterns(&self) -> impl Iterator<Item = PatternRef> {
        self.vnet().into_iter().flat_map(Delegation::patterns).map(PatternRef::from_bits)
    }
}
