//! Programs that keep credentials for Docker: `docker-credential-NAME get`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::{Credential, CredentialsError, Secret};

/// How long a helper may take; some ask the network, or a person.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How much a helper may answer, in bytes.
const ANSWER: u64 = 1024 * 1024;
/// The user name that says that the secret is an identity token.
pub(crate) const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    secret: String,
}

/// Whether this can be the name of a helper, and not a path to some other program.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Asks a helper for the credential of a server. None when it has none. Nothing a helper prints
/// gets into an error: it may be the secret.
///
/// Helpers are looked for on PATH, or only in `directory` when there is one.
pub(crate) async fn get(
    name: &str,
    server: &str,
    directory: Option<&Path>,
    patience: Duration,
) -> Result<Option<Credential>, CredentialsError> {
    let helper = format!("docker-credential-{name}");
    let program = directory.map_or_else(
        || PathBuf::from(&helper),
        |directory| directory.join(&helper),
    );
    let wrong = |reason: String| CredentialsError::Helper {
        helper: helper.clone(),
        reason,
    };
    if !is_name(name) {
        return Err(wrong("this is no name of a helper".to_owned()));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| wrong(format!("cannot start it: {error}")))?;
    let work = async {
        let mut answer = Vec::new();
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read the question may still answer it.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        if let Some(stdout) = child.stdout.take() {
            stdout.take(ANSWER).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, answer))
    };
    let (status, answer) = timeout(patience, work)
        .await
        .map_err(|_| wrong(format!("no answer within {} s", patience.as_secs())))?
        .map_err(|error| wrong(error.to_string()))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&answer);
        // The helpers' protocol knows no other way to say so.
        if said.contains("credentials not found") || said.contains("no credentials") {
            return Ok(None);
        }
        return Err(wrong(format!("it failed ({status})")));
    }
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| wrong("its answer is not what the protocol says".to_owned()))?;
    Ok(if answer.secret.is_empty() {
        None
    } else if answer.username == TOKEN_USER {
        Some(Credential::IdentityToken(Secret::new(answer.secret)))
    } else {
        Some(Credential::Basic {
            username: answer.username,
            password: Secret::new(answer.secret),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Runs a helper with this script as its body.
    async fn run(script: &str) -> Result<Option<Credential>, CredentialsError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker-credential-test");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let patience = Duration::from_secs(2);
        get("test", "ghcr.io", Some(directory.path()), patience).await
    }

    #[tokio::test]
    async fn what_helpers_answer() {
        let basic = |username: &str, password: &str| {
            Ok(Some(Credential::Basic {
                username: username.to_owned(),
                password: Secret::new(password),
            }))
        };
        for (script, want) in [
            (
                r#"read -r server; echo "{\"ServerURL\":\"$server\",\"Username\":\"$1\",\"Secret\":\"$server\"}""#,
                basic("get", "ghcr.io"),
            ),
            (r#"echo '{"Username":"u","Secret":"p"}'"#, basic("u", "p")),
            (
                r#"echo '{"Username":"<token>","Secret":"t"}'"#,
                Ok(Some(Credential::IdentityToken(Secret::new("t")))),
            ),
            (r#"echo '{"Username":"","Secret":""}'"#, Ok(None)),
            (
                "echo 'credentials not found in native keychain'; exit 1",
                Ok(None),
            ),
        ] {
            assert_eq!(run(script).await, want, "{script}");
        }
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told_without_secrets() {
        for (script, want) in [
            ("echo hunter2; echo hunter2 >&2; exit 3", "it failed"),
            ("echo 'hunter2'", "not what the protocol says"),
            (
                r#"echo '{"Secret":["hunter2"]}'"#,
                "not what the protocol says",
            ),
            ("exec sleep 60", "no answer within 2 s"),
        ] {
            let error = run(script).await.unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_helper_is_a_name_on_path() {
        for name in ["../evil", "a/b", "", "a b", "surely-not-installed"] {
            let result = get(name, "ghcr.io", None, PATIENCE).await;
            assert!(
                matches!(result, Err(CredentialsError::Helper { .. })),
                "{name}"
            );
        }
    }
}
