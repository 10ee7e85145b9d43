//! One part of a rule, as `nft` reads it and as `nft -j` lists it.
//!
//! Both forms stand side by side, so that what is printed and what is looked for cannot part. Each was compared with the
//! listing of a real kernel (`tests/it/nft/`).

use ipnet::IpNet;
use serde_json::{Value, json};

/// One part of a rule.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clause {
    /// As `nft` reads it.
    pub(super) text: String,
    /// As `nft -j` lists it: one or more statements.
    pub(super) json: Vec<Value>,
}

/// A clause of one statement.
fn clause(text: impl Into<String>, json: Value) -> Clause {
    Clause { text: text.into(), json: vec![json] }
}

/// A comparison.
#[expect(clippy::needless_pass_by_value, reason = "both become part of the value")]
fn compare(text: impl Into<String>, op: &str, left: Value, right: impl Into<Value>) -> Clause {
    let right: Value = right.into();
    clause(text, json!({"match": {"op": op, "left": left, "right": right}}))
}

/// A `meta` value.
fn meta(key: &str) -> Value {
    json!({"meta": {"key": key}})
}

/// A field of a header.
fn field(protocol: &str, field: &str) -> Value {
    json!({"payload": {"protocol": protocol, "field": field}})
}

/// It came in by this interface.
pub(super) fn from_interface(name: &str) -> Clause {
    compare(format!("iifname \"{name}\""), "==", meta("iifname"), name)
}

/// It stays on this host.
pub(super) fn to_loopback() -> Clause {
    compare("oifname \"lo\"", "==", meta("oifname"), "lo")
}

/// It is of this family: `ipv4` or `ipv6`.
pub(super) fn family(name: &str) -> Clause {
    compare(format!("meta nfproto {name}"), "==", meta("nfproto"), name)
}

/// It is of this protocol.
pub(super) fn protocol(name: &str) -> Clause {
    compare(format!("meta l4proto {name}"), "==", meta("l4proto"), name)
}

/// It goes to this port.
pub(super) fn to_port(protocol: &str, port: u16) -> Clause {
    compare(format!("{protocol} dport {port}"), "==", field(protocol, "dport"), port)
}

/// Its source is among these.
pub(super) fn from_net(net: IpNet) -> Clause {
    address("saddr", net)
}

/// Its destination is among these.
pub(super) fn to_net(net: IpNet) -> Clause {
    address("daddr", net)
}

/// An address within a prefix. There is one rule a prefix: of a set, the kernel would list neighbours as one range.
fn address(name: &str, net: IpNet) -> Clause {
    let protocol = if matches!(net, IpNet::V6(_)) { "ip6" } else { "ip" };
    let addr = net.addr().to_string();
    let (text, value) = if net.prefix_len() == net.max_prefix_len() {
        (addr.clone(), json!(addr))
    } else {
        (net.to_string(), json!({"prefix": {"addr": addr, "len": net.prefix_len()}}))
    };
    compare(format!("{protocol} {name} {text}"), "==", field(protocol, name), value)
}

/// An answer to its source would not leave by the interface that it came in by.
pub(super) fn unreached_source() -> Clause {
    let fib = json!({"fib": {"result": "oif", "flags": ["saddr", "iif"]}});
    compare("fib saddr . iif oif missing", "==", fib, false)
}

/// It goes to an address of this host.
pub(super) fn to_this_host() -> Clause {
    let fib = json!({"fib": {"result": "type", "flags": ["daddr"]}});
    compare("fib daddr type local", "==", fib, "local")
}

/// The state of its connection.
pub(super) fn state(name: &str) -> Clause {
    compare(format!("ct state {name}"), "in", json!({"ct": {"key": "state"}}), name)
}

/// It would begin a connection, and as many were begun within the last moments as may be: so many a second, and so many at
/// once.
pub(super) fn begins_beyond(rate: u32, burst: u32) -> Clause {
    let Clause { text, mut json } = state("new");
    json.push(json!({"limit": {"rate": rate, "burst": burst, "per": "second", "inv": true}}));
    Clause { text: format!("{text} limit rate over {rate}/second burst {burst} packets"), json }
}

/// It belongs to a connection that was begun from the other side.
pub(super) fn answer() -> Clause {
    compare("ct direction reply", "==", json!({"ct": {"key": "direction"}}), "reply")
}

/// Its destination was rewritten.
pub(super) fn redirected() -> Clause {
    compare("ct status dnat", "in", json!({"ct": {"key": "status"}}), "dnat")
}

/// It tells, or asks, who is on this link (RFC 4861 §7.1: nothing from farther away has that hop limit).
pub(super) fn neighbour() -> Clause {
    let kinds = ["nd-router-solicit", "nd-neighbor-solicit", "nd-neighbor-advert"];
    let text = format!("icmpv6 type {{ {} }} ip6 hoplimit 255", kinds.join(", "));
    let kind = json!({"match": {"op": "==", "left": field("icmpv6", "type"), "right": {"set": kinds}}});
    let limit = json!({"match": {"op": "==", "left": field("ip6", "hoplimit"), "right": 255}});
    Clause { text, json: vec![kind, limit] }
}

/// An ICMP message of this type.
pub(super) fn icmp(protocol: &str, kind: &str) -> Clause {
    compare(format!("{protocol} type {kind}"), "==", field(protocol, "type"), kind)
}

/// It has this mark.
pub(super) fn marked(mark: u32) -> Clause {
    compare(format!("meta mark {mark:#x}"), "==", meta("mark"), mark)
}

/// A socket of this user sends it.
pub(super) fn by_user(uid: u32) -> Clause {
    compare(format!("meta skuid {uid}"), "==", meta("skuid"), uid)
}

/// Given to the transparent socket of this port, with a mark that routes it there.
pub(super) fn tproxy(port: u16, mark: u32) -> Clause {
    let mangle = json!({"mangle": {"key": meta("mark"), "value": mark}});
    let text = format!("tproxy to :{port} meta mark set {mark:#x}");
    Clause { text, json: vec![json!({"tproxy": {"port": port}}), mangle] }
}

/// Taken to this port of this host.
pub(super) fn redirect(port: u16) -> Clause {
    clause(format!("redirect to :{port}"), json!({"redirect": {"port": port}}))
}

/// Left to the next chain.
pub(super) fn accept() -> Clause {
    clause("accept", json!({"accept": null}))
}

/// Gone.
pub(super) fn drop() -> Clause {
    clause("drop", json!({"drop": null}))
}

/// Judged by another chain.
pub(super) fn jump(chain: &str) -> Clause {
    clause(format!("jump {chain}"), json!({"jump": {"target": chain}}))
}

/// Judged by another chain for good.
pub(super) fn goto(chain: &str) -> Clause {
    clause(format!("goto {chain}"), json!({"goto": {"target": chain}}))
}

/// Refused with a reset.
pub(super) fn reset() -> Clause {
    clause("reject with tcp reset", json!({"reject": {"type": "tcp reset"}}))
}

/// Refused with port-unreachable.
pub(super) fn unreachable() -> Clause {
    let json = json!({"reject": {"type": "icmpx", "expr": "port-unreachable"}});
    clause("reject with icmpx type port-unreachable", json)
}
