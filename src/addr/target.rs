//! A host with its port: what a request asks for.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use thiserror::Error;

use super::{Host, HostError};

/// A TCP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port of plain HTTP.
    pub const HTTP: Self = Self(NonZeroU16::new(80).unwrap());
    /// The port of HTTPS.
    pub const HTTPS: Self = Self(NonZeroU16::new(443).unwrap());

    /// The port of this number; zero is none.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl FromStr for Port {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.is_empty()
            || text.starts_with('0') && text.len() > 1
            || !text.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(TargetError::Port);
        }
        text.parse().ok().and_then(Self::new).ok_or(TargetError::PortRange)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A destination as it was asked for: host and port, both canonical.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The name or literal.
    host: Host,
    /// The port.
    port: Port,
}

impl Target {
    /// Puts a host and a port together.
    #[must_use]
    pub const fn new(host: Host, port: Port) -> Self {
        Self { host, port }
    }

    /// The name or literal.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.port
    }

    /// Reads `host:port`; the port must be there.
    ///
    /// # Errors
    /// What keeps the text from being an authority of `policy.md` §3.
    pub fn parse(authority: &str) -> Result<Self, TargetError> {
        let (host, port) = split(authority)?;
        let port = port.ok_or(TargetError::PortMissing)?.parse()?;
        Ok(Self::new(Host::parse(host)?, port))
    }

    /// Reads `host` or `host:port`, with a port for the first form.
    ///
    /// A colon without a port after it is refused.
    ///
    /// # Errors
    /// What keeps the text from being an authority of `policy.md` §3.
    pub fn parse_or(authority: &str, default: Port) -> Result<Self, TargetError> {
        let (host, port) = split(authority)?;
        let port = port.map_or(Ok(default), str::parse)?;
        Ok(Self::new(Host::parse(host)?, port))
    }
}

/// Splits an authority into the host and the text after its colon.
fn split(authority: &str) -> Result<(&str, Option<&str>), TargetError> {
    if authority.contains('@') {
        return Err(TargetError::Userinfo);
    }
    if authority.contains(['/', '?', '#']) {
        return Err(TargetError::Path);
    }
    if authority.starts_with('[') {
        return match authority.rsplit_once(']') {
            Some((_, "")) => Ok((authority, None)),
            Some((_, after)) => {
                let port = after.strip_prefix(':').ok_or(HostError::Brackets)?;
                let host = authority.strip_suffix(after).unwrap_or(authority);
                Ok((host, Some(port)))
            }
            None => Err(HostError::Brackets.into()),
        };
    }
    match authority.split_once(':') {
        None => Ok((authority, None)),
        Some((_, port)) if port.contains(':') => match Host::parse(authority) {
            Err(error @ (HostError::Unbracketed | HostError::Zone)) => Err(error.into()),
            Ok(_) | Err(_) => Err(TargetError::SecondColon),
        },
        Some((host, port)) => Ok((host, Some(port))),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text)
    }
}

/// Why a text is not an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The host is not acceptable.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No port where one is needed.
    #[error("the port is missing; write host:port")]
    PortMissing,
    /// Not a plain decimal number.
    #[error("the port is not a plain decimal number, such as 443")]
    Port,
    /// Zero, or more than 65535.
    #[error("the port is out of range; it is 1 to 65535")]
    PortRange,
    /// A user or password before the host.
    #[error("an authority must not carry userinfo; leave out everything up to the `@`")]
    Userinfo,
    /// A path, query or fragment after the host.
    #[error("an authority is host and port only; leave out the path")]
    Path,
    /// More than one colon outside brackets.
    #[error("the authority has a second colon; write host:port, and IPv6 addresses in brackets")]
    SecondColon,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_and_port_are_read_in_every_form() {
        for (text, canonical) in [
            ("Example.COM.:443", "example.com:443"),
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("[2001:DB8::1]:8080", "[2001:db8::1]:8080"),
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), canonical);
        }
        assert_eq!(Target::parse_or("example.com", Port::HTTP).unwrap().to_string(), "example.com:80");
        assert_eq!(Target::parse_or("[::1]", Port::HTTPS).unwrap().to_string(), "[::1]:443");
        assert_eq!(Target::parse_or("example.com:8080", Port::HTTP).unwrap().port().get(), 8080);
    }

    #[test]
    fn n8_a_port_is_a_plain_number_from_1_to_65535() {
        for (text, error) in [
            ("0", TargetError::PortRange),
            ("65536", TargetError::PortRange),
            ("4294967739", TargetError::PortRange),
            ("99999999999999999999999", TargetError::PortRange),
            ("+443", TargetError::Port),
            ("-443", TargetError::Port),
            ("0443", TargetError::Port),
            ("00", TargetError::Port),
            ("", TargetError::Port),
            (" 443", TargetError::Port),
            ("443 ", TargetError::Port),
            ("0x1bb", TargetError::Port),
            ("４４３", TargetError::Port),
        ] {
            assert_eq!(text.parse::<Port>(), Err(error), "{text:?}");
            assert_eq!(Target::parse(&format!("a.example:{text}")), Err(error), "{text:?}");
            assert_eq!(Target::parse_or(&format!("[::1]:{text}"), Port::HTTP), Err(error), "{text:?}");
        }
        assert_eq!("65535".parse::<Port>().unwrap().get(), 65535);
    }

    #[test]
    fn an_authority_is_host_and_port_and_nothing_else() {
        for (text, error) in [
            ("example.com", TargetError::PortMissing),
            ("[::1]", TargetError::PortMissing),
            ("user@example.com:443", TargetError::Userinfo),
            ("allowed.example:443@evil.example:443", TargetError::Userinfo),
            ("example.com:443/x", TargetError::Path),
            ("/x", TargetError::Path),
            ("example.com?x:443", TargetError::Path),
            ("example.com#x:443", TargetError::Path),
            ("a:b:443", TargetError::SecondColon),
            ("example.com:443:443", TargetError::SecondColon),
            ("example.com::443", TargetError::SecondColon),
            ("::1", TargetError::Host(HostError::Unbracketed)),
            ("2001:db8::1:443", TargetError::Host(HostError::Unbracketed)),
            ("fe80::1%eth0", TargetError::Host(HostError::Zone)),
            ("[fe80::1%eth0]:443", TargetError::Host(HostError::Zone)),
            ("[example.com]:443", TargetError::Host(HostError::Brackets)),
            ("[::1]443", TargetError::Host(HostError::Brackets)),
            ("[::1", TargetError::Host(HostError::Brackets)),
            ("[::1]]:443", TargetError::Host(HostError::Brackets)),
            (":443", TargetError::Host(HostError::Empty)),
            ("", TargetError::PortMissing),
            ("a b:443", TargetError::Host(HostError::Character(' '))),
            (" example.com:443", TargetError::Host(HostError::Character(' '))),
            ("evil\\example.com:443", TargetError::Host(HostError::Character('\\'))),
            ("a\0b:443", TargetError::Host(HostError::Character('\0'))),
            ("127.1:443", TargetError::Host(HostError::Ipv4Spelling)),
            ("a%2eb:443", TargetError::Host(HostError::Percent)),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn n6_the_display_of_a_target_is_the_same_target(text in "\\PC{0,24}(:[0-9]{1,6})?|[a-zA-Z0-9.:@\\[\\]%/-]{0,24}") {
            if let Ok(target) = Target::parse(&text) {
                prop_assert_eq!(Target::parse(&target.to_string()), Ok(target));
            }
        }
    }
}
