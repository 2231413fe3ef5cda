//! The git checkout that a family lives in, as far as labels and checks need it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What HEAD is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitFacts {
    /// The commit, all hexadecimal digits.
    pub commit: String,
    /// When it was committed, in seconds since 1970.
    pub time: i64,
    /// The branch that is checked out; none when HEAD is detached.
    pub branch: Option<String>,
    /// The tags that point to the commit, sorted.
    pub tags: Vec<String>,
    /// Whether there are changes that are not committed, new files included.
    pub is_dirty: bool,
}

/// Why a checkout that is there cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("cannot run git")]
    Run(#[source] io::Error),
    #[error("git {command} failed: {detail}")]
    Failed { command: String, detail: String },
}

/// Variables that git needs to find itself, its settings and its helpers. All others stay out:
/// `GIT_DIR` of a hook, for example, would point it elsewhere.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR"];

/// Looks at the checkout that `folder` is in. `None` when it is in none, when nothing is committed
/// yet, or when git is not installed.
pub fn git_facts(
    folder: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<Option<GitFacts>, GitError> {
    let git = Git {
        folder,
        environment,
    };
    let head = match git.run(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]) {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(GitError::Run(error)),
    };
    if !head.status.success() {
        let detail = text(&head.stderr);
        // Quiet about a HEAD without a commit, and about nothing else.
        return if detail.is_empty() || detail.contains("not a git repository") {
            Ok(None)
        } else {
            Err(failed("rev-parse", detail))
        };
    }
    let commit = text(&head.stdout);
    let time = git.ask(&["log", "-1", "--no-show-signature", "--format=%ct", &commit])?;
    let branch = git
        .run(&["symbolic-ref", "--quiet", "--short", "HEAD"])
        .map_err(GitError::Run)?;
    let tags = git.ask(&["tag", "--points-at", &commit])?;
    let status = git.ask(&["status", "--porcelain", "--untracked-files=normal"])?;
    Ok(Some(GitFacts {
        time: time
            .parse()
            .map_err(|_| failed("log", format!("{time:?} is no time")))?,
        branch: branch.status.success().then(|| text(&branch.stdout)),
        tags: tags.lines().map(str::to_owned).collect(),
        is_dirty: !status.is_empty(),
        commit,
    }))
}

struct Git<'a> {
    folder: &'a Path,
    environment: &'a BTreeMap<String, String>,
}

impl Git<'_> {
    fn run(&self, arguments: &[&str]) -> io::Result<Output> {
        let passed_on = self
            .environment
            .iter()
            .filter(|(name, _)| PASSED_ON.contains(&name.as_str()));
        Command::new("git")
            // A repository's own settings could name a program to ask for changes.
            .args(["-c", "core.fsmonitor=false", "-C"])
            .arg(self.folder)
            .args(arguments)
            .env_clear()
            .envs(passed_on)
            .env("LC_ALL", "C")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .output()
    }

    fn ask(&self, arguments: &[&str]) -> Result<String, GitError> {
        let output = self.run(arguments).map_err(GitError::Run)?;
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(failed(arguments[0], text(&output.stderr)))
        }
    }
}

fn failed(command: &str, detail: String) -> GitError {
    GitError::Failed {
        command: command.to_owned(),
        detail,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn environment(home: &Path) -> BTreeMap<String, String> {
        let path = std::env::var("PATH").unwrap();
        BTreeMap::from([
            ("PATH".to_owned(), path),
            ("HOME".to_owned(), home.display().to_string()),
            // Must not reach git.
            ("GIT_DIR".to_owned(), "/nonexistent".to_owned()),
        ])
    }

    fn git(folder: &Path, arguments: &[&str]) {
        let done = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(["-c", "init.defaultBranch=trunk", "-c", "tag.gpgSign=false"])
            .args(["-c", "commit.gpgSign=false", "-C"])
            .arg(folder)
            .args(arguments)
            .env("GIT_COMMITTER_DATE", "1700000000 +0000")
            .output()
            .expect("git can be run");
        assert!(done.status.success(), "{done:?}");
    }

    #[test]
    fn head_is_described() {
        let home = tempfile::tempdir().unwrap();
        let checkout = tempfile::tempdir().unwrap();
        let folder = checkout.path();
        let facts = || git_facts(folder, &environment(home.path())).unwrap();
        assert_eq!(facts(), None, "no repository");
        git(folder, &["init", "-q"]);
        assert_eq!(facts(), None, "no commit");

        fs::create_dir(folder.join("family")).unwrap();
        fs::write(folder.join("family/file"), "1").unwrap();
        git(folder, &["add", "."]);
        git(folder, &["commit", "-q", "-m", "first"]);
        let first = git_facts(&folder.join("family"), &environment(home.path()))
            .unwrap()
            .unwrap();
        assert_eq!(first.commit.len(), 40);
        assert_eq!(first.time, 1_700_000_000);
        assert_eq!(first.branch.as_deref(), Some("trunk"));
        assert_eq!(first.tags, [""; 0]);
        assert!(!first.is_dirty);

        git(folder, &["tag", "v1.0.0"]);
        git(folder, &["tag", "-m", "annotated", "base-v1"]);
        git(folder, &["checkout", "-q", "--detach"]);
        fs::write(folder.join("new"), "").unwrap();
        let second = facts().unwrap();
        assert_eq!(second.branch, None);
        assert_eq!(second.tags, ["base-v1", "v1.0.0"]);
        assert!(second.is_dirty);
        assert_eq!(second.commit, first.commit);
    }

    #[test]
    fn without_git_there_are_no_facts() {
        let nowhere = BTreeMap::from([("PATH".to_owned(), "/nonexistent".to_owned())]);
        assert_eq!(git_facts(Path::new("/"), &nowhere).unwrap(), None);
    }

    #[test]
    fn a_broken_repository_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q"]);
        fs::write(folder.path().join(".git/config"), "not an ini file").unwrap();
        let error = git_facts(folder.path(), &environment(home.path())).unwrap_err();
        assert!(matches!(error, GitError::Failed { .. }), "{error}");
    }
}
