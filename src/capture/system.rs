//! Asks the kernel: what rules are loaded, whether it forwards, which interfaces belong to another.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;
use tokio::time::timeout;

use super::proof::Observed;

/// How long `nft` may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The program.
const NFT: &str = "nft";

/// Why the rules cannot be listed.
#[derive(Debug, Error)]
pub enum NftError {
    /// There is no such program.
    #[error("the program `nft` is not on the PATH: install nftables")]
    Missing,
    /// It cannot be run.
    #[error("the program `nft` cannot be run: {0}")]
    Run(#[source] io::Error),
    /// It did not end.
    #[error("`nft -j list ruleset` did not end within {} seconds", PATIENCE.as_secs())]
    Slow,
    /// It failed.
    #[error(
        "`nft -j list ruleset` failed: {0}; listing rules needs root or CAP_NET_ADMIN in this network namespace"
    )]
    Failed(String),
}

/// The rules that are loaded in this network namespace, as JSON.
///
/// # Errors
/// There is no `nft`, or it may not list them.
pub async fn list() -> Result<String, NftError> {
    let mut command = Command::new(NFT);
    command.args(["-j", "list", "ruleset"]).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(PATIENCE, command.output()).await {
        Err(_) => return Err(NftError::Slow),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Err(NftError::Missing),
        Ok(Err(error)) => return Err(NftError::Run(error)),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let line = told.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
        return Err(NftError::Failed(line.chars().take(200).collect()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Everything that the proof looks at.
pub async fn observe() -> Observed {
    let ruleset = list().await.map_err(|error| error.to_string());
    Observed {
        ruleset,
        forwarding: forwarding(Path::new("/proc/sys/net")),
        members: members(Path::new("/sys/class/net")),
    }
}

/// The settings below `root` (`/proc/sys/net`) by which the kernel forwards packets, of those that are on.
#[must_use]
pub fn forwarding(root: &Path) -> Vec<String> {
    let on = |path: &str| fs::read_to_string(root.join(path)).is_ok_and(|value| value.trim() != "0");
    let mut found = Vec::new();
    if on("ipv4/ip_forward") {
        found.push("net.ipv4.ip_forward".to_owned());
    }
    let interfaces = fs::read_dir(root.join("ipv6/conf")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        interfaces.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names.retain(|name| on(&format!("ipv6/conf/{name}/forwarding")));
    found.extend(names.into_iter().map(|name| format!("net.ipv6.conf.{name}.forwarding")));
    found
}

/// The interfaces below `root` (`/sys/class/net`) that belong to another one, with that: ports of a bridge or switch, links
/// of a bond or team, what is bound to a VRF.
#[must_use]
pub fn members(root: &Path) -> Vec<(String, String)> {
    let interfaces = fs::read_dir(root).into_iter().flatten().flatten();
    let member = |entry: fs::DirEntry| {
        let master = fs::read_link(entry.path().join("master")).ok()?;
        let master = master.file_name()?.to_str()?.to_owned();
        Some((entry.file_name().into_string().ok()?, master))
    };
    let mut found: Vec<_> = interfaces.filter_map(member).collect();
    found.sort();
    found
}
