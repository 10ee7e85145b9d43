//! Names to addresses. Absolute names only, never the hosts file, never a search domain.
//!
//! Answers are cached for their TTL, at most [`DnsSettings::max_ttl`]; look-ups of one name that run
//! at the same time share one query. What an answer may cost is bounded: a chain of 8 aliases, 64
//! addresses, 64 KiB (the size of a DNS message), 5 seconds, and a fixed number of look-ups at once, for
//! everybody together and for each sandbox.
//!
//! The cache is the library's, but stands in front of these places and not behind them: what is in it waits for nobody.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::op::{Message, Query};
use hickory_resolver::proto::rr::{DNSClass, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Resolver as Inner, ResponseCache, TtlConfig};
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, MAX_ADDRESSES, UNREACHABLE, absolute, read};
use super::options::{OptionError, SocketOptions};
use super::runtime::Runtime;
use super::slot::{Slot, Slots};
use crate::addr::Name;

/// How many look-ups run at once; more wait within their own deadline.
pub const MAX_LOOKUPS: usize = 1024;
/// How many of them may be of one sandbox.
const MAX_LOOKUPS_EACH: usize = 128;
/// How many answers are kept.
const CACHED: u64 = 8192;

/// How names are resolved.
#[derive(Debug, Clone)]
pub struct DnsSettings {
    /// The servers; empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// The longest time an answer is kept.
    pub max_ttl: Duration,
    /// How long one look-up may take, all its queries together.
    pub timeout: Duration,
    /// How long IPv6 is waited for once IPv4 has answered (RFC 8305 §3).
    pub resolution_delay: Duration,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            max_ttl: Duration::from_mins(1),
            timeout: Duration::from_secs(5),
            resolution_delay: Duration::from_millis(50),
        }
    }
}

/// Why there is no resolver.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system names no usable server.
    #[error("the system names no DNS server ({0}); list some under `dns.servers`")]
    System(NetError),
    /// The resolver could not be built.
    #[error("the resolver cannot be built: {0}")]
    Build(NetError),
}

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// At least one and at most 64, IPv6 and IPv4 in turn, in the order to dial them in.
    pub addresses: Vec<IpAddr>,
}

/// Why a name has no addresses. Of two families, the more telling failure is given: the last
/// variant in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ResolveError {
    /// The name exists, and has nothing of what is asked for.
    #[error("the name has no address")]
    NoData,
    /// The name does not exist.
    #[error("the name does not exist")]
    NotFound,
    /// Its parent proxy resolves them, and nobody here may.
    #[error("only its parent proxy resolves names (`resolve: Remote`)")]
    Remote,
    /// Another failure: unreachable or refusing servers, malformed answers.
    #[error("the name could not be resolved: {0}")]
    Other(&'static str),
    /// The query could not be made to leave by its network.
    #[error("{0}")]
    Option(OptionError),
    /// No server answered in time.
    #[error("no DNS server answered in time")]
    Timeout,
    /// The servers say that they cannot answer.
    #[error("the DNS server could not answer (SERVFAIL)")]
    ServFail,
    /// The answer is beyond what a name may cost.
    #[error("the answer has more than 8 aliases or 64 addresses")]
    TooLarge,
}

impl ResolveError {
    /// The short code of this failure, for records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoData => "no_data",
            Self::NotFound => "not_found",
            Self::Remote => "remote",
            Self::Other(_) => "failed",
            Self::Option(error) => error.as_str(),
            Self::Timeout => "timeout",
            Self::ServFail => "servfail",
            Self::TooLarge => "too_large",
        }
    }
}

/// Resolves names. Clones share one cache.
#[derive(Clone)]
pub struct Resolver {
    /// The protocol and the sharing of queries.
    inner: Inner<Runtime>,
    /// What opens its sockets.
    runtime: Runtime,
    /// What was answered.
    cache: ResponseCache,
    /// Who is asked.
    servers: Arc<[SocketAddr]>,
    /// How long one look-up may take.
    timeout: Duration,
    /// How long IPv6 is waited for once IPv4 has answered.
    resolution_delay: Duration,
    /// The longest time an answer is kept, in seconds.
    max_ttl: u32,
    /// Bounds the look-ups that run at once.
    slots: Arc<Slots>,
}

impl Resolver {
    /// A resolver with an empty cache, whose queries leave as the system likes. Sends nothing yet.
    ///
    /// # Errors
    /// When the system's servers are asked for and it names none.
    pub fn new(settings: &DnsSettings) -> Result<Self, SetupError> {
        Self::leaving(settings, &SocketOptions::default())
    }

    /// The same, whose queries leave by the network of these options.
    ///
    /// # Errors
    /// When the system's servers are asked for and it names none.
    pub fn leaving(settings: &DnsSettings, sockets: &SocketOptions) -> Result<Self, SetupError> {
        let runtime = Runtime::new(sockets);
        let name_servers = if settings.servers.is_empty() {
            read_system_conf().map_err(SetupError::System)?.0.name_servers().to_vec()
        } else {
            settings.servers.iter().map(|server| name_server(*server)).collect()
        };
        let servers = name_servers
            .iter()
            .flat_map(|server| server.connections.iter().map(|way| SocketAddr::new(server.ip, way.port)));
        let mut servers: Vec<_> = servers.collect();
        servers.sort_unstable();
        servers.dedup();
        let config = ResolverConfig::from_name_servers(name_servers);
        let options = options(settings);
        let cache = ResponseCache::new(CACHED, TtlConfig::from_opts(&options));
        let inner = Inner::builder_with_config(config, runtime.clone())
            .with_options(options)
            .build()
            .map_err(SetupError::Build)?;
        let slots = Arc::new(Slots::new(MAX_LOOKUPS, MAX_LOOKUPS_EACH));
        let (timeout, resolution_delay) = (settings.timeout, settings.resolution_delay);
        let max_ttl = u32::try_from(settings.max_ttl.as_secs()).unwrap_or(u32::MAX);
        Ok(Self { inner, runtime, cache, servers: servers.into(), timeout, resolution_delay, max_ttl, slots })
    }

    /// The servers that are asked, for `guard_self`.
    #[must_use]
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.servers.to_vec()
    }

    /// The addresses of `name`, from the cache or from its servers, for `sandbox`.
    ///
    /// # Errors
    /// [`ResolveError`] when neither family has an address, or the answer is beyond its bounds.
    pub async fn resolve(&self, sandbox: &Arc<str>, name: &Name) -> Result<Resolution, ResolveError> {
        let deadline = Instant::now() + self.timeout;
        let [v4, v6] = [question(name, RecordType::A)?, question(name, RecordType::AAAA)?];
        let (v4, v6) = match (self.recall(&v4), self.recall(&v6)) {
            (Some(v4), Some(v6)) => (v4, v6),
            (known_v4, known_v6) => {
                let _slot = self.slot(sandbox, deadline).await?;
                let v4 = self.unless_known(known_v4, v4, deadline);
                let v6 = self.unless_known(known_v6, v6, deadline);
                both(v4, v6, self.resolution_delay).await
            }
        };
        if v4.is_err() && v6.is_err() || [&v4, &v6].contains(&&Err(ResolveError::TooLarge)) {
            return Err(v4.err().max(v6.err()).unwrap_or(ResolveError::NoData));
        }
        let [v4, v6] = [v4, v6].map(|answer| answer.map(|answer| answer.addresses()).unwrap_or_default());
        let addresses = interleave(v6, v4);
        if addresses.len() > MAX_ADDRESSES {
            return Err(ResolveError::TooLarge);
        }
        Ok(Resolution { addresses })
    }

    /// The records of one type that `name` has, from the cache or from its servers, for `sandbox`.
    ///
    /// # Errors
    /// [`ResolveError`] when it has none, or the answer is beyond its bounds.
    pub async fn records(
        &self,
        sandbox: &Arc<str>,
        name: &Name,
        kind: RecordType,
    ) -> Result<Answer, ResolveError> {
        let deadline = Instant::now() + self.timeout;
        let question = question(name, kind)?;
        if let Some(known) = self.recall(&question) {
            return known;
        }
        let _slot = self.slot(sandbox, deadline).await?;
        self.ask(question, deadline).await
    }

    /// Waits for a place among the look-ups that run at once.
    async fn slot(&self, sandbox: &Arc<str>, deadline: Instant) -> Result<Slot, ResolveError> {
        let slot = timeout_at(deadline, self.slots.take(sandbox)).await;
        slot.map_err(|_| ResolveError::Timeout)?.map_err(|_| ResolveError::Other("the resolver is closed"))
    }

    /// What is known already.
    fn recall(&self, question: &Query) -> Option<Result<Answer, ResolveError>> {
        let known = self.cache.get(question, std::time::Instant::now())?;
        Some(read(question.query_type(), known))
    }

    /// What is known, or else what the servers say.
    async fn unless_known(
        &self,
        known: Option<Result<Answer, ResolveError>>,
        question: Query,
        deadline: Instant,
    ) -> Result<Answer, ResolveError> {
        match known {
            Some(known) => known,
            None => self.ask(question, deadline).await,
        }
    }

    /// What the servers say; kept for as long as it lives.
    async fn ask(&self, question: Query, deadline: Instant) -> Result<Answer, ResolveError> {
        let kind = question.query_type();
        let asked = self.inner.lookup(question.name().clone(), kind);
        let Ok(answer) = timeout_at(deadline, asked).await else { return Err(ResolveError::Timeout) };
        let answer: Result<Message, NetError> = answer.map(|found| found.message().clone());
        if answer.is_ok() || answer.as_ref().is_err_and(NetError::is_no_records_found) {
            self.cache.insert(question, answer.clone(), std::time::Instant::now());
        }
        let capped = |answer: Answer| Answer { ttl: answer.ttl.min(self.max_ttl), ..answer };
        let unreached = |error| match self.runtime.fault() {
            Some(fault) if error == UNREACHABLE => ResolveError::Option(fault),
            Some(_) | None => error,
        };
        read(kind, answer).map(capped).map_err(unreached)
    }
}

/// The question for the records of one type of a name.
fn question(name: &Name, kind: RecordType) -> Result<Query, ResolveError> {
    let mut question = Query::query(absolute(name)?, kind);
    question.set_query_class(DNSClass::IN);
    Ok(question)
}

/// Both families. Once IPv4 has addresses, IPv6 gets `delay` more, so that a server that
/// keeps silent about AAAA does not hold everything up.
async fn both<T>(
    v4: impl Future<Output = Result<T, ResolveError>>,
    v6: impl Future<Output = Result<T, ResolveError>>,
    delay: Duration,
) -> (Result<T, ResolveError>, Result<T, ResolveError>) {
    let (mut v4, mut v6) = (pin!(v4), pin!(v6));
    tokio::select! {
        biased;
        six = &mut v6 => (v4.await, six),
        four = &mut v4 => {
            let six = if four.is_ok() {
                let delayed = timeout_at(Instant::now() + delay, v6).await;
                delayed.unwrap_or(Err(ResolveError::Timeout))
            } else {
                v6.await
            };
            (four, six)
        }
    }
}

/// A server asked over UDP, and over TCP where an answer is truncated.
fn name_server(address: SocketAddr) -> NameServerConfig {
    let ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut way| {
        way.port = address.port();
        way
    });
    NameServerConfig::new(address.ip(), true, ways.into())
}

/// The options of every resolver; the system's own (search domains, `ndots`) are left out.
fn options(settings: &DnsSettings) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.ndots = 0;
    options.timeout = settings.timeout.mul_f32(0.45);
    options.attempts = 1;
    options.use_hosts_file = ResolveHosts::Never;
    options.positive_max_ttl = Some(settings.max_ttl);
    options.negative_max_ttl = Some(settings.max_ttl);
    // Each asks for both families.
    options.max_active_requests = 2 * MAX_LOOKUPS;
    // The cache stands in front of the places for look-ups.
    options.cache_size = 0;
    // The aliases are needed to count them.
    options.preserve_intermediates = true;
    options
}

/// IPv6 and IPv4 in turn, IPv6 first, the order within each kept (RFC 8305 §4).
fn interleave(v6: Vec<IpAddr>, v4: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut mixed = Vec::with_capacity(v6.len().saturating_add(v4.len()));
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        match (v6.next(), v4.next()) {
            (None, None) => return mixed,
            (six, four) => mixed.extend(six.into_iter().chain(four)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Parses addresses.
    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_ipv6_goes_first() {
        let mixed = interleave(ips(&["::1", "::2", "::3"]), ips(&["1.1.1.1"]));
        assert_eq!(mixed, ips(&["::1", "1.1.1.1", "::2", "::3"]));
        assert_eq!(interleave(vec![], ips(&["1.1.1.1", "1.1.1.2"])), ips(&["1.1.1.1", "1.1.1.2"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_ipv6_does_not_hold_ipv4_up() {
        const DELAY: Duration = Duration::from_millis(50);
        let pending = std::future::pending::<Result<u8, ResolveError>>();
        let start = Instant::now();
        assert_eq!(both(async { Ok(4) }, pending, DELAY).await, (Ok(4), Err(ResolveError::Timeout)));
        assert_eq!(start.elapsed(), DELAY);
    }

    #[tokio::test]
    async fn the_servers_are_known_for_the_self_guard() {
        let servers: Vec<SocketAddr> =
            vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:5353".parse().unwrap()];
        let settings = DnsSettings { servers: servers.clone(), ..DnsSettings::default() };
        let resolver = Resolver::new(&settings).unwrap_or_else(|_| unreachable!());
        assert_eq!(resolver.servers(), servers);
    }
}
