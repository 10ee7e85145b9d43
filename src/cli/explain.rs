//! `explain`: the decision, without a packet.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::policy::{config, load, rendered};
use crate::app::ways_out;
use crate::explain::{Answer, Question, answer};

/// Say what would be decided about a target, and why, without sending a packet
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The policy file or directory
    #[arg(long, env = "SLUICEGATE_POLICY")]
    policy: PathBuf,
    /// The process configuration: its sandboxes and guards are taken into account
    #[arg(long, env = "SLUICEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Who asks
    #[arg(long, default_value = "default")]
    sandbox: String,
    /// The HTTP method; with it, a URL is judged as a request
    #[arg(long)]
    method: Option<String>,
    /// An address that the name resolves to, to be judged too
    #[arg(long)]
    address: Option<IpAddr>,
    /// The server name of the TLS inside, to be judged too; empty: there is none
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// The client knows no proxy and is redirected on its way to the target
    #[arg(long)]
    redirected: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// `host[:port]` or a URL
    target: String,
}

impl Explain {
    /// Asks and prints.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let question = Question::parse(&self.target, self.method.as_deref(), self.address);
        let question = question.and_then(|question| question.inside(self.sni.as_deref(), self.redirected));
        let question = match question {
            Ok(question) => question,
            Err(error) => {
                super::complain(&format!("error: {error}\n"));
                return Ok(super::USAGE);
            }
        };
        let config = match config(self.config.as_deref())? {
            Ok(config) => config,
            Err(problems) => {
                super::complain(&problems);
                return Ok(super::FAILED);
            }
        };
        let loaded = load(&self.policy, &config, self.config.is_some())?;
        if loaded.has_errors() {
            super::complain(&rendered(&loaded.problems, &loaded.texts));
            return Ok(super::FAILED);
        }
        let known = config.sandboxes.iter().find(|sandbox| *sandbox.id == *self.sandbox);
        let group =
            known.map_or_else(|| loaded.policies.group_of(&self.sandbox), |sandbox| sandbox.group.clone());
        let own = known.is_some_and(|sandbox| sandbox.require_policy);
        let policy = loaded.policies.policy_for(&self.sandbox, group.as_deref(), own);
        let ways = self.config.as_ref().map(|_| ways_out(&config)).unwrap_or_default();
        let answer = answer(&policy, &question).by(&ways);
        if self.json {
            super::print(&format!("{}\n", serde_json::to_string_pretty(&answer)?));
        } else {
            super::print(&text(&answer, &self.sandbox));
        }
        Ok(if answer.is_allow() { 0 } else { super::DENIED })
    }
}

/// An answer for people.
fn text(answer: &Answer, sandbox: &str) -> String {
    let mut out = match answer.reason {
        Some(reason) => format!("{} {reason}\n", answer.verdict),
        None => format!("{}\n", answer.verdict),
    };
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "  {name:<8} {value}");
    };
    line("target", &answer.target);
    line("sandbox", sandbox);
    if let (Some(policy), Some(scope)) = (&answer.policy, answer.scope) {
        line("policy", &format!("{policy} ({scope})"));
        let by_skipping = answer.skipped_by.as_deref() == Some(&*format!("{scope} `{policy}`"));
        let none = match (by_skipping, answer.reason) {
            (_, Some("network_rule_denied")) => "the end of securityRules",
            (true, _) => "skipEgressProxy: its rules are not asked",
            (false, _) => "defaultAction",
        };
        line("rule", answer.rule.as_deref().unwrap_or(none));
    }
    if let Some(place) = &answer.place {
        line("place", place);
    }
    if let Some(by) = &answer.skipped_by {
        line("skip", &format!("by {by}: it and those above it are not asked"));
    }
    match (answer.route, &answer.managed_by) {
        ("delegated", _) => line("route", &format!("delegated: network {}", answer.network)),
        (route, Some(part)) => line("route", &format!("{route}: {part}")),
        (route, None) => line("route", route),
    }
    for (name, value) in [("uplink", &answer.uplink), ("resolver", &answer.resolver)] {
        if let Some(value) = value {
            line(name, value);
        }
    }
    if let Some(rule) = &answer.security_rule {
        line("network", &format!("allowed by {rule}"));
    }
    if let Some(decrypted) = answer.decrypted {
        line("tls", if decrypted { "decrypted" } else { "not decrypted" });
    }
    for header in &answer.headers {
        line("header", header);
    }
    for secret in &answer.secrets {
        line("secret", secret);
    }
    if let Some(rewritten) = &answer.rewritten {
        line("goes to", rewritten);
    }
    let reported = answer.would_deny.as_ref().map(|reported| reported.message.clone());
    for (name, value) in [("message", &answer.message), ("hint", &answer.hint), ("reported", &reported)] {
        if let Some(value) = value {
            line(name, value);
        }
    }
    for open in &answer.open {
        line("open", open);
    }
    out
}
