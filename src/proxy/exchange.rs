//! The record of one connection or request while it is under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch::Receiver;

use super::refusal::Refusal;
use super::session::{Ending, Identified, Overruling, Session, Standing};
use super::upload::Upload;
use crate::addr::Target;
use crate::audit::{Counted, Decision, Event, Full, Kind, Outcome, Record, Scheme, Text, WouldDeny};
use crate::identity::Identity;
use crate::live::Snapshot;
use crate::policy::{Cause, Denial, Policy, Reason, Way};

/// The record of one connection or request, bound to its session.
#[derive(Debug)]
pub(super) struct Exchange {
    record: Option<Record>,
    session: Arc<Session>,
    /// Its number among the records of its connection.
    number: u64,
    /// How long the questions about it took so far.
    deciding: Duration,
    /// What the session's meter showed when the counting for this record began.
    counted: Option<(u64, u64)>,
    /// The request's body, which ends with the record, and how much of the response has come.
    carried: Option<(Arc<Upload>, u64)>,
    /// Whether it is dropped when its client resets the stream that it is about.
    resettable: bool,
}

/// A sandbox's policy at one generation.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) sandbox: Identity,
    pub(super) policy: Policy,
    pub(super) generation: u64,
}

impl Call {
    /// The sandbox's policy in the snapshot that it was identified by.
    pub(super) fn of(Identified { sandbox, snapshot }: Identified) -> Self {
        Self { policy: snapshot.policy_for(&sandbox), sandbox, generation: snapshot.generation }
    }
}

impl Exchange {
    /// Opens the record of a connection or a request, once the audit log has room for it.
    ///
    /// # Errors
    /// `audit_unavailable` when the log is full and configured to deny.
    pub(super) async fn admitted(session: &Arc<Session>, kind: Kind) -> Result<Self, Refusal> {
        let mut exchange = Self::unadmitted(session, kind);
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
    pub(super) fn unadmitted(session: &Arc<Session>, kind: Kind) -> Self {
        let mut record = session.gateway.audit.unadmitted(kind);
        let event = record.event();
        event.client = Some(session.client);
        event.listener = Some(Arc::clone(&session.listener.name));
        Self {
            record: Some(record),
            session: Arc::clone(session),
            number: session.number(),
            deciding: Duration::ZERO,
            counted: None,
            carried: None,
            resettable: false,
        }
    }

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

    /// The connection that it is on.
    pub(super) const fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the client was found to speak TLS.
    pub(super) fn is_tls(&mut self) -> bool {
        self.record.as_mut().is_some_and(|record| record.event().scheme == Some(Scheme::Tls))
    }

    /// Notes what is under way by this record, until it ends, so that a policy change can end it.
    pub(super) fn stand(&self, standing: Standing) {
        self.session.stand(self.number, standing);
    }

    /// Adds the way that it takes to that.
    ///
    /// # Errors
    /// The policy has changed since `changes` was subscribed, and denies it now.
    pub(super) fn stand_on(&mut self, way: &Way, changes: &Receiver<Arc<Snapshot>>) -> Result<(), Denial> {
        let stood = self.session.stand_on(self.number, way, changes);
        stood.map_err(|overruling| self.overruled(overruling))
    }

    /// Notes what is under way and was permitted in the snapshot of this generation.
    ///
    /// # Errors
    /// Another snapshot is in force, and denies it.
    pub(super) fn stand_since(&mut self, standing: &Standing, generation: u64) -> Result<(), Denial> {
        let stood = self.session.stand_since(self.number, standing, generation);
        stood.map_err(|overruling| self.overruled(overruling))
    }

    /// Notes which snapshot denies what an earlier one allowed.
    fn overruled(&mut self, Overruling { denial, generation, .. }: Overruling) -> Denial {
        self.note(|event| event.generation = generation.or(event.generation));
        denial
    }

    /// Notes that the requests inside have records of their own, which count the same bytes.
    pub(super) fn holds_requests(&mut self) {
        self.note(|event| event.counted = Counted::Inside);
    }

    /// Notes that it is about a stream, which its client may reset at any time: what was asked is dropped then.
    pub(super) const fn is_on_a_stream(&mut self) {
        self.resettable = true;
    }

    /// Counts for this record what the session carries from here on, however it ends.
    pub(super) fn count(&mut self) {
        self.counted = Some((self.session.meter.up(), self.session.meter.down()));
    }

    /// Counts for this record what goes up in `upload`, however it ends.
    pub(super) fn carry(&mut self, upload: Arc<Upload>) {
        self.carried = Some((upload, 0));
    }

    /// Whether its client broke the request off.
    pub(super) fn is_broken_off(&self) -> bool {
        self.carried.as_ref().is_some_and(|(upload, _)| upload.is_broken())
    }

    /// Counts a part of the response.
    pub(super) fn add_down(&mut self, bytes: usize) {
        if let Some((_, down)) = &mut self.carried {
            *down += bytes as u64;
        }
        self.session.meter.add_down(bytes);
    }

    /// Ends the counting: the bytes up and down, where any were to be counted.
    fn bytes(&mut self) -> Option<(u64, u64)> {
        let meter = &self.session.meter;
        let counted = self.counted.take().map(|(up, down)| (meter.up() - up, meter.down() - down));
        let carried = self.carried.take().map(|(upload, down)| (upload.cut(), down));
        let both = |((up, down), (more_up, more_down))| (up + more_up, down + more_down);
        counted.zip(carried).map(both).or(counted).or(carried)
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

    /// Takes the sandbox's policy from the snapshot that it was identified by, and notes both.
    pub(super) fn call(&mut self, known: Identified) -> Call {
        let call = Call::of(known);
        self.note(|event| {
            event.sandbox = Some(Arc::clone(&call.sandbox.id));
            event.group.clone_from(&call.sandbox.group);
            event.generation = Some(call.generation);
        });
        call
    }

    /// The sandbox whose call this is, once it is known.
    pub(super) fn asker(&mut self) -> Arc<str> {
        let known = self.record.as_mut().and_then(|record| record.event().sandbox.clone());
        known.unwrap_or_else(|| Arc::from(""))
    }

    /// Notes what was asked for.
    pub(super) fn asked(&mut self, target: &Target) {
        self.note(|event| {
            event.host = Some(Text::new(&target.host().to_string()));
            event.port = Some(target.port().get());
        });
    }

    /// Notes who allowed it, and whether some document was not asked.
    pub(super) fn allowed(&mut self, cause: &Cause, would_deny: Option<&Denial>, skipped: bool) {
        self.note(|event| {
            event.decision = Some(if skipped { Decision::Skip } else { Decision::Allow });
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
        // RACE: when all tasks are dropped, that of the origin's connection may go before the one that waits for it.
        if denial.reason() == Reason::UpstreamFailed && self.session.gateway.tasks.watcher().is_forced() {
            return self.finish(Outcome::Drained);
        }
        let hint = denial.hint(target);
        self.note(|event| {
            deny(event, denial);
            event.status = status;
            let noted = event.error.take();
            let noted = noted.as_ref().map(Text::as_str);
            let words = [Some(denial.detail()), noted, refusal.aside(), hint.as_deref()];
            let words: Vec<&str> = words.into_iter().flatten().filter(|text| !text.is_empty()).collect();
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
        self.session.rest(self.number);
        if !self.deciding.is_zero() {
            self.session.gateway.metrics.decided_in(self.deciding);
        }
        if let Some((up, down)) = self.bytes() {
            record.event().bytes_up = Some(up);
            record.event().bytes_down = Some(down);
        }
        // RACE: an origin whose task was dropped first has not failed.
        let forced = self.session.gateway.tasks.watcher().is_forced();
        let outcome = outcome.filter(|outcome| !(forced && *outcome == Outcome::UpstreamClosed));
        let reset = self.resettable && !std::thread::panicking();
        let left = || (reset || self.session.has_left()).then_some(Outcome::ClientClosed);
        let draining = || self.session.gateway.tasks.watcher().is_draining().then_some(Outcome::Drained);
        match self.session.ending() {
            Some(Ending { outcome, denial }) => {
                let own = |whose: Option<u64>| whose.is_none_or(|number| number == self.number);
                if let Some(Overruling { denial, generation, .. }) =
                    denial.filter(|denial| own(denial.record))
                {
                    let event = record.event();
                    deny(event, &denial);
                    if !denial.detail().is_empty() {
                        event.error = Some(Text::new(denial.detail()));
                    }
                    // What ends here was allowed by an older policy.
                    event.generation = generation.or(event.generation);
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
    match denial.cause() {
        Some(cause) => describe(event, cause),
        // No rule decided that: the one that allowed the attempt is still the one to know.
        None if matches!(denial.reason(), Reason::UpstreamFailed | Reason::DnsFailed) => {}
        None => (event.policy, event.scope, event.rule) = (None, None, None),
    }
}

/// Writes the deciding document and rule into an event.
fn describe(event: &mut Event, cause: &Cause) {
    event.policy = Some(Arc::clone(cause.policy()));
    event.scope = Some(cause.scope().clone());
    event.rule = cause.rule().map(Arc::from);
}
