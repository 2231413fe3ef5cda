//! The lines that compare clients: what each of them does, between which registries, and how it is
//! seen that it was done.
//!
//! Everyone works against the same two docker-registry processes, whose files are in memory, so that
//! what is measured is the client. Before its measured runs every tool does the job once, unmeasured:
//! then its requests are counted, from the registries' own logs, and its result is checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::images::{self, Image, TAG};
use super::process::{Ending, Sample, Stage};
use super::tools::{Job, Tool, Tools};
use super::wire::Connection;
use crate::servers::Server;
use crate::{example, shell};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Line {
    /// The digest of a tag that is there
    ProbeHit,
    /// The digest of a tag that is not there
    ProbeMiss,
    /// The digests of 200 tags
    #[value(name = "200-probes")]
    Probes,
    /// All of a two-platform image of 125 MB to an empty registry
    ColdCopy,
    /// The same image to another repository of its registry
    CrossRepository,
    /// Another tag for the same image
    Retag,
    /// An image with a layer of 1 GiB out of an OCI layout
    #[value(name = "push-1-gib")]
    Push,
    /// The list of 1,000 tags
    #[value(name = "1000-tags")]
    Tags,
    /// The embedded server beside docker-registry
    Server,
}

impl Line {
    /// Those that compare clients.
    pub(super) const CLIENTS: [Self; 8] = [
        Self::ProbeHit,
        Self::ProbeMiss,
        Self::Probes,
        Self::ColdCopy,
        Self::CrossRepository,
        Self::Retag,
        Self::Push,
        Self::Tags,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::ProbeHit => "probe, hit",
            Self::ProbeMiss => "probe, miss",
            Self::Probes => "200 probes",
            Self::ColdCopy => "cold copy, 2 platforms, 125 MB",
            Self::CrossRepository => "cross-repository copy",
            Self::Retag => "retag",
            Self::Push => "push of a 1 GiB layer",
            Self::Tags => "list of 1,000 tags",
            Self::Server => "server",
        }
    }

    /// How many times a run does it, so that what takes milliseconds gets more than a few samples.
    fn repeats(self) -> usize {
        match self {
            Self::ProbeHit | Self::ProbeMiss | Self::Retag | Self::Tags => 4,
            Self::CrossRepository => 2,
            Self::Probes | Self::ColdCopy | Self::Push | Self::Server => 1,
        }
    }
}

/// What came of one tool on one line.
pub(super) enum Outcome {
    /// The tool is not here, or does no such thing.
    Absent,
    Failed(String),
    Measured {
        requests: usize,
        samples: Vec<Sample>,
    },
}

const PROBES: usize = 200;
const TAGS: usize = 1000;
const LARGE: u64 = 1 << 30;

/// Whoever takes longer than this for one time, in seconds, is not asked again.
const PATIENCE: f64 = 15.0;

/// The registries and what is in them.
pub(super) struct Field {
    folder: Folder,
    source: Server,
    target: Server,
    stage: Stage,
    image: Image,
    large: Option<Image>,
    /// Makes names that nobody has used.
    number: usize,
}

/// Removed with everything in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Field {
    pub(super) fn prepare(lines: &[Line]) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() {
            memory.join("launchway-bench-registry")
        } else {
            shell::say("no /dev/shm here: the registries' files are on disk");
            shell::target().join("bench-registry")
        };
        shell::say(&format!("preparing registries in {}", place.display()));
        example::replace_folder(&place)?;
        let folder = Folder(place);
        let at = |name: &str| folder.0.join(name);
        let [source, target] = [at("source"), at("target")];
        let [source, target] = [
            Server::distribution(&source)?,
            Server::distribution(&target)?,
        ];
        let image = images::two_platforms(&at("image"))?;
        let mut connection = Connection::open(&source.host())?;
        connection.put_image(&image.layout, &image.digest, "bench/image", TAG)?;
        if lines.contains(&Line::Tags) || lines.contains(&Line::Probes) {
            let small = images::one_layer(&at("small"), 1024)?;
            connection.put_image(&small.layout, &small.digest, "bench/tags", &tag(0))?;
            for number in 1..TAGS {
                connection.put_tag(&small.layout, &small.digest, "bench/tags", &tag(number))?;
            }
        }
        let large = if lines.contains(&Line::Push) {
            Some(images::one_layer(&at("large"), LARGE)?)
        } else {
            None
        };
        let stage = Stage {
            output: at("stdout"),
            errors: at("stderr"),
        };
        Ok(Self {
            folder,
            source,
            target,
            stage,
            image,
            large,
            number: 0,
        })
    }

    /// Lets all tools do one line: each once to count and to check, then all in turns.
    pub(super) fn measure(
        &mut self,
        tools: &Tools,
        line: Line,
        runs: usize,
    ) -> Result<Vec<(Tool, Outcome)>> {
        let mut outcomes = Vec::new();
        for tool in Tool::ALL {
            let outcome = match self.rehearse(tools, line, tool) {
                Ok(outcome) => outcome,
                Err(error) => {
                    shell::say(&format!("{}, {}: {error:#}", line.title(), tool.title()));
                    Outcome::Failed(format!("{error:#}"))
                }
            };
            outcomes.push((tool, outcome));
        }
        for round in 0..runs * line.repeats() {
            // Another one begins each time, so that what one leaves behind does not always meet the
            // same one.
            for turn in 0..outcomes.len() {
                let at = (round + turn) % outcomes.len();
                let (tool, outcome) = &mut outcomes[at];
                let Outcome::Measured { samples, .. } = outcome else {
                    continue;
                };
                if samples.iter().any(|sample| sample.wall > PATIENCE) {
                    continue;
                }
                let (job, ending) = self.job(line)?;
                self.reset(line)?;
                let commands = tools.commands(*tool, &job);
                let mut commands = commands.context("a tool went away")?;
                match self.stage.run(&mut commands, ending, false) {
                    Ok(sample) => samples.push(sample),
                    Err(error) => {
                        shell::say(&format!("{}, {}: {error:#}", line.title(), tool.title()));
                        *outcome = Outcome::Failed(format!("{error:#}"));
                    }
                }
            }
        }
        Ok(outcomes)
    }

    /// Does it once: counts the requests and looks whether the work was done.
    fn rehearse(&mut self, tools: &Tools, line: Line, tool: Tool) -> Result<Outcome> {
        let (job, ending) = self.job(line)?;
        let Some(mut commands) = tools.commands(tool, &job) else {
            return Ok(Outcome::Absent);
        };
        self.reset(line)?;
        let before = self.requests()?;
        let sample = self.stage.run(&mut commands, ending, true)?;
        let requests = self.requests()? - before;
        if requests == 0 {
            bail!("it asked no registry for anything");
        }
        self.check(line, tool, &job)?;
        let mut samples = Vec::new();
        if sample.wall > PATIENCE {
            samples.push(sample);
        }
        Ok(Outcome::Measured { requests, samples })
    }

    fn job(&mut self, line: Line) -> Result<(Job, Ending)> {
        self.number += 1;
        let number = self.number;
        let [source, target] = [self.source.host(), self.target.host()];
        let image = format!("{source}/bench/image:{TAG}");
        let job = match line {
            Line::ProbeHit => Job::Digests(vec![image]),
            Line::ProbeMiss => {
                let absent = format!("{source}/bench/image:absent");
                return Ok((Job::Digests(vec![absent]), Ending::Failure));
            }
            Line::Probes => Job::Digests(
                (0..PROBES)
                    .map(|number| format!("{source}/bench/tags:{}", tag(number)))
                    .collect(),
            ),
            Line::ColdCopy => Job::Copy {
                from: image,
                to: format!("{target}/bench/image:{TAG}"),
            },
            Line::CrossRepository => Job::Copy {
                from: image,
                to: format!("{source}/bench/other-{number}:{TAG}"),
            },
            Line::Retag => Job::Tag {
                reference: image,
                tag: format!("retag-{number}"),
            },
            Line::Push => Job::Push {
                layout: self
                    .large
                    .as_ref()
                    .context("nothing was made to push")?
                    .layout
                    .clone(),
                to: format!("{target}/bench/large:{TAG}"),
            },
            Line::Tags => Job::Tags(format!("{source}/bench/tags")),
            Line::Server => bail!("the server is not measured by its clients"),
        };
        Ok((job, Ending::Success))
    }

    /// Empties the target where the line starts with an empty one. docker-registry keeps nothing in
    /// its own memory, so taking its files away is all it needs.
    fn reset(&self, line: Line) -> Result<()> {
        if matches!(line, Line::ColdCopy | Line::Push) {
            let files = self.folder.0.join("target/docker");
            if files.exists() {
                fs::remove_dir_all(&files)?;
            }
        }
        Ok(())
    }

    /// How many requests both registries have answered.
    fn requests(&self) -> Result<usize> {
        let count = || -> Result<usize> {
            let mut count = 0;
            for server in [&self.source, &self.target] {
                count += fs::read_to_string(server.log())?
                    .lines()
                    .filter(|line| line.contains("] \"") && line.contains(" HTTP/1."))
                    .count();
            }
            Ok(count)
        };
        // A request is written down after it was answered.
        let mut last = count()?;
        loop {
            sleep(Duration::from_millis(100));
            let now = count()?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Whether what was asked for has happened, as the registries see it.
    fn check(&self, line: Line, tool: Tool, job: &Job) -> Result<()> {
        let printed = self.stage.printed()?;
        match job {
            Job::Digests(_) => {
                // Skopeo prints what the digest is of.
                let expected = match tool {
                    Tool::Skopeo => "schemaVersion",
                    _ => "sha256:",
                };
                if line != Line::ProbeMiss && !printed.contains(expected) {
                    bail!("it told no digest: {printed}");
                }
                if tool == Tool::Launchway && line == Line::Probes {
                    let told = printed.matches("sha256:").count();
                    if told != PROBES {
                        bail!("it told {told} digests of {PROBES}");
                    }
                }
                Ok(())
            }
            Job::Copy { to, .. } => has(to, &self.image),
            Job::Tag { tag, .. } => {
                let reference = format!("{}/bench/image:{tag}", self.source.host());
                has(&reference, &self.image)
            }
            Job::Push { to, .. } => has(to, self.large.as_ref().context("nothing was pushed")?),
            Job::Tags(_) => {
                let missing = (0..TAGS)
                    .filter(|number| !printed.contains(&tag(*number)))
                    .count();
                if missing > 0 {
                    bail!("{missing} tags of {TAGS} are missing in its list");
                }
                Ok(())
            }
        }
    }
}

/// Fails if the reference does not lead to exactly this image with everything in it.
fn has(reference: &str, image: &Image) -> Result<()> {
    let parts = reference.split_once('/').and_then(|(host, rest)| {
        let (repository, tag) = rest.rsplit_once(':')?;
        Some((host, repository, tag))
    });
    let (host, repository, tag) = parts.context("a reference without host, repository or tag")?;
    let mut connection = Connection::open(host)?;
    let found = connection.head(&format!("/v2/{repository}/manifests/{tag}"))?;
    if found.status != 200 {
        bail!("{reference} is not there: {}", found.status);
    }
    if found.digest.as_deref() != Some(&image.digest) {
        bail!(
            "{reference} is {}, not {}",
            found.digest.as_deref().unwrap_or("without a digest"),
            image.digest
        );
    }
    for blob in &image.blobs {
        let found = connection.head(&format!("/v2/{repository}/blobs/{blob}"))?;
        if found.status != 200 {
            bail!("{reference} lacks {blob}: {}", found.status);
        }
    }
    Ok(())
}

fn tag(number: usize) -> String {
    format!("release-{number:04}")
}
