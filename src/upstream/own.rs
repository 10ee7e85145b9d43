//! The gateway's own connections, to services that its operator named.

use std::net::{IpAddr, SocketAddr};

use super::dial::{DialFailure, DialSettings, Dialed, race};
use super::uplink::{Uplink, is_here};
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

/// Opens one connection of the gateway itself to one of the permitted addresses, by this uplink and its parent proxy.
///
/// What is on this machine or its link, such as the service that knows its identity, is asked directly: by any other way
/// it would be that of another machine.
///
/// # Errors
/// [`DialFailure`] when every attempt failed or the time is up.
pub(super) async fn dial_own(permits: Vec<OwnPermit>, uplink: &Uplink) -> Result<Dialed, DialFailure> {
    let addresses: Vec<_> = permits.into_iter().map(|permit| permit.address).collect();
    if addresses.iter().all(|address| is_here(address.ip())) {
        let connect_timeout = uplink.dial.connect_timeout;
        let settings = DialSettings { connect_timeout, ..DialSettings::default() };
        return race(addresses.into_iter(), &settings).await;
    }
    uplink.connect(addresses).await
}

/// The same by the name of an endpoint, where the parent proxy alone resolves names.
///
/// # Errors
/// [`DialFailure`] when it failed or the time is up.
pub(super) async fn dial_own_name(endpoint: &Endpoint, uplink: &Uplink) -> Result<Dialed, DialFailure> {
    uplink.connect_name(endpoint.target()).await
}
