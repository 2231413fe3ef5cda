//! Every case of `corpus/` is built by Launchway and by BuildKit; both images have to be the same.
//!
//! `LAUNCHWAY_CORPUS_ONLY` picks cases by words. All cases that differ are reported at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use launchway_testkit::corpus::{self, Bases, Case};
use launchway_testkit::{flatten, peers};

/// So many cases are built at a time.
const THREADS: usize = 2;

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
    let bases = corpus::bases(&docker, &empty(work.join("bases"))).expect("making the bases");
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

/// Builds a case twice and says in what the images differ.
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
    case.build_with_buildkit(docker, &context, bases, &theirs)
        .map_err(|error| error.to_string())?;
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
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("launchway failed ({}):\n{said}", output.status));
    }
    let read = |layout: &Path| {
        flatten::flatten(layout, None).map_err(|error| format!("{}: {error}", layout.display()))
    };
    let differences = flatten::compare(&read(&theirs)?, &read(&ours)?);
    if differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Err(lines.join("\n"))
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
