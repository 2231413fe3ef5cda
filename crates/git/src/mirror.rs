//! What has been fetched of a repository: one bare repository for each address, shared by all
//! processes, one of them at a time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use launchway_dockerfile::GitSource;
use launchway_model::ContentHasher;
use rustix::fs::FlockOperation;

use crate::program::Program;
use crate::{Access, GitError, Repositories, Resolved};

/// A mirror that nobody else works on.
pub(crate) struct Mirror<'a> {
    pub(crate) path: PathBuf,
    lock: File,
    repositories: &'a Repositories,
    source: &'a GitSource,
    access: &'a Access<'a>,
}

impl<'a> Mirror<'a> {
    /// Waits until nobody works on it.
    pub(crate) fn lock(
        repositories: &'a Repositories,
        source: &'a GitSource,
        resolved: &Resolved,
        access: &'a Access<'a>,
    ) -> Result<Self, GitError> {
        let mut name = ContentHasher::new("launchway/repository/1");
        name.text("remote", &source.remote);
        // Repositories with SHA-256 and with SHA-1 cannot be mixed.
        name.text("digits", &resolved.object.len().to_string());
        let name = name.finish().to_string();
        let path = repositories.folder.join(&name);
        let lock = File::create(repositories.folder.join(format!("{name}.lock")))
            .map_err(GitError::io("lock a repository"))?;
        while rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            if (access.is_cancelled)() {
                return Err(GitError::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self {
            path,
            lock,
            repositories,
            source,
            access,
        })
    }

    /// git in a directory; the lock is held for as long as anything that it starts runs.
    pub(crate) fn git(&self, directory: &Path) -> Result<Program<'a>, GitError> {
        let git = Program::for_source(self.repositories, self.source, self.access)?;
        let lock = self.lock.try_clone().map_err(GitError::io("keep a lock"))?;
        Ok(git.within(directory).holding(lock))
    }

    /// Forgets everything, which is what helps against damage.
    pub(crate) fn clear(&self) -> Result<(), GitError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(GitError::io("remove a damaged repository")(error))
            }
            _ => Ok(()),
        }
    }

    /// Makes sure that the commit is here.
    pub(crate) fn fetch(&self, resolved: &Resolved) -> Result<(), GitError> {
        self.create(resolved)?;
        let git = self.git(&self.path)?;
        let is_here = || git.agrees(&["cat-file", "-e", &format!("{}^{{tree}}", resolved.object)]);
        if is_here()? {
            return Ok(());
        }
        let act = "fetch the repository";
        let remote = self.source.remote.as_str();
        let quick = ["fetch", "--quiet", "--no-tags", "--force", "--depth=1"];
        let fetch = |start: &[&str], what: &[&str]| {
            let whole = |start: &[&str]| {
                let arguments = [start, &["--", remote], what].concat();
                git.run(act, &arguments)
            };
            match whole(start) {
                // Servers of plain files cannot give a part.
                Err(GitError::Failed { said, .. })
                    if said.contains("depth") || said.contains("shallow") =>
                {
                    let start: Vec<&str> = start
                        .iter()
                        .filter(|word| **word != "--depth=1")
                        .copied()
                        .collect();
                    whole(&start)
                }
                other => other,
            }
        };
        if let Some(name) = resolved
            .name
            .as_deref()
            .filter(|_| !self.source.fetch_by_commit)
        {
            fetch(&quick, &[&format!("+{name}:refs/launchway/fetched")])?;
        }
        if !is_here()? {
            match fetch(
                &quick,
                &[&format!("+{}:refs/launchway/fetched", resolved.object)],
            ) {
                // Not every server gives what no reference points to.
                Err(GitError::Failed { said, .. }) if is_refusal(&said) => {}
                other => {
                    other?;
                }
            }
        }
        if !is_here()? {
            let mut start = vec!["fetch", "--quiet", "--tags", "--force", "--prune"];
            if self.path.join("shallow").exists() {
                start.push("--unshallow");
            }
            fetch(&start, &["+refs/heads/*:refs/launchway/heads/*"])?;
        }
        if !is_here()? {
            return Err(GitError::NoCommit(resolved.object.clone()));
        }
        // Known to the server at the next time, so that it sends what is new.
        let name = format!("refs/launchway/had/{}", resolved.object);
        git.run("note a commit", &["update-ref", &name, &resolved.object])?;
        Ok(())
    }

    fn create(&self, resolved: &Resolved) -> Result<(), GitError> {
        if self.path.join("HEAD").exists() {
            // Left behind by a git that was killed; nobody else is at work here.
            for name in [
                "shallow.lock",
                "packed-refs.lock",
                "config.lock",
                "HEAD.lock",
            ] {
                let _ = fs::remove_file(self.path.join(name));
            }
            let _ = fs::remove_file(self.path.join("refs/launchway/fetched.lock"));
            return Ok(());
        }
        self.clear()?;
        let fresh = self.path.with_extension("new");
        let _ = fs::remove_dir_all(&fresh);
        let to = fresh.display().to_string();
        let format = object_format(&resolved.object);
        self.git(&self.repositories.folder)?.run(
            "make a repository",
            &["init", "--quiet", "--bare", "--template=", &format, &to],
        )?;
        fs::rename(&fresh, &self.path).map_err(GitError::io("make a repository"))
    }
}

pub(crate) fn object_format(object: &str) -> String {
    let format = if object.len() == 64 { "sha256" } else { "sha1" };
    format!("--object-format={format}")
}

fn is_refusal(said: &str) -> bool {
    [
        "not our ref",
        "unadvertised object",
        "does not allow request",
        "couldn't find remote ref",
        "could not find remote ref",
        "no such remote ref",
    ]
    .iter()
    .any(|words| said.contains(words))
}
