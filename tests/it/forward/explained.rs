//! What `explain` says is what the gateway does: verdict, reason, the rule behind it, and the path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluicegate::config::{Config, NetworkSettings};
use sluicegate::explain;
use sluicegate::policy::Policy;
use sluicegate::upstream::{SocketOptions, Sources};

use super::*;

/// Names, and where they lead.
const NAMES: [(&str, Option<&str>); 23] = [
    ("a.test", Some("127.0.0.8")),
    ("b.a.test", Some("127.0.0.10")),
    ("A.test.", Some("127.0.0.8")),
    ("xa.test", Some("127.0.0.8")),
    ("c.test", Some("10.0.0.5")),
    ("d.test", Some("127.0.0.12")),
    ("meta.test", Some("169.254.169.254")),
    ("self.test", Some("127.0.0.1")),
    ("127.0.0.8", None),
    ("127.0.0.10", None),
    ("127.0.0.12", None),
    ("127.0.0.1", None),
    ("10.0.0.5", None),
    ("169.254.169.254", None),
    ("[::1]", None),
    ("[::ffff:10.0.0.5]", None),
    ("0x7f.1", None),
    ("2130706433", None),
    ("a..test", None),
    ("foo.123", None),
    ("a_b.test", Some("127.0.0.8")),
    ("-a.test", None),
    ("[a.test]", None),
];

/// A small generator of numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    /// One of these.
    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(self.0 >> 33).expect("31 bits") % all.len();
        &all[at]
    }

    /// Up to `most` of these, joined.
    fn some(&mut self, most: usize, all: &[&str]) -> String {
        let count = *self.pick(&(0..=most).collect::<Vec<_>>());
        (0..count).map(|_| *self.pick(all)).collect::<Vec<_>>().join(", ")
    }

    /// One time in `most`.
    fn once_in(&mut self, most: usize) -> bool {
        *self.pick(&(0..most).collect::<Vec<_>>()) == 0
    }

    /// A policy over the names of the test.
    fn policy(&mut self) -> String {
        let hosts = [
            "a.test",
            "'*.a.test'",
            "'*'",
            "c.test",
            "127.0.0.8",
            "'d.test:8443'",
            "{pattern: a.test, action: Deny}",
            "{pattern: '*.a.test', action: Deny}",
            "{pattern: c.test, action: Deny}",
            "{pattern: 127.0.0.10, action: Deny}",
        ];
        let rules = [
            "{match: {host: a.test, path: /admin}, action: Deny}",
            "{match: {host: a.test, methods: [GET]}, action: Allow}",
            "{match: {host: '*.a.test', path: '/x*'}, action: Allow}",
            "{match: {host: d.test}, action: Deny}",
            "{match: {host: 'd.test:8443', methods: [POST]}, action: Allow}",
            "{match: {host: '*'}, action: Allow}",
        ];
        let cidrs = [
            "{cidr: 127.0.0.8/30, action: Allow}",
            "{cidr: 127.0.0.12/32, action: Deny}",
            "{cidr: 127.0.0.8/32, action: Allow, ports: [8443]}",
            "{cidr: 127.0.0.10/32, action: Deny, ports: [80]}",
        ];
        let ports = ["", "ports: [80, 8443]\n", "ports: [443]\n", "ports: [1-65535]\n"];
        let mode = match self.pick(&[0, 1, 2, 3]) {
            0 => "defaultAction: Allow\n".to_owned(),
            1 => "defaultAction: Deny\n".to_owned(),
            // Its default is Allow.
            _ => self.vnet(),
        };
        let skip = if self.once_in(6) { "skipEgressProxy: true\n" } else { "" };
        format!(
            "{mode}hostRules: [{}]\nrules: [{}]\ncidrRules: [{}]\n{}{skip}",
            self.some(4, &hosts),
            self.some(3, &rules),
            self.some(2, &cidrs),
            self.pick(&ports),
        )
    }

    /// What it delegates.
    fn vnet(&mut self) -> String {
        let hosts = ["a.test", "'*.a.test'", "'d.test:8443'", "meta.test", "'*.test'"];
        let rules = [
            "{name: a, priority: 100, action: Deny, destination: 127.0.0.10/32, ports: [80]}",
            "{name: b, priority: 200, action: Allow, destination: [127.0.0.8/30, 10.0.0.0/8]}",
            "{name: c, priority: 300, action: Deny, destination: 127.0.0.0/8, ports: [8443]}",
            "{name: d, priority: 400, action: Allow, destination: '*'}",
        ];
        let drawn: Vec<_> = rules.into_iter().filter(|_| !self.once_in(2)).collect();
        let security = if drawn.is_empty() || self.once_in(3) {
            String::new()
        } else {
            format!("securityRules: [{}], ", drawn.join(", "))
        };
        format!(
            "mode: VNet\nvnet: {{network: {}, {security}managedPath: {{additionalHosts: [{}]}}}}\n",
            self.pick(&["lab", "prod"]),
            self.some(2, &hosts),
        )
    }

    /// What the operator says of networks. Each is bound to loopback, so that no packet leaves this host.
    fn networks(&mut self, config: &mut Config) {
        let network = |last: u8, dns| {
            let source = Sources { v4: Some([127, 0, 0, last].into()), v6: None };
            NetworkSettings {
                options: SocketOptions { source, ..SocketOptions::default() },
                dns,
                ..NetworkSettings::default()
            }
        };
        let dns = &config.dns.servers;
        let delegated =
            [("lab", 13), ("prod", 14)].map(|(name, last)| (name.into(), network(last, dns.clone())));
        config.networks.delegated = delegated.into();
        config.networks.managed = network(15, Vec::new());
        let platform = self.pick(&[&["c.test"][..], &["d.test", "*.a.test"], &[]]).iter();
        config.networks.platform_hosts = platform.map(|host| host.parse().expect("a pattern")).collect();
        config.skip_egress_proxy = true;
    }

    /// A request, and the question about it.
    fn request(&mut self) -> (String, Result<Question, explain::QuestionError>) {
        let (name, address) = *self.pick(&NAMES);
        let port = *self.pick(&[80, 443, 8443, 25]);
        let target = format!("{name}:{port}");
        let method = *self.pick(&["GET", "POST", "CONNECT"]);
        let path = *self.pick(&["/", "/admin", "/admin/x", "/x/../admin", "/%61dmin", "/xyz", "/x%2fy"]);
        let address = address.map(|address| address.parse().expect("an IP address"));
        if method == "CONNECT" {
            let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            return (request, Question::parse(&target, None, address));
        }
        let url = format!("http://{target}{path}");
        let request = format!("{method} {url} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        (request, Question::parse(&url, Some(method), address))
    }
}

/// A gateway under a policy, and that policy as `explain` has it.
async fn both(dice: &mut Dice, policy: &str) -> (Gateway, Policy) {
    let mut said = None;
    let change = |config: &mut Config| {
        dice.networks(config);
        said = Some(config.clone());
    };
    let gateway = Gateway::inspecting_with(policy, [], change).await;
    for (name, address) in NAMES {
        if let Some(address) = address {
            gateway.dns.says(name.trim_end_matches('.'), Answer::addresses([address]));
        }
    }
    let sockets = [gateway.proxy(), gateway.admin(), gateway.dns.address()];
    let config = said.expect("a configuration");
    let guards = Arc::new(sluicegate::app::guards(&config, &sockets).expect("this host's addresses"));
    let loaded = Store::new(gateway.policies(), None).load(&guards, None).expect("a load");
    assert!(!loaded.has_errors(), "{policy}: {:#?}", loaded.problems);
    (gateway, loaded.policies.policy_for("default", None, false))
}

/// Sends a request; the reason of its denial, and its record, which is the one after so many.
async fn done(gateway: &Gateway, request: &str, before: usize) -> (Option<String>, Value) {
    let mut client: Client = gateway.client().await;
    client.send(request).await;
    let head = within("an answer", client.head()).await;
    let reason = head.lines().find_map(|line| line.strip_prefix("x-deny-reason:"));
    drop(client);
    let record = gateway.calls(before + 1).await.pop().expect("a record");
    // Nobody listens there: what is allowed fails upstream.
    (reason.map(|reason| reason.trim().to_owned()).filter(|reason| reason != "upstream_failed"), record)
}

/// What `explain` says of a request that came to this, and whether that is all that its record tells.
fn explained(policy: &Policy, question: Question, done: Option<&String>) -> (explain::Answer, bool) {
    let whole = answer(policy, &question);
    let waits = question.request.is_none() && (whole.decrypted == Some(true) || whole.hangs_on.is_some());
    if waits && done.is_none() {
        // Granted until what is inside is seen; where that leads is asked then, and may be by the time it is recorded.
        return (answer(policy, &Question { address: None, ..question }), false);
    }
    (whole, true)
}

#[tokio::test]
async fn n7_explain_and_the_gateway_give_the_same_answer() {
    let mut dice = Dice(7);
    let (mut asked, mut allowed, mut reasons) = (0, 0, BTreeSet::new());
    let (mut networks, mut skipped) = (BTreeMap::new(), 0);
    for _ in 0..24 {
        let text = dice.policy();
        let (gateway, policy) = both(&mut dice, &text).await;
        for before in 0..25 {
            let (request, question) = dice.request();
            let (reason, record) = done(&gateway, &request, before).await;
            let said = question.map(|question| explained(&policy, question, reason.as_ref()));
            let about = format!("{request}{text}{record:#}\n{said:#?}");
            asked += 1;
            allowed += usize::from(reason.is_none());
            let Ok((said, is_all)) = said else {
                assert_eq!(reason.as_deref(), Some("bad_request"), "{about}");
                continue;
            };
            assert_eq!(reason.as_deref(), said.reason, "{about}");
            if is_all {
                assert_eq!(record["policy"].as_str(), said.policy.as_deref(), "{about}");
                assert_eq!(record["rule"].as_str(), said.rule.as_deref(), "{about}");
            }
            skipped += usize::from(said.skip && reason.is_none());
            // What is denied by its name takes no path.
            if let Some(network) = record["network"].as_str() {
                assert_eq!(
                    [record["route"].as_str(), Some(network)],
                    [Some(said.route), Some(&*said.network)],
                    "{about}"
                );
                *networks.entry(network.to_owned()).or_insert(0) += 1;
            }
            reasons.extend(reason);
        }
    }
    assert!(asked >= 600 && allowed >= 60, "{allowed} of {asked} allowed");
    assert!(networks.len() == 3 && networks.values().all(|calls| *calls >= 20), "{networks:?}");
    assert!(skipped >= 20, "{skipped}");
    assert!(
        reasons.len() >= 9 && reasons.contains("network_rule_denied"),
        "the questions reach many answers: {reasons:?}"
    );
}
