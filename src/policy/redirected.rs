//! What was redirected to the gateway: where it was going, and what it may call that.

use std::net::{IpAddr, SocketAddr};

use super::decision::{Denial, TargetPermit};
use super::hello::HelloFacts;
use super::reason::Reason;
use super::scope::Policy;
use crate::addr::{Host, Port, Target};

impl Policy {
    /// Whether a connection was redirected on its way to somewhere else, and to where.
    ///
    /// | the original destination | answer |
    /// |---|---|
    /// | none: the connection was made to this host itself | `guard_self` |
    /// | the gateway, by any form of the address: one of its own addresses on any port, or a socket of its own | `guard_self` |
    /// | port 0 | `bad_request` |
    /// | anything else | that address, about which nothing is decided yet |
    ///
    /// # Errors
    /// The denial of the table.
    pub fn admit_redirected(&self, original: Option<SocketAddr>) -> Result<Target, Denial> {
        let Some(original) = original else {
            let detail = "the connection was made to the gateway itself: connect to the destination";
            return Err(Denial::new(Reason::GuardSelf, detail));
        };
        let Some(port) = Port::new(original.port()) else {
            return Err(Denial::new(Reason::BadRequest, "the connection was redirected from port 0"));
        };
        let address: IpAddr = original.ip();
        if self.guards().hardest(address, port) == Some(Reason::GuardSelf) {
            let detail =
                format!("{address} on port {port} is the gateway itself: connect to the destination");
            return Err(Denial::new(Reason::GuardSelf, detail));
        }
        Ok(Target::new(Host::Ip(address), port))
    }

    /// Question A for redirected TLS that was going to `address`: who it says it is for is the target.
    ///
    /// | the hello | is judged as | a denial is |
    /// |---|---|---|
    /// | encrypted, under `ech: Deny` | | `sni_missing` |
    /// | has a server name, the outer one where it is encrypted | that name on the same port | question A's |
    /// | has none, and an IP rule admits the address everywhere | the address | |
    /// | has none, and a document allows by default, with no Deny of names and no `rules` | the address | question A's |
    /// | has none, and a document allows by default, with any of those | | `sni_missing` |
    /// | has none, and a document denies by default | | `sni_missing` |
    /// | has none, and a rule or a guard denies the address | | question A's |
    ///
    /// Whether the TLS is decrypted is for [`Policy::decrypts`] to say; where it is not, it is asked here whether it may pass.
    ///
    /// # Errors
    /// The denial of the table, or why the TLS may not pass as it is.
    pub fn admit_redirected_hello(
        &self,
        address: &Target,
        hello: HelloFacts<'_>,
    ) -> Result<TargetPermit, Denial> {
        if hello.ech {
            self.admit_ech()?;
        }
        let permit = if let Some(name) = hello.server_name {
            self.admit(&Target::new(Host::Name(name.clone()), address.port()))?
        } else {
            let permit = self.admit(address).map_err(|denial| {
                // What the client left out is what could have been allowed.
                let unnamed = denial.reason == Reason::DefaultDeny;
                if unnamed { Denial { reason: Reason::SniMissing, ..denial } } else { denial }
            })?;
            self.admit_nameless_tls(&permit)?;
            permit
        };
        if !self.decrypts(&permit) {
            self.admit_sealed(&permit)?;
        }
        Ok(permit)
    }
}
