//! Archives that ADD unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd, recognised by
//! their content as Docker does, never by their name.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use launchway_oci::{
    EntryKind, Stack, Tree, UnpackError, UnpackOptions, Whiteouts, unpack_telling_implied,
};

use crate::EngineError;
use crate::over::Over;

/// Why an archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("read the archive")]
    Read(#[from] io::Error),
    #[error("unpack the archive")]
    Unpack(#[from] UnpackError),
}

/// Whether a file of a tree is an archive.
pub(crate) fn is_archive(tree: &dyn Tree, path: &Path) -> io::Result<bool> {
    if tree
        .entry(path)?
        .is_none_or(|entry| entry.kind != EntryKind::File)
    {
        return Ok(false);
    }
    let mut header = [0; 512];
    let mut reader = decompressed(tree, path)?;
    match reader.read_exact(&mut header) {
        Ok(()) => Ok(is_tar_header(&header)),
        // Too short, or not compressed data after all.
        Err(_) => Ok(false),
    }
}

/// Unpacks an archive into an empty directory, modes as the archive has them, and owners unless there
/// is one for all. Returns the directories that no entry of the archive names.
pub(crate) fn unpack(
    tree: &dyn Tree,
    path: &Path,
    target: &Path,
    owner: Option<(u32, u32)>,
) -> Result<BTreeSet<PathBuf>, ArchiveError> {
    let options = UnpackOptions {
        whiteouts: Whiteouts::Plain,
        owner,
    };
    let archive = decompressed(tree, path)?;
    Ok(unpack_telling_implied(archive, target, &options)?)
}

/// Unpacks a file of the machine into an empty directory if it is an archive, as [`unpack`] does;
/// tells whether it is one.
///
/// # Errors
/// When the archive is damaged, or an entry cannot be made.
pub fn unpack_archive(
    file: &Path,
    target: &Path,
    owner: Option<(u32, u32)>,
) -> Result<bool, EngineError> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let name = Path::new(file.file_name().unwrap_or_default());
    let tree = Over::new(folder, Stack::default());
    if !is_archive(&tree, name).map_err(EngineError::io("read the archive"))? {
        return Ok(false);
    }
    unpack(&tree, name, target, owner)
        .map_err(|error| EngineError::io(error.to_string())(io::Error::other(error)))?;
    Ok(true)
}

fn decompressed(tree: &dyn Tree, path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let mut file = tree.open(path)?;
    let mut magic = [0; 6];
    let mut length = 0;
    while length < magic.len() {
        match file.read(&mut magic[length..])? {
            0 => break,
            read => length += read,
        }
    }
    file.seek(SeekFrom::Start(0))?;
    let file = io::BufReader::with_capacity(1 << 18, file);
    Ok(match &magic[..length] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(file))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}

/// A tar header's checksum is the sum of its bytes, its own field counted as spaces (POSIX ustar).
fn is_tar_header(header: &[u8; 512]) -> bool {
    let field = String::from_utf8_lossy(&header[148..156]);
    let text = field.trim_matches(|c: char| c == '\0' || c == ' ');
    let Ok(stated) = u64::from_str_radix(text, 8) else {
        return false;
    };
    let spaces = 8 * u64::from(b' ');
    let outside = header[..148].iter().chain(&header[156..]);
    stated == outside.map(|byte| u64::from(*byte)).sum::<u64>() + spaces
}

#[cfg(test)]
mod tests {
    use super::is_tar_header;

    #[test]
    fn headers_are_told_by_their_checksum() {
        let mut header = [0; 512];
        assert!(!is_tar_header(&header));
        header[0] = b'x';
        header[148..156].copy_from_slice(b"000570\0 ");
        assert!(is_tar_header(&header));
        header[1] = b'y';
        assert!(!is_tar_header(&header));
    }
}
