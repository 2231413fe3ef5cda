//! `cargo xtask conform`: every Dockerfile of anybody's corpus, built by BuildKit and by Launchway
//! and compared. The harness is `launchway_testkit::conform`; this finds what it needs and prints
//! what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use launchway_testkit::conform::{
    BaseMap, Case, Discovery, Report, Settings, StandIns, Verdict, discover, run as build_all,
};
use launchway_testkit::corpus::{self, Bases, Ground};

use crate::shell;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A folder with Dockerfiles: `Dockerfile`, `Dockerfile.x`, `x.Dockerfile`, Containerfiles, at any depth
    corpus: PathBuf,
    /// Only cases whose path below the folder holds one of these words
    only: Vec<String>,
    /// One context for all; otherwise the folder that a Dockerfile is in
    #[arg(long, value_name = "DIR")]
    context: Option<PathBuf>,
    /// Take files of any name that begin with FROM or ARG
    #[arg(long)]
    any_name: bool,
    /// A build argument for both
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
    /// An image that stands for one that Dockerfiles name, with its tag or for all of them;
    /// `@small` is a busybox made here, `@debian` a Debian
    #[arg(long, value_name = "NAME=IMAGE")]
    base: Vec<String>,
    /// A file of such lines
    #[arg(long, value_name = "FILE")]
    bases: Option<PathBuf>,
    /// Let `@small` and `@debian` stand for every image that is not named, so that nothing is fetched
    #[arg(long)]
    stand_ins: bool,
    #[command(flatten)]
    how: How,
}

/// What is the same for every corpus.
#[derive(clap::Args)]
pub(crate) struct How {
    /// How many cases are built at once
    #[arg(short, long, default_value_t = 2)]
    jobs: usize,
    /// How long one build of a case may take, in seconds
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Write all that was found as JSON (`launchway.conform.v1`); `-` is stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep what both said and built, for every case in which something is wrong
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// A built launchway; otherwise this checkout's is built, without optimisation
    #[arg(long, value_name = "PROGRAM")]
    launchway: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let corpus = fs::canonicalize(&arguments.corpus)
        .with_context(|| format!("there is no {}", arguments.corpus.display()))?;
    if fs::canonicalize(shell::root().join("corpus")).is_ok_and(|own| own == corpus) {
        return own(&arguments.only, &arguments.how);
    }
    let discovery = Discovery {
        context: arguments
            .context
            .as_ref()
            .map(fs::canonicalize)
            .transpose()?,
        any_name: arguments.any_name,
    };
    let mut cases = discover(&corpus, &discovery)?;
    let only = &arguments.only;
    cases.retain(|case| only.is_empty() || only.iter().any(|word| case.name.contains(word)));
    let mut given = arguments.base.clone();
    if let Some(file) = &arguments.bases {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let lines = text.lines().map(str::trim);
        given.extend(
            lines
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned),
        );
    }
    let stand_ins = arguments.stand_ins;
    compare(&cases, &arguments.how, None, |bases| {
        let bases =
            || bases.context("the bases made here are wanted, and there is no registry for them");
        let mut map = BaseMap::default();
        for line in &given {
            let (name, image) = line
                .split_once('=')
                .with_context(|| format!("`{line}` is not NAME=IMAGE"))?;
            let image = match image.trim() {
                "@small" => bases()?.busybox.clone(),
                "@debian" => bases()?.debian.clone(),
                image => image.to_owned(),
            };
            map.given.push((name.trim().to_owned(), image));
        }
        if stand_ins {
            map.stand_ins = Some(StandIns {
                debian: bases()?.debian.clone(),
                small: bases()?.busybox.clone(),
            });
        }
        Ok((map, arguments.build_arg.clone()))
    })
}

/// The corpus of this project.
pub(crate) fn own(only: &[String], how: &How) -> Result<()> {
    let words: Vec<&str> = only.iter().map(String::as_str).collect();
    let cases = corpus::chosen(&words)?;
    compare(&cases, how, Some(()), |_| Ok(Default::default()))
}

/// What images stand for others, and build arguments.
type Given = (BaseMap, Vec<String>);

fn compare(
    cases: &[Case],
    how: &How,
    own: Option<()>,
    given: impl Fn(Option<&Bases>) -> Result<Given>,
) -> Result<()> {
    if cases.is_empty() {
        bail!("no Dockerfile is found");
    }
    let docker = launchway_testkit::peers::docker()
        .context("no docker with BuildKit answers; start one (`peers up`) or set DOCKER_HOST")?;
    let work = shell::target().join("conform");
    let ground = match Ground::prepare(&docker, &work.join("bases")) {
        Ok(ground) => Some(ground),
        // A corpus of others may do without.
        Err(error) if own.is_none() => {
            shell::say(&format!("no bases of our own: {error}"));
            None
        }
        Err(error) => return Err(error.into()),
    };
    let bases = ground.as_ref().map(|ground| &ground.bases);
    let (map, build_args) = given(bases)?;
    let settings = Settings {
        launchway: launchway(how)?,
        docker,
        work: work.join(format!("builds-{}", std::process::id())),
        jobs: how.jobs,
        timeout: Duration::from_secs(how.timeout),
        build_args,
        bases: map,
        own: bases.cloned(),
        keep: how.keep.clone(),
    };
    let done = AtomicUsize::new(0);
    let verdicts = build_all(cases, &settings, &|verdict: &Verdict| {
        let done = done.fetch_add(1, Ordering::SeqCst) + 1;
        let word = verdict.outcome.word();
        eprintln!("[{done}/{}] {word:21} {}", cases.len(), verdict.name);
    })?;
    let report = Report {
        verdicts: &verdicts,
    };
    let json = || serde_json::to_string_pretty(&report.json());
    match how.json.as_deref() {
        Some(path) if path == Path::new("-") => println!("{}", json()?),
        Some(path) => {
            println!("{}", report.text());
            fs::write(path, json()? + "\n")
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => println!("{}", report.text()),
    }
    if report.wrong() > 0 {
        bail!(
            "{} of {} cases are not as they should be",
            report.wrong(),
            cases.len()
        );
    }
    Ok(())
}

fn launchway(how: &How) -> Result<PathBuf> {
    if let Some(program) = &how.launchway {
        return fs::canonicalize(program)
            .with_context(|| format!("there is no {}", program.display()));
    }
    shell::run(shell::cargo().args(["build", "--package", "launchway"]))?;
    Ok(shell::target().join("debug/launchway"))
}
