//! A Git repository as the build context.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use launchway_context::{Context, ContextError, JunkRules, ignore_rules_in, read_in};
use launchway_dockerfile::{GitSource, IgnoreRules, git_context};
use launchway_engine::{Cancellation, CheckedOut, RepositoryError, Rights, Secrets};
use launchway_ssh::Agents;

use super::Result;
use crate::failure::{Exit, Failure};
use crate::toolbox::{self, Builder};

/// What git and steps may use.
pub(super) struct Keys {
    pub(super) secrets: Secrets,
    pub(super) agents: Agents,
    pub(super) keep_git_dir: bool,
}

/// BuildKit's argument for the `.git` of a build context.
pub(super) fn keeps_git_dir(build_args: &BTreeMap<String, String>) -> bool {
    build_args
        .get("BUILDKIT_CONTEXT_KEEP_GIT_DIR")
        .is_some_and(|value| matches!(&*value.to_ascii_lowercase(), "1" | "t" | "true"))
}

/// The repository that a context names, if it names one.
pub(super) fn source(context: &str) -> Result<Option<GitSource>> {
    git_context(context).transpose().map_err(|why| {
        Failure::usage(
            format!("the context cannot be used: {why}"),
            "write URL#REF:FOLDER, or URL?ref=…&subdir=…",
        )
    })
}

/// Fetches it and unpacks what is wanted of it.
pub(super) fn check_out(source: &GitSource, keys: &Keys, builder: &Builder) -> Result<CheckedOut> {
    let cancellation = Cancellation::default();
    let engine = &builder.engine;
    let rights = Rights {
        secrets: &keys.secrets,
        agents: &keys.agents,
    };
    let done = toolbox::block_on(&cancellation, async {
        tokio::task::block_in_place(|| {
            engine.check_out(source, keys.keep_git_dir, &rights, &cancellation)
        })
    })?;
    done.map_err(|error| failed(source, &error))
}

fn failed(source: &GitSource, error: &RepositoryError) -> Failure {
    if error.is_cancelled() {
        return Failure::Silent(Exit::Interrupted);
    }
    let mut causes = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    Failure::Message {
        message: format!("cannot take the repository {}", source.shown()),
        causes,
        help: error.help().map(str::to_owned),
        exit: Exit::Failed,
    }
}

/// The Dockerfile of a repository, and its path there. Links are followed inside the repository.
pub(super) fn dockerfile(folder: &Path, file: Option<&Path>) -> Result<(PathBuf, Vec<u8>)> {
    let all = Context::open(folder, IgnoreRules::default(), JunkRules::none())
        .map_err(|error| no_context(&error))?;
    let names = match file {
        Some(file) => vec![file],
        None => vec![Path::new("Dockerfile"), Path::new("dockerfile")],
    };
    for name in &names {
        let read = read_in(&all, name).map_err(|error| {
            let message = format!("cannot read {} of the repository", name.display());
            Failure::caused(message, &error)
        })?;
        if let Some(bytes) = read {
            return Ok(((*name).to_owned(), bytes));
        }
    }
    Err(Failure::usage(
        format!("the repository has no {}", names[0].display()),
        "name the Dockerfile with --file, as a path in the repository",
    ))
}

/// The files of a repository without what its ignore rules leave out. Whatever it holds, nothing
/// outside of it is read.
pub(super) fn open(folder: &Path, dockerfile: &Path) -> Result<Context> {
    let open =
        |rules| Context::open(folder, rules, JunkRules::none()).map_err(|error| no_context(&error));
    let all = open(IgnoreRules::default())?;
    let rules = ignore_rules_in(&all, dockerfile).map_err(|error| no_context(&error))?;
    open(rules)
}

fn no_context(error: &ContextError) -> Failure {
    Failure::caused("cannot use the build context", error)
}
