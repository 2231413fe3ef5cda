//! `cargo xtask test`: sets up what the tests need, runs all of them, and counts.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::setup;
use crate::{debian, peers, shell};

/// In `.config/nextest.toml`: as usual, with a report that holds what tests printed.
const PROFILE: &str = "report";

/// Where tests that need a static program of each platform find it: `busybox-ARCHITECTURE`.
const FIXTURES_VARIABLE: &str = "LAUNCHWAY_FIXTURES";
/// A file to which a test that cannot run here adds a line.
const SKIPPED_VARIABLE: &str = "LAUNCHWAY_SKIPPED";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fail when a test could not run on this machine
    #[arg(long)]
    no_skips: bool,
    /// Only set up, run nothing
    #[arg(long)]
    set_up_only: bool,
    /// Passed on to the test runner
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(&[
        &setup::BUSYBOX,
        &setup::CERTIFICATES,
        &setup::CURL,
        &setup::GIT,
        &setup::SSH,
        &setup::SSHD,
        &setup::UIDMAP,
        &setup::FUSE_OVERLAYFS,
        &setup::ZSTD,
    ])?;
    // Large, and tests say so where these are missing: only where nothing may be missing.
    let mut clients = None;
    if arguments.no_skips || arguments.set_up_only {
        setup::ensure(&[&setup::CHROMIUM])?;
        clients = peers::install(&shell::root().join("target/peers-bin"))?;
    }
    for architecture in ["amd64", "arm64"] {
        emulate(architecture)?;
    }
    // Where plain `cargo test` looks, too, wherever cargo builds.
    let fixtures = shell::root().join("target/fixtures");
    for architecture in ["amd64", "arm64"] {
        if let Err(error) = busybox(architecture, &fixtures) {
            shell::say(&format!("no busybox for {architecture}: {error:#}"));
        }
    }

    if arguments.set_up_only {
        return Ok(());
    }

    let skipped = shell::target().join("skipped-tests.txt");
    fs::create_dir_all(shell::target())?;
    fs::write(&skipped, "")?;
    let mut command = shell::cargo();
    let nextest = shell::succeeds(shell::cargo().args(["nextest", "--version"]));
    if nextest {
        command.args(["nextest", "run", "--profile", PROFILE]);
        command.args(["--workspace", "--no-fail-fast"]);
        command.args(&arguments.rest);
    } else {
        shell::say("cargo-nextest is not installed, using `cargo test`");
        command.args(["test", "--workspace", "--no-fail-fast", "--"]);
        command.args(&arguments.rest);
    }
    command.env(FIXTURES_VARIABLE, &fixtures);
    command.env(SKIPPED_VARIABLE, &skipped);
    if let Some(clients) = clients {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::split_paths(&path).chain([clients]);
        command.env("PATH", std::env::join_paths(path)?);
    }
    shell::run(&mut command)?;

    let mut lines: BTreeSet<String> = fs::read_to_string(&skipped)?
        .lines()
        .map(str::to_owned)
        .collect();
    if nextest {
        // Below the checkout, wherever cargo builds.
        let report = shell::root().join(format!("target/nextest/{PROFILE}/junit.xml"));
        lines.extend(skipped_in(&fs::read_to_string(&report).with_context(
            || format!("the test runner left no report in {}", report.display()),
        )?));
    }
    if lines.is_empty() {
        shell::say("all tests passed, none was skipped");
        return Ok(());
    }
    shell::say(&format!(
        "all tests passed, but {} could not do their work on this machine:",
        lines.len()
    ));
    for line in lines {
        eprintln!("    {line}");
    }
    if arguments.no_skips {
        bail!("tests were skipped");
    }
    Ok(())
}

/// What tests say about not being able to run, out of a JUnit report that holds their output.
fn skipped_in(report: &str) -> BTreeSet<String> {
    let mut test = "?";
    let mut found = BTreeSet::new();
    for line in report.lines() {
        let mut line = line.trim_start();
        if let Some(rest) = line.strip_prefix("<testcase name=\"") {
            test = rest.split('"').next().unwrap_or("?");
        }
        for tag in ["<system-out>", "<system-err>"] {
            line = line.split_once(tag).map_or(line, |(_, rest)| rest);
        }
        // The library of the tests themselves says `test NAME ... ok` in its own lines.
        if let Some(why) = line.strip_prefix("skipped") {
            let why = why.trim_start_matches([':', ' ']);
            let why = why.split("</system").next().unwrap_or_default();
            found.insert(if why.starts_with(test) {
                why.to_owned()
            } else {
                format!("{test}: {why}")
            });
        }
    }
    found
}

/// Programs of the other platform should run. Where the kernel or the container does not let us set
/// that up, the tests that need it say so themselves.
fn emulate(architecture: &str) -> Result<()> {
    let Err(error) = setup::ensure_runs(architecture) else {
        return Ok(());
    };
    if error.downcast_ref::<setup::Missing>().is_some() {
        return Err(error);
    }
    shell::say(&format!("no emulation of {architecture}: {error:#}"));
    Ok(())
}

/// A statically linked busybox of the architecture, from Debian's package.
fn busybox(architecture: &str, fixtures: &Path) -> Result<()> {
    let wanted = fixtures.join(format!("busybox-{architecture}"));
    if wanted.exists() {
        return Ok(());
    }
    let work = fixtures.join(format!("apt-{architecture}"));
    let mirror = debian::host_mirror()?;
    let unpacked = debian::unpack(&mirror, architecture, &["busybox-static"], &work)?;
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| unpacked.join(place));
    let Some(found): Option<&PathBuf> = places.iter().find(|place| place.is_file()) else {
        bail!("the package holds no busybox");
    };
    fs::rename(found, &wanted)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::skipped_in;

    #[test]
    fn a_report_tells_which_tests_could_not_run() {
        let report = r#"<testsuite name="a">
    <testcase name="one" classname="a" time="0.1">
        <system-err>skipped: needs root
</system-err>
    </testcase>
    <testcase name="two" classname="a" time="0.1">
        <system-out>
running 1 test
skipped two: this machine has no crane (set LAUNCHWAY_PEERS)
test two ... ok
</system-out>
    </testcase>
    <testcase name="three" classname="a" time="0.1">
        <system-err>nothing was skipped</system-err>
    </testcase>
</testsuite>"#;
        let found: Vec<String> = skipped_in(report).into_iter().collect();
        assert_eq!(
            found,
            [
                "one: needs root",
                "two: this machine has no crane (set LAUNCHWAY_PEERS)",
            ]
        );
    }
}
