//! The credentials of Docker's `config.json` and containers' `auth.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use launchway_model::{DEFAULT_REGISTRY, RegistryHost};
use serde::Deserialize;

use crate::credential_helper;
use crate::{Credential, CredentialPaths, Credentials, CredentialsError, Login, Secret};

/// The name under which Docker keeps the credentials of its own registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// `auth` is written with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials from files and from the helper programs they name.
///
/// The files are read once; helpers are asked each time. The most specific entry wins: first those for
/// a repository or a part of its path, then those for the host. In one file a helper comes before
/// an entry for the same host.
pub struct DockerCredentials {
    files: Vec<ConfigFile>,
    /// Where helpers are looked for instead of on PATH.
    helpers: Option<PathBuf>,
    patience: Duration,
}

impl fmt::Debug for DockerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.iter().map(|file| &file.path);
        f.debug_list().entries(files).finish()
    }
}

pub(crate) struct ConfigFile {
    path: PathBuf,
    /// By normalised key: `host` or `host/path`.
    entries: BTreeMap<String, Credential>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireConfig {
    #[serde(default)]
    auths: Option<BTreeMap<String, WireEntry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct WireEntry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl DockerCredentials {
    /// Reads the files. A file that is there but cannot be understood is an error: going on
    /// without would fail later, and for a less clear reason.
    pub fn load(paths: &CredentialPaths) -> Result<Self, CredentialsError> {
        let mut files = Vec::new();
        for path in &paths.files {
            let wrong = |reason: String| CredentialsError::File {
                path: path.clone(),
                reason,
            };
            match fs::read(path) {
                Ok(bytes) => files.push(ConfigFile::parse(path, &bytes).map_err(wrong)?),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(error) => return Err(wrong(error.to_string())),
            }
        }
        Ok(Self {
            files,
            helpers: None,
            patience: credential_helper::PATIENCE,
        })
    }

    /// Whether a file says where credentials are kept that no file holds.
    pub(crate) fn names_a_store(&self) -> bool {
        self.files.iter().any(|file| file.store.is_some())
    }

    async fn find(
        &self,
        host: &RegistryHost,
        path: Option<&str>,
    ) -> Result<Option<Login>, CredentialsError> {
        for key in keys(host, path) {
            let is_host = key == host.as_str();
            for file in &self.files {
                let store = file.store.as_ref().filter(|_| is_host);
                if let Some(helper) = file.helpers.get(&key).or(store) {
                    let directory = self.helpers.as_deref();
                    let found =
                        credential_helper::get(helper, server_of(&key), directory, self.patience)
                            .await?;
                    if let Some(credential) = found {
                        let file = file.path.display();
                        return Ok(Some(Login {
                            credential,
                            source: Some(format!(
                                "docker-credential-{helper}, which {file} names for {key}"
                            )),
                        }));
                    }
                }
                if let Some(found) = file.entries.get(&key) {
                    return Ok(Some(Login {
                        credential: found.clone(),
                        source: Some(format!("the entry for {key} in {}", file.path.display())),
                    }));
                }
            }
        }
        Ok(None)
    }
}

impl Credentials for DockerCredentials {
    fn lookup<'a>(
        &'a self,
        host: &'a RegistryHost,
        path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Credential>, CredentialsError>> {
        async move { Ok(self.find(host, path).await?.map(|login| login.credential)) }.boxed()
    }

    fn login<'a>(
        &'a self,
        host: &'a RegistryHost,
        path: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Option<Login>, CredentialsError>> {
        self.find(host, path).boxed()
    }
}

/// The name by which helpers know a registry.
pub(crate) fn server_of(key: &str) -> &str {
    if key == DEFAULT_REGISTRY {
        HUB_KEY
    } else {
        key
    }
}

/// The keys an entry can stand under, most specific first.
fn keys(host: &RegistryHost, path: Option<&str>) -> Vec<String> {
    let mut keys = Vec::new();
    let mut rest = path.unwrap_or_default();
    while !rest.is_empty() {
        keys.push(format!("{host}/{rest}"));
        rest = rest.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    keys.push(host.to_string());
    keys
}

/// A key as it stands in a file, without what older programs put around the host.
fn normalised(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or(key.strip_prefix("http://"))
        .unwrap_or(key)
        .trim_end_matches('/');
    let bare = bare
        .strip_suffix("/v1")
        .or(bare.strip_suffix("/v2"))
        .unwrap_or(bare);
    let (host, path) = match bare.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (bare, None),
    };
    let host = host
        .parse::<RegistryHost>()
        .map_or_else(|_| host.to_owned(), |host| host.to_string());
    match path {
        Some(path) => format!("{host}/{path}"),
        None => host,
    }
}

impl ConfigFile {
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, String> {
        // The library's message may repeat a value, and values are secrets here: only the place
        // is told.
        let wire: WireConfig = serde_json::from_slice(bytes).map_err(|error| {
            format!(
                "it is not the JSON that Docker writes (line {}, column {})",
                error.line(),
                error.column()
            )
        })?;
        let mut entries = BTreeMap::new();
        for (key, entry) in wire.auths.unwrap_or_default() {
            let credential = entry
                .credential()
                .map_err(|reason| format!("the entry for {key:?}: {reason}"))?;
            if let Some(credential) = credential {
                entries.insert(normalised(&key), credential);
            }
        }
        let helpers = wire
            .cred_helpers
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, helper)| !helper.is_empty())
            .map(|(key, helper)| (normalised(&key), helper))
            .collect();
        Ok(Self {
            path: path.to_owned(),
            entries,
            helpers,
            store: wire.creds_store.filter(|store| !store.is_empty()),
        })
    }
}

impl WireEntry {
    /// What the entry says; None for the empty entries that point to a helper.
    fn credential(self) -> Result<Option<Credential>, &'static str> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(token) = given(self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(Secret::new(token))));
        }
        if let Some(token) = given(self.registrytoken) {
            return Ok(Some(Credential::BearerToken(Secret::new(token))));
        }
        let (username, password) = match given(self.auth) {
            Some(auth) => {
                let decoded = BASE64
                    .decode(auth.trim())
                    .ok()
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or("`auth` is not base64")?;
                let (username, password) = decoded
                    .split_once(':')
                    .ok_or("`auth` holds no user name and password")?;
                // Some programs pad the password with zero bytes.
                let password = password.trim_end_matches('\0');
                (username.to_owned(), password.to_owned())
            }
            None => match (given(self.username), given(self.password)) {
                (Some(username), Some(password)) => (username, password),
                _ => return Ok(None),
            },
        };
        Ok(Some(if username == credential_helper::TOKEN_USER {
            Credential::IdentityToken(Secret::new(password))
        } else {
            Credential::Basic {
                username,
                password: Secret::new(password),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> ConfigFile {
        ConfigFile::parse(Path::new("config.json"), text.as_bytes()).unwrap()
    }

    /// What is found for a repository, in short form.
    async fn look_up(credentials: &DockerCredentials, host: &str, path: Option<&str>) -> String {
        let host: RegistryHost = host.parse().unwrap();
        match credentials.lookup(&host, path).await {
            Ok(Some(Credential::Basic { username, password })) => {
                format!("{username}:{}", password.expose())
            }
            Ok(Some(Credential::IdentityToken(token))) => format!("identity {}", token.expose()),
            Ok(Some(Credential::BearerToken(token))) => format!("bearer {}", token.expose()),
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn entries_are_found_by_the_most_specific_key() {
        let credentials = DockerCredentials {
            files: vec![
                file(
                    r#"{"auths": {
                        "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
                        "ghcr.io": {"username": "u", "password": "p"},
                        "ghcr.io/org/app": {"auth": "b3JnOmE6Yg=="},
                        "https://old.io/v2/": {"auth": "b2xkOng"},
                        "token.io": {"auth": "PHRva2VuPjphYmM="},
                        "id.io": {"auth": "dTpw", "identitytoken": "idt"},
                        "reg.io": {"registrytoken": "rt"},
                        "empty.io": {}
                    }, "HttpHeaders": {"X": "y"}}"#,
                ),
                file(
                    r#"{"auths": {"empty.io": {"auth": "czpz"}, "ghcr.io/org": {"auth": "dDp0"}}}"#,
                ),
            ],
            helpers: None,
            patience: Duration::from_secs(5),
        };
        for (host, path, want) in [
            ("docker.io", Some("library/debian"), "hub:pw"),
            ("index.docker.io", None, "hub:pw"),
            ("ghcr.io", None, "u:p"),
            ("ghcr.io", Some("other/x"), "u:p"),
            ("ghcr.io", Some("org/app"), "org:a:b"),
            ("ghcr.io", Some("org/app/sub"), "org:a:b"),
            ("ghcr.io", Some("org/application"), "t:t"),
            ("old.io", Some("x"), "old:x"),
            ("token.io", None, "identity abc"),
            ("id.io", None, "identity idt"),
            ("reg.io", None, "bearer rt"),
            ("empty.io", None, "s:s"),
            ("unknown.io", Some("a/b"), "none"),
        ] {
            assert_eq!(
                look_up(&credentials, host, path).await,
                want,
                "{host} {path:?}"
            );
        }
    }

    #[tokio::test]
    async fn helpers_come_before_entries_of_the_same_host() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        for name in ["store", "one"] {
            let path = directory.path().join(format!("docker-credential-{name}"));
            let script = format!(
                "#!/bin/sh\nread -r server\ncase $server in *none*) echo credentials not found; \
                 exit 1;; esac\necho \"{{\\\"Username\\\":\\\"{name}\\\",\\\"Secret\\\":\\\"$server\\\"}}\"\n"
            );
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let credentials = DockerCredentials {
            files: vec![file(
                r#"{"credsStore": "store", "credHelpers": {"one.io": "one"}, "auths": {
                    "a.io": {"auth": "eDp5"}, "a.io/own": {"auth": "eDp5"}, "none.io": {"auth": "eDp5"}
                }}"#,
            )],
            helpers: Some(directory.path().to_owned()),
            patience: Duration::from_secs(5),
        };
        for (host, path, want) in [
            ("one.io", Some("x"), "one:one.io"),
            ("a.io", Some("x"), "store:a.io"),
            ("a.io", Some("own/x"), "x:y"),
            ("none.io", None, "x:y"),
            ("docker.io", None, "store:https://index.docker.io/v1/"),
        ] {
            assert_eq!(look_up(&credentials, host, path).await, want, "{host}");
        }
    }

    #[tokio::test]
    async fn where_it_was_found_is_told_without_the_secret() {
        let credentials = DockerCredentials {
            files: vec![file(r#"{"auths": {"a.io/own": {"auth": "dTpodW50ZXIy"}}}"#)],
            helpers: None,
            patience: Duration::from_secs(5),
        };
        let host = "a.io".parse().unwrap();
        let login = credentials.login(&host, Some("own/x")).await;
        let login = login.unwrap().unwrap();
        assert_eq!(
            login.source.as_deref(),
            Some("the entry for a.io/own in config.json")
        );
        assert!(!format!("{login:?}").contains("hunter2"));
    }

    #[test]
    fn broken_files_are_told_without_their_content() {
        for text in [
            r#"{"auths": {"a.io": {"auth": ["hunter2"]}}}"#,
            r#"{"auths": {"a.io": {"auth": "hunter2!"}}}"#,
            r#"{"auths": {"a.io": {"auth": "aHVudGVyMg=="}}}"#,
            "hunter2",
        ] {
            let error = ConfigFile::parse(Path::new("c"), text.as_bytes())
                .err()
                .unwrap();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn files_that_are_not_there_are_passed_over() {
        let paths = CredentialPaths {
            files: vec![PathBuf::from("/nonexistent/config.json")],
        };
        assert!(DockerCredentials::load(&paths).is_ok());
    }
}
