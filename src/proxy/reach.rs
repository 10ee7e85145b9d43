//! From a permitted name to an open connection: resolve, judge each address, dial what is left.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::Gateway;
use super::exchange::Exchange;
use super::refusal::Refusal;
use crate::addr::Host;
use crate::audit::{Event, Route, Text};
use crate::metrics::DnsResult;
use crate::policy::{Policy, TargetPermit, settle};
use crate::upstream::{Dialed, ResolveError, dial};

/// The name of the default network in records.
const MANAGED: &str = "managed";

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
        exchange.note(managed);
        let started = Instant::now();
        let dialed = dial(permits, &self.dial).await;
        exchange.note(|event| {
            event.connect = Some(started.elapsed());
            match &dialed {
                Ok(dialed) => event.address = Some(dialed.address),
                Err(failure) => {
                    event.address = failure.attempts.last().map(|(address, _)| *address);
                    event.error = Some(Text::new(&failure.tried()));
                }
            }
        });
        Ok(dialed?)
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
        let resolved = self.resolver.resolve(&exchange.asker(), name).await;
        exchange.note(|event| event.dns = Some(started.elapsed()));
        self.metrics.dns_query(None, result(resolved.as_ref().err().copied()));
        Ok(resolved?.addresses)
    }
}

/// Notes that the default network is the way.
pub(super) fn managed(event: &mut Event) {
    event.route = Some(Route::Managed);
    event.network = Some(Arc::from(MANAGED));
}

/// What a look-up counts as.
pub(super) const fn result(error: Option<ResolveError>) -> DnsResult {
    match error {
        None => DnsResult::Ok,
        Some(ResolveError::NoData | ResolveError::NotFound) => DnsResult::NotFound,
        Some(ResolveError::ServFail) => DnsResult::ServFail,
        Some(ResolveError::Timeout) => DnsResult::Timeout,
        Some(ResolveError::TooLarge) => DnsResult::TooLarge,
        Some(ResolveError::Other(_)) => DnsResult::Other,
    }
}
