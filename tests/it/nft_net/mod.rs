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

mod gateway;
mod proven;
mod sidecar;

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
