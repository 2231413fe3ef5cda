//! Who we are to a registry.

use std::ffi::OsString;
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

/// A credential, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub credential: Credential,
    /// The place in words, for people whose login is refused: a file, a program or variables,
    /// never a value. `None` when there is nothing to say.
    pub source: Option<String>,
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

    /// Like [`Credentials::lookup`], and where it was found.
    fn login<'a>(
        &'a self,
        host: &'a RegistryHost,
        path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Login>, CredentialsError>> {
        Box::pin(async move {
            let found = self.lookup(host, path).await?;
            Ok(found.map(|credential| Login {
                credential,
                source: None,
            }))
        })
    }
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
    #[error("cannot use the credential in the environment: {variable} {reason}")]
    Variable {
        variable: String,
        reason: &'static str,
    },
}

/// The files that hold credentials, as the caller found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialPaths {
    /// Docker's `config.json` and containers' `auth.json` files; the first that knows a registry
    /// answers. Files that do not exist are passed over.
    pub files: Vec<PathBuf>,
}

impl CredentialPaths {
    /// Where Docker and the containers tools keep credentials, by the variables they go by:
    /// `REGISTRY_AUTH_FILE`, `DOCKER_CONFIG`, `XDG_RUNTIME_DIR`, `XDG_CONFIG_HOME`, `HOME`.
    pub fn usual(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = path("HOME");
        let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let files = [
            path("REGISTRY_AUTH_FILE"),
            path("DOCKER_CONFIG")
                .or_else(|| below_home(".docker"))
                .map(|directory| directory.join("config.json")),
            path("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json")),
            path("XDG_CONFIG_HOME")
                .or_else(|| below_home(".config"))
                .map(|directory| directory.join("containers/auth.json")),
        ];
        Self {
            files: files.into_iter().flatten().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_files() {
        for (variables, want) in [
            (&[][..], &[][..]),
            (
                &[("HOME", "/h")],
                &["/h/.docker/config.json", "/h/.config/containers/auth.json"],
            ),
            (
                &[
                    ("HOME", "/h"),
                    ("DOCKER_CONFIG", "/d"),
                    ("XDG_RUNTIME_DIR", "/r"),
                    ("REGISTRY_AUTH_FILE", "/a.json"),
                    ("XDG_CONFIG_HOME", ""),
                ],
                &[
                    "/a.json",
                    "/d/config.json",
                    "/r/containers/auth.json",
                    "/h/.config/containers/auth.json",
                ],
            ),
        ] {
            let paths = CredentialPaths::usual(|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            });
            let want: Vec<PathBuf> = want.iter().map(PathBuf::from).collect();
            assert_eq!(paths.files, want);
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let credential = Credential::Basic {
            username: "u".to_owned(),
            password: Secret::new("hunter2"),
        };
        assert!(!format!("{credential:?}").contains("hunter2"));
    }
}
