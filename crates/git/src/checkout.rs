//! The files of a commit in a folder.
//!
//! They are unpacked by git itself, in a repository made for the purpose that borrows its objects
//! from the mirror. So nothing that a commit brings along can change the mirror, and submodules come
//! with all of git's checks of their names, paths and addresses.

use std::fs;
use std::path::{Path, PathBuf};

use launchway_dockerfile::GitSource;

use crate::mirror::{Mirror, object_format};
use crate::program::Program;
use crate::settle::settle;
use crate::{Access, GitError, Repositories, Resolved};

/// Files of a commit that are in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    pub path: PathBuf,
    /// When the commit was made, in seconds since 1970.
    pub time: i64,
}

impl Repositories {
    /// Puts the files of a commit into `tree` below the empty folder `to`, and says where those of
    /// the source are. With `keep_git_dir` the `.git` stays, unless only a folder is wanted.
    pub fn checkout(
        &self,
        source: &GitSource,
        resolved: &Resolved,
        keep_git_dir: bool,
        access: &Access<'_>,
        to: &Path,
    ) -> Result<Checkout, GitError> {
        let mirror = Mirror::lock(self, source, resolved, access)?;
        let tree = to.join("tree");
        let keep = keep_git_dir && source.folder.is_empty();
        let take = || {
            mirror.fetch(resolved)?;
            unpack(&mirror, source, resolved, keep, &tree)
        };
        let time = match take() {
            // Nothing in a mirror was made to outlive a loss of power.
            Err(GitError::Failed { said, .. }) if tells_of_damage(&said) => {
                mirror.clear()?;
                let _ = fs::remove_dir_all(&tree);
                take()?
            }
            other => other?,
        };
        let path = folder_of(&tree, &source.folder)?;
        Ok(Checkout { path, time })
    }
}

fn tells_of_damage(said: &str) -> bool {
    [
        "object file",
        "bad object",
        "corrupt",
        "unable to read",
        "not send all necessary objects",
        "index-pack failed",
        "invalid object",
        "not a git repository",
    ]
    .iter()
    .any(|words| said.contains(words))
}

fn unpack(
    mirror: &Mirror<'_>,
    source: &GitSource,
    resolved: &Resolved,
    keep: bool,
    tree: &Path,
) -> Result<i64, GitError> {
    fs::create_dir_all(tree).map_err(GitError::io("make a folder"))?;
    let git = mirror.git(tree)?;
    let act = "unpack the commit";
    let run = |arguments: &[&str]| git.run(act, arguments);
    run(&[
        "init",
        "--quiet",
        "--template=",
        &object_format(&resolved.object),
    ])?;
    let own = tree.join(".git");
    let objects = mirror.path.join("objects");
    let borrowed = own.join("objects/info/alternates");
    fs::create_dir_all(own.join("objects/info")).map_err(GitError::io("make a folder"))?;
    fs::write(&borrowed, format!("{}\n", objects.display()))
        .map_err(GitError::io("write a file"))?;

    let object = format!("{}^{{commit}}", resolved.object);
    let commit = run(&["rev-parse", "--verify", &object])?.trim().to_owned();
    let text = run(&["cat-file", "commit", &commit])?;
    let head = text.split("\n\n").next().unwrap_or_default();
    if head.lines().any(|line| line.starts_with("parent ")) {
        let shallow = own.join("shallow");
        fs::write(shallow, format!("{commit}\n")).map_err(GitError::io("write a file"))?;
    }
    run(&["config", "remote.origin.url", &source.remote])?;
    run(&[
        "config",
        "remote.origin.fetch",
        "+refs/heads/*:refs/remotes/origin/*",
    ])?;
    run(&["checkout", "--quiet", "--force", "--detach", &commit, "--"])?;
    if source.submodules && tree.join(".gitmodules").symlink_metadata().is_ok() {
        submodules(&git)?;
    }
    let time = run(&["log", "-1", "--no-show-signature", "--format=%ct", &commit])?;
    let time: i64 = time.trim().parse().unwrap_or(0);
    if keep {
        keep_repository(&git, &own, resolved, &commit)?;
        fs::remove_file(&borrowed).map_err(GitError::io("let go of a repository"))?;
    }
    let wanted = Some(time).filter(|_| !source.time_of_checkout);
    settle(tree, wanted, keep).map_err(GitError::io("set modes and times of files"))?;
    Ok(time)
}

fn submodules(git: &Program<'_>) -> Result<(), GitError> {
    let act = "fetch the submodules";
    let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
    match git.run(act, &[&update[..], &["--depth=1"]].concat()) {
        // Servers of plain files cannot give a part.
        Err(GitError::Failed { said, .. })
            if said.contains("depth") || said.contains("shallow") =>
        {
            git.run(act, &update)?;
        }
        other => {
            other?;
        }
    }
    Ok(())
}

/// Makes the repository whole, without its history, and the same each time.
fn keep_repository(
    git: &Program<'_>,
    own: &Path,
    resolved: &Resolved,
    commit: &str,
) -> Result<(), GitError> {
    let act = "keep the repository";
    if let Some(name) = &resolved.name {
        git.run(act, &["update-ref", "--no-deref", name, &resolved.object])?;
    }
    // One thread and no differences that were found before: then the bytes depend on the commit.
    git.run(
        act,
        &["-c", "pack.threads=1", "repack", "-a", "-d", "-f", "-q"],
    )?;
    // An index made from the commit holds no times and inodes of this machine.
    fs::remove_file(own.join("index")).map_err(GitError::io("write an index"))?;
    git.run(act, &["read-tree", commit])?;
    for name in ["FETCH_HEAD", "ORIG_HEAD", "COMMIT_EDITMSG", "logs"] {
        let path = own.join(name);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(&path);
    }
    Ok(())
}

/// The folder of a source in its files. No symbolic link leads to it.
fn folder_of(tree: &Path, folder: &str) -> Result<PathBuf, GitError> {
    let no = |why| GitError::Folder {
        folder: folder.to_owned(),
        why,
    };
    let mut path = tree.to_owned();
    for part in folder.split('/').filter(|part| !part.is_empty()) {
        path.push(part);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() && part != ".git" => {}
            Ok(metadata) if metadata.is_symlink() => {
                return Err(no("a symbolic link is in the way"));
            }
            Ok(_) => return Err(no("it is no folder")),
            Err(_) => return Err(no("it is not there")),
        }
    }
    Ok(path)
}
