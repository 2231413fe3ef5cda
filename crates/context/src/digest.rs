//! The digest of what a build takes from a tree.
//!
//! A record for each entry, sorted: its path as it was named, kind, permission bits, and its size
//! and the sha256 of its content, or its link target, or its device number. Times and owners are
//! no part of it, since a checkout sets them as it pleases.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use launchway_model::{ContentHasher, InputHash};
use launchway_oci::{EntryKind, FileContent, Hasher, Tree};

use crate::select::joined;
use crate::{ContextError, Selected, walk};

/// What a build takes, in one hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextDigest {
    pub hash: InputHash,
    /// The bytes of all files.
    pub bytes: u64,
    /// How many entries there are: files, directories, links and the rest.
    pub entries: u64,
}

/// Hashes everything that is selected, files on several threads.
///
/// An entry that several sources name in the same way counts once. The order of the selections
/// does not matter: the order in which files are copied is the Dockerfile's.
pub fn digest(
    tree: &(dyn Tree + Sync),
    selections: &[Selected],
) -> Result<ContextDigest, ContextError> {
    digest_until(tree, selections, &|| false)
}

/// As [`digest`], until `is_stopped` says that nobody wants it any more. It is asked often.
pub fn digest_until(
    tree: &(dyn Tree + Sync),
    selections: &[Selected],
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<ContextDigest, ContextError> {
    let mut records = BTreeSet::new();
    let mut files: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for selected in selections {
        for walked in walk(tree, selected)? {
            let target = match walked.entry.kind {
                EntryKind::Symlink => Some(
                    tree.read_link(&walked.path)
                        .map_err(ContextError::reading(&walked.path))?,
                ),
                _ => None,
            };
            if walked.entry.kind == EntryKind::File {
                files.insert(walked.path.clone(), walked.entry.size);
            }
            records.insert(Record {
                named: joined(&selected.matched, &walked.relative),
                path: walked.path,
                kind: walked.entry.kind,
                mode: walked.entry.mode,
                rdev: walked.entry.rdev,
                target,
            });
        }
    }
    let contents = hash_files(tree, &files, is_stopped)?;
    let mut hasher = ContentHasher::new("launchway/context/1");
    let mut bytes = 0;
    for record in &records {
        hasher
            .field("path", record.named.as_os_str().as_bytes())
            .text("kind", kind_name(record.kind))
            .number("mode", u64::from(record.mode));
        if let Some(content) = contents.get(&record.path) {
            bytes += content.size;
            hasher
                .number("size", content.size)
                .text("content", content.digest.hex());
            for (name, value) in &content.xattrs {
                hasher.field("xattr", name.as_bytes()).field("value", value);
            }
        }
        if let Some(target) = &record.target {
            hasher.field("target", target.as_os_str().as_bytes());
        }
        if matches!(record.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            hasher.number("device", record.rdev);
        }
    }
    Ok(ContextDigest {
        hash: hasher.finish(),
        bytes,
        entries: records.len() as u64,
    })
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    named: PathBuf,
    path: PathBuf,
    kind: EntryKind,
    mode: u32,
    rdev: u64,
    target: Option<PathBuf>,
}

/// These texts are part of the hash and never change.
fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Dir => "directory",
        EntryKind::Symlink => "symlink",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
        EntryKind::CharDevice => "character device",
        EntryKind::BlockDevice => "block device",
    }
}

/// What one thread has hashed, or the number of the file it failed at, and why.
type Hashed = Result<Vec<(PathBuf, FileContent)>, (usize, ContextError)>;

fn hash_files(
    tree: &(dyn Tree + Sync),
    files: &BTreeMap<PathBuf, u64>,
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<BTreeMap<PathBuf, FileContent>, ContextError> {
    let work: Vec<(&PathBuf, u64)> = files.iter().map(|(path, size)| (path, *size)).collect();
    let next = AtomicUsize::new(0);
    // Each thread ends at its first failure. Files are handed out in order, so the first file
    // that cannot be read is always tried, and it is the one that is reported.
    let run = || {
        let mut buffer = vec![0; 128 * 1024];
        let mut done = Vec::new();
        while let Some((at, (path, size))) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            work.get(at).map(|item| (at, *item))
        } {
            let hashed = hash_file(tree, path, size, &mut buffer, is_stopped);
            let content = hashed.map_err(|error| (at, error))?;
            done.push((path.clone(), content));
        }
        Ok(done)
    };
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let threads = processors.clamp(2, 8).min(work.len());
    let results: Vec<Hashed> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let joined = handles.into_iter().map(|handle| {
            handle
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.collect()
    });
    let mut contents = BTreeMap::new();
    let mut failure: Option<(usize, ContextError)> = None;
    for result in results {
        match result {
            Ok(done) => contents.extend(done),
            Err(error) => {
                if failure.as_ref().is_none_or(|first| error.0 < first.0) {
                    failure = Some(error);
                }
            }
        }
    }
    match failure {
        Some((_, error)) => Err(error),
        None => Ok(contents),
    }
}

fn hash_file(
    tree: &dyn Tree,
    path: &Path,
    expected: u64,
    buffer: &mut [u8],
    is_stopped: &(dyn Fn() -> bool + Sync),
) -> Result<FileContent, ContextError> {
    let changed = || ContextError::Changed {
        path: path.to_owned(),
    };
    let reading = || ContextError::reading(path);
    if let Some(known) = tree.known_content(path).map_err(reading())? {
        return if known.size == expected {
            Ok(known)
        } else {
            Err(changed())
        };
    }
    let (mut file, xattrs) = tree.open_with_xattrs(path).map_err(reading())?;
    tree.begin_to_hash(path, &file).map_err(reading())?;
    let mut hasher = Hasher::new();
    let mut size = 0;
    loop {
        if is_stopped() {
            return Err(ContextError::Stopped);
        }
        let length = match file.read(buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ContextError::reading(path)(error)),
        };
        hasher.update(&buffer[..length]);
        size += length as u64;
    }
    if size != expected {
        return Err(changed());
    }
    let content = FileContent {
        digest: hasher.finish(),
        size,
        xattrs,
    };
    if tree.end_of_hash(path, &file, &content).map_err(reading())? {
        Ok(content)
    } else {
        Err(changed())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use launchway_dockerfile::IgnoreRules;

    use super::*;
    use crate::{Context, JunkRules};

    fn of(root: &Path, sources: &[&str]) -> ContextDigest {
        let context = Context::open(root, IgnoreRules::default(), JunkRules::default()).unwrap();
        let selections: Vec<Selected> = sources
            .iter()
            .flat_map(|source| context.select(source, &[]).unwrap())
            .collect();
        digest(&context, &selections).unwrap()
    }

    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("etc/deep")).unwrap();
        fs::write(root.join("etc/a"), "one").unwrap();
        fs::write(root.join("etc/b"), "two").unwrap();
        fs::write(root.join("etc/deep/c"), "three").unwrap();
        symlink("a", root.join("etc/link")).unwrap();
        folder
    }

    #[test]
    fn counts_what_it_takes() {
        let folder = sample();
        let found = of(folder.path(), &["etc"]);
        assert_eq!((found.bytes, found.entries), (11, 6));
        assert_eq!(of(folder.path(), &[]).entries, 0);
    }

    #[test]
    fn ends_in_the_middle_of_a_file_when_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        // Nobody waits for the end of it.
        let file = fs::File::create(folder.path().join("f")).unwrap();
        file.set_len(1 << 42).unwrap();
        let context = Context::open(folder.path(), IgnoreRules::default(), JunkRules::default());
        let context = context.unwrap();
        let selected = context.select("f", &[]).unwrap();
        let asked = AtomicUsize::new(0);
        let stopped = || asked.fetch_add(1, Ordering::Relaxed) > 9;
        let found = digest_until(&context, &selected, &stopped);
        assert!(matches!(found, Err(ContextError::Stopped)), "{found:?}");
    }

    #[test]
    fn sees_every_difference_that_a_build_sees() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 9] = [
            ("content", |root| {
                fs::write(root.join("etc/a"), "eno").unwrap()
            }),
            ("a mode", |root| {
                fs::set_permissions(root.join("etc/a"), fs::Permissions::from_mode(0o4755))
                    .unwrap();
            }),
            ("the mode of a directory", |root| {
                fs::set_permissions(root.join("etc/deep"), fs::Permissions::from_mode(0o700))
                    .unwrap();
            }),
            ("a name that keeps the order", |root| {
                fs::rename(root.join("etc/b"), root.join("etc/bb")).unwrap();
            }),
            ("content moved to the next file", |root| {
                fs::write(root.join("etc/a"), "onet").unwrap();
                fs::write(root.join("etc/b"), "wo").unwrap();
            }),
            ("a new symlink", |root| {
                symlink("x", root.join("etc/zz")).unwrap()
            }),
            ("where a symlink points", |root| {
                fs::remove_file(root.join("etc/link")).unwrap();
                symlink("b", root.join("etc/link")).unwrap();
            }),
            ("a new directory", |root| {
                fs::create_dir(root.join("etc/zz")).unwrap()
            }),
            ("a file that is now a link", |root| {
                fs::remove_file(root.join("etc/b")).unwrap();
                symlink("two", root.join("etc/b")).unwrap();
            }),
        ];
        let before = sample();
        let unchanged = of(before.path(), &["etc"]).hash;
        for (what, change) in changes {
            let folder = sample();
            assert_eq!(of(folder.path(), &["etc"]).hash, unchanged, "{what}");
            change(folder.path());
            assert_ne!(of(folder.path(), &["etc"]).hash, unchanged, "{what}");
        }
    }

    #[test]
    fn times_junk_and_the_order_of_sources_make_no_difference() {
        let folder = sample();
        let root = folder.path();
        let before = of(root, &["etc/a", "etc/deep", "etc/a"]).hash;
        let old = fs::File::options()
            .write(true)
            .open(root.join("etc/a"))
            .unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        fs::create_dir(root.join("etc/deep/__pycache__")).unwrap();
        fs::write(root.join("etc/deep/__pycache__/x"), "junk").unwrap();
        assert_eq!(of(root, &["etc/deep", "etc/a"]).hash, before);
    }

    #[test]
    fn a_followed_link_counts_as_what_it_leads_to() {
        let folder = sample();
        let root = folder.path();
        let before = of(root, &["etc/link"]).hash;
        fs::remove_file(root.join("etc/link")).unwrap();
        fs::write(root.join("etc/link"), "one").unwrap();
        assert_eq!(of(root, &["etc/link"]).hash, before);
    }

    #[test]
    fn the_first_file_that_cannot_be_read_is_named() {
        struct Broken(Context);
        impl Tree for Broken {
            fn entry(&self, path: &Path) -> std::io::Result<Option<launchway_oci::TreeEntry>> {
                self.0.entry(path)
            }
            fn children(&self, path: &Path) -> std::io::Result<Vec<OsString>> {
                self.0.children(path)
            }
            fn open(&self, path: &Path) -> std::io::Result<fs::File> {
                if path.ends_with("b") || path.ends_with("c") {
                    return Err(std::io::ErrorKind::PermissionDenied.into());
                }
                self.0.open(path)
            }
            fn read_link(&self, path: &Path) -> std::io::Result<PathBuf> {
                self.0.read_link(path)
            }
            fn xattrs(&self, path: &Path) -> std::io::Result<BTreeMap<OsString, Vec<u8>>> {
                self.0.xattrs(path)
            }
        }
        let folder = sample();
        let rules = IgnoreRules::default();
        let tree = Broken(Context::open(folder.path(), rules, JunkRules::default()).unwrap());
        let selected = crate::select(&tree, "etc", &[]).unwrap();
        match digest(&tree, &selected) {
            Err(ContextError::Read { path, .. }) => assert_eq!(path, Path::new("etc/b")),
            other => panic!("{other:?}"),
        }
    }
}
