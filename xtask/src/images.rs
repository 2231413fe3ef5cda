//! `cargo xtask images`: images as people write them, built by Launchway and by BuildKit, compared and
//! started.
//!
//! A case is a folder of `examples/images` with a Dockerfile and its context. Beside them stand
//! `smoke.sh`, which says what the image does when it runs, and, where a case needs them, `build-args`
//! (a line each) and `prepare.sh` (files that git does not keep). The Dockerfiles start from
//! `debian:SUITE-slim`, which is made here from Debian's packages and given to both builders as a named
//! context, together with what this machine's own package managers are told: certificates and mirrors.

mod case;
mod site;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::launchway::Launchway;
use crate::{example, peers, shell};
use case::Case;
use verdict::Verdict;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only images whose name holds one of these words
    only: Vec<String>,
    /// Measure a program that is there instead of building one
    #[arg(long, value_name = "PROGRAM")]
    launchway: Option<PathBuf>,
    /// Build everything again instead of taking steps from the builders' caches
    #[arg(long)]
    no_cache: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let docker = peers::docker()?;
    let Some(registry) = docker.registry.clone() else {
        bail!("the peers have no registry to keep the bases in");
    };
    let folder = shell::target().join("images");
    let state = folder.join("state");
    let launchway = match &arguments.launchway {
        Some(program) => Launchway::built(program, &state)?,
        None => Launchway::build(&state)?,
    };
    let cases = Case::all(&source())?;
    let cases: Vec<Case> = cases
        .into_iter()
        .filter(|case| {
            arguments.only.is_empty() || arguments.only.iter().any(|word| case.name.contains(word))
        })
        .collect();
    if cases.is_empty() {
        bail!("no image has such a name");
    }
    let bases = site::prepare(&docker, &registry, &cases, &folder)?;
    let mut failed = 0;
    println!("image               buildkit  launchway  outcome");
    for case in &cases {
        let work = folder.join("work").join(&case.name);
        example::replace_folder(&work)?;
        let build = Build {
            case,
            docker: &docker,
            launchway: &launchway,
            bases: &bases,
            no_cache: arguments.no_cache,
            work: &work,
        };
        match build.both() {
            Ok((times, verdict)) => {
                let [theirs, ours] = times.map(shell::seconds);
                println!(
                    "{:<18}  {theirs:>8}  {ours:>9}  {}",
                    case.name,
                    verdict.line()
                );
                for line in verdict.details() {
                    println!("    {line}");
                }
                failed += usize::from(!verdict.equal());
            }
            Err(error) => {
                println!("{:<18}  {:>8}  {:>9}  failed", case.name, "", "");
                eprintln!("{}: {error:#}", case.name);
                failed += 1;
            }
        }
        fs::remove_dir_all(&work)?;
    }
    let equal = cases.len() - failed;
    println!("{equal} of {} images are equal in outcome", cases.len());
    if failed > 0 {
        bail!("{failed} of {} images are not", cases.len());
    }
    Ok(())
}

fn source() -> PathBuf {
    shell::root().join("examples/images")
}

/// One case on its way through both builders.
struct Build<'a> {
    case: &'a Case,
    docker: &'a peers::Peers,
    launchway: &'a Launchway,
    bases: &'a [site::Base],
    no_cache: bool,
    work: &'a Path,
}

/// The two builders, in the order of every pair here.
const BUILDERS: [&str; 2] = ["buildkit", "launchway"];

impl Build<'_> {
    fn both(&self) -> Result<([Duration; 2], Verdict)> {
        let context = self.work.join("context");
        self.case.copy_context(&context)?;
        let layouts = BUILDERS.map(|name| self.work.join(name));
        let [theirs, ours] = &layouts;

        let started = Instant::now();
        let mut command = self.docker.command();
        command.args(["buildx", "build", "--quiet", "--provenance=false"]);
        self.flags(&mut command);
        command
            .arg("--file")
            .arg(self.case.without_syntax(&context)?);
        command.arg("--output").arg(layout_at(theirs));
        shell::quietly(command.arg(&context))?;
        let theirs_took = started.elapsed();

        let started = Instant::now();
        let archive = self.work.join("launchway.tar");
        let mut command = self.launchway.command();
        command.args(["--progress", "plain", "dockerfile", "build"]);
        self.flags(&mut command);
        command.args(["--tag", &self.tag("launchway")]);
        command.arg("--output").arg(layout_at(ours));
        let output = format!("type=docker,dest={}", archive.display());
        shell::quietly(command.args(["--output", &output]).arg(&context))?;
        let ours_took = started.elapsed();

        // The daemon takes its own image from its cache, and ours from the archive.
        let mut command = self.docker.command();
        command.args(["buildx", "build", "--quiet", "--provenance=false", "--load"]);
        self.flags_but_cache(&mut command);
        command
            .arg("--file")
            .arg(self.case.without_syntax(&context)?);
        shell::quietly(command.args(["--tag", &self.tag("buildkit")]).arg(&context))?;
        let mut command = self.docker.command();
        shell::quietly(command.args(["load", "--quiet", "--input"]).arg(&archive))?;
        fs::remove_file(&archive)?;

        let smoke = BUILDERS.map(|builder| self.case.smoke(self.docker, &self.tag(builder)));
        let [their_smoke, our_smoke] = smoke;
        let verdict = Verdict::of(theirs, ours, their_smoke?, our_smoke?)?;
        let mut command = self.docker.command();
        let tags = BUILDERS.map(|builder| self.tag(builder));
        shell::quietly(command.args(["rmi", "--force"]).args(tags))?;
        Ok(([theirs_took, ours_took], verdict))
    }

    fn tag(&self, builder: &str) -> String {
        format!("launchway-images/{}:{builder}", self.case.name)
    }

    fn flags(&self, command: &mut std::process::Command) {
        if self.no_cache {
            command.arg("--no-cache");
        }
        self.flags_but_cache(command);
    }

    fn flags_but_cache(&self, command: &mut std::process::Command) {
        for base in self.bases {
            let given = format!("{}=docker-image://{}", base.name, base.reference);
            command.args(["--build-context", &given]);
        }
        for argument in &self.case.build_args {
            command.args(["--build-arg", argument]);
        }
    }
}

fn layout_at(folder: &Path) -> String {
    format!("type=oci,tar=false,dest={}", folder.display())
}
