//! The files of a layout, in a directory or in a tar.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use launchway_model::Digest;
use launchway_registry::{BlobBody, MANIFEST_LIMIT};

use crate::TransferError;
use crate::blob::FileRange;
use crate::error::At as _;

/// Where the files of a layout are.
#[derive(Clone, Debug)]
pub(crate) enum Files {
    Directory(PathBuf),
    Tar(Arc<Tar>),
}

/// A tar, and where in it everything is.
#[derive(Debug, Default)]
pub(crate) struct Tar {
    pub(crate) path: PathBuf,
    pub(crate) entries: BTreeMap<String, FileRange>,
    /// Documents that stand in no entry, because the archive says the same in another form.
    pub(crate) made: BTreeMap<Digest, Bytes>,
    /// Blobs that are entries under names of their own.
    pub(crate) blobs: BTreeMap<Digest, FileRange>,
}

/// Where a digest is in a layout.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

impl Files {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Directory(path) => path,
            Self::Tar(tar) => &tar.path,
        }
    }

    /// A small file by its name; None when it is not there. Waits for the disk.
    pub(crate) fn small(&self, name: &str) -> Result<Option<Vec<u8>>, TransferError> {
        let range = match self {
            Self::Directory(folder) => FileRange {
                path: folder.join(name),
                start: 0,
                length: u64::MAX,
            },
            Self::Tar(tar) => match tar.entries.get(name) {
                Some(range) => range.clone(),
                None => return Ok(None),
            },
        };
        let read = range.open(0).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        match read {
            Ok(bytes) if bytes.len() as u64 > MANIFEST_LIMIT => Err(TransferError::Local {
                path: range.path,
                reason: format!("{name} has more than {} MiB", MANIFEST_LIMIT / 1024 / 1024),
                help: String::new(),
            }),
            Ok(bytes) => Ok(Some(bytes)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).at("read", &range.path),
        }
    }

    /// A document by its digest, not checked yet. Waits for the disk.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Option<Bytes>, TransferError> {
        if let Self::Tar(tar) = self
            && let Some(made) = tar.made.get(digest)
        {
            return Ok(Some(made.clone()));
        }
        Ok(self.small(&blob_name(digest))?.map(Bytes::from))
    }

    /// A blob's bytes; None when it is not here.
    pub(crate) fn body(&self, digest: &Digest) -> Option<BlobBody> {
        match self {
            Self::Directory(folder) => {
                let path = folder.join(blob_name(digest));
                path.is_file().then_some(BlobBody::File(path))
            }
            Self::Tar(tar) => {
                if let Some(made) = tar.made.get(digest) {
                    return Some(BlobBody::Bytes(made.clone()));
                }
                let named = || tar.entries.get(&blob_name(digest));
                let range = tar.blobs.get(digest).or_else(named)?;
                Some(BlobBody::Stream(Arc::new(range.clone())))
            }
        }
    }

    /// Whether a blob of this size is here.
    pub(crate) fn has(&self, digest: &Digest, size: u64) -> bool {
        match self {
            Self::Directory(folder) => fs::metadata(folder.join(blob_name(digest)))
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == size),
            Self::Tar(tar) => {
                let named = || tar.entries.get(&blob_name(digest));
                let found = tar.blobs.get(digest).or_else(named);
                found.is_some_and(|range| range.length == size)
            }
        }
    }
}

impl Tar {
    /// Reads all headers of a tar. Waits for the disk.
    pub(crate) fn open(path: &Path) -> Result<Self, TransferError> {
        let file = File::open(path).at("open", path)?;
        let damaged = |error: io::Error| TransferError::Local {
            path: path.to_owned(),
            reason: format!("it is no tar that can be read: {error}"),
            help: String::new(),
        };
        let mut start = [0; 6];
        let read = (&file).read(&mut start).at("read", path)?;
        if let Some((name, command)) = compression(&start[..read]) {
            return Err(TransferError::Local {
                path: path.to_owned(),
                reason: format!("it is compressed with {name}, and has to be read in any order"),
                help: format!("unpack it first: {command} {}", path.display()),
            });
        }
        let file = File::open(path).at("open", path)?;
        let mut archive = tar::Archive::new(file);
        let mut entries: BTreeMap<String, FileRange> = BTreeMap::new();
        let mut links = Vec::new();
        for entry in archive.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let name = clean(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                // Older dockers name a layer that stands twice by a link beside it.
                let target = match (kind.is_symlink(), name.rsplit_once('/')) {
                    (true, Some((folder, _))) => clean(&format!("{folder}/{target}")),
                    _ => clean(&target),
                };
                links.push((name, target));
            } else if kind.is_file() || kind.is_contiguous() {
                let range = FileRange {
                    path: path.to_owned(),
                    start: entry.raw_file_position(),
                    length: entry.size(),
                };
                entries.insert(name, range);
            }
        }
        for (name, target) in links {
            if let Some(range) = entries.get(&target).cloned() {
                entries.insert(name, range);
            }
        }
        Ok(Self {
            path: path.to_owned(),
            entries,
            ..Self::default()
        })
    }
}

/// A name without `.` and `..`.
fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn compression(start: &[u8]) -> Option<(&'static str, &'static str)> {
    match start {
        [0x1f, 0x8b, ..] => Some(("gzip", "gunzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(("zstd", "unzstd")),
        [b'B', b'Z', b'h', ..] => Some(("bzip2", "bunzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some(("xz", "unxz")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_archives_stay_inside() {
        for (name, want) in [
            ("./index.json", "index.json"),
            ("a/../b/layer.tar", "b/layer.tar"),
            ("../../etc/passwd", "etc/passwd"),
            ("a//b/", "a/b"),
        ] {
            assert_eq!(clean(name), want);
        }
    }
}
