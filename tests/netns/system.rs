//! The whole system: the rules that the binary prints, what arrives in the internet, and programs in sandboxes.
//!
//! ```ignore
//! let Some(net) = Topology::system("name", "mode: Limited\n", SYSTEM).await else { return };
//! net.python(1, "print(udp('93.184.216.34', 443))").await;
//! assert_eq!(net.counted().await, (0, 0));
//! ```

use std::process::Stdio;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};

use crate::kit::process::{BINARY, lines};
use crate::kit::tool::Ran;
use crate::kit::{Seen, background, within};
use crate::topology::Topology;

/// The whole system: every kind of listener, and the rules that `nft print` makes for it.
pub const SYSTEM: &str = r#"
policy: {path: policy.yaml}
listeners:
  - {address: "[::]:3128", kind: Explicit}
  - {address: "[::]:15001", kind: Transparent}
  - {address: "[::]:15053", kind: Dns}
admin: {address: "0.0.0.0:9901", socket: admin.sock}
dns: {servers: ["93.184.216.53:53"]}
sandboxes:
  - {id: one, sources: [10.200.1.2/32, "fd00:200:1::2/128"]}
  - {id: two, sources: [10.200.2.2/32, "fd00:200:2::2/128"]}
capture:
  ipv6: true
  interfaces: [{name: sbx1, sandbox: one}, {name: sbx2, sandbox: two}]
"#;

/// The internet's count of what did not come from the gateway, of what came for a name server, and of a marker.
const COUNTERS: &str = r#"
table inet count {
  counter strangers { }
  counter queries { }
  counter marker { }
  chain arrived {
    type filter hook prerouting priority -400; policy accept;
    iifname != "eth0" accept
    ip6 saddr { fe80::/10, :: } accept
    udp dport 9 counter name marker accept
    ip saddr != 93.184.216.1 counter name strangers
    ip6 saddr != 2600:1f18::1 counter name strangers
    meta l4proto { tcp, udp } th dport 53 counter name queries
  }
}
"#;

impl Topology {
    /// The whole system as an operator makes it: the rules that the binary prints for this configuration, the settings of
    /// the kernel that it names besides, and the gateway. What arrives in the internet is counted from here on.
    pub async fn system(label: &str, policy: &str, config: &str) -> Option<Self> {
        let mut net = Self::new(label)?;
        net.count();
        net.gateway(policy, config).await;
        net.load_rules().await;
        Some(net)
    }

    /// Counts what arrives in the internet from here on; see [`Self::counted`].
    pub fn count(&self) {
        self.internet.feed("nft", COUNTERS);
    }

    /// Loads what `nft print` makes of the gateway's configuration, and sets what it says besides.
    pub async fn load_rules(&self) {
        let config = self.place.text("config.yaml");
        let printed = self.gate.run(BINARY, ["nft", "print", "--config", &config]).await;
        assert_eq!(printed.code, 0, "{}", printed.stderr);
        self.gate.feed("nft", &printed.stdout);
        let settings = printed.stdout.lines().filter_map(|line| line.strip_prefix("#   sysctl -w "));
        for setting in settings.flat_map(str::split_whitespace) {
            self.gate.sysctl(setting);
        }
    }

    /// Lets the gateway's kernel forward packets, or not.
    pub fn forwarding(&self, on: bool) {
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            self.gate.sysctl(&format!("{name}={}", u8::from(on)));
        }
    }

    /// How many packets came to the internet from anywhere but the gateway, and how many for a name server. Markers go
    /// behind them, so that "none" is no matter of waiting.
    pub async fn counted(&self) -> (u64, u64) {
        let count = |name: &str| self.internet.counted("count", name);
        let before = count("marker");
        self.gate.inside(async || {
            for (from, to) in [("0.0.0.0:0", "93.184.216.34:9"), ("[::]:0", "[2600:1f18::34]:9")] {
                let socket = tokio::net::UdpSocket::bind(from).await.expect("a socket");
                socket.send_to(b"marker", to).await.expect("to send");
            }
        });
        let arrived = async {
            while count("marker") < before + 2 {
                tokio::task::yield_now().await;
            }
        };
        within("the marker in the internet", arrived).await;
        (count("strangers"), count("queries"))
    }

    /// Puts another configuration in force.
    pub async fn set_config(&self, config: &str) {
        let loads = |records: &[Value]| records.iter().filter(|record| record["kind"] == "policy").count();
        let before = loads(&self.records("the records so far", |_| true).await);
        self.place.replace("config.yaml", config);
        self.process().signal(Signal::HUP);
        self.records("the configuration to be loaded", |records| loads(records) > before).await;
    }

    /// What the admin server says to a GET of this path.
    pub async fn admin(&self, path: &str) -> (String, String) {
        let socket = self.place.path("admin.sock");
        let asked = async {
            let mut stream = tokio::net::UnixStream::connect(socket).await.expect("the admin socket");
            let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("to ask");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("an answer");
            text
        };
        let answer = within("the admin server", asked).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    /// Runs a program in a sandbox whose name server is one of the internet that does not exist, under these variables.
    pub async fn run_resolving<const N: usize>(
        &self,
        sandbox: usize,
        variables: &[&str],
        program: &str,
        arguments: [&str; N],
    ) -> Ran {
        let resolver = self.file("resolv.conf", "nameserver 198.51.100.53\noptions timeout:5 attempts:1\n");
        // `ip netns exec` has made a mount namespace for this program alone.
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec env \"$@\"";
        let words = ["-c", script, &resolver].into_iter().chain(variables.iter().copied());
        let words: Vec<&str> = words.chain([program]).chain(arguments).collect();
        self.sandbox(sandbox).run_all("sh", &words).await
    }

    /// Runs a Python script in a sandbox to its end, which must be good; gives the lines that it printed.
    pub async fn python(&self, sandbox: usize, script: &str) -> Vec<String> {
        let script = format!("{}{script}", include_str!("client.py"));
        let ran = self.run(sandbox, "python3", ["-c", &script]).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.stdout.lines().map(str::to_owned).collect()
    }

    /// Starts a Python script in a sandbox that is told lines and prints lines.
    pub fn converse(&self, sandbox: usize, script: &str, arguments: &[&str]) -> Conversation {
        let _on_background = background().enter();
        let mut command = self.sandbox(sandbox).command("python3");
        command.args(["-u", "-c", script]).args(arguments);
        command.stdin(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("python runs");
        let stdin = child.stdin.take().expect("a pipe");
        Conversation { stdout: lines(child.stdout.take()), stdin, heard: 0, _child: child }
    }
}

/// A program that is told lines and prints lines; it is killed when this is dropped.
pub struct Conversation {
    stdout: Arc<Seen<String>>,
    stdin: ChildStdin,
    /// How many of its lines were heard.
    heard: usize,
    _child: Child,
}

impl Conversation {
    /// Tells it a line.
    pub async fn tell(&mut self, line: &str) {
        let line = format!("{line}\n");
        let told = self.stdin.write_all(line.as_bytes());
        within("a program to be told", told).await.expect("a pipe");
    }

    /// Its next line, as JSON.
    pub async fn hear(&mut self) -> Value {
        let more = |lines: &[String]| lines.len() > self.heard;
        let all = self.stdout.wait_until("a line of a program", more).await;
        self.heard += 1;
        serde_json::from_str(&all[self.heard - 1]).expect("JSON")
    }
}
