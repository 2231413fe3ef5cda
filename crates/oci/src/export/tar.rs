//! The files of images as a tar: owners, modes, links, devices and attributes as they are, entries
//! sorted by their names in each directory, no entry for the root.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;

use super::{ExportedFiles, Found, each};
use crate::error::At;
use crate::tar_write::{BLOCK, TarHeader, TarKind, write_header};
use crate::xattr::Xattrs;
use crate::{EntryKind, StoreError};

/// Writes the files of images as one plain tar. With `mtime`, everything gets this time.
///
/// # Errors
/// When two images without folders of their own have a file at the same path, when a tar cannot
/// hold an entry, or when the disk fails.
pub fn write_files_to_tar(
    images: &[ExportedFiles],
    mtime: Option<i64>,
    mut out: impl Write,
) -> Result<(), StoreError> {
    let mut header = Vec::with_capacity(2 * BLOCK);
    each(images, mtime, &mut |found| {
        header.clear();
        entry(found, &mut header, &mut out)
    })?;
    out.write_all(&[0; 2 * BLOCK])
        .and_then(|()| out.flush())
        .map_err(writing)
}

fn entry(found: &Found<'_>, header: &mut Vec<u8>, out: &mut dyn Write) -> Result<(), StoreError> {
    let entry = &found.entry;
    let mut link = Vec::new();
    let mut xattrs = Xattrs::new();
    let kind = if let Some(first) = found.link {
        link = first.as_os_str().as_bytes().to_vec();
        TarKind::Link
    } else {
        if entry.kind == EntryKind::Symlink {
            let target = found.read_link().at("read the link", found.source)?;
            link = target.as_os_str().as_bytes().to_vec();
        }
        xattrs = found.xattrs().at("read the attributes of", found.source)?;
        match entry.kind {
            EntryKind::File | EntryKind::Socket => TarKind::File,
            EntryKind::Dir => TarKind::Dir,
            EntryKind::Symlink => TarKind::Symlink,
            EntryKind::Fifo => TarKind::Fifo,
            EntryKind::CharDevice => TarKind::CharDevice,
            EntryKind::BlockDevice => TarKind::BlockDevice,
        }
    };
    let size = if kind == TarKind::File { entry.size } else { 0 };
    let spelled = TarHeader {
        path: found.path.as_os_str().as_bytes(),
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size,
        mtime: entry.mtime,
        link: &link,
        device: (rustix::fs::major(entry.rdev), rustix::fs::minor(entry.rdev)),
        xattrs: &xattrs,
    };
    write_header(header, &spelled).map_err(|reason| StoreError::NotRepresentable {
        path: found.path.to_owned(),
        reason,
    })?;
    out.write_all(header).map_err(writing)?;
    if size == 0 {
        return Ok(());
    }
    let content = found.open().at("open", found.source)?;
    let copied = io::copy(&mut content.take(size), out).map_err(writing)?;
    if copied != size {
        return Err(StoreError::Read {
            what: "files of the image",
            source: io::ErrorKind::UnexpectedEof.into(),
        });
    }
    let padding = size.next_multiple_of(BLOCK as u64) - size;
    out.write_all(&[0; BLOCK][..padding as usize])
        .map_err(writing)
}

fn writing(source: io::Error) -> StoreError {
    StoreError::Write {
        what: "tar",
        source,
    }
}
