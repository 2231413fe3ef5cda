//! All places a user's credentials can be in, in the order they are asked.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use launchway_model::RegistryHost;

use crate::keychain::Keychain;
use crate::{
    Credential, CredentialPaths, Credentials, CredentialsError, DockerCredentials, Login,
    environment,
};

/// Looks up a variable of the environment. The caller reads it; this crate does not.
pub type Variables = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// Credentials as the usual tools leave them: the files and the helpers they name
/// ([`DockerCredentials`]), then a keychain whose helper is installed although no file names it,
/// then `LAUNCHWAY_REGISTRY_…` variables.
///
/// Only files have entries for repositories, so those come before all that is said of a host.
pub struct SystemCredentials {
    files: DockerCredentials,
    keychain: Option<Keychain>,
    variables: Variables,
}

impl fmt::Debug for SystemCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemCredentials")
            .field("files", &self.files)
            .field("keychain", &self.keychain)
            .finish_non_exhaustive()
    }
}

impl SystemCredentials {
    /// Reads the files that the variables lead to ([`CredentialPaths::usual`]). Programs are started
    /// when a registry asks for a login, not before.
    pub fn load(variables: Variables) -> Result<Self, CredentialsError> {
        let files = DockerCredentials::load(&CredentialPaths::usual(|name| variables(name)))?;
        // Who names a store has said where credentials are.
        let keychain = (!files.names_a_store()).then(|| Keychain::new(|name| variables(name)));
        Ok(Self {
            files,
            keychain,
            variables,
        })
    }

    async fn find(
        &self,
        host: &RegistryHost,
        path: Option<&str>,
    ) -> Result<Option<Login>, CredentialsError> {
        if let Some(login) = self.files.login(host, path).await? {
            return Ok(Some(login));
        }
        if let Some(keychain) = &self.keychain
            && let Some(login) = keychain.find(host).await
        {
            return Ok(Some(login));
        }
        environment::find(host, &*self.variables)
    }
}

impl Credentials for SystemCredentials {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn files_then_the_keychain_then_variables() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let helper = at("docker-credential-secretservice");
        fs::write(
            &helper,
            "#!/bin/sh\nread -r s\ncase $s in *env*) echo credentials not found; exit 1;; esac\n\
             echo '{\"Username\":\"keychain\",\"Secret\":\"s\"}'\n",
        )
        .unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(
            at("first.json"),
            r#"{"auths": {"a.io": {"username": "host", "password": "p"}}}"#,
        )
        .unwrap();
        fs::write(
            at("config.json"),
            r#"{"auths": {"a.io/own": {"username": "repository", "password": "p"}}}"#,
        )
        .unwrap();
        let folder = directory.path().to_owned();
        let variables: Variables = Arc::new(move |name| {
            let path = |file: &str| Some(folder.join(file).into_os_string());
            match name {
                "REGISTRY_AUTH_FILE" => path("first.json"),
                "DOCKER_CONFIG" | "PATH" => path(""),
                "DBUS_SESSION_BUS_ADDRESS" => Some("unix:path=/nowhere".into()),
                name if name.ends_with("_USERNAME") => Some("variable".into()),
                name if name.ends_with("_PASSWORD") => Some("p".into()),
                _ => None,
            }
        });
        let credentials = SystemCredentials::load(Arc::clone(&variables)).unwrap();
        let user = async |credentials: &SystemCredentials, host: &str, path: Option<&str>| {
            let host = host.parse().unwrap();
            match credentials.lookup(&host, path).await.unwrap() {
                Some(Credential::Basic { username, .. }) => username,
                other => panic!("{other:?}"),
            }
        };
        for (host, path, want) in [
            ("a.io", Some("x"), "host"),
            // In a later file, but about this repository.
            ("a.io", Some("own/x"), "repository"),
            ("b.io", Some("own/x"), "keychain"),
            ("env.io", Some("x"), "variable"),
        ] {
            assert_eq!(
                user(&credentials, host, path).await,
                want,
                "{host} {path:?}"
            );
        }

        // Who names a store means that one.
        fs::write(at("config.json"), r#"{"credsStore": "secretservice"}"#).unwrap();
        let credentials = SystemCredentials::load(variables).unwrap();
        assert!(credentials.keychain.is_none());
    }
}
