//! The host as an attempt would change it, and a look at it afterwards.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What no build may read.
pub(crate) const SECRET: &str = "the-hosts-own-words";

/// A folder outside of context and state, with a file to read and a folder to write to.
pub(crate) struct Outside {
    folder: TempDir,
    before: Vec<String>,
}

impl Outside {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("making a folder");
        fs::write(folder.path().join("secret"), SECRET).expect("writing the secret");
        fs::create_dir(folder.path().join("folder")).expect("making a folder");
        fs::write(folder.path().join("folder/secret"), SECRET).expect("writing the secret");
        let before = listing(folder.path());
        Self { folder, before }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().join("folder")
    }

    /// Nothing was added, changed or removed.
    #[track_caller]
    pub(crate) fn untouched(&self) {
        assert_eq!(listing(self.folder.path()), self.before);
    }
}

/// Everything below a folder that an attempt could change, one line each.
fn listing(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("reading a folder") {
            let path = entry.expect("reading a folder").path();
            let about = fs::symlink_metadata(&path).expect("looking at a file");
            found.push(format!(
                "{} {:o} {}:{} {} {} {:?}",
                path.display(),
                about.mode(),
                about.uid(),
                about.gid(),
                about.nlink(),
                about.mtime(),
                about.is_file().then(|| fs::read_to_string(&path).ok()),
            ));
            if about.is_dir() {
                walk(&path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found.sort();
    found
}

/// What the device nodes of the host are like: mode, owner, times.
pub(crate) fn device_nodes() -> Vec<String> {
    ["null", "zero", "full", "random", "urandom", "tty"]
        .iter()
        .filter_map(|name| {
            let about = fs::metadata(Path::new("/dev").join(name)).ok()?;
            Some(format!(
                "{name} {:o} {}:{} {}",
                about.mode(),
                about.uid(),
                about.gid(),
                // The kernel moves the time of a terminal that is written to.
                about.rdev()
            ))
        })
        .collect()
}
