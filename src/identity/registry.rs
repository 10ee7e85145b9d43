//! All sandboxes that are listed, and the judgement which one a client is.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use secrecy::SecretString;

use super::source::{Sources, canonical_net};
use super::token::{MAX_TOKEN, Token, with_basic};
use super::{Identity, IdentityError, Sandbox, Sign};

/// Who is who, as the process configuration says.
#[derive(Debug, Default)]
pub struct Settings {
    /// The sandboxes; none: every client is `default`.
    pub sandboxes: Vec<SandboxSettings>,
    /// The sandboxes that listeners name as their own.
    pub listeners: Vec<Arc<str>>,
    /// The peers that are believed when they say whose connection they pass on.
    pub peers: Vec<IpNet>,
}

/// One listed sandbox.
#[derive(Debug)]
pub struct SandboxSettings {
    /// Who it is.
    pub sandbox: Sandbox,
    /// Where it connects from; empty: from anywhere.
    pub sources: Vec<IpNet>,
    /// What it shows as `Proxy-Authorization: Basic id:token`.
    pub token: Option<SecretString>,
}

/// What is wrong with the listed sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// An id that cannot be written into credentials or records.
    #[error("sandbox id `{0}` must be 1 to 128 visible ASCII characters without `:`")]
    Id(Arc<str>),
    /// One id twice.
    #[error("sandbox `{0}` is listed twice")]
    Twice(Arc<str>),
    /// A source prefix with bits behind its length.
    #[error("source {net} of sandbox `{id}` has host bits; write {}", net.trunc())]
    HostBits {
        /// The sandbox.
        id: Arc<str>,
        /// The prefix as written.
        net: IpNet,
    },
    /// Two source prefixes share addresses.
    #[error("source {right} of sandbox `{right_id}` overlaps {left} of sandbox `{left_id}`")]
    Overlap {
        /// The sandbox of the wider prefix.
        left_id: Arc<str>,
        /// The wider prefix.
        left: IpNet,
        /// The sandbox of the other.
        right_id: Arc<str>,
        /// The other prefix.
        right: IpNet,
    },
    /// A token that is empty or too long.
    #[error("the token of sandbox `{0}` must be 1 to {MAX_TOKEN} bytes")]
    Token(Arc<str>),
    /// A listener names a sandbox that is not listed.
    #[error("a listener names sandbox `{0}`, which is not listed under `sandboxes`")]
    Listener(Arc<str>),
    /// A sandbox could say that it is another one.
    #[error("source {net} of sandbox `{id}` is among the trusted peers {peer} of a listener's proxyProtocol")]
    Peer {
        /// The sandbox.
        id: Arc<str>,
        /// Its source.
        net: IpNet,
        /// The peers.
        peer: IpNet,
    },
}

/// One sandbox with what proves it.
struct Entry {
    /// Who it is.
    sandbox: Sandbox,
    /// Whether it needs one of its own source addresses.
    has_sources: bool,
    /// Its token.
    token: Option<Issued>,
}

/// A token and since when it is this sandbox's.
struct Issued {
    token: Token,
    /// The edition of the registry that it came with.
    since: u64,
}

/// What a client shows as its token.
#[derive(Debug, Clone, Copy)]
enum Shown {
    /// No credentials.
    Nothing,
    /// Credentials that prove nothing.
    Wrong,
    /// The token of the sandbox at this position.
    Proof(usize),
}

/// Every listed sandbox. Its `Debug` shows none of what it holds, which is tokens.
pub struct Registry {
    /// In the order listed.
    entries: Vec<Entry>,
    /// Positions by id.
    by_id: HashMap<Arc<str>, usize>,
    /// Positions by source address.
    sources: Sources,
    /// Whether any sandbox can be told by its token alone.
    token_could_help: bool,
    /// What an unknown id's token is compared with.
    decoy: Token,
    /// The answer while nothing is listed.
    default: Sandbox,
    /// Counts the registries before this one.
    edition: u64,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("sandboxes", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Default for Registry {
    /// Nothing is listed.
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            by_id: HashMap::new(),
            sources: Sources::default(),
            token_could_help: false,
            decoy: Token::unmatchable(),
            default: Sandbox { id: Arc::from("default"), group: None, require_policy: false },
            edition: 0,
        }
    }
}

impl Registry {
    /// Builds the registry.
    ///
    /// # Errors
    /// Every problem of the settings, not only the first.
    pub fn new(settings: Settings) -> Result<Self, Vec<SettingsError>> {
        let (mut problems, mut nets) = (Vec::new(), Vec::new());
        let (mut entries, mut by_id) = (Vec::new(), HashMap::new());
        for (position, listed) in settings.sandboxes.into_iter().enumerate() {
            let SandboxSettings { sandbox, sources, token } = listed;
            let id = Arc::clone(&sandbox.id);
            if !is_id(&id) {
                problems.push(SettingsError::Id(Arc::clone(&id)));
            }
            if by_id.insert(Arc::clone(&id), position).is_some() {
                problems.push(SettingsError::Twice(Arc::clone(&id)));
            }
            let uneven = sources.iter().filter(|net| net.trunc() != **net);
            problems.extend(uneven.map(|net| SettingsError::HostBits { id: Arc::clone(&id), net: *net }));
            let has_sources = !sources.is_empty();
            // SECURITY: what such a peer says is believed, also that it is another sandbox.
            let claims = sources.iter().filter_map(|net| Some((net, overlapping(&settings.peers, net)?)));
            problems.extend(claims.map(|(net, peer)| {
                let id = Arc::clone(&id);
                SettingsError::Peer { id, net: *net, peer }
            }));
            nets.extend(sources.into_iter().map(|net| (net.trunc(), position)));
            let shown = token.is_some();
            let token = token.as_ref().and_then(Token::new);
            if shown && token.is_none() {
                problems.push(SettingsError::Token(id));
            }
            let token = token.map(|token| Issued { token, since: 0 });
            entries.push(Entry { sandbox, has_sources, token });
        }
        let unlisted = settings.listeners.into_iter().filter(|id| !by_id.contains_key(id));
        problems.extend(unlisted.map(SettingsError::Listener));
        let id_of =
            |at: usize| entries.get(at).map_or_else(|| Arc::from(""), |entry| entry.sandbox.id.clone());
        let sources = Sources::new(nets).unwrap_or_else(|overlaps| {
            problems.extend(overlaps.into_iter().map(|overlap| SettingsError::Overlap {
                left_id: id_of(overlap.left.1),
                left: overlap.left.0,
                right_id: id_of(overlap.right.1),
                right: overlap.right.0,
            }));
            Sources::default()
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        let token_could_help = entries.iter().any(|entry| entry.token.is_some() && !entry.has_sources);
        Ok(Self { entries, by_id, sources, token_could_help, ..Self::default() })
    }

    /// This registry as the one that takes the place of `previous`, whose tokens go on where they are the same.
    #[must_use]
    pub fn after(mut self, previous: &Self) -> Self {
        self.edition = previous.edition + 1;
        for entry in &mut self.entries {
            let before = previous.entry(&entry.sandbox.id).and_then(|entry| entry.token.as_ref());
            if let Some(own) = &mut entry.token {
                let same = before.filter(|before| before.token.is(&own.token));
                own.since = same.map_or(self.edition, |before| before.since);
            }
        }
        self
    }

    /// Whether both know the same sandboxes by the same signs.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same_token = |left: &Option<Issued>, right: &Option<Issued>| match (left, right) {
            (Some(left), Some(right)) => left.token.is(&right.token),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let same = |(left, right): (&Entry, &Entry)| {
            left.sandbox == right.sandbox
                && left.has_sources == right.has_sources
                && same_token(&left.token, &right.token)
        };
        self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(same)
            && self.sources == other.sources
    }

    /// Which sandbox a client is: `listener` is the sandbox of the listener it came to, `credentials`
    /// its raw `Proxy-Authorization` value.
    ///
    /// # Errors
    /// [`IdentityError`] when no sign leads to a sandbox, or two of them disagree.
    pub fn identify(
        &self,
        listener: Option<&str>,
        source: IpAddr,
        credentials: Option<&str>,
    ) -> Result<Identity, IdentityError> {
        if self.entries.is_empty() && listener.is_none() {
            return Ok(Identity { sandbox: self.default.clone(), sign: Sign::Unlisted });
        }
        let shown = credentials.map_or(Shown::Nothing, |credentials| {
            self.by_token(credentials).map_or(Shown::Wrong, Shown::Proof)
        });
        self.judge(listener, source, shown).map(|(_, identity)| identity)
    }

    /// Which sandbox a client is by this registry that an earlier one recognised.
    ///
    /// # Errors
    /// [`IdentityError`] when it is not that sandbox any more.
    pub fn identify_again(
        &self,
        listener: Option<&str>,
        source: IpAddr,
        known: &Identity,
    ) -> Result<Identity, IdentityError> {
        let unlisted = self.entries.is_empty() && listener.is_none();
        let token = match known.sign {
            Sign::Unlisted if unlisted => return Ok(known.clone()),
            Sign::Listed(token) if !unlisted => token,
            Sign::Unlisted | Sign::Listed(_) => return Err(IdentityError::Changed),
        };
        let own = self.position(&known.id);
        let entry = own.and_then(|at| self.entries.get(at));
        let issued = entry.and_then(|entry| entry.token.as_ref()).map(|issued| issued.since);
        // What was right and is not any more proves nothing, and contradicts nothing.
        let shown = own.filter(|_| token.is_some() && token == issued).map_or(Shown::Nothing, Shown::Proof);
        let (position, identity) = self.judge(listener, source, shown)?;
        if own == Some(position) { Ok(identity) } else { Err(IdentityError::Changed) }
    }

    /// Judges the signs of a client.
    fn judge(
        &self,
        listener: Option<&str>,
        source: IpAddr,
        shown: Shown,
    ) -> Result<(usize, Identity), IdentityError> {
        let unknown = IdentityError::Unknown { token_could_help: false };
        let by_listener = listener.map(|id| self.position(id).ok_or(unknown)).transpose()?;
        let by_source = self.sources.find(source);

        let strongest = by_listener.or(by_source);
        let by_token = if let Shown::Proof(position) = shown { Some(position) } else { None };
        let Some(position) = strongest.or(by_token) else {
            return Err(IdentityError::Unknown { token_could_help: self.token_could_help });
        };
        let agrees = |sign: Option<usize>| sign.is_none_or(|other| other == position);
        // SECURITY: a token that is shown and not right is a sign that disagrees, never one that is absent.
        let token_agrees = matches!(shown, Shown::Nothing) || by_token == Some(position);
        if !agrees(by_listener) || !agrees(by_source) || !token_agrees {
            return Err(IdentityError::Conflict);
        }
        let entry = self.entries.get(position).ok_or(unknown)?;
        if entry.has_sources && by_source.is_none() {
            return Err(if by_listener.is_some() { IdentityError::Conflict } else { unknown });
        }
        let token = by_token.and(entry.token.as_ref()).map(|issued| issued.since);
        Ok((position, Identity { sandbox: entry.sandbox.clone(), sign: Sign::Listed(token) }))
    }

    /// Whether any sandbox is listed.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The listed sandboxes, in their order.
    #[must_use]
    pub fn sandboxes(&self) -> impl ExactSizeIterator<Item = &Sandbox> {
        self.entries.iter().map(|entry| &entry.sandbox)
    }

    /// The listed sandbox of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Sandbox> {
        self.entry(id).map(|entry| &entry.sandbox)
    }

    /// What is listed under this id.
    fn entry(&self, id: &str) -> Option<&Entry> {
        self.position(id).and_then(|at| self.entries.get(at))
    }

    /// Where the sandbox of this id is listed.
    fn position(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Which sandbox these credentials prove.
    fn by_token(&self, credentials: &str) -> Option<usize> {
        with_basic(credentials, |id, shown| {
            let position = self.position(id);
            let entry = position.and_then(|at| self.entries.get(at));
            let token = entry.and_then(|entry| entry.token.as_ref());
            let token = token.map_or(&self.decoy, |issued| &issued.token);
            // SECURITY: an unknown id is compared too, so that the time tells nothing about ids.
            if token.matches(shown) { position } else { None }
        })
        .flatten()
    }
}

/// The first of these networks that shares addresses with `net`.
#[must_use]
pub fn overlapping(peers: &[IpNet], net: &IpNet) -> Option<IpNet> {
    let net = canonical_net(*net);
    let overlaps = |peer: IpNet| peer.contains(&net) || net.contains(&peer);
    peers.iter().find(|peer| overlaps(canonical_net(**peer))).copied()
}

/// Whether `id` can stand in credentials and records.
fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

#[cfg(test)]
mod tests;
