//! `vnet`: the network that a document delegates to, what stays on the managed path, and the network's own rules
//! (`policy.md` §8).
//!
//! | `mode` | `vnet` | is |
//! |---|---|---|
//! | `VNet` | there | in force |
//! | `VNet` | absent | an error |
//! | another one | there | checked, kept and not in force: a warning, so that one word switches the mode and back |

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::spec::ACTIONS;
use super::{destination, metadata, pattern};
use crate::policy::mode::{Action, Mode};
use crate::policy::pattern::{Pattern, PatternKind};
use crate::policy::port_set::PortSet;
use crate::policy::route::Route;
use crate::source::{Fields, Kind, Place, Spot, quoted};

/// The keys of `vnet`.
pub(crate) const VNET_KEYS: [&str; 3] = ["network", "securityRules", "managedPath"];
/// The keys of a `securityRules` entry.
pub(crate) const SECURITY_RULE_KEYS: [&str; 6] =
    ["name", "priority", "action", "destination", "ports", "protocol"];
/// The keys of `managedPath`.
pub(crate) const MANAGED_PATH_KEYS: [&str; 4] =
    ["packageRegistries", "codeRepositories", "remoteMcpServers", "additionalHosts"];
/// The keys of `packageRegistries`.
pub(crate) const REGISTRY_KEYS: [&str; 4] = ["pypi", "npm", "nuget", "apt"];
/// The keys of `codeRepositories`.
pub(crate) const REPOSITORY_KEYS: [&str; 3] = ["github", "githubEnterprise", "azureDevOps"];
/// The words for a protocol.
pub(crate) const PROTOCOLS: [(&str, Protocol); 4] =
    [("Tcp", Protocol::Tcp), ("Udp", Protocol::Udp), ("Icmp", Protocol::Icmp), ("*", Protocol::Any)];
/// The least and the greatest `priority`.
pub(crate) const PRIORITIES: (u64, u64) = (100, 4096);

/// `vnet`.
#[derive(Debug, Clone)]
pub struct Vnet {
    /// The network that calls are delegated to.
    pub network: Arc<str>,
    /// The network's own rules, in the order written; None: the network itself decides.
    pub security_rules: Option<Vec<SecurityRule>>,
    /// What does not go there.
    pub managed: ManagedPath,
    /// Where the network is named.
    pub place: Place,
}

/// One `securityRules` entry.
#[derive(Debug, Clone)]
pub struct SecurityRule {
    /// Its name in records.
    pub name: Arc<str>,
    /// Its rank: the lowest number is asked first.
    pub priority: u16,
    /// What happens.
    pub action: Action,
    /// The addresses; None: any.
    pub destination: Option<Vec<IpNet>>,
    /// The ports; None: any.
    pub ports: Option<PortSet>,
    /// The protocol.
    pub protocol: Protocol,
    /// Where it is written.
    pub place: Place,
}

/// The protocol of a `securityRules` entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `*`.
    Any,
    /// TCP: what this gateway sends.
    Tcp,
    /// UDP: nothing of it goes out here.
    Udp,
    /// ICMP: nothing of it goes out here.
    Icmp,
}

impl Protocol {
    /// Whether a call can be of this protocol.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Any | Self::Tcp)
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "*",
            Self::Tcp => "Tcp",
            Self::Udp => "Udp",
            Self::Icmp => "Icmp",
        }
    }
}

/// `vnet.managedPath`.
#[derive(Debug, Clone, Default)]
pub struct ManagedPath {
    /// The switches that are on, each with its place.
    pub toggles: Vec<(Toggle, Place)>,
    /// `remoteMcpServers`.
    pub servers: Vec<ManagedHost>,
    /// `additionalHosts`.
    pub hosts: Vec<ManagedHost>,
}

/// One host of `managedPath`, or a pattern of such.
#[derive(Debug, Clone)]
pub struct ManagedHost {
    /// What it matches.
    pub pattern: Pattern,
    /// Where it is written.
    pub place: Place,
}

impl ManagedPath {
    /// Whether nothing takes it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.toggles.is_empty() && self.servers.is_empty() && self.hosts.is_empty()
    }
}

/// A switch of `managedPath`: it stands for a part of the category list in force.
///
/// | switch | part |
/// |---|---|
/// | `packageRegistries.pypi` | `package-registries/python` |
/// | `packageRegistries.npm`, `.nuget`, `.apt` | `package-registries/npm`, `…/nuget`, `…/apt` |
/// | `codeRepositories.github` | `code-repositories/github` |
/// | `codeRepositories.githubEnterprise` | `code-repositories/github-enterprise` |
/// | `codeRepositories.azureDevOps` | `code-repositories/azure-devops` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Toggle {
    /// `packageRegistries.pypi`.
    Pypi,
    /// `packageRegistries.npm`.
    Npm,
    /// `packageRegistries.nuget`.
    Nuget,
    /// `packageRegistries.apt`.
    Apt,
    /// `codeRepositories.github`.
    Github,
    /// `codeRepositories.githubEnterprise`.
    GithubEnterprise,
    /// `codeRepositories.azureDevOps`.
    AzureDevOps,
}

impl Toggle {
    /// Those of `packageRegistries`, in the order of [`REGISTRY_KEYS`].
    const REGISTRIES: [Self; 4] = [Self::Pypi, Self::Npm, Self::Nuget, Self::Apt];
    /// Those of `codeRepositories`, in the order of [`REPOSITORY_KEYS`].
    const REPOSITORIES: [Self; 3] = [Self::Github, Self::GithubEnterprise, Self::AzureDevOps];

    /// What it is called in answers: its path in `vnet`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pypi => "managedPath.packageRegistries.pypi",
            Self::Npm => "managedPath.packageRegistries.npm",
            Self::Nuget => "managedPath.packageRegistries.nuget",
            Self::Apt => "managedPath.packageRegistries.apt",
            Self::Github => "managedPath.codeRepositories.github",
            Self::GithubEnterprise => "managedPath.codeRepositories.githubEnterprise",
            Self::AzureDevOps => "managedPath.codeRepositories.azureDevOps",
        }
    }

    /// The category and the part that it stands for.
    #[must_use]
    pub const fn part(self) -> (&'static str, &'static str) {
        match self {
            Self::Pypi => ("package-registries", "python"),
            Self::Npm => ("package-registries", "npm"),
            Self::Nuget => ("package-registries", "nuget"),
            Self::Apt => ("package-registries", "apt"),
            Self::Github => ("code-repositories", "github"),
            Self::GithubEnterprise => ("code-repositories", "github-enterprise"),
            Self::AzureDevOps => ("code-repositories", "azure-devops"),
        }
    }
}

impl fmt::Display for Toggle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// `vnet` of a document of this mode.
pub(super) fn decode(fields: &Fields<'_>, mode: Mode) -> Option<Vnet> {
    let Some(spot) = fields.get("vnet") else {
        if mode == Mode::VNet {
            let spot = fields.get("mode");
            spot.as_ref()
                .unwrap_or(fields.spot())
                .error_cure("mode VNet without `vnet`", "add `vnet: {network: …}`");
        }
        return None;
    };
    if mode != Mode::VNet {
        spot.warn(
            format!("`vnet` is not in force in mode {mode:?}"),
            "write `mode: VNet` to put it in force, or leave it for then",
        );
    }
    let fields = spot.fields(&VNET_KEYS)?;
    let network = fields.require("network");
    let named = network.as_ref().and_then(network_name);
    let security_rules = fields.get("securityRules").map(|spot| security_rules(&spot));
    let managed = fields.get("managedPath").map(|spot| managed_path(&spot)).unwrap_or_default();
    Some(Vnet { network: named?, security_rules, managed, place: network?.place() })
}

/// A host of the managed path.
fn managed_host(item: &Spot<'_>, pattern: Option<Pattern>) -> Option<ManagedHost> {
    Some(ManagedHost { pattern: pattern?, place: item.place() })
}

/// `vnet.network`.
fn network_name(spot: &Spot<'_>) -> Option<Arc<str>> {
    let name = metadata::name(spot)?;
    if *name == *Route::MANAGED {
        spot.error_cure(
            "`managed` is the operator's own network, which is not delegated to",
            "name another one of the `networks` of the process configuration",
        );
        return None;
    }
    Some(name)
}

/// `securityRules`.
fn security_rules(spot: &Spot<'_>) -> Vec<SecurityRule> {
    if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
        spot.error_cure(
            "lists no rule, and what no rule allows is denied",
            "leave `securityRules` out where the network itself decides, or write a rule",
        );
    }
    let mut priorities: HashMap<u16, u32> = HashMap::new();
    spot.each(|item| {
        let rule = security_rule(&item)?;
        if let Some(first) = priorities.insert(rule.priority, rule.place.line) {
            item.error_cure(
                format!("priority {} is on line {first} already", rule.priority),
                "give each rule its own priority",
            );
        }
        if !rule.protocol.is_ours() {
            item.warn(
                format!(
                    "this rule never matches: only TCP goes out, and it is for {}",
                    rule.protocol.as_str()
                ),
                "write `protocol: Tcp` or `\"*\"`, or remove it",
            );
        }
        Some(rule)
    })
}

/// One `securityRules` entry.
fn security_rule(item: &Spot<'_>) -> Option<SecurityRule> {
    let fields = item.fields(&SECURITY_RULE_KEYS)?;
    let name = fields.require("name").and_then(|spot| metadata::name(&spot));
    let action = fields.require("action").and_then(|spot| spot.choice(&ACTIONS));
    let destination = fields.require("destination").and_then(|spot| addresses(&spot));
    let ports = fields.get("ports").map_or(Some(None), |spot| {
        if is_star(&spot) { Some(None) } else { destination::ports(&spot).map(Some) }
    });
    let protocol = fields.get("protocol").map_or(Some(Protocol::Any), |spot| spot.choice(&PROTOCOLS));
    let (least, most) = PRIORITIES;
    let priority = fields.require("priority").and_then(|spot| spot.integer(least, most));
    Some(SecurityRule {
        name: name?,
        priority: u16::try_from(priority?).ok()?,
        action: action?,
        destination: Some(destination?).filter(|nets| !nets.is_empty()),
        ports: ports?,
        protocol: protocol?,
        place: item.place(),
    })
}

/// A network, `*`, or a list of these, when nothing of it is wrong; no network: any address.
fn addresses(spot: &Spot<'_>) -> Option<Vec<IpNet>> {
    if spot.is_text() {
        return if is_star(spot) { Some(Vec::new()) } else { Some(vec![destination::network(spot)?]) };
    }
    let (mut nets, mut any) = (Vec::new(), false);
    let (mut found, mut listed) = (0_usize, 0_usize);
    for item in spot.items() {
        listed += 1;
        if is_star(&item) {
            (any, found) = (true, found + 1);
        } else if let Some(net) = destination::network(&item) {
            nets.push(net);
            found += 1;
        }
    }
    if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
        spot.error_cure("lists no address", "write \"*\" for any address, or name a network");
    }
    (listed > 0 && found == listed).then_some(if any { Vec::new() } else { nets })
}

/// Whether it is `*`.
fn is_star(spot: &Spot<'_>) -> bool {
    matches!(&spot.node().kind, Kind::Text(text) if text == "*")
}

/// `vnet.managedPath`.
fn managed_path(spot: &Spot<'_>) -> ManagedPath {
    let mut managed = ManagedPath::default();
    let Some(fields) = spot.fields(&MANAGED_PATH_KEYS) else { return managed };
    if let Some(spot) = fields.get("packageRegistries") {
        managed.toggles.extend(toggles(&spot, &REGISTRY_KEYS, &Toggle::REGISTRIES));
    }
    if let Some(spot) = fields.get("codeRepositories") {
        managed.toggles.extend(toggles(&spot, &REPOSITORY_KEYS, &Toggle::REPOSITORIES));
    }
    if let Some(spot) = fields.get("remoteMcpServers") {
        managed.servers = spot.each(|item| managed_host(&item, server(&item)));
    }
    if let Some(spot) = fields.get("additionalHosts") {
        managed.hosts = spot.each(|item| managed_host(&item, name_pattern(&item)));
    }
    managed
}

/// One `remoteMcpServers` entry.
fn server(item: &Spot<'_>) -> Option<Pattern> {
    let host = name_pattern(item)?;
    if !matches!(host.kind(), PatternKind::Exact(_)) {
        item.error_cure(
            format!("{} is a pattern; a server is one host", quoted(&host.to_string())),
            "write it under `additionalHosts`",
        );
        return None;
    }
    Some(host)
}

/// A pattern of names.
fn name_pattern(item: &Spot<'_>) -> Option<Pattern> {
    let host = pattern(item)?;
    if matches!(host.kind(), PatternKind::Ip(_)) {
        item.error_cure(
            format!(
                "{} is an address, and a call to an address always takes the delegated path",
                quoted(&host.to_string())
            ),
            "name the host, or remove it",
        );
        return None;
    }
    Some(host)
}

/// A mapping of switches: those that are on.
fn toggles(spot: &Spot<'_>, known: &[&'static str], all: &[Toggle]) -> Vec<(Toggle, Place)> {
    let Some(fields) = spot.fields(known) else { return Vec::new() };
    let on = known.iter().zip(all).filter_map(|(key, toggle)| {
        let spot = fields.get(key)?;
        spot.boolean()?.then(|| (*toggle, spot.place()))
    });
    on.collect()
}
