//! `cargo xtask fuzz`: each fuzz target for some seconds, beginning with the seeds in the repository.
//!
//! It works with the stable compiler: coverage is counted without a sanitizer, since nothing that
//! is fuzzed has code a sanitizer would find more in. What was found interesting is kept in the
//! target directory and is where the next run goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{self, Package};
use crate::shell;

/// The version that is installed when there is none.
const CARGO_FUZZ: &str = "0.13.2";
/// libFuzzer is written in C++.
const COMPILER: Package = Package {
    name: "g++",
    shows: "c++",
};
/// Where the targets' sources and their seeds are.
const TARGETS: &str = "fuzz/targets";
const SEEDS: &str = "fuzz/seeds";
/// How long one input may take, in seconds, and how much memory, in MiB.
const SLOWEST: &str = "10";
const LARGEST: &str = "1024";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs
    #[arg(long, default_value_t = 10, value_name = "N")]
    seconds: u32,
    /// Run an input that was found, and nothing else; names one target
    #[arg(long, value_name = "FILE", requires = "targets")]
    reproduce: Option<PathBuf>,
    /// The targets to run; all when none is named
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let all = targets()?;
    let chosen = match arguments.targets.as_slice() {
        [] => all,
        named => {
            if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
                bail!("there is no target {unknown}; there are {}", all.join(", "));
            }
            named.to_vec()
        }
    };
    setup::ensure(&[&COMPILER])?;
    let cargo_fuzz = installed()?;
    let place = shell::target().join("fuzz");
    shell::run(tool(&cargo_fuzz, "build", &place).args(only(&chosen)))?;
    let mut broken = Vec::new();
    for target in &chosen {
        if let Err(error) = fuzz(&cargo_fuzz, &place, target, arguments) {
            shell::say(&format!("{target}: {error:#}"));
            broken.push(target.as_str());
        }
    }
    if !broken.is_empty() {
        bail!("found something: {}", broken.join(", "));
    }
    shell::say(&format!("{} targets, nothing found", chosen.len()));
    Ok(())
}

/// The names of the targets, which are those of their files.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in fs::read_dir(shell::root().join(TARGETS))? {
        let path = file?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        names.push(name.context("a target without a name")?.to_owned());
    }
    names.sort();
    Ok(names)
}

/// One target can be built alone; otherwise all are.
fn only(chosen: &[String]) -> &[String] {
    if chosen.len() == 1 { chosen } else { &[] }
}

/// cargo-fuzz, of the version that this project uses, in a place of its own.
fn installed() -> Result<PathBuf> {
    let root = shell::root().join("target/tools");
    let program = root.join("bin/cargo-fuzz");
    let version = Command::new(&program).args(["fuzz", "--version"]).output();
    let is_there = version.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).trim_end() == format!("cargo-fuzz {CARGO_FUZZ}")
    });
    if !is_there {
        shell::run(
            shell::cargo()
                .env_remove("CARGO_TARGET_DIR")
                .args(["install", "--quiet", "--locked", "--version", CARGO_FUZZ])
                .arg("--root")
                .arg(&root)
                .arg("cargo-fuzz"),
        )?;
    }
    Ok(program)
}

fn tool(cargo_fuzz: &Path, command: &str, place: &Path) -> Command {
    let mut tool = Command::new(cargo_fuzz);
    tool.current_dir(shell::root())
        .args(["fuzz", command, "--sanitizer", "none", "--target-dir"])
        .arg(place);
    tool
}

fn fuzz(cargo_fuzz: &Path, place: &Path, target: &str, arguments: &Arguments) -> Result<()> {
    let found = shell::root().join("fuzz/artifacts").join(target);
    let before = inputs(&found);
    let mut command = tool(cargo_fuzz, "run", place);
    command.arg(target);
    match &arguments.reproduce {
        Some(file) => {
            command.arg(std::path::absolute(file)?);
        }
        None => {
            let grown = place.join("corpus").join(target);
            fs::create_dir_all(&grown)?;
            command.arg(&grown).arg(Path::new(SEEDS).join(target));
            command.args([
                "--",
                &format!("-max_total_time={}", arguments.seconds),
                &format!("-timeout={SLOWEST}"),
                &format!("-rss_limit_mb={LARGEST}"),
                "-print_final_stats=0",
                "-verbosity=0",
            ]);
        }
    }
    let Err(error) = shell::run(&mut command) else {
        return Ok(());
    };
    let new = inputs(&found)
        .into_iter()
        .find(|input| !before.contains(input));
    match new {
        Some(input) => {
            let input = input.strip_prefix(shell::root()).unwrap_or(&input);
            bail!(
                "an input breaks it: {}\n    cargo xtask fuzz --reproduce {0} {target}",
                input.display()
            )
        }
        None => Err(error),
    }
}

/// What was found, as far as it was kept.
fn inputs(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).into_iter().flatten();
    files.filter_map(|file| Some(file.ok()?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_declared_and_has_seeds() {
        let manifest = fs::read_to_string(shell::root().join("fuzz/Cargo.toml")).unwrap();
        for target in targets().unwrap() {
            let line = format!("path = \"targets/{target}.rs\"");
            assert!(manifest.contains(&line), "{target} in fuzz/Cargo.toml");
            let seeds = shell::root().join(SEEDS).join(&target);
            assert!(!inputs(&seeds).is_empty(), "{target} has seeds");
        }
    }
}
