//! Every case of `corpus/` is built by Launchway and by BuildKit; both images have to be the same.
//!
//! `LAUNCHWAY_CORPUS_ONLY` picks cases by words. All cases that differ are reported at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use launchway_testkit::corpus::{self, Bases, Case, CorpusError};
use launchway_testkit::flatten::{self, Difference};
use launchway_testkit::http::Server;
use launchway_testkit::peers;

/// So many cases are built at a time.
const THREADS: usize = 2;

/// Stands for the whole image of a case that we do not build.
const REFUSES: &str = "the build is refused";

/// Where we do otherwise on purpose: the case, and the paths in which it differs. `docs/fidelity.md`
/// says why. One that no longer differs fails the test, so that the list stays true.
const CHOSEN: &[(&str, &[&str])] = &[
    // A user or group that the image does not have is an error; BuildKit takes root instead.
    ("copy/unknown-owner", &[REFUSES]),
    // A step leaves nothing but what its command did; runc leaves the folders it mounts over.
    ("from/scratch-with-one-program", &["/dev", "/proc", "/sys"]),
    // A link to a file of an earlier layer stays a link; BuildKit makes it a second file.
    ("layers/attributes", &["/ping", "/ping-too"]),
    (
        "layers/hard-links",
        &["/d/a", "/d/later", "/etc/passwd", "/passwd-too"],
    ),
    // A small process that reaps orphans is number 1, so the command is number 2.
    ("run/process", &["/pid"]),
];

#[test]
fn launchway_builds_what_buildkit_builds() {
    const NAME: &str = "launchway_builds_what_buildkit_builds";
    let Some(docker) = peers::docker() else {
        return lacking(NAME, "docker with BuildKit");
    };
    if peers::registry().is_none() {
        return lacking(NAME, "registry of the peers");
    }
    let work = empty(Path::new(env!("CARGO_TARGET_TMPDIR")).join("differential"));
    let mut bases = corpus::bases(&docker, &empty(work.join("bases"))).expect("making the bases");
    let runtime = tokio::runtime::Runtime::new().expect("starting a runtime");
    let served = corpus::web().expect("making the files of the web");
    let server = runtime.block_on(Server::start(served));
    bases.web = Some(format!("http://{}", server.host()));
    let only = std::env::var("LAUNCHWAY_CORPUS_ONLY").unwrap_or_default();
    let words: Vec<&str> = only.split_whitespace().collect();
    let cases: Vec<Case> = corpus::cases()
        .expect("reading the corpus")
        .into_iter()
        .filter(|case| words.is_empty() || words.iter().any(|word| case.name.contains(word)))
        .collect();

    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (next, wrong, cases, bases, docker) = (&next, &wrong, &cases, &bases, &docker);
            let work = work.join(thread.to_string());
            let state = work.join("state");
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(problem) = check(case, docker, bases, &work, &state) {
                        eprintln!("{}: differs", case.name);
                        let mut wrong = wrong.lock().expect("no thread panics with the lock");
                        wrong.push(format!("{}\n{}", case.name, indented(&problem)));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("no thread panics with the lock");
    wrong.sort();
    let same = cases.len() - wrong.len();
    eprintln!("{same} of {} cases are the same", cases.len());
    let _ = fs::remove_dir_all(&work);
    assert!(
        wrong.is_empty(),
        "{} of {} cases differ (left: BuildKit, right: Launchway)\n\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n\n")
    );
}

/// Builds a case twice and says in what the images differ that should not.
fn check(
    case: &Case,
    docker: &Command,
    bases: &Bases,
    work: &Path,
    state: &Path,
) -> Result<(), String> {
    let context = empty(work.join("context"));
    case.context(&context).map_err(|error| error.to_string())?;
    let theirs = work.join("buildkit");
    let _ = fs::remove_dir_all(&theirs);
    let built = case.build_with_buildkit(docker, &context, bases, &theirs);
    let unknown_there = case.newer
        && matches!(&built, Err(CorpusError::Command { said, .. }) if said.contains("unknown flag"));
    let refused = match (built, case.fails) {
        // The case's own steps check what came to be.
        _ if unknown_there => false,
        (Ok(()), false) => false,
        (Err(CorpusError::Command { .. }), true) => true,
        (Ok(()), true) => return Err("BuildKit builds it".to_owned()),
        (Err(error), _) => return Err(error.to_string()),
    };
    let ours = work.join("launchway");
    let _ = fs::remove_dir_all(&ours);
    let output = Command::new(env!("CARGO_BIN_EXE_launchway"))
        .arg("--state-dir")
        .arg(state)
        .args(["dockerfile", "build"])
        .args(case.flags(&context, bases))
        .arg("--output")
        .arg(format!("type=oci,tar=false,dest={}", ours.display()))
        .arg(&context)
        .output()
        .map_err(|error| format!("starting launchway: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if refused {
        // What is refused is refused in words, and nothing is left behind.
        return match output.status.code() {
            Some(1 | 2) if said.contains("error") && !ours.exists() => Ok(()),
            _ => Err(format!("launchway: {}, and said\n{said}", output.status)),
        };
    }
    let read = |layout: &Path| {
        flatten::flatten(layout, None).map_err(|error| format!("{}: {error}", layout.display()))
    };
    let differences = if output.status.success() && unknown_there {
        Vec::new()
    } else if output.status.success() {
        flatten::compare(&read(&theirs)?, &read(&ours)?)
    } else if chosen(case).contains(&REFUSES) {
        vec![Difference {
            what: REFUSES.to_owned(),
            left: None,
            right: Some(said.into_owned()),
        }]
    } else {
        return Err(format!("launchway failed ({}):\n{said}", output.status));
    };
    judge(&differences, chosen(case))
}

fn chosen(case: &Case) -> &'static [&'static str] {
    let found = CHOSEN.iter().find(|(name, _)| *name == case.name);
    found.map_or(&[], |(_, paths)| paths)
}

/// All differences have to be chosen ones, and all chosen ones have to be there.
fn judge(differences: &[Difference], chosen: &[&str]) -> Result<(), String> {
    let wrong = differences
        .iter()
        .filter(|difference| !chosen.contains(&difference.what.as_str()))
        .map(ToString::to_string);
    let gone = chosen
        .iter()
        .filter(|path| !differences.iter().any(|found| found.what == **path))
        .map(|path| format!("{path}: the same by now, so it should not be on the list"));
    let lines: Vec<String> = wrong.chain(gone).collect();
    if lines.is_empty() {
        Ok(())
    } else {
        Err(lines.join("\n"))
    }
}

/// Where nothing may be skipped, what is missing is a failure.
fn lacking(test: &str, what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "this machine has no {what}, and in CI nothing is skipped"
    );
    peers::skipped(test, what);
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn empty(path: PathBuf) -> PathBuf {
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("making a folder");
    path
}
