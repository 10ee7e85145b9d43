//! Tokens that the gateway asks for itself: over real TLS, from services that behave.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use sluicegate::addr::Endpoint;
use sluicegate::policy::document::{ClientCredentials, GithubApp, KeySource, ManagedIdentity, SecretSource};
use sluicegate::secrets::{Allowed, Platform, Secrets, Unavailable};
use sluicegate::upstream::{DialSettings, DnsSettings, Fetcher, Resolver, Uplink, Uplinks};
use tempfile::NamedTempFile;
use tokio::task::JoinSet;

use crate::kit::dns::{Answer, Dns};
use crate::kit::http::Reply;
use crate::kit::origin::{Behaviour, Origin};
use crate::kit::within;

mod bad;

/// What must never be seen.
const CANARY: &str = "hunter2-canary";
/// A token for an hour.
const HOUR: &str = r#"{"access_token":"the-token","token_type":"Bearer","expires_in":3600}"#;

/// A service inside TLS, called `login.test`.
struct Service {
    origin: Origin,
    dns: Dns,
}

impl Service {
    /// One that answers like this, in turn on each connection.
    async fn answering(reply: Reply) -> Self {
        Self::behaving(Behaviour::Http(vec![reply])).await
    }

    /// One that behaves like this.
    async fn behaving(behaviour: Behaviour) -> Self {
        let (origin, dns) = (Origin::tls("login.test", behaviour).await, Dns::start().await);
        dns.says("login.test", Answer::addresses(["127.0.0.8"]));
        dns.says("other.test", Answer::addresses(["127.0.0.8"]));
        Self { origin, dns }
    }

    /// A URL of it.
    fn url(&self, path: &str) -> String {
        format!("https://login.test:{}{path}", self.origin.port())
    }

    /// Secrets that trust it.
    fn secrets(&self, platform: Option<Platform>) -> Secrets {
        secrets(&self.dns, &[self.origin.certificate()], platform)
    }

    /// A client of it, with this secret.
    fn client(&self, secret: &NamedTempFile) -> Arc<KeySource> {
        client(&self.url("/t?v=2"), secret)
    }
}

/// Secrets that trust these certificates.
fn secrets(dns: &Dns, trusted: &[CertificateDer<'static>], platform: Option<Platform>) -> Secrets {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let settings = DnsSettings { servers: vec![dns.address()], ..DnsSettings::default() };
    let resolver = Resolver::new(&settings).expect("a resolver");
    let managed = Uplink::new("managed", resolver, DialSettings::default());
    let fetch = Fetcher::new(Arc::new(Uplinks::new(managed, Vec::new())), &tls);
    Secrets::new(Allowed::ANY, platform, Arc::new(fetch))
}

/// A client of this endpoint.
fn client(url: &str, secret: &NamedTempFile) -> Arc<KeySource> {
    Arc::new(KeySource::ClientCredentials(ClientCredentials {
        token_url: url.into(),
        client_id: "me & you".into(),
        client_secret: SecretSource::File(secret.path().to_owned()),
        scope: Some("a b".into()),
        audience: None,
    }))
}

/// An identity of the platform.
fn identity(id: Option<&str>) -> Arc<KeySource> {
    let resource = "https://vault.example".into();
    Arc::new(KeySource::ManagedIdentity(ManagedIdentity { resource, identity: id.map(Arc::from) }))
}

/// A file with this in it.
fn file(text: impl AsRef<[u8]>) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

/// The value of a source.
async fn revealed(secrets: &Secrets, source: &Arc<KeySource>) -> Result<String, Unavailable> {
    let value = within("a secret", secrets.reveal(source)).await?;
    Ok(String::from_utf8(value.expose().to_vec()).expect("text"))
}

/// Moves the clock.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// An answer of JSON with this status.
fn json(status: &str, body: &str) -> Reply {
    Reply::status(status, body)
}

#[tokio::test]
async fn a_client_shows_its_credentials_in_a_form_and_keeps_the_token() {
    let service = Service::answering(Reply::ok(HOUR)).await;
    let (secrets, secret) = (service.secrets(None), file(format!("{CANARY}+/\n")));
    let source = service.client(&secret);
    for _ in 0..3 {
        assert_eq!(revealed(&secrets, &source).await.unwrap(), "the-token");
    }
    assert_eq!(service.origin.connections(), 1);
    let sent = service.origin.received(0);
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /t?v=2 http/1.1\r\n"), "{head}");
    for line in [
        format!("host: login.test:{}", service.origin.port()),
        "content-type: application/x-www-form-urlencoded".to_owned(),
        "accept: application/json".to_owned(),
        format!("content-length: {}", body.len()),
    ] {
        assert!(head.lines().any(|found| found == line), "{line}: {head}");
    }
    let form =
        format!("grant_type=client_credentials&client_id=me+%26+you&client_secret={CANARY}%2B%2F&scope=a+b");
    assert_eq!(body, form);
    // In the last five minutes of its hour it is renewed, with the secret that is there then.
    std::fs::write(secret.path(), "rotated").unwrap();
    pass(Duration::from_secs(3301)).await;
    assert_eq!(revealed(&secrets, &source).await.unwrap(), "the-token");
    assert_eq!(service.origin.connections(), 2);
    assert!(service.origin.received(1).contains("client_secret=rotated&"));
}

#[tokio::test]
async fn a_hundred_uses_at_the_same_time_are_one_request() {
    let service = Service::answering(Reply::ok(HOUR)).await;
    let (secrets, secret) = (service.secrets(None), file(CANARY));
    let source = service.client(&secret);
    let mut uses = JoinSet::new();
    for _ in 0..100 {
        let (secrets, source) = (secrets.clone(), Arc::clone(&source));
        uses.spawn(async move { revealed(&secrets, &source).await });
    }
    while let Some(ended) = uses.join_next().await {
        assert_eq!(ended.unwrap().unwrap(), "the-token");
    }
    assert_eq!(service.origin.connections(), 1);
}

#[tokio::test]
async fn an_app_shows_an_assertion_that_its_key_signed() {
    let service =
        Service::answering(json("201 Created", r#"{"token":"ghs_x","expires_at":"2999-01-01T00:00:00Z"}"#))
            .await;
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).unwrap();
    let pem = |kind: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
    };
    // PKCS #8 wraps PKCS #1 in 26 bytes.
    for (at, pem) in [pem("PRIVATE KEY", der.as_ref()), pem("RSA PRIVATE KEY", &der.as_ref()[26..])]
        .into_iter()
        .enumerate()
    {
        let private_key = file(pem);
        let source = Arc::new(KeySource::GithubApp(GithubApp {
            app: "Iv1.app".into(),
            installation: 77,
            private_key: SecretSource::File(private_key.path().to_owned()),
            api: service.url("/api/v3/").into(),
        }));
        assert_eq!(revealed(&service.secrets(None), &source).await.unwrap(), "ghs_x");
        let sent = service.origin.received(at);
        assert!(sent.starts_with("POST /api/v3/app/installations/77/access_tokens HTTP/1.1\r\n"), "{sent}");
        let field = |name: &str| {
            let line = |line: &str| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            };
            sent.lines().find_map(line).unwrap_or_else(|| panic!("no {name}: {sent}"))
        };
        assert_eq!(field("accept"), "application/vnd.github+json");
        assert_eq!(field("x-github-api-version"), "2022-11-28");
        assert_eq!(field("user-agent"), "sluicegate");
        assert_eq!(field("content-length"), "0");
        let shown = field("authorization");
        let (signed, signature) = shown.strip_prefix("Bearer ").unwrap().rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let seconds = |name: &str| claims[name].as_u64().unwrap();
        assert_eq!(claims["iss"], "Iv1.app");
        assert!(seconds("iat") <= now - 60 && seconds("exp") - seconds("iat") == 600, "{claims}");
    }
}

#[tokio::test]
async fn the_platform_gives_tokens_of_its_identities() {
    let answer = r#"{"access_token":"the-token","expires_on":"32503680000","token_type":"Bearer"}"#;
    let (plain, dns) = (Origin::http([Reply::ok(answer)]).await, Dns::start().await);
    let endpoint = Endpoint::parse(&format!("http://127.0.0.8:{}/msi/token", plain.port())).unwrap();
    let metadata = secrets(&dns, &[], Some(Platform::Metadata { endpoint: endpoint.clone() }));
    let shown = file(CANARY);
    let header = SecretSource::File(shown.path().to_owned());
    let service = secrets(&dns, &[], Some(Platform::Service { endpoint, header }));
    let (system, own) = (identity(None), identity(Some("/subscriptions/1/a b")));
    for (at, (secrets, source, line, header)) in [
        (&metadata, &system, "GET /msi/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.example", "metadata: true"),
        (&metadata, &own, "GET /msi/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.example&msi_res_id=%2Fsubscriptions%2F1%2Fa+b", "metadata: true"),
        (&service, &system, "GET /msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.example", "x-identity-header: hunter2-canary"),
        (&service, &own, "GET /msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.example&mi_res_id=%2Fsubscriptions%2F1%2Fa+b", "x-identity-header: hunter2-canary"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(revealed(secrets, source).await.unwrap(), "the-token");
        let sent = plain.received(at);
        assert!(sent.starts_with(&format!("{line} HTTP/1.1\r\n")), "{sent}");
        assert!(sent.to_ascii_lowercase().lines().any(|found| found == header), "{sent}");
        assert!(!sent.to_ascii_lowercase().contains("x-forwarded-for"), "{sent}");
    }
    assert_eq!(dns.total_queries(), 0);
}

#[tokio::test]
async fn a_workload_exchanges_the_token_of_its_platform() {
    let service = Service::answering(Reply::ok(HOUR)).await;
    let token = file("header.claims.sign_ature\n");
    let platform = Platform::Workload {
        tenant: "contoso.example".into(),
        client_id: "me".into(),
        token_file: SecretSource::File(token.path().to_owned()),
        authority: Endpoint::parse_base(&service.url("")).unwrap(),
    };
    let secrets = service.secrets(Some(platform));
    assert_eq!(revealed(&secrets, &identity(None)).await.unwrap(), "the-token");
    let sent = service.origin.received(0);
    assert!(sent.starts_with("POST /contoso.example/oauth2/v2.0/token HTTP/1.1\r\n"), "{sent}");
    assert!(sent.ends_with(
        "grant_type=client_credentials&client_id=me&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=header.claims.sign_ature&scope=https%3A%2F%2Fvault.example%2F.default"
    ), "{sent}");
    let error = revealed(&secrets, &identity(Some("/x"))).await.unwrap_err();
    assert!(matches!(error, Unavailable::OneIdentity), "{error}");
}
