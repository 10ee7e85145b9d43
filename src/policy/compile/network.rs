//! `vnet` of a document, compiled: what stays on the managed path, and the network's rules in their order.

use std::net::IpAddr;
use std::sync::Arc;

use super::switch::Switch;
use super::{Compiled, at};
use crate::addr::Port;
use crate::policy::document::{ManagedHost, SecurityRule, Toggle, Vnet};
use crate::policy::host_set::{Class, HostKey, HostSet, HostSetError};
use crate::policy::mode::{Action, Mode};
use crate::policy::pattern_pool::{Interner, PatternPool, PatternRef};
use crate::source::{Place, Position, Problem};

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
    toggles: Box<[(Toggle, Position)]>,
    /// `remoteMcpServers` and `additionalHosts`.
    servers: Box<[Listed]>,
    hosts: Box<[Listed]>,
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

/// A host, or a pattern of such, as written, and where that is.
#[derive(Debug, Clone)]
struct Listed {
    text: Box<str>,
    position: Position,
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
    /// Compiles `vnet`, whose switches stand for these hosts.
    ///
    /// # Errors
    /// There are too many patterns.
    pub(super) fn new(
        vnet: &Vnet,
        switches: &[Switch<'_>],
        interner: &mut Interner,
    ) -> Result<Self, Vec<Problem>> {
        let managed = &vnet.managed;
        let mut parts = Vec::new();
        for switch in switches {
            parts.extend(std::iter::repeat_n(Part::Toggle(switch.toggle), switch.hosts.len()));
        }
        parts.extend((0_u32..).zip(&managed.servers).map(|(id, _)| Part::Server(id)));
        parts.extend((0_u32..).zip(&managed.hosts).map(|(id, _)| Part::Host(id)));
        let written = managed.servers.iter().chain(&managed.hosts).map(|host| &host.pattern);
        let patterns = switches.iter().flat_map(|switch| &switch.hosts).chain(written);
        let all = patterns.map(|pattern| (Class::Allow, pattern));
        Ok(Self {
            network: Arc::clone(&vnet.network),
            managed: HostSet::new(interner, all).map_err(|error| vec![beyond(&error, vnet)])?,
            parts: parts.into(),
            toggles: managed.toggles.iter().map(|(toggle, place)| (*toggle, position(place))).collect(),
            servers: managed.servers.iter().map(Listed::of).collect(),
            hosts: managed.hosts.iter().map(Listed::of).collect(),
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

    /// Where the first of what puts names on the managed path is written.
    pub(in crate::policy) fn first_managed(&self) -> Option<Place> {
        let listed = self.servers.iter().chain(&self.hosts).map(|own| own.position);
        let first = self.toggles.iter().map(|(_, position)| *position).chain(listed).next()?;
        Some(Place::new(&self.place.file, first))
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
        let listed = |list: &str, id: u32, all: &[Listed]| {
            format!("managedPath.{list}[{id}] {}", at(all, id).map(|own| &*own.text).unwrap_or_default())
        };
        match at(&self.parts, place) {
            Some(Part::Toggle(toggle)) => toggle.label().to_owned(),
            Some(Part::Server(id)) => listed("remoteMcpServers", *id, &self.servers),
            Some(Part::Host(id)) => listed("additionalHosts", *id, &self.hosts),
            None => "managedPath".to_owned(),
        }
    }

    /// Where that is written.
    pub(in crate::policy) fn place_of(&self, place: u32) -> Place {
        let position = match at(&self.parts, place) {
            Some(Part::Toggle(toggle)) => {
                self.toggles.iter().find(|(own, _)| own == toggle).map(|(_, position)| *position)
            }
            Some(Part::Server(id)) => at(&self.servers, *id).map(|own| own.position),
            Some(Part::Host(id)) => at(&self.hosts, *id).map(|own| own.position),
            None => None,
        };
        position.map_or_else(|| self.place.clone(), |position| Place::new(&self.place.file, position))
    }

    /// The network's name.
    #[must_use]
    pub const fn network(&self) -> &Arc<str> {
        &self.network
    }

    /// The switches that are on.
    pub fn toggles(&self) -> impl Iterator<Item = Toggle> {
        self.toggles.iter().map(|(toggle, _)| *toggle)
    }

    /// Its `remoteMcpServers`.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|own| &*own.text)
    }

    /// Its `additionalHosts`.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|own| &*own.text)
    }

    /// Its `remoteMcpServers` and `additionalHosts`, each with its place.
    pub(in crate::policy) fn listed(&self) -> impl Iterator<Item = (&str, Place)> {
        let all = self.servers.iter().chain(&self.hosts);
        all.map(|own| (&*own.text, Place::new(&self.place.file, own.position)))
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
        self.matching(address, port).next().map(|(id, rule)| (id, rule.action))
    }

    /// Whether an Allow names a network of at least this length around an address, before any Deny matches that.
    pub(in crate::policy) fn names(&self, address: IpAddr, port: Port, length: u32) -> bool {
        let allowing = self.matching(address, port).take_while(|(_, rule)| rule.action == Action::Allow);
        let mut nets = allowing.filter_map(|(_, rule)| rule.destination.as_deref()).flatten();
        nets.any(|net| u32::from(net.prefix_len()) >= length && net.contains(&address))
    }

    /// The rules that match an address as it stands, in their order, each by its place.
    fn matching(&self, address: IpAddr, port: Port) -> impl Iterator<Item = (u32, &SecurityRule)> {
        let asked = self
            .rules
            .iter()
            .flat_map(|rules| rules.order.iter().filter_map(|id| Some((*id, at(&rules.written, *id)?))));
        asked.filter(move |(_, rule)| {
            rule.ports.as_ref().is_none_or(|ports| ports.contains(port))
                && rule.destination.as_ref().is_none_or(|nets| nets.iter().any(|net| net.contains(&address)))
        })
    }
}

impl Ordered {
    /// Puts rules in order.
    fn new(rules: &[SecurityRule]) -> Self {
        let mut order: Vec<(u16, u32)> = rules
            .iter()
            .zip(0..)
            .filter(|(rule, _)| rule.protocol.is_ours())
            .map(|(rule, id)| (rule.priority, id))
            .collect();
        order.sort_unstable();
        Self { written: rules.into(), order: order.into_iter().map(|(_, id)| id).collect() }
    }
}

impl Listed {
    /// What is kept of a host.
    fn of(host: &ManagedHost) -> Self {
        Self { text: host.pattern.to_string().into(), position: position(&host.place) }
    }
}

/// Where in its file a place is.
const fn position(place: &Place) -> Position {
    Position { line: place.line, column: place.column }
}

/// The error of a managed path with too many hosts: it stands at the first of `additionalHosts`, which alone can be patterns
/// that their own document names.
fn beyond(error: &HostSetError, vnet: &Vnet) -> Problem {
    let place = vnet.managed.hosts.first().map_or(&vnet.place, |host| &host.place);
    let cure = "name fewer hosts under `additionalHosts`, or put one wider pattern in the place of many";
    Problem::error(error.to_string())
        .at(place.clone())
        .path("spec.vnet.managedPath.additionalHosts")
        .cure(cure)
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

    /// The switches of its managed path, where it delegates: the place of each, how many hosts it stands for, and these.
    pub(in crate::policy) fn switches(&self) -> impl Iterator<Item = (Toggle, Place, usize, Vec<String>)> {
        self.delegation().into_iter().flat_map(|vnet| {
            vnet.toggles.iter().map(|(toggle, position)| {
                let is = |part: &Part| matches!(part, Part::Toggle(own) if own == toggle);
                let mut filed = vnet.managed.patterns();
                filed.retain(|filed| at(&vnet.parts, filed.place).is_some_and(is));
                filed.sort_unstable_by_key(|filed| filed.place);
                let texts = filed.iter().filter_map(|own| self.texts.get(PatternRef::from_bits(own.pattern)));
                let count = vnet.parts.iter().filter(|part| is(part)).count();
                (*toggle, Place::new(&vnet.place.file, *position), count, texts.collect())
            })
        })
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
