//! Documents as they are written, around what is drawn.

use super::{Drawer, LITERALS};

/// Port lists, in flow style.
const PORT_LISTS: [&str; 6] = ["[443]", "[80, 443]", "[1-100]", "[25, 8443]", "[81-65535]", "[1-65535]"];
/// The pieces of paths of rules, which these fit here and there.
const STARRED: [&str; 9] = ["a", "b", "ab", "*", "a*", "*b", "a*b", "", "a*-*b"];
/// Method lists of rules.
const METHOD_LISTS: [&str; 3] = ["[GET]", "[POST]", "[GET, POST]"];

impl Drawer<'_, '_> {
    /// A `Transform` or `Rewrite` of a rule for this host.
    fn change(&mut self, host: &str) -> String {
        let mut place = Vec::new();
        let mut home = host.to_owned();
        if self.choices.rarely(2) {
            if self.choices.below(3) < 2 {
                let literal = self.choices.rarely(5);
                home = if literal { self.choices.pick(&LITERALS).to_owned() } else { self.name() };
                let port = if self.choices.rarely(3) { format!(":{}", self.port()) } else { String::new() };
                place.push(format!("host: \"{home}{port}\""));
            }
            if place.is_empty() || self.choices.rarely(2) {
                place.push(format!("path: \"{}\"", self.path()));
            }
        }
        let scheme = if place.is_empty() { 0 } else { self.choices.below(3) };
        place.extend(
            ["scheme: https", "scheme: http"]
                .get(scheme)
                .filter(|_| !place.is_empty())
                .map(ToString::to_string),
        );
        let plain = place.iter().any(|text| text == "scheme: http");
        let values: &[&str] = match (plain, home.contains('*')) {
            (true, _) => &["value: t"],
            (false, true) => &["value: t", "valueRef: {secretRef: {secretId: bound, secretKey: l}}"],
            (false, false) => &[
                "value: t",
                "valueRef: {secretRef: {secretId: bound, secretKey: k}}",
                "valueRef: {secretRef: {secretId: bare}}",
                "valueRef: {managedIdentityRef: {type: SystemAssigned, resource: r}}",
            ],
        };
        let edits = (0..=self.choices.below(2)).map(|_| {
            let name = self.choices.pick(&["a", "b"]);
            let value = self.choices.pick(values);
            match self.choices.below(4) {
                0 => format!("{{operation: Remove, name: {name}}}"),
                1 => format!("{{operation: Insert, name: {name}, {value}}}"),
                _ => format!("{{operation: Set, name: {name}, {value}}}"),
            }
        });
        let edits: Vec<String> = edits.collect();
        let kind = if place.is_empty() { "Transform" } else { "Rewrite" };
        place.push(format!("headers: [{}]", edits.join(", ")));
        format!("{{type: {kind}, {}}}", place.join(", "))
    }

    /// A spec in flow style, of a document with others below it or not.
    pub(in crate::policy::oracle) fn spec(&mut self, above: bool) -> String {
        let hosts: Vec<String> = (0..self.choices.count(6, 256))
            .map(|_| format!("{{pattern: \"{}\", action: {}}}", self.pattern(), self.action()))
            .collect();
        let cidrs: Vec<String> = (0..self.choices.count(5, 64))
            .map(|_| {
                let (net, action) = (self.net(), self.action());
                let ports = self.maybe(3, "ports", |drawer| drawer.choices.pick(&PORT_LISTS).to_owned());
                format!("{{cidr: \"{net}\", action: {action}{ports}}}")
            })
            .collect();
        let rules: Vec<String> = (0..self.choices.count(4, 96))
            .map(|_| {
                let host = self.pattern();
                let action =
                    if self.choices.rarely(3) { self.change(&host) } else { self.action().to_owned() };
                let path = self.maybe(2, "path", |drawer| format!("\"{}\"", drawer.rule_path()));
                let methods =
                    self.maybe(3, "methods", |drawer| drawer.choices.pick(&METHOD_LISTS).to_owned());
                format!("{{match: {{host: \"{host}\"{path}{methods}}}, action: {action}}}")
            })
            .collect();
        let mode = self.choices.pick(&["Limited", "Unrestricted", "VNet"]);
        let vnet = if mode == "VNet" || self.choices.rarely(8) { self.vnet() } else { String::new() };
        let skip = if self.choices.rarely(10) { ", skipEgressProxy: true" } else { "" };
        let permits = above && self.choices.below(4) > 0;
        let constraints = if permits { ", constraints: {skipEgressProxy: Permitted}" } else { "" };
        let ports = self.maybe(2, "ports", |drawer| drawer.choices.pick(&PORT_LISTS).to_owned());
        let enforcement = if self.choices.rarely(5) { "Report" } else { "Enforce" };
        format!(
            "{{mode: {mode}, enforcement: {enforcement}{ports}{vnet}{skip}{constraints}, hostRules: [{}], cidrRules: [{}], rules: [{}]}}",
            hosts.join(", "),
            cidrs.join(", "),
            rules.join(", ")
        )
    }

    /// A `vnet` with its key.
    fn vnet(&mut self) -> String {
        let network = if self.choices.rarely(10) { "other" } else { "prod" };
        let step = [1, 996, 313][self.choices.below(3)];
        let rules: Vec<String> =
            (0..self.choices.count(5, 40)).map(|at| self.network_rule(at, step)).collect();
        let rules =
            if rules.is_empty() { String::new() } else { format!(", securityRules: [{}]", rules.join(", ")) };
        let switches = |drawer: &mut Self, keys: &[&str]| {
            let on: Vec<String> =
                keys.iter().map(|key| format!("{key}: {}", drawer.choices.rarely(3))).collect();
            on.join(", ")
        };
        let registries = switches(self, &["pypi", "npm", "nuget", "apt"]);
        let repositories = switches(self, &["github", "githubEnterprise", "azureDevOps"]);
        let servers: Vec<String> =
            (0..self.choices.below(3)).map(|_| format!("\"{}\"", self.name())).collect();
        let hosts: Vec<String> = (0..self.choices.count(5, 64))
            .map(|_| {
                let host = self.pattern();
                let literal = host.contains(['[', ']']) || LITERALS.iter().any(|own| host.starts_with(own));
                format!("\"{}\"", if literal { "*.a" } else { &host })
            })
            .collect();
        format!(
            ", vnet: {{network: {network}{rules}, managedPath: {{packageRegistries: {{{registries}}}, \
             codeRepositories: {{{repositories}}}, remoteMcpServers: [{}], additionalHosts: [{}]}}}}",
            servers.join(", "),
            hosts.join(", ")
        )
    }

    /// One `securityRules` entry.
    fn network_rule(&mut self, at: usize, step: usize) -> String {
        let (priority, action) = (100 + at * step % 997, self.action());
        let destination = match self.choices.below(5) {
            0 => "\"*\"".to_owned(),
            1 => format!("[\"{}\", \"{}\"]", self.net(), self.net()),
            2 => format!("[\"{}\", \"*\"]", self.net()),
            _ => format!("\"{}\"", self.net()),
        };
        let ports = self.maybe(2, "ports", |drawer| {
            if drawer.choices.rarely(4) {
                "\"*\"".to_owned()
            } else {
                drawer.choices.pick(&PORT_LISTS).to_owned()
            }
        });
        let protocol = self
            .maybe(2, "protocol", |drawer| drawer.choices.pick(&["Tcp", "\"*\"", "Udp", "Icmp"]).to_owned());
        format!(
            "{{name: s{at}, priority: {priority}, action: {action}, destination: {destination}{ports}{protocol}}}"
        )
    }

    /// A key with its value, once in so many times.
    fn maybe(&mut self, times: usize, key: &str, value: impl FnOnce(&mut Self) -> String) -> String {
        if self.choices.rarely(times) { format!(", {key}: {}", value(self)) } else { String::new() }
    }

    /// A path of a rule.
    fn rule_path(&mut self) -> String {
        let segments: Vec<&str> = (0..=self.choices.below(3)).map(|_| self.choices.pick(&STARRED)).collect();
        let path = format!("/{}", segments.join("/"));
        if path.contains("//") { "/*".to_owned() } else { path }
    }

    /// `Allow` or `Deny`.
    fn action(&mut self) -> &'static str {
        self.choices.pick(&["Allow", "Deny"])
    }
}
