//! The table as `nft` reads it, with what an operator does besides above it.

use std::fmt::{self, Write as _};

use super::ruleset::{Base, MARK, Rule, TABLE, Table};
use super::settings::{Mode, Settings, Who};
use super::sidecar;

/// What stands above the table.
pub(super) fn head(settings: &Settings) -> Vec<String> {
    let arguments = settings.arguments();
    let mut lines = vec![
        format!("Made by: sluicegate nft print {arguments}"),
        "Load:    nft -f THIS_FILE (one transaction; loading it again replaces it)".to_owned(),
        format!("Check:   sluicegate nft verify {arguments}"),
        String::new(),
    ];
    match &settings.who {
        Who::EveryoneBut(uid) => lines.extend(sidecar::head(*uid)),
        Who::Interfaces { mode, .. } => {
            lines.extend(
                [
                    "Besides, on the gateway: it does not route, and it tells every UDP client at once that it is refused (the",
                    "kernel holds such messages back otherwise: 1 a second to one address, and 50 at once to all):",
                    "  sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0",
                    "  sysctl -w net.ipv4.icmp_ratemask=6160 net.ipv6.icmp.ratemask=0,3-127",
                    "What is over, or never was a connection, is soon forgotten, so that a flood does not fill the table of",
                    "connections that all sandboxes share (an interface by its own name begins a bounded number, one of a pattern any):",
                    "  sysctl -w net.netfilter.nf_conntrack_udp_timeout=10 net.netfilter.nf_conntrack_udp_timeout_stream=10",
                    "  sysctl -w net.netfilter.nf_conntrack_tcp_timeout_syn_recv=10 net.netfilter.nf_conntrack_tcp_timeout_fin_wait=10",
                    "  sysctl -w net.netfilter.nf_conntrack_tcp_timeout_time_wait=10 net.netfilter.nf_conntrack_tcp_timeout_last_ack=10",
                ]
                .map(str::to_owned),
            );
            if *mode == Mode::TProxy {
                lines.push(
                    "What tproxy takes is delivered by a routing rule; the listener needs CAP_NET_ADMIN:"
                        .into(),
                );
                for family in ["-4", "-6"].into_iter().take(1 + usize::from(settings.ipv6)) {
                    lines.push(format!("  ip {family} rule add fwmark {MARK:#x} lookup {MARK}"));
                    lines.push(format!("  ip {family} route add local default dev lo table {MARK}"));
                }
            }
        }
    }
    lines
}

impl fmt::Display for Table {
    /// A file for `nft -f`: the table is made if it is missing, taken away, and made anew, at once or not at all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.head {
            writeln!(f, "{}", format!("# {line}").trim_end())?;
        }
        write!(f, "\ntable inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{")?;
        for chain in &self.chains {
            writeln!(f, "\n\t# {}", chain.promise)?;
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(Base { kind, hook, priority, policy }) = chain.base {
                writeln!(f, "\t\ttype {kind} hook {hook} priority {priority}; policy {policy};")?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t# {}\n\t\t{}", rule.promise, rule.text())?;
            }
            writeln!(f, "\t}}")?;
        }
        f.write_char('}')?;
        f.write_char('\n')
    }
}

impl Rule {
    /// As `nft` reads it.
    pub(super) fn text(&self) -> String {
        let texts: Vec<&str> = self.clauses.iter().map(|clause| clause.text.as_str()).collect();
        texts.join(" ")
    }
}
