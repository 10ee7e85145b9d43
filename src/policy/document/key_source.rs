//! Where the value of a secret's key comes from: a file, a variable, or a service that gives tokens.

use std::sync::Arc;

use super::secret::{ClientCredentials, GithubApp, KeySource, SecretSource, given, source};
use crate::addr::Endpoint;
use crate::source::{Fields, Kind, Spot};

/// The keys of a key.
pub(crate) const KEY_SOURCE_KEYS: [&str; 4] = ["file", "env", "clientCredentials", "githubApp"];
/// The keys of `clientCredentials`.
pub(crate) const CLIENT_KEYS: [&str; 5] = ["tokenUrl", "clientId", "clientSecret", "scope", "audience"];
/// The keys of `githubApp`.
pub(crate) const APP_KEYS: [&str; 4] = ["app", "installation", "privateKey", "api"];

/// The API of github.com.
const GITHUB: &str = "https://api.github.com";

/// `{file: …}`, `{env: …}`, `{clientCredentials: {…}}` or `{githubApp: {…}}`.
pub(super) fn key_source(spot: &Spot<'_>) -> Option<KeySource> {
    if spot.is_text() {
        return source(spot).map(KeySource::Given);
    }
    let fields = spot.fields(&KEY_SOURCE_KEYS)?;
    if KEY_SOURCE_KEYS.into_iter().filter(|key| fields.has(key)).count() != 1 {
        spot.error_cure(
            "exactly one source is needed",
            "write {file: /path}, {env: NAME}, {clientCredentials: {…}} or {githubApp: {…}}",
        );
        return None;
    }
    if let Some(spot) = fields.get("clientCredentials") {
        return client(&spot).map(KeySource::ClientCredentials);
    }
    if let Some(spot) = fields.get("githubApp") {
        return app(&spot).map(KeySource::GithubApp);
    }
    given(&fields).map(KeySource::Given)
}

/// `clientCredentials`.
fn client(spot: &Spot<'_>) -> Option<ClientCredentials> {
    let fields = spot.fields(&CLIENT_KEYS)?;
    let token_url = fields.require("tokenUrl").and_then(|spot| url(&spot, Endpoint::parse));
    let client_id = word(&fields, "clientId", 256, true);
    let client_secret = required(&fields, "clientSecret");
    let scope = word(&fields, "scope", 2048, false);
    let audience = word(&fields, "audience", 2048, false);
    Some(ClientCredentials {
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope,
        audience,
    })
}

/// `githubApp`.
fn app(spot: &Spot<'_>) -> Option<GithubApp> {
    let fields = spot.fields(&APP_KEYS)?;
    let app = fields.require("app").and_then(|spot| {
        let number = matches!(spot.node().kind, Kind::Int(_));
        if number {
            Some(spot.integer(1, u64::MAX)?.to_string().into())
        } else {
            spot.word(64).map(Arc::from)
        }
    });
    let installation = fields.require("installation").and_then(|spot| spot.integer(1, u64::MAX));
    let private_key = required(&fields, "privateKey");
    let api = match fields.get("api") {
        Some(spot) => url(&spot, Endpoint::parse_base),
        None => Some(GITHUB.into()),
    };
    Some(GithubApp { app: app?, installation: installation?, private_key: private_key?, api: api? })
}

/// A source that must be there.
fn required(fields: &Fields<'_>, key: &'static str) -> Option<SecretSource> {
    fields.get(key).map_or_else(
        || {
            let _reported = fields.require(key);
            None
        },
        |spot| source(&spot),
    )
}

/// A word that must or may be there.
fn word(fields: &Fields<'_>, key: &'static str, longest: usize, needed: bool) -> Option<Arc<str>> {
    let spot = if needed { fields.require(key) } else { fields.get(key) };
    spot.and_then(|spot| spot.word(longest).map(Arc::from))
}

/// The URL of a service that is shown credentials.
fn url<E: std::fmt::Display>(
    spot: &Spot<'_>,
    parse: impl FnOnce(&str) -> Result<Endpoint, E>,
) -> Option<Arc<str>> {
    const CURE: &str = "write it as https://login.example.com/oauth2/token";
    let text = spot.word(2048)?;
    // The text is not repeated: somebody may have written a password into it.
    match parse(text) {
        Ok(endpoint) if endpoint.is_secure() => return Some(text.into()),
        Ok(_) => spot.error_cure("credentials are sent over TLS only", CURE),
        Err(error) => spot.error_cure(format!("this is not the URL of a service: {error}"), CURE),
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::policy::document::{Parsed, parse};

    /// What a secret says whose only key is this.
    fn load(key: &str) -> Parsed {
        parse(
            &"s.yaml".into(),
            &format!("kind: Secret\nmetadata: {{name: s}}\nspec: {{keys: {{k: {key}}}}}\n"),
        )
    }

    #[test]
    fn a_key_may_be_a_token_for_credentials_of_a_client() {
        let parsed = load(
            "{clientCredentials: {tokenUrl: 'https://login.example/t?v=2', clientId: me, clientSecret: {env: S}, scope: a b, audience: 'https://api.example'}}",
        );
        assert_eq!(parsed.problems, []);
        let expected = KeySource::ClientCredentials(ClientCredentials {
            token_url: "https://login.example/t?v=2".into(),
            client_id: "me".into(),
            client_secret: SecretSource::Env("S".into()),
            scope: Some("a b".into()),
            audience: Some("https://api.example".into()),
        });
        assert_eq!(*parsed.secrets[0].keys[0].source, expected);
    }

    #[test]
    fn a_key_may_be_a_token_of_an_installation_of_an_app() {
        for (app, name) in [("1234", "1234"), ("Iv1.abc", "Iv1.abc")] {
            let parsed = load(&format!(
                "{{githubApp: {{app: {app}, installation: 99, privateKey: {{file: /k.pem}}}}}}"
            ));
            assert_eq!(parsed.problems, []);
            let expected = KeySource::GithubApp(GithubApp {
                app: name.into(),
                installation: 99,
                private_key: SecretSource::File("/k.pem".into()),
                api: GITHUB.into(),
            });
            assert_eq!(*parsed.secrets[0].keys[0].source, expected);
        }
    }

    #[test]
    fn what_is_wrong_with_a_source_is_said_without_repeating_it() {
        let client = |url: &str, more: &str| format!("{{clientCredentials: {{tokenUrl: '{url}', {more}}}}}");
        let good = "clientId: a, clientSecret: {env: S}";
        let app = |more: &str| format!("{{githubApp: {{{more}}}}}");
        for (key, part) in [
            ("{}".to_owned(), "exactly one source"),
            ("{file: x, githubApp: {}}".to_owned(), "exactly one source"),
            ("{clientCredentails: {}}".to_owned(), "did you mean `clientCredentials`"),
            (client("http://a.example/t", good), "over TLS only"),
            (client("https://u:hunter2@a.example/t", good), "userinfo"),
            (client("https://a.example/t#hunter2", good), "fragment"),
            (client("a.example", good), "must begin with https://"),
            (client("https://a.example", "clientId: a"), "`clientSecret` is missing"),
            (client("https://a.example", "clientSecret: {env: S}"), "`clientId` is missing"),
            (client("https://a.example", "clientId: a, clientSecret: hunter2"), "values do not belong here"),
            (client("https://a.example", "clientId: a, clientSecret: {env: S}, x: 1"), "unknown key"),
            (client("https://a.example", "clientId: a, clientSecret: {githubApp: {}}"), "unknown key"),
            (app("app: 1, privateKey: {env: K}"), "`installation` is missing"),
            (app("app: 1, installation: 0, privateKey: {env: K}"), "not in the range"),
            (app("app: 1, installation: x, privateKey: {env: K}"), "whole number"),
            (app("app: 1, installation: 1"), "`privateKey` is missing"),
            (
                app("app: 1, installation: 1, privateKey: {env: K}, api: 'https://g.example/?hunter2'"),
                "query",
            ),
            (app("app: 1, installation: 1, privateKey: {env: K}, api: 'http://g.example'"), "over TLS only"),
        ] {
            let parsed = load(&key);
            let said: Vec<_> = parsed.problems.iter().map(ToString::to_string).collect();
            assert!(said.iter().any(|line| line.contains(part)), "{key}: {said:?}");
            assert!(!said.concat().contains("hunter2"), "{said:?}");
            assert!(parsed.secrets.is_empty());
            assert!(said[0].contains("s.yaml:3:"), "it says where: {said:?}");
        }
    }
}
