//! Where secrets may come from, and who gives tokens of managed identities.

use std::path::PathBuf;
use std::sync::Arc;

use super::network::path;
use crate::addr::Endpoint;
use crate::policy::document::SecretSource;
use crate::policy::document::secret::{source, variable};
use crate::secrets::Platform;
use crate::source::{Spot, quoted};

/// The keys of `secrets`.
pub(crate) const SECRETS_KEYS: [&str; 2] = ["allow", "managedIdentity"];
/// The keys of `secrets.allow`.
pub(crate) const ALLOW_KEYS: [&str; 2] = ["directories", "env"];
/// The keys of `secrets.managedIdentity`, those of a service first, those of a workload behind them.
pub(crate) const IDENTITY_KEYS: [&str; 6] =
    ["endpoint", "header", "tenant", "clientId", "tokenFile", "authority"];

/// Who exchanges the tokens of workloads.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// Where secrets may come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretSettings {
    /// The only sources that are allowed; None: any.
    pub allow: Option<SecretsAllowed>,
    /// Who gives tokens of this gateway's managed identities; None: nobody.
    pub managed_identity: Option<Platform>,
}

/// Directories and variables that secrets may come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretsAllowed {
    /// Directories, with everything below them.
    pub directories: Vec<PathBuf>,
    /// Environment variables.
    pub env: Vec<Arc<str>>,
}

/// `secrets`.
pub(super) fn secrets(spot: &Spot<'_>) -> SecretSettings {
    let Some(fields) = spot.fields(&SECRETS_KEYS) else { return SecretSettings::default() };
    SecretSettings {
        allow: fields.get("allow").map(|spot| allowed(&spot)),
        managed_identity: fields.get("managedIdentity").and_then(|spot| platform(&spot)),
    }
}

/// `secrets.allow`.
fn allowed(spot: &Spot<'_>) -> SecretsAllowed {
    let Some(fields) = spot.fields(&ALLOW_KEYS) else { return SecretsAllowed::default() };
    let directories = fields.get("directories").map(|spot| {
        spot.each(|item| {
            let found = path(&item)?;
            if !found.is_absolute() {
                item.error_cure(
                    format!("{} is not absolute", quoted(&found.to_string_lossy())),
                    "write it as /run/secrets",
                );
            }
            Some(found)
        })
    });
    let env: Option<Vec<Arc<str>>> = fields.get("env").map(|spot| spot.each(|item| variable(&item)));
    SecretsAllowed { directories: directories.unwrap_or_default(), env: env.unwrap_or_default() }
}

/// `secrets.managedIdentity`.
fn platform(spot: &Spot<'_>) -> Option<Platform> {
    let fields = spot.fields(&IDENTITY_KEYS)?;
    let (service, workload) = IDENTITY_KEYS.split_at(2);
    let has = |keys: &[&str]| keys.iter().any(|key| fields.has(key));
    match (has(service), has(workload)) {
        (true, false) => {
            let header = fields.get("header").map(|spot| source(&spot));
            let endpoint = fields.require("endpoint").and_then(|spot| near(&spot));
            match header {
                Some(header) => Some(Platform::Service { endpoint: endpoint?, header: header? }),
                None => Some(Platform::Metadata { endpoint: endpoint? }),
            }
        }
        (false, true) => {
            let tenant = fields.require("tenant").and_then(|spot| tenant(&spot));
            let client_id = fields.require("clientId").and_then(|spot| spot.word(256).map(Arc::from));
            let token_file = fields.require("tokenFile").and_then(|spot| path(&spot));
            let authority = match fields.get("authority") {
                Some(spot) => authority(&spot),
                None => Endpoint::parse_base(AUTHORITY).ok(),
            };
            Some(Platform::Workload {
                tenant: tenant?,
                client_id: client_id?,
                token_file: SecretSource::File(token_file?),
                authority: authority?,
            })
        }
        (true, true) | (false, false) => {
            spot.error_cure(
                "exactly one kind of service is needed",
                "write {endpoint: …}, {endpoint: …, header: …} or {tenant: …, clientId: …, tokenFile: …}",
            );
            None
        }
    }
}

/// The URL of a service of the platform: plain HTTP is for this machine and its network only.
fn near(spot: &Spot<'_>) -> Option<Endpoint> {
    const CURE: &str = "write it as http://169.254.169.254/metadata/identity/oauth2/token";
    match Endpoint::parse_base(spot.word(2048)?) {
        Ok(endpoint) if endpoint.is_secure() || endpoint.is_near() => return Some(endpoint),
        Ok(_) => spot.error_cure(
            "plain HTTP is only for `localhost` and for loopback, link-local and private addresses",
            CURE,
        ),
        Err(error) => spot.error_cure(format!("this is not the URL of a service: {error}"), CURE),
    }
    None
}

/// The URL of a service that is shown credentials.
fn authority(spot: &Spot<'_>) -> Option<Endpoint> {
    let cure = format!("write it as {AUTHORITY}");
    match Endpoint::parse_base(spot.word(2048)?) {
        Ok(endpoint) if endpoint.is_secure() => return Some(endpoint),
        Ok(_) => spot.error_cure("credentials are sent over TLS only", cure),
        Err(error) => spot.error_cure(format!("this is not the URL of a service: {error}"), cure),
    }
    None
}

/// A tenant, which becomes a part of a path.
fn tenant(spot: &Spot<'_>) -> Option<Arc<str>> {
    let text = spot.word(253)?;
    let shaped = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    if !text.bytes().all(shaped) || text.starts_with('.') {
        spot.error_cure(
            format!("{} is not a tenant", quoted(text)),
            "write its id, or a domain of it such as contoso.onmicrosoft.com",
        );
        return None;
    }
    Some(text.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::config::Config;

    /// What this `managedIdentity` is, or the first thing that is wrong with it.
    fn read(text: &str) -> Result<Platform, String> {
        match Config::parse(&"c.yaml".into(), &format!("secrets: {{managedIdentity: {text}}}\n")) {
            Ok(loaded) => Ok(loaded.config.secrets.managed_identity.unwrap()),
            Err(problems) => Err(problems.first().unwrap().to_string()),
        }
    }

    #[test]
    fn each_kind_of_service_has_its_keys() {
        let endpoint = |url| Endpoint::parse(url).unwrap();
        let metadata = "http://169.254.169.254/metadata/identity/oauth2/token";
        let found = read(&format!("{{endpoint: '{metadata}'}}")).unwrap();
        assert_eq!(found, Platform::Metadata { endpoint: endpoint(metadata) });
        let service = "http://localhost:42356/msi/token";
        let found = read(&format!("{{endpoint: '{service}', header: {{env: IDENTITY_HEADER}}}}")).unwrap();
        let header = SecretSource::Env("IDENTITY_HEADER".into());
        assert_eq!(found, Platform::Service { endpoint: endpoint(service), header });
        let found = read("{tenant: contoso.example, clientId: me, tokenFile: /var/run/token}").unwrap();
        let expected = Platform::Workload {
            tenant: "contoso.example".into(),
            client_id: "me".into(),
            token_file: SecretSource::File("/var/run/token".into()),
            authority: endpoint(AUTHORITY),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_service_is_refused() {
        for (text, part) in [
            ("{}", "exactly one kind"),
            ("{endpoint: 'http://127.0.0.1/', tenant: a}", "exactly one kind"),
            ("{header: {env: A}}", "`endpoint` is missing"),
            ("{endpoint: 'http://8.8.8.8/'}", "plain HTTP is only"),
            ("{endpoint: 'http://metadata.internal/'}", "plain HTTP is only"),
            ("{endpoint: 'http://127.0.0.1/?a'}", "query"),
            ("{endpoint: 'http://127.0.0.1/', header: hunter2}", "values do not belong here"),
            ("{tenant: a/b, clientId: a, tokenFile: /t}", "not a tenant"),
            ("{tenant: .., clientId: a, tokenFile: /t}", "not a tenant"),
            ("{tenant: a, clientId: a}", "`tokenFile` is missing"),
            ("{tenant: a, clientId: a, tokenFile: /t, authority: 'http://127.0.0.1'}", "over TLS only"),
            ("{tenant: a, clientId: a, tokenFile: /t, autority: x}", "did you mean `authority`"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(part) && !said.contains("hunter2"), "{text}: {said}");
        }
    }
}
