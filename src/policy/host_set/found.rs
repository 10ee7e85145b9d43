//! What a set is asked, and what it says.

use std::net::IpAddr;

use crate::addr::Host;
use crate::policy::name_key::NameKey;
use crate::policy::pattern_pool::{PatternRef, REF_BITS};

/// What a pattern does in its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A `hostRules` Deny.
    Deny,
    /// A `hostRules` Allow, or a host of a category.
    Allow,
    /// The host of some `rules`.
    Rules,
}

impl Class {
    /// The class in the bits above a reference.
    pub(in crate::policy) const fn of(pattern: u32) -> Self {
        match pattern >> REF_BITS {
            0 => Self::Deny,
            1 => Self::Allow,
            _ => Self::Rules,
        }
    }

    /// A reference with the class in the bits above it.
    pub(in crate::policy) const fn tag(self, at: PatternRef) -> u32 {
        let class = match self {
            Self::Deny => 0,
            Self::Allow => 1,
            Self::Rules => 2,
        };
        class << REF_BITS | at.bits()
    }
}

/// A match: at which place of the document, and whether the pattern has a port of its own, so that the document's
/// `ports` do not bound it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMatch {
    /// The place of the pattern.
    pub place: u32,
    /// The pattern names the port.
    pub own_port: bool,
}

impl HostMatch {
    /// The one of two that binds more loosely: with its own port before without, then the first in the document.
    pub(super) fn or(self, other: Option<Self>) -> Self {
        let rank = |found: &Self| (!found.own_port, found.place);
        other.filter(|other| rank(other) <= rank(&self)).unwrap_or(self)
    }
}

/// What a document's patterns say of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// A Deny that matches.
    pub denied: Option<HostMatch>,
    /// The Allow that matches and binds most loosely.
    pub allowed: Option<HostMatch>,
    /// Some `rules` are about it.
    pub ruled: bool,
}

/// A host, prepared for any number of sets.
#[derive(Debug)]
pub enum HostKey<'h> {
    /// A name.
    Name(NameKey<'h>),
    /// A literal.
    Ip(IpAddr),
}

impl<'h> HostKey<'h> {
    /// Prepares a host.
    #[must_use]
    #[inline]
    pub fn new(host: &'h Host) -> Self {
        match host {
            Host::Name(name) => Self::Name(NameKey::new(name.as_str())),
            Host::Ip(ip) => Self::Ip(*ip),
        }
    }
}
