//! Where every kind of value comes from.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;

use super::allowed::Allowed;
use super::fetch::{Call, Fetch, FetchError};
use super::given::{self, Given, LOOK_EVERY};
use super::identity::{self, Platform};
use super::token::{self, Token};
use super::unavailable::Unavailable;
use super::value::Revealed;
use super::{github, oauth};
use crate::addr::{Endpoint, EndpointError};
use crate::policy::document::{KeySource, SecretSource};

/// What values are made from.
pub(super) struct Supply {
    /// The files and variables that may be read.
    pub(super) allowed: Allowed,
    /// Who gives tokens of this gateway's identities.
    pub(super) platform: Option<Platform>,
    /// Who sends requests.
    pub(super) fetch: Arc<dyn Fetch>,
}

/// A value that was just made.
#[derive(Debug)]
pub(super) struct Made {
    /// The value.
    pub(super) value: Revealed,
    /// How long it may be used from when it was asked for; None: for good.
    pub(super) life: Option<Duration>,
    /// What tells whether it must be read again.
    pub(super) given: Option<Given>,
}

impl Supply {
    /// Makes the value of a source; `before` is what was last read of it.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(super) async fn make(&self, source: &KeySource, before: Option<Given>) -> Result<Made, Unavailable> {
        let token = match source {
            KeySource::Given(source) => return self.given(source.clone(), before).await,
            KeySource::ClientCredentials(client) => oauth::token(self, client).await?,
            KeySource::GithubApp(app) => github::token(self, app).await?,
            KeySource::ManagedIdentity(identity) => identity::token(self, identity).await?,
        };
        Ok(Made { value: token.value, life: Some(token.life), given: None })
    }

    /// Reads a value that is there as it is.
    async fn given(&self, source: SecretSource, before: Option<Given>) -> Result<Made, Unavailable> {
        let life = match &source {
            SecretSource::File(_) => Some(LOOK_EVERY),
            SecretSource::Env(_) => None,
        };
        let given = self.blocking(move |allowed| given::read(allowed, &source, before.as_ref())).await?;
        Ok(Made { value: given.value.clone(), life, given: Some(given) })
    }

    /// Sends a request for a token.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn ask(&self, call: Call) -> Result<Token, Unavailable> {
        let endpoint: Arc<str> = call.endpoint().to_string().into();
        let asked = SystemTime::now();
        match self.fetch.fetch(call).await {
            Ok(answer) => token::read(&answer, asked).map_err(|error| Unavailable::Token { endpoint, error }),
            Err(error) => Err(Unavailable::Fetch { endpoint, error }),
        }
    }

    /// Does what blocks on a thread for it.
    ///
    /// # Errors
    /// What the work says.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Allowed) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let allowed = self.allowed.clone();
        spawn_blocking(move || work(&allowed)).await.unwrap_or(Err(Unavailable::Internal))
    }
}

/// The URL of a service that a document names; credentials go there by TLS only.
///
/// # Errors
/// It is none.
pub(super) fn endpoint(url: &Arc<str>) -> Result<Endpoint, Unavailable> {
    let secure = |endpoint: Endpoint| {
        if endpoint.is_secure() { Ok(endpoint) } else { Err(EndpointError::Scheme) }
    };
    Endpoint::parse(url).and_then(secure).map_err(|fault| Unavailable::Url { url: Arc::clone(url), fault })
}

/// A request to a service, where it could be written.
///
/// # Errors
/// It could not.
pub(super) fn written(to: &Endpoint, call: Result<Call, FetchError>) -> Result<Call, Unavailable> {
    call.map_err(|error| Unavailable::Fetch { endpoint: to.to_string().into(), error })
}
