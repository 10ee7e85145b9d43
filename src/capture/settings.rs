//! Whose traffic is taken, and where to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use thiserror::Error;

/// The longest name of an interface, in bytes: `IFNAMSIZ` without its zero.
const LONGEST: usize = 15;

/// What the rules are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whose traffic is taken.
    pub who: Who,
    /// Whether a sandbox may speak IPv6; if not, all of it is dropped.
    pub ipv6: bool,
    /// The gateway's ports.
    pub ports: Ports,
}

/// Whose traffic is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Sandboxes behind interfaces of the gateway: a boundary.
    Interfaces {
        /// The interfaces; what else comes in is left alone, and nothing at all is forwarded.
        interfaces: Vec<Interface>,
        /// How TCP is taken.
        mode: Mode,
        /// The addresses at which the explicit proxy is reached; none: every address of the gateway.
        gateway: Vec<IpAddr>,
    },
    /// Everybody in this network namespace but one user, which is the proxy's.
    EveryoneBut(u32),
}

/// How the kernel leads TCP to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// By `redirect`: the destination is rewritten, and connection tracking remembers it.
    #[default]
    Redirect,
    /// By `tproxy`: the destination stays, which needs a routing rule, and `CAP_NET_ADMIN` for the listener.
    TProxy,
}

/// The gateway's ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where TCP goes.
    pub transparent: u16,
    /// Where DNS goes; none: UDP to port 53 is refused, and TCP to it is like any other.
    pub dns: Option<u16>,
    /// The explicit proxy, where sandboxes may use it.
    pub explicit: Option<u16>,
    /// The admin server, which no sandbox reaches.
    pub admin: Option<u16>,
}

/// One interface that sandboxes are behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name; a `*` at the end stands for any ending.
    name: String,
    /// The only sources on it; none: every one that the routing table reaches by it.
    sources: Vec<IpNet>,
}

/// Why there are no rules for these settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// Not the name of an interface.
    #[error(
        "`{0}` is not an interface: a name has 1 to 15 letters, digits, `.`, `_` or `-`, and a `*` only at the end, behind at least one of them"
    )]
    Name(String),
    /// The gateway itself is behind it.
    #[error("`{0}` covers the loopback interface, which the gateway itself uses")]
    Loopback(String),
    /// Not an address or a prefix.
    #[error("`{0}` is not an address or a network, as 10.200.1.2 or 10.200.1.0/24 would be")]
    Source(String),
    /// Nobody's traffic is taken.
    #[error("no interface is named: the rules would take nothing")]
    Nobody,
    /// One interface twice.
    #[error("interface `{0}` is named twice: give all of its sources at once")]
    Twice(String),
    /// One port for two things.
    #[error("port {0} is 0, or given to two listeners")]
    Port(u16),
}

impl Interface {
    /// An interface; `sources` are made canonical, so that the kernel lists them as they are written.
    ///
    /// # Errors
    /// [`SettingsError::Name`] or [`SettingsError::Loopback`].
    pub fn new(name: &str, sources: &[IpNet]) -> Result<Self, SettingsError> {
        let stem = name.strip_suffix('*').unwrap_or(name);
        // SECURITY: the name is printed between quotes, so nothing that could end them may be in it.
        let plain = stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !plain || stem.is_empty() || name.len() > LONGEST || matches!(stem, "." | "..") {
            return Err(SettingsError::Name(name.to_owned()));
        }
        if name == "lo" || (name != stem && "lo".starts_with(stem)) {
            return Err(SettingsError::Loopback(name.to_owned()));
        }
        let truncated: Vec<IpNet> = sources.iter().map(IpNet::trunc).collect();
        Ok(Self { name: name.to_owned(), sources: IpNet::aggregate(&truncated) })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its sources of one family; none where the interface has no list.
    pub(super) fn sources(&self, ipv6: bool) -> Option<Vec<IpNet>> {
        let of_family = |net: &&IpNet| matches!(net, IpNet::V6(_)) == ipv6;
        (!self.sources.is_empty()).then(|| self.sources.iter().filter(of_family).copied().collect())
    }

    /// Whether an interface of this name is meant.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.name.strip_suffix('*').map_or(self.name == name, |stem| name.starts_with(stem))
    }
}

impl FromStr for Interface {
    type Err = SettingsError;

    /// `veth-*`, or `veth-sbx1=10.200.1.2,2001:db8::2`.
    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let (name, sources) = text.split_once('=').map_or((text, None), |(name, all)| (name, Some(all)));
        let source = |text: &str| {
            let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            net.map_err(|_| SettingsError::Source(text.to_owned()))
        };
        let sources = sources.map(|all| all.split(',').map(source).collect::<Result<Vec<_>, _>>());
        Self::new(name, &sources.transpose()?.unwrap_or_default())
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (at, source) in self.sources.iter().enumerate() {
            write!(f, "{}{source}", if at == 0 { "=" } else { "," })?;
        }
        Ok(())
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self { transparent: 15001, dns: Some(15053), explicit: None, admin: None }
    }
}

impl Settings {
    /// Whether rules can be made of this.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), SettingsError> {
        if let Who::Interfaces { interfaces, .. } = &self.who {
            if interfaces.is_empty() {
                return Err(SettingsError::Nobody);
            }
            if let Some(name) = twice(interfaces.iter().map(Interface::name).collect()) {
                return Err(SettingsError::Twice(name.to_owned()));
            }
        }
        let Ports { transparent, dns, explicit, admin } = self.ports;
        let ports: Vec<u16> = [Some(transparent), dns, explicit, admin].into_iter().flatten().collect();
        let wrong = ports.contains(&0).then_some(0).or_else(|| twice(ports));
        wrong.map_or(Ok(()), |port| Err(SettingsError::Port(port)))
    }

    /// The same as arguments of `nft print` and `nft verify`.
    #[must_use]
    pub fn arguments(&self) -> String {
        let mut words = Vec::new();
        match &self.who {
            Who::Interfaces { interfaces, mode, gateway } => {
                words.extend(interfaces.iter().map(|interface| format!("--interface '{interface}'")));
                if *mode == Mode::TProxy {
                    words.push("--mode tproxy".to_owned());
                }
                words.extend(gateway.iter().map(|address| format!("--gateway-address {address}")));
            }
            Who::EveryoneBut(uid) => words.push(format!("--sidecar-uid {uid}")),
        }
        if self.ipv6 {
            words.push("--ipv6".to_owned());
        }
        let Ports { transparent, dns, explicit, admin } = self.ports;
        words.push(format!("--transparent-port {transparent}"));
        words.push(dns.map_or_else(|| "--no-dns".to_owned(), |port| format!("--dns-port {port}")));
        words.extend(explicit.map(|port| format!("--explicit-port {port}")));
        words.extend(admin.map(|port| format!("--admin-port {port}")));
        words.join(" ")
    }
}

/// Something that is among them twice.
fn twice<T: Ord + Copy>(mut all: Vec<T>) -> Option<T> {
    all.sort_unstable();
    all.iter().zip(all.iter().skip(1)).find(|(left, right)| left == right).map(|(found, _)| *found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_end_its_quotes_or_cover_loopback_is_refused() {
        for name in ["", "*", "a b", "a\"", "a\n", "a/b", "ve*th", "**", "abcdefghijklmnop", "é", "..", "a\\"]
        {
            assert_eq!(Interface::new(name, &[]), Err(SettingsError::Name(name.to_owned())), "{name}");
        }
        for name in ["lo", "l*", "lo*"] {
            assert_eq!(Interface::new(name, &[]), Err(SettingsError::Loopback(name.to_owned())), "{name}");
        }
        for name in ["veth-*", "tap0", "br-1a2b3c.4", "lo1", "eth0_1"] {
            assert_eq!(Interface::new(name, &[]).unwrap().name(), name);
        }
    }

    #[test]
    fn sources_are_merged_and_have_no_host_bits() {
        let interface: Interface = "v=10.0.0.7/8,10.1.0.0/16,192.0.2.1,2001:db8::1".parse().unwrap();
        assert_eq!(interface.to_string(), "v=10.0.0.0/8,192.0.2.1/32,2001:db8::1/128");
        assert_eq!(interface.sources(true).unwrap().len(), 1);
        assert_eq!("v".parse::<Interface>().unwrap().sources(false), None);
        let refused = "v=10.0.0.0/33".parse::<Interface>();
        assert_eq!(refused, Err(SettingsError::Source("10.0.0.0/33".into())));
        assert!("v=".parse::<Interface>().is_err());
    }

    #[test]
    fn settings_that_take_nothing_or_share_a_port_are_refused() {
        let who = |names: &[&str]| Who::Interfaces {
            interfaces: names.iter().map(|name| name.parse().unwrap()).collect(),
            mode: Mode::Redirect,
            gateway: Vec::new(),
        };
        let check = |who, ports| Settings { who, ipv6: false, ports }.check();
        assert_eq!(check(who(&[]), Ports::default()), Err(SettingsError::Nobody));
        assert_eq!(check(who(&["a", "b", "a"]), Ports::default()), Err(SettingsError::Twice("a".into())));
        let ports = Ports { admin: Some(15001), ..Ports::default() };
        assert_eq!(check(who(&["a"]), ports), Err(SettingsError::Port(15001)));
        assert_eq!(
            check(who(&["a"]), Ports { dns: Some(0), ..Ports::default() }),
            Err(SettingsError::Port(0))
        );
        assert_eq!(check(who(&["a", "b"]), Ports::default()), Ok(()));
    }
}
