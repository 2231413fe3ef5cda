//! Three ways to release the four variants.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::family::PREFIX;
use crate::example::{self, Bump};
use crate::launchway::{Launchway, Target};
use crate::peers::Peers;
use crate::shell;

/// The versions that everyone is told, so that nobody spends time on finding them.
pub(super) struct Versions {
    pub(super) opencode: Bump,
    pub(super) omos: String,
    pub(super) pi: String,
}

pub(super) trait Contestant {
    fn title(&self) -> &'static str;

    /// Drops every cache: of steps, of layers, of downloads.
    fn forget_everything(&mut self) -> Result<()>;

    /// Publishes the four variants to the registry at `host` and says how long it took. `base` is
    /// the published base for those who take it as it is.
    fn release(
        &mut self,
        host: &str,
        base: &str,
        versions: &Versions,
        opencode: &str,
        release: &str,
    ) -> Result<Duration>;
}

/// `launchway release`, with everything that belongs to it: smoke tests of the pushed digests,
/// verification, rolling tags, the record.
pub(super) struct Native {
    launchway: Launchway,
    state: PathBuf,
    family: PathBuf,
    platform: String,
}

impl Native {
    pub(super) fn new(launchway: Launchway, work: &Path, host: &str) -> Result<Self> {
        let family = work.join("family");
        example::copy(&family)?;
        let state = work.join("state");
        Ok(Self {
            launchway: launchway.with_state(&state),
            state,
            family,
            platform: format!("linux/{host}"),
        })
    }
}

impl Contestant for Native {
    fn title(&self) -> &'static str {
        "launchway release"
    }

    fn forget_everything(&mut self) -> Result<()> {
        example::replace_folder(&self.state)
    }

    fn release(
        &mut self,
        host: &str,
        _: &str,
        versions: &Versions,
        opencode: &str,
        release: &str,
    ) -> Result<Duration> {
        for (name, version) in [
            ("OPENCODE_VERSION", opencode),
            ("OMOS_VERSION", &versions.omos),
            ("PI_VERSION", &versions.pi),
        ] {
            example::pin(&self.family, name, version)?;
        }
        let target = Target {
            family: self.family.join("launchway.toml"),
            registry: format!("{host}/{PREFIX}"),
            mirror: Some(host.to_owned()),
            platforms: vec![self.platform.clone()],
        };
        shell::quietly(&mut target.release(&self.launchway, release))
    }
}

/// The pipeline that Launchway replaces: one `docker buildx build --push` for each variant.
pub(super) struct PerVariant<'a> {
    docker: &'a Peers,
}

impl<'a> PerVariant<'a> {
    pub(super) fn new(docker: &'a Peers) -> Self {
        Self { docker }
    }
}

/// Suffix, and which of omos and pi are in.
const VARIANTS: [(&str, bool, bool); 4] = [
    ("", false, false),
    ("-omos", true, false),
    ("-with-pi", false, true),
    ("-omos-with-pi", true, true),
];

impl Contestant for PerVariant<'_> {
    fn title(&self) -> &'static str {
        "4 × docker buildx build --push"
    }

    fn forget_everything(&mut self) -> Result<()> {
        forget_everything(self.docker)
    }

    fn release(
        &mut self,
        host: &str,
        base: &str,
        versions: &Versions,
        opencode: &str,
        release: &str,
    ) -> Result<Duration> {
        let start = Instant::now();
        let repository = format!("{host}/s0/opencode-devbox");
        for (suffix, omos, pi) in VARIANTS {
            let mut command = self.docker.command();
            command.current_dir(example::source());
            command.args(["buildx", "build", "--push", "--progress=plain"]);
            command.args(["-f", "bench/Dockerfile.s0"]);
            for argument in [
                format!("BASE_IMAGE={base}"),
                format!("INSTALL_OMOS={omos}"),
                format!("INSTALL_PI={pi}"),
                format!("OPENCODE_VERSION={opencode}"),
                format!("OMOS_VERSION={}", versions.omos),
                format!("PI_VERSION={}", versions.pi),
            ] {
                command.args(["--build-arg", &argument]);
            }
            for tag in [release, "latest"] {
                command.args(["-t", &format!("{repository}:{tag}{suffix}")]);
            }
            shell::quietly(command.arg("."))?;
        }
        Ok(start.elapsed())
    }
}

/// What someone who knows BuildKit well writes: one bake file, arguments behind their RUN.
pub(super) struct Bake<'a> {
    docker: &'a Peers,
}

impl<'a> Bake<'a> {
    pub(super) fn new(docker: &'a Peers) -> Self {
        Self { docker }
    }
}

impl Contestant for Bake<'_> {
    fn title(&self) -> &'static str {
        "docker buildx bake, by an expert"
    }

    fn forget_everything(&mut self) -> Result<()> {
        forget_everything(self.docker)
    }

    fn release(
        &mut self,
        host: &str,
        base: &str,
        versions: &Versions,
        opencode: &str,
        _: &str,
    ) -> Result<Duration> {
        let mut command = self.docker.command();
        command.current_dir(example::source());
        command.args(["buildx", "bake", "--progress=plain"]);
        command.args(["-f", "bench/docker-bake.hcl"]);
        command.env("REGISTRY", host).env("BASE_IMAGE", base);
        command.env("OPENCODE_VERSION", opencode);
        command.env("OMOS_VERSION", &versions.omos);
        command.env("PI_VERSION", &versions.pi);
        shell::quietly(&mut command)
    }
}

fn forget_everything(docker: &Peers) -> Result<()> {
    shell::quietly(
        docker
            .command()
            .args(["buildx", "prune", "--all", "--force"]),
    )?;
    Ok(())
}
