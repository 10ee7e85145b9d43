//! The kernel's rules at work: what a sandbox can and cannot send, in network namespaces.
//!
//! A script stands for the proxy, and says what reaches it. What reaches the outside is counted there by the kernel, up to a
//! marker that the gateway sends last, so that "nothing" is not a matter of waiting.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use sluicegate::capture::{Interface, Mode, Observed, Ports, Settings, Verdict, Who, judge, table};

use crate::kit::net::{At, Net, Server};
use crate::kit::process::{BINARY, Place, Process};
use crate::kit::within;

/// What stands for the proxy, its DNS server, its admin server and another service, over IPv4 and IPv6.
const PROXY: &str = r"
import socket, struct, threading
def original(s):
    try:
        if s.family == socket.AF_INET6 and not s.getpeername()[0].startswith('::ffff:'):
            raw = s.getsockopt(41, 80, 28)
            return socket.inet_ntop(socket.AF_INET6, raw[8:24]), struct.unpack('!H', raw[2:4])[0]
        raw = s.getsockopt(0, 80, 16)
        return socket.inet_ntoa(raw[4:8]), struct.unpack('!H', raw[2:4])[0]
    except OSError:
        return s.getsockname()[:2]
def tcp(port, transparent):
    l = socket.socket(socket.AF_INET6)
    l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    l.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    if transparent:
        l.setsockopt(0, 19, 1)
        l.setsockopt(41, 75, 1)
    l.bind(('::', port)); l.listen(64)
    def serve():
        while True:
            s, peer = l.accept()
            print('tcp', port, 'from', peer[0].replace('::ffff:', ''), 'to', *[str(x).replace('::ffff:', '') for x in original(s)], flush=True)
            s.sendall(b'port %d' % port); s.close()
    threading.Thread(target=serve).start()
def udp(port):
    u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    u.bind((UDP, port))
    def serve():
        while True:
            data, peer = u.recvfrom(2000)
            print('udp', port, 'from', peer[0].replace('::ffff:', ''), data.decode(), flush=True)
            u.sendto(b'port %d' % port, peer)
    threading.Thread(target=serve).start()
for port in PORTS: tcp(port, TRANSPARENT)
udp(15053); udp(9901)
print('ready', flush=True)
";

/// What clients have at hand. Whatever is dropped is given up after a short while; the counters outside tell the rest.
const CLIENT: &str = r"
import errno, os, socket, time
def family(host): return socket.AF_INET6 if ':' in host else socket.AF_INET
def name(error): return errno.errorcode.get(error.errno, 'timeout') if error.errno else 'timeout'
def tcp(host, port, wait=10):
    s = socket.socket(family(host)); s.settimeout(wait)
    try:
        s.connect((host, port)); return s.recv(100).decode()
    except OSError as error: return name(error)
    finally: s.close()
def udp(host, port, wait=10):
    s = socket.socket(family(host), socket.SOCK_DGRAM); s.settimeout(wait)
    try:
        s.connect((host, port)); s.send(b'hello'); return s.recv(100).decode()
    except OSError as error: return name(error)
    finally: s.close()
def burst(host, ports):
    errors, slowest = set(), 0
    for port in ports:
        begun = time.monotonic()
        errors.add(udp(host, port, 2)); slowest = max(slowest, time.monotonic() - begun)
    return ','.join(sorted(errors)) + ' %f' % slowest
def raw(host, protocol, data=b'\x08\0\xf7\xff\0\0\0\0'):
    s = socket.socket(family(host), socket.SOCK_RAW, protocol)
    try: s.sendto(data, (host, 0)); return 'sent'
    except OSError as error: return name(error)
    finally: s.close()
def spoofed(source, host, port, data):
    s = socket.socket(family(host), socket.SOCK_DGRAM)
    s.setsockopt(0, 19, 1) if '.' in host else s.setsockopt(41, 75, 1)
    s.bind((source, 0)); s.sendto(data, (host, port)); s.close()
";

/// The outside's count of what came from anywhere, and of the marker.
const OUTSIDE: &str = "table inet count {
	counter marker { }
	counter others { }
	chain arrived {
		type filter hook prerouting priority -400; policy accept;
		iifname \"eth0\" icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query, mld2-listener-report } accept
		iifname \"eth0\" udp dport 9 counter name marker accept
		iifname \"eth0\" counter name others
	}
}
";

/// The namespaces with a proxy, and counters outside.
struct Scene {
    net: Net,
    proxy: Option<Server>,
}

/// Two sandboxes, each with its sources.
fn settings(ipv6: bool, mode: Mode) -> Settings {
    let interface = |text: &str| text.parse::<Interface>().unwrap();
    let interfaces = vec![interface("veth-1=10.200.1.2,fd00:1::2"), interface("veth-2=10.200.2.2,fd00:2::2")];
    let who = Who::Interfaces { interfaces, mode, gateway: Vec::new() };
    let ports = Ports { admin: Some(9901), explicit: Some(3128), ..Ports::default() };
    Settings { who, ipv6, ports }
}

impl Scene {
    /// Rules are loaded, and a proxy runs.
    async fn new(settings: &Settings) -> Option<Self> {
        let net = Net::new()?;
        net.load_at(At::Outside, OUTSIDE);
        let printed = table(settings).to_string();
        net.load(&printed);
        let tproxy = matches!(&settings.who, Who::Interfaces { mode: Mode::TProxy, .. });
        let commands: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("#   ")).collect();
        assert_eq!(commands.len(), if tproxy { 9 } else { 5 }, "{printed}");
        for command in commands {
            net.run(At::Gateway, &command.split(' ').collect::<Vec<_>>());
        }
        let script = PROXY
            .replace("PORTS", "[15001, 15053, 3128, 9901, 22]")
            .replace("TRANSPARENT", if tproxy { "True" } else { "False" })
            .replace("UDP", "'::'");
        let proxy = net.server(At::Gateway, &script);
        proxy.prints("ready").await;
        Some(Self { net, proxy: Some(proxy) })
    }

    /// What an expression of the client gives in a namespace.
    fn client(&self, at: At, expression: &str) -> String {
        self.net.python(at, &format!("{CLIENT}\nprint({expression})"))
    }

    /// The same of several expressions, one after the other.
    fn clients<S: AsRef<str>>(&self, at: At, expressions: &[S]) -> Vec<String> {
        let all: Vec<&str> = expressions.iter().map(AsRef::as_ref).collect();
        let printed =
            self.net.run(at, &["python3", "-c", &format!("{CLIENT}\nprint({}, sep='\\n')", all.join(", "))]);
        let answers: Vec<String> = printed.lines().map(str::to_owned).collect();
        assert_eq!(answers.len(), expressions.len(), "{printed}");
        answers
    }

    /// All of these expressions give the same.
    fn all_give<S: AsRef<str>>(&self, at: At, expressions: &[S], answer: &str) {
        for (expression, given) in expressions.iter().zip(self.clients(at, expressions)) {
            assert_eq!(given, answer, "{at:?} {}", expression.as_ref());
        }
    }

    /// How many packets came to the outside, apart from the marker that this sends behind them.
    async fn outside(&self) -> u64 {
        let count = |name: &str| {
            let listed = self.net.run(At::Outside, &["nft", "-j", "list", "counter", "inet", "count", name]);
            let listed: Value = serde_json::from_str(&listed).unwrap();
            listed["nftables"][1]["counter"]["packets"].as_u64().unwrap()
        };
        let before = count("marker");
        let send =
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.2', 9))";
        self.net.python(At::Gateway, send);
        let counted = async {
            while count("marker") == before {
                tokio::task::yield_now().await;
            }
        };
        within("the marker outside", counted).await;
        count("others")
    }

    /// What reached the proxy so far.
    fn reached(&self) -> Vec<String> {
        self.proxy.as_ref().map(|proxy| proxy.stdout.all()).unwrap_or_default()
    }

    /// Waits until the proxy saw this.
    async fn sees(&self, part: &str) {
        self.proxy.as_ref().unwrap().prints(part).await;
    }
}

#[tokio::test]
async fn without_the_rules_and_with_forwarding_everything_here_would_pass() {
    let Some(net) = Net::new() else { return };
    net.load_at(At::Outside, OUTSIDE);
    net.forwarding(true);
    let scene = Scene { net, proxy: None };
    assert_eq!(scene.client(At::One, "tcp('192.0.2.2', 443)"), "ECONNREFUSED");
    assert_eq!(scene.client(At::One, "tcp('2001:db8::2', 443)"), "ECONNREFUSED");
    assert_eq!(scene.client(At::One, "tcp('10.200.2.2', 80)"), "ECONNREFUSED");
    assert_eq!(scene.client(At::One, "udp('192.0.2.2', 443)"), "ECONNREFUSED");
    assert_eq!(scene.outside().await, 3);
}

#[tokio::test]
async fn tcp_to_any_address_and_port_comes_to_the_proxy_with_its_destination() {
    for mode in [Mode::Redirect, Mode::TProxy] {
        let Some(scene) = Scene::new(&settings(true, mode)).await else { return };
        for (at, from, other) in [(At::One, 1, 2), (At::Two, 2, 1)] {
            let targets = [
                ("93.184.216.34".to_owned(), 443),
                ("192.0.2.2".to_owned(), 80),
                (format!("10.200.{other}.2"), 22),
                ("2606:2800::1".to_owned(), 443),
                ("2001:db8::2".to_owned(), 8443),
            ];
            let expressions = targets.clone().map(|(host, port)| format!("tcp('{host}', {port})"));
            scene.all_give(at, &expressions, "port 15001");
            for (host, port) in targets {
                let source =
                    if host.contains(':') { format!("fd00:{from}::2") } else { format!("10.200.{from}.2") };
                scene.sees(&format!("tcp 15001 from {source} to {host} {port}")).await;
            }
        }
        assert_eq!(scene.outside().await, 0, "{mode:?}");
    }
}

#[tokio::test]
async fn dns_to_any_server_is_answered_by_the_gateway() {
    for mode in [Mode::Redirect, Mode::TProxy] {
        let Some(scene) = Scene::new(&settings(true, mode)).await else { return };
        let hosts = ["8.8.8.8", "10.200.1.1", "2001:4860:4860::8888", "fd00:1::1"];
        for protocol in ["udp", "tcp"] {
            scene.all_give(At::One, &hosts.map(|host| format!("{protocol}('{host}', 53)")), "port 15053");
        }
        assert_eq!(scene.outside().await, 0, "{mode:?}");
    }
}

#[tokio::test]
async fn r2_a_sandbox_that_floods_does_not_fill_the_table_of_connections() {
    let Some(scene) = Scene::new(&settings(true, Mode::Redirect)).await else { return };
    let flood = "
import socket, time
begun = time.monotonic()
for port in range(20000, 50000):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.bind(('0.0.0.0', port))
        flood.sendto(b'x', ('192.0.2.2', 53))
print(time.monotonic() - begun)
";
    let took: f64 = scene.net.python(At::One, flood).parse().unwrap();
    let count = scene.net.run(At::Gateway, &["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]);
    let count: f64 = count.trim().parse().unwrap();
    assert!(count < 10_000.0 + 5_000.0 * took + 1_000.0, "{count} after {took} s");
    assert_eq!(scene.client(At::Two, "udp('192.0.2.2', 53)"), "port 15053");
}

#[tokio::test]
async fn udp_to_any_port_is_refused_at_once() {
    for mode in [Mode::Redirect, Mode::TProxy] {
        let Some(scene) = Scene::new(&settings(true, mode)).await else { return };
        for host in ["93.184.216.34", "2606:2800::1", "10.200.1.1", "10.200.2.2"] {
            // More at once than the kernel tells of by default, as a browser would try.
            let answers = scene
                .client(At::One, &format!("burst('{host}', [443, 853, 123, 9901, 15053, 1] + [443] * 94)"));
            let (errors, slowest) = answers.split_once(' ').unwrap();
            assert_eq!(errors, "ECONNREFUSED", "{mode:?} {host}");
            assert!(slowest.parse::<f64>().unwrap() < 0.1, "{mode:?} {host}: {slowest} s");
        }
        assert_eq!(scene.outside().await, 0, "{mode:?}");
        let reached = scene.reached();
        assert!(!reached.iter().any(|line| line.starts_with("udp")), "{reached:#?}");
    }
}

#[tokio::test]
async fn a_source_that_is_not_the_sandboxs_own_goes_nowhere() {
    let Some(scene) = Scene::new(&settings(true, Mode::Redirect)).await else { return };
    let mut sent = Vec::new();
    // A second address of the same network, one of the other sandbox, of the gateway, of the outside.
    for (source, host) in [
        ("10.200.1.77", "8.8.8.8"),
        ("10.200.2.2", "8.8.8.8"),
        ("10.200.1.1", "8.8.8.8"),
        ("192.0.2.2", "8.8.8.8"),
        ("fd00:1::77", "2001:db8::2"),
        ("fd00:2::2", "2001:db8::2"),
        ("2001:db8::2", "fd00:1::1"),
    ] {
        sent.push(format!("spoofed('{source}', '{host}', 53, b'{source}')"));
    }
    scene.clients(At::One, &sent);
    // From the same queue, behind them.
    for host in ["8.8.8.8", "fd00:1::1"] {
        assert_eq!(scene.client(At::One, &format!("udp('{host}', 53)")), "port 15053");
    }
    let mut reached = scene.reached();
    reached.retain(|line| line != "ready");
    assert_eq!(reached, ["udp 15053 from 10.200.1.2 hello", "udp 15053 from fd00:1::2 hello"]);
    assert_eq!(scene.outside().await, 0);
}

#[tokio::test]
async fn p6_nothing_on_the_gateway_is_reached_but_the_proxys_own_ports() {
    let Some(scene) = Scene::new(&settings(true, Mode::Redirect)).await else { return };
    for host in ["10.200.1.1", "10.200.2.1", "192.0.2.1", "fd00:1::1", "2001:db8::1"] {
        // What is meant for the admin server or another service comes to the proxy, which knows its own addresses.
        let ports = [9901, 22, 15053];
        scene.all_give(At::One, &ports.map(|port| format!("tcp('{host}', {port})")), "port 15001");
        for port in ports {
            scene.sees(&format!("to {host} {port}")).await;
        }
        assert_eq!(scene.client(At::One, &format!("tcp('{host}', 3128)")), "port 3128", "{host}");
    }
    // Straight to the transparent port, nothing has to be rewritten: that is how it is told apart.
    for host in ["10.200.1.1", "fd00:1::1"] {
        assert_eq!(scene.client(At::One, &format!("tcp('{host}', 15001)")), "ECONNREFUSED", "{host}");
    }
    // Even with the redirection gone, the input chain stands.
    scene.net.run(At::Gateway, &["nft", "flush", "chain", "inet", "sluicegate", "divert"]);
    for host in ["10.200.1.1", "10.200.2.1", "192.0.2.1", "fd00:1::1", "2001:db8::1"] {
        for port in [9901, 22, 15001, 15053] {
            assert_eq!(
                scene.client(At::One, &format!("tcp('{host}', {port})")),
                "ECONNREFUSED",
                "{host} {port}"
            );
        }
    }
    let reached = scene.reached();
    let own = ["tcp 15001", "tcp 3128", "ready"];
    assert!(reached.iter().all(|line| own.iter().any(|own| line.starts_with(own))), "{reached:#?}");
    assert_eq!(scene.outside().await, 0);
}

#[tokio::test]
async fn nothing_passes_while_the_proxy_is_dead_whether_the_kernel_forwards_or_not() {
    for mode in [Mode::Redirect, Mode::TProxy] {
        let Some(mut scene) = Scene::new(&settings(true, mode)).await else { return };
        assert_eq!(scene.client(At::One, "tcp('192.0.2.2', 443)"), "port 15001");
        scene.proxy.take().unwrap().end().await;
        for forwarding in [false, true] {
            scene.net.forwarding(forwarding);
            let hosts = ["192.0.2.2", "2001:db8::2", "10.200.2.2", "fd00:2::2", "93.184.216.34"];
            for protocol in ["tcp", "udp"] {
                let all = hosts.map(|host| format!("{protocol}('{host}', 443)"));
                scene.all_give(At::One, &all, "ECONNREFUSED");
            }
            // Echo requests, SCTP, IP in IP, and TCP without a beginning.
            let others = [
                "raw('192.0.2.2', 1)",
                "raw('192.0.2.2', 132)",
                "raw('192.0.2.2', 4)",
                "raw('10.200.2.2', 1)",
                "raw('2001:db8::2', 132)",
                r"raw('2001:db8::2', 58, b'\x80\0\0\0\0\0\0\0')",
                r"raw('192.0.2.2', 6, b'\x30\x39\x01\xbb' + bytes(8) + b'\x50\x10\x20\0' + bytes(4))",
            ];
            scene.all_give(At::One, &others, "sent");
            assert_eq!(scene.outside().await, 0, "{mode:?} {forwarding}");
        }
    }
}

#[tokio::test]
async fn what_comes_from_outside_reaches_no_sandbox() {
    let Some(scene) = Scene::new(&settings(true, Mode::Redirect)).await else { return };
    scene.net.forwarding(true);
    scene.net.load_at(At::One, &OUTSIDE.replace("icmpv6 type {", "icmpv6 type { nd-redirect,"));
    for host in ["10.200.1.2", "fd00:1::2"] {
        let given_up = scene.client(At::Outside, &format!("tcp('{host}', 22, 0.3)"));
        assert_eq!(given_up, "timeout", "{host}");
    }
    // The gateway itself may, and gets its answers.
    for host in ["10.200.1.2", "fd00:1::2"] {
        assert_eq!(scene.client(At::Gateway, &format!("tcp('{host}', 22)")), "ECONNREFUSED", "{host}");
        assert_eq!(scene.client(At::Gateway, &format!("udp('{host}', 22)")), "ECONNREFUSED", "{host}");
    }
    let counted = scene.net.run(At::One, &["nft", "-j", "list", "counter", "inet", "count", "others"]);
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["nftables"][1]["counter"]["packets"], 4, "only what the gateway sent");
}

#[tokio::test]
async fn with_ipv6_off_all_of_it_is_dropped() {
    let Some(scene) = Scene::new(&settings(false, Mode::Redirect)).await else { return };
    scene.net.forwarding(true);
    for host in ["2001:db8::2", "fd00:1::1", "fd00:2::2"] {
        let ports = [443, 53, 9901];
        for protocol in ["tcp", "udp"] {
            let all = ports.map(|port| format!("{protocol}('{host}', {port}, 0.3)"));
            for answer in scene.clients(At::One, &all) {
                assert!(answer == "timeout" || answer == "EHOSTUNREACH", "{protocol} {host}: {answer}");
            }
        }
    }
    assert_eq!(scene.client(At::One, "tcp('192.0.2.2', 443)"), "port 15001");
    let reached = scene.reached();
    assert!(reached.iter().all(|line| !line.contains("fd00")), "{reached:#?}");
    assert_eq!(scene.outside().await, 0);
}

#[tokio::test]
async fn a_sidecar_lets_only_the_proxys_user_out() {
    let Some(net) = Net::new() else { return };
    net.load_at(At::Outside, OUTSIDE);
    let ports = Ports { admin: Some(9901), ..Ports::default() };
    let settings = Settings { who: Who::EveryoneBut(65532), ipv6: false, ports };
    // The gateway's namespace is the pod, and the outside is outside.
    net.load(&table(&settings).to_string());
    // Bound to loopback, or the kernel would choose another source for its answers than the one that was asked.
    let script = PROXY
        .replace("PORTS", "[15001, 15053, 8080, 9901]")
        .replace("TRANSPARENT", "False")
        .replace("UDP", "'::ffff:127.0.0.1'");
    let proxy = net.server(At::Gateway, &script);
    proxy.prints("ready").await;
    let scene = Scene { net, proxy: Some(proxy) };
    let as_user = |uid: u32, expressions: &[&str]| {
        let first = format!("os.setgroups([]) or os.setuid({uid}) or {}", expressions[0]);
        let all: Vec<&str> = [first.as_str()].into_iter().chain(expressions[1..].iter().copied()).collect();
        scene.clients(At::Gateway, &all)
    };
    for uid in [1000, 0] {
        for (answer, expressions) in [
            ("port 15001", &["tcp('192.0.2.2', 443)", "tcp('192.0.2.2', 22)"][..]),
            ("port 15053", &["tcp('192.0.2.2', 53)", "udp('192.0.2.2', 53)", "udp('127.0.0.1', 53)"]),
            ("port 8080", &["tcp('127.0.0.1', 8080)", "tcp('192.0.2.1', 8080)", "tcp('::1', 8080)"]),
            (
                "ECONNREFUSED",
                &[
                    "tcp('127.0.0.1', 9901)",
                    "tcp('127.0.0.1', 15001)",
                    "tcp('192.0.2.1', 9901)",
                    "tcp('::1', 9901)",
                    "tcp('2001:db8::2', 443)",
                ],
            ),
        ] {
            for (expression, given) in expressions.iter().zip(as_user(uid, expressions)) {
                assert_eq!(given, answer, "{uid} {expression}");
            }
        }
        let udp = ["udp('192.0.2.2', 443)", "udp('2001:db8::2', 443)", "udp('2001:db8::2', 53)"];
        for answer in as_user(uid, &udp) {
            assert!(answer == "ECONNREFUSED" || answer == "EPERM", "{uid}: {answer}");
        }
    }
    scene.sees("tcp 15001 from 192.0.2.1 to 192.0.2.2 443").await;
    assert_eq!(scene.client(At::Gateway, "raw('192.0.2.2', 1)"), "EPERM");
    // By the outside itself.
    let refused = as_user(65532, &["tcp('192.0.2.2', 443)", "tcp('2001:db8::2', 443)"]);
    assert_eq!(refused, ["ECONNREFUSED", "ECONNREFUSED"]);
    let counted = scene.net.run(At::Outside, &["nft", "-j", "list", "counter", "inet", "count", "others"]);
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["nftables"][1]["counter"]["packets"], 2, "only what the proxy's user sent");
}

#[tokio::test]
async fn rules_that_are_loaded_are_proven_and_a_bridge_is_seen() {
    let Some(net) = Net::new() else { return };
    let settings = settings(true, Mode::Redirect);
    net.load(&table(&settings).to_string());
    let observed = |members: Vec<(String, String)>| Observed {
        ruleset: Ok(net.listing()),
        forwarding: vec!["net.ipv4.ip_forward".to_owned()],
        members,
    };
    assert_eq!(judge(&settings, &observed(Vec::new())), Verdict::Proven);
    assert!(!judge(&settings, &observed(vec![("veth-1".into(), "br0".into())])).holds());
}

#[tokio::test]
async fn a_gateway_that_requires_enforcement_is_ready_only_while_the_rules_are_loaded() {
    let Some(net) = Net::new() else { return };
    let place = Place::with("mode: Limited\n");
    let config = "policy: {path: policy.yaml}
listeners: [{address: 127.0.0.1:3128}]
admin: {address: 127.0.0.1:9901, socket: admin.sock}
capture: {interfaces: [{name: \"veth-*\"}]}
";
    place.write("gate.yaml", config);
    let start = async |more: &[&str]| {
        let words = [BINARY, "run", "--config", "gate.yaml"].into_iter().chain(more.iter().copied());
        let mut command = tokio::process::Command::from(net.command(At::Gateway, &words.collect::<Vec<_>>()));
        command.current_dir(place.path("")).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Process::spawn(command).await
    };
    let code = |words: &[&str]| {
        let words: Vec<&str> = [BINARY].iter().chain(words).copied().collect();
        net.output(At::Gateway, &words).status.code()
    };
    let get = |path: &str| {
        let ask = format!(
            "import socket\ns = socket.socket(socket.AF_UNIX); s.connect({:?})\ns.sendall(b'GET {path} HTTP/1.0\\r\\n\\r\\n')\nprint(b''.join(iter(lambda: s.recv(65536), b'')).decode())",
            place.text("admin.sock")
        );
        net.run(At::Gateway, &["python3", "-c", &ask])
    };
    let load = |line: &str| {
        let words: Vec<&str> = ["nft"].into_iter().chain(line.split(' ')).collect();
        net.run(At::Gateway, &words);
    };

    // Nothing is asked for, and there is nothing to prove: nothing is told.
    let mut plain = start(&[]).await;
    assert_eq!(code(&["health", "--ready"]), Some(0));
    assert!(!get("/metrics").contains("enforcement_ok") && !get("/readyz").contains("enforcement"));
    plain.signal(Signal::TERM);
    plain.ended().await;

    let gateway = start(&["--require-enforcement"]).await;
    gateway.logs("there is no table `inet sluicegate`").await;
    assert_eq!((code(&["health"]), code(&["health", "--ready"])), (Some(0), Some(1)));
    assert!(get("/metrics").contains("sluicegate_enforcement_ok 0"));
    let told = get("/readyz");
    assert!(told.starts_with("HTTP/1.0 503") && told.contains("nothing is captured"), "{told}");

    let printed = net.run(At::Gateway, &[BINARY, "nft", "print", "--config", &place.text("gate.yaml")]);
    net.load(&printed);
    gateway.signal(Signal::HUP);
    gateway.logs("every rule is loaded").await;
    assert_eq!(code(&["health", "--ready"]), Some(0));
    assert!(get("/metrics").contains("sluicegate_enforcement_ok 1"));
    let told = get("/readyz");
    assert!(told.starts_with("HTTP/1.0 200") && told.contains("every rule is loaded"), "{told}");

    // It finds out by itself, too.
    load("add chain inet sluicegate forward { policy accept ; }");
    gateway.logs("the policy of chain `forward`").await;
    assert_eq!(code(&["health", "--ready"]), Some(1));
    assert!(get("/metrics").contains("sluicegate_enforcement_ok 0"));
}

#[tokio::test]
async fn a_sidecar_that_is_not_the_user_whom_the_rules_let_out_is_not_proven() {
    let Some(net) = Net::new() else { return };
    let place = Place::with("mode: Limited\n");
    let config = "policy: {path: policy.yaml}
listeners: [{address: 127.0.0.1:3128}]
admin: {address: 127.0.0.1:9901}
capture: {sidecarUid: 65532}
";
    place.write("gate.yaml", config);
    let printed = net.run(At::Gateway, &[BINARY, "nft", "print", "--config", &place.text("gate.yaml")]);
    net.load(&printed);
    let words = [BINARY, "run", "--config", "gate.yaml", "--require-enforcement"];
    let mut command = tokio::process::Command::from(net.command(At::Gateway, &words));
    command.current_dir(place.path("")).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let gateway = Process::spawn(command).await;
    gateway.logs("65532, and this process is user 0").await;
    assert_eq!(net.output(At::Gateway, &[BINARY, "health", "--ready"]).status.code(), Some(1));
}
