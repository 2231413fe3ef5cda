//! What was typed and what the environment says, resolved once. Nothing below this reads the
//! environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use launchway_model::Platform;
use launchway_sandbox::StackingWish;

use crate::commands::{Colour, Format, Global, Progress, Stacking};
use crate::failure::Failure;

#[derive(Clone)]
pub(crate) struct Settings {
    /// Whether stderr gets colour.
    pub(crate) colour: bool,
    /// Whether stdout gets colour.
    pub(crate) colour_stdout: bool,
    pub(crate) json: bool,
    pub(crate) progress: Progress,
    /// Whether a live view makes sense on stderr.
    pub(crate) interactive: bool,
    pub(crate) state: PathBuf,
    pub(crate) stacking: StackingWish,
    /// `SOURCE_DATE_EPOCH`, when it is set.
    pub(crate) epoch: Option<i64>,
    pub(crate) host_platform: Platform,
    pub(crate) environment: BTreeMap<OsString, OsString>,
}

impl Settings {
    pub(crate) fn resolve(global: &Global) -> Result<Self, Failure> {
        let environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let variable = |name: &str| {
            environment
                .get(&OsString::from(name))
                .filter(|value| !value.is_empty())
        };
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        let stderr = std::io::stderr().is_terminal() && !dumb;
        let stdout = std::io::stdout().is_terminal() && !dumb;
        let wanted = |terminal: bool| match global.color {
            Colour::Always => true,
            Colour::Never => false,
            // https://no-color.org and the CLICOLOR_FORCE convention.
            Colour::Auto => {
                variable("CLICOLOR_FORCE").is_some_and(|value| value != "0")
                    || terminal && variable("NO_COLOR").is_none()
            }
        };
        let state = match &global.state_dir {
            Some(state) => state.clone(),
            None => default_state(&variable)?,
        };
        let state = std::path::absolute(&state)
            .map_err(|error| Failure::caused("cannot use the state folder", &error))?;
        let epoch = match variable("SOURCE_DATE_EPOCH")
            .map(|text| (text, text.to_str().and_then(|text| text.parse().ok())))
        {
            None => None,
            Some((_, Some(epoch))) => Some(epoch),
            Some((text, None)) => {
                return Err(Failure::usage(
                    format!("SOURCE_DATE_EPOCH is {text:?}, which is no number of seconds"),
                    "set it to seconds since 1970, or unset it",
                ));
            }
        };
        let host_platform = Platform::new("linux", std::env::consts::ARCH, None)
            .map_err(|error| Failure::caused("cannot tell this machine's platform", &error))?;
        Ok(Self {
            colour: wanted(stderr),
            colour_stdout: wanted(stdout),
            json: global.format == Format::Json,
            progress: global.progress,
            interactive: stderr && variable("CI").is_none(),
            state,
            stacking: match global.stacking {
                Stacking::Auto => StackingWish::Auto,
                Stacking::Overlayfs => StackingWish::Overlay,
                Stacking::FuseOverlayfs => StackingWish::Fuse,
                Stacking::Copy => StackingWish::Copy,
            },
            epoch,
            host_platform,
            environment,
        })
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&OsString> {
        self.environment
            .get(&OsString::from(name))
            .filter(|value| !value.is_empty())
    }

    /// The variables that are text.
    pub(crate) fn environment_text(&self) -> BTreeMap<String, String> {
        let pairs = self.environment.iter();
        pairs
            .filter_map(|(name, value)| {
                Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
            })
            .collect()
    }

    /// The certificate authorities that the user named instead of the system's. When a folder is
    /// named besides, both are the system's look-up's business.
    pub(crate) fn ca_file(&self) -> Option<PathBuf> {
        if self.variable("SSL_CERT_DIR").is_some() {
            return None;
        }
        self.variable("SSL_CERT_FILE").map(PathBuf::from)
    }

    /// The host's certificate bundle, where OpenSSL, Go and curl look for it.
    pub(crate) fn ca_bundle(&self) -> Option<PathBuf> {
        let usual = [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ];
        let named = self.variable("SSL_CERT_FILE").map(PathBuf::from);
        named
            .into_iter()
            .chain(usual.iter().map(PathBuf::from))
            .find(|path| path.is_file())
    }
}

/// The XDG cache folder's, or `~/.cache/launchway`.
fn default_state<'v>(variable: &dyn Fn(&str) -> Option<&'v OsString>) -> Result<PathBuf, Failure> {
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let home = || variable("HOME").map(|home| Path::new(home).join(".cache"));
    cache
        .or_else(home)
        .map(|cache| cache.join("launchway"))
        .ok_or_else(|| {
            Failure::usage(
                "neither HOME nor XDG_CACHE_HOME is set, so there is no place for layers",
                "give --state-dir",
            )
        })
}

/// Reads a file a user named, with a message that names it.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::caused(format!("cannot read {}", path.display()), &error))
}
