//! The files of finished images on their own: as one tar, or in a folder of the machine.
//!
//! What stays of an entry is what BuildKit's exporters `tar` and `local` keep of it. An image is
//! seen through its [`Stack`], so removals and what is below an opaque directory never show.

mod folder;
mod tar;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::tree::{TreeEntry, walk};
use crate::{EntryKind, Stack, StoreError};

pub use folder::write_files_to_folder;
pub use tar::write_files_to_tar;

/// One image among those that are written together.
#[derive(Clone, Debug)]
pub struct ExportedFiles {
    /// The folder its files are put into; without one they lie at the top.
    pub folder: Option<OsString>,
    pub files: Stack,
}

/// One thing to write, with the tree it comes from.
struct Found<'a> {
    tree: &'a Stack,
    /// In its own tree.
    source: &'a Path,
    /// In what is written; never empty.
    path: &'a Path,
    entry: TreeEntry,
    /// An earlier path of the same file.
    link: Option<&'a Path>,
}

/// Calls `visit` for all that is to be written, parents first and hard links after their file.
fn each(
    images: &[ExportedFiles],
    mtime: Option<i64>,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut taken: HashMap<PathBuf, bool> = HashMap::new();
    for image in images {
        let tree = &image.files;
        let top = image.folder.as_ref().map(PathBuf::from);
        if let Some(folder) = &top {
            visit(&Found {
                tree,
                source: Path::new(""),
                path: folder,
                entry: TreeEntry {
                    mtime: mtime.unwrap_or(0),
                    ..FOLDER
                },
                link: None,
            })?;
        }
        let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
        walk(tree, Path::new(""), &mut |source, entry| {
            if source.as_os_str().is_empty() || entry.kind == EntryKind::Socket {
                return Ok(());
            }
            let path = top.as_deref().unwrap_or(Path::new("")).join(source);
            // Images without folders of their own must not hide each other's files.
            if top.is_none() && images.len() > 1 {
                let is_directory = entry.kind == EntryKind::Dir;
                match taken.insert(path.clone(), is_directory) {
                    Some(true) if is_directory => return Ok(()),
                    Some(_) => return Err(Stop(StoreError::SamePath(path))),
                    None => {}
                }
            }
            let link = match entry.inode {
                Some(inode) => match links.get(&inode) {
                    Some(first) => Some(first.clone()),
                    None => {
                        links.insert(inode, path.clone());
                        None
                    }
                },
                None => None,
            };
            let mut entry = *entry;
            entry.mtime = mtime.unwrap_or(entry.mtime);
            visit(&Found {
                tree,
                source,
                path: &path,
                entry,
                link: link.as_deref(),
            })
            .map_err(Stop)
        })
        .map_err(|stop: Stop| stop.0)?;
    }
    Ok(())
}

/// The folder of one platform.
const FOLDER: TreeEntry = TreeEntry {
    kind: EntryKind::Dir,
    mode: 0o755,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 0,
    rdev: 0,
    inode: None,
};

/// Ends a walk.
struct Stop(StoreError);

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self(StoreError::Read {
            what: "files of the image",
            source: error,
        })
    }
}
