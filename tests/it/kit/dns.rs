//! A name server on loopback, UDP and TCP, that says what a test tells it to and counts who asks.
//!
//! ```ignore
//! let dns = Dns::start().await;
//! dns.says("www.example.com", Answer::addresses(["127.0.0.8"]));
//! dns.says_in_turn("rebind.example.com", [Answer::addresses(["127.0.0.8"]).ttl(0), Answer::NxDomain.into()]);
//! assert_eq!(dns.queries("www.example.com"), 0);
//! ```
//! Names that it was not told about do not exist. Aliases within its names are followed, as a
//! recursive server would.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Seen, background, within};

/// What a name answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// These addresses, each to the query of its own family.
    Addresses {
        /// IPv4 and IPv6 addresses.
        addresses: Vec<IpAddr>,
        /// Seconds they may be kept.
        ttl: u32,
        /// Whether UDP gives an empty truncated answer, so that TCP must be asked.
        truncated: bool,
    },
    /// These records, each to the query of its own type, to be kept a minute.
    Records(Vec<RData>),
    /// An alias of another name.
    Alias(String),
    /// The name does not exist.
    NxDomain,
    /// The name exists and has no address.
    NoData,
    /// The server cannot answer.
    ServFail,
    /// The server does not want to answer.
    Refused,
    /// No answer at all.
    Silent,
    /// Bytes that are no DNS message.
    Garbage,
    /// One answer to A and another to AAAA.
    Families(Box<Answer>, Box<Answer>),
}

impl Answer {
    /// These addresses, to be kept a minute.
    pub fn addresses<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Self {
        let addresses = addresses.into_iter().map(|text| text.parse().expect("an IP address")).collect();
        Self::Addresses { addresses, ttl: 60, truncated: false }
    }

    /// An alias of `name`.
    pub fn alias(name: &str) -> Self {
        Self::Alias(name.to_owned())
    }

    /// One answer to A queries, another to AAAA queries.
    pub fn by_family(v4: Self, v6: Self) -> Self {
        Self::Families(Box::new(v4), Box::new(v6))
    }

    /// The same addresses, to be kept `seconds`.
    pub fn ttl(self, seconds: u32) -> Self {
        match self {
            Self::Addresses { addresses, truncated, .. } => {
                Self::Addresses { addresses, ttl: seconds, truncated }
            }
            other => panic!("{other:?} has no TTL"),
        }
    }

    /// The same addresses, over TCP only.
    pub fn truncated_over_udp(self) -> Self {
        match self {
            Self::Addresses { addresses, ttl, .. } => Self::Addresses { addresses, ttl, truncated: true },
            other => panic!("{other:?} cannot be truncated"),
        }
    }
}

/// A query for the records of one type of a name.
pub fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

/// What a server on `door` answers that with, over UDP.
pub async fn look_up(door: SocketAddr, name: &str, kind: RecordType) -> Message {
    let socket = UdpSocket::bind((door.ip(), 0)).await.expect("a port");
    let bytes = query(name, kind).to_vec().expect("a message");
    socket.send_to(&bytes, door).await.expect("to send");
    let mut buffer = [0; 4096];
    let length = within("an answer", socket.recv(&mut buffer)).await.expect("an answer");
    Message::from_vec(&buffer[..length]).expect("a message")
}

/// One query that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The name, lower case, without the last dot.
    pub name: String,
    /// The type.
    pub kind: RecordType,
    /// Whether it came over TCP.
    pub over_tcp: bool,
    /// From where.
    pub from: SocketAddr,
}

/// The server; it stops when dropped.
pub struct Dns {
    /// Where it listens, UDP and TCP.
    address: SocketAddr,
    /// What it says and has seen.
    state: Arc<State>,
    /// Its loops.
    _tasks: JoinSet<()>,
}

/// What the loops share.
struct State {
    /// The answers of each name, in turn; the last one stays.
    zone: Mutex<HashMap<String, Vec<Answer>>>,
    /// How many answers each name and type has had.
    turns: Mutex<HashMap<(String, RecordType), usize>>,
    /// Every query.
    asked: Seen<Asked>,
    /// Whether answers wait.
    held: watch::Sender<bool>,
}

impl Dns {
    /// Starts a server that knows no name yet.
    pub async fn start() -> Self {
        Self::over(bind_both().await)
    }

    /// The same on this address.
    pub async fn start_on(address: SocketAddr) -> Self {
        let sockets = {
            let _on_background = background().enter();
            let udp = UdpSocket::bind(address).await.expect("a UDP port");
            (udp, TcpListener::bind(address).await.expect("a TCP port"))
        };
        Self::over(sockets)
    }

    /// Runs on these sockets.
    fn over((udp, tcp): (UdpSocket, TcpListener)) -> Self {
        let address = udp.local_addr().expect("a bound socket");
        let state = State {
            zone: Mutex::default(),
            turns: Mutex::default(),
            asked: Seen::new(),
            held: watch::Sender::new(false),
        };
        let state = Arc::new(state);
        let mut tasks = JoinSet::new();
        tasks.spawn_on(serve_udp(udp, Arc::clone(&state)), background());
        tasks.spawn_on(serve_tcp(tcp, Arc::clone(&state)), background());
        Self { address, state, _tasks: tasks }
    }

    /// Where it listens, UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on, `name` answers this.
    pub fn says(&self, name: &str, answer: Answer) {
        self.says_in_turn(name, [answer]);
    }

    /// From here on, `name` answers these, one a query of each type; the last one stays.
    pub fn says_in_turn(&self, name: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers: Vec<_> = answers.into_iter().collect();
        assert!(!answers.is_empty(), "`{name}` needs an answer");
        let name = name.to_ascii_lowercase();
        self.state.turns.lock().unwrap().retain(|(known, _), _| *known != name);
        self.state.zone.lock().unwrap().insert(name, answers);
    }

    /// From here on, queries arrive and are counted, and their answers wait for [`Self::release`].
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    /// Sends the answers that wait, and no later one waits.
    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// How often `name` was asked for, all types together.
    pub fn queries(&self, name: &str) -> usize {
        self.state.asked.all().iter().filter(|asked| asked.name == name).count()
    }

    /// How often anything was asked for.
    pub fn total_queries(&self) -> usize {
        self.state.asked.count()
    }

    /// Every query, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.all()
    }

    /// Waits until `name` is asked for.
    pub async fn wait_for_query(&self, name: &str) {
        let found = |all: &[Asked]| all.iter().any(|asked| asked.name == name);
        self.state.asked.wait_until(&format!("a DNS query for `{name}`"), found).await;
    }
}

/// A UDP and a TCP socket on the same free port.
async fn bind_both() -> (UdpSocket, TcpListener) {
    let _on_background = background().enter();
    for _ in 0..64 {
        let udp = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 9), 0)).await.expect("a UDP port");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("a bound socket")).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

/// Answers datagrams.
async fn serve_udp(socket: UdpSocket, state: Arc<State>) {
    let (mut buffer, socket) = (vec![0; 64 * 1024], Arc::new(socket));
    let mut answers = JoinSet::new();
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = state.answer(&buffer[..length], client, false) {
            let (state, socket) = (Arc::clone(&state), Arc::clone(&socket));
            answers.spawn(async move {
                state.until_released().await;
                let _ = socket.send_to(&answer, client).await;
            });
        }
    }
}

/// Answers connections, each with any number of queries.
async fn serve_tcp(listener: TcpListener, state: Arc<State>) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        clients.spawn(async move {
            let _ = converse(stream, &state).await;
        });
    }
}

/// Answers the queries of one connection.
async fn converse(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let client = stream.peer_addr()?;
    loop {
        let mut query = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut query).await?;
        if let Some(answer) = state.answer(&query, client, true) {
            state.until_released().await;
            stream.write_u16(u16::try_from(answer.len()).expect("a DNS message")).await?;
            stream.write_all(&answer).await?;
        }
    }
}

impl State {
    /// Completes while answers are not held.
    async fn until_released(&self) {
        let _ = self.held.subscribe().wait_for(|held| !held).await;
    }

    /// The bytes that answer these, or nothing.
    fn answer(&self, query: &[u8], from: SocketAddr, over_tcp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?.clone();
        let kind = question.query_type();
        let mut name = text_of(question.name());
        self.asked.push(Asked { name: name.clone(), kind, over_tcp, from });
        let mut reply = Message::response(query.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = query.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(question);
        for _ in 0..100 {
            let (owner, answer) = (absolute(&name), self.turn(&name, kind, over_tcp));
            match answer {
                Answer::Alias(target) => {
                    let alias = RData::CNAME(CNAME(absolute(&target)));
                    reply.add_answer(Record::from_rdata(owner, 60, alias));
                    if kind == RecordType::CNAME {
                        break;
                    }
                    name = target.to_ascii_lowercase();
                    continue;
                }
                Answer::Addresses { truncated: true, .. } if !over_tcp => {
                    reply.metadata.truncation = true;
                    reply.answers.clear();
                }
                Answer::Addresses { addresses, ttl, .. } => {
                    let records = addresses.iter().map(|address| match address {
                        IpAddr::V4(v4) => RData::A(A(*v4)),
                        IpAddr::V6(v6) => RData::AAAA(AAAA(*v6)),
                    });
                    let of_kind = records.filter(|data| data.record_type() == kind);
                    reply.add_answers(of_kind.map(|data| Record::from_rdata(owner.clone(), ttl, data)));
                }
                Answer::Records(records) => {
                    let of_kind = records.into_iter().filter(|data| data.record_type() == kind);
                    reply.add_answers(of_kind.map(|data| Record::from_rdata(owner.clone(), 60, data)));
                }
                Answer::NxDomain => reply.metadata.response_code = ResponseCode::NXDomain,
                Answer::NoData => {}
                Answer::ServFail => reply.metadata.response_code = ResponseCode::ServFail,
                Answer::Refused => reply.metadata.response_code = ResponseCode::Refused,
                Answer::Silent => return None,
                Answer::Garbage => return Some(b"no DNS message".to_vec()),
                Answer::Families(..) => unreachable!("turn() has chosen one"),
            }
            break;
        }
        Some(reply.to_vec().expect("an answer that fits"))
    }

    /// The answer whose turn it is for `name`.
    fn turn(&self, name: &str, kind: RecordType, over_tcp: bool) -> Answer {
        let zone = self.zone.lock().unwrap();
        let Some(answers) = zone.get(name) else { return Answer::NxDomain };
        let mut turns = self.turns.lock().unwrap();
        let turn = turns.entry((name.to_owned(), kind)).or_default();
        let answer = answers.get(*turn).or(answers.last()).expect("at least one answer").clone();
        // A truncated answer is the same turn as the one over TCP that follows it.
        if over_tcp || !matches!(answer, Answer::Addresses { truncated: true, .. }) {
            *turn += 1;
        }
        match answer {
            Answer::Families(v4, v6) => {
                if kind == RecordType::AAAA {
                    *v6
                } else {
                    *v4
                }
            }
            answer => answer,
        }
    }
}

/// A name with its last dot.
fn absolute(name: &str) -> Name {
    let mut name = Name::from_str(name).expect("a DNS name");
    name.set_fqdn(true);
    name
}

/// A name as tests write it.
fn text_of(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}
