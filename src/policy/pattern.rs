//! One host pattern of a policy.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::tenant;
use super::wildcard::Wildcard;
use crate::addr::{Host, HostError, Name, Port};

pub use super::pattern_error::PatternError;

/// The longest pattern in bytes: a name's length.
const MAX_PATTERN: usize = 253;

/// Which hosts a rule is about, and on which port when it says one (`policy.md` §4).
///
/// | pattern | matches | does not match |
/// |---|---|---|
/// | `example.com` | `example.com`, `EXAMPLE.com.` | `a.example.com` |
/// | `*.example.com` | `a.example.com`, `a.b.example.com` | `example.com`, `evilexample.com` |
/// | `reg.*.data.azurecr.io` | `reg.eastus.data.azurecr.io` | `reg.a.b.data.azurecr.io` |
/// | `*.foo.*.com` | `a.b.foo.x.com` | `foo.x.com`, `a.foo.x.y.com` |
/// | `api-*.example.com` | `api-1.example.com` | `api-.x.example.com`, `api-1.a.example.com` |
/// | `*` | every name | any IP literal |
/// | `192.0.2.7`, `[2001:db8::1]` | that literal | what embeds it |
/// | `db.corp:5432` | `db.corp` on 5432 | `db.corp` on 443 |
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// What it says of the host.
    kind: PatternKind,
    /// The only port it is about.
    port: Option<Port>,
}

/// What a pattern says of the host, by how it can be looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PatternKind {
    /// `*`: every name, no literal.
    Any,
    /// One name.
    Exact(Name),
    /// `*.name`: every name below it, at any depth, but not the name itself.
    Suffix(Name),
    /// Labels from left to right, at least one with a star in it.
    Inner(Box<[LabelPattern]>),
    /// One literal.
    Ip(IpAddr),
}

/// What one place of an inner pattern takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LabelPattern {
    /// This label.
    Literal(Box<str>),
    /// A whole `*`: exactly one label, whatever it is.
    One,
    /// A leading whole `*`: one or more labels.
    Many,
    /// A label with a star inside: `api-*`.
    Part(Wildcard),
}

impl LabelPattern {
    /// Whether one label fits.
    #[must_use]
    pub fn matches(&self, label: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *label,
            Self::One | Self::Many => true,
            Self::Part(part) => part.matches(label),
        }
    }
}

impl Pattern {
    /// What it says of the host.
    #[must_use]
    pub const fn kind(&self) -> &PatternKind {
        &self.kind
    }

    /// The only port it is about; none is left to the document's `ports`.
    #[must_use]
    pub const fn port(&self) -> Option<Port> {
        self.port
    }

    /// The plain meaning, without any index.
    ///
    /// A literal matches that very address only; IPv4 inside IPv6 is a question of its own.
    #[must_use]
    pub fn matches(&self, host: &Host, port: Port) -> bool {
        self.port.is_none_or(|own| own == port)
            && match (&self.kind, host) {
                (PatternKind::Ip(own), Host::Ip(address)) => own == address,
                (PatternKind::Any, Host::Name(_)) => true,
                (PatternKind::Exact(own), Host::Name(name)) => own == name,
                (PatternKind::Suffix(suffix), Host::Name(name)) => is_below(name, suffix),
                (PatternKind::Inner(labels), Host::Name(name)) => inner_matches(labels, name),
                (PatternKind::Ip(_), Host::Name(_)) | (_, Host::Ip(_)) => false,
            }
    }

    /// Whether the wildcard reaches names that anyone can get: `*`, or one directly on a public suffix or on a
    /// domain whose tenants are strangers to each other.
    ///
    /// A heuristic over a small table of suffixes and cloud services, meant for a warning and never for a verdict.
    #[must_use]
    pub fn is_tenant_wide(&self) -> bool {
        match &self.kind {
            PatternKind::Exact(_) | PatternKind::Ip(_) => false,
            PatternKind::Any => true,
            PatternKind::Suffix(name) => tenant::is_shared(&name.labels().collect::<Vec<_>>()),
            PatternKind::Inner(labels) => {
                let tail = labels.iter().rev().map_while(|label| match label {
                    LabelPattern::Literal(text) => Some(&**text),
                    LabelPattern::One | LabelPattern::Many | LabelPattern::Part(_) => None,
                });
                let mut tail: Vec<&str> = tail.collect();
                tail.reverse();
                tenant::is_shared(&tail)
            }
        }
    }
}

/// Whether a name is below another one, at a label boundary.
fn is_below(name: &Name, suffix: &Name) -> bool {
    name.as_str().strip_suffix(suffix.as_str()).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether the labels of a name fit those of an inner pattern, compared from the right.
fn inner_matches(labels: &[LabelPattern], name: &Name) -> bool {
    let mut own = labels.iter().rev();
    let mut left = name.labels().rev();
    loop {
        match (own.next(), left.next()) {
            (None, None) | (Some(LabelPattern::Many), Some(_)) => return true,
            (Some(label), Some(text)) if label.matches(text) => {}
            (Some(_) | None, _) => return false,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        refuse_non_hosts(text)?;
        let (host, port) = split_port(text)?;
        Ok(Self { kind: parse_kind(host)?, port })
    }
}

/// Refuses what is written where a host pattern belongs but is something else, with a hint each.
fn refuse_non_hosts(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    let scheme = text.split_once("//").filter(|(scheme, _)| scheme.is_empty() || is_scheme(scheme));
    if let Some((_, rest)) = scheme {
        return Err(PatternError::Scheme(pattern_in(rest)));
    }
    if let Some((net, length)) = text.split_once('/') {
        let bare = net.trim_start_matches('[').trim_end_matches(']');
        let is_net = bare.parse::<IpAddr>().is_ok() || is_dotted_number(bare);
        if is_net && !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(PatternError::Cidr);
        }
    }
    if text.contains(['/', '?', '#']) {
        return Err(PatternError::Path(pattern_in(text)));
    }
    if text.contains('@') {
        return Err(PatternError::Userinfo);
    }
    if text.contains("**") {
        return Err(PatternError::DoubleStar);
    }
    Ok(())
}

/// Whether a text is a URL's scheme with its colon.
fn is_scheme(text: &str) -> bool {
    text.strip_suffix(':').is_some_and(|scheme| !scheme.contains(['/', '?', '#']))
}

/// The pattern at the start of a URL without its scheme; empty when that is none.
fn pattern_in(url: &str) -> String {
    let authority = url.split(['/', '?', '#']).next().unwrap_or(url);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    host.parse::<Pattern>().map(|pattern| pattern.to_string()).unwrap_or_default()
}

/// Whether a text is made of numbers, stars and dots: the beginning of an address.
fn is_dotted_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'*'))
}

/// Splits a pattern into its host and its port.
fn split_port(text: &str) -> Result<(&str, Option<Port>), PatternError> {
    let (host, port) = match text.rsplit_once(':') {
        None => return Ok((text, None)),
        Some(_) if text.ends_with(']') => return Ok((text, None)),
        Some((host, port)) => (host, port),
    };
    if host.contains(':') && !host.starts_with('[') {
        let bracketed = text.parse::<Ipv6Addr>().ok();
        return Err(bracketed.map_or(PatternError::SecondColon, |_| HostError::Unbracketed.into()));
    }
    match port.parse() {
        Ok(port) => Ok((host, Some(port))),
        Err(error) => Err(PatternError::Port(error)),
    }
}

/// Reads the host part of a pattern.
fn parse_kind(host: &str) -> Result<PatternKind, PatternError> {
    if !host.contains('*') {
        if let Some(name) = host.strip_prefix('.').filter(|name| Name::parse(name).is_ok()) {
            return Err(PatternError::LeadingDot(name.to_owned()));
        }
        return Ok(match Host::parse(host)? {
            Host::Name(name) => PatternKind::Exact(name),
            Host::Ip(address) => PatternKind::Ip(address),
        });
    }
    if is_dotted_number(host) || host.starts_with('[') {
        return Err(PatternError::StarInAddress);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host == "*" {
        return Ok(PatternKind::Any);
    }
    if host.starts_with("*.*.") || host == "*.*" {
        return Err(PatternError::StarDotStar);
    }
    match host.strip_prefix("*.") {
        Some(name) if !name.contains('*') => Ok(PatternKind::Suffix(parse_name(name)?)),
        Some(_) | None => parse_inner(host),
    }
}

/// Reads the name after a leading `*.`.
fn parse_name(name: &str) -> Result<Name, PatternError> {
    Name::parse(name).map_err(|error| {
        if error == HostError::Empty {
            HostError::EmptyLabel.into()
        } else if matches!(error, HostError::Address | HostError::Ipv4Spelling) {
            PatternError::StarInAddress
        } else {
            error.into()
        }
    })
}

/// Reads the labels of a pattern with stars elsewhere than in a leading `*.`.
fn parse_inner(host: &str) -> Result<PatternKind, PatternError> {
    let labels = host.split('.').enumerate().map(|(place, label)| parse_label(place, label));
    let labels = labels.collect::<Result<Box<[LabelPattern]>, PatternError>>()?;
    let last = labels.last().and_then(|label| match label {
        LabelPattern::Literal(text) => Some(text),
        LabelPattern::One | LabelPattern::Many | LabelPattern::Part(_) => None,
    });
    // A whole name that ends like this one says whether the end is a number.
    if let Some(last) = last {
        Name::parse(&format!("a.{last}"))?;
    }
    let kind = PatternKind::Inner(labels);
    if kind.to_string().len() > MAX_PATTERN {
        return Err(HostError::TooLong.into());
    }
    Ok(kind)
}

/// Reads one label of an inner pattern.
fn parse_label(place: usize, label: &str) -> Result<LabelPattern, PatternError> {
    if label == "*" {
        return Ok(if place == 0 { LabelPattern::Many } else { LabelPattern::One });
    }
    let lower = label.to_ascii_lowercase();
    if let Some(part) = Wildcard::new(&lower) {
        if !label.is_ascii() {
            return Err(PatternError::StarInIdna);
        }
        // The same rules as for a label, with the star as an ordinary letter.
        crate::addr::check_label(&lower.replace('*', "a"))?;
        return Ok(LabelPattern::Part(part));
    }
    // INVARIANT: a name of its own, so that the label is canonical; the second label keeps a number from being an end.
    let name = Name::parse(&format!("{label}.example"))?;
    let mut labels = name.labels();
    match (labels.next(), labels.nth(1)) {
        (Some(label), None) => Ok(LabelPattern::Literal(label.into())),
        (_, Some(_)) | (None, None) => Err(PatternError::Dot),
    }
}

impl fmt::Display for LabelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::One | Self::Many => f.write_str("*"),
            Self::Part(part) => write!(f, "{part}"),
        }
    }
}

impl fmt::Display for PatternKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => write!(f, "{name}"),
            Self::Suffix(name) => write!(f, "*.{name}"),
            Self::Inner(labels) => labels.iter().enumerate().try_for_each(|(place, label)| {
                let dot = if place == 0 { "" } else { "." };
                write!(f, "{dot}{label}")
            }),
            Self::Ip(address) => write!(f, "{}", Host::Ip(*address)),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
