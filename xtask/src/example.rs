//! The example family: a copy of it with pinned versions, and the Debian it starts from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::launchway::Launchway;
use crate::{debian, npm, setup, shell};

/// The file times of a bootstrapped Debian are cut off here, so that it does not change from one day
/// to the next without reason.
const BASE_EPOCH: &str = "1735689600";

/// An older and a newer version of opencode that exist for all these architectures.
pub(crate) struct Bump {
    pub(crate) older: String,
    pub(crate) newer: String,
}

impl Bump {
    pub(crate) fn choose(architectures: &[&str]) -> Result<Self> {
        let parts: Vec<String> = architectures
            .iter()
            .map(|architecture| match *architecture {
                "amd64" => "opencode-linux-x64".to_owned(),
                other => format!("opencode-linux-{other}"),
            })
            .collect();
        let mut versions = npm::complete_versions("opencode-ai", &parts)?.into_iter();
        let (Some(newer), Some(older)) = (versions.next(), versions.next()) else {
            bail!(
                "the npm registry has no two versions of opencode-ai for {}",
                architectures.join(", ")
            );
        };
        Ok(Self { older, newer })
    }
}

pub(crate) fn source() -> PathBuf {
    shell::root().join("examples/opencode-devbox")
}

/// Copies the family to an empty folder.
pub(crate) fn copy(to: &Path) -> Result<()> {
    replace_folder(to)?;
    shell::quietly(Command::new("cp").arg("-a").arg(source().join(".")).arg(to))?;
    Ok(())
}

/// Pins a version in a copy's family file and returns the path of that file.
pub(crate) fn pin(family: &Path, name: &str, version: &str) -> Result<PathBuf> {
    let file = family.join("launchway.toml");
    let text = fs::read_to_string(&file)?;
    let mut found = false;
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once('=') {
            Some((key, _)) if key.trim() == name => {
                found = true;
                format!("{name} = \"{version}\"")
            }
            _ => line.to_owned(),
        })
        .collect();
    if !found {
        bail!("{} has no line for {name}", file.display());
    }
    fs::write(&file, lines.join("\n") + "\n")?;
    Ok(file)
}

/// The Debian image the example starts from, as in `debian:forky-slim`.
pub(crate) fn debian_image() -> Result<String> {
    let file = source().join("Dockerfile.base");
    let text = fs::read_to_string(&file)?;
    let image = text
        .lines()
        .find_map(|line| line.strip_prefix("ARG DEBIAN="));
    let image = image.with_context(|| format!("{} has no ARG DEBIAN", file.display()))?;
    Ok(image.trim().to_owned())
}

/// Whether Docker Hub answers; without credentials the right answer is "who are you?".
pub(crate) fn docker_hub_answers() -> bool {
    let answer = shell::read(Command::new("curl").args([
        "--silent",
        "--max-time",
        "8",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
        "https://registry-1.docker.io/v2/",
    ]));
    answer.is_ok_and(|status| status == "401" || status == "200")
}

/// Bootstraps the example's Debian from Debian's packages and pushes it to the registry, under the
/// name that Docker Hub has it by. `cache` keeps what was bootstrapped.
pub(crate) fn seed_debian(
    launchway: &Launchway,
    registry: &str,
    architectures: &[&str],
    cache: &Path,
    mirror: Option<&str>,
) -> Result<()> {
    let image = debian_image()?;
    let tag = image.split_once(':').map_or("stable", |(_, tag)| tag);
    let suite = tag.trim_end_matches("-slim");
    let folder = cache.join(format!("debian-{suite}"));
    fs::create_dir_all(&folder)?;
    for architecture in architectures {
        bootstrap(suite, architecture, &folder, mirror)?;
    }
    fs::write(
        folder.join("Dockerfile"),
        "FROM scratch\nARG TARGETARCH\nADD debian-${TARGETARCH}.tar /\nCMD [\"bash\"]\n",
    )?;
    let platforms: Vec<String> = architectures
        .iter()
        .map(|architecture| format!("linux/{architecture}"))
        .collect();
    shell::say(&format!("pushing {image} to {registry}"));
    shell::run(
        launchway
            .command()
            .args(["dockerfile", "build"])
            .arg(&folder)
            .args(["--platform", &platforms.join(",")])
            .args(["--tag", &format!("{registry}/library/{image}"), "--push"]),
    )
}

/// Makes `debian-ARCHITECTURE.tar` in the folder from Debian's packages, unless it is there.
pub(crate) fn bootstrap(
    suite: &str,
    architecture: &str,
    folder: &Path,
    mirror: Option<&str>,
) -> Result<()> {
    let tar = folder.join(format!("debian-{architecture}.tar"));
    if tar.exists() {
        return Ok(());
    }
    setup::ensure(&[&setup::MMDEBSTRAP, &setup::ARCH_TEST, &setup::DEBIAN_KEYS])?;
    if !shell::is_root() {
        setup::ensure(&[&setup::UIDMAP])?;
    }
    let address = match mirror {
        Some(address) => address.to_owned(),
        None => {
            debian::host_mirror()
                .context("Docker Hub is out of reach; give --debian-mirror to bootstrap Debian")?
                .address
        }
    };
    shell::say(&format!(
        "bootstrapping Debian {suite} for {architecture} from {address}"
    ));
    let part = folder.join(format!("debian-{architecture}.tar.part"));
    let mut command = Command::new("mmdebstrap");
    command.env("SOURCE_DATE_EPOCH", BASE_EPOCH);
    command.args(["--variant=minbase", "--format=tar"]);
    command.arg(format!("--arch={architecture}"));
    // A mirror may be a snapshot. The option stays in the image, where it serves the example's own
    // use of apt.
    command.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    // As in Debian's slim images: no documentation, and no waiting for the disk.
    for option in [
        "force-unsafe-io",
        "path-exclude=/usr/share/doc/*",
        "path-include=/usr/share/doc/*/copyright",
        "path-exclude=/usr/share/man/*",
        "path-exclude=/usr/share/info/*",
        "path-exclude=/usr/share/lintian/*",
        "path-exclude=/usr/share/locale/*",
    ] {
        command.arg(format!("--dpkgopt={option}"));
    }
    command.arg(suite).arg(&part).arg(address);
    shell::quietly(&mut command)?;
    fs::rename(&part, &tar)?;
    Ok(())
}

pub(crate) fn replace_folder(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(())
}
