//! `cargo xtask demo`: the main job, from nothing to a released family, on this machine alone.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::example::{self, Bump};
use crate::launchway::{Launchway, Target};
use crate::servers::Server;
use crate::{npm, setup, shell};

const FIRST: &str = "v1.0.0";
const SECOND: &str = "v1.0.1";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build for amd64 and arm64, one of them by emulation
    #[arg(long)]
    all_platforms: bool,
    /// Forget what earlier demos built
    #[arg(long)]
    fresh: bool,
    /// Where to bootstrap Debian from when Docker Hub is out of reach [default: as apt is configured]
    #[arg(long, value_name = "ADDRESS")]
    debian_mirror: Option<String>,
}

/// What was done, and how long it took.
struct Steps(Vec<(String, Duration)>);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let host = shell::host_architecture()?;
    let mut architectures = vec![host];
    if arguments.all_platforms {
        architectures.push(if host == "amd64" { "arm64" } else { "amd64" });
    }
    let mut steps = Steps(Vec::new());
    let hub = steps.time("set up", || set_up(&architectures))?;

    let work = shell::root().join("target/demo");
    if arguments.fresh {
        example::replace_folder(&work)?;
    }
    let launchway = steps.time("build launchway", || Launchway::build(&work.join("state")))?;
    // What an earlier demo released would leave this one nothing to do.
    let images = work.join("registry");
    example::replace_folder(&images)?;
    let registry = Server::embedded(launchway.program(), &images)?;
    shell::say(&format!(
        "the embedded registry listens on {}",
        registry.host()
    ));
    if hub {
        shell::say("Docker Hub answers, the base comes from there");
    } else {
        steps.time("bootstrap Debian", || {
            shell::say("Docker Hub is out of reach, Debian is made from its packages");
            let mirror = arguments.debian_mirror.as_deref();
            example::seed_debian(&launchway, &registry.host(), &architectures, &work, mirror)
        })?;
    }

    let bump = Bump::choose(&architectures)?;
    let family = work.join("family");
    example::copy(&family)?;
    let target = Target {
        family: example::pin(&family, "OPENCODE_VERSION", &bump.older)?,
        registry: format!("{}/demo", registry.host()),
        mirror: (!hub).then(|| registry.host()),
        platforms: architectures
            .iter()
            .map(|name| format!("linux/{name}"))
            .collect(),
    };
    shell::run(&mut target.plan(&launchway, FIRST))?;
    steps.time(
        &format!("release {FIRST} with opencode {}", bump.older),
        || shell::run(&mut target.release(&launchway, FIRST)),
    )?;
    steps.time(&format!("verify {FIRST}"), || {
        shell::run(&mut target.verify(&launchway, FIRST))
    })?;

    example::pin(&family, "OPENCODE_VERSION", &bump.newer)?;
    shell::say(&format!("opencode {} → {}", bump.older, bump.newer));
    only_opencode_is_built(&target, &launchway)?;
    shell::run(&mut target.plan(&launchway, SECOND))?;
    steps.time(
        &format!("release {SECOND} with opencode {}", bump.newer),
        || shell::run(&mut target.release(&launchway, SECOND)),
    )?;
    steps.time(&format!("verify {SECOND}"), || {
        shell::run(&mut target.verify(&launchway, SECOND))
    })?;
    steps.time(&format!("release {SECOND} again"), || {
        shell::run(&mut target.release(&launchway, SECOND))
    })?;
    steps.report(&images, &target.platforms);
    Ok(())
}

/// Installs what is missing, and tells whether Docker Hub can be reached.
fn set_up(architectures: &[&str]) -> Result<bool> {
    setup::ensure(&[&setup::CERTIFICATES, &setup::CURL, &setup::GIT])?;
    if !shell::is_root() {
        setup::ensure(&[&setup::UIDMAP])?;
    }
    for architecture in architectures {
        setup::ensure_runs(architecture)?;
    }
    // Asks npm, and installs it, where nothing else says where packages come from.
    npm::registry()?;
    let hub = example::docker_hub_answers();
    if !hub {
        setup::ensure(&[&setup::MMDEBSTRAP, &setup::ARCH_TEST, &setup::DEBIAN_KEYS])?;
    }
    Ok(hub)
}

/// The point of the demo, so it is checked and not only shown.
fn only_opencode_is_built(target: &Target, launchway: &Launchway) -> Result<()> {
    let nodes = target.nodes_to_make(launchway, SECOND)?;
    let built: Vec<&str> = nodes
        .iter()
        .filter(|(role, _)| role != "variant")
        .map(|(_, id)| id.as_str())
        .collect();
    let [only] = built[..] else {
        bail!("one feature should be built after the bump, not {built:?}");
    };
    if !only.contains("opencode") {
        bail!("opencode should be built after the bump, not {only}");
    }
    let variants = nodes.len() - 1;
    shell::say(&format!(
        "to be built: {only}; {variants} variants are put together from it and what is there"
    ));
    Ok(())
}

impl Steps {
    fn time<T>(&mut self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let done = work()?;
        self.0.push((what.to_owned(), start.elapsed()));
        Ok(done)
    }

    fn report(&self, images: &Path, platforms: &[String]) {
        let width = self.0.iter().map(|(what, _)| what.chars().count()).max();
        let width = width.unwrap_or_default();
        println!(
            "\nThe opencode-devbox family, for {}:",
            platforms.join(" and ")
        );
        for (what, time) in &self.0 {
            println!("  {what:<width$}  {:>8}", shell::seconds(*time));
        }
        let size = shell::read(Command::new("du").args(["-sh", "--"]).arg(images));
        let size = size.unwrap_or_default();
        let size = size.split_whitespace().next().unwrap_or("?").to_owned();
        println!(
            "Two releases of four variants take {size} in the registry ({}).",
            images.display()
        );
    }
}
