//! UDP and QUIC through the whole system: refused at once, so that clients turn to TCP.

use crate::kit::tool;
use crate::system::SYSTEM;
use crate::topology::Topology;

/// Everything is allowed: it is not the policy that refuses UDP.
const OPEN: &str = "mode: Unrestricted\n";

#[tokio::test]
async fn udp_to_any_port_is_refused_within_milliseconds() {
    const MANY: &str = "
for host in ['93.184.216.34', '2600:1f18::34', '10.200.1.1', '10.200.2.2', 'fd00:200:2::2']:
    slowest, said = 0, set()
    for port in [443, 853, 80, 123, 9901, 15053, 3478] + [443] * 93:
        begun = time.monotonic()
        said.add(udp(host, port, wait=2))
        slowest = max(slowest, time.monotonic() - begun)
    print(host, *said, 'late' if slowest > 0.1 else 'soon')
";
    let Some(net) = Topology::system("udp", OPEN, SYSTEM).await else { return };
    for line in net.python(1, MANY).await {
        assert!(line.ends_with(" ECONNREFUSED soon"), "{line}");
    }
    assert_eq!(net.counted().await, (0, 0));
}

#[tokio::test]
async fn a_quic_client_fails_within_milliseconds_instead_of_its_timeout() {
    // A connected socket, as browsers have it; `aioquic.asyncio.connect` has none, and no ICMP message is told to such a
    // one on Linux.
    const QUIC: &str = "
import asyncio, socket, sys, time
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

class Client(QuicConnectionProtocol):
    def error_received(self, error): told.set_result(type(error).__name__)

async def main(host):
    global told
    told = asyncio.get_running_loop().create_future()
    quic = QuicConnection(configuration=QuicConfiguration(alpn_protocols=['h3'], server_name='good.test'))
    begun = time.monotonic()
    loop = asyncio.get_running_loop()
    _, client = await loop.create_datagram_endpoint(lambda: Client(quic), remote_addr=(host, 443))
    client.connect((host, 443) if '.' in host else (host, 443, 0, 0))
    done, _ = await asyncio.wait([told, asyncio.ensure_future(client.wait_connected())], timeout=20,
                                 return_when=asyncio.FIRST_COMPLETED)
    print(host, told.result() if told.done() else done, 'soon' if time.monotonic() - begun < 0.5 else 'late')

for host in sys.argv[1:]: asyncio.run(main(host))
";
    let Some(python) = tool::find("python") else { return };
    let Some(net) = Topology::system("quic", OPEN, SYSTEM).await else { return };
    let hosts = ["93.184.216.34", "2600:1f18::34"];
    let ran = net.run(1, python.to_str().unwrap(), ["-c", QUIC, hosts[0], hosts[1]]).await;
    let expected = hosts.map(|host| format!("{host} ConnectionRefusedError soon\n")).concat();
    assert_eq!(ran.stdout, expected, "{}", ran.stderr);
    assert_eq!(net.counted().await, (0, 0));
}
