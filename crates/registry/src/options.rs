//! The settings of a client, resolved by the caller.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use launchway_model::RegistryHost;

use crate::{ClientEvent, Credentials, NoCredentials};

/// Everything a client is told; it reads nothing else.
#[derive(Clone)]
pub struct ClientOptions {
    /// Hosts that may be spoken to without TLS, besides loopback. The family file's `plain-http`.
    pub plain_http: Vec<RegistryHost>,
    pub retry: RetryPolicy,
    /// Asked before the registry itself when reading, in this order.
    pub mirrors: Vec<Mirror>,
    pub credentials: Arc<dyn Credentials>,
    /// Called for every request, pause and step of a transfer; must return quickly.
    pub events: Option<Arc<dyn Fn(ClientEvent) + Send + Sync>>,
    pub user_agent: String,
    /// A PEM file with the certificate authorities to trust instead of the system's, as
    /// `SSL_CERT_FILE` names one. Read when the first server is spoken to by TLS.
    pub ca_bundle: Option<PathBuf>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            plain_http: Vec::new(),
            retry: RetryPolicy::default(),
            mirrors: Vec::new(),
            credentials: Arc::new(NoCredentials),
            events: None,
            user_agent: concat!("launchway/", env!("CARGO_PKG_VERSION")).to_owned(),
            ca_bundle: None,
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("plain_http", &self.plain_http)
            .field("retry", &self.retry)
            .field("mirrors", &self.mirrors)
            .field("user_agent", &self.user_agent)
            .field("ca_bundle", &self.ca_bundle)
            .finish_non_exhaustive()
    }
}

/// How often and after which pauses a request is made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included; at least one is made.
    pub attempts: u32,
    /// The pause before the second try, the third, and so on; the last one repeats. A tenth is
    /// added or taken away at random, so that many clients do not come back together.
    pub pauses: Vec<Duration>,
    /// How long one call may wait, in all, because the registry asked for it (`Retry-After`).
    pub throttle_deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            pauses: vec![Duration::from_secs(15), Duration::from_secs(30)],
            throttle_deadline: Duration::from_secs(15 * 60),
        }
    }
}

/// A host that holds copies of what another registry has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The registry whose reads go to the mirror first.
    pub of: RegistryHost,
    /// The mirror itself.
    pub host: RegistryHost,
    /// Put before the repository's path on the mirror, as pull-through caches of several
    /// registries want it.
    pub prefix: Option<String>,
}
