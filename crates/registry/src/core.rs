//! What all calls share: the funnel every request goes through, and what is known so far.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, WeakShared};
use http::{Method, StatusCode};
use launchway_model::{Digest, RegistryHost, Repository};
use reqwest::Url;

use crate::answer::Failure;
use crate::auth::{Access, Auth};
use crate::connections::Connections;
use crate::endpoint::{Endpoints, same_server};
use crate::knowledge::Knowledge;
use crate::mirrors::Mirrors;
use crate::referrers::Turns;
use crate::retry::Tries;
use crate::token::Proof;
use crate::transport::{Answer, Request, Transport};
use crate::{
    ClientError, ClientEvent, ClientOptions, Ping, PushOutcome, RegistryError, RetryPolicy,
};

/// A transfer that others may join; it lives as long as somebody waits for it.
pub(crate) type Joined<T> = WeakShared<BoxFuture<'static, Result<T, RegistryError>>>;

/// A download under way, and where its content is wanted. The list is taken when the download
/// hands out its content; who comes later starts anew.
#[derive(Clone)]
pub(crate) struct Download {
    pub(crate) flight: Joined<()>,
    pub(crate) wanted_at: Arc<Mutex<Option<Vec<PathBuf>>>>,
}

pub(crate) struct Core {
    pub(crate) transport: Arc<Transport>,
    /// How the mirrors are.
    pub(crate) mirrors: Mirrors,
    auth: Auth,
    retry: RetryPolicy,
    pub(crate) knowledge: Knowledge,
    pub(crate) uploads: Mutex<HashMap<(Repository, Digest), Joined<PushOutcome>>>,
    pub(crate) downloads: Mutex<HashMap<(Repository, Digest), Download>>,
    /// Registries that turned out not to keep lists of referrers.
    pub(crate) without_referrers: Mutex<HashSet<RegistryHost>>,
    pub(crate) turns: Turns,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(options: ClientOptions, patience: Duration) -> Result<Self, ClientError> {
        let endpoints = Endpoints::new(options.plain_http, options.mirrors)?;
        let connections = Connections::new(&options.user_agent, options.ca_bundle, patience)?;
        let emit = options.events.unwrap_or_else(|| Arc::new(|_| {}));
        Ok(Self {
            transport: Arc::new(Transport::new(connections, endpoints, emit, patience)),
            mirrors: Mirrors::default(),
            auth: Auth::new(options.credentials),
            retry: options.retry,
            knowledge: Knowledge::default(),
            uploads: Mutex::default(),
            downloads: Mutex::default(),
            without_referrers: Mutex::default(),
            turns: Turns::default(),
        })
    }

    /// The tries of one call. `what` is its path below the host, for people.
    pub(crate) fn tries<'a>(
        &'a self,
        method: &Method,
        repository: &'a Repository,
        what: &str,
    ) -> Tries<'a> {
        Tries::new(
            &self.retry,
            &self.transport.gates,
            &*self.transport.emit,
            repository.host(),
            format!("{method} {repository}/{what}"),
        )
    }

    /// The tries of a call that concerns no repository. `request` is for people.
    pub(crate) fn tries_of_host<'a>(
        &'a self,
        host: &'a RegistryHost,
        request: String,
    ) -> Tries<'a> {
        Tries::new(
            &self.retry,
            &self.transport.gates,
            &*self.transport.emit,
            host,
            request,
        )
    }

    /// The URL of something in a repository; `what` may have a query.
    pub(crate) fn url(&self, repository: &Repository, what: &str) -> Result<Url, Failure> {
        let path = format!("{}/{what}", repository.path());
        self.transport.endpoints.url(repository.host(), &path)
    }

    pub(crate) fn emit(&self, event: ClientEvent) {
        (self.transport.emit)(event);
    }

    /// Makes one try of a request and gives back its success. Proves who we are when the registry
    /// asks for it, and once more when it no longer believes what it believed before.
    pub(crate) async fn ask(&self, access: &Access, request: &Request) -> Result<Answer, Failure> {
        let ours = self.transport.endpoints.url(&access.host, "")?;
        // An upload may be sent elsewhere; who we are is nobody's business there.
        let asked = self.transport.endpoints.as_spoken(request.url.clone());
        let is_registry = same_server(&self.transport.endpoints.as_spoken(ours), &asked);
        let mut renewed = false;
        loop {
            let proof = if is_registry {
                self.auth.proof(&self.transport, access).await?
            } else {
                None
            };
            let header = proof.as_ref().map(|proof| &proof.header);
            let answer = self
                .transport
                .exchange(&access.host, request, header)
                .await?;
            if answer.status().is_success() {
                return Ok(answer);
            }
            let may_renew = is_registry && !answer.strayed && !renewed;
            if answer.status() == StatusCode::UNAUTHORIZED && may_renew {
                self.auth
                    .learn(access, &answer.url, answer.headers(), proof.as_ref())?;
                answer.drain().await;
                renewed = true;
                continue;
            }
            return Err(self.refusal(access, request, answer, proof.as_ref()).await);
        }
    }

    /// The failure behind an answer. A 403 to a HEAD has no body to read, and only the body tells
    /// a rate limit from a lack of rights: it is asked for.
    async fn refusal(
        &self,
        access: &Access,
        request: &Request,
        answer: Answer,
        proof: Option<&Proof>,
    ) -> Failure {
        let secrets = proof.map(Proof::secrets).unwrap_or_default();
        let is_mute = request.method == Method::HEAD && answer.status() == StatusCode::FORBIDDEN;
        let explained = if is_mute && !answer.strayed {
            let mut again = Request::new(Method::GET, request.url.clone());
            again.headers = request.headers.clone();
            let header = proof.map(|proof| &proof.header);
            let told = self.transport.exchange(&access.host, &again, header).await;
            told.ok()
                .filter(|told| matches!(told.status().as_u16(), 403 | 429))
        } else {
            None
        };
        let failure = explained.unwrap_or(answer).into_failure(&secrets).await;
        match proof {
            Some(proof) => proof.who.explain(&access.host, failure),
            None => failure,
        }
    }

    pub(crate) async fn ping(&self, host: &RegistryHost) -> Result<Ping, RegistryError> {
        let mut tries = Tries::new(
            &self.retry,
            &self.transport.gates,
            &*self.transport.emit,
            host,
            format!("GET {host}/v2/"),
        );
        loop {
            tries.start().await?;
            let result = match self.transport.endpoints.url(host, "") {
                Ok(url) => {
                    let request = Request::new(Method::GET, url);
                    self.ask(&Access::host(host), &request).await
                }
                Err(failure) => Err(failure),
            };
            match result {
                Ok(answer) if answer.is_page() => {
                    let failure =
                        Failure::permanent("a page for people came, not a registry's word");
                    return Err(tries.give_up(failure.with_status(answer.status().as_u16())));
                }
                Ok(answer) => {
                    answer.drain().await;
                    return Ok(Ping {
                        authenticated: self.auth.is_asked(host),
                    });
                }
                Err(failure) => tries.again(failure).await?,
            }
        }
    }
}
