//! Where a connection, a request and a DNS query meet the limits of their sandbox: before anything of them leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Gateway;
use super::exchange::Call;
use super::refusal::Refusal;
use super::session::{Identified, Session};
use crate::identity::Identity;
use crate::live::Snapshot;
use crate::policy::{Denial, Limit, Limits, Policy, Reason};
use crate::share::{Beyond, LookUp, Newcomer, Seat, Share};

impl Gateway {
    /// What a sandbox under this policy may use: of policy and process configuration the smaller numbers.
    pub(super) fn limits_under(&self, policy: &Policy) -> Limits {
        policy.limits().narrowed(self.shares.limits())
    }

    /// Takes a DNS query of a sandbox, whatever becomes of it.
    ///
    /// # Errors
    /// `limit`.
    pub(super) fn query(&self, share: &Share, policy: &Policy) -> Result<(), Denial> {
        share.query(&self.limits_under(policy)).map_err(|beyond| denial(policy, beyond))
    }

    /// Takes a place for a query of a sandbox, before it is looked up; it counts until the answer is dropped.
    ///
    /// # Errors
    /// `limit`.
    pub(super) fn look_up(&self, share: &Arc<Share>, policy: &Policy) -> Result<LookUp, Denial> {
        share.look_up(&self.limits_under(policy)).map_err(|beyond| denial(policy, beyond))
    }
}

impl Session {
    /// Seats a connection that was just accepted, where its listener or source says whose it is; any other is a
    /// newcomer until it does.
    ///
    /// # Errors
    /// Its sandbox, and `limit`.
    pub(super) fn arrive(&self) -> Result<(), Box<(Identified, Refusal)>> {
        let Ok(known) = self.identify(None) else { return Ok(()) };
        let call = Call::of(known.clone());
        let limits = self.gateway.limits_under(&call.policy);
        self.seat(&call, &limits).map(drop).map_err(|refusal| Box::new((known, refusal)))
    }

    /// Takes a request of a call, and a seat for its connection.
    ///
    /// # Errors
    /// `limit`.
    pub(super) fn admit_request(&self, call: &Call) -> Result<(), Refusal> {
        let limits = self.gateway.limits_under(&call.policy);
        let share = self.seat(call, &limits)?;
        share.request(&limits).map_err(|beyond| denial(&call.policy, beyond).into())
    }

    /// Takes a seat with the sandbox of a call, one for the life of the connection, and puts what goes up on its account.
    ///
    /// # Errors
    /// `limit`; the connection is not to go on, as nobody's share bounds how many such there are.
    fn seat(&self, call: &Call, limits: &Limits) -> Result<Arc<Share>, Refusal> {
        let share = self.gateway.shares.of(&call.sandbox.id);
        share.pace(call.generation, limits);
        if !self.meter.account.turn_to(&share) {
            let seat = share
                .connect(limits)
                .map_err(|beyond| Refusal::from(denial(&call.policy, beyond)).closing())?;
            self.meter.account.sit(seat);
        }
        let newcomer = self.newcomer.swap(0, Ordering::Relaxed);
        if newcomer != 0 {
            self.gateway.newcomers.leave(newcomer);
        }
        Ok(share)
    }

    /// Takes one more seat with the sandbox of a call: for a connection to an origin besides those that come with a
    /// connection of a client.
    ///
    /// # Errors
    /// `limit`.
    pub(super) fn one_more(&self, call: &Call) -> Result<Seat, Refusal> {
        let limits = self.gateway.limits_under(&call.policy);
        let share = self.gateway.shares.of(&call.sandbox.id);
        share.connect(&limits).map_err(|beyond| denial(&call.policy, beyond).into())
    }

    /// Lets bytes go up at the rate that another snapshot allows.
    pub(super) fn pace(&self, known: &Identity, snapshot: &Snapshot) {
        let Ok(sandbox) = self.known_in(snapshot, known) else { return };
        let limits = self.gateway.limits_under(&snapshot.policy_for(&sandbox));
        self.gateway.shares.of(&sandbox.id).pace(snapshot.generation, &limits);
    }

    /// Takes a DNS query for what is under way, and a place for it.
    ///
    /// # Errors
    /// `limit`.
    pub(super) fn look_up(&self, policy: &Policy) -> Result<LookUp, Denial> {
        // SECURITY: nothing is looked up for a connection that nobody pays for.
        let share =
            self.meter.account.share().ok_or_else(|| {
                Denial::new(Reason::PolicyError, "the connection has no seat with a sandbox")
            })?;
        self.gateway.query(&share, policy)?;
        self.gateway.look_up(&share, policy)
    }

    /// Resolves once too many newcomers have come after this one; never for one that has a seat.
    pub(super) async fn crowded_out(&self, newcomer: Option<Newcomer>) -> Denial {
        if let Some(newcomer) = newcomer {
            newcomer.crowded_out().await;
        }
        // RACE: it may have taken its seat at that moment.
        if self.meter.account.share().is_some() {
            return std::future::pending().await;
        }
        self.gateway.shares.tell(Limit::Connections);
        let detail = "a quarter of `limits.connections` are connections that have not said whose they are; this is the oldest";
        Denial::new(Reason::Limit, detail)
    }

    /// Makes this a newcomer, unless it has a seat.
    ///
    /// Called where it is read from next, as whoever has sent something already is heard then.
    pub(super) fn newcomer(&self) -> Option<Newcomer> {
        if self.meter.account.share().is_some() {
            return None;
        }
        let newcomer = self.gateway.newcomers.enter();
        self.newcomer.store(newcomer.number(), Ordering::Relaxed);
        Some(newcomer)
    }
}

/// The denial of what goes beyond a limit.
fn denial(policy: &Policy, Beyond { limit, most }: Beyond) -> Denial {
    policy.beyond(limit, most)
}
