//! The four variants of the example, for one platform, on a base that is published already: what a
//! release does every day. Every contestant starts each run with a copy of one prepared registry
//! and without any cache of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::contestants::{Bake, Contestant, Native, PerVariant, Versions};
use super::median;
use crate::example::{self, Bump};
use crate::launchway::{Launchway, Target};
use crate::peers::{self, Peers};
use crate::servers::Server;
use crate::{npm, setup, shell};

/// The prefix of everything Launchway publishes here.
pub(super) const PREFIX: &str = "bench";
/// The base for builders that cannot be told about certificate authorities.
const BASE_WITH_AUTHORITIES: &str = "peers/base:with-authorities";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often everything is done; medians are printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Measure only these: launchway, s0, bake
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Use Launchway's own registry for everyone, also where Debian's docker-registry is installed
    #[arg(long)]
    embedded_registry: bool,
    /// Where to bootstrap Debian from [default: as apt is configured]
    #[arg(long, value_name = "ADDRESS")]
    debian_mirror: Option<String>,
}

/// What one contestant took, per run.
struct Measured {
    title: String,
    runs: Vec<Run>,
}

struct Run {
    cold: Duration,
    bump: Duration,
    nothing: Duration,
    /// What the registry grew by in the cold release.
    stored: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.runs == 0 {
        bail!("nothing is measured in no runs");
    }
    setup::ensure(&[&setup::CERTIFICATES, &setup::CURL, &setup::GIT])?;
    let work = shell::root().join("target/bench");
    fs::create_dir_all(&work)?;
    let host = shell::host_architecture()?;
    let versions = versions(host)?;
    let launchway = Launchway::build(&work.join("preparing"))?;
    let wanted =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    let docker = match peers::docker() {
        Ok(docker) => Some(docker),
        Err(error) if arguments.only.is_empty() => {
            shell::say(&format!("without comparison: {error:#}"));
            None
        }
        Err(error) if wanted("s0") || wanted("bake") => return Err(error),
        Err(_) => None,
    };
    let kind = Kind::choose(arguments);
    let prepared = work.join("prepared-registry");
    prepare(
        &launchway,
        docker.as_ref(),
        kind,
        &prepared,
        host,
        arguments,
    )?;

    let mut contestants: Vec<Box<dyn Contestant>> = Vec::new();
    if wanted("launchway") {
        contestants.push(Box::new(Native::new(launchway, &work, host)?));
    }
    if let Some(docker) = &docker {
        if wanted("s0") {
            contestants.push(Box::new(PerVariant::new(docker)));
        }
        if wanted("bake") {
            contestants.push(Box::new(Bake::new(docker)));
        }
    }
    let mut measured: Vec<Measured> = contestants
        .iter()
        .map(|contestant| Measured {
            title: contestant.title().to_owned(),
            runs: Vec::new(),
        })
        .collect();
    // In turns, so that a slow minute of the network does not hit one of them alone.
    for number in 1..=arguments.runs {
        for (contestant, measured) in contestants.iter_mut().zip(&mut measured) {
            let run = one_run(contestant.as_mut(), kind, &work, &prepared, &versions)?;
            shell::say(&format!(
                "run {number}, {}: cold {}, bump {}, nothing to do {}",
                measured.title,
                shell::seconds(run.cold),
                shell::seconds(run.bump),
                shell::seconds(run.nothing)
            ));
            measured.runs.push(run);
        }
    }
    print(&measured, &versions, docker.as_ref(), kind, arguments.runs)
}

/// What plays the registry, for everyone alike.
#[derive(Clone, Copy)]
enum Kind {
    Distribution,
    Embedded,
}

impl Kind {
    fn choose(arguments: &Arguments) -> Self {
        if !arguments.embedded_registry && shell::on_path("docker-registry") {
            Self::Distribution
        } else {
            Self::Embedded
        }
    }

    fn start(self, root: &Path) -> Result<Server> {
        match self {
            Self::Distribution => Server::distribution(root),
            Self::Embedded => Server::embedded(&shell::target().join("release/launchway"), root),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Distribution => "docker-registry",
            Self::Embedded => "launchway registry serve",
        }
    }
}

fn versions(host: &str) -> Result<Versions> {
    let opencode = Bump::choose(&[host])?;
    let newest = |package: &str, prefix: &str| -> Result<String> {
        let mut all = npm::complete_versions(package, &[])?.into_iter();
        all.find(|version| version.starts_with(prefix))
            .with_context(|| format!("the npm registry has no {package} {prefix}"))
    };
    Ok(Versions {
        opencode,
        omos: newest("oh-my-opencode-slim", "")?,
        pi: newest("@earendil-works/pi-coding-agent", "0.75.")?,
    })
}

/// Fills a registry with what is there before a release: Debian, and the example's base.
fn prepare(
    launchway: &Launchway,
    docker: Option<&Peers>,
    kind: Kind,
    root: &Path,
    host: &str,
    arguments: &Arguments,
) -> Result<()> {
    let work = shell::root().join("target/bench");
    example::replace_folder(root)?;
    let registry = kind.start(root)?;
    let mirror = arguments.debian_mirror.as_deref();
    let cache = shell::root().join("target/demo");
    example::seed_debian(launchway, &registry.host(), &[host], &cache, mirror)?;
    let family = work.join("base");
    example::copy(&family)?;
    let file = family.join("launchway.toml");
    let text = fs::read_to_string(&file)?;
    let (base, _) = text
        .split_once("[image.devbox]")
        .context("the example has no image devbox")?;
    fs::write(&file, base)?;
    let target = Target {
        family: file,
        registry: format!("{}/{PREFIX}", registry.host()),
        mirror: Some(registry.host()),
        platforms: vec![format!("linux/{host}")],
    };
    shell::run(&mut target.release(launchway, "0.0.0"))?;
    let Some(docker) = docker else {
        return Ok(());
    };
    let context = work.join("authorities");
    example::replace_folder(&context)?;
    fs::copy(authorities()?, context.join("ca.crt"))?;
    let base = format!("{}/{PREFIX}/opencode-devbox:base-latest", registry.host());
    shell::run(
        docker
            .command()
            .args(["buildx", "build", "--progress=quiet", "--provenance=false"])
            .args(["--push", "--build-arg", &format!("BASE_IMAGE={base}")])
            .args([
                "-t",
                &format!("{}/{BASE_WITH_AUTHORITIES}", registry.host()),
            ])
            .arg("-f")
            .arg(example::source().join("bench/Dockerfile.ca"))
            .arg(&context),
    )
}

/// The host's bundle of certificate authorities, which Launchway gives to RUN steps by itself.
fn authorities() -> Result<String> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let usual = || Some("/etc/ssl/certs/ca-certificates.crt".to_owned());
    named
        .or_else(usual)
        .filter(|path| Path::new(path).is_file())
        .context("this machine has no bundle of certificate authorities")
}

fn one_run(
    contestant: &mut dyn Contestant,
    kind: Kind,
    work: &Path,
    prepared: &Path,
    versions: &Versions,
) -> Result<Run> {
    let root = work.join("registry");
    example::replace_folder(&root)?;
    shell::quietly(
        Command::new("cp")
            .arg("-a")
            .arg(prepared.join("."))
            .arg(&root),
    )?;
    let registry = kind.start(&root)?;
    let host = registry.host();
    let base = format!("{host}/{BASE_WITH_AUTHORITIES}");
    contestant.forget_everything()?;
    // What the preparations wrote is not this contestant's to wait for.
    shell::quietly(&mut Command::new("sync"))?;
    let before = size(&root)?;
    let [older, newer] = [&versions.opencode.older, &versions.opencode.newer];
    let cold = contestant.release(&host, &base, versions, older, "v1.0.0")?;
    let stored = size(&root)?.saturating_sub(before);
    let bump = contestant.release(&host, &base, versions, newer, "v1.0.1")?;
    let nothing = contestant.release(&host, &base, versions, newer, "v1.0.1")?;
    drop(registry);
    Ok(Run {
        cold,
        bump,
        nothing,
        stored,
    })
}

fn size(folder: &Path) -> Result<u64> {
    let text = shell::read(Command::new("du").args(["-sb", "--"]).arg(folder))?;
    let number = text.split_whitespace().next().unwrap_or_default();
    number.parse().context("cannot read what du printed")
}

fn print(
    measured: &[Measured],
    versions: &Versions,
    docker: Option<&Peers>,
    kind: Kind,
    runs: usize,
) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "Four variants of opencode-devbox for linux/{}, {processors} processors,",
        shell::host_architecture()?
    );
    println!("registry: {}, medians of {runs} runs.", kind.title());
    println!(
        "opencode {} → {}, oh-my-opencode-slim {}, pi {}.",
        versions.opencode.older, versions.opencode.newer, versions.omos, versions.pi
    );
    match docker {
        Some(docker) => println!("Compared with {}.", docker.versions()?),
        None => println!("No docker with buildx was found, so nothing is compared."),
    }
    println!("\n| | cold | version bump | nothing to do | stored by cold |");
    println!("|---|---|---|---|---|");
    let columns: [fn(&Run) -> f64; 4] = [
        |run| run.cold.as_secs_f64(),
        |run| run.bump.as_secs_f64(),
        |run| run.nothing.as_secs_f64(),
        |run| run.stored as f64 / 1e6,
    ];
    let medians =
        |one: &Measured| columns.map(|column| median(one.runs.iter().map(column).collect()));
    let ours = measured.first().map(&medians);
    for (number, one) in measured.iter().enumerate() {
        let cells: Vec<String> = medians(one)
            .iter()
            .enumerate()
            .map(|(column, value)| {
                let text = match column {
                    3 => format!("{value:.0} MB"),
                    _ => format!("{value:.2} s"),
                };
                match ours {
                    Some(ours) if number > 0 => format!("{text} ({:.1}×)", value / ours[column]),
                    _ => text,
                }
            })
            .collect();
        println!("| {} | {} |", one.title, cells.join(" | "));
    }
    Ok(())
}
