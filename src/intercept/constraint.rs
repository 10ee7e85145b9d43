//! Name constraints of an authority: the names that clients believe it (RFC 5280 §4.2.1.10).

use std::net::IpAddr;

use x509_parser::extensions::{GeneralName, GeneralSubtree, NameConstraints};

use crate::addr::Host;

/// What an authority may sign for.
///
/// Only names and addresses are looked at: a leaf has nothing else that could be constrained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    /// The only names and addresses; of a kind that has none, every one.
    permitted: Subtrees,
    /// Never these.
    excluded: Subtrees,
}

/// Subtrees of names and of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Subtrees {
    /// Names with everything below them, in lower case; with a leading dot, only what is below.
    names: Vec<Box<str>>,
    /// Addresses.
    nets: Vec<Net>,
}

/// Addresses that are the same where the mask has ones.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Net {
    /// The address, 4 or 16 bytes.
    address: Box<[u8]>,
    /// The mask, as many.
    mask: Box<[u8]>,
}

impl Constraints {
    /// Reads the extension; `None` where a subtree of names or addresses cannot be read.
    pub(super) fn read(written: &NameConstraints<'_>) -> Option<Self> {
        Some(Self {
            permitted: Subtrees::read(written.permitted_subtrees.as_deref())?,
            excluded: Subtrees::read(written.excluded_subtrees.as_deref())?,
        })
    }

    /// Whether clients believe a certificate for this host.
    pub(super) fn permit(&self, host: &Host) -> bool {
        let open = match host {
            Host::Name(_) => self.permitted.names.is_empty(),
            Host::Ip(_) => self.permitted.nets.is_empty(),
        };
        !self.excluded.hold(host) && (open || self.permitted.hold(host))
    }
}

impl Subtrees {
    /// Reads a list of subtrees.
    fn read(written: Option<&[GeneralSubtree<'_>]>) -> Option<Self> {
        let mut all = Self::default();
        for subtree in written.unwrap_or_default() {
            match &subtree.base {
                GeneralName::DNSName(name) => all.names.push(name.to_ascii_lowercase().into()),
                GeneralName::IPAddress(bytes) => {
                    let (address, mask) = bytes.split_at_checked(bytes.len() / 2)?;
                    if !matches!(bytes.len(), 8 | 32) {
                        return None;
                    }
                    all.nets.push(Net { address: address.into(), mask: mask.into() });
                }
                GeneralName::Invalid(..) => return None,
                // Of what no leaf has.
                GeneralName::OtherName(..)
                | GeneralName::RFC822Name(_)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::URI(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        Some(all)
    }

    /// Whether one of them holds the host.
    fn hold(&self, host: &Host) -> bool {
        match host {
            Host::Name(name) => self.names.iter().any(|base| is_within(name.as_str(), base)),
            Host::Ip(address) => self.nets.iter().any(|net| net.holds(*address)),
        }
    }
}

impl Net {
    /// Whether an address is in it.
    fn holds(&self, address: IpAddr) -> bool {
        let same = |octets: &[u8]| {
            octets.len() == self.address.len()
                && octets.iter().zip(&self.address).zip(&self.mask).all(|((a, b), mask)| (a ^ b) & mask == 0)
        };
        match address {
            IpAddr::V4(address) => same(&address.octets()),
            IpAddr::V6(address) => same(&address.octets()),
        }
    }
}

/// Whether a name is in the subtree of a base.
fn is_within(name: &str, base: &str) -> bool {
    base.is_empty()
        || name.strip_suffix(base).is_some_and(|rest| {
            base.starts_with('.') && !rest.is_empty() || rest.is_empty() || rest.ends_with('.')
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn subtrees(names: &[&str], nets: &[(&str, &str)]) -> Subtrees {
        let octets = |text: &str| match text.parse().unwrap() {
            IpAddr::V4(address) => Box::<[u8]>::from(address.octets()),
            IpAddr::V6(address) => Box::<[u8]>::from(address.octets()),
        };
        Subtrees {
            names: names.iter().map(|name| Box::from(*name)).collect(),
            nets: nets.iter().map(|(net, mask)| Net { address: octets(net), mask: octets(mask) }).collect(),
        }
    }

    #[test]
    fn a_name_is_within_a_subtree_at_a_label_boundary_only() {
        for (name, base, within) in [
            ("example.com", "example.com", true),
            ("a.b.example.com", "example.com", true),
            ("evilexample.com", "example.com", false),
            ("example.com.evil", "example.com", false),
            ("com", "example.com", false),
            ("a.example.com", ".example.com", true),
            ("example.com", ".example.com", false),
            ("anything", "", true),
        ] {
            assert_eq!(is_within(name, base), within, "{name} in {base}");
        }
    }

    #[test]
    fn what_is_excluded_is_never_permitted_and_a_kind_that_is_not_named_is_free() {
        let permits = |constraints: &Constraints, host: &str| constraints.permit(&host.parse().unwrap());
        let constraints = Constraints {
            permitted: subtrees(&["example.com"], &[]),
            excluded: subtrees(&["secret.example.com"], &[]),
        };
        assert!(permits(&constraints, "a.example.com"));
        assert!(!permits(&constraints, "a.secret.example.com"));
        assert!(!permits(&constraints, "example.org"));
        assert!(permits(&constraints, "192.0.2.7"));
        let constraints = Constraints {
            permitted: subtrees(&[], &[("10.0.0.0", "255.0.0.0")]),
            excluded: subtrees(&[], &[("10.9.0.0", "255.255.0.0")]),
        };
        assert!(permits(&constraints, "10.1.2.3") && permits(&constraints, "example.org"));
        assert!(!permits(&constraints, "10.9.1.1") && !permits(&constraints, "11.0.0.1"));
        assert!(!permits(&constraints, "[2001:db8::1]"), "the other family is none of the permitted");
    }
}
