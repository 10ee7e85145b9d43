//! The table for one network namespace that the proxy shares with what it guards.
//!
//! It tells them apart by user id, so it holds only programs that cannot become the proxy's user, load rules or open raw
//! sockets: no `CAP_SETUID`, `CAP_NET_ADMIN`, `CAP_NET_RAW`, and no root.

use super::clause;
use super::ruleset::{Chain, Rule, base, rule};
use super::settings::Ports;

/// What stands above the table.
pub(super) fn head(uid: u32) -> Vec<String> {
    [
        &format!("For ONE network namespace in which the proxy runs as user {uid} and everything else is guarded."),
        "It holds programs that are another user and have none of root, CAP_SETUID, CAP_NET_ADMIN, CAP_NET_RAW.",
        "It does not hold one that has: root in the namespace can become the proxy's user or take the rules away.",
        "Incoming connections are not its business; let the listeners be on loopback only.",
    ]
    .map(str::to_owned)
    .into()
}

/// Every chain.
pub(super) fn chains(uid: u32, ipv6: bool, ports: Ports) -> Vec<Chain> {
    vec![
        base(
            "divert",
            ("nat", "output", -100, "accept"),
            "what anybody but the proxy sends goes to the proxy",
            divert(uid, ipv6, ports),
        ),
        base(
            "leave",
            ("filter", "output", 0, "drop"),
            "nothing leaves but what the proxy sends",
            leave(uid, ports),
        ),
    ]
}

/// Addresses are rewritten.
fn divert(uid: u32, ipv6: bool, Ports { transparent, dns, .. }: Ports) -> Vec<Rule> {
    let mut rules =
        vec![rule("what the proxy sends is left alone", [clause::by_user(uid), clause::accept()])];
    if !ipv6 {
        let promise = "IPv6 is not taken to the proxy; the next chain refuses it";
        rules.push(rule(promise, [clause::family("ipv6"), clause::accept()]));
    }
    if let Some(dns) = dns {
        for protocol in ["udp", "tcp"] {
            let promise = format!("DNS over {protocol}, to whatever server, is answered by port {dns}");
            rules.push(rule(promise, [clause::to_port(protocol, 53), clause::redirect(dns)]));
        }
    }
    let promise = "what stays here is left alone";
    rules.push(rule(promise, [clause::to_loopback(), clause::accept()]));
    let families = if ipv6 { "IPv4 and IPv6 alike, " } else { "" };
    let promise = format!("TCP, {families}is taken to port {transparent}");
    rules.push(rule(promise, [clause::protocol("tcp"), clause::redirect(transparent)]));
    rules
}

/// What may go on.
fn leave(uid: u32, Ports { transparent, dns, explicit: _, admin }: Ports) -> Vec<Rule> {
    let mut rules = vec![
        rule("what the proxy sends leaves", [clause::by_user(uid), clause::accept()]),
        rule("who is asked from outside may answer", [clause::answer(), clause::accept()]),
        rule("neighbour discovery works, for the proxy too", [clause::neighbour(), clause::accept()]),
    ];
    let own = [Some(("tcp", transparent)), dns.map(|dns| ("udp", dns)), dns.map(|dns| ("tcp", dns))];
    for (protocol, port) in own.into_iter().flatten() {
        let promise = format!("port {port} is reached over {protocol} by what was redirected");
        let clauses = [clause::to_port(protocol, port), clause::redirected(), clause::accept()];
        rules.push(rule(promise, clauses));
    }
    for port in [Some(transparent), dns, admin].into_iter().flatten() {
        let promise = format!("port {port} is the proxy's own, and refuses everybody else");
        rules.push(rule(promise, [clause::to_port("tcp", port), clause::reset()]));
    }
    rules.extend([
        rule("programs may talk to each other here", [clause::to_loopback(), clause::accept()]),
        rule(
            "UDP, QUIC first of all, is refused at once, so that clients turn to TCP",
            [clause::protocol("udp"), clause::unreachable()],
        ),
        rule("TCP that was not taken is refused", [clause::protocol("tcp"), clause::reset()]),
    ]);
    rules
}
