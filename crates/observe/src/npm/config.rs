//! Where npm packages come from: the family file, otherwise what npm itself would use.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::OnceCell;

use super::npmrc;
use crate::outward::is_loopback;

/// How long the npm client may take to tell its settings.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct NpmInputs {
    /// `registry` of the family file's `[npm]` table; it holds for all packages.
    pub registry: Option<String>,
    /// The whole environment: `npm_config_…` are settings, others may be named in `.npmrc` files.
    pub environment: BTreeMap<String, String>,
    /// The folder of the family file, whose `.npmrc` is the project's.
    pub project: PathBuf,
}

/// Why the configuration cannot be used. Never holds a token.
#[derive(Debug, thiserror::Error)]
pub enum NpmConfigError {
    #[error("cannot read the npm settings in {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the npm registry {address:?} is no web address")]
    Address { address: String },
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// The settings, the first place that has one winning: environment, project, user. What none of
/// them says is asked of the npm client, once.
#[derive(Debug)]
pub struct NpmConfig {
    inputs: NpmInputs,
    settings: BTreeMap<String, String>,
    /// The npm client's own settings; empty when there is no npm.
    client: OnceCell<BTreeMap<String, String>>,
}

impl NpmConfig {
    /// Reads the environment's settings and the `.npmrc` files of project and user.
    pub fn load(inputs: NpmInputs) -> Result<Self, NpmConfigError> {
        let mut settings = of_environment(&inputs.environment);
        let mut files = vec![inputs.project.join(".npmrc")];
        let user = settings
            .get("userconfig")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(inputs.environment.get("HOME")?).join(".npmrc")));
        files.extend(user);
        files.extend(settings.get("globalconfig").map(PathBuf::from));
        for file in files {
            for (key, value) in read(&file, &inputs.environment)? {
                settings.entry(key).or_insert(value);
            }
        }
        Ok(Self {
            inputs,
            settings,
            client: OnceCell::new(),
        })
    }

    /// The address of the registry that has a package, with a slash at its end; `None` when
    /// nothing and nobody names one.
    pub(crate) async fn registry(&self, package: &str) -> Result<Option<Url>, NpmConfigError> {
        if let Some(address) = &self.inputs.registry {
            return address_of(address).map(Some);
        }
        let scope = package
            .strip_prefix('@')
            .and_then(|rest| rest.split_once('/'))
            .map(|(scope, _)| format!("@{scope}:registry"));
        let named = |settings: &BTreeMap<String, String>| {
            scope
                .as_ref()
                .and_then(|scope| settings.get(scope))
                .or_else(|| settings.get("registry"))
                .filter(|address| !address.is_empty())
                .cloned()
        };
        let address = match named(&self.settings) {
            Some(address) => Some(address),
            None => named(self.client_settings().await),
        };
        address.map(|address| address_of(&address)).transpose()
    }

    /// The value of the `Authorization` header for a registry, if there is a token for its host
    /// and path. Only the settings that are for exactly this host count, and only TLS or this
    /// very machine may see them.
    pub(crate) fn authorization(&self, registry: &Url) -> Option<String> {
        if registry.scheme() != "https" && !is_loopback(registry) {
            return None;
        }
        let host = registry.host_str()?;
        let port = registry
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        let mut path = registry.path().trim_end_matches('/').to_owned();
        loop {
            for slash in ["/", ""] {
                let key = |name: &str| format!("//{host}{port}{path}{slash}:{name}");
                if let Some(token) = self.secret(&key("_authToken")) {
                    return Some(format!("Bearer {token}"));
                }
                if let Some(basic) = self.secret(&key("_auth")) {
                    return Some(format!("Basic {basic}"));
                }
            }
            let parent = path.rfind('/')?;
            path.truncate(parent);
        }
    }

    fn secret(&self, key: &str) -> Option<&String> {
        let asked = || self.client.get().and_then(|settings| settings.get(key));
        self.settings
            .get(key)
            .or_else(asked)
            .filter(|value| !value.is_empty())
    }

    async fn client_settings(&self) -> &BTreeMap<String, String> {
        self.client
            .get_or_init(|| async {
                let mut settings = ask_client(&self.inputs).await.unwrap_or_default();
                // The client shows no secrets, but says where its file for the whole machine is.
                if let Some(path) = settings.get("globalconfig").map(PathBuf::from)
                    && let Ok(global) = read(&path, &self.inputs.environment)
                {
                    for (key, value) in global {
                        settings.entry(key).or_insert(value);
                    }
                }
                settings
            })
            .await
    }
}

/// Settings in variables: `npm_config_registry`, `NPM_CONFIG_USERCONFIG`,
/// `npm_config_@scope:registry`, `npm_config_//host/:_authToken`.
fn of_environment(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    const PREFIX: &str = "npm_config_";
    let setting = |(name, value): (&String, &String)| {
        let prefix = name.get(..PREFIX.len())?;
        let key = &name[PREFIX.len()..];
        if !prefix.eq_ignore_ascii_case(PREFIX) || key.is_empty() || value.is_empty() {
            return None;
        }
        let key = if key.starts_with(['/', '@']) {
            key.to_owned()
        } else {
            key.to_ascii_lowercase()
        };
        Some((key, value.clone()))
    };
    environment.iter().filter_map(setting).collect()
}

fn read(
    path: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, NpmConfigError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(npmrc::parse(&String::from_utf8_lossy(&bytes), environment)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(BTreeMap::new())
        }
        Err(source) => Err(NpmConfigError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

fn address_of(text: &str) -> Result<Url, NpmConfigError> {
    let wrong = || NpmConfigError::Address {
        // What stands before an `@` may be a password.
        address: text
            .rsplit_once('@')
            .map_or(text, |(_, rest)| rest)
            .to_owned(),
    };
    let mut url = Url::parse(text.trim()).map_err(|_| wrong())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && url.username().is_empty()
        && url.password().is_none();
    if !plain {
        return Err(wrong());
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// What `npm config list` says; nothing when there is no npm or it says nothing useful.
async fn ask_client(inputs: &NpmInputs) -> Option<BTreeMap<String, String>> {
    let mut command = tokio::process::Command::new("npm");
    command
        .args(["config", "list", "--json"])
        .env_clear()
        .envs(&inputs.environment)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    if inputs.project.is_dir() {
        command.current_dir(&inputs.project);
    }
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .ok()?
        .ok()?;
    let listed: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&output.stdout).ok()?;
    let texts = listed.into_iter().filter_map(|(key, value)| match value {
        serde_json::Value::String(text) => Some((key, text)),
        _ => None,
    });
    Some(texts.collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Place {
        folder: tempfile::TempDir,
        environment: BTreeMap<String, String>,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("home")).unwrap();
            fs::create_dir(folder.path().join("project")).unwrap();
            let home = folder.path().join("home").display().to_string();
            Self {
                folder,
                environment: BTreeMap::from([
                    ("HOME".to_owned(), home),
                    ("PATH".to_owned(), "/nonexistent".to_owned()),
                ]),
            }
        }

        fn with(mut self, name: &str, value: &str) -> Self {
            self.environment.insert(name.to_owned(), value.to_owned());
            self
        }

        fn file(self, path: &str, text: &str) -> Self {
            fs::write(self.folder.path().join(path), text).unwrap();
            self
        }

        /// A program by the name of npm that answers with a file.
        fn npm(self, answer: &str) -> Self {
            use std::os::unix::fs::PermissionsExt as _;
            let script =
                "#!/bin/sh\n[ \"$*\" = 'config list --json' ] && exec /bin/cat \"$HOME/answer\"\n";
            let place = self.file("npm", script).file("home/answer", answer);
            let program = place.folder.path().join("npm");
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
            let path = place.folder.path().display().to_string();
            place.with("PATH", &path)
        }

        fn load(&self, registry: Option<&str>) -> NpmConfig {
            NpmConfig::load(NpmInputs {
                registry: registry.map(str::to_owned),
                environment: self.environment.clone(),
                project: self.folder.path().join("project"),
            })
            .unwrap()
        }
    }

    async fn check(config: &NpmConfig, package: &str, want: Option<&str>) {
        let found = config.registry(package).await.unwrap();
        assert_eq!(found.as_ref().map(Url::as_str), want, "{package}");
    }

    #[tokio::test]
    async fn the_nearest_place_names_the_registry() {
        let place = Place::new();
        check(&place.load(None), "a", None).await;
        let place = place.file(
            "home/.npmrc",
            "registry=http://user.example\n@s:registry=http://scope.example/x\n",
        );
        check(&place.load(None), "a", Some("http://user.example/")).await;
        check(&place.load(None), "@s/a", Some("http://scope.example/x/")).await;
        check(&place.load(None), "@t/a", Some("http://user.example/")).await;
        let place = place.file("project/.npmrc", "registry=http://project.example/\n");
        check(&place.load(None), "a", Some("http://project.example/")).await;
        check(&place.load(None), "@s/a", Some("http://scope.example/x/")).await;
        let place = place.with("NPM_CONFIG_REGISTRY", "http://variable.example/");
        check(&place.load(None), "a", Some("http://variable.example/")).await;
        let family = place.load(Some("https://family.example/npm"));
        for package in ["a", "@s/a"] {
            check(&family, package, Some("https://family.example/npm/")).await;
        }
    }

    #[tokio::test]
    async fn the_npm_client_is_the_last_to_be_asked() {
        let place = Place::new()
            .file("home/global", "//client.example/:_authToken=t\n")
            .with("X", "");
        let global = place.folder.path().join("home/global");
        let answer = serde_json::json!({
            "registry": "https://client.example/",
            "@s:registry": "https://s.example/",
            "globalconfig": global,
            "fund": true,
        });
        let place = place.npm(&answer.to_string());
        let config = place.load(None);
        check(&config, "@s/a", Some("https://s.example/")).await;
        check(&config, "a", Some("https://client.example/")).await;
        let url = Url::parse("https://client.example/").unwrap();
        assert_eq!(config.authorization(&url).as_deref(), Some("Bearer t"));
        let place = Place::new().npm("no json");
        check(&place.load(None), "a", None).await;
    }

    #[tokio::test]
    async fn tokens_go_to_their_host_alone() {
        let place = Place::new().with("TOKEN", "secret").file(
            "home/.npmrc",
            "//npm.example/:_authToken=${TOKEN}\n\
             //npm.example/team/:_authToken=team\n\
             //port.example:8443/:_auth=dTpw\n\
             //127.0.0.1:4873/:_authToken=local\n\
             //unset.example/:_authToken=${NOT_SET}\n",
        );
        let config = place.load(None);
        for (registry, want) in [
            ("https://npm.example/", Some("Bearer secret")),
            ("https://npm.example/deep/er/", Some("Bearer secret")),
            ("https://npm.example/team/x/", Some("Bearer team")),
            ("http://npm.example/", None),
            ("https://npm.example:444/", None),
            ("https://npm.example.evil.example/", None),
            ("https://sub.npm.example/", None),
            ("https://port.example:8443/", Some("Basic dTpw")),
            ("https://port.example/", None),
            ("http://127.0.0.1:4873/", Some("Bearer local")),
            ("https://unset.example/", None),
        ] {
            let url = Url::parse(registry).unwrap();
            let found = config.authorization(&url);
            assert_eq!(found.as_deref(), want, "{registry}");
        }
    }

    #[tokio::test]
    async fn a_wrong_address_is_shown_without_its_password() {
        for (address, shown) in [
            ("npm.example", "npm.example"),
            ("file:///etc/passwd", "file:///etc/passwd"),
            ("https://user:secret@npm.example/", "npm.example/"),
        ] {
            let config = Place::new().load(Some(address));
            let error = config.registry("a").await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the npm registry {shown:?} is no web address")
            );
        }
    }

    #[test]
    fn a_settings_file_that_cannot_be_read_is_an_error() {
        let place = Place::new();
        fs::create_dir(place.folder.path().join("project/.npmrc")).unwrap();
        let loaded = NpmConfig::load(NpmInputs {
            project: place.folder.path().join("project"),
            ..NpmInputs::default()
        });
        assert!(matches!(loaded, Err(NpmConfigError::File { .. })));
    }
}
