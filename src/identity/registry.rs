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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::policy::Reason;

    const CONFLICT: Result<&str, IdentityError> = Err(IdentityError::Conflict);

    /// A listed sandbox of group `agents`.
    fn listed(id: &str, sources: &[&str], token: Option<&str>) -> SandboxSettings {
        SandboxSettings {
            sandbox: Sandbox { id: id.into(), group: Some("agents".into()), require_policy: false },
            sources: sources.iter().map(|net| net.parse().unwrap()).collect(),
            token: token.map(SecretString::from),
        }
    }

    /// Four sandboxes: one with both proofs, two with one each, one with none.
    fn registry() -> Registry {
        let sandboxes = vec![
            listed("both", &["10.0.0.0/24"], Some("t-both")),
            listed("address", &["10.0.1.0/24", "2001:db8::/64"], None),
            listed("token", &[], Some("t-token")),
            listed("bare", &[], None),
        ];
        Registry::new(Settings { sandboxes, listeners: vec!["bare".into()], ..Settings::default() })
            .unwrap_or_else(|_| unreachable!())
    }

    /// Who is asked for; `-` is an absent sign.
    fn ask(listener: &str, source: &str, pair: &str) -> Result<String, IdentityError> {
        let credentials = (pair != "-").then(|| format!("Basic {}", STANDARD.encode(pair)));
        let listener = (listener != "-").then_some(listener);
        let found = registry().identify(listener, source.parse().unwrap(), credentials.as_deref());
        found.map(|sandbox| sandbox.id.to_string())
    }

    #[test]
    fn every_row_of_the_table_holds() {
        const HELP: Result<&str, IdentityError> = Err(IdentityError::Unknown { token_could_help: true });
        const NO_HELP: Result<&str, IdentityError> = Err(IdentityError::Unknown { token_could_help: false });
        for (listener, source, pair, answer) in [
            ("bare", "192.0.2.1", "-", Ok("bare")),
            ("bare", "10.0.0.1", "-", CONFLICT),
            ("bare", "192.0.2.1", "token:t-token", CONFLICT),
            ("bare", "192.0.2.1", "bare:", CONFLICT),
            ("both", "10.0.0.1", "-", Ok("both")),
            ("both", "192.0.2.1", "-", CONFLICT),
            ("both", "192.0.2.1", "both:t-both", CONFLICT),
            ("token", "192.0.2.1", "token:t-token", Ok("token")),
            ("token", "192.0.2.1", "token:wrong", CONFLICT),
            ("nobody", "10.0.0.1", "-", NO_HELP),
            ("-", "10.0.0.1", "-", Ok("both")),
            ("-", "10.0.0.1", "both:t-both", Ok("both")),
            ("-", "::ffff:10.0.0.1", "-", Ok("both")),
            ("-", "2001:db8::9", "-", Ok("address")),
            ("-", "10.0.0.1", "token:t-token", CONFLICT),
            ("-", "10.0.0.1", "both:wrong", CONFLICT),
            ("-", "10.0.1.1", "address:", CONFLICT),
            ("-", "192.0.2.1", "token:t-token", Ok("token")),
            ("-", "192.0.2.1", "both:t-both", NO_HELP),
            ("-", "10.0.1.1", "both:t-both", CONFLICT),
            ("-", "192.0.2.1", "-", HELP),
            ("-", "192.0.2.1", "token:wrong", HELP),
            ("-", "192.0.2.1", "token:t-both", HELP),
            ("-", "192.0.2.1", "bare:", HELP),
            ("-", "192.0.2.1", "nobody:t-token", HELP),
        ] {
            let given = ask(listener, source, pair);
            let given = given.as_deref().map_err(|error| *error);
            assert_eq!(given, answer, "{listener} {source} {pair}");
        }
    }

    #[test]
    fn malformed_credentials_count_as_wrong_ones() {
        for value in ["", "Basic", "Basic !", "Bearer t-token", "Digest x"] {
            let registry = registry();
            let from = |source: &str| registry.identify(None, source.parse().unwrap(), Some(value));
            assert_eq!(from("10.0.0.1"), Err(IdentityError::Conflict), "{value}");
            assert_eq!(from("192.0.2.1"), Err(IdentityError::Unknown { token_could_help: true }), "{value}");
        }
    }

    #[test]
    fn without_listed_sandboxes_every_client_is_default() {
        let registry = Registry::new(Settings::default()).unwrap_or_else(|_| unreachable!());
        let sandbox = registry.identify(None, "192.0.2.1".parse().unwrap(), Some("Basic x")).unwrap();
        assert_eq!(
            (&*sandbox.id, sandbox.group.as_deref(), sandbox.require_policy),
            ("default", None, false)
        );
        assert!(!registry.is_listed());
    }

    #[test]
    fn a_token_cannot_help_where_every_token_is_bound_to_sources() {
        let sandboxes = vec![listed("both", &["10.0.0.0/24"], Some("t"))];
        let registry =
            Registry::new(Settings { sandboxes, ..Settings::default() }).unwrap_or_else(|_| unreachable!());
        let answer = registry.identify(None, "192.0.2.1".parse().unwrap(), None);
        assert_eq!(answer, Err(IdentityError::Unknown { token_could_help: false }));
        assert_eq!(registry.sandboxes().len(), 1);
        assert_eq!(registry.get("both").and_then(|sandbox| sandbox.group.as_deref()), Some("agents"));
    }

    #[test]
    fn all_problems_of_the_settings_are_reported_at_once() {
        let sandboxes = vec![
            listed("a:b", &[], None),
            listed("one", &["10.0.0.0/8"], Some("")),
            listed("one", &["10.1.0.0/16", "192.0.2.7/24"], None),
        ];
        let peers = vec!["10.1.2.0/24".parse().unwrap()];
        let settings = Settings { sandboxes, listeners: vec!["gone".into()], peers };
        let problems = Registry::new(settings).err().unwrap();
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        for part in [
            "id `a:b` must be",
            "`one` is listed twice",
            "token of sandbox `one` must be 1 to 256",
            "10.1.0.0/16 of sandbox `one` overlaps 10.0.0.0/8",
            "192.0.2.7/24 of sandbox `one` has host bits; write 192.0.2.0/24",
            "names sandbox `gone`",
            "source 10.0.0.0/8 of sandbox `one` is among the trusted peers 10.1.2.0/24",
            "source 10.1.0.0/16 of sandbox `one` is among the trusted peers 10.1.2.0/24",
        ] {
            assert!(texts.iter().any(|text| text.contains(part)), "{part}: {texts:#?}");
        }
        assert_eq!(problems.len(), 8);
    }

    /// The same settings with another edition of one sandbox, after `previous`.
    fn after(previous: &Registry, sandboxes: Vec<SandboxSettings>) -> Registry {
        let settings = Settings { sandboxes, ..Settings::default() };
        Registry::new(settings).unwrap_or_else(|_| unreachable!()).after(previous)
    }

    #[test]
    fn every_row_of_the_table_of_asking_again_holds() {
        const HERE: &str = "10.0.0.1";
        const AWAY: &str = "192.0.2.1";
        const CHANGED: Result<&str, IdentityError> = Err(IdentityError::Changed);
        const UNKNOWN: Result<&str, IdentityError> = Err(IdentityError::Unknown { token_could_help: false });
        const HELP: Result<&str, IdentityError> = Err(IdentityError::Unknown { token_could_help: true });
        type Listed = (&'static str, &'static [&'static str], Option<&'static str>);
        let nobody: &[Listed] = &[];
        let by_source: &[Listed] = &[("a", &["10.0.0.0/24"], None)];
        let by_token: &[Listed] = &[("a", &[], Some("t"))];
        let by_both: &[Listed] = &[("a", &["10.0.0.0/24"], Some("t"))];
        let bare: &[Listed] = &[("a", &[], None)];
        let default: &[Listed] = &[("default", &["10.0.0.0/24"], None)];
        for (was, listener, source, pair, then, answer) in [
            (nobody, "-", HERE, "-", nobody, Ok("default")),
            (nobody, "-", HERE, "-", by_source, CHANGED),
            (nobody, "-", HERE, "-", default, CHANGED),
            (nobody, "-", HERE, "a:t", by_token, CHANGED),
            (by_source, "-", HERE, "-", nobody, CHANGED),
            (default, "-", HERE, "-", nobody, CHANGED),
            (by_token, "-", AWAY, "a:t", nobody, CHANGED),
            (by_source, "-", HERE, "-", by_source, Ok("a")),
            (by_source, "-", HERE, "-", by_both, Ok("a")),
            (by_source, "-", HERE, "-", by_token, HELP),
            (by_source, "-", HERE, "-", &[("b", &["10.0.0.0/24"], None)], CHANGED),
            (
                by_source,
                "-",
                HERE,
                "-",
                &[("a", &["10.0.1.0/24"], None), ("b", &["10.0.0.0/24"], None)],
                CHANGED,
            ),
            (by_source, "-", HERE, "-", &[("a", &["10.0.1.0/24"], None)], UNKNOWN),
            (by_token, "-", AWAY, "a:t", by_token, Ok("a")),
            (by_token, "-", AWAY, "a:t", &[("b", &[], None), ("a", &[], Some("t"))], Ok("a")),
            (by_token, "-", AWAY, "a:t", &[("a", &[], Some("u"))], HELP),
            (by_token, "-", AWAY, "a:t", &[("b", &[], Some("t"))], HELP),
            (by_token, "-", AWAY, "a:t", bare, UNKNOWN),
            (by_token, "-", AWAY, "a:t", by_both, UNKNOWN),
            (by_token, "-", HERE, "a:t", by_both, Ok("a")),
            (by_token, "-", HERE, "a:t", &[("a", &[], Some("t")), ("b", &["10.0.0.0/24"], None)], CONFLICT),
            (by_both, "-", HERE, "a:t", &[("a", &["10.0.0.0/24"], Some("u"))], Ok("a")),
            (by_both, "-", HERE, "a:t", by_token, Ok("a")),
            (by_both, "-", HERE, "-", by_token, HELP),
            (by_both, "-", HERE, "a:t", &[("a", &[], Some("u"))], HELP),
            (bare, "a", AWAY, "-", bare, Ok("a")),
            (bare, "a", AWAY, "-", by_token, Ok("a")),
            (bare, "a", AWAY, "-", by_source, CONFLICT),
            (bare, "a", AWAY, "-", &[("b", &[], None)], UNKNOWN),
            (bare, "a", AWAY, "-", nobody, UNKNOWN),
            (bare, "a", HERE, "-", &[("a", &[], None), ("b", &["10.0.0.0/24"], None)], CONFLICT),
        ] {
            let listing = |all: &[Listed]| {
                all.iter().map(|(id, sources, token)| listed(id, sources, *token)).collect::<Vec<_>>()
            };
            let before = after(&Registry::default(), listing(was));
            let then = after(&before, listing(then));
            let credentials = (pair != "-").then(|| format!("Basic {}", STANDARD.encode(pair)));
            let listener = (listener != "-").then_some(listener);
            let source = source.parse().unwrap();
            let known = before.identify(listener, source, credentials.as_deref()).unwrap();
            let given = then.identify_again(listener, source, &known);
            let given = given.as_ref().map(|identity| &*identity.id).map_err(|error| *error);
            assert_eq!(given, answer, "{listener:?} {source} {pair} {was:?}");
        }
    }

    #[test]
    fn a_token_that_was_taken_away_and_came_back_identifies_nobody_who_showed_the_first_one() {
        let with = |previous: &Registry, token| after(previous, vec![listed("a", &[], Some(token))]);
        let source = "192.0.2.1".parse().unwrap();
        let first = with(&Registry::default(), "t");
        let known = first.identify(None, source, Some(&format!("Basic {}", STANDARD.encode("a:t")))).unwrap();
        let same = with(&first, "t");
        assert!(same.identify_again(None, source, &known).is_ok() && same.is_same(&first));
        let other = with(&same, "u");
        assert!(other.identify_again(None, source, &known).is_err() && !other.is_same(&same));
        assert!(with(&other, "t").identify_again(None, source, &known).is_err());
    }

    #[test]
    fn what_asking_again_gives_is_the_group_of_the_registry_in_force() {
        let source = "10.0.0.1".parse().unwrap();
        let first = after(&Registry::default(), vec![listed("a", &["10.0.0.0/24"], None)]);
        let known = first.identify(None, source, None).unwrap();
        let mut moved = listed("a", &["10.0.0.0/24"], None);
        moved.sandbox = Sandbox { group: Some("others".into()), require_policy: true, ..moved.sandbox };
        let then = after(&first, vec![moved]);
        let again = then.identify_again(None, source, &known).unwrap();
        assert_eq!((again.group.as_deref(), again.require_policy), (Some("others"), true));
        assert!(!then.is_same(&first));
        assert!(!format!("{then:?} {again:?}").contains("t-"));
    }

    #[test]
    fn networks_overlap_in_every_spelling() {
        let found = |peer: &str, net: &str| {
            overlapping(&["192.0.2.0/24".parse().unwrap(), peer.parse().unwrap()], &net.parse().unwrap())
                .is_some()
        };
        for (peer, net, overlaps) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.0.0.1/32", "10.0.0.1/32", true),
            ("10.0.0.1/32", "10.0.0.2/32", false),
            ("10.0.0.0/8", "::ffff:10.1.0.0/112", true),
            ("::ffff:10.1.0.0/112", "10.0.0.0/8", true),
            ("::/0", "10.0.0.0/8", false),
            ("2001:db8::/32", "2001:db8::7/128", true),
        ] {
            assert_eq!(found(peer, net), overlaps, "{peer} {net}");
        }
    }

    #[test]
    fn why_an_identity_lapsed_names_it_and_is_identity_unknown() {
        let registry = registry();
        let known = registry.identify(None, "10.0.0.1".parse().unwrap(), None).unwrap();
        let denial = known.lapsed(IdentityError::Changed);
        assert_eq!(denial.reason(), Reason::IdentityUnknown);
        assert!(denial.detail().contains("no longer sandbox `both`"), "{}", denial.detail());
    }
}
