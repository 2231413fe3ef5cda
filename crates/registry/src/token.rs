//! From a credential to what a request carries: the `Authorization` header, and the tokens of the
//! distribution project's scheme (distribution.github.io, "Token Authentication Specification").

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use launchway_model::{RegistryHost, is_loopback_host};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::Instant;

use crate::answer::Failure;
use crate::auth::{Access, Scheme};
use crate::body::Payload;
use crate::endpoint::{out_of_reach, shown};
use crate::transport::{Request, Transport};
use crate::{Credential, Credentials, ErrorClass, Login, Secret};

/// The largest answer of a token server that is read, in bytes.
const TOKEN_LIMIT: u64 = 1024 * 1024;
/// How long a token lives when its server does not say (distribution, token authentication).
const LIFETIME: Duration = Duration::from_secs(60);

/// Whose proof it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    /// Somebody whose credential came from there.
    Somebody(Option<Arc<str>>),
}

impl Who {
    fn of(login: Option<&Login>) -> Self {
        login.map_or(Self::Nobody, |login| {
            Self::Somebody(login.source.as_deref().map(Arc::from))
        })
    }

    /// Adds to a refusal who was refused.
    pub(crate) fn explain(&self, host: &RegistryHost, mut failure: Failure) -> Failure {
        if failure.class == ErrorClass::Auth && matches!(failure.status, Some(401 | 403)) {
            let who = match self {
                Self::Nobody => format!("nobody is logged in to {host}"),
                Self::Somebody(Some(source)) => format!("the login is from {source}"),
                Self::Somebody(None) => return failure,
            };
            if !failure.detail.is_empty() {
                failure.detail.push_str("; ");
            }
            failure.detail.push_str(&who);
        }
        failure
    }
}

/// The value of an `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) header: HeaderValue,
    pub(crate) who: Who,
    /// When it is better to get a new one.
    stale: Option<Instant>,
    /// What must not be shown.
    secrets: Vec<String>,
}

impl Proof {
    fn new(scheme: &str, secret: &str, who: Who) -> Result<Self, Failure> {
        let mut header = HeaderValue::from_str(&format!("{scheme} {secret}")).map_err(|_| {
            Failure::new(
                ErrorClass::Auth,
                "the credential holds characters that no header can carry",
            )
        })?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            who,
            stale: None,
            secrets: vec![secret.to_owned()],
        })
    }

    /// The header for a user name and a password.
    fn basic(username: &str, password: &Secret, who: Who) -> Result<Self, Failure> {
        let pair = STANDARD.encode(format!("{username}:{}", password.expose()));
        let mut proof = Self::new("Basic", &pair, who)?;
        // Who gets the pair can repeat it in plain text as well.
        proof.secrets.extend(as_sent(password));
        Ok(proof)
    }

    /// What has to be taken out of texts.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        self.secrets.iter().map(String::as_str).collect()
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.stale.is_some_and(|stale| stale <= Instant::now())
    }
}

/// A secret as it stands in texts: plain, and encoded as in a form.
fn as_sent(secret: &Secret) -> Vec<String> {
    let plain = secret.expose().to_owned();
    let encoded = encoded(&[("", plain.clone())]);
    let encoded = encoded.trim_start_matches('=').to_owned();
    if encoded == plain {
        vec![plain]
    } else {
        vec![plain, encoded]
    }
}

/// Refresh tokens that a token server gave in exchange: for each registry, what was exchanged first
/// and what is valid now.
pub(crate) type Rotated = Arc<Mutex<HashMap<RegistryHost, (Secret, Secret)>>>;

/// Finds the credential and turns it into what the registry accepts.
pub(crate) async fn prove(
    transport: Arc<Transport>,
    credentials: Arc<dyn Credentials>,
    rotated: Rotated,
    access: Access,
    scheme: Scheme,
) -> Result<Proof, Failure> {
    let login = credentials
        .login(&access.host, access.repository.as_deref())
        .await
        .map_err(|error| Failure::new(ErrorClass::Auth, error.to_string()))?;
    let who = Who::of(login.as_ref());
    let refused = |detail: String| {
        let failure = Failure::new(ErrorClass::Auth, detail).with_status(401);
        Err(failure)
    };
    match (scheme, login.map(|login| login.credential)) {
        (Scheme::Basic, Some(Credential::Basic { username, password })) => {
            Proof::basic(&username, &password, who)
        }
        (Scheme::Basic, None) => refused(format!("nobody is logged in to {}", access.host)),
        (Scheme::Basic, Some(Credential::IdentityToken(_) | Credential::BearerToken(_))) => {
            refused(
                "the registry wants a user name and a password, and only a token is known"
                    .to_owned(),
            )
            .map_err(|failure| who.explain(&access.host, failure))
        }
        (Scheme::Bearer { .. }, Some(Credential::BearerToken(token))) => {
            Proof::new("Bearer", token.expose(), who)
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
            let asker = Asker {
                transport: &transport,
                host: &access.host,
                rotated: &rotated,
                who: &who,
            };
            let result = fetch_token(&asker, &wanted, credential).await;
            result.map_err(|failure| who.explain(&access.host, failure))
        }
    }
}
/// Checks where tokens are to be fetched: by TLS, or without it on the host that the registry itself
/// is spoken to without.
pub(crate) fn check_realm(asked: &Url, realm: &str) -> Result<Url, Failure> {
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
    if let Some(why) = out_of_reach(asked, &url) {
        return refused(&format!("which is {why}"));
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
    refresh_token: Option<String>,
}

/// Who asks a token server, and for whom.
struct Asker<'a> {
    transport: &'a Transport,
    host: &'a RegistryHost,
    rotated: &'a Rotated,
    who: &'a Who,
}

impl Asker<'_> {
    /// The refresh token that is valid now.
    fn current(&self, token: &Secret) -> Secret {
        let rotated = self.rotated.lock().expect("no holder of the tokens panics");
        match rotated.get(self.host) {
            Some((first, now)) if first == token => now.clone(),
            _ => token.clone(),
        }
    }

    fn rotate(&self, token: &Secret, now: String) {
        let mut rotated = self.rotated.lock().expect("no holder of the tokens panics");
        rotated.insert(self.host.clone(), (token.clone(), Secret::new(now)));
    }
}

async fn fetch_token(
    asker: &Asker<'_>,
    wanted: &Wanted,
    credential: Option<Credential>,
) -> Result<Proof, Failure> {
    let begun = Instant::now();
    let mut secrets: Vec<String> = Vec::new();
    let mut authorization = None;
    let mut exchanged = None;
    let request = match credential {
        Some(Credential::IdentityToken(first)) => {
            let token = asker.current(&first);
            secrets.extend(as_sent(&token));
            exchanged = Some(first);
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
                .payload(Payload::Bytes(Bytes::from(encoded(&fields))))
        }
        credential => {
            if let Some(Credential::Basic { username, password }) = credential {
                let proof = Proof::basic(&username, &password, asker.who.clone())?;
                secrets.extend(proof.secrets);
                authorization = Some(proof.header);
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
    let answer = asker
        .transport
        .exchange(asker.host, &request, authorization.as_ref())
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
    if let (Some(first), Some(now)) = (&exchanged, wire.refresh_token)
        && !now.is_empty()
    {
        asker.rotate(first, now);
    }
    let lifetime = wire.expires_in.map_or(LIFETIME, Duration::from_secs);
    // A fifth of the life, at most half a minute, is kept for the request that carries it.
    let margin = (lifetime / 5).min(Duration::from_secs(30));
    let mut proof = Proof::new("Bearer", &token, asker.who.clone())?;
    proof.stale = begun.checked_add(lifetime - margin);
    Ok(proof)
}

/// Pairs, encoded as browsers do.
fn encoded(fields: &[(&str, String)]) -> String {
    let mut carrier = Url::parse("form:").expect("a scheme alone is a URL");
    carrier.query_pairs_mut().extend_pairs(fields);
    carrier.query().unwrap_or_default().to_owned()
}
