//! Fields of the language that this version does not carry out: parsed strictly, then refused in plain words.

use std::collections::HashMap;

use super::spec::ACTIONS;
use super::{destination, metadata, pattern};
use crate::policy::mode::Mode;
use crate::source::{Fields, Kind, Spot, quoted};

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

/// Reports every field that this version does not carry out.
pub(super) fn report(fields: &Fields<'_>, mode: Mode) {
    if mode == Mode::VNet {
        if let Some(spot) = fields.get("mode") {
            spot.error_cure(
                "mode VNet needs networks, which this version does not have",
                "write `Limited` or `Unrestricted`",
            );
        }
        if !fields.has("vnet") {
            fields.spot().error_cure("mode VNet without `vnet`", "add `vnet: {network: …}`");
        }
    }
    if let Some(spot) = fields.get("vnet") {
        vnet(&spot);
        if mode != Mode::VNet {
            spot.error_cure("`vnet` belongs to mode VNet, which this version does not have", "remove it");
        }
    }
    if let Some(spot) = fields.get("skipEgressProxy")
        && spot.boolean() == Some(true)
    {
        spot.error_cure(
            "skipping the rules is a feature that this version does not have",
            "write `false`, or remove it",
        );
    }
    for key in ["ask", "hooks"] {
        if let Some(spot) = fields.get(key) {
            spot.error_cure(
                format!("`{key}` is a feature that this version does not have"),
                format!("remove `{key}`"),
            );
        }
    }
}

/// `vnet`.
fn vnet(spot: &Spot<'_>) {
    let Some(fields) = spot.fields(&VNET_KEYS) else { return };
    let _network = fields.require("network").and_then(|spot| metadata::name(&spot));
    if let Some(spot) = fields.get("managedPath") {
        managed_path(&spot);
    }
    let Some(spot) = fields.get("securityRules") else { return };
    let mut priorities: HashMap<u64, u32> = HashMap::new();
    for item in spot.items() {
        let Some(priority) = security_rule(&item) else { continue };
        let line = item.place().line;
        if let Some(first) = priorities.insert(priority, line) {
            item.error_cure(
                format!("priority {priority} is on line {first} already"),
                "give each rule its own priority",
            );
        }
    }
}

/// One `securityRules` entry; its priority.
fn security_rule(item: &Spot<'_>) -> Option<u64> {
    let fields = item.fields(&SECURITY_RULE_KEYS)?;
    let _name = fields.require("name").and_then(|spot| metadata::name(&spot));
    let _action = fields.require("action").and_then(|spot| spot.choice(&ACTIONS));
    if let Some(spot) = fields.require("destination") {
        for item in spot.items() {
            if !matches!(&item.node().kind, Kind::Text(text) if text == "*") {
                let _net = destination::network(&item);
            }
        }
    }
    if let Some(spot) = fields.get("ports") {
        let _ports = destination::ports(&spot);
    }
    if let Some(spot) = fields.get("protocol") {
        let _protocol = spot.choice(&[("Tcp", ()), ("*", ())]);
    }
    fields.require("priority").and_then(|spot| spot.integer(100, 4096))
}

/// `vnet.managedPath`.
fn managed_path(spot: &Spot<'_>) {
    let Some(fields) = spot.fields(&MANAGED_PATH_KEYS) else { return };
    if let Some(spot) = fields.get("packageRegistries") {
        toggles(&spot, &REGISTRY_KEYS);
    }
    if let Some(spot) = fields.get("codeRepositories") {
        toggles(&spot, &REPOSITORY_KEYS);
    }
    if let Some(spot) = fields.get("remoteMcpServers") {
        for item in spot.items() {
            let wild = pattern(&item).map(|host| host.to_string()).filter(|host| host.contains('*'));
            if let Some(wild) = wild {
                item.error_cure(
                    format!("{} is a pattern; a server is one host", quoted(&wild)),
                    "write it under `additionalHosts`",
                );
            }
        }
    }
    if let Some(spot) = fields.get("additionalHosts") {
        let _hosts = spot.each(|item| pattern(&item));
    }
}

/// A mapping of switches.
fn toggles(spot: &Spot<'_>, known: &[&str]) {
    let Some(fields) = spot.fields(known) else { return };
    for key in known {
        let _on = fields.get(key).and_then(|spot| spot.boolean());
    }
}
