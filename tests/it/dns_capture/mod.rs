//! Queries of sandboxes to a listener of `kind: Dns`, over UDP and TCP.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::svcb::{Alpn, EchConfigList, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{HTTPS, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::Value;
use sluicegate::app::StartError;
use sluicegate::config::{Config, ListenerKind, ListenerSettings, SandboxSettings};
use sluicegate::policy::Limit;
use sluicegate::proxy::dns::{Denied, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::kit::client::Client;
use crate::kit::dns::{Answer, query};
use crate::kit::gateway::Gateway;
use crate::kit::{tool, within};

mod answers;
mod denied;
mod messages;
mod running;
mod tenants;

/// Settings under which no name is too much by accident.
const FREE: Settings = Settings {
    distinct_names_per_minute: 100_000,
    max_name_bytes: 253,
    max_label_bits: 400,
    ..Settings::DEFAULT
};

/// A listener for queries on a free port.
fn listener(settings: Settings, sandbox: Option<&str>) -> ListenerSettings {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = ListenerSettings::new(address, ListenerKind::Dns(settings));
    ListenerSettings { sandbox: sandbox.map(Into::into), ..settings }
}

/// A gateway that answers queries.
async fn capture(policy: &str, settings: Settings) -> Gateway {
    Gateway::with(policy, |config| config.listeners.push(listener(settings, None))).await
}

/// Where a gateway answers queries; its first listener is the proxy.
fn door(gateway: &Gateway, place: usize) -> SocketAddr {
    gateway.running().listeners[1 + place]
}

/// Two sandboxes that are told apart by their listeners.
fn two(config: &mut Config, settings: Settings) {
    for id in ["a", "b"] {
        let (sources, token, group) = (Vec::new(), None, None);
        config.sandboxes.push(SandboxSettings {
            id: id.into(),
            group,
            sources,
            token,
            require_policy: false,
        });
        config.listeners.push(listener(settings, Some(id)));
    }
}

/// A client of a UDP listener.
struct Stub(UdpSocket);

impl Stub {
    /// One that asks there.
    async fn of(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind((address.ip(), 0)).await.unwrap();
        socket.connect(address).await.unwrap();
        Self(socket)
    }

    /// Sends bytes.
    async fn send(&self, bytes: &[u8]) {
        self.0.send(bytes).await.unwrap();
    }

    /// The next answer.
    async fn next(&self) -> Message {
        let mut buffer = vec![0; 65_535];
        let length = within("an answer", self.0.recv(&mut buffer)).await.unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    /// What a message is answered with.
    async fn tell(&self, message: &Message) -> Message {
        self.send(&message.to_vec().unwrap()).await;
        let answer = self.next().await;
        assert_eq!((answer.metadata.id, answer.metadata.message_type), (4711, MessageType::Response));
        answer
    }

    /// What a name is answered with.
    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.tell(&query(name, kind)).await
    }

    /// The code that a name is answered with.
    async fn code(&self, name: &str, kind: RecordType) -> ResponseCode {
        let answer = self.ask(name, kind).await;
        assert!(answer.answers.is_empty() || answer.metadata.response_code == ResponseCode::NoError);
        answer.metadata.response_code
    }
}

/// Sends a message over TCP.
async fn send(stream: &mut TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    let length = u16::try_from(bytes.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).await.unwrap();
}

/// The next answer over TCP.
async fn next(stream: &mut TcpStream) -> Message {
    let read = async {
        let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut bytes).await.unwrap();
        Message::from_vec(&bytes).unwrap()
    };
    within("an answer over TCP", read).await
}

/// The addresses in an answer, and its longest life.
fn addresses(answer: &Message) -> (Vec<String>, u32) {
    let all = answer.answers.iter();
    let found = all.clone().filter_map(|record| record.data.ip_addr()).map(|ip: IpAddr| ip.to_string());
    (found.collect(), all.map(|record| record.ttl).max().unwrap_or_default())
}

/// The records of queries.
async fn refusals(gateway: &Gateway, count: usize) -> Vec<Value> {
    let of_queries = |records: &[Value]| -> Vec<Value> {
        records.iter().filter(|record| record["kind"] == "query").cloned().collect()
    };
    let what = format!("{count} records of queries");
    let all = of_queries(&gateway.wait_for(&what, |records| of_queries(records).len() >= count).await);
    assert_eq!(all.len(), count, "{all:#?}");
    all
}

/// How often something was answered so.
async fn counted(gateway: &Gateway, result: &str) -> u64 {
    let (_, text) = gateway.admin_get("/metrics").await;
    let line = format!("sluicegate_dns_answers_total{{result=\"{result}\"}} ");
    text.lines().find_map(|found| found.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

/// Everything but what `says` denies.
const OPEN: &str = "mode: Unrestricted\nhostRules: [{pattern: denied.test, action: Deny}]\n";
