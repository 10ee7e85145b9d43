//! Network namespaces: a gateway between two sandboxes and the outside, each a namespace of its own.
//!
//! ```text
//!  one  eth0 10.200.1.2  fd00:1::2 ── veth-1 10.200.1.1 fd00:1::1 ┐
//!                                                                  ├ gateway  out0 192.0.2.1 2001:db8::1 ── eth0 192.0.2.2 2001:db8::2  outside
//!  two  eth0 10.200.2.2  fd00:2::2 ── veth-2 10.200.2.1 fd00:2::1 ┘
//! ```
//! Every namespace has a default route toward the gateway. They are gone when the handle is dropped.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::process::Child;

use super::process::lines;
use super::{Seen, background, tool};

/// The four namespaces.
pub struct Net(String);

/// Which namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Gateway,
    One,
    Two,
    Outside,
}

impl At {
    const ALL: [Self; 4] = [Self::Gateway, Self::One, Self::Two, Self::Outside];
}

/// A program that runs until it is dropped; its output line by line.
pub struct Server {
    child: Child,
    /// What it printed.
    pub stdout: Arc<Seen<String>>,
}

impl Net {
    /// The namespaces, connected; none where they cannot be made.
    pub fn new() -> Option<Self> {
        let net = Self::empty(&At::ALL)?;
        net.connect();
        Some(net)
    }

    /// Only the gateway's namespace, without a link.
    pub fn bare() -> Option<Self> {
        Self::empty(&[At::Gateway])
    }

    /// Namespaces without a link.
    fn empty(places: &[At]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        for name in ["ip", "nft", "python3"] {
            tool::find(name)?;
        }
        if !rustix::process::geteuid().is_root() {
            return tool::missing("root, for network namespaces,");
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let net = Self(format!("sg{}-{number}-", std::process::id()));
        for at in places.iter().copied() {
            run(Command::new("ip").args(["netns", "add", &net.name(at)]));
            net.ip(at, "link set lo up");
            for setting in ["net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0"] {
                net.run(at, &["sysctl", "-qw", setting]);
            }
        }
        Some(net)
    }

    /// Links the namespaces.
    fn connect(&self) {
        let net = self;
        let links = [
            (At::One, "veth-1", "10.200.1", "24", "fd00:1::", "64"),
            (At::Two, "veth-2", "10.200.2", "24", "fd00:2::", "64"),
            (At::Outside, "out0", "192.0.2", "24", "2001:db8::", "64"),
        ];
        for (at, name, v4, length4, v6, length6) in links {
            net.ip(At::Gateway, &format!("link add {name} type veth peer name eth0 netns {}", net.name(at)));
            for (at, name, last) in [(At::Gateway, name, 1), (at, "eth0", 2)] {
                net.ip(at, &format!("addr add {v4}.{last}/{length4} dev {name}"));
                net.ip(at, &format!("addr add {v6}{last}/{length6} dev {name} nodad"));
                net.ip(at, &format!("link set {name} up"));
            }
            net.ip(at, &format!("route add default via {v4}.1"));
            net.ip(at, &format!("route add default via {v6}1"));
        }
    }

    /// The name of a namespace.
    pub fn name(&self, at: At) -> String {
        format!("{}{}", self.0, format!("{at:?}").to_lowercase())
    }

    /// Lets the gateway forward packets, or not.
    pub fn forwarding(&self, on: bool) {
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            self.run(At::Gateway, &["sysctl", "-qw", &format!("{name}={}", u8::from(on))]);
        }
    }

    /// An `ip` command.
    fn ip(&self, at: At, command: &str) {
        let words: Vec<&str> = ["ip"].into_iter().chain(command.split(' ')).collect();
        self.run(at, &words);
    }

    /// A command in a namespace.
    pub fn command(&self, at: At, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(at)]).args(words).stdin(Stdio::null());
        command
    }

    /// Runs a command in a namespace, which must succeed; gives what it printed.
    pub fn run(&self, at: At, words: &[&str]) -> String {
        run(&mut self.command(at, words))
    }

    /// How a command in a namespace ends.
    pub fn output(&self, at: At, words: &[&str]) -> Output {
        self.command(at, words).output().expect("ip runs")
    }

    /// Loads rules at the gateway.
    pub fn load(&self, rules: &str) {
        self.load_at(At::Gateway, rules);
    }

    /// Loads rules in a namespace.
    pub fn load_at(&self, at: At, rules: &str) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), rules).expect("a file is written");
        self.run(at, &["nft", "-f", file.path().to_str().expect("UTF-8")]);
    }

    /// The rules that are loaded at the gateway, as JSON.
    pub fn listing(&self) -> String {
        self.run(At::Gateway, &["nft", "-j", "list", "ruleset"])
    }

    /// A Python script in a namespace that runs until it is dropped.
    pub fn server(&self, at: At, script: &str) -> Server {
        let _on_background = background().enter();
        let command = self.command(at, &["python3", "-u", "-c", script]);
        let mut command = tokio::process::Command::from(command);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("python runs");
        let stdout = lines(child.stdout.take());
        Server { child, stdout }
    }

    /// Runs a Python script in a namespace to its end; gives the last line that it printed.
    pub fn python(&self, at: At, script: &str) -> String {
        let printed = self.run(at, &["python3", "-c", script]);
        printed.lines().last().unwrap_or_default().to_owned()
    }
}

impl Server {
    /// Waits until it printed a line with this in it.
    pub async fn prints(&self, part: &str) {
        let found = |lines: &[String]| lines.iter().any(|line| line.contains(part));
        self.stdout.wait_until(&format!("`{part}` of a server"), found).await;
    }

    /// Ends it and waits for that.
    pub async fn end(mut self) {
        super::within("a server to end", self.child.kill()).await.expect("it ends");
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for at in At::ALL {
            // One that was never made is no problem.
            let _ = Command::new("ip").args(["netns", "del", &self.name(at)]).output();
        }
    }
}

/// Runs a command, which must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
