//! The files of finished images on their own: as one tar, or in a folder of the machine.
//!
//! What stays of an entry is what BuildKit's exporters `tar` and `local` keep of it. An image is
//! seen through its [`Stack`], so removals and what is below an opaque directory never show.

mod folder;
mod merged;
mod tar;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::stack::{ROOT, open_in, read_link_in, xattrs_in};
use crate::tree::TreeEntry;
use crate::xattr::Xattrs;
use crate::{EntryKind, Layer, Stack, StoreError};

pub use folder::{Stale, write_files_to_folder};
pub use tar::write_files_to_tar;

/// One image among those that are written together.
#[derive(Clone, Debug)]
pub struct ExportedFiles {
    /// The folder its files are put into; without one they lie at the top.
    pub folder: Option<OsString>,
    pub files: Stack,
}

/// One thing to write, with the layer it comes from.
struct Found<'a> {
    /// Nothing for the folder of one image, which no layer has.
    layer: Option<&'a Layer>,
    /// In its layer.
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
        let top = image.folder.as_ref().map(PathBuf::from);
        if let Some(folder) = &top {
            visit(&Found {
                layer: None,
                source: Path::new(""),
                path: folder,
                entry: TreeEntry {
                    mtime: mtime.unwrap_or(0),
                    ..ROOT
                },
                link: None,
            })?;
        }
        let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
        merged::walk(&image.files, &mut |source, entry, layer| {
            if entry.kind == EntryKind::Socket {
                return Ok(());
            }
            let path = top.as_deref().unwrap_or(Path::new("")).join(source);
            // Images without folders of their own must not hide each other's files.
            if top.is_none() && images.len() > 1 {
                let is_directory = entry.kind == EntryKind::Dir;
                match taken.insert(path.clone(), is_directory) {
                    Some(true) if is_directory => return Ok(()),
                    Some(_) => return Err(StoreError::SamePath(path)),
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
                layer: Some(layer),
                source,
                path: &path,
                entry,
                link: link.as_deref(),
            })
        })?;
    }
    Ok(())
}

impl Found<'_> {
    fn xattrs(&self) -> io::Result<Xattrs> {
        match self.layer {
            Some(layer) => xattrs_in(layer, self.source, self.entry.kind),
            None => Ok(Xattrs::new()),
        }
    }

    fn open(&self) -> io::Result<File> {
        let layer = self.layer.ok_or(io::ErrorKind::NotFound)?;
        Ok(open_in(layer, self.source, OFlags::RDONLY)?.into())
    }

    fn read_link(&self) -> io::Result<PathBuf> {
        let layer = self.layer.ok_or(io::ErrorKind::NotFound)?;
        read_link_in(layer, self.source)
    }
}
