//! Tokens for a client's own credentials (RFC 6749 §4.4), its secret in the form (§2.3.1).

use secrecy::ExposeSecret;

use super::fetch::Call;
use super::given;
use super::supply::{Supply, endpoint};
use super::token::Token;
use super::unavailable::Unavailable;
use crate::policy::document::ClientCredentials;

/// Asks for a token.
///
/// # Errors
/// Why there is none.
pub(super) async fn token(supply: &Supply, client: &ClientCredentials) -> Result<Token, Unavailable> {
    let to = endpoint(&client.token_url)?;
    let source = client.client_secret.clone();
    let secret = supply.blocking(move |allowed| given::text(allowed, &source)).await?;
    let mut fields = vec![
        ("grant_type", "client_credentials"),
        ("client_id", &*client.client_id),
        ("client_secret", secret.expose_secret()),
    ];
    fields.extend(client.scope.iter().map(|scope| ("scope", &**scope)));
    fields.extend(client.audience.iter().map(|audience| ("audience", &**audience)));
    supply.ask(Call::form(to, &fields)).await
}
