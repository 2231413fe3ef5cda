//! Why a repository cannot be had.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git is not installed")]
    NotInstalled,
    #[error("git {found} is too old")]
    TooOld { found: String },
    #[error("the repository is reached over ssh, and no agent was given")]
    NoAgent,
    #[error("the repository has no {}", named(.reference))]
    NoReference { remote: String, reference: String },
    #[error("it is commit {found}, not {wanted}")]
    Checksum { wanted: String, found: String },
    #[error("the repository does not give the commit {0}")]
    NoCommit(String),
    #[error("the repository has no folder {folder}: {why}")]
    Folder { folder: String, why: &'static str },
    /// What git said, without anything secret.
    #[error("git could not {act}:\n{said}")]
    Failed { act: &'static str, said: String },
    #[error("a secret for git holds characters that no header may have")]
    BadSecret,
    #[error("interrupted")]
    Cancelled,
    #[error("{act}")]
    Io {
        act: &'static str,
        source: io::Error,
    },
}

impl GitError {
    pub(crate) fn io(act: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { act, source }
    }

    /// What the user can do about it.
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotInstalled => "install git (on Debian: apt-get install git)",
            Self::TooOld { .. } => "git 2.31 or newer is needed",
            Self::NoAgent => "give an agent or a key: --ssh default, or --ssh default=FILE",
            Self::NoReference { .. } => {
                "name a branch, a tag, or all 40 digits of a commit: shortened commits are not found"
            }
            Self::Failed { said, .. } if said.contains("could not read Username") => {
                "give a token as a secret: --secret id=GIT_AUTH_TOKEN,env=VARIABLE"
            }
            Self::Failed { said, .. } if crate::program::tells_of_redirect(said) => {
                "the server sends on to another address, which is not given what opens the repository; if that is right, name the other address"
            }
            Self::Failed { said, .. } if said.contains("cannot run ssh") => {
                "install ssh (on Debian: apt-get install openssh-client)"
            }
            Self::Failed { said, .. } if said.contains("Host key verification failed") => {
                "the server shows another key than before; when that is right, remove the old one from known_hosts"
            }
            Self::Failed { said, .. } if said.contains("transport '") => {
                "submodules and repositories are taken over http, https, git and ssh only"
            }
            _ => return None,
        })
    }
}

fn named(reference: &str) -> String {
    match reference {
        "" => "default branch".to_owned(),
        reference => format!("branch or tag `{reference}`"),
    }
}
