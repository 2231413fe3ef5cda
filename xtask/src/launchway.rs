//! The program that all of this is about: built once for use, then called like anyone calls it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// A release build, and the folder it keeps its layers and caches in.
pub(crate) struct Launchway {
    program: PathBuf,
    state: PathBuf,
}

impl Launchway {
    /// Builds it with optimisation.
    pub(crate) fn build(state: &Path) -> Result<Self> {
        shell::say("building launchway");
        shell::run(shell::cargo().args(["build", "--release", "--package", "launchway"]))?;
        Ok(Self {
            program: shell::target().join("release/launchway"),
            state: state.to_owned(),
        })
    }

    /// One that somebody has built.
    pub(crate) fn built(program: &Path, state: &Path) -> Result<Self> {
        if !program.is_file() {
            bail!("there is no {}", program.display());
        }
        Ok(Self {
            program: program.to_owned(),
            state: state.to_owned(),
        })
    }

    /// The same program with another folder.
    pub(crate) fn with_state(&self, state: &Path) -> Self {
        Self {
            program: self.program.clone(),
            state: state.to_owned(),
        }
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--state-dir").arg(&self.state);
        command
    }
}

/// A family and where it goes: what `plan`, `release` and `verify` all need to be told.
pub(crate) struct Target {
    pub(crate) family: PathBuf,
    /// Host and prefix.
    pub(crate) registry: String,
    /// Where `docker.io` is read from, when it is not itself.
    pub(crate) mirror: Option<String>,
    pub(crate) platforms: Vec<String>,
}

impl Target {
    pub(crate) fn release(&self, launchway: &Launchway, version: &str) -> Command {
        self.command(launchway, &["release", version])
    }

    pub(crate) fn plan(&self, launchway: &Launchway, version: &str) -> Command {
        self.command(launchway, &["plan", version])
    }

    pub(crate) fn verify(&self, launchway: &Launchway, version: &str) -> Command {
        self.command(launchway, &["verify", version])
    }

    /// The ids of the nodes that a release would make, those that are built and those that are
    /// grafted, each with its role first.
    pub(crate) fn nodes_to_make(
        &self,
        launchway: &Launchway,
        version: &str,
    ) -> Result<Vec<(String, String)>> {
        let text = shell::read(self.plan(launchway, version).args(["--format", "json"]))?;
        let plan: Value = serde_json::from_str(&text).context("cannot read the plan")?;
        let nodes = plan["nodes"].as_array().context("the plan has no nodes")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(nodes
            .iter()
            .filter(|node| node["state"] == "make")
            .map(|node| (text(&node["role"]), text(&node["id"])))
            .collect())
    }

    fn command(&self, launchway: &Launchway, words: &[&str]) -> Command {
        let mut command = launchway.command();
        command.args(words).arg("--file").arg(&self.family);
        command.args(["--registry", &self.registry]);
        command.args(["--platform", &self.platforms.join(",")]);
        if let Some(mirror) = &self.mirror {
            command.args(["--mirror", &format!("docker.io={mirror}")]);
        }
        command
    }
}
