//! The gateway's own connections, to services that its operator named.

use std::net::{IpAddr, SocketAddr};

use super::dial::{DialFailure, DialSettings, Dialed, race};
use crate::addr::Endpoint;

/// The operator's permit to connect to one address of an endpoint, once.
///
/// SECURITY: it is made in this room only, for a [`Call`](crate::secrets::Call), which only the room of secrets makes, from
/// a URL of the configuration or of a `Secret`. Nothing that a client says becomes one.
#[derive(Debug)]
pub(super) struct OwnPermit {
    address: SocketAddr,
}

impl OwnPermit {
    /// A permit; none for plain HTTP to anywhere but this machine or its network.
    pub(super) fn new(endpoint: &Endpoint, address: IpAddr) -> Option<Self> {
        let allowed = endpoint.is_secure() || endpoint.is_near();
        allowed.then(|| Self { address: SocketAddr::new(address, endpoint.target().port().get()) })
    }
}

/// Opens one connection of the gateway itself to one of the permitted addresses, as [`dial`](super::dial::dial) does.
///
/// # Errors
/// [`DialFailure`] when every attempt failed or the time is up.
pub(super) async fn dial_own(
    permits: Vec<OwnPermit>,
    settings: &DialSettings,
) -> Result<Dialed, DialFailure> {
    race(permits.into_iter().map(|permit| permit.address), settings).await
}
