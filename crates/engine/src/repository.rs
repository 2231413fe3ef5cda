//! Repositories as folders of this machine, for ADD and for build contexts.

use std::path::Path;

use launchway_dockerfile::{GitSource, GitTransport};
use launchway_git::{Access, Checkout, GitError};
use launchway_oci::WorkingLayer;
use launchway_ssh::{AgentError, Agents, Forwarded};

use crate::agents::{self, DEFAULT};
use crate::{Cancellation, EngineError, NativeEngine, Secrets};

/// What git may use to reach a repository.
#[derive(Clone, Copy)]
pub struct Rights<'a> {
    /// `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER`.
    pub secrets: &'a Secrets,
    /// The one called `default`.
    pub agents: &'a Agents,
}

/// A repository whose files can be read for as long as this lives.
pub struct CheckedOut {
    _folder: WorkingLayer,
    checkout: Checkout,
}

/// Why a repository cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("the ssh agent `{DEFAULT}` cannot be used: {0}")]
    Agent(#[from] AgentError),
    #[error("make a place for a repository")]
    Place(#[source] Box<EngineError>),
}

impl CheckedOut {
    /// The folder that was asked for.
    pub fn path(&self) -> &Path {
        &self.checkout.path
    }

    /// When its commit was made, in seconds since 1970.
    pub fn time(&self) -> i64 {
        self.checkout.time
    }
}

impl RepositoryError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Git(error) => error.help(),
            Self::Agent(error) => agents::help(error),
            Self::Place(_) => None,
        }
    }

    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Git(GitError::Cancelled))
    }
}

impl NativeEngine {
    /// Fetches a repository and unpacks what is wanted of it. Blocks until that is done.
    pub fn check_out(
        &self,
        source: &GitSource,
        keep_git_dir: bool,
        rights: &Rights<'_>,
        cancellation: &Cancellation,
    ) -> Result<CheckedOut, RepositoryError> {
        let folder = self
            .store
            .new_layer()
            .map_err(|error| RepositoryError::Place(Box::new(error.into())))?;
        let keep = keep_git_dir || source.keep_git_dir == Some(true);
        let checkout = with_git(source, rights, cancellation, |access| {
            let resolved = self.repositories.resolve(source, access)?;
            let to = folder.upper();
            self.repositories
                .checkout(source, &resolved, keep, access, to)
        })?;
        Ok(CheckedOut {
            _folder: folder,
            checkout,
        })
    }
}

pub(crate) fn with_git<T>(
    source: &GitSource,
    rights: &Rights<'_>,
    cancellation: &Cancellation,
    work: impl FnOnce(&Access<'_>) -> Result<T, GitError>,
) -> Result<T, RepositoryError> {
    let own = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let agent = match (source.transport, rights.agents.get(DEFAULT)) {
        (GitTransport::Ssh, Some(agent)) => Some(agent.forward(own, 0o600)?),
        _ => None,
    };
    let access = Access {
        secret: &|id| rights.secrets.get(id).cloned(),
        agent: agent.as_ref().map(Forwarded::socket),
        is_cancelled: &|| cancellation.is_cancelled(),
    };
    Ok(work(&access)?)
}
