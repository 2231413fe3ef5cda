//! The root directory: where everything lies, and who may touch it. All of it blocks.

mod blobs;
mod collect;
mod disk;
mod queue;
mod repository;
mod snapshot;
mod upload;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use launchway_model::Digest;
use rustix::fs::FlockOperation;

pub(crate) use blobs::Blobs;
pub use collect::{CollectOptions, Collected};
pub(crate) use disk::{Disk, TempFile, random_id};
pub(crate) use repository::{ContentRule, DeleteBlob, PutManifest, PutManifestError, Repository};
pub(crate) use snapshot::{ManifestInfo, Snapshot};
pub(crate) use upload::{Hasher, UploadFile};

use crate::Durability;
use crate::route::RepositoryName;

/// Names inside a layout that a part of a repository's name could be as well.
const RESERVED: [&str; 3] = ["blobs", "index.json", "oci-layout"];
/// What the names of our own unfinished files end in; nothing else in `uploads` is ever removed.
const PART: &str = ".part";

/// Why a root cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another registry process", root.display())]
    InUse { root: PathBuf },
    #[error("cannot {act} {}", path.display())]
    Io {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Something went wrong with the disk. No path in it: clients see the text.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act}")]
pub(crate) struct StoreError {
    pub(crate) act: &'static str,
    pub(crate) source: io::Error,
}

impl StoreError {
    /// The same once more, for somebody else whom it hit as well.
    pub(crate) fn again(&self) -> Self {
        Self {
            act: self.act,
            source: io::Error::new(self.source.kind(), self.source.to_string()),
        }
    }
}

/// Says what failed.
pub(crate) trait Act<T> {
    fn act(self, act: &'static str) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> Act<T> for Result<T, E> {
    fn act(self, act: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError {
            act,
            source: error.into(),
        })
    }
}

pub(crate) struct Store {
    root: PathBuf,
    blobs: Arc<Blobs>,
    repositories: Mutex<HashMap<RepositoryName, Arc<Repository>>>,
    /// The root itself, held for as long as the store is open.
    _lock: File,
}

impl Store {
    pub(crate) fn open(
        root: &Path,
        read_only: bool,
        durability: Durability,
    ) -> Result<Self, OpenError> {
        let failed = |act, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { act, path, source }
        };
        if !read_only {
            fs::create_dir_all(root).map_err(failed("create the directory", root))?;
        }
        let lock = File::open(root).map_err(failed("open the directory", root))?;
        let operation = if read_only {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        rustix::fs::flock(&lock, operation).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => OpenError::InUse {
                root: root.to_owned(),
            },
            error => failed("lock the directory", root)(error.into()),
        })?;
        let uploads = root.join("uploads");
        if !read_only {
            for directory in [&root.join("repositories"), &root.join("blobs"), &uploads] {
                fs::create_dir_all(directory).map_err(failed("create the directory", directory))?;
            }
            remove_leftovers(&uploads).map_err(failed("clean", &uploads))?;
        }
        let disk = Disk::new(durability, uploads);
        Ok(Self {
            blobs: Arc::new(Blobs::new(root.join("blobs"), disk)),
            root: root.to_owned(),
            repositories: Mutex::default(),
            _lock: lock,
        })
    }

    pub(crate) fn blobs(&self) -> &Arc<Blobs> {
        &self.blobs
    }

    pub(crate) fn disk(&self) -> &Disk {
        self.blobs.disk()
    }

    /// The repository if it is on disk.
    pub(crate) fn repository(
        &self,
        name: &RepositoryName,
    ) -> Result<Option<Arc<Repository>>, StoreError> {
        let repository = self.handle(name);
        Ok(repository.exists()?.then_some(repository))
    }

    /// The repository, made if it is not on disk.
    pub(crate) fn create_repository(
        &self,
        name: &RepositoryName,
    ) -> Result<Arc<Repository>, StoreError> {
        let repository = self.handle(name);
        repository.create()?;
        Ok(repository)
    }

    /// The names of all repositories, sorted. Walks the directories.
    pub(crate) fn names(&self) -> Result<BTreeSet<RepositoryName>, StoreError> {
        let mut found = BTreeSet::new();
        let mut open = vec![(self.root.join("repositories"), String::new())];
        while let Some((directory, prefix)) = open.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).act("list the repositories"),
            };
            for entry in entries {
                let entry = entry.act("list the repositories")?;
                let is_directory = entry.file_type().act("list the repositories")?.is_dir();
                let Some(part) = entry.file_name().to_str().and_then(part_of_name) else {
                    continue;
                };
                if !is_directory {
                    continue;
                }
                let name = match prefix.as_str() {
                    "" => part,
                    prefix => format!("{prefix}/{part}"),
                };
                let path = entry.path();
                if let Ok(valid) = RepositoryName::parse(&name) {
                    if path.join("index.json").exists() {
                        found.insert(valid);
                    }
                    open.push((path, name));
                }
            }
        }
        Ok(found)
    }

    fn handle(&self, name: &RepositoryName) -> Arc<Repository> {
        let mut known = self
            .repositories
            .lock()
            .expect("nothing panics while it holds the map of repositories");
        if let Some(repository) = known.get(name) {
            return Arc::clone(repository);
        }
        // Two writers have to meet at one lock, so every name that is asked for gets an entry. What
        // is not in use and holds nothing makes room again: names that do not exist must not fill
        // the memory.
        if known.len() >= 1024 {
            known.retain(|_, other| Arc::strong_count(other) > 1 || other.is_loaded());
        }
        let directory = directory_of(&self.root.join("repositories"), name);
        let repository = Arc::new(Repository::new(directory, Arc::clone(&self.blobs)));
        known.insert(name.clone(), Arc::clone(&repository));
        repository
    }
}

/// Where a repository lies. See the crate's documentation for the underscore.
fn directory_of(repositories: &Path, name: &RepositoryName) -> PathBuf {
    let mut path = repositories.to_owned();
    for part in name.as_str().split('/') {
        if RESERVED.contains(&part) {
            path.push(format!("{part}_"));
        } else {
            path.push(part);
        }
    }
    path
}

/// The part of a name that a directory stands for; `None` for a layout's own entries.
fn part_of_name(directory: &str) -> Option<String> {
    if RESERVED.contains(&directory) {
        return None;
    }
    let reserved = directory
        .strip_suffix('_')
        .filter(|part| RESERVED.contains(part));
    Some(reserved.unwrap_or(directory).to_owned())
}

/// Where a blob lies below a `blobs` directory.
fn blob_path(blobs: &Path, digest: &Digest) -> PathBuf {
    blobs.join(digest.algorithm().as_str()).join(digest.hex())
}

fn remove_leftovers(uploads: &Path) -> io::Result<()> {
    for entry in fs::read_dir(uploads)? {
        let entry = entry?;
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.ends_with(PART));
        if ours && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_a_layout_do_not_collide() {
        let root = Path::new("r");
        for (name, want) in [
            ("a", "r/a"),
            ("a/b.c", "r/a/b.c"),
            ("a/blobs/sha256", "r/a/blobs_/sha256"),
            ("blobs/index.json", "r/blobs_/index.json_"),
            ("oci-layout/x", "r/oci-layout_/x"),
        ] {
            let parsed = RepositoryName::parse(name).unwrap();
            let directory = directory_of(root, &parsed);
            assert_eq!(directory, Path::new(want));
            let back: Vec<_> = directory
                .strip_prefix(root)
                .unwrap()
                .iter()
                .map(|part| part_of_name(part.to_str().unwrap()).unwrap())
                .collect();
            assert_eq!(back.join("/"), name);
        }
        assert_eq!(part_of_name("blobs"), None);
    }
}
