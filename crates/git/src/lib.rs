//! Git repositories from elsewhere: which commit a reference is, and its files in a folder.
//!
//! The machine's own `git` does the work, in [`program`] and nowhere else. Everything that can be
//! told from a commit is: the files' times are the commit's, and nothing of the machine's settings
//! for git has a say. This crate knows no images and no Dockerfiles beyond what a repository is
//! called in them.

mod checkout;
mod error;
mod listing;
mod mirror;
mod program;
mod settle;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use launchway_dockerfile::{GitSource, is_commit};

pub use checkout::Checkout;
pub use error::GitError;
use listing::Found;
use program::Program;
pub use program::{find_git, find_ssh, is_new_enough};

/// What has been fetched so far, in one folder for all processes.
#[derive(Clone, Debug)]
pub struct Repositories {
    folder: PathBuf,
    environment: BTreeMap<String, String>,
    /// What references were found to be, so that one process sees one state of a repository.
    found: Arc<Mutex<BTreeMap<(String, String), Found>>>,
}

/// What git may use for one source, and when it has to stop.
pub struct Access<'a> {
    /// A secret by its id: `GIT_AUTH_TOKEN` and `GIT_AUTH_HEADER`, also with `.HOST`.
    pub secret: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// The socket of an ssh agent.
    pub agent: Option<&'a Path>,
    pub is_cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What a source is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// All digits of the commit.
    pub commit: String,
    /// The annotated tag that led to it, or the commit itself.
    pub object: String,
    /// The full name of the branch or tag; none when a commit was named.
    pub name: Option<String>,
}

impl Repositories {
    /// `environment` is that of the user: where programs and proxies are is taken from it.
    pub fn open(folder: &Path, environment: BTreeMap<String, String>) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            environment,
            found: Arc::default(),
        })
    }

    /// Finds out which commit a source is. The repository is asked, unless a commit is named.
    pub fn resolve(&self, source: &GitSource, access: &Access<'_>) -> Result<Resolved, GitError> {
        let named = source.reference.as_deref().filter(|text| is_commit(text));
        let checked = source.commit.as_deref().filter(|text| is_commit(text));
        let without_asking = source.reference.is_none() || source.fetch_by_commit;
        let commit = named.or(checked.filter(|_| without_asking));
        if let Some(commit) = commit {
            check(source, commit, commit)?;
            return Ok(Resolved {
                commit: commit.to_owned(),
                object: commit.to_owned(),
                name: source
                    .reference
                    .clone()
                    .filter(|_| named.is_none())
                    .map(full_name),
            });
        }
        let found = self.look_up(source, access)?;
        check(source, &found.object, &found.commit)?;
        Ok(Resolved {
            commit: found.commit,
            object: found.object,
            name: found.name,
        })
    }

    fn look_up(&self, source: &GitSource, access: &Access<'_>) -> Result<Found, GitError> {
        let reference = source.reference.clone().unwrap_or_default();
        let key = (source.remote.clone(), reference.clone());
        let known = |found: &Mutex<BTreeMap<_, Found>>| {
            let found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.get(&key).cloned()
        };
        if let Some(found) = known(&self.found) {
            return Ok(found);
        }
        let git = Program::for_source(self, source, access)?;
        let act = "ask the repository for its references";
        let found = if reference.is_empty() {
            let output = git.run(
                act,
                &["ls-remote", "--symref", "--", &source.remote, "HEAD"],
            )?;
            listing::head(&output)
        } else {
            let peeled = format!("{reference}^{{}}");
            let output = git.run(
                act,
                &["ls-remote", "--", &source.remote, &reference, &peeled],
            )?;
            listing::reference(&output, &reference)
        };
        let found = found.ok_or_else(|| GitError::NoReference {
            remote: source.remote.clone(),
            reference,
        })?;
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key, found.clone());
        Ok(found)
    }
}

/// As in BuildKit, the first digits are enough, and those of an annotated tag count, too.
fn check(source: &GitSource, object: &str, commit: &str) -> Result<(), GitError> {
    match &source.commit {
        Some(wanted) if !object.starts_with(&**wanted) && !commit.starts_with(&**wanted) => {
            Err(GitError::Checksum {
                wanted: wanted.clone(),
                found: commit.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// What is not said to be a tag is a branch, where nobody was asked.
fn full_name(reference: String) -> String {
    match reference.starts_with("refs/") {
        true => reference,
        false => format!("refs/heads/{reference}"),
    }
}
