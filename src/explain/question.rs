//! What is asked, and how it is written.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::addr::{Host, HostError, Name, Port, Target, TargetError};
use crate::wire::path::{self, PathError};

/// The ports that a URL leaves out.
const PORTS: [(&str, u16); 4] = [("http://", 80), ("ws://", 80), ("https://", 443), ("wss://", 443)];

/// What is asked: a target, and as much of the request as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The target.
    pub target: Target,
    /// Method and canonical path, for a request that can be read; none for a tunnel.
    pub request: Option<(String, String)>,
    /// The address that the name resolves to, if it is to be judged too.
    pub address: Option<IpAddr>,
    /// The TLS inside, if it is to be judged too: its server name, or that there is none.
    pub tls: Option<Option<Name>>,
    /// Whether the client knows no proxy and was redirected on its way to the target.
    pub redirected: bool,
    /// Whether the request is made over TLS.
    pub secure: bool,
}

/// Why a question cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The target is malformed.
    #[error("`{0}` is not a target: {1}")]
    Target(String, TargetError),
    /// The path is malformed.
    #[error("`{0}` is not a path: {1}")]
    Path(String, PathError),
    /// The scheme is not one that the gateway carries.
    #[error("`{0}` has a scheme that is not http, https, ws or wss: write host[:port] or a URL")]
    Scheme(String),
    /// The server name is malformed.
    #[error("`{0}` is not a server name: {1}")]
    ServerName(String, HostError),
}

impl Question {
    /// A question about `text`, which is `host[:port]` (a tunnel, on 443 unless it says otherwise) or a URL.
    ///
    /// `http://` is a request, so its method (GET unless given) and path are judged; `https://` is a tunnel,
    /// unless a `method` is given: then it is judged as the request inside, where TLS to that host is decrypted. Without a
    /// scheme, a request to port 443 is one over TLS.
    ///
    /// # Errors
    /// The text names no target, in one of the ways that a proxy refuses too.
    pub fn parse(text: &str, method: Option<&str>, address: Option<IpAddr>) -> Result<Self, QuestionError> {
        let scheme = PORTS.iter().find(|(scheme, _)| {
            text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let Some((scheme, port)) = scheme else {
            if text.contains("://") {
                return Err(QuestionError::Scheme(text.to_owned()));
            }
            let target = authority(text, 443)?;
            let request = method.map(|method| (method.to_owned(), "/".to_owned()));
            let secure = target.port() == Port::HTTPS;
            return Ok(Self { target, request, address, tls: None, redirected: false, secure });
        };
        let rest = text.get(scheme.len()..).unwrap_or_default();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let path = tail.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/");
        let path = path::canonicalise(path).map_err(|error| QuestionError::Path(path.to_owned(), error))?;
        let readable = *port == 80 || method.is_some();
        let request = readable.then(|| (method.unwrap_or("GET").to_owned(), path.into_owned()));
        let (target, secure) = (authority(host, *port)?, *port == 443);
        Ok(Self { target, request, address, tls: None, redirected: false, secure })
    }

    /// The same question of TLS inside, where `sni` is given, with that server name; empty: with none. `redirected`: of a
    /// client that knows no proxy.
    ///
    /// # Errors
    /// The server name is none.
    pub fn inside(self, sni: Option<&str>, redirected: bool) -> Result<Self, QuestionError> {
        let wrong = |text: &str, error| QuestionError::ServerName(text.to_owned(), error);
        let name = |text: &str| match text {
            "" => Ok(None),
            text => Name::parse(text).map(Some).map_err(|error| wrong(text, error)),
        };
        let tls = sni.map(name).transpose()?;
        Ok(Self { secure: self.secure || tls.is_some(), tls, redirected, ..self })
    }

    /// What question A is about: the target, or the name in the TLS inside where the client was redirected to an address.
    pub(super) fn judged(&self) -> Cow<'_, Target> {
        match &self.tls {
            Some(Some(name)) if self.redirected && self.target.host().ip().is_some() => {
                Cow::Owned(Target::new(Host::Name(name.clone()), self.target.port()))
            }
            Some(_) | None => Cow::Borrowed(&self.target),
        }
    }
}

/// A target with a default port.
fn authority(text: &str, port: u16) -> Result<Target, QuestionError> {
    let wrong = |error| QuestionError::Target(text.to_owned(), error);
    match Port::new(port) {
        Some(port) => Target::parse_or(text, port).map_err(wrong),
        None => Target::parse(text).map_err(wrong),
    }
}
