//! A certificate for the host of one connection: kept, or made.
//!
//! | bound | by |
//! |---|---|
//! | memory | [`MOST_BYTES`] for all that is kept; what is asked for most stays, so that a flood of names that are asked for once pushes out nothing that is used |
//! | time | one signature for each new name, and for each name once in twelve hours; how many of those a sandbox may have, the caller says (`may_mint`) |
//! | concurrency | of any number of handshakes for one new name, one signs and the others wait for it |

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ResolvesServerCertUsingSni,
};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::authority::{Authority, AuthorityError};
pub use super::error::LeafError;
use super::mint::{Mint, Minted};
use crate::addr::Host;

/// The most bytes of certificates that are kept, by estimate.
pub const MOST_BYTES: u64 = 16 << 20;
/// How long a certificate is kept: well below its validity.
const KEPT: Duration = Duration::from_hours(12);
/// How long a certificate must still be valid to be shown again, unless the authority ends with it.
const LEAST_VALID: time::Duration = time::Duration::HOUR;
/// What the cache needs for one entry, in bytes, besides what is counted; measured.
const ENTRY: usize = 550;

/// The certificates of one authority.
pub(super) struct Leaves {
    /// What makes them.
    pub(super) mint: Mint,
    /// What is kept.
    pub(super) kept: Cache<Host, Arc<Leaf>>,
    /// What every handshake has in common.
    template: ServerConfig,
    /// What seals the tickets of all names.
    tickets: Arc<dyn ProducesTickets>,
    /// How many were made.
    minted: AtomicU64,
    /// Who is told of each.
    pub(super) note: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// The certificate of one host, shown to whoever connects, and the tickets of that host.
pub(super) struct Leaf {
    /// The host.
    host: Host,
    /// The certificate.
    certified: Arc<CertifiedKey>,
    /// From when until when it can be shown.
    good: (OffsetDateTime, OffsetDateTime),
    /// What seals the tickets of all names.
    tickets: Arc<dyn ProducesTickets>,
}

impl Authority {
    /// What to accept the TLS of one connection with: a certificate for exactly this host.
    ///
    /// The caller has asked the policy about the host. What server name the client sends is not looked at again. `h2` says
    /// whether HTTP/2 is offered besides HTTP/1.1; a client that speaks ALPN and knows neither is refused by TLS.
    ///
    /// `may_mint` is asked at most once, and only when this call is about to have a certificate made: one that is kept, or
    /// that another call makes at this moment, is free. It is where the share of the sandbox is charged.
    ///
    /// This signs on the calling thread when it has to: tens of microseconds with a P-256 key, milliseconds with an RSA one.
    ///
    /// # Errors
    /// `may_mint` says no, the sandbox CA may not sign for the host or has ended, or signing fails.
    pub fn accept(
        &self,
        host: &Host,
        h2: bool,
        may_mint: impl FnOnce() -> bool,
    ) -> Result<Arc<ServerConfig>, LeafError> {
        let leaf = self.leaves.leaf(host, OffsetDateTime::now_utc(), may_mint)?;
        Ok(self.leaves.config(leaf, h2))
    }

    /// Whether a certificate for this host is kept.
    #[must_use]
    pub fn is_cached(&self, host: &Host) -> bool {
        self.leaves.kept(host, OffsetDateTime::now_utc()).is_some()
    }

    /// How many certificates were made.
    #[must_use]
    pub fn minted(&self) -> u64 {
        self.leaves.minted.load(Ordering::Relaxed)
    }
}

impl Leaves {
    /// Nothing made yet.
    ///
    /// # Errors
    /// The TLS library has no randomness or no protocol.
    pub(super) fn new(mint: Mint) -> Result<Self, AuthorityError> {
        let own = |error: rustls::Error| AuthorityError::Own(error.to_string());
        let tickets = Ticketer::new().map_err(own)?;
        let mut template = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(own)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        // A ticket holds the session; nothing of it stays here.
        template.session_storage = Arc::new(NoServerSessionStorage {});
        template.max_early_data_size = 0;
        let kept = Cache::builder()
            .weigher(|host: &Host, leaf: &Arc<Leaf>| leaf.weight(host))
            .max_capacity(MOST_BYTES)
            .time_to_live(KEPT)
            .build();
        Ok(Self { mint, kept, template, tickets, minted: AtomicU64::new(0), note: None })
    }

    /// The certificate of a host that is kept and good for a while.
    fn kept(&self, host: &Host, now: OffsetDateTime) -> Option<Arc<Leaf>> {
        self.kept.get(host).filter(|leaf| leaf.is_good(now))
    }

    /// The certificate of a host.
    pub(super) fn leaf(
        &self,
        host: &Host,
        now: OffsetDateTime,
        may_mint: impl FnOnce() -> bool,
    ) -> Result<Arc<Leaf>, LeafError> {
        match self.kept.get(host) {
            Some(leaf) if leaf.is_good(now) => return Ok(leaf),
            // The clock was set, or this host slept: the cache does not know how late it is.
            Some(_) => self.kept.invalidate(host),
            None => {}
        }
        let mut may_mint = Some(may_mint);
        let made = self.kept.try_get_with_by_ref(host, || {
            let may = may_mint.take().is_some_and(|may_mint| may_mint());
            if may { self.make(host, now) } else { Err(LeafError::Refused) }
        });
        match (made, may_mint) {
            (Ok(leaf), _) => Ok(leaf),
            // SECURITY: another caller was refused while this one waited for it, which says nothing about this one.
            (Err(error), Some(may_mint)) if *error == LeafError::Refused => {
                let leaf = if may_mint() { self.make(host, now) } else { Err(LeafError::Refused) }?;
                self.kept.insert(host.clone(), Arc::clone(&leaf));
                Ok(leaf)
            }
            (Err(error), _) => Err(LeafError::clone(&error)),
        }
    }

    /// Makes a certificate and counts it.
    fn make(&self, host: &Host, now: OffsetDateTime) -> Result<Arc<Leaf>, LeafError> {
        let Minted { certified, begin, end } = self.mint.mint(host, now)?;
        self.minted.fetch_add(1, Ordering::Relaxed);
        if let Some(note) = &self.note {
            note();
        }
        let leaf = Leaf {
            host: host.clone(),
            certified: Arc::new(certified),
            good: (begin, if end < self.mint.end() { end - LEAST_VALID } else { end }),
            tickets: Arc::clone(&self.tickets),
        };
        Ok(Arc::new(leaf))
    }

    /// What to shake hands with. It is small, and made for each connection rather than kept for each name.
    fn config(&self, leaf: Arc<Leaf>, h2: bool) -> Arc<ServerConfig> {
        let mut config = self.template.clone();
        let alpn: &[&[u8]] = if h2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.cert_resolver = Arc::<Leaf>::clone(&leaf);
        config.ticketer = leaf;
        Arc::new(config)
    }
}

impl Leaf {
    /// Whether it can be shown for a while.
    fn is_good(&self, now: OffsetDateTime) -> bool {
        let (begin, end) = self.good;
        begin <= now && now < end
    }

    /// About how many bytes it takes to keep it.
    fn weight(&self, host: &Host) -> u32 {
        let text = host.name().map_or(0, |name| name.as_str().len() + 16);
        let chain: usize = self.certified.cert.iter().map(|der| der.len() + size_of_val(der)).sum();
        let all = ENTRY + size_of::<Self>() + size_of::<CertifiedKey>() + text + chain;
        u32::try_from(all).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("host", &self.host).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Leaf {
    /// The certificate; the caller of [`Authority::accept`] has judged the hello.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.certified))
    }
}

/// Tickets that hold the host: one of another host is none. TLS itself compares the server name, which a client that goes
/// to an address does not send.
impl ProducesTickets for Leaf {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let host = self.host.to_string();
        let length = u8::try_from(host.len()).ok()?;
        let mut bound = Vec::with_capacity(1 + host.len() + plain.len());
        bound.push(length);
        bound.extend_from_slice(host.as_bytes());
        bound.extend_from_slice(plain);
        self.tickets.encrypt(&bound)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let bound = self.tickets.decrypt(cipher)?;
        let (length, rest) = bound.split_first()?;
        let (host, plain) = rest.split_at_checked(usize::from(*length))?;
        (host == self.host.to_string().as_bytes()).then(|| plain.to_vec())
    }
}
