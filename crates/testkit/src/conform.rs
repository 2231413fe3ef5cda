//! The same Dockerfiles, built by BuildKit and by Launchway, and what came of them side by side.
//!
//! One harness for the corpus of this project (`crates/cli/tests/differential.rs`) and for those of
//! others (`cargo xtask conform`). It builds, flattens and compares; it prints nothing.
//!
//! Times: whatever a build changes gets the time of the build, which differs from one to the next.
//! Contexts are copied, and their files get times of years ago. So an old time in an image was kept,
//! and has to be the same here. What is new was made by a build: this one, or an earlier one, for
//! BuildKit takes some steps from its cache even when told not to. Nothing is said about such times;
//! Launchway may have kept an older one.

mod bases;
mod discover;
mod judge;
mod process;
mod report;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::corpus::{self, Bases, CorpusError};
use crate::flatten::{self, Difference, Image};

pub use bases::{BaseMap, StandIns};
pub use discover::{Discovery, discover};
pub use report::{Report, Score, scores};

/// One Dockerfile with its context.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    /// What it is about, for the sums of the report.
    pub topic: String,
    pub source: Source,
}

/// Where a case comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The corpus of this project, which says of each case what is expected.
    Own(corpus::Case),
    /// Anybody's files, built where they are.
    Foreign {
        dockerfile: PathBuf,
        context: PathBuf,
    },
}

/// How to build.
#[derive(Debug)]
pub struct Settings {
    pub launchway: PathBuf,
    /// Pointed at its daemon.
    pub docker: Command,
    /// For contexts, results and the state of Launchway; emptied before and after.
    pub work: PathBuf,
    pub jobs: usize,
    /// For one build of one case.
    pub timeout: Duration,
    /// `NAME=VALUE`, for both.
    pub build_args: Vec<String>,
    /// What images stand for those that Dockerfiles name.
    pub bases: BaseMap,
    /// What cases of this project's corpus start from.
    pub own: Option<Bases>,
    /// Where to keep what was said and built when a case is not as it should be.
    pub keep: Option<PathBuf>,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub name: String,
    pub topic: String,
    pub outcome: Outcome,
    /// How many layers the images have, BuildKit's first, where both were built.
    pub layers: Option<[usize; 2]>,
    /// How many lines of history they have.
    pub history: Option<[usize; 2]>,
    /// How long each took, in seconds.
    pub seconds: [f64; 2],
}

/// How two builds of one Dockerfile can end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Same,
    /// In just those ways that the case lists.
    Chosen(Vec<Difference>),
    /// But for what BuildKit itself builds otherwise the next time: dates, logs, caches.
    Varies(Vec<Difference>),
    BothRefuse {
        buildkit: String,
        launchway: String,
    },
    /// BuildKit does not know it yet, as the case says, and Launchway builds it.
    Newer,
    Differs(Vec<Difference>),
    OnlyBuildKitBuilds(String),
    OnlyLaunchwayBuilds(String),
    /// It cannot be told here: an image or a server cannot be reached.
    Unavailable(String),
    /// Which engine.
    TimedOut(&'static str),
    /// The case, or an image, is not what it has to be.
    Broken(String),
}

impl Outcome {
    /// A word for reports.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Chosen(_) => "chosen",
            Self::Varies(_) => "varies",
            Self::BothRefuse { .. } => "both-refuse",
            Self::Newer => "newer",
            Self::Differs(_) => "differs",
            Self::OnlyBuildKitBuilds(_) => "only-buildkit-builds",
            Self::OnlyLaunchwayBuilds(_) => "only-launchway-builds",
            Self::Unavailable(_) => "unavailable",
            Self::TimedOut(_) => "timed-out",
            Self::Broken(_) => "broken",
        }
    }

    /// Nothing is wrong, as far as it can be told here.
    pub fn is_fine(&self) -> bool {
        match self {
            Self::Same
            | Self::Chosen(_)
            | Self::Varies(_)
            | Self::BothRefuse { .. }
            | Self::Newer
            | Self::Unavailable(_) => true,
            Self::Differs(_)
            | Self::OnlyBuildKitBuilds(_)
            | Self::OnlyLaunchwayBuilds(_)
            | Self::TimedOut(_)
            | Self::Broken(_) => false,
        }
    }
}

/// What one engine made of a case.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) end: process::End,
    pub(crate) said: String,
    pub(crate) layout: PathBuf,
    pub(crate) seconds: f64,
}

/// Builds all cases and compares them; `each` hears of every case as it is done. The verdicts are in
/// the order of the cases.
pub fn run(
    cases: &[Case],
    settings: &Settings,
    each: &(dyn Fn(&Verdict) + Sync),
) -> Result<Vec<Verdict>, CorpusError> {
    let io = |source| CorpusError::Io {
        path: settings.work.clone(),
        source,
    };
    empty(&settings.work).map_err(io)?;
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(vec![None; cases.len()]);
    std::thread::scope(|scope| {
        for _ in 0..settings.jobs.max(1) {
            let (next, verdicts) = (&next, &verdicts);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some(case) = cases.get(at) else { break };
                    // BuildKit keeps what it was sent of a folder, and only hears of what has
                    // changed in it since. Times of directories do not survive that, so no case
                    // has a folder that it knows.
                    let own = format!("{}-{at}", std::process::id());
                    let work = settings.work.join(own);
                    let verdict = check(case, settings, &work);
                    let _ = fs::remove_dir_all(&work);
                    each(&verdict);
                    let mut verdicts = verdicts.lock().expect("no worker panics with the lock");
                    verdicts[at] = Some(verdict);
                }
            });
        }
    });
    let _ = fs::remove_dir_all(&settings.work);
    let verdicts = verdicts
        .into_inner()
        .expect("no worker panics with the lock");
    Ok(verdicts.into_iter().flatten().collect())
}

/// A case, ready to be built.
struct Prepared {
    context: PathBuf,
    /// The flags that both take, but for the Dockerfile.
    flags: Vec<OsString>,
    dockerfile: Option<PathBuf>,
    /// BuildKit gets another one where it would fetch a frontend first.
    dockerfile_for_buildkit: Option<PathBuf>,
    platform: Option<String>,
}

fn check(case: &Case, settings: &Settings, work: &Path) -> Verdict {
    let mut verdict = Verdict {
        name: case.name.clone(),
        topic: case.topic.clone(),
        outcome: Outcome::Same,
        layers: None,
        history: None,
        seconds: [0.0; 2],
    };
    let prepared = match empty(work)
        .map_err(|error| error.to_string())
        .and_then(|()| prepare(case, settings, work))
    {
        Ok(prepared) => prepared,
        Err(problem) => {
            verdict.outcome = Outcome::Broken(problem);
            return verdict;
        }
    };
    let attempts = [
        buildkit(&prepared, settings, &work.join("buildkit")),
        launchway(&prepared, settings, &work.join("launchway")),
    ];
    let [theirs, ours] = match attempts {
        [Ok(theirs), Ok(ours)] => [theirs, ours],
        [Err(error), _] | [_, Err(error)] => {
            verdict.outcome = Outcome::Broken(error.to_string());
            return verdict;
        }
    };
    verdict.seconds = [theirs.seconds, ours.seconds];
    verdict.outcome = match judge::ends(&theirs, &ours) {
        Some(outcome) => outcome,
        None => match (read(&theirs, &prepared), read(&ours, &prepared)) {
            (Ok(left), Ok(right)) => {
                verdict.layers = Some([left.layers(), right.layers()]);
                verdict.history = Some([left.history(), right.history()]);
                let mut differences = flatten::compare(&left, &right);
                differences.extend(flatten::compare_times(
                    &left,
                    &right,
                    new_since(case),
                    seconds_now(),
                ));
                if differences.is_empty() {
                    Outcome::Same
                } else if matches!(case.source, Source::Own(_)) {
                    // What is ours is written so that it does not vary.
                    Outcome::Differs(differences)
                } else {
                    let again = buildkit(&prepared, settings, &work.join("again"));
                    let again = again.ok().and_then(|again| read(&again, &prepared).ok());
                    let varies =
                        again.map_or_else(Vec::new, |again| flatten::compare(&left, &again));
                    judge::without_what_varies(differences, &varies)
                }
            }
            (Err(problem), _) | (_, Err(problem)) => Outcome::Broken(problem),
        },
    };
    if let Source::Own(own) = &case.source {
        verdict.outcome = judge::expected(own, verdict.outcome, ours.end.succeeded());
    }
    if !verdict.outcome.is_fine()
        && let Some(keep) = &settings.keep
        && let Err(error) = kept(&keep.join(&case.name), &verdict, &theirs, &ours)
    {
        verdict.outcome = Outcome::Broken(format!("cannot keep what was built: {error}"));
    }
    verdict
}

fn prepare(case: &Case, settings: &Settings, work: &Path) -> Result<Prepared, String> {
    let mut flags = Vec::new();
    for pair in &settings.build_args {
        flags.push("--build-arg".into());
        flags.push(pair.into());
    }
    let to = work.join("context");
    fs::create_dir_all(&to).map_err(|error| error.to_string())?;
    match &case.source {
        Source::Own(own) => {
            let context = to;
            own.context(&context).map_err(|error| error.to_string())?;
            let bases = settings.own.as_ref().ok_or("no bases for the corpus")?;
            flags.extend(own.flags(&context, bases));
            Ok(Prepared {
                context,
                flags,
                dockerfile: None,
                dockerfile_for_buildkit: None,
                platform: own.platform.clone(),
            })
        }
        Source::Foreign {
            dockerfile,
            context,
        } => {
            let text = fs::read(dockerfile).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&text);
            for (name, image) in settings.bases.contexts(&text, &settings.build_args) {
                flags.push("--build-context".into());
                flags.push(format!("{name}=docker-image://{image}").into());
            }
            let other = bases::without_frontend(dockerfile, &text, &work.join("frontend"))
                .map_err(|error| error.to_string())?;
            corpus::copy_context(context, &to).map_err(|error| error.to_string())?;
            // Where it is in its context, it has to be in the copy.
            let inside = dockerfile.strip_prefix(context).ok();
            Ok(Prepared {
                dockerfile: Some(inside.map_or(dockerfile.clone(), |path| to.join(path))),
                context: to,
                flags,
                dockerfile_for_buildkit: other,
                platform: None,
            })
        }
    }
}

/// Without its cache: what a cached step made has the time of an earlier run.
fn buildkit(prepared: &Prepared, settings: &Settings, to: &Path) -> io::Result<Attempt> {
    let mut command = corpus::again(&settings.docker);
    command.args([
        "buildx",
        "build",
        "--progress=plain",
        "--provenance=false",
        "--no-cache",
    ]);
    let file = prepared.dockerfile_for_buildkit.as_ref();
    attempt(command, file, prepared, settings, to)
}

fn launchway(prepared: &Prepared, settings: &Settings, to: &Path) -> io::Result<Attempt> {
    let mut command = Command::new(&settings.launchway);
    command
        .arg("--state-dir")
        .arg(settings.work.join("state"))
        .args(["--progress", "plain", "dockerfile", "build"]);
    // Files of others have any times, and like BuildKit's our cache does not look at them.
    if prepared.dockerfile.is_some() {
        command.arg("--no-cache");
    }
    attempt(command, None, prepared, settings, to)
}

fn attempt(
    mut command: Command,
    file: Option<&PathBuf>,
    prepared: &Prepared,
    settings: &Settings,
    to: &Path,
) -> io::Result<Attempt> {
    command.args(&prepared.flags);
    if let Some(file) = file.or(prepared.dockerfile.as_ref()) {
        command.arg("-f").arg(file);
    }
    command
        .arg("--output")
        .arg(format!("type=oci,tar=false,dest={}", to.display()))
        .arg(&prepared.context);
    let log = to.with_extension("log");
    let started = Instant::now();
    let end = process::run(&mut command, &log, settings.timeout)?;
    let said = fs::read(&log)?;
    Ok(Attempt {
        end,
        said: String::from_utf8_lossy(&said).into_owned(),
        layout: to.to_owned(),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn read(attempt: &Attempt, prepared: &Prepared) -> Result<Image, String> {
    flatten::flatten(&attempt.layout, prepared.platform.as_deref())
        .map_err(|error| format!("{}: {error}", attempt.layout.display()))
}

fn kept(folder: &Path, verdict: &Verdict, theirs: &Attempt, ours: &Attempt) -> io::Result<()> {
    empty(folder)?;
    fs::write(folder.join("verdict.txt"), report::told(verdict))?;
    for attempt in [theirs, ours] {
        let name = attempt.layout.file_name().unwrap_or_default();
        let log = Path::new(name).with_extension("log");
        fs::write(folder.join(log), &attempt.said)?;
        if attempt.layout.exists() {
            let copied = Command::new("cp")
                .arg("-a")
                .arg(&attempt.layout)
                .arg(folder.join(name))
                .status()?;
            if !copied.success() {
                return Err(io::Error::other("cp failed"));
            }
        }
    }
    Ok(())
}

fn empty(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(path)
}

/// From when on a time is that of a build. Images of others have files of any age, and no builder's
/// cache is older than this.
fn new_since(case: &Case) -> i64 {
    const CACHED_FOR: i64 = 60 * 24 * 60 * 60;
    match case.source {
        Source::Own(_) => corpus::LATELY,
        Source::Foreign { .. } => seconds_now() - CACHED_FOR,
    }
}

fn seconds_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
