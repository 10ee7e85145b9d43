//! Tokens of an installation of a GitHub App: a JSON Web Token (RFC 7519), signed with the app's key by RS256 (RFC 7518
//! §3.3), is shown for one.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use http::header::{ACCEPT, AUTHORIZATION};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use zeroize::{Zeroize, Zeroizing};

use super::fetch::Call;
use super::given;
use super::supply::{Supply, endpoint, written};
use super::token::Token;
use super::unavailable::{Place, Unavailable};
use crate::policy::document::GithubApp;

/// How long before now an assertion begins, for clocks that differ.
const BEFORE: Duration = Duration::from_mins(1);
/// How long after now it ends; GitHub takes at most ten minutes.
const AFTER: Duration = Duration::from_mins(9);
/// The version of the API that is spoken.
const VERSION: HeaderName = HeaderName::from_static("x-github-api-version");

/// Asks for a token.
///
/// # Errors
/// Why there is none.
pub(super) async fn token(supply: &Supply, app: &GithubApp) -> Result<Token, Unavailable> {
    let path = format!("/app/installations/{}/access_tokens", app.installation);
    let to = endpoint(&app.api)?.below(&path);
    let (source, issuer) = (app.private_key.clone(), app.app.clone());
    let now = SystemTime::now();
    let shown = supply.blocking(move |allowed| {
        let pem = given::text(allowed, &source)?;
        let unusable = || Unavailable::Key { place: Place::from(&source) };
        let key = key(pem.expose_secret()).ok_or_else(unusable)?;
        let claims = claims(&issuer, now);
        bearer(&key, &claims).ok_or_else(unusable)
    });
    let call = Call::post(to.clone(), Zeroizing::default())
        .with(ACCEPT, "application/vnd.github+json")
        .with(VERSION, "2022-11-28")
        .with_secret(AUTHORIZATION, shown.await?);
    supply.ask(written(&to, call)?).await
}

/// The first private key of a PEM text, when it is one of RSA.
fn key(pem: &str) -> Option<RsaKeyPair> {
    let mut der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
    let key = match &der {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()).ok(),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Sec1(_) | _ => None,
    };
    der.zeroize();
    key
}

/// The claims of an assertion (RFC 7519 §4.1).
fn claims(issuer: &str, now: SystemTime) -> String {
    let seconds = |at: Duration| at.as_secs();
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (begins, ends) = (seconds(now.saturating_sub(BEFORE)), seconds(now.saturating_add(AFTER)));
    serde_json::json!({"iat": begins, "exp": ends, "iss": issuer}).to_string()
}

/// `Bearer` and the assertion (RFC 7515 §3.1).
fn bearer(key: &RsaKeyPair, claims: &str) -> Option<Zeroizing<Vec<u8>>> {
    const BEARER: &str = "Bearer ";
    let mut signature = vec![0; key.public_modulus_len()];
    let (header, claims) = (r#"{"alg":"RS256","typ":"JWT"}"#, claims.as_bytes());
    // SECURITY: room for everything at once, so that growing leaves no copy behind.
    let most = (header.len() + claims.len() + signature.len()) * 4 / 3 + 16 + BEARER.len();
    let mut text = Zeroizing::new(String::with_capacity(most));
    text.push_str(BEARER);
    URL_SAFE_NO_PAD.encode_string(header, &mut text);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut text);
    let signed = text.strip_prefix(BEARER)?.as_bytes();
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut signature).ok()?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(&signature, &mut text);
    signature.zeroize();
    Some(Zeroizing::new(text.as_bytes().to_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::sync::LazyLock;

    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// One key for all of the tests: making one takes long.
    static KEY: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_assertion_is_verified_by_the_public_key_and_says_what_was_meant(
            issuer in any::<String>(), at in 0..4_000_000_000_u64, flipped in any::<prop::sample::Index>(),
        ) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            let shown = bearer(&KEY, &claims(&issuer, now)).unwrap();
            let text = std::str::from_utf8(&shown).unwrap().strip_prefix("Bearer ").unwrap();
            prop_assert!(!text.contains('='));
            let parts: Vec<&str> = text.split('.').collect();
            prop_assert_eq!(parts.len(), 3);
            let read = |part: &str| -> Value {
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
            };
            prop_assert_eq!(read(parts[0]), serde_json::json!({"alg": "RS256", "typ": "JWT"}));
            let expected = serde_json::json!({"iat": at.saturating_sub(60), "exp": at + 540, "iss": issuer});
            prop_assert_eq!(read(parts[1]), expected);
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, KEY.public_key());
            let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
            let mut signed = format!("{}.{}", parts[0], parts[1]).into_bytes();
            prop_assert!(public.verify(&signed, &signature).is_ok());
            let at = flipped.index(signed.len());
            signed[at] ^= 1;
            prop_assert!(public.verify(&signed, &signature).is_err());
        }
    }
}
