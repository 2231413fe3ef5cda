//! What is left of the machine in unpacked files: modes by its mask, times of the moment.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

/// Gives folders 0755, programs 0755 and other files 0644, and everything one time. No commit holds
/// anything called `.git`, so what has that name is git's own: it goes, unless it is kept.
pub(crate) fn settle(path: &Path, time: Option<i64>, keep_git_dir: bool) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if entry.file_name() == OsStr::new(".git") && !keep_git_dir {
            if kind.is_dir() {
                fs::remove_dir_all(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
        } else if kind.is_dir() {
            settle(&path, time, keep_git_dir)?;
        } else {
            if kind.is_file() {
                let mode = entry.metadata()?.permissions().mode();
                // git has its objects read-only.
                let mode = match (mode & 0o100, mode & 0o200) {
                    (0, 0) => 0o444,
                    (0, _) => 0o644,
                    _ => 0o755,
                };
                fs::set_permissions(&path, Permissions::from_mode(mode))?;
            }
            set_time(&path, time)?;
        }
    }
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    set_time(path, time)
}

fn set_time(path: &Path, time: Option<i64>) -> io::Result<()> {
    let Some(seconds) = time else { return Ok(()) };
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn modes_times_and_what_is_gits() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("tree");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::create_dir_all(root.join(".git/objects")).unwrap();
        for (name, mode) in [("file", 0o600), ("sub/program", 0o700), ("sub/.git", 0o644)] {
            fs::write(root.join(name), name).unwrap();
            fs::set_permissions(root.join(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::write(folder.path().join("outside"), "x").unwrap();
        symlink("../outside", root.join("link")).unwrap();
        settle(&root, Some(1_000), false).unwrap();
        for (name, mode) in [
            ("", 0o755),
            ("file", 0o644),
            ("sub", 0o755),
            ("sub/deep", 0o755),
            ("sub/program", 0o755),
        ] {
            let metadata = fs::symlink_metadata(root.join(name)).unwrap();
            assert_eq!(metadata.mode() & 0o7777, mode, "{name}");
            assert_eq!(metadata.mtime(), 1_000, "{name}");
        }
        let link = fs::symlink_metadata(root.join("link")).unwrap();
        assert!(link.is_symlink() && link.mtime() == 1_000);
        // What the link leads to was not touched.
        assert_ne!(
            fs::metadata(folder.path().join("outside")).unwrap().mtime(),
            1_000
        );
        assert!(!root.join(".git").exists() && !root.join("sub/.git").exists());
    }
}
