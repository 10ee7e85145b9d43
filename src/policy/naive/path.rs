//! The path of a call and the rules of its network, from `policy.md` §8: every document is read again for it.

use std::net::IpAddr;

use super::text::{fits, within};
use super::{Answer, Naive, Said, Where, Written, forms};
use crate::policy::Reason;
use crate::policy::category::CategoryLists;
use crate::policy::document::Document;
use crate::policy::mode::{Action, Enforcement, Mode};

/// Each switch and the part of the shipped list that it stands for.
const PARTS: [(&str, &str); 7] = [
    ("pypi", "package-registries/python"),
    ("npm", "package-registries/npm"),
    ("nuget", "package-registries/nuget"),
    ("apt", "package-registries/apt"),
    ("github", "code-repositories/github"),
    ("githubEnterprise", "code-repositories/github-enterprise"),
    ("azureDevOps", "code-repositories/azure-devops"),
];

/// The prefixes by which an address carries IPv4 inside, but for the mapped one, which leaves as IPv4; a narrower one first.
const CARRIERS: [&str; 6] =
    ["::ffff:0:0:0/96", "64:ff9b::/96", "::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16"];

/// The patterns of a document's managed path, written out.
pub(super) fn managed(document: &Document) -> Vec<String> {
    let Some(vnet) = &document.spec.vnet else { return Vec::new() };
    let list = CategoryLists::shipped();
    let mut all: Vec<String> = Vec::new();
    for (toggle, _) in &vnet.managed.toggles {
        let (_, key) = toggle.label().rsplit_once('.').unwrap();
        let (_, wanted) = PARTS.iter().find(|(own, _)| *own == key).unwrap();
        for category in &list.list().categories {
            for part in &category.parts {
                if format!("{}/{}", category.name, part.name) == *wanted {
                    all.extend(part.hosts.iter().map(ToString::to_string));
                }
            }
        }
    }
    all.extend(vnet.managed.servers.iter().chain(&vnet.managed.hosts).map(|host| host.pattern.to_string()));
    all
}

impl Naive {
    /// The same policy under an operator who says this of platform hosts and of skipping.
    pub(in crate::policy) fn under(self, platform: &[&str], skip_permitted: bool) -> Self {
        Self { platform: platform.iter().map(ToString::to_string).collect(), skip_permitted, ..self }
    }

    /// The network that a call is delegated to.
    pub(in crate::policy) fn route(&self, host: &Where, port: u16) -> Option<String> {
        let delegating: Vec<&Written> = self.delegating().collect();
        let network = delegating.first()?.document.spec.vnet.as_ref()?.network.to_string();
        let listed = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, host, port));
        let named = matches!(host, Where::Name(_));
        let all = delegating.iter().all(|document| listed(&document.managed));
        (!(named && (listed(&self.platform) || all))).then_some(network)
    }

    /// The documents in mode `VNet`.
    fn delegating(&self) -> impl Iterator<Item = &Written> {
        self.documents.iter().filter(|document| document.document.spec.mode == Mode::VNet)
    }

    /// The scope of the first document that cannot be asked beside those above it.
    pub(super) fn wrong(&self) -> Option<&'static str> {
        for (place, own) in self.documents.iter().enumerate() {
            let above = &self.documents[..place];
            let spec = &own.document.spec;
            let permitted = self.skip_permitted
                && above.iter().all(|other| other.document.spec.constraints.skip_permitted);
            let other = above.iter().any(|other| {
                let theirs = &other.document.spec;
                let both = spec.mode == Mode::VNet && theirs.mode == Mode::VNet;
                both && theirs.vnet.as_ref().unwrap().network != spec.vnet.as_ref().unwrap().network
            });
            if spec.skip.is_some() && !permitted || other {
                return Some(own.document.scope.kind());
            }
        }
        None
    }

    /// The place of the first document that is asked.
    pub(super) fn first_asked(&self) -> usize {
        let mut first = 0;
        for (place, own) in self.documents.iter().enumerate() {
            if own.document.spec.skip.is_some() {
                first = place + 1;
            }
        }
        first
    }

    /// Whether some document is not asked.
    pub(in crate::policy) fn is_skipped(&self) -> bool {
        self.documents.iter().any(|own| own.document.spec.skip.is_some())
    }

    /// What the network's rules say of an address.
    pub(super) fn network(&self, address: IpAddr, port: u16, mut answer: Answer) -> Answer {
        for own in self.delegating() {
            let rules = own.document.spec.vnet.as_ref().unwrap().security_rules.as_ref();
            let Some(rules) = rules else { continue };
            let matching = |form: IpAddr| {
                let mut all: Vec<_> = rules
                    .iter()
                    .filter(|rule| {
                        let net = |net: &ipnet::IpNet| within(&net.to_string(), form);
                        let ports = |(low, high): (u16, u16)| low <= port && port <= high;
                        rule.protocol.as_str() != "Udp"
                            && rule.protocol.as_str() != "Icmp"
                            && rule.destination.as_ref().is_none_or(|nets| nets.iter().any(net))
                            && rule.ports.as_ref().is_none_or(|all| all.ranges().any(ports))
                    })
                    .collect();
                all.sort_by_key(|rule| rule.priority);
                all
            };
            let said = |form: IpAddr| matching(form).first().map(|rule| rule.action);
            // What names the prefix that carries the address means it.
            let carrier = CARRIERS.iter().find(|net| within(net, address));
            let mut allowing: Vec<&ipnet::IpNet> = Vec::new();
            for rule in matching(address) {
                if rule.action == Action::Deny {
                    break;
                }
                allowing.extend(rule.destination.iter().flatten());
            }
            let named = carrier.is_some_and(|carrier| {
                allowing.iter().any(|net| {
                    within(&net.to_string(), address)
                        && within(carrier, net.network())
                        && within(carrier, net.broadcast())
                })
            });
            let forms = forms(address);
            let inside = &forms[1..];
            let denied = forms.iter().any(|form| said(*form) == Some(Action::Deny));
            let unsaid = inside.iter().any(|form| said(*form).is_none()) && !named;
            if said(address) == Some(Action::Allow) && !denied && !unsaid {
                continue;
            }
            let scope = own.document.scope.kind();
            match own.document.spec.enforcement {
                Enforcement::Enforce => {
                    let said = Said::Deny(Reason::NetworkRuleDenied);
                    return Answer { said, scope: Some(scope), would_deny: None };
                }
                Enforcement::Report => {
                    answer.would_deny = answer.would_deny.or(Some((Reason::NetworkRuleDenied, scope)));
                }
            }
        }
        answer
    }
}
