//! The Debian that images start from, told what this machine's package managers are told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::case::Case;
use crate::{example, peers, shell};

/// The host's bundle of certificates, and where it is in the base.
const BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];
const BUNDLE: &str = "/usr/local/share/site-certificates.crt";
/// Authorities that the host's administrator added; `update-ca-certificates` takes them from here.
const ADDED: &str = "/usr/local/share/ca-certificates";

/// Variables by which programs take a bundle.
const TRUST: [&str; 7] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
    "GIT_SSL_CAINFO",
];

/// Where the host's own tools are told to get packages; taken over where they are set.
const MIRRORS: [&str; 5] = [
    "npm_config_registry",
    "PIP_INDEX_URL",
    "PIP_DEFAULT_TIMEOUT",
    "GOPROXY",
    "GOFLAGS",
];

/// A named context of every build.
pub(super) struct Base {
    /// As Dockerfiles call it.
    pub(super) name: String,
    pub(super) reference: String,
}

/// Makes the bases that the cases need and pushes them.
pub(super) fn prepare(
    docker: &peers::Peers,
    registry: &str,
    cases: &[Case],
    folder: &Path,
) -> Result<Vec<Base>> {
    let architecture = shell::host_architecture()?;
    let mut suites = BTreeSet::new();
    for case in cases {
        let found = case.suites()?;
        suites.extend(
            found
                .into_iter()
                .filter(|suite| SUITES.contains(&suite.as_str())),
        );
    }
    let mut bases = Vec::new();
    for suite in suites {
        let folder = folder.join("bases").join(&suite);
        fs::create_dir_all(&folder)?;
        example::bootstrap(&suite, architecture, &folder, None)?;
        let name = format!("debian:{suite}-slim");
        let reference = format!("{registry}/launchway/images/{name}");
        fs::write(
            folder.join("Dockerfile"),
            dockerfile(architecture, &folder)?,
        )?;
        shell::say(&format!("pushing {reference}"));
        let mut command = docker.command();
        command.args(["buildx", "build", "--quiet", "--push", "--provenance=false"]);
        shell::quietly(command.args(["--tag", &reference]).arg(&folder))?;
        bases.push(Base { name, reference });
    }
    Ok(bases)
}

/// What a name in a Dockerfile has to be to count as a suite.
const SUITES: [&str; 4] = ["bookworm", "trixie", "forky", "sid"];

/// Writes what the base takes into `folder` and returns the text that builds it.
fn dockerfile(architecture: &str, folder: &Path) -> Result<String> {
    let mut text = format!("FROM scratch\nADD debian-{architecture}.tar /\n");
    let mut variables = BTreeMap::new();
    if let Some(bundle) = BUNDLES.iter().find(|path| Path::new(path).is_file()) {
        fs::copy(bundle, folder.join("bundle.crt"))
            .with_context(|| format!("cannot copy {bundle}"))?;
        text.push_str(&format!("COPY --chmod=0644 bundle.crt {BUNDLE}\n"));
        variables.extend(TRUST.map(|name| (name, BUNDLE.to_owned())));
    }
    let added = folder.join("added");
    example::replace_folder(&added)?;
    if let Ok(entries) = fs::read_dir(ADDED) {
        for entry in entries.flatten() {
            if entry.path().is_file() {
                fs::copy(entry.path(), added.join(entry.file_name()))?;
            }
        }
        text.push_str(&format!("COPY --chmod=0644 added/ {ADDED}/\n"));
    }
    for name in MIRRORS {
        if let Ok(value) = std::env::var(name) {
            variables.insert(name, value);
        }
    }
    for (name, value) in variables {
        text.push_str(&format!("ENV {name}={value:?}\n"));
    }
    text.push_str("CMD [\"bash\"]\n");
    Ok(text)
}
