//! Each sandbox's share of the gateway: what it uses, and what is too much (threat R2).
//!
//! The numbers are those of the policy and of the process configuration, the smaller of each. They come with every
//! question, so a share is only what is in use:
//!
//! | limit | kept as | beyond it |
//! |---|---|---|
//! | `connections`, `dnsQueries` | a count, as long as a [`Seat`] or [`LookUp`] lives | refused |
//! | `connectionsPerSecond`, `requestsPerSecond`, `dnsQueriesPerSecond` | a bucket | refused |
//! | `uploadBytes` | a bucket for all connections of the sandbox, which take turns | waits |

mod bucket;
mod newcomer;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::policy::{Limit, Limits};
use bucket::Bucket;
pub use newcomer::{Newcomer, Newcomers};

/// From how many shares on it is looked whether some can go.
const MANY: usize = 64;
/// The least that goes up at once where a limit slows it down: a part of a second's worth, but no more than this.
const PART: u64 = 16 * 1024;
/// How many parts of a second that is.
const PARTS: u64 = 50;

/// How many certificates a second are made for one sandbox: a tenth of a core's time, about.
const CERTIFICATES: u64 = 2000;

/// What is told of everything that goes beyond a limit.
pub type Tell = Arc<dyn Fn(Limit) + Send + Sync>;

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beyond {
    /// Which.
    pub limit: Limit,
    /// What it allows.
    pub most: u64,
}

/// Every sandbox's share, by its id.
pub struct Shares {
    /// What the process configuration leaves to each.
    limits: Limits,
    tell: Tell,
    start: Instant,
    known: Mutex<Known>,
}

/// The shares in use.
#[derive(Default)]
struct Known {
    shares: HashMap<Arc<str>, Arc<Share>>,
    /// How many there are to be before it is looked whether some can go.
    many: usize,
}

/// What one sandbox uses.
pub struct Share {
    tell: Tell,
    start: Instant,
    /// Client connections.
    connections: AtomicU64,
    /// DNS queries that are looked up.
    look_ups: AtomicU64,
    new_connections: Bucket,
    requests: Bucket,
    queries: Bucket,
    certificates: Bucket,
    upload: Bucket,
    /// Bytes a second that may go up; 0: any number.
    pace: AtomicU64,
    /// The generation of the policy that says so.
    generation: Mutex<u64>,
    /// Held by whoever is next to send up.
    turn: Semaphore,
}

/// A connection among those of its sandbox, until it is dropped.
#[derive(Debug)]
#[must_use = "the connection has its place only as long as this lives"]
pub struct Seat(Arc<Share>);

/// A DNS query that is looked up among those of its sandbox, until it is dropped.
#[derive(Debug)]
#[must_use = "the look-up is counted only as long as this lives"]
pub struct LookUp(Arc<Share>);

/// Bytes that may go up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// How many.
    pub bytes: usize,
    /// The rate that they were taken at; 0: any number may go.
    rate: u64,
}

impl Shares {
    /// No share yet; the process configuration leaves `limits` to each sandbox.
    #[must_use]
    pub fn new(limits: Limits, tell: Tell) -> Self {
        Self { limits, tell, start: Instant::now(), known: Mutex::default() }
    }

    /// What the process configuration leaves to each sandbox.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The share of a sandbox, which must be one that the configuration knows.
    #[must_use]
    pub fn of(&self, sandbox: &Arc<str>) -> Arc<Share> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = known.shares.get(sandbox) {
            return Arc::clone(share);
        }
        if known.shares.len() >= known.many {
            known.shares.retain(|_, share| Arc::strong_count(share) > 1 || !share.is_unused());
            known.many = (known.shares.len() * 2).max(MANY);
        }
        let share = Arc::new(Share::new(Arc::clone(&self.tell), self.start));
        known.shares.insert(Arc::clone(sandbox), Arc::clone(&share));
        share
    }

    /// Tells of something that went beyond a limit without a share.
    pub fn tell(&self, limit: Limit) {
        (self.tell)(limit);
    }
}

impl Share {
    /// Nothing used.
    fn new(tell: Tell, start: Instant) -> Self {
        Self {
            tell,
            start,
            connections: AtomicU64::new(0),
            look_ups: AtomicU64::new(0),
            new_connections: Bucket::default(),
            requests: Bucket::default(),
            queries: Bucket::default(),
            certificates: Bucket::default(),
            upload: Bucket::default(),
            pace: AtomicU64::new(0),
            generation: Mutex::new(0),
            turn: Semaphore::new(1),
        }
    }

    /// Takes a place for a connection.
    ///
    /// # Errors
    /// There are as many, or came as many within a second, as `limits` allow.
    pub fn connect(self: &Arc<Self>, limits: &Limits) -> Result<Seat, Beyond> {
        self.add(&self.connections, limits, Limit::Connections)?;
        let seat = Seat(Arc::clone(self));
        self.spend(&self.new_connections, limits, Limit::ConnectionsPerSecond)?;
        Ok(seat)
    }

    /// Takes a request.
    ///
    /// # Errors
    /// There came as many within a second as `limits` allow.
    pub fn request(&self, limits: &Limits) -> Result<(), Beyond> {
        self.spend(&self.requests, limits, Limit::RequestsPerSecond)
    }

    /// Takes a certificate that is about to be made; answers whether the sandbox may have another one in this second.
    #[must_use]
    pub fn mint(&self) -> bool {
        self.certificates.take(self.now(), CERTIFICATES, 1, 1).is_ok()
    }

    /// Takes a DNS query, whether or not it comes to be looked up.
    ///
    /// # Errors
    /// There came as many within a second as `limits` allow.
    pub fn query(&self, limits: &Limits) -> Result<(), Beyond> {
        self.spend(&self.queries, limits, Limit::DnsQueriesPerSecond)
    }

    /// Takes a place for a query that is looked up.
    ///
    /// # Errors
    /// There are as many as `limits` allow.
    pub fn look_up(self: &Arc<Self>, limits: &Limits) -> Result<LookUp, Beyond> {
        self.add(&self.look_ups, limits, Limit::DnsQueries)?;
        Ok(LookUp(Arc::clone(self)))
    }

    /// Lets bytes go up at the rate of `limits`, which are those of this generation of the policy.
    pub fn pace(&self, generation: u64, limits: &Limits) {
        // RACE: whoever decided by an older generation must not put its rate in the place of a newer one.
        let mut known = self.generation();
        if generation >= *known {
            *known = generation;
            self.pace.store(limits.get(Limit::UploadBytes).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Whether bytes that go up may have to wait.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.pace.load(Ordering::Relaxed) != 0
    }

    /// Waits for its turn to send bytes up, and answers how many may go, at most `most`. What is not used is to be
    /// [put back](Self::put_back).
    pub async fn upload(&self, most: usize) -> Grant {
        let mut told = false;
        // The semaphore is never closed; without a permit only the order would be lost.
        let _turn = self.turn.acquire().await;
        loop {
            let rate = self.pace.load(Ordering::Relaxed);
            if rate == 0 {
                return Grant { bytes: most, rate };
            }
            let wanted = most as u64;
            let least = (rate / PARTS).clamp(1, PART).min(wanted);
            match self.upload.take(self.now(), rate, least, wanted) {
                Ok(bytes) => return Grant { bytes: usize::try_from(bytes).unwrap_or(most), rate },
                Err(wait) => {
                    if !std::mem::replace(&mut told, true) {
                        (self.tell)(Limit::UploadBytes);
                    }
                    sleep(wait).await;
                }
            }
        }
    }

    /// Gives back what of a grant was not used.
    pub fn put_back(&self, grant: Grant, used: usize) {
        if grant.rate != 0 && used < grant.bytes {
            self.upload.put_back(grant.rate, grant.bytes as u64, used as u64);
        }
    }

    /// Adds one to a count, unless that would be too many.
    fn add(&self, count: &AtomicU64, limits: &Limits, limit: Limit) -> Result<(), Beyond> {
        let most = limits.get(limit);
        let more = |now: u64| most.is_none_or(|most| now < most).then_some(now + 1);
        match (count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more), most) {
            (Err(_), Some(most)) => Err(self.beyond(limit, most)),
            (Ok(_) | Err(_), _) => Ok(()),
        }
    }

    /// Takes one from a bucket.
    fn spend(&self, bucket: &Bucket, limits: &Limits, limit: Limit) -> Result<(), Beyond> {
        let Some(rate) = limits.get(limit) else { return Ok(()) };
        bucket.take(self.now(), rate, 1, 1).map(drop).map_err(|_| self.beyond(limit, rate))
    }

    /// Tells that there is no more.
    fn beyond(&self, limit: Limit, most: u64) -> Beyond {
        (self.tell)(limit);
        Beyond { limit, most }
    }

    /// Whether a new one would be the same.
    fn is_unused(&self) -> bool {
        let now = self.now();
        [&self.new_connections, &self.requests, &self.queries, &self.certificates, &self.upload]
            .iter()
            .all(|bucket| bucket.is_empty(now))
    }

    /// This moment, for buckets.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The generation; a panic elsewhere leaves it as it is.
    fn generation(&self) -> MutexGuard<'_, u64> {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whose it is.
    #[must_use]
    pub const fn share(&self) -> &Arc<Share> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        self.0.look_ups.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("connections", &self.connections).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, reason = "tests")]
mod tests;
