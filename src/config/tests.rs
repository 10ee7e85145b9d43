#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::capture::Mode;
use crate::proxy::dns::{Denied, Settings};

mod networks;

fn load(text: &str) -> Result<Loaded, Vec<String>> {
    Config::parse(&"sluicegate.yaml".into(), text).map_err(|problems| {
        problems.iter().filter(|problem| problem.is_error()).map(ToString::to_string).collect()
    })
}

fn good(text: &str) -> Config {
    load(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}")).config
}

fn error(text: &str, part: &str) {
    let found = load(text).map(|loaded| loaded.config).unwrap_err();
    assert!(found.len() == 1 && found[0].contains(part), "{text}: {found:?} is not {part:?}");
}

#[test]
fn an_empty_mapping_is_every_default() {
    let config = good("{}");
    assert_eq!(config, Config::default());
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:3128");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9901");
    assert_eq!(config.audit.sinks, [SinkSettings::Stdout]);
    assert_eq!(config.dns.max_ttl, Duration::from_mins(1));
    assert_eq!(config.limits.idle_timeout, Duration::from_hours(1));
}

#[test]
fn everything_that_is_built_can_be_said() {
    let config = good(
        "policy: {path: /etc/sluicegate/policies}
listeners:
  - {address: 0.0.0.0:3128, kind: Explicit}
  - {address: \"[::1]:0\", sandbox: sbx-1}
admin: {address: 127.0.0.1:9901, socket: /run/sluicegate/admin.sock, tokens: [{name: ops, role: Owner, token: {file: /run/secrets/admin}}]}
dns: {servers: [10.0.0.53:53], maxTtlSeconds: 30}
ech: Deny
networks: {managed: {}}
guards: {exempt: [127.0.0.8/29], nat64: [\"2001:db8:64::/96\"], self: [203.0.113.9]}
secrets: {allow: {directories: [/run/secrets], env: [GITHUB_TOKEN]}}
intercept: {certificate: ca.pem, key: ca-key.pem, upstreamRoots: [corp.pem], exclude: [pinned.test, '*.bank.test:443']}
sandboxes:
  - {id: sbx-1, group: agents, sources: [10.200.1.2/32], token: {env: SBX1_TOKEN}, requirePolicy: true}
  - {id: sbx-2, sources: [10.200.1.3]}
audit: {sinks: [{stdout: {}}, {file: {path: /var/log/a.jsonl, maxBytes: 268435456, keep: 8}}], onFull: Deny, open: false}
limits: {connections: 5, perSandbox: {connections: 3, uploadBytes: 1000}, headerBytes: 4096, headerTimeoutMs: 1, connectTimeoutMs: 2, idleTimeoutMs: 3, drainTimeoutMs: 0}
",
    );
    assert_eq!(config.listeners[1].sandbox.as_deref(), Some("sbx-1"));
    assert_eq!(config.admin.tokens[0].role, Role::Owner);
    assert_eq!(config.ech, Ech::Deny);
    assert_eq!(config.guards.own[0].to_string(), "203.0.113.9/32");
    assert_eq!(config.sandboxes[0].token, Some(TokenSource::Env("SBX1_TOKEN".into())));
    assert!(config.sandboxes[0].require_policy);
    let excluded = config.intercept.unwrap().exclude;
    assert_eq!(
        excluded.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["pinned.test", "*.bank.test:443"]
    );
    assert_eq!(
        config.audit.sinks[1],
        SinkSettings::File { path: "/var/log/a.jsonl".into(), max_bytes: 256 << 20, keep: 8 }
    );
    assert_eq!((config.audit.on_full, config.audit.open), (OnFull::Deny, false));
    assert_eq!(config.limits.connections, 5);
    let per_sandbox: Vec<_> =
        config.limits.per_sandbox.iter().map(|(limit, most)| (limit.key(), most)).collect();
    assert_eq!(per_sandbox, [("connections", 3), ("uploadBytes", 1000)]);
}

#[test]
fn p2_an_empty_file_or_more_than_one_document_is_refused() {
    error("", "the file is empty");
    error("null", "expected a mapping, found nothing");
    error("[]", "expected a mapping, found a list");
    error("{}\n---\n{}\n", "more than one document");
    error("dns: {}\ndns: {}\n", "duplicate key");
}

#[test]
fn every_problem_of_the_file_is_reported_at_once() {
    let found = load("listners: []\nech: allow\nlimits: {connections: 0, headerBytes: many}\npolicy: {}\naudit: {onFull: block}\n").unwrap_err();
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(found[0].contains("sluicegate.yaml:1:1") && found[0].contains("did you mean `listeners`?"));
}

#[test]
fn what_this_version_does_not_have_is_said_and_never_ignored() {
    error("admin: {tls: {certificate: a, key: b}}", "TLS on the admin server");
}

#[test]
fn redirected_connections_have_a_mode_and_no_others_do() {
    let mode = |text: &str| {
        let listener = good(text).listeners.remove(0);
        (listener.kind, listener.mode)
    };
    let listener = |keys: &str| format!("listeners: [{{address: \"127.0.0.1:1\", {keys}}}]");
    assert_eq!(mode(&listener("kind: Transparent")), (ListenerKind::Transparent, Mode::Redirect));
    assert_eq!(mode(&listener("kind: Transparent, mode: TProxy")), (ListenerKind::Transparent, Mode::TProxy));
    error(&listener("kind: Transparent, mode: tproxy"), "`TProxy`");
    error(&listener("kind: Explicit, mode: Redirect"), "a listener that takes none");
    error(&listener("mode: TProxy"), "write `kind: Transparent`");
}

#[test]
fn a_listener_for_queries_has_settings_of_its_own_and_no_other_has_them() {
    let kind = |keys: &str| good(&format!("listeners: [{{address: 127.0.0.1:53{keys}}}]")).listeners[0].kind;
    assert_eq!(kind(", kind: Dns"), ListenerKind::Dns(Settings::DEFAULT));
    let all = ", kind: Dns, denied: Refused, distinctNamesPerMinute: 2, maxNameBytes: 3, maxLabelBytes: 4, maxLabelBits: 5";
    let expected = Settings {
        denied: Denied::Refused,
        distinct_names_per_minute: 2,
        max_name_bytes: 3,
        max_label_bytes: 4,
        max_label_bits: 5,
    };
    assert_eq!(kind(all), ListenerKind::Dns(expected));
    error("listeners: [{address: 127.0.0.1:53, kind: Dns, denied: NXDOMAIN}]", "did you mean `NxDomain`?");
    error("listeners: [{address: 127.0.0.1:53, kind: Dns, distinctNamesPerMinute: 0}]", "1");
    error("listeners: [{address: 127.0.0.1:53, kind: Dns, maxNameBytes: 254}]", "253");
    error("listeners: [{address: 127.0.0.1:1, denied: Refused}]", "this is about DNS queries");
}

#[test]
fn listeners_are_addresses_of_their_own() {
    error("listeners: []", "lists no listener");
    error("listeners: [{address: localhost:3128}]", "not an address and a port");
    error("listeners: [{address: 127.0.0.1:1}, {address: 127.0.0.1:1}]", "already");
    error(
        "listeners: [{address: 127.0.0.1:1, sandbox: sbx-2}]\nsandboxes: [{id: sbx-1}]",
        "did you mean `sbx-1`?",
    );
    assert_eq!(good("listeners: [{address: 127.0.0.1:0}, {address: 127.0.0.1:0}]").listeners.len(), 2);
}

#[test]
fn i7_trusted_peers_are_networks_that_hold_no_sandbox() {
    let listeners = |peers: &str, more: &str| {
        format!(
            "listeners: [{{address: '127.0.0.1:1', proxyProtocol: {peers}{more}}}]\nsandboxes: [{{id: a, sources: [10.0.0.0/16]}}]\n"
        )
    };
    let config = good(&listeners("[192.0.2.1, '2001:db8::/64']", ""));
    let peers: Vec<_> = config.listeners[0].proxy_protocol.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["192.0.2.1/32", "2001:db8::/64"]);
    error(&listeners("[]", ""), "lists no peer");
    error(&listeners("[192.0.2.1/24]", ""), "192.0.2.0/24");
    error(&listeners("[balancer]", ""), "balancer");
    for peers in ["[10.0.0.1]", "[10.0.0.0/8]", "[192.0.2.1, 0.0.0.0/0]"] {
        error(&listeners(peers, ""), "has addresses of sandbox `a` (10.0.0.0/16)");
    }
    let open = load("listeners: [{address: '127.0.0.1:1', proxyProtocol: ['::/0']}]").unwrap();
    assert!(open.warnings[0].message.contains("everybody can say who they are"), "{:?}", open.warnings);
    let dns = load(&listeners("[192.0.2.1]", ", kind: Dns")).unwrap_err();
    assert!(dns.iter().any(|problem| problem.contains("DNS has no PROXY protocol")), "{dns:?}");
}

#[test]
fn a_listener_open_to_others_without_sandboxes_is_a_warning() {
    let warnings = |text: &str| load(text).unwrap().warnings.len();
    assert_eq!(warnings("listeners: [{address: 0.0.0.0:3128}]"), 1);
    assert_eq!(warnings("listeners: [{address: 127.0.0.2:3128}]"), 0);
    assert_eq!(
        warnings("listeners: [{address: 0.0.0.0:3128}]\nsandboxes: [{id: a, sources: [10.0.0.1]}]"),
        0
    );
}

#[test]
fn sandboxes_are_told_apart() {
    error("sandboxes: [{id: a, sources: [10.0.0.1]}, {id: a, sources: [10.0.0.2]}]", "on line 1 already");
    error(
        "sandboxes: [{id: a, sources: [10.0.0.0/8]}, {id: b, sources: [10.9.9.9/32]}]",
        "overlaps 10.0.0.0/8 of sandbox `a`",
    );
    error("sandboxes: [{id: a, sources: [10.0.0.1]}, {id: b, sources: [10.0.0.1]}]", "overlaps");
    error("sandboxes: [{id: a, sources: [\"::ffff:10.0.0.1\"]}]", "IPv4 written as IPv6");
    error("sandboxes: [{id: a, sources: [10.0.0.0/8, 10.1.0.0/16]}]", "of the same sandbox");
    error("sandboxes: [{id: a, sources: [10.0.0.1/8]}]", "10.0.0.0/8");
    error("sandboxes: [{id: \"a:b\", token: {env: T}}]", "without `:`");
    error("sandboxes: [{id: a, token: {env: T, file: f}}]", "exactly one source");
    error("sandboxes: [{id: a, token: hunter2}]", "values do not belong here");
    error("sandboxes: [{id: a, sources: []}]", "lists no address");
    let loaded = load("sandboxes: [{id: a}]").unwrap();
    assert!(loaded.warnings[0].message.contains("nobody can be sandbox `a`"));
}

#[test]
fn thousands_of_sandboxes_are_checked_in_no_time() {
    let mut text = String::from("sandboxes:\n");
    for n in 0..20_000u32 {
        let address = Ipv4Addr::from(0x0a00_0000 + n);
        writeln!(text, "  - {{id: s{n}, sources: [{address}/32]}}").unwrap();
    }
    assert_eq!(good(&text).sandboxes.len(), 20_000);
}

#[test]
fn sinks_and_guards_are_checked() {
    error("audit: {sinks: []}", "lists no sink");
    error("audit: {sinks: [{stdout: {}}, {stdout: {}}]}", "same place");
    error("audit: {sinks: [{}]}", "exactly one place");
    error("audit: {sinks: [{file: {}}]}", "`path` is missing");
    error("guards: {nat64: [\"64:ff9b::/95\"]}", "not a NAT64 prefix");
    error("guards: {nat64: [10.0.0.0/8]}", "not a NAT64 prefix");
    error("guards: {exempt: [127.0.0.9/29]}", "127.0.0.8/29");
    error("dns: {servers: [10.0.0.53]}", "10.0.0.53:53");
    error("dns: {servers: [10.0.0.53:0]}", "not a server");
    error("secrets: {allow: {directories: [secrets]}}", "not absolute");
    error("intercept: {certificate: a}", "`key` is missing");
    error("intercept: {certificate: a, key: b, exclude: ['https://a.test']}", "a.test");
    error("intercept: {certificate: a, key: b, exclude: pinned.test}", "expected a list");
    error("admin: {tokens: [{name: a, role: owner, token: {env: T}}]}", "did you mean `Owner`?");
}

proptest! {
    #[test]
    fn no_text_makes_the_configuration_panic(text in "(listeners|admin|dns|audit|sandboxes|limits|: |[\\[\\]{},\n a-c0-9.:/-])*") {
        let _loaded = load(&text);
    }
}
