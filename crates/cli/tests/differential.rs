//! Every case of `corpus/` is built by Launchway and by BuildKit; both images have to be the same.
//!
//! `LAUNCHWAY_CORPUS_ONLY` picks cases by words. The harness is `launchway_testkit::conform`, which
//! `cargo xtask conform` uses for corpora of others; all cases that differ are reported at once.

use std::path::Path;
use std::time::Duration;

use launchway_testkit::conform::{self, BaseMap, Report, Settings};
use launchway_testkit::corpus::{self, Ground};
use launchway_testkit::peers;

#[test]
fn launchway_builds_what_buildkit_builds() {
    const NAME: &str = "launchway_builds_what_buildkit_builds";
    let Some(docker) = peers::docker() else {
        return lacking(NAME, "docker with BuildKit");
    };
    if peers::registry().is_none() {
        return lacking(NAME, "registry of the peers");
    }
    let work = Path::new(env!("CARGO_TARGET_TMPDIR")).join("differential");
    let ground = Ground::prepare(&docker, &work.join("bases")).expect("preparing the corpus");
    let only = std::env::var(corpus::ONLY_VARIABLE).unwrap_or_default();
    let words: Vec<&str> = only.split_whitespace().collect();
    let cases = corpus::chosen(&words).expect("reading the corpus");
    let settings = Settings {
        launchway: env!("CARGO_BIN_EXE_launchway").into(),
        docker,
        work: work.join("builds"),
        jobs: 2,
        // A build that hangs is a failure; a busy machine is none.
        timeout: Duration::from_secs(600),
        build_args: Vec::new(),
        bases: BaseMap::default(),
        own: Some(ground.bases.clone()),
        keep: None,
    };
    let verdicts = conform::run(&cases, &settings, &|verdict| {
        if !verdict.outcome.is_fine() {
            eprintln!("{}: {}", verdict.name, verdict.outcome.word());
        }
    })
    .expect("building the corpus");
    let report = Report {
        verdicts: &verdicts,
    };
    eprintln!("{}", report.text());
    assert!(
        report.wrong() == 0,
        "{} of {} cases are not as they should be",
        report.wrong(),
        verdicts.len()
    );
}

/// Where nothing may be skipped, what is missing is a failure.
fn lacking(test: &str, what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "this machine has no {what}, and in CI nothing is skipped"
    );
    peers::skipped(test, what);
}
