//! Tokens of an identity that the platform gave to this gateway.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::fetch::{Call, query};
use super::given;
use super::supply::{Supply, written};
use super::token::Token;
use super::unavailable::Unavailable;
use crate::addr::Endpoint;
use crate::policy::document::{ManagedIdentity, SecretSource};

/// Says that a request is not a redirected one; the metadata service wants it.
const METADATA: HeaderName = HeaderName::from_static("metadata");
/// Shows that a request comes from this container.
const IDENTITY: HeaderName = HeaderName::from_static("x-identity-header");
/// The type of an assertion that is a JSON Web Token (RFC 7523 §2.2).
const JWT: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The service that gives tokens of this gateway's identities.
#[derive(Clone, PartialEq, Eq)]
pub enum Platform {
    /// The metadata service of a virtual machine.
    Metadata {
        /// Where it is: `http://169.254.169.254/metadata/identity/oauth2/token`.
        endpoint: Endpoint,
    },
    /// The service beside an app or a container.
    Service {
        /// Where it is, as `IDENTITY_ENDPOINT` says.
        endpoint: Endpoint,
        /// What it wants to be shown, as `IDENTITY_HEADER` says.
        header: SecretSource,
    },
    /// An exchange of the platform's token for one of the tenant.
    Workload {
        /// The tenant: its id or a domain of it.
        tenant: Arc<str>,
        /// The client id of the identity.
        client_id: Arc<str>,
        /// The platform's token.
        token_file: SecretSource,
        /// Who exchanges it: `https://login.microsoftonline.com`.
        authority: Endpoint,
    },
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata { endpoint } => write!(f, "Metadata({endpoint})"),
            Self::Service { endpoint, header } => write!(f, "Service({endpoint}, {header:?})"),
            Self::Workload { tenant, client_id, token_file, authority } => {
                write!(f, "Workload({authority}, {tenant}, {client_id}, {token_file:?})")
            }
        }
    }
}

/// Asks for a token.
///
/// # Errors
/// Why there is none.
pub(super) async fn token(supply: &Supply, identity: &ManagedIdentity) -> Result<Token, Unavailable> {
    let resource = ("resource", &*identity.resource);
    match supply.platform.as_ref().ok_or(Unavailable::NoIdentity)? {
        Platform::Metadata { endpoint } => {
            let mut fields = vec![("api-version", "2018-02-01"), resource];
            fields.extend(identity.identity.iter().map(|id| ("msi_res_id", &**id)));
            let call = Call::get(endpoint.with_query(&query(&fields)));
            supply.ask(call.with(METADATA, "true")).await
        }
        Platform::Service { endpoint, header } => {
            let mut fields = vec![("api-version", "2019-08-01"), resource];
            fields.extend(identity.identity.iter().map(|id| ("mi_res_id", &**id)));
            let source = header.clone();
            let shown = supply.blocking(move |allowed| given::text(allowed, &source)).await?;
            let shown = Zeroizing::new(shown.expose_secret().as_bytes().to_vec());
            let call = Call::get(endpoint.with_query(&query(&fields)));
            supply.ask(written(endpoint, call.with_secret(IDENTITY, shown))?).await
        }
        Platform::Workload { tenant, client_id, token_file, authority } => {
            if identity.identity.is_some() {
                return Err(Unavailable::OneIdentity);
            }
            let source = token_file.clone();
            let shown = supply.blocking(move |allowed| given::text(allowed, &source)).await?;
            let scope = format!("{}/.default", identity.resource);
            let fields = [
                ("grant_type", "client_credentials"),
                ("client_id", client_id),
                ("client_assertion_type", JWT),
                ("client_assertion", shown.expose_secret()),
                ("scope", &scope),
            ];
            supply.ask(Call::form(authority.below(&format!("/{tenant}/oauth2/v2.0/token")), &fields)).await
        }
    }
}
