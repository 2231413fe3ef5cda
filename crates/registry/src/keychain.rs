//! The desktop's keychain, without being told about it: the helper program that Docker put the
//! credentials in with, when it is installed and there can be something in it.
//!
//! The entries of a keychain are found by the attributes under which they were stored, and the
//! programs that store registry credentials are Docker's helpers. So they are asked rather than
//! the keychain itself, which also saves a D-Bus client.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use launchway_model::RegistryHost;
use tokio::sync::Mutex;

use crate::docker_config::server_of;
use crate::{Login, credential_helper};

/// How long a keychain may take; somebody may have to unlock it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A helper and where it is.
type Helper = (&'static str, PathBuf);

/// The keychains that may hold something.
pub(crate) struct Keychain {
    helpers: Vec<Helper>,
    /// What was found for each host. Held while a helper is asked, so that it is asked once.
    found: Mutex<HashMap<RegistryHost, Option<Login>>>,
    /// A keychain that failed once is not asked again.
    failed: AtomicBool,
    patience: Duration,
}

impl fmt::Debug for Keychain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keychain")
            .field("helpers", &self.helpers)
            .finish_non_exhaustive()
    }
}

impl Keychain {
    pub(crate) fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        Self {
            helpers: helpers(cfg!(target_os = "macos"), variable),
            found: Mutex::default(),
            failed: AtomicBool::new(false),
            patience: PATIENCE,
        }
    }

    /// What a keychain has for a host. One that fails has nothing: nobody asked for it to be there.
    pub(crate) async fn find(&self, host: &RegistryHost) -> Option<Login> {
        if self.helpers.is_empty() {
            return None;
        }
        let mut found = self.found.lock().await;
        if let Some(known) = found.get(host) {
            return known.clone();
        }
        let mut login = None;
        for (name, directory) in &self.helpers {
            if self.failed.load(Ordering::Relaxed) {
                break;
            }
            let server = server_of(host.as_str());
            match credential_helper::get(name, server, Some(directory), self.patience).await {
                Ok(None) => {}
                Ok(Some(credential)) => {
                    login = Some(Login {
                        credential,
                        source: Some(format!("docker-credential-{name}, found on PATH")),
                    });
                    break;
                }
                Err(_) => self.failed.store(true, Ordering::Relaxed),
            }
        }
        found.insert(host.clone(), login.clone());
        login
    }
}

/// The helpers that are installed and may have something, in the order Docker prefers them. Nothing
/// is started for this.
fn helpers(is_mac: bool, variable: impl Fn(&str) -> Option<OsString>) -> Vec<Helper> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let store = set("PASSWORD_STORE_DIR").map(PathBuf::from).or_else(|| {
        let home = set("HOME")?;
        Some(Path::new(&home).join(".password-store"))
    });
    let has_store = || store.is_some_and(|store| store.join("docker-credential-helpers").is_dir());
    let mut names = Vec::new();
    if is_mac {
        names.push("osxkeychain");
    } else {
        if has_store() {
            names.push("pass");
        }
        if set("DBUS_SESSION_BUS_ADDRESS").is_some() {
            names.push("secretservice");
        }
    }
    let path = set("PATH").unwrap_or_default();
    names
        .into_iter()
        .filter_map(|name| {
            let program = format!("docker-credential-{name}");
            let mut directories = env::split_paths(&path);
            let directory = directories
                .find(|directory| directory.is_absolute() && directory.join(&program).is_file())?;
            Some((name, directory))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::Credential;

    #[test]
    fn helpers_are_asked_only_where_they_can_have_something() {
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("bin");
        fs::create_dir_all(&bin).unwrap();
        for name in ["pass", "secretservice", "osxkeychain"] {
            fs::write(bin.join(format!("docker-credential-{name}")), "").unwrap();
        }
        let home = directory.path().join("home");
        fs::create_dir_all(home.join(".password-store/docker-credential-helpers")).unwrap();
        let (bin, home) = (bin.to_str().unwrap(), home.to_str().unwrap());
        let bus = ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/bus");
        for (is_mac, set, want) in [
            (false, vec![("PATH", bin)], vec![]),
            (false, vec![("PATH", bin), bus], vec!["secretservice"]),
            (false, vec![("PATH", "/nonexistent"), bus], vec![]),
            (false, vec![bus], vec![]),
            (false, vec![("PATH", bin), ("HOME", home)], vec!["pass"]),
            (
                false,
                vec![("PATH", bin), ("HOME", home), bus],
                vec!["pass", "secretservice"],
            ),
            (
                false,
                vec![("PATH", bin), ("HOME", home), ("PASSWORD_STORE_DIR", "/x")],
                vec![],
            ),
            (true, vec![("PATH", bin)], vec!["osxkeychain"]),
        ] {
            let found = helpers(is_mac, |name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            });
            let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, want, "{set:?}");
        }
    }

    #[tokio::test]
    async fn it_is_asked_once_and_given_up_when_it_fails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker-credential-test");
        let log = directory.path().join("log");
        let script = format!(
            "#!/bin/sh\nread -r server\necho \"$server\" >> '{}'\ncase $server in\n\
             good.io) echo '{{\"Username\":\"u\",\"Secret\":\"s\"}}';;\n\
             none.io) echo credentials not found; exit 1;;\n*) sleep 60;;\nesac\n",
            log.display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let keychain = Keychain {
            helpers: vec![("test", directory.path().to_owned())],
            found: Mutex::default(),
            failed: AtomicBool::new(false),
            patience: Duration::from_secs(2),
        };
        for (host, found) in [
            ("good.io", true),
            ("good.io", true),
            ("none.io", false),
            ("none.io", false),
            // It hangs, and that is the end of it.
            ("slow.io", false),
            ("other.io", false),
            ("good.io", true),
        ] {
            let login = keychain.find(&host.parse().unwrap()).await;
            assert_eq!(login.is_some(), found, "{host}");
            if let Some(login) = login {
                assert!(matches!(login.credential, Credential::Basic { .. }));
                assert_eq!(
                    login.source.as_deref(),
                    Some("docker-credential-test, found on PATH")
                );
            }
        }
        let asked = fs::read_to_string(&log).unwrap();
        assert_eq!(asked, "good.io\nnone.io\nslow.io\n");
    }
}
