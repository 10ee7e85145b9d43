//! All sandboxes that are listed, and the judgement which one a client is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use secrecy::SecretString;

use super::source::Sources;
use super::token::{MAX_TOKEN, Token, with_basic};
use super::{IdentityError, Sandbox};

/// Who is who, as the process configuration says.
#[derive(Debug, Default)]
pub struct Settings {
    /// The sandboxes; none: every client is `default`.
    pub sandboxes: Vec<SandboxSettings>,
    /// The sandboxes that listeners name as their own.
    pub listeners: Vec<Arc<str>>,
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
}

/// One sandbox with what proves it.
struct Entry {
    /// Who it is.
    sandbox: Sandbox,
    /// Whether it needs one of its own source addresses.
    has_sources: bool,
    /// Its token.
    token: Option<Token>,
}

/// Every listed sandbox. Has no `Debug`, as it holds tokens.
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
            nets.extend(sources.into_iter().map(|net| (net.trunc(), position)));
            let shown = token.is_some();
            let token = token.as_ref().and_then(Token::new);
            if shown && token.is_none() {
                problems.push(SettingsError::Token(id));
            }
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
        let default = Sandbox { id: Arc::from("default"), group: None, require_policy: false };
        Ok(Self { entries, by_id, sources, token_could_help, decoy: Token::unmatchable(), default })
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
    ) -> Result<Sandbox, IdentityError> {
        if self.entries.is_empty() && listener.is_none() {
            return Ok(self.default.clone());
        }
        let unknown = IdentityError::Unknown { token_could_help: false };
        let by_listener = listener.map(|id| self.position(id).ok_or(unknown)).transpose()?;
        let by_source = self.sources.find(source);
        let by_token = credentials.map(|credentials| self.by_token(credentials));

        let strongest = by_listener.or(by_source);
        let Some(position) = strongest.or(by_token.flatten()) else {
            return Err(IdentityError::Unknown { token_could_help: self.token_could_help });
        };
        let agrees = |sign: Option<usize>| sign.is_none_or(|other| other == position);
        // SECURITY: a token that is shown and not right is a sign that disagrees, never one that is absent.
        let token_agrees = by_token.is_none_or(|sign| sign == Some(position));
        if !agrees(by_listener) || !agrees(by_source) || !token_agrees {
            return Err(IdentityError::Conflict);
        }
        let entry = self.entries.get(position).ok_or(unknown)?;
        if entry.has_sources && by_source.is_none() {
            return Err(if by_listener.is_some() { IdentityError::Conflict } else { unknown });
        }
        Ok(entry.sandbox.clone())
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
        self.position(id).and_then(|at| self.entries.get(at)).map(|entry| &entry.sandbox)
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
            let token = entry.and_then(|entry| entry.token.as_ref()).unwrap_or(&self.decoy);
            // SECURITY: an unknown id is compared too, so that the time tells nothing about ids.
            if token.matches(shown) { position } else { None }
        })
        .flatten()
    }
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
        Registry::new(Settings { sandboxes, listeners: vec!["bare".into()] })
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
        const CONFLICT: Result<&str, IdentityError> = Err(IdentityError::Conflict);
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
        assert_eq!((&*sandbox.id, sandbox.group, sandbox.require_policy), ("default", None, false));
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
        let settings = Settings { sandboxes, listeners: vec!["gone".into()] };
        let problems = Registry::new(settings).err().unwrap();
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        for part in [
            "id `a:b` must be",
            "`one` is listed twice",
            "token of sandbox `one` must be 1 to 256",
            "10.1.0.0/16 of sandbox `one` overlaps 10.0.0.0/8",
            "192.0.2.7/24 of sandbox `one` has host bits; write 192.0.2.0/24",
            "names sandbox `gone`",
        ] {
            assert!(texts.iter().any(|text| text.contains(part)), "{part}: {texts:#?}");
        }
        assert_eq!(problems.len(), 6);
    }
}
