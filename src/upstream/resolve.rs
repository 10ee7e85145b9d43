//! Names to addresses. Absolute names only, never the hosts file, never a search domain.
//!
//! Answers are cached for their TTL, at most [`DnsSettings::max_ttl`]; look-ups of one name that run
//! at the same time share one query. What an answer may cost is bounded: a chain of 8 aliases, 64
//! addresses, 64 KiB (the size of a DNS message), 5 seconds, and a fixed number of look-ups at once.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{self, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::addr::Name;

/// The longest chain of aliases that is followed.
const MAX_ALIASES: usize = 8;
/// The largest number of addresses a name may have.
const MAX_ADDRESSES: usize = 64;
/// How many look-ups run at once; more wait within their own deadline.
pub const MAX_LOOKUPS: usize = 1024;

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
    /// The name does not exist, or has no address.
    #[error("the name does not exist or has no address")]
    NotFound,
    /// Another failure: unreachable or refusing servers, malformed answers.
    #[error("the name could not be resolved: {0}")]
    Other(&'static str),
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
            Self::NotFound => "not_found",
            Self::Other(_) => "failed",
            Self::Timeout => "timeout",
            Self::ServFail => "servfail",
            Self::TooLarge => "too_large",
        }
    }
}

/// Resolves names. Clones share one cache.
#[derive(Clone)]
pub struct Resolver {
    /// The protocol, the cache and the sharing of queries.
    inner: TokioResolver,
    /// Who is asked.
    servers: Arc<[SocketAddr]>,
    /// How long one look-up may take.
    timeout: Duration,
    /// How long IPv6 is waited for once IPv4 has answered.
    resolution_delay: Duration,
    /// Bounds the look-ups that run at once.
    slots: Arc<Semaphore>,
}

impl Resolver {
    /// A resolver with an empty cache. Sends nothing yet.
    ///
    /// # Errors
    /// When the system's servers are asked for and it names none.
    pub fn new(settings: &DnsSettings) -> Result<Self, SetupError> {
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
        let inner = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options(settings))
            .build()
            .map_err(SetupError::Build)?;
        let slots = Arc::new(Semaphore::new(MAX_LOOKUPS));
        let (timeout, resolution_delay) = (settings.timeout, settings.resolution_delay);
        Ok(Self { inner, servers: servers.into(), timeout, resolution_delay, slots })
    }

    /// The servers that are asked, for `guard_self`.
    #[must_use]
    pub fn servers(&self) -> Vec<SocketAddr> {
        self.servers.to_vec()
    }

    /// The addresses of `name`, from the cache or from its servers.
    ///
    /// # Errors
    /// [`ResolveError`] when neither family has an address, or the answer is beyond its bounds.
    pub async fn resolve(&self, name: &Name) -> Result<Resolution, ResolveError> {
        let deadline = Instant::now() + self.timeout;
        let slot = timeout_at(deadline, self.slots.acquire()).await;
        let _slot = slot
            .map_err(|_| ResolveError::Timeout)?
            .map_err(|_| ResolveError::Other("the resolver is closed"))?;
        let mut absolute =
            rr::Name::from_ascii(name.as_str()).map_err(|_| ResolveError::Other("it is not a DNS name"))?;
        absolute.set_fqdn(true);
        let v4 = timeout_at(deadline, self.inner.lookup(absolute.clone(), RecordType::A));
        let v6 = timeout_at(deadline, self.inner.lookup(absolute, RecordType::AAAA));
        let v4 = async { v4.await.map_or(Err(ResolveError::Timeout), addresses_of) };
        let v6 = async { v6.await.map_or(Err(ResolveError::Timeout), addresses_of) };
        let (v4, v6) = both(v4, v6, self.resolution_delay).await;
        if v4.is_err() && v6.is_err() || [&v4, &v6].contains(&&Err(ResolveError::TooLarge)) {
            return Err(v4.err().max(v6.err()).unwrap_or(ResolveError::NotFound));
        }
        let addresses = interleave(v6.unwrap_or_default(), v4.unwrap_or_default());
        if addresses.len() > MAX_ADDRESSES {
            return Err(ResolveError::TooLarge);
        }
        Ok(Resolution { addresses })
    }
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
    options.max_active_requests = MAX_LOOKUPS;
    // The aliases are needed to count them.
    options.preserve_intermediates = true;
    options
}

/// The addresses of one family's answer, within the bounds.
#[expect(clippy::wildcard_enum_match_arm, reason = "no other record type carries an address")]
fn addresses_of(answer: Result<Lookup, NetError>) -> Result<Vec<IpAddr>, ResolveError> {
    let answer = answer.map_err(|error| classify(&error))?;
    let (mut addresses, mut aliases) = (Vec::new(), 0_usize);
    for record in answer.answers() {
        let address = match &record.data {
            RData::A(v4) => IpAddr::V4(v4.0),
            RData::AAAA(v6) => IpAddr::V6(v6.0),
            RData::CNAME(_) => {
                aliases = aliases.saturating_add(1);
                continue;
            }
            _ => continue,
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
        if addresses.len() > MAX_ADDRESSES {
            return Err(ResolveError::TooLarge);
        }
    }
    if aliases > MAX_ALIASES {
        return Err(ResolveError::TooLarge);
    }
    if addresses.is_empty() { Err(ResolveError::NotFound) } else { Ok(addresses) }
}

/// Which failure an error is.
#[expect(clippy::wildcard_enum_match_arm, reason = "the resolver's own lists are open")]
fn classify(error: &NetError) -> ResolveError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain | ResponseCode::NoError => ResolveError::NotFound,
            ResponseCode::ServFail => ResolveError::ServFail,
            _ => ResolveError::Other("the DNS server refused"),
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => ResolveError::ServFail,
        NetError::Dns(_) => ResolveError::Other("the DNS server refused"),
        NetError::Timeout => ResolveError::Timeout,
        NetError::Io(_) | NetError::NoConnections => ResolveError::Other("no DNS server can be reached"),
        NetError::Busy => ResolveError::Other("the resolver is busy"),
        _ => ResolveError::Other("the DNS server's answer is malformed"),
    }
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
