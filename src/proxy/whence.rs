//! Where an HTTP connection came from, and so what its requests are for.
//!
//! | the request target | to the proxy | in a tunnel | redirected |
//! |---|---|---|---|
//! | `host:port` of a CONNECT | that | refused | refused |
//! | `http://host/path` | that | must be the tunnel's target | that, on the port that the connection was going to |
//! | `/path` | refused | the tunnel's target | its `Host`, on that port; without one (HTTP/1.0) the address |
//! | `*` | refused | refused | refused |
//!
//! An IP literal in a redirected request must be the address that the connection was going to.

use std::borrow::Cow;

use super::refusal::Refusal;
use crate::addr::{Host, Port, Target};
use crate::audit::Ingress;
use crate::identity::Identity;
use crate::policy::agreement::{admit_inside, admit_name_at, admit_named};
use crate::wire::head::{Head, Version};
use crate::wire::request_target::{RequestTarget, Resource};

/// Where an HTTP connection came from.
#[derive(Debug)]
pub(super) enum Whence {
    /// From a client of the explicit proxy.
    Client,
    /// Out of a tunnel.
    Tunnel(Inner),
    /// From a client that was redirected on its way to an address.
    Redirected(Inner),
    /// The same; nothing that it asks is answered with anything else.
    Refused(Refusal),
}

/// What is known of an HTTP connection before any request.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) sandbox: Identity,
    /// The target of the tunnel, or the address that was redirected.
    pub(super) target: Target,
    /// What TLS around them was opened for, where it was decrypted: each of them must be for that.
    pub(super) outer: Option<Host>,
    /// How its requests come in.
    pub(super) ingress: Ingress,
}

impl Inner {
    /// Whether a request in it that names its own target names this one: that of the TLS around it, else of the tunnel.
    fn admit(&self, named: &Target) -> Result<(), Refusal> {
        match &self.outer {
            Some(outer) => {
                admit_inside(outer, &self.target, named).map_err(|denial| Refusal::from(denial).misdirected())
            }
            None => Ok(admit_named(&self.target, named)?),
        }
    }
}

impl Whence {
    /// How requests other than CONNECT come in.
    pub(super) const fn ingress(&self) -> Ingress {
        match self {
            Self::Client => Ingress::Http,
            Self::Tunnel(inner) | Self::Redirected(inner) => inner.ingress,
            Self::Refused(_) => Ingress::TransparentHttp,
        }
    }

    /// Whose requests these are, where that is known before them.
    pub(super) const fn sandbox(&self) -> Option<&Identity> {
        match self {
            Self::Client | Self::Refused(_) => None,
            Self::Tunnel(inner) | Self::Redirected(inner) => Some(&inner.sandbox),
        }
    }

    /// What TLS around these requests was opened for, where it was decrypted.
    pub(super) const fn outer(&self) -> Option<&Host> {
        match self {
            Self::Tunnel(inner) => inner.outer.as_ref(),
            Self::Client | Self::Redirected(_) | Self::Refused(_) => None,
        }
    }

    /// What answers everything, if anything does.
    pub(super) const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Client | Self::Tunnel(_) | Self::Redirected(_) => None,
        }
    }

    /// The address that the connection was going to, where it was redirected.
    pub(super) const fn address(&self) -> Option<&Target> {
        match self {
            Self::Redirected(inner) => Some(&inner.target),
            Self::Client | Self::Tunnel(_) | Self::Refused(_) => None,
        }
    }

    /// What a request is about: its target, and what is asked of it unless it is a CONNECT.
    ///
    /// # Errors
    /// It has no target here.
    pub(super) fn target<'a>(
        &'a self,
        head: &Head,
        form: &'a RequestTarget,
    ) -> Result<(Cow<'a, Target>, Option<&'a Resource>), Refusal> {
        match (self, form) {
            (Self::Refused(refusal), _) => Err(refusal.clone()),
            (_, RequestTarget::Asterisk) => {
                Err(Refusal::malformed("`*` names no target that a proxy can reach"))
            }
            (Self::Client, RequestTarget::Authority(target)) => Ok((Cow::Borrowed(target), None)),
            (Self::Client, RequestTarget::Absolute(target, resource)) => {
                Ok((Cow::Borrowed(target), Some(resource)))
            }
            (Self::Client, RequestTarget::Origin(_)) => Err(Refusal::malformed(
                "this is a proxy: send the full URL (`GET http://host/path`) or CONNECT",
            )),
            (Self::Tunnel(_), RequestTarget::Authority(_)) => {
                Err(Refusal::malformed("CONNECT inside a tunnel is refused").closing())
            }
            (Self::Tunnel(tunnel), RequestTarget::Origin(resource)) => {
                Ok((Cow::Borrowed(&tunnel.target), Some(resource)))
            }
            (Self::Tunnel(tunnel), RequestTarget::Absolute(target, resource)) => {
                tunnel.admit(target)?;
                Ok((Cow::Borrowed(&tunnel.target), Some(resource)))
            }
            (Self::Redirected(_), RequestTarget::Authority(_)) => {
                Err(Refusal::malformed("there is no proxy here for a CONNECT: connect directly").closing())
            }
            (Self::Redirected(inner), RequestTarget::Absolute(target, resource)) => {
                admit_name_at(&inner.target, target)?;
                Ok((Cow::Borrowed(target), Some(resource)))
            }
            (Self::Redirected(inner), RequestTarget::Origin(resource)) => {
                Ok((named(head, &inner.target)?, Some(resource)))
            }
        }
    }
}

/// What the `Host` of a redirected request names; without one, the address that the connection was going to.
fn named<'a>(head: &Head, address: &'a Target) -> Result<Cow<'a, Target>, Refusal> {
    let Some(host) = head.host() else {
        let optional = head.version() == Version::Http10;
        return if optional {
            Ok(Cow::Borrowed(address))
        } else {
            Err(Refusal::malformed("the request has no Host"))
        };
    };
    let named = target_of(host, address.port())?;
    admit_name_at(address, &named)?;
    Ok(Cow::Owned(named))
}

/// The target that a `Host` names; one without a port is on `port`.
///
/// # Errors
/// It is not `host` or `host:port`.
pub(super) fn target_of(host: &str, port: Port) -> Result<Target, Refusal> {
    Target::parse_or(host, port)
        .map_err(|error| Refusal::malformed(format!("the Host header is malformed: {error}")))
}
