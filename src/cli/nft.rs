//! `nft`: the kernel's rules, printed and checked.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::policy::config;
use crate::app;
use crate::capture::{self, Interface, Mode, Observed, Ports, Settings, Verdict, Who};
use crate::config::{Config, SandboxSettings};

/// Print or check the kernel's rules that take what sandboxes send to the gateway
#[derive(Debug, Args)]
pub(super) struct Nft {
    /// What to do
    #[command(subcommand)]
    command: Command,
}

/// Print or check.
#[derive(Debug, Subcommand)]
enum Command {
    /// Print a file for `nft -f`, which replaces the rules in one transaction
    Print(Rules),
    /// Say what is missing among the rules that are loaded here; exit 0 if nothing is
    Verify {
        /// Which rules there should be
        #[command(flatten)]
        rules: Rules,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Which rules.
#[derive(Debug, Args)]
struct Rules {
    /// An interface that sandboxes are behind, with the only sources on it: `veth-*`, `veth-1=10.200.1.2,2001:db8::2`, or
    /// `veth-1=SANDBOX` for those of a sandbox of the configuration; may be given several times
    #[arg(long, value_name = "NAME[=SOURCES]")]
    interface: Vec<String>,
    /// Rules for one network namespace that the proxy, as this user, shares with a sandbox, instead of interfaces
    #[arg(long, value_name = "UID", conflicts_with_all = ["interface", "mode", "gateway_address"], value_parser = clap::value_parser!(u32).range(1..))]
    sidecar_uid: Option<u32>,
    /// How TCP is taken; without it, as the `mode` of the configuration's `Transparent` listener says
    #[arg(long)]
    mode: Option<Way>,
    /// Let sandboxes speak IPv6, to the proxy as everything; without it all of it is dropped
    #[arg(long)]
    ipv6: bool,
    /// The process configuration: `capture` and the ports of its listeners; flags override it
    #[arg(long, env = "SLUICEGATE_CONFIG")]
    config: Option<PathBuf>,
    /// The port that TCP is taken to
    #[arg(long, value_name = "PORT")]
    transparent_port: Option<u16>,
    /// The port that DNS is taken to
    #[arg(long, value_name = "PORT", conflicts_with = "no_dns")]
    dns_port: Option<u16>,
    /// Nothing answers DNS: UDP to port 53 is refused
    #[arg(long)]
    no_dns: bool,
    /// The port of the explicit proxy, where sandboxes may use it
    #[arg(long, value_name = "PORT")]
    explicit_port: Option<u16>,
    /// The port of the admin server, which no sandbox reaches
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
    /// An address of the gateway at which the explicit proxy is reached; without it, every one
    #[arg(long, value_name = "ADDRESS")]
    gateway_address: Vec<IpAddr>,
}

/// How TCP is taken.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    /// Its destination is rewritten
    Redirect,
    /// Its destination stays, and a routing rule delivers it
    Tproxy,
}

/// Settings, or what was not understood.
type Understood = Result<Settings, String>;

impl Nft {
    /// Prints or checks.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let (rules, check) = match &self.command {
            Command::Print(rules) => (rules, None),
            Command::Verify { rules, json } => (rules, Some(*json)),
        };
        let config = match config(rules.config.as_deref())? {
            Ok(config) => config,
            Err(problems) => {
                super::complain(&problems);
                return Ok(super::FAILED);
            }
        };
        let settings = match rules.settings(&config) {
            Ok(settings) => settings,
            Err(error) => {
                super::complain(&format!("error: {error}\n"));
                return Ok(super::USAGE);
            }
        };
        match check {
            None => super::print(&capture::table(&settings).to_string()),
            Some(json) => return verify(&settings, json),
        }
        Ok(0)
    }
}

/// Says what is missing among the rules that are loaded.
fn verify(settings: &Settings, json: bool) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let observed: Observed = runtime.block_on(capture::observe());
    let verdict = capture::judge(settings, &observed);
    if json {
        let findings = match &verdict {
            Verdict::Broken(findings) => findings.as_slice(),
            Verdict::Proven | Verdict::Unknown(_) => &[],
        };
        let unknown = match &verdict {
            Verdict::Unknown(reason) => Some(reason),
            Verdict::Proven | Verdict::Broken(_) => None,
        };
        let answer = json!({"ok": verdict.holds(), "findings": findings, "unknown": unknown});
        super::print(&format!("{answer:#}\n"));
        return Ok(if verdict.holds() { 0 } else { super::FAILED });
    }
    match &verdict {
        Verdict::Proven => super::print(&format!("ok: {}\n", verdict.describe())),
        Verdict::Unknown(reason) => super::complain(&format!("error: {reason}\n")),
        Verdict::Broken(findings) => {
            for finding in findings {
                super::print(&format!(
                    "error: {}\n  = found: {}\n  = help: {}\n",
                    finding.problem, finding.cause, finding.cure
                ));
            }
            super::print(&format!("{} finding(s)\n", findings.len()));
        }
    }
    Ok(if verdict.holds() { 0 } else { super::FAILED })
}

impl Rules {
    /// What the flags and the configuration ask for together.
    fn settings(&self, config: &Config) -> Understood {
        let written = config.capture.as_ref();
        let mode = self.mode.map_or_else(|| app::mode(config), |way| Ok(Mode::from(way)))?;
        let who = match (self.sidecar_uid, self.interface.as_slice(), written) {
            (Some(uid), _, _) => Who::EveryoneBut(uid),
            (None, [_, ..], _) => {
                Who::Interfaces { interfaces: self.interfaces(&config.sandboxes)?, mode, gateway: Vec::new() }
            }
            (None, [], Some(written)) => app::who(&written.who, mode),
            (None, [], None) => {
                return Err("whose traffic is taken? give --interface or --sidecar-uid, or a --config with \
                            `capture`"
                    .to_owned());
            }
        };
        let who = match who {
            Who::EveryoneBut(_) if self.mode.is_some() || !self.gateway_address.is_empty() => {
                return Err("--mode and --gateway-address go with interfaces, and `capture` of the \
                            configuration has a sidecar"
                    .to_owned());
            }
            Who::EveryoneBut(uid) => Who::EveryoneBut(uid),
            Who::Interfaces { interfaces, mode, gateway } => Who::Interfaces {
                interfaces,
                mode,
                gateway: if self.gateway_address.is_empty() { gateway } else { self.gateway_address.clone() },
            },
        };
        let ipv6 = self.ipv6 || written.is_some_and(|written| written.ipv6);
        let ports = if self.config.is_some() { app::ports(config)? } else { Ports::default() };
        let ports = Ports {
            transparent: self.transparent_port.unwrap_or(ports.transparent),
            dns: if self.no_dns { None } else { self.dns_port.or(ports.dns) },
            explicit: self.explicit_port.or(ports.explicit),
            admin: self.admin_port.or(ports.admin).or(Some(config.admin.address.port())),
        };
        let settings = Settings { who, ipv6, ports };
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    /// The interfaces of the flags.
    fn interfaces(&self, sandboxes: &[SandboxSettings]) -> Result<Vec<Interface>, String> {
        let interface = |text: &String| {
            let named = text
                .split_once('=')
                .and_then(|(name, id)| Some((name, sandboxes.iter().find(|sandbox| *sandbox.id == *id)?)));
            let made = match named {
                Some((_, sandbox)) if sandbox.sources.is_empty() => {
                    return Err(format!("--interface {text}: that sandbox has no `sources`"));
                }
                Some((name, sandbox)) => Interface::new(name, &sandbox.sources),
                None => text.parse(),
            };
            made.map_err(|error| format!("--interface {text}: {error}"))
        };
        self.interface.iter().map(interface).collect()
    }
}

impl From<Way> for Mode {
    fn from(way: Way) -> Self {
        match way {
            Way::Redirect => Self::Redirect,
            Way::Tproxy => Self::TProxy,
        }
    }
}
