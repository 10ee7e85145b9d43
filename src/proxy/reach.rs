//! From a permitted name to an open connection: resolve, judge each address, dial what is left.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Gateway;
use super::exchange::Exchange;
use super::refusal::Refusal;
use crate::addr::Host;
use crate::audit::{self, Event};
use crate::metrics::DnsResult;
use crate::policy::{Policy, Route, TargetPermit, settle};
use crate::upstream::{DialFailure, Dialed, ResolveError};

impl Gateway {
    /// Opens a connection to the target of `permit`: only to addresses that question B permits, and to exactly
    /// those that were judged.
    ///
    /// # Errors
    /// `limit`, `dns_failed`, the common denial of all addresses, or `upstream_failed`.
    pub(super) async fn reach(
        &self,
        policy: &Policy,
        permit: &TargetPermit,
        exchange: &mut Exchange,
    ) -> Result<Dialed, Refusal> {
        let uplink = self.uplinks.expect(permit.route())?;
        exchange.note(|event| by(event, permit.route()));
        uplink.check_up()?;
        if let Some(by_name) = policy.admit_by_name(permit)? {
            return connected(self.uplinks.dial_name(by_name), exchange).await;
        }
        let addresses = self.addresses(policy, permit, exchange).await?;
        let (mut permits, mut denials) = (Vec::new(), Vec::new());
        for address in addresses {
            match exchange.decide(|| policy.admit_address(permit, address)) {
                Ok(permit) => {
                    exchange.would_deny(permit.would_deny());
                    permits.push(permit);
                }
                Err(denial) => denials.push((address, denial)),
            }
        }
        if permits.is_empty() {
            return Err(settle(denials).into());
        }
        connected(self.uplinks.dial(permits), exchange).await
    }

    /// The addresses of a target: itself, or what the resolver says.
    async fn addresses(
        &self,
        policy: &Policy,
        permit: &TargetPermit,
        exchange: &mut Exchange,
    ) -> Result<Vec<IpAddr>, Refusal> {
        let name = match permit.target().host() {
            Host::Ip(ip) => return Ok(vec![*ip]),
            Host::Name(name) => name,
        };
        let _look_up = exchange.session().look_up(policy)?;
        let started = Instant::now();
        let uplink = self.uplinks.expect(permit.route())?;
        let resolved = uplink.resolve(&exchange.asker(), name).await;
        exchange.note(|event| event.dns = Some(started.elapsed()));
        self.metrics.dns_query(&uplink.name, result(resolved.as_ref().err().map(|failure| failure.error)));
        Ok(resolved?.addresses)
    }
}

/// Waits for a connection, and notes where it leads and how long that took.
async fn connected(
    dialing: impl Future<Output = Result<Dialed, DialFailure>>,
    exchange: &mut Exchange,
) -> Result<Dialed, Refusal> {
    let started = Instant::now();
    let dialed = dialing.await;
    exchange.note(|event| {
        event.connect = Some(started.elapsed());
        match &dialed {
            Ok(dialed) => event.address = dialed.address,
            Err(failure) => event.address = failure.attempts.last().map(|(address, _)| *address),
        }
    });
    Ok(dialed?)
}

/// Notes which path a call takes.
pub(super) fn by(event: &mut Event, route: &Route) {
    event.route = Some(match route {
        Route::Managed => audit::Route::Managed,
        Route::Delegated(_) => audit::Route::Delegated,
    });
    event.network = Some(match route {
        Route::Managed => Arc::from(Route::MANAGED),
        Route::Delegated(network) => Arc::clone(network),
    });
}

/// What a look-up counts as.
pub(super) const fn result(error: Option<ResolveError>) -> DnsResult {
    match error {
        None => DnsResult::Ok,
        Some(ResolveError::NoData | ResolveError::NotFound) => DnsResult::NotFound,
        Some(ResolveError::ServFail) => DnsResult::ServFail,
        Some(ResolveError::Timeout) => DnsResult::Timeout,
        Some(ResolveError::TooLarge) => DnsResult::TooLarge,
        Some(ResolveError::Other(_) | ResolveError::Option(_) | ResolveError::Remote) => DnsResult::Other,
    }
}
