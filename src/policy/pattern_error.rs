//! Why a text is not a host pattern, and what to write instead.

use thiserror::Error;

use crate::addr::{HostError, TargetError};

/// Why a text is not a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Nothing at all.
    #[error("the pattern is empty")]
    Empty,
    /// The literal part is not a name or address.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The port is not one.
    #[error("after the colon: {0}")]
    Port(TargetError),
    /// More than one colon.
    #[error("the pattern has a second colon")]
    SecondColon,
    /// A URL; the pattern for its host, if there is one.
    #[error("a pattern is a host, not a URL")]
    Scheme(String),
    /// A path, query or fragment; the pattern that stands before it, if that is one.
    #[error("a host pattern has no path")]
    Path(String),
    /// An address range.
    #[error("an address range is not a host pattern")]
    Cidr,
    /// A user or password.
    #[error("a pattern has no userinfo")]
    Userinfo,
    /// `**`.
    #[error("`**` is not a wildcard here")]
    DoubleStar,
    /// A leading `*.*`.
    #[error("`*.*` is not a wildcard here")]
    StarDotStar,
    /// A name with a leading dot; the name.
    #[error("the pattern starts with a dot")]
    LeadingDot(String),
    /// A star in an address.
    #[error("a star cannot stand inside an IP address")]
    StarInAddress,
    /// A star in a label that is not ASCII.
    #[error("a star cannot stand inside an internationalised label")]
    StarInIdna,
    /// A dot other than `.` beside a star.
    #[error("the labels of a wildcard pattern are separated by plain dots")]
    Dot,
}

impl PatternError {
    /// What to write instead, when that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Scheme(host) if host.is_empty() => "write the host only".to_owned(),
            Self::Path(host) if host.is_empty() => {
                "write the host only; a path goes into `rules[].match.path`".to_owned()
            }
            Self::Scheme(host) => format!("write `{host}`; a path goes into `rules[].match.path`"),
            Self::Path(host) => format!("write `{host}` here, and the path into `rules[].match.path`"),
            Self::Cidr => "use cidrRules for address ranges".to_owned(),
            Self::StarInAddress => "use cidrRules, such as `10.0.0.0/8`, for address ranges".to_owned(),
            Self::Userinfo => "leave out everything up to the `@`".to_owned(),
            Self::DoubleStar => {
                "a leading `*.` matches any number of labels, an inner `*` exactly one".to_owned()
            }
            Self::StarDotStar => {
                "write one leading `*.`, which matches any number of labels, or `*` for every name".to_owned()
            }
            Self::LeadingDot(name) => {
                format!("write `*.{name}` for the names below it, and `{name}` for itself")
            }
            Self::StarInIdna => "write the label without a star, or its `xn--` form".to_owned(),
            Self::Dot => "write `.`".to_owned(),
            Self::Host(HostError::EmptyLabel) => "write exactly one dot between two labels".to_owned(),
            Self::Host(HostError::Unbracketed) => {
                "write the IPv6 address in brackets: `[2001:db8::1]`".to_owned()
            }
            Self::Port(_) | Self::SecondColon => {
                "write `host` or `host:port`, and IPv6 in brackets".to_owned()
            }
            Self::Empty => "write a host, such as `example.com` or `*.example.com`".to_owned(),
            Self::Host(_) => return None,
        };
        Some(hint)
    }
}
