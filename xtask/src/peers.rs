//! The builders and clients of others, as the project's `peers` script provides them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{debian, setup, shell};

/// Names the script; otherwise it is looked for beside the checkout.
const VARIABLE: &str = "LAUNCHWAY_PEERS";

/// What the script told us.
pub(crate) struct Peers {
    docker_host: Option<String>,
    /// Host and port of the registry that has the Debian base; `None` when the peers come from PATH.
    pub(crate) registry: Option<String>,
}

/// The script, when this machine has it.
pub(crate) fn script() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    named
        .or_else(|| Some(shell::root().join("../shared/tools/peers")))
        .filter(|path| path.is_file())
}

/// The suite of Debian that has crane and oras; a stable release may lack them.
const NEWEST: &str = "sid";

/// Installs the registry and the registry clients that tests are tried with. Returns a folder for
/// the end of `PATH` with those that no package of the host's release has.
///
/// Docker is none of them: its daemon is the business of whoever owns the machine. Where the script
/// is, crane, oras and skopeo come from there.
pub(crate) fn install(folder: &Path) -> Result<Option<PathBuf>> {
    setup::ensure(&[&setup::DOCKER_REGISTRY, &setup::BUILDAH, &setup::NETAVARK])?;
    if script().is_some() {
        return Ok(None);
    }
    setup::ensure(&[&setup::SKOPEO])?;
    let mirror = debian::Mirror {
        suite: NEWEST.to_owned(),
        ..debian::host_mirror()?
    };
    fs::create_dir_all(folder)?;
    for name in ["crane", "oras"] {
        let wanted = folder.join(name);
        if shell::on_path(name) || wanted.exists() {
            continue;
        }
        let work = folder.join(format!("apt-{name}"));
        let unpacked = debian::unpack(&mirror, shell::host_architecture()?, &[name], &work)?;
        fs::rename(unpacked.join("usr/bin").join(name), &wanted)
            .with_context(|| format!("the package holds no {name}"))?;
        fs::remove_dir_all(&work)?;
    }
    Ok(Some(folder.to_owned()))
}

/// A docker with buildx whose daemon answers.
pub(crate) fn docker() -> Result<Peers> {
    if !shell::on_path("docker") {
        bail!("this machine has no docker command; the comparison needs it, with buildx");
    }
    let mut peers = Peers {
        docker_host: std::env::var("DOCKER_HOST").ok(),
        registry: std::env::var("PEERS_REGISTRY").ok(),
    };
    if let Some(script) = script() {
        let text = shell::read(Command::new(script).arg("env"))?;
        for word in text.split_whitespace() {
            if let Some(value) = word.strip_prefix("DOCKER_HOST=") {
                peers.docker_host.get_or_insert_with(|| value.to_owned());
            } else if let Some(value) = word.strip_prefix("PEERS_REGISTRY=") {
                peers.registry.get_or_insert_with(|| value.to_owned());
            }
        }
    }
    shell::quietly(
        peers
            .command()
            .args(["version", "--format", "{{.Server.Version}}"]),
    )
    .context(format!(
        "no docker daemon answers; start one (`peers up`) or set DOCKER_HOST or {VARIABLE}"
    ))?;
    shell::quietly(peers.command().args(["buildx", "version"]))
        .context("docker has no buildx here")?;
    Ok(peers)
}

impl Peers {
    /// `docker`, pointed at the daemon.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.docker_host {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    /// Where the daemon listens, when it is not docker's usual place.
    pub(crate) fn docker_host(&self) -> Option<&str> {
        self.docker_host.as_deref()
    }

    /// What the daemon and buildx call themselves.
    pub(crate) fn versions(&self) -> Result<String> {
        let daemon =
            shell::read(
                self.command()
                    .args(["version", "--format", "{{.Server.Version}}"]),
            )?;
        let buildx = shell::read(self.command().args(["buildx", "version"]))?;
        let buildx = buildx.split_whitespace().nth(1).unwrap_or("?");
        Ok(format!("docker {daemon}, buildx {buildx}"))
    }
}
