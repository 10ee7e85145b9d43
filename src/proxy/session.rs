//! One client connection: who it is, what applies to it, and what it is doing at this moment.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::Gateway;
use super::refusal::Refusal;
use super::relay::Meter;
use crate::addr::{Host, Target};
use crate::audit::{Decision, Event, Full, Kind, Outcome, Record, Scheme, Text, WouldDeny};
use crate::identity::{IdentityError, Sandbox};
use crate::live::Snapshot;
use crate::policy::{Cause, Denial, Policy, Reason, RequestFacts};

/// Where a connection came in.
#[derive(Debug)]
pub struct Listener {
    /// Its name in records: the address it is bound to.
    pub name: Arc<str>,
    /// The sandbox that everything on it belongs to, if the operator gave it one.
    pub sandbox: Option<Arc<str>>,
}

/// One client connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) gateway: Arc<Gateway>,
    pub(super) client: SocketAddr,
    pub(super) listener: Arc<Listener>,
    /// Its place among the connections that the gateway takes at once.
    _slot: Option<OwnedSemaphorePermit>,
    /// When payload last moved, for the idle limit.
    pub(super) meter: Meter,
    /// What is under way, to be asked again when the policy changes.
    standing: Mutex<Option<Standing>>,
    /// The tunnel around the requests of this connection, which stands also between them.
    around: OnceLock<Standing>,
    /// Whether any request has come.
    asked: AtomicBool,
    /// Whether the client went away, or its connection failed.
    left: AtomicBool,
    /// Why the connection is being ended from this side.
    ending: Mutex<Option<(Outcome, Option<Denial>)>>,
}

/// What was permitted and is still going on.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) sandbox: Sandbox,
    pub(super) target: Target,
    /// The second name of the call: SNI or `Host`.
    pub(super) alias: Option<Host>,
    /// The tunnel carries TLS without a server name.
    pub(super) nameless_tls: bool,
    /// Method and path, for a request; a tunnel has none.
    pub(super) request: Option<(String, String)>,
    /// The address in use, once it is known.
    pub(super) address: Option<IpAddr>,
}

impl Standing {
    /// Asks again whether this may go on under `snapshot`: the same questions in the same order.
    pub(super) fn ask(&self, snapshot: &Snapshot) -> Result<(), Denial> {
        let policy = snapshot.policy_for(&self.sandbox);
        let mut permit = policy.admit(&self.target)?;
        if let Some(alias) = &self.alias {
            permit = policy.admit_alias(permit, alias)?;
        }
        if self.nameless_tls {
            policy.admit_nameless_tls(&permit)?;
        }
        match &self.request {
            Some((method, path)) => {
                policy.admit_request(&permit, &RequestFacts { method, path })?;
            }
            None => policy.admit_tunnel(&permit)?,
        }
        if let Some(address) = self.address {
            policy.admit_address(&permit, address)?;
        }
        Ok(())
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
            listener,
            meter: Meter::new(),
            standing: Mutex::default(),
            around: OnceLock::new(),
            asked: AtomicBool::new(false),
            left: AtomicBool::new(false),
            ending: Mutex::default(),
        }
    }

    /// Opens the record of a connection or a request, once the audit log has room for it.
    ///
    /// # Errors
    /// `audit_unavailable` when the log is full and configured to deny.
    pub(super) async fn record(self: &Arc<Self>, kind: Kind) -> Result<Exchange, Refusal> {
        let mut exchange = self.exchange(kind);
        // A client that leaves meanwhile drops this: the exchange is its record.
        match exchange.admit().await {
            Ok(()) => Ok(exchange),
            Err(full) => {
                let refusal = Refusal::from(full);
                exchange.refuse(&refusal, None, None);
                Err(refusal)
            }
        }
    }

    /// Opens a record for which there need not be room: a full queue takes the count of it instead.
    pub(super) fn exchange(self: &Arc<Self>, kind: Kind) -> Exchange {
        let mut record = self.gateway.audit.unadmitted(kind);
        let event = record.event();
        event.client = Some(self.client);
        event.listener = Some(Arc::clone(&self.listener.name));
        Exchange { record: Some(record), session: Arc::clone(self), deciding: Duration::ZERO, counted: None }
    }

    /// Finds out which sandbox this is, by listener, source address and `Proxy-Authorization`.
    pub(super) fn identify(&self, credentials: Option<&str>) -> Result<Sandbox, Refusal> {
        let listener = self.listener.sandbox.as_deref();
        self.gateway.registry.identify(listener, self.client.ip(), credentials).map_err(|error| {
            let helps = matches!(error, IdentityError::Unknown { token_could_help: true });
            let refusal = Refusal::from(Denial::new(Reason::IdentityUnknown, error.to_string()));
            if helps { refusal.challenging() } else { refusal }
        })
    }

    /// Notes that every request from here on is inside this tunnel; a connection is inside one at most.
    pub(super) fn enter(&self, tunnel: Standing) {
        let _ = self.around.set(tunnel);
        self.stand(None);
    }

    /// Notes what is under way, so that a policy change can end it.
    pub(super) fn stand(&self, standing: Option<Standing>) {
        let standing = standing.or_else(|| self.around.get().cloned());
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// Adds the address in use to what is under way.
    ///
    /// # Errors
    /// The policy has changed since `changes` was subscribed, and denies it now.
    pub(super) fn stand_on(
        &self,
        address: IpAddr,
        changes: &tokio::sync::watch::Receiver<Arc<Snapshot>>,
    ) -> Result<(), Denial> {
        let standing = || self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = standing().as_mut() {
            standing.address = Some(address);
        }
        // RACE: `overruled` has asked about earlier changes without the address; it asks about later ones with it.
        if !changes.has_changed().unwrap_or(true) {
            return Ok(());
        }
        let (standing, snapshot) = (standing().clone(), self.gateway.live.current());
        let asked = standing.map_or(Ok(()), |standing| standing.ask(&snapshot));
        asked.map_err(|denial| denial.because(Reason::PolicyChange))
    }

    /// Resolves with the denial once the policy in force no longer permits what is under way.
    ///
    /// RACE: `changes` must have been subscribed before the first decision.
    pub(super) async fn overruled(
        &self,
        changes: &mut tokio::sync::watch::Receiver<Arc<Snapshot>>,
    ) -> Denial {
        loop {
            let news = changes.changed().await;
            let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let snapshot = Arc::clone(&changes.borrow_and_update());
            if let Some(Err(denial)) = standing.map(|standing| standing.ask(&snapshot)) {
                return denial.because(Reason::PolicyChange);
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

    /// Says why what is under way is about to be dropped, for its records.
    pub(super) fn end(&self, outcome: Outcome, denial: Option<Denial>) {
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some((outcome, denial));
    }
}

/// The record of one connection or request, bound to its session.
#[derive(Debug)]
pub(super) struct Exchange {
    record: Option<Record>,
    session: Arc<Session>,
    /// How long the questions about it took so far.
    deciding: Duration,
    /// What the session's meter showed when the counting for this record began.
    counted: Option<(u64, u64)>,
}

/// A sandbox's policy at one generation.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) sandbox: Sandbox,
    pub(super) policy: Policy,
}

impl Exchange {
    /// Waits until the audit log has room for this record.
    async fn admit(&mut self) -> Result<(), Full> {
        match &mut self.record {
            Some(record) => record.admit().await,
            None => Ok(()),
        }
    }

    /// What is known so far.
    pub(super) fn note(&mut self, note: impl FnOnce(&mut Event)) {
        if let Some(record) = &mut self.record {
            note(record.event());
        }
    }

    /// Whether the client was found to speak TLS.
    pub(super) fn is_tls(&mut self) -> bool {
        self.record.as_mut().is_some_and(|record| record.event().scheme == Some(Scheme::Tls))
    }

    /// Counts for this record what the session carries from here on, however it ends.
    pub(super) fn count(&mut self) {
        self.counted = Some((self.session.meter.up(), self.session.meter.down()));
    }

    /// The id of the record and of the request.
    pub(super) fn id(&self) -> String {
        self.record.as_ref().map(|record| record.id().to_owned()).unwrap_or_default()
    }

    /// Asks the policy, and notes how long the answer took.
    pub(super) fn decide<T>(&mut self, ask: impl FnOnce() -> Result<T, Denial>) -> Result<T, Denial> {
        let started = Instant::now();
        let answer = ask();
        self.deciding += started.elapsed();
        answer
    }

    /// Takes the sandbox's policy from the snapshot in force, and notes both.
    pub(super) fn call(&mut self, sandbox: Sandbox) -> Call {
        let snapshot = self.session.gateway.live.current();
        self.note(|event| {
            event.sandbox = Some(Arc::clone(&sandbox.id));
            event.group.clone_from(&sandbox.group);
            event.generation = Some(snapshot.generation);
        });
        Call { policy: snapshot.policy_for(&sandbox), sandbox }
    }

    /// Notes what was asked for.
    pub(super) fn asked(&mut self, target: &Target) {
        self.note(|event| {
            event.host = Some(Text::new(&target.host().to_string()));
            event.port = Some(target.port().get());
        });
    }

    /// Notes who allowed it.
    pub(super) fn allowed(&mut self, cause: &Cause, would_deny: Option<&Denial>) {
        self.note(|event| {
            event.decision = Some(Decision::Allow);
            describe(event, cause);
        });
        self.would_deny(would_deny);
    }

    /// Notes what a reporting document would have denied; the first one stays.
    pub(super) fn would_deny(&mut self, denial: Option<&Denial>) {
        let Some(denial) = denial else { return };
        self.note(|event| {
            event.would_deny.get_or_insert_with(|| WouldDeny {
                reason: denial.reason(),
                policy: denial.cause().map(|cause| Arc::clone(cause.policy())),
                rule: denial.cause().and_then(Cause::rule).map(Arc::from),
            });
        });
    }

    /// Writes the `open` record of a tunnel.
    pub(super) fn open(&mut self) {
        if let Some(record) = &mut self.record {
            record.open();
        }
    }

    /// Ends the record of something that was refused; `status` is what the client was told, if anything.
    ///
    /// The record says what was found and what to change, so that one line is enough at 3 a.m.
    pub(super) fn refuse(mut self, refusal: &Refusal, target: Option<&Target>, status: Option<u16>) {
        let denial = refusal.denial();
        let hint = denial.hint(target);
        let words: Vec<&str> = [denial.detail(), hint.as_deref().unwrap_or_default()]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        self.note(|event| {
            deny(event, denial);
            event.status = status;
            if !words.is_empty() {
                event.error = Some(Text::new(&words.join(": ")));
            }
        });
        self.finish(refusal.outcome());
    }

    /// Ends the record.
    ///
    /// Where the session is being ended from this side, the reason of that comes first: what looks like a
    /// client or origin going away is then only the consequence.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.end(Some(outcome));
    }

    /// Ends the record once; without an outcome of its own it was dropped.
    fn end(&mut self, outcome: Option<Outcome>) {
        let Some(mut record) = self.record.take() else { return };
        if !self.deciding.is_zero() {
            self.session.gateway.metrics.decided_in(self.deciding);
        }
        if let Some((up, down)) = self.counted {
            record.event().bytes_up = Some(self.session.meter.up() - up);
            record.event().bytes_down = Some(self.session.meter.down() - down);
        }
        let ending = self.session.ending.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let left = || self.session.left.load(Ordering::Relaxed).then_some(Outcome::ClientClosed);
        let draining = || self.session.gateway.tasks.watcher().is_draining().then_some(Outcome::Drained);
        match ending {
            Some((outcome, denial)) => {
                if let Some(denial) = denial {
                    deny(record.event(), &denial);
                    // What ends here was allowed by an older policy and is denied by the one in force.
                    record.event().generation = Some(self.session.gateway.live.current().generation);
                }
                record.finish(outcome);
            }
            None => match outcome.or_else(draining).or_else(left) {
                Some(outcome) => record.finish(outcome),
                None => drop(record),
            },
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// Writes a denial into an event.
fn deny(event: &mut Event, denial: &Denial) {
    event.decision = Some(Decision::Deny);
    event.reason = Some(denial.reason());
    event.policy = None;
    event.scope = None;
    event.rule = None;
    if let Some(cause) = denial.cause() {
        describe(event, cause);
    }
}

/// Writes the deciding document and rule into an event.
fn describe(event: &mut Event, cause: &Cause) {
    event.policy = Some(Arc::clone(cause.policy()));
    event.scope = Some(cause.scope().clone());
    event.rule = cause.rule().map(Arc::from);
}
