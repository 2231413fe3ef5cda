//! The two content-hash recipes that existed before Launchway, kept so that a project that moves
//! here keeps its published tags.
//!
//! They see contents only: neither names nor modes, links or the boundaries between files. Neither
//! knows `.dockerignore`.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use launchway_model::{Digest, InputHash};
use launchway_oci::{EntryKind, Hasher, Tree};
use rustix::fs::FileType;

use crate::junk::is_junk_file_name;
use crate::missing::Edge;
use crate::root::Root;
use crate::select::follow;
use crate::{Context, ContextError, JunkRules};

/// `hash = "concat"`: the sha256 of all inputs, one after the other. A file stands for its
/// content, a directory for the contents of the regular files below it, sorted by the bytes of
/// their paths, without junk.
///
/// In shell, for a file, a directory and another file:
/// `{ cat A; find B -type f ! -path '*/__pycache__/*' ! -name '*.pyc' … -print0 | sort -z |
/// xargs -0 cat; cat C; } | sha256sum`, with `LC_ALL=C`.
pub fn concat(
    root: &Path,
    inputs: &[PathBuf],
    junk: &JunkRules,
) -> Result<InputHash, ContextError> {
    let folder = Folder::open(root)?;
    let mut hasher = Hasher::new();
    for input in inputs {
        let found = folder.find(input)?;
        if found.kind == EntryKind::Dir {
            let mut files = Vec::new();
            // `find` does not follow the directory it is given when that is a symlink.
            if !folder.is_link(input)? {
                folder.files_below(input, junk, &mut files)?;
            }
            files.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
            for file in files {
                folder.feed(&file, &mut hasher)?;
            }
        } else {
            folder.feed(&found.path, &mut hasher)?;
        }
    }
    Ok(input_hash(&hasher.finish()))
}

/// `hash = "file"`: the sha256 of one file.
pub fn file(root: &Path, path: &Path) -> Result<InputHash, ContextError> {
    let folder = Folder::open(root)?;
    let found = folder.find(path)?;
    let mut hasher = Hasher::new();
    folder.feed(&found.path, &mut hasher)?;
    Ok(input_hash(&hasher.finish()))
}

struct Folder {
    /// For paths that a user wrote: they may be symlinks, which are followed.
    tree: Context,
    root: Root,
}

struct Found {
    path: PathBuf,
    kind: EntryKind,
}

impl Folder {
    fn open(root: &Path) -> Result<Self, ContextError> {
        let source = |source| ContextError::Open {
            path: root.to_owned(),
            source,
        };
        Ok(Self {
            tree: Context::open(root, Default::default(), JunkRules::none())?,
            root: Root::open(root).map_err(source)?,
        })
    }

    fn find(&self, input: &Path) -> Result<Found, ContextError> {
        let (path, entry) = follow(&self.tree, input, &input.to_string_lossy(), Edge::Context)?;
        match entry.kind {
            EntryKind::File | EntryKind::Dir => Ok(Found {
                path,
                kind: entry.kind,
            }),
            _ => Err(ContextError::NotAFile {
                path: input.to_owned(),
            }),
        }
    }

    fn is_link(&self, path: &Path) -> Result<bool, ContextError> {
        let entry = self.tree.entry(path).map_err(ContextError::reading(path))?;
        Ok(entry.is_some_and(|entry| entry.kind == EntryKind::Symlink))
    }

    fn files_below(
        &self,
        directory: &Path,
        junk: &JunkRules,
        files: &mut Vec<PathBuf>,
    ) -> Result<(), ContextError> {
        let listed = self
            .root
            .list(directory)
            .map_err(ContextError::reading(directory))?;
        for entry in listed {
            let path = directory.join(&entry.name);
            let kind = match entry.kind {
                FileType::Unknown => {
                    let stat = self
                        .root
                        .stat(&path)
                        .map_err(ContextError::reading(&path))?;
                    stat.map_or(FileType::Unknown, |stat| {
                        FileType::from_raw_mode(stat.st_mode)
                    })
                }
                known => known,
            };
            match kind {
                FileType::Directory => self.files_below(&path, junk, files)?,
                FileType::RegularFile if !is_left_out(&path, junk) => files.push(path),
                _ => {}
            }
        }
        Ok(())
    }

    fn feed(&self, path: &Path, hasher: &mut Hasher) -> Result<(), ContextError> {
        let failed = ContextError::reading(path);
        let mut feed = || -> io::Result<()> {
            let mut file: File = self.root.read(path)?;
            let mut buffer = vec![0; 128 * 1024];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(length) => hasher.update(&buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        };
        feed().map_err(failed)
    }
}

/// The junk of the shell recipe differs a little from the usual: names count for files only, and
/// `__pycache__` only as a directory below the one that is searched.
fn is_left_out(path: &Path, junk: &JunkRules) -> bool {
    let contains = |needle: &[u8]| {
        path.as_os_str()
            .as_bytes()
            .windows(needle.len())
            .any(|window| window == needle)
    };
    let usual = || {
        contains(b"/__pycache__/")
            || path
                .file_name()
                .is_some_and(|name| is_junk_file_name(name.as_bytes()))
    };
    (junk.includes_the_usual() && usual()) || junk.is_added_junk(path)
}

fn input_hash(digest: &Digest) -> InputHash {
    digest
        .hex()
        .parse()
        .expect("a sha256 has 64 hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    /// The pipeline as the older project runs it, with the locale its order depends on.
    const PIPELINE: &str = r#"
{
  cat Dockerfile.base
  find rootfs -type f \
    ! -path '*/__pycache__/*' \
    ! -name '*.pyc' \
    ! -name '.DS_Store' \
    ! -name '._*' \
    -print0 | sort -z | xargs -0 cat
  cat entrypoint.sh entrypoint-user.sh
} | sha256sum | cut -c1-12
"#;

    const INPUTS: [&str; 4] = [
        "Dockerfile.base",
        "rootfs",
        "entrypoint.sh",
        "entrypoint-user.sh",
    ];

    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (path, content) in [
            ("Dockerfile.base", "FROM scratch\n"),
            ("entrypoint.sh", "#!/bin/sh\n"),
            ("entrypoint-user.sh", "#!/bin/sh\nexec \"$@\""),
            ("rootfs/etc/a", "1"),
            ("rootfs/etc-b", "2"),
            ("rootfs/etc/.hidden/x y", "3"),
            ("rootfs/etc/new\nline", "4"),
            ("rootfs/Z", "5"),
            ("rootfs/\u{e9}", "6"),
            ("rootfs/a.b/c", "7"),
            ("rootfs/a/b", "8"),
            ("rootfs/__pycache__", "not junk: a file"),
            ("rootfs/x/__pycache__/m.txt", "junk"),
            ("rootfs/x/m.pyc", "junk"),
            ("rootfs/x/.DS_Store", "junk"),
            ("rootfs/x/._m", "junk"),
            ("rootfs/dir.pyc/kept", "9"),
            ("rootfs/._dir/kept", "10"),
            ("rootfs/empty", ""),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        symlink("Z", root.join("rootfs/link")).unwrap();
        symlink("nowhere", root.join("rootfs/dangling")).unwrap();
        folder
    }

    fn shell(root: &Path, script: &str) -> String {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(root)
            .env("LC_ALL", "C")
            .output()
            .expect("bash can be run");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn ours(root: &Path, inputs: &[&str]) -> Result<InputHash, ContextError> {
        let inputs: Vec<PathBuf> = inputs.iter().map(PathBuf::from).collect();
        concat(root, &inputs, &JunkRules::default())
    }

    #[test]
    fn concat_is_what_the_shell_pipeline_gives() {
        let folder = sample();
        let root = folder.path();
        assert_eq!(ours(root, &INPUTS).unwrap().short(), shell(root, PIPELINE));

        // Nothing below the directory: `xargs` still runs `cat`, on an empty input.
        fs::remove_dir_all(root.join("rootfs")).unwrap();
        fs::create_dir(root.join("rootfs")).unwrap();
        assert_eq!(ours(root, &INPUTS).unwrap().short(), shell(root, PIPELINE));

        // A linked directory is not searched, a linked file is read.
        fs::remove_dir(root.join("rootfs")).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        fs::write(root.join("real/file"), "x").unwrap();
        symlink("real", root.join("rootfs")).unwrap();
        fs::remove_file(root.join("entrypoint.sh")).unwrap();
        symlink("real/file", root.join("entrypoint.sh")).unwrap();
        assert_eq!(ours(root, &INPUTS).unwrap().short(), shell(root, PIPELINE));
    }

    #[test]
    fn concat_with_own_junk_leaves_that_out_too() {
        let folder = sample();
        let root = folder.path();
        let inputs = [PathBuf::from("rootfs")];
        let junk = JunkRules::with(["Z", "rootfs/a"]);
        let before = concat(root, &inputs, &junk).unwrap();
        assert_ne!(
            before,
            concat(root, &inputs, &JunkRules::default()).unwrap()
        );
        fs::remove_file(root.join("rootfs/Z")).unwrap();
        fs::remove_dir_all(root.join("rootfs/a")).unwrap();
        assert_eq!(concat(root, &inputs, &junk).unwrap(), before);
        assert_eq!(
            concat(root, &inputs, &JunkRules::default()).unwrap(),
            before
        );
    }

    #[test]
    fn file_is_the_sha256_of_that_file() {
        let folder = sample();
        let root = folder.path();
        assert_eq!(
            file(root, Path::new("Dockerfile.base")).unwrap().short(),
            shell(root, "sha256sum Dockerfile.base | cut -c1-12"),
        );
    }

    #[test]
    fn a_missing_input_is_an_error() {
        let folder = sample();
        let root = folder.path();
        match ours(root, &["Dockerfile.bse"]) {
            Err(ContextError::Missing { pattern, closest }) => {
                assert_eq!(pattern, "Dockerfile.bse");
                assert_eq!(closest.as_deref(), Some("Dockerfile.base"));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            file(root, Path::new("rootfs/dangling")),
            Err(ContextError::LinkDangles { .. })
        ));
    }
}
