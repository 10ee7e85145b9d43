//! Sandboxes, one gateway and one internet, each in a namespace of its own.
//!
//! ```text
//! sandbox 1 ─ 10.200.1.0/24, fd00:200:1::/64 ─┐
//!                                             gateway ─ 93.184.216.0/24, 2600:1f18::/64 ─ internet
//! sandbox 2 ─ 10.200.2.0/24, fd00:200:2::/64 ─┘
//! ```
//! In each sandbox's network the gateway is `.1` and the sandbox `.2`. These addresses are nowhere but inside.
//!
//! ```ignore
//! let Some(mut net) = Topology::new("name") else { return };
//! net.redirect();
//! let origin = net.origin("93.184.216.34:443", Behaviour::Echo);
//! net.dns.says("good.test", Answer::addresses(["93.184.216.34"]));
//! net.gateway("mode: Limited\nhostRules: [good.test]\n", CONFIG).await;
//! let ran = net.run(1, "curl", ["-s", "http://good.test/"]).await;
//! let record = net.record("request", "good.test").await;
//! ```

use rustix::process::Signal;
use serde_json::Value;
use sluicegate::intercept::{create, trust};

use crate::kit::client::Client;
use crate::kit::dns::Dns;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::process::{BINARY, Place, Process};
use crate::kit::tool::{self, Ran};
use crate::namespace::Namespace;

/// Where the name server is.
pub const DNS: &str = "93.184.216.53:53";
/// The usual origin.
pub const ORIGIN: &str = "93.184.216.34";
/// The usual origin, over IPv6.
pub const ORIGIN6: &str = "2600:1f18::34";
/// An origin that no name of these tests leads to.
pub const FOREIGN: &str = "93.184.216.66";
/// An origin that policies allow by its address.
pub const LITERAL: &str = "93.184.216.40";
/// Every address of the internet.
const INTERNET: [&str; 6] = ["34", "35", "40", "53", "66", "99"];

/// The usual configuration.
pub const CONFIG: &str = r#"
policy: {path: policy.yaml}
listeners:
  - {address: "[::]:3128", kind: Explicit}
  - {address: "[::]:15001", kind: Transparent}
admin: {address: "0.0.0.0:9901"}
dns: {servers: ["93.184.216.53:53"]}
sandboxes:
  - {id: one, sources: [10.200.1.2/32, "fd00:200:1::2/128"]}
  - {id: two, sources: [10.200.2.2/32, "fd00:200:2::2/128"]}
"#;

/// Redirects all TCP of the sandboxes to the gateway.
const REDIRECT: &str = r#"
table inet sluicegate {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname { "sbx1", "sbx2" } meta l4proto tcp redirect to :15001
  }
}
"#;

/// Hands all TCP of the sandboxes to the gateway as it is.
const TPROXY: &str = r#"
table inet sluicegate {
  chain prerouting {
    type filter hook prerouting priority mangle; policy accept;
    iifname { "sbx1", "sbx2" } meta nfproto ipv4 meta l4proto tcp tproxy ip to :15001 meta mark set 1 accept
    iifname { "sbx1", "sbx2" } meta nfproto ipv6 meta l4proto tcp tproxy ip6 to :15001 meta mark set 1 accept
  }
}
"#;

/// What a packet that is handed over needs, to be taken for a local one.
const TPROXY_ROUTES: &str = "rule add fwmark 1 lookup 100
route add local default dev lo table 100
";

/// The namespaces of one test. What runs in them ends before they are deleted.
pub struct Topology {
    process: Option<Process>,
    /// The internet's name server.
    pub dns: Dns,
    /// Its files.
    pub place: Place,
    sandboxes: Vec<Namespace>,
    /// Where the gateway is.
    pub gate: Namespace,
    /// Where origins are.
    pub internet: Namespace,
}

impl Topology {
    /// Two sandboxes, a gateway that does not run yet, and the internet. `None`: it cannot be had here, which was
    /// said.
    pub fn new(label: &str) -> Option<Self> {
        ["ip", "nft"].into_iter().map(tool::find).collect::<Option<Vec<_>>>()?;
        if !rustix::process::geteuid().is_root() {
            let required = std::env::var_os("SLUICEGATE_REQUIRE_TOOLS").is_some_and(|value| value == "1");
            assert!(!required, "network namespaces need root, and are required here");
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let (gate, internet) = (Namespace::new("gate"), Namespace::new(&format!("net-{label}")));
        let outside = INTERNET.map(|host| {
            format!("addr add 93.184.216.{host}/24 dev eth0\naddr add 2600:1f18::{host}/64 dev eth0 nodad\n")
        });
        gate.ip(&format!("link add up0 type veth peer name eth0 netns {}", internet.name));
        gate.ip(
            "addr add 93.184.216.1/24 dev up0\naddr add 2600:1f18::1/64 dev up0 nodad\nlink set up0 up\n",
        );
        internet.ip(&format!("{}link set eth0 up\n", outside.concat()));
        let sandboxes = (1..=2).map(|number| sandbox(&gate, number)).collect();
        let dns = internet.inside(|| Dns::start_on(DNS.parse().expect("an address")));
        Some(Self { process: None, dns, place: Place::with(""), sandboxes, gate, internet })
    }

    /// Redirects all TCP of the sandboxes, IPv4 and IPv6.
    pub fn redirect(&self) {
        self.gate.feed("nft", REDIRECT);
    }

    /// The same, with the destination left as it is.
    pub fn tproxy(&self) {
        self.gate.feed("nft", TPROXY);
        self.gate.ip(TPROXY_ROUTES);
        self.gate.ip6(TPROXY_ROUTES);
    }

    /// Runs the gateway, in the place of one that runs, and waits until it listens.
    pub async fn gateway(&mut self, policy: &str, config: &str) {
        self.gateway_with(policy, config, &[]).await;
    }

    /// The same with more arguments.
    pub async fn gateway_with(&mut self, policy: &str, config: &str, more: &[&str]) {
        self.kill().await;
        self.place.write("policy.yaml", policy);
        self.place.write("config.yaml", config);
        let mut command = self.gate.command(BINARY);
        command.args(["run", "--config", "config.yaml"]).args(more).current_dir(self.place.path(""));
        self.process = Some(Process::spawn(command).await);
    }

    /// A configuration with a new sandbox CA, and the authorities of these origins.
    pub fn intercepting(&self, config: &str, origins: &[&Origin]) -> String {
        let made = create::create(&self.place.path("ca"), &[], 30).expect("an authority");
        let own = std::fs::read_to_string(&made.certificate).expect("a certificate");
        // Its own is there for a machine that has no roots.
        let roots = origins.iter().map(|origin| trust::pem(&origin.certificate())).chain([own]);
        let roots = self.file("roots.pem", roots.collect::<String>());
        let (certificate, key) = (made.certificate.display(), made.key.display());
        format!("{config}\nintercept: {{certificate: {certificate}, key: {key}, upstreamRoots: [{roots}]}}\n")
    }

    /// Kills the gateway, if it runs, and waits until it is gone.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::KILL);
            process.ended().await;
        }
    }

    /// Ends the gateway as a service manager would, and waits for its exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("the gateway runs");
        process.signal(Signal::TERM);
        process.ended().await
    }

    /// The path of a new file of this test.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        self.place.write(name, text);
        self.place.text(name)
    }

    /// The running gateway.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the gateway runs")
    }

    /// Puts another policy in force.
    pub async fn set_policy(&self, policy: &str) {
        // Records of the documents that a load widened come before its own.
        let is_load = |record: &&Value| record["kind"] == "policy" && record["policy"].is_null();
        let loads = |records: &[Value]| records.iter().filter(is_load).count();
        let before = loads(&self.records("the records so far", |_| true).await);
        self.place.replace("policy.yaml", policy);
        self.records("the policy to be loaded", |records| loads(records) > before).await;
    }

    /// Sandbox number 1 or 2.
    pub fn sandbox(&self, number: usize) -> &Namespace {
        &self.sandboxes[number - 1]
    }

    /// Runs a program in a sandbox.
    pub async fn run<const N: usize>(&self, sandbox: usize, program: &str, arguments: [&str; N]) -> Ran {
        self.sandbox(sandbox).run(program, arguments).await
    }

    /// A connection from sandbox 1.
    pub fn connect(&self, address: &str) -> Client {
        self.sandbox(1).connect(address)
    }

    /// An origin in the internet.
    pub fn origin(&self, address: &str, behaviour: Behaviour) -> Origin {
        self.internet.inside(|| Origin::start_on(address.parse().expect("an address"), behaviour))
    }

    /// An origin in the internet that speaks TLS.
    pub fn tls_origin(&self, address: &str, name: &str, behaviour: Behaviour) -> Origin {
        self.internet.inside(|| Origin::tls_on(address.parse().expect("an address"), name, behaviour))
    }

    /// Waits until the records are as wanted.
    pub async fn records(&self, what: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        self.process().records(what, enough).await
    }

    /// Waits for the first record of a kind about a host.
    pub async fn record(&self, kind: &str, host: &str) -> Value {
        let is_it = |record: &Value| record["kind"] == kind && record["host"] == host;
        let records =
            self.records(&format!("a {kind} record about {host}"), |all| all.iter().any(is_it)).await;
        records.into_iter().find(is_it).expect("it was just seen")
    }

    /// Waits for the record of the end of what this client did.
    pub async fn record_of(&self, client: &str) -> Value {
        let is_it = |record: &Value| record["client"] == client && record["kind"] != "open";
        let records = self.records(&format!("a record of {client}"), |all| all.iter().any(is_it)).await;
        let mut all = records.into_iter().filter(is_it);
        let record = all.next().expect("it was just seen");
        assert!(all.next().is_none(), "one record only");
        record
    }
}

/// A sandbox whose only way is the gateway.
fn sandbox(gate: &Namespace, number: u32) -> Namespace {
    let namespace = Namespace::new(&format!("sbx{number}"));
    gate.ip(&format!(
        "link add sbx{number} type veth peer name eth0 netns {}
addr add 10.200.{number}.1/24 dev sbx{number}
addr add fd00:200:{number}::1/64 dev sbx{number} nodad
link set sbx{number} up
",
        namespace.name
    ));
    namespace.ip(&format!(
        "addr add 10.200.{number}.2/24 dev eth0
addr add fd00:200:{number}::2/64 dev eth0 nodad
link set eth0 up
route add default via 10.200.{number}.1
route add default via fd00:200:{number}::1
"
    ));
    namespace
}
