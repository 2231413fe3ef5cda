//! Proving who asks: challenges are learned per registry, tokens fetched per scope, once for all
//! who wait, and renewed before they expire.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use launchway_model::{RegistryHost, Repository};
use reqwest::Url;

use crate::answer::Failure;
use crate::challenge::{self, Challenge};
use crate::token::{Proof, Rotated, check_realm, prove};
use crate::transport::Transport;
use crate::{Credentials, ErrorClass};

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
    pub(crate) repository: Option<String>,
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

    pub(crate) fn scopes(&self) -> Vec<String> {
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
pub(crate) enum Scheme {
    Basic,
    Bearer {
        realm: Url,
        service: Option<String>,
        /// What the registry asked for, when that is something we would not have.
        scope: Option<String>,
    },
}

type Flight<T> = Shared<BoxFuture<'static, Result<T, Failure>>>;

/// Who we are to each registry.
pub(crate) struct Auth {
    credentials: Arc<dyn Credentials>,
    schemes: Mutex<HashMap<RegistryHost, Scheme>>,
    proofs: Mutex<HashMap<Access, Flight<Proof>>>,
    rotated: Rotated,
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
            rotated: Rotated::default(),
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
            Arc::clone(&self.rotated),
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
