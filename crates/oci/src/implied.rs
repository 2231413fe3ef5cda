//! Unpacking for who lays an archive over what is there.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::unpack::unpack_tar;
use crate::{UnpackError, UnpackOptions, pipe};

/// As [`unpack`](crate::unpack); returns the directories that the archive has something in and no entry
/// for. What they are is not for the archive to say.
///
/// # Errors
/// As [`unpack`](crate::unpack).
pub fn unpack_telling_implied(
    archive: impl Read + Send,
    target: &Path,
    options: &UnpackOptions,
) -> Result<BTreeSet<PathBuf>, UnpackError> {
    let plain = pipe::decompressed(archive).map_err(UnpackError::Read)?;
    pipe::read_ahead(plain, |tar| unpack_tar(tar, target, options)).map(|done| done.implied)
}
