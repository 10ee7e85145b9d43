//! `limits`: how much one sandbox may use.

use crate::policy::limit::{Limit, Limits};
use crate::source::{Kind, Spot};

/// The keys of `limits`.
pub(crate) const LIMIT_KEYS: [&str; 6] = [
    Limit::Connections.key(),
    Limit::ConnectionsPerSecond.key(),
    Limit::RequestsPerSecond.key(),
    Limit::UploadBytes.key(),
    Limit::DnsQueries.key(),
    Limit::DnsQueriesPerSecond.key(),
];

/// The numbers of a document, or of the process configuration.
pub(crate) fn limits(spot: &Spot<'_>) -> Limits {
    let Some(fields) = spot.fields(&LIMIT_KEYS) else { return Limits::NONE };
    Limit::ALL.into_iter().fold(Limits::NONE, |all, limit| {
        match fields.get(limit.key()).and_then(|spot| number(&spot, limit)) {
            Some(most) => all.with(limit, most),
            None => all,
        }
    })
}

/// One number.
fn number(spot: &Spot<'_>, limit: Limit) -> Option<u64> {
    let (found, shown) = match &spot.node().kind {
        Kind::Int(value) => (u64::try_from(*value).ok(), value.to_string()),
        kind @ (Kind::Null
        | Kind::Bool(_)
        | Kind::Float(_)
        | Kind::Text(_)
        | Kind::List(_)
        | Kind::Map(_)) => (None, kind.noun().to_owned()),
    };
    let found = found.filter(|most| (1..=limit.largest()).contains(most));
    if found.is_none() {
        spot.error_cure(
            format!("`{}` is a number of {}, and this is {shown}", limit.key(), limit.unit()),
            format!("write a whole number from 1 to {}, without quotes or unit", limit.largest()),
        );
    }
    found
}
