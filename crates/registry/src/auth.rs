//! Proving who asks: challenges are learned per registry, tokens fetched per scope, once for all
//! who wait, and renewed before they expire.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method};
use launchway_model::{RegistryHost, Repository, is_loopback_host};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::Instant;

use crate::answer::Failure;
use crate::body::Payload;
use crate::challenge::{self, Challenge};
use crate::endpoint::shown;
use crate::transport::{Request, Transport};
use crate::{Credential, Credentials, ErrorClass};

/// The largest answer of a token server that is read, in bytes.
const TOKEN_LIMIT: u64 = 1024 * 1024;
/// How long a token lives when its server does not say (distribution, token authentication).
const LIFETIME: Duration = Duration::from_secs(60);

/// What a request does in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Actions {
    Pull,
    Push,
    Delete,
    /// Listing the repositories of a registry.
    Catalog,
}

/// What a request needs to be allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Access {
    pub(crate) host: RegistryHost,
    repository: Option<String>,
    actions: Actions,
    /// Other repositories that have to be readable, as a mount needs.
    also_pull: Vec<String>,
}

impl Access {
    pub(crate) fn to(repository: &Repository, actions: Actions) -> Self {
        Self {
            host: repository.host().clone(),
            repository: Some(repository.path().to_owned()),
            actions,
            also_pull: Vec::new(),
        }
    }

    pub(crate) fn host(host: &RegistryHost) -> Self {
        Self {
            host: host.clone(),
            repository: None,
            actions: Actions::Pull,
            also_pull: Vec::new(),
        }
    }

    pub(crate) fn catalog(host: &RegistryHost) -> Self {
        Self {
            actions: Actions::Catalog,
            ..Self::host(host)
        }
    }

    /// The same, and reading `source` besides.
    #[must_use]
    pub(crate) fn and_pull(mut self, source: &Repository) -> Self {
        self.also_pull = vec![source.path().to_owned()];
        self
    }

    fn scopes(&self) -> Vec<String> {
        let actions = match self.actions {
            Actions::Pull => "pull",
            Actions::Push => "pull,push",
            Actions::Delete => "delete",
            Actions::Catalog => return vec!["registry:catalog:*".to_owned()],
        };
        let own = self.repository.iter();
        own.map(|path| format!("repository:{path}:{actions}"))
            .chain(
                self.also_pull
                    .iter()
                    .map(|path| format!("repository:{path}:pull")),
            )
            .collect()
    }

    /// The accesses whose token serves this one too, narrowest first.
    fn served_by(&self) -> Vec<Self> {
        let mut wider = vec![self.clone()];
        if self.actions == Actions::Pull && self.repository.is_some() && self.also_pull.is_empty() {
            wider.push(Self {
                actions: Actions::Push,
                ..self.clone()
            });
        }
        wider
    }
}

/// How a registry wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
        /// What the registry asked for, when that is something we would not have.
        scope: Option<String>,
    },
}

/// The value of an `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) header: HeaderValue,
    /// When it is better to get a new one.
    stale: Option<Instant>,
}

impl Proof {
    fn new(scheme: &str, secret: &str, stale: Option<Instant>) -> Result<Self, Failure> {
        let mut header = HeaderValue::from_str(&format!("{scheme} {secret}")).map_err(|_| {
            Failure::new(
                ErrorClass::Auth,
                "the credential holds characters that no header can carry",
            )
        })?;
        header.set_sensitive(true);
        Ok(Self { header, stale })
    }

    /// The secret itself, for taking it out of texts.
    pub(crate) fn secret(&self) -> &str {
        let text = self.header.to_str().unwrap_or_default();
        text.split_once(' ').map_or(text, |(_, secret)| secret)
    }

    fn is_stale(&self) -> bool {
        self.stale.is_some_and(|stale| stale <= Instant::now())
    }
}

type Flight<T> = Shared<BoxFuture<'static, Result<T, Failure>>>;

/// Who we are to each registry.
pub(crate) struct Auth {
    credentials: Arc<dyn Credentials>,
    schemes: Mutex<HashMap<RegistryHost, Scheme>>,
    proofs: Mutex<HashMap<Access, Flight<Proof>>>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").finish_non_exhaustive()
    }
}

impl Auth {
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self {
            credentials,
            schemes: Mutex::default(),
            proofs: Mutex::default(),
        }
    }

    /// What to send along. None as long as the registry has not asked for anything.
    pub(crate) async fn proof(
        &self,
        transport: &Arc<Transport>,
        access: &Access,
    ) -> Result<Option<Proof>, Failure> {
        let scheme = {
            let schemes = self
                .schemes
                .lock()
                .expect("no holder of the schemes panics");
            match schemes.get(&access.host) {
                Some(scheme) => scheme.clone(),
                None => return Ok(None),
            }
        };
        let flight = self.flight(transport, access, scheme);
        let result = flight.clone().await;
        if result.is_err() {
            self.remove(access, |found| found.ptr_eq(&flight));
        }
        result.map(Some)
    }

    /// Takes in what a registry answered with 401, and throws away the proof it did not accept.
    pub(crate) fn learn(
        &self,
        access: &Access,
        asked: &Url,
        headers: &HeaderMap,
        refused: Option<&Proof>,
    ) -> Result<(), Failure> {
        let challenges: Vec<Challenge> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenge::parse)
            .collect();
        let mut scheme = None;
        for challenge in challenges {
            match challenge {
                Challenge::Bearer {
                    realm,
                    service,
                    scope,
                } => {
                    let realm = check_realm(asked, &realm)?;
                    let scope = scope.filter(|scope| !access.scopes().contains(scope));
                    scheme = Some(Scheme::Bearer {
                        realm,
                        service,
                        scope,
                    });
                    break;
                }
                Challenge::Basic => scheme = scheme.or(Some(Scheme::Basic)),
            }
        }
        let scheme = scheme.ok_or_else(|| {
            Failure::new(
                ErrorClass::Auth,
                "the registry wants a kind of login that is not known here",
            )
            .with_status(401)
        })?;
        let mut schemes = self
            .schemes
            .lock()
            .expect("no holder of the schemes panics");
        schemes.insert(access.host.clone(), scheme);
        drop(schemes);
        if let Some(refused) = refused {
            for access in access.served_by() {
                self.remove(
                    &access,
                    |found| matches!(found.peek(), Some(Ok(proof)) if proof == refused),
                );
            }
        }
        Ok(())
    }

    /// Whether this registry has asked who we are.
    pub(crate) fn is_asked(&self, host: &RegistryHost) -> bool {
        let schemes = self
            .schemes
            .lock()
            .expect("no holder of the schemes panics");
        schemes.contains_key(host)
    }

    fn flight(&self, transport: &Arc<Transport>, access: &Access, scheme: Scheme) -> Flight<Proof> {
        let mut proofs = self.proofs.lock().expect("no holder of the proofs panics");
        let usable = |flight: &Flight<Proof>| match flight.peek() {
            None => true,
            Some(Ok(proof)) => !proof.is_stale(),
            Some(Err(_)) => false,
        };
        for serving in access.served_by() {
            if let Some(flight) = proofs.get(&serving).filter(|flight| usable(flight)) {
                return flight.clone();
            }
        }
        let flight = prove(
            Arc::clone(transport),
            Arc::clone(&self.credentials),
            access.clone(),
            scheme,
        )
        .boxed()
        .shared();
        proofs.insert(access.clone(), flight.clone());
        flight
    }

    fn remove(&self, access: &Access, is_it: impl Fn(&Flight<Proof>) -> bool) {
        let mut proofs = self.proofs.lock().expect("no holder of the proofs panics");
        if proofs.get(access).is_some_and(is_it) {
            proofs.remove(access);
        }
    }
}

/// Checks where tokens are to be fetched: by TLS, or without it on the host that the registry itself
/// is spoken to without.
fn check_realm(asked: &Url, realm: &str) -> Result<Url, Failure> {
    let url = Url::parse(realm).map_err(|error| {
        Failure::permanent(format!(
            "the registry names a token server that is no address: {error}"
        ))
    })?;
    let refused = |why: &str| {
        Err(Failure::permanent(format!(
            "the registry names the token server {}, {why}; credentials are not sent there",
            shown(&url)
        )))
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refused("with a user name in the address");
    }
    let name = |url: &Url| url.host_str().unwrap_or_default().to_owned();
    let is_sibling = asked.scheme() == "http"
        && (name(&url) == name(asked)
            || (is_loopback_host(&name(&url)) && is_loopback_host(&name(asked))));
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_sibling => Ok(url),
        "http" => refused("which is plain HTTP on another host"),
        _ => refused("which is no web address"),
    }
}

/// Finds the credential and turns it into what the registry accepts.
async fn prove(
    transport: Arc<Transport>,
    credentials: Arc<dyn Credentials>,
    access: Access,
    scheme: Scheme,
) -> Result<Proof, Failure> {
    let credential = credentials
        .lookup(&access.host, access.repository.as_deref())
        .await
        .map_err(|error| Failure::new(ErrorClass::Auth, error.to_string()))?;
    match (scheme, credential) {
        (Scheme::Basic, Some(Credential::Basic { username, password })) => {
            let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
            Proof::new("Basic", &pair, None)
        }
        (Scheme::Basic, None) => Err(Failure::new(
            ErrorClass::Auth,
            format!("nobody is logged in to {}", access.host),
        )
        .with_status(401)),
        (Scheme::Basic, Some(Credential::IdentityToken(_) | Credential::BearerToken(_))) => {
            Err(Failure::new(
                ErrorClass::Auth,
                "the registry wants a user name and a password, and only a token is known",
            )
            .with_status(401))
        }
        (Scheme::Bearer { .. }, Some(Credential::BearerToken(token))) => {
            Proof::new("Bearer", token.expose(), None)
        }
        (
            Scheme::Bearer {
                realm,
                service,
                scope,
            },
            credential,
        ) => {
            let mut scopes = access.scopes();
            scopes.extend(scope.filter(|_| access.repository.is_none()));
            let wanted = Wanted {
                realm,
                service,
                scopes,
            };
            fetch_token(&transport, &access.host, &wanted, credential).await
        }
    }
}

/// What a token server is asked for.
struct Wanted {
    realm: Url,
    service: Option<String>,
    scopes: Vec<String>,
}

#[derive(Deserialize)]
struct WireToken {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

async fn fetch_token(
    transport: &Transport,
    host: &RegistryHost,
    wanted: &Wanted,
    credential: Option<Credential>,
) -> Result<Proof, Failure> {
    let begun = Instant::now();
    let mut secrets: Vec<String> = Vec::new();
    let mut authorization = None;
    let request = match credential {
        Some(Credential::IdentityToken(token)) => {
            secrets.push(token.expose().to_owned());
            let mut fields = vec![
                ("grant_type", "refresh_token".to_owned()),
                ("client_id", "launchway".to_owned()),
                ("scope", wanted.scopes.join(" ")),
                ("refresh_token", token.expose().to_owned()),
            ];
            fields.extend(wanted.service.clone().map(|service| ("service", service)));
            Request::new(Method::POST, wanted.realm.clone())
                .header(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                )
                .payload(Payload::Bytes(form(&fields)))
        }
        credential => {
            if let Some(Credential::Basic { username, password }) = credential {
                let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
                authorization = Some(Proof::new("Basic", &pair, None)?.header);
                secrets.extend([pair, password.expose().to_owned()]);
            }
            let mut url = wanted.realm.clone();
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = &wanted.service {
                    query.append_pair("service", service);
                }
                for scope in &wanted.scopes {
                    query.append_pair("scope", scope);
                }
            }
            Request::new(Method::GET, url)
        }
    };
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let server = shown(&wanted.realm);
    let say = |failure: Failure| Failure {
        detail: format!("by the token server {server} {}", failure.detail)
            .trim_end()
            .to_owned(),
        ..failure
    };
    let answer = transport
        .exchange(host, &request, authorization.as_ref())
        .await
        .map_err(|failure| Failure {
            detail: format!("the token server {server}: {}", failure.detail),
            ..failure
        })?;
    if !answer.status().is_success() {
        let failure = answer.into_failure(&secrets).await;
        // A token server that has no such path or refuses the form of the question will not let us in.
        return Err(say(match failure.class {
            ErrorClass::Missing => Failure {
                class: ErrorClass::Permanent,
                ..failure
            },
            _ => failure,
        }));
    }
    let unusable = || Failure::permanent(format!("the token server {server} sent no usable token"));
    let body = answer.bytes(TOKEN_LIMIT).await?.ok_or_else(unusable)?;
    let wire: WireToken = serde_json::from_slice(&body).map_err(|_| unusable())?;
    let token = wire
        .token
        .or(wire.access_token)
        .filter(|token| !token.is_empty())
        .ok_or_else(unusable)?;
    let lifetime = wire.expires_in.map_or(LIFETIME, Duration::from_secs);
    // A fifth of the life, at most half a minute, is kept for the request that carries it.
    let margin = (lifetime / 5).min(Duration::from_secs(30));
    let stale = begun.checked_add(lifetime - margin);
    Proof::new("Bearer", &token, stale)
}

/// A form, encoded as browsers do.
fn form(fields: &[(&str, String)]) -> Bytes {
    let mut carrier = Url::parse("form:").expect("a scheme alone is a URL");
    carrier.query_pairs_mut().extend_pairs(fields);
    Bytes::from(carrier.query().unwrap_or_default().to_owned())
}
