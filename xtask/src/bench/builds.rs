//! The native engine beside BuildKit and buildah: what a build costs apart from what its commands do.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::median;
use crate::example::replace_folder;
use crate::launchway::Launchway;
use crate::peers::{self, Peers};
use crate::shell;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often everything is done; medians are printed
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measure only these
    #[arg(long, value_enum, value_name = "LINE", num_args = 1..)]
    only: Vec<Line>,
    /// Measure this build of launchway instead of making one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// One kind of build.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Line {
    Steps,
    Stages,
    ManyFiles,
    Unchanged,
    OneChanged,
    LargeFile,
}

/// Small files of the lines that have many, and bytes of the one that is large.
const FILES: usize = 10_000;
const LARGE: usize = 1 << 30;

impl Line {
    const ALL: [Self; 6] = [
        Self::Steps,
        Self::Stages,
        Self::ManyFiles,
        Self::Unchanged,
        Self::OneChanged,
        Self::LargeFile,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Steps => "20 RUN steps that do next to nothing",
            Self::Stages => "4 stages of one second each",
            Self::ManyFiles => "COPY of 10,000 new files, to an OCI archive",
            Self::Unchanged => "the same again, nothing changed",
            Self::OneChanged => "the same, one file changed",
            Self::LargeFile => "COPY of a new file of 1 GiB, to an OCI archive",
        }
    }

    fn dockerfile(self, base: &str) -> String {
        let from = format!("FROM {base}\n");
        match self {
            Self::Steps => {
                let steps = (0..20).map(|n| format!("RUN echo {n} > /file-{n}\n"));
                from + &steps.collect::<String>()
            }
            Self::Stages => {
                let stages = (0..4)
                    .map(|n| format!("FROM {base} AS stage{n}\nRUN sleep 1 && echo {n} > /file\n"));
                let copies = (0..4).map(|n| format!("COPY --from=stage{n} /file /file-{n}\n"));
                let copies: String = copies.collect();
                format!("{}FROM scratch\n{copies}", stages.collect::<String>())
            }
            Self::ManyFiles | Self::Unchanged | Self::OneChanged | Self::LargeFile => {
                "FROM scratch\nCOPY files /files\n".to_owned()
            }
        }
    }

    /// Whether steps may come from the cache.
    fn cached(self) -> bool {
        matches!(self, Self::Unchanged | Self::OneChanged)
    }

    fn exports(self) -> bool {
        !matches!(self, Self::Steps | Self::Stages)
    }

    /// Puts the context right for a run, which has a number of its own.
    fn prepare(self, context: &Path, number: usize) -> Result<()> {
        let files = context.join("files");
        match self {
            Self::Steps | Self::Stages => {}
            Self::Unchanged if files.exists() => {}
            Self::OneChanged if files.exists() => {
                fs::write(files.join("7/77"), format!("changed {number}"))?;
            }
            Self::ManyFiles | Self::Unchanged | Self::OneChanged => {
                replace_folder(&files)?;
                for folder in 0..FILES / 100 {
                    let folder = files.join(folder.to_string());
                    fs::create_dir(&folder)?;
                    for name in 0..100 {
                        let text = format!("{number} {} {name}\n", folder.display());
                        fs::write(folder.join(name.to_string()), text.repeat(20))?;
                    }
                }
            }
            Self::LargeFile => {
                replace_folder(&files)?;
                let mut file = fs::File::create(files.join("large"))?;
                // A little compressible, as programs are, and new in every block of every run.
                let mut state = 0x9e37_79b9_u64 + number as u64;
                let mut block = Vec::with_capacity(1 << 20);
                for _ in 0..LARGE >> 20 {
                    block.clear();
                    while block.len() < 1 << 20 {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        block.extend_from_slice(&state.to_be_bytes()[..6]);
                        block.extend_from_slice(&[0, 0]);
                    }
                    file.write_all(&block)?;
                }
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Builder {
    Launchway,
    BuildKit,
    Buildah,
}

impl Builder {
    const ALL: [Self; 3] = [Self::Launchway, Self::BuildKit, Self::Buildah];

    fn title(self) -> &'static str {
        match self {
            Self::Launchway => "launchway",
            Self::BuildKit => "docker buildx",
            Self::Buildah => "buildah",
        }
    }
}

struct Field {
    launchway: Launchway,
    docker: Peers,
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.runs == 0 {
        bail!("nothing is measured in no runs");
    }
    let docker = peers::docker()?;
    let registry = docker.registry.clone();
    let registry = registry.context("the peers have no registry with a Debian base")?;
    let base = format!("{registry}/library/debian:bookworm-slim");
    let folder = shell::target().join("bench-builds");
    replace_folder(&folder)?;
    let state = folder.join("state");
    let launchway = match &arguments.program {
        Some(program) => Launchway::built(program, &state)?,
        None => Launchway::build(&state)?,
    };
    let field = Field {
        launchway,
        docker,
        folder: folder.clone(),
    };
    println!(
        "{}. Medians of {} runs.\n",
        field.docker.versions()?,
        arguments.runs
    );
    let heads: Vec<&str> = Builder::ALL.iter().map(|builder| builder.title()).collect();
    println!(
        "| | {} |\n|---|{}",
        heads.join(" | "),
        "---|".repeat(heads.len())
    );
    for line in Line::ALL {
        if !arguments.only.is_empty() && !arguments.only.contains(&line) {
            continue;
        }
        let cells = field.measure(line, &base, arguments.runs)?;
        println!("| {} | {} |", line.title(), cells.join(" | "));
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

impl Field {
    fn measure(&self, line: Line, base: &str, runs: usize) -> Result<Vec<String>> {
        let context = self.folder.join("context");
        replace_folder(&context)?;
        fs::write(context.join("Dockerfile"), line.dockerfile(base))?;
        let mut times: [Vec<f64>; 3] = Default::default();
        let mut failures = [0; 3];
        // The first round is not measured: it fills caches and gets the base.
        for round in 0..=runs {
            // Another one begins each round.
            for turn in 0..Builder::ALL.len() {
                let at = (round + turn) % Builder::ALL.len();
                line.prepare(&context, round * 10 + at)?;
                match self.build(Builder::ALL[at], line, &context) {
                    Ok(time) if round > 0 => times[at].push(time.as_secs_f64()),
                    Ok(_) => {}
                    Err(error) if at == 0 => {
                        return Err(error.context("launchway did not do its work"));
                    }
                    // Told, and tried again in the next round.
                    Err(error) => {
                        let title = Builder::ALL[at].title();
                        shell::say(&format!("{title}, round {round}: {error:#}"));
                        failures[at] += 1;
                    }
                }
            }
        }
        self.tidy();
        let medians = times.map(median_of);
        let ours = medians[0].unwrap_or_default();
        Ok(medians
            .into_iter()
            .zip(failures)
            .enumerate()
            .map(|(at, (found, failures))| {
                let cell = match found {
                    None => "–".to_owned(),
                    Some(time) if at == 0 => shown(time),
                    Some(time) => format!("{} ({:.1}×)", shown(time), time / ours),
                };
                match failures {
                    0 => cell,
                    failures => format!("{cell}, failed {failures} of {} times", runs + 1),
                }
            })
            .collect())
    }

    /// Removes what buildah keeps of a line, so that large files of many rounds do not fill the disk.
    fn tidy(&self) {
        let _ = fs::remove_file(self.folder.join("archive.tar"));
        if let Err(error) = shell::quietly(&mut self.buildah(["rmi", "--all", "--force"])) {
            shell::say(&format!("buildah: {error:#}"));
        }
    }

    fn build(&self, builder: Builder, line: Line, context: &Path) -> Result<Duration> {
        let archive = self.folder.join("archive.tar");
        // What a failure has left must not be there when the next one writes it.
        if archive.exists() {
            fs::remove_file(&archive)?;
        }
        let output = if line.exports() {
            format!("type=oci,dest={}", archive.display())
        } else {
            "type=cacheonly".to_owned()
        };
        let mut command = match builder {
            Builder::Launchway => {
                let mut command = self.launchway.command();
                command.args(["--progress", "quiet", "dockerfile", "build"]);
                command.args(["--output", &output]);
                command
            }
            Builder::BuildKit => {
                let mut command = self.docker.command();
                command.args(["buildx", "build", "--quiet", "--provenance=false"]);
                command.args(["--output", &output]);
                command
            }
            Builder::Buildah => self.buildah(["build", "--quiet", "--isolation", "chroot"]),
        };
        if builder == Builder::Buildah {
            command.args(["--network", "host", "--layers", "--tls-verify=false"]);
            command.args(["--tag", "bench"]);
        }
        if !line.cached() {
            command.arg("--no-cache");
        }
        let mut took = shell::quietly(command.arg(context))?;
        if builder == Builder::Buildah && line.exports() {
            let to = format!("oci-archive:{}", archive.display());
            took += shell::quietly(&mut self.buildah(["push", "--quiet", "bench", &to]))?;
        }
        Ok(took)
    }

    fn buildah<const N: usize>(&self, words: [&str; N]) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.folder.join("buildah"));
        command
            .arg("--runroot")
            .arg(self.folder.join("buildah-run"));
        command.args(["--storage-driver", "overlay"]).args(words);
        command
    }
}

fn median_of(times: Vec<f64>) -> Option<f64> {
    (!times.is_empty()).then(|| median(times))
}

fn shown(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else {
        format!("{seconds:.2} s")
    }
}
