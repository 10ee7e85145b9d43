//! `kind: Secret`: where the values of a secret come from. The values are never here.

use std::path::PathBuf;
use std::sync::Arc;

use super::key_source::key_source;
use super::metadata::{DOCUMENT_KEYS, name};
use super::pattern;
use crate::policy::pattern::Pattern;
use crate::source::{Fields, Kind, Place, Spot, quoted};

/// The keys of a secret's `metadata`.
pub(crate) const SECRET_METADATA_KEYS: [&str; 3] = ["name", "group", "removed"];
/// The keys of a secret's `spec`.
pub(crate) const SECRET_SPEC_KEYS: [&str; 4] = ["keys", "hosts", "scrub", "placeholder"];
/// The keys of a source.
pub(crate) const SOURCE_KEYS: [&str; 2] = ["file", "env"];

/// The words for where responses are searched.
const SCRUBS: [(&str, Scrub); 3] =
    [("Text", Scrub::Text), ("Always", Scrub::Always), ("Never", Scrub::Never)];

/// A secret: its keys, who may use it, and where it may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its id in `secretRef`.
    pub name: Arc<str>,
    /// The group whose policies may use it; None: every policy's.
    pub group: Option<Arc<str>>,
    /// Whether it takes the secret of this name and group away.
    pub removed: bool,
    /// Its keys, in the order written; at least one, unless it takes a secret away.
    pub keys: Vec<SecretKey>,
    /// The hosts it may be sent to; None: the exact host of the rule that uses it.
    pub hosts: Option<Vec<Pattern>>,
    /// Where responses are searched for its values.
    pub scrub: Scrub,
    /// Whether a sandbox may stand a placeholder for it into a request.
    pub placeholder: bool,
    /// Where it begins.
    pub place: Place,
}

/// One key of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKey {
    /// Its name.
    pub name: Arc<str>,
    /// Where its value comes from.
    pub source: Arc<KeySource>,
    /// Where it is written.
    pub place: Place,
}

/// Where responses are searched for the values of a secret that went with their request; their headers always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scrub {
    /// Nowhere else.
    Never,
    /// In bodies that are text.
    #[default]
    Text,
    /// In every body.
    Always,
}

/// Where the value of a key comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// It is there as it is.
    Given(SecretSource),
    /// A token endpoint gives it for a client's own credentials (RFC 6749 §4.4).
    ClientCredentials(ClientCredentials),
    /// GitHub gives it for an installation of an app.
    GithubApp(GithubApp),
    /// The platform gives it for an identity of this gateway.
    ManagedIdentity(ManagedIdentity),
}

impl KeySource {
    /// What must be there before the value can be had: the value itself, or what it is asked for with. None: nothing that
    /// the gateway holds.
    #[must_use]
    pub const fn given(&self) -> Option<&SecretSource> {
        match self {
            Self::Given(source) => Some(source),
            Self::ClientCredentials(client) => Some(&client.client_secret),
            Self::GithubApp(app) => Some(&app.private_key),
            Self::ManagedIdentity(_) => None,
        }
    }
}

/// A client of a token endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCredentials {
    /// The endpoint, an `https` URL.
    pub token_url: Arc<str>,
    /// The client's id.
    pub client_id: Arc<str>,
    /// The client's secret.
    pub client_secret: SecretSource,
    /// What the token is for, as `scope`.
    pub scope: Option<Arc<str>>,
    /// What the token is for, as `audience` of endpoints that ask for one.
    pub audience: Option<Arc<str>>,
}

/// An installation of a GitHub App.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GithubApp {
    /// The app's id, or its client id.
    pub app: Arc<str>,
    /// The installation's id.
    pub installation: u64,
    /// The app's private key, PEM.
    pub private_key: SecretSource,
    /// The API, an `https` URL: `https://api.github.com`.
    pub api: Arc<str>,
}

/// An identity that the platform gave to this gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ManagedIdentity {
    /// Whom the token is for.
    pub resource: Arc<str>,
    /// The resource id of a user-assigned identity; None: the system's.
    pub identity: Option<Arc<str>>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// The contents of a file.
    File(PathBuf),
    /// A variable of the gateway's environment.
    Env(Arc<str>),
}

/// A `kind: Secret` document, when nothing of it is wrong.
pub(super) fn decode(spot: &Spot<'_>) -> Option<Secret> {
    let before = spot.decoder().errors();
    let fields = spot.fields(&DOCUMENT_KEYS)?;
    let about = fields.require("metadata").and_then(|spot| about(&spot));
    let removed = about.as_ref().is_some_and(|(.., removed)| *removed);
    let said = match fields.get("spec") {
        Some(spot) => said(&spot),
        None if removed => Some(Said::default()),
        None => fields.require("spec").and(None),
    };
    if spot.decoder().errors() > before {
        return None;
    }
    let (name, group, removed) = about?;
    let Said { keys, hosts, scrub, placeholder } = said?;
    Some(Secret { name, group, removed, keys, hosts, scrub, placeholder, place: spot.place() })
}

/// A secret's `metadata`: its name, its group, and whether it is taken away.
fn about(spot: &Spot<'_>) -> Option<(Arc<str>, Option<Arc<str>>, bool)> {
    let fields = spot.fields(&SECRET_METADATA_KEYS)?;
    let id = fields.require("name").and_then(|spot| name(&spot));
    let group = fields.get("group").and_then(|spot| name(&spot));
    let removed = fields.get("removed").and_then(|spot| spot.boolean()).unwrap_or(false);
    Some((id?, group, removed))
}

/// A secret's `spec`.
#[derive(Default)]
struct Said {
    keys: Vec<SecretKey>,
    hosts: Option<Vec<Pattern>>,
    scrub: Scrub,
    placeholder: bool,
}

/// A secret's `spec`.
fn said(spot: &Spot<'_>) -> Option<Said> {
    let fields = spot.fields(&SECRET_SPEC_KEYS)?;
    let said = Said {
        keys: fields.require("keys").map(|spot| keys(&spot)).unwrap_or_default(),
        hosts: fields.get("hosts").map(|spot| self::hosts(&spot)),
        scrub: fields.get("scrub").and_then(|spot| spot.choice(&SCRUBS)).unwrap_or_default(),
        placeholder: fields.get("placeholder").and_then(|spot| spot.boolean()).unwrap_or(false),
    };
    if said.placeholder && said.hosts.is_none() {
        // SECURITY: no rule names a host for it, so that nothing else would bind it.
        spot.error_cure(
            "a secret with `placeholder: true` needs `hosts`: a sandbox says where it stands",
            "add `hosts: […]`",
        );
    }
    Some(said)
}

/// `spec.keys`.
fn keys(spot: &Spot<'_>) -> Vec<SecretKey> {
    if matches!(&spot.node().kind, Kind::Map(entries) if entries.is_empty()) {
        spot.error_cure("a secret without keys", "add `token: {file: …}`");
    }
    if !spot.is_map() {
        spot.error_cure("expected a mapping of keys", "write {token: {file: …}}");
        return Vec::new();
    }
    let mut keys = Vec::new();
    for (key, value) in spot.entries() {
        let good = !key.text.is_empty()
            && key.text.len() <= super::LONGEST_NAME
            && !key.text.chars().any(char::is_control);
        if !good {
            value.error(format!("{} is not a name for a key", quoted(&key.text)));
        }
        if let Some(source) = key_source(&value) {
            let source = Arc::new(source);
            keys.push(SecretKey { name: Arc::clone(&key.text), source, place: value.place() });
        }
    }
    keys
}

/// `spec.hosts`: at least one pattern, none of them every host.
fn hosts(spot: &Spot<'_>) -> Vec<Pattern> {
    if matches!(&spot.node().kind, Kind::List(items) if items.is_empty()) {
        spot.error_cure(
            "lists no host",
            "leave `hosts` out to bind the secret to the host of the rule that uses it",
        );
    }
    spot.each(|item| {
        let found = pattern(&item)?;
        if found.to_string() == "*" {
            item.error_cure("a secret for every host is no secret", "name the hosts that need it");
            return None;
        }
        if found.is_tenant_wide() {
            item.warn(
                format!("tenant-wide: {} is every tenant of a shared domain", quoted(&found.to_string())),
                "name the hosts that need the secret: any tenant there could receive it",
            );
        }
        Some(found)
    })
}

/// `{file: …}` or `{env: …}`.
pub(crate) fn source(spot: &Spot<'_>) -> Option<SecretSource> {
    if spot.is_text() {
        // The text is not repeated: somebody may have written the value itself.
        spot.error_cure(
            "expected where the value comes from, found text",
            "write {file: /path} or {env: NAME}; values do not belong here",
        );
        return None;
    }
    given(&spot.fields(&SOURCE_KEYS)?)
}

/// `file` or `env` of a mapping that has one of them.
pub(super) fn given(fields: &Fields<'_>) -> Option<SecretSource> {
    let file = fields.get("file").map(|spot| spot.word(4096));
    let env = fields.get("env").map(|spot| variable(&spot));
    match (file, env) {
        (Some(file), None) => Some(SecretSource::File(PathBuf::from(file?))),
        (None, Some(env)) => Some(SecretSource::Env(env?)),
        (Some(_), Some(_)) | (None, None) => {
            let cure = "write {file: /path} or {env: NAME}";
            fields.spot().error_cure("exactly one source is needed", cure);
            None
        }
    }
}

/// The name of an environment variable.
pub(crate) fn variable(spot: &Spot<'_>) -> Option<Arc<str>> {
    let text = spot.word(256)?;
    let shaped = !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !shaped {
        spot.error_cure(
            format!("{} is not the name of an environment variable", quoted(text)),
            "write it as GITHUB_TOKEN",
        );
        return None;
    }
    Some(text.into())
}
