//! What the inside of a call says of where it goes: a second name beside the target's, a `ClientHello`.

use std::sync::Arc;

use super::decision::{Cause, Denial, TargetPermit};
use super::guard::views;
use super::host_set::HostKey;
use super::mode::Enforcement;
use super::reason::Reason;
use super::scope::Policy;
use crate::addr::{Host, Name, Target};

/// What a `ClientHello` says that decides.
#[derive(Debug, Clone, Copy)]
pub struct HelloFacts<'h> {
    /// The server name, if it has one.
    pub server_name: Option<&'h Name>,
    /// Whether an inner hello is encrypted, or pretended to be.
    pub ech: bool,
}

impl Policy {
    /// Question A for a second name of the same call: an SNI or a `Host`. It must equal the target's name;
    /// for a target that is an IP literal it is judged besides the literal, and a third one must equal it.
    ///
    /// # Errors
    /// `authority_mismatch` when the names differ, or the denial of the second name.
    pub fn admit_alias(&self, permit: TargetPermit, alias: &Host) -> Result<TargetPermit, Denial> {
        let differs = |known: &dyn std::fmt::Display| {
            let detail = format!("the call was opened for {known} but names {alias} inside");
            Err(Denial::new(Reason::AuthorityMismatch, detail))
        };
        let name = match (permit.target.host(), alias, &permit.alias) {
            (own, alias, _) if own == alias => return Ok(permit),
            (Host::Ip(_), Host::Name(name), Some(known)) if name == known => return Ok(permit),
            (Host::Ip(_), Host::Name(_), Some(known)) => return differs(known),
            (Host::Ip(_), Host::Name(name), None) => name,
            (own, _, _) => return differs(own),
        };
        let named = Target::new(alias.clone(), permit.target.port());
        let second = self.admit(&named);
        let second = second.map_err(|denial| Denial { alias: Some(named), ..denial })?;
        Ok(TargetPermit {
            alias: Some(name.clone()),
            open: permit.open.or(second.open),
            would_deny: permit.would_deny.or(second.would_deny),
            ..permit
        })
    }

    /// Whether TLS without a server name may pass to this target: never to a name, and to an IP literal only
    /// by an IP rule wherever a document denies names or has `rules`.
    ///
    /// # Errors
    /// `sni_missing`.
    pub fn admit_nameless_tls(&self, permit: &TargetPermit) -> Result<(), Denial> {
        let Host::Ip(ip) = permit.target.host() else {
            return Err(Denial::new(Reason::SniMissing, "the TLS inside carries no server name"));
        };
        let port = permit.target.port();
        let host = HostKey::new(permit.target.host());
        for document in self.asked() {
            let judges_names = document.hosts.denies_names() || document.has_rules();
            let has_ip_rule = document.hosts.find(self.pool(), &host, port).allowed.is_some()
                || views(*ip, &self.guards().nat64).all(|view| document.allows(view, port).is_some());
            if judges_names && !has_ip_rule && document.enforcement == Enforcement::Enforce {
                return Err(Denial::by(
                    Reason::SniMissing,
                    Cause { document: Arc::clone(document), rule: None },
                ));
            }
        }
        Ok(())
    }

    /// Whether a hello may carry an encrypted one, whose name nobody here can read (`ech: Deny`).
    ///
    /// # Errors
    /// `sni_missing` where the operator does not let it.
    pub fn admit_ech(&self) -> Result<(), Denial> {
        if self.guards().deny_ech {
            let detail = "the ClientHello is encrypted, and the operator set `ech: Deny`";
            return Err(Denial::new(Reason::SniMissing, detail));
        }
        Ok(())
    }
}

/// Whether another hello of the same handshake is for the server of the first, as RFC 8446 §4.1.2 wants it.
///
/// # Errors
/// `authority_mismatch`.
pub fn admit_hello_again(first: HelloFacts<'_>, again: HelloFacts<'_>) -> Result<(), Denial> {
    let named = |hello: HelloFacts<'_>| {
        hello.server_name.map_or_else(|| "no server".to_owned(), |name| format!("\"{}\"", name.as_str()))
    };
    let found = if first.server_name != again.server_name {
        format!("names {}, the one before it {}", named(again), named(first))
    } else if again.ech && !first.ech {
        "is encrypted, the one before it was not".to_owned()
    } else {
        return Ok(());
    };
    Err(other_hello(&found))
}

/// The denial of what came where another hello was asked for, in words that go on from "the `ClientHello`".
#[must_use]
pub fn other_hello(found: &str) -> Denial {
    Denial::new(Reason::AuthorityMismatch, format!("the ClientHello after a HelloRetryRequest {found}"))
}
