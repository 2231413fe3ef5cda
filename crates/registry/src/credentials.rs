//! Who we are to a registry.

use std::fmt;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use launchway_model::RegistryHost;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for putting it into a request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a registry accepts as proof of who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Basic {
        username: String,
        password: Secret,
    },
    /// A refresh token, to be exchanged for access tokens.
    IdentityToken(Secret),
    /// A finished bearer token.
    BearerToken(Secret),
}

/// Where credentials come from.
pub trait Credentials: Send + Sync {
    /// The credential for a repository (`path` on `host`), or for the host as a whole when there
    /// is no path. `None` means to ask without.
    fn lookup<'a>(
        &'a self,
        host: &'a RegistryHost,
        path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Credential>, CredentialsError>>;
}

/// Nobody is logged in anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn lookup<'a>(
        &'a self,
        _host: &'a RegistryHost,
        _path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Credential>, CredentialsError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Why a credential could not be found out. Never holds what a helper printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    #[error("cannot read the credentials in {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("cannot get a credential from {helper}: {reason}")]
    Helper { helper: String, reason: String },
}

/// The files that hold credentials, as the caller found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialPaths {
    /// Docker's `config.json` and containers' `auth.json` files; the first that knows a registry
    /// answers. Files that do not exist are passed over.
    pub files: Vec<PathBuf>,
}

/// The credentials of Docker's `config.json` and containers' `auth.json`.
#[derive(Debug)]
pub struct DockerCredentials {}

impl DockerCredentials {
    /// Reads the files.
    pub fn load(_paths: &CredentialPaths) -> Result<Self, CredentialsError> {
        Ok(Self {})
    }
}

impl Credentials for DockerCredentials {
    fn lookup<'a>(
        &'a self,
        _host: &'a RegistryHost,
        _path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Credential>, CredentialsError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
