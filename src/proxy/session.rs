//! One client connection: who it is, what applies to it, and what it is doing at this moment.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tokio::sync::OwnedSemaphorePermit;

use super::Gateway;
use super::entry::Entry;
use super::origins::Origins;
use super::refusal::Refusal;
use super::relay::Meter;
use crate::addr::{Host, Target};
use crate::audit::Outcome;
use crate::identity::Identity;
use crate::live::Snapshot;
use crate::policy::plan::Elsewhere;
use crate::policy::{Denial, Policy, RequestFacts, TargetPermit, Way};
use crate::wire::proxy_header::Proxied;

/// Where a connection came in.
#[derive(Debug)]
pub struct Listener {
    /// Its name in records: the address it is bound to.
    pub name: Arc<str>,
    /// How connections come to it.
    pub entry: Entry,
    /// The sandbox that everything on it belongs to, if the operator gave it one.
    pub sandbox: Option<Arc<str>>,
    /// The peers that say whose connections they pass on.
    pub peers: Vec<IpNet>,
}

impl Listener {
    /// Whether a connection from this address begins with a header that says whose it is.
    pub(super) fn believes(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.peers.iter().any(|net| net.contains(&peer))
    }
}

/// One client connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) gateway: Arc<Gateway>,
    /// Where it comes from: what the socket says, or the trusted peer that passed it on.
    pub(super) client: SocketAddr,
    /// What such a peer said.
    pub(super) proxied: Option<Proxied>,
    pub(super) listener: Arc<Listener>,
    /// Its place among the connections that the gateway takes at once.
    _slot: Option<OwnedSemaphorePermit>,
    /// When payload last moved, for the idle limit, and who pays for it.
    pub(super) meter: Meter,
    /// Its number among those that have not said whose they are; 0 when it is none of them.
    pub(super) newcomer: AtomicU64,
    /// What is under way, by the numbers of its records, to be asked again when the policy changes.
    standing: Mutex<Vec<(u64, Standing)>>,
    /// How many records there were.
    records: AtomicU64,
    /// Who it was known as last.
    known: Mutex<Option<Identity>>,
    /// Whether any request has come.
    asked: AtomicBool,
    /// Whether the client went away, or its connection failed.
    left: AtomicBool,
    /// Why the connection is being ended from this side.
    ending: Mutex<Option<Ending>>,
}

/// Why a connection is being ended from this side.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    /// What denies it.
    pub(super) denial: Option<Overruling>,
}

/// A denial of what is under way.
#[derive(Debug, Clone)]
pub(super) struct Overruling {
    pub(super) denial: Denial,
    /// The number of the record that it is about; `None`: all of them.
    pub(super) record: Option<u64>,
    /// The generation of the snapshot that denies it; `None`: it is no matter of policies.
    pub(super) generation: Option<u64>,
}

/// What was permitted and is still going on.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) sandbox: Identity,
    pub(super) target: Target,
    /// The second name of the call: SNI or `Host`.
    pub(super) alias: Option<Host>,
    /// It carries TLS without a server name.
    pub(super) nameless_tls: bool,
    /// What it carries.
    pub(super) content: Content,
    /// The way that it takes, once it is known.
    pub(super) way: Option<Way>,
}

/// What something under way carries, as far as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing so far, and nothing has left.
    Unseen,
    /// What is neither TLS nor HTTP, or may be.
    Opaque,
    /// TLS, as it is.
    Sealed,
    /// Requests, each of which is asked for itself.
    Requests,
    /// One request.
    Request {
        /// Its method.
        method: String,
        /// Its canonical path.
        path: String,
        /// Whether it is sent on over TLS.
        secure: bool,
        /// Where a rule sends it instead.
        elsewhere: Option<Elsewhere>,
    },
}

/// Who asks, and the snapshot that says so: what applies to them is taken from the same.
#[derive(Debug, Clone)]
pub(super) struct Identified {
    pub(super) sandbox: Identity,
    pub(super) snapshot: Arc<Snapshot>,
}

impl Standing {
    /// Asks the same questions in the same order.
    fn ask(&self, policy: &Policy) -> Result<(), Denial> {
        let permit = self.admit(policy)?;
        if let Some(way) = &self.way {
            policy.admit_way(&permit, way)?;
        }
        Ok(())
    }

    /// Asks all questions but that for the address.
    pub(super) fn admit(&self, policy: &Policy) -> Result<TargetPermit, Denial> {
        let mut permit = policy.admit(&self.target)?;
        if let Some(alias) = &self.alias {
            permit = policy.admit_alias(permit, alias)?;
        }
        if self.nameless_tls {
            policy.admit_nameless_tls(&permit)?;
        }
        match &self.content {
            Content::Opaque => policy.admit_opaque(&permit)?,
            Content::Sealed => policy.admit_sealed(&permit)?,
            Content::Unseen | Content::Requests => {}
            Content::Request { method, path, secure, elsewhere } => {
                let facts = RequestFacts { method, path, secure: *secure };
                permit = policy.admit_request_again(permit, &facts, elsewhere.as_ref())?;
            }
        }
        Ok(permit)
    }
}

impl Session {
    /// A session for a connection that was just accepted.
    pub(super) fn new(
        gateway: Arc<Gateway>,
        client: SocketAddr,
        listener: Arc<Listener>,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            _slot: slot,
            gateway,
            client,
            proxied: None,
            listener,
            meter: Meter::new(),
            newcomer: AtomicU64::new(0),
            standing: Mutex::default(),
            records: AtomicU64::new(0),
            known: Mutex::default(),
            asked: AtomicBool::new(false),
            left: AtomicBool::new(false),
            ending: Mutex::default(),
        }
    }

    /// The session of whom the trusted peer named, or of the peer itself.
    pub(super) fn introduced(self, proxied: Option<Proxied>) -> Self {
        let client = proxied.map_or(self.client, |proxied| proxied.source);
        Self { client, proxied, ..self }
    }

    /// Finds out which sandbox this is, by listener, source address and `Proxy-Authorization`.
    ///
    /// RACE: changes must have been subscribed to before, so that none between this and the wait is missed.
    pub(super) fn identify(&self, credentials: Option<&str>) -> Result<Identified, Refusal> {
        let snapshot = self.gateway.live.current();
        let listener = self.listener.sandbox.as_deref();
        match snapshot.registry.identify(listener, self.client.ip(), credentials) {
            Ok(sandbox) => {
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(sandbox.clone());
                Ok(Identified { sandbox, snapshot })
            }
            Err(error) => {
                let refusal = Refusal::from(error.denial());
                Err(if error.token_could_help() { refusal.challenging() } else { refusal })
            }
        }
    }

    /// Finds out who this is by the snapshot in force, after it was recognised by an earlier one.
    pub(super) fn identify_again(&self, known: &Identity) -> Result<Identified, Denial> {
        let snapshot = self.gateway.live.current();
        Ok(Identified { sandbox: self.known_in(&snapshot, known)?, snapshot })
    }

    /// Who this is by `snapshot`.
    pub(super) fn known_in(&self, snapshot: &Snapshot, known: &Identity) -> Result<Identity, Denial> {
        snapshot.identify_again(self.listener.sandbox.as_deref(), self.client.ip(), known)
    }

    /// Whether what the record of this number has under way may go on under `snapshot`: who it is, then what applies to it.
    fn ask_again(&self, number: u64, standing: &Standing, snapshot: &Snapshot) -> Result<(), Overruling> {
        let asked = self.known_in(snapshot, &standing.sandbox).and_then(|sandbox| {
            let asked = standing.ask(&snapshot.policy_for(&sandbox));
            asked.map_err(|denial| denial.overruling(&standing.target))
        });
        let (record, generation) = (Some(number), Some(snapshot.generation));
        asked.map_err(|denial| Overruling { denial, record, generation })
    }

    /// A number for another record.
    pub(super) fn number(&self) -> u64 {
        self.records.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes what the record of this number has under way, so that a policy change can end it.
    pub(super) fn stand(&self, number: u64, standing: Standing) {
        let mut all = self.all();
        if let Some((_, known)) = all.iter_mut().find(|(known, _)| *known == number) {
            *known = standing;
            return;
        }
        if all.is_empty() {
            // Most connections have one thing under way, and many for long: room for more is taken when there is more.
            all.reserve_exact(1);
        }
        all.push((number, standing));
    }

    /// Forgets what the record of this number had under way.
    pub(super) fn rest(&self, number: u64) {
        self.all().retain(|(known, _)| *known != number);
    }

    /// Adds the way that it takes to what a record has under way.
    ///
    /// # Errors
    /// The policy has changed since `changes` was subscribed, and denies it now.
    pub(super) fn stand_on(
        &self,
        number: u64,
        way: &Way,
        changes: &tokio::sync::watch::Receiver<Arc<Snapshot>>,
    ) -> Result<(), Overruling> {
        let mut all = self.all();
        let standing = all.iter_mut().find(|(known, _)| *known == number).map(|(_, standing)| {
            standing.way = Some(way.clone());
            standing
        });
        // RACE: `overruled` has asked about earlier changes without the address; it asks about later ones with it.
        if !changes.has_changed().unwrap_or(true) {
            return Ok(());
        }
        let standing = standing.cloned();
        drop(all);
        let snapshot = self.gateway.live.current();
        standing.map_or(Ok(()), |standing| self.ask_again(number, &standing, &snapshot))
    }

    /// Notes what a record has under way that was permitted in the snapshot of this generation.
    ///
    /// # Errors
    /// Another snapshot is in force, and denies it.
    pub(super) fn stand_since(
        &self,
        number: u64,
        standing: &Standing,
        generation: u64,
    ) -> Result<(), Overruling> {
        self.stand(number, standing.clone());
        // RACE: noted first, then compared: `overruled` asks about later ones.
        let snapshot = self.gateway.live.current();
        if snapshot.generation == generation { Ok(()) } else { self.ask_again(number, standing, &snapshot) }
    }

    /// What is under way; a panic elsewhere leaves it consistent.
    fn all(&self) -> MutexGuard<'_, Vec<(u64, Standing)>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves with the denial once what is in force no longer permits something under way, or knows the client, also one
    /// that has asked nothing at the moment.
    ///
    /// What waits for its next use is closed by each change: it was opened by an older policy.
    ///
    /// RACE: `changes` must have been subscribed before the first decision.
    pub(super) async fn overruled(
        &self,
        changes: &mut tokio::sync::watch::Receiver<Arc<Snapshot>>,
        waiting: Option<&Origins>,
    ) -> Overruling {
        loop {
            let news = changes.changed().await;
            if let Some(waiting) = waiting {
                waiting.close();
            }
            let snapshot = Arc::clone(&changes.borrow_and_update());
            let standing = self.all().clone();
            for (_, standing) in &standing {
                self.pace(&standing.sandbox, &snapshot);
            }
            if standing.is_empty() {
                let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(Err(denial)) = known.map(|known| self.known_in(&snapshot, &known)) {
                    return Overruling { denial, record: None, generation: Some(snapshot.generation) };
                }
            }
            for (number, standing) in &standing {
                if let Err(overruling) = self.ask_again(*number, standing, &snapshot) {
                    return overruling;
                }
            }
            if news.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Notes that a request has come.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether any request has come.
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Notes that the client went away: what is dropped from here on without an end is so for that.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Whether it did.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Says why what is under way is about to be dropped, for its records.
    pub(super) fn end(&self, outcome: Outcome, denial: Option<Overruling>) {
        let ending = Ending { outcome, denial };
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(ending);
    }

    /// What [`Session::end`] said.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
